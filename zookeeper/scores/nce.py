"""NCE: negative conditional entropy of the labels, given the classes that the checkpoint's own head picks.

Tran, Nguyen, Hassner 2019 (ICCV), https://arxiv.org/abs/1908.08142:

    NCE = -H(y|z) = sum_zy n_zy / n log( n_zy / n_z )
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.labels import Labels
from zookeeper.records import counted


def nce(source_labels: NDArray[Any], labels: NDArray[Any]) -> float:
    """Minus the conditional entropy of the labels given the source labels.

    Sums over the pairs of classes that occur, where published code adds a small constant to all of them.

    Args:
        source_labels: (n,) classes picked by the checkpoint's own head, integers or names.
        labels: (n,) classes.

    Returns:
        Nats per example, from minus the entropy of the labels (the head knows nothing of them) to 0.

    Raises:
        DegenerateInputError: lengths differ, or either are not classes, or the labels are all the same.
    """
    source_labels, labels = np.asarray(source_labels), np.asarray(labels)
    if source_labels.ndim != 1 or len(source_labels) != len(labels):
        raise DegenerateInputError(
            f"{source_labels.shape} source labels do not go with {labels.shape} labels."
        )
    if source_labels.dtype.kind not in "iubUSO":
        raise DegenerateInputError("the source labels are not classes.")
    rows = counted(labels)
    y = Labels.of(labels[rows])
    _, z = np.unique(source_labels[rows], return_inverse=True)
    cells, joint = np.unique(z * len(y.counts) + y.codes, return_counts=True)
    given = np.bincount(z)[cells // len(y.counts)]
    return float((joint * np.log(joint / given)).sum() / len(z))
