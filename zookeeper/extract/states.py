"""Batches of windows to states, and these to rows: the same for reading and, with gradients, for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from zookeeper.errors import CheckpointError

Batch = Mapping[str, torch.Tensor]


def run(model: Any, batch: Batch, layer: str) -> Any:
    """What a model makes of a batch, with what `hidden` needs."""
    return model(
        input_ids=batch["ids"],
        attention_mask=batch["mask"],
        **({"position_ids": batch["places"]} if "places" in batch else {}),
        output_hidden_states=layer != "last",
        return_dict=True,
    )


def hidden(output: Any, layer: str) -> dict[str, torch.Tensor]:
    """Hidden states (b, t, d) of the layers that are read, by name.

    Args:
        output: of a model.
        layer: as in `Reading`.

    Raises:
        CheckpointError: it has no such layer.
    """
    if layer == "last":
        return {"last": output.last_hidden_state}
    states = output.hidden_states
    if layer == "all":
        if len(states) < 2:
            raise CheckpointError("it has embeddings only, and no layers.")
        return {str(number): each for number, each in enumerate(states)}
    if layer == "mean":
        return {"mean": torch.stack(states[1:]).mean(dim=0)}
    try:
        return {layer: states[int(layer)]}
    except IndexError:
        raise CheckpointError(
            f"it has no layer {layer}.", why=f"its layers are 0 (embeddings) to {len(states) - 1}"
        ) from None


class Sums:
    """What comes together of each slot while batches go through a model, by name; in single precision.

    Args:
        n_slots: how many there are.
    """

    def __init__(self, n_slots: int) -> None:
        self._n_slots = n_slots
        self._by_name: dict[str, torch.Tensor] = {}

    def add(self, name: str, slots: torch.Tensor, states: torch.Tensor) -> None:
        """Add (c, d) states to their slots, which are zero at first."""
        if name not in self._by_name:
            shape = (self._n_slots, states.shape[1])
            self._by_name[name] = torch.zeros(shape, dtype=torch.float32, device=states.device)
        self._by_name[name].index_add_(0, slots, states)

    def pool(self, name: str, batch: Batch, states: torch.Tensor) -> None:
        """Add (b, t, d) states of the sub-words that count, each with its weight."""
        counted = states.flatten(0, 1).index_select(0, batch["positions"]).float()
        self.add(name, batch["slots"], counted * batch["weights"][:, None])

    def settle(self, slots: torch.Tensor, others: torch.Tensor) -> dict[str, torch.Tensor]:
        """(s, d) of each name, where some slots that nothing was added to repeat others; made in place."""
        for states in self._by_name.values():
            states[slots] = states[others]
        return self._by_name

    def finish(self, repeats: torch.Tensor) -> dict[str, torch.Tensor]:
        """(s, d) of each name, where slots that nothing was added to repeat others."""
        for name in self._by_name:
            self._by_name[name] = self._by_name[name].index_select(0, repeats)
        return self._by_name


class Encoder(torch.nn.Module):
    """A checkpoint's model that gives the states of slots; differentiable.

    Args:
        model: as `load` gives it.
        layer: as in `Reading`.
    """

    def __init__(self, model: torch.nn.Module, layer: str) -> None:
        super().__init__()
        self.model = model
        self.layer = layer

    def forward(self, batches: Sequence[Batch], repeats: torch.Tensor) -> list[torch.Tensor]:
        """(s, d) states of each layer that is read; of ``"all"``, the embeddings first.

        Args:
            batches: one or more, of `Windows.batch`.
            repeats: (s,) of `Windows.repeats`.
        """
        sums = Sums(len(repeats))
        for batch in batches:
            for name, states in hidden(run(self.model, batch, self.layer), self.layer).items():
                sums.pool(name, batch, states)
        return list(sums.finish(repeats).values())


def compared(states: torch.Tensor) -> torch.Tensor:
    """(r, 2d) rows of r pairs, [|u - v|, u * v] of the states u and v, for (2r, d) states of both in turn.

    Conneau et al. 2017, https://arxiv.org/abs/1705.02364.
    """
    u, v = states[::2], states[1::2]
    return torch.cat([(u - v).abs(), u * v], dim=1)
