"""What the chosen checkpoints say, pick by pick, beside checkpoints drawn at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from markupsafe import Markup

from zookeeper.plain import count
from zookeeper.report import svg, words
from zookeeper.report.parts import Column, Panel, Table, figure, name, names, part, whole
from zookeeper.results import Control, Estimate, Selection

T = TypeVar("T")

_ROW, _TOP = 34.0, 28.0


def panel(found: Selection) -> Panel | None:
    """None where nothing was picked."""
    if not found.picks:
        return None
    return Panel(
        id="gains" if found.target is None else "gains-target",
        title=f"What the chosen say of {_subject(found)}",
        upshot=_upshot(found),
        reading=_reading(found),
        figures=(_drawing(found),),
        tables=tuple(_tables(found)),
    )


def _upshot(found: Selection) -> str:
    said = (
        f"{count(len(found.picks), 'pick')} of {found.n_checkpoints:,}, by {found.by}, come to "
        f"{words.number(found.picks[-1].total, 3)} {found.unit}"
    )
    control = next((each for each in found.controls if each.spread), None)
    if control is None:
        return f"{said}."
    beaten = "" if control.below is None else f", less in {words.share(control.below)} of the sets"
    return f"{said}; as many at random to {words.number(control.value, 3)} on average{beaten}."


def _subject(found: Selection) -> str:
    return "the rest" if found.target is None else words.target(found.target)


def _reading(found: Selection) -> str:
    bands = []
    if found.band:
        bands.append("the blue band holds 90 % of the totals over resampled sentences")
    if found.random:
        bands.append("the grey one those of as many checkpoints drawn at random, its dashes their mean")
    elif _random(found):
        bands.append("the grey one at the last pick those of as many checkpoints drawn at random")
    return (
        "From the top: after each pick, the point says what all picks so far tell about "
        f"{_subject(found)}, in {found.unit}; the bar is what the pick itself adds"
        + (f". Round the curve, {'; '.join(bands)}" if bands else "")
        + ". A short bar means that the pick says little that others had not said."
    )


def _drawing(found: Selection) -> Markup:
    labels = [words.shown(pick.name) for pick in found.picks]
    levels = list(_levels(found))
    left = svg.gutter(labels)
    totals = [pick.total for pick in found.picks]
    random = _random(found)
    ends = [end for band in (*found.band, *_ends(random)) for end in band]
    scale = svg.Scale.over(
        [0.0, *totals, *ends, *(value for value, _ in levels)], left, svg.WIDTH - 12, margin=0.03
    )
    places = [_TOP + (i + 0.5) * _ROW for i in range(len(labels))]
    bottom = places[-1] + _ROW / 2
    return svg.drawing(
        f"Gain curve of {count(len(labels), 'pick')}; its numbers are below",
        svg.WIDTH,
        bottom + 30 + 18 * len(levels),
        *svg.beneath(scale, levels, bottom - 5, bottom, "thread"),
        *svg.across(scale, _TOP, bottom, f"{found.unit}, of all picks so far"),
        *_band(scale, places[-len(random) :], _ends(random), "random"),
        *_band(scale, places, found.band, "band"),
        *_bars(found, scale, places),
        *_line(scale, places[-len(random) :], [each.value for each in random], "dashed"),
        *_line(scale, places, totals, "curve"),
        *(svg.dot(scale(total), y, 4.5, "point") for total, y in zip(totals, places, strict=True)),
        *(
            mark
            for row, (label, y) in enumerate(zip(labels, places, strict=True), 1)
            for mark in svg.row_name(left, y, row, label)
        ),
    )


def _random(found: Selection) -> list[Estimate]:
    """What as many come to that are drawn at random, after each pick or, where no more is known, the last."""
    if found.random:
        return list(found.random)
    return [Estimate(each.value, *each.spread) for each in found.controls if each.spread][:1]


def _ends(estimates: Sequence[Estimate]) -> list[tuple[float, float]]:
    return [
        (each.value if each.low is None else each.low, each.value if each.high is None else each.high)
        for each in estimates
    ]


def _band(
    scale: svg.Scale, places: Sequence[float], ends: Sequence[tuple[float, float]], class_: str
) -> Iterator[Markup]:
    if ends:
        rows = list(_in_rows(ends, places))
        low = [(scale(low), y) for (low, _), y in rows]
        high = [(scale(high), y) for (_, high), y in rows]
        yield svg.path(svg.trace([*low, *reversed(high)], closed=True), class_)


def _line(
    scale: svg.Scale, places: Sequence[float], values: Sequence[float], class_: str
) -> Iterator[Markup]:
    if values:
        yield svg.path(svg.trace((scale(value), y) for value, y in _in_rows(values, places)), class_)


def _in_rows(values: Sequence[T], places: Sequence[float]) -> Iterator[tuple[T, float]]:
    """Values with their heights; a single one fills its row."""
    if len(values) == 1:
        yield from ((values[0], places[0] + half) for half in (-_ROW / 2, _ROW / 2))
    else:
        yield from zip(values, places, strict=False)


def _bars(found: Selection, scale: svg.Scale, places: Sequence[float]) -> Iterator[Markup]:
    for pick, y in zip(found.picks, places, strict=True):
        ends = sorted((scale(pick.total - pick.gain), scale(pick.total)))
        yield svg.rectangle(ends[0], y - 7, ends[1] - ends[0], 14, "bar")


def _levels(found: Selection) -> Iterator[tuple[float, str]]:
    """Other ways of choosing as many, with what they come to."""
    for control in found.controls:
        yield control.value, f"{_control(control)}  {words.number(control.value, 3)}"
    if found.optimum:
        best = found.optimum
        title = "best set" if best.proven else "best set that was found"
        yield best.value, f"{title}  {words.number(best.value, 3)}"


def _control(control: Control) -> str:
    return words.shown(control.name) + (", on average" if control.spread else "")


def _tables(found: Selection) -> Iterator[Table]:
    bands = [*found.band, *[(None, None)] * len(found.picks)]
    random = [*found.random, *[None] * len(found.picks)]
    yield Table.of(
        "Picks",
        (
            whole("pick"),
            name(),
            figure(f"gain, {found.unit}"),
            figure("all so far"),
            figure("5\u00a0%"),
            figure("95\u00a0%"),
            figure("at random"),
            part("chosen by replicates"),
            whole(found.budget.unit if found.budget else "cost"),
            names("stands for"),
            names("as good"),
        ),
        (
            (
                i + 1,
                pick.name,
                pick.gain,
                pick.total,
                *bands[i],
                None if (drawn := random[i]) is None else drawn.value,
                pick.stable,
                pick.cost,
                pick.stands_for or None,
                pick.ties or None,
            )
            for i, pick in enumerate(found.picks)
        ),
        folded=False,
    )
    if found.controls or found.optimum:
        yield Table.of(
            "Other ways of choosing as many",
            (
                Column("way", words.shown, "name"),
                figure(found.unit),
                figure("5\u00a0%"),
                figure("95\u00a0%"),
                part("sets below the choice"),
                names("set"),
            ),
            _others(found),
        )


def _others(found: Selection) -> Iterator[tuple[object, ...]]:
    for control in found.controls:
        yield (
            control.name,
            control.value,
            *(control.spread or (None, None)),
            control.below,
            control.picks or None,
        )
    if best := found.optimum:
        title = (
            "best set"
            if best.proven
            else f"best set that was found; none is above {words.number(best.bound)}"
        )
        yield title, best.value, None, None, None, best.names
