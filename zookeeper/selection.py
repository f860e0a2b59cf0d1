r"""Choosing the few checkpoints that say most about the rest of the zoo.

Greedy maximum mutual information in a Gaussian process (Krause, Singh, Guestrin, JMLR 2008; for
checkpoints Huang, Qiu, Church, NeurIPS 2021). With P = K^-1 the gain of adding y to A is

    gain(y | A) = 1/2 log( var(y | A) / var(y | V \ A \ y) ) = 1/2 log( d_y p_y )   nats,

where d is the diagonal of K conditioned on A and p that of P after the same pivots were eliminated from
it: removing a pick from the complement is one Cholesky step on P, as conditioning on it is one on K. So
two pivoted Cholesky factorisations with common pivots give every gain, and no difference of nearly equal
numbers is ever formed. One inverse, then O(k^2 m).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from zookeeper.errors import DegenerateInputError, UsageError

Array = NDArray[np.float64]
Start = Literal["mi", "hub"]

_TIE = 1e-9


def copies(kappa: Array, *, tolerance: float = 1e-6) -> list[list[int]]:
    """Groups of items that are the same up to `tolerance`, each led by its lowest index.

    The mutual information of a set that holds one of two exact copies is infinite, and a jitter on the
    diagonal does not mend that: it makes the copies the first picks. They must be one item.

    Args:
        kappa: (m, m) with unit diagonal.
        tolerance: items i, j are copies when kappa_ij >= 1 - tolerance.

    Returns:
        A partition of 0..m-1, in order of the lowest index.
    """
    groups: list[list[int]] = []
    for item in range(len(kappa)):
        for group in groups:
            if kappa[item, group[0]] >= 1 - tolerance:
                group.append(item)
                break
        else:
            groups.append([item])
    return groups


def greedy_mmi(kappa: Array, k: int, *, start: Start = "mi") -> tuple[list[int], list[float]]:
    """Greedy maximum-mutual-information choice of `k` items.

    Args:
        kappa: (m, m), symmetric positive definite; collapse copies first (see `copies`).
        k: how many to pick, 1 <= k <= m.
        start: ``"mi"`` picks the first item by its gain too; ``"hub"`` takes the largest row sum.

    Returns:
        The picks in order, and the gain of each in nats. Ties within 1e-9 go to the lowest index. A gain
        may be negative: from then on another pick says less about the rest than it takes away from it.

    Raises:
        DegenerateInputError: `kappa` is not positive definite; its smallest eigenvalue is named.
        UsageError: `k` or `start` makes no sense.
    """
    m = len(kappa)
    if not 1 <= k <= m:
        raise UsageError(f"cannot pick {k} of {m}.", fix=f"-k between 1 and {m}")
    if start not in get_args(Start):
        raise UsageError(f'no start "{start}".', fix=f"one of: {', '.join(get_args(Start))}")
    try:
        precision = cho_solve(cho_factor(kappa), np.eye(m))
        # Rounding can let a singular matrix pass; its inverse gives it away.
        if np.linalg.norm(kappa) * np.linalg.norm(precision) * np.finfo(np.float64).eps > 0.5:
            raise LinAlgError
    except LinAlgError as error:
        smallest = float(np.linalg.eigvalsh(kappa)[0])
        raise DegenerateInputError(
            f"the covariance is not positive definite (smallest eigenvalue {smallest:.3g}).",
            why="some checkpoints are combinations of others on this probe, or it has too few words",
            fix="probe more words, or leave the near-copies out",
        ) from error
    d, p = np.diag(kappa).copy(), np.diag(precision).copy()
    L, W = np.zeros((m, k)), np.zeros((m, k))
    picks: list[int] = []
    gains: list[float] = []
    open_ = np.ones(m, dtype=bool)
    for t in range(k):
        ratio = np.where(open_, d * p, -np.inf)
        merit = np.where(open_, kappa.sum(axis=1), -np.inf) if t == 0 and start == "hub" else ratio
        best = merit.max()
        pick = int(np.argmax(merit >= best - _TIE * abs(best)))
        picks.append(pick)
        gains.append(0.5 * float(np.log(ratio[pick])))
        open_[pick] = False
        L[:, t] = (kappa[:, pick] - L[:, :t] @ L[pick, :t]) / np.sqrt(d[pick])
        W[:, t] = (precision[:, pick] - W[:, :t] @ W[pick, :t]) / np.sqrt(p[pick])
        d -= L[:, t] ** 2
        p -= W[:, t] ** 2
    return picks, gains
