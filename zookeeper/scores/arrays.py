"""What the scores on arrays share: features on one footing, principal components."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from zookeeper.errors import DegenerateInputError
from zookeeper.labels import Array


def unit(X: Array) -> Array:
    """Features centred, of mean squared length 1, without constant columns.

    Scores with an absolute constant in their definition thereby no longer depend on the scale of the
    features, nor any score on columns that say nothing.

    Args:
        X: (n, d), finite.

    Returns:
        (n, d') array of its own.

    Raises:
        DegenerateInputError: every row is the same.
    """
    # Compared, not subtracted from a mean: rounding would leave something of a constant.
    X = np.compress(np.ptp(X, axis=0) > 0, X, axis=1)
    if not X.size:
        raise DegenerateInputError("every row of the features is the same.")
    X -= X.mean(axis=0)
    X /= np.abs(X).max()  # squares neither overflow nor vanish
    X /= np.sqrt(np.vdot(X, X) / len(X))
    return X


def principal(X: Array, limit: int) -> Array:
    """Coordinates of centred rows along their principal components, largest first.

    Args:
        X: (n, d), each column of mean 0.
        limit: components wanted at most.

    Returns:
        (n, q), q at most `limit` and the rank of X; the signs of columns are arbitrary.
    """
    n, d = X.shape
    gram = X.T @ X if d <= n else X @ X.T
    size = len(gram)
    values, vectors = eigh(gram, subset_by_index=[max(size - limit, 0), size - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > values[0] * max(n, d) * np.finfo(np.float64).eps
    return np.asarray(X @ vectors[:, kept] if d <= n else vectors[:, kept] * np.sqrt(values[kept]))
