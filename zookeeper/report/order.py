"""Checkpoints in their order for a target, with what is known of its chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup

from zookeeper.arrangement import beside_first
from zookeeper.plain import count
from zookeeper.report import svg, words
from zookeeper.report.parts import Column, Panel, Table, figure, name, whole
from zookeeper.results import Estimate, Ranking, Score

_TOP, _TIERS, _MARGIN = 28.0, 36.0, 8.0
_DRAWN_UP_TO = 100
_UNFOLDED_UP_TO = 30


def panel(found: Ranking) -> Panel | None:
    """None where nothing has a score."""
    if not found.scores:
        return None
    return Panel(
        id="ranking",
        title=f"Who serves {words.target(found.target)}",
        upshot=_upshot(found),
        reading=_reading(found),
        figures=(_drawing(found, _WIDE) + _drawing(found, _NARROW),),
        tables=tuple(_tables(found)),
    )


def _upshot(found: Ranking) -> str:
    first = found.scores[0]
    value = words.number(first.estimates[found.by].value)
    by = f"by {words.score(found.by)}, with {value}"
    said = f"{words.shown(first.name)} is first of {len(found.scores):,} {by}"
    if not found.replicates:
        return f"{said}. How sure the order is was not measured."
    peers = sum(score.tier == first.tier for score in found.scores) - 1
    if not peers:
        return f"{said}; it is told apart from all others."
    return f"{said}; {count(peers, 'other')} cannot be told apart from it."


def _reading(found: Ranking) -> str:
    parts = [f"Each dot is a checkpoint's {words.score(found.by)} on the target; further right is better"]
    if found.replicates:
        parts.append(
            f"the bar holds its distance to the first in {words.share(found.level)} of {found.replicates} "
            "resampled sets, and checkpoints under one letter cannot be told apart"
        )
    if found.baselines:
        parts.append("dashed lines are what one would have got without reading anything")
    return f"{'; '.join(parts)}. The axis does not begin at 0."


class _Sheet(NamedTuple):
    """Room for a drawing: with names beside the dots, or on a narrow sheet above them."""

    width: float
    row: float
    narrow: bool

    def left(self, labels: Sequence[str]) -> float:
        """Where the dots begin."""
        return _MARGIN if self.narrow else svg.gutter(labels)

    @property
    def right(self) -> float:
        """Where they end, and the tiers begin."""
        return self.width - _TIERS

    def dot(self, row: int) -> float:
        """The height of a dot."""
        return _TOP + (row + (0.7 if self.narrow else 0.5)) * self.row

    def named(self, row: int, label: str, left: float) -> Iterator[Markup]:
        """The name of a row."""
        if self.narrow:
            yield svg.text(_MARGIN, _TOP + (row + 0.4) * self.row, f"{row + 1} {label}", "n")
        else:
            yield from svg.row_name(left, self.dot(row), row + 1, label)


_WIDE, _NARROW = _Sheet(svg.WIDTH, 22.0, narrow=False), _Sheet(400.0, 38.0, narrow=True)


def _drawing(found: Ranking, sheet: _Sheet) -> Markup:
    scores = found.scores[:_DRAWN_UP_TO]
    labels = [words.shown(score.name) for score in scores]
    left, right = sheet.left(labels), sheet.right
    spans = beside_first(found)[: len(scores)]
    floors = [
        (each.value, f"{words.shown(each.name)}  {words.number(each.value)}") for each in found.baselines
    ]
    ends = [end for span in spans for end in span] + [value for value, _ in floors]
    scale = svg.Scale.over(ends, left, right)
    bottom = _TOP + len(scores) * sheet.row
    return svg.drawing(
        f"{words.score(found.by)} of {count(len(scores), 'checkpoint')}; its numbers are below",
        sheet.width,
        bottom + 30 + 18 * len(floors),
        *_stripes(sheet, len(scores), left),
        *svg.beneath(scale, floors, _TOP, bottom, "floor", sheet.width),
        *svg.across(scale, _TOP, bottom, _title(found)),
        *_dots(scale, sheet, labels, spans),
        *_tiers(sheet, scores),
        class_="narrow" if sheet.narrow else "broad",
    )


def _title(found: Ranking) -> str:
    layer = {"best": "the best layer", "last": "the last layer", "mean": "the mean of layers"}.get(
        found.layer, f"layer {words.shown(found.layer)}"
    )
    return f"{words.score(found.by)}, {words.shown(found.split)}, {layer} of each"


def _stripes(sheet: _Sheet, n: int, left: float) -> Iterator[Markup]:
    for row in range(1, n, 2):
        yield svg.rectangle(left, _TOP + row * sheet.row, sheet.right - left, sheet.row, "stripe")


def _dots(
    scale: svg.Scale, sheet: _Sheet, labels: Sequence[str], spans: Sequence[tuple[float, float, float]]
) -> Iterator[Markup]:
    for row, (label, (value, low, high)) in enumerate(zip(labels, spans, strict=True)):
        y = sheet.dot(row)
        yield from sheet.named(row, label, scale.start)
        if high > low:
            yield svg.line((scale(low), y), (scale(high), y), "whisker")
        yield svg.dot(scale(value), y, 4.5, "point", svg.titled(words.number(value)))


def _tiers(sheet: _Sheet, scores: Sequence[Score]) -> Iterator[Markup]:
    x, row = sheet.right + 10, 0
    for tier, members in groupby(score.tier for score in scores):
        n = len(list(members))
        if tier is not None:
            top, bottom = _TOP + row * sheet.row + 4, _TOP + (row + n) * sheet.row - 4
            yield svg.path(svg.trace([(x, top), (x + 5, top), (x + 5, bottom), (x, bottom)]), "bracket")
            yield svg.text(x + 12, (top + bottom) / 2 + 4, words.shown(tier), "strong")
        row += n


def _tables(found: Ranking) -> Iterator[Table]:
    names = list(dict.fromkeys([found.by, *(n for score in found.scores for n in score.estimates)]))
    columns = [
        whole("#"),
        name(),
        Column("tier"),
        *(figure(words.score(each)) for each in names),
        figure("behind the first"),
        figure("low"),
        figure("high"),
        Column("places", _places, "number"),
        whole("parameters"),
        Column("notes", lambda notes: "; ".join(words.shown(note, 200) for note in notes)),
    ]
    rows = [_row(i, score, names) for i, score in enumerate(found.scores, 1)]
    yield Table.of("Scores", columns, rows, folded=len(rows) > _UNFOLDED_UP_TO)
    yield _details(found, names)
    if found.baselines:
        yield Table.of(
            "Baselines",
            (
                Column("without reading anything", words.shown, "name"),
                figure(words.score(found.by)),
                name(),
                whole("rank"),
            ),
            ((each.name, each.value, each.pick, each.rank) for each in found.baselines),
        )


def _places(ranks: tuple[int, int]) -> str:
    best, worst = ranks
    return str(best) if best == worst else f"{best}–{worst}"


def _row(place: int, score: Score, names: Sequence[str]) -> tuple[object, ...]:
    estimates = [score.estimates.get(each) for each in names]
    behind = score.behind
    return (
        place,
        score.name,
        score.tier,
        *(each and each.value for each in estimates),
        *((None,) * 3 if behind is None else (behind.value, behind.low, behind.high)),
        score.ranks,
        score.parameters,
        score.notes or None,
    )


def _details(found: Ranking, names: Sequence[str]) -> Table:
    titles = [words.score(each) for each in names]
    return Table.of(
        "Layers, intervals, and scores of shuffled labels",
        (
            whole("#"),
            name(),
            Column("layer", words.shown),
            whole("dimension"),
            whole("examples"),
            *(figure(f"{title}, {what}") for title in titles for what in ("low", "high", "shuffled labels")),
        ),
        (
            (
                place,
                score.name,
                score.layer,
                score.dimension,
                score.examples,
                *(value for each in names for value in _ends(score.estimates.get(each))),
            )
            for place, score in enumerate(found.scores, 1)
        ),
    )


def _ends(found: Estimate | None) -> tuple[float | None, ...]:
    return (None,) * 3 if found is None else (found.low, found.high, found.null)
