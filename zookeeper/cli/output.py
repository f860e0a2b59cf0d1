"""What commands show: data on stdout, words on stderr.

A table where stdout is a terminal, tab-separated and uncut where it is not, one JSON object with ``--json``.
Everything that came from outside is shown as text: control characters are spelt out, nothing is markup. Words
never hold a token.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zookeeper.errors import ZooError
from zookeeper.plain import redacted, spelt_out
from zookeeper.records import Outcome, exit_code_of


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: at its head.
        show: a value as people read it; machines get it whole.
        right: whether to align right, which also means: never cut or wrap.
        key: whether it names the row, and so is repeated where a table is too wide and cut in parts.
    """

    title: str
    show: Callable[[Any], str] = str
    right: bool = False
    key: bool = False


@dataclass(frozen=True)
class View:
    """What a command has to say.

    Attributes:
        command: names the JSON schema, ``zoo.<command>/1``.
        data: the JSON object, but for its schema.
        columns: of the table.
        rows: raw values, a cell for each column.
        heading: said before the table.
        notes: said after it.
        outcomes: that decide the exit code; failures among them are said after the table.
    """

    command: str
    data: dict[str, Any]
    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[Any]] = ()
    heading: str | None = None
    notes: Sequence[str] = ()
    outcomes: Sequence[Outcome] = field(default_factory=tuple)


def show(view: View, *, as_json: bool) -> None:
    """Print a view, and leave with the exit code that its outcomes make."""
    if as_json:
        payload = {"schema": f"zoo.{view.command}/1", **view.data}
        sys.stdout.write(json.dumps(payload, indent=2, ensure_ascii=True) + "\n")
    else:
        if view.heading:
            say(view.heading)
        if sys.stdout.isatty():
            _draw(view)
        elif view.columns:
            _separate(view)
    sys.stdout.flush()  # where nobody reads it, nothing more is said
    for note in view.notes:
        say(note)
    alike: dict[tuple[str | None, ...], list[str]] = {}
    for outcome in view.outcomes:
        if outcome.failed:
            alike.setdefault((outcome.error, outcome.why, outcome.fix), []).append(outcome.name)
    for (error, why, fix), names in alike.items():
        which = names[0] if len(names) == 1 else f"each of {', '.join(names)}"
        show_error(f"{which}: {error}", why, fix)
    if code := exit_code_of(view.outcomes):
        raise typer.Exit(code)


def _draw(view: View) -> None:
    if not view.rows:
        return
    console = open_console(stderr=False)
    cells = [
        [
            spelt_out(column.show(value)) if value is not None else "–"
            for column, value in zip(view.columns, row, strict=True)
        ]
        for row in view.rows
    ]
    widths = [
        max(cell_len(text) for text in (column.title, *(row[i] for row in cells)))
        for i, column in enumerate(view.columns)
    ]
    for part in _parts(view.columns, widths, console.width):
        table = Table(
            box=SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
            padding=(0, 1),
            collapse_padding=True,
            header_style="bold",
        )
        for i in part:
            column = view.columns[i]
            table.add_column(
                Text(spelt_out(column.title)),
                justify="right" if column.right else "left",
                no_wrap=column.right,
                overflow="fold",
            )
        for row in cells:
            table.add_row(*(Text(row[i]) for i in part))
        console.print(table)


def _parts(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[list[int]]:
    """Columns of the tables into which one is cut that is too wide; those that name a row are in each.

    What is left over for the last one is never a single column, where another can join it.
    """
    gap = 2
    keys = [i for i, column in enumerate(columns) if column.key]
    others = [i for i, column in enumerate(columns) if not column.key]
    if not keys or sum(widths) + gap * len(widths) <= width:
        return [list(range(len(columns)))]
    room = width - sum(widths[i] + gap for i in keys)

    def fit(part: Sequence[int]) -> bool:
        return sum(widths[i] + gap for i in part) <= room

    parts: list[list[int]] = [[]]
    for i in others:
        if parts[-1] and not fit([*parts[-1], i]):
            parts.append([])
        parts[-1].append(i)
    if len(parts[-1]) == 1 < len(parts) and len(parts[-2]) > 1 and fit([parts[-2][-1], *parts[-1]]):
        parts[-1].insert(0, parts[-2].pop())
    return [sorted([*keys, *part]) for part in parts]


def _separate(view: View) -> None:
    lines = [[spelt_out(column.title) for column in view.columns]]
    lines += [["" if value is None else spelt_out(value) for value in row] for row in view.rows]
    sys.stdout.write("".join("\t".join(line) + "\n" for line in lines))


def say(text: str) -> None:
    """Words for people; lines stay lines, and what is indented, such as a command to copy, stays whole."""
    console = open_console(stderr=True)
    for line in text.split("\n"):
        console.print(words(line), soft_wrap=not console.is_terminal or line.startswith("  "))


def show_error(message: str, why: str | None = None, fix: str | None = None) -> None:
    """What happened, why, and what to do."""
    console = open_console(stderr=True)
    for label, style, text in (("error:", "bold red", message), ("why:", "bold", why), ("fix:", "bold", fix)):
        if text:
            indent = "" if label == "error:" else "  "
            console.print(Text(indent) + Text(label, style=style) + Text(" ") + words(text), soft_wrap=True)


def show_zoo_error(error: ZooError, *, as_json: bool = False) -> None:
    """An error of ours; also as data where that is what was asked for."""
    if as_json:
        write_error(error.message, error.why, error.fix, error.exit_code)
    show_error(error.message, error.why, error.fix)


def write_error(message: str, why: str | None, fix: str | None, exit_code: int) -> None:
    """An error as data."""
    said = {"error": message, "why": why, "fix": fix, "exit_code": exit_code}
    sys.stdout.write(json.dumps({"schema": "zoo.error/1", **said}, indent=2) + "\n")


def words(text: str) -> Text:
    """Words as they are shown."""
    return Text(spelt_out(redacted(text)))


def width() -> int:
    """Columns that words for people may take."""
    return open_console(stderr=True).width


def open_console(*, stderr: bool) -> Console:
    """Where to show; what is shown there is no markup."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def number(places: int) -> Callable[[float], str]:
    """Shows a number with so many decimals; what comes to none of them is 0, without a sign."""
    return lambda value: f"{value:z.{places}f}"


def count(value: int) -> str:
    """Shows a count in K, M or B."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return str(value)


def short(commit: str) -> str:
    """Shows a commit by its first eight digits."""
    return commit[:8]
