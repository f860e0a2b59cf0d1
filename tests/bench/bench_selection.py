"""Greedy choice against its twin: OMP_NUM_THREADS=1 python -m tests.bench.bench_selection."""

from functools import partial

from tests.bench import compare
from tests.reference import selection as literal
from tests.reference.examples import random_kappa
from zookeeper.selection import greedy_mmi


def main() -> None:
    for m, k in [(34, 5), (34, 17), (100, 5), (100, 20), (200, 5)]:
        kappa = random_kappa(0, m)
        compare(
            f"selection m={m} k={k}", partial(greedy_mmi, kappa, k), partial(literal.greedy_mmi, kappa, k)
        )


if __name__ == "__main__":
    main()
