"""Leaf order and classical scaling: against their twins, and what a reader of a picture relies on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import arrangement as literal
from tests.reference.examples import STEADY, Array, parameters, random_kappa, rotation, seeds
from zookeeper import arrangement
from zookeeper.arrangement import classical_scaling, correlation, leaf_order, linkage, spaced
from zookeeper.errors import DegenerateInputError, UsageError


def distances(points: Array) -> Array:
    return np.asarray(np.linalg.norm(points[:, None] - points[None], axis=2))


def walk(kappa: Array, order: tuple[int, ...]) -> float:
    return float(sum(1 - kappa[i, j] for i, j in pairwise(order)))


@pytest.mark.parametrize("name", ["leaf_order", "classical_scaling"])
def test_twin_is_called_alike(name: str) -> None:
    assert parameters(getattr(arrangement, name)) == parameters(getattr(literal, name))


@STEADY
@given(seeds, st.integers(1, 7))
def test_leaf_order_is_near_the_best_that_the_tree_allows(seed: int, m: int) -> None:
    kappa = random_kappa(seed, m)
    best = literal.leaf_order(kappa)
    assert sorted(leaf_order(kappa)) == sorted(best)
    # That of scipy is not always the best (https://github.com/scipy/scipy/issues/11227).
    assert walk(kappa, leaf_order(kappa)) <= 1.25 * walk(kappa, best) + 1e-12


@STEADY
@given(seeds, st.integers(1, 5), st.integers(1, 6))
def test_families_stand_together(seed: int, families: int, size: int) -> None:
    family = np.random.default_rng(seed).permutation(np.repeat(np.arange(families), size))
    alike = family[:, None] == family[None]
    order = leaf_order(np.where(alike, 0.8, 0.1) + 0.2 * np.eye(len(family)))
    assert sorted(order) == list(range(len(family)))
    assert (np.diff(family[list(order)]) != 0).sum() == families - 1


@STEADY
@given(seeds, st.integers(2, 12))
def test_an_exact_copy_stands_beside_its_original(seed: int, m: int) -> None:
    with_copy = [*range(m), 0]
    order = leaf_order(random_kappa(seed, m)[np.ix_(with_copy, with_copy)])
    assert abs(order.index(0) - order.index(m)) == 1


def test_above_500_items_the_tree_is_that_of_the_same_merges() -> None:
    family = np.arange(1002) % 3
    kappa = np.where(family[:, None] == family[None], 0.8, 0.1) + 0.2 * np.eye(1002)
    assert (np.diff(family[list(leaf_order(kappa))]) != 0).sum() == 2


def test_forks_are_at_the_mean_distance_of_what_they_join() -> None:
    kappa = np.array([[1, 0.9, 0.2], [0.9, 1, 0.4], [0.2, 0.4, 1]])
    np.testing.assert_allclose(linkage(kappa)[:, 2], [0.1, 0.7])


@STEADY
@given(seeds, st.integers(2, 20), st.integers(1, 4))
def test_scaling_equals_the_definition(seed: int, m: int, dimensions: int) -> None:
    kappa = random_kappa(seed, m)
    ours, twin = (form(kappa, dimensions) for form in (classical_scaling, literal.classical_scaling))
    np.testing.assert_allclose(distances(ours.coordinates), distances(twin.coordinates), atol=1e-7)
    assert ours.coordinates.shape == (m, dimensions)
    assert ours.explained == pytest.approx(twin.explained)


@STEADY
@given(seeds, st.integers(1, 20), st.integers(1, 4))
def test_scaling_finds_the_distances_of_points_that_exist(seed: int, m: int, dimensions: int) -> None:
    points = np.random.default_rng(seed).normal(size=(m, dimensions))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = classical_scaling(points @ points.T, dimensions)
    np.testing.assert_allclose(distances(found.coordinates), distances(points), atol=1e-6)
    assert found.explained == pytest.approx(1)


@STEADY
@given(seeds, st.integers(2, 20))
def test_more_dimensions_explain_more_and_all_of_them_all(seed: int, m: int) -> None:
    shares = [classical_scaling(random_kappa(seed, m), dimensions).explained for dimensions in range(1, m)]
    assert (np.diff(shares) > 0).all()
    assert shares[-1] == pytest.approx(1)


@STEADY
@given(seeds, st.integers(3, 20))
def test_permuting_the_zoo_permutes_the_points(seed: int, m: int) -> None:
    kappa = random_kappa(seed, m)
    order = np.random.default_rng(seed).permutation(m)
    permuted = classical_scaling(kappa[np.ix_(order, order)])
    np.testing.assert_allclose(permuted.coordinates, classical_scaling(kappa).coordinates[order], atol=1e-8)


@STEADY
@given(seeds, st.integers(1, 20))
def test_the_farthest_coordinate_is_positive(seed: int, m: int) -> None:
    coordinates = classical_scaling(random_kappa(seed, m)).coordinates
    assert (coordinates.max(axis=0) >= -coordinates.min(axis=0)).all()


def test_two_items_lie_on_a_line() -> None:
    found = classical_scaling(np.array([[1, 0.5], [0.5, 1]]))
    np.testing.assert_allclose(found.coordinates, [[0.5, 0], [-0.5, 0]], atol=1e-15)
    assert found.explained == 1


@pytest.mark.parametrize("m", [1, 2, 5])
def test_items_that_are_all_the_same_lie_on_one_point(m: int) -> None:
    found = classical_scaling(np.ones((m, m)))
    assert (found.coordinates == np.zeros((m, 2))).all()
    assert found.explained == 1
    assert sorted(leaf_order(np.ones((m, m)))) == list(range(m))


@STEADY
@given(seeds, st.integers(1, 10))
def test_correlation_does_not_depend_on_the_scale_of_an_item(seed: int, m: int) -> None:
    kappa = random_kappa(seed, m)
    scale = np.random.default_rng(seed).uniform(0.1, 10, size=m)
    np.testing.assert_allclose(correlation(kappa * np.outer(scale, scale)), kappa, atol=1e-14)


def test_an_item_without_variance_is_like_no_other() -> None:
    assert (correlation(np.array([[4.0, 0], [0, 0]])) == np.eye(2)).all()


FUNCTIONS = [leaf_order, linkage, classical_scaling, correlation]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_leaves_its_input_alone(function: Callable[[Array], Any]) -> None:
    kappa = random_kappa(0, 6)
    function(kappa)
    assert (kappa == random_kappa(0, 6)).all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.empty((0, 0)), "no square matrix"),
        (np.ones((2, 3)), "no square matrix"),
        (np.ones(3), "no square matrix"),
        (np.array([[1, np.nan], [np.nan, 1]]), "not finite"),
    ],
)
def test_refuses(function: Callable[[Array], Any], matrix: Array, message: str) -> None:
    with pytest.raises(DegenerateInputError, match=message):
        function(matrix)


def test_refuses_to_draw_in_no_dimension() -> None:
    with pytest.raises(UsageError, match="0 dimensions"):
        classical_scaling(np.eye(3), 0)


@STEADY
@given(seeds)
def test_rotating_the_items_moves_no_point(seed: int) -> None:
    items = np.random.default_rng(seed).normal(size=(8, 5))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    turned = items @ rotation(seed, 5)
    np.testing.assert_allclose(
        classical_scaling(turned @ turned.T).coordinates,
        classical_scaling(items @ items.T).coordinates,
        atol=1e-7,
    )


# Labels


@STEADY
@given(st.lists(st.floats(-100, 100), max_size=12), st.floats(0.1, 20))
def test_places_that_collide_move_as_one_and_no_other_does(places: list[float], apart: float) -> None:
    places = sorted(places)
    found = spaced(places, apart)
    gaps = np.diff(found)
    assert (gaps >= apart - 1e-9).all()
    assert sum(found) == pytest.approx(sum(places), abs=1e-6)
    if (np.diff(places) >= apart).all():
        assert found == pytest.approx(places)
