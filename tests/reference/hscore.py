"""The shrunk H-score, as in Ibrahim, Ponomareva, Mazumder 2022, https://arxiv.org/abs/2110.06893, eq. 5."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf


def hscore(features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """(1 - alpha) tr(S_alpha^-1 S_z), with scikit-learn's Ledoit-Wolf estimate for S_alpha."""
    X = np.asarray(features, dtype=np.float64)
    S_alpha, alpha = ledoit_wolf(X)
    Z = np.empty_like(X)
    for c in np.unique(labels):
        Z[labels == c] = X[labels == c].mean(axis=0)
    S_z = np.cov(Z, rowvar=False, bias=True).reshape(S_alpha.shape)
    return float((1 - alpha) * np.trace(np.linalg.solve(S_alpha, S_z)))
