"""Whether the numbers of a run follow from what is stored of it, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import IntegrityError
from zookeeper.labels import ranges
from zookeeper.resampling import interval
from zookeeper.results import LEVEL, Estimate, Run, Trial
from zookeeper.tuning.metrics import Judge

_REPLICATES = 200
_PARTS = "predictions", "labels", "lengths"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Audit:
    """A run, and what its trials predicted.

    Attributes:
        run: with the numbers that are stated.
        judge: that measured them.
        load: gives the arrays of a trial as they were stored, those of `read_of` at least.
    """

    run: Run
    judge: Judge
    load: Callable[[Trial], Arrays]

    def check(self) -> None:
        """Measure every trial again by its stored predictions.

        Raises:
            IntegrityError: a number that is stated is not what they give.
            NotFoundError: they are gone.
        """
        for trial in self.run.trials:
            arrays = self.load(trial)
            for split, stated in trial.results.items():
                found = self.judge.measure(*_predicted(arrays, split))
                if found != stated:
                    raise IntegrityError(
                        f"run {self.run.id}: {self.run.metric} on {split} of seed {trial.key.seed} is stated "
                        f"as {stated}.",
                        why=f"its stored predictions give {found}",
                        fix="zoo verify, then tune it again",
                    )

    def intervals(self) -> dict[str, Estimate]:
        """Of the mean over seeds on each split: the central 95 % over 200 samples of its sentences.

        A bootstrap (Efron and Tibshirani 1993, ch. 6), with a fixed seed: trials that were measured on as
        many sentences are measured on the same samples. Nothing where the metric is undefined for a seed.
        """
        loaded = [self.load(trial) for trial in self.run.whole]
        found = {}
        for split, spread in self.run.results.items():
            if spread.mean is not None and spread.n == len(loaded):
                drawn = np.mean([self._replicates(arrays, split) for arrays in loaded], axis=0)
                found[split] = Estimate(spread.mean, *interval(drawn, LEVEL))
        return found

    def _replicates(self, arrays: Arrays, split: str) -> NDArray[np.float64]:
        """(r,) values of the metric on resampled sentences; 0 where one has no label at all."""
        predictions, labels, lengths = _predicted(arrays, split)
        starts = np.cumsum(lengths) - lengths
        random = np.random.default_rng(0)
        values = []
        for _ in range(_REPLICATES):
            drawn = random.integers(0, len(lengths), len(lengths))
            rows = ranges(starts[drawn], lengths[drawn])
            values.append(self.judge.measure(predictions[rows], labels[rows], lengths[drawn]) or 0.0)
        return np.array(values)


def read_of(trial: Trial) -> list[str]:
    """Names of the arrays of a trial that an audit reads: what was learned may be large."""
    return [f"{of}/{split}" for split in trial.results for of in _PARTS]


def _predicted(arrays: Arrays, split: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Predictions, labels, and rows of each sentence, of a split."""
    predictions, labels, lengths = (arrays[f"{what}/{split}"] for what in _PARTS)
    return predictions, labels, lengths
