"""What becomes of one checkpoint in a command that goes through several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from zookeeper.errors import StorageError, ZooError
from zookeeper.records import Outcome

R = TypeVar("R")


def attempt(name: str, action: Callable[[], R]) -> R | Outcome:
    """What `action` gives, or what went wrong with this one checkpoint; the others go on.

    Raises:
        StorageError: when the disk refuses, going on would lose more.
    """
    try:
        return action()
    except StorageError:
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
