"""What comes of the steps of the line: covariances, selections, rankings, runs. Frozen, as all records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from zookeeper.errors import DegenerateInputError
from zookeeper.records import (
    Array,
    Checkpoint,
    EvidenceSet,
    FeatureSet,
    Outcome,
    Reading,
    Recipe,
    Revision,
    Target,
)


@dataclass(frozen=True, eq=False)
class Covariance:
    """Task covariance of a zoo on one probe.

    Attributes:
        names: m names.
        matrix: (m, m), symmetric, positive semi-definite; with unit diagonal unless it came from a file.
        probe: name of the probe and number of its rows, for people; None where it came from a file.
        revisions: of each checkpoint; empty where it came from a file.
        left_out: what could not be measured.
    """

    names: tuple[str, ...]
    matrix: Array
    probe: str | None = None
    revisions: tuple[Revision, ...] = ()
    left_out: tuple[Outcome, ...] = ()

    def __post_init__(self) -> None:
        m = len(self.names)
        if not m:
            raise DegenerateInputError("a covariance needs at least one checkpoint.")
        if self.matrix.shape != (m, m):
            shape = " x ".join(map(str, self.matrix.shape))
            raise DegenerateInputError(f"a covariance of {m} names must be {m} x {m}, this one is {shape}.")
        if not np.isfinite(self.matrix).all():
            i, j = np.argwhere(~np.isfinite(self.matrix))[0]
            raise DegenerateInputError(
                f"the covariance of {self.names[i]} and {self.names[j]} is not a number."
            )
        if not np.allclose(self.matrix, self.matrix.T, rtol=0, atol=1e-8):
            raise DegenerateInputError("the covariance is not symmetric.")
        smallest = float(np.linalg.eigvalsh(self.matrix)[0])
        if smallest < -1e-8 * m:
            raise DegenerateInputError(
                f"this matrix is not a covariance: its smallest eigenvalue is {smallest:.3g}.",
                why="a covariance has none below zero",
            )


@dataclass(frozen=True, slots=True)
class Pick:
    """One chosen checkpoint.

    Attributes:
        name: of the checkpoint.
        gain: mutual information it adds, in nats.
        total: mutual information of the picks so far and the rest, in nats.
        stands_for: the checkpoints that are nearer to this pick than to any other.
        revision: None where the covariance came from a file.
    """

    name: str
    gain: float
    total: float
    stands_for: tuple[str, ...] = ()
    revision: Revision | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The checkpoints that say most about the rest of a zoo.

    Attributes:
        picks: in order.
        start: how the first was found.
        n_checkpoints: that were chosen from.
        probe: as in `Covariance`.
        copies: groups of exact copies, each of which counted once, under its first name.
        left_out: what could not be measured.
    """

    picks: tuple[Pick, ...]
    start: str
    n_checkpoints: int
    probe: str | None = None
    copies: tuple[tuple[str, ...], ...] = ()
    left_out: tuple[Outcome, ...] = ()


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
    level: float = 0.95
    shortlist: Shortlist | None = None
    notes: tuple[str, ...] = ()


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
        dimension: width of its features.
        parameters: of the checkpoint.
        license: as its card says.
    """

    name: str
    revision: Revision
    dimension: int
    parameters: int | None = None
    license: str | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training data.

    Attributes:
        number: 0 is before training.
        loss: mean over the labelled rows; None before training.
        metric: on the validation split; None where it is undefined.
    """

    number: int
    loss: float | None
    metric: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a recipe, with all it takes to repeat it.

    Attributes:
        id: 12 hex digits of the digest of plan and seed.
        target: what for.
        members: whose features were concatenated, in order.
        recipe: how.
        seed: of initial weights and order of examples.
        processes: that trained together.
        metric: name of the metric.
        history: pass by pass.
        best_epoch: whose weights were kept: the first with the best validation metric.
        results: the metric on each split that was evaluated.
        held_out: sentences that were taken from the training split for validation; 0 where the
            target has a validation split.
        command: what was typed.
        versions: of Python and of the libraries that made the numbers.
        device: hardware that trained the head.
        seconds: wall time, features not counted.
        created_at: ISO 8601, UTC.
    """

    id: str
    target: Target
    members: tuple[Member, ...]
    recipe: Recipe
    seed: int
    processes: int
    metric: str
    history: tuple[Epoch, ...]
    best_epoch: int
    results: Mapping[str, float | None]
    held_out: int
    command: str
    versions: Mapping[str, str]
    device: str
    seconds: float
    created_at: str


@dataclass(frozen=True, slots=True)
class Holding:
    """A checkpoint with what the zoo has of it.

    Attributes:
        checkpoint: itself.
        features: its feature sets.
        evidence: on targets that it was ranked for.
        runs: ids of the runs it is a member of.
    """

    checkpoint: Checkpoint
    features: tuple[FeatureSet, ...]
    evidence: tuple[EvidenceSet, ...]
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvalCard:
    """What a card says: a run, and how to load what it made.

    Attributes:
        run: what was measured.
        title: heading and model name.
    """

    run: Run
    title: str


@dataclass(frozen=True, slots=True)
class Push:
    """What a push wrote, or would write.

    Attributes:
        repo_id: where to.
        created: whether the repository was, or would be, made.
        files: path and size of each file.
        diff: change of the card, as a unified diff.
        dry_run: whether nothing was written.
        url: of the commit or pull request.
        commit: 40 hex digits.
    """

    repo_id: str
    created: bool
    files: Mapping[str, int]
    diff: str
    dry_run: bool
    url: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether all that is stored is what was stored.

    Attributes:
        checked: number of files that were read and hashed.
        damaged: path and reason of each that is not what was recorded.
    """

    checked: int
    damaged: Mapping[str, str]
