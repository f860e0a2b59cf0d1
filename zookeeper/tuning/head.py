"""Recipe ``head``: a linear head on frozen features of all members, side by side.

The setting of Huang, Qiu and Church (NeurIPS 2021), and the control for everything else. With ``mix`` each
member's layers are weighted by a softmax that is learned too (Peters et al. 2018,
https://aclanthology.org/N18-1202, equation 1); the head is linear in all layers all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zookeeper.errors import UsageError
from zookeeper.plans import Recipe
from zookeeper.tuning.learner import Batch, summed_loss
from zookeeper.tuning.materials import Features, Materials
from zookeeper.tuning.problem import Problem

_BLOCK = 8192


class Linear(torch.nn.Module):
    """Scaled features, mixed over layers where there are several, through one linear layer.

    Args:
        layers: of each member.
        widths: of each member's features.
        n_outputs: of the head.
    """

    def __init__(self, layers: Sequence[int], widths: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        self._layers, self._sizes = (
            tuple(layers),
            [n * width for n, width in zip(layers, widths, strict=True)],
        )
        self.register_buffer("widths", torch.tensor(widths))
        self.register_buffer("centre", torch.zeros(sum(self._sizes)))
        self.register_buffer("scale", torch.ones(sum(self._sizes)))
        self.linear = torch.nn.Linear(sum(widths), n_outputs)
        mixed = any(n > 1 for n in layers)
        self.mix = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(n)) for n in layers if mixed])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(r, c) outputs for (r, d) features, layer by layer within a member, member by member."""
        scaled = (features - self.get_buffer("centre")) / self.get_buffer("scale")
        return self.linear(self._mixed(scaled) if len(self.mix) else scaled)  # type: ignore[no-any-return]

    def _mixed(self, scaled: torch.Tensor) -> torch.Tensor:
        members = [
            torch.einsum("rld,l->rd", part.reshape(len(part), n, part.shape[1] // n), weights.softmax(0))
            for part, n, weights in zip(
                torch.split(scaled, self._sizes, dim=1), self._layers, self.mix, strict=True
            )
        ]
        return torch.cat(members, dim=1)


@dataclass(frozen=True, eq=False)
class Head:
    """A linear head as the loop trains it; an example is a row.

    Attributes:
        module: scales and maps.
        features: (n, d) of each split of the target.
        problem: what it learns.
        rate: learning rate.
        rows: of each part, in the features of its split; of the training part those that count.
        names: of the members.
    """

    module: Linear
    features: Mapping[str, Features]
    problem: Problem
    rate: float
    rows: Mapping[str, NDArray[np.int64]]
    names: tuple[str, ...]
    padded = None

    @classmethod
    def of(cls, materials: Materials, problem: Problem, recipe: Recipe, *, seed: int, device: str) -> Head:
        """From the members' features.

        Args:
            materials: with features.
            problem: what to learn.
            recipe: how.
            seed: of initial weights.
            device: not used; the loop places the module.

        Raises:
            DegenerateInputError: features are not finite.
        """
        layers, widths = materials.shape
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            module = Linear(layers, widths, problem.n_outputs)
        train = problem.parts["train"]
        rows = {name: part.rows for name, part in problem.parts.items()}
        rows["train"] = train.rows[train.counts]
        if recipe.settings["standardize"]:
            centre, scale = _moments(materials.features[train.source], rows["train"])
            module.get_buffer("centre").copy_(torch.from_numpy(centre))
            module.get_buffer("scale").copy_(torch.from_numpy(scale))
        return cls(module, materials.features, problem, recipe.learning_rate, rows, materials.names)

    def groups(self) -> list[dict[str, Any]]:
        """All parameters, with one rate."""
        return [{"params": list(self.module.parameters()), "lr": self.rate}]

    def sizes(self, split: str) -> NDArray[np.int64]:
        """1 for each row."""
        return np.ones(len(self.rows[split]), dtype=np.int64)

    def counts(self) -> NDArray[np.int64]:
        """1 for each row: others are no examples."""
        return self.sizes("train")

    def batch(self, split: str, examples: NDArray[np.int64]) -> Batch:
        """Some rows."""
        features = self.features[self.problem.parts[split].source][self.rows[split][examples]]
        return Batch(torch.from_numpy(features), torch.from_numpy(self._wanted[split][examples]), examples)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """By the kind of the labels."""
        return summed_loss(outputs, batch.labels, self.problem.kind)

    def learned(self) -> dict[str, NDArray[Any]]:
        """Weights, and how features are scaled."""
        return {
            f"head.{name}": value.cpu().numpy().copy() for name, value in self.module.state_dict().items()
        }

    def restore(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """As `Learner.restore`."""
        self.module.load_state_dict(
            {name.removeprefix("head."): torch.from_numpy(value) for name, value in learned.items()}
        )

    @property
    def details(self) -> dict[str, Any]:
        """The share of each layer of a member, where they are mixed."""
        return {
            f"layers of {name}": {str(layer): share for layer, share in enumerate(mix.softmax(0).tolist())}
            for name, mix in zip(self.names, self.module.mix, strict=False)
        }

    def begin(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """As `Learner.begin`: there is nothing but a head."""
        raise UsageError(
            "a head on frozen features takes nothing along from another target.", fix="--set of=full, or lora"
        )

    @cached_property
    def _wanted(self) -> dict[str, NDArray[Any]]:
        """Labels of each part's examples."""
        counts = self.problem.parts["train"].counts
        wanted = {name: self.problem.wanted(name) for name in self.problem.parts}
        return wanted | {"train": wanted["train"][counts]}


def folded(
    learned: Mapping[str, NDArray[Any]], scale: Sequence[float] | NDArray[np.float64]
) -> dict[str, NDArray[np.float32]]:
    """A learned head as one linear map of features as they are, to numbers as they are.

    Args:
        learned: as `Head.learned` gives it.
        scale: mean and deviation of the numbers that were learnt from; 0 and 1 of classes.

    Returns:
        ``"head.weight"`` (c, d) and ``"head.bias"`` (c,), d over all layers that are mixed.
    """
    weight = learned["head.linear.weight"].astype(np.float64)
    if "head.mix.0" in learned:
        weight = _unmixed(weight, learned)
    weight = weight / learned["head.scale"]
    bias = learned["head.linear.bias"] - weight @ learned["head.centre"].astype(np.float64)
    centre, deviation = scale
    return {
        "head.weight": (weight * deviation).astype(np.float32),
        "head.bias": (bias * deviation + centre).astype(np.float32),
    }


def _moments(features: Features, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of each column over some rows; 1 where there is no more than rounding."""
    blocks = np.array_split(rows, max(1, len(rows) // _BLOCK))
    centre = sum(features[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(rows)
    squares = sum(np.square(features[block] - centre).sum(axis=0) for block in blocks)
    scale = np.sqrt(squares / len(rows))
    scale = np.where(scale < np.maximum(1e-8, 1e-6 * np.abs(centre)), 1.0, scale)
    return centre.astype(np.float32), scale.astype(np.float32)


def _unmixed(weight: NDArray[np.float64], learned: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """(c, d) weights of every layer, from those of the mixed ones."""
    widths = learned["head.widths"]
    columns = []
    for i, part in enumerate(np.split(weight, np.cumsum(widths)[:-1], axis=1)):
        shares = np.exp(learned[f"head.mix.{i}"].astype(np.float64))
        columns += [part * share for share in shares / shares.sum()]
    return np.concatenate(columns, axis=1)
