"""Files that are whole or not there: written aside, synced, then renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from zookeeper.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FIXES = {
    "full": "free some space, or set ZOO_HOME and ZOO_CACHE to a larger disk; nothing stored was lost",
    "denied": "set ZOO_HOME and ZOO_CACHE to folders that you may write to",
}


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Translate the errors of the file system at `path`.

    Raises:
        StorageError: for any OSError.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(
            f"cannot write to {path}.", why=reason, fix=FIXES["full" if error.errno in _FULL else "denied"]
        ) from error


def write(path: Path, data: bytes) -> None:
    """Replace the file at `path` in one step; a reader sees the old content or the new.

    Raises:
        StorageError: the disk refuses; the old content is still there.
    """
    with disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = _hidden(path)
        try:
            _write_synced(aside, data)
            aside.replace(path)
            _sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def publish(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Make `folder` with `files` in it in one step, unless it is there already: the first writer wins.

    Returns:
        Whether this call made it.

    Raises:
        StorageError: the disk refuses; nothing is left behind.
    """
    with disk(folder.parent), _made_aside(folder, files) as aside:
        if not _take(folder, aside):
            return False
        _sync(folder.parent)
        return True


def replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` with `files` in it, in place of the one that is there.

    Raises:
        StorageError: the disk refuses; the old folder is still there.
    """
    with disk(folder.parent), _made_aside(folder, files) as aside:
        old = _hidden(folder)
        with suppress(FileNotFoundError):  # somebody else is replacing it too
            folder.rename(old)
        try:
            _take(folder, aside)
        except OSError:
            old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
        _sync(folder.parent)


def retire(folder: Path) -> None:
    """Take `folder` out of the way in one step, then delete it.

    Raises:
        StorageError: the disk refuses.
    """
    with disk(folder.parent):
        aside = _hidden(folder)
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside)


def sha256(data: bytes | memoryview) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def _hidden(path: Path) -> Path:
    """A name of its own beside `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def _take(folder: Path, aside: Path) -> bool:
    """Rename `aside` to `folder`, unless that is taken."""
    try:
        aside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextmanager
def _made_aside(folder: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """A synced folder with `files` beside `folder`; what is still there at the end is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = _hidden(folder)
    try:
        aside.mkdir()
        for name, data in files.items():
            _write_synced(aside / name, data)
        _sync(aside)
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a rename in `folder` outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
