"""Selections by name: what they keep to, and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference.examples import STEADY, Array, random_kappa, seeds
from zookeeper.choices import Terms, select
from zookeeper.errors import DegenerateInputError
from zookeeper.kernels import covariance
from zookeeper.results import Budget, Covariance
from zookeeper.selection import Information
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


@STEADY
@given(seeds, st.integers(1, 8), st.data())
def test_totals_are_the_information_of_the_first_of_items_of_each_size(
    seed: int, m: int, data: st.DataObject
) -> None:
    information = Information(random_kappa(seed, m))
    items = data.draw(st.permutations(range(m)))[: data.draw(st.integers(1, m))]
    expected = [information(items[: j + 1]) for j in range(len(items))]
    np.testing.assert_allclose(information.totals(items), expected, atol=1e-9)
    np.testing.assert_array_equal(information.totals([items, items])[1], information.totals(items))


def test_totals_of_an_item_and_its_copy_are_refused() -> None:
    with pytest.raises(DegenerateInputError, match="not positive definite"):
        Information(random_kappa(0, 3)[np.ix_([0, 0, 1, 2], [0, 0, 1, 2])]).totals([0, 1])


@STEADY
@given(seeds, st.integers(2, 8), st.data())
def test_replicates_that_are_all_the_covariance_make_a_band_without_width(
    seed: int, m: int, data: st.DataObject
) -> None:
    kappa = random_kappa(seed, m)
    found = select(named(kappa), Terms(data.draw(st.integers(1, m))), replicates=[kappa] * 3)
    totals = np.array([pick.total for pick in found.picks])
    np.testing.assert_allclose(found.band, np.stack([totals, totals], axis=1), atol=1e-9)


def test_the_band_is_of_the_same_picks_by_each_replicate() -> None:
    kappa, replicates = random_kappa(0, 6), [random_kappa(seed, 6) for seed in range(1, 40)]
    found = select(named(kappa), Terms(3), replicates=replicates)
    picks = ["abcdef".index(pick.name) for pick in found.picks]
    totals = [[Information(replicate)(picks[:j]) for j in (1, 2, 3)] for replicate in replicates]
    np.testing.assert_allclose(found.band, np.quantile(totals, [0.05, 0.95], axis=0).T, atol=1e-9)
    assert select(named(kappa), Terms(3)).band == ()


@STEADY
@given(seeds, st.integers(2, 8), st.data())
def test_random_sets_of_every_size_lie_around_their_mean_and_end_in_the_control(
    seed: int, m: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, m))
    found = select(named(random_kappa(seed, m)), Terms(k))
    assert len(found.random) == k
    for j, drawn in enumerate(found.random, 1):
        assert drawn.low - 1e-9 <= drawn.value <= drawn.high + 1e-9
        smaller = select(named(random_kappa(seed, m)), Terms(j)).random[-1]
        assert (drawn.value, drawn.low, drawn.high) == pytest.approx(
            (smaller.value, smaller.low, smaller.high)
        )
    (control,) = [control for control in found.controls if control.spread]
    assert (found.random[-1].value, (found.random[-1].low, found.random[-1].high)) == (
        control.value,
        control.spread,
    )


def test_random_sets_begin_with_what_is_included() -> None:
    found = select(named(random_kappa(0, 6)), Terms(3, include=("c", "e")))
    for pick, drawn in zip(found.picks[:2], found.random, strict=False):
        assert drawn.low == pytest.approx(drawn.high) == pytest.approx(pick.total)
    assert found.random[2].low < found.random[2].high


@STEADY
@given(seeds, st.permutations(range(6)))
def test_neither_band_nor_random_sets_depend_on_the_order_of_checkpoints(seed: int, order: list[int]) -> None:
    kappa = named(random_kappa(seed, 6))
    turned = Covariance(tuple(kappa.names[i] for i in order), kappa.matrix[np.ix_(order, order)])
    replicates = [random_kappa(seed + i, 6) for i in range(1, 20)]
    found = select(kappa, Terms(3), replicates=replicates)
    other = select(turned, Terms(3), replicates=[each[np.ix_(order, order)] for each in replicates])
    assert [pick.name for pick in found.picks] == [pick.name for pick in other.picks]
    np.testing.assert_allclose(found.band, other.band, atol=1e-9)
    np.testing.assert_allclose(found.random[0].value, other.random[0].value, rtol=0.1)


def test_under_a_budget_nothing_is_said_of_random_sets_of_a_size() -> None:
    found = select(named(random_kappa(0, 5)), Terms(budget=Budget(3, "parameters")), costs=[1] * 5)
    assert found.random == ()
    assert found.controls[0].spread
