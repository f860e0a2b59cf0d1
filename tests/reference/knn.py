"""Leave-one-out nearest neighbours by sorting every other example, exactly."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray


def knn(features: NDArray[Any], labels: NDArray[Any], *, k: int = 5) -> float:
    """Majority of the neighbours, the nearest deciding a draw; or R^2 of their mean."""
    X = features.astype(np.float64)
    n = len(X)
    neighbours = []
    for i in range(n):
        others = [(float(np.square(X[i] - X[j]).sum()), j) for j in range(n) if j != i]
        neighbours.append([j for _, j in sorted(others)[:k]])
    if labels.dtype.kind == "f":
        Y = labels.reshape(n, -1)
        predicted = np.array([np.mean([Y[j] for j in found], axis=0) for found in neighbours])
        residual, total = np.square(Y - predicted).sum(axis=0), np.square(Y - Y.mean(axis=0)).sum(axis=0)
        return float(np.mean([1 - r / t for r, t in zip(residual, total, strict=True) if t > 0]))
    right = 0
    for i in range(n):
        votes = [labels[j] for j in neighbours[i]]
        support = Counter(votes)
        winner = next(vote for vote in votes if support[vote] == max(support.values()))
        right += winner == labels[i]
    return float(right / n)
