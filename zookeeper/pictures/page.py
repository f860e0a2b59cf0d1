"""What all pictures have in common: how they are written, their colours, a title, faint lines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import NullLocator

from zookeeper.errors import StorageError, UsageError
from zookeeper.plain import refusal
from zookeeper.records import Array

NAMED_UP_TO = 60
"""Checkpoints, of which there are more in a picture than have room for their names."""

# Of Okabe and Ito, https://jfly.uni-koeln.de/color: everyone can tell them apart, on grey paper too.
BLUE, SKY, VERMILLION = "#0072B2", "#56B4E9", "#D55E00"
INK, FAINT, MUTED = "#222222", "#767676", "#DDDDDD"

POINT, RING, DOT = 6.5, 13.0, 5.0  # diameters, in points
DASHES = 0, (5, 3)
DPI = 160
_MARKS = 8  # on an axis, at most
FONT = "DejaVu Sans"  # comes with matplotlib
_STYLE: dict[str, Any] = {
    "font.sans-serif": [FONT, "Verdana", "Arial", "Helvetica"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.dpi": DPI,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "zookeeper",
}

_METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


@contextmanager
def picture(path: Path, title: str) -> Iterator[Figure]:
    """A figure to draw on; it is written when all is drawn.

    It is made in memory first, so that failure leaves no half file. The same drawing makes the same bytes.

    Args:
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        title: for the file's metadata.

    Raises:
        UsageError: another ending.
        StorageError: the disk refuses.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise UsageError(
            f"zoo draws .png, .svg and .pdf, not {path.suffix or 'files without an ending'}.",
            fix=f"-o {path.stem or 'picture'}.png",
        )
    drawn = io.BytesIO()
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure()
        FigureCanvasAgg(figure)
        yield figure
        metadata = {"Title": title, **_METADATA[kind]}
        figure.savefig(drawn, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.15)
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        raise StorageError(f"cannot write {path}.", why=refusal(error)) from error


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Any:
    """Axes at a place in inches; what lies outside the figure widens the picture."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def whole_axes(figure: Figure, width: float, height: float) -> Any:
    """Axes of so many inches, and a figure of their size."""
    figure.set_size_inches(width, height)
    return axes_at(figure, 0, 0, width, height)


def extent(figure: Figure, text: str, size: float) -> Array:
    """Width and height of words on a line, in pixels; `size` is in points."""
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    font = FontProperties(family=[FONT], size=size)
    return np.array(renderer.get_text_width_height_descent(text, font, False)[:2])


def write_title(axes: Any, title: str, facts: Sequence[str], *, lift: float = 0.0) -> None:
    """A title with a line of facts under it, `lift` inches above the axes."""
    points = 72 * lift
    for text, size, colour, height in ((title, 11, INK, 21), ("  ·  ".join(facts), 8, FAINT, 7)):
        axes.annotate(
            text,
            (0, 1),
            (0, points + height),
            xycoords="axes fraction",
            textcoords="offset points",
            size=size,
            color=colour,
        )


def mark(axes: Any, values: Sequence[float], labels: Sequence[str], places: Array) -> None:
    """Marks at ascending values, the last first, as far as they have room; `places` are linear in inches."""
    kept = [len(values) - 1]
    for i in reversed(range(len(values))):
        if places[kept[-1]] - places[i] > (places[-1] - places[0]) / _MARKS:
            kept.append(i)
    axes.set_xticks([values[i] for i in kept], [labels[i] for i in kept])
    axes.xaxis.set_minor_locator(NullLocator())


def rule(axes: Any, axis: Literal["x", "y"] = "y") -> None:
    """Faint lines to read heights by, or what lies along the other axis."""
    axes.grid(axis=axis, color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)
