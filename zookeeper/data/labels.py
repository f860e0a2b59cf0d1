"""Columns of tables as sentences, labels and classes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import ClassLabel
from numpy.typing import NDArray

from zookeeper.data.answers import tagged
from zookeeper.data.columns import Columns, check_alike, columns_of, inner
from zookeeper.errors import DataError, UsageError
from zookeeper.records import IGNORED, Corpus, Labelled, Target, TargetSource, counted, digest_of

Labels = dict[str, NDArray[Any]]
Classes = tuple[str, ...]

_MOST_CLASSES = 10_000
# A handful of examples may well be of a class each; a file of them is a column of ids.
_FEW = 20
_TAG = re.compile(r"[BIESLU]-(.+)", re.DOTALL)


def target_of(
    source: TargetSource,
    tables: Mapping[str, datasets.Dataset],
    *,
    commit: str,
    local: bool,
    max_examples: int | None,
) -> tuple[Target, dict[str, Labelled]]:
    """A target from the tables of its splits, and the data of each.

    Args:
        source: what in them is text and label.
        tables: of the splits, the one that is learnt from first.
        commit: of the dataset.
        local: whether it came from files of this machine.
        max_examples: at most so many sentences, or pairs, of each split.

    Raises:
        DataError: they cannot be read as a target, or there is nothing to learn from them.
        UsageError: tags are to be folded, and there are none.
    """
    first = next(iter(tables.values()))
    columns = columns_of(source, first)
    check_alike(source, tables, columns)
    drawn = {split: _draw(table, max_examples) for split, table in tables.items()}
    if columns.task == "question-answering":
        drawn = {split: tagged(source, split, table, columns) for split, table in drawn.items()}
    texts = {split: _sentences(source, table, columns) for split, table in drawn.items()}
    for split in drawn:
        _check_words(source, split, columns, texts[split])
    given = {split: _rows(source, split, texts[split], drawn[split], columns) for split in drawn}
    feature = next(iter(drawn.values())).features[columns.label]
    labels, classes = _labels(source, given, feature, columns)
    if source.fold_bio:
        labels, classes = _folded(source, labels, classes, columns)
    data = {split: Labelled(Corpus(texts[split], columns.unit), labels[split]) for split in drawn}
    _check_varied(source, next(iter(labels.values())), classes, columns)
    summary = Target(
        name=source.name,
        dataset=Path(source.dataset).name if local else source.dataset,
        commit=commit,
        config=source.config,
        task=columns.task,
        text_column=", ".join(columns.texts),
        label_column=columns.label,
        classes=classes,
        examples={split: len(table) for split, table in drawn.items()},
        rows={split: int(counted(d.labels).sum()) for split, d in data.items()},
        available={split: len(tables[split]) for split in data},
        fingerprint=digest_of([[s, d.corpus.digest, d.labels.tolist()] for s, d in data.items()] + [classes]),
        local=local,
    )
    return summary, data


def _draw(table: datasets.Dataset, max_examples: int | None) -> datasets.Dataset:
    """At most `max_examples` rows in their order, drawn with a fixed seed: files may be sorted by class."""
    if max_examples is None or len(table) <= max_examples:
        return table
    chosen = np.random.default_rng(0).permutation(len(table))[:max_examples]
    return table.select(np.sort(chosen), keep_in_memory=True)


# Texts


def _sentences(
    source: TargetSource, table: datasets.Dataset, columns: Columns
) -> tuple[tuple[str, ...], ...]:
    """Words of each sentence; of pairs, one after the other."""
    if columns.unit == "word":
        return tuple(
            tuple(_text(source, columns, word) for word in words or ()) for words in table[columns.texts[0]]
        )
    rows = zip(*(table[name] for name in columns.texts), strict=True)
    return tuple(
        () if text is None else tuple(_text(source, columns, text).split())
        for text in chain.from_iterable(rows)
    )


def _text(source: TargetSource, columns: Columns, value: Any) -> str:
    if isinstance(value, list | dict):
        raise DataError(
            f"{source.name}: {' or '.join(columns.texts)} holds something that is no text.",
            why=f"one row holds {str(value)[:60]}",
        )
    return str(value)


def _check_words(
    source: TargetSource, split: str, columns: Columns, sentences: Sequence[Sequence[str]]
) -> None:
    """Refuse a split without a word in it; single texts may be empty."""
    if sentences and not any(sentences):
        raise DataError(
            f"{source.name}: the texts of the {split} split are all empty.",
            why=f"no row of {' and '.join(columns.texts)} has a word",
            fix="name another --text-column",
        )


# Labels


def _rows(
    source: TargetSource,
    split: str,
    sentences: Sequence[Sequence[str]],
    table: datasets.Dataset,
    columns: Columns,
) -> list[Any]:
    """The labels of a split as they are in the table, one for each row of features."""
    if columns.unit != "word":
        return list(table[columns.label])
    flat: list[Any] = []
    for words, given in zip(sentences, table[columns.label], strict=True):
        labels = given or ()
        if len(words) != len(labels):
            raise DataError(
                f"{source.name}: a sentence of {split} has {len(words)} words but {len(labels)} labels "
                f"in {columns.label}.",
                why=f'it begins "{" ".join(words[:6])}"',
            )
        flat += labels
    return flat


def _labels(
    source: TargetSource, given: Mapping[str, Sequence[Any]], feature: Any, columns: Columns
) -> tuple[Labels, Classes]:
    """Labels of each split as an array, and the names of the classes."""
    task, name = columns.task, columns.label
    if task.endswith("regression"):
        return {split: _numbers(source, split, name, values) for split, values in given.items()}, ()
    kind = inner(feature)
    several = task == "text-multilabel"
    unlabelled: tuple[Any, ...] = (None, IGNORED)
    if isinstance(kind, ClassLabel):
        unlabelled += (-1,)
        names = tuple(kind.names)
        index: dict[Any, int] = {i: i for i in range(len(names))}
        _check_known(source, given, {*index, *unlabelled}, columns)
    else:
        given = {split: [_whole(source, v, columns) for v in values] for split, values in given.items()}
        ordered = _ordered(source, given, unlabelled, columns)
        names, index = tuple(map(str, ordered)), {value: i for i, value in enumerate(ordered)}
    if len(names) > _MOST_CLASSES:
        raise DataError(
            f"{source.name}: {name} holds {len(names):,} classes.",
            why=f"zoo takes up to {_MOST_CLASSES:,}; more are most often ids, or words, and no classes",
            fix=f"name another --label-column{_or_regression(columns)}",
        )
    if several:
        arrays = {
            split: _indicators(source, lists, index, unlabelled, columns) for split, lists in given.items()
        }
    else:
        arrays = {
            split: np.array([IGNORED if v in unlabelled else index[v] for v in values], dtype=np.int64)
            for split, values in given.items()
        }
    return arrays, names


def _check_known(
    source: TargetSource, given: Mapping[str, Sequence[Any]], known: set[Any], columns: Columns
) -> None:
    """Refuse numbers of classes beyond the names that the file itself has for them."""
    for values in given.values():
        lists = values if columns.task == "text-multilabel" else [values]
        for number in {v for some in lists for v in some or ()} - known:
            raise DataError(
                f"{source.name}: {columns.label} holds a class without a name.",
                why=f"one label is {number}, and there are names for 0, 1, 2, … only",
            )


def _numbers(source: TargetSource, split: str, name: str, values: Sequence[Any]) -> NDArray[np.float64]:
    """Real numbers; what is missing is NaN, and does not count."""
    numbers = np.array([_number(value) for value in values], dtype=np.float64)
    for row in np.flatnonzero(np.isinf(numbers))[:1]:
        raise DataError(
            f"{source.name}: {name} holds something that is no number.",
            why=f'one label of {split} is "{str(values[row])[:60]}"',
            fix="leave the label empty where it is not known",
        )
    return numbers


def _number(value: Any) -> float:
    """A label as a number: NaN where it is missing, infinity where it is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.inf


def _whole(source: TargetSource, value: Any, columns: Columns) -> Any:
    """A label, or a list of them, as names or whole numbers: 1.0 is class 1, and NaN is missing.

    Raises:
        DataError: it is a fraction, or no label at all.
    """
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if not value.is_integer():
            raise DataError(
                f"{source.name}: {columns.label} holds real numbers, which are no classes.",
                why=f"one of them is {value:g}",
                fix="--task " + columns.task.replace("classification", "regression"),
            )
        return int(value)
    if isinstance(value, list) and columns.task == "text-multilabel":
        return [_whole(source, v, columns) for v in value]
    if isinstance(value, list | dict):
        raise DataError(
            f"{source.name}: {columns.label} holds something that is no label.",
            why=f"one row holds {str(value)[:60]}",
        )
    return value


def _ordered(
    source: TargetSource,
    given: Mapping[str, Sequence[Any]],
    unlabelled: Sequence[Any],
    columns: Columns,
) -> list[Any]:
    """The labels that occur; those of the test split alone come last, where no head has outputs for them."""
    seen: dict[bool, set[Any]] = {False: set(), True: set()}
    for split, values in given.items():
        lists = values if columns.task == "text-multilabel" else [values]
        seen[split == "test"].update(v for some in lists for v in some or () if v not in unlabelled)
    try:
        return [*sorted(seen[False]), *sorted(seen[True] - seen[False])]
    except TypeError as error:
        kinds = sorted({type(value).__name__ for values in seen.values() for value in values})
        raise DataError(
            f"{source.name}: {columns.label} holds labels of several kinds.",
            why=f"it holds {' and '.join(kinds)}",
            fix="write all of them as text, or all as numbers",
        ) from error


def _indicators(
    source: TargetSource,
    lists: Sequence[Any],
    index: Mapping[Any, int],
    unlabelled: Sequence[Any],
    columns: Columns,
) -> NDArray[np.float64]:
    """(n, c): whether each text has each label; a row of NaN where that is not known."""
    labels = np.zeros((len(lists), len(index)))
    for i, some in enumerate(lists):
        if some is None or any(v in unlabelled for v in some):
            labels[i] = np.nan
            continue
        if len(set(some)) < len(some):
            raise DataError(
                f"{source.name}: {columns.label} names a label twice for one text.",
                why=f"it holds {str(some)[:60]}",
                fix="list the names of a text's labels, each once; labels of words go with a column of words",
            )
        labels[i, [index[v] for v in some]] = 1
    return labels


def _folded(
    source: TargetSource, labels: Labels, classes: Classes, columns: Columns
) -> tuple[Labels, Classes]:
    """With B-X, I-X and their kin as one class X; O stays."""
    tags = [_TAG.fullmatch(name) for name in classes]
    strange = [name for name, tag in zip(classes, tags, strict=True) if name != "O" and not tag]
    if columns.task != "token-classification" or strange or not any(tags):
        raise UsageError(
            f"{source.name}: {columns.label} holds no B-/I-/O tags of words to fold.",
            why=f'one of its classes is "{strange[0]}"' if strange else f"it is a {columns.task}",
            fix="leave out --fold-bio",
        )
    names = [tag[1] if tag else name for name, tag in zip(classes, tags, strict=True)]
    kinds = list(dict.fromkeys(names))
    # What does not count is -100, and takes the last place.
    index = np.array([*map(kinds.index, names), IGNORED], dtype=np.int64)
    return {split: index[np.maximum(values, -1)] for split, values in labels.items()}, tuple(kinds)


def _check_varied(
    source: TargetSource, labels: NDArray[Any], classes: Sequence[str], columns: Columns
) -> None:
    """Refuse a target on which there is nothing to learn, before any checkpoint runs."""
    name = columns.label
    given = labels[counted(labels)]
    if not given.size:
        raise DataError(f"{source.name} has no labelled examples.", why=f"no row of {name} holds a label")
    if columns.task == "text-multilabel":
        if not np.ptp(given, axis=0).any():
            raise DataError(
                f"{source.name} has the same labels everywhere in {name}.",
                why="there is nothing to tell apart",
            )
        return
    n_values = len(np.unique(given))
    if classes and n_values == len(given) > _FEW:
        raise DataError(
            f"{source.name} has a class of its own for each of its {n_values} examples in {name}.",
            why="there is nothing to learn from one example a class",
            fix=f"name another --label-column{_or_regression(columns)}",
        )
    if n_values > 1:
        return
    if classes:
        raise DataError(
            f"{source.name} has one class only ({classes[int(given[0])]}) in {name}.",
            why="there is nothing to tell apart",
        )
    raise DataError(
        f"{source.name} has the same value everywhere in {name}.", why="there is nothing to predict"
    )


def _or_regression(columns: Columns) -> str:
    """What else to do where a column of classes looks like one of numbers."""
    if columns.task == "text-multilabel":
        return ""
    return f", or --task {columns.task.replace('classification', 'regression')} if these are numbers"
