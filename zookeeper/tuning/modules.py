"""The metrics of our own as instances of `evaluate.Metric`, which combine with any other."""

from __future__ import annotations

from itertools import chain
from typing import Any, ClassVar

import evaluate
import numpy as np
from datasets import Features, List, Value

from zookeeper.tuning.ours import Results, accuracy, check_tags, f1_micro, pearson, span_f1


class _Ours(evaluate.Metric):  # type: ignore[misc]
    of: ClassVar[Any]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            features=Features({"predictions": self.of, "references": self.of}),
        )


class SpanF1(_Ours):
    """Micro-averaged F1 over exact (type, first word, last word) spans, as conlleval counts them."""

    of = List(Value("string"))

    def _compute(self, predictions: Any, references: Any) -> Results:
        lengths = [len(tags) for tags in references]
        if lengths != [len(tags) for tags in predictions]:
            raise ValueError("sentences have other numbers of predicted than of true tags")
        tags = sorted({*chain.from_iterable(predictions), *chain.from_iterable(references)})
        check_tags(tags)
        index = {tag: i for i, tag in enumerate(tags)}
        sides = ([index[t] for t in chain.from_iterable(side)] for side in (predictions, references))
        made, true = (np.array(side, dtype=np.int64) for side in sides)
        return span_f1(made, true, lengths, tags)


class Accuracy(_Ours):
    """Share of examples whose class is right."""

    of = Value("int64")

    def _compute(self, predictions: Any, references: Any) -> Results:
        return accuracy(predictions, references)


class Pearson(_Ours):
    """Pearson's correlation over all examples at once; NaN where one side does not vary."""

    of = Value("float64")

    def _compute(self, predictions: Any, references: Any) -> Results:
        return pearson(predictions, references)


class MicroF1(_Ours):
    """Micro-averaged F1 over all labels of all examples, which may have several."""

    of = List(Value("int64"))

    def _compute(self, predictions: Any, references: Any) -> Results:
        return f1_micro(predictions, references)
