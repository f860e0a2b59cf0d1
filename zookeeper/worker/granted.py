"""What of the file system is left to a worker: its libraries, its device, and the files of its checkpoint.

Of the user's home there is nothing else, even where Python itself lies there: of a folder on Python's path in
which nothing was installed, such as that of a project, the packages that are loaded count and no more.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from zookeeper.errors import CheckpointError
from zookeeper.raw import files_of
from zookeeper.worker.landlock import Access, Grant

_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"),
    *("/usr/share", "/nix/store", "/gnu/store", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime"),
    *("/sys", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm"),
)
_STREAMS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_DRIVERS = ("usr/local/cuda*", "usr/local/nvidia", "usr/lib/wsl", "opt/cuda", "opt/rocm*", "opt/intel")
_DRIVERS_SAY = ("proc/driver", "proc/devices", "proc/modules", "etc/OpenCL", "run/opengl-driver")
_DEVICES = {"cpu": (), "cuda": ("dev/nvidia*", "dev/kfd", "dev/dri", "dev/dxg"), "xpu": ("dev/dri",)}
_ANY_DEVICE = ("dev",)  # of makers whose names of devices are not known here
_MAPPED = re.compile(r"(/.+/)[^/]+\.so[.\d]*$", re.MULTILINE)


@cache
def libraries() -> tuple[Grant, ...]:
    """Python, packages, shared libraries, and what of the system they look at; found once in a process."""
    home = _home()
    real = {Path(os.path.realpath(path)) for path in (*_SYSTEM, *_of_python(), *_of_shared_libraries())}
    kept = {path for path in real if not home.is_relative_to(path)}
    outermost = sorted(path for path in kept if kept.isdisjoint(path.parents))
    return (
        *((path, Access.READ) for path in outermost),
        ("/proc/self", Access.READ),  # whoever that is by then
        *((path, Access.READ | Access.WRITE_FILE) for path in _STREAMS),
    )


def device(name: str) -> Iterator[Grant]:
    """Drivers and device files of a torch device; of the processor there are none.

    Args:
        name: such as ``cuda:1``.
    """
    patterns = _DEVICES.get(name.partition(":")[0], _ANY_DEVICE)
    if not patterns:
        return
    root = Path("/")
    yield from ((path, Access.USE) for pattern in patterns for path in root.glob(pattern))
    yield from ((path, Access.READ) for one in (*_DRIVERS, *_DRIVERS_SAY) for path in root.glob(one))
    # The daemon by which several processes share a GPU of Nvidia's, where there is one.
    yield os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), Access.USE  # noqa: S108


def checkpoint(folder: Path, *, pickled: bool = False) -> Iterator[Grant]:
    """The very files that loading a checkpoint takes, wherever links of the Hub's cache lead.

    Args:
        folder: of it.
        pickled: whether its weights may be pickles.
    """
    yield folder, Access.LIST
    with suppress(CheckpointError, OSError):  # who reads it finds that again, and says so
        yield from ((path, Access.READ_FILE) for path in files_of(folder, pickled=pickled).values())


def _home() -> Path:
    """The user's; variables of the environment are gone here, and count for nothing."""
    with suppress(KeyError):  # a user by number only
        return Path(os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir))
    return Path("/nowhere")


def _of_python() -> Iterator[str | Path]:
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        yield from (Path(prefix, name) for name in ("lib", "lib64", "pyvenv.cfg"))
    yield from (path for path in sys.path if path.endswith(".zip") or any(Path(path).glob("*.dist-info")))
    if sys.pycache_prefix:
        yield sys.pycache_prefix
    for name, module in list(sys.modules.items()):
        if "." not in name:
            yield from getattr(module, "__path__", None) or filter(None, [getattr(module, "__file__", None)])


def _of_shared_libraries() -> Iterator[str]:
    """Folders that libraries were loaded from: there are more beside them, which are loaded when needed."""
    yield from filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    with suppress(OSError):
        yield from set(_MAPPED.findall(Path("/proc/self/maps").read_text()))
