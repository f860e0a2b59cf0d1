"""The best set of a size, by looking at every one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tests.reference.selection import copies
from zookeeper.results import Optimum
from zookeeper.selection import COPIES

Array = NDArray[np.float64]


def best_subset(
    covariance: Array,
    k: int,
    *,
    include: Sequence[int] = (),
    exclude: Sequence[int] = (),
    tolerance: float = COPIES,
    stop: Callable[[], bool] = lambda: False,
) -> Optimum:
    """MI(A) as half of logdet K_AA + logdet (K^-1)_AA, for every A of size k."""
    V = [group[0] for group in copies(covariance, include, exclude, [1.0] * len(covariance), tolerance)]
    distinct = covariance[np.ix_(V, V)]
    precision = np.linalg.inv(distinct)
    best, value = (), -np.inf
    for A in combinations(range(len(V)), k):
        picks = {V[a] for a in A}
        if picks.issuperset(include) and picks.isdisjoint(exclude):
            inside = np.ix_(A, A)
            logdets = [np.linalg.slogdet(matrix[inside])[1] for matrix in (distinct, precision)]
            if sum(logdets) / 2 > value:
                best, value = tuple(sorted(picks)), float(sum(logdets) / 2)
    return Optimum(best, value, bound=value, proven=True)
