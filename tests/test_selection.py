"""Greedy choice by mutual information: against its twin, exact arithmetic, closed forms and the paper."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import selection as literal
from tests.reference.examples import STEADY, Array, conditioned_kappa, parameters, random_kappa, seeds
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.selection import Start, copies, greedy_mmi

both_starts = pytest.mark.parametrize("start", ["mi", "hub"])


def logdet(matrix: Array) -> float:
    return float(np.linalg.slogdet(matrix)[1])


def information(kappa: Array, chosen: list[int]) -> float:
    """MI(A) between the chosen and the rest: half of logdet K_AA + logdet (K^-1)_AA, in nats."""
    inside = np.ix_(chosen, chosen)
    return (logdet(kappa[inside]) + logdet(np.linalg.inv(kappa)[inside])) / 2


def exact_picks(kappa: Array, k: int) -> list[int]:
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
    return picks


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(2, 40))
def test_equals_the_literal_algorithm(seed: int, m: int, start: Start) -> None:
    kappa = random_kappa(seed, m)
    picks, gains = greedy_mmi(kappa, m, start=start)
    literal_picks, literal_gains = literal.greedy_mmi(kappa, m, start=start)
    assert picks == literal_picks
    np.testing.assert_allclose(gains, literal_gains, atol=1e-10)


def test_twin_is_called_alike() -> None:
    assert parameters(greedy_mmi) == parameters(literal.greedy_mmi)


@pytest.mark.parametrize("condition", [1e10, 1e12, 1e14])
@pytest.mark.parametrize("seed", range(3))
def test_ill_conditioned_picks_are_those_of_exact_arithmetic(seed: int, condition: float) -> None:
    kappa = conditioned_kappa(seed, 16, condition)
    assert greedy_mmi(kappa, 8)[0] == exact_picks(kappa, 8)


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(1, 40), share=st.floats(0, 1))
def test_gains_add_up_to_the_mutual_information(seed: int, m: int, share: float, start: Start) -> None:
    kappa, k = random_kappa(seed, m), max(1, round(share * m))
    picks, gains = greedy_mmi(kappa, k, start=start)
    rest = [item for item in range(m) if item not in picks]
    assert sum(gains) == pytest.approx(information(kappa, picks), abs=1e-10)
    assert sum(gains) == pytest.approx(information(kappa, rest), abs=1e-10)


def test_two_items_share_the_information_of_their_correlation() -> None:
    picks, gains = greedy_mmi(np.array([[1, 0.6], [0.6, 1]]), 2)
    assert picks == [0, 1]
    assert gains == pytest.approx([-np.log(1 - 0.36) / 2, np.log(1 - 0.36) / 2])


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(2, 30))
def test_fewer_picks_are_the_first_of_more(seed: int, m: int, start: Start) -> None:
    kappa = random_kappa(seed, m)
    picks, gains = greedy_mmi(kappa, m, start=start)
    for k in range(1, m):
        assert greedy_mmi(kappa, k, start=start) == (picks[:k], gains[:k])


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(3, 30))
def test_permuting_the_zoo_permutes_the_picks(seed: int, m: int, start: Start) -> None:
    kappa = random_kappa(seed, m)
    order = np.random.default_rng(seed).permutation(m)
    permuted = greedy_mmi(kappa[np.ix_(order, order)], m, start=start)[0]
    assert [order[pick] for pick in permuted] == greedy_mmi(kappa, m, start=start)[0]


@STEADY
@given(seeds, st.integers(2, 20))
def test_does_not_depend_on_the_scale_of_an_item(seed: int, m: int) -> None:
    kappa = random_kappa(seed, m)
    scale = np.random.default_rng(seed).uniform(0.1, 10, size=m)
    picks, gains = greedy_mmi(kappa * np.outer(scale, scale), m)
    assert picks == greedy_mmi(kappa, m)[0]
    assert gains == pytest.approx(greedy_mmi(kappa, m)[1], abs=1e-10)


@both_starts
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_ties_go_to_the_lowest_index(correlation: float, start: Start) -> None:
    kappa = np.full((9, 9), correlation) + (1 - correlation) * np.eye(9)
    assert greedy_mmi(kappa, 9, start=start)[0] == list(range(9))


def test_the_hub_is_the_item_closest_to_all() -> None:
    kappa = np.eye(5)
    kappa[2, [0, 1, 3, 4]] = kappa[[0, 1, 3, 4], 2] = 0.4
    kappa[0, 1] = kappa[1, 0] = 0.8
    assert greedy_mmi(kappa, 1, start="hub")[0] == [2]
    assert greedy_mmi(kappa, 1, start="mi")[0] == [0]


def test_leaves_its_input_alone() -> None:
    kappa = random_kappa(0, 8)
    greedy_mmi(kappa, 8)
    assert (kappa == random_kappa(0, 8)).all()


@pytest.mark.parametrize("combined", [1, 2], ids=["a copy", "a mean of two"])
@STEADY
@given(seed=seeds, m=st.integers(3, 30))
def test_a_singular_covariance_is_refused_with_its_smallest_eigenvalue(
    seed: int, m: int, combined: int
) -> None:
    items = np.random.default_rng(seed).normal(size=(m, 2 * m))
    items[-1] = items[:combined].mean(axis=0)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    with pytest.raises(DegenerateInputError, match=r"smallest eigenvalue -?\d"):
        greedy_mmi(items @ items.T, 1)


def test_an_indefinite_covariance_is_refused_with_its_smallest_eigenvalue() -> None:
    with pytest.raises(DegenerateInputError, match=r"smallest eigenvalue -0\.5\b"):
        greedy_mmi(np.array([[1, 1.5], [1.5, 1]]), 1)


@pytest.mark.parametrize("k", [-1, 0, 6])
def test_k_is_between_one_and_all(k: int) -> None:
    with pytest.raises(UsageError, match=f"cannot pick {k} of 5") as refusal:
        greedy_mmi(random_kappa(0, 5), k)
    assert refusal.value.fix == "-k between 1 and 5"


def test_an_unknown_start_is_refused_with_the_known() -> None:
    with pytest.raises(UsageError, match='no start "mmi"') as refusal:
        greedy_mmi(random_kappa(0, 5), 2, start="mmi")  # type: ignore[arg-type]
    assert refusal.value.fix == "one of: mi, hub"


def test_copies_are_grouped_under_the_lowest_index() -> None:
    kappa = random_kappa(3, 4)[np.ix_([0, 1, 0, 2, 1, 0], [0, 1, 0, 2, 1, 0])]
    assert copies(kappa) == [[0, 2, 5], [1, 4], [3]]


def test_tolerance_says_how_near_a_copy_is() -> None:
    kappa = np.array([[1, 1 - 1e-4], [1 - 1e-4, 1]])
    assert copies(kappa) == [[0], [1]]
    assert copies(kappa, tolerance=1e-3) == [[0, 1]]


@both_starts
@STEADY
@given(seed=seeds, m=st.integers(3, 12), data=st.data())
def test_a_copy_in_the_zoo_changes_no_pick(seed: int, m: int, data: st.DataObject, start: Start) -> None:
    kappa = random_kappa(seed, m)
    zoo = list(range(m))
    zoo.insert(data.draw(st.integers(0, m)), data.draw(st.integers(0, m - 1)))
    with_copy = kappa[np.ix_(zoo, zoo)]
    groups = copies(with_copy)
    first = [group[0] for group in groups]
    picks = greedy_mmi(with_copy[np.ix_(first, first)], m, start=start)[0]
    assert sorted(len(group) for group in groups) == [1] * (m - 1) + [2]
    assert [zoo[first[pick]] for pick in picks] == greedy_mmi(kappa, m, start=start)[0]


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
    assert [names[pick] for pick in greedy_mmi(kappa, 5, start=start)[0]] == published
    assert greedy_mmi(kappa, 33, start=start)[0] == literal.greedy_mmi(kappa, 33, start=start)[0]
