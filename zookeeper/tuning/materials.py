"""What learners are made of: members' frozen features of a target, or their files and its sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.records import Corpus

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Materials:
    """What learners are made of, the same for every seed and every share of the training data.

    Attributes:
        names: of the members.
        corpora: sentences of each split of the target.
        folders: of the members' files; empty where they are not read again.
        layers: (n, d) features of each split, for each member those of each layer that is read; empty
            where members are read again.
        start: what another trial learned, which this one begins with; empty for the checkpoints' own weights.
    """

    names: tuple[str, ...]
    corpora: Mapping[str, Corpus]
    folders: tuple[Path, ...] = ()
    layers: Mapping[str, tuple[tuple[Features, ...], ...]] = field(default_factory=dict)
    start: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def features(self) -> dict[str, Features]:
        """(n, d) features of each split: all layers of a member, member by member.

        Raises:
            DegenerateInputError: a member's are not finite.
        """
        for members in self.layers.values():
            for name, layers in zip(self.names, members, strict=True):
                if not all(np.isfinite(layer).all() for layer in layers):
                    raise DegenerateInputError(f"features of {name} are not finite (NaN or infinity).")
        return {
            split: np.concatenate([layer for layers in members for layer in layers], axis=1)
            for split, members in self.layers.items()
        }

    @property
    def shape(self) -> tuple[list[int], list[int]]:
        """Number of layers, and width of one, of each member."""
        members = next(iter(self.layers.values()))
        return [len(layers) for layers in members], [layers[0].shape[1] for layers in members]
