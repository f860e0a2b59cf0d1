"""What to say of a worker that did not do its job."""

from __future__ import annotations

import json
import signal
from typing import Any

from zookeeper.errors import CheckpointError
from zookeeper.plain import brief, size
from zookeeper.worker.wire import NonsenseError

_MOST_SAID = 2**20  # bytes of what it says that are looked at
_WANTS_MEMORY = (
    "memory allocation of",
    "bad_alloc",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
)


def fault(said: memoryview, memory: int) -> CheckpointError:
    """The error that a worker says it met; what to do about it is not for a stranger to say.

    Args:
        said: JSON, if it is one of ours.
        memory: bytes that it could have.

    Raises:
        NonsenseError: it is none of ours.
    """
    try:
        found = json.loads(bytes(said[:_MOST_SAID]))
        if found["memory"]:
            return too_large(memory)
        message, why = found["message"], found["why"]
        return CheckpointError(line(message), why=None if why is None else line(why))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NonsenseError("a fault that is none") from error


def death(status: int, said: str, *, begun: bool, memory: int) -> CheckpointError:
    """What a worker died of.

    Args:
        status: with which it ended; negative for a signal.
        said: its last words.
        begun: whether it had begun to read.
        memory: bytes that it could have.
    """
    if wants_memory(said):
        return too_large(memory)
    if status == 0:
        return nonsense(NonsenseError("it went without a word"))
    while_ = "read" if begun else "loaded"
    if status == -signal.SIGKILL:
        return CheckpointError(
            f"it was killed (SIGKILL) while it was {while_}.", why="the machine may have run out of memory"
        )
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"exit code {status}"
    return CheckpointError(f"it crashed ({name}) while it was {while_}.", why=said or None)


def wants_memory(said: str) -> bool:
    """Whether what torch, a tokenizer or the system said is about memory."""
    return any(words in said.lower() for words in _WANTS_MEMORY)


def silence(patience: float) -> CheckpointError:
    """What to say of a worker of which nothing was heard for so many seconds."""
    longer = max(600, 2 * patience)
    fix = f"ZOO_PATIENCE={longer:g} waits longer"
    return CheckpointError(f"no sign of life for {patience:g} s.", fix=fix)


def nonsense(error: NonsenseError) -> CheckpointError:
    """What to say of a worker that is not believed."""
    return CheckpointError("it answered nonsense.", why=f"{error}; it may have taken over its process")


def too_large(memory: int) -> CheckpointError:
    """What to say of a checkpoint that wants more than so many bytes."""
    more = size(2 * memory).replace(" ", "")
    return CheckpointError(
        f"it needs more than {size(memory)} of memory.", fix=f"ZOO_MEMORY={more} gives more"
    )


def line(said: Any) -> str:
    """Text of a stranger as one line that does nothing but show, without secrets.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(said, str):
        raise TypeError(said)
    return brief(" ".join(said.split()))
