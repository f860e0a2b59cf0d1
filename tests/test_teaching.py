"""What teachers teach a student: against the published fixed point, and what must not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reference import teaching as literal
from tests.reference.examples import STEADY, Array, parameters, rotation, seeds
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.scores.logme import logme
from zookeeper.teaching import FORMS, Form, Lesson, lesson

KINDS = ("classes", "labels", "numbers")


def school(
    seed: int, kind: str = "classes", n: int = 80, k: int = 3
) -> tuple[Array, list[Array], NDArray[Any]]:
    """A student and its teachers, of several widths, who all know something of the labels."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(n, 3))
    labels: NDArray[Any] = sources.argmax(axis=1)
    if kind == "labels":
        labels = (sources > 0).astype(np.float64)
    elif kind == "numbers":
        labels = sources.sum(axis=1)
    widths = rng.integers(6, 9, size=k + 1)
    student, *teachers = (
        np.hstack([sources, np.ones((n, 1))]) @ rng.normal(size=(4, d)) + 0.3 * rng.normal(size=(n, d))
        for d in widths
    )
    return student, teachers, labels


def distance(features: Array, taught: Lesson) -> float:
    """What the distance to the teachers adds to the loss."""
    return float(np.square(features @ taught.weights - taught.targets).mean())


def gradient(loss: Callable[[Array], float], at: Array, step: float = 1e-5) -> Array:
    """By central differences."""
    slopes = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        moved = np.zeros_like(at)
        moved[i] = step
        slopes[i] = (loss(at + moved) - loss(at - moved)) / (2 * step)
    return slopes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("seed", range(10))  # eleven steps do not always arrive, so the draws are fixed
def test_close_to_the_published_fixed_point(kind: str, form: Form, seed: int, temperature: float) -> None:
    student, teachers, labels = school(seed, kind)
    fast, slow = (
        f(student, teachers, labels, temperature=temperature, form=form) for f in (lesson, literal.lesson)
    )
    np.testing.assert_allclose(fast.scores, slow.scores, atol=2e-3)
    np.testing.assert_allclose(fast.prior, slow.prior, atol=2e-3 / temperature)
    np.testing.assert_allclose(fast.weights, slow.weights, atol=0.02 * np.abs(slow.weights).max())
    np.testing.assert_allclose(
        fast.targets, slow.targets, atol=0.02 * np.abs(slow.targets).max() / temperature**0.5
    )


@STEADY
@given(seed=seeds)
def test_weights_are_where_the_fixed_point_ends(seed: int) -> None:
    student, teachers, labels = school(seed, "labels")
    converged = [
        literal.fixed_point(student, y, steps=100_000, tolerance=1e-13, slack=0)[1] for y in labels.T
    ]
    taught = lesson(student, teachers, labels)
    np.testing.assert_allclose(taught.weights, np.stack(converged, axis=1), rtol=1e-5, atol=1e-6)


def test_twin_is_called_alike() -> None:
    assert parameters(lesson) == parameters(literal.lesson)


@STEADY
@given(seed=seeds)
def test_the_distance_to_the_mixture_pulls_as_the_mixture_of_distances_does(seed: int) -> None:
    student, teachers, labels = school(seed, n=30)
    taught = lesson(student, teachers, labels, temperature=1.0)
    alone = [lesson(student, [teacher], labels) for teacher in teachers]

    def mixture(features: Array) -> float:
        return float(sum(pi * distance(features, each) for pi, each in zip(taught.prior, alone, strict=True)))

    pull = gradient(lambda features: distance(features, taught), student)
    np.testing.assert_allclose(pull, gradient(mixture, student), atol=1e-8)
    assert mixture(student) > distance(student, taught)


def test_the_two_forms_pull_to_different_places() -> None:
    student, teachers, labels = school(0, n=30)
    teachers[0] = np.random.default_rng(0).normal(size=(30, 2))
    lessons = [lesson(student, teachers, labels, form=form) for form in FORMS]
    pulls = [
        gradient(lambda features, taught=taught: distance(features, taught), student) for taught in lessons
    ]
    assert np.abs(pulls[0] - pulls[1]).max() > 0.1 * np.abs(pulls[1]).max()


@STEADY
@given(seed=seeds)
def test_teachers_count_by_their_evidence_or_alike(seed: int) -> None:
    student, teachers, labels = school(seed)
    taught = lesson(student, teachers, labels)
    np.testing.assert_allclose(taught.scores, [logme(teacher, labels) for teacher in teachers])
    assert taught.prior.sum() == pytest.approx(1)
    assert (np.argsort(taught.prior) == np.argsort(taught.scores)).all()
    odds = np.log(taught.prior[0] / taught.prior[1])
    assert odds == pytest.approx((taught.scores[0] - taught.scores[1]) / 0.1)
    alike = lesson(student, teachers, labels, form="uniform")
    assert alike.prior.tolist() == [1 / 3] * 3
    warm = lesson(student, teachers, labels, temperature=1e9)
    np.testing.assert_allclose(warm.targets, alike.targets, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@STEADY
@given(seed=seeds)
def test_neither_order_nor_scale_nor_rotation_of_teachers_matters(kind: str, seed: int) -> None:
    student, teachers, labels = school(seed, kind)
    order = np.random.default_rng(seed).permutation(3)
    turned = [1e3 * teachers[i] @ rotation(seed, teachers[i].shape[1]) for i in order]
    taught, again = lesson(student, teachers, labels), lesson(student, turned, labels)
    np.testing.assert_allclose(again.prior, taught.prior[order], atol=1e-6)
    np.testing.assert_allclose(again.targets, taught.targets, atol=1e-6)


@STEADY
@given(seed=seeds, unit=st.floats(0.01, 100))
def test_targets_are_in_the_unit_of_the_numbers(seed: int, unit: float) -> None:
    student, teachers, labels = school(seed, "numbers")
    taught, converted = lesson(student, teachers, labels), lesson(student, teachers, unit * labels)
    np.testing.assert_allclose(converted.targets, unit * taught.targets, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(converted.prior, taught.prior, atol=1e-8)


@STEADY
@given(seed=seeds)
def test_a_student_that_teaches_itself_has_nothing_to_learn(seed: int) -> None:
    student, _, labels = school(seed)
    taught = lesson(student, [student], labels)
    assert taught.prior.tolist() == [1.0]
    assert not taught.one_hot
    assert distance(student, taught) == pytest.approx(0, abs=1e-20)


def test_a_teacher_that_stands_alone_is_told_of() -> None:
    student, teachers, labels = school(1)
    assert not lesson(student, teachers, labels, temperature=10).one_hot
    assert lesson(student, teachers, labels, temperature=1e-4).one_hot
    assert not lesson(student, teachers, labels, temperature=1e-4, form="uniform").one_hot


def test_targets_tell_classes_apart() -> None:
    student, teachers, labels = school(2, n=400)
    taught = lesson(student, teachers, labels)
    assert (taught.targets.argmax(axis=1) == labels).mean() > 0.7


def test_classes_that_do_not_occur_have_columns_of_zeros() -> None:
    student, teachers, labels = school(3)
    gaps = np.array([1, 2, 5])[labels]
    taught, dense = lesson(student, teachers, gaps), lesson(student, teachers, labels)
    assert taught.targets.shape == (80, 6)
    assert taught.weights.shape == (student.shape[1], 6)
    assert not taught.targets[:, [0, 3, 4]].any()
    assert not taught.weights[:, [0, 3, 4]].any()
    np.testing.assert_allclose(taught.targets[:, [1, 2, 5]], dense.targets)


def test_labels_that_are_always_the_same_have_columns_of_zeros() -> None:
    student, teachers, labels = school(4, "labels")
    padded = np.hstack([np.zeros((80, 1)), labels, np.ones((80, 1))])
    taught = lesson(student, teachers, padded)
    assert not taught.targets[:, [0, -1]].any()
    np.testing.assert_allclose(taught.targets[:, 1:-1], lesson(student, teachers, labels).targets)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_whose_label_does_not_count_are_taught_and_teach_nothing(kind: str) -> None:
    student, teachers, labels = school(5, kind)
    some = labels.copy()
    some[60:] = -100 if kind == "classes" else np.nan
    taught = lesson(student, teachers, some)
    fewer = lesson(student[:60], [teacher[:60] for teacher in teachers], labels[:60])
    np.testing.assert_allclose(taught.weights, fewer.weights)
    np.testing.assert_allclose(taught.targets[:60], fewer.targets)
    assert taught.targets[60:].any()


def test_features_of_half_precision_are_taken_and_left_as_they_are() -> None:
    student, teachers, labels = school(6, n=5000)
    halves = [teacher.astype(np.float16) for teacher in teachers]
    before = [half.copy() for half in halves]
    taught = lesson(student.astype(np.float16), halves, labels)
    np.testing.assert_allclose(taught.targets, lesson(student, teachers, labels).targets, atol=0.01)
    assert all(np.array_equal(half, kept) for half, kept in zip(halves, before, strict=True))


@pytest.mark.parametrize(
    ("terms", "message"),
    [({"temperature": 0.0}, "temperature of 0"), ({"form": "best"}, "do not count by best")],
)
def test_terms_that_make_no_sense_are_refused(terms: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lesson(*school(0), **terms)


def test_a_class_without_teachers_or_labels_is_refused() -> None:
    student, teachers, labels = school(0)
    with pytest.raises(UsageError, match="no teacher"):
        lesson(student, [], labels)
    with pytest.raises(DegenerateInputError, match="teacher 2 has features of 79 rows, the student of 80"):
        lesson(student, [teachers[0], teachers[1][1:]], labels)
    with pytest.raises(DegenerateInputError, match="no labelled examples"):
        lesson(student, teachers, np.full(80, -100))
    with pytest.raises(DegenerateInputError, match="one class only"):
        lesson(student, teachers, np.ones(80, dtype=np.int64))
    teachers[1][0, 0] = np.nan
    with pytest.raises(DegenerateInputError, match="not finite"):
        lesson(student, teachers, labels)
