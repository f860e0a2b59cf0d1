"""Choice for one target against its twin: OMP_NUM_THREADS=1 python -m tests.bench.bench_targeted."""

import numpy as np

from tests.bench import compare
from tests.reference import targeted as literal
from zookeeper.evidence import Evidence, evidence_of
from zookeeper.labels import Labels
from zookeeper.targeted import Stack, max_evidence


def zoo(m: int, n: int, d: int, classes: int) -> list[Evidence]:
    """Checkpoints that mix the same sources differently, some of which the labels depend on."""
    rng = np.random.default_rng(0)
    sources = rng.normal(size=(n, 32))
    labels = Labels.of((sources @ rng.normal(size=(32, classes))).argmax(axis=1))
    mixes = [rng.exponential(size=(32, 1)) * rng.normal(size=(32, d)) for _ in range(m)]
    found = [evidence_of(sources @ mix + rng.normal(size=(n, d)), labels) for mix in mixes]
    for checkpoint in found:
        _ = checkpoint.statistics.moments.spectrum  # the ranking has it
    return found


def main() -> None:
    for m, d, k in [(18, 128, 3), (18, 128, 5), (34, 256, 5)]:
        checkpoints = zoo(m, 2048, d, 19)
        compare(
            f"evidence m={m} d={d} k={k}",
            lambda of=checkpoints, k=k: max_evidence(Stack.of(of), k),
            lambda of=checkpoints, k=k: literal.max_evidence(literal.Stack.of(of), k),
            pairs=3,
        )


if __name__ == "__main__":
    main()
