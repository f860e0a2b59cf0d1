"""Metrics against spans counted by hand and against numpy; and that they ask nobody for anything."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from datasets import Features, Value
from hypothesis import given
from hypothesis import strategies as st

from tests.reference.examples import STEADY, seeds
from zookeeper.errors import UsageError
from zookeeper.records import IGNORED, Target, Task
from zookeeper.tuning.metrics import METRICS, Accuracy, Pearson, SpanF1, measure, metric_of

TAGS = ("O", "B-X", "I-X", "B-Y", "I-Y")


def target(task: Task, classes: tuple[str, ...] = ()) -> Target:
    return Target("t", "d", "0" * 40, None, task, "text", "label", classes, {}, {}, "0" * 64)


def span_f1(predictions: str, references: str, lengths: list[int] | None = None) -> float | None:
    """Of tags with a blank between them; _ does not count."""
    made = np.array([TAGS.index(tag) for tag in predictions.split()])
    truth = np.array([IGNORED if tag == "_" else TAGS.index(tag) for tag in references.split()])
    return measure("span_f1", made, truth, classes=TAGS, lengths=lengths or [len(truth)])


# Which metric


@pytest.mark.parametrize(
    ("task", "classes", "metric"),
    [
        ("token-classification", ("O", "B-NP", "I-NP"), "span_f1"),
        ("token-classification", ("B-NP", "O"), "span_f1"),
        ("token-classification", ("O", "I-PER", "B-PER", "I-LOC"), "span_f1"),
        ("token-classification", ("S-A", "E-A", "I-A", "B-A", "O"), "span_f1"),
        ("token-classification", ("DT", "NN", "VB"), "accuracy"),
        ("token-classification", ("DT", "NN", "O"), "accuracy"),
        ("token-classification", ("B-NP", "I-NP"), "accuracy"),
        ("token-classification", ("O",), "accuracy"),
        ("text-classification", ("O", "B-NP", "I-NP"), "accuracy"),
        ("text-classification", ("negative", "positive"), "accuracy"),
        ("token-regression", (), "pearson"),
        ("text-regression", (), "pearson"),
        ("pair-classification", ("B-X", "O"), "accuracy"),
        ("pair-regression", (), "pearson"),
    ],
)
def test_target_has_the_metric_of_its_kind(task: Task, classes: tuple[str, ...], metric: str) -> None:
    assert metric_of(target(task, classes)) == metric
    assert metric in METRICS


def test_several_labels_at_once_have_no_metric_yet() -> None:
    with pytest.raises(UsageError, match="several labels at once") as caught:
        metric_of(target("text-multilabel", ("joy", "fear")))
    assert caught.value.why == "label of t holds a list of labels for each text"


# Spans


@pytest.mark.parametrize(
    ("predictions", "references", "right", "made", "true"),
    [
        ("B-X I-X O B-Y", "B-X I-X O B-Y", 2, 2, 2),
        ("B-X I-X I-X O", "B-X I-X O O", 0, 1, 1),  # one word too many
        ("O B-X O O", "B-X I-X O O", 0, 1, 1),  # one too few
        ("B-Y I-Y O O", "B-X I-X O O", 0, 1, 1),  # another type
        ("B-X B-X O O", "B-X I-X O O", 0, 2, 1),  # B- always starts a span
        ("B-X I-X B-X I-X", "B-X I-X B-X I-X", 2, 2, 2),  # adjacent spans
        ("O I-X I-X O", "O B-X I-X O", 1, 1, 1),  # I- after O starts a span
        ("I-X I-X O O", "B-X I-X O O", 1, 1, 1),  # so does the first word's
        ("B-X I-Y I-Y O", "B-X B-Y I-Y O", 2, 2, 2),  # and an I- of another type
        ("B-X I-Y O O", "B-X I-X O O", 0, 2, 1),
        ("O O O B-X", "B-Y O O B-X", 1, 1, 2),
        ("O O O O", "B-X I-X O O", 0, 0, 1),
        ("B-X O O O", "O O O O", 0, 1, 0),
        ("O O O O", "O O O O", 0, 0, 0),
    ],
)
def test_spans_are_counted_as_by_hand(
    predictions: str, references: str, right: int, made: int, true: int
) -> None:
    results = SpanF1(keep_in_memory=True).compute(
        predictions=[predictions.split()], references=[references.split()]
    )
    assert results["precision"] == pytest.approx(right / made if made else 0)
    assert results["recall"] == pytest.approx(right / true if true else 0)
    assert results["span_f1"] == pytest.approx(2 * right / (made + true) if made + true else 0)
    assert span_f1(predictions, references) == pytest.approx(results["span_f1"])


def test_span_ends_with_its_sentence() -> None:
    whole = span_f1("B-X I-X I-X I-X", "B-X I-X B-X I-X", [4])
    split = span_f1("B-X I-X I-X I-X", "B-X I-X B-X I-X", [2, 2])
    assert (whole, split) == (0, 1)


def test_span_f1_is_over_all_sentences_and_types_at_once() -> None:
    made, truth = "B-X O B-Y O O B-X B-X", "B-X O O O B-Y B-X O"
    assert span_f1(made, truth, [2, 3, 2]) == pytest.approx(2 * 2 / (4 + 3))


@pytest.mark.parametrize("lengths", [[0, 4], [2, 0, 2], [4, 0], [0, 0, 4, 0]])
def test_empty_sentences_do_not_count(lengths: list[int]) -> None:
    assert span_f1("B-X I-X O B-Y", "B-X I-X O B-X", lengths) == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", ["B-X", "I-Y", "O"])
def test_rows_without_a_label_do_not_count_in_spans(wrong: str) -> None:
    assert span_f1(f"B-X O {wrong} B-Y", "B-X O _ B-Y") == 1
    assert span_f1(f"{wrong} B-X {wrong} I-X", "_ B-X _ I-X", [2, 2]) == 1
    assert span_f1(f"B-Y O {wrong} B-Y", "B-X O _ B-Y") == 0.5


@STEADY
@given(data=st.data(), lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(sum))
def test_span_f1_is_that_of_spans_found_one_by_one(data: st.DataObject, lengths: list[int]) -> None:
    tags = st.lists(st.sampled_from(TAGS), min_size=sum(lengths), max_size=sum(lengths))
    made, truth = data.draw(tags), data.draw(tags)
    a, b = literal_spans(made, lengths), literal_spans(truth, lengths)
    expected = 2 * len(a & b) / (len(a) + len(b)) if a or b else 0
    assert span_f1(" ".join(made), " ".join(truth), lengths) == pytest.approx(expected)


def literal_spans(tags: list[str], lengths: list[int]) -> set[tuple[str, int, int]]:
    """(type, first, last) as conlleval finds them: B-, or I- after anything but the same type, starts one."""
    spans: list[list[Any]] = []
    position = 0
    for length in lengths:
        inside = None
        for tag in tags[position : position + length]:
            prefix, _, kind = tag.partition("-")
            if prefix == "B" or (prefix == "I" and inside != kind):
                spans.append([kind, position, position])
            elif prefix == "I":
                spans[-1][2] = position
            inside = kind or None
            position += 1
    return {(kind, first, last) for kind, first, last in spans}


# Accuracy and correlation


def test_accuracy_is_the_share_that_is_right() -> None:
    made, truth = np.array([0, 1, 2, 2, 1]), np.array([0, 1, 1, 2, 0])
    assert measure("accuracy", made, truth) == pytest.approx(3 / 5)
    assert measure("accuracy", made, made) == 1
    assert measure("accuracy", made, made + 1) == 0


def test_rows_without_a_label_do_not_count_in_accuracy() -> None:
    made, truth = np.array([0, 1, 2, 2, 1]), np.array([0, IGNORED, 1, IGNORED, 1])
    assert measure("accuracy", made, truth) == pytest.approx(2 / 3)


@STEADY
@given(seed=seeds)
def test_pearson_is_that_of_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rng.integers(3, 50))
    b = rng.normal() * a + rng.normal(size=len(a)) + 100 * rng.normal()
    assert measure("pearson", a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    assert measure("pearson", 7 * a - 3, a) == pytest.approx(1)
    assert measure("pearson", -a, a) == pytest.approx(-1)


def test_real_labels_all_count_but_those_that_are_missing() -> None:
    a, b = np.array([1.0, 2.0, 3.0, -100.0]), np.array([1.0, 2.0, 4.0, -100.0])
    assert measure("pearson", a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    more, missing = np.append(a, [50.0, -7.0]), np.append(b, [np.nan, np.nan])
    assert measure("pearson", more, missing) == measure("pearson", a, b)


@pytest.mark.parametrize(
    ("made", "truth"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]),
        ([1.0], [2.0]),
        ([], []),
        ([1.0, 2.0], [np.nan, np.nan]),
        ([1.0, 2.0, 3.0], [np.nan, 0.1, np.nan]),
    ],
)
def test_undefined_correlation_is_none(made: list[float], truth: list[float]) -> None:
    assert measure("pearson", np.array(made), np.array(truth)) is None


@pytest.mark.parametrize("metric", ["accuracy", "span_f1"])
def test_metric_of_no_labels_is_none(metric: str) -> None:
    made, truth = np.array([0, 1]), np.array([IGNORED, IGNORED])
    assert measure(metric, made, truth, classes=TAGS, lengths=[1, 1]) is None


# Company


class Error(evaluate.Metric):  # type: ignore[misc]
    """Somebody else's metric."""

    def _info(self) -> evaluate.MetricInfo:
        kinds = Features({"predictions": Value("float64"), "references": Value("float64")})
        return evaluate.MetricInfo(description="", citation="", features=kinds)

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"error": float(np.mean(np.abs(np.subtract(predictions, references))))}


def test_metrics_combine_with_others() -> None:
    both = evaluate.combine([Pearson(), Error()])
    results = both.compute(predictions=[1.0, 2.0, 4.0], references=[2.0, 3.0, 5.0])
    assert results == {"pearson": pytest.approx(1), "error": pytest.approx(1)}


@pytest.mark.parametrize("kind", METRICS.values())
def test_metrics_add_up_batch_by_batch(kind: type[evaluate.Metric]) -> None:
    batches = {
        Accuracy: ([[0, 1], [2]], [[0, 1], [1]], {"accuracy": 2 / 3}),
        Pearson: ([[0.0, 1.0], [5.0]], [[0.0, 2.0], [10.0]], {"pearson": 1.0}),
        SpanF1: ([[["B-X"]], [["O"]]], [[["B-X"]], [["B-Y"]]], {"span_f1": 2 / 3}),
    }
    metric = kind()
    made, truth, expected = batches[kind]
    for predictions, references in zip(made, truth, strict=True):
        metric.add_batch(predictions=predictions, references=references)
    results = metric.compute()
    assert {name: results[name] for name in expected} == pytest.approx(expected)


def test_metrics_write_to_temporary_folders_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[str] = []
    watching = True

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR):
            written.append(args[0])
        if watching and event in ("socket.connect", "socket.getaddrinfo"):
            written.append(event)

    sys.addaudithook(watch)
    try:
        (tmp_path / "seen").touch()
        measure("span_f1", np.array([1]), np.array([1]), classes=TAGS, lengths=[1])
        measure("accuracy", np.array([1]), np.array([1]))
        measure("pearson", np.array([1.0, 2.0]), np.array([1.0, 2.0]))
        assert written == [str(tmp_path / "seen")]
        Accuracy().compute(predictions=[1], references=[1])
    finally:
        watching = False
    roots = (tempfile.gettempdir(), os.devnull)
    assert [path for path in written if not str(Path(path).absolute()).startswith(roots)] == []
    assert [path.name for path in tmp_path.iterdir()] == ["seen"]
