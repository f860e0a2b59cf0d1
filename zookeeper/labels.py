"""Labels of examples: classes by name, real numbers, or several yes-or-no labels at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from zookeeper.errors import DegenerateInputError
from zookeeper.records import counted

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of n examples that count.

    Attributes:
        values: (n,) integers, an index into `classes`; or real numbers, (n,) or (n, c), no column of them
            constant. Several yes-or-no labels at once are (n, c), of zeros and ones.
        classes: what the indices stand for, all of which occur; None where there are no classes.
    """

    values: NDArray[Any]
    classes: tuple[Any, ...] | None

    @classmethod
    def of(cls, labels: NDArray[Any]) -> Labels:
        """From (n,) integers or names (classes), or real numbers (n,) or (n, c).

        Classes may have gaps between their numbers; they mean nothing but themselves. Of several columns
        of numbers those that are constant are left out, as classes that do not occur are.

        Raises:
            DegenerateInputError: there is nothing to learn from them: no examples, one class only, a
                constant, or a number that is not finite.
        """
        labels = np.asarray(labels)
        if not len(labels):
            raise DegenerateInputError("the target has no labelled examples.")
        if labels.ndim == 1 and labels.dtype.kind in "iubUSO":
            classes, values = np.unique(labels, return_inverse=True)
            if len(classes) < 2:
                raise DegenerateInputError(
                    "the target has examples of one class only.", why="there is nothing to tell apart"
                )
            return cls(values, tuple(classes.tolist()))
        values = labels.astype(np.float64)
        if values.ndim > 2 or not np.isfinite(values).all():
            raise DegenerateInputError("the labels hold values that are not finite (NaN or infinity).")
        varied = np.ptp(values, axis=0) > 0
        if not varied.any():
            raise DegenerateInputError(
                "the target has the same value everywhere.", why="there is nothing to predict"
            )
        return cls(values if values.ndim == 1 else values[:, varied], None)

    @cached_property
    def columns(self) -> Array:
        """(n, c): a column of zeros and ones for each class, or the real numbers themselves."""
        if self.classes is None:
            return self.values[:, None] if self.values.ndim == 1 else self.values
        return np.asarray(self.values[:, None] == np.arange(len(self.classes)), dtype=np.float64)

    def cross(self, X: Array) -> Array:
        """(c, d) product of `columns` with (n, d) rows; of classes the sums of their rows.

        Memory does not grow with n times c, as there may be thousands of classes.
        """
        if self.classes is None:
            return np.asarray(self.columns.T @ X)
        n = len(X)
        members = csr_array((np.ones(n), (self.codes, np.arange(n))), shape=(len(self.classes), n))
        return np.asarray(members @ X)

    @property
    def sums(self) -> tuple[Array, Array]:
        """(c,) sums of `columns`, and of their squares."""
        if self.classes is not None:
            counts = self.counts.astype(np.float64)
            return counts, counts
        return self.columns.sum(axis=0), np.square(self.columns).sum(axis=0)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(c,) examples of each class.

        Raises:
            DegenerateInputError: there are no classes.
        """
        return np.bincount(self.codes, minlength=len(self.classes or ()))

    @property
    def codes(self) -> NDArray[np.int64]:
        """(n,) index of each example's class.

        Raises:
            DegenerateInputError: there are no classes.
        """
        if self.classes is None:
            raise DegenerateInputError("this score is defined for classes only.")
        return self.values

    def __getitem__(self, rows: Any) -> Labels:
        """The labels of some of the examples, by index, slice or mask; of the same classes."""
        return Labels(self.values[rows], self.classes)


def labelled(inputs: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[np.int64], Labels]:
    """Which of n examples have a label that counts, and those labels.

    Args:
        inputs: (n, d) features or probabilities.
        labels: (n,) classes as integers or names (-100 does not count), or real numbers, (n,) or (n, c)
            (NaN does not count).

    Returns:
        Row numbers (k,), and k labels.

    Raises:
        DegenerateInputError: lengths differ, or there is nothing to learn from the labels.
    """
    if inputs.ndim != 2 or len(inputs) != len(labels):
        raise DegenerateInputError(f"{inputs.shape} features do not go with {labels.shape} labels.")
    rows = np.flatnonzero(counted(labels))
    return rows, Labels.of(labels[rows])


def ranges(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """All of start, start + 1, … of each size, one range after another, as rows of sentences are."""
    before = np.cumsum(sizes) - sizes
    return np.asarray(np.arange(sizes.sum()) + np.repeat(starts - before, sizes))


def finite(features: NDArray[Any]) -> Array:
    """Features in double precision.

    Raises:
        DegenerateInputError: a value is not finite.
    """
    X = np.asarray(features, dtype=np.float64)
    if not np.isfinite(X).all():
        raise DegenerateInputError("the features hold values that are not finite (NaN or infinity).")
    return X


def examples(inputs: NDArray[Any], labels: NDArray[Any]) -> tuple[Array, Labels]:
    """What a score learns from: the examples whose labels count, in double precision.

    Args:
        inputs: as `labelled`, finite where the label counts.
        labels: as `labelled`.

    Raises:
        DegenerateInputError: as `labelled`, or a value is not finite.
    """
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    rows, y = labelled(inputs, labels)
    return finite(inputs[rows]), y
