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

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.evidence import Evidence, Measured, jackknife
from zookeeper.labels import Array
from zookeeper.statistics import Statistics, statistics

_GRID = 61
_DECADES = 15.0
_STEPS = 12


def logme(features: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean log maximum evidence over classes (or of the real targets), per example.

    Departs from the published code in that the evidence is maximised to convergence, for each class by
    itself, by a grid and Newton's method on log t instead of at most eleven fixed-point steps that
    start from the class before; and in that the evidence is that of the model also where n < d, where the
    published fixed point leaves out (d - n)/2 log alpha. As in the paper there is no intercept and the
    features are not centred.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes as integers or names (one-vs-rest targets), or real numbers, (n,) or (n, c).

    Returns:
        Nats per example; larger is better; may be negative or above 1.

    Raises:
        DegenerateInputError: every feature is zero, or there is nothing to learn.
    """
    return fit(statistics(features, labels)).score


def measure(evidence: Evidence) -> Measured:
    """LogME of all examples, and the influence of those in the sample."""
    found = fit(evidence.statistics)
    return Measured(found.score, partial(_influence, evidence, found))


def _influence(evidence: Evidence, found: Fit) -> Array:
    """(s,) influence of the examples of the sample.

    Both precisions are at their maximum, so to first order they do not move with the examples, and the
    influence of (x, y) is that of its own likelihood, its share in the posterior's width included:

        psi = 1/2 ( log beta / 2 pi - beta (y - x m)^2 - x^T (t I + X^T X)^-1 x )

    With no more examples than features each is decisive, and first order is not enough: there sentences
    are left out.
    """
    sample, score = evidence.sample, found.score * np.sqrt(evidence.share)
    if evidence.statistics.n <= evidence.statistics.moments.dimension:
        return jackknife(
            sample, score, lambda rows: fit(evidence.without(rows)).score * np.sqrt(evidence.share)
        )
    s, vectors = evidence.statistics.moments.spectrum
    widths = np.square(sample.features @ vectors) @ (1 / (s[:, None] + found.t)).mean(axis=1)
    residual = sample.labels.columns - sample.features @ found.mean(evidence.statistics)
    likelihood = np.log(found.beta / (2 * np.pi)).mean() - np.square(residual) @ found.beta / len(found.beta)
    return np.asarray(0.5 * (likelihood - widths) * np.sqrt(evidence.share))


@dataclass(frozen=True, eq=False)
class Fit:
    """The best evidence of each of c targets.

    Attributes:
        t: (c,), the precision of the weights over that of the noise, in units of the Gram matrix.
        beta: (c,), the precision of the noise.
        evidence: (c,), nats per example.
    """

    t: Array
    beta: Array
    evidence: Array

    @property
    def score(self) -> float:
        """Mean over the targets."""
        return float(self.evidence.mean())

    def mean(self, statistics: Statistics) -> Array:
        """(d, c), the posterior mean of the weights."""
        s, vectors = statistics.moments.spectrum
        weights: Array = vectors @ ((vectors.T @ statistics.cross.T) / (s[:, None] + self.t))
        return weights


def fit(statistics: Statistics) -> Fit:
    """Maximise the evidence of every target; a class without examples, of some of them, is none.

    Raises:
        DegenerateInputError: every feature is zero.
    """
    s, vectors = statistics.moments.spectrum
    if not s.size:
        raise DegenerateInputError("every feature is zero.")
    n, occur = statistics.n, statistics.squares > 0
    squares = statistics.squares[occur]
    z = np.square(vectors.T @ statistics.cross[occur].T) / s[:, None]
    r0 = squares - z.sum(axis=0)
    # y in the span of X leaves rounding, of either sign; the evidence is then bounded by double precision.
    r0 = np.maximum(r0, squares * np.finfo(np.float64).eps)
    if len(s) == n:
        r0 = np.zeros_like(r0)  # the columns of X span all there is

    def evidence(share: Array, residual: Array) -> Array:
        return np.asarray(
            0.5 * (np.log(share).sum(axis=0) / n + np.log(n / residual) - 1 - np.log(2 * np.pi))
        )

    centre = np.log(s.max())
    grid = np.linspace(centre - _DECADES * np.log(10), centre + _DECADES * np.log(10), _GRID)
    shares = 1 / (1 + np.exp(np.log(s)[:, None] - grid))
    coarse = evidence(shares[:, :, None], shares.T @ z + r0)
    best = coarse.argmax(axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, _GRID - 1)]
    u = grid[best]
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(np.log(s)[:, None] - u))
        slack = share * (1 - share)
        residual = np.einsum("kc,kc->c", z, share) + r0
        first, second = (
            np.einsum("kc,kc->c", z, slack) / residual,
            np.einsum("kc,kc->c", z, slack * (1 - 2 * share)) / residual,
        )
        slope = (1 - share).sum(axis=0) / n - first
        bend = -slack.sum(axis=0) / n - (second - first**2)
        low, high = np.where(slope > 0, u, low), np.where(slope > 0, high, u)
        step = u - slope / np.where(bend < 0, bend, -np.inf)
        inside = (bend < 0) & (step >= low) & (step <= high)
        u = np.where(inside, step, (low + high) / 2)
    share = 1 / (1 + np.exp(np.log(s)[:, None] - u))
    residual = np.einsum("kc,kc->c", z, share) + r0
    reached = evidence(share, residual)
    # An evidence that rises to the end of the grid has its best there.
    u = np.where(reached >= coarse.max(axis=0), u, grid[best])
    return Fit(np.exp(u), n / residual, np.maximum(reached, coarse.max(axis=0)))
