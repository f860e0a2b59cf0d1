"""What a machine has, as its own files say it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zookeeper import hardware
from zookeeper.errors import UsageError


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A root folder with the files of an operating system, by and by."""
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("cpuinfo", "dtype"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n", "bfloat16"),
        ("flags\t\t: fpu amx_bf16\n", "bfloat16"),
        ("Features\t: fp asimd bf16 i8mm\n", "bfloat16"),
        ("flags\t\t: fpu avx512f sse\n", "float32"),
        ("flags\t\t: fpu avx512_bf16x\nmodel name\t: with bf16\n", "float32"),
        ("", "float32"),
    ],
)
def test_a_processor_is_made_for_what_its_flags_say(system: Path, cpuinfo: str, dtype: str) -> None:
    write(system / "proc/cpuinfo", cpuinfo)
    assert hardware.precision("cpu", system=system) == dtype


def test_a_device_that_nobody_can_ask_is_read_in_float32(system: Path) -> None:
    write(system / "proc/cpuinfo", "flags\t\t: avx512_bf16\n")
    assert hardware.precision("mps", system=system) == "float32"
    assert hardware.precision("cuda:999", system=system) == "float32"


def test_memory_is_that_of_the_machine_or_less_in_a_group(system: Path) -> None:
    whole = hardware.memory(system=system)
    assert whole == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    write(system / "proc/self/cgroup", "0::/jobs/mine\n")
    write(system / "sys/fs/cgroup/jobs/mine/memory.max", "max\n")
    assert hardware.memory(system=system) == whole
    write(system / "sys/fs/cgroup/jobs/memory.max", str(2**20))
    assert hardware.memory(system=system) == 2**20, "a group is bound by the one around it"


def test_older_groups_and_those_of_a_container_count_too(system: Path) -> None:
    write(system / "proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")
    write(system / "sys/fs/cgroup/memory/memory.limit_in_bytes", str(2**21))
    write(system / "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "100000")
    assert hardware.memory(system=system) == 2**21
    assert hardware.cores(system=system) == 1


def test_cores_are_those_that_this_process_may_use(system: Path) -> None:
    there = len(os.sched_getaffinity(0))
    assert hardware.cores(system=system) == there
    write(system / "proc/self/cgroup", "0::/\n")
    write(system / "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert hardware.cores(system=system) == there
    write(system / "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert hardware.cores(system=system) == 1
    one = f"import os; os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}])"
    count = "from zookeeper import hardware; print(hardware.cores())"
    done = subprocess.run([sys.executable, "-c", f"{one}; {count}"], capture_output=True, check=True)
    assert done.stdout.strip() == b"1"


@pytest.mark.parametrize("name", ["cpu", "xpu", "xpu:1", "npu:0"])
def test_a_device_that_is_named_is_taken_at_its_word(name: str) -> None:
    assert hardware.best_device(name) == name
    assert hardware.best_device("auto") in ("cpu", "mps", "cuda:0")


def test_a_gpu_is_taken_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "gpus", lambda: 2)
    assert [hardware.best_device(name) for name in ("auto", "cuda", "cuda:1")] == ["cuda:0", "cuda", "cuda:1"]
    with pytest.raises(UsageError, match="cuda:2 is not there") as error:
        hardware.best_device("cuda:2")
    assert error.value.why == "torch can use 2 GPUs here"
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    with pytest.raises(UsageError, match="cuda is not there"):
        hardware.best_device("cuda")


@pytest.mark.parametrize("name", ["gpu7", "cuda:", "cuda:x", "cuda:-1", "cuda: 0", "cpu:7", "", "cuda:0\n"])
def test_what_no_device_is_called_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no device") as error:
        hardware.best_device(name)
    assert "ZOO_DEVICE" in (error.value.fix or "")


def test_more_gpus_than_there_are_is_an_error_that_says_how_many_there_are() -> None:
    assert hardware.several(None) == ()
    there = hardware.gpus()
    with pytest.raises(UsageError, match=f"there is {there or 'no'} GPU"):
        hardware.several(there + 1)


def test_looking_at_the_hardware_does_not_wait_for_torch() -> None:
    look = "hardware.gpus(), hardware.best_device('auto'), hardware.precision('cpu'), hardware.memory()"
    code = f"import sys; from zookeeper import hardware; {look}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.gpu
def test_gpus_are_those_that_torch_finds() -> None:
    import torch

    assert hardware.gpus() == torch.cuda.device_count() > 0
    native = torch.cuda.get_device_capability(0) >= (8, 0)
    assert hardware.precision("cuda:0") == ("bfloat16" if native else "float32")
