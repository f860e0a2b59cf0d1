"""What was made from what, as far as cards say, arranged to be drawn.

A lineage is drawn as a forest: of several bases the one that is deepest counts as the parent, and each leaf
has a row of its own, so that nothing overlaps; the other bases are further lines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from zookeeper.records import Checkpoint


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
    kept, folded = _folded(_Forest.of(parents, names, weights), parents, ringed, most)
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


def _folded(
    forest: _Forest, parents: Sequence[int | None], first: Sequence[int], most: int
) -> tuple[set[int], dict[int | None, int]]:
    """Nodes that have places of their own, and how many are folded under each of them, or beside the roots.

    What has few elder siblings, and whose ancestors have few, comes first.
    """
    steps: dict[int | None, int] = {None: 0}
    for parent in (None, *forest.order):
        for elder, child in enumerate(forest.children.get(parent, [])):
            steps[child] = steps[parent] + elder + 1
    for one in first:
        node: int | None = one
        while node is not None:
            steps[node], node = 0, parents[node]
    turns = sorted(forest.order, key=lambda place: (steps[place], forest.depths[place]))
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
    ids: dict[str, int] = {}
    for i, checkpoint in enumerate(checkpoints):
        ids.setdefault(checkpoint.revision.repo_id, i)
    for i, checkpoint in enumerate(checkpoints):
        for alias in checkpoint.aliases:
            ids.setdefault(alias, i)
    names = [checkpoint.name for checkpoint in checkpoints]
    bases: list[list[int]] = []
    for checkpoint in checkpoints:
        for base in checkpoint.base_models:
            if base not in ids:
                ids[base] = len(names)
                names.append(_without_folders(base))
        bases.append([ids[base] for base in checkpoint.base_models])
    return names, bases + [[] for _ in names[len(checkpoints) :]]


def _without_folders(base: str) -> str:
    """The id of a repository; of a folder its own name."""
    return base.rstrip("/").rpartition("/")[2] or base if base.startswith((".", "/")) else base


def _without_circles(stated: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The bases of each, once, without those that descend from it by others that are kept."""
    bases: list[tuple[int, ...]] = [() for _ in stated]
    for node, named in enumerate(stated):
        bases[node] = tuple(base for base in dict.fromkeys(named) if node not in _line(bases, base))
    return bases


def _line(bases: Sequence[Sequence[int]], node: int) -> set[int]:
    """A node and all that it descends from."""
    found: set[int] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += bases[one]
    return found


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
