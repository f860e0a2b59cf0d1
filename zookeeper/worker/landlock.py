"""Landlock: a thread gives up files and addresses, for itself and all that it starts; landlock(7) of Linux.

It takes no privilege, and there is no way back. A kernel without it refuses its calls; one that knows less of
it than this file is asked for as much as it knows.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import IntFlag
from pathlib import Path

from zookeeper.worker.linux import LIBC, gain_no_privileges

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all but one kind of machine, Alpha
_VERSION = 1  # flag of landlock_create_ruleset
_BENEATH = 1  # kind of rule
_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract sockets of others, and signals to them
_KNOWS_SCOPES = 6  # from this version on

KNOWS_TCP = 4
"""The first version that keeps TCP from a process, too."""


class Access(IntFlag):
    """What may be done with a file, or with all that is beneath a folder."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    LIST = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15

    READ = READ_FILE | LIST
    WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE
    USE = READ | WRITE_FILE | IOCTL_DEV
    OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


_SINCE = {1: Access.REFER - 1, 2: Access.TRUNCATE - 1, 3: Access.IOCTL_DEV - 1, 4: Access.IOCTL_DEV - 1}
_ALL = (Access.IOCTL_DEV << 1) - 1

Grant = tuple[str | Path, Access]
"""A path, links followed, and what may be done with it and beneath it."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("tcp", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """What the kernel knows of Landlock, as a number that grows; 0 where it has none, or it is turned off."""
    if sys.platform != "linux":
        return 0
    with suppress(OSError):
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    return 0


def restrict(grants: Iterable[Grant]) -> int:
    """Give up all files but those granted; no program can be started unless `Access.EXECUTE` is granted.

    What is open stays so, and other threads that run already are free. From version 4 on there is no TCP, and
    from version 6 on there are no signals to processes outside, and no abstract sockets of theirs.

    Args:
        grants: all that remains. A path that is not there, or cannot be reached, is passed over.

    Returns:
        The version by which that is kept now; 0 where the kernel has none.

    Raises:
        OSError: it has one, and does not keep it all the same.
    """
    granted = tuple(grants)
    known = version()
    if not known:
        return 0
    files = _SINCE.get(known, _ALL)
    ruleset = _Ruleset(files, _TCP if known >= KNOWS_TCP else 0, _SCOPES if known >= _KNOWS_SCOPES else 0)
    handle = _call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    try:
        for path, access in granted:
            with suppress(OSError):
                _grant(handle, path, access & files)
        gain_no_privileges()  # else the kernel refuses the next
        _call(_RESTRICT_SELF, handle, 0)
    finally:
        os.close(handle)
    return known


def _grant(ruleset: int, path: str | Path, access: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= Access.OF_FILES
        _call(_ADD_RULE, ruleset, _BENEATH, ctypes.byref(_Rule(access, place)), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    """A system call that the C library has no name for."""
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    syscall = LIBC.syscall
    syscall.restype = ctypes.c_long
    result: int = syscall(ctypes.c_long(number), *given)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
