"""How the covariance settles as more of the probe is read (Huang, Qiu, Church, NeurIPS 2021, section 4).

The covariance of the first n words is compared with that of all by the divergence of the Gaussians that the
two stand for and by the cosine of the matrices as vectors; the identity, which is to know nothing, is what
to compare both with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.kernels import (
    MEMORY,
    Array,
    Features,
    Source,
    Thousandths,
    inner_products,
    loaded,
    normalised,
    sentence_edges,
)
from zookeeper.results import Convergence
from zookeeper.selection import copies


def convergence(
    features: Sequence[Source],
    lengths: ArrayLike,
    *,
    steps: int = 8,
    memory: int = MEMORY,
    advance: Callable[[int], None] = lambda _: None,
) -> Convergence:
    """How the covariance of the first words approaches that of all.

    Each step reads about twice the words of the one before, up to the end of a sentence, and the last all.
    Exact copies count once. A step at which some set of features is constant is left out.

    Args:
        features: m sets, as `zookeeper.kernels.inner_products`.
        lengths: (g,), words of each sentence in order.
        steps: how many at most.
        memory: as `zookeeper.kernels.inner_products`.
        advance: called with the share of the work that was done, summing to 1000.

    Raises:
        DegenerateInputError: as `zookeeper.kernels.inner_products`, one sentence only, or the covariance of
            all words is singular.
        UsageError: as `zookeeper.kernels.inner_products`, or no step.
    """
    if not len(features):
        raise DegenerateInputError("a covariance needs at least one set of features.")
    if steps < 1:
        raise UsageError(f"cannot read the probe in {steps} steps.", fix="at least 1")
    edges = sentence_edges(lengths, len(loaded(features[0])))
    *earlier, n = _cuts(edges, steps)
    progress = Thousandths(sum(earlier) + n, advance)
    whole = normalised(inner_products(features, memory=memory, advance=progress.part(n)))
    leaders = [group[0] for group in copies(whole)]
    whole = whole[np.ix_(leaders, leaders)]
    identity = np.eye(len(leaders))
    isotropic = divergence(whole, identity), _cosine(whole, identity)
    found: dict[int, Array] = {}
    for words in earlier:
        first = [partial(_first, features[i], words) for i in leaders]
        try:
            found[words] = normalised(inner_products(first, memory=memory))
        except DegenerateInputError:
            continue  # constant over so few words; that no set is over all is known by now
        finally:
            progress.add(words)
    found[n] = whole
    return Convergence(
        words=tuple(found),
        divergence=tuple(_divergence_or_none(whole, kappa) for kappa in found.values()),
        cosine=tuple(_cosine(whole, kappa) for kappa in found.values()),
        isotropic=isotropic,
        n_checkpoints=len(leaders),
    )


def divergence(of: Array, from_: Array) -> float:
    """Kullback-Leibler divergence of one centred Gaussian from another.

    With Cholesky factors S = L L^T of both, 1/2 (|L_from^-1 L_of|^2 - m) + sum log diag L_from - sum log diag
    L_of: no determinant overflows, and no inverse is formed.

    Args:
        of: (m, m), covariance of the one that is true.
        from_: (m, m), covariance of the one that stands in for it.

    Returns:
        KL(N(0, of) || N(0, from_)) in nats, 0 or more.

    Raises:
        DegenerateInputError: one of the two is singular.
    """
    own, other = _factor(of), _factor(from_)
    white = solve_triangular(other, own, lower=True)
    logs = np.log(np.diag(other)).sum() - np.log(np.diag(own)).sum()
    return max(float((np.vdot(white, white) - len(of)) / 2 + logs), 0.0)


def _factor(covariance: Array) -> Array:
    """Lower Cholesky factor of a matrix that is positive definite beyond rounding."""
    try:
        factor: Array = cholesky(covariance, lower=True)
        # Rounding can let a singular matrix pass with pivots that mean nothing.
        if (np.diag(factor) ** 2).min() <= len(factor) * np.finfo(np.float64).eps * np.diag(covariance).max():
            raise LinAlgError
    except LinAlgError as error:
        smallest = float(np.linalg.eigvalsh(covariance)[0])
        raise DegenerateInputError(
            f"the covariance is not positive definite (smallest eigenvalue {smallest:.3g}).",
            why="some checkpoints are combinations of others on this probe, or it has too few words",
            fix="probe more words, or leave the near-copies out",
        ) from error
    return factor


def _divergence_or_none(of: Array, from_: Array) -> float | None:
    _factor(of)
    try:
        return divergence(of, from_)
    except DegenerateInputError:
        return None


def _cosine(left: Array, right: Array) -> float:
    return float(np.vdot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right)))


def _cuts(edges: NDArray[np.int64], steps: int) -> list[int]:
    """Ends of sentences at or after each halving of all words, ascending."""
    wanted = edges[-1] / 2.0 ** np.arange(steps)
    return [int(words) for words in np.unique(edges[np.searchsorted(edges, wanted)])]


def _first(source: Source, words: int) -> Features:
    return loaded(source)[:words]
