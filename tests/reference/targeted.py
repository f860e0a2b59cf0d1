"""Greedy choice by evidence, with the features of every candidate set put side by side anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from zookeeper.evidence import Evidence
from zookeeper.labels import Labels
from zookeeper.results import Choice
from zookeeper.scores.logme import logme

Array = NDArray[np.float64]


class Stack:
    """The reduced features of every checkpoint, and the labels of their rows."""

    def __init__(self, blocks: list[Array], labels: Labels) -> None:
        self.blocks = blocks
        self.labels = labels

    @classmethod
    def of(cls, checkpoints: Sequence[Evidence], *, width: int = 64) -> Stack:
        """Directions are eigenvectors of X^T X over all n examples, each scaled to a sum of squares of n."""
        blocks = []
        for checkpoint in checkpoints:
            moments = checkpoint.statistics.moments
            values, vectors = np.linalg.eigh(moments.gram)
            principal = [
                checkpoint.sample.features @ vectors[:, i] * np.sqrt(moments.n / values[i])
                for i in np.argsort(-values)[:width]
            ]
            blocks.append(np.stack(principal, axis=1))
        return cls(blocks, checkpoints[0].sample.labels)

    def evidence(self, items: Sequence[int]) -> float:
        """Mean over targets of log p(y | features) - log p(y | nothing), per example."""
        if not items:
            return 0.0
        H = np.hstack([self.blocks[item] for item in items])
        nothing = [noise(y) / len(y) for y in self.labels.columns.T if y.any()]
        return float(logme(H, self.labels.values) - np.mean(nothing))


def noise(y: Array) -> float:
    """The largest log N(y; 0, I/beta), which is at beta = n / y^T y."""
    n, beta = len(y), len(y) / (y @ y)
    return float(n / 2 * np.log(beta / (2 * np.pi)) - beta / 2 * (y @ y))


def max_evidence(
    stack: Stack,
    k: int,
    *,
    include: Sequence[int] = (),
    exclude: Sequence[int] = (),
    information: Array | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Choice:
    """Every candidate of every step by its definition."""
    A: list[int] = []
    gains: list[float] = []
    ties: list[tuple[int, ...]] = []
    while len(A) < k:
        V = [y for y in range(len(stack.blocks)) if y not in A and y not in exclude]
        gain = {y: stack.evidence([*A, y]) - stack.evidence(A) for y in V}
        merit = gain
        if information is not None:
            told = {
                y: mutual_information(information, [*A, y]) - mutual_information(information, A) for y in V
            }
            merit = {y: between(gain[y], gain) / 2 + between(told[y], told) / 2 for y in V}
        most = max(merit.values())
        tied = [y for y in V if merit[y] >= most - 1e-9]
        if len(A) < len(include):
            tied = [include[len(A)]]
        A.append(tied[0])
        gains.append(gain[tied[0]])
        ties.append(tuple(tied[1:]))
        advance(1)
    return Choice(tuple(A), tuple(gains), tuple(ties))


def between(value: float, values: dict[int, float]) -> float:
    """0 for the least of the values, 1 for the largest."""
    low, high = min(values.values()), max(values.values())
    return (value - low) / (high - low) if high > low else 0.0


def mutual_information(K: Array, A: list[int]) -> float:
    """H(A) + H(B) - H(A, B) of a Gaussian, where B are all others."""
    B = [b for b in range(len(K)) if b not in A]
    return (logdet(K, A) + logdet(K, B) - logdet(K, [*A, *B])) / 2


def logdet(K: Array, items: list[int]) -> float:
    """Of the covariance of some items."""
    return float(np.linalg.slogdet(K[np.ix_(items, items)])[1])
