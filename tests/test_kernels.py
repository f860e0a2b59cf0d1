"""The task covariance: what it is, what it does not depend on, what it holds in memory, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import kernels as literal
from tests.reference.examples import STEADY, Array, feature_sets, parameters, rotation, seeds
from zookeeper import kernels
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.kernels import Features, alignment, centred, covariance, inner_products, normalised


def lengths_of(seed: int, n: int) -> list[int]:
    """Lengths of two sentences or more, n words in all."""
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.choice(np.arange(1, n), size=rng.integers(1, max(n // 4, 2)), replace=False))
    return [int(length) for length in np.diff([0, *ends, n])]


class Shelf:
    """Sets that are read when they are called for, and a count of how often each was."""

    def __init__(self, sets: list[Features]) -> None:
        self.loads = [0] * len(sets)
        self.sources = [self._loader(i, features) for i, features in enumerate(sets)]

    def _loader(self, i: int, features: Features) -> Callable[[], Features]:
        def load() -> Features:
            self.loads[i] += 1
            return features

        return load


@STEADY
@given(seeds, st.integers(1, 6), st.integers(3, 50))
def test_equals_the_literal_definition(seed: int, m: int, n: int) -> None:
    sets = feature_sets(seed, m, n)
    np.testing.assert_allclose(covariance(sets).matrix, literal.covariance(sets).matrix, atol=1e-12)


@STEADY
@given(seeds, st.integers(1, 6), st.integers(4, 50))
def test_without_pairs_of_one_sentence_equals_the_masked_kernels(seed: int, m: int, n: int) -> None:
    sets, lengths = feature_sets(seed, m, n), lengths_of(seed, n)
    found = covariance(sets, lengths=lengths)
    assert found.debiased
    expected = literal.covariance(sets, lengths=lengths).matrix
    np.testing.assert_allclose(found.matrix, expected, atol=1e-10)


@pytest.mark.parametrize("name", ["covariance", "alignment", "inner_products"])
def test_twin_is_called_alike(name: str) -> None:
    assert parameters(getattr(kernels, name)) == parameters(getattr(literal, name))


@pytest.mark.parametrize("debiased", [False, True])
@STEADY
@given(seed=seeds, m=st.integers(1, 12), n=st.integers(4, 50))
def test_is_a_covariance(seed: int, m: int, n: int, debiased: bool) -> None:
    lengths = lengths_of(seed, n) if debiased else None
    kappa = covariance(feature_sets(seed, m, n), lengths=lengths).matrix
    assert (kappa == kappa.T).all()
    assert (np.diag(kappa) == 1).all()
    assert np.linalg.eigvalsh(kappa)[0] > -1e-11 * m


@pytest.mark.parametrize("n", [511, 512, 513, 1100])
def test_both_exact_forms_agree(n: int) -> None:
    sets = [centred(features) for features in feature_sets(0, m=5, n=n)]
    for left, right in [(sets, sets), (sets[:2], sets[2:])]:
        primal, dual = (form(left, right, lambda _: None) for form in (kernels._primal, kernels._dual))
        np.testing.assert_allclose(dual, primal, rtol=1e-12)


@STEADY
@given(seeds, st.booleans(), st.booleans())
def test_rows_that_come_later_complete_the_matrix(seed: int, single: bool, debiased: bool) -> None:
    sets: list[Features] = [*feature_sets(seed, m=6)]
    if single:
        sets = [features.astype(np.float32) for features in sets]
    lengths = lengths_of(seed, 40) if debiased else None
    whole = inner_products(sets, lengths=lengths)
    old, new = inner_products(sets[:4], lengths=lengths), inner_products(sets[4:], lengths=lengths)
    between = inner_products(sets[4:], sets[:4], lengths=lengths)
    np.testing.assert_allclose(
        normalised(np.block([[old, between.T], [between, new]])),
        normalised(whole),
        atol=2e-6 if single else 1e-12,
    )


def test_a_covariance_says_of_which_sets_it_is() -> None:
    sets = feature_sets(0, m=2)
    assert covariance(sets).names == ("0", "1")
    assert covariance(sets, names=["left", "right"]).names == ("left", "right")
    assert not covariance(sets).debiased


@STEADY
@given(seeds)
def test_alignment_of_single_columns_is_their_squared_correlation(seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 30, 1))
    assert alignment(x, y) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2, abs=1e-14)


def test_uncorrelated_features_are_not_aligned() -> None:
    x, y = np.array([[1.0], [1], [-1], [-1]]), np.array([[1.0], [-1], [1], [-1]])
    assert alignment(x, y) == 0
    assert alignment(np.hstack([x, y]), x) == pytest.approx(np.sqrt(0.5))


CHANGES = [
    pytest.param(lambda f: f @ rotation(1, f.shape[1]), id="rotated"),
    pytest.param(lambda f: 1e-9 * f, id="scaled down"),
    pytest.param(lambda f: 1e30 * f, id="scaled up"),
    pytest.param(lambda f: f + 50 * f.std(axis=0), id="shifted"),
    pytest.param(lambda f: np.hstack([f, np.full((len(f), 2), 0.1)]), id="dead columns"),
]


@pytest.mark.parametrize("change", CHANGES)
@STEADY
@given(seed=seeds)
def test_does_not_depend_on_the_coordinates_of_a_set(seed: int, change: Callable[[Array], Array]) -> None:
    first, *rest = feature_sets(seed)
    changed = covariance([change(first), *rest]).matrix
    np.testing.assert_allclose(changed, covariance([first, *rest]).matrix, atol=1e-12)


@pytest.mark.parametrize("change", CHANGES)
@STEADY
@given(seed=seeds)
def test_nor_in_single_precision(seed: int, change: Callable[[Array], Array]) -> None:
    sets = feature_sets(seed)
    changed = covariance([change(f).astype(np.float32) for f in sets]).matrix
    # Shifted by 50 standard deviations, features are rounded to 50 * 2^-24 = 3e-6 of one; not centred before
    # they are multiplied, they would be off by 1e-3.
    np.testing.assert_allclose(changed, covariance(sets).matrix, atol=1e-5)


@STEADY
@given(seeds)
def test_permuting_the_zoo_permutes_the_matrix(seed: int) -> None:
    sets = feature_sets(seed, m=6)
    order = np.random.default_rng(seed).permutation(6)
    permuted = covariance([sets[i] for i in order]).matrix
    np.testing.assert_allclose(permuted, covariance(sets).matrix[np.ix_(order, order)], atol=1e-13)


@STEADY
@given(seeds)
def test_order_of_rows_counts_only_between_sets(seed: int) -> None:
    sets = feature_sets(seed, m=3)
    order = np.random.default_rng(seed).permutation(len(sets[0]))
    permuted = covariance([f[order] for f in sets]).matrix
    np.testing.assert_allclose(permuted, covariance(sets).matrix, atol=1e-13)
    assert alignment(sets[0][order], sets[0]) < 0.99


@STEADY
@given(seeds)
def test_single_precision_is_kept_and_loses_next_to_nothing(seed: int) -> None:
    sets = [(f + 50 * f.std(axis=0)).astype(np.float32) for f in feature_sets(seed)]
    assert {centred(f).dtype for f in sets} == {np.dtype(np.float32)}
    in_double = covariance([f.astype(np.float64) for f in sets]).matrix
    np.testing.assert_allclose(covariance(sets).matrix, in_double, atol=1e-6)


def test_half_precision_is_read_as_single() -> None:
    sets = [f.astype(np.float16) for f in feature_sets(0)]
    assert centred(sets[0]).dtype == np.float32
    in_single = covariance([f.astype(np.float32) for f in sets]).matrix
    assert (covariance(sets).matrix == in_single).all()


def test_reads_memory_maps_and_functions(tmp_path: Path) -> None:
    sets = [f.astype(np.float32) for f in feature_sets(0, n=3000)]
    for i, features in enumerate(sets):
        np.save(tmp_path / f"{i}.npy", features)
    maps = [np.load(tmp_path / f"{i}.npy", mmap_mode="r") for i in range(len(sets))]
    expected = covariance(sets).matrix
    assert (covariance(maps).matrix == expected).all()
    assert (covariance(Shelf(sets).sources).matrix == expected).all()


def test_leaves_its_input_alone() -> None:
    sets = feature_sets(0)
    covariance(sets, lengths=[10] * 4)
    for used, fresh in zip(sets, feature_sets(0), strict=True):
        assert (used == fresh).all()


@STEADY
@given(seeds, st.integers(2, 9), st.floats(0, 1), st.booleans(), st.booleans())
def test_parts_that_fit_into_memory_come_to_the_same(
    seed: int, m: int, share: float, debiased: bool, symmetric: bool
) -> None:
    sets = feature_sets(seed, m)
    sizes = sorted(f.nbytes for f in sets)
    memory = round(sum(sizes[-2:]) + share * (sum(sizes) - sum(sizes[-2:])))
    lengths = lengths_of(seed, 40) if debiased else None
    left, right = (sets, None) if symmetric else (sets[: m // 2], sets[m // 2 :])
    np.testing.assert_allclose(
        inner_products(left, right, memory=memory, lengths=lengths),
        inner_products(left, right, lengths=lengths),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("held", [2, 3, 5, 12])
def test_never_holds_more_than_memory(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [np.random.default_rng(i).normal(size=(50, 8)) for i in range(12)]
    shelf = Shelf([*sets])
    alive: list[object] = []
    peak = 0

    class Counted(np.ndarray[tuple[int, ...], np.dtype[np.float64]]):
        def __del__(self) -> None:
            if self.base is None:
                alive.pop()

    def counted(features: Features) -> Features:
        nonlocal peak
        result = Counted(features.shape)
        result[:] = centred(features)
        alive.append(None)
        peak = max(peak, len(alive))
        return result

    monkeypatch.setattr(kernels, "centred", counted)
    inner_products(shelf.sources, memory=held * sets[0].nbytes)
    assert peak <= held
    assert not alive
    if held == len(sets):
        assert shelf.loads == [1] * len(sets)


def test_two_sets_that_do_not_fit_are_refused_with_what_they_take() -> None:
    sets = [np.random.default_rng(i).normal(size=(50, 8)) for i in range(3)]
    with pytest.raises(UsageError, match=r"take 6,400 bytes; only 6,399 may be held") as refusal:
        covariance(sets, memory=6399)
    assert refusal.value.fix == "--memory 6400"
    assert len(covariance(sets, memory=6400)) == 3


def test_sentences_make_unrelated_features_seem_related_unless_left_out() -> None:
    plain, debiased = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, y = (np.repeat(rng.normal(size=(12, 8)), 15, axis=0) + rng.normal(size=(180, 8)) for _ in range(2))
        plain.append(covariance([x, y]).matrix[0, 1])
        debiased.append(covariance([x, y], lengths=[15] * 12).matrix[0, 1])
    assert abs(np.mean(debiased)) < np.mean(plain) / 3
    assert np.sqrt(np.mean(np.square(debiased))) < 0.7 * np.sqrt(np.mean(np.square(plain)))


GOOD = np.arange(12.0).reshape(6, 2) ** 2


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "at least one set"),
        ([GOOD, GOOD[:-1]], r"different numbers of rows: \[5, 6\]"),
        ([GOOD, np.full((6, 2), 0.1)], "every row of the features is the same"),
        ([GOOD, np.tile([0.1, 1e4 / 3], (6, 1))], "every row of the features is the same"),
        ([GOOD, np.tile([0.1, 1e4 / 3], (6, 1)).astype(np.float32)], "every row of the features is the same"),
        ([GOOD, np.zeros((6, 2))], "every row of the features is the same"),
        ([GOOD[:1]], "every row of the features is the same"),
        ([GOOD, np.where(GOOD == 4, np.nan, GOOD)], "not finite"),
        ([GOOD, np.where(GOOD == 4, np.inf, GOOD)], "not finite"),
    ],
)
def test_refuses(sets: list[Array], message: str) -> None:
    with pytest.raises(DegenerateInputError, match=message):
        covariance(sets)


def test_refuses_names_that_do_not_tell_sets_apart() -> None:
    with pytest.raises(DegenerateInputError, match="two rows of the name a"):
        covariance([GOOD, GOOD], names=["a", "a"])


def test_refuses_what_is_no_table() -> None:
    with pytest.raises(UsageError, match="must have two dimensions, rows and columns; these have 1"):
        covariance([GOOD[:, 0]])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [([3, 4], "7 words and the features 6 rows"), ([6, 0], "above 0"), ([2.5, 3.5], "whole numbers")],
)
def test_refuses_lengths_that_are_not_those_of_the_rows(lengths: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        covariance([GOOD], lengths=lengths)


def test_one_sentence_has_no_pairs_between_sentences() -> None:
    with pytest.raises(DegenerateInputError, match="all words are of one sentence"):
        covariance([GOOD], lengths=[6])


def test_refuses_a_set_that_is_nothing_between_sentences() -> None:
    first = np.zeros((6, 3))
    first[:3] = np.eye(3) - 1 / 3
    with pytest.raises(DegenerateInputError, match="nothing to compare but words of the same sentence"):
        covariance([GOOD, first], lengths=[3, 3])


def test_refuses_to_normalise_by_nothing() -> None:
    with pytest.raises(DegenerateInputError, match="nothing to compare"):
        normalised(np.array([[1.0, 0], [0, 0]]))


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize(("m", "n", "d"), [(1, 9, 2), (7, 50, 3), (50, 9, 2), (3, 1100, 600)])
def test_progress_comes_to_its_end(m: int, n: int, d: int, tiled: bool) -> None:
    steps: list[int] = []
    sets = [np.random.default_rng(i).normal(size=(n, d)) for i in range(m)]
    memory = 2 * sets[0].nbytes if tiled else kernels.MEMORY
    covariance(sets, memory=memory, advance=steps.append)
    assert sum(steps) == 1000
    assert min(steps) >= 0
