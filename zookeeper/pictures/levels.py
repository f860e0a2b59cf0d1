"""A metric over seeds as a height, and words at the right of axes, each at its height."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from zookeeper.arrangement import spaced
from zookeeper.pictures.page import DPI, FAINT
from zookeeper.results import spread_of

_LINE = 11.0  # of text, in points


class Level(NamedTuple):
    """A metric that is defined for some seed: its mean over them, the deviation between them if several."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Level | None:
        """Of the values of several seeds; None where none is defined."""
        spread = spread_of(values)
        return None if spread.mean is None else cls(spread.mean, spread.deviation)

    @property
    def ends(self) -> tuple[float, float]:
        """Where its whisker ends."""
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
    for (value, text), where in zip(levels, spaced(values, apart), strict=True):
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
