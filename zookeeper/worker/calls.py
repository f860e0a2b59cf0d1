"""System calls that a process gives up: to reach for anybody over a socket. seccomp(2) of Linux.

Landlock keeps TCP from a process, but neither UDP nor the sockets with a name in the file system by which
programs of the user take orders, such as a session bus. Like Landlock this takes no privilege, and there is
no way back.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from socket import AF_UNIX

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # places in what a filter looks at
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_OTHER_TABLE = 0x40000000  # from here on numbers of another table of x86-64, that of x32
_INSTRUCTION = struct.Struct("=HBBI")


@dataclass(frozen=True)
class _Machine:
    """How a kind of machine numbers its calls."""

    architecture: int
    socket: int
    connect: int
    io_uring_setup: int = 425  # whose rings could do both


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, 42),
    "aarch64": _Machine(0xC00000B7, 198, 203),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def give_up_sockets(*, connect: bool) -> bool:
    """Give up all sockets but those between processes of this machine; whether that holds.

    What is open stays so, and other threads that run already are free.

    Args:
        connect: whether to give up connecting these, too.
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.maxsize < 2**32:
        return False
    refused = (machine.io_uring_setup, *([machine.connect] if connect else []))
    code = b"".join(_filter(machine, refused))
    program = _Program(len(code) // _INSTRUCTION.size, code)
    prctl = ctypes.CDLL(None).prctl
    return bool(
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0
    )


def _filter(machine: _Machine, refused: tuple[int, ...]) -> Iterator[bytes]:
    """A program of the kernel's filters: jumps count the instructions that are passed over."""
    left = len(refused)
    for code, if_so, if_not, value in (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, left + 6, machine.architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, left + 4, 0, _OTHER_TABLE),
        *((_EQUAL, left + 3 - i, 0, number) for i, number in enumerate(refused)),
        (_EQUAL, 0, 2, machine.socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ):
        yield _INSTRUCTION.pack(code, if_so, if_not, value)
