"""The evidence of You et al. 2021, https://arxiv.org/abs/2102.11005, section 4, from its definition.

With weights w ~ N(0, I/alpha) and y ~ N(X w, I/beta), y is Gaussian with covariance I/beta + X X^T/alpha.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]


def logme(features: NDArray[np.floating], labels: NDArray[np.generic]) -> float:
    """Mean over classes (or the one real target) of the largest log evidence per example."""
    X = np.asarray(features, dtype=np.float64)
    if np.issubdtype(labels.dtype, np.integer):
        counted = labels != -100
        X, labels = X[counted], labels[counted]
        targets = [(labels == c).astype(np.float64) for c in np.unique(labels)]
    else:
        targets = [labels.astype(np.float64)]
    return float(np.mean([largest_evidence(X, y) for y in targets])) / len(X)


def largest_evidence(X: Array, y: Array) -> float:
    """Maximum over both: a search for alpha/beta about each peak of a grid, inside it one for beta."""
    K = X @ X.T
    typical = np.log(len(y) / (y @ y))

    def loss(log_ratio: float) -> float:
        def loss_of_beta(log_beta: float) -> float:
            return -log_evidence(K, y, np.exp(log_ratio + log_beta), np.exp(log_beta))

        return smallest(loss_of_beta, typical - 1, typical + 40)

    grid = np.log(np.trace(K)) + np.linspace(-28, 20, 49)
    losses = np.array([loss(point) for point in grid])
    valleys = [i for i in range(1, 48) if losses[i] <= min(losses[i - 1], losses[i + 1])]
    return -min([smallest(loss, grid[i - 1], grid[i + 1]) for i in valleys] + [losses[0], losses[-1]])


def smallest(function: Callable[[float], float], low: float, high: float) -> float:
    """Minimum of a function with one valley."""
    return float(minimize_scalar(function, bounds=(low, high), method="bounded", options={"xatol": 1e-7}).fun)


def log_evidence(K: Array, y: Array, alpha: float, beta: float) -> float:
    """log N(y; 0, I/beta + K/alpha)."""
    L = cholesky(np.eye(len(y)) / beta + K / alpha, lower=True)
    white = solve_triangular(L, y, lower=True)
    return float(-0.5 * (len(y) * np.log(2 * np.pi) + 2 * np.log(np.diag(L)).sum() + white @ white))
