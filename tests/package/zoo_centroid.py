"""A score from outside: a package exports a `ScoreSpec` under the entry point group ``zookeeper.scores``.

With a pyproject.toml that takes three lines:

    [project.entry-points."zookeeper.scores"]
    centroid = "zoo_centroid:CENTROID"
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.scores import ScoreSpec


def centroid(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of the variance of (n, d) features that lies between the means of their classes."""
    centred = features - features.mean(axis=0)
    means = {label: centred[labels == label].mean(axis=0) for label in np.unique(labels)}
    between = np.stack([means[label] for label in labels])
    return float(np.square(between).sum() / np.square(centred).sum())


CENTROID = ScoreSpec("centroid", "Centroid", centroid, "share of the variance", "folklore")
