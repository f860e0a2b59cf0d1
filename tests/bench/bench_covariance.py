"""Task covariance against its twin: OMP_NUM_THREADS=1 python -m tests.bench.bench_covariance."""

from functools import partial

import numpy as np

from tests.bench import compare
from tests.reference import kernels as literal
from zookeeper.kernels import covariance


def main() -> None:
    for m, n, d in [(4, 300, 64), (8, 300, 64), (8, 300, 768), (3, 1000, 64), (3, 1000, 768)]:
        rng = np.random.default_rng(0)
        sets = [rng.normal(size=(n, d)) for _ in range(m)]
        compare(f"covariance m={m} n={n} d={d}", partial(covariance, sets), partial(literal.covariance, sets))


if __name__ == "__main__":
    main()
