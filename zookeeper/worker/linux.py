"""The C library of this process, for calls of Linux that Python has no name for."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
"""As the process has it loaded; functions that it lacks are missed when they are looked up."""

_PR_SET_NO_NEW_PRIVS = 38
_MOST = 4  # arguments of prctl besides the option
_CAPABILITIES = 0x20080522  # version of their format
_OF_FILES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inherited"))


def prctl(option: int, *values: Any) -> bool:
    """Change something about this process, or this thread of it; whether that is done.

    Args:
        option: what; see prctl(2).
        values: up to four numbers or pointers; the others are 0.
    """
    if sys.platform != "linux":
        return False
    given = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in values]
    return bool(LIBC.prctl(option, *given, *[ctypes.c_ulong(0)] * (_MOST - len(given))) == 0)


def gain_no_privileges() -> bool:
    """Gain none by starting a program, for good: what the kernel asks of who closes a gate on himself."""
    return prctl(_PR_SET_NO_NEW_PRIVS, 1)


def give_up_capabilities() -> bool:
    """Give up what root may do, for good, but for opening files of others; whether that holds.

    See capabilities(7). Who is not root has nothing to give up.
    """
    if sys.platform != "linux":
        return False
    header, held = _Header(_CAPABILITIES, 0), (_Capabilities * 2)()
    if LIBC.capget(ctypes.byref(header), held) != 0:
        return False
    left = held[0].permitted & _OF_FILES
    kept = (_Capabilities * 2)(_Capabilities(left, left, 0))
    return bool(LIBC.capset(ctypes.byref(header), kept) == 0)
