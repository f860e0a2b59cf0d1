"""Leaf order (Bar-Joseph et al. 2001) and classical scaling (Torgerson 1952), from their definitions."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from zookeeper.arrangement import Scaling

Array = NDArray[np.float64]


def leaf_order(kappa: Array) -> tuple[int, ...]:
    """The shortest walk along the leaves, of all 2^(m-1) that a tree allows."""

    def distance(i: int, j: int) -> float:
        return float(1 - kappa[i, j])

    def apart(left: tuple[int, ...], right: tuple[int, ...]) -> float:
        return float(np.mean([distance(i, j) for i in left for j in right]))

    orders = [[(item,)] for item in range(len(kappa))]
    while len(orders) > 1:
        left, right = min(combinations(orders, 2), key=lambda pair: apart(pair[0][0], pair[1][0]))
        orders = [cluster for cluster in orders if cluster is not left and cluster is not right]
        orders.append([walk for a in left for b in right for walk in (a + b, b + a)])
    return min(orders[0], key=lambda walk: (round(sum(distance(i, j) for i, j in pairwise(walk)), 12), walk))


def classical_scaling(kappa: Array, dimensions: int = 2) -> Scaling:
    """Eigenvectors of -1/2 J D^2 J, each as long as the root of its eigenvalue."""
    m = len(kappa)
    D = np.array([[np.sqrt(2 * (1 - kappa[i, j])) for j in range(m)] for i in range(m)])
    J = np.eye(m) - np.ones((m, m)) / m
    values, axes = np.linalg.eigh(-J @ D**2 @ J / 2)
    largest = sorted(range(m), key=lambda i: -values[i])[:dimensions]
    coordinates = np.zeros((m, dimensions))
    for column, i in enumerate(largest):
        axis = axes[:, i] * np.sqrt(max(values[i], 0))
        coordinates[:, column] = axis if axis[np.argmax(abs(axis))] >= 0 else -axis
    positive = [value for value in values if value > 0]
    return Scaling(coordinates, float(sum(values[i] for i in largest if values[i] > 0) / sum(positive)))
