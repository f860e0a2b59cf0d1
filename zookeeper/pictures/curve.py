"""What a run learnt: from ever more of the training data, or from pass to pass over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from zookeeper.errors import UsageError
from zookeeper.pictures.levels import Level, label_levels
from zookeeper.pictures.page import (
    BLUE,
    DASHES,
    DOT,
    SKY,
    VERMILLION,
    mark,
    picture,
    rule,
    whole_axes,
    write_title,
)
from zookeeper.pictures.words import measured, metric_title, percent, shown
from zookeeper.plain import count
from zookeeper.results import Run, Trial

_SIZE = 4.4, 3.4  # inches
_DECADE = 10
_FARTHEST = 3  # from a curve, by how much it spans, that the axis goes to show something else


def draw_curve(run: Run, path: Path) -> None:
    """The metric by share of the training data, or pass by pass, beside that of the commonest answer.

    Over shares: a line through the means over seeds, a dot for each trial. Of the test split where all
    trials were measured on it, else of the validation split. Over passes: of the validation split, a thin
    line for each seed with a dot at the pass that was kept, and their mean as far as all seeds went.

    Args:
        run: on several shares, or with a history.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.

    Raises:
        UsageError: another ending, or nothing has a value.
        StorageError: the disk refuses.
    """
    if len(run.curve) > 1:
        _draw_shares(run, path)
    else:
        _draw_passes(run, path)


def _draw_shares(run: Run, path: Path) -> None:
    split = "test" if all("test" in trial.results for trial in run.trials) else "validation"
    values = {share: [t.results.get(split) for t in trials] for share, trials in run.curve.items()}
    levels = {share: level for share, each in values.items() if (level := Level.of(each))}
    if not levels:
        raise UsageError(f"run {run.id} has no value to draw.", why=f"{run.metric} is undefined")
    title = f"Learning curve: {measured(run.metric, run.target, split)}"
    with picture(path, title) as figure:
        axes = _metric_axes(figure, run)
        _draw_levels(axes, levels)
        dots = [(share, value) for share, each in values.items() for value in each if value is not None]
        axes.plot(*zip(*dots, strict=True), "o", color=BLUE, ms=DOT, mew=0, alpha=0.75)
        sentences = [trials[0].sentences["train"] for trials in run.curve.values()]
        _share_axis(axes, list(run.curve), sentences)
        axes.set_xlabel(f"of the training data, {run.target.counted_in}")
        more = ["band: standard deviation between seeds"] if len(run.seeds) > 1 else []
        more += _label(axes, run, split, levels[max(levels)])
        write_title(axes, title, [*_of_run(run), *more])


def _draw_passes(run: Run, path: Path) -> None:
    histories = [_passes(trial) for trial in run.whole]
    if not any(histories):
        raise UsageError(
            f"run {run.id} has no value to draw.",
            why=f"it has one share of the data and no pass after which {metric_title(run.metric)} is defined",
            fix="zoo tune --fractions 0.1,0.3,1",
        )
    title = f"Pass by pass: {measured(run.metric, run.target, 'validation')}"
    facts = [*_of_run(run), "dot: the pass that was kept"]
    with picture(path, title) as figure:
        axes = _metric_axes(figure, run)
        for passes in histories:
            axes.plot(list(passes), list(passes.values()), color=SKY, lw=0.9)
        kept = {
            (trial.best_epoch, passes[trial.best_epoch])
            for trial, passes in zip(run.whole, histories, strict=True)
            if trial.best_epoch in passes
        }
        axes.plot(*np.array(sorted(kept)).reshape(-1, 2).T, "o", color=BLUE, ms=DOT, mew=0, alpha=0.75)
        if len(histories) > 1:
            shared = sorted(set(histories[0]).intersection(*histories[1:]))
            means = [np.mean([passes[number] for passes in histories]) for number in shared]
            axes.plot(shared, means, color=BLUE, lw=2)
            facts.append("bold: mean over seeds")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("passes over the training data")
        facts += _label(axes, run, "validation", Level.of(value for _, value in kept))
        write_title(axes, title, facts)


def _passes(trial: Trial) -> dict[int, float]:
    """The metric after each pass for which it is defined; what stands before training is none."""
    return {
        epoch.number: epoch.metric for epoch in trial.history if epoch.number and epoch.metric is not None
    }


def _metric_axes(figure: Any, run: Run) -> Any:
    axes = whole_axes(figure, *_SIZE)
    axes.set_ylabel(metric_title(run.metric))
    rule(axes)
    return axes


def _label(axes: Any, run: Run, split: str, reached: Level | None) -> list[str]:
    """At the right what was reached, and the commonest answer as a line.

    Returns:
        The commonest answer as a fact, where it is so far off that its line would flatten all others.
    """
    labels = [(reached.mean, f"{count(len(run.seeds), 'seed')}\n{reached}")] if reached else []
    commonest = run.majority.get(split)
    low, high = axes.dataLim.intervaly
    room = _FARTHEST * (high - low)
    near = commonest is not None and low - room <= commonest <= high + room
    if commonest is not None and near:
        axes.axhline(commonest, color=VERMILLION, lw=1.2, ls=DASHES)
        labels.append((commonest, f"the commonest answer\n{commonest:.4f}"))
    label_levels(axes, labels, lines=2)
    return [] if commonest is None or near else [f"the commonest answer: {commonest:.4f}"]


def _draw_levels(axes: Any, levels: Mapping[float, Level]) -> None:
    """A line through means, in a band of one deviation."""
    shares = list(levels)
    if any(level.deviation for level in levels.values()):
        low, high = zip(*(level.ends for level in levels.values()), strict=True)
        axes.fill_between(shares, low, high, color=SKY, alpha=0.35, lw=0)
    axes.plot(shares, [level.mean for level in levels.values()], color=BLUE, lw=1.4)


def _share_axis(axes: Any, shares: Sequence[float], sentences: Sequence[int]) -> None:
    """An axis of shares that were learnt from, logarithmic where they span more than a decade."""
    spans = shares[-1] / shares[0] > _DECADE
    if spans:
        axes.set_xscale("log")
    axes.margins(x=0.04)
    labels = [f"{percent(share)}\n{n:,}" for share, n in zip(shares, sentences, strict=True)]
    mark(axes, shares, labels, np.log(shares) if spans else np.array(shares))


def _of_run(run: Run) -> list[str]:
    first, *more = (shown(member.name) for member in run.members)
    return [f"recipe {shown(run.recipe.name)}", f"{first} and {len(more)} more" if more else first]
