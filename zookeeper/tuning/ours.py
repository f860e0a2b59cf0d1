"""The four metrics of our own, counted on arrays, and what they have in common with any other."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import UsageError
from zookeeper.records import Kind

Rows = NDArray[Any]
Results = Mapping[str, Any]
Measure = Callable[[Rows, Rows, NDArray[np.int64]], Results]
"""From predictions, labels and rows of each sentence, all of rows that count, to named values."""


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


def check_tags(tags: Sequence[str]) -> None:
    """That spans can be made of tags.

    Raises:
        UsageError: one is neither O nor a prefix B, I, E or S, a hyphen and a type.
    """
    for name in tags:
        if name != "O" and not re.match(r"[BIES]-.", name):
            raise UsageError(
                "--metric span_f1 is of spans.",
                why=f'"{name}" is none of their tags: O, B-…, I-…, E-…, S-…',
            )


def unfit(metric: str, kind: Kind, why: str) -> UsageError:
    """That a metric compares something else than labels of a kind."""
    given = {"classes": "one class each", "labels": "several labels at once", "numbers": "numbers"}[kind]
    return UsageError(f"--metric {metric} does not go with labels that are {given}.", why=why)
