"""What the loop learns from: frozen features with labels, split by split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DataError, DegenerateInputError
from zookeeper.records import Labelled, Target, counted
from zookeeper.tuning.metrics import measure, metric_of

_VALIDATION_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Problem:
    """Frozen features with labels, split by split.

    Attributes:
        features: (n, d) of each split; ``"train"`` and ``"validation"`` are there.
        labels: (n,) of each split; classes (-100 does not count) or real numbers (NaN does not count).
        lengths: rows of each sentence of each split.
        classes: names of the classes; empty for a regression.
        metric: that decides when to stop.
    """

    features: Mapping[str, NDArray[np.float32]]
    labels: Mapping[str, NDArray[Any]]
    lengths: Mapping[str, NDArray[np.int64]]
    classes: tuple[str, ...]
    metric: str

    def __post_init__(self) -> None:
        for split in ("train", "validation"):
            if not counted(self.labels[split]).any():
                raise DataError(f"no row of the {split} split has a label.")
        labels = [labels[counted(labels)] for labels in self.labels.values()]
        if not all(np.isfinite(a).all() for a in (*self.features.values(), *labels)):
            raise DegenerateInputError("features or labels are not finite (NaN or infinity).")

    @classmethod
    def of(
        cls,
        target: Target,
        data: Mapping[str, Labelled],
        parts: Mapping[str, Sequence[NDArray[np.float32]]],
        *,
        seed: int,
    ) -> Problem:
        """Members' features side by side; where there is no validation split, part of train is one.

        Args:
            target: what is predicted.
            data: its splits.
            parts: for each split the features of each member, in order.
            seed: draws the sentences for validation.

        Raises:
            DataError: there are too few sentences to hold any out, or no labels to learn from or judge by.
            DegenerateInputError: features, or labels that count, are not finite.
            UsageError: the target is of a kind that no head learns yet.
        """
        metric = metric_of(target)
        features = {split: np.concatenate(arrays, axis=1) for split, arrays in parts.items()}
        labels = {split: d.labels for split, d in data.items()}
        lengths = {split: d.lengths for split, d in data.items()}
        if "validation" not in data:
            taken = _hold_out(len(lengths["train"]), seed)
            rows = np.repeat(taken, lengths["train"])
            features |= {"train": features["train"][~rows], "validation": features["train"][rows]}
            labels |= {"train": labels["train"][~rows], "validation": labels["train"][rows]}
            lengths |= {"train": lengths["train"][~taken], "validation": lengths["train"][taken]}
        return cls(features, labels, lengths, target.classes, metric)

    @property
    def n_outputs(self) -> int:
        """Outputs of the head: classes that only the test split has get none."""
        if not self.classes:
            return 1
        return 1 + max(int(self.labels[split].max()) for split in ("train", "validation"))

    def measure(self, split: str, predictions: NDArray[Any]) -> float | None:
        """The metric of (n,) predictions on a split; None where it is undefined."""
        return measure(
            self.metric, predictions, self.labels[split], classes=self.classes, lengths=self.lengths[split]
        )


def _hold_out(n_sentences: int, seed: int) -> NDArray[np.bool_]:
    """Which sentences to take for validation: a tenth, at least one, never all."""
    if n_sentences < 2:
        raise DataError(
            "the target has one sentence only.", why="tuning needs some to train on and some to validate"
        )
    taken = np.zeros(n_sentences, dtype=bool)
    wanted = max(1, round(n_sentences * _VALIDATION_SHARE))
    taken[np.random.default_rng(seed).permutation(n_sentences)[:wanted]] = True
    return taken
