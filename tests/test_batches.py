"""Steps: every example once, within the budget, the same for whoever computes them, and little padded."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference.examples import STEADY, seeds

from zookeeper.tuning.batches import Examples, cut, steps

Sizes = NDArray[np.int64]

some_sizes = st.lists(st.integers(1, 90), max_size=200).map(lambda sizes: np.array(sizes, dtype=np.int64))
budgets = st.integers(1, 200)
numbers = st.integers(1, 5)


def skewed(n: int, seed: int = 0) -> Sizes:
    """Sizes as of sentences: most are short, few are long."""
    return 1 + np.random.default_rng(seed).lognormal(3, 0.8, size=n).astype(np.int64)


def padding(pieces: list[Examples], sizes: Sizes) -> float:
    """Share of what goes through that is padding."""
    room = sum(len(piece) * sizes[piece].max() for piece in pieces if len(piece))
    return 1 - sizes.sum() / room


@STEADY
@given(some_sizes, budgets, numbers, seeds)
def test_every_example_is_in_one_micro_batch(sizes: Sizes, budget: int, number: int, seed: int) -> None:
    made = steps(sizes, budget, number, [seed])
    examples = [int(i) for step in made for micro in step for i in micro]
    assert sorted(examples) == list(range(len(sizes)))


@STEADY
@given(some_sizes, budgets, numbers, seeds)
def test_step_has_its_micro_batches_and_only_the_last_of_one_are_empty(
    sizes: Sizes, budget: int, number: int, seed: int
) -> None:
    made = steps(sizes, budget, number, [seed])
    assert all(len(step) == number for step in made)
    filled = [[len(micro) > 0 for micro in step] for step in made]
    assert all(step == sorted(step, reverse=True) and step[0] for step in filled)
    assert sum(not all(step) for step in filled) <= 1


@STEADY
@given(some_sizes, budgets, numbers, seeds)
def test_budget_is_kept_but_by_single_examples(sizes: Sizes, budget: int, number: int, seed: int) -> None:
    for step in steps(sizes, budget, number, [seed]):
        for micro in step:
            assert len(micro) <= 1 or len(micro) * sizes[micro].max() <= budget


@STEADY
@given(some_sizes, budgets, numbers, seeds)
def test_steps_are_those_of_sizes_and_seed(sizes: Sizes, budget: int, number: int, seed: int) -> None:
    before = sizes.copy()
    first, again = (steps(sizes, budget, number, [seed, 1]) for _ in range(2))
    assert [[m.tolist() for m in step] for step in first] == [[m.tolist() for m in step] for step in again]
    assert np.array_equal(sizes, before)


def test_passes_and_seeds_differ() -> None:
    made = [steps(skewed(500), 64, 2, key) for key in ([0, 1], [0, 2], [1, 1], [1, 2])]
    assert len({tuple(np.concatenate([micro for step in one for micro in step])) for one in made}) == 4


def test_nothing_makes_no_step() -> None:
    assert steps(np.zeros(0, dtype=np.int64), 10, 2, [0]) == []
    assert cut(np.zeros(0, dtype=np.int64), np.ones(3, dtype=np.int64), 10) == []


def test_huge_example_stands_alone_and_splits_no_others() -> None:
    sizes = np.array([2] * 10 + [1000])
    micro = [sorted(m.tolist()) for step in steps(sizes, 20, 1, [3]) for m in step]
    assert sorted(micro) == [list(range(10)), [10]]


@pytest.mark.parametrize("budget", [1000, 3000, 5000])
def test_equal_examples_fill_every_micro_batch_but_one(budget: int) -> None:
    micro = [m for step in steps(np.ones(10_000, dtype=np.int64), budget, 2, [0]) for m in step if len(m)]
    assert sorted(map(len, micro), reverse=True)[: 10_000 // budget] == [budget] * (10_000 // budget)
    assert len(micro) == -(-10_000 // budget)


def test_little_is_padded() -> None:
    sizes = skewed(5000)
    shuffled = cut(np.random.default_rng(0).permutation(5000), sizes, 2048)
    made = [m for step in steps(sizes, 2048, 2, [0]) for m in step]
    assert padding(made, sizes) < 0.12
    assert padding(shuffled, sizes) > 0.4


def test_long_and_short_steps_take_turns() -> None:
    sizes = skewed(5000)
    means = [sizes[step[0]].mean() for step in steps(sizes, 2048, 2, [0])]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


@STEADY
@given(some_sizes, budgets, seeds)
def test_pieces_are_the_examples_in_their_order(sizes: Sizes, budget: int, seed: int) -> None:
    ordered = np.random.default_rng(seed).permutation(len(sizes))
    pieces = cut(ordered, sizes, budget)
    assert [int(i) for piece in pieces for i in piece] == ordered.tolist()
    assert all(len(piece) for piece in pieces)
    for piece, after in pairwise(pieces):
        assert len(piece) == 1 or len(piece) * sizes[piece].max() <= budget
        assert (len(piece) + 1) * max(sizes[piece].max(), sizes[after[0]]) > budget
