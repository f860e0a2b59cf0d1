"""What processes that were killed have left behind; nothing reads it, and it may go."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from zookeeper.store import files


class Leftover(NamedTuple):
    """A file or folder that nothing reads.

    Attributes:
        path: of it.
        size: bytes that it takes.
        reason: why it may go.
    """

    path: Path
    size: int
    reason: str


def hidden(folder: Path) -> Iterator[Leftover]:
    """What was written beside its place in a folder, or taken out of it, and stayed."""
    for path in _inside(folder):
        place = files.taken_aside(path)
        if place is None or path.is_symlink() or _is_to_be_mended(path, place) or files.is_held(path):
            continue
        yield sized(path, "a write that was interrupted")


def locks(folder: Path) -> Iterator[Leftover]:
    """Lock files in a folder that nobody holds."""
    for path in _inside(folder):
        if path.suffix == ".lock" and not path.is_symlink() and not files.is_held(path):
            yield sized(path, "a lock that nobody holds")


def damaged_indexes(index: Path) -> Iterator[Leftover]:
    """Indexes that were set aside."""
    for path in _inside(index.parent):
        if path.name.startswith(f"{index.name}.damaged-") and path.is_file() and not path.is_symlink():
            yield sized(path, "an index that was damaged, and was made again")


def folders(root: Path, depth: int) -> Iterator[Path]:
    """Folders so deep below another one, none of them by a link."""
    if not depth:
        yield root
        return
    for path in _inside(root):
        if path.is_dir() and not path.is_symlink() and files.taken_aside(path) is None:
            yield from folders(path, depth - 1)


def age(path: Path) -> float:
    """Seconds since anything in a file or folder was written, by the clock of this machine."""
    at = written_at(path)
    return time.time() - at if at else 0.0


def written_at(path: Path) -> float:
    """When a file, or anything in a folder, was last written, in seconds since 1970; 0 where nothing is."""
    return max((status.st_mtime for status in _statuses(path)), default=0.0)


def remove(leftover: Leftover) -> bool:
    """Remove it; whether it is gone by this."""
    path = leftover.path
    try:
        with files.held(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError:
        return False
    return True


def sized(path: Path, reason: str) -> Leftover:
    """A leftover of that reason."""
    return Leftover(path, size_of(path), reason)


def _is_to_be_mended(path: Path, place: Path) -> bool:
    return path.name.endswith(".old") and not place.exists()


def _inside(folder: Path) -> list[Path]:
    if folder.is_symlink():
        return []
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder, as far as they are there."""
    return sum(status.st_size for status in _statuses(path) if not stat.S_ISDIR(status.st_mode))


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Of a file, or of a folder and all below it; links are not followed."""
    inside = () if path.is_symlink() else os.walk(path)
    for one in (path, *(Path(folder, name) for folder, *names in inside for name in chain(*names))):
        with suppress(OSError):  # it goes while we look
            yield one.lstat()
