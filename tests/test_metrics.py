"""Metrics against spans counted by hand, by conlleval's rules and by seqeval; and metrics of others."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from datasets import Features, Value
from hypothesis import given
from hypothesis import strategies as st
from loopback import LoopbackHub
from seqeval.metrics import f1_score

from tests.reference import conlleval
from tests.reference.examples import STEADY, seeds
from zookeeper.errors import DataError, NotFoundError, OfflineError, UsageError, ZooError
from zookeeper.records import IGNORED, Target, Task
from zookeeper.tuning.metrics import METRICS, Judge, majority, metric_of
from zookeeper.tuning.modules import Accuracy, MicroF1, Pearson, SpanF1
from zookeeper.tuning.problem import Kind

TAGS = ("O", "B-X", "I-X", "B-Y", "I-Y")
IOBES = (*TAGS, "E-X", "S-X", "E-Y", "S-Y")
NAMES = ("a", "b", "c")


def target(task: Task, classes: tuple[str, ...] = ()) -> Target:
    return Target("t", "d", "0" * 40, None, task, "text", "label", classes, {}, {}, "0" * 64)


def span_f1(predictions: str, references: str, lengths: list[int] | None = None) -> float | None:
    """Of tags with a blank between them; _ does not count."""
    made = np.array([IOBES.index(tag) for tag in predictions.split()])
    truth = np.array([IGNORED if tag == "_" else IOBES.index(tag) for tag in references.split()])
    return Judge.of("span_f1", IOBES, "classes").measure(made, truth, lengths or [len(truth)])


def measured(
    metric: str, kind: Kind, made: Any, truth: Any, classes: tuple[str, ...] = NAMES
) -> float | None:
    """Of examples that are a sentence each."""
    made, truth = np.array(made), np.array(truth)
    judge = Judge.of(metric, () if kind == "numbers" else classes, kind)
    return judge.measure(made, truth, np.ones(len(truth), dtype=np.int64))


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
        ("question-answering", ("O", "B-ANSWER", "I-ANSWER"), "span_f1"),
        ("text-classification", ("O", "B-NP", "I-NP"), "accuracy"),
        ("text-classification", ("negative", "positive"), "accuracy"),
        ("text-multilabel", ("joy", "fear"), "f1_micro"),
        ("token-regression", (), "pearson"),
        ("text-regression", (), "pearson"),
        ("pair-classification", ("B-X", "O"), "accuracy"),
        ("pair-regression", (), "pearson"),
    ],
)
def test_target_has_the_metric_of_its_kind(task: Task, classes: tuple[str, ...], metric: str) -> None:
    assert metric_of(target(task, classes)) == metric
    assert metric in METRICS


@pytest.mark.parametrize(
    ("metric", "classes", "kind"),
    [
        ("span_f1", NAMES, "classes"),
        ("span_f1", ("B-X", "O", "X"), "classes"),
        ("span_f1", TAGS, "labels"),
        ("span_f1", (), "numbers"),
        ("accuracy", (), "numbers"),
        ("pearson", NAMES, "classes"),
        ("f1_micro", NAMES, "classes"),
        ("accuracy:precision", NAMES, "classes"),
        ("accuracy?average=macro", NAMES, "classes"),
        ("", NAMES, "classes"),
        ("accuracy?", NAMES, "classes"),
        ("?average=macro", NAMES, "classes"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_at_once(
    metric: str, classes: tuple[str, ...], kind: Kind
) -> None:
    with pytest.raises(UsageError):
        Judge.of(metric, classes, kind)


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
        ("S-X S-X O O", "B-X B-X O O", 2, 2, 2),  # S- is a span of its own
        ("B-X E-X I-X O", "B-X I-X B-X O", 2, 2, 2),  # E- ends one
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


def test_parts_of_span_f1_can_be_asked_for() -> None:
    made, truth = np.array([1, 0, 3, 0]), np.array([1, 0, 1, 1])
    values = {
        key: Judge.of(f"span_f1:{key}", TAGS, "classes").measure(made, truth, [4])
        for key in ("precision", "recall", "span_f1")
    }
    assert values == {"precision": 1 / 2, "recall": 1 / 3, "span_f1": 2 / 5}


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
    assert span_f1(f"{wrong} B-X B-X", "_ B-X I-X", [2, 1]) == 1


@STEADY
@given(
    data=st.data(),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(sum),
    scheme=st.sampled_from([("O", "I-X", "I-Y"), TAGS, IOBES]),
)
def test_span_f1_is_that_of_conlleval_and_of_seqeval(
    data: st.DataObject, lengths: list[int], scheme: tuple[str, ...]
) -> None:
    tags = st.lists(st.sampled_from(scheme), min_size=sum(lengths), max_size=sum(lengths))
    made, truth = data.draw(tags), data.draw(tags)
    ends = np.cumsum(lengths)
    sentences = [[side[e - n : e] for e, n in zip(ends, lengths, strict=True)] for side in (made, truth)]
    value = span_f1(" ".join(made), " ".join(truth), lengths)
    assert value == pytest.approx(conlleval.f1(*sentences))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert value == pytest.approx(f1_score(sentences[1], sentences[0], zero_division=0))
    assert SpanF1().compute(predictions=sentences[0], references=sentences[1])["span_f1"] == value


def test_what_are_no_tags_makes_no_spans() -> None:
    with pytest.raises(UsageError) as caught:
        Judge.of("span_f1", ("O", "B-X", "NOUN"), "classes")
    assert '"NOUN"' in str(caught.value.why)


# Accuracy, correlation, several labels


def test_accuracy_is_the_share_that_is_right() -> None:
    made, truth = np.array([0, 1, 2, 2, 1]), np.array([0, 1, 1, 2, 0])
    assert measured("accuracy", "classes", made, truth) == pytest.approx(3 / 5)
    assert measured("accuracy", "classes", made, made) == 1
    assert measured("accuracy", "classes", made, (made + 1) % 3) == 0


def test_rows_without_a_label_do_not_count_in_accuracy() -> None:
    truth = [0, IGNORED, 1, IGNORED, 1]
    assert measured("accuracy", "classes", [0, 1, 2, 2, 1], truth) == pytest.approx(2 / 3)


@STEADY
@given(seed=seeds)
def test_pearson_is_that_of_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rng.integers(3, 50))
    b = rng.normal() * a + rng.normal(size=len(a)) + 100 * rng.normal()
    assert measured("pearson", "numbers", a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    assert measured("pearson", "numbers", 7 * a - 3, a) == pytest.approx(1)
    assert measured("pearson", "numbers", -a, a) == pytest.approx(-1)


@pytest.mark.parametrize("size", [1e-200, 1e-9, 1e9, 1e200])
def test_the_size_of_numbers_does_not_matter_to_pearson(size: float) -> None:
    assert measured("pearson", "numbers", [size, 2 * size, 4 * size], [1.0, 2.0, 4.0]) == pytest.approx(1)


def test_real_labels_all_count_but_those_that_are_missing() -> None:
    a, b = np.array([1.0, 2.0, 3.0, -100.0]), np.array([1.0, 2.0, 4.0, -100.0])
    assert measured("pearson", "numbers", a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    more, missing = np.append(a, [50.0, -7.0]), np.append(b, [np.nan, np.nan])
    assert measured("pearson", "numbers", more, missing) == measured("pearson", "numbers", a, b)


@pytest.mark.parametrize(
    ("made", "truth"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]),
        ([1.0], [2.0]),
        ([], []),
        ([1.0, 2.0], [np.nan, np.nan]),
        ([1.0, 2.0, 3.0], [np.nan, 0.1, np.nan]),
        ([np.nan, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([np.inf, np.inf, 3.0], [1.0, 2.0, 3.0]),
    ],
)
def test_undefined_correlation_is_none(made: list[float], truth: list[float]) -> None:
    assert measured("pearson", "numbers", made, truth) is None


@pytest.mark.parametrize("metric", ["accuracy", "span_f1"])
def test_metric_of_no_labels_is_none(metric: str) -> None:
    assert measured(metric, "classes", [0, 1], [IGNORED, IGNORED], TAGS) is None


def test_f1_of_several_labels_is_over_all_of_them() -> None:
    truth = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [np.nan] * 3]
    made = [[1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]]
    right, given_, true = 3, 4, 4
    assert measured("f1_micro", "labels", made, truth) == pytest.approx(2 * right / (given_ + true))
    assert measured("accuracy", "labels", made, truth) == pytest.approx(1 / 3)
    assert measured("f1_micro", "labels", np.zeros((4, 3)), truth) == 0


# The commonest answer


def test_majority_is_of_the_commonest_training_class_that_is_known() -> None:
    train = np.array([IGNORED, IGNORED, IGNORED, 1, 1, 0])
    labels = np.array([0, 1, 2, IGNORED, 1])
    judge = Judge.of("accuracy", NAMES, "classes")
    assert majority(train, labels, np.ones(5, dtype=int), judge) == pytest.approx(2 / 4)


def test_majority_of_several_labels_is_the_commonest_set() -> None:
    judge = Judge.of("f1_micro", NAMES, "labels")
    train = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [np.nan] * 3])
    labels = np.array([[1.0, 1, 0], [0, 1, 1]])
    assert majority(train, labels, [1, 1], judge) == pytest.approx(2 * 3 / 8)


def test_there_is_no_majority_of_numbers_or_of_nothing() -> None:
    numbers = np.array([1.0, 2.0, 2.0])
    assert majority(numbers, numbers, [1, 1, 1], Judge.of("pearson", (), "numbers")) is None
    judge = Judge.of("accuracy", NAMES, "classes")
    unknown = np.array([IGNORED, IGNORED])
    assert majority(unknown, np.array([0, 1]), [1, 1], judge) is None
    assert majority(np.array([0, 1]), unknown, [1, 1], judge) is None


# Metrics of others

SCRIPT = """
import datasets
import evaluate
import numpy as np

class Mine(evaluate.Metric):
    def _info(self):
        kind = {kind}
        return evaluate.MetricInfo(
            description="",
            citation="",
            features=datasets.Features({{"predictions": kind, "references": kind}}),
        )

    def _compute(self, predictions, references, **options):
        p, y = predictions, references
        return {value}
"""
CLASS, NAME = 'datasets.Value("int32")', 'datasets.Value("string")'
NUMBER, NUMBERS = 'datasets.Value("float")', 'datasets.Sequence(datasets.Value("int32"))'
SENTENCE = 'datasets.Sequence(datasets.Value("string", id="label"), id="sequence")'


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scripts are; the cache of evaluate is a folder of its own."""
    for name in ("HF_MODULES_CACHE", "HF_METRICS_CACHE", "HF_EVALUATE_CACHE"):
        monkeypatch.setattr(f"evaluate.config.{name}", tmp_path / "cache" / name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def forget(folder: Path) -> None:
    """Empty the cache of evaluate, as another process that has another one would find it."""
    shutil.rmtree(folder / "cache")
    for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
        del sys.modules[name]


def script(folder: Path, value: str, kind: str = CLASS, name: str = "mine") -> str:
    path = folder / name / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(SCRIPT.format(kind=kind, value=value), encoding="utf-8")
    return str(path)


def test_a_script_or_its_folder_is_a_metric(cached: Path) -> None:
    path = script(cached, '{"mine": float(np.mean(np.array(p) == np.array(y)))}')
    for name in (path, str(Path(path).parent)):
        assert measured(name, "classes", [0, 1, 2, 0], [0, 1, 1, IGNORED]) == pytest.approx(2 / 3)
        assert measured(f"{name}:mine", "classes", [0, 1], [0, 2]) == 0.5
        assert measured(f"-{name}", "classes", [0, 1], [0, 2]) == -0.5


def test_what_a_script_does_is_part_of_the_judge(cached: Path) -> None:
    before = Judge.of(script(cached, '{"mine": 1.0}'), NAMES, "classes")
    after = Judge.of(script(cached, '{"mine": 2.0}'), NAMES, "classes")
    assert before.script != after.script
    assert Judge.of("accuracy", NAMES, "classes").script is None


@pytest.mark.parametrize(
    ("kind", "labels", "wanted", "seen"),
    [
        (CLASS, "classes", [0, 2, 1, 1], [0, 2, 1, 1]),
        (NAME, "classes", [0, 2, 1, 1], ["a", "c", "b", "b"]),
        (NUMBER, "classes", [0, 2, 1, 1], [0.0, 2.0, 1.0, 1.0]),
        (SENTENCE, "classes", [0, 2, 1, 1], [["a", "c", "b"], ["b"]]),
        (NUMBER, "numbers", [0.5, 2.0, 1.0, 1.0], [0.5, 2.0, 1.0, 1.0]),
        (NUMBERS, "labels", [[0, 1, 1], [0, 0, 0]], [[0, 1, 1], [0, 0, 0]]),
        (SENTENCE, "labels", [[0, 1, 1], [0, 0, 0]], [["b", "c"], []]),
        (f"{CLASS} if self.config_name != 'multilabel' else {NUMBERS}", "labels", [[0, 1, 1]], [[0, 1, 1]]),
    ],
)
def test_a_metric_is_given_what_it_takes(
    cached: Path, kind: str, labels: Kind, wanted: list[Any], seen: list[Any]
) -> None:
    metric = script(cached, f'{{"mine": float(list(p) == {seen!r} and list(y) == {seen!r})}}', kind)
    truth = np.array(wanted, dtype=np.int64 if labels == "classes" else np.float64)
    judge = Judge.of(metric, () if labels == "numbers" else NAMES, labels)
    lengths = [3, 1] if len(truth) == 4 else [1] * len(truth)
    assert judge.measure(truth, truth, lengths) == 1


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        (NAME, "numbers"),
        (CLASS, "numbers"),
        (SENTENCE, "numbers"),
        (CLASS, "labels"),
        ('{"id": datasets.Value("string")}', "classes"),
        ("datasets.Image()", "classes"),
    ],
)
def test_a_metric_of_something_else_is_refused(cached: Path, kind: str, labels: Kind) -> None:
    with pytest.raises(UsageError, match="does not go with labels"):
        Judge.of(script(cached, '{"mine": 1.0}', kind), () if labels == "numbers" else NAMES, labels)


def test_arguments_reach_the_metric_as_what_they_are(cached: Path) -> None:
    metric = script(cached, '{"mine": float(options == {"average": "macro", "top": 2, "fast": True})}')
    assert measured(f"{metric}?average=macro&top=2&fast=true", "classes", [0], [0]) == 1
    assert measured(f"{metric}:mine?average=micro", "classes", [0], [0]) == 0


def test_one_value_counts_whatever_it_is_called(cached: Path) -> None:
    assert measured(script(cached, '{"other": 0.25}'), "classes", [0], [0]) == 0.25


def test_of_several_values_that_called_like_the_metric_counts_or_that_which_is_named(cached: Path) -> None:
    metric = script(cached, '{"first": 0.25, "mine": 0.5}')
    assert measured(metric, "classes", [0], [0]) == 0.5
    assert measured(f"{metric}:first", "classes", [0], [0]) == 0.25


@pytest.mark.parametrize(
    ("value", "key", "message", "why"),
    [
        ('{"a": 1.0, "b": 2.0}', "", "cannot tell which value", "it gives: a, b"),
        ('{"a": 1.0}', ":b", "has no value b", "it gives: a"),
        ("{}", "", "cannot tell which value", "it gives: none"),
        ('{"a": "much"}', "", "gives no number", "a is much"),
        ('{"a": [1.0, 2.0]}', "", "gives no number", "a is"),
        ("0.5", "", "fails", "no named values"),
        ("1 / 0", "", "fails", "division by zero"),
        ("undefined", "", "fails", "undefined"),
        ("exec('raise KeyError')", "", "fails", "KeyError"),
    ],
)
def test_a_script_that_gives_no_such_number_fails_before_anything_is_tuned(
    cached: Path, value: str, key: str, message: str, why: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Judge.of(script(cached, value) + key, NAMES, "classes")
    assert why in str(caught.value.why)


@pytest.mark.parametrize("value", ['float("nan")', "None"])
def test_a_value_that_is_not_defined_is_none(cached: Path, value: str) -> None:
    assert measured(script(cached, f'{{"mine": {value}}}'), "classes", [0, 1], [0, 1]) is None


@pytest.mark.parametrize("planted", ["{}\n{}", "{}; HASH = '#'; {}\n"], ids=["a line", "after a hash sign"])
def test_a_script_that_has_changed_is_refused_and_not_run(cached: Path, planted: str) -> None:
    path = Path(script(cached, '{"mine": 1.0}'))
    canary = cached / "canary"
    code = path.read_text(encoding="utf-8")
    path.write_text(code + planted.format("SAFE = 1", ""), encoding="utf-8")
    known = Judge.of(str(path), NAMES, "classes").script
    assert Judge.recorded(str(path), NAMES, "classes", script=known).script == known
    evil = f"open({str(canary)!r}, 'w').close()"
    path.write_text(code + planted.format("SAFE = 1", evil), encoding="utf-8")
    forget(cached)
    with pytest.raises(DataError, match="not what it was") as error:
        Judge.recorded(str(path), NAMES, "classes", script=known)
    assert "not run" in (error.value.why or "")
    assert not canary.exists()
    assert Judge.of(str(path), NAMES, "classes").script != known
    assert canary.exists(), "it would have been run"


def test_code_that_a_script_takes_along_counts_too(cached: Path) -> None:
    path = Path(script(cached, '{"mine": 1.0}'))
    path.write_text("from .beside import VALUE\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    canary, beside = cached / "canary", path.with_name("beside.py")
    beside.write_text("VALUE = 1\n", encoding="utf-8")
    known = Judge.of(str(path), NAMES, "classes").script
    beside.write_text(f"VALUE = open({str(canary)!r}, 'w')\n", encoding="utf-8")
    with pytest.raises(DataError, match="not what it was"):
        Judge.recorded(str(path), NAMES, "classes", script=known)
    assert not canary.exists()


@pytest.mark.parametrize("edited", ["mine", "beside"])
def test_an_edited_script_is_what_is_measured(cached: Path, edited: str) -> None:
    """Of such an edit `evaluate`, which has a copy, sees nothing."""
    path = Path(script(cached, '{"mine": float("#" and VALUE)}'))
    path.write_text("from .beside import VALUE\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    path.with_stem("beside").write_text('VALUE = "#" and 0.5\n', encoding="utf-8")
    assert measured(str(path), "classes", [0], [0]) == 0.5
    known = Judge.of(str(path), NAMES, "classes").script
    code = path.with_stem(edited)
    text = re.sub(r'"#" and [\w.]+', '"#" and 0.25', code.read_text(encoding="utf-8"))
    code.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="not what it was"):
        Judge.recorded(str(path), NAMES, "classes", script=known)
    assert measured(str(path), "classes", [0], [0]) == 0.25


@pytest.fixture
def metrics_hub(cached: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """The Hub that `evaluate` asks, with the metric org/mine."""
    url = f"{hub.url}/spaces/{{path}}/resolve/{{revision}}/{{name}}"
    monkeypatch.setattr("evaluate.config.HF_ENDPOINT", hub.url)
    monkeypatch.setattr("evaluate.config.HUB_EVALUATE_URL", url)
    monkeypatch.setattr("evaluate.config.DOWNLOADED_EVALUATE_PATH", cached / "cache" / "downloads")
    hub.add("space", "org/mine", {"mine.py": Path(script(cached, '{"mine": 0.5}')).read_bytes()})
    return hub


@pytest.mark.parametrize("on_hub", [False, True], ids=["here", "on the Hub"])
def test_for_a_script_that_has_changed_nothing_is_imported_or_fetched(
    cached: Path, metrics_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, on_hub: bool
) -> None:
    path, canary = Path(script(cached, '{"mine": 0.5}')), cached / "canary"
    name = "org/mine" if on_hub else str(path)
    known = Judge.of(name, NAMES, "classes").script

    sys.path.append(str(cached))
    monkeypatch.setitem(sys.modules, "its_library", None)  # so that it is not there afterwards
    del sys.modules["its_library"]
    (cached / "its_library.py").write_text(f"open({str(canary)!r}, 'w').close()\n", encoding="utf-8")
    metrics_hub.add("space", "org/other", {"more.py": b"VALUE = 1\n"})
    more = f"{metrics_hub.url}/spaces/org/other/resolve/main/more.py"
    imports = f"import its_library\nfrom .more import VALUE  # From: {more}\n"
    path.write_text(imports + path.read_text(encoding="utf-8"), encoding="utf-8")
    metrics_hub.commit("space", "org/mine", {"mine.py": path.read_bytes()})

    def fetched() -> bool:
        return any(more.endswith(request.path) for request in metrics_hub.requests)

    with pytest.raises(DataError, match="not what it was"):
        Judge.recorded(name, NAMES, "classes", script=known)
    assert (canary.exists(), fetched()) == (False, False)
    assert Judge.of(name, NAMES, "classes").script != known
    assert (canary.exists(), fetched()) == (True, True), "it would have been"


def test_a_metric_of_the_hub_is_taken_from_the_cache_where_there_is_no_hub(
    cached: Path, metrics_hub: LoopbackHub
) -> None:
    known = Judge.of("org/mine", NAMES, "classes").script
    metrics_hub.commit("space", "org/mine", {"mine.py": Path(script(cached, '{"mine": 0.25}')).read_bytes()})
    metrics_hub.clear()
    judge = Judge.recorded("org/mine", NAMES, "classes", script=known, offline=True)
    assert judge.measure(np.array([0]), np.array([0]), [1]) == 0.5
    assert metrics_hub.requests == []
    assert measured("org/mine", "classes", [0], [0]) == 0.25


def test_code_of_which_nothing_was_recorded_is_not_run(cached: Path) -> None:
    canary = cached / "canary"
    path = script(cached, f'open({str(canary)!r}, "w") and {{"mine": 1.0}}')
    with pytest.raises(DataError, match="not what it was"):
        Judge.recorded(path, NAMES, "classes", script=None)
    assert not canary.exists()
    assert Judge.recorded("accuracy", NAMES, "classes", script=None).script is None


def test_a_script_that_an_older_zoo_recorded_is_known_again(cached: Path) -> None:
    path = script(cached, '{"mine": 1.0}')
    recorded = evaluate.load(path)._hash
    assert Judge.recorded(path, NAMES, "classes", script=recorded).script == recorded


@pytest.mark.parametrize("content", ["import no_such_library", "raise RuntimeError('broken')", "x = 1", "("])
def test_a_script_that_cannot_be_run_is_named(cached: Path, content: str) -> None:
    path = cached / "broken.py"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"broken\.py cannot be loaded"):
        Judge.of(str(path), NAMES, "classes")


def test_a_metric_that_is_nowhere_is_not_found(cached: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no metric .*none\.py"):
        Judge.of(str(cached / "none.py"), NAMES, "classes")


def test_offline_only_what_is_cached_can_be_named(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.getaddrinfo", asked)
    with pytest.raises(OfflineError, match="made_up is not in the cache"):
        Judge.of("made_up", NAMES, "classes", offline=True)
    assert not evaluate.config.HF_EVALUATE_OFFLINE
    assert isinstance(Judge.of(script(cached, '{"mine": 1.0}'), NAMES, "classes", offline=True), Judge)


@STEADY
@given(text=st.text(alphabet="-:?=&af1./ \n", max_size=8))
def test_no_name_of_a_metric_ends_in_another_error_than_ours(text: str) -> None:
    try:
        Judge.of(text, NAMES, "classes", offline=True)
    except ZooError as error:
        assert error.message


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


@pytest.mark.parametrize(
    ("metric", "made", "truth", "expected"),
    [
        (Accuracy, [[0, 1], [2]], [[0, 1], [1]], {"accuracy": 2 / 3}),
        (Pearson, [[0.0, 1.0], [5.0]], [[0.0, 2.0], [10.0]], {"pearson": 1.0}),
        (SpanF1, [[["B-X"]], [["O"]]], [[["B-X"]], [["B-Y"]]], {"span_f1": 2 / 3}),
        (MicroF1, [[[1, 0]], [[1, 1]]], [[[1, 0]], [[0, 1]]], {"f1_micro": 4 / 5}),
    ],
)
def test_metrics_add_up_batch_by_batch(
    metric: type[evaluate.Metric], made: list[Any], truth: list[Any], expected: dict[str, float]
) -> None:
    adding = metric()
    for predictions, references in zip(made, truth, strict=True):
        adding.add_batch(predictions=predictions, references=references)
    results = adding.compute()
    assert {name: results[name] for name in expected} == pytest.approx(expected)


def test_metrics_write_to_temporary_folders_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[str] = []
    watching = True

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR):
            written.append(args[0])
        if watching and event in ("socket.connect", "socket.getaddrinfo", "os.mkdir"):
            written.append(event)

    sys.addaudithook(watch)
    try:
        (tmp_path / "seen").touch()
        measured("span_f1", "classes", [1], [1], TAGS)
        measured("accuracy", "classes", [1], [1])
        measured("f1_micro", "labels", [[1, 0, 1]], [[1, 0, 0]])
        measured("pearson", "numbers", [1.0, 2.0], [1.0, 2.0])
        assert written == [str(tmp_path / "seen")]
        Accuracy().compute(predictions=[1], references=[1])
    finally:
        watching = False
    written = [path for path in written if path != "os.mkdir"]
    roots = (tempfile.gettempdir(), os.devnull)
    assert [path for path in written if not str(Path(path).absolute()).startswith(roots)] == []
    assert [path.name for path in tmp_path.iterdir()] == ["seen"]
