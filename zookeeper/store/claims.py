"""Locks that save work and protect nothing: who does without one computes twice and harms nobody."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from zookeeper.plain import now

_HOLDER = re.compile(r"process \d+ on [\w.-]+ since [\dTZ:-]+", re.ASCII)
_POLL = 0.1  # seconds


@contextmanager
def held(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock at `path`; the system lets go of it however this process ends.

    The same process never waits for itself. Where there can be no lock, one goes on without.

    Args:
        path: of the lock file, which is removed again.
        waiting: told once who holds it, where one has to wait.
    """
    # One instance for all that ask in this process, whatever their threads.
    lock = FileLock(path, thread_local=False, is_singleton=True)
    have = _acquired(lock, path, waiting)
    try:
        yield
    finally:
        if have:
            if lock.lock_counter == 1:
                # While it is held: who opened this file meanwhile notices, and makes a new one.
                with suppress(OSError):
                    path.unlink()
            with suppress(OSError):
                lock.release()


def _acquired(lock: FileLock, path: Path, waiting: Callable[[str], None]) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waiting(f"waits for {_holder(path)}")
            lock.acquire(poll_interval=_POLL)
        if lock.lock_counter == 1:
            _sign(path)
    except (OSError, NotImplementedError):
        return False
    return True


def _sign(path: Path) -> None:
    since = now()
    with suppress(OSError):
        path.write_text(f"process {os.getpid()} on {platform.node()} since {since}\n")


def _holder(path: Path) -> str:
    """Who holds a lock, as far as its file says so in our words."""
    with suppress(OSError, ValueError), path.open(encoding="ascii") as file:
        text = file.read(200).strip()
        if _HOLDER.fullmatch(text):
            return text.rpartition(" since ")[0]
    return "another process"
