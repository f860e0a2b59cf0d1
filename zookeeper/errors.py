"""Every error a user can meet.

    ZooError
     ├─ UsageError               the command or call makes no sense as written
     ├─ NotFoundError            a name that the zoo or the Hub does not know
     ├─ EmptyZooError            there is nothing to work on yet
     ├─ DataError                a probe or target that cannot be read as such
     ├─ DegenerateInputError     numbers on which a score or a choice is not defined
     ├─ CheckpointError          a checkpoint that cannot be loaded or read
     ├─ IntegrityError           bytes that are not what was recorded
     ├─ StorageError             the disk refuses: read-only, full, not permitted
     ├─ OutOfMemoryError         more memory than the device has
     ├─ TerminatedError          stopped from outside, by a signal
     ├─ AccessError              login, licence or rights are missing
     └─ NetworkError             the Hub cannot be reached or does not answer
         └─ OfflineError         offline, and not in the cache

Each carries what happened (the message), why, and a command that helps.
"""

from __future__ import annotations

from typing import ClassVar


class ZooError(Exception):
    """Root of all errors raised on purpose.

    Args:
        message: What happened, in the user's words.
        why: The cause, where it is known and not said by the message.
        fix: What to do about it, best a command to copy.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, why: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.fix = fix


class UsageError(ZooError):
    """The command or call makes no sense as written."""

    exit_code = 2


class NotFoundError(ZooError):
    """A checkpoint, run, dataset or file that does not exist."""


class EmptyZooError(ZooError):
    """There is nothing to work on yet."""


class DataError(ZooError):
    """A probe or target that cannot be read as one."""


class DegenerateInputError(ZooError):
    """Numbers on which a score or a choice is not defined."""


class CheckpointError(ZooError):
    """A checkpoint that cannot be loaded, or whose features are no numbers."""


class IntegrityError(ZooError):
    """Bytes on disk or from the Hub that are not the recorded ones."""


class StorageError(ZooError):
    """The disk refuses: read-only, full or not permitted."""


class OutOfMemoryError(ZooError):
    """A training step that needs more memory than the device has."""


class TerminatedError(ZooError):
    """Stopped from outside, by a signal; what was finished is kept."""

    exit_code = 143


class AccessError(ZooError):
    """Login, an accepted licence or more rights are needed."""

    exit_code = 4


class NetworkError(ZooError):
    """The Hub cannot be reached, or answers with an error of its own."""

    exit_code = 5


class OfflineError(NetworkError):
    """Offline, and what is needed is not in the cache."""
