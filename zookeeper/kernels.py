"""Centred kernel alignment of feature sets: the covariance between the tasks behind checkpoints.

The task of a checkpoint is a sample of a Gaussian process whose covariance is the alignment of the
checkpoints' probe features (Huang, Qiu, Church, NeurIPS 2021). With centred features F_i (n, d_i) and
K_i = F_i F_i^T,

    kappa_ij = <K_i, K_j> / (|K_i| |K_j|),   <K_i, K_j> = |F_i^T F_j|_F^2,

the centred linear kernel alignment (Cristianini et al. 2001; Kornblith et al. 2019). Being the Gram
matrix of the unit vectors vec(K_i)/|K_i| it is positive semi-definite with unit diagonal. It stays so when
the same entries of every K_i are left out: those of two words of one sentence, which are alike whatever
read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.labels import finite
from zookeeper.results import Covariance

Array = NDArray[np.float64]
Features = NDArray[np.floating]
Source = Features | Callable[[], Features]
"""Features (n, d), which may be a memory map, or a function that reads them and may be called again."""

MEMORY = 2**32
"""Bytes of features to hold at a time, unless told otherwise."""

_ROWS = 2048
_DUAL_EDGE = 512
_DUAL_NUMBERS = 2**24
_NOTHING = 1e-6
_NOTHING_LEFT = "a set of features has nothing to compare but words of the same sentence."


class Thousandths:
    """Tells `advance` of work as it is done, in whole thousandths that come to 1000.

    Args:
        total: work there is, in any unit.
        advance: called with the thousandths that were done since it was last called.
    """

    def __init__(self, total: int, advance: Callable[[int], None]) -> None:
        self._total = 1000 * total
        self._done = 0
        self._advance = advance

    def part(self, work: int) -> Callable[[int], None]:
        """An `advance` for that much of the work."""

        def advance(share: int) -> None:
            told = 1000 * self._done // self._total
            self._done += share * work
            self._advance(1000 * self._done // self._total - told)

        return advance

    def add(self, work: int) -> None:
        """That much was done."""
        self.part(work)(1000)


def centred(features: Features) -> Features:
    """Features less their column means, scaled so that the largest magnitude is 1.

    Read in slices of rows, so that a memory map is never held as a whole.

    Args:
        features: (n, d), finite; any scale.

    Returns:
        (n, d), in single precision where the features have no more, after centring in double. The alignment
        does not depend on the scale, the products' range does.

    Raises:
        DegenerateInputError: a value is not finite, or every row is the same.
        UsageError: the features have not two dimensions.
    """
    features = loaded(features)
    slices = _slices(len(features), _ROWS)
    total = np.zeros(features.shape[1])
    low, high = np.full_like(total, np.inf), np.full_like(total, -np.inf)
    for rows in slices:
        part = finite(features[rows])
        total += part.sum(axis=0)
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
    mean = total / max(len(features), 1)
    largest = float(np.maximum(high - mean, mean - low).max(initial=0.0))
    # Rounding leaves about 1e-16 of a constant column; that is not a feature.
    if largest <= 1e-12 * float(np.maximum(high, -low).max(initial=0.0)):
        raise DegenerateInputError("every row of the features is the same.")
    shifted = np.empty(features.shape, _precision(features))
    for rows in slices:
        shifted[rows] = (np.asarray(features[rows], dtype=np.float64) - mean) / largest
    return shifted


def product(left: Features, right: Features) -> Array:
    """F^T G of (n, d) and (n, e) features, (d, e); in their own precision, summed over slices in double."""
    total = np.zeros((left.shape[1], right.shape[1]))
    for rows in _slices(len(left), _ROWS):
        total += left[rows].T @ right[rows]
    return total


def inner_products(
    left: Sequence[Source],
    right: Sequence[Source] | None = None,
    *,
    lengths: ArrayLike | None = None,
    memory: int = MEMORY,
    advance: Callable[[int], None] = lambda _: None,
) -> Array:
    """Inner products <K_i, K_j> of the kernels of feature sets over the same rows, each `centred`.

    Chooses the cheaper of two exact forms: the products F_i^T F_j of every pair (about m^2 n d^2
    operations), or the kernels K_i block by block (about m n^2 d + m^2 n^2 / 2). What one pair comes to
    depends on no other set up to rounding, so that rows may be computed when their sets arrive.

    Args:
        left: m sets (n, d_i), with the same rows in the same order. Functions are called once if all sets
            fit into memory, else again for each part of the matrix that needs them.
        right: k other sets; by default the same.
        lengths: (g,), words of each sentence in order, which sum to n; pairs of words of one sentence are
            then left out of all kernels.
        memory: bytes that the centred sets may take at a time.
        advance: called with the share of the work that was done, summing to 1000.

    Returns:
        (m, m), symmetric, positive semi-definite up to rounding, its diagonal |K_i|^2; or (m, k).

    Raises:
        DegenerateInputError: no set, different numbers of rows, values that are not finite, a set whose
            rows are all the same, or nothing left without pairs of one sentence.
        UsageError: two sets do not fit into `memory`, `lengths` are not those of the rows, or a set has not
            two dimensions.
    """
    if not len(left) or (right is not None and not len(right)):
        raise DegenerateInputError("a covariance needs at least one set of features.")
    shelf = _Shelf([*left] if right is None else [*left, *right], memory)
    edges = None if lengths is None else sentence_edges(lengths, shelf.n)
    m = len(left)
    tiles = shelf.tiles(m, symmetric=right is None)
    offset = 0 if right is None else m
    inner = np.zeros((m, len(shelf) - offset))
    progress = Thousandths(sum(len(a) * len(b) for a, b in tiles), advance)
    for a, b in tiles:
        block = _compared(*shelf.hold(a, b), edges, progress.part(len(a) * len(b)))
        inner[a.start : a.stop, b.start - offset : b.stop - offset] = block
    if right is None:
        below = np.tril_indices(m, -1)
        inner[below] = inner.T[below]
    return inner


def normalised(inner: Array) -> Array:
    """The covariance kappa_ij = <K_i, K_j> / (|K_i| |K_j|) of inner products.

    Args:
        inner: (m, m), of `inner_products`.

    Returns:
        (m, m), exactly symmetric, with a diagonal of exactly 1.

    Raises:
        DegenerateInputError: a kernel is zero.
    """
    squares = np.diag(inner)
    if not (squares > 0).all():
        raise DegenerateInputError(_NOTHING_LEFT)
    norms = np.sqrt(squares)
    kappa: Array = inner / np.outer(norms, norms)
    kappa = (kappa + kappa.T) / 2
    np.fill_diagonal(kappa, 1.0)
    return kappa


def covariance(
    features: Sequence[Source],
    *,
    names: Sequence[str] | None = None,
    lengths: ArrayLike | None = None,
    memory: int = MEMORY,
    advance: Callable[[int], None] = lambda _: None,
) -> Covariance:
    """Exact task covariance of several feature sets over the same rows.

    Args:
        features: m sets, as `inner_products`.
        names: of the m sets; by default "0", "1", ...
        lengths: as `inner_products`; the covariance is then `debiased`.
        memory: as `inner_products`.
        advance: as `inner_products`.

    Raises:
        DegenerateInputError: as `inner_products`, or names that are not m different ones.
        UsageError: as `inner_products`.
    """
    inner = inner_products(features, lengths=lengths, memory=memory, advance=advance)
    named = map(str, range(len(features))) if names is None else names
    return Covariance(tuple(named), normalised(inner), debiased=lengths is not None)


def alignment(left: Source, right: Source) -> float:
    """Centred linear kernel alignment of two feature sets over the same rows, in [0, 1].

    Args:
        left: (n, d).
        right: (n, e).

    Raises:
        DegenerateInputError: as `inner_products`.
    """
    return float(normalised(inner_products([left, right]))[0, 1])


def loaded(source: Source) -> Features:
    """The features (n, d) of a source.

    Raises:
        UsageError: they have not two dimensions.
    """
    features: Features = np.asanyarray(source() if callable(source) else source)
    if features.ndim != 2:
        raise UsageError(f"features must have two dimensions, rows and columns; these have {features.ndim}.")
    return features


def sentence_edges(lengths: ArrayLike, n: int) -> NDArray[np.int64]:
    """Where sentences begin, and where the last one ends.

    Args:
        lengths: (g,), words of each.
        n: words there are.

    Returns:
        (g + 1,), from 0 to n.

    Raises:
        UsageError: they are not g numbers above 0 that sum to n.
        DegenerateInputError: there is one sentence only.
    """
    words = np.asarray(lengths)
    if words.ndim != 1 or not np.issubdtype(words.dtype, np.integer) or (words < 1).any():
        raise UsageError("the lengths of sentences must be whole numbers above 0.")
    if words.sum() != n:
        raise UsageError(f"the sentences have {words.sum():,} words and the features {n:,} rows.")
    if len(words) < 2:
        raise DegenerateInputError(
            "all words are of one sentence.",
            why="what varies from sentence to sentence cannot be seen in one",
            fix="probe more sentences",
        )
    return np.concatenate([[0], np.cumsum(words, dtype=np.int64)])


class _Shelf:
    """Centred sets of features, as many at a time as fit into memory.

    Args:
        sources: all sets there are.
        memory: bytes.
    """

    def __init__(self, sources: Sequence[Source], memory: int) -> None:
        self._sources = sources
        self._memory = memory
        self._sizes: list[int] = []
        self._held: dict[int, Features] = {}
        heights = set()
        for i, source in enumerate(sources):
            features = loaded(source)
            heights.add(len(features))
            self._sizes.append(features.size * _precision(features).itemsize)
            if self._all_fit:
                self._held[i] = centred(features)
            else:
                self._held.clear()
        if len(heights) != 1:
            raise DegenerateInputError(
                f"the sets of features have different numbers of rows: {sorted(heights)}."
            )
        (self.n,) = heights

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def _all_fit(self) -> bool:
        return sum(self._sizes) <= self._memory

    def tiles(self, m: int, *, symmetric: bool) -> list[tuple[range, range]]:
        """Parts of the matrix, each of which fits into memory.

        Args:
            m: sets that are rows; the others are columns.
            symmetric: whether there are none, and the rows are columns too; then what is below the diagonal
                is left out, and the parts on it come first in each row of parts.

        Raises:
            UsageError: two sets do not fit.
        """
        sizes = self._sizes
        largest = sorted(sizes)[-2:] if symmetric else [max(sizes[:m]), max(sizes[m:])]
        if sum(largest) > self._memory:
            raise UsageError(
                f"features that are compared take {sum(largest):,} bytes; only {self._memory:,} may be held.",
                fix=f"--memory {sum(largest)}",
            )
        limit = self._memory if self._all_fit else min(self._memory // 2, self._memory - max(largest))
        rows = self._tiled(range(m), limit)
        if symmetric:
            return [(a, b) for i, a in enumerate(rows) for b in rows[i:]]
        return [(a, b) for a in rows for b in self._tiled(range(m, len(sizes)), limit)]

    def _tiled(self, items: range, limit: int) -> list[range]:
        """Runs of items within the limit; an item that is beyond it is alone."""
        starts, filled = [items.start], 0
        for i in items:
            filled += self._sizes[i]
            if filled > limit and i > starts[-1]:
                starts.append(i)
                filled = self._sizes[i]
        return [range(a, b) for a, b in zip(starts, [*starts[1:], items.stop], strict=True)]

    def hold(self, rows: range, columns: range) -> tuple[list[Features], list[Features]]:
        """Two runs of sets; one list twice where they are the same run."""
        wanted = {*rows, *columns}
        if not self._all_fit:
            self._held = {i: features for i, features in self._held.items() if i in wanted}
        for i in sorted(wanted - self._held.keys()):
            self._held[i] = centred(loaded(self._sources[i]))
        first = [self._held[i] for i in rows]
        return first, first if rows == columns else [self._held[i] for i in columns]


def _precision(features: Features) -> np.dtype[np.floating]:
    single = np.issubdtype(features.dtype, np.floating) and features.dtype.itemsize <= 4
    return np.dtype(np.float32 if single else np.float64)


def _slices(n: int, step: int) -> list[slice]:
    return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def _compared(
    left: Sequence[Features],
    right: Sequence[Features],
    edges: NDArray[np.int64] | None,
    advance: Callable[[int], None],
) -> Array:
    """<K_i, K_j> of sets in memory, less what is within sentences if their edges are given."""
    inner = _inner(left, right, advance)
    if edges is None:
        return inner
    rest = inner - _within_sentences(left, right, edges)
    if left is right and (np.diag(rest) <= _NOTHING * np.diag(inner)).any():
        raise DegenerateInputError(_NOTHING_LEFT)
    return rest


def _inner(
    left: Sequence[Features], right: Sequence[Features], advance: Callable[[int], None] = lambda _: None
) -> Array:
    """<K_i, K_j> of sets in memory, by the form that multiplies less; `right` may be `left` itself."""
    n, same = len(left[0]), left is right
    d, e = sum(f.shape[1] for f in left), sum(f.shape[1] for f in right)
    squares = sum(f.shape[1] ** 2 for f in left)
    primal = n * ((d * d + squares) // 2 if same else d * e)
    kernels = d + len(left) ** 2 // 2 if same else d + e + len(left) * len(right)
    return (_primal if 2 * primal <= n * n * kernels else _dual)(left, right, advance)


def _primal(left: Sequence[Features], right: Sequence[Features], advance: Callable[[int], None]) -> Array:
    """<K_i, K_j> as |F_i^T F_j|^2, a pair at a time."""
    same = left is right
    inner = np.zeros((len(left), len(right)))
    pairs = [(i, j) for i in range(len(left)) for j in range(i if same else 0, len(right))]
    progress = Thousandths(len(pairs), advance)
    for i, j in pairs:
        cross = product(left[i], right[j])
        inner[i, j] = np.vdot(cross, cross)
        progress.add(1)
    return np.triu(inner) + np.triu(inner, 1).T if same else inner


def _dual(left: Sequence[Features], right: Sequence[Features], advance: Callable[[int], None]) -> Array:
    """<K_i, K_j> from blocks of the n x n kernels of all sets; off-diagonal blocks count twice."""
    same, m = left is right, len(left)
    sets = left if same else [*left, *right]
    inner = np.zeros((m, len(right)))
    edge = min(_DUAL_EDGE, max(1, int((_DUAL_NUMBERS / len(sets)) ** 0.5)), len(left[0]))
    slices = _slices(len(left[0]), edge)
    blocks = [(p, q) for i, p in enumerate(slices) for q in slices[i:]]
    progress = Thousandths(len(blocks), advance)
    room = np.empty((len(sets), edge * edge), np.result_type(*sets))
    for p, q in blocks:
        kernels = room[:, : (p.stop - p.start) * (q.stop - q.start)]
        for features, kernel in zip(sets, kernels, strict=True):
            np.matmul(features[p], features[q].T, out=kernel.reshape(p.stop - p.start, -1))
        inner += (1.0 if p == q else 2.0) * (kernels[:m] @ (kernels if same else kernels[m:]).T)
        progress.add(1)
    return inner


def _within_sentences(left: Sequence[Features], right: Sequence[Features], edges: NDArray[np.int64]) -> Array:
    """What of the inner products is due to pairs of words of one sentence."""
    inner = np.zeros((len(left), len(right)))
    for sentence in map(slice, edges[:-1], edges[1:]):
        words = [features[sentence] for features in left]
        inner += _inner(words, words if left is right else [features[sentence] for features in right])
    return inner
