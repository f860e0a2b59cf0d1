"""Selections by name: what they keep to, and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reference.examples import Array, random_kappa
from zookeeper.choices import Terms, select
from zookeeper.kernels import covariance
from zookeeper.results import Budget, Covariance
from zookeeper.uncertainty import jackknife


def named(matrix: Array) -> Covariance:
    return Covariance(tuple("abcdefgh"[: len(matrix)]), matrix)


@pytest.mark.parametrize("k", [None, 4])
def test_random_sets_keep_to_a_budget_and_to_what_is_excluded(k: int | None) -> None:
    found = select(
        named(random_kappa(0, 5)), Terms(k, exclude=("a",), budget=Budget(3, "parameters")), costs=[1] * 5
    )
    assert "a" not in [pick.name for pick in found.picks]
    best_of_all = max(control.value for control in found.controls)
    assert best_of_all <= found.picks[-1].total


def test_the_copy_of_one_that_is_excluded_can_be_drawn() -> None:
    twice = np.ix_([0, 1, 1, 2, 3], [0, 1, 1, 2, 3])
    kappa = named(random_kappa(0, 4)[twice])
    found = select(kappa, Terms(None, exclude=("b",), budget=Budget(2, "parameters")), costs=[1, 1, 3, 1, 1])
    assert sum(pick.cost or 0 for pick in found.picks) <= 2
    assert {"b", "c"}.isdisjoint(pick.name for pick in found.picks)


def test_a_pair_at_the_edge_of_being_copies_is_two_in_every_replicate() -> None:
    rng = np.random.default_rng(1)
    sets = [rng.normal(size=(300, 8)) for _ in range(4)]
    sets.append(sets[0] + 0.22 * rng.normal(size=(300, 8)))
    kappa = covariance(sets)
    replicates = list(jackknife(sets, np.full(30, 10)).replicates(kappa.matrix, 50))
    edge = float(kappa.matrix[0, 4]) + 1e-4
    assert any(replicate[0, 4] > edge for replicate in replicates)
    all_of_them = select(kappa, Terms(5, dedupe=edge), replicates=replicates)
    assert [pick.stable for pick in all_of_them.picks] == [1] * 5
    both = select(kappa, Terms(3, include=("0", "4"), dedupe=edge), replicates=iter(replicates))
    assert [pick.stable for pick in both.picks[:2]] == [1, 1]
    assert both.replicates == 50
