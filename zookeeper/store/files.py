"""Files that are whole or not there: written aside, synced, then renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zookeeper.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FIXES = {
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
            f"cannot write to {path}.", why=reason, fix=_FIXES["full" if error.errno in _FULL else "denied"]
        ) from error


def write(path: Path, data: bytes) -> None:
    """Replace the file at `path` in one step; a reader sees the old content or the new.

    Raises:
        StorageError: the disk refuses; the old content is still there.
    """
    with disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
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
    with disk(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            aside.mkdir()
            for name, data in files.items():
                _write_synced(aside / name, data)
            _sync(aside)
            try:
                aside.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                return False
            _sync(folder.parent)
            return True
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def retire(folder: Path) -> None:
    """Take `folder` out of the way in one step, then delete it.

    Raises:
        StorageError: the disk refuses.
    """
    with disk(folder.parent):
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside)


def sha256(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


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
