"""LEEP, as in Nguyen et al. 2020, https://arxiv.org/abs/2002.12462, steps 1 to 3 and eq. 2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def leep(source_probs: NDArray[Any], labels: NDArray[Any]) -> float:
    """The empirical joint distribution one example at a time, then the predictor it gives."""
    theta = [[float(p) / float(sum(row)) for p in row] for row in source_probs]
    n, Z = len(theta), range(len(theta[0]))
    classes = sorted(set(labels.tolist()))
    joint = {y: [0.0 for _ in Z] for y in classes}
    for row, y in zip(theta, labels.tolist(), strict=True):
        for z in Z:
            joint[y][z] += row[z] / n
    marginal = [sum(joint[y][z] for y in classes) for z in Z]
    total = 0.0
    for row, y in zip(theta, labels.tolist(), strict=True):
        total += math.log(sum(joint[y][z] / marginal[z] * row[z] for z in Z if marginal[z] > 0))
    return total / n


def entropy(labels: NDArray[Any]) -> float:
    """Entropy of the labels, in nats."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return -sum(float(p) * math.log(p) for p in shares)
