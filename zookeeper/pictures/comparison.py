"""Ensembles on the scale of a metric, beside ensembles that were drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zookeeper.errors import UsageError
from zookeeper.pictures.levels import Level, label_levels, reach
from zookeeper.pictures.page import (
    BLUE,
    DASHES,
    DOT,
    DPI,
    INK,
    SKY,
    VERMILLION,
    picture,
    rule,
    whole_axes,
    write_title,
)
from zookeeper.pictures.words import measured, metric_title, shown, trained_on
from zookeeper.plain import count
from zookeeper.records import Array
from zookeeper.results import Comparison, Contender

_VIOLIN_FROM = 20  # dots; fewer have no shape
_SIZE = (4.4, 3.4)  # inches


def draw_comparison(found: Comparison, path: Path) -> None:
    """Ensembles on the scale of a metric, beside ensembles of as many that were drawn at random.

    A random ensemble is a dot; from 20 on, they have a violin too. Any other is a line with its mean over
    seeds, a whisker of one standard deviation between them, its name, and how many random ones it is above.

    Args:
        found: ensembles without a value are counted, not drawn.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending, or nothing has a value.
        StorageError: the disk refuses.
    """
    levels = [Level.of(one.values) for one in (*found.contenders, *found.random)]
    if not any(levels):
        raise UsageError("no ensemble of this comparison has a value.", why=f"{found.metric} is undefined")
    title = measured(found.metric, found.target, found.split)
    with picture(path, title) as figure:
        axes = whole_axes(figure, *_SIZE)
        axes.set_xlim(0, 1)
        axes.set_xticks([])
        axes.set_ylim(reach(level for level in levels if level))
        axes.set_ylabel(metric_title(found.metric))
        rule(axes)
        _draw_random(axes, found.random)
        _draw_contenders(axes, found)
        write_title(axes, title, _of_comparison(found))


def _draw_random(axes: Any, random: Sequence[Contender]) -> None:
    """A dot for each random ensemble, those that are alike side by side; a violin of many; their median."""
    means = np.sort([one.mean for one in random if one.mean is not None])
    if not len(means):
        return
    middle, half = 0.26, 0.2
    if len(means) >= _VIOLIN_FROM:
        violin = axes.violinplot([means], positions=[middle], widths=2 * half, showextrema=False)
        for body in violin["bodies"]:
            body.set(facecolor=SKY, edgecolor=SKY, alpha=0.35)
    across, up = axes.bbox.size
    low, high = axes.get_ylim()
    diameter = DOT * DPI / 72
    offsets = _side_by_side(means * up / (high - low), diameter, half * across) / across
    axes.plot(middle + offsets, means, "o", color=BLUE, ms=DOT, mew=0, alpha=0.75)
    median = float(np.median(means))
    axes.plot([middle - half, middle + half], [median, median], color=INK, lw=1.2)
    members = len(random[0].members)
    axes.set_xticks([middle], [f"{count(len(means), 'random ensemble')} of {members}\nmedian {median:.4f}"])
    axes.tick_params(axis="x", length=0)


def _side_by_side(heights: Array, diameter: float, widest: float) -> Array:
    """Offsets from a line, the nearest at which discs at these heights do not overlap, as far as they fit."""
    steps = np.arange(1, max(int(widest / diameter), 1) + 1) * diameter
    candidates = [0.0, *np.stack([steps, -steps], axis=1).ravel()]
    offsets = np.zeros(len(heights))
    for i, height in enumerate(heights):
        near = np.abs(heights[:i] - height) < diameter
        free = (
            at
            for at in candidates
            if (np.hypot(heights[:i][near] - height, offsets[:i][near] - at) >= diameter).all()
        )
        offsets[i] = next(free, 0.0)
    return offsets


def _draw_contenders(axes: Any, found: Comparison) -> None:
    """A line, a mean and a whisker for each, and what it is; the first, which was asked for, stands out."""
    known = [(one, level) for one in found.contenders if (level := Level.of(one.values))]
    labels = []
    for at, (one, level) in zip(np.linspace(0.6, 0.92, len(known)), known, strict=True):
        first = one is found.contenders[0]
        colour = VERMILLION if first else INK
        width, dashes = (1.4, "-") if first else (0.9, DASHES)
        axes.axhline(level.mean, color=colour, lw=width, ls=dashes, zorder=1)
        axes.errorbar(at, level.mean, level.deviation, fmt="o", color=colour, ms=6, capsize=3, elinewidth=1.4)
        above = 1 + len(found.random) - found.rank(one)
        rank = f", above {above} of {len(found.random)}" if found.random else ""
        labels.append((level.mean, f"{shown(one.name)}\n{level}{rank}"))
    label_levels(axes, labels, lines=2)


def _of_comparison(found: Comparison) -> list[str]:
    facts = [f"recipe {shown(found.recipe)}", trained_on(found.fraction), count(len(found.seeds), "seed")]
    facts += ["whisker: standard deviation between them"] if len(found.seeds) > 1 else []
    unknown = sum(one.mean is None for one in (*found.contenders, *found.random))
    return facts + ([f"without a value: {count(unknown, 'ensemble')}"] if unknown else [])
