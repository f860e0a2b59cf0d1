"""Locks that save work and protect nothing: who does without one computes twice and harms nobody.

A lock file says who holds it. Its time is the last sign of life of that process, which gives one every few
seconds; who waits sees whether it changes, and need not have the same clock.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from zookeeper.plain import now
from zookeeper.store import files

PATIENCE = 60.0
"""Seconds without a sign of life after which a lock is taken from its holder."""

_BEATS = 6  # signs of life in that time
_POLL = 0.1  # seconds
_HOLDER = re.compile(r"(process \d+) on ([\w.-]+) since ([\dTZ:-]+)", re.ASCII)


@contextmanager
def held(path: Path, tell: Callable[[str], None], *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock at `path` against other processes and threads; it ends with this process.

    A thread never waits for itself. Where there can be no lock, one goes on without. From a process that was
    stopped, or hangs in the system, it is taken; should that go on, both do the same work.

    Args:
        path: of the lock file, which is removed again.
        tell: told who holds it, where one has to wait; and that it was taken, if it was.
        patience: seconds without a sign of life of the holder; the same for all that ask for this lock.
    """
    lock = FileLock(path, is_singleton=True)  # with a hold, and a count of its own, for each thread
    have = _acquired(lock, path, tell, patience)
    try:
        with _signed(path, patience / _BEATS) if lock.lock_counter == 1 else nullcontext():
            yield
    finally:
        if have:
            with suppress(OSError):
                lock.release()


def _acquired(lock: FileLock, path: Path, tell: Callable[[str], None], patience: float) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _taken(lock):
            _wait(lock, path, tell, patience)
    except (OSError, NotImplementedError):
        return False
    return True


def _wait(lock: FileLock, path: Path, tell: Callable[[str], None], patience: float) -> None:
    """Wait until a lock is had, and take it from a holder that gives no sign of life."""
    seen, since, holder = files.stamp(path), time.monotonic(), _holder(path)
    tell(f"waits for {holder}")
    while not _taken(lock):
        time.sleep(_POLL)
        if files.stamp(path) != seen:
            seen, since, holder = files.stamp(path), time.monotonic(), _holder(path)
        elif time.monotonic() - since >= patience:
            path.unlink(missing_ok=True)  # who is next makes a new one
            if _taken(lock):
                tell(f"{holder}, has given no sign of life for {patience:g} s; goes on without it")
                return
            seen, since, holder = files.stamp(path), time.monotonic(), _holder(path)


def _taken(lock: FileLock) -> bool:
    """Whether a lock could be had at once."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


@contextmanager
def _signed(path: Path, seconds: float) -> Iterator[None]:
    """Say in a lock file who holds it, and every so often that it still does; then remove it."""
    with ExitStack() as end:
        with suppress(OSError, RuntimeError):  # the latter where there can be no more threads
            file = end.enter_context(path.open("wb", buffering=0))
            end.callback(_remove, path, file)
            file.write(f"process {os.getpid()} on {platform.node()} since {now()}\n".encode())
            end.enter_context(_beating(file, seconds))
        yield


def _remove(path: Path, file: IO[bytes]) -> None:
    with suppress(OSError):
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # it may have been taken from us
            path.unlink()  # while it is held: who opened it meanwhile notices, and makes a new one


@contextmanager
def _beating(file: IO[bytes], seconds: float) -> Iterator[None]:
    """Change the time of a file every so many seconds."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(seconds):
            with suppress(OSError):
                os.utime(file.fileno())

    thread = threading.Thread(target=beat, name="claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()  # before the file is closed


def _holder(path: Path) -> str:
    """Who holds a lock, as far as its file says so in our words; the machine only where it is another."""
    with suppress(OSError, ValueError, OverflowError), path.open(encoding="ascii") as file:
        found = _HOLDER.fullmatch(file.read(200).strip())
        if found:
            process, host, since = found.groups()
            where = "" if host == platform.node() else f" on {host}"
            return f"{process}{where}, at work since {datetime.fromisoformat(since).astimezone():%F %T}"
    return "another process"
