"""Checkpoints in the order of a ranking, with distances, tiers, and what one would have got without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zookeeper.arrangement import beside_first
from zookeeper.errors import UsageError
from zookeeper.pictures.page import (
    BLUE,
    DASHES,
    DOT,
    FAINT,
    NAMED_UP_TO,
    VERMILLION,
    picture,
    rule,
    whole_axes,
    write_title,
)
from zookeeper.pictures.words import score_title, shown, whole_percent
from zookeeper.plain import count
from zookeeper.results import Ranking, Score

_WIDTH, _ROW = 4.6, 0.21  # inches
_SIZE = 8.5  # of names, in points


def draw_ranking(ranking: Ranking, path: Path) -> None:
    """Checkpoints, best first, by the score that orders them, with the tiers.

    The bar of each holds its distance to the first, which has none. What one would have got without reading
    anything is below them, each with a line to read it by.

    Args:
        ranking: of more than 60 the first 60 are drawn.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending, or no checkpoint has a score.
        StorageError: the disk refuses.
    """
    scores = ranking.scores[:NAMED_UP_TO]
    if not scores:
        raise UsageError("a ranking without scores has nothing to draw.", fix="zoo doctor")
    target = ranking.target.dataset if ranking.target.local else ranking.target.name
    title = f"{count(len(ranking.scores), 'checkpoint')} for {shown(target)}, by {score_title(ranking.by)}"
    with picture(path, title) as figure:
        height = _ROW * (len(scores) + len(ranking.baselines) + 0.6)
        axes = whole_axes(figure, _WIDTH, height)
        _draw_scores(axes, beside_first(ranking)[: len(scores)])
        _draw_baselines(axes, [one.value for one in ranking.baselines], first=len(scores))
        names = [*(score.name for score in scores), *(one.name for one in ranking.baselines)]
        axes.set_yticks(range(len(names)), [shown(name) for name in names], size=_SIZE)
        for label in axes.get_yticklabels()[len(scores) :]:
            label.set_color(VERMILLION)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(score_title(ranking.by))
        rule(axes, "x")
        _bracket(axes, scores)
        write_title(axes, title, _of_ranking(ranking))


def _draw_scores(axes: Any, scores: Sequence[tuple[float, float, float]]) -> None:
    """A dot for each, and a bar where its distance to the first may vary."""
    for row, (_, low, high) in enumerate(scores):
        if high > low:
            axes.plot([low, high], [row, row], color=BLUE, lw=1.6, alpha=0.5, solid_capstyle="butt")
    axes.plot([value for value, _, _ in scores], range(len(scores)), "o", color=BLUE, ms=DOT, mew=0)


def _draw_baselines(axes: Any, values: Sequence[float], *, first: int) -> None:
    """A hollow mark for each, in rows from `first`, and a line from there through the checkpoints."""
    for row, value in enumerate(values, first):
        axes.plot([value, value], [-0.6, row], color=VERMILLION, lw=0.9, ls=DASHES, zorder=1)
        axes.plot(value, row, "D", mfc="white", mec=VERMILLION, ms=DOT)


def _bracket(axes: Any, scores: Sequence[Score]) -> None:
    """The letters of tiers at the right, each with a line beside those that have it."""
    beside = axes.get_yaxis_transform()
    tiers = [score.tier for score in scores]
    for tier in dict.fromkeys(tier for tier in tiers if tier is not None):
        low = tiers.index(tier)
        high = low + tiers.count(tier) - 1
        ends = [low - 0.35, high + 0.35]
        axes.plot([1.03, 1.03], ends, color=FAINT, lw=1, transform=beside, clip_on=False)
        axes.text(1.05, (low + high) / 2, shown(tier), transform=beside, size=_SIZE, va="center")


def _of_ranking(ranking: Ranking) -> list[str]:
    facts = [f"{shown(ranking.split)} split"]
    if ranking.replicates:
        level = whole_percent(ranking.level)
        facts.append(f"bar: distance to the first in {level} of {ranking.replicates} bootstrap replicates")
    if any(score.tier for score in ranking.scores):
        facts.append("one letter: cannot be told apart")
    if len(ranking.scores) > NAMED_UP_TO:
        facts.append(f"the first {NAMED_UP_TO} are drawn")
    if ranking.failures:
        facts.append(f"failed: {count(len(ranking.failures), 'checkpoint')}")
    return facts
