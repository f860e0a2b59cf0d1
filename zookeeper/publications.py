"""What others see of results: cards, pushes, reports, and what comes of making or using them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zookeeper.records import Checkpoint
from zookeeper.results import Comparison, Covariance, Estimate, Ranking, Run, Selection


@dataclass(frozen=True, slots=True)
class EvalCard:
    """All that the card of a run says.

    Attributes:
        run: what was measured.
        title: heading and model name.
        repo_id: where it is published; None for a folder.
        intervals: of the mean over seeds of the metric, by split, over resampled sentences.
        comparison: of the run with random ensembles and others; None where there was none.
    """

    run: Run
    title: str
    repo_id: str | None = None
    intervals: Mapping[str, Estimate] = field(default_factory=dict)
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class CardText:
    """What zoo has to say on a card, beside whatever else stands there.

    Attributes:
        metadata: for the Hub, by key; what YAML can hold.
        body: Markdown; empty for nothing.
    """

    metadata: Mapping[str, Any]
    body: str


@dataclass(frozen=True, slots=True)
class Publication:
    """What is to be written to a repository, in one commit.

    Attributes:
        kind: of repository.
        subject: what it is, in a line: the message of the commit, the title of a pull request.
        card: what its README.md shall say.
        files: by path, beside README.md; bytes, or where they are.
        account: how it was made, in a few lines: the text of a pull request.
    """

    kind: Literal["model", "dataset"]
    subject: str
    card: CardText
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    account: str = ""


@dataclass(frozen=True, slots=True)
class Push:
    """What a push wrote, or would write.

    Attributes:
        repo_id: where to.
        kind: of repository.
        created: whether the repository was, or would be, made.
        private: whether only its owner sees it.
        files: path and size of each file.
        diff: change of the card, as a unified diff.
        dry_run: whether nothing was written.
        proposed: whether it is a pull request, and not main, that it goes to.
        pull: number of the open pull request that was, or would be, updated; None for none.
        url: of the commit or pull request.
        commit: 40 hex digits.
        notes: what a reader should know.
    """

    repo_id: str
    kind: Literal["model", "dataset"]
    created: bool
    private: bool
    files: Mapping[str, int]
    diff: str
    dry_run: bool
    proposed: bool = False
    pull: int | None = None
    url: str | None = None
    commit: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a card.

    Attributes:
        line: of the card, from 1; 0 where it is of no line.
        message: what is wrong.
    """

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Repetition:
    """A number that was stated, and what came of making it again.

    Attributes:
        split: that it was measured on.
        seed: of the trial; None for the mean over seeds.
        stated: on the card.
        found: now.
    """

    split: str
    seed: int | None
    stated: float | None
    found: float | None


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A run that was made again from what is known of it.

    Attributes:
        run: as it was stated.
        again: as it is now.
        tolerances: of each split, by which a mean may differ and still hold.
        repetitions: mean over seeds of each split, then each seed.
        differences: versions and hardware that are not the same, as "what: then, now".
    """

    run: Run
    again: Run
    tolerances: Mapping[str, float]
    repetitions: tuple[Repetition, ...]
    differences: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every number is the same to the bit."""
        return all(one.stated == one.found for one in self.repetitions)

    @property
    def holds(self) -> bool:
        """Whether every mean is what was stated, within the tolerance."""
        return all(
            one.stated == one.found
            or (
                one.stated is not None
                and one.found is not None
                and abs(one.stated - one.found) <= self.tolerances[one.split]
            )
            for one in self.repetitions
            if one.seed is None
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an ensemble says of a word, a text or a pair of them.

    Attributes:
        text: the word, or the text; of a pair both, with a tab between them.
        label: name of its class, names of its labels, or its number.
        probability: of the class; None of labels and numbers.
    """

    text: str
    label: str | tuple[str, ...] | float
    probability: float | None = None


@dataclass(frozen=True, eq=False)
class Report:
    """What a report shows; whatever is None or empty is left out.

    Attributes:
        command: that makes it.
        created_at: ISO 8601, UTC.
        versions: of Python and libraries.
        checkpoints: of the zoo.
        covariance: of them.
        selection: from it, or for that target.
        unlabelled: what would be selected without labels, where the selection is for a target.
        ranking: for a target.
        runs: on that target, the one that was asked for, or the latest, first.
        comparison: of that run with other ensembles.
    """

    command: str
    created_at: str
    versions: Mapping[str, str]
    checkpoints: tuple[Checkpoint, ...]
    covariance: Covariance | None = None
    selection: Selection | None = None
    unlabelled: Selection | None = None
    ranking: Ranking | None = None
    runs: tuple[Run, ...] = ()
    comparison: Comparison | None = None
