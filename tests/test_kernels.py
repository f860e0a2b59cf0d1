"""The task covariance: what it is, what it does not depend on, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import kernels as literal
from tests.reference.examples import STEADY, Array, feature_sets, parameters, rotation, seeds
from zookeeper import kernels
from zookeeper.errors import DegenerateInputError
from zookeeper.kernels import alignment, centred, covariance


@STEADY
@given(seeds, st.integers(1, 6), st.integers(3, 50))
def test_equals_the_literal_definition(seed: int, m: int, n: int) -> None:
    sets = feature_sets(seed, m, n)
    np.testing.assert_allclose(covariance(sets), literal.covariance(sets), atol=1e-12)


@pytest.mark.parametrize("name", ["covariance", "alignment"])
def test_twin_is_called_alike(name: str) -> None:
    assert parameters(getattr(kernels, name)) == parameters(getattr(literal, name))


@STEADY
@given(seeds, st.integers(1, 12), st.integers(3, 50))
def test_is_a_covariance(seed: int, m: int, n: int) -> None:
    kappa = covariance(feature_sets(seed, m, n))
    assert (kappa == kappa.T).all()
    assert (np.diag(kappa) == 1).all()
    assert np.linalg.eigvalsh(kappa)[0] > -1e-13 * m


@pytest.mark.parametrize("n", [511, 512, 513, 1100])
def test_both_exact_forms_agree(n: int) -> None:
    sets = [centred(features) for features in feature_sets(0, m=5, n=n)]
    primal, dual = (form(sets, lambda _: None) for form in (kernels._primal, kernels._dual))
    np.testing.assert_allclose(dual, primal, rtol=1e-12)


@STEADY
@given(seeds)
def test_alignment_of_single_columns_is_their_squared_correlation(seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 30, 1))
    assert alignment(x, y) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2, abs=1e-14)


def test_uncorrelated_features_are_not_aligned() -> None:
    x, y = np.array([[1.0], [1], [-1], [-1]]), np.array([[1.0], [-1], [1], [-1]])
    assert alignment(x, y) == 0
    assert alignment(np.hstack([x, y]), x) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: f @ rotation(1, f.shape[1]), id="rotated"),
        pytest.param(lambda f: 1e-9 * f, id="scaled down"),
        pytest.param(lambda f: 1e100 * f, id="scaled up"),
        pytest.param(lambda f: f + 50 * f.std(axis=0), id="shifted"),
        pytest.param(lambda f: np.hstack([f, np.full((len(f), 2), 0.1)]), id="dead columns"),
    ],
)
@STEADY
@given(seed=seeds)
def test_does_not_depend_on_the_coordinates_of_a_set(seed: int, change: Callable[[Array], Array]) -> None:
    first, *rest = feature_sets(seed)
    np.testing.assert_allclose(covariance([change(first), *rest]), covariance([first, *rest]), atol=1e-12)


@STEADY
@given(seeds)
def test_permuting_the_zoo_permutes_the_matrix(seed: int) -> None:
    sets = feature_sets(seed, m=6)
    order = np.random.default_rng(seed).permutation(6)
    permuted = covariance([sets[i] for i in order])
    np.testing.assert_allclose(permuted, covariance(sets)[np.ix_(order, order)], atol=1e-13)


@STEADY
@given(seeds)
def test_order_of_rows_counts_only_between_sets(seed: int) -> None:
    sets = feature_sets(seed, m=3)
    order = np.random.default_rng(seed).permutation(len(sets[0]))
    np.testing.assert_allclose(covariance([f[order] for f in sets]), covariance(sets), atol=1e-13)
    assert alignment(sets[0][order], sets[0]) < 0.99


@STEADY
@given(seeds)
def test_float32_features_lose_nothing_on_the_way(seed: int) -> None:
    sets = [(f + 50 * f.std(axis=0)).astype(np.float32) for f in feature_sets(seed)]
    kappa = covariance(sets)
    assert (kappa == covariance([f.astype(np.float64) for f in sets])).all()
    np.testing.assert_allclose(kappa, covariance(feature_sets(seed)), atol=1e-5)


def test_leaves_its_input_alone() -> None:
    sets = feature_sets(0)
    covariance(sets)
    for used, fresh in zip(sets, feature_sets(0), strict=True):
        assert (used == fresh).all()


GOOD = np.arange(12.0).reshape(6, 2) ** 2


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "at least one set"),
        ([GOOD, GOOD[:-1]], r"different numbers of rows: \[5, 6\]"),
        ([GOOD, np.full((6, 2), 0.1)], "every row of the features is the same"),
        ([GOOD, np.tile([0.1, 1e4 / 3], (6, 1))], "every row of the features is the same"),
        ([GOOD, np.zeros((6, 2))], "every row of the features is the same"),
        ([GOOD[:1]], "every row of the features is the same"),
        ([GOOD, np.where(GOOD == 4, np.nan, GOOD)], "not finite"),
        ([GOOD, np.where(GOOD == 4, np.inf, GOOD)], "not finite"),
    ],
)
def test_refuses(sets: list[Array], message: str) -> None:
    with pytest.raises(DegenerateInputError, match=message):
        covariance(sets)


@pytest.mark.parametrize(("m", "n", "d"), [(1, 9, 2), (7, 50, 3), (50, 9, 2), (3, 1100, 600)])
def test_progress_comes_to_its_end(m: int, n: int, d: int) -> None:
    steps: list[int] = []
    covariance([np.random.default_rng(i).normal(size=(n, d)) for i in range(m)], advance=steps.append)
    assert sum(steps) == 1000
    assert min(steps) >= 0
