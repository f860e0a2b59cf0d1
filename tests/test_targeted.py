"""Choice for one target: against its twin, closed forms, and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import targeted as literal
from tests.reference.examples import STEADY, Array, parameters, random_kappa, rotation, seeds
from tests.reference.logme import largest_evidence
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.evidence import Evidence, evidence_of
from zookeeper.labels import Labels
from zookeeper.selection import max_mutual_information
from zookeeper.targeted import Stack, max_evidence

FEW = settings(STEADY, max_examples=10)


def zoo(seed: int, m: int = 5, n: int = 60, numbers: bool = False) -> list[Evidence]:
    """Checkpoints of several widths, each of which knows some of the sources of the labels."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(n, 4))
    cause = sources @ rng.normal(size=4)
    labels = Labels.of(cause if numbers else np.digitize(cause, np.quantile(cause, [0.2, 0.7])))
    found = []
    for width in rng.integers(2, 7, size=m):
        known = sources * rng.integers(0, 2, size=4)
        X = known @ rng.normal(size=(4, width)) + 0.3 * rng.normal(size=(n, width)) + rng.normal(size=width)
        found.append(evidence_of(X * rng.uniform(0.1, 10), labels))
    return found


def features(checkpoint: Evidence) -> Array:
    return checkpoint.sample.features


def with_features(checkpoint: Evidence, X: Array) -> Evidence:
    return evidence_of(X, checkpoint.sample.labels)


@STEADY
@given(seed=seeds, k=st.integers(1, 5), width=st.integers(1, 8), numbers=st.booleans())
def test_equals_the_literal_algorithm(seed: int, k: int, width: int, numbers: bool) -> None:
    checkpoints = zoo(seed, numbers=numbers)
    fast = max_evidence(Stack.of(checkpoints, width=width), k)
    slow = literal.max_evidence(literal.Stack.of(checkpoints, width=width), k)
    assert (fast.picks, fast.ties) == (slow.picks, slow.ties)
    np.testing.assert_allclose(fast.gains, slow.gains, atol=1e-9)


@FEW
@given(seed=seeds, given=st.permutations(range(6)))
def test_equals_the_literal_algorithm_half_by_information(seed: int, given: list[int]) -> None:
    checkpoints, kappa = zoo(seed, m=6), random_kappa(seed, 6)
    include, exclude = given[:1], given[1:2]
    fast = max_evidence(Stack.of(checkpoints), 4, include=include, exclude=exclude, information=kappa)
    slow = literal.max_evidence(
        literal.Stack.of(checkpoints), 4, include=include, exclude=exclude, information=kappa
    )
    assert (fast.picks, fast.ties) == (slow.picks, slow.ties)
    np.testing.assert_allclose(fast.gains, slow.gains, atol=1e-9)


def test_twin_is_called_alike() -> None:
    assert parameters(max_evidence) == parameters(literal.max_evidence)
    assert parameters(Stack.of) == parameters(literal.Stack.of)


@pytest.mark.parametrize("numbers", [False, True], ids=["classes", "numbers"])
def test_evidence_is_that_of_the_model_less_that_of_noise(numbers: bool) -> None:
    checkpoints = zoo(0, n=30, numbers=numbers)
    together = np.sqrt(30) * np.hstack([np.linalg.qr(features(checkpoints[i]))[0] for i in (3, 1)])
    targets = checkpoints[0].sample.labels.columns.T
    expected = np.mean([largest_evidence(together, y) - literal.noise(y) for y in targets]) / 30
    assert Stack.of(checkpoints).evidence([3, 1]) == pytest.approx(expected, abs=1e-6)


def test_no_checkpoints_say_nothing() -> None:
    assert Stack.of(zoo(0)).evidence([]) == 0


@STEADY
@given(seed=seeds, k=st.integers(1, 5))
def test_gains_add_up_to_the_evidence(seed: int, k: int) -> None:
    stack = Stack.of(zoo(seed))
    choice = max_evidence(stack, k)
    assert choice.total == pytest.approx(stack.evidence(choice.picks), abs=1e-12)
    assert len(set(choice.picks)) == k


@STEADY
@given(seed=seeds)
def test_every_pick_is_the_best_beside_those_before(seed: int) -> None:
    stack = Stack.of(zoo(seed))
    picks = max_evidence(stack, 4).picks
    for t, pick in enumerate(picks):
        rest = [item for item in range(5) if item not in picks[:t]]
        assert stack.evidence([*picks[:t], pick]) == max(stack.evidence([*picks[:t], i]) for i in rest)


@STEADY
@given(seed=seeds)
def test_permuting_the_zoo_permutes_the_picks(seed: int) -> None:
    checkpoints = zoo(seed)
    order = np.random.default_rng(seed).permutation(5)
    permuted = max_evidence(Stack.of([checkpoints[i] for i in order]), 4)
    choice = max_evidence(Stack.of(checkpoints), 4)
    assert tuple(order[pick] for pick in permuted.picks) == choice.picks
    assert permuted.gains == pytest.approx(choice.gains, abs=1e-9)


@STEADY
@given(seed=seeds, width=st.integers(1, 6))
def test_neither_rotating_nor_scaling_features_matters(seed: int, width: int) -> None:
    checkpoints = zoo(seed)
    rng = np.random.default_rng(seed)
    turned = [
        with_features(c, rng.uniform(0.01, 100) * features(c) @ rotation(seed, features(c).shape[1]))
        for c in checkpoints
    ]
    choice = max_evidence(Stack.of(checkpoints, width=width), 3)
    again = max_evidence(Stack.of(turned, width=width), 3)
    assert again.picks == choice.picks
    assert again.gains == pytest.approx(choice.gains, abs=1e-8)


@STEADY
@given(seed=seeds)
def test_only_the_space_that_features_span_matters(seed: int) -> None:
    checkpoints = zoo(seed)
    rng = np.random.default_rng(seed)
    mixed = []
    for checkpoint in checkpoints:
        d = features(checkpoint).shape[1]
        stretched = features(checkpoint) @ rotation(seed, d) * rng.uniform(0.01, 100, size=d)
        mixed.append(with_features(checkpoint, np.hstack([stretched, stretched[:, :1], 0 * stretched])))
    choice = max_evidence(Stack.of(checkpoints), 3)
    again = max_evidence(Stack.of(mixed), 3)
    assert again.picks == choice.picks
    assert again.gains == pytest.approx(choice.gains, abs=1e-6)


@STEADY
@given(seed=seeds, unit=st.floats(1e-3, 1e3))
def test_the_unit_of_real_labels_does_not_matter(seed: int, unit: float) -> None:
    checkpoints = zoo(seed, numbers=True)
    labels = Labels(unit * checkpoints[0].sample.labels.values, None)
    converted = [evidence_of(features(c), labels) for c in checkpoints]
    choice = max_evidence(Stack.of(checkpoints), 3)
    assert max_evidence(Stack.of(converted), 3).gains == pytest.approx(choice.gains, abs=1e-9)


def test_a_checkpoint_that_knows_the_rest_is_picked_before_a_better_one_that_knows_the_same() -> None:
    rng = np.random.default_rng(0)
    left, right, noise = rng.normal(size=(3, 400, 1))
    labels = Labels.of((1.5 * left + right + 0.1 * noise)[:, 0])
    zoo = [left, left + 0.1 * rng.normal(size=(400, 1)), right]
    alone = [Stack.of([evidence_of(X, labels)]).evidence([0]) for X in zoo]
    assert alone[0] > alone[1] > alone[2]
    assert max_evidence(Stack.of([evidence_of(X, labels) for X in zoo]), 2).picks == (0, 2)


def test_copies_tie_and_the_second_gains_next_to_nothing() -> None:
    checkpoints = zoo(3)
    stack = Stack.of([*checkpoints, *checkpoints])
    choice = max_evidence(stack, 1)
    assert choice.ties == ((choice.picks[0] + 5,),)
    both = max_evidence(stack, 2, include=[1, 6])
    assert both.gains[1] == pytest.approx(0, abs=1e-9)


def test_directions_are_those_of_all_examples() -> None:
    few = np.arange(200) < 50
    sampled = [replace(c, sample=c.sample[few]) for c in zoo(1, n=200)]
    stack, slow = Stack.of(sampled, width=2), literal.Stack.of(sampled, width=2)
    assert stack.statistics.n == 50
    for items in ([0], [1, 2], [4, 0, 3]):
        assert stack.evidence(items) == pytest.approx(slow.evidence(items), abs=1e-9)
    alone = Stack.of([evidence_of(features(c), c.sample.labels) for c in sampled], width=2)
    assert abs(alone.evidence([0, 1]) - stack.evidence([0, 1])) > 1e-3


def test_a_checkpoint_without_any_features_says_nothing() -> None:
    checkpoints = zoo(2)
    empty = with_features(checkpoints[0], np.zeros((60, 3)))
    stack = Stack.of([empty, *checkpoints[1:]])
    assert stack.evidence([0]) == 0
    assert stack.evidence([0, 2]) == stack.evidence([2])
    assert max_evidence(stack, 5).picks[0] != 0


@STEADY
@given(seed=seeds)
def test_included_come_first_and_excluded_never(seed: int) -> None:
    stack = Stack.of(zoo(seed))
    choice = max_evidence(stack, 4, include=[3, 1], exclude=[0])
    assert choice.picks[:2] == (3, 1)
    assert 0 not in choice.picks
    assert choice.ties[:2] == ((), ())
    assert choice.total == pytest.approx(stack.evidence(choice.picks), abs=1e-12)


@FEW
@given(seed=seeds)
def test_information_alone_decides_where_no_checkpoint_says_anything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, kappa = Labels.of(rng.normal(size=40)), random_kappa(seed, 6)
    stack = Stack.of([evidence_of(np.zeros((40, 2)), labels)] * 6)
    assert max_evidence(stack, 4, information=kappa).picks == max_mutual_information(kappa, 4).picks


@pytest.mark.parametrize("k", [-1, 0, 6])
def test_k_is_between_one_and_all(k: int) -> None:
    with pytest.raises(UsageError, match=f"cannot pick {k} of 5") as refusal:
        max_evidence(Stack.of(zoo(0)), k)
    assert refusal.value.fix == "-k between 1 and 5"


def test_k_has_room_for_what_is_included_and_not_for_what_is_excluded() -> None:
    stack = Stack.of(zoo(0))
    for k in (1, 5):
        with pytest.raises(UsageError) as refusal:
            max_evidence(stack, k, include=[0, 1], exclude=[2])
        assert refusal.value.fix == "-k between 2 and 4"


@pytest.mark.parametrize(("include", "exclude"), [([1], [1]), ([1, 1], []), ([7], []), ([], [-1])])
def test_names_that_contradict_each_other_or_the_zoo_are_refused(
    include: list[int], exclude: list[int]
) -> None:
    with pytest.raises(UsageError):
        max_evidence(Stack.of(zoo(0)), 3, include=include, exclude=exclude)


def test_a_covariance_of_another_zoo_is_refused() -> None:
    with pytest.raises(DegenerateInputError, match="4 checkpoints does not go with 5"):
        max_evidence(Stack.of(zoo(0)), 2, information=random_kappa(0, 4))


def test_samples_of_different_rows_or_labels_are_refused() -> None:
    checkpoints = zoo(0)
    fewer = evidence_of(features(checkpoints[1])[1:], checkpoints[1].sample.labels[1:])
    relabelled = evidence_of(features(checkpoints[1]), checkpoints[1].null_labels)
    for other in (fewer, relabelled):
        with pytest.raises(DegenerateInputError, match="checkpoints 0 and 2 are not of the same rows"):
            Stack.of([checkpoints[0], checkpoints[1], other])


def test_nothing_to_choose_from_or_by_is_refused() -> None:
    with pytest.raises(DegenerateInputError, match="no checkpoints"):
        Stack.of([])
    with pytest.raises(UsageError, match="0 directions"):
        Stack.of(zoo(0), width=0)
    one = zoo(0)[0]
    same = replace(one, sample=one.sample[one.sample.labels.codes == 1])
    with pytest.raises(DegenerateInputError, match="same label"):
        Stack.of([same])
