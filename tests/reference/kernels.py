"""Centred kernel alignment, as in Kornblith et al. 2019, https://arxiv.org/abs/1905.00414, section 3.

HSIC(K, L) = tr(K H L H) / (n - 1)^2,   H = I - 1 1^T / n
CKA(K, L) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

Without pairs of words of one sentence, the entries of H K H that belong to them are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zookeeper.results import Covariance

Array = NDArray[np.float64]
Features = NDArray[np.floating]
Source = Features | Callable[[], Features]
MEMORY = 2**32


def inner_products(
    left: Sequence[Source],
    right: Sequence[Source] | None = None,
    *,
    lengths: ArrayLike | None = None,
    memory: int = MEMORY,
    advance: Callable[[int], None] = lambda _: None,
) -> Array:
    """Entry by entry, from n x n kernels of features whose largest magnitude is 1 after centring."""
    advance(1000)
    first = [kernel(source, lengths) for source in left]
    second = first if right is None else [kernel(source, lengths) for source in right]
    return np.array([[np.sum(K * L) for L in second] for K in first])


def covariance(
    features: Sequence[Source],
    *,
    names: Sequence[str] | None = None,
    lengths: ArrayLike | None = None,
    memory: int = MEMORY,
    advance: Callable[[int], None] = lambda _: None,
) -> Covariance:
    """Literal linear CKA of every pair, from n x n kernels."""
    m = len(features)
    kappa = np.empty((m, m))
    for i in range(m):
        for j in range(m):
            if lengths is None:
                kappa[i, j] = alignment(features[i], features[j])
            else:
                K, L = kernel(features[i], lengths), kernel(features[j], lengths)
                kappa[i, j] = np.sum(K * L) / np.sqrt(np.sum(K * K) * np.sum(L * L))
    advance(1000)
    named = names or [str(i) for i in range(m)]
    return Covariance(tuple(named), kappa, debiased=lengths is not None)


def alignment(left: Source, right: Source) -> float:
    """Literal linear CKA of one pair."""
    X, Y = matrix(left), matrix(right)
    K, L = X @ X.T, Y @ Y.T
    return float(hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L)))


def hsic(K: Array, L: Array) -> float:
    """Empirical Hilbert-Schmidt independence criterion."""
    n = len(K)
    H = np.eye(n) - np.ones((n, n)) / n
    return float(np.trace(K @ H @ L @ H)) / (n - 1) ** 2


def kernel(source: Source, lengths: ArrayLike | None) -> Array:
    """H K H of scaled features, with zeros where both words are of one sentence."""
    X = matrix(source)
    X = X - X.mean(axis=0)
    X = X / np.abs(X).max()
    K: Array = X @ X.T
    if lengths is not None:
        sentence = np.repeat(np.arange(np.size(lengths)), lengths)
        K[sentence[:, None] == sentence] = 0
    return K


def matrix(source: Source) -> Array:
    """In double precision."""
    return np.asarray(source() if callable(source) else source, dtype=np.float64)
