"""Probes and targets: every word and label of a file, or an error that says where to look."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from zookeeper.data import probe_from_file, probe_from_lines, target_from_path
from zookeeper.errors import DataError, NotFoundError, UsageError, ZooError
from zookeeper.records import Labelled, Target, TargetSource

SHARED = os.environ.get("ZOO_SHARED")

Sentences = tuple[tuple[str, ...], ...]

CHUNKS = "He PRP B-NP\nsaid VBD B-VP\n. . O\n\nIt PRP B-NP\nrains VBZ B-VP\n"
WORDS: Sentences = (("He", "said", "."), ("It", "rains"))
TAGS = ["B-NP", "B-VP", "O", "B-NP", "B-VP"]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(
    path: Path, *splits: str, max_examples: int | None = None, **options: Any
) -> tuple[Target, dict[str, Labelled]]:
    source = TargetSource(name=path.name, dataset=str(path), **options)
    return target_from_path(source, splits=splits or ("train",), max_examples=max_examples)


def content(path: Path, **options: Any) -> tuple[Sentences, list[str | None]]:
    """Sentences and the names of their labels; None for those that do not count."""
    target, data = read(path, **options)
    labels = [target.classes[label] if label >= 0 else None for label in data["train"].labels.tolist()]
    return data["train"].corpus.sentences, labels


# Probes


def test_a_probe_has_exactly_as_many_rows_as_asked_and_cuts_the_last_line() -> None:
    corpus = probe_from_lines(["a b c", "", "d e", "f g h i"], max_words=7)
    assert corpus.sentences == (("a", "b", "c"), ("d", "e"), ("f", "g"))
    assert corpus.n_rows == 7
    assert corpus.unit == "word"


def test_a_probe_ends_where_a_line_ends() -> None:
    assert probe_from_lines(["a b", "c d", "e"], max_words=4).sentences == (("a", "b"), ("c", "d"))


def test_a_probe_of_fewer_words_than_asked_is_what_there_is() -> None:
    assert probe_from_lines(["a b", " \t", "c"], max_words=100).n_rows == 3


def test_short_lines_are_left_out() -> None:
    lines = ["= Title =", "one two three four", "", "five six seven", "eight nine ten eleven twelve"]
    assert probe_from_lines(lines, max_words=6, min_words=4).sentences == (
        ("one", "two", "three", "four"),
        ("eight", "nine"),
    )


@pytest.mark.parametrize("lines", [[], ["", "  "], ["too few"]])
def test_a_probe_without_text_is_refused(lines: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        probe_from_lines(lines, max_words=10, min_words=3)


def test_a_probe_file_is_read_line_by_line(tmp_path: Path) -> None:
    path = written(tmp_path / "probe.md", "\ufeffEin Satz .\r\n\r\nNoch größer")
    assert probe_from_file(path, max_words=10).sentences == (("Ein", "Satz", "."), ("Noch", "größer"))


def test_a_probe_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"latin\.txt is not UTF-8") as caught:
        probe_from_file(written(tmp_path / "latin.txt", "größer".encode("latin-1")), max_words=10)
    assert "iconv" in str(caught.value.fix)
    with pytest.raises(NotFoundError, match=r"none\.txt"):
        probe_from_file(tmp_path / "none.txt", max_words=10)
    with pytest.raises(DataError):
        probe_from_file(written(tmp_path / "empty.txt", ""), max_words=10)


# Column files


@pytest.mark.parametrize("suffix", [".conll", ".txt"])
@pytest.mark.parametrize("form", ["He O\nsaid X\n", "He PRP O\nsaid VBD X\n", "He PRP _ O\nsaid VBD _ X\n"])
def test_the_first_column_holds_words_and_the_last_labels(tmp_path: Path, form: str, suffix: str) -> None:
    assert content(written(tmp_path / f"a{suffix}", form)) == ((("He", "said"),), ["O", "X"])


@pytest.mark.parametrize(
    "form",
    [
        CHUNKS,
        CHUNKS.replace(" ", "\t"),
        CHUNKS.replace(" ", "   "),
        CHUNKS.replace("\n\n", "\n\t\n"),
        CHUNKS.replace("\n\n", "\n \n\n"),
        CHUNKS.replace("\n", "\r\n"),
        CHUNKS.replace("\n", "\r"),
        "\ufeff" + CHUNKS,
        "\n\n" + CHUNKS + "\n\n",
        CHUNKS.rstrip("\n"),
        "-DOCSTART- -X- O\n\n" + CHUNKS,
        "-DOCSTART- -X- O\n" + CHUNKS,
        "-DOCSTART-\n" + CHUNKS.replace("\n\n", "\n\n-DOCSTART-\n\n"),
    ],
    ids=[
        "plain",
        "tabs",
        "many blanks",
        "lone tab",
        "lone blank",
        "CRLF",
        "CR",
        "byte-order mark",
        "blank lines",
        "no last newline",
        "docstart",
        "docstart without a blank line",
        "docstart alone",
    ],
)
def test_every_way_to_write_columns_says_the_same(tmp_path: Path, form: str) -> None:
    assert content(written(tmp_path / "a.conll", form)) == (WORDS, TAGS)


def test_the_task_is_told_with_its_size(tmp_path: Path) -> None:
    target, data = read(written(tmp_path / "a.conll", CHUNKS))
    assert (target.task, target.text_column, target.label_column) == (
        "token-classification",
        "tokens",
        "label",
    )
    assert (target.classes, target.examples, target.rows) == (
        ("B-NP", "B-VP", "O"),
        {"train": 2},
        {"train": 5},
    )
    assert target.local
    assert target.dataset == "a.conll"
    assert data["train"].corpus.unit == "word"
    assert data["train"].lengths.tolist() == [3, 2]


def test_a_hash_is_a_word_like_any_other(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "# O\n1 X\n\n#tag X\n")
    assert content(path) == ((("#", "1"), ("#tag",)), ["O", "X", "X"])


def test_cells_between_tabs_may_hold_blanks(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "New York\tX\nis\tO\n")
    assert content(path) == ((("New York", "is"),), ["X", "O"])


CONLLU = """\
# sent_id = 1
# text = He can't .
1\tHe\the\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
2\tca\tcan\tAUX\tMD\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
4\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_

# sent_id = 2
1\t#\t#\tSYM\tNN\t_\t0\troot\t_\t_
"""


def test_conllu_skips_comments_ranges_and_empty_nodes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conllu", CONLLU)
    assert content(path) == ((("He", "ca", "n't", "."), ("#",)), ["PRON", "AUX", "PART", "PUNCT", "SYM"])
    assert read(path)[0].label_column == "upos"
    _, relations = content(path, label_column="deprel")
    assert relations == ["nsubj", "root", "advmod", "punct", "root"]


def test_columns_go_by_the_names_they_are_given(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", CHUNKS)
    _, tags = content(path, columns=("tokens", "pos_tags", "chunk"))
    assert tags == ["PRP", "VBD", ".", "PRP", "VBZ"]
    words, tags = content(path, columns=("x", "y", "z"), text_column="y", label_column="z")
    assert words == (("PRP", "VBD", "."), ("PRP", "VBZ"))
    assert tags == TAGS


def test_numbers_a_word_can_be_regressed_on(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "He 0.5\nsaid -2\n. 1e-3\n")
    target, data = read(path, task="token-regression")
    assert target.regression
    assert data["train"].labels.tolist() == [0.5, -2.0, 0.001]


# Tables


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.csv", 'text,label\n"Well, yes .",good\nNo,bad\n'),
        ("a.csv", '\ufeff"text","label"\r\n"Well, yes .","good"\r\n"No","bad"'),
        ("a.csv", "label,other,text\ngood,1,'Well, yes .'\n".replace("'", '"') + "\nbad,2,No\n"),
        ("a.tsv", "text\tlabel\nWell, yes .\tgood\nNo\tbad\n"),
        ("a.jsonl", '{"text": "Well, yes .", "label": "good"}\n{"text": "No", "label": "bad"}\n'),
        ("a.json", '[{"text": "Well, yes .", "label": "good"}, {"text": "No", "label": "bad"}]'),
    ],
)
def test_every_table_says_the_same(tmp_path: Path, name: str, form: str) -> None:
    path = written(tmp_path / name, form)
    assert content(path) == ((("Well,", "yes", "."), ("No",)), ["good", "bad"])
    target, data = read(path)
    assert target.task == "text-classification"
    assert data["train"].corpus.unit == "sentence"
    assert data["train"].corpus.n_rows == 2


def test_quotes_in_tsv_are_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"Yes\t1\nhe said "no\t0\n')
    assert content(path) == ((('"Yes',), ("he", "said", '"no')), ["1", "0"])


@pytest.mark.parametrize(
    ("name", "form"), [("a.tsv", "x\t1\t\tOne .\ny\t0\t*\tTwo"), ("a.csv", "x,1,,One .\ny,0,*,Two\n")]
)
def test_a_table_without_a_header_takes_its_names_from_the_user(tmp_path: Path, name: str, form: str) -> None:
    path = written(tmp_path / name, form)
    names = ("source", "label", "mark", "text")
    assert content(path, columns=names) == ((("One", "."), ("Two",)), ["1", "0"])


@pytest.mark.parametrize("word", ["null", "None", "NA", "nan", "N/A", "true", "0", "1.0"])
def test_no_word_is_taken_for_an_empty_cell(tmp_path: Path, word: str) -> None:
    path = written(tmp_path / "a.csv", f"text,label\n{word},x\n{word} again,y\n")
    assert content(path)[0] == ((word,), (word, "again"))


@pytest.mark.parametrize("label", ["null", "None", "NA", "nan", "N/A"])
def test_no_label_is_taken_for_an_empty_cell(tmp_path: Path, label: str) -> None:
    path = written(tmp_path / "a.csv", f"text,label\na,{label}\nb,x\n")
    assert content(path)[1] == [label, "x"]


def test_jsonl_with_lists_has_a_label_for_each_word(tmp_path: Path) -> None:
    lines = [
        {"tokens": ["He", "said", "."], "ner_tags": TAGS[:3]},
        {"tokens": ["It", "rains"], "ner_tags": TAGS[3:]},
    ]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert content(path) == (WORDS, TAGS)
    same = written(tmp_path / "a.conll", CHUNKS)
    assert read(path)[0].fingerprint == read(same)[0].fingerprint


def test_parquet_knows_the_names_of_its_classes(tmp_path: Path) -> None:
    kinds = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes", "?"])}
    )
    table = datasets.Dataset.from_dict(
        {"text": ["a", "b", "c", "d"], "label": [1, 0, -1, None]}, features=kinds
    )
    table.to_parquet(tmp_path / "a.parquet")
    target, data = read(tmp_path / "a.parquet")
    assert target.classes == ("no", "yes", "?")
    assert data["train"].labels.tolist() == [1, 0, -100, -100]
    assert target.rows == {"train": 2}


def test_parquet_knows_the_names_of_the_classes_of_words(tmp_path: Path) -> None:
    tags = datasets.List(datasets.ClassLabel(names=["O", "B-X"]))
    kinds = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["a", "b"], ["c"]], "ner_tags": [[1, -100], [0]]}
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(tmp_path / "a.parquet")
    assert content(tmp_path / "a.parquet") == ((("a", "b"), ("c",)), ["B-X", None, "O"])


# Labels


@pytest.mark.parametrize(
    ("given", "classes", "labels"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (["10", "9", "10"], ("9", "10"), [1, 0, 1]),
        (["7", "3", "1000000"], ("3", "7", "1000000"), [1, 0, 2]),
        (["-1", "1", "-1"], ("-1", "1"), [0, 1, 0]),
        (["True", "False", "True"], ("False", "True"), [1, 0, 1]),
        (["1", "", "0"], ("0", "1"), [1, -100, 0]),
        (["1", "-100", "0"], ("0", "1"), [1, -100, 0]),
        (["a", "", "b"], ("a", "b"), [0, -100, 1]),
    ],
    ids=["words", "numbers", "gaps", "signs", "bools", "a number is missing", "-100", "a word is missing"],
)
def test_labels_become_classes(
    tmp_path: Path, given: list[str], classes: tuple[str, ...], labels: list[int]
) -> None:
    path = written(tmp_path / "a.csv", "text,label\n" + "".join(f"w,{label}\n" for label in given))
    target, data = read(path)
    assert target.task == "text-classification"
    assert target.classes == classes
    assert data["train"].labels.tolist() == labels
    assert target.rows == {"train": sum(label >= 0 for label in labels)}


def test_bools_of_json_are_classes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}\n')
    assert content(path)[1] == ["True", "False"]


def test_words_without_a_label_do_not_count(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"tokens": ["a", "b", "c", "d"], "labels": [3, null, -100, 5]}')
    target, data = read(path)
    assert target.classes == ("3", "5")
    assert data["train"].labels.tolist() == [0, -100, -100, 1]
    assert target.rows == {"train": 2}


def test_real_numbers_are_regressed_on(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,score\na,0.5\nb,-100\nc,3\n")
    target, data = read(path)
    assert target.task == "text-regression"
    assert target.classes == ()
    assert data["train"].labels.tolist() == [0.5, -100.0, 3.0]
    assert target.rows == {"train": 3}


def test_whole_numbers_are_regressed_on_if_asked(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\na,5\nb,3\n")
    target, data = read(path, task="text-regression")
    assert target.regression
    assert data["train"].labels.tolist() == [5.0, 3.0]


@pytest.mark.parametrize(
    "labels", ["0.5\nb,\n", "0.5\nb,inf\n", "x\nb,y\n"], ids=["missing", "infinite", "words"]
)
def test_what_is_no_number_cannot_be_regressed_on(tmp_path: Path, labels: str) -> None:
    path = written(tmp_path / "a.csv", "text,score\na," + labels)
    with pytest.raises(DataError, match="no number") as caught:
        read(path, task="text-regression")
    assert caught.value.why


# Splits


def test_classes_that_only_the_test_split_has_come_last(tmp_path: Path) -> None:
    for split, labels in (("train", "BD"), ("dev", "BC"), ("test", "AD")):
        written(tmp_path / f"{split}.conll", "".join(f"w {label}\n" for label in labels))
    target, data = read(tmp_path, "train", "validation", "test")
    assert target.classes == ("B", "C", "D", "A")
    assert data["train"].labels.tolist() == [0, 2]
    assert data["validation"].labels.tolist() == [0, 1]
    assert data["test"].labels.tolist() == [3, 2]


@pytest.mark.parametrize(
    "names",
    [
        ("train.conll", "validation.conll", "test.conll"),
        ("en_ewt-ud-train.conll", "en_ewt-ud-dev.conll", "en_ewt-ud-test.conll"),
        ("wnut17train.conll", "emerging.dev.conll", "emerging.test.conll"),
        ("train.txt", "valid.txt", "test.txt"),
        ("Train.conll", "DEV.conll", "Test-labeled.conll"),
        ("trainset.conll", "valset.conll", "testset.conll"),
        ("retrieval-train.conll", "retrieval-dev.conll", "retrieval-test.conll"),
        ("constraint_train.conll", "constraint_val.conll", "constraint_test.conll"),
        ("latest.train.conll", "latest.dev.conll", "latest.test.conll"),
    ],
)
def test_the_files_of_a_folder_are_told_apart_by_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name, word in zip(names, ("one", "two", "three"), strict=True):
        written(tmp_path / name, f"{word} A\n{word} B\n")
    written(tmp_path / "README", "nothing to see")
    written(tmp_path / "notes.txt", "nothing to see")
    _, data = read(tmp_path, "train", "validation", "test")
    found = {split: part.corpus.sentences[0][0] for split, part in data.items()}
    assert found == {"train": "one", "validation": "two", "test": "three"}


def test_splits_that_are_not_there_are_left_out_but_not_the_first(tmp_path: Path) -> None:
    written(tmp_path / "train.conll", CHUNKS)
    target, data = read(tmp_path, "train", "validation", "test")
    assert list(data) == list(target.rows) == ["train"]
    with pytest.raises(NotFoundError, match="no test split") as caught:
        read(tmp_path, "test")
    assert "train" in str(caught.value.why)


def test_two_files_for_one_split_are_both_named(tmp_path: Path) -> None:
    for name in ("in_domain_dev.tsv", "out_of_domain_dev.tsv", "train.tsv"):
        written(tmp_path / name, "text\tlabel\na\t0\n")
    with pytest.raises(DataError, match="two files for validation") as caught:
        read(tmp_path, "train")
    assert "in_domain_dev.tsv and out_of_domain_dev.tsv" in caught.value.message


def test_a_folder_without_data_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no train split") as caught:
        read(tmp_path)
    assert "no data files" in str(caught.value.why)


def test_a_split_without_the_label_is_named(tmp_path: Path) -> None:
    written(tmp_path / "train.csv", "text,label\na,0\nb,1\n")
    written(tmp_path / "test.csv", "id,text\n1,a\n2,b\n")
    with pytest.raises(DataError, match="test split has no column label") as caught:
        read(tmp_path, "train", "test")
    assert "id, text" in str(caught.value.why)


def test_splits_with_labels_of_two_kinds_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "train.csv", "text,label\na,0\nb,1\n")
    written(tmp_path / "dev.csv", "text,label\na,no\nb,yes\n")
    with pytest.raises(DataError, match="do not agree on what label holds"):
        read(tmp_path, "train", "validation")


def test_a_split_without_any_label_has_no_labelled_rows(tmp_path: Path) -> None:
    written(tmp_path / "train.csv", "text,label\na,0\nb,1\n")
    written(tmp_path / "test.csv", "text,label\na,\nb,\n")
    target, data = read(tmp_path, "train", "test")
    assert target.rows == {"train": 2, "test": 0}
    assert data["test"].labels.tolist() == [-100, -100]


def test_scores_may_be_whole_numbers_in_one_split(tmp_path: Path) -> None:
    written(tmp_path / "train.csv", "text,score\na,0.5\nb,1.5\n")
    written(tmp_path / "test.csv", "text,score\na,0\nb,1\n")
    _, data = read(tmp_path, "train", "test")
    assert data["test"].labels.tolist() == [0.0, 1.0]


# Which column


def test_the_column_that_is_named_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,title,label,topic\na,b,0,x\nc,d,1,y\n")
    assert content(path, text_column="title", label_column="topic") == ((("b",), ("d",)), ["x", "y"])


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ("text,sentence,label", "text"),
        ("a,b,label", "text"),
        ("text,label,score", "label"),
        ("text,b,c", "label"),
    ],
)
def test_where_columns_cannot_be_told_they_are_listed_with_the_option(
    tmp_path: Path, columns: str, what: str
) -> None:
    path = written(tmp_path / "a.csv", f"{columns}\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match=f"holds the {what}") as caught:
        read(path)
    assert columns.replace(",", ", ") in str(caught.value.why)
    assert f"--{what}-column" in str(caught.value.fix)


@pytest.mark.parametrize("option", ["text_column", "label_column"])
def test_a_missing_column_is_named(tmp_path: Path, option: str) -> None:
    path = written(tmp_path / "a.csv", "text,label\na,0\nb,1\n")
    with pytest.raises(DataError, match='no column "other"') as caught:
        read(path, **{option: "other"})
    assert "text, label" in str(caught.value.why)


@pytest.mark.parametrize(
    "row",
    ['{"tokens": ["a", "b"], "label": 1}', '{"text": "a b", "labels": [1, 0]}'],
    ids=["one label", "one text"],
)
@pytest.mark.parametrize("task", [None, "token-classification", "text-classification"])
def test_lists_go_with_lists(tmp_path: Path, row: str, task: str | None) -> None:
    with pytest.raises(DataError, match="do not go together"):
        read(written(tmp_path / "a.jsonl", row), task=task)


def test_a_task_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no text-classification"):
        read(written(tmp_path / "a.conll", CHUNKS), task="text-classification")
    with pytest.raises(DataError, match="is no token-classification"):
        read(written(tmp_path / "a.csv", "text,label\na,0\nb,1\n"), task="token-classification")


# What cannot be read


@pytest.mark.parametrize(
    ("name", "form", "line"),
    [
        ("a.conll", "a b O\nc d O\n\ne f\n", 4),
        ("a.conll", "a O\r\nb O\r\n\t\r\nc O\r\nd e O\r\n", 5),
        ("a.conllu", "# one\n1\ta\tb\tX\t_\t_\t0\t_\t_\t_\n2\tshort\n", 3),
        ("a.csv", "text,label\na,0\nHello, world,1\n", 3),
        ("a.csv", "text,label\nHello, world,1\nBye, world,0\n", 2),
        ("a.csv", "text,label\na,0\nb\n", 3),
        ("a.csv", 'text,label\n"two\nlines",0\n\nb\n', 5),
        ("a.tsv", "text\tlabel\na\t0\nb\n", 3),
    ],
)
def test_a_ragged_line_is_named_by_file_and_number(tmp_path: Path, name: str, form: str, line: int) -> None:
    path = written(tmp_path / name, form)
    with pytest.raises(DataError) as caught:
        read(path)
    assert f"{path}, line {line} has" in caught.value.message
    assert "the lines before have" in str(caught.value.why)


@pytest.mark.parametrize(
    "name", ["a.conll", "a.conllu", "a.txt", "a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet"]
)
@pytest.mark.parametrize("form", ["", "\n \n\t\n"], ids=["empty", "blank"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, form: str) -> None:
    path = written(tmp_path / name, form)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.csv", "text,label\n"), ("a.conllu", "# text = a\n"), ("a.conll", "-DOCSTART- O\n\n")],
)
def test_a_file_without_examples_is_empty(tmp_path: Path, name: str, form: str) -> None:
    with pytest.raises(DataError, match="is empty"):
        read(written(tmp_path / name, form))


@pytest.mark.parametrize("name", ["a.conll", "a.conllu", "a.csv", "a.tsv", "a.jsonl"])
def test_a_file_that_is_not_utf8_is_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, 'text,label {"text": "größer"}\n'.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert "utf-8" in str(caught.value.why).lower() or "json" in str(caught.value.why).lower()


@pytest.mark.parametrize(
    ("name", "form"), [("a.jsonl", "no json"), ("a.json", '{"text": '), ("a.parquet", "PAR1 or not")]
)
def test_a_file_of_another_kind_is_named_once(
    tmp_path: Path, name: str, form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / name, form)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert caught.value.why
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_missing_or_of_no_known_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.csv"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"a\.xml") as caught:
        read(written(tmp_path / "a.xml", "<a/>"))
    assert ".conllu" in str(caught.value.why)


def test_words_alone_are_no_target(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one column"):
        read(written(tmp_path / "a.conll", "He\nsaid\n"))


@pytest.mark.parametrize("name", ["a.conll", "a.csv", "a.tsv"])
@pytest.mark.parametrize("columns", [("text", "label"), ("text", "label", "c", "d")])
def test_columns_must_be_as_many_as_the_file_has(tmp_path: Path, name: str, columns: tuple[str, ...]) -> None:
    separator = "\t" if name == "a.tsv" else ","
    path = written(
        tmp_path / name, "a b c\nd e f\n" if name == "a.conll" else "a,b,c\nd,e,f\n".replace(",", separator)
    )
    with pytest.raises(UsageError, match=f"has 3 columns, --columns names {len(columns)}"):
        read(path, columns=columns)


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("a.conll", "a X\nb X\n", r"one class only \(X\)"),
        ("a.csv", "text,label\na,1\nb,1\nc,\n", r"one class only \(1\)"),
        ("a.csv", "text,score\na,0.5\nb,0.5\n", "same value everywhere"),
        ("a.csv", "text,label\na,\nb,\n", "no labelled examples"),
        ("a.csv", "text,label\na,-100\nb,-100\n", "no labelled examples"),
    ],
)
def test_where_there_is_nothing_to_learn_nothing_begins(
    tmp_path: Path, name: str, form: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path / name, form))


@pytest.mark.parametrize(
    "rows",
    [
        [{"tokens": ["a", "b"], "labels": [0]}, {"tokens": ["c"], "labels": [1]}],
        [{"tokens": ["a", "b"], "labels": [0]}, {"tokens": ["c"], "labels": [1, 0]}],
        [{"tokens": ["a", "b"], "labels": None}, {"tokens": ["c"], "labels": [1]}],
        [{"tokens": None, "labels": [0, 1]}, {"tokens": ["c"], "labels": [1]}],
    ],
    ids=["too few", "shifted", "no labels", "no words"],
)
def test_a_sentence_with_another_number_of_labels_is_shown(tmp_path: Path, rows: list[Any]) -> None:
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"has \d words but \d labels"):
        read(path)


# The same, and not the same


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A table that is sorted by class."""
    rows = "".join(f"sentence {i},{int(i >= 500)}\n" for i in range(1000))
    return written(tmp_path / "long.csv", "text,label\n" + rows)


def test_the_examples_that_are_drawn_are_the_same_each_time_and_in_order(long: Path) -> None:
    first, again = (read(long, max_examples=50) for _ in range(2))
    numbers = [int(words[1]) for words in first[1]["train"].corpus.sentences]
    assert len(numbers) == 50
    assert numbers == sorted(numbers)
    assert 10 < sum(number >= 500 for number in numbers) < 40
    assert first[1]["train"].labels.tolist() == [int(number >= 500) for number in numbers]
    assert again[0] == first[0]
    assert again[1]["train"].corpus == first[1]["train"].corpus


def test_no_more_are_drawn_than_there_are(long: Path) -> None:
    for limit in (None, 1000, 5000):
        assert read(long, max_examples=limit)[0].examples == {"train": 1000}


def test_the_limit_is_of_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        written(tmp_path / f"{split}.conll", CHUNKS * 2)
    assert read(tmp_path, "train", "test", max_examples=1)[0].examples == {"train": 1, "test": 1}


def test_the_fingerprint_is_of_the_content_and_not_of_its_form(tmp_path: Path) -> None:
    plain = written(tmp_path / "a.conll", CHUNKS)
    fingerprint = read(plain)[0].fingerprint
    assert (
        read(written(tmp_path / "b.txt", "\ufeff" + CHUNKS.replace(" ", "\t")))[0].fingerprint == fingerprint
    )


@pytest.mark.parametrize(("old", "new"), [("He", "She"), ("O", "B-VP"), ("\n\n", "\n"), ("rains", "Rains")])
def test_any_word_label_or_boundary_changes_the_fingerprint(tmp_path: Path, old: str, new: str) -> None:
    before, _ = read(written(tmp_path / "a.conll", CHUNKS))
    after, _ = read(written(tmp_path / "a.conll", CHUNKS.replace(old, new)))
    assert after.fingerprint != before.fingerprint
    assert after.commit != before.commit


def test_the_names_of_classes_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    before, _ = read(written(tmp_path / "a.conll", CHUNKS))
    after, _ = read(written(tmp_path / "a.conll", CHUNKS.replace("B-NP", "B-NX")))
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_other_bytes_of_the_same_size_and_time_are_read_anew(tmp_path: Path, name: str) -> None:
    form = (
        "text,label\n{},0\nb,1\n"
        if name == "a.csv"
        else '{{"text": "{}", "label": 0}}\n{{"text": "b", "label": 1}}'
    )
    path = written(tmp_path / name, form.format("old"))
    times = path.stat()
    assert content(path)[0] == (("old",), ("b",))
    written(path, form.format("new"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert content(path)[0] == (("new",), ("b",))


def test_no_other_error_than_ours_leaves(tmp_path: Path) -> None:
    """Files cut and spoiled at random read as something, or are refused by name."""
    chance = np.random.default_rng(0)
    forms = {"a.conll": CHUNKS, "a.conllu": CONLLU, "a.csv": 'text,label\n"a, b",0\nc,1\n'}
    alphabet = list(b'\t\n\r ,"#0.-\xff\x00\xc3')
    for name, form in forms.items():
        for _ in range(30 if name == "a.csv" else 200):
            data = bytearray(form.encode())
            for position in chance.integers(len(data), size=3):
                data[position] = chance.choice(alphabet)
            path = written(tmp_path / name, bytes(data[: chance.integers(1, len(data) + 1)]))
            try:
                _, found = read(path)
            except ZooError as error:
                assert error.message
            else:
                assert len(found["train"].labels) == found["train"].corpus.n_rows


# Real sets, where a folder of them is named


@pytest.mark.skipif(SHARED is None, reason="ZOO_SHARED names no folder of data sets")
@pytest.mark.parametrize(
    ("name", "examples", "rows", "classes", "options"),
    [
        ("conll2000", {"train": 8936, "test": 2012}, {"train": 211_727, "test": 47_377}, 23, {}),
        (
            "ud_ewt",
            {"train": 12_544, "validation": 2001, "test": 2077},
            {"train": 204_577, "validation": 25_147, "test": 25_094},
            17,
            {},
        ),
        ("wnut17", {"train": 3394, "validation": 1009}, {"train": 62_730, "validation": 15_733}, 13, {}),
        ("sst2", {"train": 67_349, "validation": 872, "test": 1821}, None, 2, {}),
        (
            "stsb",
            {"train": 5749, "validation": 1500, "test": 1379},
            None,
            0,
            {"columns": ("text", "second", "score")},
        ),
        (
            "cola/in_domain_train.tsv",
            {"train": 8551},
            None,
            2,
            {"columns": ("source", "label", "mark", "text")},
        ),
        ("ag_news/test.csv", {"train": 7600}, None, 4, {"columns": ("class", "title", "text")}),
    ],
)
def test_real_sets_are_read_whole(
    name: str,
    examples: dict[str, int],
    rows: dict[str, int] | None,
    classes: int,
    options: dict[str, Any],
) -> None:
    target, data = read(Path(str(SHARED), "data", "text", name), "train", "validation", "test", **options)
    assert target.examples == examples
    assert target.rows == (rows or examples)
    assert len(target.classes) == classes
    assert all(words for part in data.values() for words in part.corpus.sentences)


@pytest.mark.skipif(SHARED is None, reason="ZOO_SHARED names no folder of data sets")
def test_questions_in_latin_1_are_read_once_converted(tmp_path: Path) -> None:
    path = Path(str(SHARED), "data", "text", "trec_qc", "train.txt")
    with pytest.raises(DataError, match="not UTF-8"):
        read(path)
    lines = [line.split(" ", 1) for line in path.read_text(encoding="latin-1").splitlines()]
    table = "".join(f"{label.split(':')[0]}\t{question}\n" for label, question in lines)
    target, _ = read(written(tmp_path / "trec.tsv", table), columns=("label", "question"))
    assert target.examples == {"train": 5452}
    assert len(target.classes) == 6
