"""NCE, as in Tran, Nguyen, Hassner 2019, https://arxiv.org/abs/1908.08142: -H(Y|Z) of two label sequences."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray


def nce(source_labels: NDArray[Any], labels: NDArray[Any]) -> float:
    """sum_z P(z) sum_y P(y|z) log P(y|z), by counting."""
    pairs = list(zip(source_labels.tolist(), labels.tolist(), strict=True))
    total = 0.0
    for z in {z for z, _ in pairs}:
        given = [y for other, y in pairs if other == z]
        for y in set(given):
            p = given.count(y) / len(given)
            total += len(given) / len(pairs) * p * math.log(p)
    return total
