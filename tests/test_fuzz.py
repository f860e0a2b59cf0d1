"""Whatever bytes a stranger sends, nothing comes out but an error of ours, and that soon."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import LONGEST_SECONDS, TARGETS, Target
from tests.reference.examples import STEADY


@st.composite
def inputs(draw: st.DrawFn, target: Target) -> bytes:
    """Bytes of any kind, or a whole input with some places changed."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=64))
    data = bytearray(draw(st.sampled_from(target.seeds)))
    put = st.binary(max_size=6) | st.sampled_from((b"", *target.words))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 6))] = draw(put)
    return bytes(data)


def check(name: str, n: int) -> None:
    """Read so many inputs."""
    target = TARGETS[name]
    for seed in target.seeds:
        target(seed)  # what is imported on the way takes its time once

    @settings(STEADY, max_examples=n)
    @given(inputs(target))
    def read(data: bytes) -> None:
        assert min(seconds(target, data) for _ in range(3)) < LONGEST_SECONDS

    read()


def seconds(target: Target, data: bytes) -> float:
    started = time.process_time()
    target(data)
    return time.process_time() - started


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_reader(name: str) -> None:
    check(name, 120)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_of_many_breaks_a_reader(name: str) -> None:
    check(name, 10_000)


@pytest.mark.nightly
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("name", TARGETS)
def test_atheris_finds_nothing(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", name, "--runs", "100000", "--seconds", "120"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0, done.stderr[-3000:]
