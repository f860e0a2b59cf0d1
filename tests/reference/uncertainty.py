"""Errors of alignments from what they are: how kappa changes with the weight of each sentence.

kappa(w) is the alignment of the words that are left when sentence s occurs w_s times. Its derivatives give
the infinitesimal jackknife (Efron 1982, chapter 6), and counts drawn at random the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.reference.kernels import Array, Source, matrix
from zookeeper.uncertainty import Jackknife, Stability

RANK = 32


def jackknife(
    features: Sequence[Source],
    lengths: ArrayLike,
    *,
    rank: int = RANK,
    advance: Callable[[int], None] = lambda _: None,
) -> Jackknife:
    """Word by word, h(p) = x_p^T (X^T Y) y_p of principal components, added up by sentences."""
    advance(1000)
    narrow = [reduced(matrix(source), rank) for source in features]
    sentence = np.repeat(np.arange(np.size(lengths)), lengths)
    shares = []
    for i, X in enumerate(narrow):
        for Y in narrow[i:]:
            h = [x @ (X.T @ Y) @ y for x, y in zip(X, Y, strict=True)]
            shares.append(np.bincount(sentence, h))
    return Jackknife(np.array(shares).T.astype(np.float32))


def reduced(X: Array, rank: int) -> Array:
    """Principal components, their kernel of norm 1."""
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    narrow: Array = (U * s)[:, :rank]
    return narrow / np.sqrt(np.linalg.norm(narrow @ narrow.T))


def stability(
    picks: Sequence[int],
    replicates: Iterable[Array],
    choose: Callable[[Array], Sequence[int]],
    totals: Callable[[Array, Sequence[int]], Array],
) -> Stability:
    """One replicate after the other."""
    drawn = list(replicates)
    m = len(drawn[0])
    share = [sum(i in choose(kappa) for kappa in drawn) / len(drawn) for i in range(m)]
    regret = [totals(kappa, choose(kappa))[-1] - totals(kappa, picks)[-1] for kappa in drawn]
    return Stability(np.array(share), np.array(regret), np.array([totals(kappa, picks) for kappa in drawn]))


def standard_error(features: Sequence[Array], lengths: ArrayLike) -> Array:
    """Root of the sum over sentences of squared derivatives, by central differences."""
    g, step = np.size(lengths), 1e-3
    moves = [
        (weighted(features, lengths, 1 + step * unit) - weighted(features, lengths, 1 - step * unit))
        / (2 * step)
        for unit in np.eye(g)
    ]
    return np.sqrt(np.sum(np.square(moves), axis=0))


def bootstrap(features: Sequence[Array], lengths: ArrayLike, n: int) -> NDArray[np.float64]:
    """(n, m, m), alignments of as many sentences drawn with replacement."""
    g = np.size(lengths)
    rng = np.random.default_rng(0)
    return np.array([weighted(features, lengths, rng.multinomial(g, np.full(g, 1 / g))) for _ in range(n)])


def weighted(features: Sequence[Array], lengths: ArrayLike, weights: NDArray[np.floating]) -> Array:
    """(m, m), the alignment when sentence s occurs w_s times."""
    w = np.repeat(weights, lengths)
    parts = [np.sqrt(w)[:, None] * (np.asarray(X, np.float64) - w @ X / w.sum()) for X in features]
    inner = np.array([[np.linalg.norm(X.T @ Y) ** 2 for Y in parts] for X in parts])
    return inner / np.sqrt(np.outer(np.diag(inner), np.diag(inner)))
