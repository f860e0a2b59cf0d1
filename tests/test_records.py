"""Records: names that change with their content, and values that cannot be nonsense."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference.examples import STEADY, Array
from zookeeper import errors
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.records import (
    Corpus,
    FeatureKey,
    Labelled,
    Outcome,
    Reading,
    Revision,
    Target,
    digest_of,
    exit_code_of,
)
from zookeeper.results import Covariance

COMMIT = "0123456789abcdef" * 2 + "01234567"
KEY = FeatureKey("org/name", COMMIT, "c" * 64, Reading())
OTHER_KEY = {
    "repo_id": "org/other",
    "commit": COMMIT[::-1],
    "corpus": "d" * 64,
    "reading": Reading(layer="mean"),
    "prefix_space": False,
    "extractor": 2,
}
OTHER_READING = {"layer": "-2", "pooling": "mean", "dtype": "float16", "max_length": 128}

# Few letters, quotes and separators among them, so that fields often join to the same text.
texts = st.text('ab",:{}\\é\ud800', max_size=4)
readings = st.builds(
    Reading,
    layer=st.sampled_from(["last", "mean", "1", "-1", "11"]),
    pooling=st.sampled_from(["first", "last", "mean"]),
    max_length=st.none() | st.integers(1, 3),
)
keys = st.builds(FeatureKey, texts, texts, texts, readings, st.booleans(), st.integers(1, 3))


# Digests


@pytest.mark.parametrize("name", [field.name for field in fields(FeatureKey)])
def test_any_changed_field_changes_the_name_of_features(name: str) -> None:
    assert replace(KEY, **{name: OTHER_KEY[name]}).digest != KEY.digest


@pytest.mark.parametrize("name", [field.name for field in fields(Reading)])
def test_any_other_way_of_reading_changes_the_name_of_features(name: str) -> None:
    reading = replace(KEY.reading, **{name: OTHER_READING[name]})
    assert replace(KEY, reading=reading).digest != KEY.digest


@STEADY
@given(keys, keys)
def test_names_agree_exactly_where_keys_do(one: FeatureKey, other: FeatureKey) -> None:
    assert (one.digest == other.digest) == (one == other)
    assert replace(one).digest == one.digest


@STEADY
@given(texts, texts, st.integers(0, 8), st.integers(0, 8))
def test_text_cannot_move_from_one_field_to_the_next(left: str, right: str, cut: int, other_cut: int) -> None:
    joined = left + right
    one, other = (replace(KEY, repo_id=joined[:at], commit=joined[at:]) for at in (cut, other_cut))
    assert (one.digest == other.digest) == (joined[:cut] == joined[:other_cut])


def test_text_that_looks_like_markup_is_text() -> None:
    looks = ["a", 'a"', 'a\\"', "a\\u0022", 'a","commit":"b', "é", "e\u0301"]
    assert len({replace(KEY, repo_id=look).digest for look in looks}) == len(looks)


def test_a_digest_is_the_sha256_of_canonical_json() -> None:
    text = '{"a":["é",null,true],"b":1}'
    assert digest_of({"b": 1, "a": ("é", None, True)}) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("seed", ["0", "1"])
def test_names_are_the_same_in_every_process(seed: str) -> None:
    program = f"from zookeeper.records import *; print({KEY!r}.digest, {CORPUS!r}.digest)"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    )
    assert ran.stdout.split() == [KEY.digest, CORPUS.digest]


# Corpora

CORPUS = Corpus((("a", "b"), ("c",)), "word")


def test_a_row_is_a_word_or_a_sentence() -> None:
    assert CORPUS.n_rows == 3
    assert replace(CORPUS, unit="sentence").n_rows == 2
    assert Corpus((), "word").n_rows == 0


@pytest.mark.parametrize(
    "other",
    [
        Corpus((("a", "b"), ("c",)), "sentence"),
        Corpus((("a",), ("b", "c")), "word"),
        Corpus((("a", "b", "c"),), "word"),
        Corpus((("a b",), ("c",)), "word"),
        Corpus((("c",), ("a", "b")), "word"),
        Corpus((("a", "b"), ("c",), ()), "word"),
        Corpus((("a", "b"), ("C",)), "word"),
    ],
)
def test_other_rows_give_a_corpus_another_digest(other: Corpus) -> None:
    assert other.digest != CORPUS.digest
    assert Corpus((("a", "b"), ("c",)), "word").digest == CORPUS.digest


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1)])
def test_every_row_has_one_label(shape: tuple[int, ...]) -> None:
    with pytest.raises(DegenerateInputError, match="3 rows do not go with"):
        Labelled(CORPUS, np.zeros(shape))


# Revisions and readings


@pytest.mark.parametrize(
    "commit", ["", "main", COMMIT[:-1], COMMIT + "0", COMMIT + "\n", COMMIT.upper(), "g" * 40]
)
def test_a_commit_takes_forty_hex_digits(commit: str) -> None:
    with pytest.raises(UsageError, match="is not a commit"):
        Revision("org/name", "main", commit)


@pytest.mark.parametrize("path", ["/home/me/model", "./model"])
def test_a_folder_goes_by_its_own_name(path: str) -> None:
    folder = Revision(path, "folder", COMMIT)
    assert (folder.local, folder.name) == (True, "model")


def test_a_repository_goes_by_its_id() -> None:
    repository = Revision("org/model", "main", COMMIT)
    assert (repository.local, repository.name) == (False, "org/model")
    assert str(repository) == f"org/model@{COMMIT}"


@pytest.mark.parametrize("layer", ["last", "mean", "0", "12", "-1"])
def test_layers_that_can_be_read(layer: str) -> None:
    assert Reading(layer=layer).layer == layer


@pytest.mark.parametrize("layer", ["", "first", "1.5", "--1", "1 ", "last\n", "+1"])
def test_a_layer_that_is_none_is_refused(layer: str) -> None:
    with pytest.raises(UsageError, match="no layer") as refusal:
        Reading(layer=layer)
    assert refusal.value.fix == "one of: last, mean, or a number"


# Covariances


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(2), "a covariance of 3 names must be 3 x 3, this one is 2 x 2"),
        (np.ones((3, 2)), "this one is 3 x 2"),
        (np.ones(3), "this one is 3"),
        (np.array([[1, 0, 0], [0, 1, np.nan], [0, np.nan, 1]]), "of b and c is not a number"),
        (np.array([[1, 0, np.inf], [0, 1, 0], [np.inf, 0, 1]]), "of a and c is not a number"),
        (np.array([[1, 0.5, 0], [0.4, 1, 0], [0, 0, 1]]), "not symmetric"),
        (np.array([[1, 1.5, 0], [1.5, 1, 0], [0, 0, 1]]), r"its smallest eigenvalue is -0\.5\."),
    ],
)
def test_refuses_what_is_no_covariance(matrix: Array, message: str) -> None:
    with pytest.raises(DegenerateInputError, match=message):
        Covariance(("a", "b", "c"), matrix)


def test_rounding_does_not_make_a_covariance_indefinite() -> None:
    kappa = np.array([[1, 1 + 1e-9], [1 + 1e-9, 1]])
    assert Covariance(("a", "b"), kappa).matrix is kappa


def test_refuses_a_covariance_of_nothing() -> None:
    with pytest.raises(DegenerateInputError):
        Covariance((), np.zeros((0, 0)))


# Exit codes


def outcome(error: type[errors.ZooError] | None) -> Outcome:
    return (
        Outcome("m", "done")
        if error is None
        else Outcome("m", "failed", error="x", exit_code=error.exit_code)
    )


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([], 0),
        ([None, None], 0),
        ([None, errors.NetworkError], 3),
        ([errors.UsageError, None, errors.NetworkError], 3),
        ([errors.AccessError], 4),
        ([errors.NetworkError, errors.OfflineError], 5),
        ([errors.UsageError, errors.AccessError], 1),
        ([errors.CheckpointError, errors.CheckpointError], 1),
    ],
)
def test_exit_code_of_several_outcomes(ends: list[type[errors.ZooError] | None], code: int) -> None:
    assert exit_code_of(outcome(end) for end in ends) == code


# Targets


@pytest.mark.parametrize(
    ("task", "classes", "spans"),
    [
        ("token-classification", ("O", "B-PER", "I-PER"), True),
        ("token-classification", ("B-PER", "O", "S-LOC", "E-LOC"), True),
        ("token-classification", ("NOUN", "VERB"), False),
        ("token-classification", ("O",), False),
        ("token-classification", ("B-PER", "I-PER"), False),
        ("token-classification", ("O", "B-PER", "NOUN"), False),
        ("token-classification", ("O", "B-"), False),
        ("token-classification", ("O", "X-PER"), False),
        ("text-classification", ("O", "B-PER", "I-PER"), False),
        ("token-regression", (), False),
    ],
)
def test_spans_are_tagged_by_their_classes(task: str, classes: tuple[str, ...], spans: bool) -> None:
    target = Target("t", "d", COMMIT, None, task, "text", "tags", classes, {}, {}, "f")  # type: ignore[arg-type]
    assert target.spans is spans
    assert target.regression is task.endswith("regression")
