"""Which columns of a table hold texts and labels, and what is predicted of what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
from datasets import ClassLabel, Json, LargeList, List, Value

from zookeeper.errors import DataError
from zookeeper.records import TargetSource, Task, Unit, unit_of

_TEXTS = ("tokens", "words", "form", "text", "sentence", "question", "content", "review")
_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("query", "document"),
)
_ANSWERS = ("question", "context", "answers")
_LABELS = ("label", "labels", "tag", "tags", "ner_tags", "chunk_tags", "pos_tags", "upos", "class", "score")

_HOLDS = {
    "token": "a label for each word",
    "text": "one label for each text",
    "pair": "one label for each pair of texts",
    "text-multilabel": "a list of labels for each text",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what.

    Attributes:
        texts: of texts or lists of words; two for pairs, and for questions with contexts.
        label: of labels, or lists of them; of answers to questions.
        task: what is predicted of what.
    """

    texts: tuple[str, ...]
    label: str
    task: Task

    @property
    def unit(self) -> Unit:
        """What has a label."""
        return unit_of(self.task)


def columns_of(source: TargetSource, table: datasets.Dataset) -> Columns:
    """The columns of a target, as they were named or by their usual names, and its task by their types.

    Raises:
        DataError: they cannot be told, or do not go with each other or with the task that was asked for.
    """
    if answered := _answered(source, table):
        return answered
    texts = _texts(source, table)
    label = _one(source, table, source.label_column, _LABELS, "label", taken=texts)
    return Columns(texts, label, _task(source, table, texts, label))


def check_alike(source: TargetSource, tables: Mapping[str, datasets.Dataset], columns: Columns) -> None:
    """Refuse splits that lack a column, or that hold something else in it than the others.

    Raises:
        DataError: with the column, and what each split has.
    """
    for split, table in tables.items():
        for name in (*columns.texts, columns.label):
            if name not in table.column_names:
                raise DataError(
                    f"{source.name}: the {split} split has no column {name}.",
                    why=f"it has: {', '.join(table.column_names)}",
                )
    for name in (*columns.texts, columns.label):
        kinds = {split: table.features[name] for split, table in tables.items()}
        given = [kind for kind in kinds.values() if not _blank(kind)]
        exact = name == columns.label and columns.task.endswith(("classification", "multilabel"))
        if len({_shown(kind) if exact else str(_listed(kind)) for kind in given}) > 1:
            raise DataError(
                f"the splits of {source.name} do not agree on what {name} holds.",
                why=", ".join(f"{split}: {_shown(kind)}" for split, kind in kinds.items()),
            )


def inner(feature: Any) -> Any:
    """What a list is of; of anything else itself."""
    return feature.feature if _listed(feature) else feature


def _answered(source: TargetSource, table: datasets.Dataset) -> Columns | None:
    """The columns of questions, contexts and answers, if that is what was asked for or what they are called.

    Raises:
        DataError: it was asked for, and one is not there or holds no answers.
    """
    named = (source.text_column, source.pair_column, source.label_column)
    question, context, answers = (name or usual for name, usual in zip(named, _ANSWERS, strict=True))
    if source.task is None:
        there = not any(named) and {*_ANSWERS} <= {*table.column_names}
        if not there or not _holds_answers(table.features[answers]):
            return None
    elif source.task != "question-answering":
        return None
    for name in (question, context, answers):
        _check_there(source, table, name)
    if not _holds_answers(table.features[answers]):
        raise DataError(
            f"{source.name}: the column {answers} holds no answers.",
            why=f"it holds {_shown(table.features[answers])}",
            fix='answers are {"text": [...], "answer_start": [...]}, in .jsonl and .parquet',
        )
    return Columns((question, context), answers, "question-answering")


def _holds_answers(feature: Any) -> bool:
    """Whether a column is of texts and where they begin, or of lists of such pairs."""
    fields = inner(feature)
    return isinstance(fields, dict) and fields.keys() >= {"text", "answer_start"}


def _texts(source: TargetSource, table: datasets.Dataset) -> tuple[str, ...]:
    """The column of texts, or both columns of pairs."""
    first, second = source.text_column, source.pair_column
    for name in (first, second):
        _check_there(source, table, name)
    if first is not None and second is not None:
        if first == second:
            raise DataError(f"{source.name}: the two texts of a pair are not both in {first}.")
        return first, second
    # A text that is named alone is no half of a pair, unless pairs were asked for.
    wanted = second is not None or (source.task or "").startswith("pair")
    if not wanted and (first is not None or source.task is not None):
        return (_one(source, table, first, _TEXTS, "text"),)
    free = set(table.column_names) - {source.label_column}
    pairs = [
        pair
        for pair in _PAIRS
        if free.issuperset(pair) and first in (None, pair[0]) and second in (None, pair[1])
    ]
    singles = [name for name in _TEXTS if name in free and not any(name in pair for pair in pairs)]
    if len(pairs) == 1 and (wanted or not singles):
        return pairs[0]
    if pairs or (wanted and second is None):
        raise _untold(source, table, "texts" if wanted else "text", "--text-column and --pair-column")
    if second is None:
        return (_one(source, table, None, _TEXTS, "text"),)
    return _one(source, table, None, _TEXTS, "text", taken=(second,)), second


def _one(
    source: TargetSource,
    table: datasets.Dataset,
    asked: str | None,
    usual: Sequence[str],
    what: str,
    taken: Sequence[str] = (),
) -> str:
    """The column that was asked for, or the only one with a usual name."""
    if asked is not None:
        _check_there(source, table, asked)
        if asked in taken:
            raise DataError(f"{source.name}: the column {asked} cannot hold both text and label.")
        return asked
    found = [name for name in usual if name in table.column_names and name not in taken]
    if len(found) == 1:
        return found[0]
    raise _untold(
        source,
        table,
        what,
        "--text-column (of pairs also --pair-column)" if what == "text" else "--label-column",
    )


def _check_there(source: TargetSource, table: datasets.Dataset, name: str | None) -> None:
    if name is not None and name not in table.column_names:
        raise DataError(
            f'{source.name} has no column "{name}".', why=f"it has: {', '.join(table.column_names)}"
        )


def _untold(source: TargetSource, table: datasets.Dataset, what: str, how: str) -> DataError:
    return DataError(
        f"cannot tell which columns of {source.name} hold the two texts."
        if what == "texts"
        else f"cannot tell which column of {source.name} holds the {what}.",
        why=f"it has: {', '.join(table.column_names)}",
        fix=f"name it with {how}, or all with --columns A,B,… if the file has no line of names",
    )


def _task(source: TargetSource, table: datasets.Dataset, texts: Sequence[str], label: str) -> Task:
    """What is predicted of what: as asked, or by the types of the columns."""
    for name in (*texts, label):
        if not isinstance(inner(table.features[name]), Value | ClassLabel | Json):
            raise DataError(
                f"{source.name}: the column {name} holds neither texts, labels nor lists of them.",
                why=f"it holds {_shown(table.features[name])}",
                fix=f"name another with --{'label' if name == label else 'text'}-column",
            )
    kind = inner(table.features[label])
    real = isinstance(kind, Value) and kind.dtype.startswith(("float", "double"))
    words = any(_listed(table.features[text]) for text in texts)
    found: Task
    match (len(texts), words, _listed(table.features[label])):
        case (1, True, True):
            found = "token-regression" if real else "token-classification"
        case (1, False, False):
            found = "text-regression" if real else "text-classification"
        case (2, False, False):
            found = "pair-regression" if real else "pair-classification"
        # Lists of real numbers are vectors, and no names of classes.
        case (1, False, True) if not real and not (source.task or "").startswith("token"):
            found = "text-multilabel"
        case _:
            raise DataError(
                f"the columns {', '.join(texts)} and {label} of {source.name} do not go together.",
                why="a pair is of two texts, with one label"
                if len(texts) == 2
                else "one holds lists (a label for each word), the other does not",
            )
    if source.task is None:
        return found
    if _form(source.task) != _form(found):
        raise DataError(
            f"{source.name} is no {source.task}.",
            why=f"{label} holds {_HOLDS[_form(found)]}",
            fix="lists are read from .jsonl and .parquet"
            if source.task == "text-multilabel"
            else f"--task {found}",
        )
    return source.task


def _form(task: Task) -> str:
    """What has labels, and whether one or several."""
    return task if task == "text-multilabel" else task.split("-")[0]


def _listed(feature: Any) -> bool:
    return isinstance(feature, List | LargeList)


def _blank(feature: Any) -> bool:
    """Whether a column holds nothing at all."""
    kind = inner(feature)
    return isinstance(kind, Value) and kind.dtype == "null"


def _shown(feature: Any) -> str:
    """The type of a column, whichever of two widths the file has."""
    return str(feature).replace("large_string", "string").replace("LargeList", "List")
