"""Centred kernel alignment, as in Kornblith et al. 2019, https://arxiv.org/abs/1905.00414, section 3.

HSIC(K, L) = tr(K H L H) / (n - 1)^2,   H = I - 1 1^T / n
CKA(K, L) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def covariance(
    features: Sequence[NDArray[np.floating]],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Array:
    """Literal linear CKA of every pair, from n x n kernels."""
    m = len(features)
    kappa = np.empty((m, m))
    for i in range(m):
        for j in range(m):
            kappa[i, j] = cka(features[i], features[j])
    advance(1000)
    return kappa


def alignment(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Literal linear CKA of one pair."""
    return cka(left, right)


def cka(X: NDArray[np.floating], Y: NDArray[np.floating]) -> float:
    """CKA of linear kernels."""
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    K, L = X @ X.T, Y @ Y.T
    return float(hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L)))


def hsic(K: Array, L: Array) -> float:
    """Empirical Hilbert-Schmidt independence criterion."""
    n = len(K)
    H = np.eye(n) - np.ones((n, n)) / n
    return float(np.trace(K @ H @ L @ H)) / (n - 1) ** 2
