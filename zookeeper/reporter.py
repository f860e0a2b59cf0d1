"""Where a zoo says what it is doing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Protocol


class Advance(Protocol):
    """Called when something was done."""

    def __call__(self, done: int, note: str = "", /) -> None:
        """So much was done since; `note` says where things stand."""


class Reporter(Protocol):
    """Where a zoo says what it is doing."""

    def note(self, text: str) -> None:
        """Say one thing worth knowing."""

    def track(self, what: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Show progress of something: the context gives a function that is called with what was done."""


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None:
        """Ignore `text`."""

    @contextmanager
    def track(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        """Ignore what is done."""
        yield lambda done, note="": None


class Stages:
    """Turns reports of ``(stage, done, total)`` into tracked progress, a stage after the other.

    Args:
        reporter: that shows it.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._open = ExitStack()
        self._stage: str | None = None
        self._done = 0
        self._advance: Advance = lambda done, note="": None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of `stage` are done."""
        if stage != self._stage:
            self._open.close()
            self._stage, self._done = stage, 0
            self._advance = self._open.enter_context(self._reporter.track(stage, total, "steps"))
        self._advance(done - self._done)
        self._done = done

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
