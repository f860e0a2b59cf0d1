"""Sufficient statistics of a labelled target: one pass over the features, additive, of fixed size.

Every closed-form transferability score reads these and nothing else, so memory does not grow with the
number of examples and several scores cost one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.records import counted

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Statistics:
    """Moments of features X (n, d) and one-vs-rest or real targets Y (n, c), in double precision.

    Attributes:
        n: number of examples.
        gram: (d, d), X^T X.
        cross: (c, d), Y^T X; for classes the sums of each class's features.
        target_squares: (c,), column sums of Y^2; for classes the number of examples of each.
        feature_sum: (d,), sum of x.
        cubic: (d,), sum of |x|^2 x.
        quartic: sum of |x|^4.
        classes: the class of each row of `cross`, or None for regression.
    """

    n: int
    gram: Array
    cross: Array
    target_squares: Array
    feature_sum: Array
    cubic: Array
    quartic: float
    classes: tuple[int, ...] | None

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of both sets of examples together; classes are matched by number."""
        if (self.classes is None) != (other.classes is None):
            raise DegenerateInputError("cannot merge statistics of a classification and a regression.")
        classes = (
            None
            if self.classes is None or other.classes is None
            else tuple(sorted({*self.classes, *other.classes}))
        )
        mine, theirs = self._for(classes), other._for(classes)
        return Statistics(
            n=self.n + other.n,
            gram=self.gram + other.gram,
            cross=mine[0] + theirs[0],
            target_squares=mine[1] + theirs[1],
            feature_sum=self.feature_sum + other.feature_sum,
            cubic=self.cubic + other.cubic,
            quartic=self.quartic + other.quartic,
            classes=classes,
        )

    def _for(self, classes: tuple[int, ...] | None) -> tuple[Array, Array]:
        """`cross` and `target_squares` with rows of zeros for the classes that are absent here."""
        if classes is None or self.classes is None or classes == self.classes:
            return self.cross, self.target_squares
        rows = np.searchsorted(classes, self.classes)
        cross, squares = np.zeros((len(classes), self.cross.shape[1])), np.zeros(len(classes))
        cross[rows], squares[rows] = self.cross, self.target_squares
        return cross, squares


def statistics(
    features: NDArray[np.floating], labels: NDArray[np.generic], *, chunk: int = 8192
) -> Statistics:
    """Statistics of a labelled set of features.

    Args:
        features: (n, d), finite.
        labels: (n,), integers for classes (rows labelled -100 are left out), floats for regression.
        chunk: rows that are brought to double precision at a time.

    Raises:
        DegenerateInputError: lengths differ, a value is not finite, or nothing is left to learn from:
            no examples, fewer than two classes, or a constant target.
    """
    if features.ndim != 2 or len(features) != len(labels):
        raise DegenerateInputError(f"{features.shape} features do not go with {labels.shape} labels.")
    counts = counted(labels)
    classes = (
        tuple(int(c) for c in np.unique(labels[counts])) if np.issubdtype(labels.dtype, np.integer) else None
    )
    if not counts.any():
        raise DegenerateInputError("the target has no labelled examples.")
    if classes is not None and len(classes) < 2:
        raise DegenerateInputError(
            "the target has examples of one class only.", why="there is nothing to tell apart"
        )
    if classes is None and not np.isfinite(labels).all():
        raise DegenerateInputError("the labels hold values that are not finite (NaN or infinity).")
    if classes is None and np.ptp(labels.astype(np.float64)) == 0:
        raise DegenerateInputError(
            "the target has the same value everywhere.", why="there is nothing to predict"
        )
    d, c = features.shape[1], 1 if classes is None else len(classes)
    gram, cross = np.zeros((d, d)), np.zeros((c, d))
    squares, feature_sum, cubic, quartic = np.zeros(c), np.zeros(d), np.zeros(d), 0.0
    for first in range(0, len(labels), chunk):
        rows = slice(first, first + chunk)
        X = np.asarray(features[rows], dtype=np.float64)[counts[rows]]
        if not np.isfinite(X).all():
            raise DegenerateInputError("the features hold values that are not finite (NaN or infinity).")
        y = labels[rows][counts[rows]]
        Y = (
            y.astype(np.float64)[:, None]
            if classes is None
            else (y[:, None] == np.array(classes)).astype(np.float64)
        )
        norms = np.einsum("nd,nd->n", X, X)
        gram += X.T @ X
        cross += Y.T @ X
        squares += np.einsum("nc,nc->c", Y, Y)
        feature_sum += X.sum(axis=0)
        cubic += norms @ X
        quartic += float(norms @ norms)
    return Statistics(int(counts.sum()), gram, cross, squares, feature_sum, cubic, quartic, classes)
