"""LEEP: log expected empirical prediction of the labels from the checkpoint's own head.

Nguyen, Hassner, Seeger, Archambeau 2020 (ICML), https://arxiv.org/abs/2002.12462, eq. 1-2. With p(z|x)
the head's probability of source class z and P(y|z) estimated from its sums over the examples,

    LEEP = mean_i log sum_z P(y_i|z) p(z|x_i)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.evidence import Evidence, Measured
from zookeeper.labels import Array, Labels, examples

_ENTRIES = 1 << 22  # of a block of rows: 32 MiB


def leep(source_probs: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean log likelihood of the labels under the classifier that goes by way of the source classes.

    Departs from the published code in that a source class without any mass is left out, where 0/0 makes
    the published score NaN, and in that rows are divided by their sums, which rounding leaves near 1.

    Args:
        source_probs: (n, Z) probabilities of the checkpoint's own head; rows sum to 1 within 0.001.
        labels: (n,) classes.

    Returns:
        Nats per example, from minus the entropy of the labels (the head knows nothing of them) to 0.

    Raises:
        DegenerateInputError: the rows are not probabilities, or the labels are not classes or all the same.
    """
    return measured(*examples(source_probs, labels)).value


def measure(evidence: Evidence) -> Measured:
    """The same of the sample."""
    sample = evidence.sample
    if sample.source_probs is None:
        raise DegenerateInputError("the checkpoint has no head of its own.")
    return measured(sample.source_probs, sample.labels)


def measured(P: Array, y: Labels) -> Measured:
    """LEEP of (n, Z) probabilities, and the influence of each example.

    An example moves its own term, and by way of P(y|z) the terms of the others:

        log l_i + sum_z p(z|x_i) ( A_{y_i z} - sum_y A_yz P(y|z) ) / sum_i p(z|x_i) - LEEP,
        A_yz = sum_{i of y} p(z|x_i) / l_i

    with l_i the likelihood of the label of example i.

    Raises:
        DegenerateInputError: as `leep`.
    """
    sums = P.sum(axis=1, keepdims=True)
    if (P < 0).any() or (np.abs(sums - 1) > 1e-3).any():
        raise DegenerateInputError(
            "the source probabilities are not probabilities.",
            why="a value is negative or a row does not sum to 1",
        )
    P = P / sums
    joint = y.cross(P)
    mass = joint.sum(axis=0)
    conditional = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    # Each example has a share in every source class it uses, so no likelihood is 0.
    likelihood = _by_class(P, conditional, y)
    terms = np.log(likelihood)

    def influence() -> Array:
        A = y.cross(P / likelihood[:, None])
        pull = np.divide(A - (A * conditional).sum(axis=0), mass, out=np.zeros_like(A), where=mass > 0)
        return np.asarray(terms + _by_class(P, pull, y))

    return Measured(float(terms.mean()), influence)


def _by_class(P: Array, table: Array, y: Labels) -> Array:
    """(n,) products of the rows of P (n, Z) with the row of their class in a table (C, Z)."""
    step = max(_ENTRIES // P.shape[1], 1)
    blocks = [slice(start, start + step) for start in range(0, len(P), step)]
    return np.concatenate([np.einsum("iz,iz->i", P[rows], table[y.codes[rows]]) for rows in blocks])
