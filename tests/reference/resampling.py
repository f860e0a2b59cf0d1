"""The bootstrap as it is defined: scores of resampled sentences, one resample after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def bootstrap(
    score: Callable[[Array, NDArray[Any]], float],
    features: Array,
    labels: NDArray[Any],
    sentences: NDArray[np.int64],
    drawn: Array,
) -> Array:
    """(r,) scores; `drawn` (r, g) says how many times more than once each sentence is drawn."""
    values = []
    for extra in drawn:
        rows = np.concatenate(
            [np.flatnonzero(sentences == g) for g, more in enumerate(extra) for _ in range(int(more) + 1)]
        )
        values.append(score(features[rows], labels[rows]))
    return np.array(values)
