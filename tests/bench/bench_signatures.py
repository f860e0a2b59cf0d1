"""Signatures against exact alignment as published: OMP_NUM_THREADS=1 python -m tests.bench.bench_signatures.

The published way takes a pair at a time: it reads the features of the second from disk again, and makes three
products in single precision. A sample of the 561 pairs is timed and scaled up.
"""

import sys
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
from numpy.typing import NDArray

from tests.bench import seconds
from zookeeper.signatures import Basis, Signature, estimate, nearest, row, screen, signature

Singles = NDArray[np.float32]

CHECKPOINTS, ROWS, WIDTH, PAIRS = 34, 10_000, 768, 24
FAMILIES, VOCABULARY = 6, 4_000


def published(left: Singles, path: Path) -> float:
    """Alignment of features that are at hand, and centred, with those in a file."""
    right = np.load(path)
    right -= right.mean(axis=0)
    cross = np.linalg.norm(left.T @ right) ** 2
    return float(cross / (np.linalg.norm(left.T @ left) * np.linalg.norm(right.T @ right)))


def exact(paths: list[Path]) -> NDArray[np.float64]:
    """Alignment of all pairs, of features in files, each of which is read once."""
    units = []
    for path in paths:
        features = np.load(path)
        features -= features.mean(axis=0)
        units.append(features / np.sqrt(np.linalg.norm(features.T @ features)))
    kappa = np.eye(len(units))
    for i, left in enumerate(units):
        for j, right in enumerate(units[:i]):
            kappa[i, j] = kappa[j, i] = np.linalg.norm(left.T @ right) ** 2
    return kappa


def language_models(m: int, n: int, d: int, seed: int = 0) -> Iterator[Singles]:
    """Features of checkpoints on a probe of n words, as those of language models are.

    Words are Zipf distributed, and their contexts neighbours; a checkpoint shares its directions with all,
    with its family, and with none; the spectra are power laws; three dimensions of each are eight times as
    wide as the others, and all are several standard deviations from zero.
    """
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    words = rng.choice(VOCABULARY, size=n, p=frequency / frequency.sum())

    def directions() -> Singles:
        context = rng.standard_normal((n, d), dtype=np.float32)
        context[1:] += context[:-1]
        table = rng.standard_normal((VOCABULARY, d), dtype=np.float32)
        return np.asarray(table[words] + np.float32(0.7) * context)

    shared, families = directions(), [directions() for _ in range(FAMILIES)]
    for number in range(m):
        all_, family, own = np.sqrt(rng.dirichlet([3, 3, 2])).astype(np.float32)
        spectrum = np.arange(1, d + 1) ** -rng.uniform(0.4, 0.9)
        X = all_ * shared + family * families[number % FAMILIES] + own * directions()
        X = (X * spectrum.astype(np.float32)) @ rng.standard_normal((d, d), dtype=np.float32)
        X[:, rng.choice(d, 3, replace=False)] *= 8
        yield X + X.std(axis=0) * rng.normal(scale=3, size=d).astype(np.float32)


def compare_with_pairs(paths: list[Path]) -> None:
    """Time, error and memory of signatures of files, beside the exact alignment."""
    load = [partial(np.load, path) for path in paths]
    m = len(paths)
    rng = np.random.default_rng(0)
    pair = []
    for i, j in rng.integers(0, m, size=(PAIRS, 2)):
        left = load[i]()
        left -= left.mean(axis=0)
        pair.append(seconds(partial(published, left, paths[j])))
    all_pairs = median(pair) * m * (m - 1) / 2
    line("published way, a pair, median", median(pair), "")
    line("published way, all pairs, scaled up", all_pairs, "")
    kappa = exact(paths)
    for anchors in (load, load[::3]):
        started = process_time()
        basis = Basis.fit(anchors)
        fitted = process_time()
        signatures = [signature(features(), basis) for features in load]
        signed = process_time()
        estimated, _ = estimate(signatures)
        ended = process_time()
        title = f"signatures, basis of {len(anchors)}"
        line(title, ended - started, f"{all_pairs / (ended - started):.1f} x")
        line("  of which the basis", fitted - started, "")
        line("  of which signing", signed - fitted, f"{(signed - fitted) / m:.3f} s each")
        added = median(seconds(partial(add, features, basis, signatures)) for features in load[:7])
        line("  one more checkpoint", added, f"{median(pair) * m / added:.1f} x")
        wrong = np.abs(estimated - kappa)
        sys.stdout.write(
            f"  error: largest {wrong.max():.4f}, rms {np.sqrt((wrong**2).mean()):.5f}; largest residual "
            f"{max(s.residual for s in signatures):.2f}; smallest eigenvalue "
            f"{np.linalg.eigvalsh(estimated)[0]:.3g}; {signatures[0].vector.nbytes / 1000:.0f} kB each\n"
        )
    tracemalloc.start()
    features = load[0]()
    before = tracemalloc.get_traced_memory()[0]
    signature(features, Basis(basis.vectors, basis.t, basis.seed))
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    sys.stdout.write(f"  signing takes {peak / 2**20:.0f} MiB beside the features\n")


def add(load: partial[Singles], basis: Basis, others: list[Signature]) -> None:
    """Sign one more checkpoint, and compare it with the others."""
    row(signature(load(), basis), others)


def search(m: int = 100_000, size: int = 1024) -> None:
    """One signature against many, of which the screens are at hand."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 98_432), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    some = [Signature(vector.astype(np.float16), 0.3, 256) for vector in vectors]
    screens = rng.standard_normal((m, size), dtype=np.float32) / np.float32(np.sqrt(size))
    screens[:300] = [screen(each) for each in some]
    spent = seconds(partial(nearest, some[0], screens, lambda found: (some[i % 300] for i in found), 10))
    line(f"nearest of {m}", spent, "")


def line(title: str, spent: float, remark: str) -> None:
    """Print a time."""
    sys.stdout.write(f"{title:40}{spent:10.3f} s   {remark}\n")


def main() -> None:
    """Write the zoo to a temporary folder, and measure."""
    with TemporaryDirectory() as folder:
        paths = []
        for number, features in enumerate(language_models(CHECKPOINTS, ROWS, WIDTH)):
            paths.append(Path(folder) / f"{number}.npy")
            np.save(paths[-1], features)
        compare_with_pairs(paths)
    search()


if __name__ == "__main__":
    main()
