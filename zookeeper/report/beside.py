"""An ensemble beside ensembles of as many that were drawn at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from zookeeper.plain import count
from zookeeper.records import Array
from zookeeper.report import svg, words
from zookeeper.report.parts import Column, Panel, Table, figure, names, whole
from zookeeper.results import Comparison, Contender, spread_of

_VIOLIN_FROM = 20  # dots; fewer have no shape
_TOP, _STRIP, _ROW = 28.0, 108.0, 46.0
_DOT = 4.0
_CURVE = 80  # points


def panel(found: Comparison) -> Panel | None:
    """None where no ensemble has a value."""
    if not _standings(found):
        return None
    return Panel(
        id="comparison",
        title="Beside random ensembles",
        upshot=_upshot(found),
        reading=_reading(found),
        figures=(_drawing(found),),
        tables=tuple(_tables(found)),
    )


class _Standing(NamedTuple):
    """An ensemble with a value: its mean over seeds, one deviation to either side, and what it is above."""

    name: str
    mean: float
    low: float
    high: float
    beaten: str

    @classmethod
    def of(cls, found: Comparison, one: Contender) -> _Standing | None:
        spread = spread_of(one.values)
        if spread.mean is None:
            return None
        half = spread.deviation or 0.0
        beaten = (
            f"above {words.placed(found, one)} random ensembles, {words.chance(found, one)}"
            if found.random
            else ""
        )
        return cls(words.shown(one.name), spread.mean, spread.mean - half, spread.mean + half, beaten)


def _standings(found: Comparison) -> list[_Standing]:
    return [known for one in found.contenders if (known := _Standing.of(found, one))]


def _random(found: Comparison) -> Array:
    """Means of the random ensembles, ascending."""
    return np.sort([one.mean for one in found.random if one.mean is not None])


def _upshot(found: Comparison) -> str:
    one = next(one for one in found.contenders if one.mean is not None)
    standing, random = _standings(found)[0], _random(found)
    value = words.spread(spread_of(one.values))
    said = (
        f"{words.capital(standing.name)}: {words.metric(found.metric)} {value} on {words.shown(found.split)}"
    )
    if not len(random):
        return f"{said}."
    median = words.number(float(np.median(random)))
    return f"{said}, {standing.beaten}; the median of these is {median}."


def _reading(found: Comparison) -> str:
    area = "; the area shows where they crowd" if _violin(_random(found)) else ""
    random = f"A small dot is an ensemble of as many members drawn at random{area}. " if found.random else ""
    chance = " p is the chance that a random ensemble is at least as good." if found.random else ""
    return (
        f"{random}A large dot is the mean over {count(len(found.seeds), 'seed')}, its bar a standard "
        f"deviation to either side; all learned from {words.share(found.fraction)} of the training data by "
        f"recipe {words.shown(found.recipe)}.{chance}"
    )


def _drawing(found: Comparison) -> Markup:
    standings, random = _standings(found), _random(found)
    heading = count(len(random), "random ensemble")
    left = max(svg.width_of(label) for label in (heading, *(each.name for each in standings))) + 14
    right = svg.WIDTH - 12 - max(svg.width_of(each.beaten or "0.0000") for each in standings)
    area = _violin(random)
    ends = [end for each in standings for end in (each.low, each.high)]
    scale = svg.Scale.over([*ends, *random.tolist(), *(at for at, _ in area)], left, right)
    strip = _STRIP if len(random) else 0.0
    bottom = _TOP + strip + len(standings) * _ROW
    chosen = scale(standings[0].mean)
    return svg.drawing(
        f"{words.metric(found.metric)} of {count(len(standings), 'ensemble')} beside {heading}",
        svg.WIDTH,
        bottom + 26,
        *svg.across(scale, _TOP, bottom, f"{words.metric(found.metric)}, {words.shown(found.split)}"),
        *_strip(scale, random, area, heading),
        svg.line((chosen, _TOP), (chosen, bottom), "chosen"),
        *_rows(scale, standings, _TOP + strip),
    )


def _rows(scale: svg.Scale, standings: Sequence[_Standing], top: float) -> Iterator[Markup]:
    """A row for each ensemble; the first, which was asked for, stands out."""
    for row, each in enumerate(standings):
        y, strong, mark = top + (row + 0.5) * _ROW, "" if row else " strong", "mark" if row else "point"
        yield svg.text(scale.start - 12, y + 4, each.name, f"e n{strong}")
        if each.high > each.low:
            yield svg.line((scale(each.low), y), (scale(each.high), y), "whisker")
        yield svg.dot(scale(each.mean), y, 5.5, mark)
        yield svg.text(scale.end + 10, y - 3, words.number(each.mean), f"n{strong}")
        yield svg.text(scale.end + 10, y + 13, each.beaten, "m")


def _strip(scale: svg.Scale, means: Array, area: Sequence[svg.Point], heading: str) -> Iterator[Markup]:
    """A dot for each random ensemble, those that are alike above one another, on the area round many."""
    if not len(means):
        return
    middle, reach = _TOP + _STRIP / 2, 0.42 * _STRIP
    if area:
        outline = [(scale(at), middle - reach * height) for at, height in area]
        mirrored = [(x, 2 * middle - y) for x, y in reversed(outline)]
        yield svg.path(svg.trace(outline + mirrored, closed=True), "band")
    yield svg.text(scale.start - 12, middle + 4, heading, "e n")
    places = np.array([scale(mean) for mean in means.tolist()])
    for x, level in zip(places.tolist(), _stacked(places), strict=True):
        yield svg.dot(x, middle + level, _DOT, "speck")
    median = scale(float(np.median(means)))
    yield svg.line((median, middle - reach), (median, middle + reach), "median")
    yield svg.text(median, middle + reach + 11, "median", "m c")


def _violin(means: Array) -> list[svg.Point]:
    """Places and heights, to 1, of a Gaussian kernel density with Silverman's width; of few or equal none."""
    if len(means) < _VIOLIN_FROM or np.ptp(means) == 0:
        return []
    width = 0.9 * float(means.std(ddof=1)) * len(means) ** -0.2
    at = np.linspace(means[0] - 2.5 * width, means[-1] + 2.5 * width, _CURVE)
    density = np.exp(-0.5 * ((at[:, None] - means) / width) ** 2).sum(axis=1)
    return list(zip(at.tolist(), (density / density.max()).tolist(), strict=True))


def _stacked(places: Array) -> list[float]:
    """Offsets from a line of discs at places: those that share one are by turns above and below it."""
    step, levels = 2 * _DOT + 1, int(0.9 * _STRIP / (2 * _DOT + 1))
    seen: Counter[int] = Counter()
    offsets = []
    for bin_ in np.rint(places / (2 * _DOT)).astype(int).tolist():
        level = seen[bin_] % levels
        seen[bin_] += 1
        offsets.append((level + 1) // 2 * step * (-1 if level % 2 else 1))
    return offsets


def _tables(found: Comparison) -> Iterator[Table]:
    yield _table("Ensembles", found, found.contenders, placed=bool(found.random))
    if found.random:
        yield _table("Random ensembles", found, found.random, folded=True)


def _table(
    caption: str,
    found: Comparison,
    ensembles: Sequence[Contender],
    *,
    placed: bool = False,
    folded: bool = False,
) -> Table:
    """A row for each ensemble; its place among the random ones where it is none of them."""
    return Table.of(
        caption,
        (
            Column("ensemble", words.shown, "name"),
            figure(words.metric(found.metric)),
            figure("±"),
            *(figure(f"seed\u00a0{seed}") for seed in found.seeds),
            whole(f"place of\u00a0{1 + len(found.random)}"),
            figure("p", 3),
            names("members"),
        ),
        (
            (
                one.name,
                one.mean,
                spread_of(one.values).deviation,
                *(dict(zip(found.seeds, one.values, strict=False)).get(seed) for seed in found.seeds),
                found.rank(one) if placed else None,
                found.p(one) if placed else None,
                one.members,
            )
            for one in ensembles
        ),
        folded=folded,
    )
