"""The zoo: one method a step, from names on the Hub to a published card.

    add -> probe -> covariance -> select / rank -> tune -> card -> push

Slow libraries (torch, transformers, datasets, the Hub's client) are imported by the method that needs them,
so that listing a zoo does not wait for torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from zookeeper import hardware, reproducing
from zookeeper.arrangement import correlation, leaf_order
from zookeeper.choices import Terms, near_duplicates
from zookeeper.collecting import Collecting
from zookeeper.collection import LIST, Collection, is_folder, listed, parse
from zookeeper.doctor import Doctor
from zookeeper.errors import EmptyZooError, NotFoundError
from zookeeper.exchange import load_covariance, load_results, save_covariance, save_text
from zookeeper.fetcher import Fetcher
from zookeeper.kernels import MEMORY
from zookeeper.lockfile import Lock
from zookeeper.plain import now
from zookeeper.plans import Recipe, Request
from zookeeper.probing import Probing
from zookeeper.publications import Finding, Push, Report, Reproduction
from zookeeper.publisher import Publisher, Results
from zookeeper.ranker import DEFAULT_LAYER, DEFAULT_SCORES, Ranker, Scorer, note_of
from zookeeper.reader import Reader
from zookeeper.recipes import RECIPES, recipe_of
from zookeeper.records import Dataset, Outcome, ProbeChoice, Reading, TargetSource
from zookeeper.reporter import Reporter, Silent, Stages
from zookeeper.reporting import gathered
from zookeeper.results import (
    Agreement,
    Budget,
    Check,
    Comparison,
    Convergence,
    Covariance,
    Forecast,
    Holding,
    Neighbourhood,
    Origin,
    Ranking,
    Run,
    Selection,
    Verification,
    Waste,
)
from zookeeper.runner import SEEDS, Runner
from zookeeper.scores import SCORES, title_of
from zookeeper.selection import Start
from zookeeper.selector import Selector
from zookeeper.settings import Settings
from zookeeper.settling import Settling
from zookeeper.sharing import Measured, Sharing
from zookeeper.signing import Signing
from zookeeper.space import TaskSpace
from zookeeper.store import Store
from zookeeper.store.files import disk, write
from zookeeper.sweeping import Sweeping
from zookeeper.team import leave_error, team
from zookeeper.texts import Texts, target_source
from zookeeper.tuner import Tuner, device_name, versions
from zookeeper.updating import Updating
from zookeeper.verifying import Verifying

if TYPE_CHECKING:
    from zookeeper.demo import DemoFiles
    from zookeeper.hub import Hub

__all__ = [
    "DEFAULT_LAYER",
    "DEFAULT_SCORES",
    "RECIPES",
    "SCORES",
    "Measured",
    "Picture",
    "Results",
    "Start",
    "Zoo",
    "build_demo",
    "correlation",
    "leaf_order",
    "leave_error",
    "load_covariance",
    "load_results",
    "near_duplicates",
    "recipe_of",
    "save_covariance",
    "save_text",
    "target_source",
    "title_of",
]

Picture = Literal["kappa", "mi", "map", "convergence", "rank", "violin", "curve", "lineage"]
Drawn = Covariance | Selection | Convergence | Ranking | Comparison | Run


class Zoo:
    """A local zoo of pinned checkpoints and what was measured of them.

    Args:
        home: folder of the zoo; by default ``ZOO_HOME``, or the user's data folder.
        settings: instead of those from the environment.
        hub: instead of the one that the settings name.
        reporter: told what is going on.

    Example:
        >>> zoo = Zoo("my-zoo")                                     # doctest: +SKIP
        >>> zoo.add(["roberta-base", "bert-base-cased"])            # doctest: +SKIP
        >>> zoo.rank("conll2000").scores[0].name                    # doctest: +SKIP
    """

    def __init__(
        self,
        home: Path | str | None = None,
        *,
        settings: Settings | None = None,
        hub: Hub | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.settings = settings or Settings.from_environment(home=Path(home) if home is not None else None)
        self.team = team()
        self.reporter = reporter if reporter and self.team.leads else Silent()
        self.store = Store(self.settings.home, self.settings.cache, note=self.reporter.note)
        self._given_hub = hub
        self._collection = Collection(self.store, note=self.reporter.note)
        self._texts = Texts(self.store, lambda: self.hub, self.reporter)
        self._fetcher = Fetcher(self.store, lambda: self.hub, self.reporter)
        self._settling = Settling(self.settings, self.store, lambda: self._reader.device)
        self._reader = Reader(self.settings, self.store, self._fetcher, self._settling, self.reporter)
        self._collecting = Collecting(
            self.store, self._collection, self._texts, lambda: self.hub, self.reporter
        )
        self._probing = Probing(self.store, self._texts, self._settling, self.reporter)
        self._space = TaskSpace(self.store, self._probing, self.reporter)
        self._signing = Signing(self.store, self._reader, self._probing, self.reporter)
        self._ranker = Ranker(self.store, self._texts, self._settling, self._reader, self.reporter)
        self._selector = Selector(
            self.store, self._collection, self._probing, self._space, self._ranker, self.reporter
        )

    @cached_property
    def hub(self) -> Hub:
        """The Hub, as the settings name it."""
        from zookeeper.hub import Hub

        return self._given_hub or Hub.of(self.settings)

    # Collect

    def add(self, names: Iterable[str] | str, *, pickles: bool = False) -> tuple[Outcome, ...]:
        """Pin checkpoints to the commits their names mean now. Downloads no weights.

        Args:
            names: ``repo``, ``org/repo``, ``org/repo@revision`` or ``./folder``. What is in the zoo stays as
                it was pinned; another revision of it is another entry.
            pickles: whether weights may be pickles, where there are no others. They are converted to
                safetensors when they are read, in the closed room.

        Raises:
            StorageError: the zoo cannot be written to. Whatever else goes wrong with a name is its outcome.
        """
        return self._collecting.add(listed(names), pickles=pickles)

    def freeze(self) -> Lock:
        """The zoo as a lock: its checkpoints and the datasets it has met, at their commits. No network."""
        return self._collecting.freeze()

    def add_listed(self, text: str, *, pickles: bool = False) -> tuple[Outcome, ...]:
        """Pin the checkpoints of a lock (see `freeze`), or of a list with a name a line.

        Of a lock nothing is asked of the Hub: what it says is the pin, and files are compared with its
        digests when they are fetched. What is in the zoo stays as it was pinned.

        Args:
            text: of the lock, or of the list.
            pickles: as in `add`; that a lock agrees to them is not enough.

        Raises:
            DataError: a lock in which an entry cannot be a pin; nothing of it was added.
            UsageError: a list without names.
            StorageError: as `add`.
        """
        return self._collecting.add_listed(text, pickles=pickles)

    def update(self, names: Iterable[str] = (), *, apply: bool = False) -> tuple[Outcome, ...]:
        """Compare pins with what their names mean now on the Hub, and folders with what they hold.

        Args:
            names: which; all by default.
            apply: whether to pin those that moved anew. What was measured of a commit that nothing pins any
                more stays until `waste` is deleted.

        Returns:
            Outcomes, of those that moved with ``latest`` and ``changed``: weights, config, tokenizer, or
            the card only. What is gone from the Hub, or cannot be had any more, is an outcome too.

        Raises:
            EmptyZooError: there are no checkpoints.
        """
        names = listed(names)
        chosen = self._collection.chosen(names, fix=LIST) if names else self._collection.everything()
        return Updating(self.store, lambda: self.hub, self.reporter).update(chosen, apply=apply)

    def holdings(self) -> tuple[Holding, ...]:
        """All checkpoints, by name, with what the zoo has of each."""
        return self._collection.holdings()

    def show(self, name: str) -> Holding:
        """One checkpoint with what the zoo has of it.

        Raises:
            NotFoundError: it is not in the zoo.
            UsageError: the name fits several.
        """
        return self._collection.holding(name)

    def remove(
        self, names: Iterable[str], *, features: bool = False, dry_run: bool = False
    ) -> tuple[Outcome, ...]:
        """Take checkpoints out of the zoo.

        Args:
            names: which.
            features: whether to delete what was measured of them too; else it serves again when one is added
                again.
            dry_run: whether to only say what would go.

        Raises:
            StorageError: the disk refuses. Whatever else goes wrong with a name is its outcome.
        """
        return self._collecting.remove(names, features=features, dry_run=dry_run)

    # Measure

    def probe(
        self,
        names: Iterable[str] = (),
        *,
        probe: str = "wikitext2",
        max_words: int = 10_000,
        reading: Reading | None = None,
        signatures_only: bool = False,
        gpus: int | None = None,
    ) -> tuple[Outcome, ...]:
        """Read the probe with checkpoints and keep their features. What is there is not computed again.

        Args:
            names: which; all by default.
            probe: a named probe, or a text file with a sentence or paragraph a line.
            max_words: rows of features.
            reading: layer, pooling, precision and window.
            signatures_only: whether to keep signatures in the place of features, which serve to compare
                checkpoints and nothing else. The features of the first few are kept all the same: the basis
                of signatures is fitted to them.
            gpus: to read with at the same time, a checkpoint on each; None for the device of the settings.

        Raises:
            EmptyZooError: there are no checkpoints.
            UsageError: there are not so many GPUs.
            DataError, NotFoundError, NetworkError: the probe cannot be had. What goes wrong with one
                checkpoint is its outcome.
        """
        devices = hardware.several(gpus)
        chosen = self._collection.chosen(names)
        choice, corpus = self._probing.choice(probe, max_words, reading)
        return self._signing.probe(chosen, choice, corpus, signatures_only=signatures_only, devices=devices)

    def covariance(
        self,
        names: Iterable[str] = (),
        *,
        probe: str | None = None,
        max_words: int = 10_000,
        reading: Reading | None = None,
        signatures: bool = False,
        refit: bool = False,
        debiased: bool = False,
        errors: bool = True,
        memory: int = MEMORY,
    ) -> Covariance:
        """Task covariance of checkpoints on a probe that they were read with.

        Args:
            names: which; all by default.
            probe: as in `probe`, with `max_words` and `reading`; the one that was read last by default.
            max_words: as in `probe`.
            reading: as in `probe`.
            signatures: whether to compare signatures in the place of features.
            refit: whether to fit the basis of signatures again, to the features that there are now.
            debiased: whether to leave out pairs of words of the same sentence.
            errors: whether to give standard errors over sentences.
            memory: bytes of features to hold at a time.

        Raises:
            EmptyZooError: none of them was read with it.
        """
        chosen = self._collection.chosen(names)
        choice = self._choice(probe, max_words, reading)
        if signatures:
            return self._signing.estimate(chosen, choice, refit=refit)
        try:
            return self._space.covariance(chosen, choice, debiased=debiased, errors=errors, memory=memory)
        except EmptyZooError:
            if not self._signing.alone(choice):
                raise
            self.reporter.note("there are signatures and no features; signatures are compared")
            return self._signing.estimate(chosen, choice)

    def convergence(
        self,
        names: Iterable[str] = (),
        *,
        probe: str | None = None,
        max_words: int = 10_000,
        reading: Reading | None = None,
        memory: int = MEMORY,
    ) -> Convergence:
        """How the covariance settles as more of the probe is read: how much of it is enough.

        Args:
            names: which; all by default.
            probe: as in `covariance`.
            max_words: as in `probe`.
            reading: as in `probe`.
            memory: as in `covariance`.

        Raises:
            EmptyZooError: none of them was read with it.
        """
        chosen = self._collection.chosen(names)
        return self._space.convergence(chosen, self._choice(probe, max_words, reading), memory=memory)

    def neighbours(
        self,
        name: str,
        k: int = 10,
        *,
        names: Iterable[str] = (),
        probe: str | None = None,
        max_words: int = 10_000,
        reading: Reading | None = None,
    ) -> Neighbourhood:
        """The checkpoints that are most like one, by their signatures.

        Args:
            name: the one.
            k: how many.
            names: of which; all by default.
            probe: as in `covariance`.
            max_words: as in `probe`.
            reading: as in `probe`.

        Raises:
            NotFoundError: there is no such checkpoint.
            CheckpointError: it was not read with the probe.
        """
        one = self._collection.find(name)
        others = [c for c in self._collection.chosen(names) if c != one]
        return self._signing.neighbours(one, others, self._choice(probe, max_words, reading), k)

    def _choice(self, probe: str | None, max_words: int, reading: Reading | None) -> ProbeChoice:
        """The probe that is named, or the one that was read last."""
        return self._probing.latest() if probe is None else self._probing.choice(probe, max_words, reading)[0]

    def select(
        self,
        k: int | None = None,
        *,
        names: Iterable[str] = (),
        covariance: Covariance | None = None,
        start: Start = "mi",
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        budget: Budget | None = None,
        dedupe: float | None = None,
        exact: bool = False,
        seconds: float = 10.0,
        replicates: int = 200,
        keep: bool = True,
        command: str = "",
    ) -> Selection:
        """Choose the checkpoints that say most about the rest, by greedy maximum mutual information.

        Args:
            k: how many; by default 5, fewer if there are fewer, or as many as the budget allows.
            names: of which; all by default.
            covariance: instead of the zoo's own.
            start: ``"mi"``, or ``"hub"`` to begin with the largest row sum.
            include: names that are picked first.
            exclude: names that are not picked, but remain among those to be told about.
            budget: for all picks together.
            dedupe: alignment from which checkpoints count as one; None for exact copies only.
            exact: whether to look for the best set too.
            seconds: that looking for it may take.
            replicates: over resampled sentences, for the stability of picks; 0 for none.
            keep: whether ``@selection`` shall stand for it.
            command: what the user typed, for the record.

        Raises:
            UsageError: the zoo has no such set.
            DegenerateInputError: the covariance is singular.
        """
        origin = partial(_origin, command, time.perf_counter())
        kappa = covariance or self.covariance(names, errors=False)
        terms = Terms(k, start, tuple(include), tuple(exclude), budget, dedupe, exact)
        return self._selector.select(
            kappa, terms, replicates=replicates, seconds=seconds, keep=keep, origin=origin
        )

    def select_for_target(
        self,
        target: TargetSource | str,
        k: int | None = None,
        *,
        names: Iterable[str] = (),
        half: bool = False,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        layer: str = "last",
        reading: Reading | None = None,
        split: str = "train",
        max_examples: int | None = 2_000,
        command: str = "",
    ) -> Selection:
        """Choose the checkpoints whose features side by side have the greatest evidence on a target.

        Args:
            target: as in `rank`; checkpoints are run over it that were not yet.
            k: how many; by default 5, fewer if there are fewer.
            names: of which; all by default.
            half: whether to go half by evidence and half by mutual information on the probe.
            include: as in `select`.
            exclude: as in `select`.
            layer: as in `rank`; the last, which `tune` learns from.
            reading: as in `rank`.
            split: as in `rank`.
            max_examples: as in `rank`.
            command: as in `select`.

        Raises:
            ZooError: as `rank` and `select`.
        """
        started = time.perf_counter()
        scorer = Scorer(self.store, ("logme",), layer=layer, n_replicates=0, level=0.95)
        chosen = self._collection.chosen(names)
        ranking = self._ranker.rank(
            target_source(target),
            chosen,
            scorer,
            split=split,
            max_examples=max_examples,
            reading=reading or Reading(),
        )
        terms = Terms(k, include=tuple(include), exclude=tuple(exclude))
        origin = partial(_origin, command, started, self._reader.used)
        return self._selector.select_for_target(ranking, terms, half=half, origin=origin)

    def rank(
        self,
        target: TargetSource | str,
        names: Iterable[str] = (),
        *,
        scores: Sequence[str] = DEFAULT_SCORES,
        layer: str = DEFAULT_LAYER,
        reading: Reading | None = None,
        split: str = "train",
        max_examples: int | None = 2_000,
        shortlist: int | None = None,
        gpus: int | None = None,
        bootstrap: int = 200,
        level: float = 0.95,
        save: str | None = None,
        command: str = "",
    ) -> Ranking:
        """Order checkpoints by how well their frozen features serve a labelled target.

        Each is run over the target once; what its layers say is kept, and serves every score and layer.

        Args:
            target: a named target, a dataset of the Hub, a file, or a folder with a file for each split.
            names: which checkpoints; all by default.
            scores: by name, ``"all"`` for every one; the first orders.
            layer: ``"best"`` for the one with the best score, ``"last"``, ``"mean"`` of all, or a number.
            reading: pooling, precision and window.
            split: whose labels to use.
            max_examples: at most so many sentences, drawn with a fixed seed; None for all.
            shortlist: run only so many, those that look best by what is known without the target.
            gpus: as in `probe`.
            bootstrap: replicates for intervals and tiers; 0 for none.
            level: of intervals and tiers.
            save: a name under which `rerank` finds it.
            command: as in `select`.

        Raises:
            EmptyZooError: there are no checkpoints.
            UsageError: there is no such score, or there are not so many GPUs.
            DataError, NotFoundError, NetworkError: the target cannot be had. What goes wrong with one
                checkpoint is listed with it.
        """
        started = time.perf_counter()
        devices = hardware.several(gpus)
        scorer = Scorer(self.store, scores, layer=layer, n_replicates=bootstrap, level=level)
        notes = [note_of(kept) for kept in ("latest", save) if kept is not None]
        chosen, shortened = self._ranker.shortlist(
            self._collection.chosen(names), shortlist, self._selector.covariance
        )
        ranking = self._ranker.rank(
            target_source(target),
            chosen,
            scorer,
            split=split,
            max_examples=max_examples,
            reading=reading or Reading(),
            devices=devices,
        )
        origin = _origin(command, started, self._reader.used)
        return self._ranker.keep(replace(ranking, shortlist=shortened, origin=origin), notes)

    def rerank(
        self,
        name: str = "latest",
        *,
        scores: Sequence[str] | None = None,
        layer: str | None = None,
        bootstrap: int = 200,
        level: float = 0.95,
        command: str = "",
    ) -> Ranking:
        """A stored ranking, also by other scores or of another layer; runs no model and reads no target.

        Args:
            name: under which it was saved; ``"latest"`` for the latest.
            scores: as in `rank`; those that it was made with by default.
            layer: as in `rank`; that which it was made with by default.
            bootstrap: as in `rank`.
            level: as in `rank`.
            command: as in `select`.

        Raises:
            NotFoundError: there is no such ranking.
        """
        started = time.perf_counter()
        found = self._ranker.rerank(name, scores, layer, n_replicates=bootstrap, level=level)
        return replace(found, origin=_origin(command, started))

    def agreement(self, ranking: Ranking, results: Mapping[str, float]) -> tuple[Agreement, ...]:
        """How well the scores of a ranking, and its baselines, agree with true results.

        Args:
            ranking: some.
            results: by name of the checkpoint, or the last part of it; larger is better.

        Raises:
            DegenerateInputError: fewer than three of its checkpoints have a result.
        """
        from zookeeper.agreement import agreements

        return agreements(ranking, results)

    # Train

    def tune(
        self,
        target: TargetSource | str,
        names: Iterable[str] | str = "@selection",
        *,
        recipe: Recipe | str = "head",
        metric: str | None = None,
        seeds: Sequence[int] = SEEDS,
        fractions: Sequence[float] = (1.0,),
        test: bool = False,
        max_examples: int | None = None,
        through: Sequence[TargetSource | str] = (),
        controls: int = 0,
        gpus: int | None = None,
        cpu_processes: int | None = None,
        command: str = "",
    ) -> Run:
        """Tune checkpoints, together or apart, for a target.

        The same request gives the same run, and what was interrupted goes on where it was.

        Args:
            target: as in `rank`.
            names: which checkpoints, in order; ``"@selection"`` and ``"@ranking"`` stand for the latest,
                ``"@ranking:3"`` for its first three.
            recipe: how; a name for its defaults (see `recipe_of`).
            metric: of ours, or any of `evaluate`; by default the one that suits the target.
            seeds: of initial weights, order of examples, dropout, and the validation sentences where the
                target has no split for them; a trial for each.
            fractions: shares of the training data to learn from; a trial for each and every seed.
            test: whether to measure on the test split too. Do that once, at the end.
            max_examples: at most so many sentences of each split; None for all.
            through: targets to tune on first, for the recipes ``"sequential"`` and ``"reptile"``.
            controls: ensembles drawn at random that are tuned too, and the best ranked; see `comparison`.
            gpus: processes with a GPU each, that train together; the result is the same.
            cpu_processes: likewise, without.
            command: what the user typed, for the record.

        Raises:
            ZooError: the target or a member cannot be had; features that were computed are kept.
        """
        request = self.request(
            target,
            names,
            recipe=recipe,
            metric=metric,
            seeds=seeds,
            fractions=fractions,
            test=test,
            max_examples=max_examples,
            through=through,
            controls=controls,
            processes=gpus or cpu_processes or 1,
            command=command,
        )
        return self.carry_out(request, gpus=gpus, cpu_processes=cpu_processes)

    def request(
        self,
        target: TargetSource | str,
        names: Iterable[str] | str = "@selection",
        *,
        recipe: Recipe | str = "head",
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
        """All that `tune` is asked for, pinned, to be carried out later or elsewhere; see `tune`.

        Args:
            target: as in `tune`.
            names: as in `tune`.
            recipe: as in `tune`.
            metric: as in `tune`.
            seeds: as in `tune`.
            fractions: as in `tune`.
            test: as in `tune`.
            max_examples: as in `tune`.
            through: as in `tune`.
            controls: as in `tune`.
            processes: that will train together.
            command: as in `tune`.
        """
        return self._runner().request(
            target,
            names,
            recipe=recipe_of(recipe) if isinstance(recipe, str) else recipe,
            metric=metric,
            seeds=seeds,
            fractions=fractions,
            test=test,
            max_examples=max_examples,
            through=through,
            controls=controls,
            processes=max(processes, self.team.size),
            command=command,
        )

    def load_request(self, path: Path) -> Request:
        """The request in a file; errors as `Runner.load`."""
        return self._runner().load(path)

    def interrupted(self, run_id: str) -> Request:
        """The request of the run that was begun and not finished, whose id begins so.

        Raises:
            NotFoundError, UsageError: there is none, or there are several.
        """
        return self._runner().interrupted(run_id)

    def all_interrupted(self) -> tuple[Request, ...]:
        """The requests of all runs that were begun and not finished."""
        return tuple(self._runner().all_interrupted())

    def carry_out(
        self,
        request: Request,
        *,
        gpus: int | None = None,
        cpu_processes: int | None = None,
        tracker: str | None = None,
    ) -> Run:
        """Do what a request asks for; a run that was finished is given as it was stored.

        Where it asks for controls, ensembles of the zoo that were drawn at random are tuned in the same way,
        and the best ranked; see `comparison`.

        Args:
            request: what.
            gpus: as in `tune`.
            cpu_processes: as in `tune`.
            tracker: that Accelerate knows, such as ``"tensorboard"``.

        Raises:
            ZooError: as `tune`.
        """
        return self._runner(tracker).carry_out(request, gpus=gpus, cpu_processes=cpu_processes)

    def forecast(self, request: Request) -> Forecast:
        """What a request would take: trials, steps, memory and time; runs nothing.

        Raises:
            ZooError: the target cannot be had.
        """
        return self._runner().forecast(request)

    def comparison(self) -> Comparison:
        """The latest comparison.

        Raises:
            NotFoundError: there is none.
        """
        found = self.store.load_note("comparison", Comparison)
        if found is None:
            raise NotFoundError("no ensembles were compared yet.", fix="zoo tune --target … --controls 20")
        return found

    def _runner(self, tracker: str | None = None) -> Runner:
        tuner = Tuner(
            self.settings,
            self.store,
            self._fetcher,
            self._reader,
            self.reporter,
            team=self.team,
            tracker=tracker,
        )
        return Runner(
            self.settings,
            self.store,
            self._collection,
            self._texts,
            self._reader,
            tuner,
            self.team,
            self.reporter,
        )

    def runs(self) -> tuple[Run, ...]:
        """All runs, the latest first."""
        return self.store.runs()

    def run(self, run_id: str) -> Run:
        """The run whose id begins so; ``"latest"`` for the latest.

        Raises:
            NotFoundError: there is none.
            UsageError: there are several.
        """
        return self._runner().find(run_id)

    # Publish

    def subject(self, name: str) -> Run | Ranking | Selection:
        """What a card can be of.

        Args:
            name: id of a run, or its beginning; ``"latest"``; ``"@selection"``; ``"@ranking"`` for the latest
                ranking, ``"@ranking/NAME"`` for one that was saved.

        Raises:
            NotFoundError: there is none.
        """
        group, _, saved = name.partition("/")
        if group == "@ranking":
            return self._ranker.stored(saved or "latest")
        if name == "@selection":
            selection = self.store.load_note("selection", Selection)
            if selection is None:
                raise NotFoundError("there is no selection yet.", fix="zoo select -k 3")
            return selection
        return self.run(name)

    def card(self, name: str = "latest", *, title: str | None = None) -> str:
        """The card of a run, a ranking or a selection, as Markdown.

        Args:
            name: as in `subject`.
            title: its heading.

        Raises:
            NotFoundError: there is no such thing.
        """
        from zookeeper.sections import spliced

        return spliced("", self._publisher().card(self.subject(name), title))

    def save_card(self, name: str, path: Path, *, title: str | None = None) -> tuple[Path, ...]:
        """Write a card into a file, with its pictures beside it; what else stands there stays.

        Args:
            name: as in `subject`.
            path: of a README.md, say.
            title: its heading.

        Returns:
            What was written.

        Raises:
            DataError: the file is there, and is no card that can be kept as it is.
            NotFoundError, StorageError: there is no such thing, or no place.
        """
        return self._publisher().save(self.subject(name), path, title)

    def check_card(
        self, name: str, path: Path | None = None, *, title: str | None = None
    ) -> tuple[Finding, ...]:
        """What is wrong with a card: that in a file, or the one that would be made.

        Args:
            name: as in `subject`; what the card is of.
            path: of the file.
            title: its heading.

        Raises:
            IntegrityError: the numbers of a run do not follow from what is stored of it.
            NotFoundError: there is no such thing, or no such file.
        """
        return self._publisher().check(self.subject(name), path, title)

    def push(
        self,
        name: str,
        repo_id: str,
        *,
        results: Results = "auto",
        create_pr: bool = False,
        private: bool = True,
        agreed: str | None = None,
        dry_run: bool = False,
    ) -> Push:
        """Write to a repository, in one commit: a card, a record, and what there is to load.

        Of a run, in a model repository, that is what its best trial learned; of a ranking or a selection,
        in a dataset repository, the table. The metric of a run is measured again by its stored predictions
        before. To somebody else's repository only the results are proposed.

        Args:
            name: as in `subject`.
            repo_id: ``owner/name``; made if it is one's own and does not exist.
            results: whether numbers go into the metadata, into `.eval_results`, or both; by default into
                the second too where the dataset is a registered benchmark.
            create_pr: whether to open a pull request, or go on with an open one, instead of writing to main.
            private: whether a repository that is made is private.
            agreed: name of somebody else's repository, once more: a pull request there is really meant.
            dry_run: whether to only say what would change.

        Raises:
            NotFoundError: there is no such thing.
            IntegrityError: the numbers of a run do not follow from what is stored of it.
            DataError: the card that is there cannot be kept as it is.
            AccessError, NetworkError: the Hub refuses or cannot be reached.
        """
        own = self.owns(repo_id)
        return self.hub.push(
            repo_id,
            self._publisher().publication(self.subject(name), repo_id, own=own, results=results),
            create_pr=create_pr,
            private=private,
            agreed=agreed,
            dry_run=dry_run,
        )

    def share(
        self,
        what: Measured,
        repo_id: str,
        *,
        create_pr: bool = False,
        private: bool = True,
        agreed: str | None = None,
        dry_run: bool = False,
    ) -> Push:
        """Add what was measured on the probe that was read last to a dataset repository; see `pull`.

        Args:
            what: ``"signatures"`` or ``"features"``.
            repo_id: as in `push`.
            create_pr: as in `push`.
            private: as in `push`.
            agreed: as in `push`.
            dry_run: as in `push`.

        Raises:
            EmptyZooError: there is nothing that can be shared.
            UsageError: the repository holds measurements that these cannot be compared with.
            AccessError, NetworkError: the Hub refuses or cannot be reached.
        """
        choice, checkpoints = self._probing.latest(), self._collection.chosen(())
        return self.hub.push(
            repo_id,
            self._sharing().publication(what, choice, checkpoints, repo_id=repo_id),
            create_pr=create_pr,
            private=private,
            agreed=agreed,
            dry_run=dry_run,
        )

    def owns(self, repo_id: str) -> bool:
        """Whether a repository is one's own, or of an organisation one is in; without a login as if it were.

        Raises:
            NetworkError: the Hub cannot be reached.
        """
        account = self.hub.account()
        return account is None or account.owns(repo_id)

    def pull(self, what: Measured, name: str, *, dry_run: bool = False) -> tuple[Outcome, ...]:
        """Take over what others measured, so that no model need be run; their checkpoints are added.

        Args:
            what: ``"signatures"`` or ``"features"``.
            name: ``owner/name`` of a dataset repository, or ``owner/name@revision``.
            dry_run: whether to only say what would be fetched.

        Raises:
            NotFoundError, AccessError, NetworkError: the repository cannot be had.
            DataError: it holds no such measurements.
            UsageError: they cannot be compared with those that the zoo has.
        """
        repo_id, revision = parse(name)
        return self._sharing().pull(what, repo_id, revision, dry_run=dry_run)

    def reproduce(
        self,
        name: str,
        *,
        target: str | Path | None = None,
        members: Mapping[str, str | Path] = MappingProxyType({}),
        tolerance: float | None = None,
    ) -> Reproduction:
        """Make a run again, from the checkpoints on, and say whether its numbers hold.

        Nothing that this zoo has measured is used. What was interrupted goes on where it was.

        Args:
            name: of a run of this zoo; or a folder or repository with its card and its record.
            target: where its data are, if they came from a local file.
            members: where its members are, by name, if they came from local folders.
            tolerance: by which a mean may differ; by default as much as seeds do, 0.005 at least.

        Raises:
            ZooError: something that it takes cannot be had, or is not what it was.
        """
        stated = self._stated(name)
        names = reproducing.members_of(stated, members, target)
        home = reproducing.folder_in(self.settings.home) / stated.id
        with reproducing.kept_while_interrupted(home):
            again = self._elsewhere(home)
            pinned = [again._collecting.pin(one).revision for one in names]
            run = again.carry_out(reproducing.request_of(stated, pinned, target))
        return reproducing.compared(stated, run, tolerance)

    def _elsewhere(self, home: Path) -> Zoo:
        """A zoo that has measured nothing, but knows what names on the Hub mean."""
        settings = replace(self.settings, home=home, cache=home / "cache")
        zoo = Zoo(settings=settings, hub=self._given_hub, reporter=self.reporter)
        for checkpoint in self.store.checkpoints():
            if not checkpoint.revision.local:
                zoo.store.add(checkpoint)
        for dataset in self.store.load_notes("dataset", Dataset):
            zoo._texts.pin(dataset)
        return zoo

    def _stated(self, name: str) -> Run:
        """A run of this zoo, or one that was published."""
        if "/" not in name and not is_folder(name):
            return self.run(name)
        from zookeeper.predicting import published_run

        return published_run(name, settings=self.settings, hub=self._given_hub)

    def report(self, *, target: str | None = None, run: str | None = None, command: str = "") -> Report:
        """All that the zoo knows of its checkpoints, and of one target; runs no model and asks no network.

        Args:
            target: by the name it was ranked or tuned for; that of the run by default, or of the latest
                ranking.
            run: id of a run, or its beginning; the latest on that target by default.
            command: what the user typed, for the record.

        Raises:
            EmptyZooError: there are no checkpoints.
            NotFoundError: there is no such run, or nothing is known of the target.
        """
        return gathered(
            self.store,
            self._collection.everything(),
            covariance=partial(self.covariance, errors=False),
            select=lambda kappa: self.select(covariance=kappa, keep=False),
            comparison=self._publisher().comparison,
            target=target,
            run=self.run(run) if run else None,
            command=command,
        )

    def save_report(self, report: Report, path: Path) -> None:
        """Write a report as one HTML file.

        Raises:
            StorageError: the disk refuses.
        """
        from zookeeper.report import html

        write(path, html(report).encode())

    def _publisher(self) -> Publisher:
        return Publisher(self.settings, self.store, self._runner(), lambda: self.hub, self.reporter)

    def _sharing(self) -> Sharing:
        return Sharing(self.store, self._probing, self._signing, lambda: self.hub, self.reporter)

    # Care

    def waste(
        self,
        *,
        features: bool = False,
        hub: bool = False,
        older_than: float = 0.0,
        delete: bool = False,
    ) -> tuple[Waste, ...]:
        """What can be deleted, because nothing asks for it or because it can be made or fetched again.

        Args:
            features: whether to spare the features on the probe that was read last too; each gets a
                signature first, by which it can be compared ever after.
            hub: whether to spare what the Hub's client fetched of checkpoints that were read, and of commits
                that no pin names. Other repositories than those of the zoo stay.
            older_than: seconds; what is younger stays.
            delete: whether to delete it.

        Raises:
            EmptyZooError: no probe was read.
            StorageError: the disk refuses.
        """
        sweeping = Sweeping(
            self.settings, self.store, self._probing, self._signing, lambda: self.hub, self.reporter
        )
        return sweeping.sweep(features=features, hub=hub, older_than=older_than, delete=delete)

    def verify(self, *, full: bool = False) -> Verification:
        """Read and hash all that is stored.

        Args:
            full: whether to hash the files of checkpoints too, as far as they are on this machine, and to
                compute a hundredth of the features of the last probe again, one set at least.
        """
        with self.reporter.track("verifying", len(self.store.artefacts()), "artefacts") as advance:
            stored = self.store.verify(advance)
        if not full:
            return stored
        verifying = Verifying(
            self.settings,
            self.store,
            self._probing,
            self._fetcher,
            self._settling,
            lambda: self.hub,
            self.reporter,
        )
        return verifying.verify(stored)

    def examine(self, *, fix: bool = False) -> tuple[Check, ...]:
        """Look whether a zoo can work here; raises nothing of what it finds.

        Args:
            fix: whether to mend what can be mended without asking.
        """
        return Doctor(self.settings, self.store, lambda: self.hub).examine(fix=fix)

    def draw(self, kind: Picture, path: Path, found: Drawn | None = None) -> None:
        """Draw a picture into a file.

        Args:
            kind: ``"kappa"`` and ``"map"`` of a covariance, ``"mi"`` of a selection, ``"convergence"``,
                ``"rank"`` of a ranking, ``"violin"`` of a comparison, ``"curve"`` of a run, ``"lineage"`` of
                the checkpoints of the zoo.
            path: of a ``.png``, ``.svg`` or ``.pdf``.
            found: of which; of ``"lineage"`` nothing.

        Raises:
            UsageError: another ending.
            StorageError: the disk refuses.
        """
        from zookeeper import pictures

        draw: dict[Picture, Callable[..., None]] = {
            "kappa": pictures.draw_kappa,
            "mi": pictures.draw_gains,
            "map": pictures.draw_map,
            "convergence": pictures.draw_convergence,
            "rank": pictures.draw_ranking,
            "violin": pictures.draw_comparison,
            "curve": pictures.draw_curve,
            "lineage": pictures.draw_lineage,
        }
        if kind == "lineage":
            draw[kind](self._collection.everything(), path, picks=self._selected())
        elif isinstance(found, Covariance) and kind == "map":
            draw[kind](found, path, picks=self._selector.picks(found))
        else:
            draw[kind](found, path)

    def _selected(self) -> list[str]:
        """Names of the picks of the latest selection."""
        return [revision.name for revision in self._collection.selected()]


def build_demo(folder: Path, reporter: Reporter) -> DemoFiles:
    """Make the checkpoints, the probe and the target of the demo; what is there is not made again.

    Raises:
        StorageError: the disk refuses.
    """
    from zookeeper.demo import build

    with disk(folder), Stages(reporter) as stages:
        return build(folder, report=stages)


def _origin(command: str, started: float, device: str = "cpu") -> Origin:
    """What made something that was begun at that reading of the clock."""
    return Origin(command, now(), versions(), device_name(device), time.perf_counter() - started)
