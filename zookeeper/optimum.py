r"""The best set of a size by mutual information, with a proof.

Branch and bound. With the letters of `zookeeper.selection`, whatever joins a set B later gains at most what
it would gain now, 1/2 log(d_y p_y), since both d and p are diagonals of Schur complements and only shrink. So
no set of B and j items of a tail T has more than

    MI(B) + the sum of the j largest gains in T.

Nothing else is assumed: gains may be negative, and mutual information need not grow with the set. The
search begins with the greedy choice, improved by swaps, and expands many sets at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from zookeeper.results import Covariance, Optimum
from zookeeper.selection import COPIES, Candidates, Information, preferred

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

_TIE = 1e-10
_ENTRIES = 1 << 21


def best_subset(
    covariance: Array | Covariance | Information,
    k: int,
    *,
    include: Sequence[int] = (),
    exclude: Sequence[int] = (),
    tolerance: float = COPIES,
    stop: Callable[[], bool] = lambda: False,
) -> Optimum:
    """The `k` items that have most mutual information with the others.

    Args:
        covariance: as `zookeeper.selection.max_mutual_information`, but for a `LowRank`.
        k: how many to pick.
        include: picked in any case.
        exclude: never picked, but among what the picks should tell about.
        tolerance: items i, j are copies, and count as one, when K_ij >= (1 - tolerance) sqrt(K_ii K_jj).
        stop: asked after every step of the search whether to give up.

    Returns:
        The best set, in nats, proven up to 1e-10; where the search was stopped, the best that was found,
        and what no set exceeds.

    Raises:
        DegenerateInputError: as `zookeeper.selection.max_mutual_information`.
        UsageError: likewise.
    """
    lead = preferred(len(covariance), include, exclude)
    information = (
        covariance
        if isinstance(covariance, Information)
        else Information(covariance, tolerance=tolerance, lead=lead)
    )
    candidates = Candidates.of(information, include=include, exclude=exclude)
    k = candidates.size(k)
    greedy = information.place[list(candidates.greedy(k).picks)]
    best, value = _swapped(information.both, greedy, candidates)
    open_ = [_Branches.root(candidates)] if len(candidates.forced) < k else []
    while open_:
        branches = open_.pop().above(value + _TIE)
        if not len(branches.sets):
            continue
        values, gains = _conditioned(information.both, branches.sets)
        gains[~branches.tails] = -np.inf
        if branches.sets.shape[1] < k - 1:
            open_ += branches.divided(values, gains, k, value + _TIE)
        else:
            best, value = max((best, value), branches.completed(values, gains), key=itemgetter(1))
        if stop():
            break
    bound = max((float(branches.bounds.max()) for branches in open_), default=value)
    return Optimum(
        picks=tuple(np.sort(information.items[best]).tolist()),
        value=value,
        bound=max(bound, value),
        proven=bound <= value + _TIE,
    )


@dataclass(frozen=True, eq=False)
class _Branches:
    """N sets of t places each, with the places (N, n) that may join them, and what no such set exceeds."""

    sets: Indices
    tails: Mask
    bounds: Array

    @classmethod
    def root(cls, candidates: Candidates) -> _Branches:
        tail = candidates.allowed.copy()
        tail[candidates.forced] = False
        return cls(np.array([candidates.forced], dtype=np.intp), tail[None], np.array([np.inf]))

    def above(self, value: float) -> _Branches:
        """Those that may hold more."""
        kept = self.bounds > value
        return _Branches(self.sets[kept], self.tails[kept], self.bounds[kept])

    def completed(self, values: Array, gains: Array) -> tuple[Indices, float]:
        """The best set with one more place, and its value."""
        totals = values[:, None] + gains
        row, place = divmod(int(totals.argmax()), totals.shape[1])
        return np.append(self.sets[row], place), float(totals[row, place])

    def divided(self, values: Array, gains: Array, k: int, least: float) -> list[_Branches]:
        """Sets with one more place, and after it those of smaller gain; the most promising come last."""
        missing = k - self.sets.shape[1]
        order = np.argsort(-gains, axis=1)
        ranked = np.take_along_axis(gains, order, axis=1)
        bounds = values[:, None] + sliding_window_view(ranked, missing, axis=1).sum(axis=2)
        rows, ranks = np.nonzero(bounds > least)
        ascending = np.argsort(bounds[rows, ranks])
        rows, ranks = rows[ascending], ranks[ascending]
        rank_of = np.argsort(order, axis=1)
        grown = _Branches(
            np.column_stack([self.sets[rows], order[rows, ranks]]),
            self.tails[rows] & (rank_of[rows] > ranks[:, None]),
            bounds[rows, ranks],
        )
        return grown.blocks(max(_ENTRIES // gains.shape[1] ** 2, 1))

    def blocks(self, size: int) -> list[_Branches]:
        """The same, at most so many sets at a time."""
        parts = (slice(first, first + size) for first in range(0, len(self.sets), size))
        return [_Branches(self.sets[part], self.tails[part], self.bounds[part]) for part in parts]


def _conditioned(both: Array, sets: Indices) -> tuple[Array, Array]:
    """Information (N,) of each of N sets of places, and what each place would add to it (N, n), in nats."""
    inside = both[:, sets[:, :, None], sets[:, None, :]]
    factors = np.linalg.cholesky(inside)
    whitened = np.linalg.solve(factors, both[:, sets])
    variances = np.diagonal(both, axis1=1, axis2=2)[:, None] - np.square(whitened).sum(axis=2)
    gains = np.log(np.maximum(variances, np.finfo(np.float64).tiny)).sum(axis=0) / 2
    return np.log(np.diagonal(factors, axis1=2, axis2=3)).sum(axis=(0, 2)), gains


def _swapped(both: Array, picks: Indices, candidates: Candidates) -> tuple[Indices, float]:
    """Swap the pick and the other place that gain most by it, until none do; and the value of the result."""
    value = float(_conditioned(both, picks[None])[0][0])
    while len(movable := np.flatnonzero(~np.isin(picks, candidates.forced))):
        others = np.stack([np.delete(picks, at) for at in movable])
        values, gains = _conditioned(both, others)
        gains[:, ~candidates.allowed] = -np.inf
        np.put_along_axis(gains, others, -np.inf, axis=1)
        totals = values[:, None] + gains
        row, place = divmod(int(totals.argmax()), totals.shape[1])
        if totals[row, place] <= value + _TIE:
            break
        picks, value = np.append(others[row], place), float(totals[row, place])
    return picks, value
