"""How fast the store writes, reads, hashes and is indexed again; run by hand.

    python -m tests.bench.bench_store [FOLDER] [--megabytes N]

The zoo is made in a folder of its own in FOLDER, or where temporary files go. Hashing is compared with plain
`hashlib.file_digest` over the same file, in turn; both find it in memory where there is enough.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from zookeeper.records import FeatureKey, FeatureSet, Reading
from zookeeper.store import Store

MIB = 1 << 20
MANY = 500


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=None)
    parser.add_argument("--megabytes", type=int, default=1024)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as root:
        large = Store(Path(root, "home"), Path(root, "cache"))
        show("a draft of large features", f"{drafted(large, given.megabytes):8.0f} MiB/s")
        hashing(large)
        small = Store(Path(root, "small"), Path(root, "small", "cache"))
        show("save of 200 kB", f"{1e3 * saved(small, 200):8.1f} ms")
        many = Store(Path(root, "many"), Path(root, "many", "cache"))
        for number in range(MANY):
            many.save(features(number, 1, 4), {"features": np.ones((1, 4), np.float32)})
        show("rebuilding the index", f"{MANY / seconds(many.rebuild):8.0f} entries/s")
        show("listing, indexed", f"{MANY / seconds(lambda: many.all(FeatureSet)):8.0f} entries/s")
        many.index_path.unlink()
        bare = Store(many.home, many.cache)
        show("listing, without an index", f"{MANY / seconds(lambda: bare.all(FeatureSet)):8.0f} entries/s")
        show("verifying small ones", f"{MANY / seconds(many.verify):8.0f} entries/s")


def features(number: int, n: int, d: int) -> FeatureSet:
    """Of a checkpoint of that number, (n, d)."""
    key = FeatureKey("org/name", f"{number:040x}", "0" * 64, Reading(pooling="last"))
    return FeatureSet(key, n_rows=n, dimension=d, n_empty=0, size=4 * n * d, source="probe")


def drafted(store: Store, megabytes: int) -> float:
    """MiB/s of a draft that is filled in blocks and kept; says how much memory that took."""
    n, d, block = megabytes * MIB // 4 // 1024, 1024, 4096
    made, rows = features(0, n, d), np.ones((block, d), np.float32)
    before, started = memory(), perf_counter()
    with store.draft(FeatureSet, made.key.digest) as draft:
        room = draft.arrays({"features": ((n, d), np.float32)})["features"]
        for start in range(0, n, block):
            room[start : start + block] = rows[: n - start]
            draft.relieve()
        filled = memory()
        draft.keep(made)
    taken = perf_counter() - started
    show("memory while it was filled", f"{filled - before:8.0f} MiB of {megabytes}")
    return megabytes / taken


def hashing(store: Store) -> None:
    """Print MiB/s of `Store.verify` beside those of hashlib, over the same bytes."""
    (stored,) = store.all(FeatureSet)
    file = store.array_file(FeatureSet, stored.key.digest)
    copy = replace(stored, key=replace(stored.key, commit="1" * 40))
    store.save(copy, store.arrays(FeatureSet, stored.key.digest))

    def plainly() -> None:
        for found in (stored, copy):
            with store.array_file(FeatureSet, found.key.digest).path.open("rb") as opened:
                hashlib.file_digest(opened, "sha256")

    plainly()
    pairs = [(seconds(plainly), seconds(store.verify)) for _ in range(3)]
    size = 2 * file.size / MIB
    show("hashlib, two files", f"{size / median(plain for plain, _ in pairs):8.0f} MiB/s")
    show("verify, the same", f"{size / median(ours for _, ours in pairs):8.0f} MiB/s")


def saved(store: Store, kilobytes: int) -> float:
    """Seconds of one save."""
    array = np.ones((kilobytes, 250), np.float32)
    taken = []
    for number in range(50):
        made = features(number, *array.shape)
        taken.append(seconds(lambda made=made: store.save(made, {"features": array})))  # type: ignore[misc]
    return median(taken)


def seconds(function: Callable[[], object]) -> float:
    """Of one call."""
    started = perf_counter()
    function()
    return perf_counter() - started


def memory() -> float:
    """MiB that this process took at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show(title: str, figure: str) -> None:
    """A line."""
    sys.stdout.write(f"{title:34}{figure}\n")


if __name__ == "__main__":
    main()
