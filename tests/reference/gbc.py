"""GBC, as in Pándy et al. 2022, https://arxiv.org/abs/2111.12780, from full Gaussians and pair by pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Array = NDArray[np.float64]


def gbc(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """- sum over ordered pairs of exp(-D_B), with covariances v I in the space of 64 components."""
    rank = int(np.linalg.matrix_rank(features - features.mean(axis=0)))
    T = PCA(min(64, rank), svd_solver="full").fit_transform(features)
    q = T.shape[1]
    groups = [T[labels == c] for c in np.unique(labels)]
    several = [g for g in groups if len(g) > 1]
    pooled = sum(len(g) * g.var(axis=0).mean() for g in several) / max(sum(map(len, several)), 1)
    least = 1e-4 * T.var(axis=0).mean()
    gaussians = []
    for g in groups:
        v = g.var(axis=0).mean() if len(g) > 1 else pooled
        gaussians.append((g.mean(axis=0), max(v, least) * np.eye(q)))
    total = 0.0
    for i, (mean_i, cov_i) in enumerate(gaussians):
        for j, (mean_j, cov_j) in enumerate(gaussians):
            if i != j:
                total -= np.exp(-bhattacharyya(mean_i, cov_i, mean_j, cov_j))
    return total


def bhattacharyya(m1: Array, S1: Array, m2: Array, S2: Array) -> float:
    """Distance of two Gaussians with any covariances."""
    S = (S1 + S2) / 2
    logdet, logdet1, logdet2 = (np.linalg.slogdet(matrix)[1] for matrix in (S, S1, S2))
    return float((m1 - m2) @ np.linalg.solve(S, m1 - m2) / 8 + (logdet - (logdet1 + logdet2) / 2) / 2)
