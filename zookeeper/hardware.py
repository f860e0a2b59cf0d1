"""What this machine has to compute with, found without torch: importing that takes seconds."""

from __future__ import annotations

import ctypes
import importlib.util
import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from zookeeper.errors import UsageError

_SYSTEM = Path("/")
_NATIVE = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b", re.MULTILINE)
_COMPUTE_CAPABILITY_MAJOR = 75  # of cuDeviceGetAttribute
_AMPERE = 8
_DEVICE = re.compile(r"(cpu|mps|(cuda|xpu|npu|hpu|mlu)(:\d{1,3})?)", re.ASCII)


def best_device(name: str) -> str:
    """The torch device of that name, or for ``auto`` the first accelerator, else the processor.

    Raises:
        UsageError: no device has that name, or this machine has not that GPU.
    """
    if name == "auto":
        apple = (sys.platform, platform.machine()) == ("darwin", "arm64")
        return "cuda:0" if gpus() else "mps" if apple else "cpu"
    fix = "set ZOO_DEVICE to cpu, mps, cuda, cuda:0, …; or to auto, which takes the first accelerator"
    if not _DEVICE.fullmatch(name):
        raise UsageError(f'"{name}" is no device.', fix=fix)
    kind, _, number = name.partition(":")
    there = gpus() if kind == "cuda" else 0
    if kind == "cuda" and int(number or 0) >= there:
        raise UsageError(f"{name} is not there.", why=f"torch can use {_counted(there)} here", fix=fix)
    if kind == "mps" and sys.platform != "darwin":
        raise UsageError("mps is not there.", why="Macs have it", fix=fix)
    return name


def several(n: int | None) -> tuple[str, ...]:
    """The devices that n checkpoints are read with at the same time; none where nobody asked for any.

    Raises:
        UsageError: there are not so many GPUs.
    """
    there = gpus() if n else 0
    if n and n > there:
        raise UsageError(f"{n} GPUs were asked for; there is {_counted(there)}.", fix="leave out --gpus")
    return tuple(f"cuda:{number}" for number in range(n or 0))


def precision(device: str, *, system: Path = _SYSTEM) -> Literal["float32", "bfloat16"]:
    """The precision that a device is made for: bfloat16 where it multiplies in it, else float32.

    Args:
        device: as torch names it.
        system: where the files of the operating system are.
    """
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return "bfloat16" if _NATIVE.search(_text(system / "proc/cpuinfo")) else "float32"
    if kind == "cuda" and _compute_capability(int(number or 0)) >= _AMPERE:
        return "bfloat16"
    return "float32"


def gpus() -> int:
    """GPUs that torch can use here; ``CUDA_VISIBLE_DEVICES`` counts."""
    count = ctypes.c_int()
    cuda = _cuda()
    return count.value if cuda and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def memory(*, system: Path = _SYSTEM) -> int:
    """Bytes of memory that this process may have: those of the machine, or fewer in a container.

    Args:
        system: where the files of the operating system are.
    """
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = _control(system, "memory", "memory.max", "memory.limit_in_bytes")
    return min([installed, *(int(text) for text in limits if text.isdigit())])


def cores(*, system: Path = _SYSTEM) -> int:
    """Processor cores that this process may use, at least one.

    Args:
        system: where the files of the operating system are.
    """
    pinned = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [text.split() for text in _control(system, "cpu", "cpu.max", "cpu.cfs_quota_us")]
    # The older interface has the period in a file of its own, which nobody changes.
    quotas = [(quota, *period, "100000") for quota, *period in shares if quota.isdigit()]
    return max(1, min([pinned, *(math.ceil(int(quota) / int(period)) for quota, period, *_ in quotas)]))


def _counted(n: int) -> str:
    return f"{n or 'no'} GPU{'s' if n > 1 else ''}"


def _cuda() -> ctypes.CDLL | None:
    """The driver, where there is one and torch was built for it."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return None
    if not (Path(torch.origin).parent / "lib" / "libtorch_cuda.so").exists():
        return None
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return cuda if cuda.cuInit(0) == 0 else None


def _compute_capability(number: int) -> int:
    """First digit of that of a GPU; 0 where there is none."""
    cuda, device, major = _cuda(), ctypes.c_int(), ctypes.c_int()
    if cuda is None or cuda.cuDeviceGet(ctypes.byref(device), number) != 0:
        return 0
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
    return major.value


def _control(system: Path, controller: str, newer: str, older: str) -> Iterator[str]:
    """What the control groups say that this process is in, from the innermost out."""
    for line in _text(system / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers and controller not in names:
            continue
        root = system / "sys/fs/cgroup" / controllers
        inner = root / path.lstrip("/")
        # A container sees its own group as the root.
        for folder in dict.fromkeys([*(p for p in (inner, *inner.parents) if root in p.parents), root]):
            if text := _text(folder / (older if controllers else newer)).strip():
                yield text


def _text(path: Path) -> str:
    """Of a file, nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
