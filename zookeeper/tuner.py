"""From a plan to a run: read the splits with each member, tune, measure, and write down all that made it."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from zookeeper.reader import Reader
from zookeeper.records import EXTRACTOR_VERSION, Checkpoint, Labelled, Recipe, Target, digest_of
from zookeeper.reporter import Reporter
from zookeeper.results import Member, Run
from zookeeper.settings import Settings

if TYPE_CHECKING:
    from zookeeper.tuning.loop import Tuned
    from zookeeper.tuning.problem import Problem

Arrays = dict[str, NDArray[Any]]

_LIBRARIES = ("hf-zoo", "torch", "transformers", "datasets", "accelerate", "numpy", "scikit-learn", "seqeval")


@dataclass(frozen=True)
class Plan:
    """Everything that makes a run's numbers.

    Attributes:
        target: what for, as it was read.
        members: whose features stand side by side, in order.
        recipe: how.
        seed: of initial weights, order and held-out sentences.
        test: whether the test split is measured.
    """

    target: Target
    members: tuple[Checkpoint, ...]
    recipe: Recipe
    seed: int
    test: bool

    @property
    def run_id(self) -> str:
        """12 hex digits; any changed part changes them."""
        data = [self.target.dataset, self.target.commit, self.target.config, self.target.fingerprint]
        members = [str(member.revision) for member in self.members]
        parts = [data, members, asdict(self.recipe), EXTRACTOR_VERSION, self.seed, self.test]
        return digest_of(parts)[:12]


class Tuner:
    """Carries out plans.

    Args:
        settings: of the zoo.
        reader: gives the members' features.
        reporter: told what is going on.
    """

    def __init__(self, settings: Settings, reader: Reader, reporter: Reporter) -> None:
        self._settings = settings
        self._reader = reader
        self._reporter = reporter

    def tune(
        self, plan: Plan, data: Mapping[str, Labelled], *, processes: int, command: str
    ) -> tuple[Run, Arrays]:
        """Tune what a plan says.

        Args:
            plan: what.
            data: the splits of its target.
            processes: that train together.
            command: what the user typed.

        Returns:
            The run, and its arrays: the head, and predictions with all it takes to measure them again.

        Raises:
            ZooError: a member cannot be read, or there is nothing to learn; computed features are kept.
        """
        from zookeeper.extract import resolve_device
        from zookeeper.tuning.metrics import metric_of
        from zookeeper.tuning.problem import Problem

        metric_of(plan.target)  # refuses what no head learns, before anything is read
        source, reading = plan.target.name, plan.recipe.reading
        parts = {
            split: [
                self._reader.features(m, d.corpus, reading, f"{source} {split}").array for m in plan.members
            ]
            for split, d in data.items()
        }
        problem = Problem.of(plan.target, data, parts, seed=plan.seed)
        device = resolve_device(self._settings.device)
        started = time.monotonic()
        tuned = self._train(problem, plan, device, processes)
        predictions = tuned.predictions(problem)
        run = Run(
            id=plan.run_id,
            target=plan.target,
            members=tuple(
                Member(m.name, m.revision, part.shape[1], m.parameters, m.license)
                for m, part in zip(plan.members, parts["train"], strict=True)
            ),
            recipe=plan.recipe,
            seed=plan.seed,
            processes=processes,
            metric=problem.metric,
            history=tuned.history,
            best_epoch=tuned.best_epoch,
            results={split: problem.measure(split, made) for split, made in predictions.items()},
            held_out=0 if "validation" in data else len(problem.lengths["validation"]),
            command=command,
            versions={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
            device=_device_name(device),
            seconds=round(time.monotonic() - started, 3),
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        arrays: Arrays = {"weight": tuned.weight, "bias": tuned.bias}
        for split, made in predictions.items():
            arrays[f"predictions.{split}"] = made
            arrays[f"labels.{split}"] = problem.labels[split]
            arrays[f"lengths.{split}"] = problem.lengths[split]
        return run, arrays

    def _train(self, problem: Problem, plan: Plan, device: str, processes: int) -> Tuned:
        from zookeeper.tuning.loop import train_head
        from zookeeper.tuning.worker import train_in_processes

        recipe, seed = plan.recipe, plan.seed
        if processes > 1:
            self._reporter.note(f"tuning in {processes} processes")
            return train_in_processes(problem, recipe, seed=seed, device=device, processes=processes)
        with self._reporter.track("tuning", recipe.epochs + 1, "passes") as advance:
            return train_head(problem, recipe, seed=seed, device=device, advance=lambda _: advance(1))


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return f"{device} ({platform.machine()})"
