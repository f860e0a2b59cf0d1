"""Greedy maximum mutual information, as in Krause, Singh, Guestrin, JMLR 2008, algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zookeeper.results import Choice
from zookeeper.selection import COPIES, Start

Array = NDArray[np.float64]


def max_mutual_information(
    covariance: Array,
    k: int | None = None,
    *,
    start: Start = "mi",
    include: Sequence[int] = (),
    exclude: Sequence[int] = (),
    costs: ArrayLike | None = None,
    budget: float | None = None,
    tolerance: float = COPIES,
) -> Choice:
    """For every step and every candidate both conditional variances, by solving linear systems."""
    price = [1.0] * len(covariance) if costs is None else [float(c) for c in np.asarray(costs)]
    groups = copies(covariance, include, exclude, price, tolerance)
    best: Choice | None = None
    for gamma in [0.0] if budget is None else [0.0, 0.5, 1.0]:
        V = sorted(group[0] for group in groups)
        A: list[int] = []
        gains: list[float] = []
        ties: list[tuple[int, ...]] = []
        while k is None or len(A) < k:
            rest = [y for y in V if y not in A]
            delta = {
                y: variance(covariance, y, A) / variance(covariance, y, [v for v in rest if v != y])
                for y in rest
            }
            candidates = [y for y in rest if y not in exclude]
            if budget is not None:
                left = budget - sum(price[y] for y in A)
                candidates = [y for y in candidates if price[y] <= left and (delta[y] > 1 or not A)]
            merit = {y: delta[y] if budget is None else np.log(delta[y]) / price[y] ** gamma for y in rest}
            if start == "hub" and not A:
                merit = {y: covariance[y, V].sum() for y in rest}
            if len(A) < len(include):
                tied = [include[len(A)]]
            elif candidates:
                most = max(merit[y] for y in candidates)
                # Ties go to the lowest index.
                tied = [y for y in candidates if merit[y] >= most - 1e-9 * abs(most)]
            else:
                break
            A.append(tied[0])
            gains.append(0.5 * float(np.log(delta[tied[0]])))
            ties.append(tuple(tied[1:]))
        repeated = tuple(tuple(group) for group in groups if len(group) > 1)
        found = Choice(tuple(A), tuple(gains), tuple(ties), repeated)
        if best is None or found.total > best.total + 1e-9 * abs(best.total):
            best = found
    assert best is not None
    return best


def variance(kappa: Array, y: int, A: list[int]) -> float:
    """Variance of y when A is known: K_yy - K_yA K_AA^-1 K_Ay."""
    return float(kappa[y, y] - kappa[y, A] @ np.linalg.solve(kappa[np.ix_(A, A)], kappa[A, y]))


def copies(
    kappa: Array, include: Sequence[int], exclude: Sequence[int], price: list[float], tolerance: float
) -> list[list[int]]:
    """Each group of copies under the member that is included, else the cheapest that may be picked."""
    groups: list[list[int]] = []
    for y in sorted(range(len(kappa)), key=lambda y: (y not in include, y in exclude, price[y], y)):
        for group in groups:
            if kappa[y, group[0]] >= (1 - tolerance) * np.sqrt(kappa[y, y] * kappa[group[0], group[0]]):
                group.append(y)
                break
        else:
            groups.append([y])
    return sorted([group[0], *sorted(group[1:])] for group in groups)
