"""Several processes, processes that are killed, and processes that are told to end: the same weights."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from conftest import Zoo
from toy import RECIPE, Job, wait_for, wait_until

from zookeeper.errors import NotFoundError, TerminatedError, UsageError, ZooError
from zookeeper.team import ERRORS, PARENT, Team, end_with_parent, found_error, leave_error, team
from zookeeper.tuning import launch
from zookeeper.tuning.room import Room

SLOW = 0.05  # seconds after each step, so that there is one to be told something in


@cache
def alone() -> dict[str, Any]:
    """What comes of a training in one process that nothing happens to."""
    return toy.summary(toy.training(toy.Toy.of()).run())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "job")


# Any number of processes


def test_last_step_of_the_toy_is_uneven() -> None:
    learner = toy.Toy.of()
    sizes = {sum(map(len, step)) for step in toy.steps_of(learner, RECIPE, epoch=1)}
    empty = [step for step in toy.steps_of(learner, RECIPE, epoch=1) if not len(step[1])]
    assert len(sizes) > 1
    assert len(empty) == 1


def test_two_processes_give_the_same_to_the_bit(job: Job) -> None:
    assert job.run(processes=2) == alone()
    assert alone()["best_epoch"] > 0


def test_four_micro_batches_give_the_same_up_to_rounding(job: Job) -> None:
    recipe = replace(RECIPE, micro_batches=4)
    whole = toy.training(toy.Toy.of(), recipe).run()
    shared = replace(job, recipe=recipe).run(processes=2)
    learned = np.load(job.folder / "0.npz")
    for name, array in whole.learned.items():
        np.testing.assert_allclose(learned[name], array, rtol=0, atol=1e-5)
    assert shared["best_epoch"] == whole.best_epoch
    for one, other in zip(shared["history"], whole.history, strict=True):
        assert one["loss"] == pytest.approx(other.loss, abs=1e-5)
        assert one["metric"] == other.metric


def test_other_number_of_processes_than_asked_for_is_noticed(job: Job) -> None:
    found = replace(job, asked=4, recipe=replace(RECIPE, micro_batches=4)).run(processes=2)
    assert found["error"] == "UsageError"
    assert found["message"] == "4 processes were asked for, 2 run together."


def test_processes_that_do_not_divide_a_step_are_refused(job: Job) -> None:
    found = replace(job, recipe=replace(RECIPE, micro_batches=3)).run(processes=2)
    assert found["error"] == "UsageError"
    assert found["message"] == "2 processes do not divide a step of 3 micro-batches."


def test_process_that_finds_too_little_memory_ends_all(job: Job) -> None:
    started = replace(job, fits=10, recipe=replace(RECIPE, micro_batch=12)).start(2)
    for process in started:
        process.join(30)
    assert [job.found(rank)["error"] for rank in range(2)] == ["OutOfMemoryError", "TerminatedError"]


# Killed


@pytest.mark.parametrize(("before", "after", "step"), [(1, 2, 6), (2, 1, 12), (1, 1, 8)])
def test_killed_training_goes_on_to_the_same_bits(job: Job, before: int, after: int, step: int) -> None:
    killed, *others = replace(job, every=0, kill_at=step).start(before)
    killed.join(60)
    for other in others:
        other.join(30)
    assert killed.exitcode == -signal.SIGKILL
    assert [job.found(rank)["error"] for rank in range(1, before)] == ["TerminatedError"] * len(others)
    assert Room(job.folder).latest() is not None
    assert job.run(processes=after) == alone()


def test_loss_that_is_no_number_in_one_process_ends_all(job: Job) -> None:
    started = replace(job, nan_in=1).start(2)
    for process in started:
        process.join(30)
    first, second = (job.found(rank) for rank in range(2))
    assert first == second, "neither waits for the other"
    assert first["error"] == "DegenerateInputError"
    assert "the loss is nan in step" in first["message"]


# Told


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_saves_and_ends_and_it_goes_on_to_the_same_bits(job: Job, processes: int) -> None:
    started = replace(job, pause=SLOW).start(processes)
    wait_for(job.folder, "at")
    os.kill(started[-1].pid or 0, signal.SIGTERM)  # one of them is enough
    for process in started:
        process.join(30)
    assert [job.found(rank)["error"] for rank in range(processes)] == ["TerminatedError"] * processes
    assert Room(job.folder).latest() is not None
    assert job.run(processes=3 - processes) == alone()


@pytest.mark.parametrize(("pause", "saved"), [(SLOW, True), (60.0, False)])
def test_sigint_ends_within_two_seconds(job: Job, pause: float, saved: bool) -> None:
    (process,) = replace(job, pause=pause).start()
    wait_for(job.folder, "at")
    told = time.monotonic()
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(30)
    assert time.monotonic() - told < 2.5
    assert job.found()["error"] == "KeyboardInterrupt"
    assert (Room(job.folder).latest() is not None) == saved


def test_second_sigint_does_not_wait(job: Job) -> None:
    (process,) = replace(job, pause=60.0).start()
    wait_for(job.folder, "at")
    told = time.monotonic()
    os.kill(process.pid or 0, signal.SIGINT)
    time.sleep(0.2)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(30)
    assert time.monotonic() - told < 1.2
    assert job.found()["error"] == "KeyboardInterrupt"


def test_sigusr1_saves_and_goes_on(job: Job) -> None:
    (process,) = replace(job, pause=SLOW).start()
    wait_for(job.folder, "at")
    os.kill(process.pid or 0, signal.SIGUSR1)
    wait_for(job.folder, "state-*")
    process.join(60)
    assert job.found() == alone()
    assert len(list(job.folder.glob("state-*"))) == 1


# From the command line


@pytest.fixture
def tuning(zoo: Zoo, checkpoints: dict[str, Path], target_folder: Path) -> list[str]:
    """A command that tunes for a while, in a zoo of its own."""
    zoo("add", checkpoints["bert"])
    passes = ["--epochs", "300", "--patience", "300", "--seeds", "1"]
    return ["tune", "--target", str(target_folder), str(checkpoints["bert"]), *passes]


def home() -> Path:
    return Path(os.environ["ZOO_HOME"])


def arrays() -> bytes:
    """What the one trial of the zoo left."""
    (path,) = home().glob("trials/*/*/*/arrays.safetensors")
    return path.read_bytes()


@contextmanager
def background(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs, and is about to train."""
    call = [sys.executable, "-m", "zookeeper", *command]
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        wait_for(home(), "unfinished/*/lock", 60)
        yield running


def workers_of(pid: int) -> list[int]:
    """Processes that a process started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def listens(pid: int) -> bool:
    """Whether a process has a handler for SIGUSR1: it trains."""
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGUSR1 - 1) & 1)


def saved(by: int) -> bool:
    """Whether a process has saved a state, as it is asked to."""
    os.kill(by, signal.SIGUSR1)
    return bool(list(home().glob("unfinished/*/state-*")))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_command_in_two_processes_that_is_ended_leaves_none_and_goes_on_to_the_same_bits(
    zoo: Zoo, tuning: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with background([*tuning, "--cpu-processes", "2"]) as running:
        workers = workers_of(running.pid)
        wait_until(lambda: saved(by=workers[1]))
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert len(workers) == 2
    wait_until(lambda: not any(map(alive, workers)))
    if number == signal.SIGTERM:
        assert running.returncode == TerminatedError.exit_code == 143
        assert said.decode().count("stopped; what was trained is kept") == 1
    assert "Traceback" not in said.decode()

    zoo(*tuning)
    interrupted = arrays()
    assert not list(home().glob("unfinished/*"))
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "other"))
    zoo("add", tuning[3])
    zoo(*tuning)
    assert arrays() == interrupted


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_ends_the_command(tuning: list[str]) -> None:
    with background(tuning) as running:
        wait_until(lambda: listens(running.pid))
        running.send_signal(signal.SIGUSR1)
        wait_for(home(), "unfinished/*/state-*")
        running.send_signal(signal.SIGINT)
        told = time.monotonic()
        _, said = running.communicate(timeout=30)
    assert time.monotonic() - told < 4
    assert running.returncode == 130
    assert "Traceback" not in said.decode()


def test_error_of_a_process_comes_back_as_what_it_is(zoo: Zoo, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], dict(os.environ)
    started = time.monotonic()
    with pytest.raises(NotFoundError, match="there is no file") as caught:
        launch.start(["tune", "--apply", str(tmp_path / "plan.json")], 2, gpus=False, environment={})
    assert caught.value.fix
    assert time.monotonic() - started < 30
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], dict(os.environ)
    assert before[0] == after[0]
    assert set(before[1].items()) == set(after[1].items())


# Which process this is


def test_without_a_launcher_there_is_one_process() -> None:
    assert team({}) == Team(0, 1)
    assert team({}).leads


@pytest.mark.parametrize(("rank", "size"), [(0, 2), (3, 4)])
def test_torchrun_and_accelerate_say_which_process_this_is(rank: int, size: int) -> None:
    environ = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(size), "SLURM_STEP_NUM_TASKS": "9"}
    before = dict(environ)
    assert team(environ) == Team(rank, size)
    assert team(environ).leads == (rank == 0)
    assert environ == before


STEP = {
    "SLURM_JOB_ID": "41000",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_NODELIST": "node7",
}


def test_srun_is_put_into_words_that_torch_knows() -> None:
    environ = dict(STEP)
    assert team(environ) == Team(3, 4)
    assert {name: environ[name] for name in environ.keys() - STEP.keys()} == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "21000",
    }


def test_all_tasks_of_a_step_meet_at_one_address() -> None:
    met = []
    for rank in range(4):
        environ = STEP | {"SLURM_PROCID": str(rank)}
        assert team(environ) == Team(rank, 4)
        met.append((environ["MASTER_ADDR"], environ["MASTER_PORT"]))
    assert len(set(met)) == 1


def test_first_node_is_asked_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[7-8]" ] && printf "node7\\nnode8\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    environ = STEP | {"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "node[7-8]"}
    team(environ)
    assert environ["MASTER_ADDR"] == "node7"


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_a_launcher_that_says_no_number_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f'{name} is "many"'):
        team({"WORLD_SIZE": "2", name: "many"})


def test_several_nodes_without_a_first_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    nodes = STEP | {"SLURM_STEP_NUM_NODES": "2"}
    with pytest.raises(UsageError, match="which node is the first") as caught:
        team(dict(nodes))
    assert caught.value.fix == "export MASTER_ADDR=HOST"
    given = nodes | {"MASTER_ADDR": "node9", "MASTER_PORT": "77"}
    team(given)
    assert (given["MASTER_ADDR"], given["MASTER_PORT"]) == ("node9", "77")


@pytest.mark.parametrize(
    "environ",
    [
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
        STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
    ],
    ids=["batch script", "step of one task"],
)
def test_job_of_slurm_without_a_step_of_several_is_one_process(environ: dict[str, str]) -> None:
    before = dict(environ)
    assert team(environ) == Team(0, 1)
    assert environ == before


# Processes that were started


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is asked")
def test_process_whose_parent_is_gone_already_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    monkeypatch.setenv(PARENT, str(gone.pid))
    try:
        with pytest.raises(TerminatedError, match="is gone"):
            end_with_parent()
    finally:
        ctypes.CDLL(None).prctl(1, 0)  # or the tests themselves would end with who runs them


@pytest.fixture
def errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(ERRORS, str(tmp_path))
    yield tmp_path


def test_error_is_handed_on_with_all_it_says(errors: Path) -> None:
    assert found_error(errors) is None
    assert leave_error(UsageError("no.", why="because", fix="zoo help"))
    found = found_error(errors)
    assert isinstance(found, UsageError)
    assert (found.message, found.why, found.fix) == ("no.", "because", "zoo help")


def test_first_error_counts_and_not_those_of_processes_that_ended_with_it(errors: Path) -> None:
    said = [TerminatedError("gone."), NotFoundError("the first."), ZooError("the second.")]
    for i, error in enumerate(said):
        leave_error(error)
        (errors / f"{os.getpid()}.json").rename(errors / f"{9 - i}.json")
        os.utime(errors / f"{9 - i}.json", ns=(i, i))
    found = found_error(errors)
    assert isinstance(found, NotFoundError)
    assert found.message == "the first."


def test_error_of_a_process_alone_is_its_own_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ERRORS, raising=False)
    assert not leave_error(ZooError("no."))
