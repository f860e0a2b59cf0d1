r"""Choosing the few checkpoints that say most about the rest of the zoo.

Greedy maximum mutual information in a Gaussian process (Krause, Singh, Guestrin, JMLR 2008; for
checkpoints Huang, Qiu, Church, NeurIPS 2021). With P = K^-1 the gain of adding y to A is

    gain(y | A) = 1/2 log( var(y | A) / var(y | V \ A \ y) ) = 1/2 log( d_y p_y )   nats,

where d is the diagonal of K conditioned on A and p that of P after the same pivots were eliminated from
it: removing a pick from the complement is one Cholesky step on P, as conditioning on it is one on K. So
two pivoted Cholesky factorisations with common pivots give every gain, and no difference of nearly equal
numbers is ever formed. They read the diagonals and k columns of K and P: O(k^2 m) after one inverse, and
no inverse at all where K is of low rank plus a ridge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.results import Choice, Covariance

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]
Merit = Callable[[list[int], Array], Array]
Start = Literal["mi", "hub"]

COPIES = 1e-6
"""Items are copies from an alignment of one less this."""

_TIE = 1e-9
_ROUNDING = 1e-6
_SKEW = 1e-8
_CHUNK = 65_536
_EXPONENTS = (0.0, 0.5, 1.0)


def max_mutual_information(
    covariance: Array | Covariance | LowRank | Information,
    k: int | None = None,
    *,
    start: Start = "mi",
    include: Sequence[int] = (),
    exclude: Sequence[int] = (),
    costs: ArrayLike | None = None,
    budget: float | None = None,
    tolerance: float = COPIES,
) -> Choice:
    """Greedy choice of the items that have most mutual information with the others.

    Copies count as one item, see `copies`: a group is led by a member that is included, else by its
    cheapest member that is not excluded, else by its lowest number; the leader's cost is the group's. The
    items of a `LowRank` are never grouped, since its ridge keeps copies apart.

    Under a budget, greedy by gain / cost^g among what is still affordable, for g in 0, 1/2, 1, until nothing
    affordable gains anything; the best of the three is kept (Leskovec et al., KDD 2007, keep two).

    Args:
        covariance: (m, m), symmetric; positive definite but for copies. Of an `Information` copies are
            settled, and it is not inverted again.
        k: how many to pick; with a budget, at most how many.
        start: ``"mi"`` picks the first item by its gain too; ``"hub"`` takes the largest row sum.
        include: picked first, in this order.
        exclude: never picked, but among what the picks should tell about.
        costs: (m,), positive.
        budget: the costs of the picks may add up to this, in the same unit.
        tolerance: items i, j are copies when K_ij >= (1 - tolerance) sqrt(K_ii K_jj).

    Returns:
        The picks in order, and the gain of each in nats. Ties within 1e-9 go to the lowest number. Without a
        budget a gain may be negative: from then on another pick says less about the rest than it takes away
        from it. Groups of copies begin with their leader.

    Raises:
        DegenerateInputError: no covariance, or a singular one; its smallest eigenvalue is named.
        UsageError: `k`, `start`, `include`, `exclude`, `costs` or `budget` makes no sense.
    """
    if start not in get_args(Start):
        raise UsageError(f'no start "{start}".', fix=f"one of: {', '.join(get_args(Start))}")
    if start == "hub" and len(include):
        raise UsageError("the first pick cannot be both the hub and an included one.", fix="drop one of them")
    if (costs is None) != (budget is None):
        raise UsageError("costs and a budget go together.", fix="give both or none")
    m = len(covariance)
    prices = None if costs is None else _prices(costs, m)
    lead = preferred(m, include, exclude, prices)
    field: _Field = (
        covariance
        if isinstance(covariance, LowRank | Information)
        else Information(covariance, tolerance=tolerance, lead=lead)
    )
    candidates = Candidates.of(field, include=include, exclude=exclude)
    if budget is None or prices is None:
        return candidates.greedy(candidates.size(k), start=start)
    return candidates.within(budget, prices, None if k is None else candidates.size(k), start=start)


def copies(kappa: Array, *, tolerance: float = COPIES) -> list[list[int]]:
    """Groups of items that are the same up to `tolerance`, each led by its lowest number.

    The mutual information of a set that holds one of two exact copies is infinite, and a jitter on the
    diagonal does not mend that: it makes the copies the first picks. They must be one item.

    Args:
        kappa: (m, m), a covariance.
        tolerance: an item joins the first leader with kappa_ij >= (1 - tolerance) sqrt(kappa_ii kappa_jj).

    Returns:
        A partition of 0..m-1, in order of the leaders.

    Raises:
        DegenerateInputError: no covariance.
        UsageError: the tolerance is not between 0 and 1.
    """
    leader_of = _leaders(_correlation(kappa)[0], tolerance, np.arange(len(kappa)))
    return [_group(leader_of, leader) for leader in np.unique(leader_of)]


class _Field(Protocol):
    """What the greedy choice reads of a Gaussian process over m items, n of them distinct.

    `items` (n,) are the numbers of the distinct ones, ascending, and `place` (m,) says which of them each
    item is; `variances` (2, n) are the diagonals of K and of its inverse, `sums` (n,) the row sums of K.
    """

    @property
    def items(self) -> Indices: ...
    @property
    def place(self) -> Indices: ...
    @property
    def variances(self) -> Array: ...
    @property
    def sums(self) -> Array: ...
    def columns(self, item: int) -> Array:
        """(2, n), a column of K and of its inverse."""


@dataclass(frozen=True, eq=False)
class LowRank:
    """Covariance S S^T + ridge I of many items; its inverse is never formed (Woodbury).

    Gains are accurate to about 1e-16 / ridge, for rows of S of length 1.

    Attributes:
        factors: (m, r), S.
        ridge: positive; what items do not share with any other.

    Raises:
        DegenerateInputError: no matrix, or a value that is not finite.
        UsageError: the ridge is not positive.
    """

    factors: Array
    ridge: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", np.asarray(self.factors, dtype=np.float64))
        if self.factors.ndim != 2 or not len(self.factors):
            raise DegenerateInputError("the factors must be a matrix of at least one row.")
        if not np.isfinite(self.factors).all():
            raise DegenerateInputError("the factors hold values that are not finite (NaN or infinity).")
        if not 0 < self.ridge < np.inf:
            raise UsageError(f"{self.ridge} is no ridge.", fix="a positive number")

    def __len__(self) -> int:
        return len(self.factors)

    @cached_property
    def items(self) -> Indices:
        """(m,), all."""
        return np.arange(len(self))

    @property
    def place(self) -> Indices:
        """(m,); every item is its own."""
        return self.items

    @cached_property
    def variances(self) -> Array:
        """(2, m), the diagonals of K and of its inverse."""
        lower = np.tril(self._inner[0])
        leverages = np.empty(len(self))
        for first in range(0, len(self), _CHUNK):
            rows = slice(first, first + _CHUNK)
            white = solve_triangular(lower, self.factors[rows].T, lower=True, check_finite=False)
            leverages[rows] = np.einsum("rm,rm->m", white, white)
        norms = np.einsum("mr,mr->m", self.factors, self.factors)
        return np.stack([norms + self.ridge, (1 - leverages) / self.ridge])

    @cached_property
    def sums(self) -> Array:
        """(m,), row sums of K."""
        return np.asarray(self.factors @ self.factors.sum(axis=0) + self.ridge)

    def columns(self, item: int) -> Array:
        """(2, m), a column of K and of its inverse."""
        row = self.factors[item]
        both = np.stack([row, -cho_solve(self._inner, row) / self.ridge])
        columns: Array = both @ self.factors.T
        columns[:, item] += self.ridge, 1 / self.ridge
        return columns

    @cached_property
    def _inner(self) -> tuple[Array, bool]:
        """Cholesky factor of S^T S + ridge I, (r, r)."""
        inner = self.factors.T @ self.factors
        inner.flat[:: len(inner) + 1] += self.ridge
        factor: tuple[Array, bool] = cho_factor(inner, lower=True)
        return factor


class Information:
    """Mutual information of sets of items with all others, where copies count as one item.

    It depends on no scale, so the correlations stand in for the covariance.

    Attributes:
        items: (n,), the leader of each group of copies, ascending; an item without copies is its own.
        place: (m,), which of them stands for each item.
        correlation: (n, n), of the distinct items.
        inverse: (n, n), of that.
        sums: (n,), row sums of their covariance.
    """

    def __init__(
        self, covariance: Array | Covariance, *, tolerance: float = COPIES, lead: ArrayLike = ()
    ) -> None:
        """Group copies and invert.

        Args:
            covariance: (m, m), symmetric; positive definite but for copies.
            tolerance: items i, j are copies when K_ij >= (1 - tolerance) sqrt(K_ii K_jj).
            lead: items that lead their groups, the first the first; the others follow by number.

        Raises:
            DegenerateInputError: no covariance, or a singular one; its smallest eigenvalue is named.
            UsageError: the tolerance is not between 0 and 1.
        """
        matrix = covariance.matrix if isinstance(covariance, Covariance) else covariance
        correlation, scale = _correlation(matrix)
        first = np.asarray(lead, dtype=np.intp)
        order = np.concatenate([first, np.delete(np.arange(len(scale)), first)])
        leader_of = _leaders(correlation, tolerance, order)
        self.items: Indices = np.flatnonzero(leader_of == np.arange(len(scale)))
        self.place: Indices = np.searchsorted(self.items, leader_of)
        if len(self.items) < len(scale):
            correlation = correlation[np.ix_(self.items, self.items)]
        self.correlation = correlation
        self.inverse = _inverse(correlation)
        self.sums: Array = scale[self.items] * (correlation @ scale[self.items])

    def __call__(self, items: Sequence[int]) -> float:
        """1/2 (logdet K_AA + logdet (K^-1)_AA), in nats; copies among the items count once.

        Args:
            items: numbers from 0 to m - 1.
        """
        places = np.unique(self.place[list(items)])
        return float(np.linalg.slogdet(self.both[:, places[:, None], places])[1].sum()) / 2

    def totals(self, items: ArrayLike) -> Array:
        """That of the first of these items, of the first two, and so on, by one factorisation for all sizes.

        Args:
            items: (..., k), in each row no two the same or copies.

        Returns:
            (..., k), in nats.

        Raises:
            DegenerateInputError: the covariance is singular up to rounding.
        """
        places = self.place[np.asarray(items, dtype=np.intp)]
        try:
            factors = np.linalg.cholesky(self.both[:, places[..., :, None], places[..., None, :]])
        except np.linalg.LinAlgError as error:
            raise _not_definite(self.correlation) from error
        pivots = np.log(np.diagonal(factors, axis1=-2, axis2=-1))
        return np.asarray(pivots.sum(axis=0).cumsum(axis=-1))

    def __len__(self) -> int:
        return len(self.place)

    def distinct(self) -> Information:
        """That of the distinct items alone, numbered from 0 to n - 1."""
        alone = Information.__new__(Information)
        alone.items = alone.place = np.arange(len(self.items))
        alone.correlation, alone.inverse, alone.sums = self.correlation, self.inverse, self.sums
        return alone

    def leaders(self, items: Sequence[int]) -> tuple[int, ...]:
        """Those that stand for these items, in the same order, each once."""
        return tuple(dict.fromkeys(self.items[self.place[list(items)]].tolist()))

    @cached_property
    def both(self) -> Array:
        """(2, n, n), the correlation and its inverse."""
        return np.stack([self.correlation, self.inverse])

    @property
    def variances(self) -> Array:
        """(2, n), the diagonals of both."""
        return np.stack([np.diag(self.correlation), np.diag(self.inverse)])

    def columns(self, item: int) -> Array:
        """(2, n), a column of both."""
        return np.stack([self.correlation[item], self.inverse[item]])


def preferred(
    m: int, include: Sequence[int] = (), exclude: Sequence[int] = (), costs: Array | None = None
) -> Indices:
    """(m,), who leads its copies: the included, else the cheapest of those that are not excluded.

    Raises:
        UsageError: an item does not exist, or is both included and excluded.
    """
    included, excluded = _mask(include, m), _mask(exclude, m)
    if (included & excluded).any():
        both = int(np.argmax(included & excluded))
        raise UsageError(f"checkpoint {both} is both included and excluded.", fix="drop one of them")
    order: Indices = np.lexsort((np.zeros(m) if costs is None else costs, excluded, ~included))
    return order


@dataclass(frozen=True, eq=False)
class Candidates:
    """What is chosen from, and what is given of the choice.

    Attributes:
        field: of all items.
        forced: places of those that are picked first.
        allowed: (n,), which may be picked.
    """

    field: _Field
    forced: list[int]
    allowed: Mask

    @classmethod
    def of(cls, field: _Field, *, include: Sequence[int] = (), exclude: Sequence[int] = ()) -> Candidates:
        """All that are not excluded.

        Args:
            field: in which groups of copies are led by the `preferred`.
            include: numbers of those that are picked first, in this order.
            exclude: numbers of those that are not picked.

        Raises:
            UsageError: two of the included are copies, or all are excluded.
        """
        forced: list[int] = field.place[list(include)].tolist()
        if len(set(forced)) < len(forced):
            raise UsageError(
                "two of the included checkpoints are one and the same.",
                why=f"{', '.join(map(str, include))} hold a copy",
                fix="include one of them",
            )
        allowed = ~_mask(exclude, len(field.place))[field.items]
        if not allowed.any():
            raise UsageError("every checkpoint is excluded.", fix="exclude fewer")
        return cls(field, forced, allowed)

    def size(self, k: int | None) -> int:
        """`k`, if so many can be picked.

        Raises:
            UsageError: they cannot.
        """
        if k is None:
            raise UsageError("how many to pick was not said.", fix="-k 5, or costs and a budget")
        most, least = int(self.allowed.sum()), max(len(self.forced), 1)
        if least <= k <= most:
            return k
        m, n = len(self.field.place), len(self.allowed)
        reasons = [("included", len(self.forced))] if k < least else []
        reasons += [("copies of others", m - n), ("excluded", n - most)] if k > most else []
        raise UsageError(
            f"cannot pick {k} of {m} checkpoints.",
            why=" and ".join(f"{number} of them are {what}" for what, number in reasons if number) or None,
            fix=f"-k between {least} and {most}",
        )

    def greedy(self, k: int, *, start: Start = "mi") -> Choice:
        """The greedy choice of `k` of them by mutual information."""
        return self._grown(k, partial(self._merit, start))

    def within(self, budget: float, costs: Array, k: int | None = None, *, start: Start = "mi") -> Choice:
        """The best of the greedy choices by gain / cost^g that keep to the budget.

        Args:
            budget: the costs of the picks may add up to this.
            costs: (m,), positive.
            k: at most how many.
            start: how the first is found.

        Raises:
            UsageError: the budget is too small for what is included, or for any.
        """
        price = costs[self.field.items]
        included = float(price[self.forced].sum())
        if included > budget:
            raise UsageError(
                f"what is included costs {included:,.10g}, the budget is {budget:,.10g}.",
                fix="include less, or allow for more",
            )
        free = self.allowed.copy()
        free[self.forced] = False
        cheapest_first = np.sort(price[free])
        affordable = int(np.searchsorted(np.cumsum(cheapest_first), budget - included, side="right"))
        if not affordable and not self.forced:
            raise UsageError(
                f"the cheapest checkpoint costs {cheapest_first[0]:,.10g}, the budget is {budget:,.10g}.",
                fix="allow for more",
            )
        most = len(self.forced) + affordable if k is None else min(len(self.forced) + affordable, k)

        def merit(exponent: float, picks: list[int], ratios: Array) -> Array:
            within_budget = price <= budget - price[picks].sum()
            # What is picked first gains nothing or more, but for rounding.
            gains = (ratios > 1) | (not picks)
            worth = self._merit(start, picks, np.log(ratios) / price**exponent)
            return np.where(within_budget & gains, worth, -np.inf)

        choices = [self._grown(most, partial(merit, exponent)) for exponent in _EXPONENTS]
        most_told = max(choice.total for choice in choices)
        return next(choice for choice in choices if choice.total >= most_told - _TIE * abs(most_told))

    def _merit(self, start: Start, picks: list[int], merit: Array) -> Array:
        return self.field.sums if start == "hub" and not picks else merit

    def _grown(self, k: int, merit: Merit) -> Choice:
        """Pick up to `k` items: those that are forced, then whatever has most merit.

        Args:
            k: at most how many.
            merit: of each item, from the places picked so far and d p of each item, as at the head of the
                module; -inf where it may not be picked.
        """
        field, free = self.field, self.allowed.copy()
        variances = field.variances.copy()
        factors = np.zeros((2, k, len(free)))
        picks: list[int] = []
        ratios: list[float] = []
        ties: list[tuple[int, ...]] = []
        for t in range(k):
            ratio = variances[0] * variances[1]
            best = self.forced[t : t + 1] or _best(np.where(free, merit(picks, ratio), -np.inf))
            if not best:
                break
            pick = best[0]
            picks.append(pick)
            ratios.append(float(ratio[pick]))
            ties.append(tuple(field.items[best[1:]].tolist()))
            column = field.columns(pick) - np.matmul(factors[:, None, :t, pick], factors[:, :t])[:, 0]
            factors[:, t] = column / np.sqrt(variances[:, pick, None])
            variances -= factors[:, t] ** 2
            # Nothing is left of a pick but rounding, of either sign.
            variances[:, pick] = 1
            free[pick] = False
        return Choice(
            picks=tuple(field.items[picks].tolist()),
            gains=tuple((np.log(ratios) / 2).tolist()),
            ties=tuple(ties),
            copies=groups(self.field),
        )


def groups(field: _Field) -> tuple[tuple[int, ...], ...]:
    """Its items that count as one, where they are several, led by the one that stands for them."""
    if len(field.items) == len(field.place):
        return ()
    leader_of = field.items[field.place]
    repeated = field.items[np.bincount(field.place) > 1]
    return tuple(tuple(_group(leader_of, leader)) for leader in repeated)


def _best(merit: Array) -> list[int]:
    """Places of the largest merit, up to rounding; none where all are -inf."""
    best = merit.max()
    if best == -np.inf:
        return []
    tied: list[int] = np.flatnonzero(merit >= best - _TIE * abs(best)).tolist()
    return tied


def _mask(items: Sequence[int], m: int) -> Mask:
    """(m,), which items are named."""
    mask = np.zeros(m, dtype=bool)
    for item in items:
        if not 0 <= item < m:
            raise UsageError(f"there is no checkpoint {item}.", why=f"they are numbered 0 to {m - 1}")
        mask[item] = True
    return mask


def _prices(costs: ArrayLike, m: int) -> Array:
    prices = np.asarray(costs, dtype=np.float64)
    if prices.shape != (m,):
        raise UsageError(f"{m} checkpoints need {m} costs.", why=f"the costs have shape {prices.shape}")
    wrong = ~(np.isfinite(prices) & (prices > 0))
    if wrong.any():
        item = int(np.argmax(wrong))
        raise UsageError(f"checkpoint {item} costs {prices[item]:g}; a cost is a positive number.")
    return prices


def _correlation(covariance: Array) -> tuple[Array, Array]:
    """The covariance at unit diagonal (m, m), and the standard deviations (m,) that were divided by."""
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.ndim != 2 or len(set(matrix.shape)) != 1 or not matrix.size:
        raise DegenerateInputError(f"a covariance is a square matrix, this one has shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        i, j = np.argwhere(~np.isfinite(matrix))[0]
        raise DegenerateInputError(f"entry ({i}, {j}) of the covariance is not a number.")
    skew = matrix - matrix.T
    if skew.max() > _SKEW * max(matrix.max(), -matrix.min()):
        i, j = np.unravel_index(int(skew.argmax()), skew.shape)
        raise DegenerateInputError(
            f"the covariance is not symmetric: entry ({i}, {j}) is {matrix[i, j]:g} and ({j}, {i}) is"
            f" {matrix[j, i]:g}."
        )
    variances = np.diag(matrix)
    if variances.min() <= 0:
        raise _not_definite(matrix)
    scale = np.sqrt(variances)
    correlation: Array = np.outer(scale, scale)
    np.divide(matrix, correlation, out=correlation)
    if max(correlation.max(), -correlation.min()) > 1 + _ROUNDING:
        raise _not_definite(correlation)
    np.fill_diagonal(correlation, 1.0)
    return correlation, scale


def _leaders(correlation: Array, tolerance: float, order: Indices) -> Indices:
    """(m,), the leader of each item: the first in `order` of those it is a copy of, and that lead."""
    if not 0 <= tolerance < 1:
        raise UsageError(f"{tolerance:g} is no tolerance.", fix="a number from 0 to below 1")
    near = correlation >= 1 - tolerance
    leader_of = np.arange(len(near))
    free = np.count_nonzero(near, axis=1) > 1
    for item in order[free[order]]:
        if free[item]:
            group = near[item] & free
            leader_of[group] = item
            free &= ~group
    return leader_of


def _group(leader_of: Indices, leader: int) -> list[int]:
    """All of a group, its leader first."""
    members: list[int] = np.flatnonzero(leader_of == leader).tolist()
    return [int(leader), *(item for item in members if item != leader)]


def _inverse(correlation: Array) -> Array:
    """(n, n), from the Cholesky factor."""
    factor, failed = dpotrf(correlation.T, lower=True)
    if failed:
        raise _not_definite(correlation)
    inverse: Array = dpotri(factor, lower=True, overwrite_c=True)[0]
    inverse += np.tril(inverse, -1).T
    # Rounding can let a singular matrix pass; its inverse gives it away.
    if np.linalg.norm(correlation) * np.linalg.norm(inverse.T) * np.finfo(np.float64).eps > 0.5:
        raise _not_definite(correlation)
    return inverse


def _not_definite(matrix: Array) -> DegenerateInputError:
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    return DegenerateInputError(
        f"the covariance is not positive definite (smallest eigenvalue {smallest:.3g}).",
        why="some checkpoints are combinations of others on this probe, or it has too few words",
        fix="--shrink 0.01, probe more words, or leave the near-copies out",
    )
