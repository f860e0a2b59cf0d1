"""H-score: how much of the features' variance lies between the classes.

Bao et al. 2019 (ICIP), with the shrinkage of Ibrahim, Ponomareva, Mazumder 2022,
https://arxiv.org/abs/2110.06893, eq. 3-5:

    H = (1 - a) tr( S_a^-1 S_z ),   S_a = (1 - a) S + a sigma I,   sigma = tr(S) / d

with S the covariance of the features, S_z that of their class means, and a the Ledoit-Wolf shrinkage.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from zookeeper.errors import DegenerateInputError
from zookeeper.statistics import Statistics


def hscore(statistics: Statistics) -> float:
    """Shrunk H-score of a classification target.

    Args:
        statistics: of a classification.

    Returns:
        Between 0 and the number of classes less one; larger is better. Grows with the width of the
        features, also where they know nothing of the labels: about (classes - 1) d / n.

    Raises:
        DegenerateInputError: the target is a regression, or the features do not vary.
    """
    if statistics.classes is None:
        raise DegenerateInputError("the H-score is defined for classes only.")
    n, d = statistics.n, len(statistics.feature_sum)
    mean = statistics.feature_sum / n
    covariance = statistics.gram / n - np.outer(mean, mean)
    sigma = float(np.trace(covariance)) / d
    # Rounding leaves about 1e-13 of the raw moments of constant columns; that is not variance.
    if sigma <= 1e-12 * float(np.trace(statistics.gram)) / (n * d):
        raise DegenerateInputError("every row of the features is the same.")
    shrinkage = _ledoit_wolf(statistics)
    shrunk = (1 - shrinkage) * covariance
    shrunk[np.diag_indices(d)] += shrinkage * sigma + np.finfo(np.float64).eps * d * sigma
    counts = statistics.target_squares
    between = np.sqrt(counts / n)[:, None] * (statistics.cross / counts[:, None] - mean)
    try:
        solved = cho_solve(cho_factor(shrunk), between.T).T
    except LinAlgError as error:
        raise DegenerateInputError("the covariance of the features is singular.") from error
    return float((1 - shrinkage) * np.vdot(between, solved))


def _ledoit_wolf(statistics: Statistics) -> float:
    """Ledoit-Wolf shrinkage, in [0, 1], from moments; equals scikit-learn's on the raw features."""
    n, d = statistics.n, len(statistics.feature_sum)
    mean = statistics.feature_sum / n
    square = float(mean @ mean)
    covariance = statistics.gram / n - np.outer(mean, mean)
    trace, frobenius = float(np.trace(covariance)), float(np.vdot(covariance, covariance))
    # sum |x - mean|^4, expanded into raw moments
    quartic = (
        statistics.quartic
        + 4 * mean @ statistics.gram @ mean
        + n * square**2
        - 4 * statistics.cubic @ mean
        + 2 * square * np.trace(statistics.gram)
        - 4 * square * mean @ statistics.feature_sum
    )
    spread = frobenius - trace**2 / d
    if spread <= 0:
        return 0.0
    noise = (float(quartic) / n - frobenius) / n
    return float(np.clip(noise / spread, 0.0, 1.0))
