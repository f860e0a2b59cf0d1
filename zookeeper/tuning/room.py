"""Where an unfinished trial keeps its state: whole or not there, and one writer at a time.

FOLDER/lock            held while a process trains, with its number
FOLDER/state-<n>/      what the loop saved, n growing; the last two are kept
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from zookeeper.errors import IntegrityError, StorageError, UsageError
from zookeeper.store.files import disk, retire

_KEPT = 2
_STATE = re.compile(r"state-(\d+)")


class Room:
    """The folder of one unfinished trial.

    Args:
        folder: made when something is first kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process out; the system lets go of it however this process ends.

        Raises:
            UsageError: another process trains here.
            StorageError: the disk refuses.
        """
        with disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(lock, 100).decode(errors="replace").strip() or "?"
                raise UsageError(
                    "another process is training this.", why=f"process {holder} holds {self.folder}"
                ) from error
            with disk(self.folder):
                os.truncate(lock, 0)
                os.write(lock, f"{os.getpid()} on {os.uname().nodename}".encode())
            yield
        finally:
            os.close(lock)

    def latest(self) -> Path | None:
        """The newest state, or None."""
        states = self._states()
        return states[-1] if states else None

    def save(self, n: int, write: Callable[[Path], None], *, leads: bool, meet: Callable[[], None]) -> None:
        """Keep a state; all processes that train together call this.

        Args:
            n: its number, above those of all states before.
            write: puts the state into a folder, together with the other processes.
            leads: whether this process is the first of them.
            meet: waits for the others.

        Raises:
            StorageError: the disk refuses; the state before is still there.
        """
        aside = self.folder / f".state-{n}"
        if leads:
            shutil.rmtree(aside, ignore_errors=True)
        meet()
        with disk(self.folder), _foreign():
            aside.mkdir(parents=True, exist_ok=True)
            write(aside)
        meet()
        if leads:
            with disk(self.folder):
                _sync(aside)
                final = self.folder / f"state-{n}"
                shutil.rmtree(final, ignore_errors=True)
                aside.rename(final)
                _sync(self.folder)
            for old in self._states()[:-_KEPT]:
                shutil.rmtree(old, ignore_errors=True)
        meet()

    def clear(self) -> None:
        """Delete all of it, if there is any: the trial is finished."""
        retire(self.folder)

    def _states(self) -> list[Path]:
        found = [
            (match, path) for path in self.folder.glob("state-*") if (match := _STATE.fullmatch(path.name))
        ]
        return [path for _, path in sorted(found, key=lambda pair: int(pair[0][1]))]


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """What libraries make of a state that is damaged, as what it is.

    Raises:
        IntegrityError: it is.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, IntegrityError) as error:
        raise IntegrityError(
            "the state of a training that was interrupted is damaged.",
            why=str(error).splitlines()[0][:200],
            fix=f"rm -r {shlex.quote(str(folder))}",
        ) from error


@contextmanager
def _foreign() -> Iterator[None]:
    """What libraries make of a full disk, as what it is."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise StorageError(
            "the state of the training could not be saved.",
            why=str(error).splitlines()[0][:200],
            fix="free some space; the same command goes on from the state before",
        ) from error


def _sync(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
