"""What a report is made of: panels, and the tables in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from zookeeper.report import words

Row = tuple[Any, ...]

_PRINTED_UP_TO = 14  # columns


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: at its head.
        shown: a value as text.
        kind: ``"number"``, set flush right; ``"name"`` and ``"names"`` of checkpoints;
            ``"code"``; or ``"text"``.
    """

    title: str
    shown: Callable[[Any], str] = str
    kind: str = "text"

    def text(self, value: Any) -> str:
        """A value, or that there is none."""
        return "–" if value is None else self.shown(value)


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers to look up.

    Attributes:
        caption: what they are.
        columns: from the left.
        rows: a value for each column.
        folded: whether it is opened on request.
        plain: whether it is a matrix, whose rows have only this order.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    folded: bool = True
    plain: bool = False

    @classmethod
    def of(
        cls, caption: str, columns: Iterable[Column], rows: Iterable[Row], *, folded: bool = True
    ) -> Table:
        """A table of the columns in which some row has a value."""
        columns, rows = tuple(columns), tuple(rows)
        used = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
        return cls(
            caption,
            columns=tuple(columns[i] for i in used),
            rows=tuple(tuple(row[i] for i in used) for row in rows),
            folded=folded,
        )

    @property
    def wide(self) -> bool:
        """Whether a sheet of paper is too narrow for it at its usual size."""
        return len(self.columns) > _PRINTED_UP_TO

    @property
    def heading(self) -> int:
        """Number of the column that says what a row is of: the first with names, else the first."""
        return next((i for i, column in enumerate(self.columns) if column.kind == "name"), 0)


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture with what it says, how it is read, and its numbers.

    Attributes:
        id: by which the index finds it.
        title: of it.
        upshot: what it says of this zoo.
        reading: how to read it.
        figures: drawn.
        tables: of all that is drawn.
    """

    id: str
    title: str
    upshot: str
    reading: str
    figures: tuple[Markup, ...]
    tables: tuple[Table, ...]


def name(title: str = "checkpoint") -> Column:
    """A column of names, without folders of this machine, cut where they are very long."""
    return Column(title, lambda value: words.shown(words.without_folders(value), 80), "name")


def names(title: str) -> Column:
    """A column of several names each."""
    return Column(
        title, lambda value: ", ".join(words.shown(words.without_folders(each)) for each in value), "names"
    )


def figure(title: str, decimals: int = 4) -> Column:
    """A column of numbers."""
    return Column(title, lambda value: words.number(value, decimals), "number")


def whole(title: str) -> Column:
    """A column of whole numbers."""
    return figure(title, 0)


def part(title: str) -> Column:
    """A column of shares."""
    return Column(title, words.share, "number")
