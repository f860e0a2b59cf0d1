"""Sufficient statistics: additive, independent of chunks, and closed to what nothing can be learnt from."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reference.examples import STEADY, Array, blobs, seeds
from zookeeper.errors import DegenerateInputError
from zookeeper.records import IGNORED
from zookeeper.scores import hscore, logme
from zookeeper.statistics import Statistics, statistics


def assert_equal(one: Statistics, other: Statistics) -> None:
    assert one.classes == other.classes
    for field in fields(Statistics):
        if field.name != "classes":
            np.testing.assert_allclose(getattr(one, field.name), getattr(other, field.name), rtol=1e-11)


def test_moments_of_two_classes_by_hand() -> None:
    found = statistics(np.array([[1.0, 2], [3, 4], [0, 1]]), np.array([7, 7, 2]))
    assert (found.n, found.classes, found.quartic) == (3, (2, 7), 25 + 625 + 1)
    assert found.gram.tolist() == [[10, 14], [14, 21]]
    assert found.cross.tolist() == [[0, 1], [4, 6]]
    assert found.target_squares.tolist() == [1, 2]
    assert found.feature_sum.tolist() == [4, 7]
    assert found.cubic.tolist() == [5 + 75, 10 + 100 + 1]


def test_moments_of_a_regression_by_hand() -> None:
    found = statistics(np.array([[1.0, 2], [3, 4]]), np.array([0.5, -1]))
    assert found.classes is None
    assert found.cross.tolist() == [[-2.5, -3]]
    assert found.target_squares.tolist() == [1.25]


@pytest.mark.parametrize("classes", [(0, 1, 0, 1), (0, 1, 2, 3), (2, 3, 0, 1), (0, 2, 1, 2), (0, 9, 4, 5)])
@STEADY
@given(seed=seeds)
def test_two_halves_add_up_to_one_pass(seed: int, classes: tuple[int, int, int, int]) -> None:
    features, labels = blobs(seed, n=40, classes=2)
    labels = np.r_[np.take(classes[:2], labels[:20]), np.take(classes[2:], labels[20:])]
    whole = statistics(features, labels)
    halves = statistics(features[:20], labels[:20]) + statistics(features[20:], labels[20:])
    assert_equal(halves, whole)
    assert logme(halves) == pytest.approx(logme(whole), rel=1e-9)
    assert hscore(halves) == pytest.approx(hscore(whole), rel=1e-9)


@STEADY
@given(seeds)
def test_two_halves_of_a_regression_add_up_to_one_pass(seed: int) -> None:
    features, _ = blobs(seed)
    labels = features[:, 0]
    halves = statistics(features[:30], labels[:30]) + statistics(features[30:], labels[30:])
    assert_equal(halves, statistics(features, labels))


@STEADY
@given(seeds, st.integers(1, 100))
def test_chunks_do_not_matter(seed: int, chunk: int) -> None:
    features, labels = blobs(seed)
    labels[::7] = IGNORED
    assert_equal(statistics(features, labels, chunk=chunk), statistics(features, labels))
    values = features[:, 0]
    assert_equal(statistics(features, values, chunk=chunk), statistics(features, values))


def test_ignored_rows_are_as_if_absent() -> None:
    features, labels = blobs(0)
    labels[::3] = IGNORED
    counted = labels != IGNORED
    features[0] = np.nan
    assert_equal(statistics(features, labels), statistics(features[counted], labels[counted]))


X = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (X, np.array([0, 1, 0]), "do not go with"),
        (X[:, 0], np.array([0, 1, 0, 1]), "do not go with"),
        (X, np.full(4, IGNORED), "no labelled examples"),
        (X[:0], np.array([], dtype=int), "no labelled examples"),
        (X, np.array([3, 3, 3, IGNORED]), "one class only"),
        (X, np.full(4, 0.5), "same value everywhere"),
        (np.where(X == 5, np.nan, X), np.array([0, 1, 0, 1]), "not finite"),
        (np.where(X == 5, np.inf, X), np.array([0.0, 1, 0, 1]), "not finite"),
        (X, np.array([0.0, np.nan, 0, 1]), "not finite"),
        (X, np.array([0.0, np.inf, 0, 1]), "not finite"),
    ],
)
def test_refuses(features: Array, labels: NDArray[np.generic], message: str) -> None:
    with pytest.raises(DegenerateInputError, match=message):
        statistics(features, labels)


def test_classes_and_values_cannot_be_merged() -> None:
    with pytest.raises(DegenerateInputError, match="classification and a regression"):
        statistics(X, np.array([0, 1, 0, 1])) + statistics(X, np.array([0.0, 1, 0, 1]))
