"""What of the file system is left to a worker: its libraries, its device, and the files of its checkpoint.

Of the user's home there is nothing else, even where Python itself lies there. A folder in it that a library
was loaded from, or that packages were put into, may be that of a project: there the libraries and packages
count, and no more.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import distributions
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
_DEVICES = {
    "cuda": (
        *("dev/nvidia*", "dev/kfd", "dev/dri", "dev/dxg"),
        *("dev/nvhost-*", "dev/nvmap", "dev/nvgpu"),  # of Nvidia's small machines
    ),
    "xpu": ("dev/dri",),
    "npu": ("dev/davinci*", "dev/devmm_svm", "dev/hisi_hdc"),
    "hpu": ("dev/accel*", "dev/hl*"),
    "mlu": ("dev/cambricon*",),
}
_MAPPED = re.compile(r"(/.+/)[^/]+\.so[.\d]*$", re.MULTILINE)
_LIBRARY = re.compile(r".+\.so[.\d]*")

HOME = "ZOO_HOME_OF_USER"
"""Variable of the environment by which a worker knows of a home that is not the one of the user's account."""


@cache
def libraries() -> tuple[Grant, ...]:
    """Python, packages, shared libraries, and what of the system they look at; found once in a process."""
    paths = (*_SYSTEM, *_prefixes(), *_of_python(), *_of_shared_libraries())
    real = {Path(os.path.realpath(path)) for path in paths}
    kept = {path for path in real if not any(home.is_relative_to(path) for home in _homes())}
    outermost = sorted(path for path in kept if kept.isdisjoint(path.parents))
    return (
        *((path, Access.READ) for path in outermost),
        ("/proc/self", Access.READ),  # whoever that is by then
        *((path, Access.READ | Access.WRITE_FILE) for path in _STREAMS),
    )


def device(name: str) -> Iterator[Grant]:
    """Drivers and device files of a torch device; of the processor, or one not known here, there are none.

    Args:
        name: such as ``cuda:1``.
    """
    patterns = _DEVICES.get(name.partition(":")[0])
    if patterns is None:
        return
    root = Path("/")
    yield from ((path, Access.USE) for pattern in patterns for path in root.glob(pattern))
    yield from ((path, Access.READ) for one in (*_DRIVERS, *_DRIVERS_SAY) for path in root.glob(one))
    if (shared := daemon(name)) is not None:
        yield shared, Access.USE


def daemon(name: str) -> Path | None:
    """Where the daemon listens by which several processes share a GPU of Nvidia's (MPS), if there is one.

    Args:
        name: of a torch device, such as ``cuda:1``.
    """
    place = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))  # noqa: S108
    return place if name.startswith("cuda") and place.is_dir() else None


def checkpoint(folder: Path, *, pickled: bool = False) -> Iterator[Grant]:
    """The very files that loading a checkpoint takes, wherever links of the Hub's cache lead.

    Args:
        folder: of it.
        pickled: whether its weights may be pickles.
    """
    yield folder, Access.LIST
    with suppress(CheckpointError, OSError):  # who reads it finds that again, and says so
        yield from ((path, Access.READ_FILE) for path in files_of(folder, pickled=pickled).values())


def _homes() -> list[Path]:
    """The user's: that of the account, and what ``HOME`` said to who asked; it is not set here."""
    found = [os.environ.get(HOME, "")]
    with suppress(KeyError):  # a user by number only
        found.append(pwd.getpwuid(os.getuid()).pw_dir)
    return [Path(os.path.realpath(one)) for one in found if Path(one).is_absolute()]


def _prefixes() -> Iterator[Path]:
    """Where Python keeps its own and what was installed with it."""
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        yield from (Path(prefix, name) for name in ("lib", "lib64", "pyvenv.cfg"))


def _of_python() -> Iterator[str | Path]:
    for path in sys.path:
        if path.endswith(".zip"):
            yield path
        elif any(Path(path).glob("*.dist-info")):
            yield from _installed(Path(path)) if _is_private(path) else [path]
    if sys.pycache_prefix:
        yield sys.pycache_prefix
    for name, module in list(sys.modules.items()):
        if "." not in name:
            yield from getattr(module, "__path__", None) or filter(None, [getattr(module, "__file__", None)])


def _of_shared_libraries() -> Iterator[str | Path]:
    """Folders that libraries were loaded from: there are more beside them, which are loaded when needed."""
    folders = set(filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)))
    with suppress(OSError):
        folders |= set(_MAPPED.findall(Path("/proc/self/maps").read_text()))
    for folder in folders:
        if _is_private(folder):
            yield from (path for path in Path(folder).glob("*.so*") if _LIBRARY.fullmatch(path.name))
        else:
            yield folder


def _is_private(folder: str) -> bool:
    """Whether a folder may hold anything of the user's: it is in the home, and not where Python keeps its."""
    real = Path(os.path.realpath(folder))
    prefixes = (os.path.realpath(prefix) for prefix in _prefixes())
    return any(map(real.is_relative_to, _homes())) and not any(map(real.is_relative_to, prefixes))


def _installed(folder: Path) -> Iterator[Path]:
    """Packages in a folder, by what was written down when they were put there, and that itself."""
    for one in distributions(path=[str(folder)]):
        lines = (one.read_text("RECORD") or "").splitlines()
        names = {line.partition(",")[0].partition("/")[0] for line in lines}
        yield from (folder / name for name in names - {"", ".", ".."})
