"""Divergence and cosine of covariances from their definitions, with an inverse and determinants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tests.reference.kernels import MEMORY, Array, Source, covariance, matrix
from zookeeper.results import Convergence


def convergence(
    features: Sequence[Source],
    lengths: ArrayLike,
    *,
    steps: int = 8,
    memory: int = MEMORY,
    advance: Callable[[int], None] = lambda _: None,
) -> Convergence:
    """Each covariance from n x n kernels; there are no copies, and none is singular."""
    advance(1000)
    ends = np.cumsum(lengths)
    cuts = sorted({int(ends[ends >= ends[-1] / 2**i][0]) for i in range(steps)})
    kappas = [covariance([matrix(source)[:n] for source in features]).matrix for n in cuts]
    whole, identity = kappas[-1], np.eye(len(features))
    return Convergence(
        words=tuple(cuts),
        divergence=tuple(divergence(whole, kappa) for kappa in kappas),
        cosine=tuple(cosine(whole, kappa) for kappa in kappas),
        isotropic=(divergence(whole, identity), cosine(whole, identity)),
        n_checkpoints=len(features),
    )


def divergence(of: Array, from_: Array) -> float:
    """KL(N(0, S) || N(0, Q)) = 1/2 (tr(Q^-1 S) - m + log det Q - log det S)."""
    logs = np.linalg.slogdet(from_)[1] - np.linalg.slogdet(of)[1]
    return float(np.trace(np.linalg.inv(from_) @ of) - len(of) + logs) / 2


def cosine(left: Array, right: Array) -> float:
    """Of the two as vectors."""
    a, b = left.ravel(), right.ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
