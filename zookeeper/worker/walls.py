"""What closes the room: limits of the system, no network, and a tripwire.

None of it is a boundary against a fault in torch or a tokenizer that lets native code run: who expects that
runs zoo as another user, or in a virtual machine. What such code starts falls to the server and is ended with
its worker, or with the server; only where the server is killed before it can do so may it live on.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_MOST_FILES = 2048  # a checkpoint may have a thousand shards

_REFUSED = re.compile(
    r"os\.(system|exec|fork|forkpty|posix_spawn|spawn|startfile)|subprocess\.Popen|pty\.spawn"
    r"|socket\.(connect|bind|sendto|sendmsg|getaddrinfo|gethostbyname|gethostbyaddr|getnameinfo)"
)


def end_with(parent: int) -> None:
    """Have the system kill this process when the one that forked it is gone.

    Args:
        parent: its process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt() -> None:
    """Have the system give this process the children of its own that lose their parents."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def close(*, memory: int, file_size: int) -> None:
    """Close the room around this process, for good.

    Args:
        memory: bytes that it may take from here on.
        file_size: bytes of the largest file that it may write.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, file_size)
    _limit(resource.RLIMIT_NOFILE, _MOST_FILES)
    # Not the address space: what is only mapped from a file, such as weights, costs none.
    _limit(resource.RLIMIT_DATA, _taken() + memory)
    _leave_the_network()
    sys.addaudithook(_tripwire())


def _limit(kind: int, value: int) -> None:
    """Lower a limit, as far as the system knows it."""
    highest = resource.getrlimit(kind)[1]
    lowered = value if highest == resource.RLIM_INFINITY else min(value, highest)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (lowered, lowered))


def _taken() -> int:
    """Bytes of data that this process has already: of the libraries that it was started with."""
    with suppress(OSError):
        found = re.search(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def _leave_the_network() -> None:
    """Move into a network of its own that leads nowhere, where the system allows it."""
    if sys.platform != "linux":
        return
    unshare: Callable[[int], int] = ctypes.CDLL(None).unshare
    user = os.geteuid()
    # With a user of its own only if need be: root would lose the right to read files of others.
    if unshare(_CLONE_NEWNET) != 0 and unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        with suppress(OSError):
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")


def _tripwire() -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that refuses programs and addresses: a tripwire, which native code steps over."""
    refused = _REFUSED.fullmatch

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if refused(event):
            raise PermissionError(f"a checkpoint may not use {event}")

    return hook
