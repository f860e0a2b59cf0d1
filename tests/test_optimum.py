"""The best set of a size: against enumeration, and honest when it is stopped."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import optimum as literal
from tests.reference.examples import STEADY, conditioned_kappa, parameters, random_kappa, seeds
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.optimum import best_subset
from zookeeper.selection import Information, max_mutual_information


@STEADY
@given(seed=seeds, m=st.integers(2, 11), data=st.data())
def test_equals_enumeration(seed: int, m: int, data: st.DataObject) -> None:
    include = data.draw(st.lists(st.sampled_from(range(m)), max_size=min(2, m - 1), unique=True))
    free = [item for item in range(m) if item not in include]
    exclude = data.draw(st.lists(st.sampled_from(free), max_size=len(free) - 1, unique=True))
    k = data.draw(st.integers(max(1, len(include)), m - len(exclude)))
    terms: dict[str, Any] = {"include": include, "exclude": exclude}
    found, expected = (f(random_kappa(seed, m), k, **terms) for f in (best_subset, literal.best_subset))
    assert found.value == pytest.approx(expected.value, abs=1e-9)
    assert found.picks == expected.picks or found.value == pytest.approx(
        Information(random_kappa(seed, m))(expected.picks), abs=1e-9
    )
    assert found.proven


@pytest.mark.parametrize("condition", [1e6, 1e12])
@pytest.mark.parametrize("seed", range(5))
def test_equals_enumeration_where_greedy_goes_wrong(seed: int, condition: float) -> None:
    kappa = conditioned_kappa(seed, 10, condition)
    found, expected = best_subset(kappa, 4), literal.best_subset(kappa, 4)
    assert found.picks == expected.picks
    assert found.value == pytest.approx(expected.value, rel=1e-3)


def test_twin_is_called_alike() -> None:
    assert parameters(best_subset) == parameters(literal.best_subset)


@STEADY
@given(seed=seeds, m=st.integers(3, 30), k=st.integers(1, 6), patience=st.integers(0, 3))
def test_a_stopped_search_is_honest(seed: int, m: int, k: int, patience: int) -> None:
    kappa, polled = random_kappa(seed, m), count()
    stopped = best_subset(kappa, min(k, m), stop=lambda: next(polled) >= patience)
    best = best_subset(kappa, min(k, m))
    assert stopped.value == pytest.approx(Information(kappa)(stopped.picks), abs=1e-9)
    assert stopped.value <= best.value + 1e-9
    assert stopped.bound >= best.value - 1e-9
    assert stopped.bound >= stopped.value
    assert stopped.value >= max_mutual_information(kappa, min(k, m)).total - 1e-9
    assert stopped.proven == (stopped.bound <= stopped.value + 1e-9)


def test_a_search_can_be_stopped_before_it_has_proven_anything() -> None:
    stopped = best_subset(random_kappa(0, 60), 12, stop=lambda: True)
    assert not stopped.proven
    assert stopped.value < stopped.bound < np.inf


@STEADY
@given(seed=seeds, m=st.integers(3, 9))
def test_copies_change_nothing(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.append(np.arange(m), rng.integers(m, size=3))
    kappa = random_kappa(seed, m)
    with_copies, without = best_subset(kappa[np.ix_(rows, rows)], 2), best_subset(kappa, 2)
    assert (with_copies.picks, with_copies.value) == (without.picks, pytest.approx(without.value))
    last = best_subset(kappa[np.ix_(rows, rows)], 2, include=[m])
    assert m in last.picks
    assert last.value == pytest.approx(best_subset(kappa, 2, include=[rows[m]]).value)


def test_near_copies_are_merged_on_request() -> None:
    kappa = np.array([[1, 0.97, 0, 0], [0.97, 1, 0, 0], [0, 0, 1, 0.6], [0, 0, 0.6, 1]])
    assert best_subset(kappa, 1).picks[0] in (0, 1)
    assert best_subset(kappa, 1, tolerance=0.05).picks[0] in (2, 3)


@pytest.mark.parametrize(
    ("k", "terms", "message"),
    [
        (0, {}, "cannot pick 0 of 5"),
        (6, {}, "cannot pick 6 of 5"),
        (2, {"include": [1], "exclude": [1]}, "both included and excluded"),
        (2, {"include": [7]}, "no checkpoint 7"),
    ],
)
def test_terms_that_make_no_sense_are_refused(k: int, terms: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        best_subset(random_kappa(0, 5), k, **terms)


def test_an_indefinite_covariance_is_refused() -> None:
    with pytest.raises(DegenerateInputError, match="smallest eigenvalue"):
        best_subset(np.array([[1, 1.5], [1.5, 1]]), 1)


@pytest.mark.skipif("ZOO_SHARED" not in os.environ, reason="ZOO_SHARED names no folder with published data")
def test_the_picks_of_the_paper_are_nearly_the_best() -> None:
    """One near-copy, longformer-base for roberta-base, is all that the best five have better."""
    folder = Path(os.environ["ZOO_SHARED"]) / "data" / "kappa"
    kappa = np.load(folder / "kappa.npy")
    names = (folder / "names.txt").read_text().split()
    greedy, best = max_mutual_information(kappa, 5), best_subset(kappa, 5)
    assert best.proven
    changed = {names[pick] for pick in set(greedy.picks) ^ set(best.picks)}
    assert {name.split("/")[-1].split("-")[0] for name in changed} == {"roberta", "longformer"}
    assert 0.999 < greedy.total / best.value < 1
