"""Greedy choice by mutual information: against its twin, exact arithmetic, closed forms and the paper."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import selection as literal
from tests.reference.examples import STEADY, Array, conditioned_kappa, parameters, random_kappa, seeds
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.results import Choice, Covariance
from zookeeper.selection import Information, LowRank, Start, copies, max_mutual_information

both_starts = pytest.mark.parametrize("start", ["mi", "hub"])


def logdet(matrix: Array) -> float:
    return float(np.linalg.slogdet(matrix)[1])


def information_of(kappa: Array, chosen: list[int]) -> float:
    """MI(A) between the chosen and the rest: half of logdet K_AA + logdet K_BB - logdet K, in nats."""
    rest = [item for item in range(len(kappa)) if item not in chosen]
    return (logdet(kappa[np.ix_(chosen, chosen)]) + logdet(kappa[np.ix_(rest, rest)]) - logdet(kappa)) / 2


def exact_picks(kappa: Array, k: int) -> tuple[int, ...]:
    """The greedy algorithm in 50-digit arithmetic."""
    mp = pytest.importorskip("mpmath")

    def precision(items: list[int]) -> list[object]:
        inverse = mp.inverse(mp.matrix(kappa[np.ix_(items, items)].tolist()))
        return [inverse[i, i] for i in range(len(items))]

    picks: list[int] = []
    with mp.workdps(50):
        while len(picks) < k:
            rest = [item for item in range(len(kappa)) if item not in picks]
            # 1 / var(y | all others among the items) is on the diagonal of their precision.
            known_rest = precision(rest)
            known_picks = [precision([*picks, item])[-1] for item in rest]
            gain = [a / b for a, b in zip(known_rest, known_picks, strict=True)]
            picks.append(rest[gain.index(max(gain))])
    return tuple(picks)


def with_copies(seed: int, m: int, n_copies: int) -> tuple[Array, list[int]]:
    """A covariance of m items and copies of some, shuffled; and which item each row is."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation([*range(m), *rng.integers(m, size=n_copies)])
    return random_kappa(seed, m)[np.ix_(rows, rows)], rows.tolist()


def assert_same(choice: Choice, expected: Choice) -> None:
    assert (choice.picks, choice.ties, choice.copies) == (expected.picks, expected.ties, expected.copies)
    np.testing.assert_allclose(choice.gains, expected.gains, atol=1e-10)


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(2, 40))
def test_equals_the_literal_algorithm(seed: int, m: int, start: Start) -> None:
    kappa = random_kappa(seed, m)
    assert_same(
        max_mutual_information(kappa, m, start=start), literal.max_mutual_information(kappa, m, start=start)
    )


@STEADY
@given(seed=seeds, m=st.integers(4, 20), data=st.data())
def test_equals_the_literal_algorithm_with_copies_and_items_given(
    seed: int, m: int, data: st.DataObject
) -> None:
    kappa, item_of = with_copies(seed, m, 3)
    included = data.draw(st.lists(st.sampled_from(range(m)), max_size=2, unique=True))
    include = [item_of.index(item) for item in included]
    exclude = [row for row in data.draw(st.sets(st.sampled_from(range(m)), max_size=2)) if row not in include]
    k = data.draw(st.integers(max(1, len(include)), m - 2))
    terms: dict[str, Any] = {"include": include, "exclude": exclude}
    choice = max_mutual_information(kappa, k, **terms)
    assert_same(choice, literal.max_mutual_information(kappa, k, **terms))
    assert choice.picks[: len(include)] == tuple(include)
    assert set(choice.picks).isdisjoint(exclude)


@STEADY
@given(seed=seeds, m=st.integers(2, 20), share=st.floats(0.1, 1), n_copies=st.integers(0, 3))
def test_equals_the_literal_algorithm_under_a_budget(seed: int, m: int, share: float, n_copies: int) -> None:
    kappa, _ = with_copies(seed, m, n_copies)
    costs = np.random.default_rng(seed).integers(1, 100, size=len(kappa))
    budget = max(int(share * costs.sum()), int(costs.min()))
    choice = max_mutual_information(kappa, costs=costs, budget=budget)
    assert_same(choice, literal.max_mutual_information(kappa, costs=costs, budget=budget))


def test_twin_is_called_alike() -> None:
    assert parameters(max_mutual_information) == parameters(literal.max_mutual_information)


@pytest.mark.parametrize("condition", [1e10, 1e12, 1e14])
@pytest.mark.parametrize("seed", range(3))
def test_ill_conditioned_picks_are_those_of_exact_arithmetic(seed: int, condition: float) -> None:
    kappa = conditioned_kappa(seed, 16, condition)
    assert max_mutual_information(kappa, 8).picks == exact_picks(kappa, 8)


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(1, 40), share=st.floats(0, 1))
def test_gains_add_up_to_the_mutual_information(seed: int, m: int, share: float, start: Start) -> None:
    kappa, k = random_kappa(seed, m), max(1, round(share * m))
    choice = max_mutual_information(kappa, k, start=start)
    rest = [item for item in range(m) if item not in choice.picks]
    assert choice.total == pytest.approx(information_of(kappa, list(choice.picks)), abs=1e-10)
    assert choice.total == pytest.approx(Information(kappa)(choice.picks), abs=1e-10)
    assert choice.total == pytest.approx(Information(kappa)(rest), abs=1e-10)


def test_two_items_share_the_information_of_their_correlation() -> None:
    choice = max_mutual_information(np.array([[1, 0.6], [0.6, 1]]), 2)
    assert choice.picks == (0, 1)
    assert choice.ties == ((1,), ())
    assert choice.gains == pytest.approx([-np.log(1 - 0.36) / 2, np.log(1 - 0.36) / 2])


def test_a_zoo_of_one_has_nothing_to_tell_about() -> None:
    assert max_mutual_information(np.array([[2.0]]), 1) == Choice((0,), (0.0,), ((),))


def test_a_covariance_with_names_is_one_too() -> None:
    kappa = random_kappa(0, 6)
    named = Covariance(tuple("abcdef"), kappa)
    assert max_mutual_information(named, 3) == max_mutual_information(kappa, 3)


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(2, 30))
def test_fewer_picks_are_the_first_of_more(seed: int, m: int, start: Start) -> None:
    kappa = random_kappa(seed, m)
    whole = max_mutual_information(kappa, m, start=start)
    for k in range(1, m):
        choice = max_mutual_information(kappa, k, start=start)
        assert (choice.picks, choice.gains) == (whole.picks[:k], whole.gains[:k])


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(3, 30))
def test_permuting_the_zoo_permutes_the_picks(seed: int, m: int, start: Start) -> None:
    kappa = random_kappa(seed, m)
    order = np.random.default_rng(seed).permutation(m)
    permuted = max_mutual_information(kappa[np.ix_(order, order)], m - 2, start=start).picks
    assert tuple(order[list(permuted)]) == max_mutual_information(kappa, m - 2, start=start).picks


@STEADY
@given(seeds, st.integers(2, 20))
def test_does_not_depend_on_the_scale_of_an_item(seed: int, m: int) -> None:
    kappa = random_kappa(seed, m)
    scale = 10 ** np.random.default_rng(seed).uniform(-3, 3, size=m)
    assert_same(
        max_mutual_information(kappa * np.outer(scale, scale), m, include=[0]),
        max_mutual_information(kappa, m, include=[0]),
    )


@both_starts
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_ties_go_to_the_lowest_number_and_are_named(correlation: float, start: Start) -> None:
    kappa = np.full((9, 9), correlation) + (1 - correlation) * np.eye(9)
    choice = max_mutual_information(kappa, 9, start=start)
    assert choice.picks == tuple(range(9))
    assert choice.ties == tuple(tuple(range(pick + 1, 9)) for pick in range(9))


def test_the_hub_is_the_item_closest_to_all() -> None:
    kappa = np.eye(5)
    kappa[2, [0, 1, 3, 4]] = kappa[[0, 1, 3, 4], 2] = 0.4
    kappa[0, 1] = kappa[1, 0] = 0.8
    assert max_mutual_information(kappa, 1, start="hub").picks == (2,)
    assert max_mutual_information(kappa, 1, start="mi").picks == (0,)


def test_leaves_its_input_alone() -> None:
    kappa = random_kappa(0, 8)
    max_mutual_information(kappa, 8)
    assert (kappa == random_kappa(0, 8)).all()


def test_what_is_excluded_is_still_told_about() -> None:
    kappa = np.eye(4)
    kappa[0, 1] = kappa[1, 0] = 0.9
    kappa[2, 3] = kappa[3, 2] = 0.2
    assert max_mutual_information(kappa, 1, exclude=[0]).picks == (1,)


@STEADY
@given(seed=seeds, m=st.integers(3, 12), n_copies=st.integers(1, 4))
def test_copies_in_the_zoo_change_no_pick(seed: int, m: int, n_copies: int) -> None:
    kappa, item_of = with_copies(seed, m, n_copies)
    choice = max_mutual_information(kappa, m - 2)
    without = max_mutual_information(random_kappa(seed, m), m - 2)
    assert tuple(item_of[pick] for pick in choice.picks) == without.picks
    np.testing.assert_allclose(choice.gains, without.gains, atol=1e-10)
    assert {item_of[leader] for leader, *others in choice.copies} == {
        item for item in item_of if item_of.count(item) > 1
    }
    for group in choice.copies:
        assert list(group) == [row for row, item in enumerate(item_of) if item == item_of[group[0]]]


def test_whoever_may_be_picked_leads_its_copies() -> None:
    rows = [0, 1, 0, 2, 1, 0]
    kappa = random_kappa(3, 4)[np.ix_(rows, rows)]
    assert max_mutual_information(kappa, 3).copies == ((0, 2, 5), (1, 4))
    assert max_mutual_information(kappa, 3, include=[5]).copies == ((1, 4), (5, 0, 2))
    assert max_mutual_information(kappa, 3, exclude=[0, 1]).copies == ((2, 0, 5), (4, 1))
    cheapest = max_mutual_information(kappa, costs=[3, 2, 1, 1, 2, 1], budget=4)
    assert cheapest.copies == ((1, 4), (2, 0, 5))


def test_a_wider_tolerance_merges_what_is_nearly_the_same() -> None:
    kappa = np.kron(np.eye(2), np.ones((2, 2)))
    kappa[kappa == 1] = [1, 0.97, 0.97, 1, 1, 0.6, 0.6, 1]
    assert max_mutual_information(kappa, 1).picks == (0,)
    merged = max_mutual_information(kappa, 1, tolerance=0.05)
    assert (merged.picks, merged.copies) == ((2,), ((0, 1),))


def test_copies_are_grouped_under_the_lowest_number() -> None:
    kappa = random_kappa(3, 4)[np.ix_([0, 1, 0, 2, 1, 0], [0, 1, 0, 2, 1, 0])]
    assert copies(kappa) == [[0, 2, 5], [1, 4], [3]]
    assert copies(7 * kappa) == [[0, 2, 5], [1, 4], [3]]


def test_tolerance_says_how_near_a_copy_is() -> None:
    kappa = np.array([[1, 1 - 1e-4], [1 - 1e-4, 1]])
    assert copies(kappa) == [[0], [1]]
    assert copies(kappa, tolerance=1e-3) == [[0, 1]]
    with pytest.raises(UsageError, match="1 is no tolerance"):
        copies(kappa, tolerance=1)


def test_information_counts_copies_once() -> None:
    kappa = random_kappa(1, 5)
    rows = [0, 1, 2, 3, 4, 2]
    information = Information(kappa[np.ix_(rows, rows)], lead=[5])
    assert information.items.tolist() == [0, 1, 3, 4, 5]
    assert information.leaders([2, 0, 5]) == (5, 0)
    assert information([2, 0, 5]) == pytest.approx(information_of(kappa, [0, 2]))
    assert information([]) == 0
    assert information(range(6)) == pytest.approx(0)


@STEADY
@given(
    seed=seeds,
    m=st.integers(2, 40),
    r=st.integers(1, 12),
    ridge=st.floats(1e-4, 10),
    start=st.sampled_from(["mi", "hub"]),
)
def test_low_rank_equals_dense(seed: int, m: int, r: int, ridge: float, start: Start) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(m, r)) + rng.uniform(0, 1, size=(m, 1))
    dense = factors @ factors.T + ridge * np.eye(m)
    terms: dict[str, Any] = {"start": start, "exclude": [m - 1]}
    if rng.random() < 0.5:
        terms |= {"costs": rng.integers(1, 9, size=m), "budget": 20}
    k = max(1, m // 2)
    choice = max_mutual_information(LowRank(factors, ridge), k, **terms)
    expected = max_mutual_information(dense, k, **terms, tolerance=0)
    assert choice.picks == expected.picks
    np.testing.assert_allclose(choice.gains, expected.gains, atol=1e-7)


def test_the_ridge_of_low_rank_keeps_copies_apart() -> None:
    factors = np.array([[1.0, 0], [0, 1], [1, 0]])
    choice = max_mutual_information(LowRank(factors, 1e-9), 3)
    assert choice.picks == (0, 1, 2)
    assert choice.copies == ()


@pytest.mark.parametrize(
    ("factors", "ridge", "message"),
    [
        (np.zeros(3), 1.0, "must be a matrix"),
        (np.full((2, 2), np.nan), 1.0, "not finite"),
        (np.eye(2), 0.0, "0.0 is no ridge"),
    ],
)
def test_low_rank_is_a_matrix_and_a_ridge(factors: Array, ridge: float, message: str) -> None:
    with pytest.raises((DegenerateInputError, UsageError), match=message):
        LowRank(factors, ridge)


@STEADY
@given(seed=seeds, m=st.integers(2, 30), share=st.floats(0.05, 1))
def test_a_budget_is_kept_and_well_spent(seed: int, m: int, share: float) -> None:
    """Never more than the budget, never less information than greedy among what is affordable."""
    kappa = random_kappa(seed, m)
    costs = np.random.default_rng(seed).integers(1, 100, size=m)
    budget = max(int(share * costs.sum()), int(costs.min()))
    choice = max_mutual_information(kappa, costs=costs, budget=budget)
    plain: list[int] = []
    while len(plain) < len(choice.picks):
        dear = np.flatnonzero(costs > budget - costs[plain].sum())
        exclude = [item for item in dear if item not in plain]
        if len(exclude) + len(plain) == m:
            break
        plain = list(max_mutual_information(kappa, len(plain) + 1, include=plain, exclude=exclude).picks)
    assert costs[list(choice.picks)].sum() <= budget
    assert choice.total >= Information(kappa)(plain) - 1e-9
    assert all(gain > 0 for gain in choice.gains[1:])


def test_a_budget_buys_many_small_instead_of_one_large() -> None:
    pairs = np.kron(np.eye(4), np.array([[1, 0.8], [0.8, 1]]))
    pairs[0, 1] = pairs[1, 0] = 0.9
    costs = [3, 9, 1, 9, 1, 9, 1, 9]
    assert max_mutual_information(pairs, costs=costs, budget=3).picks == (2, 4, 6)
    assert max_mutual_information(pairs, 2, costs=costs, budget=3).picks == (2, 4)
    assert max_mutual_information(pairs, 1, costs=costs, budget=3).picks == (0,)


def test_what_is_included_is_paid_for() -> None:
    kappa = random_kappa(0, 5)
    choice = max_mutual_information(kappa, costs=[4, 1, 1, 1, 1], budget=5, include=[0])
    assert choice.picks[0] == 0
    assert len(choice.picks) <= 2
    assert max_mutual_information(kappa, costs=[4, 1, 1, 1, 1], budget=4, include=[0]).picks == (0,)


def test_a_budget_without_k_leaves_the_number_open() -> None:
    choice = max_mutual_information(random_kappa(0, 12), costs=np.ones(12), budget=12)
    assert 1 < len(choice.picks) < 12


@STEADY
@given(seed=seeds, m=st.integers(3, 30))
def test_a_singular_covariance_is_refused_with_its_smallest_eigenvalue(seed: int, m: int) -> None:
    items = np.random.default_rng(seed).normal(size=(m, 2 * m))
    items[-1] = items[:2].mean(axis=0)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    with pytest.raises(DegenerateInputError, match=r"smallest eigenvalue -?\d") as refusal:
        max_mutual_information(items @ items.T, 1)
    assert refusal.value.fix == "--shrink 0.01, probe more words, or leave the near-copies out"


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3)), "square"),
        (np.ones(3), "square"),
        (np.ones((0, 0)), "square"),
        (np.array([[1, np.nan], [np.nan, 1]]), r"entry \(0, 1\) of the covariance is not a number"),
        (np.array([[1, 0.5], [0.4, 1]]), r"not symmetric: entry \(0, 1\) is 0.5 and \(1, 0\) is 0.4"),
        (np.array([[1, 1.5], [1.5, 1]]), r"smallest eigenvalue -0\.5\b"),
        (np.array([[1, 0.0], [0, 0]]), r"smallest eigenvalue 0\b"),
        (np.array([[1, 0.9, 0], [0.9, 1, 0.9], [0, 0.9, 1]]), r"smallest eigenvalue -0\.273\b"),
    ],
)
def test_what_is_no_covariance_is_refused(matrix: Array, message: str) -> None:
    for function in (partial(max_mutual_information, k=1), Information):
        with pytest.raises(DegenerateInputError, match=message):
            function(matrix)


@pytest.mark.parametrize("k", [-1, 0, 6])
def test_k_is_between_one_and_all(k: int) -> None:
    with pytest.raises(UsageError, match=f"cannot pick {k} of 5") as refusal:
        max_mutual_information(random_kappa(0, 5), k)
    assert refusal.value.fix == "-k between 1 and 5"
    assert refusal.value.why is None


def test_too_large_a_k_says_who_cannot_be_picked() -> None:
    rows = [0, 1, 2, 0, 1, 3]
    kappa = random_kappa(0, 4)[np.ix_(rows, rows)]
    with pytest.raises(UsageError, match="cannot pick 4 of 6") as refusal:
        max_mutual_information(kappa, 4, exclude=[5])
    assert refusal.value.why == "2 of them are copies of others and 1 of them are excluded"
    assert refusal.value.fix == "-k between 1 and 3"


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "how many to pick"),
        ({"k": 2, "start": "mmi"}, 'no start "mmi"'),
        ({"k": 2, "start": "hub", "include": [1]}, "both the hub and an included one"),
        ({"k": 2, "include": [1], "exclude": [1]}, "checkpoint 1 is both included and excluded"),
        ({"k": 2, "include": [6]}, "no checkpoint 6"),
        ({"k": 2, "exclude": [-1]}, "no checkpoint -1"),
        ({"k": 2, "include": [0, 5]}, "two of the included checkpoints are one and the same"),
        ({"k": 2, "include": [0, 1, 2]}, "cannot pick 2 of 6"),
        ({"k": 1, "exclude": range(6)}, "every checkpoint is excluded"),
        ({"budget": 5}, "costs and a budget go together"),
        ({"k": 2, "costs": [1] * 6}, "costs and a budget go together"),
        ({"costs": [1] * 5, "budget": 5}, "6 checkpoints need 6 costs"),
        ({"costs": [1, 1, 1, 1, 0, 1], "budget": 5}, "checkpoint 4 costs 0"),
        ({"costs": [1, 1, np.nan, 1, 1, 1], "budget": 5}, "checkpoint 2 costs nan"),
        ({"costs": [9e6] * 6, "budget": 5e6}, "cheapest checkpoint costs 9,000,000, the budget is 5,000,000"),
        (
            {"costs": [3] * 6, "budget": 5, "include": [0, 1]},
            "what is included costs 6, the budget is 5",
        ),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: dict[str, Any], message: str) -> None:
    rows = [0, 1, 2, 3, 4, 0]
    with pytest.raises(UsageError, match=message):
        max_mutual_information(random_kappa(0, 5)[np.ix_(rows, rows)], **terms)


def test_an_unknown_start_is_refused_with_the_known() -> None:
    with pytest.raises(UsageError) as refusal:
        max_mutual_information(random_kappa(0, 5), 2, start="mmi")  # type: ignore[arg-type]
    assert refusal.value.fix == "one of: mi, hub"


@pytest.mark.skipif("ZOO_SHARED" not in os.environ, reason="ZOO_SHARED names no folder with published data")
@pytest.mark.parametrize(
    ("start", "published"),
    [
        ("mi", ["roberta-base", "distilbert-base-uncased", "t5-base", "bert-base-cased", "bart-large"]),
        ("hub", ["t5-base", "roberta-base", "distilbert-base-uncased", "bert-base-cased", "bart-large"]),
    ],
)
def test_picks_of_the_paper(start: Start, published: list[str]) -> None:
    folder = Path(os.environ["ZOO_SHARED"]) / "data" / "kappa"
    kappa = np.load(folder / "kappa.npy")
    names = (folder / "names.txt").read_text().split()
    assert [names[pick] for pick in max_mutual_information(kappa, 5, start=start).picks] == published
    assert_same(
        max_mutual_information(kappa, 33, start=start), literal.max_mutual_information(kappa, 33, start=start)
    )
