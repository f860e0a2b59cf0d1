"""How runs learned: the validation metric pass by pass, and what less training data comes to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from markupsafe import Markup

from zookeeper.arrangement import spaced
from zookeeper.plain import count
from zookeeper.report import svg, words
from zookeeper.report.parts import Column, Panel, Table, figure, names, part, whole
from zookeeper.results import Run, Trial, spread_of

_LEFT, _TOP, _HEIGHT = 58.0, 34.0, 300.0
_DRAWN_UP_TO = 8
_LINE = 17.0
_DECADE = 10

Curve = list[tuple[float, float]]


def panel(runs: Sequence[Run]) -> Panel | None:
    """None without runs. Those by another metric than the first are in the table only."""
    if not runs:
        return None
    first = runs[0]
    figures = [_by_pass([run for run in runs if run.metric == first.metric][:_DRAWN_UP_TO])]
    if len(first.curve) > 1:
        figures.append(_by_share(first))
    return Panel(
        id="runs",
        title="How it learned",
        upshot=_upshot(first),
        reading=_reading(runs),
        figures=tuple(each for each in figures if each is not None),
        tables=tuple(_tables(runs)),
    )


def _upshot(run: Run) -> str:
    results = words.listed([f"{words.spread(found)} on {split}" for split, found in run.results.items()])
    return (
        f"Run {run.id}, {count(len(run.members), 'member')} by recipe {words.shown(run.recipe.name)}, "
        f"reaches {words.metric(run.metric)} {results}, over {count(len(run.seeds), 'seed')}."
    )


def _reading(runs: Sequence[Run]) -> str:
    reading = (
        "The metric on validation after each pass over the training data: the line is the mean over seeds as "
        "far as all of them went, thin lines are the seeds, and a point is the pass whose weights a seed kept"
    )
    others = "; the other runs are grey, named at their ends" if len(runs) > 1 else ""
    return f"{reading}{others}. What stands before training is in the table only."


def _label(run: Run) -> str:
    return f"{run.id[:6]} {words.shown(run.recipe.name, 16)}, {count(len(run.members), 'member')}"


def _learned(trial: Trial) -> Curve:
    return [(each.number, each.metric) for each in trial.history if each.number and each.metric is not None]


def _mean(run: Run) -> Curve:
    curves = [dict(_learned(trial)) for trial in run.whole]
    shared = set.intersection(*(set(curve) for curve in curves))
    return [(at, sum(curve[at] for curve in curves) / len(curves)) for at in sorted(shared)]


def _by_pass(runs: Sequence[Run]) -> Markup | None:
    """None where nothing was learned pass by pass, or no metric is defined."""
    seeds = {run.id: [_learned(trial) for trial in run.whole] for run in runs}
    means = {run.id: mean for run in runs if (mean := _mean(run))}
    points = [point for run in means for curve in seeds[run] for point in curve]
    if not points:
        return None
    labels = {run.id: _label(run) for run in runs}
    right = svg.WIDTH - 16 - max(svg.width_of(labels[run]) for run in means)
    x = svg.Scale(1, max(2, max(at for at, _ in points)), _LEFT, right)
    y = svg.Scale.over([value for _, value in points], _TOP + _HEIGHT, _TOP)
    first = next(iter(means))
    kept = [
        (trial.best_epoch, value)
        for run in runs
        if run.id == first
        for trial in run.whole
        if (value := dict(_learned(trial)).get(trial.best_epoch)) is not None
    ]
    return svg.drawing(
        f"Learning curves of {count(len(means), 'run')}; their numbers are below",
        svg.WIDTH,
        _TOP + _HEIGHT + 44,
        *svg.upwards(y, _LEFT, right, f"{words.metric(runs[0].metric)}, validation"),
        *_passes(x),
        *(_curve(x, y, means[run], "other") for run in means if run != first),
        *(_curve(x, y, curve, "seed") for curve in seeds[first] if curve),
        _curve(x, y, means[first], "curve"),
        *(svg.dot(x(at), y(value), 4, "point") for at, value in kept),
        *_ends([(labels[run], mean) for run, mean in means.items()], x, y),
    )


def _passes(x: svg.Scale) -> Iterator[Markup]:
    for value, label in x.ticks(8, least=1):
        yield svg.text(x(value), _TOP + _HEIGHT + 18, label, "m c")
    yield svg.text(_LEFT, _TOP + _HEIGHT + 38, "passes over the training data", "m")


def _curve(x: svg.Scale, y: svg.Scale, points: Curve, class_: str) -> Markup:
    return svg.path(svg.trace((x(at), y(value)) for at, value in points), class_)


def _ends(curves: Sequence[tuple[str, Curve]], x: svg.Scale, y: svg.Scale) -> Iterator[Markup]:
    """Names at the ends of curves, those that collide below one another; that of the first is bold."""
    first, _ = curves[0]
    ends = sorted((y(points[-1][1]), x(points[-1][0]), label) for label, points in curves)
    places = spaced([height for height, _, _ in ends], _LINE)
    for (height, across, label), place in zip(ends, places, strict=True):
        yield svg.path(svg.trace([(across + 4, height), (x.end, height), (x.end + 9, place)]), "thread")
        yield svg.text(x.end + 12, place + 4, label, "n strong" if label == first else "n m")


def _by_share(run: Run) -> Markup | None:
    """The metric by the share of training data; None where it is undefined."""
    split = _split(run)
    values = {share: [t.results.get(split) for t in trials] for share, trials in run.curve.items()}
    means = {share: mean for share, each in values.items() if (mean := spread_of(each).mean) is not None}
    if not means:
        return None
    shares = list(run.curve)
    logarithmic = shares[-1] / shares[0] > _DECADE
    place = math.log if logarithmic else float
    right = 0.7 * svg.WIDTH
    x = svg.Scale.over([place(share) for share in shares], _LEFT, right)
    dots = [(share, value) for share, each in values.items() for value in each if value is not None]
    y = svg.Scale.over([value for _, value in dots], _TOP + _HEIGHT, _TOP)
    return svg.drawing(
        f"{words.metric(run.metric)} by share of the training data; its numbers are below",
        svg.WIDTH,
        _TOP + _HEIGHT + 60,
        *svg.upwards(y, _LEFT, right, f"{words.metric(run.metric)}, {split}"),
        *_marks(run, {share: x(place(share)) for share in shares}),
        svg.path(svg.trace((x(place(share)), y(mean)) for share, mean in means.items()), "curve"),
        *(svg.dot(x(place(share)), y(value), 4, "point") for share, value in dots),
    )


def _split(run: Run) -> str:
    return "test" if all("test" in trial.results for trial in run.trials) else "validation"


def _marks(run: Run, places: dict[float, float]) -> Iterator[Markup]:
    """Shares with their numbers of sentences, the largest first, as far as they have room."""
    bottom, after = _TOP + _HEIGHT, math.inf
    for share, at in reversed(places.items()):
        if after - at > 60:
            after = at
            yield svg.text(at, bottom + 18, words.share(share), "m c")
            yield svg.text(at, bottom + 34, f"{run.curve[share][0].sentences['train']:,}", "m c")
    yield svg.text(_LEFT, bottom + 54, f"of the training data, {run.target.counted_in}", "m")


def _tables(runs: Sequence[Run]) -> Iterator[Table]:
    first = runs[0]
    splits = list(dict.fromkeys(split for run in runs for split in run.results))
    yield Table.of(
        "Runs",
        (
            Column("run", kind="code"),
            Column("recipe", words.shown),
            Column("metric", words.metric),
            whole("seeds"),
            part("of the training data"),
            *(
                column
                for split in splits
                for column in (Column(split, words.spread, "number"), figure(f"{split}, commonest answer"))
            ),
            whole("seconds"),
            names("members"),
        ),
        (_row(run, splits) for run in runs),
        folded=False,
    )
    yield _passes_of(first)
    if len(first.curve) > 1:
        yield _shares_of(first, splits)


def _row(run: Run, splits: Sequence[str]) -> tuple[object, ...]:
    numbers = [value for split in splits for value in (run.results.get(split), run.majority.get(split))]
    return (
        run.id,
        run.recipe.name,
        run.metric,
        len(run.seeds),
        run.best.key.fraction,
        *numbers,
        sum(trial.seconds for trial in run.trials),
        [member.name for member in run.members],
    )


def _passes_of(run: Run) -> Table:
    histories = list(zip_longest(*(trial.history for trial in run.whole)))
    return Table(
        f"Run {run.id} pass by pass: validation {words.metric(run.metric)} by seed",
        (whole("pass"), figure("mean loss"), *(figure(f"seed\u00a0{seed}") for seed in run.seeds)),
        tuple(
            (
                at,
                spread_of(each.loss for each in epochs if each).mean,
                *(each.metric if each else None for each in epochs),
            )
            for at, epochs in enumerate(histories)
        ),
    )


def _shares_of(run: Run, splits: Sequence[str]) -> Table:
    def row(share: float, trials: Sequence[Trial]) -> tuple[object, ...]:
        spreads = [spread_of(trial.results.get(split) for trial in trials) for split in splits]
        numbers = [value for each in spreads for value in (each.mean, each.deviation)]
        return share, trials[0].sentences["train"], *numbers

    return Table.of(
        f"Run {run.id} with less data",
        (
            part("of the training data"),
            whole(run.target.counted_in),
            *(figure(f"{split}{what}") for split in splits for what in ("", " ±")),
        ),
        (row(share, trials) for share, trials in run.curve.items()),
    )
