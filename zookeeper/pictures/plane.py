"""Checkpoints as points of a plane, with their names beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zookeeper.arrangement import classical_scaling, correlation
from zookeeper.errors import UsageError
from zookeeper.pictures.page import (
    BLUE,
    DPI,
    FAINT,
    MUTED,
    POINT,
    RING,
    VERMILLION,
    extent,
    picture,
    whole_axes,
    write_title,
)
from zookeeper.pictures.words import on, shown, whole_percent
from zookeeper.plain import count
from zookeeper.records import Array
from zookeeper.results import Covariance

_NUMBERED_UP_TO = 100
_LIST_LINES = 40
_NEAR, _FAR = (1, 0.6, 1.8, 3, 4.5), (1.8, 3, 4.5, 6, 9, 13, 20, 30, 45)  # of words on a map
_MAP = (7.5, 5.6)  # inches


def draw_map(covariance: Covariance, path: Path, picks: Sequence[str] = ()) -> None:
    """Checkpoints as points of a plane: the nearer, the more alike.

    Up to 100 checkpoints, each has its name beside it, or a number and its name in a list; of more, those
    have names that have room for them.

    Args:
        covariance: its diagonal is made 1 if it is not.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        picks: names of checkpoints to ring.

    Raises:
        UsageError: another ending, or a pick that is no checkpoint of the covariance.
        StorageError: the disk refuses.
    """
    if unknown := next((name for name in picks if name not in covariance.names), None):
        raise UsageError(f"{unknown} is not in this covariance.", fix="draw the picks of the same covariance")
    scaling = classical_scaling(correlation(covariance.matrix))
    ringed = [covariance.names.index(name) for name in picks]
    of = f"{count(len(covariance), 'checkpoint')}{on(covariance.probe)}"
    title = f"Map of {of}: {whole_percent(scaling.explained)} explained"
    facts = ["distance √(2(1 − κ)), classical scaling to two dimensions"]
    facts += ["ringed: chosen"] if ringed else []
    with picture(path, title) as figure:
        axes = whole_axes(figure, *_MAP)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(visible=True, color=MUTED)
        x, y = scaling.coordinates.T
        _fit(axes, scaling.coordinates)
        axes.scatter(x, y, s=POINT**2, color=BLUE, alpha=0.85, lw=0, zorder=3)
        axes.scatter(
            x[ringed], y[ringed], s=RING**2, facecolors="none", edgecolors=VERMILLION, lw=1.8, zorder=4
        )
        names = [shown(name) for name in covariance.names]
        unnamed = _name_points(axes, scaling.coordinates, names, ringed)
        if unnamed:
            facts.append(f"{unnamed} have no room for their names")
        write_title(axes, title, facts)


def _fit(axes: Any, points: Array) -> None:
    """Limits with one scale in both directions, and room for names."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    scale = 1.2 * max(float((np.ptp(points, axis=0) / _MAP).max()), 1e-3)
    for limit, centre, inches in zip((axes.set_xlim, axes.set_ylim), middle, _MAP, strict=True):
        limit(centre - scale * inches / 2, centre + scale * inches / 2)


def _name_points(axes: Any, points: Array, names: Sequence[str], first: Sequence[int]) -> int:
    """Write names beside points, `first` first; where there is no room a number, and its name in a list.

    Returns:
        How many points have neither name nor number.
    """
    labels = _Labels(axes, points, first)
    turns = [*dict.fromkeys(first), *(i for i in labels.loneliest_first() if i not in first)]
    crowded = [i for i in turns if not labels.place(i, names[i], reaches=_NEAR)]
    if len(names) > _NUMBERED_UP_TO:
        return len(crowded)
    crowded.sort(key=lambda i: names[i])
    for number, i in enumerate(crowded, 1):
        if not labels.place(i, str(number), reaches=_NEAR):
            labels.place(i, str(number), reaches=_FAR, crossing=True)
    _listed(axes, [f"{number}  {names[i]}" for number, i in enumerate(crowded, 1)])
    return 0


class _Labels:
    """Words beside points, which overlap neither one another nor a point.

    Args:
        axes: with its final limits.
        points: (m, 2).
        ringed: which of them have a ring.
    """

    _DIRECTIONS = np.array(
        [(1.0, 0.0), (-1.0, 0.0)]
        + [(x, y) for x in (0.0, 0.7, -0.7, 0.35, -0.35, 1.0, -1.0) for y in (1.0, -1.0)]
    )
    _SIZE = 7.5

    def __init__(self, axes: Any, points: Array, ringed: Sequence[int]) -> None:
        self._axes, self._points = axes, points
        self._pixels = np.asarray(axes.transData.transform(points))
        self._pixel = DPI / 72
        self._radius = np.full(len(points), POINT / 2 * self._pixel)
        self._radius[list(ringed)] = (RING / 2 + 1) * self._pixel
        self._taken = np.hstack([self._pixels - self._radius[:, None], self._pixels + self._radius[:, None]])
        self._frame = np.asarray(axes.bbox.extents)

    def loneliest_first(self) -> list[int]:
        """Points by how many others are within an inch."""
        apart = np.linalg.norm(self._pixels[:, None] - self._pixels[None], axis=2)
        return [int(i) for i in np.argsort((apart < DPI).sum(axis=1), kind="stable")]

    def place(self, i: int, text: str, *, reaches: Sequence[float], crossing: bool = False) -> bool:
        """Write beside point `i` where there is room, and say whether there was.

        Args:
            i: number of the point.
            text: what to write.
            reaches: how far away, in turn; a word of a reach above 1 has a line to its point.
            crossing: whether that line may cross others.
        """
        room = extent(self._axes.figure, text, self._SIZE)
        for reach in reaches:
            for direction in self._DIRECTIONS:
                distance = self._radius[i] + (7 * reach - 4) * self._pixel
                centre = self._pixels[i] + direction * (distance + room / 2)
                box = np.concatenate([centre - room / 2, centre + room / 2])
                if self._is_free(box) and (crossing or reach <= 1 or self._is_clear(i, centre)):
                    self._taken = np.vstack([self._taken, box])
                    self._write(i, text, centre, leader=reach > 1)
                    return True
        return False

    def _is_free(self, box: Array) -> bool:
        if (box[:2] < self._frame[:2]).any() or (box[2:] > self._frame[2:]).any():
            return False
        return not ((box[:2] < self._taken[:, 2:]) & (box[2:] > self._taken[:, :2])).all(axis=1).any()

    def _is_clear(self, i: int, centre: Array) -> bool:
        """Whether a line from point `i` crosses no other point and no word."""
        way = self._pixels[i] + np.linspace(0, 1, 40)[:, None] * (centre - self._pixels[i])
        others = np.delete(self._taken, i, axis=0)
        return not ((way[:, None] > others[:, :2]) & (way[:, None] < others[:, 2:])).all(axis=2).any()

    def _write(self, i: int, text: str, centre: Array, *, leader: bool) -> None:
        self._axes.annotate(
            text,
            self._points[i],
            (centre - self._pixels[i]) / self._pixel,
            textcoords="offset points",
            size=self._SIZE,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": FAINT, "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
            if leader
            else None,
        )


def _listed(axes: Any, lines: Sequence[str]) -> None:
    """Lines of text at the right of the axes, in columns."""
    left = 1.02
    for start in range(0, len(lines), _LIST_LINES):
        column = axes.text(
            left,
            1,
            "\n".join(lines[start : start + _LIST_LINES]),
            transform=axes.transAxes,
            size=7.5,
            va="top",
            linespacing=1.35,
        )
        right = column.get_window_extent(axes.figure.canvas.get_renderer()).x1
        left = float(axes.transAxes.inverted().transform((right, 0))[0]) + 0.02
