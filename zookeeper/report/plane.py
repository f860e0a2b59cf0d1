"""A map of the zoo: checkpoints as points of a plane, the nearer, the more alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from zookeeper.arrangement import classical_scaling
from zookeeper.plain import count
from zookeeper.records import Array, Checkpoint
from zookeeper.report import svg, words
from zookeeper.report.heat import Arranged
from zookeeper.report.parts import Column, Panel, Table, figure, name, whole
from zookeeper.results import Pick

_WIDTH, _HEIGHT, _MARGIN = svg.WIDTH, 540.0, 30.0
_LEAST, _LARGEST = 4.5, 13.0  # radius
_ROOMY = 50  # checkpoints; marks of more are smaller
_FAMILIES = 7
_CORNERS = (0, 4, 3, 4, 5, 6, 3, 8)  # of the mark of each family; 0 is a disc
_TURNS = (0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.5, 0.125)  # of it, in parts of a half circle
_DIRECTIONS = [(1, 0), (-1, 0), (0, -1), (0, 1), (0.8, -0.8), (-0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
_REACHES = (4.0, 12.0, 24.0, 40.0, 60.0, 90.0)  # of a label from its point, in turn; of a name the first two
_OTHERS = "other families"


def panel(zoo: Arranged, checkpoints: Sequence[Checkpoint], picks: Sequence[Pick]) -> Panel | None:
    """None of fewer than three checkpoints, which make no map."""
    if len(zoo.order) < 3:
        return None
    scaling = classical_scaling(zoo.kappa)
    points = _Points.of(zoo, scaling.coordinates, checkpoints, picks)
    labels = _Labels(points)
    drawn = list(_drawn(points, labels))
    ringed = "; a ring marks the chosen" if points.ringed else ""
    return Panel(
        id="map",
        title="Map of the zoo",
        upshot=f"Two dimensions hold {words.share(scaling.explained)} of the squared distances between "
        "checkpoints.",
        reading="The distance between two checkpoints is as near to √(2(1 − κ)) as a plane allows; the less "
        "of the squared distances it holds, the less the picture may be trusted. Shape and colour are of the "
        f"family, the area is of the number of parameters{ringed}.",
        figures=(
            svg.drawing(
                f"Map of {count(len(zoo.order), 'checkpoint')}; its coordinates are below",
                _WIDTH,
                _HEIGHT,
                svg.rectangle(0.5, 0.5, _WIDTH - 1, _HEIGHT - 1, "frame"),
                *drawn,
            ),
            _legend(points),
            *_numbered(points, labels.numbered),
        ),
        tables=(_table(points, scaling.coordinates),),
    )


@dataclass(frozen=True, eq=False)
class _Points:
    """Checkpoints to draw, in the order of the heat map.

    Attributes:
        names: of each.
        places: (m, 2), in pixels.
        radii: (m,), in pixels.
        families: of each.
        styles: number of the mark of each family.
        parameters: of each; None where it is not known.
        ringed: places in this order of those that were chosen.
    """

    names: list[str]
    places: Array
    radii: Array
    families: list[str]
    styles: Mapping[str, int]
    parameters: list[int | None]
    ringed: list[int]

    @classmethod
    def of(
        cls, zoo: Arranged, coordinates: Array, checkpoints: Sequence[Checkpoint], picks: Sequence[Pick]
    ) -> _Points:
        known = {checkpoint.revision: checkpoint for checkpoint in checkpoints}
        found = [known.get(revision) if revision else None for revision in zoo.revisions]
        kinds = [words.shown((one and one.model_type) or "unknown") for one in found]
        common = [kind for kind, _ in Counter(kinds).most_common(_FAMILIES)]
        families = [kind if kind in common else _OTHERS for kind in kinds]
        parameters = [one.parameters if one else None for one in found]
        styles = {family: i for i, family in enumerate([*common, _OTHERS]) if family in families}
        chosen = {pick.revision or pick.name for pick in picks}
        ringed = [i for i, each in enumerate(zip(zoo.revisions, zoo.names, strict=True)) if chosen & {*each}]
        return cls(zoo.names, _fitted(coordinates), _radii(parameters), families, styles, parameters, ringed)


def _fitted(coordinates: Array) -> Array:
    """Points in pixels, with one scale in both directions."""
    room = np.array([_WIDTH, _HEIGHT]) - 2 * (_LARGEST + _MARGIN)
    spans = np.ptp(coordinates, axis=0)
    scale = float((room / np.maximum(spans, 1e-9)).min()) if spans.max() > 1e-9 else 0.0
    middle = (coordinates.min(axis=0) + coordinates.max(axis=0)) / 2
    fitted: Array = (coordinates - middle) * scale * np.array([1, -1]) + np.array([_WIDTH, _HEIGHT]) / 2
    return fitted


def _radii(parameters: Sequence[int | None]) -> Array:
    most = max((n for n in parameters if n), default=1)
    largest = _LARGEST * min(1, math.sqrt(_ROOMY / len(parameters)))
    return np.array([max(_LEAST, largest * math.sqrt((n or 0) / most)) for n in parameters])


class _Labels:
    """Words beside points, which overlap neither one another nor a point: a name, else a number.

    Args:
        points: the chosen are served first, then those that have room.
    """

    def __init__(self, points: _Points) -> None:
        self._points = points
        self._reaches = points.radii * [_stretch(points.styles[family]) for family in points.families] + 1
        self._reaches[points.ringed] += 4
        places, radii = points.places, self._reaches[:, None]
        self._taken = np.hstack([places - radii, places + radii])
        self.placed: dict[int, tuple[str, float, float]] = {}
        turns = [*points.ringed, *(i for i in self._loneliest() if i not in points.ringed)]
        crowded = [i for i in turns if not self._place(i, words.shown(points.names[i], 36), _REACHES[:2])]
        self.numbered = [i for i in crowded if self._place(i, str(i + 1), _REACHES)]

    def _loneliest(self) -> list[int]:
        apart = np.linalg.norm(self._points.places[:, None] - self._points.places[None], axis=2)
        return [int(i) for i in np.argsort((apart < 90).sum(axis=1), kind="stable")]

    def _place(self, i: int, text: str, reaches: Sequence[float]) -> bool:
        extent = np.array([svg.width_of(text), svg.SMALL + 3])
        for reach in reaches:
            for direction in np.array(_DIRECTIONS, dtype=float):
                offset = direction * (self._reaches[i] + reach + extent / 2)
                centre = self._points.places[i] + offset
                box = np.concatenate([centre - extent / 2, centre + extent / 2])
                if self._free(box):
                    self._taken = np.vstack([self._taken, box])
                    self.placed[i] = text, float(centre[0]), float(centre[1])
                    return True
        return False

    def _free(self, box: Array) -> bool:
        if (box[:2] < 4).any() or box[2] > _WIDTH - 4 or box[3] > _HEIGHT - 4:
            return False
        return not ((box[:2] < self._taken[:, 2:]) & (box[2:] > self._taken[:, :2])).all(axis=1).any()


def _drawn(points: _Points, labels: _Labels) -> Iterator[Markup]:
    by_size = sorted(range(len(points.names)), key=lambda i: (-points.radii[i], i))
    for i, (_, x, y) in labels.placed.items():
        if math.dist((x, y), points.places[i]) > 24 and i in labels.numbered:
            yield svg.line(tuple(points.places[i].tolist()), (x, y), "thread")
    for i in by_size:
        x, y = points.places[i].tolist()
        facts = words.shown(points.names[i], 80), points.families[i], words.size(points.parameters[i])
        title = f"{i + 1} {', '.join(facts)}"
        yield svg.group(
            _mark(x, y, float(points.radii[i]), points.styles[points.families[i]]), svg.titled(title)
        )
    for i in points.ringed:
        x, y = points.places[i].tolist()
        yield svg.dot(x, y, float(points.radii[i]) + 4, "ring")
    for i, (text, x, y) in labels.placed.items():
        yield svg.text(x, y + 4, text, "c n strong" if i in points.ringed else "c n")


def _mark(x: float, y: float, radius: float, style: int) -> Markup:
    """A disc or polygon of the area of a disc of that radius."""
    class_, corners = f"family f{style}", _CORNERS[style]
    if not corners:
        return svg.dot(x, y, radius, class_)
    reach = radius * _stretch(style)
    angles = [(2 * i / corners - 0.5 + _TURNS[style]) * math.pi for i in range(corners)]
    ends = [(x + reach * math.cos(angle), y + reach * math.sin(angle)) for angle in angles]
    return svg.path(svg.trace(ends, closed=True), class_)


def _stretch(style: int) -> float:
    """By how much a corner of a polygon is further out than the edge of a disc of the same area."""
    corners = _CORNERS[style]
    return math.sqrt(2 * math.pi / corners / math.sin(2 * math.pi / corners)) if corners else 1.0


def _legend(points: _Points) -> Markup:
    items = [
        svg.element(
            "li",
            svg.element(
                "svg", _mark(8, 8, 5.5, style), width=16, height=16, viewBox="0 0 16 16", aria_hidden="true"
            ),
            f"{words.shown(family)} ({points.families.count(family)})",
        )
        for family, style in points.styles.items()
    ]
    return svg.element("ul", *items, class_="legend")


def _numbered(points: _Points, numbered: Sequence[int]) -> Iterator[Markup]:
    """Names of the points that have room for a number only."""
    if numbered:
        items = [
            svg.element("li", svg.element("b", str(i + 1)), f" {words.shown(points.names[i])}")
            for i in sorted(numbered)
        ]
        yield svg.element("ul", *items, class_="legend keys")


def _table(points: _Points, coordinates: Array) -> Table:
    return Table.of(
        "Coordinates",
        (
            whole("#"),
            name(),
            Column("family", words.shown),
            whole("parameters"),
            figure("across", 3),
            figure("up", 3),
            Column("chosen"),
        ),
        (
            (
                i + 1,
                each,
                points.families[i],
                points.parameters[i],
                *coordinates[i].tolist(),
                "yes" if i in points.ringed else None,
            )
            for i, each in enumerate(points.names)
        ),
    )
