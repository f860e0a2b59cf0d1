"""The zoo: one method a step, from names on the Hub to a published card.

    add -> probe -> covariance -> select / rank -> tune -> card -> push

Slow libraries (torch, transformers, datasets, the Hub's client) are imported by the method that needs them,
so that listing a zoo does not wait for torch.
"""

from __future__ import annotations

import re
import shlex
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zookeeper import kernels, local
from zookeeper.collection import Collection, distinct_names, folder_of, is_folder, listed, parse
from zookeeper.errors import (
    CheckpointError,
    DataError,
    EmptyZooError,
    IntegrityError,
    NotFoundError,
    OfflineError,
    UsageError,
)
from zookeeper.exchange import load_covariance, load_results, save_covariance, save_text
from zookeeper.outcomes import attempt
from zookeeper.ranker import DEFAULT_LAYER, DEFAULT_SCORES, Ranker, Scorer
from zookeeper.reader import Reader, feature_key, target_source
from zookeeper.records import (
    Checkpoint,
    Corpus,
    EvidenceSet,
    FeatureKey,
    FeatureSet,
    Outcome,
    ProbeChoice,
    Reading,
    Recipe,
    Target,
    TargetSource,
    digest_of,
)
from zookeeper.reporter import Reporter, Silent, Stages
from zookeeper.results import (
    Agreement,
    Covariance,
    EvalCard,
    Holding,
    Pick,
    Push,
    Ranking,
    Run,
    Selection,
    Verification,
)
from zookeeper.scores import SCORES
from zookeeper.selection import Start, copies, greedy_mmi
from zookeeper.settings import Settings
from zookeeper.store import Store
from zookeeper.store.files import disk
from zookeeper.tuner import Plan, Tuner

if TYPE_CHECKING:
    from zookeeper.demo import DemoFiles
    from zookeeper.hub import Hub

__all__ = [
    "DEFAULT_LAYER",
    "DEFAULT_SCORES",
    "SCORES",
    "Start",
    "Zoo",
    "build_demo",
    "load_covariance",
    "load_results",
    "save_covariance",
    "save_text",
    "target_source",
]

R = TypeVar("R")


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
        self.reporter = reporter or Silent()
        self.store = Store(self.settings.home, self.settings.cache, note=self.reporter.note)
        self._given_hub = hub
        self._collection = Collection(self.store)
        self._reader = Reader(self.settings, self.store, lambda: self.hub, self.reporter)
        self._ranker = Ranker(self.store, self._reader, self.reporter)

    @cached_property
    def hub(self) -> Hub:
        """The Hub, as the settings name it."""
        from zookeeper.hub import Hub

        settings = self.settings
        return self._given_hub or Hub(settings.endpoint, settings.hub_cache, offline=settings.offline)

    # Collect

    def add(self, names: Iterable[str] | str) -> tuple[Outcome, ...]:
        """Pin checkpoints to the commits their names mean now. Downloads no weights.

        Args:
            names: ``repo``, ``org/repo``, ``org/repo@revision`` or ``./folder``. What is in the zoo stays as
                it was pinned; another revision of it is another entry.

        Raises:
            StorageError: the zoo cannot be written to. Whatever else goes wrong with a name is its outcome.
        """
        names = listed(names)
        with self.reporter.track("adding", len(names), "checkpoints") as advance:
            outcomes = []
            for name in names:
                outcomes.append(attempt(name, partial(self._add, name)))
                advance(1)
        return tuple(outcomes)

    def _add(self, name: str) -> Outcome:
        repo_id, revision = parse(name)
        if is_folder(repo_id):
            found = local.describe(folder_of(repo_id))
            if revision != "main" and not found.revision.commit.startswith(revision):
                raise IntegrityError(
                    f"{repo_id} is not what it was at {revision}.",
                    why=f"it is {found.revision.commit[:8]} now",
                )
        else:
            try:
                found = self.hub.checkpoint(repo_id, revision)
            except OfflineError:
                if not self._collection.fitting(name):
                    raise
                found = self._collection.find(name)
        known = [c for c in self.store.checkpoints() if c.revision.repo_id == found.revision.repo_id]
        same = next((c for c in known if c.revision.commit == found.revision.commit), None)
        followed = next((c for c in known if c.revision.asked == found.revision.asked), None)
        if same is not None:
            also = {name} if "@" in name else set()
            self.store.add(replace(same, aliases=tuple(sorted({*same.aliases, *found.aliases, *also}))))
            return _done(name, "already there", same)
        if followed is not None and not found.revision.local:
            return _done(name, f"already there; {revision} is now {found.revision.commit[:8]}", followed)
        self.store.add(replace(found, added_at=_now()))
        if followed is not None:
            self.store.remove(followed.revision)
            return _done(name, "added in place of what the folder held before", found)
        return _done(name, f"added, but {found.problem}" if found.problem else "added", found)

    def holdings(self) -> tuple[Holding, ...]:
        """All checkpoints, by name, with what the zoo has of each."""
        features: defaultdict[str, list[FeatureSet]] = defaultdict(list)
        for found in self.store.feature_sets():
            features[f"{found.key.repo_id}@{found.key.commit}"].append(found)
        evidence: defaultdict[str, list[EvidenceSet]] = defaultdict(list)
        for seen in self.store.evidence_sets():
            evidence[f"{seen.key.features.repo_id}@{seen.key.features.commit}"].append(seen)
        runs: defaultdict[str, list[str]] = defaultdict(list)
        for run in self.store.runs():
            for member in run.members:
                runs[str(member.revision)].append(run.id)
        return tuple(
            Holding(c, tuple(features[name]), tuple(evidence[name]), tuple(runs[name]))
            for c in self.store.checkpoints()
            for name in [str(c.revision)]
        )

    def show(self, name: str) -> Holding:
        """One checkpoint with what the zoo has of it.

        Raises:
            NotFoundError: it is not in the zoo.
            UsageError: the name fits several.
        """
        checkpoint = self._collection.find(name)
        return next(h for h in self.holdings() if h.checkpoint.revision == checkpoint.revision)

    def remove(
        self, names: Iterable[str], *, features: bool = False, dry_run: bool = False
    ) -> tuple[Outcome, ...]:
        """Take checkpoints out of the zoo.

        Args:
            names: which.
            features: whether to delete their features too; else they serve again when one is added again.
            dry_run: whether to only say what would go.
        """

        def remove(name: str) -> Outcome:
            holding = self.show(name)
            doomed, evidence = (holding.features, holding.evidence) if features else ((), ())
            freed = sum(f.size for f in doomed) + sum(e.size for e in evidence)
            if not dry_run:
                for found in doomed:
                    self.store.discard_features(found.key)
                for seen in evidence:
                    self.store.discard_evidence(seen.key.digest)
                self.store.remove(holding.checkpoint.revision)
            status = "would be removed" if dry_run else "removed"
            return _done(name, status, holding.checkpoint, freed_bytes=freed)

        return tuple(attempt(name, partial(remove, name)) for name in names)

    # Measure

    def probe(
        self,
        names: Iterable[str] = (),
        *,
        probe: str = "wikitext2",
        max_words: int = 10_000,
        reading: Reading | None = None,
    ) -> tuple[Outcome, ...]:
        """Read the probe with checkpoints and keep their features. What is there is not computed again.

        Args:
            names: which; all by default.
            probe: a named probe, or a text file with a sentence or paragraph a line.
            max_words: rows of features.
            reading: layer, pooling and window.

        Raises:
            EmptyZooError: there are no checkpoints.
            DataError, NotFoundError, NetworkError: the probe cannot be had. What goes wrong with one
                checkpoint is its outcome.
        """
        chosen = self._collection.chosen(names)
        corpus = self._reader.probe(probe, max_words)
        choice = _choice_of(probe, max_words, corpus, reading)

        def read(checkpoint: Checkpoint) -> Outcome:
            found = self._reader.features(checkpoint, corpus, choice.reading, probe)
            return _done(
                checkpoint.name,
                "done" if found.computed else "already there",
                checkpoint,
                rows=found.features.n_rows,
                dimension=found.features.dimension,
                empty_rows=found.features.n_empty,
                bytes=found.features.size,
                key=found.features.key.digest,
            )

        outcomes, noted = [], False
        for checkpoint in chosen:
            outcomes.append(attempt(checkpoint.name, partial(read, checkpoint)))
            if not (noted or outcomes[-1].failed):
                self.store.save_note("probe", choice)
                noted = True
        return tuple(outcomes)

    def covariance(
        self,
        names: Iterable[str] = (),
        *,
        probe: str | None = None,
        max_words: int = 10_000,
        reading: Reading | None = None,
    ) -> Covariance:
        """Task covariance of checkpoints on a probe that they were read with.

        Args:
            names: which; all by default.
            probe: as in `probe`, with `max_words` and `reading`; the one that was read last by default.
            max_words: as in `probe`.
            reading: as in `probe`.

        Raises:
            EmptyZooError: none of them was read with it.
        """
        chosen = self._collection.chosen(names)
        choice = (
            _choice_of(probe, max_words, self._reader.probe(probe, max_words), reading)
            if probe
            else self.store.load_note("probe", ProbeChoice)
        )
        if choice is None:
            raise EmptyZooError("no checkpoint was probed yet.", fix="zoo probe")
        keys: dict[Checkpoint, str] = {}
        sets: list[NDArray[np.float64]] = []
        left_out: list[Outcome] = []
        for checkpoint in chosen:
            key = feature_key(checkpoint, choice.corpus, choice.reading)
            found = attempt(checkpoint.name, partial(self._probed, key, choice))
            if isinstance(found, Outcome):
                left_out.append(found)
            else:
                keys[checkpoint] = key.digest
                sets.append(found)
        if not sets:
            raise EmptyZooError(
                "no checkpoint has features to compare.", why=left_out[0].error, fix=left_out[0].fix
            )
        digest = digest_of(list(keys.values()))
        matrix = self.store.covariance(digest)
        if matrix is None:
            with self.reporter.track("aligning", 1000, "‰") as advance:
                matrix = kernels.covariance(sets, advance=advance)
            self.store.save_covariance(digest, matrix)
        return Covariance(
            names=distinct_names(list(keys)),
            matrix=matrix,
            probe=f"{choice.name}, {choice.n_rows:,} words",
            revisions=tuple(checkpoint.revision for checkpoint in keys),
            left_out=tuple(left_out),
        )

    def _probed(self, key: FeatureKey, choice: ProbeChoice) -> NDArray[np.float64]:
        try:
            return kernels.centred(self.store.features(key))
        except NotFoundError as error:
            reading = choice.reading
            how = f"-p {shlex.quote(choice.name)} --max-words {choice.max_words} --layer {reading.layer}"
            how += f" --pool {reading.pooling}"
            how += f" --max-length {reading.max_length}" if reading.max_length else ""
            raise CheckpointError(
                f"not read with {choice.name} yet.",
                fix=f"zoo probe {how}   reads it with all that were not; or name another probe with -p",
            ) from error

    def select(
        self, k: int, *, start: Start = "mi", names: Iterable[str] = (), covariance: Covariance | None = None
    ) -> Selection:
        """Choose the checkpoints that say most about the rest, by greedy maximum mutual information.

        Args:
            k: how many.
            start: ``"mi"``, or ``"hub"`` to begin with the largest row sum.
            names: of which; all by default.
            covariance: instead of the zoo's own.

        Raises:
            UsageError: `k` is larger than the zoo.
            DegenerateInputError: the covariance is singular.
        """
        kappa = covariance or self.covariance(names)
        scale = np.sqrt(np.diag(kappa.matrix))
        correlation = kappa.matrix / np.outer(scale, scale)
        groups = copies(correlation)
        leaders = [group[0] for group in groups]
        if not 1 <= k <= len(leaders):
            n_copies = len(kappa.names) - len(leaders)
            raise UsageError(
                f"cannot pick {k} of {len(kappa.names)} checkpoints.",
                why=f"{n_copies} of them are copies of others" if n_copies else None,
                fix=f"-k between 1 and {len(leaders)}",
            )
        chosen, gains = greedy_mmi(kappa.matrix[np.ix_(leaders, leaders)], k, start=start)
        picks = [leaders[i] for i in chosen]
        nearest = np.argmax(correlation[:, picks], axis=1)
        selection = Selection(
            picks=tuple(
                Pick(
                    name=kappa.names[pick],
                    gain=gain,
                    total=float(sum(gains[: t + 1])),
                    stands_for=tuple(kappa.names[i] for i in np.flatnonzero(nearest == t) if i not in picks),
                    revision=kappa.revisions[pick] if kappa.revisions else None,
                )
                for t, (pick, gain) in enumerate(zip(picks, gains, strict=True))
            ),
            start=start,
            n_checkpoints=len(kappa.names),
            probe=kappa.probe,
            copies=tuple(tuple(kappa.names[i] for i in group) for group in groups if len(group) > 1),
            left_out=kappa.left_out,
        )
        if kappa.revisions:
            self.store.save_note("selection", selection)
        return selection

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
        bootstrap: int = 200,
        level: float = 0.95,
        save: str | None = None,
    ) -> Ranking:
        """Order checkpoints by how well their frozen features serve a labelled target.

        Each is run over the target once; what its layers say is kept, and serves every score and layer.

        Args:
            target: a named target, a dataset of the Hub, a file, or a folder with a file for each split.
            names: which checkpoints; all by default.
            scores: by name, ``"all"`` for every one; the first orders.
            layer: ``"best"`` for the one with the best score, ``"last"``, ``"mean"`` of all, or a number.
            reading: pooling and window.
            split: whose labels to use.
            max_examples: at most so many sentences, drawn with a fixed seed; None for all.
            shortlist: run only so many, those that look best by what is known without the target.
            bootstrap: replicates for intervals and tiers; 0 for none.
            level: of intervals and tiers.
            save: a name under which `rerank` finds it.

        Raises:
            EmptyZooError: there are no checkpoints.
            DataError, NotFoundError, NetworkError: the target cannot be had. What goes wrong with one
                checkpoint is listed with it.
        """
        scorer = Scorer(self.store, scores, layer=layer, n_replicates=bootstrap, level=level)
        notes = [_ranking_note(kept) for kept in ("latest", save) if kept is not None]
        chosen = self._collection.chosen(names)
        summary, data = self._reader.target(target_source(target), (split,), max_examples)
        shortened = None
        if shortlist is not None and shortlist < len(chosen):
            chosen, shortened = self._ranker.shortlist(chosen, shortlist, self._alignment)
        ranking = self._ranker.rank(summary, split, data[split], chosen, reading or Reading(), scorer)
        ranking = replace(ranking, shortlist=shortened)
        if ranking.scores:
            for note in notes:
                self.store.save_note(note, ranking)
        return ranking

    def rerank(
        self,
        name: str = "latest",
        *,
        scores: Sequence[str] | None = None,
        layer: str | None = None,
        bootstrap: int = 200,
        level: float = 0.95,
    ) -> Ranking:
        """A stored ranking, also by other scores or of another layer; runs no model and reads no target.

        Args:
            name: under which it was saved; ``"latest"`` for the latest.
            scores: as in `rank`; those that it was made with by default.
            layer: as in `rank`; that which it was made with by default.
            bootstrap: as in `rank`.
            level: as in `rank`.

        Raises:
            NotFoundError: there is no such ranking.
        """
        stored = self.store.load_note(_ranking_note(name), Ranking)
        if stored is None:
            raise NotFoundError(f'no ranking "{name}".', fix="zoo rank --target … --save NAME")
        made_with = dict.fromkeys([stored.by, *(n for s in stored.scores for n in s.estimates)])
        scorer = Scorer(
            self.store,
            scores or list(made_with),
            layer=layer or stored.layer,
            n_replicates=bootstrap,
            level=level,
        )
        return self._ranker.rerank(stored, scorer)

    def _alignment(self, checkpoints: Sequence[Checkpoint]) -> NDArray[np.float64] | None:
        """Their covariance on the probe that was read last, if all of them were read with it."""
        try:
            kappa = self.covariance([str(checkpoint.revision) for checkpoint in checkpoints])
        except EmptyZooError:
            return None
        return None if kappa.left_out else kappa.matrix

    def agreement(self, ranking: Ranking, results: Mapping[str, float]) -> tuple[Agreement, ...]:
        """How well the scores of a ranking, and its baselines, agree with true results.

        Args:
            ranking: some.
            results: by name of the checkpoint, or the last part of it; larger is better.

        Raises:
            DegenerateInputError: fewer than three of its checkpoints have a result.
        """
        from zookeeper.agreement import agreements

        by_end = {PurePath(name).name: value for name, value in results.items()}
        named = {s.name: results.get(s.name, by_end.get(PurePath(s.name).name)) for s in ranking.scores}
        return agreements(ranking, {name: value for name, value in named.items() if value is not None})

    # Train and publish

    def tune(
        self,
        target: TargetSource | str,
        names: Iterable[str] | str = "@selection",
        *,
        recipe: Recipe | None = None,
        seed: int = 0,
        processes: int = 1,
        test: bool = False,
        max_examples: int | None = None,
        command: str = "",
    ) -> Run:
        """Concatenate the frozen features of checkpoints and tune a linear head on them.

        The same plan gives the same run: what was tuned before is returned as it was stored.

        Args:
            target: as in `rank`.
            names: which checkpoints, in order; ``"@selection"`` and ``"@ranking"`` stand for the latest,
                ``"@ranking:3"`` for its first three.
            recipe: how.
            seed: of the head's initial weights, the order of examples, and the validation sentences where
                the target has no split for them.
            processes: that train together on this machine; the result is the same.
            test: whether to measure on the test split too. Do that once, at the end.
            max_examples: at most so many sentences of each split; None for all.
            command: what the user typed, for the record.

        Raises:
            ZooError: the target or a member cannot be had; features that were computed are kept.
        """
        names = listed(names)
        splits = ("train", "validation", "test") if test else ("train", "validation")
        members = self._collection.chosen(names)
        summary, data = self._reader.target(target_source(target), splits, max_examples)
        if test and "test" not in data:
            raise DataError(f"{summary.name} has no test split.", fix="leave out --test")
        if any(name.startswith("@ranking") for name in names):
            self._check_ranking(summary)
        recipe = recipe or Recipe()
        recipe = replace(recipe, reading=recipe.reading.settled(data["train"].corpus.unit))
        plan = Plan(summary, tuple(members), recipe, seed=seed, test=test)
        if known := self.store.run(plan.run_id):
            self.reporter.note(f"this was tuned before ({known.created_at}); showing run {known.id}")
            return known
        run, arrays = Tuner(self.settings, self._reader, self.reporter).tune(
            plan, data, processes=processes, command=command
        )
        self.store.save_run(run, arrays)
        return run

    def _check_ranking(self, target: Target) -> None:
        """Refuse to tune by a ranking for another target."""
        ranking = self.store.load_note("ranking", Ranking)
        of = ranking.target if ranking else target
        if _aim(of) != _aim(target):
            raise UsageError(
                f"@ranking is for {of.label_column} of {of.name}.",
                why=f"this is {target.label_column} of {target.name}"
                + (", with other classes" if of.name == target.name else ""),
                fix=f"zoo rank --target {target.name}",
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
        runs = self.runs()
        found = runs[:1] if run_id == "latest" else [run for run in runs if run.id.startswith(run_id)]
        if not found:
            raise NotFoundError(f'no run "{run_id}".', fix="zoo runs")
        if len(found) > 1:
            raise UsageError(f'"{run_id}" fits {len(found)} runs.', why=", ".join(run.id for run in found))
        return found[0]

    def card(self, run_id: str, *, title: str | None = None) -> str:
        """The card of a run, as Markdown.

        Raises:
            NotFoundError: there is no such run.
        """
        from zookeeper.cards import render

        run = self.run(run_id)
        return render(EvalCard(run, title or f"{run.target.dataset.split('/')[-1]}-zoo{len(run.members)}"))

    def push(
        self,
        run_id: str,
        repo_id: str,
        *,
        create_pr: bool = False,
        private: bool = True,
        dry_run: bool = False,
    ) -> Push:
        """Write the card, the head and the record of a run to a model repository, in one commit.

        Args:
            run_id: which run.
            repo_id: ``owner/name``; made if it is one's own and does not exist.
            create_pr: whether to open a pull request instead of writing to main.
            private: whether a repository that is made is private.
            dry_run: whether to only say what would change.

        Raises:
            NotFoundError: there is no such run.
            AccessError, NetworkError: the Hub refuses or cannot be reached.
        """
        from zookeeper.cards import head_file, run_file

        run = self.run(run_id)
        arrays = self.store.run_arrays(run.id)
        files = {
            "README.md": self.card(run.id, title=repo_id.split("/")[-1]).encode(),
            "head.safetensors": head_file(run, arrays["weight"], arrays["bias"]),
            "run.json": run_file(run),
        }
        message = f"{run.metric} on {run.target.name}, measured by zookeeper (run {run.id})"
        return self.hub.push(
            repo_id, files, message=message, create_pr=create_pr, private=private, dry_run=dry_run
        )

    # Care

    def verify(self) -> Verification:
        """Read and hash all that is stored."""
        with self.reporter.track("verifying", len(self.store.artefacts()), "artefacts") as advance:
            return self.store.verify(advance)


def build_demo(folder: Path, reporter: Reporter) -> DemoFiles:
    """Make the checkpoints, the probe and the target of the demo; what is there is not made again.

    Raises:
        StorageError: the disk refuses.
    """
    from zookeeper.demo import build

    with disk(folder), Stages(reporter) as stages:
        return build(folder, report=stages)


def _done(name: str, status: str, checkpoint: Checkpoint, **details: Any) -> Outcome:
    return Outcome(name, status, checkpoint.revision, details=details)


def _choice_of(probe: str, max_words: int, corpus: Corpus, reading: Reading | None) -> ProbeChoice:
    settled = (reading or Reading()).settled(corpus.unit)
    return ProbeChoice(probe, max_words, corpus.digest, corpus.n_rows, settled)


def _aim(target: Target) -> tuple[object, ...]:
    """What is predicted of what: the same for every split and sample of a target."""
    return target.dataset, target.config, target.text_column, target.label_column, target.spans


def _ranking_note(name: str) -> str:
    """Under which note a ranking of that name is stored."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f'"{name}" is no name for a ranking.', fix="letters, digits, dots and dashes")
    return "ranking" if name == "latest" else f"ranking-{name}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
