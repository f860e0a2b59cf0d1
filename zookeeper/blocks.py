"""What comes of a checkpoint while it reads, a block of rows after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a corpus, as a checkpoint reads them.

    Attributes:
        rows: (r,), which.
        states: (r, d), float32, of each layer that was asked for, by name.
        source_probs: (r, z), predictions of the checkpoint's own head; None where it was not asked.
        n_empty: rows whose word came to no sub-word.
    """

    rows: NDArray[np.int64]
    states: Mapping[str, NDArray[np.float32]]
    source_probs: NDArray[np.float32] | None
    n_empty: int
