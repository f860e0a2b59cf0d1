"""Told to stop, a command stops: within two seconds, with one line, and what was finished is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Zoo
from loopback import LoopbackHub, read_folder
from tiny import TEXT

from zookeeper import interrupts

LINE = interrupts.STOPPED + "\n"
AT_MOST = 2.0  # seconds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@dataclass
class Stopped:
    """How a command ended.

    Attributes:
        exit_code: of it, as a shell has it.
        seconds: from the signal to the end.
        said: on standard error.
        left: processes of its that were there a second later.
    """

    exit_code: int
    seconds: float
    said: str
    left: list[int]


def stop(
    command: list[object],
    when: Callable[[int], bool] | float,
    number: signal.Signals = signal.SIGINT,
    *,
    times: int = 1,
) -> Stopped:
    """Start a command, and signal to all of its processes, as a terminal does, when it is time."""
    call = [sys.executable, "-m", "zookeeper", *map(str, command)]
    with subprocess.Popen(
        call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        if isinstance(when, float):
            time.sleep(when)
        else:
            until = time.monotonic() + 60
            while not when(running.pid):
                assert time.monotonic() < until
                assert running.poll() is None, running.communicate()[1]
                time.sleep(0.02)
        started = set(below(running.pid))
        told = time.monotonic()
        for _ in range(times):
            os.killpg(running.pid, number)
            time.sleep(0.1 * (times > 1))
        running.wait(30)
        seconds = time.monotonic() - told
        said = running.communicate(timeout=30)[1]
    time.sleep(0 if not any(map(alive, started)) else 1)
    # Python dies of a Ctrl-C that came while it ran text, as dataclasses have it do, however it is caught.
    exit_code = interrupts.INTERRUPTED if running.returncode == -signal.SIGINT else running.returncode
    return Stopped(exit_code, seconds, said, [one for one in started if alive(one)])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def below(pid: int) -> Iterator[int]:
    """A process and all that it started, and they."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from below(int(child))


def reads(pid: int) -> bool:
    """Whether a checkpoint is being read, by a worker that another forked."""
    return len(list(below(pid))) >= 3


def stopped_in_order(done: Stopped, exit_code: int = interrupts.INTERRUPTED) -> None:
    assert done.exit_code == exit_code, done.said
    assert done.said.endswith(LINE)
    assert done.said.count("\n") == 1 + done.said.count(" of "), "nothing but its progress is said before"
    assert done.seconds <= AT_MOST
    assert not done.left


@pytest.fixture
def slow(hub: LoopbackHub, zoo: Zoo, checkpoints: dict[str, Path]) -> LoopbackHub:
    """A Hub that takes its time, and a zoo to add to."""
    hub.add("model", "me/bert", read_folder(checkpoints["bert"]))
    hub.fail(200, "api/models", times=None, body=b"{}" * 9_999, drip=0.2)
    return hub


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A text that takes a while to read."""
    path = tmp_path / "long.txt"
    path.write_text("\n".join(TEXT * 300))
    return path


@pytest.mark.parametrize("seconds", [0.2, pytest.param(0.4, marks=pytest.mark.nightly)])
def test_ctrl_c_while_it_starts(zoo: Zoo, seconds: float) -> None:
    stopped_in_order(stop(["probe"], seconds))


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGINT, interrupts.INTERRUPTED), (signal.SIGTERM, interrupts.TERMINATED)],
)
def test_told_while_it_waits_for_the_hub(slow: LoopbackHub, number: signal.Signals, exit_code: int) -> None:
    stopped_in_order(stop(["add", "me/bert"], lambda _: bool(slow.requests), number), exit_code)


def test_ctrl_c_while_a_checkpoint_is_read_leaves_nothing_broken(
    zoo: Zoo, checkpoints: dict[str, Path], long: Path
) -> None:
    zoo("add", checkpoints["bert"])
    stopped_in_order(stop(["probe", "-p", long, "--max-words", "500000"], reads))
    assert zoo("verify").exit_code == 0


def test_a_second_ctrl_c_does_not_wait(slow: LoopbackHub) -> None:
    done = stop(["add", "me/bert"], lambda _: bool(slow.requests), times=3)
    stopped_in_order(done)
    assert done.seconds < 1


BUSY = """
import sys, time
from zookeeper import interrupts
interrupts.listen()
try:
    print("ready", flush=True)
    {body}
except KeyboardInterrupt:
    time.sleep(60)
"""


@pytest.mark.parametrize("body", ["(10 ** 10 ** 8) ** 9", "time.sleep(60)"], ids=["in C", "on the way out"])
def test_what_is_too_busy_to_stop_is_ended(body: str) -> None:
    call = [sys.executable, "-c", BUSY.format(body=body)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        running.stdout.readline()
        time.sleep(0.1)
        told = time.monotonic()
        running.send_signal(signal.SIGINT)
        running.wait(30)
        assert time.monotonic() - told <= AT_MOST
        assert running.communicate()[1] == LINE
    assert running.returncode == interrupts.INTERRUPTED


@pytest.mark.parametrize("command", [["--help"], ["probe", "--help"], ["recipes"]], ids=" ".join)
def test_output_that_nobody_reads_ends_it_quietly(zoo: Zoo, command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    call = [sys.executable, "-m", "zookeeper", *command]
    done = subprocess.run(call, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (interrupts.UNREAD, "")


# Many moments


@pytest.mark.nightly
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
@pytest.mark.parametrize("command", ["probe", "rank", "tune", "tune in two", "demo"])
def test_ctrl_c_at_any_moment(
    command: str,
    seconds: float,
    zoo: Zoo,
    checkpoints: dict[str, Path],
    long: Path,
    target_folder: Path,
    tmp_path: Path,
) -> None:
    zoo("add", checkpoints["bert"], checkpoints["roberta"])
    tune = ["tune", "-t", target_folder, "bert", "--epochs", "3000", "--patience", "3000", "--seeds", "1"]
    commands: dict[str, list[object]] = {
        "probe": ["probe", "-p", long, "--max-words", "500000"],
        "rank": ["rank", "-t", target_folder],
        "tune": tune,
        "tune in two": [*tune, "--cpu-processes", "2"],
        "demo": ["demo", "--into", tmp_path / "demo"],
    }
    done = stop(commands[command], seconds)
    if done.exit_code != 0 or command != "rank":  # which may be done by then
        assert done.exit_code == interrupts.INTERRUPTED
        assert done.seconds <= AT_MOST
        assert "Traceback" not in done.said
        assert done.said.count(interrupts.STOPPED) == 1
        assert not done.left


@pytest.mark.nightly
def test_what_was_read_before_ctrl_c_is_not_read_again(
    zoo: Zoo, checkpoints: dict[str, Path], long: Path, tmp_path: Path
) -> None:
    zoo("add", *checkpoints.values())
    probe = ["probe", "-p", long, "--max-words", "100000"]
    features = tmp_path / "cache" / "features"
    done = stop(list(probe), lambda _: len(list(features.rglob("manifest.json"))) == 2)
    assert done.exit_code == interrupts.INTERRUPTED
    kept = len(list(features.rglob("manifest.json")))
    statuses = [row["STATUS"] for row in zoo(*probe).table]
    assert statuses.count("already there") >= kept >= 2


@pytest.mark.parametrize(
    ("text", "several"), [("", False), ("1", False), ("2", True), ("two", False), ("²", False)]
)
def test_a_launcher_that_counts_in_words_stops_nothing(text: str, several: bool) -> None:
    assert interrupts._counts_several(text) == several
