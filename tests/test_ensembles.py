"""Members tuned apart, combined: against the definitions, and what a combination must and must not change."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reference import ensembles as literal
from tests.reference.examples import STEADY, Array, parameters, seeds
from zookeeper.ensembles import WAYS, Combination, Kind, Way, combine, cross_fitted, diversity
from zookeeper.errors import DegenerateInputError, UsageError

FEW = settings(STEADY, max_examples=6)
ONCE_OR_TWICE = settings(STEADY, max_examples=2)

KINDS: tuple[Kind, ...] = ("classes", "labels", "numbers")

kinds = pytest.mark.parametrize("kind", KINDS)
ways = pytest.mark.parametrize("how", WAYS)
averages = pytest.mark.parametrize("how", ["mean", "vote", "weighted"])

Case = tuple[list[Array], NDArray[Any], NDArray[np.int64]]


def case(seed: int, kind: Kind, k: int = 3, n: int = 60, c: int = 3, missing: bool = True) -> Case:
    """Outputs of members that know more or less of the labels, labels, and the sentence of each row."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(n // 4), 4))
    labels: NDArray[Any] = rng.permutation(np.arange(n) % c)
    known = np.eye(c)[labels]
    if kind == "labels":
        known = rng.integers(0, 2, size=(n, c))
        labels = known.astype(np.float64)
    elif kind == "numbers":
        labels = rng.normal(size=n)
        known = labels[:, None].copy()
    if missing:
        labels[rng.integers(n, size=5)] = -100 if kind == "classes" else np.nan
    skills, sizes = rng.uniform(0.3, 2, size=k), rng.uniform(0.5, 3, size=k)
    hard = rng.normal(size=known.shape)
    members = [skill * known + 0.5 * hard + 0.7 * rng.normal(size=known.shape) for skill in skills]
    if kind == "numbers":
        return members, labels, groups
    return [size * (z - 0.5) for size, z in zip(sizes, members, strict=True)], labels, groups


def loss(outputs: Array, labels: NDArray[Any], kind: Kind) -> float:
    """Mean NLL, or mean squared error, of the rows that count."""
    counts = labels != -100 if kind == "classes" else ~np.isnan(labels).reshape(len(labels), -1).any(axis=1)
    outputs, labels = outputs[counts], labels[counts]
    if kind == "numbers":
        return float(np.square(outputs[:, 0] - labels).mean())
    if kind == "labels":
        return float(np.logaddexp(0, np.where(labels > 0, -outputs, outputs)).mean())
    logs = outputs - np.logaddexp.reduce(outputs, axis=1, keepdims=True)
    return float(-np.take_along_axis(logs, labels[:, None], axis=1).mean())


def predictions(outputs: Array, kind: Kind) -> NDArray[Any]:
    """As `Problem.predictions`."""
    return outputs.argmax(axis=1) if kind == "classes" else outputs > 0 if kind == "labels" else outputs[:, 0]


@kinds
@ways
@FEW
@given(seed=seeds, k=st.integers(1, 4))
def test_equals_the_literal_combination(how: Way, kind: Kind, seed: int, k: int) -> None:
    validation, labels, groups = case(seed, kind, k)
    new, _, _ = case(seed + 1, kind, k)
    found = combine(validation, labels, groups, kind, how).apply(new)
    expected = literal.combine(validation, labels, groups, kind, how)(new)
    np.testing.assert_allclose(found, expected, atol=5e-3)


@kinds
@ways
@ONCE_OR_TWICE
@given(seed=seeds)
def test_equals_the_literal_cross_fit(how: Way, kind: Kind, seed: int) -> None:
    terms: Any = (*case(seed, kind, 2), kind, how)
    found = cross_fitted(*terms, folds=3, seed=seed)
    np.testing.assert_allclose(found, literal.cross_fitted(*terms, folds=3, seed=seed), atol=5e-3)


@kinds
@STEADY
@given(seed=seeds)
def test_equals_the_literal_diversity(kind: Kind, seed: int) -> None:
    members, labels, _ = case(seed, kind)
    predicted = [predictions(z, kind) for z in members]
    assert diversity(predicted, labels, kind) == pytest.approx(literal.diversity(predicted, labels, kind))


@pytest.mark.parametrize("name", ["combine", "cross_fitted", "diversity"])
def test_twins_are_called_alike(name: str) -> None:
    fast = {"combine": combine, "cross_fitted": cross_fitted, "diversity": diversity}[name]
    assert parameters(fast) == parameters(getattr(literal, name))


@kinds
@ways
@FEW
@given(seed=seeds)
def test_the_order_of_members_does_not_matter(how: Way, kind: Kind, seed: int) -> None:
    validation, labels, groups = case(seed, kind)
    order = np.random.default_rng(seed).permutation(3)
    one = combine(validation, labels, groups, kind, how)
    other = combine([validation[i] for i in order], labels, groups, kind, how)
    np.testing.assert_allclose(other.apply([validation[i] for i in order]), one.apply(validation), atol=2e-3)
    if one.weights is not None and other.weights is not None:
        np.testing.assert_allclose(other.weights, one.weights[order], atol=1e-4)


@kinds
@averages
@FEW
@given(seed=seeds)
def test_copies_of_one_member_say_what_it_says(how: Way, kind: Kind, seed: int) -> None:
    (member,), labels, groups = case(seed, kind, k=1)
    alone = combine([member], labels, groups, kind, "mean").apply([member])
    together = combine([member] * 3, labels, groups, kind, how).apply([member] * 3)
    if how != "vote":
        np.testing.assert_allclose(together, alone, atol=1e-8)
    np.testing.assert_allclose(predictions(together, kind), predictions(member, kind))


@kinds
@averages
@FEW
@given(seed=seeds)
def test_one_member_predicts_what_it_predicts(how: Way, kind: Kind, seed: int) -> None:
    validation, labels, groups = case(seed, kind, k=1)
    new, _, _ = case(seed + 1, kind, k=1)
    found = combine(validation, labels, groups, kind, how).apply(new)
    np.testing.assert_allclose(predictions(found, kind), predictions(new[0], kind))


@kinds
@STEADY
@given(seed=seeds, k=st.integers(1, 8))
def test_weights_are_at_least_as_good_as_any_member_and_as_the_mean(kind: Kind, seed: int, k: int) -> None:
    validation, labels, groups = case(seed, kind, k)
    weighted = combine(validation, labels, groups, kind, "weighted")
    reached = loss(weighted.apply(validation), labels, kind)
    mean = combine(validation, labels, groups, kind, "mean")
    alone = [combine([z], labels, groups, kind, "mean").apply([z]) for z in validation]
    assert reached <= min(loss(z, labels, kind) for z in [mean.apply(validation), *alone]) + 1e-7
    assert weighted.weights is not None
    assert weighted.weights.min() >= 0
    assert weighted.weights.sum() == pytest.approx(1)


@kinds
def test_fifty_members_are_weighted_as_well_as_any_few_of_them(kind: Kind) -> None:
    validation, labels, groups = case(0, kind, k=50, n=400)
    reached = loss(combine(validation, labels, groups, kind, "weighted").apply(validation), labels, kind)
    for few in ([3, 7], range(10), range(0, 50, 5), range(50)):
        some = [validation[i] for i in few]
        assert (
            reached <= loss(combine(some, labels, groups, kind, "weighted").apply(some), labels, kind) + 1e-7
        )


def test_numbers_get_the_weights_that_made_them() -> None:
    members = [np.random.default_rng(seed).normal(size=(50, 1)) for seed in range(3)]
    wanted = (0.3 * members[0] + 0.7 * members[2])[:, 0]
    found = combine(members, wanted, np.arange(50), "numbers", "weighted")
    np.testing.assert_allclose(found.weights, [0.3, 0, 0.7], atol=1e-9)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_a_member_that_knows_nothing_has_next_to_no_weight(kind: Kind) -> None:
    validation, labels, groups = case(1, kind, k=2, n=2000)
    noise = np.random.default_rng(0).normal(size=validation[0].shape)
    weights = combine([*validation, noise], labels, groups, kind, "weighted").weights
    assert weights is not None
    assert weights[2] < 0.03


@kinds
@ways
def test_members_together_do_better_on_new_rows_than_the_best_of_them(how: Way, kind: Kind) -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=1000) if kind == "numbers" else rng.integers(0, 3, size=1000)
    known = labels[:, None] if kind == "numbers" else np.eye(3)[labels]
    if kind == "labels":
        labels = known
    members = [2 * known - (kind == "labels") + rng.normal(size=known.shape) for _ in range(5)]
    old, new = [z[:500] for z in members], [z[500:] for z in members]
    fitted = combine(old, labels[:500], np.arange(500), kind, how)
    alone = [combine([z[:500]], labels[:500], np.arange(500), kind, "mean").apply([z[500:]]) for z in members]
    assert loss(fitted.apply(new), labels[500:], kind) < min(loss(z, labels[500:], kind) for z in alone)


@pytest.mark.parametrize("kind", ["classes", "labels"])
@STEADY
@given(seed=seeds)
def test_temperature_is_one_of_calibrated_logits_and_follows_their_scale(kind: Kind, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(2000, 3))
    if kind == "classes":
        labels: NDArray[Any] = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    else:
        labels = (logits + rng.logistic(size=logits.shape) > 0).astype(np.float64)
    scales = np.array([1.0, 0.2, 5.0])
    found = combine([scale * logits for scale in scales], labels, np.arange(2000), kind, "mean")
    assert found.temperatures is not None
    assert found.temperatures[0] == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(found.temperatures, scales * found.temperatures[0], rtol=1e-5)


@pytest.mark.parametrize("kind", ["classes", "labels"])
@ways
def test_members_that_are_always_right_or_never_sure_are_combined(how: Way, kind: Kind) -> None:
    _, labels, groups = case(2, kind, missing=False)
    known = np.eye(3)[labels] if kind == "classes" else labels
    sure, blank = 1e3 * (known - 0.5), np.zeros((60, 3))
    found = combine([sure, blank, -sure], labels, groups, kind, how).apply([sure, blank, -sure])
    assert np.isfinite(found).all()
    if how in ("weighted", "stacked"):
        np.testing.assert_array_equal(predictions(found, kind), predictions(sure, kind))


@ways
@FEW
@given(seed=seeds)
def test_what_is_added_to_all_logits_of_a_row_does_not_matter(how: Way, seed: int) -> None:
    validation, labels, groups = case(seed, "classes")
    shifts = np.random.default_rng(seed).normal(scale=10, size=(60, 1))
    moved = [z + shifts for z in validation]
    found = combine(moved, labels, groups, "classes", how).apply(moved)
    np.testing.assert_allclose(
        found, combine(validation, labels, groups, "classes", how).apply(validation), atol=1e-3
    )


@ways
@FEW
@given(seed=seeds)
def test_outputs_of_classes_are_log_probabilities(how: Way, seed: int) -> None:
    validation, labels, groups = case(seed, "classes")
    found = combine(validation, labels, groups, "classes", how).apply(validation)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)


@STEADY
@given(seed=seeds, k=st.integers(1, 7))
def test_the_majority_decides_and_ties_go_by_the_mean(seed: int, k: int) -> None:
    validation, labels, groups = case(seed, "classes", k, c=4)
    voted = combine(validation, labels, groups, "classes", "vote").apply(validation).argmax(axis=1)
    mean = combine(validation, labels, groups, "classes", "mean").apply(validation)
    votes = np.stack(
        [np.bincount(row, minlength=4) for row in np.stack([z.argmax(axis=1) for z in validation], 1)]
    )
    for row, choice in enumerate(voted):
        most = np.flatnonzero(votes[row] == votes[row].max())
        assert choice == most[mean[row, most].argmax()]


def test_the_vote_of_numbers_is_their_median() -> None:
    validation, labels, groups = case(3, "numbers", k=4)
    found = combine(validation, labels, groups, "numbers", "vote").apply(validation)
    np.testing.assert_allclose(found, np.median(validation, axis=0))


def test_a_stacked_class_that_validation_lacks_keeps_what_members_give_it() -> None:
    validation, labels, groups = case(4, "classes", c=4, missing=False)
    lacks = labels != 2
    train = ([z[lacks] for z in validation], labels[lacks], groups[lacks], "classes")
    stacked, mean = (combine(*train, how).apply(validation) for how in ("stacked", "mean"))
    np.testing.assert_allclose(stacked[:, 2], mean[:, 2])
    assert (stacked.argmax(axis=1)[~lacks] == 2).mean() > 0.5
    only = labels == 1
    alone = combine([z[only] for z in validation], labels[only], groups[only], "classes", "stacked")
    np.testing.assert_allclose(alone.apply(validation), mean_of(validation, labels, groups, only))


def mean_of(
    validation: list[Array], labels: NDArray[Any], groups: NDArray[np.int64], rows: NDArray[np.bool_]
) -> Array:
    """The mean of the members, with the temperatures of some of the rows."""
    some = combine([z[rows] for z in validation], labels[rows], groups[rows], "classes", "mean")
    return some.apply(validation)


@kinds
@ways
@FEW
@given(seed=seeds)
def test_rows_without_a_label_do_not_matter(how: Way, kind: Kind, seed: int) -> None:
    validation, labels, groups = case(seed, kind)
    counts = labels != -100 if kind == "classes" else ~np.isnan(labels).reshape(60, -1).any(axis=1)
    fewer = combine([z[counts] for z in validation], labels[counts], groups[counts], kind, how)
    whole = combine(validation, labels, groups, kind, how)
    np.testing.assert_array_equal(whole.apply(validation), fewer.apply(validation))


@kinds
@ways
@ONCE_OR_TWICE
@given(seed=seeds)
def test_no_row_is_combined_by_the_labels_of_its_sentence(how: Way, kind: Kind, seed: int) -> None:
    validation, labels, groups = case(seed, kind)
    sentence = groups == groups[np.random.default_rng(seed).integers(60)]
    changed = labels.copy()
    held = sentence & (labels != -100 if kind == "classes" else ~np.isnan(labels).reshape(60, -1).any(axis=1))
    changed[held] = (labels[held] + 1) % 3 if kind == "classes" else 1 - labels[held]
    before, after = (cross_fitted(validation, y, groups, kind, how, seed=seed) for y in (labels, changed))
    np.testing.assert_array_equal(after[sentence], before[sentence])


@kinds
def test_the_figure_of_a_cross_fit_is_honest_where_that_of_a_fit_is_not(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    _, labels, groups = case(5, kind, missing=False)
    noise = [rng.normal(size=(60, 1 if kind == "numbers" else 3)) for _ in range(20)]
    fitted = combine(noise, labels, groups, kind, "stacked").apply(noise)
    honest = cross_fitted(noise, labels, groups, kind, "stacked")
    assert loss(fitted, labels, kind) < loss(honest, labels, kind)


@kinds
def test_sentences_without_a_label_are_combined_too(kind: Kind) -> None:
    validation, labels, groups = case(6, kind, missing=False)
    labels[groups > 1] = -100 if kind == "classes" else np.nan
    assert np.isfinite(cross_fitted(validation, labels, groups, kind, "weighted")).all()
    labels[groups > 0] = -100 if kind == "classes" else np.nan
    with pytest.raises(DegenerateInputError, match="fewer than two sentences"):
        cross_fitted(validation, labels, groups, kind, "weighted")
    assert np.isfinite(combine(validation, labels, groups, kind, "stacked").apply(validation)).all()


@kinds
@ways
def test_a_stored_combination_is_the_same(how: Way, kind: Kind) -> None:
    validation, labels, groups = case(7, kind)
    fitted = combine(validation, labels, groups, kind, how)
    stored = {name: np.asarray(array.tolist()) for name, array in fitted.arrays.items()}
    again = Combination(kind, how, 3, validation[0].shape[1], stored)
    np.testing.assert_array_equal(again.apply(validation), fitted.apply(validation))


def test_people_are_told_weights_by_the_names_of_members() -> None:
    validation, labels, groups = case(8, "classes")
    told = json.loads(json.dumps(combine(validation, labels, groups, "classes", "weighted").details("abc")))
    assert list(told["weights"]) == list(told["temperatures"]) == ["a", "b", "c"]
    assert sum(told["weights"].values()) == pytest.approx(1)
    assert "weights" not in combine(validation, labels, groups, "classes", "vote").details("abc")


def test_diversity_of_members_that_are_alike_opposite_or_independent() -> None:
    labels = np.zeros(4, dtype=np.int64)
    half, other = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert diversity([half, half], labels, "classes") == {"disagreement": 0, "q": 1}
    assert diversity([half, 1 - half], labels, "classes") == {"disagreement": 1, "q": -1}
    assert diversity([half, other], labels, "classes") == {"disagreement": 0.5, "q": 0}
    errors = np.array([1.0, -1.0, 2.0, 0.0])
    assert diversity([errors, 2 * errors], np.zeros(4), "numbers") == {"correlation": pytest.approx(1)}


def test_diversity_is_not_defined_by_one_member_or_by_none_that_err() -> None:
    labels = np.array([0, 1, 2])
    assert diversity([labels], labels, "classes") == {"disagreement": None, "q": None}
    assert diversity([labels, labels], labels, "classes") == {"disagreement": 0, "q": None}
    assert diversity([labels, labels], labels.astype(float), "numbers") == {"correlation": None}


@kinds
@ways
def test_outputs_that_are_not_finite_are_refused_by_member(how: Way, kind: Kind) -> None:
    validation, labels, groups = case(9, kind)
    fitted = combine(validation, labels, groups, kind, how)
    validation[1][7, 0] = np.nan
    for refused in (lambda: combine(validation, labels, groups, kind, how), lambda: fitted.apply(validation)):
        with pytest.raises(DegenerateInputError, match="member 2 of 3 are not finite"):
            refused()


@kinds
def test_members_of_other_rows_or_outputs_are_refused(kind: Kind) -> None:
    validation, labels, groups = case(10, kind)
    for other in (validation[2][1:], np.hstack([validation[2]] * 2)):
        with pytest.raises(DegenerateInputError, match="outputs of member 3"):
            combine([*validation[:2], other], labels, groups, kind, "mean")
    with pytest.raises(DegenerateInputError, match="do not go with"):
        combine(validation, labels[1:], groups, kind, "mean")
    for fit in (combine, cross_fitted):
        with pytest.raises(DegenerateInputError, match="59 sentences"):
            fit(validation, labels, groups[1:], kind, "mean")
    with pytest.raises(DegenerateInputError, match="2 members of"):
        combine(validation, labels, groups, kind, "mean").apply(validation[:2])
    with pytest.raises(UsageError, match="no members"):
        combine([], labels, groups, kind, "mean")
    labels[:] = -100 if kind == "classes" else np.nan
    with pytest.raises(DegenerateInputError, match="no row has a label"):
        combine(validation, labels, groups, kind, "mean")


def test_what_makes_no_sense_is_refused() -> None:
    validation, labels, groups = case(11, "classes")
    with pytest.raises(UsageError, match="by guessing") as refusal:
        combine(validation, labels, groups, "classes", "guessing")  # type: ignore[arg-type]
    assert refusal.value.fix == "one of: mean, vote, weighted, stacked"
    with pytest.raises(UsageError, match="1 folds"):
        cross_fitted(validation, labels, groups, "classes", "mean", folds=1)
    labels[0] = 3
    with pytest.raises(DegenerateInputError, match="3 outputs do not know"):
        combine(validation, labels, groups, "classes", "mean")
    with pytest.raises(DegenerateInputError, match="have 1 output, these have 3"):
        combine(validation, np.zeros(60), groups, "numbers", "mean")
    with pytest.raises(DegenerateInputError, match="member 1 do not go with"):
        diversity([labels[1:]], labels, "classes")
