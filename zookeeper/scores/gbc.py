"""GBC: how little the classes overlap, as Gaussians in the space of features.

Pándy, Agostinelli, Uijlings, Ferrari, Mensink 2022 (CVPR), https://arxiv.org/abs/2111.12780:

    GBC = - sum_{i != j} exp( -D_B(i, j) )
    D_B = |m_i - m_j|^2 / 8 v + q/2 log( v / sqrt(v_i v_j) ),   v = (v_i + v_j) / 2

with m_c the mean and v_c the mean variance of class c along the q = 64 first principal components.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.labels import examples
from zookeeper.scores.arrays import principal, unit

_COMPONENTS = 64
_FLOOR = 1e-4


def gbc(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Minus the sum of the Bhattacharyya coefficients of all ordered pairs of spherical class Gaussians.

    Departs from the published code, whose default is spherical too, in three ways. The logarithm counts all
    q dimensions, as the distance demands; there it counts one. The least variance of a class is 1e-4 of
    the mean variance of all examples; there it is 1e-4, whatever the scale. A class of one example, of
    whose variance nothing is known, takes that within the other classes; there it takes the least.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes.

    Returns:
        Overlaps of pairs of classes, from minus C (C - 1) to 0; larger is better.

    Raises:
        DegenerateInputError: the labels are not classes or all the same, or the features do not vary.
    """
    # Slow to import, and a module that lists the scores is imported by every command.
    from scipy.spatial.distance import pdist

    X, y = examples(features, labels)
    X = unit(X)
    T = principal(X, _COMPONENTS)
    q = T.shape[1]
    counts = y.counts
    means = y.cross(T) / counts[:, None]
    squares = np.bincount(y.codes, np.square(T - means[y.codes]).sum(axis=1)) / q
    variances = np.where(counts > 1, squares / counts, squares.sum() / max(counts[counts > 1].sum(), 1))
    variances = np.maximum(variances, _FLOOR * np.square(T).mean())
    i, j = np.triu_indices(len(counts), 1)  # the order of pdist
    mean = (variances[i] + variances[j]) / 2
    logs = np.log(variances)
    distance = pdist(means, "sqeuclidean") / (8 * mean) + q / 2 * (np.log(mean) - (logs[i] + logs[j]) / 2)
    return float(-2 * np.exp(-distance).sum())
