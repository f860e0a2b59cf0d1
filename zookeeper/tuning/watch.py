"""Signals during a long computation: noted at once, obeyed between steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zookeeper.errors import TerminatedError

_GRACE_SECONDS = 1.5


class Watch:
    """What was asked of a training from outside, and when its state was last saved.

    Args:
        every: seconds between states.
    """

    def __init__(self, every: float = 600.0) -> None:
        self._every = every
        self._saved = time.monotonic()
        self._ended_by: int | None = None
        self._asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals in place of what they do else: SIGTERM and SIGINT to save and end, SIGUSR1 to save.

        Only the main thread of a process can listen. A second SIGINT, or a step that lasts longer than
        1.5 s, ends at once.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {
            signal.SIGTERM: self._end,
            signal.SIGINT: self._interrupt,
            signal.SIGUSR1: self._save,
            signal.SIGALRM: signal.default_int_handler,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def wish(self) -> int:
        """0 to go on, 1 to save, 2 to save and end."""
        if self._ended_by is not None:
            return 2
        return int(self._asked or time.monotonic() - self._saved >= self._every)

    def saved(self) -> None:
        """Note that the state was saved."""
        self._saved, self._asked = time.monotonic(), False

    def end(self) -> None:
        """End as the signal asked.

        Raises:
            KeyboardInterrupt: it was SIGINT.
            TerminatedError: it was another, or another process was told.
        """
        if self._ended_by == signal.SIGINT:
            raise KeyboardInterrupt
        raise _terminated()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ended_by = number

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._ended_by is not None:
            raise KeyboardInterrupt
        self._ended_by = number
        signal.setitimer(signal.ITIMER_REAL, _GRACE_SECONDS)

    def _save(self, number: int, frame: FrameType | None) -> None:
        self._asked = True


@contextmanager
def undisturbed(*, alone: bool = True) -> Iterator[None]:
    """Where nobody listens yet, ignore SIGUSR1, which would end the process, and end by SIGTERM in order.

    Args:
        alone: whether no other process waits for this one; who may be waited for must be gone at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signal.SIGUSR1: signal.signal(signal.SIGUSR1, signal.SIG_IGN)}
    if alone:
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _terminated()


def _terminated() -> TerminatedError:
    return TerminatedError("stopped; what was trained is kept.", fix="the same command goes on from there")
