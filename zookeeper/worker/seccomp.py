"""System calls that a process gives up, because reading a checkpoint takes none of them; seccomp(2) of Linux.

Landlock keeps files from a process, but not what a file is besides what it holds, nor sockets that have a
name, nor what a user's processes may do to one another; older versions of it leave more of that open. This
does not depend on its version. Like Landlock it takes no privilege, and there is no way back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from socket import AF_UNIX, SOCK_SEQPACKET, SOCK_STREAM
from typing import NamedTuple

from zookeeper.worker.linux import gain_no_privileges, prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # places in what a filter looks at
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_OTHER_TABLE = 0x40000000  # from here on numbers of another table of x86-64, that of x32
_INSTRUCTION = struct.Struct("=HBBI")
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_WHOLE = 0xFFFFFFFF
_KIND = 0xF  # of what says of which kind a socket is; the rest are flags
_OWN = -1  # stands for the number of the process that gives them up
_OPENED = os.O_TRUNC | os.O_ACCMODE
_EMPTIES = (os.O_TRUNC | os.O_RDONLY, os.O_TRUNC | os.O_ACCMODE)  # what is not opened to be written to
_SET_OWNER, _SET_OWNER_EX = 8, 15
# FIOSETOWN, SIOCSPGRP; FS_IOC_SETFLAGS in two sizes, FS_IOC_FSSETXATTR; TIOCSTI
_ORDERS = (0x8901, 0x8902, 0x40086602, 0x40046602, 0x401C5820, 0x5412)


class _Test(NamedTuple):
    """Something about an argument of a call.

    Attributes:
        argument: its place.
        values: that the call is refused for, or that alone it is not refused for.
        mask: bits of it that count.
        refused: whether they are refused.
    """

    argument: int
    values: tuple[int, ...]
    mask: int
    refused: bool


def _unless(argument: int, *values: int, mask: int = _WHOLE) -> _Test:
    return _Test(argument, values, mask, refused=False)


def _where(argument: int, *values: int, mask: int = _WHOLE) -> _Test:
    return _Test(argument, values, mask, refused=True)


_ITSELF = (_unless(0, 0, _OWN),)


class _Call(NamedTuple):
    """A system call that is refused: for any of the tests of it, or always where there are none.

    Attributes:
        x86_64: its number there, if there is such a call; likewise `aarch64`.
        aarch64: see there.
        tests: of its arguments.
    """

    x86_64: int | None
    aarch64: int | None
    tests: tuple[_Test, ...] = ()


_CALLS: Mapping[str, _Call] = {
    # Sockets, but for those between processes of this machine, which lead to nobody until they are connected.
    "connect": _Call(42, 203),
    "socket": _Call(41, 198, (_unless(0, AF_UNIX), _unless(1, SOCK_STREAM, SOCK_SEQPACKET, mask=_KIND))),
    "socketpair": _Call(53, 199, (_unless(0, AF_UNIX), _unless(1, SOCK_STREAM, mask=_KIND))),
    # Files: who may do what with them, their times and marks, and emptying them without writing.
    "chmod": _Call(90, None),
    "fchmod": _Call(91, 52),
    "fchmodat": _Call(268, 53),
    "fchmodat2": _Call(452, 452),
    "chown": _Call(92, None),
    "fchown": _Call(93, 55),
    "lchown": _Call(94, None),
    "fchownat": _Call(260, 54),
    "utime": _Call(132, None),
    "utimes": _Call(235, None),
    "futimesat": _Call(261, None),
    "utimensat": _Call(280, 88),
    "setxattr": _Call(188, 5),
    "lsetxattr": _Call(189, 6),
    "fsetxattr": _Call(190, 7),
    "setxattrat": _Call(463, 463),
    "removexattr": _Call(197, 14),
    "lremovexattr": _Call(198, 15),
    "fremovexattr": _Call(199, 16),
    "removexattrat": _Call(466, 466),
    "file_setattr": _Call(469, 469),
    "truncate": _Call(76, 45),
    "open": _Call(2, None, (_where(1, *_EMPTIES, mask=_OPENED),)),
    "openat": _Call(257, 56, (_where(2, *_EMPTIES, mask=_OPENED),)),
    "openat2": _Call(437, 437),  # whose flags cannot be seen from here
    # Other processes of the user: signals, priorities, limits, memory.
    "kill": _Call(62, 129),
    "tkill": _Call(200, 130),
    "tgkill": _Call(234, 131, (_unless(0, _OWN),)),  # by which abort ends its own
    "rt_sigqueueinfo": _Call(129, 138),
    "rt_tgsigqueueinfo": _Call(297, 240),
    "pidfd_send_signal": _Call(424, 424),
    "pidfd_getfd": _Call(438, 438),
    "fcntl": _Call(72, 25, (_where(1, _SET_OWNER, _SET_OWNER_EX),)),  # of the signals that a file sends
    "ioctl": _Call(16, 29, (_where(1, *_ORDERS),)),
    "setpriority": _Call(141, 140),
    "ioprio_set": _Call(251, 30),
    "prlimit64": _Call(302, 261, _ITSELF),
    "sched_setaffinity": _Call(203, 122, _ITSELF),
    "sched_setattr": _Call(314, 274, _ITSELF),
    "sched_setparam": _Call(142, 118, _ITSELF),
    "sched_setscheduler": _Call(144, 119, _ITSELF),
    "migrate_pages": _Call(256, 238, _ITSELF),
    "move_pages": _Call(279, 239, _ITSELF),
    "process_madvise": _Call(440, 440),
    "process_mrelease": _Call(448, 448),
    "process_vm_readv": _Call(310, 270),
    "process_vm_writev": _Call(311, 271),
    "ptrace": _Call(101, 117),
    # What all processes of the user share: keys, and memory, messages and semaphores by number or name.
    "add_key": _Call(248, 217),
    "keyctl": _Call(250, 219),
    "request_key": _Call(249, 218),
    "shmat": _Call(30, 196),
    "shmctl": _Call(31, 195),
    "shmget": _Call(29, 194),
    "msgctl": _Call(71, 187),
    "msgget": _Call(68, 186),
    "msgrcv": _Call(70, 188),
    "msgsnd": _Call(69, 189),
    "semctl": _Call(66, 191),
    "semget": _Call(64, 190),
    "semop": _Call(65, 193),
    "semtimedop": _Call(220, 192),
    "mq_open": _Call(240, 180),
    "mq_unlink": _Call(241, 181),
    # Programs, and roads into the kernel that could do some of the above or are known for their faults.
    "execve": _Call(59, 221),
    "execveat": _Call(322, 281),
    "io_uring_setup": _Call(425, 425),
    "bpf": _Call(321, 280),
    "perf_event_open": _Call(298, 241),
    "userfaultfd": _Call(323, 282),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def give_up_calls(*, sockets: bool = False, connect: bool = False) -> bool:
    """Give up all that reading a checkpoint does not take; whether that holds.

    What is open stays so, and other threads that run already are free.

    Args:
        sockets: whether to keep making sockets, such as stay on this machine and carry no datagrams.
        connect: whether to keep connecting these to whoever listens.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES or sys.maxsize < 2**32:
        return False
    calls = dict(_CALLS)
    if connect:
        del calls["connect"]
    if not sockets:
        calls["socket"] = calls["socket"]._replace(tests=())
    code = b"".join(_INSTRUCTION.pack(*step) for step in _steps(machine, calls.values()))
    program = _Program(len(code) // _INSTRUCTION.size, code)
    return gain_no_privileges() and prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))


_Step = tuple[int, int, int, int]
"""An instruction: what it does, how many to pass over if its test holds and if not, and with what."""


def _steps(machine: str, calls: Iterable[_Call]) -> Iterator[_Step]:
    """The filter: each row refuses, or leaves it to those below."""
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, _ARCHITECTURES[machine]
    yield _RETURN, 0, 0, _REFUSE
    yield _LOAD, 0, 0, _NUMBER
    yield _AT_LEAST, 0, 1, _OTHER_TABLE
    yield _RETURN, 0, 0, _REFUSE
    for call in calls:
        number = getattr(call, machine)
        if number is None:
            continue
        for steps in [_tested(test) for test in call.tests] or [[(_RETURN, 0, 0, _REFUSE)]]:
            yield _LOAD, 0, 0, _NUMBER
            yield _EQUAL, 0, len(steps), number
            yield from steps
    yield _RETURN, 0, 0, _ALLOW


def _tested(test: _Test) -> list[_Step]:
    """Refuse a call for what an argument is."""
    values = [os.getpid() if value == _OWN else value for value in test.values]
    steps = [(_LOAD, 0, 0, _ARGUMENTS + 8 * test.argument), (_AND, 0, 0, test.mask)]
    for left, value in zip(reversed(range(len(values))), values, strict=True):  # left to be compared after it
        steps.append((_EQUAL, left, int(not left), value) if test.refused else (_EQUAL, left + 1, 0, value))
    return [*steps, (_RETURN, 0, 0, _REFUSE)]
