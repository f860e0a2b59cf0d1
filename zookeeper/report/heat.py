"""How alike the checkpoints are: a heat map with the tree that orders it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from zookeeper.arrangement import correlation, forks, leaves, linkage
from zookeeper.plain import count
from zookeeper.records import Array, Revision
from zookeeper.report import colours, svg, words
from zookeeper.report.parts import Column, Panel, Table, figure, name, part, whole
from zookeeper.results import NEAR_DUPLICATES, Covariance

_NAMED_UP_TO = 60
_WRITTEN_UP_TO = 100  # as a matrix
_POINTED_AT_UP_TO = 300  # whose numbers are kept for pointer and keys
_WIDEST_CELL, _TREE, _BESIDE = 30.0, 120.0, 32.0
_TOP, _KEY = 20.0, 150.0
_NUMBERED_FROM = 16.0  # pixels of a cell; of smaller ones every fifth
_IMAGE = 800  # pixels of its side, roughly


@dataclass(frozen=True, eq=False)
class Arranged:
    """A covariance whose checkpoints stand in the order of the leaves of its tree.

    Attributes:
        covariance: as it was measured.
        kappa: (m, m), with unit diagonal, in the new order.
        tree: as `zookeeper.arrangement.linkage`, of the old numbers.
        order: old numbers in the new order.
    """

    covariance: Covariance
    kappa: Array
    tree: Array
    order: tuple[int, ...]

    @classmethod
    def of(cls, covariance: Covariance) -> Arranged:
        """A covariance in the order of the leaves of its tree."""
        kappa = correlation(covariance.matrix)
        tree = linkage(kappa)
        order = leaves(tree, kappa)
        return cls(covariance, kappa[np.ix_(order, order)], tree, order)

    @property
    def names(self) -> list[str]:
        """In the new order."""
        return [self.covariance.names[i] for i in self.order]

    @property
    def revisions(self) -> list[Revision | None]:
        """In the new order; None of a covariance that came from a file."""
        revisions = self.covariance.revisions
        return [revisions[i] if revisions else None for i in self.order]

    @property
    def alone(self) -> Array:
        """The same matrix with a diagonal that is not a number."""
        alone = self.kappa.copy()
        np.fill_diagonal(alone, np.nan)
        return alone

    def looked_up(self) -> dict[str, Any] | None:
        """What the page's script reads out: names, and thousandths left of the diagonal, row by row.

        None for so many that they would make the page heavy.
        """
        if not 1 < len(self.order) <= _POINTED_AT_UP_TO:
            return None
        thousandths = np.rint(1000 * self.kappa).astype(int)
        return {
            "names": [words.shown(each, 80) for each in self.names],
            "thousandths": [row[:i].tolist() for i, row in enumerate(thousandths)],
        }


def panel(zoo: Arranged) -> Panel | None:
    """None of a single checkpoint, which is like no other."""
    if len(zoo.order) < 2:
        return None
    return Panel(
        id="kappa",
        title="How alike the checkpoints are",
        upshot=_upshot(zoo),
        reading="Each cell is the alignment κ of two checkpoints on the same words: 1 where their features "
        "tell words apart in the same way, 0 where they have nothing in common. Rows and columns are in the "
        "order of the tree at the right, whose forks lie at 1 − κ: the further left two branches meet, the "
        f"more alike they are. Dots and brackets mark near-duplicates, κ of {NEAR_DUPLICATES} or more.",
        figures=(_drawing(zoo),),
        tables=tuple(_tables(zoo)),
    )


def _upshot(zoo: Arranged) -> str:
    upper = np.triu_indices(len(zoo.order), 1)
    pairs = zoo.kappa[upper]
    best = int(pairs.argmax())
    a, b = (words.shown(zoo.names[int(axis[best])]) for axis in upper)
    near = int((pairs >= NEAR_DUPLICATES).sum())
    counted = count(near, "pair") + (" is a near-duplicate" if near == 1 else " are near-duplicates")
    return (
        f"The nearest two are {a} and {b}, at κ {words.number(float(pairs[best]), 2)}; the median pair has "
        f"{words.number(float(np.median(pairs)), 2)}. {counted if near else 'No two are near-duplicates'}."
    )


def _drawing(zoo: Arranged) -> Markup:
    m = len(zoo.order)
    named = m <= _NAMED_UP_TO
    labels = [words.shown(each) for each in zoo.names] if named else []
    height = min(svg.SMALL, 0.95 * _cell(m, svg.gutter(labels)))
    left = svg.gutter(labels, height)
    cell = _cell(m, left)
    side = m * cell
    label = f"Heat map of the alignments of {count(m, 'checkpoint')}, with a tree; its numbers are below"
    return svg.drawing(
        label,
        left + side + _TREE + _BESIDE,
        _TOP + side + 64,
        svg.rectangle(left, _TOP, side, side, "diagonal"),
        _image(zoo, left, side),
        *_gaps(m if named else 0, left, cell),
        *_labels(labels, left, cell, height),
        svg.path(_near(zoo, left, cell), "near"),
        *_brackets(zoo, left + side + 6, cell),
        *_tree(zoo, left + side + 18, cell),
        *_key(left, _TOP + side + 26),
        svg.rectangle(left, _TOP, cell, cell, "cursor", id="cursor"),
        data_left=left,
        data_top=_TOP,
        data_side=side,
    )


def _cell(m: int, left: float) -> float:
    """Its side, where names take the pixels up to `left`."""
    return min((svg.WIDTH - left - _TREE - _BESIDE) / m, _WIDEST_CELL)


def _image(zoo: Arranged, left: float, side: float) -> Markup:
    return svg.element(
        "image",
        href=colours.pixels(zoo.alone, max(_IMAGE // len(zoo.order), 1)),
        x=left,
        y=_TOP,
        width=side,
        height=side,
        preserveAspectRatio="none",
        class_="pixels",
    )


def _gaps(m: int, left: float, cell: float) -> Iterator[Markup]:
    """Lines of the page's colour between cells."""
    end = m * cell
    steps = [
        step
        for at in (i * cell for i in range(1, m))
        for step in (
            svg.trace([(left + at, _TOP), (left + at, _TOP + end)]),
            svg.trace([(left, _TOP + at), (left + end, _TOP + at)]),
        )
    ]
    yield svg.element("path", d="".join(steps), class_="gap", stroke_width=min(cell / 18, 1.0))


def _labels(labels: Sequence[str], left: float, cell: float, height: float) -> Iterator[Markup]:
    """A number and a name for each row, the number for its column."""
    for i, label in enumerate(labels):
        middle = (i + 0.5) * cell
        baseline, size = _TOP + middle + 0.35 * height, f"{height:.1f}"
        yield svg.text(left - 3.3 * svg.SMALL, baseline, label, "e n", font_size=size)
        yield svg.text(left - 8, baseline, str(i + 1), "m e n", font_size=size)
        if cell > _NUMBERED_FROM or i % 5 == 4:
            yield svg.text(left + middle, _TOP - 6, str(i + 1), "m c n", font_size=size)


def _near(zoo: Arranged, left: float, cell: float) -> str:
    """A dot in each cell of near-duplicates: a path of steps of no length with round ends."""
    return "".join(
        f"M{svg.number(left + (j + 0.5) * cell)} {svg.number(_TOP + (i + 0.5) * cell)}h0"
        for i, j in np.argwhere(zoo.alone >= NEAR_DUPLICATES)
    )


def _brackets(zoo: Arranged, x: float, cell: float) -> Iterator[Markup]:
    """Around rows that are near-duplicates of the next."""
    joined = [zoo.kappa[i, j] >= NEAR_DUPLICATES for i, j in pairwise(range(len(zoo.order)))]
    row = 0
    for near, run in groupby(joined):
        length = len(list(run))
        if near:
            top, bottom = _TOP + row * cell + 2, _TOP + (row + length + 1) * cell - 2
            yield svg.path(svg.trace([(x, top), (x + 5, top), (x + 5, bottom), (x, bottom)]), "bracket")
        row += length


def _tree(zoo: Arranged, left: float, cell: float) -> Iterator[Markup]:
    furthest = max(float(zoo.tree[:, 2].max()), 0.1)
    scale = svg.Scale(0, furthest, left, left + _TREE)
    bottom = _TOP + len(zoo.order) * cell
    for value, label in scale.ticks(3):
        yield svg.line((scale(value), _TOP), (scale(value), bottom), "rule")
        yield svg.text(scale(value), bottom + 16, label, "m c")
    yield svg.text(left, bottom + 34, "1 − κ", "m")
    lines = (
        svg.trace((scale(distance), _TOP + (row + 0.5) * cell) for distance, row in corners)
        for corners in forks(zoo.tree, zoo.order).tolist()
    )
    yield svg.path("".join(lines), "fork")


def _key(x: float, y: float) -> Iterator[Markup]:
    steps = colours.ramp(25)
    width = _KEY / len(steps)
    for i, colour in enumerate(steps):
        yield svg.element(
            "rect", x=x + i * width, y=y, width=width + 0.3, height=9.0, fill=colours.hexadecimal(colour)
        )
    for value in (0.0, 0.5, 1.0):
        yield svg.text(x + value * _KEY, y + 23, f"{value:g}", "m c")
    yield svg.text(x + _KEY + 12, y + 9, "κ", "m")


def _tables(zoo: Arranged) -> Iterator[Table]:
    m, found = len(zoo.order), zoo.covariance
    alone = zoo.alone
    nearest = np.nanargmax(alone, axis=1)
    error = None if found.standard_error is None else found.standard_error[np.ix_(zoo.order, zoo.order)]
    yield Table.of(
        "Each checkpoint and the nearest other",
        (
            whole("#"),
            name(),
            name("nearest other"),
            figure("κ", 3),
            figure("standard error", 3),
            figure("mean κ", 3),
            part("words read"),
        ),
        (
            (
                i + 1,
                zoo.names[i],
                zoo.names[nearest[i]],
                float(alone[i, nearest[i]]),
                None if error is None else float(error[i, nearest[i]]),
                float(np.nanmean(alone[i])),
                None if found.support is None else float(found.support[zoo.order[i]]),
            )
            for i in range(m)
        ),
    )
    if m <= _WRITTEN_UP_TO:
        yield Table(
            "All alignments",
            (whole("#"), name(), *(Column(str(i + 1), _hundredths, "number") for i in range(m))),
            tuple((i + 1, zoo.names[i], *row.tolist()) for i, row in enumerate(zoo.kappa)),
            plain=True,
        )


def _hundredths(value: float) -> str:
    return words.number(value, 2).replace("0.", ".")
