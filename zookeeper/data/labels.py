"""Columns of tables as sentences, labels and classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import ClassLabel, List, Value
from numpy.typing import NDArray

from zookeeper.errors import DataError
from zookeeper.records import IGNORED, Corpus, Labelled, Target, TargetSource, Task, Unit, counted, digest_of

# A handful of examples may well be of a class each; a file of them is a column of ids.
_FEW = 20
_TEXTS = ("tokens", "words", "form", "text", "sentence", "question", "content", "review")
_LABELS = ("label", "labels", "tag", "tags", "ner_tags", "chunk_tags", "pos_tags", "upos", "class", "score")


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
        max_examples: at most so many sentences of each split.

    Raises:
        DataError: they cannot be read as a target, or there is nothing to learn from them.
    """
    first = next(iter(tables.values()))
    text = _column(source, first, source.text_column, _TEXTS, "text")
    label = _column(source, first, source.label_column, _LABELS, "label", not_this=text)
    task = _task(source, first, text, label)
    _check_alike(source, tables, text, label, task)
    drawn = {split: _draw(table, max_examples) for split, table in tables.items()}
    texts = {split: _sentences(table[text], task) for split, table in drawn.items()}
    flat = {split: _flat(source, split, texts[split], drawn[split][label], task) for split in drawn}
    values, classes = _labels(source, flat, first, label, task)
    unit: Unit = "word" if task.startswith("token") else "sentence"
    data = {split: Labelled(Corpus(texts[split], unit), values[split]) for split in drawn}
    _check_varied(source, next(iter(data.values())).labels, classes)
    summary = Target(
        name=source.name,
        dataset=Path(source.dataset).name if local else source.dataset,
        commit=commit,
        config=source.config,
        task=task,
        text_column=text,
        label_column=label,
        classes=classes,
        examples={split: len(d.corpus.sentences) for split, d in data.items()},
        rows={split: int(counted(d.labels).sum()) for split, d in data.items()},
        available={split: len(tables[split]) for split in data},
        fingerprint=digest_of([[s, d.corpus.digest, d.labels.tolist()] for s, d in data.items()] + [classes]),
        local=local,
    )
    return summary, data


def _column(
    source: TargetSource,
    table: datasets.Dataset,
    asked: str | None,
    usual: Sequence[str],
    what: str,
    not_this: str | None = None,
) -> str:
    names = table.column_names
    if asked is not None:
        if asked in names:
            return asked
        raise DataError(f'{source.name} has no column "{asked}".', why=f"it has: {', '.join(names)}")
    found = [name for name in usual if name in names and name != not_this]
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"cannot tell which column of {source.name} holds the {what}.",
        why=f"it has: {', '.join(names)}",
        fix=f"name it with --{what}-column, or all with --columns A,B,… if the file has no line of names",
    )


def _task(source: TargetSource, table: datasets.Dataset, text: str, label: str) -> Task:
    """What is predicted of what: as asked, or by the types of the columns.

    Raises:
        DataError: the columns do not go with each other, or not with the task.
    """
    kind, labels = table.features[text], table.features[label]
    listed = isinstance(labels, List)
    if isinstance(kind, List) != listed:
        raise DataError(
            f"the columns {text} and {label} of {source.name} do not go together.",
            why="one holds lists (a label for each word), the other does not",
        )
    if source.task:
        if source.task.startswith("token") != listed:
            raise DataError(
                f"{source.name} is no {source.task}.",
                why=f"{label} holds a label for each {'word' if listed else 'text'}",
            )
        return source.task
    inner = labels.feature if listed else labels
    real = isinstance(inner, Value) and inner.dtype.startswith(("float", "double"))
    if listed:
        return "token-regression" if real else "token-classification"
    return "text-regression" if real else "text-classification"


def _check_alike(
    source: TargetSource, tables: Mapping[str, datasets.Dataset], text: str, label: str, task: Task
) -> None:
    """Refuse splits that lack a column, or whose classes are of another kind than those of the others."""
    for split, table in tables.items():
        for name in {text, label}.difference(table.column_names):
            raise DataError(
                f"{source.name}: the {split} split has no column {name}.",
                why=f"it has: {', '.join(table.column_names)}",
            )
    kinds = {split: str(table.features[label]) for split, table in tables.items()}
    given = {kind for kind in kinds.values() if "null" not in kind}  # a split without any label
    if task.endswith("classification") and len(given) > 1:
        raise DataError(
            f"the splits of {source.name} do not agree on what {label} holds.",
            why=", ".join(f"{split}: {kind}" for split, kind in kinds.items()),
        )


def _draw(table: datasets.Dataset, max_examples: int | None) -> datasets.Dataset:
    """At most `max_examples` rows in their order, drawn with a fixed seed: files may be sorted by class."""
    if max_examples is None or len(table) <= max_examples:
        return table
    chosen = np.random.default_rng(0).permutation(len(table))[:max_examples]
    return table.select(np.sort(chosen), keep_in_memory=True)


def _sentences(column: Iterable[Any], task: Task) -> tuple[tuple[str, ...], ...]:
    if task.startswith("token"):
        return tuple(tuple(map(str, words or ())) for words in column)
    return tuple(() if text is None else tuple(str(text).split()) for text in column)


def _flat(
    source: TargetSource, split: str, sentences: Sequence[Sequence[str]], column: Iterable[Any], task: Task
) -> list[Any]:
    """The labels of a split, one for each row of features."""
    if not task.startswith("token"):
        return list(column)
    flat: list[Any] = []
    for words, given in zip(sentences, column, strict=True):
        labels = given or ()
        if len(words) != len(labels):
            raise DataError(
                f"{source.name}: a sentence of {split} has {len(words)} words but {len(labels)} labels.",
                why=f'it begins "{" ".join(words[:6])}"',
            )
        flat += labels
    return flat


def _labels(
    source: TargetSource,
    flat: Mapping[str, Sequence[Any]],
    table: datasets.Dataset,
    name: str,
    task: Task,
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Labels of each split as an array, and the names of the classes."""
    if task.endswith("regression"):
        return {split: _numbers(source, split, name, values) for split, values in flat.items()}, ()
    feature = table.features[name].feature if task.startswith("token") else table.features[name]
    if isinstance(feature, ClassLabel):
        classes = tuple(feature.names)
        unlabelled = (None, IGNORED, -1)
        return {
            split: np.array([IGNORED if v in unlabelled else v for v in values], dtype=np.int64)
            for split, values in flat.items()
        }, classes
    # Classes that only the test split has come last, where no head has an output for them.
    seen = {
        v for split, values in flat.items() if split != "test" for v in values if v not in (None, IGNORED)
    }
    late = {v for v in flat.get("test", ()) if v not in (None, IGNORED)} - seen
    ordered = [*sorted(seen), *sorted(late)]
    index = {value: i for i, value in enumerate(ordered)}
    return {
        split: np.array([index.get(v, IGNORED) for v in values], dtype=np.int64)
        for split, values in flat.items()
    }, tuple(map(str, ordered))


def _numbers(source: TargetSource, split: str, name: str, values: Sequence[Any]) -> NDArray[np.float64]:
    problem = f"{source.name}: {name} holds something that is no number."
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(problem, why=str(error)) from error
    missing = int((~np.isfinite(numbers)).sum())
    if missing:
        raise DataError(
            problem, why=f"{missing} of the {len(numbers)} values of {split} are missing or infinite"
        )
    return numbers


def _check_varied(source: TargetSource, labels: NDArray[Any], classes: Sequence[str]) -> None:
    """Refuse a target on which there is nothing to learn, before any checkpoint runs."""
    given = labels[counted(labels)]
    if not len(given):
        raise DataError(f"{source.name} has no labelled examples.")
    n_values = len(np.unique(given))
    if classes and n_values == len(given) > _FEW:
        raise DataError(
            f"{source.name} has a class of its own for each of its {n_values} examples.",
            why="there is nothing to learn from one example a class",
            fix="name another --label-column, or --task text-regression if these are numbers",
        )
    if n_values > 1:
        return
    if classes:
        raise DataError(
            f"{source.name} has one class only ({classes[int(given[0])]}).",
            why="there is nothing to tell apart",
        )
    raise DataError(f"{source.name} has the same value everywhere.", why="there is nothing to predict")
