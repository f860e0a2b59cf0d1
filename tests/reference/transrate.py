"""TransRate, as in Huang et al. 2022, https://arxiv.org/abs/2106.09362, with their listing's names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def transrate(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """The listing, but for classes weighted by their sizes and tr(Z Z^T) = n."""
    Z = features - np.mean(features, axis=0)
    Z /= np.sqrt(np.mean([z @ z for z in Z]))
    RZY = 0.0
    for y in np.unique(labels):
        RZY += np.mean(labels == y) * coding_rate(Z[labels == y])
    return float(coding_rate(Z) - RZY)


def coding_rate(Z: Array, eps: float = 1e-4) -> float:
    """1/2 log det(I + Z^T Z / (n eps)), always d x d."""
    n, d = Z.shape
    _, rate = np.linalg.slogdet(np.eye(d) + 1 / (n * eps) * Z.T @ Z)
    return 0.5 * float(rate)
