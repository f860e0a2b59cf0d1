"""Sufficient statistics: additive, independent of chunks, and closed to what nothing can be learnt from."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reference.examples import STEADY, Array, blobs, seeds
from zookeeper.errors import DegenerateInputError
from zookeeper.labels import Labels
from zookeeper.records import IGNORED
from zookeeper.statistics import Moments, Statistics, statistics


def assert_equal(one: Statistics, other: Statistics) -> None:
    for field in fields(Moments):
        np.testing.assert_allclose(
            getattr(one.moments, field.name), getattr(other.moments, field.name), rtol=1e-11, atol=1e-11
        )
    for name in ("cross", "totals", "squares", "classes"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-11, atol=1e-11)


def test_moments_of_two_classes_by_hand() -> None:
    found = statistics(np.array([[1.0, 2], [3, 4], [0, 1]]), np.array([7, 7, 2]))
    moments = found.moments
    assert (found.n, found.classes, moments.quartic) == (3, True, 25 + 625 + 1)
    assert moments.gram.tolist() == [[10, 14], [14, 21]]
    assert moments.total.tolist() == [4, 7]
    assert moments.cubic.tolist() == [5 + 75, 10 + 100 + 1]
    assert found.cross.tolist() == [[0, 1], [4, 6]]
    assert found.totals.tolist() == found.squares.tolist() == [1, 2]


def test_moments_of_a_regression_by_hand() -> None:
    found = statistics(np.array([[1.0, 2], [3, 4]]), np.array([0.5, -1]))
    assert not found.classes
    assert found.cross.tolist() == [[-2.5, -3]]
    assert found.totals.tolist() == [-0.5]
    assert found.squares.tolist() == [1.25]


def test_several_labels_at_once_are_a_column_each() -> None:
    found = statistics(np.array([[1.0], [3], [5]]), np.array([[1.0, 0], [1, 1], [0, 1]]))
    assert found.cross.tolist() == [[4], [8]]
    assert found.totals.tolist() == [2, 2]


@pytest.mark.parametrize("names", [(0, 1, 2), (5, 70, 9), ("c", "a", "b"), (0.5, -1.0, 7.25)], ids=str)
@STEADY
@given(seed=seeds, cut=st.integers(1, 39))
def test_two_parts_add_up_to_one_pass_and_come_off_again(names: tuple[Any, ...], seed: int, cut: int) -> None:
    features, codes = blobs(seed, n=40)
    labels = Labels.of(np.array(names)[codes])
    whole = Statistics.of(features, labels)
    first, second = (Statistics.of(features[rows], labels[rows]) for rows in (slice(cut), slice(cut, None)))
    assert_equal(first + second, whole)
    assert_equal(whole - second, first)


@STEADY
@given(seeds, st.integers(1, 100))
def test_chunks_do_not_matter(seed: int, chunk: int) -> None:
    features, labels = blobs(seed)
    labels[::7] = IGNORED
    assert_equal(statistics(features, labels, chunk=chunk), statistics(features, labels))
    values = features[:, 0]
    assert_equal(statistics(features, values, chunk=chunk), statistics(features, values))


def test_unlabelled_rows_are_as_if_absent() -> None:
    features, labels = blobs(0)
    labels[::3] = IGNORED
    counted = labels != IGNORED
    features[0] = np.nan
    assert_equal(statistics(features, labels), statistics(features[counted], labels[counted]))
    values = np.where(counted, features[:, 1], np.nan)
    assert_equal(statistics(features, values), statistics(features[counted], values[counted]))


@STEADY
@given(seeds)
def test_the_spectrum_is_that_of_the_features(seed: int) -> None:
    features, labels = blobs(seed, n=12, d=20)
    values, vectors = statistics(features, labels).moments.spectrum
    np.testing.assert_allclose(values[::-1], np.linalg.svd(features)[1] ** 2, rtol=1e-8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(12), atol=1e-10)


X = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (X, np.array([0, 1, 0]), "do not go with"),
        (X[:, 0], np.array([0, 1, 0, 1]), "do not go with"),
        (X, np.full(4, IGNORED), "no labelled examples"),
        (X, np.full(4, np.nan), "no labelled examples"),
        (X[:0], np.array([], dtype=int), "no labelled examples"),
        (X, np.array([3, 3, 3, IGNORED]), "one class only"),
        (X, np.full(4, 0.5), "same value everywhere"),
        (X, np.ones((4, 2)), "same value everywhere"),
        (np.where(X == 5, np.nan, X), np.array([0, 1, 0, 1]), "not finite"),
        (np.where(X == 5, np.inf, X), np.array([0.0, 1, 0, 1]), "not finite"),
        (X, np.array([0.0, np.inf, 0, 1]), "not finite"),
    ],
)
def test_refuses(features: Array, labels: NDArray[np.generic], message: str) -> None:
    with pytest.raises(DegenerateInputError, match=message):
        statistics(features, labels)
