"""LogME by the fixed point of You et al. 2022, https://arxiv.org/abs/2110.10545: to time against.

Every class goes back to the examples, in the coordinates of the left singular vectors, and stops after eleven
steps at most. The evidence is right where there are more examples than features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fixed_point(features: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Mean over classes of the log evidence per example."""
    X = features.astype(np.float64)
    n, d = X.shape
    right, squares, _ = np.linalg.svd(X.T @ X)
    left = X @ (right / np.sqrt(squares))
    evidences = []
    for c in range(int(labels.max()) + 1):
        y = (labels == c).astype(np.float64)
        z = left.T @ y
        outside = (y**2).sum() - (z**2).sum()
        alpha = beta = 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = (squares / (squares + t)).sum()
            weights = (squares * z**2 / (squares + t) ** 2).sum()
            residual = (z**2 / (1 + squares / t) ** 2).sum() + outside
            alpha, beta = gamma / (weights + 1e-5), (n - gamma) / (residual + 1e-5)
            if abs(alpha / beta - t) / t <= 1e-3:
                break
        evidence = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - 0.5 * np.log(alpha + beta * squares).sum()
        evidence += -beta / 2 * residual - alpha / 2 * weights - n / 2 * np.log(2 * np.pi)
        evidences.append(evidence / n)
    return float(np.mean(evidences))
