"""What the loop trains. The loop knows of examples by number only; what they are is the learner's matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from zookeeper.records import Kind


@dataclass(frozen=True, eq=False)
class Batch:
    """Some examples, ready for the module.

    Attributes:
        inputs: of the module: tensors, or lists and dictionaries of them.
        labels: (r,) classes or numbers, (r, c) of several labels at once, one for each of the module's
            outputs; those of rows that do not count are as in `Labelled`.
        rows: (r,), which rows of the part these are.
    """

    inputs: Any
    labels: torch.Tensor
    rows: NDArray[np.int64]


class Learner(Protocol):
    """A model, the examples that it learns from, and what to do with them.

    Attributes:
        module: called with a batch's inputs; gives its outputs, (r, c) of each row.
        padded: share of the sub-words of all batches so far that is padding; None where there are none.
    """

    @property
    def module(self) -> torch.nn.Module:
        """As above."""

    @property
    def padded(self) -> float | None:
        """As above."""

    def groups(self) -> list[dict[str, Any]]:
        """The parameters that learn, in groups for AdamW, each with its rate under ``"lr"``."""

    def sizes(self, split: str) -> NDArray[np.int64]:
        """(n,) of the examples of a split, in the unit of a recipe's micro-batch."""

    def counts(self) -> NDArray[np.int64]:
        """(n,) labels that count of each example of the training split."""

    def batch(self, split: str, examples: NDArray[np.int64]) -> Batch:
        """Some examples of a split. Called ahead, in another thread; touches no parameter."""

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Summed over the labels of a batch that count."""

    def learned(self) -> dict[str, NDArray[Any]]:
        """What was learned, by name: all it takes, with the checkpoints, to have the module again."""

    @property
    def details(self) -> Mapping[str, Any]:
        """What else there is to say of it."""

    def begin(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """Begin with what was learned on another task: all but the head.

        Raises:
            UsageError: there is nothing but a head, or it is of other members.
        """

    def restore(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """Give the module back what was learned."""


def summed_loss(outputs: torch.Tensor, labels: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Summed over the labels that count: cross-entropy, binary cross-entropy, or squared error.

    Args:
        outputs: (r, c).
        labels: (r,) classes or numbers, or (r, c) of several labels at once.
        kind: of the labels.
    """
    outputs = outputs.float()
    if kind == "classes":
        return functional.cross_entropy(outputs, labels, reduction="sum")
    missing = labels.isnan()
    wanted = labels.masked_fill(missing, 0.0)
    given = outputs.view_as(labels).masked_fill(missing, 0.0)
    if kind == "numbers":
        return functional.mse_loss(given, wanted, reduction="sum")
    each = functional.binary_cross_entropy_with_logits(given, wanted, reduction="none")
    return each.masked_fill(missing, 0.0).sum() / labels.shape[1]
