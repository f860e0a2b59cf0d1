"""PARC: whether examples that are alike in their features are alike in their labels.

Bolya, Mittapalli, Hoffman 2021 (NeurIPS), https://arxiv.org/abs/2111.06977: Spearman's
correlation, over pairs of examples, of 1 - corr(x_i, x_j) and 1 - corr(y_i, y_j).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.labels import Array, Labels, examples
from zookeeper.scores.arrays import unit


def parc(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Spearman correlation of the distances between features and between labels.

    Columns of the features are standardised first, as in the published code. Departs from it in that the
    score is not times 100, in that there is no PCA before it, an option there, and in what has no
    correlation: rows without variance have distance 1 from all others and 0 from their equals, and a
    single column has the distance |x_i - x_j|. Labels that are real numbers have Euclidean distances.

    Costs n^2 d flops and holds several arrays of n^2 / 2 numbers; the caller bounds n.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes; (n, c) of zeros and ones; or real numbers, (n,) or (n, c).

    Returns:
        Between -1 and 1; larger is better.

    Raises:
        DegenerateInputError: the features or the labels do not vary, or are as far apart in every pair.
    """
    X, y = examples(features, labels)
    X = unit(X)
    scale = X.std(axis=0)
    near = _ranks(_distances(X / np.where(scale, scale, 1)), "features")
    alike = _ranks(_label_distances(y), "labels")
    return float(near @ alike)


def _label_distances(y: Labels) -> Array:
    """(pairs,) distances of labels."""
    binary = y.classes is not None or bool(np.isin(y.columns, (0, 1)).all())
    return _distances(y.columns) if binary else _apart(y.columns)


def _distances(V: Array) -> Array:
    """(pairs,) 1 - correlation of the rows of V (n, d), in the order of pdist."""
    if V.shape[1] == 1:
        return _apart(V)
    U = V - V.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(U, axis=1)
    flat = norms <= 1e-12 * np.linalg.norm(V, axis=1)
    U /= np.where(flat, 1, norms)[:, None]
    # Flat rows get directions of their own, one for each row that differs from the others.
    _, kinds = np.unique(V[flat], axis=0, return_inverse=True)
    U[flat] = 0
    correlation = U @ U.T
    correlation[np.ix_(flat, flat)] = kinds[:, None] == kinds
    return np.asarray(1 - correlation[np.triu_indices(len(V), 1)])


def _apart(V: Array) -> Array:
    """(pairs,) Euclidean distances of the rows of V (n, d), in the order of pdist."""
    # Slow to import, and a module that lists the scores is imported by every command.
    from scipy.spatial.distance import pdist

    return np.asarray(pdist(V))


def _ranks(distances: Array, of: str) -> Array:
    """Centred ranks of length 1.

    Raises:
        DegenerateInputError: all distances are the same.
    """
    # Slow to import, and a module that lists the scores is imported by every command.
    from scipy.stats import rankdata

    # Equal distances share a rank, whatever the rounding of what led to them.
    ranks = rankdata(np.round(distances / max(distances.max(), np.finfo(np.float64).tiny), 9))
    ranks -= ranks.mean()
    length = float(np.linalg.norm(ranks))
    if not length:
        raise DegenerateInputError(f"all pairs of examples are as far apart in their {of}.")
    return np.asarray(ranks / length)
