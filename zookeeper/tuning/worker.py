"""Several processes for the loop: the parent writes a problem to a folder, the workers read it and train.

Run as ``python -m torch.distributed.run … -m zookeeper.tuning.worker FOLDER``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.numpy import load_file, save_file

from zookeeper.errors import UsageError, ZooError
from zookeeper.plain import decode
from zookeeper.records import Recipe
from zookeeper.results import Epoch
from zookeeper.tuning.loop import Tuned, train_head
from zookeeper.tuning.problem import Problem

# torchrun's own error, which says nothing, comes after those of the ranks.
_FIRST_ERROR = re.compile(r"^(?:\[rank\d+\]: )?(?:\w+\.)*(\w*(?:Error|Exception): .+)$", re.MULTILINE)

_ARRAYS, _PLAN, _HEAD, _HISTORY = "problem.safetensors", "plan.json", "head.safetensors", "history.json"


def train_in_processes(problem: Problem, recipe: Recipe, *, seed: int, device: str, processes: int) -> Tuned:
    """`train_head` in `processes` processes of this machine.

    Raises:
        UsageError: the number of processes does not divide a step's micro-batches.
        ZooError: a worker failed; the first error is given.
    """
    if recipe.micro_batches % processes:
        raise UsageError(
            f"{processes} processes do not divide a step of {recipe.micro_batches} micro-batches.",
            fix=f"--processes {recipe.micro_batches}",
        )
    with tempfile.TemporaryDirectory(prefix="zoo-tune-") as name:
        folder = Path(name)
        _write(folder, problem, recipe, seed, device, processes)
        threads = max(1, (os.cpu_count() or 1) // processes)
        # Not from the working folder, which may be somebody else's: python -m would import from it first.
        environment = dict(os.environ) | {"OMP_NUM_THREADS": str(threads), "PYTHONSAFEPATH": "1"}
        if device == "cpu":
            environment["ACCELERATE_USE_CPU"] = "true"
        # One path and nothing else: torchrun abbreviates options even after the module's name.
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run(  # noqa: S603 our own module
            [sys.executable, *command, "-m", "zookeeper.tuning.worker", str(folder)],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if not (folder / _HISTORY).exists():
            cause = _FIRST_ERROR.search(done.stderr)
            why = cause[1] if cause else done.stderr.strip()
            raise ZooError("a training process failed.", why=why[-300:], fix="--processes 1")
        head, report = load_file(folder / _HEAD), json.loads((folder / _HISTORY).read_text())
        history = tuple(decode(Epoch, epoch) for epoch in report["history"])
        return Tuned(head["weight"], head["bias"], history, report["best_epoch"])


def _write(folder: Path, problem: Problem, recipe: Recipe, seed: int, device: str, processes: int) -> None:
    groups = {"features": problem.features, "labels": problem.labels, "lengths": problem.lengths}
    save_file(
        {f"{group}/{split}": a for group, splits in groups.items() for split, a in splits.items()},
        folder / _ARRAYS,
    )
    plan = {
        "classes": problem.classes,
        "metric": problem.metric,
        "recipe": asdict(recipe),
        "seed": seed,
        "device": device,
        "processes": processes,
    }
    (folder / _PLAN).write_text(json.dumps(plan))


def _read(folder: Path) -> tuple[Problem, dict[str, object]]:
    plan = json.loads((folder / _PLAN).read_text())
    arrays = load_file(folder / _ARRAYS)
    groups: dict[str, dict[str, object]] = {"features": {}, "labels": {}, "lengths": {}}
    for name, array in arrays.items():
        group, split = name.split("/")
        groups[group][split] = array
    return Problem(**groups, classes=tuple(plan["classes"]), metric=plan["metric"]), plan  # type: ignore[arg-type]


def main(folder: Path) -> None:
    """Train what `folder` holds, as one of several processes; the first writes the result there."""
    problem, plan = _read(folder)
    tuned = train_head(
        problem,
        decode(Recipe, plan["recipe"]),
        seed=int(str(plan["seed"])),
        device=str(plan["device"]),
        processes=int(str(plan["processes"])),
    )
    if PartialState().is_main_process:
        save_file({"weight": tuned.weight, "bias": tuned.bias}, folder / _HEAD)
        report = {"history": [asdict(epoch) for epoch in tuned.history], "best_epoch": tuned.best_epoch}
        (folder / _HISTORY).write_text(json.dumps(report))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
