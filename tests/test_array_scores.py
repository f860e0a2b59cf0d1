"""Scores that read arrays: one battery over all of them, then each against its twin and known values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import expit, softmax

from tests.reference.examples import STEADY, Array, blobs, parameters, seeds
from tests.reference.gbc import gbc as literal_gbc
from tests.reference.knn import knn as literal_knn
from tests.reference.leep import entropy
from tests.reference.leep import leep as literal_leep
from tests.reference.logistic import logistic as literal_logistic
from tests.reference.nce import nce as literal_nce
from tests.reference.nleep import nleep as literal_nleep
from tests.reference.parc import parc as literal_parc
from tests.reference.sfda import sfda as literal_sfda
from tests.reference.transrate import transrate as literal_transrate
from zookeeper.errors import DegenerateInputError
from zookeeper.evidence import evidence_of
from zookeeper.labels import Labels
from zookeeper.records import IGNORED
from zookeeper.scores.gbc import gbc
from zookeeper.scores.knn import knn
from zookeeper.scores.knn import measure as measure_knn
from zookeeper.scores.leep import leep
from zookeeper.scores.logistic import logistic
from zookeeper.scores.logistic import measure as measure_logistic
from zookeeper.scores.nce import nce
from zookeeper.scores.nleep import nleep
from zookeeper.scores.parc import parc
from zookeeper.scores.sfda import sfda
from zookeeper.scores.transrate import transrate

Score = Callable[..., float]

TWINS: dict[Score, Score] = {
    leep: literal_leep,
    nce: literal_nce,
    nleep: literal_nleep,
    transrate: literal_transrate,
    gbc: literal_gbc,
    sfda: literal_sfda,
    parc: literal_parc,
    knn: literal_knn,
    logistic: literal_logistic,
}
OF_FEATURES = [score for score in TWINS if score not in (leep, nce)]
OF_NUMBERS = [parc, knn]

FEW = settings(STEADY, max_examples=5)


def each(scores: list[Score]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("score", scores, ids=lambda score: score.__name__)


every_score, every_score_of_features = each(list(TWINS)), each(OF_FEATURES)


def inputs(score: Score, seed: int, **shape: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """What a score reads of blobs: their features, or what a head that picks among them would say."""
    features, labels = blobs(seed, **shape)
    if score is leep:
        return softmax(features, axis=1), labels
    return features.argmax(axis=1) if score is nce else features, labels


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


# The common battery


@every_score
def test_twin_has_the_same_parameters(score: Score) -> None:
    assert parameters(score) == parameters(TWINS[score])


@every_score
@FEW
@given(seed=seeds, d=st.sampled_from([1, 2, 6]), classes=st.sampled_from([2, 3]))
def test_twin_agrees(score: Score, seed: int, d: int, classes: int) -> None:
    given = inputs(score, seed, n=60, d=d, classes=classes)
    assert score(*given) == pytest.approx(TWINS[score](*given), rel=1e-9, abs=1e-9)


@each([score for score in TWINS if score is not logistic])  # its twin is too slow for that many weights
@FEW
@given(seed=seeds, n=st.integers(20, 40), classes=st.integers(2, 6))
def test_twin_agrees_on_features_wider_than_long(score: Score, seed: int, n: int, classes: int) -> None:
    given = inputs(score, seed, n=n, d=70, classes=classes)
    assert score(*given) == pytest.approx(TWINS[score](*given), rel=1e-9, abs=1e-9)


@every_score
@FEW
@given(seed=seeds)
def test_order_of_examples_does_not_matter(score: Score, seed: int) -> None:
    given, labels = inputs(score, seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    assert score(given[order], labels[order]) == close(score(given, labels))


@every_score
@pytest.mark.parametrize("names", [(2, 0, 1), (5, 70, -3), ("noun", "a verb", "")], ids=str)
@FEW
@given(seed=seeds)
def test_names_of_classes_do_not_matter(score: Score, names: tuple[Any, ...], seed: int) -> None:
    given, labels = inputs(score, seed)
    assert score(given, np.take(names, labels)) == close(score(given, labels))


@every_score_of_features
@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e3, 1e200])
@FEW
@given(seed=seeds)
def test_scale_and_mean_of_features_do_not_matter(score: Score, scale: float, seed: int) -> None:
    features, labels = blobs(seed)
    assert score(scale * (features + 3), labels) == pytest.approx(score(features, labels), rel=1e-6, abs=1e-9)


@every_score_of_features
@FEW
@given(seed=seeds, value=st.sampled_from([0.0, 0.1, -7.7, 1e5]))
def test_constant_columns_do_not_matter(score: Score, seed: int, value: float) -> None:
    features, labels = blobs(seed)
    wider = np.insert(features, [0, 3, 6, 6], value, axis=1)
    assert score(wider, labels) == close(score(features, labels))


@every_score_of_features
def test_a_column_too_small_to_square_is_scored(score: Score) -> None:
    features, labels = blobs(0)
    features[:, 2] *= 1e-200
    assert math.isfinite(score(features, labels))


@every_score
@FEW
@given(seed=seeds)
def test_types_of_numbers_do_not_matter(score: Score, seed: int) -> None:
    given, labels = inputs(score, seed)
    narrow = given.astype(np.float32 if score is not nce else np.int8)
    wide = narrow.astype(np.float64 if score is not nce else np.int64)
    assert score(narrow, labels.astype(np.int16)) == score(wide, labels)


@every_score
@FEW
@given(seed=seeds)
def test_input_is_untouched_and_the_same_input_has_the_same_score(score: Score, seed: int) -> None:
    given, labels = inputs(score, seed)
    before = given.copy(), labels.copy()
    first = score(given, labels)
    assert (given == before[0]).all()
    assert (labels == before[1]).all()
    assert score(given, labels) == first


@every_score
@FEW
@given(seed=seeds)
def test_ignored_examples_do_not_count(score: Score, seed: int) -> None:
    given, labels = inputs(score, seed)
    ignored = np.arange(len(labels)) % 4 == 0
    masked = np.where(ignored, IGNORED, labels)
    broken = (
        np.where(ignored.reshape(-1, *[1] * (given.ndim - 1)), np.nan, given) if score is not nce else given
    )
    assert score(broken, masked) == close(score(given[~ignored], labels[~ignored]))


@every_score
@FEW
@given(seed=seeds)
def test_separable_classes_score_above_shuffled_ones(score: Score, seed: int) -> None:
    given, labels = inputs(score, seed)
    shuffled = np.random.default_rng(seed).permutation(labels)
    assert score(given, labels) > score(given, shuffled)


@every_score
@pytest.mark.parametrize(("n", "d"), [(41, 5), (10, 30), (21, 1)], ids=str)
@FEW
@given(seed=seeds)
def test_a_class_of_one_example_is_scored(score: Score, n: int, d: int, seed: int) -> None:
    given, labels = inputs(score, seed, n=n, d=d, classes=2)
    labels[0] = 7
    assert math.isfinite(score(given, labels))


@each([score for score in OF_FEATURES if score is not parc])
def test_classes_of_one_example_each_are_scored(score: Score) -> None:
    assert math.isfinite(score(np.random.default_rng(0).normal(size=(6, 3)), np.arange(6)))


@every_score_of_features
@FEW
@given(seed=seeds)
def test_examples_and_columns_that_repeat_others_are_scored(score: Score, seed: int) -> None:
    features, labels = blobs(seed, n=6, d=3)  # N-LEEP: fewer than the components of its mixture
    doubled = np.tile(features, (8, 2))
    assert math.isfinite(score(doubled, np.tile(labels, 8)))


@every_score_of_features
@pytest.mark.parametrize("value", [0.0, 0.1, 1e5])
def test_constant_features_are_refused(score: Score, value: float) -> None:
    with pytest.raises(DegenerateInputError, match="every row of the features is the same"):
        score(np.full((30, 4), value), np.arange(30) % 3)


@every_score
def test_a_single_class_is_refused(score: Score) -> None:
    given, labels = inputs(score, 0)
    with pytest.raises(DegenerateInputError, match="one class only"):
        score(given, np.zeros_like(labels))


@every_score
def test_inputs_and_labels_of_other_lengths_are_refused(score: Score) -> None:
    given, labels = inputs(score, 0)
    with pytest.raises(DegenerateInputError, match="do not go with"):
        score(given[1:], labels)


@each([score for score in TWINS if score is not nce])
def test_values_that_are_not_finite_are_refused(score: Score) -> None:
    given, labels = inputs(score, 0)
    given[3, 1] = np.inf
    with pytest.raises(DegenerateInputError, match="not finite"):
        score(given, labels)


@each([score for score in TWINS if score not in OF_NUMBERS])
@pytest.mark.parametrize("columns", [(), (2,)], ids=str)
def test_labels_that_are_no_classes_are_refused(score: Score, columns: tuple[int, ...]) -> None:
    given, labels = inputs(score, 0)
    with pytest.raises(DegenerateInputError, match="classes only"):
        score(given, np.random.default_rng(0).normal(size=(len(labels), *columns)))


@each(OF_NUMBERS)
@FEW
@given(seed=seeds, binary=st.booleans(), columns=st.sampled_from([(), (1,), (4,)]))
def test_numbers_that_depend_on_the_features_score_above_shuffled_ones(
    score: Score, seed: int, binary: bool, columns: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(80, 4))
    labels = features @ rng.normal(size=(4, *columns))
    if binary:
        labels = (labels > 0).astype(np.float64)
    assert score(features, labels) > score(features, rng.permutation(labels))


# LEEP and NCE


@STEADY
@given(seeds)
def test_leep_and_nce_lie_between_minus_the_entropy_of_the_labels_and_zero(seed: int) -> None:
    for score in (leep, nce):
        given, labels = inputs(score, seed)
        assert -entropy(labels) - 1e-12 <= score(given, labels) <= 1e-12


@pytest.mark.parametrize("score", [leep, nce])
def test_a_head_that_spells_the_labels_scores_zero_and_one_that_says_nothing_their_entropy(
    score: Score,
) -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    spelt, silent = labels, np.full(6, 4)
    if score is leep:
        spelt, silent = np.eye(3)[labels], np.full((6, 5), 0.2)
    assert score(spelt, labels) == close(0)
    assert score(silent, labels) == close(-entropy(labels))


def test_leep_and_nce_of_four_examples() -> None:
    # P(y=1|z) is 2/3 and 0 of the two source classes that the head picks; of the soft ones 5/8 and 3/8.
    labels = np.array([1, 1, 0, 0])
    assert nce(np.array(["cat", "cat", "cat", "dog"]), labels) == close(0.25 * math.log(4 / 27))
    probs = np.array([[0.75, 0.25], [0.5, 0.5], [0.5, 0.5], [0.25, 0.75]])
    likelihoods = [(0.75 * 5 + 0.25 * 3) / 8, 0.5, 0.5, (0.25 * 3 + 0.75 * 5) / 8]
    assert leep(probs, labels) == close(float(np.mean(np.log(likelihoods))))


@STEADY
@given(seeds)
def test_leep_of_a_head_that_is_certain_is_nce(seed: int) -> None:
    picked, labels = inputs(nce, seed)
    assert leep(np.eye(6)[picked], labels) == close(nce(picked, labels))


@STEADY
@given(seeds)
def test_leep_is_bounded_by_nce_as_in_the_paper(seed: int) -> None:
    # Nguyen et al. 2020, property 2: LEEP >= NCE + mean log of the head's likeliest class.
    probs, labels = inputs(leep, seed)
    assert leep(probs, labels) >= nce(probs.argmax(axis=1), labels) + np.log(probs.max(axis=1)).mean()


@STEADY
@given(seeds)
def test_leep_does_not_change_with_source_classes_without_mass(seed: int) -> None:
    probs, labels = inputs(leep, seed)
    assert leep(np.insert(probs, 2, 0.0, axis=1), labels) == close(leep(probs, labels))


def test_leep_reads_wide_heads_in_blocks() -> None:
    rng = np.random.default_rng(0)
    probs, labels = rng.random((120, 60_000)) ** 2, rng.integers(3, size=120)
    probs /= probs.sum(axis=1, keepdims=True)
    joint = np.eye(3)[labels].T @ probs
    predicted = probs @ (joint / joint.sum(axis=0)).T
    assert leep(probs, labels) == close(float(np.log(predicted[np.arange(120), labels]).mean()))


def swung(probs: Array) -> Array:
    """Rows that still sum to 1."""
    return probs + np.array([1, -1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    "change", [lambda P: 2 * P, lambda P: P - 0.01, swung], ids=["twice", "less", "swung"]
)
def test_leep_of_what_is_not_probabilities_is_refused(change: Callable[[Array], Array]) -> None:
    probs, labels = inputs(leep, 0)
    with pytest.raises(DegenerateInputError, match="not probabilities"):
        leep(change(probs), labels)


def test_leep_of_probabilities_in_half_precision_is_that_of_their_shares() -> None:
    probs, labels = inputs(leep, 0)
    half = probs.astype(np.float16)
    shares = half.astype(np.float64) / half.astype(np.float64).sum(axis=1, keepdims=True)
    assert leep(half, labels) == close(leep(shares, labels))


def test_nce_of_source_labels_that_are_no_classes_is_refused() -> None:
    with pytest.raises(DegenerateInputError, match="source labels are not classes"):
        nce(np.array([0.5, 0.2, 0.1]), np.array([0, 1, 1]))


# N-LEEP


@FEW
@given(seeds)
def test_nleep_lies_between_minus_the_entropy_of_the_labels_and_zero(seed: int) -> None:
    features, labels = blobs(seed)
    assert (
        -entropy(labels) - 1e-12 <= nleep(features, np.random.default_rng(seed).permutation(labels)) <= 1e-12
    )


def test_nleep_of_classes_far_apart_is_zero() -> None:
    features, labels = blobs(0)
    assert nleep(features + 100 * np.eye(6)[labels], labels) == pytest.approx(0, abs=1e-9)


def test_nleep_changes_with_the_seed_of_its_mixture() -> None:
    features, labels = blobs(0)
    assert len({nleep(features, labels[::-1], seed=seed) for seed in range(4)}) > 1


# TransRate


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_transrate_of_classes_on_axes_of_their_own(classes: int) -> None:
    # With examples at +1 and -1 along the axis of their class, Z^T Z / n is I / C, and for one class 1.
    axes = np.repeat(np.eye(classes), 4, axis=0) * np.tile([1, -1], 2 * classes)[:, None]
    labels = np.repeat(np.arange(classes), 4)
    expected = (classes * math.log1p(1e4 / classes) - math.log1p(1e4)) / 2
    assert transrate(7 * axes + 3, labels) == close(expected)


def test_transrate_does_not_tell_apart_classes_on_opposite_sides_of_the_mean() -> None:
    labels = np.arange(40) % 2
    assert transrate(np.outer(2 * labels - 1, [1.0, 2, 0.5]), labels) == pytest.approx(0, abs=1e-9)


@STEADY
@given(seeds, st.integers(1, 90), st.integers(2, 5))
def test_transrate_is_never_negative(seed: int, d: int, classes: int) -> None:
    features, labels = blobs(seed, d=d, classes=classes)
    assert transrate(features, np.random.default_rng(seed).permutation(labels)) >= -1e-9


@STEADY
@given(seeds)
def test_transrate_does_not_change_when_every_example_comes_twice(seed: int) -> None:
    features, labels = blobs(seed)
    assert transrate(np.tile(features, (2, 1)), np.tile(labels, 2)) == close(transrate(features, labels))


# GBC


def corners(q: int) -> Array:
    """(2^q, q) corners of a cube: of mean 0 and variance 1 along every axis."""
    return np.array(np.meshgrid(*[[-1.0, 1.0]] * q)).reshape(q, -1).T


@pytest.mark.parametrize("q", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [1.0, 0.5, 3.0])
def test_gbc_of_two_spheres(q: int, size: float) -> None:
    centre = np.arange(1.0, q + 1)
    features = np.concatenate([corners(q), size * corners(q) + centre])
    v = (1 + size**2) / 2
    distance = float(centre @ centre) / (8 * v) + q / 2 * math.log(v / size)
    assert gbc(features, np.repeat([0, 1], 2**q)) == close(-2 * math.exp(-distance))


@STEADY
@given(seeds, st.integers(2, 6))
def test_gbc_lies_between_minus_the_number_of_pairs_and_zero(seed: int, classes: int) -> None:
    features, labels = blobs(seed, classes=classes)
    shuffled = np.random.default_rng(seed).permutation(labels)
    assert -classes * (classes - 1) <= gbc(features, shuffled) <= gbc(features, labels) <= 0


def test_gbc_of_classes_at_the_same_place_is_minus_the_number_of_pairs() -> None:
    assert gbc(np.tile(corners(2), (3, 1)), np.repeat([0, 1, 2], 4)) == close(-6)


def test_gbc_of_a_class_of_one_example_takes_the_variance_of_the_others() -> None:
    # The first class has variance 1 about 1, so has the second about 5.
    features, labels = np.array([[0.0], [2], [5]]), np.array([0, 0, 1])
    assert gbc(features, labels) == close(-2 * math.exp(-16 / 8))


def test_gbc_of_classes_without_spread_takes_a_share_of_all_variance() -> None:
    features = np.array([[0.0], [0], [0.01], [0.01], [1], [1]])
    least = 1e-4 * float(features.var())
    expected = -2 * math.exp(-(0.01**2) / (8 * least))  # the third class is too far away to overlap
    assert gbc(features, np.array([0, 0, 1, 1, 2, 2])) == close(expected)


@STEADY
@given(seeds)
def test_gbc_reads_64_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(120, 64)), rng.integers(3, size=120)
    noise = 1e-3 * rng.normal(size=(120, 40))
    assert gbc(np.hstack([features, noise]), labels) == pytest.approx(gbc(features, labels), rel=1e-3)


# SFDA


@STEADY
@given(seeds)
def test_sfda_is_a_probability(seed: int) -> None:
    features, labels = blobs(seed)
    assert 0 <= sfda(features, labels) <= 1


def test_sfda_of_classes_with_the_same_mean_is_that_of_guessing_by_their_size() -> None:
    features = np.array([[-1.0], [1], [-1], [1], [-2], [2]])
    assert sfda(features, np.array([0, 0, 0, 0, 1, 1])) == close((2 / 3) ** 2 + (1 / 3) ** 2)


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0])
def test_sfda_of_two_classes_on_a_line(spread: float) -> None:
    # Symmetric about 0 and one-dimensional, where shrinkage changes nothing: one class tells all.
    x = np.array([1 - spread, 1 + spread])
    w = expit(2 * expit(2 * x / spread**2) - 1)
    mixed = w * x - (1 - w)
    expected = expit(2 * mixed * mixed.mean() / mixed.var()).mean()
    features = np.concatenate([x, -x])[:, None]
    assert sfda(features, np.array([0, 0, 1, 1])) == pytest.approx(expected, rel=1e-6)


def test_sfda_of_classes_without_spread_is_one() -> None:
    labels = np.arange(30) % 3
    assert sfda(np.eye(5)[labels], labels) == close(1)


# PARC


def test_parc_of_rows_that_spell_the_labels_is_one() -> None:
    labels = np.arange(30) % 3
    assert (
        parc(np.random.default_rng(0).normal(size=(3, 5))[labels], labels) < 1
    )  # the classes are not evenly apart
    assert parc(np.eye(3)[labels], labels) == close(1)
    assert parc(3 * np.eye(3)[labels] + 1, np.eye(3)[labels]) == close(1)


def test_parc_of_one_feature_and_one_number_ranks_their_differences() -> None:
    numbers = np.array([0.0, 1, 3, 7, 15])
    assert parc(numbers[:, None], 2 * numbers + 3) == close(1)
    assert parc(numbers[:, None], np.outer(numbers, [3, 4])) == close(1)
    assert parc(0.1 * np.arange(9)[:, None], 1e-12 * np.arange(9)) == close(1)  # with differences that draw
    # Differences 1 3 4 2 3 1 and 1 2 4 1 3 2; their ranks 1.5 4.5 6 3 4.5 1.5 and 1.5 3.5 6 1.5 5 3.5.
    assert parc(np.array([[0.0], [1], [3], [4]]), np.array([0.0, 1, 2, 4])) == close(17 / 22)


@FEW
@given(seeds)
def test_parc_of_several_labels_is_that_of_the_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(30, 5)), rng.integers(2, size=(30, 6)).astype(np.float64)
    labels[:, 1] = 1 - labels[:, 0]  # so that every row varies
    assert parc(features, labels) == pytest.approx(literal_parc(features, labels), rel=1e-9)


def test_parc_of_examples_without_any_label_is_nearest_to_its_like() -> None:
    labels = np.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]])
    kinds = np.repeat(np.eye(3), 2, axis=0)
    unlike = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert parc(kinds, labels) == close(1)
    assert parc(unlike, labels) < 0


@pytest.mark.parametrize("labels", [np.arange(6), np.eye(6)], ids=["classes", "several"])
def test_parc_of_labels_all_as_far_apart_is_refused(labels: NDArray[Any]) -> None:
    with pytest.raises(DegenerateInputError, match="as far apart in their labels"):
        parc(np.random.default_rng(0).normal(size=(6, 3)), labels)


@pytest.mark.parametrize("features", [np.eye(6), np.outer(np.sqrt(np.arange(6)), [1, 3, 0.7, 0.1])], ids=str)
def test_parc_of_features_all_as_far_apart_is_refused(features: Array) -> None:
    with pytest.raises(DegenerateInputError, match="as far apart in their features"):
        parc(features, np.arange(6) % 2)


# Nearest neighbours


def test_knn_of_two_clusters_on_a_line() -> None:
    features, labels = np.array([[0.0], [1], [2], [10], [11], [12]]), np.array([0, 0, 0, 1, 1, 1])
    assert knn(features, labels, k=1) == knn(features, labels, k=2) == 1
    assert knn(features, labels, k=5) == 0  # two of its own against three
    assert knn(features, labels, k=50) == 0


def test_knn_settles_a_draw_by_the_nearest() -> None:
    # The neighbours of the fifth, nearest first: b, a, a, b.
    features = np.array([[-2.0], [3], [-4], [1], [0]])
    labels = np.array(["a", "a", "b", "b", "b"])
    alone = knn(features, labels, k=4)
    assert alone == literal_knn(features, labels, k=4)
    labels[4] = "a"
    assert knn(features, labels, k=4) == literal_knn(features, labels, k=4) != alone


def test_knn_takes_the_first_of_neighbours_at_the_same_distance() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.integers(4, size=(120, 3)).astype(np.float64), rng.integers(3, size=120)
    for k in (1, 4, 9):
        assert knn(0.1 * features + 0.7, labels, k=k) == literal_knn(features, labels, k=k)


def test_knn_of_evenly_spaced_numbers() -> None:
    # All but the two ends lie midway between their neighbours; those are 1.5 off.
    numbers = np.arange(10.0)
    expected = 1 - 2 * 1.5**2 / float(np.square(numbers - 4.5).sum())
    assert knn(numbers[:, None], numbers, k=2) == close(expected)
    both = np.column_stack([numbers, np.full(10, 3.0), -5 * numbers])
    assert knn(numbers[:, None], both, k=2) == close(expected)


@FEW
@given(seeds, st.integers(1, 8))
def test_knn_of_numbers_is_that_of_the_twin(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    assert knn(features, labels, k=k) == close(literal_knn(features, labels, k=k))


def test_knn_finds_the_neighbours_of_many_examples_far_from_the_origin() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(3000, 2)), rng.normal(size=3000)
    nearest = cKDTree(features).query(features, k=6)[1][:, 1:]
    expected = 1 - np.square(labels - labels[nearest].mean(axis=1)).mean() / labels.var()
    assert knn(features + 1e4, labels) == pytest.approx(expected, abs=1e-6)


def test_knn_of_a_sample_leaves_out_the_rest_of_the_sentence() -> None:
    features, labels = blobs(0)
    copies, of_copies = np.repeat(features, 2, axis=0), np.repeat(labels, 2)
    each_alone = measure_knn(evidence_of(copies, Labels.of(of_copies)))
    assert each_alone.value == knn(copies, of_copies)
    rng = np.random.default_rng(1)
    nothing = np.repeat(rng.normal(size=(40, 8)), 6, axis=0)
    known = Labels.of(np.repeat(np.arange(40) % 4, 6))
    assert measure_knn(evidence_of(nothing, known)).value == 1
    assert measure_knn(evidence_of(nothing, known, np.repeat(np.arange(40), 6))).value < 0.5


def test_knn_of_a_sample_of_one_sentence_is_refused() -> None:
    features, labels = blobs(0)
    with pytest.raises(DegenerateInputError, match="one sentence"):
        measure_knn(evidence_of(features, Labels.of(labels), np.zeros(len(labels), dtype=np.int64)))


# Logistic regression


def test_logistic_of_classes_far_apart_is_one() -> None:
    features, labels = blobs(0)
    assert logistic(features + 20 * np.eye(6)[labels], labels) == 1


def test_logistic_gets_a_class_wrong_that_it_has_never_seen() -> None:
    features = np.append(np.random.default_rng(0).normal(size=20), 50)[:, None]
    assert logistic(features, np.arange(21) // 20) == close(20 / 21)


def test_logistic_makes_no_more_folds_than_there_are_examples() -> None:
    features, labels = np.array([[0.0], [1], [10], [11]]), np.array([0, 0, 1, 1])
    assert logistic(features, labels, folds=50) == 1


@FEW
@given(seeds)
def test_logistic_of_noise_is_that_of_the_twin_and_about_that_of_a_coin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(99, 3)), rng.integers(2, size=99)
    assert logistic(features, labels) == close(literal_logistic(features, labels))
    assert logistic(features, labels) == pytest.approx(0.5, abs=0.2)


def test_logistic_of_noise_changes_with_the_seed_of_its_folds_but_not_with_names_of_classes() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(99, 3)), rng.integers(3, size=99)
    values = [logistic(features, labels, seed=seed) for seed in range(4)]
    assert len(set(values)) > 1
    assert values == [logistic(features, np.take([9, 1, 5], labels), seed=seed) for seed in range(4)]


def test_logistic_finds_classes_that_differ_little_beside_what_all_columns_share() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=200)
    centres, noise = 0.03 * rng.normal(size=(4, 40)), 0.003 * rng.normal(size=(200, 40))
    assert logistic(rng.normal(size=(200, 1)) + centres[labels] + noise, labels) > 0.9


def test_logistic_of_columns_that_go_together_stops_without_a_warning() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 400)) + 0.05 * rng.normal(size=(300, 400))
    assert logistic(features, rng.integers(5, size=300)) == pytest.approx(0.2, abs=0.1)


def test_logistic_of_a_sample_holds_out_whole_sentences() -> None:
    # Every sentence has a class and a direction of its own: they say nothing of other sentences.
    features = np.repeat(np.eye(40), 6, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(240, 40))
    labels = Labels.of(np.repeat(np.arange(40) % 4, 6))
    assert measure_logistic(evidence_of(features, labels)).value == 1
    assert measure_logistic(evidence_of(features, labels, np.repeat(np.arange(40), 6))).value < 0.5
