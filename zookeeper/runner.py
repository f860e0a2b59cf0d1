"""From what a user asks for to a run, and to a comparison of it with what else could have been taken."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from zookeeper.collection import Collection, listed
from zookeeper.controls import distinct_sets
from zookeeper.errors import (
    CheckpointError,
    DataError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    OutOfMemoryError,
    StorageError,
    TerminatedError,
    UsageError,
    ZooError,
)
from zookeeper.estimating import Estimator
from zookeeper.outcomes import attempt
from zookeeper.plain import decode, encode, expanded, now
from zookeeper.plans import Plan, Recipe, Request
from zookeeper.reader import Reader
from zookeeper.recipes import RECIPES, of_each
from zookeeper.records import Checkpoint, Outcome, Revision, Target, TargetSource
from zookeeper.reporter import Reporter
from zookeeper.results import (
    Comparison,
    Contender,
    Forecast,
    Member,
    Ranking,
    Run,
    Selection,
    Trial,
)
from zookeeper.scores import title_of
from zookeeper.settings import Settings
from zookeeper.store import Store
from zookeeper.store.files import disk, write
from zookeeper.team import Team, end_with_parent
from zookeeper.texts import Texts, target_source
from zookeeper.tuner import Arrays, Cell, Task, Tuner, Work, changed, named, suited

SEEDS = (0, 1, 2)
T = TypeVar("T")


class Runner:
    """Makes runs.

    Args:
        settings: of the zoo.
        store: of the zoo.
        collection: of the zoo.
        texts: finds targets.
        reader: that the tuner reads with.
        tuner: makes trials.
        team: the processes that do this together; the first writes.
        reporter: told what is going on.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        collection: Collection,
        texts: Texts,
        reader: Reader,
        tuner: Tuner,
        team: Team,
        reporter: Reporter,
    ) -> None:
        self._settings, self._store = settings, store
        self._collection, self._texts, self._reader = collection, texts, reader
        self._tuner, self._team, self._reporter = tuner, team, reporter
        self._estimator = Estimator(store, reader)

    # Requests

    def request(
        self,
        target: TargetSource | str,
        names: Iterable[str] | str,
        *,
        recipe: Recipe,
        metric: str | None = None,
        seeds: Sequence[int] = SEEDS,
        fractions: Sequence[float] = (1.0,),
        test: bool = False,
        max_examples: int | None = None,
        through: Sequence[TargetSource | str] = (),
        controls: int = 0,
        processes: int = 1,
        command: str = "",
    ) -> Request:
        """All that is asked for, pinned; see `Zoo.tune`.

        Raises:
            ZooError: a name is none, the target cannot be had, or what is asked for does not go together.
        """
        from zookeeper.tuning.loop import configured_precision
        from zookeeper.tuning.metrics import Judge, metric_of

        names = listed(names)
        members = self._collection.chosen(names)
        asked = target_source(target)
        task = self._task(asked, test=test, max_examples=max_examples)
        self._check_aim(names, task.target)
        _check_members(members)
        _check_recipe(recipe, members, through)
        if recipe.micro_batches % processes:
            self._reporter.note(f"a step has {processes} micro-batches, one for each process")
            recipe = replace(recipe, micro_batches=processes)
        recipe = replace(recipe, precision=recipe.precision or configured_precision())
        stages = [target_source(one) for one in through]
        metric = _anywhere(metric) if metric else metric_of(task.target)
        judge = Judge.of(metric, task.target.classes, task.target.kind, offline=self._settings.offline)
        return Request(
            target=_absolute(asked),
            fingerprint=task.target.fingerprint,
            members=tuple(member.revision for member in members),
            recipe=recipe if through else suited(recipe, task),
            metric=metric,
            script=judge.script,
            seeds=tuple(seeds),
            fractions=tuple(sorted(fractions)),
            test=test,
            max_examples=max_examples,
            through=tuple(map(_absolute, stages)),
            stages=tuple(self._stage(one).target.fingerprint for one in stages),
            controls=controls,
            command=command,
        )

    def load(self, path: Path) -> Request:
        """The request in a file.

        Raises:
            NotFoundError: there is no such file.
            UsageError: it is no request.
        """
        try:
            return decode(Request, path.read_bytes())
        except OSError as error:
            raise NotFoundError(
                f"there is no file {path}.", fix="zoo tune … --plan FILE writes one"
            ) from error
        except IntegrityError as error:
            raise UsageError(
                f"{path} is no plan of zoo tune.", why=error.why, fix="zoo tune … --plan FILE writes one"
            ) from error

    def interrupted(self, run_id: str) -> Request:
        """The request of a run that was begun and not finished, whose id begins so.

        Raises:
            NotFoundError: there is none.
            UsageError: there are several.
        """
        found = {path.stem: path for path in self._store.unfinished("").glob(f"{run_id}*.json")}
        if not found:
            raise NotFoundError(f'no interrupted run "{run_id}".', fix="zoo runs")
        if len(found) > 1:
            raise UsageError(f'"{run_id}" fits {len(found)} interrupted runs.', why=", ".join(sorted(found)))
        return self.load(*found.values())

    def all_interrupted(self) -> list[Request]:
        """The requests of all runs that were begun and not finished."""
        found = []
        for path in sorted(self._store.unfinished("").glob("*.json")):
            with suppress(UsageError, NotFoundError):  # of another version; or finished just now
                found.append(self.load(path))
        return found

    # Runs

    def carry_out(
        self, request: Request, *, gpus: int | None = None, cpu_processes: int | None = None
    ) -> Run:
        """Do what a request asks for, also in several processes; see `Zoo.carry_out`.

        Args:
            request: what.
            gpus: processes that take one each.
            cpu_processes: likewise, without.

        Raises:
            UsageError: there are not so many GPUs, or there are other processes already.
            ZooError: as `run`.
        """
        known = self._store.run(request.run_id)
        if known and not all(self._store.whole(Trial, trial.key.digest) for trial in known.trials):
            known = None
        if known and not request.controls:
            self._reporter.note(f"this was tuned before ({known.created_at}); showing run {known.id}")
            return known
        if self._started(request, gpus, cpu_processes):
            return self.find(request.run_id)
        run = known or self.run(request)
        if request.controls:
            self.compare(request)
        return run

    def find(self, run_id: str) -> Run:
        """The run whose id begins so; ``"latest"`` for the latest.

        Raises:
            NotFoundError: there is none.
            UsageError: there are several.
        """
        runs = self._store.runs()
        found = runs[:1] if run_id == "latest" else [run for run in runs if run.id.startswith(run_id)]
        if not found:
            raise NotFoundError(f'no run "{run_id}".', fix="zoo runs")
        if len(found) > 1:
            raise UsageError(f'"{run_id}" fits {len(found)} runs.', why=", ".join(run.id for run in found))
        return found[0]

    def _started(self, request: Request, gpus: int | None, cpu_processes: int | None) -> bool:
        """Whether other processes did it all; where they were started already, they are just this many."""
        if gpus and cpu_processes:
            raise UsageError("processes have a GPU each, or none has.", fix="--gpus or --cpu-processes")
        processes = gpus or cpu_processes or 1
        end_with_parent()
        if self._team.size > 1:
            if processes not in (1, self._team.size):
                raise UsageError(
                    f"{self._team.size} processes were launched already, {processes} are asked for.",
                    fix="leave out --gpus and --cpu-processes",
                )
            return False
        from zookeeper.tuning.launch import check_gpus, launch_request

        check_gpus(gpus or 0)
        if processes == 1 and not (cpu_processes and self._reader.device != "cpu"):
            return False
        launch_request(
            request,
            processes,
            gpus=bool(gpus),
            tracker=self._tuner.tracker,
            environment=self._settings.as_environment(),
        )
        return True

    def run(self, request: Request) -> Run:
        """Carry out a request; trials that were made before are not made again.

        Raises:
            DataError: the target is not the one that the request was made for.
            ZooError: a member or a target cannot be had, or there is nothing to learn.
            KeyboardInterrupt, TerminatedError: it was asked to end; what was trained is kept.
        """
        work = self._work(request)
        with self._noted(request):
            run = self._recorded(request, work, self._tuner.trials(work, _cells(request)))
            if self._team.leads:
                self._store.save_run(run)
        return run

    @contextmanager
    def _noted(self, request: Request) -> Iterator[None]:
        """Note that a run is going on, until it ends, or fails in a way that it would fail in again."""
        note = self._store.unfinished(f"{request.run_id}.json")
        ours = self._team.leads and not note.exists()
        if self._team.leads:
            write(note, encode(request))
        try:
            yield
        except (TerminatedError, StorageError, NetworkError):
            raise
        except ZooError:
            if ours:
                note.unlink(missing_ok=True)
            raise
        if self._team.leads:
            with disk(note):
                note.unlink(missing_ok=True)

    def _work(self, request: Request) -> Work:
        """What is to be tuned, with its data."""
        members = tuple(self._collection.find(str(revision)) for revision in request.members)
        task = self._task(request.target, test=request.test, max_examples=request.max_examples)
        _check_same(task, request.fingerprint)
        work = Work((task,), members, suited(request.recipe, task), request.metric, request.script)
        if RECIPES[request.recipe.name].needs != "stages":
            return work
        stages = [self._stage(one) for one in request.through]
        for stage, fingerprint in zip(stages, request.stages, strict=True):
            _check_same(stage, fingerprint)
        before = _before(replace(work, recipe=request.recipe), stages)
        return replace(work, recipe=of_each(work.recipe), before=before)

    def _majority(self, request: Request, work: Work) -> dict[str, float | None]:
        """What always giving the commonest answer would get."""
        from zookeeper.tuning.metrics import Judge, majority
        from zookeeper.tuning.problem import Problem

        problem = Problem.of(work.task.target, work.task.data, seed=request.seeds[0])
        offline = self._settings.offline
        judge = Judge.recorded(
            request.metric, problem.classes, problem.kind, script=request.script, offline=offline
        )
        train = problem.parts["train"].labels
        return {
            name: majority(train, part.labels, part.lengths, judge)
            for name, part in problem.parts.items()
            if name != "train"
        }

    def _recorded(self, request: Request, work: Work, trials: Sequence[Trial]) -> Run:
        target, data = work.task.target, work.task.data
        return Run(
            id=request.run_id,
            target=target,
            members=tuple(
                Member(m.name, m.revision, parameters=m.parameters, license=m.license) for m in work.members
            ),
            recipe=request.recipe,
            metric=request.metric,
            trials=tuple(_seen(trial, work.task.data) for trial in trials),
            through=tuple(one.name for one in request.through),
            held_out=0 if "validation" in data else trials[0].sentences["validation"],
            majority=self._majority(request, work),
            command=request.command,
            created_at=now(),
            request=request,
        )

    def published(self, run: Run) -> Arrays:
        """What the best trial of a run learned, as `zookeeper.tuning.serving` and others use it.

        Returns:
            By name. Of a head on frozen features, one linear map of features as they are to labels as they
            are. Of all else what was learned, and ``"scale"``, the mean and the deviation of the numbers that
            outputs are to be brought back to; of members that were tuned apart, what each learned too, under
            ``"members/0/"`` and so on.

        Raises:
            NotFoundError, IntegrityError: it is not there any more, or damaged.
        """
        from zookeeper.tuning.head import folded

        plan = run.best.key
        arrays = self._store.arrays(Trial, plan.digest)
        if RECIPES[plan.recipe.name].needs == "features":
            return folded(named(arrays, "learned"), arrays["scale"])
        apart = _apart(plan) if RECIPES[plan.recipe.name].needs == "members" else ()
        members = {
            f"members/{number}/{name}": array
            for number, alone in enumerate(apart)
            for name, array in self._learned(alone).items()
        }
        return {**named(arrays, "learned"), **members, "scale": arrays["scale"]}

    def _learned(self, plan: Plan) -> Arrays:
        """What a trial learned; of a head on frozen features one linear map, to outputs as it makes them."""
        from zookeeper.tuning.head import folded

        learned = named(self._store.arrays(Trial, plan.digest), "learned")
        return folded(learned, (0, 1)) if RECIPES[plan.recipe.name].needs == "features" else learned

    # Comparisons

    def compare(self, request: Request) -> Comparison:
        """Tune others of the zoo in the same way: as many checkpoints drawn at random, and the best ranked.

        Of each there are trials but no run, on the largest share of the training data.

        Raises:
            ZooError: as `run`; what goes wrong with single ensembles is listed.
        """
        work = self._work(request)
        ensembles = self._ensembles(request, work)
        with self._reporter.track("ensembles", len(ensembles), "ensembles") as advance:
            found = []
            for name, one in ensembles:
                found.append(self._contender(request, name, one))
                advance(1)
        contenders = [one for one in found if isinstance(one, Contender)]
        comparison = Comparison(
            run=request.run_id,
            target=work.task.target,
            recipe=request.recipe.name,
            metric=request.metric,
            split=_judged(request),
            fraction=max(request.fractions),
            seeds=request.seeds,
            contenders=tuple(one for one in contenders if one.name != "random"),
            random=tuple(one for one in contenders if one.name == "random"),
            failures=tuple(one for one in found if isinstance(one, Outcome)),
        )
        if self._team.leads:
            for note in ("comparison", f"comparison-{comparison.run}"):
                self._store.save_note(note, comparison)
        return comparison

    def _contender(self, request: Request, name: str, work: Work) -> Contender | Outcome:
        """An ensemble, tuned as was asked for; or what went wrong with it."""
        members = tuple(member.name for member in work.members)
        cells = [(seed, max(request.fractions)) for seed in request.seeds]

        def tune() -> Contender:
            trials = self._tuner.trials(work, cells)
            return Contender(name, members, tuple(trial.results[_judged(request)] for trial in trials))

        # A process that finds too little memory cannot tell the others, which wait for it.
        fatal = (OutOfMemoryError,) if self._team.size > 1 else ()
        return attempt(", ".join(members), tune, fatal=fatal)

    def forecast(self, request: Request) -> Forecast:
        """What a request would take; runs and fetches nothing but the target.

        Raises:
            ZooError: the target cannot be had, or is not the one that the request was made for.
        """
        work = self._work(request)
        cells = _cells(request)
        whole = [cell for cell in cells if cell[1] == max(request.fractions)]
        ensembles = self._ensembles(request, work) if request.controls else [("chosen", work)]
        expected = [
            self._estimator.expected(name, one, cells if name == "chosen" else whole)
            for name, one in ensembles
        ]
        return Forecast(request.run_id, request, work.task.target, tuple(expected))

    def _ensembles(self, request: Request, work: Work) -> list[tuple[str, Work]]:
        """What was chosen, what else one would take, and what was drawn at random, by name."""
        drawn = [("random", members) for members in self._at_random(len(work.members), request.controls)]
        sets = [("chosen", work.members), *self._rivals(work), *drawn]
        return [(name, _with_members(work, members)) for name, members in sets]

    def _rivals(self, work: Work) -> list[tuple[str, tuple[Checkpoint, ...]]]:
        """What else one would take: the best ranked for this target, the first, the latest selection."""
        k, rivals = len(work.members), []
        ranking = self._store.load_note("ranking", Ranking)
        if ranking is None or aim(ranking.target) != aim(work.task.target):
            self._reporter.note(
                f"not compared with the best ranked: that takes zoo rank -t {work.task.target.name} before"
            )
        if ranking and aim(ranking.target) == aim(work.task.target):
            ranked = self._there(score.revision for score in ranking.scores)
            rivals += [(f"first {k} by {title_of(ranking.by)}", ranked[:k]), ("first alone", ranked[:1])]
        selection = self._store.load_note("selection", Selection)
        if selection and (selection.target is None or aim(selection.target) == aim(work.task.target)):
            picks = self._there(pick.revision for pick in selection.picks if pick.revision)
            if len(picks) == k:
                rivals.append((f"{selection.by}", picks))
        different = {set_of(members): (name, members) for name, members in reversed(rivals) if members}
        different.pop(set_of(work.members), None)
        return list(reversed(different.values()))

    def _there(self, revisions: Iterable[Revision]) -> tuple[Checkpoint, ...]:
        """Those that are still in the zoo."""
        known = {str(checkpoint.revision): checkpoint for checkpoint in self._store.checkpoints()}
        return tuple(known[str(revision)] for revision in revisions if str(revision) in known)

    def _at_random(self, k: int, n: int) -> list[tuple[Checkpoint, ...]]:
        """Different sets of checkpoints that can be read, the same in every call."""
        readable = [c for c in self._collection.chosen(()) if not c.problem and c.tokenizer]
        return [tuple(readable[i] for i in chosen) for chosen in distinct_sets(len(readable), k, n)]

    # Targets

    def _task(self, source: TargetSource, *, test: bool, max_examples: int | None) -> Task:
        splits = ("train", "validation", "test") if test else ("train", "validation")
        target, data = self._texts.target(source, splits, max_examples)
        if test and "test" not in data:
            raise DataError(f"{target.name} has no test split.", fix="leave out --test")
        return Task(target, data)

    def _stage(self, source: TargetSource) -> Task:
        """A target that is tuned on before the one that is asked for."""
        return self._task(source, test=False, max_examples=None)

    def _check_aim(self, names: Sequence[str], target: Target) -> None:
        """Refuse to tune by a ranking or selection that was made for another target."""
        kinds: dict[str, type[Ranking] | type[Selection]] = {"ranking": Ranking, "selection": Selection}
        for kind, record in kinds.items():
            if not any(name.startswith(f"@{kind}") for name in names):
                continue
            made: Ranking | Selection | None = self._store.load_note(kind, record)
            of = made.target if made else None
            if of is not None and aim(of) != aim(target):
                raise UsageError(
                    f"@{kind} is for {of.label_column} of {of.name}.",
                    why=f"this is {target.label_column} of {target.name}"
                    + (", with other classes" if of.name == target.name else ""),
                    fix=f"zoo {'rank' if kind == 'ranking' else 'select'} --target {target.name}",
                )


def aim(target: Target) -> tuple[object, ...]:
    """What is predicted of what: the same for every split and sample of a target."""
    return target.dataset, target.config, target.text_column, target.label_column, target.spans


def set_of(members: Iterable[Checkpoint]) -> frozenset[str]:
    """Members without their order."""
    return frozenset(str(member.revision) for member in members)


def _apart(plan: Plan) -> list[Plan]:
    """Of the trials that are combined, one of each member."""
    return [replace(plan, members=(member,), recipe=of_each(plan.recipe)) for member in plan.members]


def _cells(request: Request) -> list[Cell]:
    """Of all trials: by share of the training data, then seed."""
    return [(seed, fraction) for fraction in request.fractions for seed in request.seeds]


def _judged(request: Request) -> str:
    """The split by which ensembles are compared."""
    return "test" if request.test else "validation"


def _seen(trial: Trial, splits: Container[str]) -> Trial:
    """Without what was measured of it on a test split for somebody else."""

    def asked(of: Mapping[str, T]) -> dict[str, T]:
        return {name: value for name, value in of.items() if name != "test" or name in splits}

    return replace(
        trial, results=asked(trial.results), data=asked(trial.data), sentences=asked(trial.sentences)
    )


def _with_members(work: Work, members: Sequence[Checkpoint]) -> Work:
    """The same work, and what comes before it, for others."""
    before = _with_members(work.before, members) if work.before else None
    return replace(work, members=tuple(members), before=before)


def _before(work: Work, stages: Sequence[Task]) -> Work | None:
    """What a recipe of stages does before the target: all of them at once, or one after another."""
    from zookeeper.tuning.metrics import metric_of

    if RECIPES[work.recipe.name].code:
        return replace(work, tasks=tuple(stages), metric="", script=None)
    before = None
    for task in stages:
        recipe = suited(of_each(work.recipe), task)
        before = Work((task,), work.members, recipe, metric_of(task.target), before=before)
    return before


def _check_members(members: Sequence[Checkpoint]) -> None:
    """Refuse those of which it is clear already that they cannot be tuned."""
    for member in members:
        if member.tokenizer is None:
            raise UsageError(
                f"{member.name} reads no text.",
                why="it has no tokenizer, and the target is one of texts",
                fix="leave it out",
            )
        if member.problem:
            raise CheckpointError(f"{member.name} cannot be tuned.", why=member.problem, fix="leave it out")


def _check_recipe(recipe: Recipe, members: Sequence[Checkpoint], through: Sequence[object]) -> None:
    """Refuse what a recipe cannot make anything of."""
    way = RECIPES[recipe.name]
    needs = way.needs
    for name, choices in way.choices.items():
        if recipe.settings[name] not in choices:
            raise UsageError(
                f"{name} is {recipe.settings[name]}.", fix=f"--set {name}=… one of: {', '.join(choices)}"
            )
    if needs == "stages" and not through:
        raise UsageError(f"recipe {recipe.name} takes other targets first.", fix="--through TARGET,…")
    if through and needs != "stages":
        raise UsageError(
            f"recipe {recipe.name} takes no other targets first.",
            fix="--recipe sequential, or leave out --through",
        )
    if needs in ("both", "members") and len(members) < 2:
        raise UsageError(f"recipe {recipe.name} takes two members or more.", why=f"there is {len(members)}")


def _check_same(task: Task, fingerprint: str) -> None:
    """Refuse a target that is not the one that a request was made for."""
    if task.target.fingerprint != fingerprint:
        raise changed(task.target.name, "its sentences, its labels or its splits have changed")


def _anywhere(metric: str) -> str:
    """With the whole path of a metric's script, so that it is found from anywhere."""
    from zookeeper.tuning.metrics import METRICS

    sign, script, rest = re.fullmatch(r"(-?)([^:?]*)(.*)", metric, re.DOTALL).groups()  # type: ignore[union-attr]
    path = expanded(script)
    return f"{sign}{path.absolute()}{rest}" if script not in ("", *METRICS) and path.exists() else metric


def _absolute(source: TargetSource) -> TargetSource:
    """With the whole path of a file, so that it is found from anywhere."""
    path = expanded(source.dataset)
    return replace(source, dataset=str(path.absolute())) if path.exists() else source
