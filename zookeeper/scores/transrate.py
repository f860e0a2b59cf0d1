"""TransRate: how many more nats all features take to code than the features of each class.

Huang, Huang, Rong, Yang, Wei 2022 (ICML), https://arxiv.org/abs/2106.09362:

    TrR = R(Z) - sum_c n_c/n R(Z_c),   R(Z) = 1/2 log det( I + Z^T Z / (n eps) )

with Z the features less their mean, and Z_c the rows of class c of this same Z. Here eps is what the
literature on coding rates writes eps^2 / d.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.labels import Array, examples
from zookeeper.scores.arrays import unit

_EPSILON = 1e-4


def transrate(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Coding rate of the features less that of the features of each class.

    Departs from the paper in that Z is scaled to tr(Z Z^T) = n, so that eps is a share of the variance; as
    published the score grows with the scale of the features. (With tr(Z Z^T) = 1 instead, n eps outweighs
    all of Z^T Z, and every score falls to 0 as n grows.) Classes are weighted by their size, as in the
    paper's formula; its listing weights them all alike.

    Classes are told apart by the directions they take from the common mean, not by where they lie along
    one: two classes on opposite sides of the mean score 0.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes.

    Returns:
        Nats per example; 0 or more; larger is better. Grows with the width of the features.

    Raises:
        DegenerateInputError: the labels are not classes or all the same, or the features do not vary.
    """
    Z, y = examples(features, labels)
    Z = unit(Z)
    groups = np.split(Z[np.argsort(y.codes, kind="stable")], np.cumsum(y.counts)[:-1])
    return _rate(Z) - sum(len(group) / len(Z) * _rate(group) for group in groups)


def _rate(Z: Array) -> float:
    """R of (n, d) rows, from the smaller of their two Gram matrices."""
    n, d = Z.shape
    gram = (Z.T @ Z if d <= n else Z @ Z.T) / (n * _EPSILON)
    gram[np.diag_indices(len(gram))] += 1
    return float(np.log(np.diag(np.linalg.cholesky(gram))).sum())
