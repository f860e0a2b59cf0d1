"""An order of checkpoints in which families stand together, and a plane to draw them on.

The order is that of the leaves of an average-linkage tree of the distances 1 - kappa, its branches turned
so that neighbours are as near as the tree allows (Bar-Joseph, Gifford, Jaakkola, Bioinformatics 2001). The
plane is classical scaling (Torgerson, Psychometrika 1952) of the distances sqrt(2 (1 - kappa)), which are
those of the unit vectors whose inner products kappa is: the scalar products that Torgerson takes from the
squared distances are kappa itself, centred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.results import Ranking, Score

Array = NDArray[np.float64]

_TURNED_UP_TO = 500
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Scaling:
    """Items as points.

    Attributes:
        coordinates: (m, dimensions), centred, widest dimension first.
        explained: share of the squared distances that these dimensions hold, in [0, 1].
    """

    coordinates: Array
    explained: float


def correlation(covariance: Array) -> Array:
    """A covariance with its diagonal made 1; an item without variance has nothing in common with any other.

    Args:
        covariance: (m, m), symmetric, finite.

    Returns:
        (m, m), every entry in [-1, 1].

    Raises:
        DegenerateInputError: it is not square, not finite, or empty.
    """
    _check(covariance)
    deviation = np.sqrt(np.clip(np.diag(covariance), 0, None))
    reciprocal = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    result: Array = np.clip(covariance * np.outer(reciprocal, reciprocal), -1, 1)
    np.fill_diagonal(result, 1.0)
    return result


def linkage(kappa: Array) -> Array:
    """Average-linkage tree of the distances 1 - kappa.

    Args:
        kappa: (m, m) with unit diagonal.

    Returns:
        (m - 1, 4), as scipy: the two nodes that merge, their distance, and how many items they hold. Nodes
        below m are items, m + t is what came of merge t.

    Raises:
        DegenerateInputError: `kappa` is not square, not finite, or empty.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    _check(kappa)
    if len(kappa) == 1:
        return np.empty((0, 4))
    tree: Array = hierarchy.linkage(squareform(_distances(kappa), checks=False), "average")
    return tree


def leaves(tree: Array, kappa: Array) -> tuple[int, ...]:
    """Items in the order of the leaves of a tree, its branches turned so that neighbours are near.

    Bar-Joseph et al. 2001, https://doi.org/10.1093/bioinformatics/17.suppl_1.S22, as scipy has it. Above
    500 items, where that takes long, branches stay as they were merged.

    Args:
        tree: `linkage` of `kappa`.
        kappa: (m, m) with unit diagonal.

    Returns:
        A permutation of 0..m-1, from the end whose item has the lower number.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    if not len(tree):
        return (0,)
    if len(kappa) <= _TURNED_UP_TO:
        tree = hierarchy.optimal_leaf_ordering(tree, squareform(_distances(kappa), checks=False))
    order = tuple(int(item) for item in hierarchy.leaves_list(tree))
    return min(order, order[::-1])


def forks(tree: Array, order: Sequence[int]) -> Array:
    """Corners of the lines of a tree whose leaves stand in rows.

    Args:
        tree: as `linkage`.
        order: its m leaves, from the first row to the last.

    Returns:
        (m - 1, 4, 2), of each merge from one branch to the other: how far up the tree, and in which row,
        where the first row is 0.
    """
    m = len(order)
    row, distance = np.zeros(2 * m - 1), np.zeros(2 * m - 1)
    row[list(order)] = np.arange(m)
    corners = np.empty((m - 1, 4, 2))
    for node, (left, right, height, _) in enumerate(tree, m):
        a, b = int(left), int(right)
        corners[node - m] = (distance[a], row[a]), (height, row[a]), (height, row[b]), (distance[b], row[b])
        row[node], distance[node] = (row[a] + row[b]) / 2, height
    return corners


def leaf_order(kappa: Array) -> tuple[int, ...]:
    """Order of the items in which like stands by like.

    Args:
        kappa: (m, m) with unit diagonal.

    Returns:
        A permutation of 0..m-1: `leaves` of the `linkage`.

    Raises:
        DegenerateInputError: as `linkage`.
    """
    return leaves(linkage(kappa), kappa)


def classical_scaling(kappa: Array, dimensions: int = 2) -> Scaling:
    """Points whose distances are as near to sqrt(2 (1 - kappa)) as so few dimensions allow.

    Args:
        kappa: (m, m) with unit diagonal.
        dimensions: of the points.

    Returns:
        The points; in each dimension the coordinate of largest magnitude is positive. Dimensions that the
        items do not need are 0. Items that are all the same lie at 0, which explains all there is.

    Raises:
        DegenerateInputError: `kappa` is not square, not finite, or empty.
        UsageError: fewer than one dimension.
    """
    _check(kappa)
    if dimensions < 1:
        raise UsageError(f"cannot draw in {dimensions} dimensions.", fix="one or more")
    m = len(kappa)
    centred = kappa - kappa.mean(axis=0) - kappa.mean(axis=1)[:, None] + kappa.mean()
    values, axes = np.linalg.eigh((centred + centred.T) / 2)
    values = np.where(values > _ROUNDING * m, values, 0)[::-1]
    kept = min(dimensions, m)
    coordinates = np.zeros((m, dimensions))
    coordinates[:, :kept] = axes[:, ::-1][:, :kept] * np.sqrt(values[:kept])
    farthest = np.take_along_axis(coordinates, np.abs(coordinates).argmax(axis=0)[None], axis=0)
    total = float(values.sum())
    explained = float(values[:kept].sum()) / total if total else 1.0
    return Scaling(coordinates * np.where(farthest < 0, -1.0, 1.0), explained)


def beside_first(ranking: Ranking) -> list[tuple[float, float, float]]:
    """Value of each score that a ranking is ordered by, and between which it lies beside that of the first.

    The ends are those of its distance to the first, over the same resampled sentences: by them, and not by
    what the score alone varies, two checkpoints are told apart. Where it is unknown, both are the value.
    """

    def ends(score: Score) -> tuple[float, float, float]:
        value, behind = score.estimates[ranking.by].value, score.behind
        if behind is None or behind.low is None or behind.high is None:
            return value, value, value
        return value, first - behind.high, first - behind.low

    first = ranking.scores[0].estimates[ranking.by].value if ranking.scores else 0.0
    return [ends(score) for score in ranking.scores]


def spaced(places: Sequence[float], apart: float) -> list[float]:
    """Ascending places, `apart` at least, near to ascending ones: those that collide move as one."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _collide(groups[-2], groups[-1], apart):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [
        _centre(group) + apart * (i - (len(group) - 1) / 2) for group in groups for i in range(len(group))
    ]


def _collide(before: Sequence[float], after: Sequence[float], apart: float) -> bool:
    return _centre(after) - _centre(before) < apart * (len(before) + len(after)) / 2


def _centre(group: Sequence[float]) -> float:
    return sum(group) / len(group)


def _distances(kappa: Array) -> Array:
    distances: Array = np.clip(1 - (kappa + kappa.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    return distances


def _check(matrix: Array) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise DegenerateInputError(f"no square matrix of at least one item: {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise DegenerateInputError("the matrix holds values that are not finite (NaN or infinity).")
