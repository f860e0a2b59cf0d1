"""What each pick of a selection adds, and what the picks come to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from zookeeper.errors import UsageError
from zookeeper.pictures.levels import label_levels
from zookeeper.pictures.page import BLUE, FAINT, MUTED, SKY, picture, rule, whole_axes, write_title
from zookeeper.pictures.words import shown, whole_percent
from zookeeper.plain import count
from zookeeper.records import Array
from zookeeper.results import Control, Estimate, Selection

_HEIGHT = 3.6  # inches
_ASIDE = 0.6  # from the first and the last pick to the edges
_DASHES = 0, (4, 3)


def draw_gains(selection: Selection, path: Path) -> None:
    """What each pick adds and what the picks come to, beside other ways of choosing as many.

    Where they are known, a band around the picks says what they come to on resampled probes, and one behind
    them what as many come to that are drawn at random.

    Args:
        selection: of one pick or more.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending, or nothing was picked.
        StorageError: the disk refuses.
    """
    picks = selection.picks
    if not picks:
        raise UsageError("a selection without picks has no gains to draw.")
    k = len(picks)
    title = f"{k} of {count(selection.n_checkpoints, 'checkpoint')}, by {selection.by}"
    with picture(path, title) as figure:
        axes = whole_axes(figure, max(3.2, 0.34 * k + 1), _HEIGHT)
        at = np.arange(1, k + 1)
        axes.bar(at, [pick.gain for pick in picks], width=0.62, color=SKY, label="what a pick adds")
        axes.plot(at, [pick.total for pick in picks], "o-", color=BLUE, ms=5, label="all picks so far")
        if selection.band:
            _band(axes, selection.band, k, color=BLUE, alpha=0.3, zorder=1.5)
        axes.axhline(0, color=FAINT, lw=0.8)
        axes.set_xlim(1 - _ASIDE, k + _ASIDE)
        axes.set_xticks(
            at, [_pick_label(pick.name, pick.stable) for pick in picks], rotation=40, ha="right", size=8.5
        )
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
        axes.tick_params(axis="x", length=0)
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_ylabel(selection.unit)
        rule(axes)
        _compare(axes, selection)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2
        )
        write_title(axes, title, _of_selection(selection), lift=0.28)


def _pick_label(name: str, stable: float | None) -> str:
    return shown(name) if stable is None else f"{shown(name)}  {whole_percent(stable)}"


def _of_selection(selection: Selection) -> list[str]:
    facts = [f"on {shown(selection.probe)}"] if selection.probe else []
    if any(pick.stable is not None for pick in selection.picks):
        facts.append(f"%: share of {selection.replicates} replicates that choose it")
    if selection.band:
        facts.append("blue band: 5th to 95th percentile of them")
    return facts


def _compare(axes: Any, selection: Selection) -> None:
    """Other ways of choosing as many, named at the right: a band for random sets, a line for each other.

    What is known of as many only is drawn at the last pick.
    """
    k = len(selection.picks)
    levels: list[tuple[float, str]] = []
    for control in selection.controls:
        drawn = selection.random if control.spread and selection.random else [_estimate(control)]
        _band(axes, [(each.low, each.high) for each in drawn], k, color=MUTED, zorder=0)
        _level(axes, [each.value for each in drawn], k)
        levels.append((control.value, _control_label(control, k)))
    if selection.optimum:
        best = selection.optimum
        _level(axes, [best.value], k)
        levels.append((best.value, "best set" if best.proven else "best set that was found"))
    label_levels(axes, levels)


def _estimate(control: Control) -> Estimate:
    return Estimate(control.value, *(control.spread or (control.value, control.value)))


def _control_label(control: Control, k: int) -> str:
    if control.spread:
        return f"{shown(control.name)} of {k}: mean, 5th to 95th percentile"
    return shown(control.name)


def _level(axes: Any, values: Sequence[float], k: int) -> None:
    axes.plot(*_to_the_edges(values, k), ls=_DASHES, lw=0.9, color=FAINT, zorder=1)


def _band(axes: Any, ends: Sequence[tuple[float | None, float | None]], k: int, **style: Any) -> None:
    low, high = np.array(ends, dtype=np.float64).T
    places, floor = _to_the_edges(low, k)
    axes.fill_between(places, floor, _to_the_edges(high, k)[1], lw=0, **style)


def _to_the_edges(values: ArrayLike, k: int) -> tuple[Array, Array]:
    """Places and heights of values at the last of 1, ..., k, which go on as they are to both sides."""
    heights = np.pad(np.asarray(values, dtype=np.float64), 1, mode="edge")
    places = np.arange(len(heights), dtype=np.float64) + k + 2 - len(heights)
    places[[0, -1]] += [1 - _ASIDE, _ASIDE - 1]
    return places, heights
