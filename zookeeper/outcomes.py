"""What becomes of one checkpoint in a command that goes through several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

from zookeeper.errors import CheckpointError, StorageError, TerminatedError, ZooError
from zookeeper.records import Outcome

R = TypeVar("R")


def attempt(name: str, action: Callable[[], R], *, fatal: tuple[type[ZooError], ...] = ()) -> R | Outcome:
    """What `action` gives, or what went wrong with this one checkpoint; the others go on.

    Args:
        name: of the checkpoint.
        action: with it.
        fatal: further errors after which nothing goes on.

    Raises:
        StorageError: when the disk refuses, going on would lose more.
        TerminatedError: it was asked to end.
    """
    ends: tuple[type[ZooError], ...] = (StorageError, TerminatedError, *fatal)
    try:
        return action()
    except ends:
        raise
    except MemoryError:
        return Outcome(name, "failed", error="it needs more memory than there is.", exit_code=1)
    except ZooError as error:
        return Outcome(
            name,
            "failed",
            error=error.message,
            why=error.why,
            fix=error.fix,
            exit_code=error.exit_code,
        )


def attempts(
    actions: Sequence[tuple[str, Callable[[], R]]],
    *,
    at_once: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> list[R | Outcome]:
    """What comes of several checkpoints, in their order; see `attempt`.

    Args:
        actions: name of the checkpoint, and what is done with it.
        at_once: how many of them at a time, each in a thread.
        stop: called when nothing shall go on, so that what is going on in other threads ends.

    Raises:
        StorageError, TerminatedError: as `attempt`.
    """
    if at_once == 1:
        return [attempt(name, action) for name, action in actions]
    waiting: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, R | Outcome | BaseException]] = SimpleQueue()
    stopped = Event()
    for number in range(len(actions)):
        waiting.put(number)

    def work() -> None:
        while not stopped.is_set():
            try:
                number = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((number, attempt(*actions[number])))
            except BaseException as error:
                done.put((number, error))

    found: dict[int, R | Outcome] = {}
    try:
        for _ in range(min(at_once, len(actions))):
            Thread(target=work, daemon=True).start()  # one that waits for the network keeps nobody waiting
        while len(found) < len(actions):
            number, result = done.get()
            if isinstance(result, BaseException):
                raise result
            found[number] = result
    except BaseException:
        stopped.set()
        stop()
        raise
    return [found[number] for number in range(len(actions))]


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """Say which checkpoint an error is of."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error.message}", why=error.why, fix=error.fix) from error
