"""What the processes that train together have to agree on outside of the loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch.distributed import DistError

from zookeeper.errors import TerminatedError, ZooError

T = TypeVar("T")


@contextmanager
def alike(device: str) -> Iterator[None]:
    """Let no process go on without the others: all come here, and fail where one of them does.

    Raises:
        ZooError: that of the first process that failed.
    """
    own = None
    try:
        yield
    except ZooError as error:
        own = error
    _state(device)
    for failure in gather_object([own]):
        if failure is not None:
            raise failure from own


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
