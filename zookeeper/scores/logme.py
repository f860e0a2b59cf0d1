"""LogME: log maximum evidence of a Bayesian linear model on frozen features.

You et al. 2021, https://arxiv.org/abs/2102.11005; You et al. 2022, https://arxiv.org/abs/2110.10545.

With y ~ N(0, I/beta + X X^T/alpha) and t = alpha/beta the best beta is n / R(t), which leaves one number
to choose. Let s_i be the eigenvalues of X^T X, z_i the squared coordinates of y along the matching left
singular vectors of X, and r0 what of y^T y lies outside them:

    R(t) = sum_i z_i t / (t + s_i) + r0
    e(t) = 1/2 sum_i log( t / (t + s_i) ) + n/2 ( log(n / R(t)) - 1 - log 2 pi )

The sum runs over non-zero eigenvalues only, so the evidence is right for n < d and for dead columns too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.statistics import Statistics

Array = NDArray[np.float64]

_GRID = 121
_DECADES = 15.0
_GOLDEN = (np.sqrt(5.0) - 1) / 2


def logme(statistics: Statistics) -> float:
    """Mean log maximum evidence over classes (or of the one real target), per example.

    Departs from the published code in that the evidence is maximised to convergence, for each class by
    itself, by a grid and a golden-section search over t instead of at most eleven fixed-point steps that
    start from the class before; and in that the evidence is that of the model also where n < d, where the
    published fixed point leaves out (d - n)/2 log alpha. As in the paper there is no intercept and the
    features are not centred.

    Args:
        statistics: of a classification (one-vs-rest targets) or a regression.

    Returns:
        Nats per example; larger is better; may be negative or above 1.

    Raises:
        DegenerateInputError: every feature is zero.
    """
    s, z, r0 = _spectrum(statistics)
    if not s.size:
        raise DegenerateInputError("every feature is zero.")
    n = statistics.n

    def evidence(log_t: Array) -> Array:
        """e(t)/n for a column of t per class: (g, c) -> (g, c)."""
        share = 1.0 / (1.0 + np.exp(np.log(s)[:, None, None] - log_t))
        residual = np.einsum("kc,kgc->gc", z, share) + r0
        logdet = np.log(share).sum(axis=0)
        return np.asarray(0.5 * (logdet / n + np.log(n / residual) - 1 - np.log(2 * np.pi)))

    centre, c = np.log(s.max()), z.shape[1]
    grid = np.linspace(centre - _DECADES * np.log(10), centre + _DECADES * np.log(10), _GRID)
    coarse = np.concatenate([evidence(np.full((1, c), point)) for point in grid])
    best = coarse.argmax(axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, _GRID - 1)]
    for _ in range(60):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        value = evidence(np.stack([left, right]))
        rising = value[0] < value[1]
        low, high = np.where(rising, left, low), np.where(rising, high, right)
    peak = np.maximum(evidence(((low + high) / 2)[None])[0], coarse.max(axis=0))
    return float(peak.mean())


def _spectrum(statistics: Statistics) -> tuple[Array, Array, Array]:
    """Non-zero eigenvalues s (k,), squared coordinates z (k, c) and what lies outside r0 (c,)."""
    values, vectors = np.linalg.eigh(statistics.gram)
    tolerance = values[-1] * max(statistics.gram.shape) * np.finfo(np.float64).eps
    kept = values > tolerance
    # At most n directions carry anything; beyond them an eigenvalue is rounding.
    kept[: max(len(values) - statistics.n, 0)] = False
    s = values[kept]
    z = np.square(vectors[:, kept].T @ statistics.cross.T) / s[:, None]
    r0 = statistics.target_squares - z.sum(axis=0)
    if len(s) == statistics.n:
        return s, z, np.zeros_like(r0)  # the columns of X span all there is
    # y in the span of X leaves rounding, of either sign; the evidence is then bounded by double precision.
    return s, z, np.maximum(r0, statistics.target_squares * np.finfo(np.float64).eps)
