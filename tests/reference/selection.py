"""Greedy maximum mutual information, as in Krause, Singh, Guestrin, JMLR 2008, algorithm 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zookeeper.selection import Start

Array = NDArray[np.float64]


def greedy_mmi(kappa: Array, k: int, *, start: Start = "mi") -> tuple[list[int], list[float]]:
    """For every step and every candidate both conditional variances, by solving linear systems."""
    V = range(len(kappa))
    A: list[int] = []
    gains: list[float] = []
    while len(A) < k:
        candidates = [y for y in V if y not in A]
        delta = [
            variance(kappa, y, A) / variance(kappa, y, [v for v in candidates if v != y]) for y in candidates
        ]
        merit = [kappa[y].sum() for y in candidates] if start == "hub" and not A else delta
        # Ties go to the lowest index.
        best = next(i for i, value in enumerate(merit) if value >= max(merit) - 1e-9 * abs(max(merit)))
        A.append(candidates[best])
        gains.append(0.5 * float(np.log(delta[best])))
    return A, gains


def variance(kappa: Array, y: int, A: list[int]) -> float:
    """Variance of y when A is known: K_yy - K_yA K_AA^-1 K_Ay."""
    return float(kappa[y, y] - kappa[y, A] @ np.linalg.solve(kappa[np.ix_(A, A)], kappa[A, y]))
