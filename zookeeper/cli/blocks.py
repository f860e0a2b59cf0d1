"""Pictures of block characters, for terminals."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from zookeeper.plain import spelt_out
from zookeeper.records import Array

SHADES = " ░▒▓█"
LEGEND = "κ:  ░ from 0.2   ▒ 0.4   ▓ 0.6   █ 0.8"

_BARS = "▁▂▃▄▅▆▇█"
_NAME = 30


def kappa_map(names: Sequence[str], matrix: Array, order: Sequence[int], width: int = 80) -> list[str]:
    """A covariance as shades, a line for each checkpoint; see `LEGEND`.

    Args:
        names: m names.
        matrix: (m, m) with unit diagonal.
        order: of the lines and of the cells in each, 0-based.
        width: columns of the terminal.

    Returns:
        Lines of at most `width` columns, two to a cell where they fit, else one; where not even that
        fits, one line that says so.
    """
    labels = [cut(spelt_out(names[i]), _NAME) for i in order]
    margin = max(map(cell_len, labels))
    columns = min(2, (width - margin - 1) // len(labels))
    if columns < 1:
        return [f"{len(labels)} checkpoints are too many to draw here; try: zoo plot kappa -o kappa.png"]
    return [
        " " * (margin - cell_len(label))
        + f"{label} "
        + "".join(columns * _shade(float(matrix[i, j])) for j in order).rstrip()
        for label, i in zip(labels, order, strict=True)
    ]


def spark(values: Sequence[float]) -> str:
    """Numbers as bars on a line, from 0 to the largest; negative ones as the lowest bar."""
    largest = max(values, default=0.0)
    if largest <= 0:
        return _BARS[0] * len(values)
    top = len(_BARS) - 1
    return "".join(_BARS[max(0, round(top * value / largest))] for value in values)


def cut(text: str, columns: int) -> str:
    """Text of at most so many columns; what is too long loses its middle."""
    if cell_len(text) <= columns:
        return text
    tail = text
    while cell_len(tail) > (columns - 1) // 2:
        tail = tail[1:]
    head = set_cell_size(text, columns - 1 - cell_len(tail))
    return f"{head}…{tail}"


def _shade(kappa: float) -> str:
    # Products of unit vectors in floating point come to 0.6 less a rounding.
    level = int(len(SHADES) * kappa + 1e-9)
    return SHADES[min(max(level, 0), len(SHADES) - 1)]
