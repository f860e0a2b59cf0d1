r"""How sure alignments are, and choices made by them: what another sample of sentences would have given.

The inner product of two kernels is a sum over pairs of words, T_ij = sum_pq k_i(p,q) k_j(p,q). What the words
of sentence s have to do with all others is

    H_s[i, j] = sum_{p in s} h_ij(p),   h_ij(p) = x_p^T (X_i^T X_j) y_p,   sum_s H_s = T,

and with w_s copies of each sentence T becomes, to first order, T + 2 sum_s (w_s - 1) H_s: the infinitesimal
jackknife (Jaeckel 1972; Efron 1982), over sentences because the words of one are not independent. One pass
over features that principal components have made narrow serves all standard errors and replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from zookeeper.errors import DegenerateInputError
from zookeeper.kernels import (
    Array,
    Features,
    Source,
    Thousandths,
    centred,
    loaded,
    normalised,
    product,
    sentence_edges,
)

RANK = 32
"""Principal components of each set of features that are looked at, unless told otherwise."""

# At 1/2 a set of features that rests on the light sentences alone could come to nothing.
_LIGHTEST = 0.49

Single = NDArray[np.float32]
K = TypeVar("K", bound=Sized)


@dataclass(frozen=True, eq=False)
class Jackknife:
    """How the alignments of m feature sets move with the sentences of the probe.

    Attributes:
        shares: (g, m (m + 1) / 2), of each sentence in the inner products of pairs i <= j, row by row.
    """

    shares: Single

    @property
    def arrays(self) -> dict[str, Single]:
        """What to store; ``Jackknife(**arrays)`` is the same again."""
        return {"shares": self.shares}

    def __len__(self) -> int:
        return int((2 * self.shares.shape[1]) ** 0.5)

    def among(self, items: Sequence[int]) -> Jackknife:
        """That of some of the feature sets, in this order, each once."""
        first, second = (np.asarray(items)[places] for places in np.triu_indices(len(items)))
        low, high = np.minimum(first, second), np.maximum(first, second)
        return Jackknife(np.ascontiguousarray(self.shares[:, self._starts[low] + high - low]))

    @cached_property
    def inner(self) -> Array:
        """(m, m), the inner products of the kernels."""
        return self._square(self.shares.sum(axis=0, dtype=np.float64))

    @cached_property
    def support(self) -> Array:
        """(m,), how many sentences each kernel rests on: the effective size of a sample with these shares.

        (sum_s H_s,ii)^2 / sum_s H_s,ii^2 (Kish 1965), from 1 to g. Where it is small a few words make the
        kernel, and what is of first order in sentences, as errors here are, says little.
        """
        own = self.shares[:, self._starts].astype(np.float64)
        return np.asarray(own.sum(axis=0) ** 2 / np.square(own).sum(axis=0))

    @cached_property
    def standard_error(self) -> Array:
        """(m, m), of each alignment over samples of as many sentences; 0 on the diagonal.

        The root of the sum over sentences of what each contributes to the alignment's differential,
        d kappa_ij = kappa_ij (2 H_ij/T_ij - H_ii/T_ii - H_jj/T_jj); these sum to nothing.
        It is too small for features that are off the scale on a few words: what their alignment would be
        without these, no derivative tells.
        """
        squares = np.diag(self.inner)
        kappa = normalised(self.inner)
        own = self.shares[:, self._starts] / squares
        error = np.zeros(len(self) * (len(self) + 1) // 2)
        for i, start in enumerate(self._starts):
            pairs = slice(start, start + len(self) - i)
            scale = np.sqrt(squares[i] * squares[i:])
            moves = 2 * self.shares[:, pairs] / scale - kappa[i, i:] * (own[:, [i]] + own[:, i:])
            error[pairs] = np.sqrt(np.einsum("gj,gj->j", moves, moves))
        error[self._starts] = 0
        return self._square(error)

    def replicates(self, kappa: Array, n: int) -> Iterator[Array]:
        """Covariances that other samples of sentences might have given, always the same.

        Each lets a fifth of the sentences, drawn at random, weigh about 3 times as much as they do and the
        others half as much: weights w_s of mean and variance 1, as the counts of a bootstrap. The inner
        products come to sum_s (2 w_s - 1) H_s; every H_s is positive semi-definite and no factor is below 0,
        so these are a covariance R_w. It is of the narrow features; to centre on `kappa` it is carried over
        by the A with A R A^T = kappa that moves least, that from the Gaussian of R to the Gaussian of kappa
        (Olkin, Pukelsheim 1982). What is small in kappa so keeps its relative error, and nothing becomes
        indefinite. What R has nothing of, but for rounding, stays as it is in kappa. With fewer than five
        sentences they spread too little.

        Args:
            kappa: (m, m), the covariance that they are replicates of.
            n: how many.

        Yields:
            (m, m), positive semi-definite up to rounding, with unit diagonal.
        """
        narrow, scale = normalised(self.inner), np.sqrt(np.diag(self.inner))
        carry = _transport(narrow, kappa)
        rest = kappa - carry @ narrow @ carry.T
        for deviations in _deviations(len(self.shares), n):
            moved = self._square(deviations @ self.shares)
            yield normalised(carry @ ((self.inner + 2 * moved) / np.outer(scale, scale)) @ carry.T + rest)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """(m,), the places of the pairs (i, i)."""
        m = len(self)
        return np.arange(m) * (2 * m + 1 - np.arange(m)) // 2

    def _square(self, pairs: NDArray[np.floating]) -> Array:
        """The symmetric matrix of the pairs i <= j."""
        m = len(self)
        square = np.zeros((m, m))
        square[np.triu_indices(m)] = pairs
        return square + np.triu(square, 1).T


@dataclass(frozen=True, eq=False)
class Stability:
    """What becomes of a choice when sentences vary.

    Attributes:
        share: (m,), of the replicates that choose each item.
        regret: (r,), by how much the choice falls short, on each replicate, of what that would have chosen.
        totals: (r, k), what its first pick, its first two, and so on, come to on each replicate.
    """

    share: Array
    regret: Array
    totals: Array


def stability(
    picks: Sequence[int],
    replicates: Iterable[K],
    choose: Callable[[K], Sequence[int]],
    totals: Callable[[K, Sequence[int]], Array],
) -> Stability:
    """How often a choice is made again, and what it costs where another would be made.

    Args:
        picks: the choice.
        replicates: r covariances (m, m), or whatever stands for one and has m items.
        choose: what would be picked by a covariance.
        totals: of the first pick, the first two, and so on, by a covariance, in nats; larger is better.

    Raises:
        DegenerateInputError: no replicate.
    """
    chosen, regret, reached = [], [], []
    for kappa in replicates:
        others = choose(kappa)
        chosen.append(np.isin(np.arange(len(kappa)), others))
        reached.append(totals(kappa, picks))
        alike = set(others) == set(picks)  # and then the rest is rounding
        regret.append(0.0 if alike else totals(kappa, others)[-1] - reached[-1][-1])
    if not chosen:
        raise DegenerateInputError("the stability of a choice needs at least one replicate.")
    return Stability(np.mean(chosen, axis=0), np.array(regret), np.array(reached))


def jackknife(
    features: Sequence[Source],
    lengths: ArrayLike,
    *,
    rank: int = RANK,
    advance: Callable[[int], None] = lambda _: None,
) -> Jackknife:
    """How the alignments of feature sets move with sentences, at 4 g m (m + 1) / 2 bytes.

    Args:
        features: m sets, as `zookeeper.kernels.inner_products`; one is held at a time.
        lengths: (g,), words of each sentence in order.
        rank: principal components that are looked at.
        advance: called with the share of the work that was done, summing to 1000.

    Raises:
        DegenerateInputError: no set, one sentence only, values that are not finite, or a set whose rows are
            all the same.
        UsageError: `lengths` are not those of the rows.
    """
    if not len(features):
        raise DegenerateInputError("a covariance needs at least one set of features.")
    m = len(features)
    progress = Thousandths(2 * m, advance)
    narrow = []
    for source in features:
        narrow.append(reduced(loaded(source), rank))
        progress.add(1)
    if len(heights := {len(X) for X in narrow}) != 1:
        raise DegenerateInputError(f"the sets of features have different numbers of rows: {sorted(heights)}.")
    edges = sentence_edges(lengths, len(narrow[0]))
    shares = np.empty((len(edges) - 1, m * (m + 1) // 2), np.float32)
    pair = 0
    for i, X in enumerate(narrow):
        for Y in narrow[i:]:
            h = np.einsum("nd,nd->n", X @ product(X, Y).astype(np.float32), Y)
            shares[:, pair] = np.add.reduceat(h, edges[:-1])
            pair += 1
        progress.add(1)
    return Jackknife(shares)


def reduced(features: Features, rank: int) -> Single:
    """Principal components of features, scaled so that their kernel has norm 1.

    Args:
        features: (n, d), as `centred`.
        rank: how many at most.

    Returns:
        (n, min(rank, n, d)), in single precision, with kernel entries of at most 1.
    """
    X = centred(features)
    n, d = X.shape
    gram = product(X, X) if d <= n else product(X.T, X.T)
    k = min(rank, n, d)
    values, vectors = eigh(gram, subset_by_index=[len(gram) - k, len(gram) - 1])
    values = np.maximum(values, 0)
    components = X @ vectors.astype(X.dtype) if d <= n else vectors * np.sqrt(values)
    narrow: Single = (components / np.sqrt(np.linalg.norm(values))).astype(np.float32)
    return narrow


def _deviations(g: int, n: int) -> Iterator[Single]:
    """By how much the weights (g,) of sentences differ from 1 in each of n draws: two values, mean 0."""
    heavy = max(1, g // 5)
    odds = heavy / (g - heavy)
    light = min(float(np.sqrt(odds * (1 - 1 / g))), _LIGHTEST)
    rng = np.random.default_rng(0)
    for _ in range(n):
        deviations = np.full(g, -light, np.float32)
        deviations[rng.permutation(g)[:heavy]] = light / odds
        yield deviations


def _transport(source: Array, target: Array) -> Array:
    """The positive semi-definite A with A S A^T = T, T^1/2 (T^1/2 S T^1/2)^-1/2 T^1/2.

    Where S is zero, but for rounding, A S A^T is less than T by a positive semi-definite matrix.
    """
    root = _power(target, 0.5)
    # Of the eigenvalues of a product of both the small ones are no noise: they are as small as a square.
    return root @ _power(root @ _power(source, 1.0) @ root, -0.5, precision=np.float64) @ root


def _power(matrix: Array, exponent: float, *, precision: type[np.floating] = np.float32) -> Array:
    """A power of a positive semi-definite matrix, on what is not its kernel to that precision."""
    values, vectors = eigh(matrix)
    kept = values > len(matrix) * np.finfo(precision).eps * values[-1]
    return np.asarray((vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T)
