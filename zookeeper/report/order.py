"""Checkpoints in their order for a target, with what is known of its chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from markupsafe import Markup

from zookeeper.plain import count
from zookeeper.report import svg, words
from zookeeper.report.parts import Column, Panel, Table, figure, name, whole
from zookeeper.results import Estimate, Ranking, Score

_ROW, _TOP, _TIERS = 22.0, 14.0, 36.0
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
        figures=(_drawing(found, found.scores[:_DRAWN_UP_TO]),),
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


def _span(first: float, score: Score, by: str) -> tuple[float, float, float]:
    """Value of a score, and where it may lie beside that of the first."""
    value, behind = score.estimates[by].value, score.behind
    if behind is None or behind.low is None or behind.high is None:
        return value, value, value
    return value, first - behind.high, first - behind.low


def _drawing(found: Ranking, scores: Sequence[Score]) -> Markup:
    labels = [words.shown(score.name) for score in scores]
    left, right = svg.gutter(labels), svg.WIDTH - _TIERS
    best = scores[0].estimates[found.by].value
    spans = [_span(best, score, found.by) for score in scores]
    floors = sorted(
        (each.value, f"{words.shown(each.name)}  {words.number(each.value)}") for each in found.baselines
    )
    scale = svg.Scale.over(
        [end for span in spans for end in span] + [value for value, _ in floors], left, right
    )
    bottom = _TOP + len(scores) * _ROW
    return svg.drawing(
        f"{words.score(found.by)} of {count(len(scores), 'checkpoint')}; its numbers are below",
        svg.WIDTH,
        bottom + 48 + 18 * len(floors),
        *_stripes(len(scores), left, right),
        *svg.beneath(scale, floors, _TOP, bottom, "floor"),
        *svg.across(scale, _TOP, bottom, _title(found)),
        *_dots(scale, labels, spans, left),
        *_tiers(scores, right + 10),
    )


def _title(found: Ranking) -> str:
    layer = {"best": "the best layer", "last": "the last layer", "mean": "the mean of layers"}.get(
        found.layer, f"layer {words.shown(found.layer)}"
    )
    return f"{words.score(found.by)}, {words.shown(found.split)}, {layer} of each"


def _stripes(n: int, left: float, right: float) -> Iterator[Markup]:
    for row in range(1, n, 2):
        yield svg.rectangle(left, _TOP + row * _ROW, right - left, _ROW, "stripe")


def _dots(
    scale: svg.Scale, labels: Sequence[str], spans: Sequence[tuple[float, float, float]], left: float
) -> Iterator[Markup]:
    for row, (label, (value, low, high)) in enumerate(zip(labels, spans, strict=True)):
        y = _TOP + (row + 0.5) * _ROW
        yield from svg.row_name(left, y, row + 1, label)
        if high > low:
            yield svg.line((scale(low), y), (scale(high), y), "whisker")
        yield svg.dot(scale(value), y, 4.5, "point", svg.titled(words.number(value)))


def _tiers(scores: Sequence[Score], x: float) -> Iterator[Markup]:
    row = 0
    for tier, members in groupby(score.tier for score in scores):
        n = len(list(members))
        if tier is not None:
            top, bottom = _TOP + row * _ROW + 4, _TOP + (row + n) * _ROW - 4
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
