"""SFDA, as in Shao et al. 2022, https://arxiv.org/abs/2207.03036, in the C - 1 dimensions of Fisher space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Array = NDArray[np.float64]


def sfda(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Discriminant, ConfMix, discriminant; one example and one class at a time."""
    X = np.array(features, dtype=np.float64)
    X = X[:, np.ptp(X, axis=0) > 0]
    X /= np.sqrt(X.var(axis=0).sum())
    classes = np.unique(labels)
    _, S_W, _ = scatters(X, labels)
    lam = np.exp(-5 * np.linalg.eigvalsh(S_W)[-1])
    p = fda(X, labels, lam)
    means = {c: X[labels == c].mean(axis=0) for c in classes}
    mixed = np.empty_like(X)
    for i, y in enumerate(labels):
        soft = np.exp(p[i]) / np.exp(p[i]).sum()
        w = soft[classes == y].item()
        mixed[i] = w * X[i] + (1 - w) * np.mean([means[c] for c in classes if c != y], axis=0)
    p = fda(mixed, labels, lam)
    return float(np.mean([p[i, classes == y].item() for i, y in enumerate(labels)]))


def fda(X: Array, labels: NDArray[Any], lam: float) -> Array:
    """(n, C) p(y|x), by the C - 1 leading directions of between against regularised within scatter."""
    classes = np.unique(labels)
    means, S_W, S_B = scatters(X, labels)
    d = X.shape[1]
    regularised = (1 - lam) * S_W + lam * np.trace(S_W) / d * np.eye(d) + 1e-10 / d * np.eye(d)
    U = eigh(S_B, regularised)[1][:, ::-1][:, : len(classes) - 1]
    delta = np.empty((len(X), len(classes)))
    for i, x in enumerate(X):
        for c, m in enumerate(means):
            q = np.mean(labels == classes[c])
            delta[i, c] = x @ U @ U.T @ m - m @ U @ U.T @ m / 2 + np.log(q)
    exponentials = np.exp(delta - delta.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def scatters(X: Array, labels: NDArray[Any]) -> tuple[list[Array], Array, Array]:
    """Class means, scatter within and between classes."""
    d = X.shape[1]
    means, S_W, S_B = [], np.zeros((d, d)), np.zeros((d, d))
    for c in np.unique(labels):
        group = X[labels == c]
        means.append(group.mean(axis=0))
        S_W += np.mean(labels == c) * np.cov(group.T, bias=True).reshape(d, d)
        S_B += np.mean(labels == c) * np.outer(means[-1] - X.mean(axis=0), means[-1] - X.mean(axis=0))
    return means, S_W, S_B
