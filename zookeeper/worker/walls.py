"""What closes the room: limits of the system, no network, no files but those granted, and a tripwire.

There are two walls against the network, because many a system allows but one of them.

Native code that a fault in torch or a tokenizer lets run steps over the tripwire and meets the walls, as far
as the system has them: Landlock for what files hold, a filter of system calls for all else; and of what root
may do, should zoo run as root, only the opening of files is left. It is still a process of the user's: who
expects it to get through the kernel as well runs zoo as another user, or in a virtual machine. What such code
starts falls to the server and is ended with its worker, or with the server; only where the server is killed
before it can do so may it live on.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zookeeper.worker import landlock, seccomp
from zookeeper.worker.linux import LIBC, give_up_capabilities, prctl

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_MOST_FILES = 2048  # a checkpoint may have a thousand shards

_REFUSED = re.compile(
    r"os\.(system|exec|fork|forkpty|posix_spawn|spawn|startfile)|subprocess\.Popen|pty\.spawn"
    r"|socket\.(connect|bind|sendto|sendmsg|getaddrinfo|gethostbyname|gethostbyaddr|getnameinfo)"
)


@dataclass(frozen=True, slots=True)
class Walls:
    """Which walls stand around a process.

    Attributes:
        alone: whether it is in a network of its own, which leads nowhere.
        calls: whether the system refuses it what reading takes none of: sockets that lead to other machines,
            programs, signals to other processes, and changing of files what nobody opens them for.
        apart: whether it can connect to no program of this machine.
        landlock: the version of Landlock by which files, and from version 4 on TCP, are kept from it; 0 where
            they are not.
        memory: whether it can take no more memory of its own than it may; what it maps to share is none.
    """

    alone: bool
    calls: bool
    apart: bool
    landlock: int
    memory: bool

    @property
    def tcp(self) -> bool:
        """Whether Landlock keeps TCP from it."""
        return self.landlock >= landlock.KNOWS_TCP


def end_with(parent: int) -> None:
    """Have the system kill this process when the one that forked it is gone.

    Args:
        parent: its process id.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt() -> None:
    """Have the system give this process the children of its own that lose their parents."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def close(
    *,
    memory: int,
    file_size: int,
    grants: Iterable[landlock.Grant],
    sockets: bool = False,
    connect: bool = False,
) -> Walls:
    """Close the room around this process, for good.

    Args:
        memory: bytes that it may take from here on.
        file_size: bytes of the largest file that it may write.
        grants: all files that it may open from here on.
        sockets: whether it may make sockets that stay on this machine, as drivers of devices do.
        connect: whether it may connect these to other processes.

    Returns:
        The walls that the system could put up.

    Raises:
        OSError: the system has Landlock, and yet does not keep files from it.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, file_size)
    _limit(resource.RLIMIT_NOFILE, _MOST_FILES)
    # Not the address space: what is only mapped from a file, such as weights, costs none.
    capped = _limit(resource.RLIMIT_DATA, _taken() + memory)
    alone = _leave_the_network()
    give_up_capabilities()
    files = landlock.restrict(grants)
    calls = seccomp.give_up_calls(sockets=sockets, connect=connect)
    sys.addaudithook(_tripwire())
    return Walls(alone=alone, calls=calls, apart=calls and not connect, landlock=files, memory=capped)


def _limit(kind: int, value: int) -> bool:
    """Lower a limit, as far as the system knows it; whether it does."""
    highest = resource.getrlimit(kind)[1]
    lowered = value if highest == resource.RLIM_INFINITY else min(value, highest)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (lowered, lowered))
        return True
    return False


def _taken() -> int:
    """Bytes of data that this process has already: of the libraries that it was started with."""
    with suppress(OSError):
        found = re.search(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def _leave_the_network() -> bool:
    """Move into a network of its own that leads nowhere, where the system allows it; whether it does."""
    if sys.platform != "linux":
        return False
    unshare: Callable[[int], int] = LIBC.unshare
    user = os.geteuid()
    # With a user of its own only if need be: root would lose the right to read files of others.
    if unshare(_CLONE_NEWNET) == 0:
        return True
    if unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with suppress(OSError):
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    return True


def _tripwire() -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that refuses programs and addresses: a tripwire, which native code steps over."""
    refused = _REFUSED.fullmatch

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if refused(event):
            raise PermissionError(f"a checkpoint may not use {event}")

    return hook
