"""Other ways of choosing: random sets and medoids."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference.examples import STEADY, random_kappa, seeds
from zookeeper.controls import distinct_sets, medoids, random_sets, share_below
from zookeeper.errors import DegenerateInputError, UsageError


def test_random_sets_are_all_sets_equally_often_and_the_same_again() -> None:
    drawn = random_sets([1, 10, 100, 1000], 2, n=1200)
    sets = [tuple(sorted(items)) for items in drawn]
    counts = {pair: sets.count(pair) for pair in combinations([1, 10, 100, 1000], 2)}
    assert sum(counts.values()) == len(drawn) == 1200
    assert all(140 < n < 260 for n in counts.values())
    assert random_sets([1, 10, 100, 1000], 2, n=1200) == drawn


def test_the_first_few_of_random_sets_are_random_sets() -> None:
    larger = random_sets(range(9), 5, n=50, include=[20, 10])
    for k in (2, 3, 4):
        assert [items[:k] for items in larger] == random_sets(range(9), k, n=50, include=[20, 10])


def test_random_sets_hold_what_is_included() -> None:
    assert {tuple(items) for items in random_sets([1, 2], 2, n=50, include=[10])} == {(10, 1), (10, 2)}
    assert random_sets([1, 2], 1, n=2, include=[10]) == [[10], [10]]


@pytest.mark.parametrize("k", [0, 4])
def test_random_sets_are_no_larger_than_what_there_is(k: int) -> None:
    with pytest.raises(UsageError, match="cannot pick"):
        random_sets([1, 2], k, include=[10])


@STEADY
@given(n=st.integers(1, 12), wanted=st.integers(0, 40), data=st.data())
def test_distinct_sets_are_different_as_many_as_there_are_and_the_same_again(
    n: int, wanted: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, n))
    drawn = distinct_sets(n, k, wanted)
    assert len({frozenset(chosen) for chosen in drawn}) == len(drawn) == min(wanted, comb(n, k))
    assert all(len(set(chosen)) == k and set(chosen) <= set(range(n)) for chosen in drawn)
    assert distinct_sets(n, k, wanted + 5)[: len(drawn)] == drawn


def test_distinct_sets_favour_no_item() -> None:
    counts = np.bincount([item for chosen in distinct_sets(20, 3, 600) for item in chosen])
    assert counts.min() > 60
    assert counts.max() < 120


@pytest.mark.parametrize("k", [0, 4])
def test_distinct_sets_are_no_larger_than_what_there_is(k: int) -> None:
    with pytest.raises(UsageError, match="cannot pick"):
        distinct_sets(3, k, 1)


def test_share_below_counts_only_what_is_less() -> None:
    values = np.array([1.0, 2, 3, 3 - 1e-12, 4])
    assert share_below(3, values) == 0.4
    assert share_below(-1, -values) == 0.8
    assert share_below(9, values) == 1


@STEADY
@given(seed=seeds, m=st.integers(2, 9), data=st.data())
def test_no_swap_brings_the_others_nearer_to_medoids(seed: int, m: int, data: st.DataObject) -> None:
    kappa = random_kappa(seed, m)
    k = data.draw(st.integers(1, m))
    distance = np.sqrt(np.maximum(2 - 2 * kappa, 0))
    picks = medoids(kappa, k)
    totals = {
        chosen: distance[:, chosen].min(axis=1).sum()
        for chosen in combinations(range(m), k)
        if len(set(chosen) & set(picks)) >= k - 1
    }
    assert totals[picks] == pytest.approx(min(totals.values()), abs=1e-9)


def test_medoids_are_the_centres_of_clusters() -> None:
    kappa = np.kron(np.eye(3), np.full((3, 3), 0.8)) + 0.2 * np.eye(9)
    for first in (0, 3, 6):
        others = [first, first + 2]
        kappa[others, first + 1] = kappa[first + 1, others] = 0.85
    assert medoids(kappa, 3) == (1, 4, 7)
    assert medoids(kappa, 9) == tuple(range(9))


def test_medoids_of_what_is_no_covariance_are_refused() -> None:
    with pytest.raises(DegenerateInputError, match="not finite"):
        medoids(np.array([[1, np.nan], [np.nan, 1]]), 1)
    with pytest.raises(UsageError, match="cannot pick 3 of 2"):
        medoids(np.eye(2), 3)


@STEADY
@given(seeds, st.integers(2, 12), st.floats(1, 30))
def test_random_sets_keep_to_a_budget_and_use_it(seed: int, m: int, budget: float) -> None:
    costs = np.random.default_rng(seed).uniform(0.5, 5, size=m).tolist()
    for items in random_sets(range(m), m, n=20, costs=costs, budget=budget):
        spent = sum(costs[i] for i in items)
        assert spent <= budget
        assert all(spent + costs[i] > budget for i in set(range(m)) - set(items))
