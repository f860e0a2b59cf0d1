"""What was made from what: the checkpoints of a zoo beside their bases, from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from zookeeper.errors import UsageError
from zookeeper.lineage import Relative, lineage
from zookeeper.pictures.page import (
    BLUE,
    DASHES,
    DPI,
    FAINT,
    INK,
    POINT,
    VERMILLION,
    extent,
    picture,
    whole_axes,
    write_title,
)
from zookeeper.pictures.words import shown
from zookeeper.plain import count
from zookeeper.records import Array, Checkpoint

_ROW, _GAP = 0.2, 0.5  # inches, between rows and between columns
_ASIDE, _NEAR = 0.13, 0.05  # inches, from a mark to its name and from that to a line
_RING = 10.0  # diameter, in points
_SIZE = 8.0  # of names, in points


def draw_lineage(checkpoints: Sequence[Checkpoint], path: Path, picks: Sequence[str] = ()) -> None:
    """Checkpoints at the right of what they were made from, as far as their cards say.

    Those of the zoo are filled, bases that are not in it are hollow. Of more than 80, some stand together
    as so many more of their base.

    Args:
        checkpoints: of the zoo.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        picks: names of checkpoints to ring.

    Raises:
        UsageError: another ending, no checkpoint, or a pick that is none of them.
        StorageError: the disk refuses.
    """
    if not checkpoints:
        raise UsageError("there are no checkpoints to draw.", fix="zoo add roberta-base")
    if unknown := next((name for name in picks if name not in {one.name for one in checkpoints}), None):
        raise UsageError(
            f"{shown(unknown)} is not among these checkpoints.", fix="draw the picks of this zoo"
        )
    relatives = lineage(checkpoints, first=picks)
    title = f"Lineage of {count(len(checkpoints), 'checkpoint')}"
    with picture(path, title) as figure:
        drawn = _Places.of(figure, relatives)
        height = _ROW * (1 + max(one.row for one in relatives))
        axes = whole_axes(figure, drawn.width, height)
        axes.set_xlim(0, drawn.width)
        axes.set_ylim(height / _ROW - 0.5, -0.5)
        axes.axis("off")
        for each, dashes in ((slice(1), "-"), (slice(1, None), DASHES)):
            lines = _descent(relatives, drawn, [one.bases[each] for one in relatives])
            axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=0.8, linestyles=[dashes]))
        _draw_relatives(axes, relatives, drawn)
        ringed = [n for n, one in enumerate(relatives) if one.checkpoint is not None and one.name in picks]
        axes.scatter(
            [drawn.left[n] for n in ringed],
            [relatives[n].row for n in ringed],
            s=_RING**2,
            facecolors="none",
            edgecolors=VERMILLION,
            lw=1.6,
            clip_on=False,
        )
        write_title(axes, title, _of_lineage(relatives, ringed))


class _Places(NamedTuple):
    """Where relatives are drawn from left to right, in inches.

    Attributes:
        left: (n,), of their marks.
        right: (n,), where their names end.
        ends: of each column, where the longest of its names ends.
    """

    left: list[float]
    right: list[float]
    ends: list[float]

    @classmethod
    def of(cls, figure: Figure, relatives: Sequence[Relative]) -> _Places:
        """With columns that are as wide as their names."""
        lengths = [_ASIDE + float(extent(figure, shown(one.name), _SIZE)[0]) / DPI for one in relatives]
        depths = np.array([one.depth for one in relatives])
        widths = [
            max(length for length, at in zip(lengths, depths, strict=True) if at == depth)
            for depth in range(depths.max() + 1)
        ]
        ends = np.cumsum(widths) + _GAP * np.arange(len(widths))
        left = (ends - widths)[depths]
        return cls(left.tolist(), (left + lengths).tolist(), ends.tolist())

    @property
    def width(self) -> float:
        """Of all columns together."""
        return self.ends[-1]


def _descent(relatives: Sequence[Relative], drawn: _Places, bases: Sequence[Sequence[int]]) -> list[Array]:
    """A line from each base to what was made from it: level to the end of its column, then a curve."""
    steps = np.linspace(0, 1, 25)
    curve = steps**2 * (3 - 2 * steps)
    lines = []
    for child, one in enumerate(relatives):
        for base in bases[child]:
            start, end = drawn.ends[relatives[base].depth], drawn.left[child] - POINT / 72
            x = np.concatenate([[drawn.right[base] + _NEAR], start + _NEAR + (end - start - _NEAR) * steps])
            y = relatives[base].row + (one.row - relatives[base].row) * np.concatenate([[0], curve])
            lines.append(np.stack([x, y], axis=1))
    return lines


def _draw_relatives(axes: Any, relatives: Sequence[Relative], drawn: _Places) -> None:
    """Marks and names; what was folded has a name only."""
    for left, one in zip(drawn.left, relatives, strict=True):
        if not one.folded:
            fill = "white" if one.checkpoint is None else BLUE
            axes.plot(left, one.row, "o", mfc=fill, mec=BLUE, ms=POINT, clip_on=False)
        axes.text(
            left if one.folded else left + _ASIDE,
            one.row,
            shown(one.name),
            size=_SIZE,
            va="center_baseline",
            color=FAINT if one.checkpoint is None else INK,
            bbox={"facecolor": "white", "lw": 0, "pad": 0.8},
        )


def _of_lineage(relatives: Sequence[Relative], ringed: Sequence[int]) -> list[str]:
    related = any(one.bases for one in relatives)
    facts = ["from left to right: base, made from it" if related else "no card names a base"]
    if any(one.checkpoint is None and not one.folded for one in relatives):
        facts.append("hollow: not in the zoo")
    if any(len(one.bases) > 1 for one in relatives):
        facts.append("dashed: another of several bases")
    return facts + (["ringed: chosen"] if ringed else [])
