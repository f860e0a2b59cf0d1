"""Several processes for one command: which of them this is, and what a failed one has to say.

A command that shall run in several processes is started again, as it is, in each of them; inside
``accelerate launch``, ``torchrun`` or ``srun`` that was done already.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from zookeeper import errors
from zookeeper.errors import TerminatedError, UsageError, ZooError
from zookeeper.plain import redacted

ERRORS = "ZOO_ERRORS"
"""Names the folder into which processes that zoo started put their errors."""

PARENT = "ZOO_PARENT"
"""Names the process that started them."""

WORLD = "ZOO_WORLD"
"""Says how many it wanted: launchers that find too few devices silently start fewer."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Team:
    """The processes that run this command together.

    Attributes:
        rank: of this one.
        size: how many there are.
        started: whether zoo itself started them, and waits for what they do.
    """

    rank: int = 0
    size: int = 1
    started: bool = False

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @property
    def shows(self) -> bool:
        """Whether this is the one that shows what came of it."""
        return self.leads and not self.started


def team(environ: MutableMapping[str, str] = os.environ) -> Team:
    """Which of how many processes this is, as its launcher says.

    Of ``srun`` what torch wants to know is put into the environment; ``accelerate launch`` and ``torchrun``
    do so themselves.

    Raises:
        UsageError: Slurm started tasks on several nodes and does not say which is the first; zoo wanted
            another number of processes; or what should be a number is none.
    """
    if "RANK" not in environ and _number(environ, "SLURM_STEP_NUM_TASKS", 1) > 1:
        environ.update(_of_slurm(environ))
    size = _number(environ, "WORLD_SIZE", 1)
    if size != _number(environ, WORLD, size):
        raise UsageError(
            f"{environ[WORLD]} processes were asked for, {size} started.",
            why="Accelerate found fewer devices, or is configured otherwise",
            fix="accelerate env says what it finds",
        )
    return Team(_number(environ, "RANK", 0), size, bool(environ.get(ERRORS)))


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal():
        raise UsageError(f'{name} is "{text}", which is no number.', why="launchers set it")
    return int(text)


def _of_slurm(environ: Mapping[str, str]) -> dict[str, str]:
    """What torch.distributed reads, of a step of Slurm."""
    address = environ.get("MASTER_ADDR") or "127.0.0.1"
    if "MASTER_ADDR" not in environ and int(environ.get("SLURM_STEP_NUM_NODES") or 1) > 1:
        address = _first_host(environ["SLURM_STEP_NODELIST"])
    port = 20_000 + int(environ.get("SLURM_JOB_ID") or 0) % 20_000
    return {
        "RANK": environ["SLURM_PROCID"],
        "WORLD_SIZE": environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environ.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": address,
        "MASTER_PORT": environ.get("MASTER_PORT") or str(port),
    }


def _first_host(nodes: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 the list of nodes is one argument
            ["scontrol", "show", "hostnames", nodes],  # noqa: S607 Slurm's own, wherever it is
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            "Slurm does not say which node is the first.", why=str(error), fix="export MASTER_ADDR=HOST"
        ) from error
    return done.stdout.split()[0]


def end_with_parent() -> None:
    """Have the system end this process, as by SIGTERM, when the one that started it is gone.

    Raises:
        TerminatedError: it is gone already.
    """
    parent = os.environ.get(PARENT)
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        os.kill(int(parent), 0)
    except ProcessLookupError as error:
        raise TerminatedError("the process that started this one is gone.") from error


def leave_error(error: ZooError) -> bool:
    """Put an error where the process that started this one finds it; whether there is such a process."""
    folder = os.environ.get(ERRORS)
    if not folder:
        return False
    texts = {"message": error.message, "why": error.why, "fix": error.fix}
    said = {"kind": type(error).__name__} | {k: text and redacted(text) for k, text in texts.items()}
    (Path(folder) / f"{os.getpid()}.json").write_text(json.dumps(said))
    return True


def found_error(folder: Path) -> ZooError | None:
    """The first error that was put there, or None; processes that only ended with another have none."""
    left = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for said in (json.loads(path.read_text()) for path in left):
        kind: type[ZooError] = getattr(errors, said.pop("kind"))
        if kind is not TerminatedError:
            return kind(said.pop("message"), **said)
    return None
