"""What the processes that train together have to agree on outside of the loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch.distributed import DistError

from zookeeper.errors import TerminatedError

T = TypeVar("T")


@contextmanager
def leader_first(device: str) -> Iterator[None]:
    """Let the first process do something before all others, which find it done."""
    with _state(device).main_process_first():
        yield


def leaders(value: T, device: str) -> T:
    """The value that the first process has."""
    _state(device)
    found: T = broadcast_object_list([value])[0]
    return found


@contextmanager
def partners() -> Iterator[None]:
    """What libraries make of another process that is gone, as what it is.

    Raises:
        TerminatedError: a process that trains with this one is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, DistError) and "/gloo/" not in str(error):
            raise
        raise TerminatedError(
            "a process that trained with this one is gone.", fix="the same command goes on from there"
        ) from error


def _state(device: str) -> PartialState:
    """The processes; one may read for a day while the others wait."""
    return PartialState(cpu=device == "cpu", timeout=timedelta(days=1))
