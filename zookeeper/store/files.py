"""Files that are whole or not there: written aside, synced, then renamed into place."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from zookeeper.errors import StorageError
from zookeeper.plain import refusal, size

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What file systems say that cannot do a thing at all, where others can.
_UNABLE = {errno.EINVAL, errno.ENOSYS, errno.ENODEV, errno.EOPNOTSUPP, errno.ENOLCK}
_ASIDE = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}(?P<old>\.old)?")
_ZEROS = bytes(1 << 20)
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
        fix = FIXES["full" if error.errno in _FULL else "denied"]
        raise StorageError(f"cannot write to {path}.", why=refusal(error), fix=fix) from error


def demand_space(folder: Path, n: int) -> None:
    """Refuse to begin what cannot be finished.

    Args:
        folder: that is there.
        n: bytes that are going to be written into it.

    Raises:
        StorageError: there is less space.
    """
    with disk(folder):
        free = shutil.disk_usage(folder).free
    if n > free:
        raise StorageError(
            f"cannot write to {folder}.",
            why=f"no space left: it takes {size(n)}, and {size(free)} are free",
            fix=FIXES["full"],
        )


def write(path: Path, data: bytes) -> None:
    """Replace the file at `path` in one step; a reader sees the old content or the new.

    Raises:
        StorageError: the disk refuses; the old content is still there.
    """
    with disk(path.parent):
        make_folders(path.parent)
        aside = _hidden(path)
        try:
            write_synced(aside, data)
            aside.replace(path)
            sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def delete(path: Path) -> None:
    """Delete the file at `path`, if there is one.

    Raises:
        StorageError: the disk refuses.
    """
    with disk(path.parent), suppress(FileNotFoundError):
        path.unlink()
        sync(path.parent)


@contextmanager
def made_aside(folder: Path) -> Iterator[Path]:
    """A folder of its own beside `folder`; it is removed at the end, unless it was published.

    Raises:
        StorageError: the disk refuses.
    """
    aside = _hidden(folder)
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, aside, ignore_errors=True)
        with disk(folder.parent):
            make_folders(folder.parent)
            aside.mkdir()
            cleanup.enter_context(held(aside))
        yield aside


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Mark a file or folder as one that this process works with, as far as locks work here.

    The system takes the mark off however the process ends.

    Raises:
        BlockingIOError: another process has marked it.
        OSError: it is not there, or cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process that lives has marked a file or folder."""
    try:
        with held(path):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def publish(aside: Path, folder: Path) -> bool:
    """Make what lies aside be `folder` in one step, unless it is there already: the first writer wins.

    Returns:
        Whether it is now.

    Raises:
        StorageError: the disk refuses.
    """
    with disk(folder.parent):
        sync(aside)
        if not _take(folder, aside):
            return False
        sync(folder.parent)
        return True


def replace(aside: Path, folder: Path) -> None:
    """Make what lies aside be `folder`, in place of the one that is there.

    A process that is killed between the two steps leaves the old one beside its place; see `mended`.

    Raises:
        StorageError: the disk refuses; the old folder is still there.
    """
    with disk(folder.parent):
        sync(aside)
        while True:
            old = _hidden(folder, ".old")
            with suppress(FileNotFoundError):  # somebody else is replacing it too
                folder.rename(old)
            try:
                if _take(folder, aside):
                    break
            except OSError:
                _take(folder, old)
                raise
            finally:
                _forget(old, folder)
        sync(folder.parent)


def mended(folder: Path) -> bool:
    """Put back what was taken out of the place of `folder` for something that never came.

    Whoever is replacing it at this very moment notices and tries again.

    Returns:
        Whether there was anything.
    """
    found = list(folder.parent.glob(f".{folder.name}.*.old"))
    for old in found:
        with suppress(OSError):
            if not folder.exists():
                _take(folder, old)
    return bool(found)


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


def make_folders(folder: Path) -> None:
    """Make a folder, and those it lies in, so that they outlast a power cut.

    Raises:
        OSError: the disk refuses.
    """
    if folder.is_dir():
        return
    make_folders(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    with suppress(PermissionError):  # one may write to a folder that one may not read
        sync(folder.parent)


def write_synced(path: Path, data: bytes | mmap.mmap) -> None:
    """Write a new file, to the disk itself.

    Raises:
        OSError: the disk refuses, or there is such a file.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Make what was written to a file, or renamed in a folder, outlast a power cut.

    Raises:
        OSError: the disk refuses.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    finally:
        os.close(handle)


class Sheet:
    """A new file of a given size that is written as memory: no copy of it is held beside.

    Its blocks are taken at once, so that a full disk is an error here and not the end of the process later.

    Args:
        path: of the file.
        size: bytes, at least 1.

    Attributes:
        memory: the bytes of the file.

    Raises:
        OSError: the disk refuses.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _take_blocks(handle, size)
            try:
                self.memory = mmap.mmap(handle, size)
                self._mapped = True
            except OSError as error:
                if error.errno not in _UNABLE:
                    raise
                self.memory = mmap.mmap(-1, size)
                self._mapped = False
        finally:
            os.close(handle)

    def relieve(self) -> None:
        """Let the process have its memory back; what was written stays with the system."""
        if self._mapped and hasattr(mmap, "MADV_DONTNEED"):
            self.memory.madvise(mmap.MADV_DONTNEED)

    def settle(self) -> None:
        """Bring everything to the disk itself.

        Raises:
            OSError: the disk refuses.
        """
        if self._mapped:
            self.memory.flush()
            sync(self._path)
        else:
            self._path.unlink()
            write_synced(self._path, self.memory)


def stamp(path: Path) -> str | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


def taken_aside(path: Path) -> Path | None:
    """What a hidden file or folder of ours stands for, or None where it is none of ours."""
    found = _ASIDE.fullmatch(path.name)
    return path.with_name(found["name"]) if found else None


def sha256(data: bytes | memoryview | mmap.mmap) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """64 hex digits of the content of a file, of which a small part at a time is in memory.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hidden(path: Path, role: str = "") -> Path:
    """A name of its own beside `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{role}")


def _forget(old: Path, folder: Path) -> None:
    """Delete what was replaced, which nobody may put back from then on."""
    if not (folder.exists() and old.exists()):
        return
    try:
        old = old.rename(_hidden(folder))
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _take(folder: Path, aside: Path) -> bool:
    """Rename `aside` to `folder`, unless that is taken."""
    try:
        aside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _take_blocks(handle: int, size: int) -> None:
    try:
        os.posix_fallocate(handle, 0, size)
        return
    except AttributeError:
        pass
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    for start in range(0, size, len(_ZEROS)):
        _write_all(handle, _ZEROS[: size - start])


def _write_all(handle: int, data: bytes | mmap.mmap) -> None:
    with memoryview(data) as left:
        done = 0
        while done < len(left):
            with left[done:] as rest:
                done += os.write(handle, rest)
