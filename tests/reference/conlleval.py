"""Chunks as the evaluation of CoNLL-2000 finds them: tag by tag, by rules for where one ends and one starts.

Written from the definition that goes with Tjong Kim Sang and Buchholz 2000, https://aclanthology.org/W00-0726;
E and S, which that task does not have, end a chunk, and S starts one.
"""

from __future__ import annotations

from collections.abc import Sequence

Chunk = tuple[str, int, int]
"""Type, first and last word."""


def chunks(sentences: Sequence[Sequence[str]]) -> set[Chunk]:
    """The chunks of tagged sentences, their words numbered through."""
    found: set[Chunk] = set()
    position = 0
    for tags in sentences:
        started: int | None = None
        # The tag before a sentence and the one after it are outside.
        for i, (before, now) in enumerate(zip(["O", *tags], [*tags, "O"], strict=True)):
            if started is not None and ends(before, now):
                found.add((before[2:], started, position + i - 1))
                started = None
            if starts(before, now):
                started = position + i
        position += len(tags)
    return found


def ends(before: str, now: str) -> bool:
    """Whether a chunk ends between two tags."""
    if before == "O":
        return False
    if now == "O" or before[2:] != now[2:]:
        return True
    if before[0] in "ES":
        return True
    return now[0] in "BS"


def starts(before: str, now: str) -> bool:
    """Whether a chunk starts with the second of two tags."""
    if now == "O":
        return False
    if before == "O" or before[2:] != now[2:]:
        return True
    if before[0] in "ES":
        return True
    return now[0] in "BS"


def f1(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """Harmonic mean of precision and recall of chunks; 0 where there are none."""
    made, true = chunks(predictions), chunks(references)
    right = len(made & true)
    if not right:
        return 0.0
    precision, recall = right / len(made), right / len(true)
    return 2 * precision * recall / (precision + recall)
