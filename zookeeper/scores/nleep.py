"""N-LEEP: LEEP with the components of a Gaussian mixture in the place of source classes.

Li, Jia, Sang, Zhu, Green, Wang, Gong 2021 (CVPR), https://arxiv.org/abs/2011.11200.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.evidence import Evidence, Measured
from zookeeper.labels import Array, Labels, examples
from zookeeper.scores.arrays import principal, unit
from zookeeper.scores.leep import measured

_ENERGY = 0.8
_PER_CLASS = 5


def nleep(features: NDArray[Any], labels: NDArray[Any], *, seed: int = 0) -> float:
    """LEEP of a mixture of 5 C Gaussians on the principal components that keep 80 % of the variance.

    Departs from the paper in that there are never more components than one to five examples (but two at
    least), in that the features are brought to one scale, since the mixture's regularisation is absolute,
    and in that the rows are sorted before the mixture is fitted. The mixture starts from k-means with the
    given seed; another seed gives another score, and its spread is a measure of how far to trust it.
    Thanks to the sorting the score does not depend on the order of examples, but for rounding that may
    send the mixture to another optimum. It sees no labels, so their values do not matter.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes.
        seed: of k-means.

    Returns:
        Nats per example, between minus the entropy of the labels and 0; larger is better.

    Raises:
        DegenerateInputError: the labels are not classes or all the same, or the features do not vary.
    """
    return _measured(*examples(features, labels), seed).value


def measure(evidence: Evidence) -> Measured:
    """The same of the sample; the mixture is held fixed."""
    return _measured(evidence.sample.features, evidence.sample.labels, 0)


def _measured(X: Array, y: Labels, seed: int) -> Measured:
    # Slow to import, and a module that lists the scores is imported by every command.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    X = unit(X)
    order = np.lexsort(X.T)
    T = principal(X[order], min(X.shape))
    variances = np.square(T).mean(axis=0)
    T = T[:, : int(np.searchsorted(np.cumsum(variances), _ENERGY * variances.sum())) + 1]
    T /= np.sqrt(np.square(T).mean())
    mixture = GaussianMixture(
        min(_PER_CLASS * len(y.counts), max(len(T) // 5, 2)), reg_covar=1e-6, random_state=seed
    )
    with warnings.catch_warnings():
        # A mixture that has not settled, or fewer distinct rows than components, is still a mixture.
        warnings.simplefilter("ignore", ConvergenceWarning)
        posteriors = mixture.fit(T).predict_proba(T)
    return measured(posteriors[np.argsort(order)], y)
