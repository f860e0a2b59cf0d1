"""What becomes of one checkpoint in a command that goes through several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    except ZooError as error:
        return Outcome(
            name,
            "failed",
            error=error.message,
            why=error.why,
            fix=error.fix,
            exit_code=error.exit_code,
        )


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """Say which checkpoint an error is of."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error.message}", why=error.why, fix=error.fix) from error
