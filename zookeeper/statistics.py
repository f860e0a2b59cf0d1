"""Sufficient statistics of a labelled target: one pass over the features, additive, of fixed size.

Every closed-form transferability score reads these, so memory does not grow with the number of examples,
several scores cost one pass, and several targets on the same examples share what does not depend on labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.labels import Array, Labels, finite, labelled


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of features X (n, d) in double precision; labels have no part in them.

    Attributes:
        n: number of examples.
        gram: (d, d), X^T X.
        total: (d,), sum of x.
        cubic: (d,), sum of |x|^2 x.
        quartic: sum of |x|^4.
    """

    n: int
    gram: Array
    total: Array
    cubic: Array
    quartic: float

    @classmethod
    def of(cls, X: Array) -> Moments:
        """Moments of (n, d) features."""
        norms = np.einsum("nd,nd->n", X, X)
        return cls(len(X), X.T @ X, X.sum(axis=0), norms @ X, float(norms @ norms))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of examples together."""
        return Moments(
            self.n + other.n,
            self.gram + other.gram,
            self.total + other.total,
            self.cubic + other.cubic,
            self.quartic + other.quartic,
        )

    def __sub__(self, other: Moments) -> Moments:
        """The moments of these examples without the others, which are among them."""
        return Moments(
            self.n - other.n,
            self.gram - other.gram,
            self.total - other.total,
            self.cubic - other.cubic,
            self.quartic - other.quartic,
        )

    @property
    def mean(self) -> Array:
        """(d,)."""
        return self.total / self.n

    @property
    def dimension(self) -> int:
        """Width d of the features."""
        return len(self.total)

    @cached_property
    def covariance(self) -> Array:
        """(d, d), of the n examples, divided by n."""
        return self.gram / self.n - np.outer(self.mean, self.mean)

    @cached_property
    def constant(self) -> bool:
        """Whether every row is the same."""
        # Rounding leaves about 1e-13 of the raw moments of constant columns; that is not variance.
        return float(np.trace(self.covariance)) <= 1e-12 * float(np.trace(self.gram)) / max(self.n, 1)

    @cached_property
    def spectrum(self) -> tuple[Array, Array]:
        """Non-zero eigenvalues s (k,) of the Gram matrix, and their eigenvectors (d, k)."""
        values, vectors = np.linalg.eigh(self.gram)
        kept = values > values[-1] * self.dimension * np.finfo(np.float64).eps
        # At most n directions carry anything; beyond them an eigenvalue is rounding.
        kept[: max(self.dimension - self.n, 0)] = False
        return values[kept], vectors[:, kept]


@dataclass(frozen=True, eq=False)
class Statistics:
    """Moments of features X (n, d), and what targets Y (n, c) have to do with them.

    For classes the columns of Y are ones and zeros; so `cross` holds the sums of each class's features,
    and `totals` and `squares` the number of its examples.

    Attributes:
        moments: of X.
        cross: (c, d), Y^T X.
        totals: (c,), column sums of Y.
        squares: (c,), column sums of Y^2.
        classes: whether each example has one class.
    """

    moments: Moments
    cross: Array
    totals: Array
    squares: Array
    classes: bool

    @classmethod
    def of(cls, X: Array, labels: Labels) -> Statistics:
        """Statistics of (n, d) features with n labels."""
        return cls(Moments.of(X), labels.cross(X), *labels.sums, labels.classes is not None)

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of both sets of examples together; their targets have the same columns."""
        return Statistics(
            self.moments + other.moments,
            self.cross + other.cross,
            self.totals + other.totals,
            self.squares + other.squares,
            self.classes,
        )

    def __sub__(self, other: Statistics) -> Statistics:
        """The statistics of these examples without the others, which are among them."""
        return Statistics(
            self.moments - other.moments,
            self.cross - other.cross,
            self.totals - other.totals,
            self.squares - other.squares,
            self.classes,
        )

    @property
    def n(self) -> int:
        """Number of examples."""
        return self.moments.n


def statistics(features: NDArray[Any], labels: NDArray[Any], *, chunk: int = 4096) -> Statistics:
    """Statistics of a labelled set of features.

    Args:
        features: (n, d), finite where the label counts.
        labels: (n,) classes as integers or names (-100 does not count), or real numbers, (n,) or (n, c).
        chunk: rows that are brought to double precision at a time.

    Raises:
        DegenerateInputError: as `labelled`, or a value is not finite.
    """
    features = np.asarray(features)
    rows, y = labelled(features, np.asarray(labels))
    (found,) = shared_statistics(features if len(rows) == len(features) else features[rows], [y], chunk=chunk)
    return found


def shared_statistics(
    features: NDArray[Any], targets: Sequence[Labels], *, chunk: int = 4096
) -> tuple[Statistics, ...]:
    """Statistics of several targets on the same examples, in one pass over these.

    Args:
        features: (n, d), finite.
        targets: n labels each.
        chunk: as in `statistics`.

    Raises:
        DegenerateInputError: a value is not finite.
    """
    moments: Moments | None = None
    crosses: list[Any] = [0.0] * len(targets)
    for first in range(0, len(features), chunk):
        rows = slice(first, first + chunk)
        X = finite(features[rows])
        part = Moments.of(X)
        moments = part if moments is None else moments + part
        crosses = [cross + y[rows].cross(X) for cross, y in zip(crosses, targets, strict=True)]
    if moments is None:
        raise DegenerateInputError("there are no examples.")
    return tuple(
        Statistics(moments, cross, *y.sums, y.classes is not None)
        for cross, y in zip(crosses, targets, strict=True)
    )
