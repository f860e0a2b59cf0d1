"""What other ways of choosing as many would have got: sets drawn at random, and the centres of clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError, UsageError

Array = NDArray[np.float64]

_ROUNDING = 1e-9


def random_sets(
    candidates: Sequence[int],
    k: int,
    *,
    n: int = 1000,
    include: Sequence[int] = (),
    costs: Sequence[float] | None = None,
    budget: float = np.inf,
) -> list[list[int]]:
    """Sets of size `k` that are drawn at random, the same in every call.

    What is included comes first, then the others as they were drawn: the first few of a set are a smaller
    set drawn at random. Under a budget a set takes what still fits of the items in a random order, `k` at
    most.

    Args:
        candidates: items that are drawn from, without those that are included.
        k: size of each set.
        n: how many are drawn.
        include: items that are in every set.
        costs: of each item, where there is a budget.
        budget: the costs of a set may add up to this.

    Raises:
        UsageError: there are not so many items.
    """
    _check(k - len(include), len(candidates), least=0)
    rng = np.random.default_rng(0)
    orders = (rng.permutation(candidates).tolist() for _ in range(n))
    return [_filled(include, order, k, costs, budget) for order in orders]


def _filled(
    include: Sequence[int], order: Sequence[int], k: int, costs: Sequence[float] | None, budget: float
) -> list[int]:
    """What is included and those that still fit, in their order, up to `k`."""
    if costs is None:
        return [*include, *order[: k - len(include)]]
    chosen, left = list(include), budget - sum(costs[i] for i in include)
    for item in order:
        if len(chosen) < k and costs[item] <= left:
            chosen.append(item)
            left -= costs[item]
    return chosen


def distinct_sets(n: int, k: int, wanted: int) -> list[tuple[int, ...]]:
    """Different sets of `k` of n items, drawn at random, the same in every call; all there are, if fewer.

    Args:
        n: items, numbered from 0.
        k: size of each set.
        wanted: how many sets.

    Raises:
        UsageError: there are not so many items.
    """
    _check(k, n, least=1)
    rng = np.random.default_rng(0)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < min(wanted, math.comb(n, k)):
        drawn[tuple(sorted(rng.permutation(n)[:k].tolist()))] = None
    return list(drawn)


def share_below(value: float, values: Array) -> float:
    """Share of the values that are less than this one by more than rounding."""
    return float(np.mean(values < value - _ROUNDING * abs(value)))


def medoids(kappa: Array, k: int) -> tuple[int, ...]:
    """The `k` items to which all others are nearest, in total.

    Partitioning around medoids (Kaufman and Rousseeuw 1990, chapter 2): each next medoid is the item that
    brings the others nearest; then the best swap of a medoid and another item, until none helps. The
    distance is that of unit vectors whose inner products are kappa, sqrt(2 (1 - kappa)).

    Args:
        kappa: (m, m), a covariance with unit diagonal.
        k: how many.

    Returns:
        Numbers, ascending.

    Raises:
        DegenerateInputError: a value is not finite.
        UsageError: `k` is not between 1 and m.
    """
    if not np.isfinite(kappa).all():
        raise DegenerateInputError("the covariance holds values that are not finite (NaN or infinity).")
    _check(k, len(kappa), least=1)
    distance = np.sqrt(2 * np.clip(1 - kappa, 0, None))
    picks: list[int] = []
    for _ in range(k):
        picks.append(_nearest_to_all(distance, picks)[0])
    while True:
        total = distance[:, picks].min(axis=1).sum()
        rests = [[pick for pick in picks if pick != left] for left in picks]
        swaps = [(*_nearest_to_all(distance, rest), rest) for rest in rests]
        joins, swapped, rest = min(swaps, key=lambda swap: swap[1])
        if swapped >= total * (1 - _ROUNDING):
            return tuple(sorted(picks))
        picks = [*rest, joins]


def _nearest_to_all(distance: Array, picks: Sequence[int]) -> tuple[int, float]:
    """The item which beside these picks brings all others nearest, and their total distance then."""
    so_far = distance[:, picks].min(axis=1, initial=np.inf)
    totals = np.minimum(so_far, distance).sum(axis=1)
    totals[list(picks)] = np.inf
    best = int(totals.argmin())
    return best, float(totals[best])


def _check(k: int, most: int, *, least: int) -> None:
    if not least <= k <= most:
        raise UsageError(f"cannot pick {k} of {most} checkpoints.", fix=f"-k between {least} and {most}")
