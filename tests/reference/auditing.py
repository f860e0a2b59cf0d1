"""The bootstrap of a metric over sentences, word for word."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def interval(
    sentences: Sequence[Sequence[tuple[int, int]]], metric: Callable[[list[int], list[int]], float]
) -> tuple[float, float]:
    """2.5th and 97.5th percentile of a metric over 200 samples, with replacement, of sentences.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        sentences: of each, the prediction and the label of every word.
        metric: of predictions and labels.
    """
    random = np.random.default_rng(0)
    values = []
    for _ in range(200):
        predictions: list[int] = []
        labels: list[int] = []
        for i in random.integers(0, len(sentences), len(sentences)):
            for prediction, label in sentences[i]:
                predictions.append(prediction)
                labels.append(label)
        values.append(metric(predictions, labels))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
