"""Quality after tuning, as `evaluate` metrics that need no network.

They are instances of `evaluate.Metric`, so they combine with any other, but they are made here: loading one
by name downloads and runs a script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import evaluate
import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray
from scipy.stats import pearsonr
from seqeval.metrics import f1_score, precision_score, recall_score

from zookeeper.errors import UsageError
from zookeeper.records import Target, counted


class SpanF1(evaluate.Metric):  # type: ignore[misc]
    """Micro-averaged F1 over exact (type, first word, last word) spans, as conlleval counts them."""

    def _info(self) -> evaluate.MetricInfo:
        tags = List(Value("string"))
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="Tjong Kim Sang and Buchholz, CoNLL-2000; seqeval, https://github.com/chakki-works/seqeval",
            features=Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {
            "span_f1": float(f1_score(references, predictions, zero_division=0)),
            "precision": float(precision_score(references, predictions, zero_division=0)),
            "recall": float(recall_score(references, predictions, zero_division=0)),
        }


class Accuracy(evaluate.Metric):  # type: ignore[misc]
    """Share of examples whose class is right."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            features=Features({"predictions": Value("int64"), "references": Value("int64")}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


class Pearson(evaluate.Metric):  # type: ignore[misc]
    """Pearson's correlation over all examples at once; NaN where one side does not vary."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            features=Features({"predictions": Value("float64"), "references": Value("float64")}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        if len(predictions) < 2 or np.ptp(predictions) == 0 or np.ptp(references) == 0:
            return {"pearson": math.nan}
        return {"pearson": float(pearsonr(predictions, references).statistic)}


METRICS: dict[str, type[evaluate.Metric]] = {"span_f1": SpanF1, "accuracy": Accuracy, "pearson": Pearson}


def metric_of(target: Target) -> str:
    """The metric by which a target is judged.

    Raises:
        UsageError: its examples have several labels at once, which no head learns yet.
    """
    if target.multilabel:
        raise UsageError(
            "zoo tune cannot learn several labels at once yet.",
            why=f"{target.label_column} of {target.name} holds a list of labels for each text",
            fix="zoo rank can order checkpoints for it",
        )
    return "pearson" if target.regression else "span_f1" if target.spans else "accuracy"


def measure(
    metric: str,
    predictions: NDArray[Any],
    labels: NDArray[Any],
    *,
    classes: Sequence[str] = (),
    lengths: Sequence[int] | NDArray[np.int64] = (),
) -> float | None:
    """A metric over the rows that have a label.

    Args:
        metric: a name in `METRICS`.
        predictions: (n,), classes or real numbers.
        labels: (n,); of classes -100 does not count, of real numbers NaN.
        classes: names of the classes, for spans.
        lengths: rows of each sentence, for spans.

    Returns:
        The metric; None where it is undefined.
    """
    counts = counted(labels)
    if not counts.any():
        return None
    judge = METRICS[metric](keep_in_memory=True)
    if metric == "span_f1":
        ends = np.cumsum(lengths)[:-1]
        pairs = zip(*(np.split(a, ends) for a in (predictions, labels, counts)), strict=True)
        kept = [(p[c], y[c]) for p, y, c in pairs]
        result = judge.compute(
            predictions=[[classes[int(i)] for i in p] for p, _ in kept],
            references=[[classes[int(i)] for i in y] for _, y in kept],
        )
    else:
        result = judge.compute(predictions=predictions[counts], references=labels[counts])
    value = float(result[metric])
    return None if math.isnan(value) else value
