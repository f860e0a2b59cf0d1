"""Leave-one-out nearest neighbours: the label of an example from those of the examples around it.

As a proxy for the accuracy after tuning: Puigcerver et al. 2021 (ICLR), https://arxiv.org/abs/2009.13239.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.evidence import Evidence, Measured
from zookeeper.labels import Array, Labels, examples
from zookeeper.scores.arrays import unit
from zookeeper.scores.ridge import explained

Indices = NDArray[np.int64]

_K = 5
_ENTRIES = 1 << 22  # of a block of distances: 32 MiB
_LEVELS = 1 << 40


def knn(features: NDArray[Any], labels: NDArray[Any], *, k: int = _K) -> float:
    """Accuracy, or share of the variance explained, of the k nearest other examples.

    Distances are Euclidean. Classes are decided by majority, a draw by the nearest neighbour among those
    that drew. Neighbours at the same distance count from the first example on, so the order of examples
    matters where rows repeat. With k or fewer others, all of them are neighbours.

    Costs n^2 d flops, in blocks of rows of bounded memory.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes; or numbers, (n,) or (n, c), zeros and ones among them.
        k: neighbours, 1 or more.

    Returns:
        Of classes the accuracy, between 0 and 1. Of numbers R^2 of the neighbours' mean, itself the mean
        over the columns that vary: at most 1, and below 0 where the target's own mean does better.

    Raises:
        DegenerateInputError: the features or the labels do not vary.
    """
    X, y = examples(features, labels)
    return _measure(X, y, np.arange(len(X)), k).value


def measure(evidence: Evidence) -> Measured:
    """The same of the sample, where the neighbours of an example are those of other sentences."""
    sample = evidence.sample
    return _measure(sample.features, sample.labels, sample.sentences, _K)


def _measure(X: Array, y: Labels, groups: Indices, k: int) -> Measured:
    neighbours = _neighbours(unit(X), groups, k)
    if y.classes is None:
        return explained(y.columns, y.columns[neighbours].mean(axis=1))
    votes = y.codes[neighbours]
    support = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    winner = np.take_along_axis(votes, support.argmax(axis=1)[:, None], axis=1)[:, 0]
    right = (winner == y.codes).astype(np.float64)
    return Measured(float(right.mean()), lambda: right)


def _neighbours(X: Array, groups: Indices, k: int) -> Indices:
    """(n, k) the nearest rows of other groups for each row of X (n, d), nearest first.

    Fewer than k where a row has fewer others.
    """
    n = len(X)
    k = min(k, n - int(np.bincount(groups).max()))
    if k < 1:
        raise DegenerateInputError("an example has no neighbours, as all are of one sentence.")
    squares = np.einsum("nd,nd->n", X, X)
    # Squared distances as whole numbers, followed by the index: rounding does not decide between equals.
    # X is centred, so that little is lost in the difference of squares and products.
    step = 4 * squares.max() / _LEVELS
    nearest = np.empty((n, k), dtype=np.int64)
    size = max(_ENTRIES // n, 1)
    for start in range(0, n, size):
        rows = slice(start, start + size)
        distances = squares[rows, None] + squares - 2 * (X[rows] @ X.T)
        keys = np.maximum(np.rint(distances / step), 0).astype(np.int64) * n + np.arange(n)
        keys[groups[rows, None] == groups] = np.iinfo(np.int64).max
        nearest[rows] = np.sort(np.partition(keys, k - 1, axis=1)[:, :k], axis=1) % n
    return nearest
