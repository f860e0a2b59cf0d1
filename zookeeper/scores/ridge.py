"""Held-out ridge probe: how well a linear head on frozen features does on sentences it has not seen.

One-vs-rest least squares with an intercept and an L2 penalty (Hoerl and Kennard 1970). The penalty is the
ratio of precisions that maximises the evidence (MacKay 1992), as LogME finds it, so no examples are spent
on choosing it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from zookeeper.errors import DegenerateInputError
from zookeeper.evidence import Evidence, Measured, evidence_of
from zookeeper.labels import Array, examples
from zookeeper.scores.logme import fit
from zookeeper.statistics import Statistics

_FOLDS = 5
_SMALLEST_PENALTY = 1e-9  # of the largest eigenvalue: what double precision can solve


def ridge(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Cross-validated quality of a linear probe, in five folds.

    Rows are dealt to the folds by their length, so that their order does not matter.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes as integers or names, or real numbers, (n,) or (n, c).

    Returns:
        Accuracy, in [0, 1], of classes; R^2, at most 1, of real numbers, on average over their columns.

    Raises:
        DegenerateInputError: the features do not vary, or there is nothing to learn.
    """
    X, y = examples(features, labels)
    order = np.argsort(np.einsum("nd,nd->n", X, X), kind="stable")
    return measure(evidence_of(X[order], y[order])).value


def measure(evidence: Evidence) -> Measured:
    """The same of the sample's sentences, each predicted by what is learnt from all the others there are."""
    known, sample = evidence.statistics, evidence.sample
    if known.moments.constant:
        raise DegenerateInputError("every row of the features is the same.")
    if sample.n_sentences == 1 and len(sample) == known.n:
        raise DegenerateInputError("no sentence can be held out, as there is one only.")
    penalty = _penalty(known)
    predicted = np.zeros((len(sample), len(known.totals)))
    for rows in sample.parts(_FOLDS):
        predicted[rows] = _predict(evidence.without(rows), penalty, sample.features[rows])
    if known.classes:
        right = (predicted.argmax(axis=1) == sample.labels.codes).astype(np.float64)
        return Measured(float(right.mean()), lambda: right)
    return explained(sample.labels.columns, predicted)


def explained(targets: Array, predicted: Array) -> Measured:
    """R^2 of predictions (s, c) of real targets (s, c), on average over the columns that vary."""
    # Compared, not subtracted from a mean: rounding would leave something of a constant.
    varied = np.ptp(targets, axis=0) > 0
    if not varied.any():
        raise DegenerateInputError("the sampled labels are all the same.")
    targets, predicted = targets[:, varied], predicted[:, varied]
    error = np.square(targets - predicted)
    around = np.square(targets - targets.mean(axis=0))
    variance = around.mean(axis=0)
    ratio = error.mean(axis=0) / variance
    return Measured(float(1 - ratio.mean()), lambda: ((ratio * around - error) / variance).mean(axis=1))


def _penalty(statistics: Statistics) -> float:
    """The geometric mean of what the evidence of each target asks for, weighted by what it gains by it.

    Targets of which the features know nothing, as classes of few examples, ask for weights of 0; unweighted,
    many of them would take the weights from the others.
    """
    largest = statistics.moments.spectrum[0].max()
    found = fit(statistics)
    t = np.clip(found.t, _SMALLEST_PENALTY * largest, largest / _SMALLEST_PENALTY)
    without = 0.5 * (np.log(statistics.n / statistics.squares) - 1 - np.log(2 * np.pi))
    gain = np.maximum(found.evidence - without, 0)
    return float(np.exp(np.average(np.log(t), weights=gain if gain.any() else None)))


def _predict(statistics: Statistics, penalty: float, X: Array) -> Array:
    """(s, c) predictions for (s, d) features."""
    moments = statistics.moments
    gram = moments.covariance * moments.n
    gram[np.diag_indices(len(gram))] += penalty
    intercept = statistics.totals / statistics.n
    cross = statistics.cross - np.outer(statistics.totals, moments.mean)
    return np.asarray((X - moments.mean) @ cho_solve(cho_factor(gram), cross.T) + intercept)
