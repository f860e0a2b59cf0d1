"""From a target and members to trials, each made once: read, train, measure, write down all that made it."""

from __future__ import annotations

import importlib
import platform
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DataError
from zookeeper.fetcher import Fetcher, Pinned
from zookeeper.outcomes import told_of
from zookeeper.plain import now
from zookeeper.plans import Plan, Recipe
from zookeeper.reader import Reader
from zookeeper.recipes import RECIPES, of_each
from zookeeper.records import Checkpoint, Labelled, Target, counted, digest_of
from zookeeper.reporter import Reporter
from zookeeper.results import Epoch, Trial
from zookeeper.settings import Settings
from zookeeper.store import Store
from zookeeper.team import Team
from zookeeper.tuning.energy import metered
from zookeeper.tuning.watch import Watch, undisturbed

if TYPE_CHECKING:
    from zookeeper.tuning.learner import Learner
    from zookeeper.tuning.loop import Progress, Training
    from zookeeper.tuning.materials import Materials
    from zookeeper.tuning.metrics import Judge
    from zookeeper.tuning.problem import Problem
    from zookeeper.tuning.room import Room

T = TypeVar("T")
Arrays = dict[str, NDArray[Any]]

# Letters of a member's name in front of a bar.
_SHOWN = 16
Cell = tuple[int, float]
"""A seed, and a share of the training data."""

_LIBRARIES = ("hf-zoo", "torch", "transformers", "datasets", "accelerate", "peft", "numpy", "scikit-learn")


@dataclass(frozen=True, eq=False)
class Task:
    """A target with its data.

    Attributes:
        target: as it was read.
        data: its splits.
    """

    target: Target
    data: Mapping[str, Labelled]

    @cached_property
    def learnt(self) -> str:
        """Digest of what is learnt from and validated on, with the names of its classes."""
        parts = {split: self.data[split] for split in ("train", "validation") if split in self.data}
        return digest_of(
            [
                self.target.task,
                *([split, self.digest(split)] for split in parts),
                [self.target.classes[i] for i in _classes_of(parts.values())],
            ]
        )

    def digest(self, split: str) -> str:
        """Digest of sentences and labels of a split."""
        data = self.data[split]
        return digest_of([data.corpus.digest, data.labels_digest])


@dataclass(frozen=True, eq=False)
class Work:
    """Something to tune, but for seed and share of the training data.

    Attributes:
        tasks: what is learnt; more than one where they are learnt at once.
        members: who learns it, in order.
        recipe: how.
        metric: by which it is judged.
        script: digest of the metric's code, where it is none of ours.
        before: what the members are tuned on first; None for the checkpoints as they are.
    """

    tasks: tuple[Task, ...]
    members: tuple[Checkpoint, ...]
    recipe: Recipe
    metric: str
    script: str | None = None
    before: Work | None = None

    @property
    def task(self) -> Task:
        """The one task."""
        (task,) = self.tasks
        return task

    def plan(self, seed: int, fraction: float = 1.0) -> Plan:
        """What makes the trial of a seed and a share of the training data."""
        return Plan(
            task=" ".join(task.target.task for task in self.tasks),
            data=digest_of([task.learnt for task in self.tasks]),
            metric=f"{self.metric} {self.script}" if self.script else self.metric,
            members=tuple(str(member.revision) for member in self.members),
            recipe=self.recipe,
            seed=seed,
            fraction=fraction,
            start=self.before.plan(seed).digest if self.before else None,
        )


class Tuner:
    """Makes trials.

    Args:
        settings: of the zoo.
        store: of the zoo.
        fetcher: has the members' files at hand.
        reader: gives the members' features.
        reporter: told what is going on.
        team: the processes that train together.
        tracker: that follows the training; None for none.

    Attributes:
        tracker: as above.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        fetcher: Fetcher,
        reader: Reader,
        reporter: Reporter,
        *,
        team: Team,
        tracker: str | None = None,
    ) -> None:
        self._settings, self._store, self._fetcher = settings, store, fetcher
        self._reader, self._reporter, self._team = reader, reporter, team
        self.tracker = tracker
        self._gathered: tuple[Work, tuple[Pinned, ...], Materials] | None = None

    def trials(self, work: Work, cells: Sequence[Cell]) -> list[Trial]:
        """The trials of seeds and shares, those that are stored as they are.

        Raises:
            ZooError: a member cannot be read, or there is nothing to learn; what is finished is kept.
            KeyboardInterrupt, TerminatedError: it was asked to end; what is going on is kept too.
        """
        with self._partners(), undisturbed(alone=self._team.size == 1):
            return self._trials(work, cells)

    def _trials(self, work: Work, cells: Sequence[Cell]) -> list[Trial]:
        if work.before:
            earlier = self.trials(work.before, list(dict.fromkeys((seed, 1.0) for seed, _ in cells)))
            if all(trial.best_epoch == 0 for trial in earlier):
                names = ", ".join(task.target.name for task in work.before.tasks)
                self._reporter.note(f"{names}: no pass was better than none; members go on as they were")
        way = RECIPES[work.recipe.name]
        if way.needs == "members":
            for alone in self._apart(work):
                self.trials(alone, cells)
        found = self._leaders({cell: self._stored(work, cell) for cell in cells})
        return [found[cell] or self._made(work, cell) for cell in cells]

    def _partners(self) -> AbstractContextManager[None]:
        """What libraries make of another process that is gone, as what it is."""
        if self._team.size == 1:
            return nullcontext()
        from zookeeper.tuning.together import partners

        return partners()

    def _apart(self, work: Work) -> list[Work]:
        """Each member alone."""
        return [replace(work, members=(member,), recipe=of_each(work.recipe)) for member in work.members]

    def _stored(self, work: Work, cell: Cell) -> Trial | None:
        """The trial, if it is stored and was measured on all splits that there are."""
        trial = self._store.whole(Trial, work.plan(*cell).digest)
        if trial is None or RECIPES[work.recipe.name].needs == "stages":
            return trial
        task = work.task
        return trial if "test" not in task.data or trial.data.get("test") == task.digest("test") else None

    def _leaders(self, seen: T) -> T:
        """What the first process sees in the store: the others may look a moment sooner or later."""
        if self._team.size == 1:
            return seen
        from zookeeper.tuning.together import leaders

        return leaders(seen, self._reader.device)

    def _alike(self) -> AbstractContextManager[None]:
        """Within, what one process fails in all fail in; none may wait for another that gave up."""
        if self._team.size == 1:
            return nullcontext()
        from zookeeper.tuning.together import alike

        return alike(self._reader.device)

    # Making one

    def _made(self, work: Work, cell: Cell) -> Trial:
        needs = RECIPES[work.recipe.name].needs
        make = {"members": self._combined, "stages": self._meta_trained}.get(needs, self._trained)
        room = self._room(work.plan(*cell))
        with ExitStack() as held:
            with self._alike():
                if self._team.leads:
                    held.enter_context(room.held())
            _forget_peak(self._reader.device)
            trial, arrays = make(work, cell)
            if self._team.leads:
                self._store.save(trial, arrays)
                room.clear()
        return trial

    def _trained(self, work: Work, cell: Cell) -> tuple[Trial, Arrays]:
        """Through the loop; only measured where the weights are there already."""
        plan, problem = work.plan(*cell), self._problem(work, cell)
        known = self._leaders(self._store.whole(Trial, plan.digest))
        with self._alike():
            learner, judge = self._learner(work, problem, cell), self._judge(work, problem)
        training = self._training(work, cell, problem, learner, judge)
        if known is None:
            begun = self._room(plan).latest()
            if begun:
                self._reporter.note("going on where it was interrupted")
            with self._following(work, training) as report, metered(whole=not begun) as meter:
                tuned = training.run(report)
            known = self._trial(plan, tuned.history, tuned.best_epoch, tuned.steps, learner, meter.energy)
            learned, outputs = tuned.learned, tuned.outputs
        else:
            learned = named(self._store.arrays(Trial, plan.digest), "learned")
            outputs = training.outputs_of(learned)
        return self._measured(known, work, problem, judge, outputs), _arrays(problem, outputs, learned)

    def _combined(self, work: Work, cell: Cell) -> tuple[Trial, Arrays]:
        """Of trials of the members, one by one."""
        plan, problem = work.plan(*cell), self._problem(work, cell)
        alone = [self._store.load(Trial, one.plan(*cell).digest) for one in self._apart(work)]
        members = {
            member.name: {part: arrays[f"outputs/{part}"] for part in problem.parts if part != "train"}
            for member, (_, arrays) in zip(work.members, alone, strict=True)
        }
        combined = _code(RECIPES[work.recipe.name].code)(members, problem, work.recipe, seed=plan.seed)
        energies = [trial.energy for trial, _ in alone if trial.energy is not None]
        energy = sum(energies) if len(energies) == len(alone) else None
        trial = replace(
            self._trial(plan, (), 0, sum(trial.steps for trial, _ in alone), None, energy),
            details=combined.details,
            seconds=round(sum(trial.seconds for trial, _ in alone), 3),
        )
        arrays = _arrays(problem, combined.outputs, combined.learned)
        judge = self._judge(work, problem)
        return self._measured(trial, work, problem, judge, combined.outputs), arrays

    def _meta_trained(self, work: Work, cell: Cell) -> tuple[Trial, Arrays]:
        """On several tasks at once; what they have in common is what is learned."""
        from zookeeper.tuning.loop import accelerator_of

        plan, settings = work.plan(*cell), work.recipe.settings
        alone = [
            replace(work, tasks=(task,), recipe=suited(of_each(work.recipe), task)) for task in work.tasks
        ]
        with self._alike():
            learners = [self._learner(one, self._problem(one, cell), cell) for one in alone]
        started, n_steps = time.monotonic(), int(settings["outer_steps"])
        room = self._room(plan)
        with (
            self._reporter.track("learning to learn", n_steps, "steps") as advance,
            metered(whole=not room.latest()) as meter,
        ):
            met = _code(RECIPES[work.recipe.name].code)(
                learners,
                work.recipe,
                seed=plan.seed,
                accelerator=accelerator_of(self._reader.device, work.recipe.precision),
                room=room,
                watch=Watch(),
                advance=advance,
            )
        trial = self._trial(plan, met.history, len(met.history) - 1, met.steps, learners[0], meter.energy)
        trial = replace(trial, seconds=round(time.monotonic() - started, 3))
        return trial, {f"learned/{name}": array for name, array in met.learned.items()}

    def _problem(self, work: Work, cell: Cell) -> Problem:
        from zookeeper.tuning.problem import Problem

        seed, fraction = cell
        return Problem.of(work.task.target, work.task.data, seed=seed, fraction=fraction)

    def _learner(self, work: Work, problem: Problem, cell: Cell) -> Learner:
        """What the loop trains, beginning where the work before ended."""
        seed = cell[0]
        make = _code(RECIPES[work.recipe.name].code)
        with self._materials(work) as materials:
            learner: Learner = make(materials, problem, work.recipe, seed=seed, device=self._reader.device)
        if work.before:
            learner.begin(named(self._store.arrays(Trial, work.before.plan(seed).digest), "learned"))
        return learner

    def _judge(self, work: Work, problem: Problem) -> Judge:
        from zookeeper.tuning.metrics import Judge

        offline = self._settings.offline
        return Judge.recorded(work.metric, problem.classes, problem.kind, script=work.script, offline=offline)

    def _training(self, work: Work, cell: Cell, problem: Problem, learner: Learner, judge: Judge) -> Training:
        """The loop."""
        from zookeeper.tuning.loop import Training, thread_count

        frozen = RECIPES[work.recipe.name].needs == "features"
        return Training(
            learner,
            problem,
            judge,
            work.recipe,
            seed=cell[0],
            device=self._reader.device,
            processes=self._team.size,
            threads=1 if frozen else thread_count(work.recipe.micro_batches),
            room=self._room(work.plan(*cell)),
            watch=Watch(),
            tracker=self.tracker,
            logs=self._settings.home / "logs",
        )

    @contextmanager
    def _following(self, work: Work, training: Training) -> Iterator[Callable[[Progress], None]]:
        """Shows where a training stands."""
        first, *more = (member.name for member in work.members)
        name = f"{first[:_SHOWN]}{f' +{len(more)}' if more else ''}"
        with self._reporter.track(f"tuning {name}", training.n_steps, "steps") as advance:
            shown = 0

            def report(progress: Progress) -> None:
                nonlocal shown
                advance(progress.made - shown, str(progress))
                shown = progress.made

            yield report

    def _room(self, plan: Plan) -> Room:
        from zookeeper.tuning.room import Room

        return Room(self._store.unfinished(plan.digest))

    # Materials

    @contextmanager
    def _materials(self, work: Work) -> Iterator[Materials]:
        """What learners are made of, while it is read; kept for the next trial of the same work.

        Raises:
            IntegrityError: members' files are no longer what was pinned.
        """
        if self._gathered is None or self._gathered[0] is not work:
            self._gathered = None  # two would not fit side by side
            self._gathered = work, *self._gather(work)
        _, files, materials = self._gathered
        with ExitStack() as reading:
            for pinned in files:
                reading.enter_context(pinned.opened())
            yield materials

    def _gather(self, work: Work) -> tuple[tuple[Pinned, ...], Materials]:
        """What the first process has read, the others find in the store."""
        with self._alike():
            first = self._read(work) if self._team.leads else None
        with self._alike():
            return first or self._read(work)

    def _read(self, work: Work) -> tuple[tuple[Pinned, ...], Materials]:
        """Files of the members that are read again, and all that is known of them and the target."""
        from zookeeper.tuning.materials import Materials

        needs = RECIPES[work.recipe.name].needs
        readers = work.members[:1] if needs == "both" else work.members
        files = () if needs == "features" else tuple(map(self._files, readers))
        return files, Materials(
            names=tuple(member.name for member in work.members),
            corpora={split: data.corpus for split, data in work.task.data.items()},
            folders=tuple(pinned.folder for pinned in files),
            layers={} if needs == "checkpoints" else self._layers(work, train_only=needs == "both"),
        )

    def _files(self, member: Checkpoint) -> Pinned:
        with told_of(member.name):
            return self._fetcher.fetch(member, self._reader.limits)

    def _layers(self, work: Work, *, train_only: bool) -> dict[str, tuple[tuple[NDArray[Any], ...], ...]]:
        """Frozen features of each split, by member and layer."""
        recipe, target = work.recipe, work.task.target

        def read(member: Checkpoint, split: str) -> tuple[NDArray[Any], ...]:
            corpus, source = work.task.data[split].corpus, f"{target.name} {split}"
            with told_of(member.name):
                if recipe.settings.get("mix"):
                    return self._reader.layers(member, corpus, recipe.reading, source)
                return (self._reader.features(member, corpus, recipe.reading, source).array,)

        splits = ["train"] if train_only else list(work.task.data)
        return {split: tuple(read(member, split) for member in work.members) for split in splits}

    # Records

    def _trial(
        self,
        plan: Plan,
        history: tuple[Epoch, ...],
        best_epoch: int,
        steps: int,
        learner: Learner | None,
        energy: float | None,
    ) -> Trial:
        """All but what it was measured on."""
        return Trial(
            key=plan,
            history=history,
            best_epoch=best_epoch,
            results={},
            data={},
            sentences={},
            steps=steps,
            processes=self._team.size,
            padded=learner.padded if learner else None,
            details=learner.details if learner else {},
            versions=versions(),
            device=device_name(self._reader.device),
            seconds=history[-1].seconds if history else 0.0,
            peak_bytes=_peak_bytes(self._reader.device),
            created_at=now(),
            energy=energy,
        )

    def _measured(
        self, trial: Trial, work: Work, problem: Problem, judge: Judge, outputs: Mapping[str, Any]
    ) -> Trial:
        """With the metric on every part that there are outputs for."""
        parts = problem.parts
        return replace(
            trial,
            results={
                name: judge.measure(problem.predictions(made), parts[name].labels, parts[name].lengths)
                for name, made in outputs.items()
            },
            data={name: work.task.digest(parts[name].source) for name in outputs},
            sentences={name: len(part.sentences) for name, part in parts.items()},
        )


def versions() -> dict[str, str]:
    """Of Python and of the libraries that make numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def _classes_of(parts: Iterable[Labelled]) -> list[int]:
    """Numbers of the classes that any row has, ascending; none of numbers."""
    found: set[int] = set()
    for data in parts:
        if data.classes:
            found.update(np.unique(data.labels[counted(data.labels)]).tolist())
        elif data.labels.ndim == 2:
            found.update(np.flatnonzero((data.labels == 1).any(axis=0)).tolist())
    return sorted(found)


def suited(recipe: Recipe, task: Task) -> Recipe:
    """A recipe that reads as is usual for a target, where it does not say how."""
    return replace(recipe, reading=recipe.reading.settled(task.target.unit))


def changed(what: str, why: str) -> DataError:
    """Of something that a request was made for, and that is another now."""
    return DataError(f"{what} is not what it was when this was planned.", why=why, fix="plan it again")


def _code(name: str) -> Any:
    """What a recipe's code names, as entry points do: ``module:attribute.attribute``."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in path.split("."):
        found = getattr(found, attribute)
    return found


def named(arrays: Mapping[str, NDArray[Any]], group: str) -> Arrays:
    """Those of a group, by the rest of their names."""
    start = f"{group}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _arrays(problem: Problem, outputs: Mapping[str, Any], learned: Mapping[str, NDArray[Any]]) -> Arrays:
    """What is stored of a trial: what was learned, and all it takes to measure it again."""
    arrays: Arrays = {f"learned/{name}": array for name, array in learned.items()}
    arrays["scale"] = np.array(problem.scale)
    for name, made in outputs.items():
        part = problem.parts[name]
        arrays[f"outputs/{name}"] = made
        arrays[f"predictions/{name}"] = problem.predictions(made)
        arrays[f"labels/{name}"] = part.labels
        arrays[f"lengths/{name}"] = part.lengths
    return arrays


def _forget_peak(device: str) -> None:
    """Count memory of the device anew; of a process the system keeps the peak of its whole life."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def _peak_bytes(device: str) -> int:
    """Of memory of the device, or of this process where that is the processor."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def device_name(device: str) -> str:
    """A torch device, for people."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return f"{device} ({platform.machine()})"
