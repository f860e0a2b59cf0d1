"""How far work is: bars on a terminal, lines now and then in a log; all of it on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from zookeeper.cli import output
from zookeeper.plain import shortened, size, spelt_out

_SECONDS_BETWEEN_LINES = 30.0
_BAR_WIDTH = 10
_BYTES = "bytes"


class Fitted:
    """Text in one line, which loses its middle where there is no room for all of it.

    Args:
        text: spelt out.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield Text(shortened(self._text, options.max_width), no_wrap=True, overflow="ellipsis")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(1, len(self._text)), cell_len(self._text)).with_maximum(options.max_width)


class Name(ProgressColumn):
    """What a task does; the columns beside it get their room first."""

    def render(self, task: Task) -> Fitted:
        """Such as ``reading with …``."""
        return Fitted(task.description)


class Note(ProgressColumn):
    """Where a task stands, in its own words."""

    def render(self, task: Task) -> Fitted:
        """The last note; before the first of several, that it is starting."""
        return Fitted(task.fields["note"] or ("" if task.completed or task.total == 1 else "starting"))


class Done(ProgressColumn):
    """How much of a task is done."""

    def get_table_column(self) -> Column:
        """Never cut before other columns are."""
        return Column(no_wrap=True, justify="right")

    def render(self, task: Task) -> Text:
        """Such as ``4,844/9,000``; bytes as ``1.2 MB/3.45 GB``."""
        show = size if task.fields["unit"] == _BYTES else "{:,}".format
        return Text(f"{show(int(task.completed))}/{show(int(task.total or 0))}")


class Rate(ProgressColumn):
    """Speed of a task in its own unit."""

    def get_table_column(self) -> Column:
        """Never cut before other columns are."""
        return Column(no_wrap=True, justify="right")

    def render(self, task: Task) -> Text:
        """Such as ``1,250 words/s``."""
        if not task.speed:
            return Text("")
        if task.fields["unit"] == _BYTES:
            return Text(f"{size(int(task.speed))}/s")
        return Text(f"{task.speed:,.0f} {task.fields['unit']}/s")


class Bars(Progress):
    """Bars of a line each, with room beside them for the ``^C`` that a terminal writes."""

    def get_renderable(self) -> RenderableType:
        """All bars."""
        return _Narrower(super().get_renderable(), len("^C"))


class _Narrower:
    """Something with some columns free beside it."""

    def __init__(self, inner: RenderableType, free: int) -> None:
        self._inner, self._free = inner, free

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._inner, options.update_width(max(1, options.max_width - self._free)))


class Terminal:
    """A reporter for a terminal: bars while work goes on, nothing left of them after."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._lock = Lock()  # several checkpoints may be read at a time

    def note(self, text: str) -> None:
        """Say one thing worth knowing."""
        if self._progress:
            self._progress.console.print(output.words(text))
        else:
            output.say(text)

    @contextmanager
    def track(self, what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
        """A bar with counts and rate; a line now and then where stderr is no terminal."""
        if os.environ.get("ZOO_NO_PROGRESS") or not total:
            yield lambda done, note="": None
        elif not sys.stderr.isatty():
            yield _Lines(what, total, unit)
        else:
            with self._bar(what, total, unit) as advance:
                yield advance

    @contextmanager
    def _bar(self, what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
        with self._lock:
            if self._progress is None:
                self._progress = Bars(
                    Name(),
                    BarColumn(_BAR_WIDTH, table_column=Column(no_wrap=True)),
                    Done(),
                    Rate(),
                    TimeRemainingColumn(table_column=Column(no_wrap=True)),
                    Note(),
                    console=output.open_console(stderr=True),
                    transient=True,
                )
                self._progress.start()
            progress = self._progress
            task = progress.add_task(spelt_out(what), total=total, unit=unit, note="")
        try:
            yield lambda done, note="": progress.update(task, advance=done, note=spelt_out(note))
        finally:
            with self._lock:
                progress.remove_task(task)
                if not progress.tasks:
                    self._clear()

    def close(self) -> None:
        """Take away the bars of threads that nobody waits for any more."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None


class _Lines:
    """Progress as plain lines, for logs."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done, self._said = 0, time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        self._done += done
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            said = f"; {note}" if note else ""
            output.say(f"{self._what}: {self._done:,} of {self._total:,} {self._unit}{said}")
