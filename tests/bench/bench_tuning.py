"""A learning curve of heads on frozen features, beside the loop that was published with the paper.

    python -m tests.bench.bench_tuning [SENTENCES]        needs h5py

The published way (Huang, Qiu, Church 2021): features in an HDF5 file for each checkpoint, read sentence by
sentence for every batch; one job for each point of the curve; 40 passes, with the development and test splits
measured after each. Here: features in memory once, and a stop when validation gets no better. Both on one
thread; CPU time, without that of starting jobs. Features are made up: words of 23 classes, of which each of
five members knows some.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from zookeeper.recipes import recipe_of
from zookeeper.records import Corpus, Labelled, Target
from zookeeper.tuning.head import Head
from zookeeper.tuning.loop import Training
from zookeeper.tuning.materials import Materials
from zookeeper.tuning.metrics import Judge
from zookeeper.tuning.problem import Problem

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
SEEDS = (0, 1, 2)
MEMBERS, WIDTH, CLASSES = 5, 128, 23
PASSES, BATCH = 40, 64


def made_up(n: int, seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Features of each member, labels, and lengths of n sentences."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 45, size=n)
    labels = rng.integers(CLASSES, size=lengths.sum())
    centres = np.random.default_rng(0).normal(size=(MEMBERS, CLASSES, WIDTH))
    features = [centre[labels] + 4 * rng.normal(size=(len(labels), WIDTH)) for centre in centres]
    return [x.astype(np.float32) for x in features], labels, lengths


def published(folder: Path, splits: dict[str, tuple], fraction: float, seed: int) -> float:
    """One job of the published loop; gives the accuracy on test at the best pass of development."""
    files = {s: [h5py.File(folder / f"{s}.{m}.h5", "r") for m in range(MEMBERS)] for s in splits}

    def batches(split: str, order: np.ndarray):
        _, labels, lengths = splits[split]
        ends = np.cumsum(lengths)
        for first in range(0, len(order), BATCH):
            chosen = order[first : first + BATCH]
            rows = [
                np.concatenate([f["x"][ends[i] - lengths[i] : ends[i]] for f in files[split]], axis=1)
                for i in chosen
            ]
            y = np.concatenate([labels[ends[i] - lengths[i] : ends[i]] for i in chosen])
            yield torch.from_numpy(np.concatenate(rows)), torch.from_numpy(y)

    def accuracy(split: str) -> float:
        right = total = 0
        for x, y in batches(split, np.arange(len(splits[split][2]))):
            right += int((head(x).argmax(1) == y).sum())
            total += len(y)
        return right / total

    n = len(splits["train"][2])
    chosen = np.random.default_rng(seed).permutation(n)[: int(fraction * n)]
    torch.manual_seed(seed)
    head = torch.nn.Linear(MEMBERS * WIDTH, CLASSES)
    adam = torch.optim.Adam(head.parameters(), lr=1e-3)
    best = (accuracy("validation"), accuracy("test"))
    for epoch in range(PASSES):
        for x, y in batches("train", np.random.default_rng(epoch).permutation(chosen)):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(head(x), y).backward()
            adam.step()
        best = max(best, (accuracy("validation"), accuracy("test")), key=lambda pair: pair[0])
    return best[1]


def ours(splits: dict[str, tuple], patience: int) -> Callable[[float, int], tuple[float, int]]:
    """Gives the accuracy on test, and passes, of one trial; features are put side by side once."""
    materials = Materials(
        tuple(map(str, range(MEMBERS))),
        {},
        layers={split: tuple((x,) for x in features) for split, (features, _, _) in splits.items()},
    )
    data = {
        split: Labelled(Corpus(tuple(("a",) * n for n in lengths), "word"), labels)
        for split, (_, labels, lengths) in splits.items()
    }
    names = tuple(map(str, range(CLASSES)))
    target = Target("t", "t", "0" * 40, None, "token-classification", "x", "y", names, {}, {}, "0" * 64)
    recipe = replace(recipe_of("head"), patience=patience)

    def trial(fraction: float, seed: int) -> tuple[float, int]:
        problem = Problem.of(target, data, seed=seed, fraction=fraction)
        judge = Judge.of("accuracy", names, "classes")
        learner = Head.of(materials, problem, recipe, seed=seed, device="cpu")
        tuned = Training(learner, problem, judge, recipe, seed=seed).run()
        part = problem.parts["test"]
        made = problem.predictions(tuned.outputs["test"])
        return float(judge.measure(made, part.labels, part.lengths) or 0), len(tuned.history) - 1

    return trial


def main() -> None:
    """Print both, and their ratio."""
    torch.set_num_threads(1)
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    splits = {
        s: made_up(m, i) for i, (s, m) in enumerate((("train", n), ("validation", n // 8), ("test", n // 5)))
    }
    cells = [(fraction, seed) for fraction in FRACTIONS for seed in SEEDS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, (features, _, _) in splits.items():
            for m, x in enumerate(features):
                with h5py.File(folder / f"{split}.{m}.h5", "w") as file:
                    file["x"] = x
        began = time.process_time()
        theirs = [published(folder, splits, *cell) for cell in cells]
        slow = time.process_time() - began
    print(f"{len(cells)} trials, {splits['train'][2].sum():,} words x {MEMBERS * WIDTH}")  # noqa: T201
    print(f"published loop        {slow:7.1f} s; accuracy of the whole {np.mean(theirs[-3:]):.4f}")  # noqa: T201
    for what, patience in (("as many passes", PASSES), ("with patience 5", 5)):
        began = time.process_time()
        trial = ours(splits, patience)
        found = [trial(*cell) for cell in cells]
        took = time.process_time() - began
        whole, passes = np.mean([a for a, _ in found[-3:]]), np.mean([p for _, p in found])
        print(  # noqa: T201
            f"{what:<20}  {took:7.1f} s, {slow / took:.1f}x; {whole:.4f}; {passes:.0f} passes on average"
        )


if __name__ == "__main__":
    main()
