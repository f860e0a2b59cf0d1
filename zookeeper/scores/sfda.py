"""SFDA: what a Fisher discriminant still gets right when the examples it is sure of are made harder.

Shao, Zhao, Ge, Zhang, Yang, Wang, Shan, Luo 2022 (ECCV), https://arxiv.org/abs/2207.03036.
With q_c the share, m_c the mean of class c and S the mean covariance within classes,

    p(c|x) = softmax_c( x^T A m_c - 1/2 m_c^T A m_c + log q_c ),   A = ( (1 - a) S + a tr(S)/d I )^-1

for a = exp(-5 times the largest eigenvalue of S). ConfMix then moves each example to

    w x + (1 - w) m'_y,   w = softmax( p(.|x) )_y,   m'_c = mean of the other classes' means

and the score is the mean of p(y|x) by the discriminant of these mixed examples, with the same a.

The published code takes A from all d generalised eigenvectors U of the scatter between and within classes;
as U^T A^-1 U = I, then U U^T = A. Directions beyond the paper's C - 1 say the same of every class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.special import softmax

from zookeeper.labels import Array, Labels, examples
from zookeeper.scores.arrays import unit


def sfda(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean probability of the right class in the self-challenged Fisher space.

    Follows the published code, which takes the mean of p(y|x), not of its logarithm. Departs from it in that
    the features are scaled to a total variance of 1, so that a does not depend on their scale: it lies
    between exp(-5), where all variance is within classes along one direction, and 1, and needs no other
    bound. Its largest eigenvalue is exact, where the published code takes three steps towards it, and 1e-10
    of the variance is added to S, so that classes without any spread are told apart.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes.

    Returns:
        Between 0 and 1; larger is better.

    Raises:
        DegenerateInputError: the labels are not classes or all the same, or the features do not vary.
    """
    X, y = examples(features, labels)
    X = unit(X)
    own = np.arange(len(X)), y.codes
    means, within = _scatter(X, y)
    last = len(within) - 1
    largest = eigh(within, eigvals_only=True, subset_by_index=[last, last])[0]
    shrinkage = float(np.exp(-5 * largest))
    confidence = softmax(_posterior(X, y, means, within, shrinkage), axis=1)[own][:, None]
    outer = (means.sum(axis=0) - means) / (len(means) - 1)
    mixed = confidence * X + (1 - confidence) * outer[y.codes]
    return float(_posterior(mixed, y, *_scatter(mixed, y), shrinkage)[own].mean())


def _scatter(X: Array, y: Labels) -> tuple[Array, Array]:
    """(C, d) means of the classes and (d, d) mean covariance within them."""
    means = y.cross(X) / y.counts[:, None]
    deviations = X - means[y.codes]
    return means, np.asarray(deviations.T @ deviations) / len(X)


def _posterior(X: Array, y: Labels, means: Array, within: Array, shrinkage: float) -> Array:
    """(n, C) probabilities p(c|x)."""
    d = X.shape[1]
    shrunk = (1 - shrinkage) * within
    shrunk[np.diag_indices(d)] += (shrinkage * np.trace(within) + 1e-10) / d
    weights = cho_solve(cho_factor(shrunk), means.T)
    offsets = np.log(y.counts / len(X)) - np.einsum("cd,dc->c", means, weights) / 2
    return np.asarray(softmax(X @ weights + offsets, axis=1))
