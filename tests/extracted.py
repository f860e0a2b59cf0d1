"""All rows that a checkpoint makes of a text, put together; the package gives them block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.extract import read
from zookeeper.records import Corpus, Reading


@dataclass(frozen=True, eq=False)
class Extracted:
    """Features and how they came about.

    Attributes:
        layers: (n, d), float32, of each layer that was read, by name.
        n_empty: rows whose word came to no sub-word.
    """

    layers: Mapping[str, NDArray[np.float32]]
    n_empty: int

    @property
    def features(self) -> NDArray[np.float32]:
        """(n, d) of the one layer."""
        (features,) = self.layers.values()
        return features


def extract(folder: Path, corpus: Corpus, reading: Reading, **options: Any) -> Extracted:
    """What `read` gives, each row in its place; of a row that it does not give there are no numbers."""
    blocks = list(read(folder, corpus, reading, **options))
    layers = {
        name: np.full((corpus.n_rows, states.shape[1]), np.nan, dtype=states.dtype)
        for name, states in blocks[0].states.items()
    }
    for block in blocks:
        for name, states in block.states.items():
            layers[name][block.rows] = states
    return Extracted(layers, sum(block.n_empty for block in blocks))
