"""What there is to learn: labels, split by split, and which sentences of the target they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DataError, DegenerateInputError, UsageError
from zookeeper.records import Kind, Labelled, Target, counted

_VALIDATION_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Part:
    """Some sentences of a split of the target; of pairs, a pair is one.

    Attributes:
        source: the split of the target they are of.
        sentences: (s,) which, ascending.
        lengths: (s,) rows of each.
        rows: (n,) their rows in that split.
        labels: (n,), or (n, c) of several labels at once; as in `Labelled`.
    """

    source: str
    sentences: NDArray[np.int64]
    lengths: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[Any]

    @classmethod
    def of(cls, source: str, data: Labelled, sentences: NDArray[np.int64]) -> Part:
        """Some sentences of a split."""
        starts = np.cumsum(data.lengths) - data.lengths
        lengths = data.lengths[sentences]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(starts[sentences], lengths) + within
        return cls(source, sentences, lengths, rows, np.asarray(data.labels)[rows])

    @cached_property
    def counts(self) -> NDArray[np.bool_]:
        """(n,) whether the label of each row counts."""
        return counted(self.labels)


@dataclass(frozen=True, eq=False)
class Problem:
    """What there is to learn, and to judge it by.

    Attributes:
        parts: by name; ``"train"`` and ``"validation"`` are there, ``"test"`` may be.
        kind: of the labels.
        classes: names of the classes; empty where labels are numbers.
    """

    parts: Mapping[str, Part]
    kind: Kind
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            if not self.parts[name].counts.any():
                raise DataError(f"no row of the {name} split has a label.")
        if not all(np.isfinite(part.labels[part.counts]).all() for part in self.parts.values()):
            raise DegenerateInputError("labels are not finite (infinity).")

    @classmethod
    def of(cls, target: Target, data: Mapping[str, Labelled], *, seed: int, fraction: float = 1.0) -> Problem:
        """All of a target, or part of its training sentences.

        Where there is no validation split, a tenth of the training sentences is one; a fraction is of
        those that are left. Smaller fractions are parts of larger ones.

        Args:
            target: what is predicted.
            data: its splits.
            seed: draws the sentences for validation, and those of a fraction.
            fraction: share of the training sentences to learn from.

        Raises:
            DataError: there are too few sentences to hold any out, or no labels to learn from or judge by.
            DegenerateInputError: a label is infinite.
            UsageError: the fraction is none, or of no sentence.
        """
        chosen = {split: np.arange(len(d.lengths)) for split, d in data.items()}
        sources = dict(zip(data, data, strict=True))
        if "validation" not in data:
            chosen["train"], chosen["validation"] = _held_out(len(chosen["train"]), seed)
            sources["validation"] = "train"
        chosen["train"] = _drawn(chosen["train"], fraction, seed)
        names: list[str] = [name for name in ("train", "validation", "test") if name in chosen]
        parts = {name: Part.of(sources[name], data[sources[name]], chosen[name]) for name in names}
        return cls(parts, target.kind, target.classes)

    @property
    def n_outputs(self) -> int:
        """Outputs of a head: classes that only the test split has get none."""
        if self.kind == "numbers":
            return 1
        if self.kind == "labels":
            return len(self.classes)
        return 1 + max(int(self.parts[name].labels.max()) for name in ("train", "validation"))

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Mean and deviation of the numbers that are learnt from; 0 and 1 of classes."""
        if self.kind != "numbers":
            return 0.0, 1.0
        train = self.parts["train"]
        numbers = train.labels[train.counts]
        centre, deviation = float(numbers.mean()), float(numbers.std())
        return centre, deviation if deviation > max(1e-8, 1e-6 * abs(centre)) else 1.0

    def wanted(self, name: str) -> NDArray[Any]:
        """Labels of a part as a loss takes them: numbers brought to mean 0 and deviation 1."""
        labels = self.parts[name].labels
        if self.kind == "classes":
            return labels
        centre, deviation = self.scale
        return ((labels - centre) / deviation).astype(np.float32)

    def predictions(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """What (n, c) outputs of a head mean: (n,) classes, (n,) numbers, or (n, c) zeros and ones."""
        if self.kind == "classes":
            return np.asarray(outputs.argmax(axis=1))
        if self.kind == "labels":
            return (outputs > 0).astype(np.int64)
        centre, deviation = self.scale
        return outputs[:, 0].astype(np.float64) * deviation + centre


def _held_out(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sentences to learn from, and a tenth to validate on: at least one, never all."""
    if n < 2:
        raise DataError(
            "the target has one sentence only.", why="tuning needs some to train on and some to validate"
        )
    order = np.random.default_rng(seed).permutation(n)
    taken = max(1, round(n * _VALIDATION_SHARE))
    return np.sort(order[taken:]), np.sort(order[:taken])


def _drawn(sentences: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """A share of the sentences; a smaller share is part of a larger one."""
    if not 0 < fraction <= 1:
        raise UsageError(f"a fraction of {fraction:g} is none.", fix="above 0, up to 1")
    n = int(fraction * len(sentences) + 1e-9)  # 0.29 of 100 is 28.999…
    if not n:
        raise UsageError(
            f"{fraction:g} of {len(sentences):,} sentences is none.", fix=f"{1 / len(sentences):.2g} or more"
        )
    return np.sort(np.random.default_rng(seed).permutation(sentences)[:n])
