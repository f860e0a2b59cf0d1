"""Probes and targets: every word and label of a file, or an error that says where to look."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zookeeper.cli import options as cli_options
from zookeeper.data import probe_from_file, probe_from_lines, split_files_of, target_from_path
from zookeeper.errors import DataError, DegenerateInputError, NotFoundError, UsageError, ZooError
from zookeeper.records import IGNORED, Corpus, Dataset, Labelled, RepoFile, Revision, Target, TargetSource

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


@pytest.mark.parametrize(("labels", "shown"), [("0.5\nb,inf\n", "inf"), ("0.5\nb,much\n", "much")])
def test_what_is_no_number_cannot_be_regressed_on(tmp_path: Path, labels: str, shown: str) -> None:
    path = written(tmp_path / "a.csv", "text,score\na," + labels)
    with pytest.raises(DataError, match=r"a\.csv: score holds something that is no number") as caught:
        read(path, task="text-regression")
    assert caught.value.why == f'one label of train is "{shown}"'


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "form", "options", "labels"),
    [
        ("a.csv", "text,score\na,0.5\nb,\nc,2\n", {}, [0.5, NAN, 2]),
        ("a.csv", "text,score\na,0.5\nb,nan\nc,2\n", {"task": "text-regression"}, [0.5, NAN, 2]),
        (
            "a.jsonl",
            '{"text": "a", "score": 1.5}\n{"text": "b", "score": NaN}\n{"text": "c", "score": null}\n'
            '{"text": "d", "score": 2}',
            {},
            [1.5, NAN, NAN, 2],
        ),
        (
            "a.jsonl",
            '{"tokens": ["a", "b"], "label": [null, null]}\n{"tokens": ["c", "d"], "label": [-2, 0.5]}',
            {},
            [NAN, NAN, -2, 0.5],
        ),
        ("a.conll", "a\t0.5\nb\t\nc\t-1\n", {"task": "token-regression"}, [0.5, NAN, -1]),
        ("a.conll", "a 0.5\nb NaN\nc -1\n", {"task": "token-regression"}, [0.5, NAN, -1]),
        ("a.csv", "text1,text2,score\na,b,0.5\nc,d,\ne,f,1\n", {}, [0.5, NAN, 1]),
    ],
    ids=["empty", "nan", "null", "words", "empty cell", "nan of a word", "pairs"],
)
def test_a_number_that_is_missing_does_not_count(
    tmp_path: Path, name: str, form: str, options: dict[str, Any], labels: list[float]
) -> None:
    target, data = read(written(tmp_path / name, form), **options)
    assert target.task.endswith("regression")
    np.testing.assert_array_equal(data["train"].labels, labels)
    assert target.rows == {"train": sum(label == label for label in labels)}
    assert len(data["train"].labels) == data["train"].corpus.n_rows


def test_a_split_may_have_no_numbers_at_all(tmp_path: Path) -> None:
    written(tmp_path / "train.jsonl", '{"text": "a", "score": 0.5}\n{"text": "b", "score": 1}')
    written(tmp_path / "test.jsonl", '{"text": "a", "score": null}\n{"text": "b", "score": null}')
    target, data = read(tmp_path, "train", "test")
    assert target.rows == {"train": 2, "test": 0}
    assert np.isnan(data["test"].labels).all()


# Pairs


STS = "sentence1,sentence2,score\nA cat .,A dog .,0.5\nIt rains,It pours,4\n"


def test_two_columns_of_text_make_pairs(tmp_path: Path) -> None:
    target, data = read(written(tmp_path / "a.csv", STS))
    corpus = data["train"].corpus
    assert (target.task, target.text_column, target.label_column) == (
        "pair-regression",
        "sentence1, sentence2",
        "score",
    )
    assert corpus.sentences == (("A", "cat", "."), ("A", "dog", "."), ("It", "rains"), ("It", "pours"))
    assert (corpus.unit, corpus.n_rows, data["train"].lengths.tolist()) == ("pair", 2, [1, 1])
    assert data["train"].labels.tolist() == [0.5, 4.0]
    assert (target.examples, target.available, target.rows) == ({"train": 2}, {"train": 2}, {"train": 2})


@pytest.mark.parametrize(
    "names",
    [
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("question", "sentence"),
        ("text1", "text2"),
        ("text_a", "text_b"),
        ("query", "document"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_usual_names_of_pairs_are_known(tmp_path: Path, names: tuple[str, str], swapped: bool) -> None:
    columns = [*names, "label"]
    rows = [["a b", "c", "0"], ["d", "e", "1"]]
    if swapped:
        columns, rows = columns[::-1], [row[::-1] for row in rows]
    form = "\n".join("\t".join(cells) for cells in (columns, *rows))
    target, data = read(written(tmp_path / "a.tsv", form))
    assert (target.task, target.text_column) == ("pair-classification", ", ".join(names))
    assert data["train"].corpus.sentences == (("a", "b"), ("c",), ("d",), ("e",))


@pytest.mark.parametrize(
    ("columns", "options", "texts"),
    [
        ("one,two,label", {"text_column": "one", "pair_column": "two"}, "one, two"),
        ("one,text,label", {"pair_column": "one"}, "text, one"),
        ("sentence1,sentence2,label", {"pair_column": "sentence2"}, "sentence1, sentence2"),
        (
            "sentence1,sentence2,label",
            {"text_column": "sentence2", "pair_column": "sentence1"},
            "sentence2, sentence1",
        ),
        ("question,sentence,label", {"task": "pair-classification"}, "question, sentence"),
        (
            "text1,text2,premise,hypothesis,label",
            {"text_column": "premise", "task": "pair-classification"},
            "premise, hypothesis",
        ),
        ("text1,text2,premise,hypothesis,label", {"pair_column": "hypothesis"}, "premise, hypothesis"),
        ("text1,text2,premise,hypothesis", {"label_column": "hypothesis"}, "text1, text2"),
    ],
)
def test_pairs_can_be_named(tmp_path: Path, columns: str, options: dict[str, Any], texts: str) -> None:
    names = columns.split(",")
    rows = [[f"{name}-{i}" for name in names] for i in range(2)]
    path = written(tmp_path / "a.csv", "\n".join(map(",".join, [names, *rows])))
    target, data = read(path, **options)
    first, second = texts.split(", ")
    assert target.text_column == texts
    assert data["train"].corpus.sentences[:2] == ((f"{first}-0",), (f"{second}-0",))


def test_one_side_of_a_pair_alone_is_a_text(tmp_path: Path) -> None:
    target, data = read(written(tmp_path / "a.csv", STS), text_column="sentence2")
    assert (target.task, target.text_column) == ("text-regression", "sentence2")
    assert data["train"].corpus.sentences == (("A", "dog", "."), ("It", "pours"))


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ("text,premise,hypothesis,label", {}),
        ("text1,text2,premise,hypothesis,label", {}),
        ("text1,text2,premise,hypothesis,label", {"task": "pair-classification"}),
        ("text,label", {"task": "pair-classification"}),
        ("one,two,label", {"pair_column": "two"}),
        ("sentence1,sentence2,label", {"task": "text-classification"}),
    ],
)
def test_texts_that_cannot_be_told_are_listed_with_the_option_for_pairs(
    tmp_path: Path, columns: str, options: dict[str, Any]
) -> None:
    path = written(tmp_path / "a.csv", f"{columns}\n{columns}\n")
    with pytest.raises(DataError, match=r"cannot tell which columns? of a\.csv") as caught:
        read(path, **options)
    assert columns.replace(",", ", ") in str(caught.value.why)
    assert "--pair-column" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair_column": "other"}, 'no column "other"'),
        ({"text_column": "sentence1", "pair_column": "sentence1"}, "not both in sentence1"),
        ({"text_column": "score", "label_column": "score"}, "cannot hold both text and label"),
        ({"pair_column": "sentence2", "task": "text-regression"}, "is no text-regression"),
        ({"pair_column": "sentence2", "task": "token-regression"}, "is no token-regression"),
        ({"task": "pair-classification"}, "score holds real numbers, which are no classes"),
    ],
)
def test_what_does_not_fit_pairs_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path / "a.csv", STS), **options)


@pytest.mark.parametrize("column", ["premise", "label"])
def test_pairs_of_lists_are_refused(tmp_path: Path, column: str) -> None:
    row = {"premise": "a", "hypothesis": "b", "label": "c"}
    path = written(tmp_path / "a.jsonl", json.dumps(row | {column: ["x"]}))
    with pytest.raises(DataError, match="the columns premise, hypothesis and label of"):
        read(path)


def test_a_side_of_a_pair_may_be_empty(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text1,text2,label\na,,0\n,b,1\n,,1\n")
    target, data = read(path)
    assert data["train"].corpus.sentences == (("a",), (), (), ("b",), (), ())
    assert target.rows == {"train": 3}


def test_pairs_are_drawn_together(tmp_path: Path) -> None:
    rows = "".join(f"left {i},right {i},{i % 2}\n" for i in range(40))
    path = written(tmp_path / "a.csv", "text1,text2,label\n" + rows)
    target, data = read(path, max_examples=7)
    words = data["train"].corpus.sentences
    assert len(words) == 14
    assert [w[1] for w in words[::2]] == [w[1] for w in words[1::2]]
    assert {w[0] for w in words[::2]} == {"left"}
    assert (target.examples, target.part("train")) == ({"train": 7}, "train[7 of 40]")


def test_the_sides_of_pairs_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    pairs = read(written(tmp_path / "a.csv", "text1,text2,label\na,b,0\nc,d,1\n"))[0]
    swapped = read(written(tmp_path / "b.csv", "text2,text1,label\na,b,0\nc,d,1\n"))[0]
    assert pairs.fingerprint != swapped.fingerprint
    corpora = [Corpus((("a",), ("b",)), unit) for unit in ("word", "sentence", "pair")]
    assert [corpus.n_rows for corpus in corpora] == [2, 2, 1]
    assert len({corpus.digest for corpus in corpora}) == 3


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(DegenerateInputError, match="3 sentences do not make pairs"):
        Corpus((("a",), ("b",), ()), "pair")


# Several labels at once


def emotions(path: Path, lists: list[list[Any] | None], names: list[str] | None = None) -> Path:
    """Texts with lists of labels: as ids with names, or as they are."""
    table = {"text": [f"text {i}" for i in range(len(lists))], "labels": lists}
    if names is None:
        rows = [{"text": text, "labels": some} for text, some in zip(*table.values(), strict=True)]
        return written(path, "\n".join(map(json.dumps, rows)))
    kinds = {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=names))}
    datasets.Dataset.from_dict(table, features=datasets.Features(kinds)).to_parquet(path)
    return path


def test_lists_of_names_are_several_labels_at_once(tmp_path: Path) -> None:
    path = emotions(tmp_path / "a.jsonl", [["joy"], [], ["love", "joy"], None])
    target, data = read(path)
    assert (target.task, target.classes, target.multilabel) == ("text-multilabel", ("joy", "love"), True)
    assert not target.regression
    assert data["train"].labels.dtype == np.float64
    np.testing.assert_array_equal(data["train"].labels, [[1, 0], [0, 0], [1, 1], [NAN, NAN]])
    assert (data["train"].corpus.unit, target.rows) == ("sentence", {"train": 3})
    assert read(path, task="text-multilabel")[0] == target


def test_ids_of_several_labels_have_the_names_of_their_file(tmp_path: Path) -> None:
    names = ["never", "joy", "love", "fear"]
    target, data = read(emotions(tmp_path / "a.parquet", [[3, 1], [], [-1], [2]], names))
    assert target.classes == tuple(names)
    np.testing.assert_array_equal(data["train"].labels, [[0, 1, 0, 1], [0] * 4, [NAN] * 4, [0, 0, 1, 0]])


def test_labels_that_only_the_test_split_has_come_last(tmp_path: Path) -> None:
    emotions(tmp_path / "train.jsonl", [["c"], ["b", "c"]])
    emotions(tmp_path / "test.jsonl", [["a", "c"], ["b"]])
    target, data = read(tmp_path, "train", "test")
    assert target.classes == ("b", "c", "a")
    assert data["test"].labels.tolist() == [[0, 1, 1], [1, 0, 0]]


def test_any_label_of_several_changes_the_fingerprint(tmp_path: Path) -> None:
    one = read(emotions(tmp_path / "a.jsonl", [["b", "c"], ["c"]]))[0]
    other = read(emotions(tmp_path / "b.jsonl", [["c"], ["b", "c"]]))[0]
    assert one.classes == other.classes
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["a", "b"], ["b", "a"]], "the same labels everywhere in labels"),
        ([["a"], None], "the same labels everywhere in labels"),
        ([[], []], "no labelled examples"),
        ([None, None, []], "no labelled examples"),
        ([["a", 1], [1]], "labels of several kinds"),
        ([[0, 1, 0], [1, 0, 0]], "names a label twice"),
        ([["O", "O"], ["X"]], "names a label twice"),
        ([[["a"]], [["b"]]], "neither texts, labels nor lists"),
    ],
)
def test_lists_that_are_no_labels_are_refused(tmp_path: Path, lists: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(emotions(tmp_path / "a.jsonl", lists))


def test_cells_hold_no_lists(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text,labels\na,"x,y"\nb,x\n')
    with pytest.raises(DataError, match="is no text-multilabel") as caught:
        read(path, task="text-multilabel")
    assert ".jsonl" in str(caught.value.fix)


# Questions with answers in a context

CONTEXT = "Ada Lovelace wrote  the first\nprogram, in 1843."


def questions(
    path: Path, rows: list[Any], context: str = CONTEXT, names: str = "question context answers"
) -> Path:
    """One question of two words for each row's answers, all of the same context."""
    columns = names.split()
    lines = [dict(zip(columns, ("Who wrote", context, answers), strict=True)) for answers in rows]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(lines), path)
        return path
    return written(path, "\n".join(map(json.dumps, lines)))


def answer(*texts: str, context: str = CONTEXT) -> dict[str, list[Any]]:
    """Answers as SQuAD has them, at the first place where their text is."""
    return {"text": list(texts), "answer_start": [context.index(text) for text in texts]}


def spans(path: Path, *, split: str = "train", **options: Any) -> list[list[str]]:
    """The words of each answer that was found; more than one span would be an error."""
    target, data = read(path, split, **options)
    labelled = data[split]
    found: list[list[str]] = []
    words = zip(
        np.split(labelled.labels, np.cumsum(labelled.lengths)[:-1]), labelled.corpus.sentences, strict=True
    )
    for labels, sentence in words:
        tags = ["" if label == IGNORED else target.classes[int(label)] for label in labels]
        inside = [i for i, tag in enumerate(tags) if tag.endswith("-ANSWER")]
        assert [tags[i] for i in inside] == ["B-ANSWER", *["I-ANSWER"] * (len(inside) - 1)][: len(inside)]
        assert inside == [*range(inside[0], inside[-1] + 1)] if inside else True
        found.append([sentence[i] for i in inside])
    return found


def test_a_question_and_its_context_are_a_sentence_with_the_answer_as_a_span(tmp_path: Path) -> None:
    path = questions(tmp_path / "a.jsonl", [answer("the first\nprogram"), answer("Ada Lovelace")])
    target, data = read(path)
    words = ("Who", "wrote", *CONTEXT.split())
    assert data["train"].corpus.sentences == (words, words)
    assert data["train"].corpus.unit == target.unit == "word"
    names = [None if label == IGNORED else target.classes[label] for label in data["train"].labels]
    o, b, i = "O", "B-ANSWER", "I-ANSWER"
    assert names[: len(words)] == [None, None, o, o, o, b, i, i, o, o]
    assert names[len(words) :] == [None, None, b, i, o, o, o, o, o, o]
    assert target.classes == ("O", "B-ANSWER", "I-ANSWER")
    assert target.spans
    assert (target.task, target.counted_in) == ("question-answering", "questions")
    assert (target.text_column, target.label_column) == ("question, context", "answers")
    assert (target.examples, target.rows) == ({"train": 2}, {"train": 16})
    assert read(path, task="question-answering")[0] == target


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (0, 3, ["Ada"]),
        (1, 2, ["Ada"]),  # within a word
        (2, 5, ["Ada", "Lovelace"]),  # from within a word into another
        (3, 5, ["Lovelace"]),  # with the blank before it
        (0, 4, ["Ada"]),  # with that after it
        (3, 4, []),  # a blank alone
        (18, 20, []),
        (30, 37, ["program,"]),  # punctuation is of its word
        (30, 38, ["program,"]),
        (len(CONTEXT) - 1, len(CONTEXT), ["1843."]),
        (0, len(CONTEXT), CONTEXT.split()),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_words_that_an_answer_touches_are_in_its_span(
    tmp_path: Path, name: str, start: int, end: int, words: list[str]
) -> None:
    given = {"text": [CONTEXT[start:end]], "answer_start": [start]}
    path = questions(tmp_path / name, [given, answer("wrote")])
    assert spans(path) == [words, ["wrote"]]


def test_characters_are_counted_and_not_bytes(tmp_path: Path) -> None:
    context = "Où\u00a0est 🦓 né ?"
    given = {"text": ["né"], "answer_start": [9]}
    assert context[9:11] == "né"
    assert spans(questions(tmp_path / "a.jsonl", [given], context)) == [["né"]]


NOTHING: list[Any] = [{"text": [], "answer_start": []}, {"text": None, "answer_start": None}, None]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("nothing", [*NOTHING, {"text": [""], "answer_start": [-1]}])
def test_a_question_may_have_no_answer(tmp_path: Path, name: str, nothing: Any) -> None:
    path = questions(tmp_path / name, [answer("Ada"), nothing])
    assert spans(path) == [["Ada"], []]
    assert read(path)[0].rows == {"train": 16}


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_answers_may_be_a_list_of_pairs_or_one_pair(tmp_path: Path, name: str) -> None:
    pair = {"text": "Ada", "answer_start": 0}
    (tmp_path / "lists").mkdir()
    lists = questions(tmp_path / "lists" / name, [[pair], []])
    assert spans(lists) == [["Ada"], []]
    assert spans(questions(tmp_path / name, [pair, None])) == [["Ada"], []]
    usual = questions(tmp_path / "usual.jsonl", [answer("Ada"), answer()])
    assert read(lists)[0].fingerprint == read(usual)[0].fingerprint


def test_a_file_that_datasets_wrote_is_read(tmp_path: Path) -> None:
    table = {"question": ["Who"] * 2, "context": [CONTEXT] * 2, "answers": [answer("Ada"), answer()]}
    pairs = datasets.Sequence({"text": datasets.Value("string"), "answer_start": datasets.Value("int32")})
    text = datasets.Value("string")
    kinds = datasets.Features({"question": text, "context": text, "answers": pairs})
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict(table, features=kinds).to_parquet(path)
    assert spans(path) == [["Ada"], []]


def test_the_first_of_several_answers_counts(tmp_path: Path) -> None:
    path = questions(tmp_path / "a.jsonl", [answer("Ada Lovelace", "Ada", "1843")])
    assert spans(path) == [["Ada", "Lovelace"]]


def test_where_an_answer_is_counts_and_not_what_it_says(tmp_path: Path) -> None:
    path = questions(tmp_path / "a.jsonl", [{"text": ["?????"], "answer_start": [13]}])
    assert spans(path) == [["wrote"]]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"text": ["1843.x"], "answer_start": [len(CONTEXT) - 5]}, "of 47"),
        ({"text": ["Ada"], "answer_start": [-1]}, "characters -1 to 2"),
        ({"text": ["Ada"], "answer_start": []}, "where it begins"),
        ({"text": ["Ada"], "answer_start": [None]}, "where it begins"),
    ],
)
def test_an_answer_outside_its_context_is_named_by_its_question(tmp_path: Path, given: Any, why: str) -> None:
    with pytest.raises(DataError, match="a row of train") as caught:
        read(questions(tmp_path / "a.jsonl", [answer("Ada"), given]))
    assert why in str(caught.value.why)
    assert '"Who wrote"' in str(caught.value.why)


@pytest.mark.parametrize(
    "answers", ["Ada", ["Ada"], {"text": ["Ada"]}, {"answer_start": [0]}, {"begin": 0, "end": 3}, 1.5]
)
def test_answers_that_do_not_say_where_they_are_are_refused(tmp_path: Path, answers: Any) -> None:
    path = questions(tmp_path / "a.jsonl", [answers])
    with pytest.raises(DataError, match="the column answers holds no answers") as caught:
        read(path, task="question-answering")
    assert "answer_start" in str(caught.value.fix)
    with pytest.raises(DataError):
        read(path)


def test_the_columns_of_questions_can_be_named(tmp_path: Path) -> None:
    path = questions(tmp_path / "a.jsonl", [answer("Ada"), answer()], names="query passage spans")
    named = {"text_column": "query", "pair_column": "passage", "label_column": "spans"}
    target, _ = read(path, task="question-answering", **named)
    assert (target.text_column, target.label_column) == ("query, passage", "spans")
    assert spans(path, task="question-answering", **named) == [["Ada"], []]
    with pytest.raises(DataError, match='no column "question"'):
        read(path, task="question-answering")


def test_another_column_of_a_file_of_questions_can_be_the_label(tmp_path: Path) -> None:
    rows = [
        {"question": f"q {i}", "context": CONTEXT, "answers": answer("Ada"), "label": i % 2} for i in range(4)
    ]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read(path)[0].task == "question-answering"
    assert read(path, label_column="label")[0].task == "text-classification"
    assert read(path, task="text-classification")[0].label_column == "label"


def test_a_split_without_any_answer_goes_with_others(tmp_path: Path) -> None:
    questions(tmp_path / "train.jsonl", [answer("Ada"), answer()])
    questions(tmp_path / "validation.jsonl", [answer(), answer()])
    questions(tmp_path / "test.parquet", [answer("wrote")])
    target, data = read(tmp_path, "train", "validation", "test")
    assert target.rows == {"train": 16, "validation": 16, "test": 8}
    assert np.unique(data["validation"].labels).tolist() == [IGNORED, 0]


def test_questions_without_any_answer_are_nothing_to_learn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one class only"):
        read(questions(tmp_path / "a.jsonl", [answer(), answer()]))


def test_questions_are_drawn_with_their_answers(tmp_path: Path) -> None:
    rows = [answer(["Ada", "wrote", "program"][i % 3]) for i in range(60)]
    path = questions(tmp_path / "a.jsonl", rows)
    target, _ = read(path, max_examples=10)
    assert (target.examples, target.available) == ({"train": 10}, {"train": 60})
    assert {tuple(found) for found in spans(path, max_examples=10)} <= {("Ada",), ("wrote",), ("program,",)}


@pytest.mark.parametrize(("question", "context"), [(None, CONTEXT), ("", CONTEXT), ("Who", None)])
def test_a_question_or_a_context_may_be_empty(tmp_path: Path, question: Any, context: Any) -> None:
    rows = [
        {"question": "Who wrote", "context": CONTEXT, "answers": answer("Ada")},
        {"question": question, "context": context, "answers": answer()},
    ]
    target, data = read(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert data["train"].lengths.tolist() == [10, 8 if context else 1]
    assert target.rows == {"train": 16 if context else 8}


# Types in place of tags


def test_tags_are_folded_into_types_if_asked(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "a B-X\nb I-X\nc O\n\nd S-a-b\ne E-X\nf L-X\ng U-a-b\n")
    plain, _ = read(path)
    target, data = read(path, fold_bio=True)
    assert target.classes == ("X", "O", "a-b")
    assert [target.classes[label] for label in data["train"].labels] == [
        "X",
        "X",
        "O",
        "a-b",
        "X",
        "X",
        "a-b",
    ]
    assert len(plain.classes) == 7
    assert target.fingerprint != plain.fingerprint
    assert not target.spans


def test_tags_are_spans_unless_folded(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", CHUNKS)
    assert read(path)[0].spans
    assert not read(path, fold_bio=True)[0].spans


def test_rows_without_a_tag_stay_so_when_tags_are_folded(tmp_path: Path) -> None:
    row = {"tokens": ["a", "b", "c", "d"], "ner_tags": ["B-X", None, "O", "I-X"]}
    _, data = read(written(tmp_path / "a.jsonl", json.dumps(row)), fold_bio=True)
    assert data["train"].labels.tolist() == [0, -100, 1, 0]


def test_a_type_that_only_the_test_split_has_comes_last_when_folded(tmp_path: Path) -> None:
    written(tmp_path / "train.conll", "a B-X\nb O\n")
    written(tmp_path / "test.conll", "a I-X\nb B-A\nc I-A\n")
    target, data = read(tmp_path, "train", "test", fold_bio=True)
    assert target.classes == ("X", "O", "A")
    assert data["test"].labels.tolist() == [0, 2, 2]


@pytest.mark.parametrize(
    ("name", "form", "why"),
    [
        ("a.conll", "a NOUN\nb VERB\n", '"NOUN"'),
        ("a.conll", "a B-X\nb X-Y\n", '"X-Y"'),
        ("a.conll", "a B-\nb O\n", '"B-"'),
        ("a.csv", "text,label\na,B-X\nb,O\n", "text-classification"),
    ],
)
def test_what_are_no_tags_cannot_be_folded(tmp_path: Path, name: str, form: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: label holds no B-/I-/O tags of words to fold") as caught:
        read(written(tmp_path / name, form), fold_bio=True)
    assert why in str(caught.value.why)
    assert "--fold-bio" in str(caught.value.fix)


def test_one_type_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "a B-X\nb I-X\n")
    assert read(path)[0].classes == ("B-X", "I-X")
    with pytest.raises(DataError, match=r"one class only \(X\)"):
        read(path, fold_bio=True)


# Numbers as classes


@pytest.mark.parametrize(
    ("name", "form", "task"),
    [
        ("a.csv", "text,label\na,1.0\nb,0.5\n", "text-classification"),
        ("a.jsonl", '{"tokens": ["a", "b"], "label": [1, 0.5]}', "token-classification"),
        ("a.csv", "text1,text2,label\na,b,1\nc,d,0.5\n", "pair-classification"),
        ("a.csv", "text,label\na,1.0\nb,inf\n", "text-classification"),
    ],
)
def test_real_numbers_are_no_classes(tmp_path: Path, name: str, form: str, task: str) -> None:
    with pytest.raises(DataError, match=f"{name}: label holds real numbers, which are no classes") as caught:
        read(written(tmp_path / name, form), task=task)
    assert caught.value.why in ("one of them is 0.5", "one of them is inf")
    assert caught.value.fix == "--task " + task.replace("classification", "regression")


def test_whole_numbers_are_classes_however_they_are_written(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl", "".join(f'{{"text": "a", "label": {n}}}\n' for n in (2.0, "NaN", 1.0))
    )
    target, data = read(path, task="text-classification")
    assert target.classes == ("1", "2")
    assert data["train"].labels.tolist() == [1, -100, 0]


def test_ids_beyond_the_names_of_their_file_are_refused(tmp_path: Path) -> None:
    path = emotions(tmp_path / "a.parquet", [[0], [1], []], ["a", "b"])
    table = pq.read_table(path)
    lists = pa.array([[0], [7], []], type=table.schema.field("labels").type)
    pq.write_table(table.set_column(1, table.schema.field("labels"), lists), path)
    with pytest.raises(DataError, match="labels holds a class without a name") as caught:
        read(path)
    assert "one label is 7" in str(caught.value.why)


@pytest.mark.parametrize("name", ["a.conll", "a.csv"])
def test_more_classes_than_can_be_meant_are_refused(tmp_path: Path, name: str) -> None:
    sep = " " if name == "a.conll" else ","
    rows = [f"w{sep}c{i}\n" for i in (*range(10_000), 0)]
    head = "" if name == "a.conll" else "text,label\n"
    assert len(read(written(tmp_path / name, head + "".join(rows)))[0].classes) == 10_000
    path = written(tmp_path / name, head + "".join([*rows, f"w{sep}one-more\n"]))
    with pytest.raises(DataError, match=f"{name}: label holds 10,001 classes") as caught:
        read(path)
    assert "--label-column" in str(caught.value.fix)


def test_a_class_of_one_example_is_allowed(tmp_path: Path) -> None:
    target, _ = read(written(tmp_path / "a.csv", "text,label\na,x\nb,x\nc,y\n"))
    assert target.classes == ("x", "y")


# Texts without words


def test_some_texts_may_be_empty(tmp_path: Path) -> None:
    target, data = read(written(tmp_path / "a.csv", 'text,label\n,x\n"  ",y\na,x\n'))
    assert data["train"].corpus.sentences == ((), (), ("a",))
    assert target.rows == {"train": 3}


@pytest.mark.parametrize(
    ("form", "column"),
    [
        ('{"text": " ", "label": 0}\n{"text": null, "label": 1}', "text"),
        ('{"tokens": [], "label": []}\n{"tokens": [], "label": []}', "tokens"),
        ('{"text1": "", "text2": "", "label": 0}\n{"text1": "", "text2": "", "label": 1}', "text1 and text2"),
    ],
)
def test_texts_that_are_all_empty_are_refused(tmp_path: Path, form: str, column: str) -> None:
    path = written(tmp_path / "a.jsonl", form)
    with pytest.raises(DataError, match=r"a\.jsonl: the texts of the train split are all empty") as caught:
        read(path)
    assert caught.value.why == f"no row of {column} has a word"


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    written(tmp_path / "train.csv", "text,label\na,0\nb,1\n")
    written(tmp_path / "test.csv", 'text,label\n"",0\n"",1\n')
    with pytest.raises(DataError, match="texts of the test split are all empty"):
        read(tmp_path, "train", "test")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ('{"text": {"a": "b"}, "label": 0}', "column text holds neither"),
        ('{"text": "a", "label": {"a": "b"}}', "column label holds neither"),
        ('{"tokens": [["a"]], "label": [0]}', "column tokens holds neither"),
        ('{"text": "a", "label": 0}\n{"text": ["b"], "label": 1}', "text holds something that is no text"),
        ('{"text": "a", "label": 0}\n{"text": "b", "label": [1]}', "label holds something that is no label"),
        ('{"text": "a", "label": 0}\n{"text": "b", "label": "x"}', "label holds labels of several kinds"),
    ],
)
def test_what_is_neither_text_nor_label_is_refused(tmp_path: Path, form: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(written(tmp_path / "a.jsonl", form))
    assert "a.jsonl" in caught.value.message
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


def test_a_file_is_a_training_split(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", CHUNKS)
    assert list(read(path, "train", "validation", "test")[1]) == ["train"]
    with pytest.raises(NotFoundError, match=r"a\.conll has no validation split") as caught:
        read(path, "validation")
    assert caught.value.why == "it has: train"
    assert "folder" in str(caught.value.fix)


def test_the_splits_of_a_dataset_of_the_hub_are_listed() -> None:
    files = tuple(RepoFile(f"data/{split}-0.parquet", 1, "sha256:0") for split in ("train", "test"))
    dataset = Dataset(Revision("org/data", "main", "0" * 40), files)
    with pytest.raises(NotFoundError, match="org/data has no validation split") as caught:
        split_files_of(dataset, TargetSource("org/data", "org/data"), ("validation",))
    assert caught.value.why == "it has: train, test"


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


@pytest.mark.parametrize(
    ("name", "form"),
    [("test.csv", "text,label\na,\nb,\n"), ("test.jsonl", '{"text": "a", "label": null}\n{"text": "b"}')],
)
def test_a_split_without_any_label_has_no_labelled_rows(tmp_path: Path, name: str, form: str) -> None:
    written(tmp_path / "train.csv", "text,label\na,0\nb,1\n")
    written(tmp_path / name, form)
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
    ("row", "task"),
    [
        ('{"tokens": ["a", "b"], "label": 1}', None),
        ('{"tokens": ["a", "b"], "label": 1}', "token-classification"),
        ('{"tokens": ["a", "b"], "label": 1}', "text-classification"),
        ('{"text": "a b", "labels": [1, 0]}', "token-classification"),
        ('{"text": "a b", "labels": [0.5, 2]}', None),
    ],
)
def test_lists_go_with_lists(tmp_path: Path, row: str, task: str | None) -> None:
    with pytest.raises(DataError, match="do not go together"):
        read(written(tmp_path / "a.jsonl", row), task=task)


def test_a_task_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no text-classification") as caught:
        read(written(tmp_path / "a.conll", CHUNKS), task="text-classification")
    assert caught.value.fix == "--task token-classification"
    with pytest.raises(DataError, match="is no text-classification") as caught:
        read(emotions(tmp_path / "a.jsonl", [["x"], ["y"]]), task="text-classification")
    assert caught.value.why == "labels holds a list of labels for each text"
    with pytest.raises(DataError, match="is no token-classification"):
        read(written(tmp_path / "a.csv", "text,label\na,0\nb,1\n"), task="token-classification")


def test_options_say_which_columns_and_whether_tags_are_folded() -> None:
    plain = cli_options.target_source("org/data", None, "a", "c", None, None, None, False)
    assert (plain.pair_column, plain.fold_bio) == (None, False)
    told = cli_options.target_source("org/data", None, "a", "c", None, None, "b", True)
    assert (told.text_column, told.pair_column, told.label_column, told.fold_bio) == ("a", "b", "c", True)


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
    ("name", "form", "said"),
    [
        ("a.csv", "text,label\n", "has a header and no rows"),
        ("a.conllu", "# text = a\n", "is empty"),
        ("a.conll", "-DOCSTART- O\n\n", "is empty"),
    ],
)
def test_a_file_without_examples_is_empty(tmp_path: Path, name: str, form: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
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
        ("a.jsonl", '{"text": "a", "score": NaN}\n{"text": "b", "score": null}', "no labelled examples"),
        ("a.jsonl", '{"text": "a", "score": 1.5}\n{"text": "b", "score": null}', "same value everywhere"),
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
    with pytest.raises(DataError, match=r"a\.jsonl: a sentence .* has \d words but \d labels in labels"):
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
            {"columns": ("sentence1", "sentence2", "score")},
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
