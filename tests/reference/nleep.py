"""N-LEEP, as in Li et al. 2021, https://arxiv.org/abs/2011.11200: PCA, a Gaussian mixture, LEEP."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tests.reference.leep import leep


def nleep(features: NDArray[Any], labels: NDArray[Any], *, seed: int = 0) -> float:
    """Scikit-learn's PCA and mixture, on rows in the order of their last column, of mean variance 1."""
    order = sorted(range(len(features)), key=lambda i: features[i, ::-1].tolist())
    s = PCA(n_components=0.8, svd_solver="full").fit_transform(features[order])
    s /= np.sqrt(np.mean([column.var() for column in s.T]))
    components = min(5 * len(set(labels.tolist())), max(len(s) // 5, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        posterior = GaussianMixture(components, random_state=seed).fit(s).predict_proba(s)
    return leep(posterior, labels[order])
