"""Which examples make a step: a function of sizes and seed alone, whoever computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Examples = NDArray[np.int64]
Step = tuple[Examples, ...]

_CHUNK = 1024


def steps(sizes: NDArray[np.int64], budget: int, micro_batches: int, seed: Sequence[int]) -> list[Step]:
    """The steps of a pass, each of `micro_batches` micro-batches; the last ones of one of them may be empty.

    Examples are shuffled, sorted by size within chunks of 1,024 for each of a step's micro-batches, up and
    down in turn, and cut into micro-batches of which the largest example times their number stays within the
    budget, so that little is padded; then the steps are shuffled.

    Args:
        sizes: (n,) of the examples.
        budget: of a micro-batch, in the same unit; a larger example makes one of its own.
        micro_batches: of a step.
        seed: of both shuffles.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    chunk = _CHUNK * micro_batches
    chunks = np.split(order, range(chunk, len(order), chunk))
    up = [some[np.argsort(sizes[some], kind="stable")] for some in chunks]
    micro = cut(np.concatenate([some[::-1] if i % 2 else some for i, some in enumerate(up)]), sizes, budget)
    nothing = np.zeros(0, dtype=np.int64)
    grouped = [
        (*micro[i : i + micro_batches], *[nothing] * (i + micro_batches - len(micro)))
        for i in range(0, len(micro), micro_batches)
    ]
    return [grouped[i] for i in rng.permutation(len(grouped))]


def cut(ordered: Examples, sizes: NDArray[np.int64], budget: int) -> list[Examples]:
    """Examples in pieces of which the largest size times the number is within the budget, in their order."""
    pieces: list[Examples] = []
    first = 0
    largest = 0
    for i, size in enumerate(sizes[ordered].tolist()):
        if i > first and max(largest, size) * (i + 1 - first) > budget:
            pieces.append(ordered[first:i])
            first, largest = i, 0
        largest = max(largest, size)
    if first < len(ordered):
        pieces.append(ordered[first:])
    return pieces
