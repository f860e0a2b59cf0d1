"""What comes of the steps of the line: covariances, selections, rankings, runs. Frozen, as all records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.plans import Plan, Recipe, Request
from zookeeper.records import (
    Array,
    Checkpoint,
    EvidenceSet,
    FeatureSet,
    Outcome,
    ProbeChoice,
    Reading,
    Revision,
    SignatureSet,
    Target,
)

NEAR_DUPLICATES = 0.95
"""Alignment from which two checkpoints are called near-duplicates."""
LEVEL = 0.95
"""Of the intervals of a run, and of a ranking unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What made a ranking or a selection.

    Attributes:
        command: what was typed; empty where it was made from Python.
        created_at: ISO 8601, UTC.
        versions: of Python and of the libraries that make numbers.
        device: hardware that made it.
        seconds: wall time; what was measured before and kept is not counted.
    """

    command: str
    created_at: str
    versions: Mapping[str, str]
    device: str
    seconds: float


@dataclass(frozen=True, eq=False)
class Covariance:
    """Task covariance of a zoo on one probe.

    Attributes:
        names: m names.
        matrix: (m, m), symmetric, positive semi-definite; with unit diagonal unless it came from a file.
        probed: the probe, and how it was read; None where it came from a file.
        revisions: of each checkpoint; empty where it came from a file.
        left_out: what could not be measured.
        standard_error: (m, m), of each entry over sentences; None where it is not known.
        support: (m,), share of the probe's sentences that each rests on; None where it is not known.
        estimated: (m, m), standard error at most that signatures add; None where features were compared.
        debiased: whether pairs of words of the same sentence were left out.
        shrinkage: share of the identity that was mixed in.
    """

    names: tuple[str, ...]
    matrix: Array
    probed: ProbeChoice | None = None
    revisions: tuple[Revision, ...] = ()
    left_out: tuple[Outcome, ...] = ()
    standard_error: Array | None = None
    support: Array | None = None
    estimated: Array | None = None
    debiased: bool = False
    shrinkage: float = 0.0

    def __post_init__(self) -> None:
        m = len(self.names)
        if not m:
            raise DegenerateInputError("a covariance needs at least one checkpoint.")
        if self.matrix.shape != (m, m):
            shape = " x ".join(map(str, self.matrix.shape))
            raise DegenerateInputError(f"a covariance of {m} names must be {m} x {m}, this one is {shape}.")
        if len(set(self.names)) < m:
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise DegenerateInputError(f"a covariance has two rows of the name {twice}.")
        if not np.isfinite(self.matrix).all():
            i, j = np.argwhere(~np.isfinite(self.matrix))[0]
            raise DegenerateInputError(
                f"the covariance of {self.names[i]} and {self.names[j]} is not a number."
            )
        if not np.allclose(self.matrix, self.matrix.T, rtol=0, atol=1e-8):
            i, j = np.unravel_index(np.abs(self.matrix - self.matrix.T).argmax(), self.matrix.shape)
            raise DegenerateInputError(
                "the covariance is not symmetric.",
                why=f"of {self.names[i]} and {self.names[j]} it says {self.matrix[i, j]:.6g} and "
                f"{self.matrix[j, i]:.6g}",
            )
        smallest = float(np.linalg.eigvalsh(self.matrix)[0])
        # Features in single precision leave about 1e-7 of it uncertain.
        if smallest < -1e-7 * m:
            raise DegenerateInputError(
                f"this matrix is not a covariance: its smallest eigenvalue is {smallest:.3g}.",
                why="a covariance has none below zero",
            )

    @property
    def probe(self) -> str | None:
        """The probe, for people."""
        return None if self.probed is None else str(self.probed)

    def named(self, revisions: Iterable[Revision]) -> list[str]:
        """The names of those of these revisions that are in it, in their order."""
        names = dict(zip(self.revisions, self.names, strict=False))
        return [names[revision] for revision in revisions if revision in names]

    def __len__(self) -> int:
        return len(self.names)

    def shrunk(self, share: float) -> Covariance:
        """The same with that share of the identity mixed in, which makes it positive definite.

        Raises:
            UsageError: the share is not between 0 and 1.
        """
        if not 0 <= share < 1:
            raise UsageError(f"{share} is no share to shrink by.", fix="a number from 0 to below 1")
        scale = np.diag(np.diag(self.matrix))
        mixed = (1 - share) * self.matrix + share * scale
        return replace(
            self,
            matrix=mixed,
            standard_error=None if self.standard_error is None else (1 - share) * self.standard_error,
            estimated=None if self.estimated is None else (1 - share) * self.estimated,
            shrinkage=1 - (1 - self.shrinkage) * (1 - share),
        )


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A checkpoint beside another.

    Attributes:
        name: of the checkpoint.
        revision: where and which.
        alignment: with the other.
        error: standard error at most of the estimate.
    """

    name: str
    revision: Revision
    alignment: float
    error: float


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The checkpoints that are most like one.

    Attributes:
        name: of the one.
        revision: where and which.
        probe: name of the probe and number of its words, for people.
        neighbours: nearest first.
        compared: with how many.
        left_out: what could not be compared.
    """

    name: str
    revision: Revision
    probe: str
    neighbours: tuple[Neighbour, ...]
    compared: int
    left_out: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Convergence:
    """How the covariance settles as more of the probe is read.

    Attributes:
        words: how many were used, ascending; the last is all.
        divergence: KL(all || so many), in nats, as Gaussians; None where the covariance of so many words is
            singular.
        cosine: of the two matrices as vectors.
        isotropic: divergence and cosine of the identity in the place of the covariance of so many words.
        probe: as in `Neighbourhood`.
        n_checkpoints: that were compared, copies counted once.
    """

    words: tuple[int, ...]
    divergence: tuple[float | None, ...]
    cosine: tuple[float, ...]
    isotropic: tuple[float, float]
    probe: str | None = None
    n_checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """A greedy choice of items, by number.

    Attributes:
        picks: 0-based, in order.
        gains: what each adds to what the choice is made by, in nats.
        ties: of each pick, the items that would have served as well, within 1e-9.
        copies: groups of copies, each of which counted once, under its first.
    """

    picks: tuple[int, ...]
    gains: tuple[float, ...]
    ties: tuple[tuple[int, ...], ...] = ()
    copies: tuple[tuple[int, ...], ...] = ()

    @property
    def total(self) -> float:
        """Of all gains."""
        return float(sum(self.gains))


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best set of a size, or how near to it the search came.

    Attributes:
        picks: the best set that was found, ascending.
        value: of that set, in nats.
        bound: no set has more.
        proven: whether this is the best set there is.
    """

    picks: tuple[int, ...]
    value: float
    bound: float
    proven: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with what is known of its chance.

    Attributes:
        value: the score.
        low: end of the bootstrap interval; None where no bootstrap was asked for.
        high: the other end.
        null: the same score where the labels are shuffled.
    """

    value: float
    low: float | None = None
    high: float | None = None
    null: float | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """One chosen checkpoint.

    Attributes:
        name: of the checkpoint.
        gain: what it adds, in nats: mutual information, or evidence per example.
        total: of the picks so far.
        stands_for: the checkpoints that are nearer to this pick than to any other.
        revision: None where the covariance came from a file.
        stable: share of the replicates that choose it; None where none were drawn.
        ties: what would have served as well.
        cost: of the checkpoint, in the unit of the budget; None without one.
    """

    name: str
    gain: float
    total: float
    stands_for: tuple[str, ...] = ()
    revision: Revision | None = None
    stable: float | None = None
    ties: tuple[str, ...] = ()
    cost: int | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """What another way of choosing as many comes to.

    Attributes:
        name: of the way.
        value: of what the selection is made by; its mean where there are several sets.
        picks: none where there are several sets.
        spread: 5th and 95th percentile where there are several sets.
        below: share of the sets that come to less than the selection.
    """

    name: str
    value: float
    picks: tuple[str, ...] = ()
    spread: tuple[float, float] | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class BestSet:
    """The best set of a size by name, or how near to it the search came.

    Attributes:
        names: of the best set that was found.
        value: of that set, in nats.
        bound: no set has more.
        proven: whether this is the best set there is.
    """

    names: tuple[str, ...]
    value: float
    bound: float
    proven: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """What all picks together may cost.

    Attributes:
        amount: in the unit.
        unit: parameters, or bytes to download.
    """

    amount: int
    unit: Literal["parameters", "bytes"]


_By = Literal["mutual information", "evidence", "evidence and mutual information"]
_MEASURED_IN: dict[_By, str] = {
    "mutual information": "nats of mutual information between the chosen and the rest",
    "evidence": "nats per example of evidence for the features side by side",
    "evidence and mutual information": "nats per example of evidence; picked half by mutual information",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """The checkpoints that say most about the rest of a zoo, or about a target.

    Attributes:
        picks: in order.
        start: how the first was found.
        n_checkpoints: that were chosen from.
        probe: as in `Neighbourhood`; None where it was not needed.
        by: what was made large.
        target: that it is for; None for the zoo itself.
        split: of the target.
        copies: groups of exact copies, each of which counted once, under its first name.
        merged: groups that were merged as near-duplicates, on request.
        near: pairs of near-duplicates, with their alignment.
        controls: other ways of choosing as many.
        band: 5th and 95th percentile over replicates of the total of each pick; empty where none were drawn.
        random: of as many checkpoints drawn at random, for each number of picks.
        optimum: the best set of that size, where it was asked for.
        regret: by how much the picks fall short of what each replicate would have picked, in nats.
        others: what replicates choose and this selection does not, with the share of them that do.
        replicates: that were drawn.
        budget: that was given.
        shrinkage: as in `Covariance`.
        left_out: what could not be measured.
        candidates: all that were chosen from; empty where the covariance came from a file, and of an earlier
            version.
        origin: what made it; None of an earlier version.
    """

    picks: tuple[Pick, ...]
    start: str
    n_checkpoints: int
    probe: str | None = None
    by: _By = "mutual information"
    target: Target | None = None
    split: str | None = None
    copies: tuple[tuple[str, ...], ...] = ()
    merged: tuple[tuple[str, ...], ...] = ()
    near: tuple[tuple[str, str, float], ...] = ()
    controls: tuple[Control, ...] = ()
    band: tuple[tuple[float, float], ...] = ()
    random: tuple[Estimate, ...] = ()
    optimum: BestSet | None = None
    regret: Estimate | None = None
    others: tuple[tuple[str, float], ...] = ()
    replicates: int = 0
    budget: Budget | None = None
    shrinkage: float = 0.0
    left_out: tuple[Outcome, ...] = ()
    candidates: tuple[Revision, ...] = ()
    origin: Origin | None = None

    @property
    def unit(self) -> str:
        """Of gains and totals, in short."""
        return "nats" if self.by == "mutual information" else "nats per example"

    @property
    def measured_in(self) -> str:
        """What gains and totals are, in full."""
        return _MEASURED_IN[self.by]


@dataclass(frozen=True, slots=True)
class Score:
    """Transferability of one checkpoint to one target.

    Attributes:
        name: of the checkpoint.
        revision: where and which.
        estimates: every score that was asked for and is defined here, by name.
        layer: whose features these are.
        dimension: width of the features.
        examples: that it was measured on.
        evidence: digest of what it was computed from.
        behind: how far it is behind the first by the score that orders, over the same resampled sentences;
            None for the first, and where no bootstrap was asked for.
        tier: checkpoints of one letter cannot be told apart; None where no bootstrap was asked for.
        ranks: the best and the worst place it takes when examples vary.
        parameters: of the checkpoint.
        notes: what a reader should know before trusting them.
    """

    name: str
    revision: Revision
    estimates: Mapping[str, Estimate]
    layer: str
    dimension: int
    examples: int
    evidence: str
    behind: Estimate | None = None
    tier: str | None = None
    ranks: tuple[int, int] | None = None
    parameters: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one would have got without reading anything.

    Attributes:
        name: how one would have chosen.
        value: the score of that choice, or its expectation.
        pick: what one would have chosen; None where it is any of them.
        rank: of that choice.
    """

    name: str
    value: float
    pick: str | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Shortlist:
    """Which checkpoints were read at all.

    Attributes:
        n: how many.
        of: how many there were.
        by: what the first choice went by.
        left_out: the others, in its order.
    """

    n: int
    of: int
    by: str
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Checkpoints in order of their transferability to one target.

    Attributes:
        target: what for.
        split: whose labels were used.
        by: name of the score that orders them.
        layer: as it was asked for: ``"last"``, ``"mean"``, ``"best"`` or a number.
        reading: how features were read.
        scores: best first.
        baselines: by the score that orders them.
        failures: checkpoints without a score, with reasons.
        replicates: of the bootstrap; 0 for none.
        level: of intervals and tiers.
        shortlist: None where all were read.
        notes: what a reader should know of the target.
        origin: what made it; None of an earlier version.
    """

    target: Target
    split: str
    by: str
    layer: str
    reading: Reading
    scores: tuple[Score, ...]
    baselines: tuple[Baseline, ...] = ()
    failures: tuple[Outcome, ...] = ()
    replicates: int = 0
    level: float = LEVEL
    shortlist: Shortlist | None = None
    notes: tuple[str, ...] = ()
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well an order of checkpoints agrees with true results; intervals are over checkpoints.

    Attributes:
        name: of the score or baseline.
        n: checkpoints that have both.
        kendall: tau-b, with its interval; None where one of the two is constant.
        weighted: Kendall's tau with hyperbolic weights: the top counts most.
        pearson: correlation.
        top: whether the first is the best.
        regret: by how much the result of the first falls short of the best.
    """

    name: str
    n: int
    kendall: Estimate | None
    weighted: Estimate | None
    pearson: Estimate | None
    top: bool
    regret: Estimate


@dataclass(frozen=True, slots=True)
class Member:
    """A checkpoint in an ensemble.

    Attributes:
        name: short name.
        revision: where and which.
        dimension: width of its features; None where they were not looked at.
        parameters: of the checkpoint.
        license: as its card says.
    """

    name: str
    revision: Revision
    dimension: int | None = None
    parameters: int | None = None
    license: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """By which one may be meant that is a folder, the surest first."""
        return str(self.revision), self.revision.repo_id, self.name


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training data.

    Attributes:
        number: 0 is before training.
        loss: mean over the labels; None before training.
        metric: on the validation split; None where it is undefined.
        rate: of the head, at the end of the pass; None before training.
        seconds: wall time since the beginning, validation included.
    """

    number: int
    loss: float | None
    metric: float | None
    rate: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One execution of a recipe with one seed, on one share of the training data.

    Its arrays are what was learned, and for each split that it was measured on the outputs of the head, the
    predictions, the labels and the lengths of the sentences.

    Attributes:
        key: what made it.
        history: pass by pass.
        best_epoch: whose weights were kept: the first with the best validation metric.
        results: the metric on each split that was measured.
        data: digest of sentences and labels of each of these splits.
        sentences: how many each of these splits has; ``"train"`` says how many were learnt from.
        steps: of the optimiser that were made.
        processes: that trained together.
        padded: share of the sub-words of all batches that was padding; None where features were frozen.
        details: what else the recipe has to say, such as the weights of members.
        versions: of Python and of the libraries that made the numbers.
        device: hardware that trained it.
        seconds: wall time, reading features not counted.
        peak_bytes: of memory of the device; of the whole process up to then where that is the processor.
        created_at: ISO 8601, UTC.
        energy: kilowatt-hours that training took, as codecarbon estimates it; None where that is not
            installed, fails, or did not see all of the training.
    """

    key: Plan
    history: tuple[Epoch, ...]
    best_epoch: int
    results: Mapping[str, float | None]
    data: Mapping[str, str]
    sentences: Mapping[str, int]
    steps: int
    processes: int
    padded: float | None
    details: Mapping[str, Any]
    versions: Mapping[str, str]
    device: str
    seconds: float
    peak_bytes: int
    created_at: str
    energy: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What `zoo tune` did: one plan with several seeds, and with several shares of the training data.

    Attributes:
        id: 12 hex digits of the digest of all that was asked for.
        target: what for.
        members: in order.
        recipe: how.
        metric: name of the metric.
        trials: one for each fraction and seed, by fraction, then seed.
        through: targets that the members were tuned on before, one after another.
        held_out: sentences that were taken from the training split for validation; 0 where the
            target has a validation split.
        majority: the metric of the commonest answer of the training split on each split; None of numbers.
        command: what was typed.
        created_at: ISO 8601, UTC.
        request: all that was asked for, by which it can be made again; None of an earlier version.
    """

    id: str
    target: Target
    members: tuple[Member, ...]
    recipe: Recipe
    metric: str
    trials: tuple[Trial, ...]
    through: tuple[str, ...]
    held_out: int
    majority: Mapping[str, float | None]
    command: str
    created_at: str
    request: Request | None = None

    @property
    def whole(self) -> tuple[Trial, ...]:
        """The trials on the largest share of the training data, one for each seed."""
        largest = max(trial.key.fraction for trial in self.trials)
        return tuple(trial for trial in self.trials if trial.key.fraction == largest)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the trials."""
        return tuple(trial.key.seed for trial in self.whole)

    @property
    def best(self) -> Trial:
        """The trial to publish: the first with the best validation metric on the largest share."""
        return max(self.whole, key=lambda trial: _or_least(trial.results.get("validation")))

    @property
    def curve(self) -> dict[float, tuple[Trial, ...]]:
        """The trials on each share of the training data, ascending."""
        shares = sorted({trial.key.fraction for trial in self.trials})
        return {share: tuple(t for t in self.trials if t.key.fraction == share) for share in shares}

    @property
    def results(self) -> dict[str, Spread]:
        """The metric over seeds, on each split that was measured."""
        splits = dict.fromkeys(split for trial in self.whole for split in trial.results)
        return {split: spread_of(trial.results.get(split) for trial in self.whole) for split in splits}


_METRICS = {"span_f1": "span F1", "accuracy": "accuracy", "pearson": "Pearson's r", "f1_micro": "micro F1"}


def metric_title(name: str) -> str:
    """A metric as people say it, within a sentence; one of elsewhere by its name."""
    return _METRICS.get(name, name)


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over seeds.

    Attributes:
        mean: over the seeds for which it is defined; None if there are none.
        deviation: standard deviation between seeds (n - 1); None for fewer than two.
        n: seeds for which it is defined.
    """

    mean: float | None
    deviation: float | None
    n: int


def spread_of(values: Iterable[float | None]) -> Spread:
    """Mean and standard deviation of what is defined."""
    defined = [value for value in values if value is not None]
    if not defined:
        return Spread(None, None, 0)
    deviation = float(np.std(defined, ddof=1)) if len(defined) > 1 else None
    return Spread(float(np.mean(defined)), deviation, len(defined))


def _or_least(value: float | None) -> float:
    return -np.inf if value is None else value


@dataclass(frozen=True, slots=True)
class Contender:
    """An ensemble in a comparison.

    Attributes:
        name: what it is, such as ``"chosen"``, ``"first 3 by LogME"``, ``"random"``.
        members: short names.
        values: the metric, for each seed.
    """

    name: str
    members: tuple[str, ...]
    values: tuple[float | None, ...]

    @property
    def mean(self) -> float | None:
        """Over seeds."""
        return spread_of(self.values).mean


@dataclass(frozen=True, slots=True)
class Comparison:
    """An ensemble beside others of the same size that were tuned in the same way.

    Attributes:
        run: id of the run of the first contender.
        target: what for.
        recipe: how, by name.
        metric: name of the metric.
        split: on which it was measured.
        fraction: share of the training data.
        seeds: of each contender.
        contenders: what was asked for, then what else one would have taken.
        random: ensembles drawn at random, the same in every comparison in this zoo.
        failures: what could not be tuned.
    """

    run: str
    target: Target
    recipe: str
    metric: str
    split: str
    fraction: float
    seeds: tuple[int, ...]
    contenders: tuple[Contender, ...]
    random: tuple[Contender, ...]
    failures: tuple[Outcome, ...] = ()

    def rank(self, contender: Contender) -> int:
        """1 for one that is better than all random ensembles, and so on; equal counts as worse."""
        return 1 + sum(_or_least(one.mean) >= _or_least(contender.mean) for one in self.random)

    def p(self, contender: Contender) -> float:
        """Chance that a random ensemble is at least as good, by (1 + those that are) / (1 + all)."""
        return self.rank(contender) / (1 + len(self.random))


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ensemble in a request would take, as far as it can be told before.

    Attributes:
        what: it is: ``"chosen"``, or what it is compared with.
        members: short names.
        trials: in all.
        done: of them, stored already.
        begun: of them, interrupted, to go on where they were.
        steps: of the optimiser that are left, if patience lasts.
        bytes: of memory at most, roughly.
        seconds: that are left, roughly, on this machine; reading features included.
    """

    what: str
    members: tuple[str, ...]
    trials: int
    done: int
    begun: int
    steps: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a request would take.

    Attributes:
        run: id of the run that it makes.
        request: which.
        target: as it was read.
        expected: of each ensemble.
    """

    run: str
    request: Request
    target: Target
    expected: tuple[Expected, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """A checkpoint with what the zoo has of it.

    Attributes:
        checkpoint: itself.
        features: its feature sets.
        evidence: on targets that it was ranked for.
        runs: ids of the runs it is a member of.
        signatures: that stand for features.
    """

    checkpoint: Checkpoint
    features: tuple[FeatureSet, ...]
    evidence: tuple[EvidenceSet, ...]
    runs: tuple[str, ...]
    signatures: tuple[SignatureSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Waste:
    """What can be deleted.

    Attributes:
        what: kind of thing.
        why: it can be spared.
        items: how many.
        size: bytes on disk.
        left: how many more of the kind are left alone, as they are too young.
    """

    what: str
    why: str
    items: int
    size: int
    left: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether all that is stored is what was stored.

    Attributes:
        checked: number of files that were read and hashed.
        damaged: path and reason of each that is not what was recorded.
        read_again: of checkpoints whose features were computed again: the largest difference, as a share of
            the largest number among them.
    """

    checked: int
    damaged: Mapping[str, str]
    read_again: Mapping[str, float] = field(default_factory=dict)


Health = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """What `zoo doctor` found of one thing.

    Attributes:
        name: of what was looked at.
        state: ``"ok"``, ``"warning"`` where something will not work or not well, ``"problem"`` where little
            will.
        says: what was found, as a sentence.
        fix: what to do.
        mended: whether that was done.
    """

    name: str
    state: Health
    says: str
    fix: str | None = None
    mended: bool = False
