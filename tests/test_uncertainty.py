"""Errors of alignments over sentences, replicates of a covariance, and the stability of a choice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import uncertainty as literal
from tests.reference.examples import STEADY, Array, parameters, random_kappa, rotation, seeds
from zookeeper import uncertainty
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.kernels import covariance
from zookeeper.uncertainty import Jackknife, jackknife, stability


def probed(seed: int, m: int = 4, g: int = 60, d: int = 12) -> tuple[list[Array], list[int]]:
    """Related features of m checkpoints, the words of a sentence alike, and the lengths of g sentences."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, size=g)
    n = lengths.sum()
    shared = rng.normal(size=(n, 5)) + np.repeat(rng.normal(size=(g, 5)), lengths, axis=0)
    sets = [shared @ rng.normal(size=(5, d)) + rng.normal(size=(n, d)) for _ in range(m)]
    return sets, [int(length) for length in lengths]


@STEADY
@given(seeds, st.integers(1, 4), st.integers(2, 30), st.integers(1, 20))
def test_equals_the_literal_sums(seed: int, m: int, g: int, rank: int) -> None:
    sets, lengths = probed(seed, m, g)
    found, expected = (f(sets, lengths, rank=rank) for f in (jackknife, literal.jackknife))
    np.testing.assert_allclose(found.shares, expected.shares, atol=1e-6)
    np.testing.assert_allclose(found.standard_error, expected.standard_error, atol=1e-6)


@pytest.mark.parametrize("name", ["jackknife", "stability"])
def test_twin_is_called_alike(name: str) -> None:
    assert parameters(getattr(uncertainty, name)) == parameters(getattr(literal, name))


@STEADY
@given(seeds, st.integers(2, 4))
def test_errors_are_the_derivatives_by_the_weights_of_sentences(seed: int, m: int) -> None:
    sets, lengths = probed(seed, m)
    error = jackknife(sets, lengths).standard_error
    np.testing.assert_allclose(error, literal.standard_error(sets, lengths), rtol=1e-3, atol=1e-6)
    assert (error == error.T).all()
    assert (np.diag(error) == 0).all()


def test_errors_and_replicates_spread_as_a_bootstrap_does() -> None:
    sets, lengths = probed(0, m=6, g=150)
    pairs = np.triu_indices(6, 1)
    drawn = literal.bootstrap(sets, lengths, 300).std(axis=0)[pairs]
    found = jackknife(sets, lengths)
    replicates = np.std(list(found.replicates(covariance(sets).matrix, 300)), axis=0)[pairs]
    assert np.median(found.standard_error[pairs] / drawn) == pytest.approx(1, abs=0.15)
    assert np.median(replicates / drawn) == pytest.approx(1, abs=0.15)


def test_words_of_a_sentence_that_go_together_count_as_one() -> None:
    sets, lengths = probed(0)
    twice = [np.repeat(features, 2, axis=0) for features in sets]
    np.testing.assert_allclose(
        jackknife(twice, [2 * length for length in lengths]).standard_error,
        jackknife(sets, lengths).standard_error,
        rtol=1e-4,
        atol=1e-7,
    )


@STEADY
@given(seeds)
def test_does_not_depend_on_coordinates_or_the_order_of_the_zoo(seed: int) -> None:
    sets, lengths = probed(seed)
    moved = [3 * f @ rotation(seed, f.shape[1]) + 50 for f in sets]
    order = np.random.default_rng(seed).permutation(len(sets))
    found = jackknife([moved[i] for i in order], lengths)
    kappa = covariance(sets).matrix
    expected = jackknife(sets, lengths)
    places = np.ix_(order, order)
    np.testing.assert_allclose(found.standard_error, expected.standard_error[places], atol=1e-5)
    for ours, theirs in zip(found.replicates(kappa[places], 3), expected.replicates(kappa, 3), strict=True):
        np.testing.assert_allclose(ours, theirs[places], atol=1e-4)


def test_features_with_fewer_rows_than_columns_are_made_narrow_too() -> None:
    rng = np.random.default_rng(0)
    sets = [rng.normal(size=(30, 200)) for _ in range(3)]
    expected = literal.jackknife(sets, [10, 10, 10], rank=5)
    np.testing.assert_allclose(jackknife(sets, [10, 10, 10], rank=5).shares, expected.shares, atol=1e-6)


@STEADY
@given(seeds, st.integers(1, 8), st.integers(2, 40), st.integers(2, 20))
def test_replicates_are_covariances(seed: int, m: int, g: int, rank: int) -> None:
    sets, lengths = probed(seed, m, g)
    for kappa in jackknife(sets, lengths, rank=rank).replicates(covariance(sets).matrix, 5):
        assert (kappa == kappa.T).all()
        assert (np.diag(kappa) == 1).all()
        assert np.linalg.eigvalsh(kappa)[0] > -1e-6


def test_replicates_are_of_the_covariance_that_is_given() -> None:
    sets, lengths = probed(0, g=150)
    kappa = covariance(sets).matrix
    found = jackknife(sets, lengths, rank=2)
    assert np.abs(found.inner - kappa).max() > 0.1
    mean = np.mean(list(found.replicates(kappa, 400)), axis=0)
    np.testing.assert_allclose(mean, kappa, atol=0.01)


def test_near_duplicates_among_many_stay_apart_as_far_as_they_are() -> None:
    sets, lengths = probed(0, m=4)
    noise = np.random.default_rng(0).normal(size=(40, *sets[0].shape))
    zoo = [*sets, *(sets[i % 4] + 0.05 * noise[i] for i in range(40))]
    kappa = covariance(zoo).matrix
    apart = 1 - kappa[~np.eye(len(zoo), dtype=bool)]
    assert apart.min() < 2e-3
    for moved in jackknife(zoo, lengths).replicates(kappa, 5):
        ratio = (1 - moved[~np.eye(len(zoo), dtype=bool)]) / apart
        assert 0.5 < ratio.min() <= ratio.max() < 2


def test_what_narrow_features_miss_stays_as_it_is() -> None:
    sets, lengths = probed(0, m=12)
    kappa = covariance(sets).matrix
    found = jackknife([np.repeat(sets[0][:, :1], 2, axis=1)] * 12, lengths)
    mean = np.mean(list(found.replicates(kappa, 50)), axis=0)
    np.testing.assert_allclose(mean, kappa, atol=0.05)


def test_replicates_of_copies_are_copies() -> None:
    sets, lengths = probed(0)
    zoo = [*sets, sets[0]]
    for kappa in jackknife(zoo, lengths).replicates(covariance(zoo).matrix, 5):
        np.testing.assert_allclose(kappa[-1], kappa[0], atol=1e-5)


def test_replicates_are_the_same_each_time_and_differ_from_each_other() -> None:
    sets, lengths = probed(0)
    kappa = covariance(sets).matrix
    first, again = (np.array(list(jackknife(sets, lengths).replicates(kappa, 4))) for _ in range(2))
    assert (first == again).all()
    assert len(np.unique(first[:, 0, 1])) == 4


def test_support_is_the_number_of_sentences_where_all_count_alike() -> None:
    words = np.random.default_rng(0).normal(size=(4, 3))
    alike = np.concatenate([words, -words, words, -words])
    found = jackknife([alike], [8, 8])
    np.testing.assert_allclose(found.support, [2], rtol=1e-5)


def test_a_word_far_from_all_others_leaves_a_support_of_its_sentence_alone() -> None:
    (features, other), lengths = probed(5, m=2)
    features[3] += 1e4
    found = jackknife([features, other], lengths)
    assert found.support[0] < 1.1
    assert found.support[1] > len(lengths) / 4


def test_that_of_some_is_that_of_their_features() -> None:
    sets, lengths = probed(3, m=5)
    some = [4, 0, 3]
    found = jackknife(sets, lengths).among(some)
    np.testing.assert_allclose(found.shares, jackknife([sets[i] for i in some], lengths).shares, rtol=1e-4)


def test_comes_back_from_its_arrays() -> None:
    sets, lengths = probed(0)
    found = jackknife(sets, lengths)
    assert len(found) == len(sets)
    assert (Jackknife(**found.arrays).standard_error == found.standard_error).all()


@STEADY
@given(seeds, st.integers(1, 8), st.integers(1, 6))
def test_stability_equals_the_literal_counts(seed: int, m: int, r: int) -> None:
    def choose(kappa: Array) -> list[int]:
        return [int(i) for i in np.argsort(kappa.sum(axis=0))[-2:]]

    def totals(kappa: Array, picks: Sequence[int]) -> Array:
        return np.cumsum(kappa[:, list(picks)].sum(axis=0))

    replicates = [random_kappa(seed + i, m) for i in range(r)]
    picks = choose(random_kappa(seed + r, m))
    found, expected = (f(picks, iter(replicates), choose, totals) for f in (stability, literal.stability))
    np.testing.assert_array_equal(found.share, expected.share)
    np.testing.assert_allclose(found.regret, expected.regret, atol=1e-12)
    np.testing.assert_array_equal(found.totals, expected.totals)
    assert (found.regret >= 0).all()


def test_stability_needs_a_replicate() -> None:
    with pytest.raises(DegenerateInputError, match="at least one replicate"):
        stability([0], [], lambda kappa: [0], lambda kappa, picks: np.zeros(1))


def test_one_sentence_is_refused() -> None:
    sets, _ = probed(0)
    with pytest.raises(DegenerateInputError, match="all words are of one sentence"):
        jackknife(sets, [len(sets[0])])


def test_refuses_what_does_not_go_together() -> None:
    sets, lengths = probed(0)
    with pytest.raises(DegenerateInputError, match="at least one set"):
        jackknife([], lengths)
    with pytest.raises(UsageError, match="the features"):
        jackknife(sets, [*lengths, 1])
    with pytest.raises(DegenerateInputError, match="different numbers of rows"):
        jackknife([sets[0], sets[1][:-1]], lengths)


def test_progress_comes_to_its_end() -> None:
    sets, lengths = probed(0, m=7)
    steps: list[int] = []
    jackknife([lambda f=f: f for f in sets], lengths, advance=steps.append)
    assert sum(steps) == 1000
    assert min(steps) >= 0
