r"""Fixed-size vectors, one a checkpoint, whose dot product is the alignment.

With K_i = F_i F_i^T of centred features F_i (n, d_i), scaled to unit length, the alignment of two
checkpoints is <K_i, K_j>. Let Q (n, q) be an orthonormal basis that all checkpoints on one probe share,
orthogonal to 1. Then

    K_i = Q B_i Q^T + R_i,   B_i = Q^T K_i Q,   <K_i, K_j> = <B_i, B_j> + <R_i, R_j>   exactly.

A signature holds B_i as it is, and the residual R_i as its Kronecker sketch

    G^T R_i H = (G^T F_i) (H^T F_i)^T / |F_i F_i^T| - (Q^T G)^T B_i (Q^T H),

(t, t), scaled to the length of R_i; G, H (n, t) have one random sign in each row. It takes one pass over the
features, in any order of rows, with a state whose size does not depend on n. So a checkpoint is compared
with a zoo without its features, and a zoo of m checkpoints costs m passes instead of m^2 products.

How good it is. With eps_i = |R_i|, which is known of each checkpoint, the basis alone is off by
<R_i, R_j> <= eps_i eps_j. The sketch estimates that term: with a standard error of about eps_i eps_j / t for
residuals of flat spectrum, which t^2 independent products see, and of at most eps_i eps_j / sqrt(t) for
residuals of rank one. Half precision adds about 1e-4, and never more than 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from zookeeper.errors import DegenerateInputError, UsageError

Array = NDArray[np.float64]
Singles = NDArray[np.float32]
Features = NDArray[np.floating]
Rows = NDArray[np.integer]

_BLOCK = 1024
_PIECE = 8192
_SPARE = 32
_NOISE = 1e-6
_HALF = 1e-4  # what half precision adds to an error


@dataclass(frozen=True, eq=False)
class Basis:
    """What all signatures on one probe share; signatures on different bases cannot be compared.

    Attributes:
        vectors: Q (n, q), orthonormal, each column orthogonal to 1; the more important ones first.
        t: width of the sketch of what lies outside them.
        seed: of the sketch, which is drawn again when it is needed.
    """

    vectors: Singles
    t: int
    seed: int

    @classmethod
    def fit(
        cls,
        features: Sequence[Features | Callable[[], Features]],
        *,
        q: int = 256,
        t: int = 256,
        seed: int = 0,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Basis:
        """The leading eigenvectors of the mean kernel of some checkpoints, the anchors.

        Nystrom's approximation A ~ Y (Z^T Y)^-1 Y^T of A = sum_i K_i / |K_i| from Y = A Z (Halko,
        Martinsson, Tropp 2011, section 5.5), where Z (n, 2q + 32) has one random sign in each row. One
        reading of each anchor comes within a few per cent of the residuals that the best q vectors leave.

        Args:
            features: (n, d_i) of each anchor, with the same rows in the same order, or functions that load
                them; each is called once, and what it returns let go before the next.
            q: vectors at most; there are no more than n - 1, nor than the anchors' kernels have directions.
            t: width of the sketch.
            seed: of all that is drawn.
            advance: called with the share of the work that was done, summing to 1000.

        Raises:
            DegenerateInputError: no anchor, anchors with different numbers of rows, values that are not
                finite, or an anchor whose rows are all the same.
            UsageError: `q` or `t` is below 1.
        """
        if q < 1 or t < 1:
            raise UsageError(f"a basis of {q} vectors with a sketch of width {t} is none.", fix="1 or more")
        image: _Image | None = None
        for done, source in enumerate(features):
            anchor = np.asarray(source() if callable(source) else source)
            image = image or _Image(len(anchor), 2 * q + _SPARE, seed)
            try:
                image.add(anchor)
            except DegenerateInputError as error:
                raise DegenerateInputError(f"anchor {done + 1} of {len(features)}: {error}") from error
            del anchor
            advance(1000 * (done + 1) // len(features) - 1000 * done // len(features))
        if image is None:
            raise DegenerateInputError("a basis needs at least one set of features.")
        return cls(image.leading(q), t, seed)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def q(self) -> int:
        """Number of vectors."""
        return int(self.vectors.shape[1])

    @cached_property
    def sketches(self) -> csr_array:
        """[G H 1] (n, 2t + 1), with one random sign of G and of H in each row.

        CountSketch (Charikar, Chen, Farach-Colton 2002). It costs a t-th of Gaussian columns, and its
        variance is not larger: numbers that weigh much are met once each.
        """
        n = len(self)
        ones = csr_array(np.ones((n, 1), dtype=np.float32))
        left, right = (_signs(self.seed, stream, n, self.t) for stream in (1, 2))
        return hstack([left, right, ones], format="csr")

    @cached_property
    def overlaps(self) -> tuple[Array, Array]:
        """Q^T G and Q^T H, (q, t) each."""
        left, right, _ = np.split(self.sketches.T @ self.vectors.astype(np.float64), [self.t, 2 * self.t])
        return left.T, right.T


@dataclass(frozen=True, eq=False)
class Signature:
    """A checkpoint on a basis.

    Attributes:
        vector: (q(q+1)/2 + t^2,), of unit length up to rounding: the lower triangle of B row by row, its
            off-diagonal entries times sqrt(2), and the sketch of the residual, scaled to its length. The
            leading blocks of B are prefixes of it.
        residual: eps, the length of the part of the unit kernel outside the basis, in [0, 1].
        t: width of the sketch.
    """

    vector: NDArray[np.float16]
    residual: float
    t: int


class Signer:
    """Takes the features of one checkpoint in as they come, and makes its signature of them.

    Holds (q + 2t + 1 + d) d double-precision numbers beside the basis, which is shared.

    Args:
        basis: of the probe that is read.
    """

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._seen = np.zeros(len(basis), dtype=bool)
        self._origin: _Origin | None = None
        self._inside: Array = np.zeros(0)
        self._sketched: Array = np.zeros(0)
        self._gram: Array = np.zeros(0)

    def add(self, rows: Rows, features: Features) -> None:
        """Take some rows in.

        Blocks of some hundred rows are best; the first is where the zero of the features comes from.

        Args:
            rows: (r,), their numbers on the probe, in any order, each once in all.
            features: (r, d), any scale.

        Raises:
            DegenerateInputError: a row that was there before or is not of the probe, features of another
                shape, or values that are not finite.
        """
        rows, features = np.asarray(rows), np.asarray(features)
        self._register(rows)
        if features.ndim != 2 or len(features) != len(rows):
            raise DegenerateInputError(f"{len(rows)} rows cannot have features of shape {features.shape}.")
        for part in _blocks(len(rows), _BLOCK):
            self._absorb(rows[part], features[part])

    def _register(self, rows: Rows) -> None:
        strange = rows[(rows < 0) | (rows >= len(self._basis))]
        if strange.size:
            raise DegenerateInputError(f"row {strange[0]} is not of a probe of {len(self._basis)}.")
        twice = rows[self._seen[rows]]
        if twice.size or len(np.unique(rows)) < len(rows):
            raise DegenerateInputError("a row of the probe was given twice.")
        self._seen[rows] = True

    def _absorb(self, rows: Rows, features: Features) -> None:
        basis, d = self._basis, features.shape[1]
        if self._origin is None:
            self._origin = _Origin.of(features)
            self._inside, self._sketched = np.zeros((basis.q, d)), np.zeros((2 * basis.t + 1, d))
            self._gram = np.zeros((d, d))
        if d != len(self._gram):
            raise DegenerateInputError(f"features are {len(self._gram)} wide, and then {d}.")
        block = self._origin.seen_from(features)
        self._inside += basis.vectors[rows].T @ block
        self._sketched += basis.sketches[rows].T @ block
        self._gram += block.T @ block

    def finish(self) -> Signature:
        """The signature of the rows that were taken in, which are all of the probe.

        Raises:
            DegenerateInputError: rows are missing, or all are the same.
        """
        missing = np.flatnonzero(~self._seen)
        if self._origin is None or missing.size:
            raise DegenerateInputError(
                f"{len(missing)} of {len(self._seen)} rows of the probe are missing, row {missing[0]} first."
            )
        basis, n, total = self._basis, len(self._seen), self._sketched[-1]
        gram = self._gram - np.outer(total, total / n)
        self._origin.check_spread(float(np.trace(gram)), n)
        length = np.linalg.norm(gram)
        centred = self._sketched - np.outer(basis.sketches.sum(axis=0), total / n)
        left, right = centred[: basis.t], centred[basis.t : -1]
        block = self._inside @ self._inside.T / length
        to_left, to_right = basis.overlaps
        return _assembled(block, left @ right.T / length - to_left.T @ block @ to_right)


def _assembled(block: Array, sketch: Array) -> Signature:
    """Signature of B (q, q) and G^T R H (t, t) of a kernel of unit length."""
    inside = _triangle(block)
    eps = float(np.sqrt(max(1 - float(inside @ inside), 0.0)))
    length = float(np.linalg.norm(sketch))
    outside = sketch.ravel() * (eps / length if length else 0.0)
    return Signature(np.concatenate([inside, outside]).astype(np.float16), eps, len(sketch))


def signature(features: Features, basis: Basis) -> Signature:
    """Signature of a checkpoint whose features are at hand.

    Args:
        features: (n, d), finite; any scale.
        basis: of the same n rows.

    Raises:
        DegenerateInputError: other rows than those of the basis, values that are not finite, or every row
            is the same.
    """
    signer = Signer(basis)
    signer.add(np.arange(len(features)), features)
    return signer.finish()


def estimate(signatures: Sequence[Signature]) -> tuple[Array, Array]:
    """Task covariance of several checkpoints, and the standard error of it at most.

    Being a Gram matrix of unit vectors it is a covariance whatever the errors. An entry may be below zero
    by its error, though an alignment is not.

    Args:
        signatures: of m checkpoints on one basis.

    Returns:
        (m, m), symmetric, with unit diagonal, positive semi-definite up to 1e-6; and (m, m),
        eps_i eps_j / sqrt(t) and what half precision adds, with zero diagonal.

    Raises:
        DegenerateInputError: fewer than one signature, or signatures on different bases.
    """
    if not signatures:
        raise DegenerateInputError("a covariance needs at least one signature.")
    for other in signatures:
        _check_alike(signatures[0], other)
    m = len(signatures)
    gram = np.zeros((m, m))
    for piece in _blocks(len(signatures[0].vector), _PIECE):
        part = np.stack([s.vector[piece] for s in signatures]).astype(np.float32)
        gram += part @ part.T
    lengths = np.sqrt(np.diag(gram))
    matrix: Array = np.minimum((gram + gram.T) / (2 * np.outer(lengths, lengths)), 1.0)
    np.fill_diagonal(matrix, 1.0)
    residuals = np.array([s.residual for s in signatures])
    error: Array = np.outer(residuals, residuals) / np.sqrt(signatures[0].t) + _HALF
    np.fill_diagonal(error, 0.0)
    return matrix, error


def row(signature: Signature, signatures: Iterable[Signature]) -> tuple[Array, Array]:
    """Alignment of one checkpoint with m others, (m,), and the standard error of it at most, (m,).

    Args:
        signature: of the one.
        signatures: of the others, on the same basis; one at a time is looked at.

    Raises:
        DegenerateInputError: signatures on different bases.
    """
    one = _unit(signature)
    found = []
    for other in signatures:
        _check_alike(signature, other)
        vector = other.vector.astype(np.float32)
        cosine = float(one @ vector) / float(np.linalg.norm(vector))
        found.append((min(cosine, 1.0), signature.residual * other.residual))
    alignment, bound = np.array(found, dtype=np.float64).reshape(-1, 2).T
    return alignment, bound / np.sqrt(signature.t) + _HALF


@dataclass(frozen=True, eq=False)
class Nearest:
    """Those among many that are most aligned with one, nearest first.

    Attributes:
        indices: (k,), which.
        alignment: (k,), from the whole signatures.
        error: (k,), standard error of it at most.
    """

    indices: NDArray[np.intp]
    alignment: Array
    error: Array


def screen(signature: Signature, *, size: int = 1024) -> Singles:
    """A short form of a signature, to find candidates among many by.

    Its first half is the first half-size coordinates, where the leading block of B is; its second half is a
    CountSketch (Charikar, Chen, Farach-Colton 2002) of the others, scaled to their length rho. The dot
    product of two screens estimates the alignment with a standard error of at most
    rho_i rho_j sqrt(2 / (size/2)), once for all from the seed 0.

    Args:
        signature: of the checkpoint.
        size: how many numbers.

    Returns:
        (size,), of unit length.
    """
    vector, half = _unit(signature), size // 2
    head, tail = vector[:half], vector[half:]
    rng = np.random.default_rng(0)
    buckets = rng.integers(0, size - half, size=len(tail))
    signs = 1.0 - 2.0 * rng.integers(0, 2, size=len(tail))
    short = np.zeros(size, dtype=np.float32)
    short[: len(head)] = head
    short[half:] = np.bincount(buckets, weights=signs * tail, minlength=size - half)
    sketched = np.linalg.norm(short[half:])
    if sketched:
        short[half:] *= np.linalg.norm(tail) / sketched
    return short


def nearest(
    signature: Signature,
    screens: Singles,
    load: Callable[[NDArray[np.intp]], Iterable[Signature]],
    k: int,
    *,
    shortlist: int = 256,
) -> Nearest:
    """The k checkpoints of a large zoo that are most aligned with one.

    All are compared by their screens, the best of these by their signatures.

    Args:
        signature: of the one; if it is of the zoo, it is its own nearest.
        screens: (m, size), `screen` of each of the zoo.
        load: the signatures of some, given which, in that order.
        k: how many.
        shortlist: how many are compared by their signatures, if `k` is not more.

    Raises:
        DegenerateInputError: signatures on different bases.
        UsageError: `k` is not between 1 and m.
    """
    m, size = screens.shape
    if not 1 <= k <= m:
        raise UsageError(f"there are no {k} nearest of {m}.", fix=f"a number between 1 and {m}")
    coarse = screens @ screen(signature, size=size)
    candidates = np.sort(np.argsort(-coarse, kind="stable")[: max(k, shortlist)])
    alignment, error = row(signature, load(candidates))
    best = np.argsort(-alignment, kind="stable")[:k]
    return Nearest(candidates[best], alignment[best], error[best])


@dataclass(frozen=True, eq=False)
class _Origin:
    """Zero and unit of the features of one checkpoint: mean and largest magnitude of their first block.

    Products in single precision of features far from zero lose what the alignment is made of: at six
    standard deviations .009 of it.
    """

    zero: Array
    unit: float

    @classmethod
    def of(cls, block: Features) -> _Origin:
        _check_finite(block)
        if not len(block):
            raise DegenerateInputError("there are no rows.")
        return cls(block.mean(axis=0, dtype=np.float64), float(np.abs(block).max(initial=0.0)) or 1.0)

    def seen_from(self, block: Features) -> Singles:
        """The block in single precision, from this zero in this unit."""
        _check_finite(block)
        kind = np.result_type(block.dtype, np.float32)
        moved = np.subtract(block, self.zero.astype(kind), dtype=kind)
        moved /= self.unit
        single: Singles = moved.astype(np.float32, copy=False)
        return single

    def check_spread(self, squares: float, n: int) -> None:
        """Refuse n rows that are all the same, given the sum of squares about their mean."""
        # Rounding leaves about 1e-16 of a constant column; that is not a feature.
        if np.sqrt(max(squares, 0.0) / n) <= 1e-12 * float(np.abs(self.zero).max(initial=0.0)) / self.unit:
            raise DegenerateInputError("every row of the features is the same.")


class _Image:
    """Y = A Z of the sum A of kernels of unit length, and what follows from it.

    Args:
        n: rows.
        width: of Z, which has one random sign in each row.
        seed: of Z; its stream is not that of the sketches, which must know nothing of the basis.
    """

    def __init__(self, n: int, width: int, seed: int) -> None:
        self._probes = _signs(seed, 0, n, min(width, max(n, 1)))
        self._image: Array = np.zeros(self._probes.shape)

    def add(self, features: Features) -> None:
        """Add K Z / |K Z| of an anchor, in two walks over its rows; |K Z| is |K| up to a common factor."""
        n, width = self._image.shape
        if features.ndim != 2 or len(features) != n:
            raise DegenerateInputError(f"an anchor has features of shape {features.shape}, not of {n} rows.")
        origin = _Origin.of(features[:_BLOCK])
        against, total, squares = np.zeros((width, features.shape[1])), np.zeros(features.shape[1]), 0.0
        for rows in _blocks(n, _BLOCK):
            block = origin.seen_from(features[rows])
            against += self._probes[rows].T @ block
            total += block.sum(axis=0, dtype=np.float64)
            squares += float(np.vdot(block, block))
        origin.check_spread(squares - float(total @ total) / n, n)
        against -= np.outer(self._probes.mean(axis=0), total)
        towards = against.T.astype(np.float32)
        image = np.concatenate([origin.seen_from(features[rows]) @ towards for rows in _blocks(n, _BLOCK)])
        image -= image.mean(axis=0, dtype=np.float64).astype(np.float32)
        image /= np.linalg.norm(image)
        self._image += image

    def leading(self, q: int) -> Singles:
        """(n, q) eigenvectors of A at most, those of the largest eigenvalues first."""
        self._image -= self._image.mean(axis=0)
        core = self._probes.T @ self._image
        values, vectors = _positive((core + core.T) / 2)
        root = self._image @ (vectors / np.sqrt(values))
        values, vectors = _positive(root.T @ root)
        q = min(q, len(self._image) - 1)
        leading: Singles = (root @ (vectors / np.sqrt(values))[:, :q]).astype(np.float32)
        return leading


def _signs(seed: int, stream: int, n: int, width: int) -> csr_array:
    """(n, width) with one random sign in each row, spread evenly; streams are independent."""
    rng = np.random.default_rng(seed).spawn(3)[stream]
    signs = (1 - 2 * rng.integers(0, 2, size=n)).astype(np.float32)
    return csr_array((signs, (np.arange(n), rng.permutation(n) % width)), shape=(n, width))


def _positive(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues above the noise of single precision, descending, and their eigenvectors."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > _NOISE * values[-1]
    return values[kept][::-1], vectors[:, kept][:, ::-1]


def _triangle(matrix: Array) -> Array:
    """Lower triangle, row by row, off-diagonal entries times sqrt(2): dot products are those of matrices."""
    rows, columns = np.tril_indices(len(matrix))
    return np.asarray(matrix[rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0)))


def _unit(signature: Signature) -> Singles:
    vector = signature.vector.astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector))


def _check_finite(block: Features) -> None:
    if not np.isfinite(block).all():
        raise DegenerateInputError("the features hold values that are not finite (NaN or infinity).")


def _check_alike(one: Signature, other: Signature) -> None:
    if (one.t, len(one.vector)) != (other.t, len(other.vector)):
        raise DegenerateInputError(
            "these signatures were not made on the same basis.",
            why=f"they hold {len(one.vector)} and {len(other.vector)} numbers",
        )


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, n)) for first in range(0, n, size))
