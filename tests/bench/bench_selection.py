"""Greedy and best choice against their twins: OMP_NUM_THREADS=1 python -m tests.bench.bench_selection.

Where ZOO_SHARED names a folder with the published kappa, the best choice is looked for in that too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np

from tests.bench import compare
from tests.reference import optimum as literal_optimum
from tests.reference import selection as literal
from tests.reference.examples import Array, random_kappa
from zookeeper.optimum import best_subset
from zookeeper.selection import Information, LowRank, max_mutual_information


def once(title: str, function: Callable[[], object]) -> None:
    started = process_time()
    function()
    sys.stdout.write(f"{title:34}{process_time() - started:27.3f} s\n")


def low_rank(m: int, r: int) -> LowRank:
    factors = np.random.default_rng(0).standard_normal((m, r))
    factors /= np.sqrt(np.einsum("mr,mr->m", factors, factors))[:, None]
    return LowRank(factors, 0.1)


def best(title: str, kappa: Array, sizes: range | list[int]) -> None:
    for k in sizes:
        once(f"best of {title} k={k}", partial(best_subset, kappa, k))


def as_published(kappa: Array, k: int) -> list[int]:
    """The choice as the published code makes it: two inverses for every candidate of every step."""

    def variance(y: int, known: list[int]) -> float:
        across = kappa[y, known]
        return float(kappa[y, y] - across @ np.linalg.inv(kappa[np.ix_(known, known)]) @ across)

    picks: list[int] = []
    for _ in range(k):
        rest = [y for y in range(len(kappa)) if y not in picks]
        picks.append(max(rest, key=lambda y: variance(y, picks) / variance(y, [v for v in rest if v != y])))
    return picks


def main() -> None:
    for m, k in [(34, 5), (100, 5), (200, 5)]:
        kappa = random_kappa(0, m)
        assert max_mutual_information(kappa, k).picks == tuple(as_published(kappa, k))
        compare(
            f"selection m={m} k={k}, published",
            partial(max_mutual_information, kappa, k),
            partial(as_published, kappa, k),
        )
    for m, k in [(34, 5), (34, 17), (100, 5), (100, 20), (200, 5)]:
        kappa = random_kappa(0, m)
        compare(
            f"selection m={m} k={k}",
            partial(max_mutual_information, kappa, k),
            partial(literal.max_mutual_information, kappa, k),
        )
    once("selection m=5000 k=50", partial(max_mutual_information, random_kappa(0, 5000), 50))
    once("low rank m=1e6 r=128 k=10", partial(max_mutual_information, low_rank(1_000_000, 128), 10))
    kappa = random_kappa(0, 34)
    information = Information(kappa)
    once(
        "information of 1,000 sets of 5",
        lambda: [information(range(5)) for _ in range(1000)],
    )
    compare(
        "best m=34 k=4",
        partial(best_subset, kappa, 4),
        partial(literal_optimum.best_subset, kappa, 4),
        pairs=1,
    )
    best("random m=34", kappa, [5, 8, 10])
    if "ZOO_SHARED" in os.environ:
        published = np.load(Path(os.environ["ZOO_SHARED"]) / "data" / "kappa" / "kappa.npy")
        compare(
            "best of the paper's kappa k=5",
            partial(best_subset, published, 5),
            partial(literal_optimum.best_subset, published, 5),
            pairs=1,
        )
        best("the paper's kappa", published, [5, 8, 10, 12, 15])


if __name__ == "__main__":
    main()
