"""Scores of features in memory: OMP_NUM_THREADS=1 python -m tests.bench.bench_scores."""

import sys
import tracemalloc
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tests.bench import compare, seconds
from tests.reference.fixed_point import fixed_point
from zookeeper.evidence import Evidence, Sample
from zookeeper.gathering import SAMPLE_ROWS
from zookeeper.labels import Labels
from zookeeper.resampling import draws, replicates
from zookeeper.scores import SCORES, logme
from zookeeper.scores.logme import fit
from zookeeper.statistics import Moments, Statistics, shared_statistics, statistics

CLASSES = 23


def problem(n: int, d: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features that lean towards their classes, which are as uneven as words."""
    rng = np.random.default_rng(0)
    labels = np.minimum(rng.zipf(1.5, size=n) - 1, CLASSES - 1)
    centres = rng.normal(size=(CLASSES, d)) / 4
    return (rng.normal(size=(n, d)) + centres[labels]).astype(np.float32), labels


def eight(features: NDArray[np.float32], labels: list[NDArray[np.int64]]) -> list[float]:
    """Eight targets on the same words."""
    return [fit(known).score for known in shared_statistics(features, [Labels.of(y) for y in labels])]


def evidence(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Evidence:
    """As a pass leaves it, nothing of it decomposed."""
    y = Labels.of(labels)
    known = statistics(features, labels)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(labels))[:SAMPLE_ROWS])
    null = y[rng.permutation(len(labels))]
    sample = Sample(features[rows].astype(np.float64), y[rows], np.arange(len(rows)) // 24)
    cross = null.cross(features.astype(np.float64))
    return Evidence(known, sample, cross, null[rows])


def fresh(known: Evidence) -> Evidence:
    """The same, with what was decomposed forgotten."""
    m = known.statistics.moments
    moments = Moments(m.n, m.gram, m.total, m.cubic, m.quartic)
    s = known.statistics
    statistics_ = Statistics(moments, s.cross, s.totals, s.squares, s.classes)
    return Evidence(statistics_, known.sample, known.null_cross, known.null_labels)


def main() -> None:
    for n in (5_000, 20_000, 200_000):
        X, y = problem(n, 768)
        compare(f"logme n={n} d=768 c=23", partial(logme, X, y), partial(fixed_point, X, y), pairs=3)
        sys.stdout.write(f"{'':34}difference {abs(logme(X, y) - fixed_point(X, y)):.1e}\n")
    tracemalloc.start()
    logme(X, y)
    sys.stdout.write(
        f"{'':34}peak memory beside the features {tracemalloc.get_traced_memory()[1] / 1e6:.0f} MB\n"
    )
    tracemalloc.stop()
    X, y = problem(50_000, 768)
    targets = [np.random.default_rng(i).permutation(y) for i in range(8)]
    compare(
        "eight targets on the same words",
        partial(eight, X, targets),
        lambda: [fixed_point(X, each) for each in targets],
        pairs=3,
    )
    known = evidence(X, y)

    def all_scores(with_null: bool = True) -> None:
        of = fresh(known)
        for name in ("logme", "hscore", "ridge"):
            SCORES[name].measure(of)
            if with_null:
                SCORES[name].measure(of.null)

    alone, both = seconds(partial(all_scores, False)), seconds(all_scores)
    sys.stdout.write(
        f"{'LogME, H-score, probe after a pass':34}{alone:12.3f} s, with their nulls {both:.3f} s\n"
    )
    measured = SCORES["logme"].measure(known)

    def bootstrap() -> None:
        drawn = draws(known.sample.n_sentences, 200)
        replicates(measured, known.sample.sentences, drawn)

    value, again = seconds(lambda: fit(fresh(known).statistics)), seconds(bootstrap)
    influence = seconds(lambda: SCORES["logme"].measure(fresh(known))) - value
    sys.stdout.write(
        f"{'200 replicates of LogME':34}{(influence + again) / value:10.2f} x the score after the pass\n"
    )


if __name__ == "__main__":
    main()
