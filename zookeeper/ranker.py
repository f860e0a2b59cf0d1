"""From evidence to rankings: scores of checkpoints, how sure they are, and which cannot be told apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from zookeeper.collection import distinct_names
from zookeeper.errors import (
    CheckpointError,
    DegenerateInputError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from zookeeper.evidence import Evidence
from zookeeper.gathering import evidence_from, names_of
from zookeeper.labels import Array
from zookeeper.outcomes import attempt, attempts
from zookeeper.reader import Place, Reader
from zookeeper.records import (
    Checkpoint,
    EvidenceSet,
    Labelled,
    Outcome,
    Reading,
    Revision,
    Target,
    TargetSource,
    counted,
)
from zookeeper.reporter import Reporter
from zookeeper.resampling import draws, interval, rank_ranges, replicates, tiers
from zookeeper.results import Baseline, Covariance, Estimate, Ranking, Score, Shortlist
from zookeeper.scores import SCORES, ScoreSpec
from zookeeper.settling import Settling
from zookeeper.store import Store
from zookeeper.texts import Texts

DEFAULT_SCORES = ("logme", "ridge")
DEFAULT_LAYER = "best"

_RANK_AGAIN = "zoo rank with the same target reads it again"
_NOISE = 0.1  # of a place in a ranking on another target, in variances of it
_FEW_EXAMPLES = 5  # a feature: fewer, and the H-score measures the width


@dataclass(frozen=True, eq=False)
class Candidate:
    """A checkpoint with its scores, before it is compared with others.

    Attributes:
        score: without tier and ranks.
        replicates: (r,), of the score that orders; none where it cannot be resampled.
    """

    score: Score
    replicates: Array


class Scorer:
    """Scores checkpoints by stored evidence; runs no model.

    Args:
        store: that keeps the evidence.
        names: of the scores, ``"all"`` for every one; the first orders.
        layer: ``"last"``, ``"mean"``, a number, or ``"best"`` for the one with the best score.
        n_replicates: of the bootstrap; 0 for none.
        level: of intervals and tiers.

    Raises:
        UsageError: there is no such score, or such a layer nowhere.
    """

    def __init__(
        self, store: Store, names: Sequence[str], *, layer: str, n_replicates: int, level: float
    ) -> None:
        if not re.fullmatch(r"last|mean|best|-?\d+", layer):
            raise UsageError(f'no layer "{layer}".', fix="one of: mean, last, best, or a number")
        given = [name.strip().lower() for each in names for name in each.split(",")]
        wanted = [name for each in given for name in (SCORES if each == "all" else [each])]
        self._specs = [SCORES[name] for name in dict.fromkeys(wanted)]
        self._store = store
        self.layer = layer
        self.n_replicates = n_replicates
        self.level = level
        self._drawn: Array | None = None

    @property
    def by(self) -> ScoreSpec:
        """The score that orders."""
        return self._specs[0]

    def candidate(self, name: str, checkpoint: Checkpoint, found: EvidenceSet) -> Candidate:
        """The scores of one checkpoint, under a name.

        Raises:
            CheckpointError: it has no such layer, or the score that orders is not defined for it.
            IntegrityError, NotFoundError: the evidence is damaged or gone.
        """
        layer, evidence = self._evidence(found)
        estimates: dict[str, Estimate] = {}
        values: dict[str, Array] = {}
        notes = self._warnings(found)
        if self.n_replicates and evidence.sample.n_sentences == 1:
            notes.append("no intervals: all sampled examples are of one sentence")
        for spec in self._specs:
            if spec is not self.by and not spec.defined(evidence.sample):
                continue
            try:
                estimates[spec.name], values[spec.name] = self._estimate(spec, evidence)
            except DegenerateInputError as error:
                if spec is self.by:
                    raise CheckpointError(f"no {spec.title}.", why=error.message.rstrip(".")) from error
                notes.append(f"no {spec.title}: {error.message.rstrip('.')}")
        score = Score(
            name=name,
            revision=checkpoint.revision,
            estimates=estimates,
            layer=layer,
            dimension=found.dimension,
            examples=found.n,
            evidence=found.key.digest,
            parameters=checkpoint.parameters,
            notes=tuple(notes),
        )
        return Candidate(score, values[self.by.name])

    def order(self, candidates: Iterable[Candidate]) -> tuple[Score, ...]:
        """The scores, best first, with tiers and the ranks that they take when examples vary."""
        ordered = sorted(candidates, key=lambda c: -c.score.estimates[self.by.name].value)
        sure = [candidate for candidate in ordered if candidate.replicates.size]
        if not sure:
            return tuple(candidate.score for candidate in ordered)
        values = np.stack([candidate.replicates for candidate in sure])
        first, compared = sure[0], {}
        for candidate, letter, places in zip(
            sure, tiers(values, self.level), rank_ranges(values, self.level), strict=True
        ):
            gap = None if candidate is first else self._gap(first, candidate)
            score = candidate.score
            compared[score.revision] = replace(score, behind=gap, tier=letter, ranks=places)
        return tuple(compared.get(c.score.revision, c.score) for c in ordered)

    def _gap(self, first: Candidate, other: Candidate) -> Estimate:
        """How far one is behind another."""
        behind = first.score.estimates[self.by.name].value - other.score.estimates[self.by.name].value
        return Estimate(behind, *interval(first.replicates - other.replicates, self.level))

    def _evidence(self, found: EvidenceSet) -> tuple[str, Evidence]:
        if self.layer != "best":
            layer = found.layer(self.layer)
            return layer, load_evidence(self._store, found, layer)
        best: tuple[float, str, Evidence] | None = None
        for layer in found.layers:
            # The embeddings are no layer of their own in any of the papers.
            if layer not in ("0", "mean"):
                evidence = load_evidence(self._store, found, layer)
                with suppress(DegenerateInputError):  # of one layer, which is then not the best
                    value = self.by.measure(evidence).value
                    if best is None or value > best[0]:
                        best = value, layer, evidence
        if best is None:
            last = found.layer("last")
            return last, load_evidence(self._store, found, last)
        return best[1:]

    def _estimate(self, spec: ScoreSpec, evidence: Evidence) -> tuple[Estimate, Array]:
        measured, null = spec.measure(evidence), spec.measure(evidence.null).value
        sample = evidence.sample
        if not self.n_replicates or sample.n_sentences == 1:
            return Estimate(measured.value, null=null), np.zeros(0)
        if self._drawn is None:
            self._drawn = draws(sample.n_sentences, self.n_replicates)
        try:
            values = replicates(measured, sample.sentences, self._drawn)
        except DegenerateInputError:  # without some sentences there is no such score
            return Estimate(measured.value, null=null), np.zeros(0)
        return Estimate(measured.value, *interval(values, self.level), null), values

    def _warnings(self, found: EvidenceSet) -> list[str]:
        n, d = found.n, found.dimension
        if n < d:
            return [f"{n} examples are fewer than its {d} features"]
        if n < _FEW_EXAMPLES * d and any(spec.name == "hscore" for spec in self._specs):
            return [f"H-score grows with width: {n} examples for {d} features"]
        return []


class Ranker:
    """Ranks checkpoints on targets.

    Args:
        store: that keeps evidence and earlier rankings.
        texts: finds targets.
        settling: decides what readings leave open.
        reader: runs checkpoints over a target.
        reporter: told what is going on.
    """

    def __init__(
        self, store: Store, texts: Texts, settling: Settling, reader: Reader, reporter: Reporter
    ) -> None:
        self._store = store
        self._texts = texts
        self._settling = settling
        self._reader = reader
        self._reporter = reporter

    def rank(
        self,
        source: TargetSource,
        checkpoints: Sequence[Checkpoint],
        scorer: Scorer,
        *,
        split: str,
        max_examples: int | None,
        reading: Reading,
        devices: Sequence[str] = (),
    ) -> Ranking:
        """Run those over a target that were not yet, and order all by what comes of it.

        Args:
            source: of the target.
            checkpoints: which.
            scorer: that orders them.
            split: whose labels to use.
            max_examples: at most so many sentences; None for all.
            reading: pooling, precision and window.
            devices: to read with at the same time; none for the one that the settings mean.

        Raises:
            UsageError: the score that orders is not defined for such labels.
            DataError, NotFoundError, NetworkError: the target cannot be had.
        """
        target, splits = self._texts.target(source, (split,), max_examples)
        _check_defined(scorer.by, target)
        data = splits[split]
        reading = self._settling.settled(replace(reading, layer="all"), data.corpus)

        def read(checkpoint: Checkpoint, place: Place | None = None) -> EvidenceSet:
            return self._reader.evidence(checkpoint, data, reading, target.name, place)

        found = self._reader.over([(c.name, partial(read, c)) for c in checkpoints], devices)
        empty = Ranking(
            target, split, scorer.by.name, scorer.layer, reading, (), notes=_remarks(target, data)
        )
        return self._ordered(empty, dict(zip(checkpoints, found, strict=True)), read, scorer)

    def keep(self, ranking: Ranking, notes: Iterable[str]) -> Ranking:
        """Store a ranking under these notes (see `note_of`), unless nothing could be ranked; gives it back.

        Raises:
            StorageError: the disk refuses.
        """
        if ranking.scores:
            for note in notes:
                self._store.save_note(note, ranking)
        return ranking

    def stored(self, name: str) -> Ranking:
        """The ranking that was stored under a name; ``"latest"`` for the latest.

        Raises:
            NotFoundError: there is none.
            UsageError: it is no name for a ranking.
        """
        stored = self._store.load_note(note_of(name), Ranking)
        if stored is None:
            raise NotFoundError(f'no ranking "{name}".', fix="zoo rank --target … --save NAME")
        return stored

    def rerank(
        self,
        name: str,
        scores: Sequence[str] | None = None,
        layer: str | None = None,
        *,
        n_replicates: int,
        level: float,
    ) -> Ranking:
        """A stored ranking, by other scores or of another layer; as it was made, where they are not given.

        Args:
            name: as in `stored`.
            scores: as in `Scorer`.
            layer: as in `Scorer`.
            n_replicates: as in `Scorer`.
            level: as in `Scorer`.

        Raises:
            NotFoundError, UsageError: as `stored`, `Scorer` and `rank`.
        """
        stored = self.stored(name)
        made_with = dict.fromkeys([stored.by, *(n for s in stored.scores for n in s.estimates)])
        scorer = Scorer(
            self._store,
            scores or list(made_with),
            layer=layer or stored.layer,
            n_replicates=n_replicates,
            level=level,
        )
        _check_defined(scorer.by, stored.target)
        evidence = {Checkpoint(s.revision, (), parameters=s.parameters): s.evidence for s in stored.scores}
        unread = []
        for failure in stored.failures:
            if failure.revision and "evidence" in failure.details:
                checkpoint = Checkpoint(failure.revision, (), parameters=failure.details["parameters"])
                evidence[checkpoint] = failure.details["evidence"]
            else:
                unread.append(failure)

        def read(checkpoint: Checkpoint) -> EvidenceSet:
            return self._stored(evidence[checkpoint])

        found = attempts([(c.name, partial(read, c)) for c in evidence])
        known = replace(stored, failures=tuple(unread))
        return self._ordered(known, dict(zip(evidence, found, strict=True)), read, scorer)

    def evidence(self, score: Score) -> Evidence:
        """What a score was measured on.

        Raises:
            IntegrityError, NotFoundError: it is damaged or gone.
        """
        return load_evidence(self._store, self._stored(score.evidence), score.layer)

    def shortlist(
        self,
        checkpoints: Sequence[Checkpoint],
        n: int | None,
        covariance: Callable[[Iterable[Revision]], Covariance | None],
    ) -> tuple[Sequence[Checkpoint], Shortlist | None]:
        """The n checkpoints that look best by what is known without the target.

        Args:
            checkpoints: of which.
            n: how many; None for all.
            covariance: gives that of some, or None where it is not known.

        Returns:
            They, and what they were chosen by; None where there are no more than n.
        """
        if n is None or n >= len(checkpoints):
            return checkpoints, None

        def alignment(some: Sequence[Checkpoint]) -> Array | None:
            kappa = covariance(checkpoint.revision for checkpoint in some)
            return None if kappa is None else kappa.matrix

        ordered, by = prior(checkpoints, self._earlier(), alignment)
        return ordered[:n], Shortlist(n, len(ordered), by, tuple(c.name for c in ordered[n:]))

    def _ordered(
        self,
        ranking: Ranking,
        evidence: Mapping[Checkpoint, EvidenceSet | Outcome],
        read: Callable[[Checkpoint], EvidenceSet],
        scorer: Scorer,
    ) -> Ranking:
        """A ranking of what was read, or why it could not be.

        Args:
            ranking: all that is known of it before.
            evidence: of each checkpoint.
            read: gives it once more, where it turns out to be damaged.
            scorer: that orders.
        """
        candidates: list[Candidate] = []
        failures: list[Outcome] = []
        names = distinct_names(list(evidence))
        for name, (checkpoint, found) in zip(names, evidence.items(), strict=True):
            if isinstance(found, Outcome):
                failures.append(replace(found, name=name))
                continue
            score = partial(scorer.candidate, name, checkpoint)
            scored = attempt(name, partial(self._scored, name, score, found, partial(read, checkpoint)))
            if isinstance(scored, Outcome):
                # Another score or layer may well be defined for it.
                known = {"evidence": found.key.digest, "parameters": checkpoint.parameters}
                failures.append(replace(scored, revision=checkpoint.revision, details=known))
            else:
                candidates.append(scored)
        scores = scorer.order(candidates)
        return replace(
            ranking,
            by=scorer.by.name,
            layer=scorer.layer,
            scores=scores,
            baselines=baselines(scores, scorer.by.name),
            failures=(*ranking.failures, *failures),
            replicates=scorer.n_replicates,
            level=scorer.level,
        )

    def _scored(
        self,
        name: str,
        score: Callable[[EvidenceSet], Candidate],
        found: EvidenceSet,
        read: Callable[[], EvidenceSet],
    ) -> Candidate:
        """What scores say of evidence; damage is a miss, so that it is read once more."""
        try:
            return score(found)
        except (IntegrityError, NotFoundError) as error:
            self._reporter.note(f"{name}: {error.message} It has to be read again.")
            self._store.discard(EvidenceSet, found.key.digest)
            return score(read())

    def _stored(self, digest: str) -> EvidenceSet:
        """Evidence that a ranking was made by.

        Raises:
            NotFoundError: it is stored no more; nothing here can read it again.
        """
        found = self._store.find(EvidenceSet, digest)
        if found is None:
            raise NotFoundError("what it was ranked by is stored no more.", fix=_RANK_AGAIN)
        return found

    def _earlier(self) -> list[dict[str, float]]:
        """Of each stored ranking the place of each checkpoint: 1 for the first and 0 for the last."""
        places = []
        rankings = {r.target.fingerprint: r for r in self._store.load_notes("ranking", Ranking)}
        for ranking in rankings.values():
            last = len(ranking.scores) - 1
            if last > 0:
                places.append({str(s.revision): 1 - i / last for i, s in enumerate(ranking.scores)})
        return places


def _check_defined(by: ScoreSpec, target: Target) -> None:
    """Refuse to order by a score that means nothing for such labels."""
    if target.numbers and not by.numbers:
        raise UsageError(f"{by.title} is defined for classes only.", fix="--score logme")


def note_of(name: str) -> str:
    """Under which note a ranking of that name is stored.

    Raises:
        UsageError: it is no name for a ranking.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f'"{name}" is no name for a ranking.', fix="letters, digits, dots and dashes")
    return "ranking" if name == "latest" else f"ranking-{name}"


def load_evidence(store: Store, found: EvidenceSet, layer: str) -> Evidence:
    """Stored evidence of one layer.

    Raises:
        IntegrityError, NotFoundError: it is damaged or gone.
    """
    arrays = store.arrays(EvidenceSet, found.key.digest, names_of(layer))
    return evidence_from(arrays, layer, n=found.n, classes=found.classes)


def baselines(scores: Sequence[Score], by: str) -> tuple[Baseline, ...]:
    """What picking the largest checkpoint, or any, would have got; by the score that orders."""
    if not scores:
        return ()
    values = [score.estimates[by].value for score in scores]
    found = [Baseline("any checkpoint, on average", float(np.mean(values)))]
    sized = [i for i, score in enumerate(scores) if score.parameters]
    if sized:
        largest = max(sized, key=lambda i: scores[i].parameters or 0)
        found.append(Baseline("most parameters", values[largest], scores[largest].name, largest + 1))
    return tuple(found)


def prior(
    checkpoints: Sequence[Checkpoint],
    earlier: Sequence[Mapping[str, float]],
    alignment: Callable[[Sequence[Checkpoint]], Array | None],
) -> tuple[list[Checkpoint], str]:
    """Checkpoints in the order of what is known without reading the target.

    Args:
        checkpoints: m of them.
        earlier: of each earlier ranking the place of each checkpoint, by revision: 1 for the first and 0
            for the last.
        alignment: gives their (m, m) covariance, or None where it is not known.

    Returns:
        The most promising first, and what that goes by.
    """
    names = [str(checkpoint.revision) for checkpoint in checkpoints]
    places = [[ranking[name] for ranking in earlier if name in ranking] for name in names]
    known = np.array([bool(found) for found in places])
    if not known.any():
        return sorted(checkpoints, key=lambda c: -(c.parameters or 0)), "number of parameters"
    expected = np.array([float(np.mean(found)) if found else 0.5 for found in places])
    how = "earlier rankings"
    if not known.all():
        kappa = alignment(checkpoints)
        if kappa is not None:
            # The mean of the Gaussian process whose covariance this is, given places that are a bit noisy.
            between = kappa[np.ix_(known, known)] + _NOISE * np.eye(int(known.sum()))
            weights = np.linalg.solve(between, expected[known] - 0.5)
            expected[~known] = 0.5 + kappa[np.ix_(~known, known)] @ weights
            how += ", and the covariance for those that are in none"
    order = np.argsort(-expected, kind="stable")
    return [checkpoints[i] for i in order], how


def _remarks(target: Target, data: Labelled) -> tuple[str, ...]:
    """What a reader of a ranking should know of the labels."""
    if not data.classes:
        return ()
    counts = np.bincount(data.labels[counted(data.labels)].astype(np.int64), minlength=len(target.classes))
    top = int(counts.argmax())
    share = counts[top] / counts.sum()
    remarks = [f'Always answering "{target.classes[top]}" would be right for {share:.1%} of all.']
    if single := [target.classes[i] for i in np.flatnonzero(counts == 1)]:
        named = ", ".join(single[:3]) + (" and others" if len(single) > 3 else "")
        many = "One class has" if len(single) == 1 else f"{len(single)} classes have"
        remarks.append(f"{many} one example only: {named}.")
    return tuple(remarks)
