"""An order of checkpoints in which families stand together, a plane to draw them on, and their lineage.

The order is that of the leaves of an average-linkage tree of the distances 1 - kappa, its branches turned
so that neighbours are as near as the tree allows (Bar-Joseph, Gifford, Jaakkola, Bioinformatics 2001). The
plane is classical scaling (Torgerson, Psychometrika 1952) of the distances sqrt(2 (1 - kappa)), which are
those of the unit vectors whose inner products kappa is: the scalar products that Torgerson takes from the
squared distances are kappa itself, centred.

A lineage is drawn as a forest: of several bases the one that is deepest counts as the parent, and each leaf
has a row of its own, so that nothing overlaps; the other bases are further lines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.records import Checkpoint

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


@dataclass(frozen=True, slots=True)
class Relative:
    """A place in a lineage: a checkpoint, a base that is not in the zoo, or all that were left out there.

    Attributes:
        name: of the checkpoint, or as its descendants call it; foreign text.
        checkpoint: its number among those of the zoo; None where it is not one of them.
        bases: what it was made from, by number in the lineage; the first is what it hangs on.
        depth: 0 of what has no base, else one more than the deepest of them.
        row: downwards, from 0; those of one depth are 1 apart or more.
        folded: how many this stands for that have no place of their own; 0 of one that is itself.
    """

    name: str
    checkpoint: int | None
    bases: tuple[int, ...]
    depth: int
    row: float
    folded: int = 0


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


def lineage(
    checkpoints: Sequence[Checkpoint], *, first: Collection[str] = (), most: int = 80
) -> tuple[Relative, ...]:
    """What was made from what, as far as cards say, arranged from left to right and from top to bottom.

    A base is found by its id or by another name of a checkpoint; several revisions of one repository share
    what was made from it with the first of them. What would close a circle is left out.

    Args:
        checkpoints: of the zoo.
        first: names of checkpoints that have a place of their own as long as there is one.
        most: places, 3 or more; what has none is folded into one place by its base, the last of several.

    Returns:
        Ancestors before descendants, large families first, then by name; all checkpoints and bases, once.
    """
    names, stated = _kinship(checkpoints)
    bases = _without_circles(stated)
    depths = _depths(bases)
    bases = [tuple(sorted(each, key=lambda base: -depths[base])) for each in bases]
    parents = [each[0] if each else None for each in bases]
    ringed = [i for i, checkpoint in enumerate(checkpoints) if checkpoint.name in first]
    weights = _weights(bases, len(checkpoints))
    kept, folded = _folded(_Forest.of(parents, names, weights), ringed, most)
    for base, hidden in folded.items():
        kept.add(len(names))
        names.append(f"+{hidden} more")
        parents.append(base)
        bases.append(() if base is None else (base,))
        weights.append(0)
    standing = _Forest.of(parents, names, weights, among=kept)
    order = {node: number for number, node in enumerate(standing.order)}
    rows = standing.rows()
    return tuple(
        Relative(
            name=names[node],
            checkpoint=node if node < len(checkpoints) else None,
            bases=tuple(order[base] for base in bases[node] if base in order),
            depth=standing.depths[node],
            row=rows[node],
            folded=0 if node < len(stated) else folded[parents[node]],
        )
        for node in standing.order
    )


@dataclass(frozen=True, eq=False)
class _Forest:
    """Trees of nodes.

    Attributes:
        children: of each node that has some, and of None those that have no parent.
        order: nodes, each before its children, these before its next sibling.
        depths: of each node, 0 of those without a parent.
    """

    children: dict[int | None, list[int]]
    order: list[int]
    depths: dict[int, int]

    @classmethod
    def of(
        cls,
        parents: Sequence[int | None],
        names: Sequence[str],
        weights: Sequence[int],
        *,
        among: Collection[int] | None = None,
    ) -> _Forest:
        """That of nodes whose parents are among them; siblings by the weight of all beneath, then by name."""
        nodes = range(len(parents)) if among is None else sorted(among)
        unsorted = cls._hung(parents, nodes)
        sizes = {node: weights[node] for node in nodes}
        for node in reversed(unsorted.order):
            if (parent := parents[node]) is not None:
                sizes[parent] += sizes[node]
        return cls._hung(parents, sorted(nodes, key=lambda i: (-sizes[i], names[i], i)))

    @classmethod
    def _hung(cls, parents: Sequence[int | None], nodes: Iterable[int]) -> _Forest:
        """Siblings are in the order of the nodes."""
        children: dict[int | None, list[int]] = {}
        for node in nodes:
            children.setdefault(parents[node], []).append(node)
        order: list[int] = []
        depths: dict[int, int] = {}
        waiting = [(node, 0) for node in reversed(children.get(None, []))]
        while waiting:
            node, depth = waiting.pop()
            depths[node] = depth
            order.append(node)
            waiting += [(child, depth + 1) for child in reversed(children.get(node, []))]
        return cls(children, order, depths)

    def rows(self) -> dict[int, float]:
        """A row for each leaf; others are in the middle of their children."""
        leaves = (node for node in self.order if node not in self.children)
        rows = {leaf: float(row) for row, leaf in enumerate(leaves)}
        for node in reversed(self.order):
            if node in self.children:
                rows[node] = (rows[self.children[node][0]] + rows[self.children[node][-1]]) / 2
        return rows

    def lines(self, nodes: Iterable[int]) -> set[int]:
        """Nodes and all that they descend from."""
        parent = {child: node for node, children in self.children.items() for child in children}
        return {ancestor for node in nodes for ancestor in _chain(parent, node)}


def _chain(parent: dict[int, int | None], node: int | None) -> Iterator[int]:
    while node is not None:
        yield node
        node = parent[node]


def _folded(forest: _Forest, first: Sequence[int], most: int) -> tuple[set[int], dict[int | None, int]]:
    """Nodes that have places of their own, and how many are folded under each of them, or beside the roots.

    What has few elder siblings, and whose ancestors have few, comes first.
    """
    steps: dict[int | None, int] = {None: 0}
    for parent in (None, *forest.order):
        for elder, child in enumerate(forest.children.get(parent, [])):
            steps[child] = steps[parent] + elder + 1
    steps |= dict.fromkeys(forest.lines(first), 0)
    turns = sorted(forest.order, key=lambda node: (steps[node], forest.depths[node]))
    for places in range(most, 0, -1):
        kept = set(turns[:places])
        hidden = _under(forest, kept)
        if len(kept) + len(hidden) <= most:
            break
    alone = {nodes[0] for nodes in hidden.values() if len(nodes) == 1}
    return kept | alone, {base: len(nodes) for base, nodes in hidden.items() if len(nodes) > 1}


def _under(forest: _Forest, kept: Collection[int]) -> dict[int | None, list[int]]:
    """The others, by the nearest ancestor that is kept; None of those that have none."""
    nearest: dict[int | None, int | None] = {None: None}
    under: dict[int | None, list[int]] = {}
    for parent in (None, *forest.order):
        for child in forest.children.get(parent, []):
            nearest[child] = child if child in kept else nearest[parent]
            if child not in kept:
                under.setdefault(nearest[parent], []).append(child)
    return under


def _kinship(checkpoints: Sequence[Checkpoint]) -> tuple[list[str], list[list[int]]]:
    """Names of the checkpoints and then of bases that are not among them, and the bases of each by number."""
    ids = {alias: i for i, one in reversed([*enumerate(checkpoints)]) for alias in one.aliases}
    ids |= {one.revision.repo_id: i for i, one in reversed([*enumerate(checkpoints)])}
    names = [checkpoint.name for checkpoint in checkpoints]
    bases: list[list[int]] = []
    for checkpoint in checkpoints:
        for base in checkpoint.base_models:
            if ids.setdefault(base, len(names)) == len(names):
                names.append(_without_folders(base))
        bases.append([ids[base] for base in checkpoint.base_models])
    return names, bases + [[] for _ in names[len(checkpoints) :]]


def _without_folders(base: str) -> str:
    """The id of a repository; of a folder its own name."""
    return base.rstrip("/").rpartition("/")[2] or base if base.startswith((".", "/")) else base


def _without_circles(stated: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The bases of each, once, without those that descend from it by others that are kept."""
    bases: list[list[int]] = [[] for _ in stated]
    begun: set[int] = set()
    for start in range(len(stated)):
        line = {} if start in begun else {start: iter(dict.fromkeys(stated[start]))}
        begun.add(start)
        while line:
            node, left = next(reversed(line.items()))
            base = next(left, None)
            if base is None:
                line.popitem()
            elif base not in line:
                bases[node].append(base)
                if base not in begun:
                    begun.add(base)
                    line[base] = iter(dict.fromkeys(stated[base]))
    return [tuple(each) for each in bases]


def _weights(bases: Sequence[Sequence[int]], n: int) -> list[int]:
    """3 for each of the n checkpoints, 1 for other bases, and 1 more for each that hangs on another base."""
    weights = [3 if node < n else 1 for node in range(len(bases))]
    for each in bases:
        for base in each[1:]:
            weights[base] += 1
    return weights


def _depths(bases: Sequence[Sequence[int]]) -> list[int]:
    """How many steps each is at most from what has no base."""
    depths = [0] * len(bases)
    while (deeper := [max((depths[b] + 1 for b in each), default=0) for each in bases]) != depths:
        depths = deeper
    return depths


def _distances(kappa: Array) -> Array:
    distances: Array = np.clip(1 - (kappa + kappa.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    return distances


def _check(matrix: Array) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise DegenerateInputError(f"no square matrix of at least one item: {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise DegenerateInputError("the matrix holds values that are not finite (NaN or infinity).")
