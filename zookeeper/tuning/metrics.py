"""Quality after tuning: four metrics of our own, and any other that `evaluate` can load.

Ours are instances of `evaluate.Metric`, so they combine with any other, but a `Judge` counts on arrays: it is
asked after every pass, and `evaluate` copies what it is given into a table first. No other is loaded
unless its name is given, because loading a metric downloads and runs a script.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePath
from typing import Any, ClassVar, Literal

import datasets
import evaluate
import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray

from zookeeper.errors import UsageError
from zookeeper.records import Kind, Target, counted
from zookeeper.tuning.foreign import Measure, Results, Rows, load, measure_of, unfit

# Ours


def span_f1(
    predictions: NDArray[np.int64],
    references: NDArray[np.int64],
    lengths: Sequence[int] | NDArray[np.int64],
    classes: Sequence[str],
) -> Results:
    """Micro-averaged F1, precision and recall over exact (type, first word, last word) spans.

    As conlleval counts them (Tjong Kim Sang and Buchholz 2000, https://aclanthology.org/W00-0726), which is
    also seqeval's default: a span begins at B- and S-, after O, E- and S-, and where the type changes, so
    that an ill-formed I- begins one too.

    Args:
        predictions: (n,) of words, indices of `classes`.
        references: (n,) likewise.
        lengths: (s,) words of each sentence, n together.
        classes: tags: O, or a prefix B, I, E or S, a hyphen and a type.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    begins = np.zeros(len(references) + 1, dtype=bool)
    begins[np.cumsum(lengths) - lengths] = True
    kinds = {name: i for i, name in enumerate(dict.fromkeys(tag[2:] for tag in classes if tag != "O"))}
    kind_of = np.array([-1 if tag == "O" else kinds[tag[2:]] for tag in classes])
    prefixes = np.array([tag[0] for tag in classes])
    last = [_span_ends(tags, begins[:-1], kind_of, prefixes) for tags in (predictions, references)]
    alike = (last[0] == last[1]) & (kind_of[predictions] == kind_of[references])
    right = int((alike & (last[1] >= 0)).sum())
    return _f1("span_f1", right, *(int((ends >= 0).sum()) for ends in last))


def _span_ends(
    tags: NDArray[np.int64], begins: NDArray[np.bool_], kind_of: NDArray[np.int64], prefixes: NDArray[np.str_]
) -> NDArray[np.int64]:
    """(n,) the last word of the span that begins at each word; -1 where none does.

    Args:
        tags: (n,).
        begins: (n,) whether a sentence does.
        kind_of: (c,) type of each tag; -1 of O.
        prefixes: (c,).
    """
    kinds = kind_of[tags]
    inside = kinds >= 0
    starts = np.isin(prefixes, ("B", "S"))[tags] | begins
    starts[1:] |= np.isin(prefixes, ("O", "E", "S"))[tags[:-1]] | (kinds[1:] != kinds[:-1])
    starts &= inside
    goes_on = np.append((inside & ~starts)[1:], False)
    ends = np.full(len(tags), -1)
    ends[starts] = np.flatnonzero(inside & ~goes_on)
    return ends


def accuracy(predictions: Rows, references: Rows) -> Results:
    """Share of (n,) examples whose class is right, or of (n, c) whose labels all are."""
    right = np.asarray(predictions) == np.asarray(references)
    return {"accuracy": float(right.all(axis=tuple(range(1, right.ndim))).mean())}


def pearson(predictions: Rows, references: Rows) -> Results:
    """Pearson's correlation of (n,) numbers; NaN where one side does not vary."""
    a, b = (np.asarray(side, dtype=np.float64) for side in (predictions, references))
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return {"pearson": math.nan}
    a, b = _unit(a), _unit(b)
    return {"pearson": float(np.clip(a @ b, -1, 1))}


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values brought to mean 0 and length 1, whatever their size."""
    centred = values - values.mean()
    centred /= np.abs(centred).max()
    return np.asarray(centred / np.linalg.norm(centred))


def f1_micro(predictions: Rows, references: Rows) -> Results:
    """Micro-averaged F1, precision and recall over all labels of (n, c) zeros and ones."""
    made, true = np.asarray(predictions) == 1, np.asarray(references) == 1
    return _f1("f1_micro", int((made & true).sum()), int(made.sum()), int(true.sum()))


def _f1(name: str, right: int, made: int, true: int) -> Results:
    """F1 and its parts; 0 where there is nothing to divide by."""
    return {
        name: 2 * right / max(made + true, 1),
        "precision": right / max(made, 1),
        "recall": right / max(true, 1),
    }


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
        _check_tags("span_f1", tags)
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


METRICS: dict[str, type[evaluate.Metric]] = {
    "span_f1": SpanF1,
    "accuracy": Accuracy,
    "pearson": Pearson,
    "f1_micro": MicroF1,
}

_FLAT: dict[str, tuple[tuple[Kind, ...], Callable[[Rows, Rows], Results]]] = {
    "accuracy": (("classes", "labels"), accuracy),
    "pearson": (("numbers",), pearson),
    "f1_micro": (("labels",), f1_micro),
}


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
        script: SHA-256 of the script that was loaded for it; None of a metric of ours.
    """

    metric: str
    kind: Kind
    script: str | None
    _values: Measure
    _key: str
    _sign: Literal[1, -1]

    @classmethod
    def of(
        cls,
        metric: str,
        classes: Sequence[str],
        kind: Kind,
        *,
        offline: bool = datasets.config.HF_HUB_OFFLINE,
    ) -> Judge:
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
        parts = _Asked.parse(metric)
        script = None
        if parts.name in METRICS:
            measure = _ours(parts, classes, kind)
        else:
            module = load(parts.name, kind, offline=offline)
            measure = measure_of(module, classes, kind, metric=metric, options=parts.options)
            script = module._hash
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
    if asked.name == "span_f1":
        if kind != "classes":
            raise unfit(asked.text, kind, "spans are made of a tag for each word")
        _check_tags(asked.text, classes)
        return lambda predictions, labels, lengths: span_f1(predictions, labels, lengths, classes)
    kinds, function = _FLAT[asked.name]
    if kind not in kinds:
        raise unfit(asked.text, kind, f"it compares {' or '.join(kinds)}")
    return lambda predictions, labels, _: function(predictions, labels)


def _check_tags(metric: str, classes: Sequence[str]) -> None:
    for name in classes:
        if name != "O" and not re.match(r"[BIES]-.", name):
            raise UsageError(
                f"--metric {metric} is of spans.",
                why=f'"{name}" is none of their tags: O, B-…, I-…, E-…, S-…',
            )
