"""Extractive question answering as tags of words.

A question and its context become one sentence, in which the words of the answer are a span. So any checkpoint
that gives features of words can be ranked and tuned for it, with the head and the metric of any other span.
"""

from __future__ import annotations

import re
from typing import Any

import datasets
from datasets import ClassLabel, Features, List, Value

from zookeeper.data.columns import Columns
from zookeeper.errors import DataError
from zookeeper.records import TargetSource

TAGS = ("O", "B-ANSWER", "I-ANSWER")
_FIELDS = ("text", "answer_start")
_O, _B, _I = range(len(TAGS))


def tagged(source: TargetSource, split: str, table: datasets.Dataset, columns: Columns) -> datasets.Dataset:
    """Questions with contexts and answers, as SQuAD has them, as a table of words and a tag for each.

    The first of a row's answers counts, in every split; a row without any is one without a span. A word
    belongs to the answer if any of its characters does. Tags of words are judged by F1 of exact spans,
    which is stricter than SQuAD's, of words that answers share. Answers as tags: Segal et al. 2020,
    https://arxiv.org/abs/1909.13375.

    Args:
        source: named in errors.
        split: likewise.
        table: with texts in both columns of texts, and in that of labels ``{"text": [...], "answer_start":
            [...]}``, or a list of such pairs.
        columns: of a question answering.

    Returns:
        The same rows: words of question and context in the first column of texts, tags in that of labels;
        None for the words of the question, which do not count.

    Raises:
        DataError: an answer lies outside its context, or something is no text or no answer.
    """
    question, context = columns.texts
    words: list[list[str]] = []
    tags: list[list[int | None]] = []
    rows = zip(table[question], table[context], table[columns.label], strict=True)
    for asked, told, answers in rows:
        try:
            before = _text(asked).split()
            found, span = _words(_text(told), _first(answers))
        except ValueError as error:
            raise DataError(
                f"{source.name}: a row of {split} is no {question} with {columns.label} in its {context}.",
                why=f'{error}; it asks "{str(asked)[:60]}"',
            ) from error
        words.append(before + found)
        tags.append([*[None] * len(before), *span])
    features = Features({question: List(Value("string")), columns.label: List(ClassLabel(names=list(TAGS)))})
    return datasets.Dataset.from_dict({question: words, columns.label: tags}, features=features)


def _text(value: Any) -> str:
    """A text; a missing one is empty."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{str(value)[:60]} is no text")
    return value or ""


def _words(context: str, answer: tuple[str, int] | None) -> tuple[list[str], list[int | None]]:
    """The words of a context, and the tag of each.

    Where the answer is said to be counts, not what it is: SQuAD has some that differ by a character.

    Raises:
        ValueError: the answer lies outside.
    """
    matches = list(re.finditer(r"\S+", context))
    first, end = (answer[1], answer[1] + len(answer[0])) if answer else (0, 0)
    if first < 0 or end > len(context):
        raise ValueError(f"its answer takes characters {first} to {end} of {len(context)}")
    inside = [match.start() < end and match.end() > first for match in matches]
    tags: list[int | None] = [_I if touched else _O for touched in inside]
    if any(inside):
        tags[inside.index(True)] = _B
    return [match.group() for match in matches], tags


def _first(answers: Any) -> tuple[str, int] | None:
    """The first answer and the character at which it begins; None where there is none.

    Raises:
        ValueError: it is no such thing.
    """
    one = answers
    if isinstance(answers, list):
        one = answers[0] if answers else None
    if one is None:
        return None
    if not isinstance(one, dict) or not one.keys() >= {*_FIELDS}:
        raise ValueError(f"{str(one)[:60]} has no text and answer_start")
    text, start = (next(iter(v), None) if isinstance(v, list) else v for v in map(one.get, _FIELDS))
    if not text:
        return None
    if not isinstance(text, str) or not isinstance(start, int):
        raise ValueError(f"{str(one)[:60]} does not say where it begins")
    return text, start
