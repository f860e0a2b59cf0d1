"""Covariance against the way it was published, and its errors against resampling.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_covariance [--full]

The published code (Huang, Qiu, Church, NeurIPS 2021) reads the features of the second set again for every
pair, and multiplies F_i^T F_j, F_i^T F_i and F_j^T F_j in single precision. Both sides read the same files;
its features are centred already. With --full, the 34 sets of 10,000 words of the paper, some minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np

from tests.bench import compare
from tests.reference import uncertainty as literal
from tests.reference.examples import Array
from zookeeper.kernels import centred, covariance
from zookeeper.uncertainty import jackknife, reduced

SIZES = {"primal": (10, 10_000, 768), "dual": (40, 4_000, 384)}
FULL = (34, 10_000, 768)
WORDS = 25


def published(files: list[Path]) -> Array:
    """(m, m), a pair at a time."""
    m = len(files)
    kappa = np.ones((m, m))
    for i in range(m):
        X = np.load(files[i])
        for j in range(i + 1, m):
            Y = np.load(files[j])
            products = (X.T @ Y, X.T @ X, Y.T @ Y)
            cross, left, right = (np.square(product).sum(dtype=np.float64) for product in products)
            kappa[i, j] = kappa[j, i] = cross / np.sqrt(left * right)
    return kappa


def probed(folder: Path, m: int, n: int, d: int) -> list[Path]:
    """Files of m centred sets (n, d) whose spectra decay as those of language models do."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(n, 64))
    files = []
    for i in range(m):
        features = shared @ rng.normal(size=(64, d)) + 4 * rng.normal(size=(n, d))
        files.append(folder / f"{m}-{n}-{d}-{i}.npy")
        np.save(files[-1], centred((features * np.arange(1, d + 1) ** -0.5).astype(np.float32)))
    return files


def against_published(title: str, m: int, n: int, d: int) -> None:
    """Time of both, and how far they differ from each other and from double precision."""
    with tempfile.TemporaryDirectory() as folder:
        files = probed(Path(folder), m, n, d)
        found: dict[str, Array] = {}

        def ours() -> None:
            found["ours"] = covariance([np.load(file, mmap_mode="r") for file in files]).matrix

        def theirs() -> None:
            found["theirs"] = published(files)

        compare(f"{title} m={m} n={n} d={d}", ours, theirs, pairs=1)
        few = [np.load(file).astype(np.float64) for file in files[:4]]
        exact = covariance(few).matrix
        apart = np.abs(found["ours"] - found["theirs"]).max()
        errors = (f"{side} {np.abs(found[side][:4, :4] - exact).max():.1e}" for side in ("theirs", "ours"))
        sys.stdout.write(f"{'':34}apart {apart:.1e}; from double precision: {', '.join(errors)}\n")


def within_memory() -> None:
    """Peak of what is allocated for 24 sets, beside the limit that was given."""
    with tempfile.TemporaryDirectory() as folder:
        files = probed(Path(folder), 24, 10_000, 128)
        for limit in (2**32, 2**25, 2**24):
            tracemalloc.start()
            covariance([partial(np.load, file, mmap_mode="r") for file in files], memory=limit)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            sys.stdout.write(
                f"{f'features of 123 MB, limit {limit / 1e6:.0f} MB':44}peak {peak / 1e6:.0f} MB\n"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    if parser.parse_args().full:
        against_published("paper", *FULL)
        return
    for title, sizes in SIZES.items():
        against_published(title, *sizes)
    within_memory()
    rng = np.random.default_rng(0)
    lengths = np.full(400, WORDS)
    shared = rng.normal(size=(10_000, 8))
    wide = rng.normal(size=(10_000, 768)).astype(np.float32)
    sets = [
        (shared @ rng.normal(size=(8, 32)) + rng.normal(size=(10_000, 32))).astype("f4") for _ in range(34)
    ]
    compare("jackknife m=34 n=10000 d=32", partial(jackknife, sets, lengths), partial(reduced, wide, 32))
    sys.stdout.write(f"{'':34}(first: the components of one set of d=768)\n")
    few = [features[:1000] for features in sets[:4]]
    compare(
        "standard error m=4 n=1000 d=32",
        lambda: jackknife(few, lengths[:40]).standard_error,
        partial(literal.standard_error, few, lengths[:40]),
    )


if __name__ == "__main__":
    main()
