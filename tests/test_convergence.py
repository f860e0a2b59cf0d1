"""How the covariance settles: against its twin, in closed form, at the end of the probe and in the paper."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import convergence as literal
from tests.reference.examples import STEADY, conditioned_kappa, feature_sets, parameters, random_kappa, seeds
from zookeeper import convergence as module
from zookeeper.convergence import convergence, divergence
from zookeeper.errors import DegenerateInputError, UsageError


@STEADY
@given(seeds, st.integers(1, 4), st.integers(1, 6))
def test_equals_the_literal_definition(seed: int, m: int, steps: int) -> None:
    sets = feature_sets(seed, m, n=160)
    lengths = np.random.default_rng(seed).multinomial(140, np.full(20, 1 / 20)) + 1
    found, expected = (f(sets, lengths, steps=steps) for f in (convergence, literal.convergence))
    assert found.words == expected.words
    np.testing.assert_allclose(found.divergence, expected.divergence, atol=1e-9)
    np.testing.assert_allclose(found.cosine, expected.cosine, atol=1e-12)
    np.testing.assert_allclose(found.isotropic, expected.isotropic, atol=1e-9)
    assert found.n_checkpoints == m


@pytest.mark.parametrize("name", ["convergence", "divergence"])
def test_twin_is_called_alike(name: str) -> None:
    assert parameters(getattr(module, name)) == parameters(getattr(literal, name))


@STEADY
@given(seeds)
def test_ends_where_the_covariance_is(seed: int) -> None:
    found = convergence(feature_sets(seed, n=400), [10] * 40)
    assert found.words[-1] == 400
    assert found.divergence[-1] == pytest.approx(0, abs=1e-12)
    assert found.cosine[-1] == pytest.approx(1, abs=1e-12)


def test_more_words_say_more() -> None:
    found = [convergence(feature_sets(seed, n=1600), [10] * 160, steps=5) for seed in range(20)]
    assert {curve.words for curve in found} == {(100, 200, 400, 800, 1600)}
    divergence = np.mean([curve.divergence for curve in found], axis=0)
    cosine = np.mean([curve.cosine for curve in found], axis=0)
    assert (np.diff(divergence) < 0).all()
    assert (np.diff(cosine) > 0).all()


def test_words_end_with_a_sentence() -> None:
    assert convergence(feature_sets(0, n=100), [1, 30, 9, 30, 30], steps=5).words == (31, 70, 100)


def test_copies_count_once() -> None:
    sets = feature_sets(0, n=400)
    found, with_copy = (convergence(zoo, [10] * 40) for zoo in (sets, [sets[0], *sets]))
    assert with_copy.n_checkpoints == len(sets)
    assert with_copy == found


def test_a_singular_covariance_is_infinitely_far() -> None:
    rng = np.random.default_rng(0)
    sets = [rng.normal(size=(200, 3)) for _ in range(3)]
    sets[1][:50] = sets[0][:50]
    found = convergence(sets, [10] * 20, steps=4)
    assert found.words == (30, 50, 100, 200)
    assert found.divergence[:2] == (None, None)
    assert None not in found.divergence[2:]
    assert all(0 < cosine <= 1 for cosine in found.cosine)


def test_words_over_which_features_are_constant_are_left_out() -> None:
    sets = feature_sets(0, n=400)
    sets[1][:120] = 1.0
    steps: list[int] = []
    assert convergence(sets, [10] * 40, advance=steps.append).words == (200, 400)
    assert sum(steps) == 1000


@STEADY
@given(seeds, st.integers(1, 30))
def test_divergence_equals_the_dense_formula(seed: int, m: int) -> None:
    of, from_ = random_kappa(seed, m), random_kappa(seed + 1, m)
    assert divergence(of, from_) == pytest.approx(literal.divergence(of, from_), abs=1e-10)
    assert divergence(of, from_) >= 0
    assert divergence(of, of) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-8, 0.5, 3.0])
def test_divergence_of_multiples_of_the_identity(scale: float) -> None:
    expected = 100 / 2 * (scale - 1 - np.log(scale))
    assert divergence(scale * np.eye(100), np.eye(100)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("singular", [np.ones((2, 2)), np.array([[1, 2], [2, 1.0]])])
def test_divergence_of_what_is_singular_is_refused(singular: np.ndarray) -> None:
    for pair in [(singular, np.eye(2)), (np.eye(2), singular)]:
        with pytest.raises(DegenerateInputError, match=r"smallest eigenvalue -?\d"):
            divergence(*pair)


def test_divergence_of_an_ill_conditioned_covariance_from_itself_is_nothing() -> None:
    kappa = conditioned_kappa(0, 20, 1e10)
    assert divergence(kappa, kappa) == pytest.approx(0, abs=1e-9)


def test_refuses_what_cannot_be_cut() -> None:
    sets = feature_sets(0)
    with pytest.raises(DegenerateInputError, match="at least one set"):
        convergence([], [10] * 4)
    with pytest.raises(DegenerateInputError, match="one sentence"):
        convergence(sets, [40])
    with pytest.raises(UsageError, match="30 words and the features 40 rows"):
        convergence(sets, [10] * 3)
    with pytest.raises(UsageError, match="0 steps"):
        convergence(sets, [10] * 4, steps=0)


def test_reads_again_what_does_not_fit_into_memory() -> None:
    sets = feature_sets(0, n=400)
    limit = 2 * max(features.nbytes for features in sets)
    expected = convergence(sets, [10] * 40)
    found = convergence([lambda f=f: f for f in sets], [10] * 40, memory=limit)
    np.testing.assert_allclose(found.cosine, expected.cosine, rtol=1e-12)


@pytest.mark.skipif("ZOO_SHARED" not in os.environ, reason="ZOO_SHARED names no folder with published data")
def test_divergence_from_the_identity_of_the_paper() -> None:
    kappa = np.load(Path(os.environ["ZOO_SHARED"]) / "data" / "kappa" / "kappa.npy")
    assert divergence(kappa, np.eye(len(kappa))) == pytest.approx(8.9414301, abs=1e-7)
