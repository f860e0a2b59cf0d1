"""Quality after tuning: four metrics of our own, and any other that `evaluate` can load.

A `Judge` counts on arrays: it is asked after every pass, and `evaluate` copies what it is given into a table
first. No other metric is loaded unless its name is given, because loading one downloads and runs a script;
nor is `evaluate` itself, which takes seconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import UsageError
from zookeeper.records import Kind, Target, counted
from zookeeper.tuning.ours import (
    Measure,
    Results,
    Rows,
    accuracy,
    check_tags,
    f1_micro,
    pearson,
    span_f1,
    unfit,
)

# Ours


def _of_spans(classes: Sequence[str]) -> Measure:
    check_tags(classes)
    return lambda predictions, labels, lengths: span_f1(predictions, labels, lengths, classes)


def _of_rows(function: Callable[[Rows, Rows], Results]) -> Callable[[Sequence[str]], Measure]:
    """Of a metric to which neither names of classes nor sentences matter."""
    return lambda classes: lambda predictions, labels, lengths: function(predictions, labels)


METRICS: Mapping[str, tuple[tuple[Kind, ...], Callable[[Sequence[str]], Measure]]] = {
    "span_f1": (("classes",), _of_spans),
    "accuracy": (("classes", "labels"), _of_rows(accuracy)),
    "pearson": (("numbers",), _of_rows(pearson)),
    "f1_micro": (("labels",), _of_rows(f1_micro)),
}
"""The kinds of labels that each compares, and its measure for names of classes."""


def metric_of(target: Target) -> str:
    """The metric by which a target is judged where no other is asked for."""
    if target.multilabel:
        return "f1_micro"
    return "pearson" if target.regression else "span_f1" if target.spans else "accuracy"


# Judging


@dataclass(frozen=True, eq=False)
class Judge:
    """A metric for the labels of one problem, larger always better.

    Attributes:
        metric: as it was asked for.
        kind: of the labels.
        script: digest of the code that was run for it; None of a metric of ours.
    """

    metric: str
    kind: Kind
    script: str | None
    _values: Measure
    _key: str
    _sign: Literal[1, -1]

    @classmethod
    def of(cls, metric: str, classes: Sequence[str], kind: Kind, *, offline: bool = False) -> Judge:
        """The judge for a metric, tried out on made-up labels, so that one that does not fit fails at once.

        Args:
            metric: ``ID``, a name in `METRICS`, or whatever `evaluate.load` knows: a metric of the Hub, a
                script, or a folder with one of its name. ``ID:KEY`` names which of its values counts,
                where it has several and none is called like it; ``ID?NAME=VALUE&…`` gives it further
                arguments, as in ``f1?average=macro``; a leading ``-`` makes larger better, as in ``-mse``.
            classes: names of the classes; empty of numbers.
            kind: of the labels.
            offline: whether a metric of the Hub must be in the cache.

        Raises:
            NotFoundError: there is no such metric.
            OfflineError: it is not in the cache.
            UsageError: it cannot be loaded, does not go with such labels, or gives no such number.
        """
        return cls._tried(metric, classes, kind, known=None, offline=offline)

    @classmethod
    def recorded(
        cls, metric: str, classes: Sequence[str], kind: Kind, *, script: str | None, offline: bool = False
    ) -> Judge:
        """The judge for a metric as it was when something was planned; otherwise as `of`.

        Args:
            metric: as for `of`.
            classes: likewise.
            kind: likewise.
            script: of the judge that there was then. It is looked at before any of the code is run, imported
                or fetched; None fits metrics of ours only.
            offline: as for `of`.

        Raises:
            DataError: the code is another.
            NotFoundError, OfflineError, UsageError: as of `of`.
        """
        judge = cls._tried(metric, classes, kind, known=(script,) if script else (), offline=offline)
        return judge if judge.script is None else replace(judge, script=script)

    @classmethod
    def _tried(
        cls,
        metric: str,
        classes: Sequence[str],
        kind: Kind,
        *,
        known: Collection[str] | None,
        offline: bool,
    ) -> Judge:
        """One whose code is any of what is known, or whatever is there."""
        parts = _Asked.parse(metric)
        if parts.name in METRICS:
            script, measure = None, _ours(parts, classes, kind)
        else:
            from zookeeper.tuning.foreign import Script, measure_of

            code = Script.of(parts.name, known=known, offline=offline)
            module = code.run(kind, offline=offline)
            script = code.digest
            measure = measure_of(module, classes, kind, metric=metric, options=parts.options)
        made_up = _made_up(len(classes), kind)
        results = measure(made_up, made_up, np.array([len(made_up)]))
        judge = cls(metric, kind, script, measure, _key_of(parts, results), parts.sign)
        judge._number(results)
        return judge

    def measure(
        self, predictions: Rows, labels: Rows, lengths: Sequence[int] | NDArray[np.int64]
    ) -> float | None:
        """The metric over the rows that have a label.

        Args:
            predictions: (n,) classes or numbers, or (n, c) zeros and ones, as of `Problem.predictions`.
            labels: (n,), or (n, c); of classes -100 does not count, of others a row with NaN.
            lengths: (s,) rows of each sentence, n together.

        Returns:
            Larger is better; None where it is undefined, as of predictions that are not finite.

        Raises:
            UsageError: a script fails, or gives no number.
        """
        counts = counted(labels)
        if not counts.any() or not np.isfinite(predictions[counts]).all():
            return None
        sentence = np.repeat(np.arange(len(lengths)), lengths)
        kept = np.bincount(sentence[counts], minlength=len(lengths))
        return self._number(self._values(predictions[counts], labels[counts], kept))

    def _number(self, results: Results) -> float | None:
        value = results.get(self._key)
        try:
            number = self._sign * float(np.asarray(value, dtype=np.float64).item())
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"--metric {self.metric} gives no number.", why=f"{self._key} is {str(value)[:60]}"
            ) from error
        return None if math.isnan(number) else number


def majority(
    train: Rows, labels: Rows, lengths: Sequence[int] | NDArray[np.int64], judge: Judge
) -> float | None:
    """The metric of giving the commonest class, or set of labels, of the training rows everywhere.

    Args:
        train: (m,) or (m, c) labels of the rows that are learnt from.
        labels: (n,) or (n, c) of those that are judged.
        lengths: (s,) rows of each of their sentences.
        judge: by whom.

    Returns:
        None of numbers, and where there are no labels.
    """
    known = train[counted(train)]
    if judge.kind == "numbers" or not len(known):
        return None
    values, times = np.unique(known, axis=0, return_counts=True)
    commonest = values[times.argmax()].astype(np.int64)
    return judge.measure(np.broadcast_to(commonest, labels.shape), labels, lengths)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A metric as it was asked for.

    Attributes:
        text: all of it.
        name: in `METRICS`, or for `evaluate.load`.
        key: which of its values counts; None to find it.
        options: further arguments of it.
        sign: -1 for a loss.
    """

    text: str
    name: str
    key: str | None
    options: Mapping[str, Any]
    sign: Literal[1, -1]

    @classmethod
    def parse(cls, text: str) -> _Asked:
        parts = re.fullmatch(r"(-?)([^?]+?)(?::(\w[\w.-]*))?(?:\?(\w+=[^&]*(?:&\w+=[^&]*)*))?", text)
        if parts is None:
            raise UsageError(
                f'there is no metric "{text}".',
                fix=f"one of {', '.join(METRICS)}, or ID, ID:KEY, ID?NAME=VALUE of any metric of evaluate",
            )
        minus, name, key, options = parts.groups()
        pairs = (option.partition("=") for option in (options or "").split("&") if option)
        return cls(text, name, key, {k: _literal(value) for k, _, value in pairs}, -1 if minus else 1)


def _literal(text: str) -> Any:
    """A number, true, false or null; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _key_of(asked: _Asked, results: Results) -> str:
    """Which of several values counts."""
    wanted = asked.key or (next(iter(results)) if len(results) == 1 else PurePath(asked.name).stem)
    if wanted not in results:
        raise UsageError(
            f"cannot tell which value of --metric {asked.text} counts."
            if asked.key is None
            else f"--metric {asked.text} has no value {asked.key}.",
            why=f"it gives: {', '.join(map(str, results)) or 'none'}",
            fix=f"name one with --metric {asked.name}:KEY",
        )
    return wanted


def _made_up(n_classes: int, kind: Kind) -> Rows:
    """Labels of a kind, each class at least once."""
    if kind == "numbers":
        return np.arange(8.0)
    if kind == "classes":
        return np.tile(np.arange(n_classes), 2)
    return np.eye(8, n_classes, dtype=np.int64)


def _ours(asked: _Asked, classes: Sequence[str], kind: Kind) -> Measure:
    """A metric of ours."""
    if asked.options:
        raise UsageError(
            f"--metric {asked.name} takes no arguments.", why=f"it was given {', '.join(asked.options)}"
        )
    kinds, measure_of = METRICS[asked.name]
    if kind not in kinds:
        raise unfit(asked.text, kind, f"it compares {' or '.join(kinds)}")
    return measure_of(classes)
