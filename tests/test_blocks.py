"""Pictures of block characters."""

from __future__ import annotations

import numpy as np
import pytest
from rich.cells import cell_len

from tests.reference.examples import Array, random_kappa
from zookeeper.cli.blocks import cut, kappa_map, spark

WIDE = "a-name-of-more-than-thirty-letters-{}"


def test_a_line_for_each_checkpoint_in_the_order_asked_for() -> None:
    kappa = np.array([[1, 0.45, 0.1], [0.45, 1, 0.7], [0.1, 0.7, 1]])
    assert kappa_map(["gpt", "bert-base", "t5"], kappa, [2, 1, 0]) == [
        "       t5 ██▓▓",
        "bert-base ▓▓██▒▒",
        "      gpt   ▒▒██",
    ]


@pytest.mark.parametrize(
    ("kappa", "shade"),
    [(-0.2, " "), (0, " "), (0.19, " "), (0.2, "░"), (0.4, "▒"), (0.6 - 1e-12, "▓"), (0.8, "█"), (1.0, "█")],
)
def test_shades_change_at_every_fifth(kappa: float, shade: str) -> None:
    drawn = kappa_map(["a", "b"], np.array([[1, kappa], [kappa, 1]]), [0, 1])
    assert drawn[0] == f"a ██{2 * shade}".rstrip()


@pytest.mark.parametrize(("m", "columns"), [(1, 2), (24, 2), (25, 1), (45, 1)])
def test_cells_are_as_wide_as_a_terminal_allows(m: int, columns: int) -> None:
    drawn = kappa_map([WIDE.format(i) for i in range(m)], np.ones((m, m)), range(m))
    assert len(drawn) == m
    assert {cell_len(line) for line in drawn} == {30 + 1 + columns * m}
    assert {line.count("█") for line in drawn} == {columns * m}
    assert max(map(cell_len, drawn)) <= 80


def test_too_many_are_not_drawn_but_sent_to_a_picture() -> None:
    (line,) = kappa_map([WIDE.format(i) for i in range(60)], np.ones((60, 60)), range(60))
    assert "60 checkpoints are too many" in line
    assert "zoo plot kappa -o kappa.png" in line
    assert len(line) <= 80


@pytest.mark.parametrize("width", [40, 120, 200])
def test_lines_are_no_wider_than_the_terminal(width: int) -> None:
    names = [f"checkpoint-{i}" for i in range(20)]
    assert max(map(cell_len, kappa_map(names, np.ones((20, 20)), range(20), width))) <= max(width, 79)


def test_names_are_aligned_whatever_they_are_written_in() -> None:
    names = ["gpt", "模型", "a\nb", "😀\x1b[31m", "a" * 60, "模型" * 20]
    drawn = kappa_map(names, np.ones((6, 6)), range(6))
    assert {cell_len(line) for line in drawn} == {30 + 1 + 12}
    assert not any(char in line for line in drawn for char in "\n\x1b")


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("short", 5, "short"),
        ("abcdefghij", 7, "abc…hij"),
        ("abcdefghij", 6, "abc…ij"),
        ("模型模型模型", 7, "模型…型"),
        ("模型模型模型", 6, "模 …型"),
    ],
)
def test_long_names_lose_their_middle(text: str, columns: int, expected: str) -> None:
    assert cut(text, columns) == expected
    assert cell_len(expected) <= columns


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([2.45, 1.27, 0.92, 0.75, 0.50], "█▅▄▃▂"),
        ([7, 6, 5, 4, 3, 2, 1, 0], "█▇▆▅▄▃▂▁"),
        ([3, 3, 3], "███"),
        ([0, 0], "▁▁"),
        ([1, -5], "█▁"),
        ([-1, -2], "▁▁"),
    ],
)
def test_spark(values: list[float], expected: str) -> None:
    assert spark(values) == expected


def test_leaves_its_input_alone() -> None:
    kappa: Array = random_kappa(0, 5)
    kappa_map(list("abcde"), kappa, range(5))
    assert (kappa == random_kappa(0, 5)).all()
