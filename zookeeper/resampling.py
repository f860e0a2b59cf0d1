"""How sure a ranking is: paired bootstrap over sentences, and what it cannot tell apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zookeeper.evidence import Measured
from zookeeper.labels import Array


def draws(n_sentences: int, n_replicates: int) -> Array:
    """(r, g): how many times more than once each sentence is drawn, with a fixed seed.

    The same for every checkpoint, which pairs their replicates (Efron and Tibshirani 1993, ch. 6).
    """
    shares = np.full(n_sentences, 1 / n_sentences)
    counts = np.random.default_rng(0).multinomial(n_sentences, shares, size=n_replicates)
    return np.asarray(counts - 1.0)


def replicates(measured: Measured, sentences: NDArray[np.int64], drawn: Array) -> Array:
    """(r,) values of a score on resampled sentences, by the influence of their examples.

    Args:
        measured: the score and the influence of s examples.
        sentences: (s,), the sentence of each.
        drawn: (r, g), see `draws`.
    """
    per_sentence = np.bincount(sentences, measured.influence, minlength=drawn.shape[1]) / len(sentences)
    return np.asarray(measured.value + drawn @ per_sentence)


def interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """The central part of (r,) replicates."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def tiers(values: Array, level: float = 0.95) -> tuple[str, ...]:
    """Letters for checkpoints in order: who has the letter of another cannot be told from its first.

    Args:
        values: (m, r) replicates, the best checkpoint first, paired by column.
        level: of the interval of the paired difference, which must leave out zero.
    """
    found: list[int] = []
    first = 0
    for i in range(len(values)):
        if interval(values[first] - values[i], level)[0] > 0:
            first = i
        found.append(found[-1] + (first == i) if found else 0)
    return tuple(_letters(number) for number in found)


def rank_ranges(values: Array, level: float = 0.95) -> tuple[tuple[int, int], ...]:
    """The ranks, from 1, that each of m checkpoints takes over (m, r) replicates, the outermost left out."""
    ranks = 1 + (-values).argsort(axis=0, kind="stable").argsort(axis=0)
    low, high = np.quantile(ranks, [(1 - level) / 2, (1 + level) / 2], axis=1, method="nearest")
    return tuple((int(a), int(b)) for a, b in zip(low, high, strict=True))


def _letters(number: int) -> str:
    """A, B and so on; after Z come AA, AB."""
    more, last = divmod(number, 26)
    return (_letters(more - 1) if more else "") + chr(ord("A") + last)
