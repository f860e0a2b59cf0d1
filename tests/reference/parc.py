"""PARC, as in Bolya, Mittapalli, Hoffman 2021, https://arxiv.org/abs/2111.06977, one pair at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

Array = NDArray[np.float64]


def parc(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Spearman's correlation of two lists of distances; no constant columns, no flat rows."""
    X = (features - features.mean(axis=0)) / features.std(axis=0)
    if labels.ndim == 1 and labels.dtype.kind == "f":
        Y = labels[:, None]
    elif labels.ndim == 1:
        Y = np.array([[float(y == c) for c in np.unique(labels)] for y in labels])
    else:
        Y = labels
    n = len(X)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    near = [distance(X[i], X[j]) for i, j in pairs]
    alike = [distance(Y[i], Y[j]) for i, j in pairs]
    return float(spearmanr(near, alike).statistic)


def distance(a: Array, b: Array) -> float:
    """1 - corr(a, b); of single numbers |a - b|. Rounded, so that equal distances are equal."""
    return round(float(abs(a - b).item() if len(a) == 1 else 1 - np.corrcoef(a, b)[0, 1]), 9)
