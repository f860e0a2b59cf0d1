"""Drawing in SVG: elements that escape all that they are given, and the axes of a chart.

Lengths are in pixels of a drawing at its full width. Colours are classes of the stylesheet, so that a drawing
is readable on a light and on a dark page, and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from zookeeper.plain import spelt_out
from zookeeper.report.words import columns

Point = tuple[float, float]

SMALL = 11.5
"""Height of letters."""

WIDTH = 880.0
"""Of a chart that fills its column."""

_ADVANCE = 0.605  # of a type of fixed width, by its height


def element(name: str, *children: str, **attributes: object) -> Markup:
    """An element of HTML or SVG.

    Args:
        name: of it.
        children: text, which is escaped and spelt out, or other elements.
        attributes: by name, with ``_`` for ``-`` and at the end of a keyword of Python; None for none.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = Markup().join(
        child if isinstance(child, Markup) else escape(spelt_out(child)) for child in children
    )
    return Markup(f"<{name}{given}>{content}</{name}>")  # noqa: S704  escaped above


def _attribute(value: object) -> str:
    return number(value) if isinstance(value, float) else spelt_out(value)


def number(value: float) -> str:
    """A length, to a hundredth of a pixel."""
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def drawing(label: str, width: float, height: float, *children: Markup, **attributes: object) -> Markup:
    """A picture with a name for those who do not see it."""
    return element(
        "svg",
        *children,
        role="img",
        aria_label=label,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        **attributes,
    )


def group(*children: Markup, **attributes: object) -> Markup:
    """Several elements as one."""
    return element("g", *children, **attributes)


def text(x: float, y: float, content: str, class_: str | None = None, **attributes: object) -> Markup:
    """Words on a line, from `x` on unless the class says otherwise."""
    return element("text", content, x=x, y=y, class_=class_, **attributes)


def line(start: Point, end: Point, class_: str) -> Markup:
    """A straight line."""
    return element("path", d=trace([start, end]), class_=class_)


def rectangle(x: float, y: float, width: float, height: float, class_: str, **more: object) -> Markup:
    """A rectangle; one without a side is a hairline."""
    return element(
        "rect",
        x=x,
        y=y,
        width=max(width, 0.5),
        height=max(height, 0.5),
        class_=class_,
        **more,
    )


def dot(x: float, y: float, radius: float, class_: str, *title: Markup) -> Markup:
    """A disc, or a ring."""
    return element("circle", *title, cx=x, cy=y, r=radius, class_=class_)


def path(d: str, class_: str) -> Markup:
    """Lines, or an area."""
    return element("path", d=d, class_=class_)


def titled(content: str) -> Markup:
    """What a pointer that rests on the element around it is told."""
    return element("title", content)


def trace(points: Iterable[Point], *, closed: bool = False) -> str:
    """Data of a path through points."""
    steps = " ".join(f"{number(x)} {number(y)}" for x, y in points)
    return f"M{steps}{'Z' if closed else ''}"


def width_of(content: str, height: float = SMALL) -> float:
    """How wide words are, in pixels, in type of fixed width."""
    return columns(content) * height * _ADVANCE


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places, linearly.

    Attributes:
        low: value at `start`.
        high: value at `end`.
        start: place, in pixels.
        end: place; less than `start` for an axis that goes up.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, margin: float = 0.05) -> Scale:
        """A scale that holds values, with a margin at either end."""
        known = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(known), max(known)
        room = margin * (high - low) or abs(high) * 0.05 or 0.5
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 6, least: float = 0.0) -> list[tuple[float, str]]:
        """Round values on it with their labels, at most so many, and so far apart at least."""
        step = _round_step(max((self.high - self.low) / most, least))
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        values = [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [(value, f"{value + 0.0:,.{decimals}f}".replace("-", "−")) for value in values]


def gutter(labels: Iterable[str], height: float = SMALL) -> float:
    """Room for names of rows, with their numbers, left of a chart."""
    return max((width_of(label, height) for label in labels), default=0.0) + 3.9 * SMALL


def row_name(left: float, y: float, place: int, label: str) -> Iterator[Markup]:
    """The name of a row, and its number next to the chart that begins at `left`."""
    yield text(left - 3.3 * SMALL, y + 4, label, "e n")
    yield text(left - 12, y + 4, str(place), "e n m")


def beneath(
    scale: Scale,
    levels: Sequence[tuple[float, str]],
    top: float,
    bottom: float,
    class_: str,
    width: float = WIDTH,
) -> Iterator[Markup]:
    """Upright lines at values, each with its name on a line of its own under the axis.

    Names stand right of their lines where they have room, and the lines of lesser values go further down.
    """
    levels = sorted(levels, reverse=True)
    places = [(scale(value), bottom + 40 + 18 * i) for i, (value, _) in enumerate(levels)]
    for x, y in places:
        yield line((x, top), (x, y - 4), class_)
        yield dot(x, y - 4, 2.5, "mark")
    for (x, y), (_, label) in zip(places, levels, strict=True):
        room = width_of(label) + 4
        if x + 8 + room <= width:
            yield text(x + 8, y, label, "n m")
        else:
            yield text(max(x - 8, room), y, label, "n m e")


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, … that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


def across(scale: Scale, top: float, bottom: float, title: str) -> Iterator[Markup]:
    """Upright lines to read places by, their values beneath them, and above them what they are."""
    for value, label in scale.ticks():
        yield line((scale(value), top), (scale(value), bottom), "rule")
        yield text(scale(value), bottom + 16, label, "m c")
    yield text(scale.start, top - 10, title, "m")


def upwards(scale: Scale, left: float, right: float, title: str) -> Iterator[Markup]:
    """Level lines to read heights by, their values left of them, and what they are."""
    for value, label in scale.ticks():
        yield line((left, scale(value)), (right, scale(value)), "rule")
        yield text(left - 8, scale(value) + 4, label, "m e")
    yield text(left, scale.end - 10, title, "m")
