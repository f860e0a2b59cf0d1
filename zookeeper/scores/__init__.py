"""Transferability scores: how well a checkpoint's frozen features serve a target, before any tuning.

A score is a function of arrays whose parameters say what it needs: `features`, `labels`, and of the
checkpoint's own head `source_probs` or `source_labels`. Larger is better. Scores compare checkpoints on
one target only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.evidence import Evidence, Measured, Sample, jackknife
from zookeeper.registry import Registry
from zookeeper.scores.gbc import gbc
from zookeeper.scores.hscore import hscore
from zookeeper.scores.hscore import measure as measure_hscore
from zookeeper.scores.knn import knn
from zookeeper.scores.knn import measure as measure_knn
from zookeeper.scores.leep import leep
from zookeeper.scores.leep import measure as measure_leep
from zookeeper.scores.logistic import logistic
from zookeeper.scores.logistic import measure as measure_logistic
from zookeeper.scores.logme import logme
from zookeeper.scores.logme import measure as measure_logme
from zookeeper.scores.nce import nce
from zookeeper.scores.nleep import measure as measure_nleep
from zookeeper.scores.nleep import nleep
from zookeeper.scores.parc import parc
from zookeeper.scores.ridge import measure as measure_ridge
from zookeeper.scores.ridge import ridge
from zookeeper.scores.sfda import sfda
from zookeeper.scores.transrate import transrate


@dataclass(frozen=True, slots=True)
class ScoreSpec:
    """A score and what a reader needs to know of it.

    Attributes:
        name: as on the command line.
        title: as at the head of a column.
        function: from arrays to the score; its parameters without a default are the arrays it needs.
        unit: what the number counts.
        source: paper.
        numbers: whether it is defined where labels are real numbers, or several to an example.
        streaming: the same from evidence, with the influence of each example; without it the score is that
            of the sample, and its influence found by leaving sentences out.
    """

    name: str
    title: str
    function: Callable[..., float]
    unit: str
    source: str
    numbers: bool = False
    streaming: Callable[[Evidence], Measured] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The arrays that `function` takes.

        Raises:
            UsageError: it asks for one that nobody has.
        """
        parameters = inspect.signature(self.function).parameters.values()
        names = tuple(p.name for p in parameters if p.default is p.empty)
        if unknown := set(names) - {"features", "labels", "source_probs", "source_labels"}:
            raise UsageError(f'the score "{self.name}" asks for {", ".join(sorted(unknown))}.')
        return names

    def defined(self, sample: Sample) -> bool:
        """Whether the labels are of a kind it knows, and the checkpoint has the head that it asks for."""
        head = sample.source_probs is not None or not any(name.startswith("source") for name in self.needs)
        return head and (self.numbers or sample.labels.classes is not None)

    def measure(self, evidence: Evidence) -> Measured:
        """The score on a target, and how much each example of the sample moves it.

        Raises:
            DegenerateInputError: it is not defined there, with the reason.
        """
        sample = evidence.sample
        if not self.defined(sample):
            raise DegenerateInputError(
                "it is defined for classes only."
                if sample.labels.classes is None
                else "the checkpoint has no head of its own that fits this task."
            )
        if self.streaming:
            found = self.streaming(evidence)
        else:
            value = self._on(sample)
            found = Measured(value, lambda: jackknife(sample, value, lambda rows: self._on(sample[~rows])))
        if not np.isfinite(found.value):
            raise DegenerateInputError("it comes to no finite number.")
        return found

    def _on(self, sample: Sample) -> float:
        labels = sample.labels
        if not np.ptp(labels.values, axis=0).any():
            raise DegenerateInputError("the sampled labels are all the same.")
        arrays = {
            "features": sample.features,
            "labels": labels.values,
            "source_probs": sample.source_probs,
            "source_labels": sample.source_labels,
        }
        try:
            return float(self.function(**{name: arrays[name] for name in self.needs}))
        except (ArithmeticError, ValueError) as error:  # of other packages, which have errors of their own
            raise DegenerateInputError(f"{type(error).__name__}: {error}") from error


SCORES = Registry[ScoreSpec](
    "score",
    "zookeeper.scores",
    {
        spec.name: spec
        for spec in (
            ScoreSpec(
                "logme",
                "LogME",
                logme,
                "nats per example",
                "You et al. 2021, https://arxiv.org/abs/2102.11005",
                numbers=True,
                streaming=measure_logme,
            ),
            ScoreSpec(
                "hscore",
                "H-score",
                hscore,
                "explained class variance, at most classes - 1",
                "Bao et al. 2019; shrinkage by Ibrahim et al. 2022, https://arxiv.org/abs/2110.06893",
                streaming=measure_hscore,
            ),
            ScoreSpec(
                "ridge",
                "Probe",
                ridge,
                "held-out accuracy, or R² of numbers",
                "Hoerl and Kennard 1970; penalty by MacKay 1992",
                numbers=True,
                streaming=measure_ridge,
            ),
            ScoreSpec(
                "logistic",
                "Logistic",
                logistic,
                "held-out accuracy",
                "Alain and Bengio 2016, https://arxiv.org/abs/1610.01644",
                streaming=measure_logistic,
            ),
            ScoreSpec(
                "knn",
                "kNN",
                knn,
                "leave-one-out accuracy, or R² of numbers",
                "Puigcerver et al. 2021, https://arxiv.org/abs/2009.13239",
                numbers=True,
                streaming=measure_knn,
            ),
            ScoreSpec(
                "parc",
                "PARC",
                parc,
                "rank correlation",
                "Bolya et al. 2021, https://arxiv.org/abs/2111.06977",
                numbers=True,
            ),
            ScoreSpec(
                "sfda", "SFDA", sfda, "probability", "Shao et al. 2022, https://arxiv.org/abs/2207.03036"
            ),
            ScoreSpec(
                "gbc",
                "GBC",
                gbc,
                "minus overlaps of classes",
                "Pándy et al. 2022, https://arxiv.org/abs/2111.12780",
            ),
            ScoreSpec(
                "transrate",
                "TransRate",
                transrate,
                "nats per example",
                "Huang et al. 2022, https://arxiv.org/abs/2106.09362",
            ),
            ScoreSpec(
                "nleep",
                "N-LEEP",
                nleep,
                "nats per example",
                "Li et al. 2021, https://arxiv.org/abs/2011.11200",
                streaming=measure_nleep,
            ),
            ScoreSpec(
                "leep",
                "LEEP",
                leep,
                "nats per example",
                "Nguyen et al. 2020, https://arxiv.org/abs/2002.12462",
                streaming=measure_leep,
            ),
            ScoreSpec(
                "nce",
                "NCE",
                nce,
                "minus conditional entropy, nats",
                "Tran et al. 2019, https://arxiv.org/abs/1908.08142",
            ),
        )
    },
)


def title_of(name: str) -> str:
    """What a score is called at the head of a column; one that is not known here goes by its name."""
    return SCORES[name].title if name in SCORES else name


__all__ = [
    "SCORES",
    "ScoreSpec",
    "gbc",
    "hscore",
    "knn",
    "leep",
    "logistic",
    "logme",
    "nce",
    "nleep",
    "parc",
    "ridge",
    "sfda",
    "title_of",
    "transrate",
]
