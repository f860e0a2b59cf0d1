"""H-score: how much of the features' variance lies between the classes.

Bao et al. 2019 (ICIP), with the shrinkage of Ibrahim, Ponomareva, Mazumder 2022,
https://arxiv.org/abs/2110.06893, eq. 3-5:

    H = (1 - a) tr( S_a^-1 S_z ),   S_a = (1 - a) S + a sigma I,   sigma = tr(S) / d

with S the covariance of the features, S_z that of their class means, and a the Ledoit-Wolf shrinkage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from zookeeper.errors import DegenerateInputError
from zookeeper.evidence import Evidence, Measured
from zookeeper.labels import Array
from zookeeper.statistics import Moments, Statistics, statistics


def hscore(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Shrunk H-score of a classification target.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes as integers or names.

    Returns:
        Between 0 and the number of classes less one; larger is better. Grows with the width of the
        features, also where they know nothing of the labels: about (classes - 1) d / n.

    Raises:
        DegenerateInputError: the target is a regression, or the features do not vary.
    """
    return _solve(statistics(features, labels)).value


def measure(evidence: Evidence) -> Measured:
    """H-score of all examples, and the influence of those in the sample."""
    found = _solve(evidence.statistics)
    return Measured(found.value, partial(_influence, evidence, found))


def _influence(evidence: Evidence, found: _Solved) -> Array:
    """(s,) influence of the examples of the sample.

    With z = x - mean, m_c the class means less the mean, q_c = S_a^-1 m_c and shares p_c of the examples,
    that of an example is

        (1 - a) ( q_y (2 z - m_y) - (1 - a) sum_c p_c (q_c z)^2 - a |z|^2 / d sum_c p_c |q_c|^2 )

    where the shrinkage is held fixed, and as dH/da = - sigma sum_c p_c |q_c|^2, by way of the shrinkage
    that factor times the influence on it. With few examples for the width that is most of it.
    """
    known, sample = evidence.statistics, evidence.sample
    a, q, p = found.shrinkage, found.solved, known.totals / known.n
    z, y = sample.features - known.moments.mean, sample.labels.codes
    between = np.einsum("sd,sd->s", q[y], 2 * z - found.means[y])
    within = np.square(z @ q.T) @ p
    norms, length = np.einsum("sd,sd->s", z, z), p @ np.einsum("cd,cd->c", q, q)
    influence = (1 - a) * (between - (1 - a) * within - a * norms / z.shape[1] * length)
    sigma = np.trace(known.moments.covariance) / z.shape[1]
    influence -= sigma * length * _shrinkage_influence(known.moments, z, norms)
    return np.asarray(influence * np.sqrt(evidence.share))


@dataclass(frozen=True, eq=False)
class _Solved:
    """The H-score and its parts: class means less the mean (c, d), and the same times S_a^-1 (c, d)."""

    value: float
    shrinkage: float
    means: Array
    solved: Array


def _solve(statistics: Statistics) -> _Solved:
    moments, counts = statistics.moments, statistics.totals
    if not statistics.classes:
        raise DegenerateInputError("the H-score is defined for classes only.")
    if moments.constant:
        raise DegenerateInputError("every row of the features is the same.")
    a, d = _ledoit_wolf(moments), moments.dimension
    sigma = float(np.trace(moments.covariance)) / d
    shrunk = (1 - a) * moments.covariance
    shrunk[np.diag_indices(d)] += a * sigma + np.finfo(np.float64).eps * d * sigma
    means = statistics.cross / counts[:, None] - moments.mean
    try:
        solved = cho_solve(cho_factor(shrunk), means.T).T
    except LinAlgError as error:
        raise DegenerateInputError("the covariance of the features is singular.") from error
    value = (1 - a) * (counts / statistics.n) @ np.einsum("cd,cd->c", means, solved)
    return _Solved(float(value), a, means, solved)


def _ledoit_wolf(moments: Moments) -> float:
    """Ledoit-Wolf shrinkage, in [0, 1], from moments; equals scikit-learn's on the raw features."""
    noise, spread = _noise_and_spread(moments)
    return float(np.clip(noise / spread, 0.0, 1.0)) if spread > 0 else 0.0


def _shrinkage_influence(moments: Moments, z: Array, norms: Array) -> Array:
    """(s,) how much each of s centred examples z (s, d) of squared lengths `norms` moves the shrinkage.

    The mean of z counts in |z|^4 only: the covariance is of second order in it.
    """
    noise, spread = _noise_and_spread(moments)
    if not 0 < noise < spread:
        return np.zeros(len(z))
    n, mean, covariance = moments.n, moments.mean, moments.covariance
    trace, frobenius = np.trace(covariance), np.vdot(covariance, covariance)
    # mean of |x - mean|^2 (x - mean), expanded into raw moments
    third = (moments.cubic - 2 * moments.gram @ mean - np.trace(moments.gram) * mean) / n
    third += 2 * (mean @ mean) * mean
    quartic = norms**2 - 4 * z @ third
    square = 2 * (np.einsum("sd,sd->s", z @ covariance, z) - frobenius)
    around = square - 2 * trace * (norms - trace) / moments.dimension
    return np.asarray(((quartic - square) / n - noise / spread * around) / spread)


def _noise_and_spread(moments: Moments) -> tuple[float, float]:
    """What chance adds to the squares of the covariance, and how far these are from those of a sphere."""
    n, mean, covariance = moments.n, moments.mean, moments.covariance
    square = float(mean @ mean)
    trace, frobenius = float(np.trace(covariance)), float(np.vdot(covariance, covariance))
    # sum |x - mean|^4, expanded into raw moments
    quartic = (
        moments.quartic
        + 4 * mean @ moments.gram @ mean
        + n * square**2
        - 4 * moments.cubic @ mean
        + 2 * square * np.trace(moments.gram)
        - 4 * square * mean @ moments.total
    )
    spread = frobenius - trace**2 / moments.dimension
    return (float(quartic) / n - frobenius) / n, spread
