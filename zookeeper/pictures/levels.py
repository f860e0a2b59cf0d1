"""A metric over seeds as a height, and words at the right of axes, each at its height."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from zookeeper.pictures.page import DPI, FAINT
from zookeeper.results import spread_of

_LINE = 11.0  # of text, in points


class Level(NamedTuple):
    """A metric that is defined for some seed: its mean over them, the deviation between them if several."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Level | None:
        """That of some values; None where none is defined."""
        spread = spread_of(values)
        return None if spread.mean is None else cls(spread.mean, spread.deviation)

    @property
    def ends(self) -> tuple[float, float]:
        """Of its whisker."""
        return self.mean - (self.deviation or 0.0), self.mean + (self.deviation or 0.0)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + (f" ± {self.deviation:.4f}" if self.deviation is not None else "")


def reach(levels: Iterable[Level]) -> tuple[float, float]:
    """Limits of an axis that hold levels with their whiskers."""
    ends = [level.ends for level in levels]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def label_levels(axes: Any, levels: Sequence[tuple[float, str]], *, lines: int = 1) -> None:
    """Words of so many lines at the right of the axes, each at its height, or near it where they collide."""
    levels = sorted(levels)
    values = [value for value, _ in levels]
    axes.update_datalim([(axes.get_xlim()[1], value) for value in values])
    axes.autoscale_view(scalex=False)
    low, high = axes.get_ylim()
    apart = _LINE * (lines + (lines > 1) / 2) * DPI / 72 * (high - low) / float(axes.bbox.height)
    for (value, text), where in zip(levels, _spaced(values, apart), strict=True):
        axes.annotate(
            text,
            (1, value),
            (1.04, where),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            size=8,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": FAINT,
                "lw": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def _spaced(values: Sequence[float], apart: float) -> list[float]:
    """Ascending places, `apart` at least, near to ascending values: those that collide move as one."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _collide(groups[-2], groups[-1], apart):
            groups[-2:] = [groups[-2] + groups[-1]]
    places = []
    for group in groups:
        middle = (len(group) - 1) / 2
        places += [_centre(group) + apart * (i - middle) for i in range(len(group))]
    return places


def _collide(below: Sequence[float], above: Sequence[float], apart: float) -> bool:
    return _centre(above) - _centre(below) < apart * (len(below) + len(above)) / 2


def _centre(group: Sequence[float]) -> float:
    return sum(group) / len(group)
