"""Centred kernel alignment of feature sets: the covariance between the tasks behind checkpoints.

The task of a checkpoint is a sample of a Gaussian process whose covariance is the alignment of the
checkpoints' probe features (Huang, Qiu, Church, NeurIPS 2021). With centred features F_i (n, d_i) and
K_i = F_i F_i^T,

    kappa_ij = <K_i, K_j> / (|K_i| |K_j|),   <K_i, K_j> = |F_i^T F_j|_F^2,

the centred linear kernel alignment (Cristianini et al. 2001; Kornblith et al. 2019). Being the Gram
matrix of the unit vectors vec(K_i)/|K_i| it is positive semi-definite with unit diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError

Array = NDArray[np.float64]

_DUAL_BLOCK = 512


def centred(features: NDArray[np.floating]) -> Array:
    """Features less their column means, scaled so that the largest magnitude is 1.

    Args:
        features: (n, d), finite; any scale.

    Returns:
        (n, d) in double precision. The alignment does not depend on the scale, the products' range does.

    Raises:
        DegenerateInputError: a value is not finite, or every row is the same.
    """
    shifted: Array = np.asarray(features, dtype=np.float64)
    if not np.isfinite(shifted).all():
        raise DegenerateInputError("the features hold values that are not finite (NaN or infinity).")
    shifted = shifted - shifted.mean(axis=0)
    largest = float(np.abs(shifted).max(initial=0.0))
    # Rounding leaves about 1e-16 of a constant column; that is not a feature.
    if largest <= 1e-12 * float(np.abs(features).max(initial=0.0)):
        raise DegenerateInputError("every row of the features is the same.")
    shifted /= largest
    return shifted


def covariance(
    features: Sequence[NDArray[np.floating]],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Array:
    """Exact task covariance of several feature sets over the same rows.

    Chooses the cheaper of two exact forms: the products F_i^T F_j of every pair (about m^2 n d^2
    operations), or the kernels K_i block by block (about m n^2 d + m^2 n^2 / 2).

    Args:
        features: m arrays (n, d_i), with the same rows in the same order.
        advance: called with the share of the work that was done, summing to 1000.

    Returns:
        (m, m), symmetric, with unit diagonal, positive semi-definite up to rounding.

    Raises:
        DegenerateInputError: fewer than one set, different numbers of rows, values that are not
            finite, or a set whose rows are all the same.
    """
    if not features:
        raise DegenerateInputError("a covariance needs at least one set of features.")
    rows = {len(f) for f in features}
    if len(rows) != 1:
        raise DegenerateInputError(f"the sets of features have different numbers of rows: {sorted(rows)}.")
    sets = [centred(f) for f in features]
    n, m = rows.pop(), len(sets)
    widths = np.array([f.shape[1] for f in sets], dtype=np.float64)
    primal_cost = n * (widths.sum() ** 2 + (widths**2).sum()) / 2
    dual_cost = n * n * (widths.sum() + m * m / 2) / 2
    inner = _primal(sets, advance) if primal_cost <= dual_cost else _dual(sets, advance)
    norms = np.sqrt(np.diag(inner))
    kappa: Array = inner / np.outer(norms, norms)
    kappa = (kappa + kappa.T) / 2
    np.fill_diagonal(kappa, 1.0)
    return kappa


def alignment(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Centred linear kernel alignment of two feature sets over the same rows, in [0, 1].

    Args:
        left: (n, d).
        right: (n, e).

    Raises:
        DegenerateInputError: as `covariance`.
    """
    return float(covariance([left, right])[0, 1])


def _primal(sets: Sequence[Array], advance: Callable[[int], None]) -> Array:
    """<K_i, K_j> as |F_i^T F_j|^2, a pair at a time."""
    m = len(sets)
    inner = np.zeros((m, m))
    pairs = [(i, j) for i in range(m) for j in range(i, m)]
    for done, (i, j) in enumerate(pairs):
        product = sets[i].T @ sets[j]
        inner[i, j] = inner[j, i] = np.vdot(product, product)
        advance(1000 * (done + 1) // len(pairs) - 1000 * done // len(pairs))
    return inner


def _dual(sets: Sequence[Array], advance: Callable[[int], None]) -> Array:
    """<K_i, K_j> from blocks of the n x n kernels of all sets; off-diagonal blocks count twice."""
    n, m = len(sets[0]), len(sets)
    inner = np.zeros((m, m))
    starts = range(0, n, _DUAL_BLOCK)
    blocks = [(p, q) for p in starts for q in starts if q >= p]
    for done, (p, q) in enumerate(blocks):
        kernels = np.stack([(f[p : p + _DUAL_BLOCK] @ f[q : q + _DUAL_BLOCK].T).ravel() for f in sets])
        inner += (1.0 if p == q else 2.0) * (kernels @ kernels.T)
        advance(1000 * (done + 1) // len(blocks) - 1000 * done // len(blocks))
    return inner
