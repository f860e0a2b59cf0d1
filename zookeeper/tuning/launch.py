"""Starting the processes that train together: on GPUs by Accelerate, as it is configured, else by torch.

Both go through torch's elastic agent, in this process: what the processes say goes to the terminal, what they
raise comes back here, and what ends this process ends all of them.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CalledProcessError

import torch
from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from zookeeper.errors import TerminatedError, UsageError, ZooError
from zookeeper.plain import encode
from zookeeper.plans import Request
from zookeeper.team import ERRORS, PARENT, WORLD, found_error


def check_gpus(wanted: int) -> None:
    """Refuse to take more GPUs than there are; accelerators of other kinds count too.

    Raises:
        UsageError: there are fewer on this machine.
    """
    there = torch.accelerator.device_count()
    if wanted > there:
        raise UsageError(f"{wanted} GPUs were asked for, there are {there} here.", fix="--cpu-processes N")


def launch_request(
    request: Request, processes: int, *, gpus: bool, tracker: str | None, environment: Mapping[str, str]
) -> None:
    """Have several processes do what a request asks for; they store what comes of it.

    Args:
        request: what.
        processes: how many.
        gpus: whether each takes a GPU.
        tracker: that they report to, if any.
        environment: the settings of the zoo.

    Raises:
        ZooError, KeyboardInterrupt: as `start`.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-request-") as folder:
        path = Path(folder) / "request.json"
        path.write_bytes(encode(request))
        start(
            ["tune", "--apply", str(path), *(["--tracker", tracker] if tracker else [])],
            processes,
            gpus=gpus,
            environment=dict(environment) | ({} if gpus else {"ZOO_DEVICE": "cpu"}),
        )


def start(arguments: Sequence[str], processes: int, *, gpus: bool, environment: Mapping[str, str]) -> None:
    """Run ``python -m zookeeper ARGUMENTS`` in several processes of this machine, and wait for them.

    Args:
        arguments: of the command line.
        processes: how many.
        gpus: whether each takes a GPU; else they talk through gloo.
        environment: what they find there beside that of this process.

    Raises:
        ZooError: the error of the first that failed.
        KeyboardInterrupt, TerminatedError: they were asked to end, and have.
    """
    wanted = dict(environment) | {
        # Not the modules of the working folder, which may be somebody else's.
        "PYTHONSAFEPATH": "1",
        WORLD: str(processes),
        # As many threads as one process would have: the loop takes its share of them.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(torch.get_num_threads()),
    }
    if not gpus:
        wanted["ACCELERATE_USE_CPU"] = "true"
    with (
        tempfile.TemporaryDirectory(prefix="zoo-launch-") as folder,
        _environment(wanted | {ERRORS: folder, PARENT: str(os.getpid())}),
        _signals(),
        _quiet(),
    ):
        try:
            if gpus:
                options = [f"--num_processes={processes}"]
                launch_command(launch_command_parser().parse_args([*options, "-m", "zookeeper", *arguments]))
            else:
                options = ["--standalone", f"--nproc-per-node={processes}", "--shutdown-timeout=120"]
                torchrun.run(torchrun.parse_args([*options, "-m", "zookeeper", *arguments]))  # type: ignore[no-untyped-call]
        except SignalException as stopped:
            if stopped.sigval == signal.SIGINT:
                raise KeyboardInterrupt from stopped
            raise TerminatedError(
                "stopped; what was trained is kept.", fix="the same command goes on from there"
            ) from stopped
        except (ChildFailedError, CalledProcessError) as failed:
            raise found_error(Path(folder)) or ZooError(
                "a training process failed.", why=_end(failed)
            ) from failed


def _end(failed: ChildFailedError | CalledProcessError) -> str:
    """How a process ended: one of several, or the one that Accelerate starts where it finds one device."""
    if isinstance(failed, CalledProcessError):
        return f"it ended with {failed.returncode}"
    first = next(iter(failed.failures.values()))
    return f"process {first.local_rank} ended with {first.exitcode}"


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """With these variables in the environment; without what launchers leave there afterwards."""
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals() -> Iterator[None]:
    """With those that the agent listens to given back at the end; SIGUSR1 is for the processes themselves."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    agents = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in agents}
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the agent's own words on processes that end; they have said why."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
