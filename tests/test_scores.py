"""Transferability scores: one battery over all of them, then each against its twin and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reference.examples import STEADY, Array, blobs, rotation, seeds
from tests.reference.hscore import hscore as literal_hscore
from tests.reference.logme import logme as literal_logme
from zookeeper.errors import DegenerateInputError
from zookeeper.evidence import evidence_of
from zookeeper.labels import examples
from zookeeper.records import IGNORED
from zookeeper.scores import SCORES, ScoreSpec, hscore, logme, ridge
from zookeeper.scores.ridge import explained

every_score = pytest.mark.parametrize("name", ["logme", "hscore", "ridge"])


def score(name: str, features: NDArray[np.floating], labels: NDArray[np.generic]) -> float:
    return SCORES[name].function(features, labels)


# The common battery


@every_score
def test_name_is_that_of_the_table(name: str) -> None:
    assert SCORES[name].name == name


@every_score
@STEADY
@given(seed=seeds)
def test_order_of_examples_does_not_matter(name: str, seed: int) -> None:
    features, labels = blobs(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    assert score(name, features[order], labels[order]) == pytest.approx(
        score(name, features, labels), rel=1e-10
    )


@every_score
@pytest.mark.parametrize("numbers", [(2, 0, 1), (5, 70, 9), (-3, 0, -1)], ids=str)
@STEADY
@given(seed=seeds)
def test_numbering_of_classes_does_not_matter(name: str, numbers: tuple[int, ...], seed: int) -> None:
    features, labels = blobs(seed)
    renumbered = np.take(numbers, labels)
    assert score(name, features, renumbered) == pytest.approx(score(name, features, labels), rel=1e-10)


@every_score
@STEADY
@given(seed=seeds)
def test_directions_of_features_do_not_matter(name: str, seed: int) -> None:
    features, labels = blobs(seed)
    turned = features @ rotation(seed, features.shape[1])
    assert score(name, turned, labels) == pytest.approx(score(name, features, labels), rel=1e-10)


@every_score
@pytest.mark.parametrize("scale", [1e-3, 1e3])
@STEADY
@given(seed=seeds)
def test_scale_of_features_does_not_matter(name: str, scale: float, seed: int) -> None:
    features, labels = blobs(seed)
    assert score(name, scale * features, labels) == pytest.approx(score(name, features, labels), rel=1e-10)


@every_score
@STEADY
@given(seed=seeds)
def test_float32_features_are_read_in_double_precision(name: str, seed: int) -> None:
    features, labels = blobs(seed)
    narrow = features.astype(np.float32)
    assert score(name, narrow, labels) == score(name, narrow.astype(np.float64), labels)
    assert score(name, narrow, labels.astype(np.int32)) == pytest.approx(
        score(name, features, labels), rel=1e-4, abs=1e-4
    )


@every_score
def test_same_input_same_score_and_input_untouched(name: str) -> None:
    features, labels = blobs(0)
    first = score(name, features, labels)
    assert score(name, features, labels) == first
    fresh_features, fresh_labels = blobs(0)
    assert (features == fresh_features).all()
    assert (labels == fresh_labels).all()


@every_score
@STEADY
@given(seed=seeds)
def test_ignored_rows_do_not_count(name: str, seed: int) -> None:
    features, labels = blobs(seed)
    counted = np.arange(len(labels)) % 4 > 0
    masked = np.where(counted, labels, IGNORED)
    assert score(name, features, masked) == pytest.approx(
        score(name, features[counted], labels[counted]), rel=1e-10
    )


@every_score
@STEADY
@given(seed=seeds)
def test_separable_classes_score_above_shuffled_ones(name: str, seed: int) -> None:
    features, labels = blobs(seed)
    shuffled = np.random.default_rng(seed).permutation(labels)
    assert score(name, features, labels) > score(name, features, shuffled)


@every_score
def test_regression_is_scored_or_refused_as_declared(name: str) -> None:
    features, _ = blobs(0)
    labels = features @ np.arange(6.0) + np.random.default_rng(0).normal(size=len(features))
    if SCORES[name].numbers:
        shuffled = np.random.default_rng(1).permutation(labels)
        assert score(name, features, labels) > score(name, features, shuffled)
    else:
        with pytest.raises(DegenerateInputError, match="classes only"):
            score(name, features, labels)


# LogME


def scaled_columns(features: Array) -> Array:
    return np.asarray(features * np.logspace(-1, 1, features.shape[1]))


def of_low_rank(features: Array) -> Array:
    return np.asarray(features[:, :2] @ np.random.default_rng(0).normal(size=(2, features.shape[1])))


def with_dead_columns(features: Array) -> Array:
    return np.hstack([features, np.zeros((len(features), 5))])


@pytest.mark.parametrize("change", [np.asarray, scaled_columns, of_low_rank, with_dead_columns])
@pytest.mark.parametrize(("n", "d"), [(60, 6), (21, 20), (20, 20), (20, 21), (20, 60)], ids=str)
def test_logme_is_the_largest_dense_evidence(n: int, d: int, change: Callable[[Array], Array]) -> None:
    features, labels = blobs(1, n=n, d=d)
    features = change(features)
    dense = literal_logme(features, labels)
    for scale in (1e-3, 1, 1e3):
        assert logme(scale * features, labels) == pytest.approx(dense, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(50, 5), (20, 40)], ids=str)
def test_logme_of_a_regression_is_the_largest_dense_evidence(n: int, d: int) -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(n, d))
    labels = features @ rng.normal(size=d) + 3 * rng.normal(size=n)
    assert logme(features, labels) == pytest.approx(literal_logme(features, labels), abs=1e-6)


@STEADY
@given(seeds, st.integers(1, 10))
def test_logme_of_orthonormal_features(seed: int, d: int) -> None:
    # With X^T X = I, u = t / (1 + t) and R = z u + r: d / u = n z / R at the best, so R = r n / (n - d).
    n = 50
    rng = np.random.default_rng(seed)
    features = np.linalg.qr(rng.normal(size=(n, d)))[0]
    labels = features @ np.full(d, 4.0) + rng.normal(size=n) / 4
    z = float(np.square(features.T @ labels).sum())
    r = float(labels @ labels) - z
    evidence = d / 2 * np.log(d * r / ((n - d) * z)) + n / 2 * (np.log((n - d) / r) - 1 - np.log(2 * np.pi))
    assert logme(features, labels) == pytest.approx(evidence / n, abs=1e-12)


@STEADY
@given(seeds)
def test_logme_does_not_change_with_columns_that_repeat_others(seed: int) -> None:
    features, labels = blobs(seed)
    doubled = np.hstack([features, features])
    assert logme(doubled, labels) == pytest.approx(logme(features, labels), abs=1e-10)


@STEADY
@given(seeds)
def test_logme_of_features_that_spell_the_labels_is_large_and_finite(seed: int) -> None:
    features, labels = blobs(seed)
    perfect = logme(np.eye(3)[labels] @ np.random.default_rng(seed).normal(size=(3, 5)), labels)
    assert np.isfinite(perfect)
    assert perfect > logme(features, labels) + 1


def test_logme_of_features_that_are_zero_is_refused() -> None:
    with pytest.raises(DegenerateInputError, match="zero"):
        logme(np.zeros((30, 4)), np.arange(30) % 3)


# H-score


@STEADY
@given(seeds, st.integers(1, 40), st.integers(2, 5))
def test_hscore_equals_the_literal_definition(seed: int, d: int, classes: int) -> None:
    features, labels = blobs(seed, n=30, d=d, classes=classes)
    assert hscore(features, labels) == pytest.approx(literal_hscore(features, labels), rel=1e-9)


@STEADY
@given(seeds, st.integers(2, 5))
def test_hscore_lies_between_zero_and_classes_less_one(seed: int, classes: int) -> None:
    features, labels = blobs(seed, classes=classes)
    assert 0 <= hscore(features, labels) <= classes - 1


@STEADY
@given(seeds)
def test_hscore_does_not_depend_on_the_mean(seed: int) -> None:
    features, labels = blobs(seed)
    shifted = features + 50 * features.std(axis=0)
    assert hscore(shifted, labels) == pytest.approx(hscore(features, labels), rel=1e-6)


def test_hscore_of_one_column_is_the_share_of_variance_between_classes() -> None:
    features = np.array([[0.0], [2], [4], [6]])
    assert hscore(features, np.array([0, 0, 1, 1])) == pytest.approx(4 / 5)


def test_hscore_of_two_points_is_one_however_many_columns_repeat() -> None:
    # No shrinkage and a singular covariance: all variance lies between the classes.
    labels = np.arange(40) % 2
    features = np.outer(2 * labels - 1, [1.0, 2, 2, 0])
    assert hscore(features, labels) == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 7.7, 1e5])
@pytest.mark.parametrize(("n", "d"), [(50, 4), (1000, 100)], ids=str)
def test_hscore_of_constant_features_is_refused(n: int, d: int, value: float) -> None:
    with pytest.raises(DegenerateInputError, match="every row of the features is the same"):
        hscore(np.full((n, d), value), np.arange(n) % 3)


# The held-out probe


def test_classes_without_a_signal_do_not_flatten_the_probe() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=1500)
    features = rng.normal(size=(1500, 20)) + 2 * rng.normal(size=(3, 20))[labels]
    features -= features.mean(axis=0)
    for rare in range(3, 23):
        labels[rng.choice(1500, 3, replace=False)] = rare
    assert ridge(features, labels) > 0.9, "nine of ten examples are of a class that can be told"


def test_a_sample_of_one_value_is_refused_whatever_its_rounding() -> None:
    predicted = np.random.default_rng(0).normal(size=(2000, 1))
    with pytest.raises(DegenerateInputError, match="all the same"):
        explained(np.full((2000, 1), 0.1), predicted)


@pytest.mark.parametrize("name", ["logme", "ridge", "knn", "parc"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_a_column_of_labels_that_does_not_vary_does_not_count(name: str, value: float) -> None:
    features, labels = blobs(0)
    several = (labels[:, None] == np.arange(3)).astype(float)
    with_constant = np.column_stack([several, np.full(len(labels), value)])
    assert score(name, features, with_constant) == score(name, features, several)


# Scores of other packages


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_by_which_nothing_can_be_ordered_is_refused(value: float) -> None:
    spec = ScoreSpec("odd", "Odd", lambda features: value, "", "")
    evidence = evidence_of(*examples(*blobs(0)))
    with pytest.raises(DegenerateInputError, match="finite"):
        spec.measure(evidence)


def test_a_score_that_raises_is_not_defined() -> None:
    def odd(features: Array) -> float:
        raise ValueError("too few rows")

    with pytest.raises(DegenerateInputError, match="ValueError: too few rows"):
        ScoreSpec("odd", "Odd", odd, "", "").measure(evidence_of(*examples(*blobs(0))))
