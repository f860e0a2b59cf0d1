"""Logistic probe: how well a linear classifier on frozen features does on examples it has not seen.

Alain and Bengio 2016, https://arxiv.org/abs/1610.01644: the plain question that closed-form scores answer
by approximation.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.evidence import Evidence, Measured
from zookeeper.labels import Array, examples
from zookeeper.scores.arrays import unit

Indices = NDArray[np.int64]

_FOLDS = 5
_ITERATIONS = 100


def logistic(features: NDArray[Any], labels: NDArray[Any], *, folds: int = _FOLDS, seed: int = 0) -> float:
    """Cross-validated accuracy of a multinomial logistic regression with an L2 penalty.

    Features are standardised on the training folds; the penalty is half the square of the weights (without
    intercepts), the loss the sum over examples, and L-BFGS stops after 100 steps at the latest. Each class
    is spread over the folds as evenly as it goes; the examples of a class that the training folds lack
    count as wrong. The rows are sorted before they are dealt out, so the score does not depend on the
    order of examples unless rows repeat.

    Args:
        features: (n, d), finite; any scale.
        labels: (n,) classes.
        folds: parts of the examples, each predicted from the others, 2 or more; at most n are made.
        seed: of the parts.

    Returns:
        Between 0 and 1; larger is better.

    Raises:
        DegenerateInputError: the labels are not classes or all the same, or the features do not vary.
    """
    # Slow to import, and a module that lists the scores is imported by every command.
    from sklearn.utils import check_random_state

    X, y = examples(features, labels)
    X = unit(X)
    order = np.lexsort(X.T)[check_random_state(seed).permutation(len(X))]
    X, codes = X[order], y.codes[order]
    return float(_right(X, codes, _dealt(codes, folds)).mean())


def measure(evidence: Evidence) -> Measured:
    """The same of the sample, in folds of whole sentences."""
    sample = evidence.sample
    right = _right(unit(sample.features), sample.labels.codes, sample.folds(_FOLDS))
    return Measured(float(right.mean()), lambda: right)


def _dealt(codes: Indices, folds: int) -> Indices:
    """(n,) the fold of each example: dealt out in turn, class after class.

    Classes go by their first examples, not by their numbers.
    """
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    fold = np.empty(len(codes), dtype=np.int64)
    fold[np.argsort(first[inverse], kind="stable")] = np.arange(len(codes)) % folds
    return fold


def _right(X: Array, codes: Indices, fold: Indices) -> Array:
    """(n,) 1 where the class of an example is predicted from the other folds, else 0."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = np.zeros(len(X))
    for number in np.unique(fold):
        train, test = fold != number, fold == number
        if len(np.unique(codes[train])) < 2:  # nothing to learn
            right[test] = np.isin(codes[test], codes[train])
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
        with warnings.catch_warnings():
            # Of features that go together predictions settle long before weights.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X[train], codes[train])
        right[test] = model.predict(X[test]) == codes[test]
    return right
