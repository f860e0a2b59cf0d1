"""Probes and targets as sentences of words and labels, from files that are on this machine.

Tables are read by `datasets`; column files (CoNLL and its kin) by a reader of our own, which names the line
that is wrong where the library would pad or cut it silently.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import ClassLabel, List, Value
from numpy.typing import NDArray

from zookeeper.errors import DataError, NotFoundError, UsageError
from zookeeper.records import (
    IGNORED,
    Corpus,
    Dataset,
    Labelled,
    Probe,
    RepoFile,
    Target,
    TargetSource,
    Task,
    Unit,
    digest_of,
)

PARQUET_BRANCH = "refs/convert/parquet"

_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_COLUMN_FILES = {".conll", ".conllu", ".txt"}
_TABLES = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
_TEXTS = ("tokens", "words", "form", "text", "sentence", "question", "content", "review")
_LABELS = ("label", "labels", "tag", "tags", "ner_tags", "chunk_tags", "pos_tags", "upos", "class", "score")

datasets.disable_progress_bars()
# What goes wrong is in the errors, and not a second time on standard error.
datasets.logging.set_verbosity(datasets.logging.CRITICAL)
# Long documents are cells like any other.
csv.field_size_limit(2**31 - 1)
# Counting downloads means asking a server that has nothing to do with the data.
datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False


# Probes


def probe_from_lines(lines: Iterable[str], *, max_words: int, min_words: int = 1) -> Corpus:
    """The first `max_words` words of the lines that have at least `min_words`.

    Raises:
        DataError: there are none.
    """
    sentences: list[tuple[str, ...]] = []
    left = max_words
    for line in lines:
        words = line.split()
        if len(words) < min_words or not words:
            continue
        sentences.append(tuple(words[:left]))
        left -= len(sentences[-1])
        if left <= 0:
            break
    if not sentences:
        raise DataError("the probe has no text.", why=f"no line has {min_words} words or more")
    return Corpus(tuple(sentences), "word")


def probe_from_file(path: Path, *, max_words: int) -> Corpus:
    """A probe from any text file, one sentence or paragraph a line.

    Raises:
        DataError: it is no UTF-8 text, or empty.
    """
    return probe_from_lines(_text(path).splitlines(), max_words=max_words)


def probe_files(dataset: Dataset, probe: Probe) -> tuple[RepoFile, ...]:
    """The files of a dataset that hold a probe."""
    stem = f"{probe.config}/{probe.split}"
    found = tuple(f for f in dataset.files if f.path.startswith(stem) and f.path.endswith(".parquet"))
    if not found:
        raise DataError(f"{probe.dataset} has no files {stem}*.parquet.")
    return found


def probe_from_snapshot(folder: Path, files: Sequence[RepoFile], probe: Probe, *, max_words: int) -> Corpus:
    """A named probe from the files of its dataset."""
    table = _load("parquet", [folder / file.path for file in files])
    if probe.column not in table.column_names:
        raise DataError(f"{probe.dataset} has no column {probe.column}.", why=f"it has {table.column_names}")
    return probe_from_lines(table[probe.column], max_words=max_words, min_words=probe.min_words)


# Targets


def target_from_path(
    source: TargetSource, *, splits: Sequence[str], max_examples: int | None = None
) -> tuple[Target, dict[str, Labelled]]:
    """A target from a file (its training split) or a folder with a file for each split.

    Args:
        source: where it is.
        splits: which splits are wanted; those that it lacks are left out, the first must be there.
        max_examples: at most so many sentences of each split, drawn with a fixed seed.

    Raises:
        NotFoundError: there is no such file, or no file for the first split.
        DataError: it cannot be read as a target.
    """
    path = Path(source.dataset).expanduser()
    files = _split_files(path) if path.is_dir() else {splits[0]: path}
    if not path.exists():
        raise NotFoundError(f"there is no file {path}.")
    if splits[0] not in files:
        raise NotFoundError(
            f"{path} has no {splits[0]} split.", why=f"it has: {', '.join(sorted(files)) or 'no data files'}"
        )
    wanted = {split: files[split] for split in splits if split in files}
    tables = {split: _table(file, source.columns) for split, file in wanted.items()}
    content = [[split, hashlib.sha256(file.read_bytes()).hexdigest()] for split, file in wanted.items()]
    return _target(source, tables, commit=digest_of(content)[:40], local=True, max_examples=max_examples)


def runs_a_script(dataset: Dataset) -> bool:
    """Whether a dataset is a loading script and no data, so that only the Hub's parquet copy can be read."""
    paths = [file.path for file in dataset.files]
    script = dataset.revision.repo_id.split("/")[-1] + ".py"
    return script in paths


def target_files(dataset: Dataset, source: TargetSource) -> tuple[RepoFile, ...]:
    """The files of a dataset that a target needs.

    Raises:
        DataError: it has no data that can be read, or several configurations and none was named.
    """
    if dataset.revision.asked == PARQUET_BRANCH:
        config = _config(dataset, source)
        return tuple(
            f for f in dataset.files if re.match(rf"{re.escape(config)}/[^/]+/\d+\.parquet$", f.path)
        )
    found = tuple(f for f in dataset.files if Path(f.path).suffix in _TABLES or f.path == "README.md")
    if all(file.path == "README.md" for file in found):
        raise DataError(
            f"{source.dataset} has no data that zoo can read.", why=f"it reads {', '.join(_TABLES)}"
        )
    return found


def target_from_snapshot(
    folder: Path,
    dataset: Dataset,
    source: TargetSource,
    *,
    splits: Sequence[str],
    max_examples: int | None = None,
) -> tuple[Target, dict[str, Labelled]]:
    """A target from the files of a dataset of the Hub; arguments and errors as `target_from_path`."""
    if dataset.revision.asked == PARQUET_BRANCH:
        found: dict[str, list[Path]] = {}
        for file in target_files(dataset, source):
            found.setdefault(file.path.split("/")[-2], []).append(folder / file.path)
        tables = {split: _load("parquet", paths) for split, paths in found.items() if split in splits}
    else:
        tables = _load_repository(folder, source, splits)
    if splits[0] not in tables:
        raise NotFoundError(f"{source.dataset} has no {splits[0]} split.")
    return _target(source, tables, commit=dataset.revision.commit, local=False, max_examples=max_examples)


# Reading


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text.", why=str(error), fix="convert it, for instance with iconv"
        ) from error
    except OSError as error:
        raise NotFoundError(f"cannot read {path}.", why=(error.strerror or str(error)).lower()) from error


def _split_files(folder: Path) -> dict[str, Path]:
    """The data file of each split in a folder, by its name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in _COLUMN_FILES | _TABLES.keys():
            continue
        split = _split_of(path.stem.lower())
        if split in found:
            raise DataError(f"{folder} has two files for {split}: {found[split].name} and {path.name}.")
        if split is not None:
            found[split] = path
    return found


def _split_of(stem: str) -> str | None:
    """The split that a file's name speaks of: as a word, or else within one."""
    for parts in (re.findall("[a-z]+", stem), stem):
        for split, words in _SPLITS.items():
            if any(word in parts for word in words):
                return split
    return None


def _table(path: Path, columns: Sequence[str]) -> datasets.Dataset:
    """A file as a table."""
    if path.suffix in _COLUMN_FILES:
        return _read_columns(path, columns)
    if path.suffix not in _TABLES:
        kinds = ", ".join(sorted(_COLUMN_FILES | _TABLES.keys()))
        raise DataError(f"zoo cannot read {path}.", why=f"it reads {kinds}")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty.")
    if path.suffix not in (".csv", ".tsv"):
        return _load(_TABLES[path.suffix], [path])
    dialect: dict[str, Any] = {"delimiter": ","}
    if path.suffix == ".tsv":
        dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    width = _width(path, dialect, header=not columns)
    if columns and len(columns) != width:
        raise _misnamed(path, width, columns)
    named = {"names": list(columns), "header": None} if columns else {}
    # Words such as None and NA are words; only an empty cell is empty.
    table = _load("csv", [path], **dialect, **named, keep_default_na=False, na_values=[""])
    return _with_integers(table)


def _width(path: Path, dialect: Mapping[str, Any], *, header: bool) -> int:
    """Number of columns, the same in every line: where it is not, pandas would pad or shift them silently."""
    width, n_rows = 0, 0
    rows = csv.reader(io.StringIO(_text(path)), **dialect)
    for row in rows:
        if not "".join(row).strip():
            continue
        width, n_rows = width or len(row), n_rows + 1
        if len(row) != width:
            raise _ragged(path, rows.line_num, len(row), width)
    if n_rows <= header:
        raise DataError(f"{path} is empty.")
    return width


def _with_integers(table: datasets.Dataset) -> datasets.Dataset:
    """The table with integers where pandas made floats of them because a cell is empty."""
    for name, feature in table.features.items():
        given = [value for value in table[name] if value is not None]
        if feature == Value("float64") and len(given) < len(table) and all(v.is_integer() for v in given):
            table = table.cast_column(name, Value("int64"))
    return table


def _load(builder: str, paths: Sequence[Path], **options: Any) -> datasets.Dataset:
    """Read data files with `datasets`, past its cache, which goes by time stamps and not by content."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as aside:
        try:
            return datasets.load_dataset(
                builder,
                data_files={"train": [str(path) for path in paths]},
                split="train",
                cache_dir=aside,
                keep_in_memory=True,
                **options,
            )
        except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
            cause = error.__cause__ or error
            raise DataError(
                f"{paths[0]} cannot be read as {builder}.", why=str(cause).strip().splitlines()[0][:200]
            ) from error


def _load_repository(
    folder: Path, source: TargetSource, splits: Sequence[str]
) -> dict[str, datasets.Dataset]:
    """The splits of a dataset's folder, by the description in its card or by the names of its files."""
    try:
        configs = datasets.get_dataset_config_names(str(folder))
        if source.config is None and len(configs) > 1:
            raise _which_config(source, configs)
        present = datasets.get_dataset_split_names(str(folder), source.config)
        return {
            split: datasets.load_dataset(str(folder), source.config, split=split)
            for split in splits
            if split in present
        }
    except (datasets.exceptions.DatasetGenerationError, FileNotFoundError, ValueError) as error:
        cause = error.__cause__ or error
        raise DataError(
            f"{source.dataset} cannot be read.", why=str(cause).strip().splitlines()[0][:200]
        ) from error


def _config(dataset: Dataset, source: TargetSource) -> str:
    configs = sorted({f.path.split("/")[0] for f in dataset.files if f.path.endswith(".parquet")})
    if source.config in configs:
        return str(source.config)
    if source.config is None and len(configs) == 1:
        return configs[0]
    raise _which_config(source, configs)


def _which_config(source: TargetSource, configs: Sequence[str]) -> DataError:
    return DataError(
        f"{source.dataset} has several configurations."
        if source.config is None
        else f"{source.dataset} has no configuration {source.config}.",
        why=f"it has: {', '.join(configs)}",
        fix="name one with --config",
    )


def _read_columns(path: Path, names: Sequence[str]) -> datasets.Dataset:
    """A file with a word a line and its labels in further columns; empty lines end sentences."""
    conllu = path.suffix == ".conllu"
    rows: list[list[str]] = []
    sentences: list[list[list[str]]] = []
    width = 0
    for number, line in enumerate([*_text(path).split("\n"), ""], start=1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if rows:
                sentences.append(rows)
            rows = []
            continue
        if conllu and line.startswith("#"):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if conllu and not cells[0].isdigit():
            continue  # a range of a multi-word token, or an empty node
        width = width or len(cells)
        if len(cells) != width:
            raise _ragged(path, number, len(cells), width)
        rows.append(cells)
    if not sentences:
        raise DataError(f"{path} is empty.")
    if width < 2:
        raise DataError(f"{path} has one column.", why="a target has words and labels")
    if not names:
        names = _CONLLU if conllu else ("tokens", *(f"column{i}" for i in range(2, width)), "label")
    if len(names) != width:
        raise _misnamed(path, width, names)
    return datasets.Dataset.from_dict(
        {name: [[row[i] for row in rows] for rows in sentences] for i, name in enumerate(names)}
    )


def _ragged(path: Path, line: int, found: int, width: int) -> DataError:
    return DataError(f"{path}, line {line} has {found} columns.", why=f"the lines before have {width}")


def _misnamed(path: Path, width: int, names: Sequence[str]) -> UsageError:
    return UsageError(f"{path} has {width} columns, --columns names {len(names)}.")


# Columns to labels


def _target(
    source: TargetSource,
    tables: Mapping[str, datasets.Dataset],
    *,
    commit: str,
    local: bool,
    max_examples: int | None,
) -> tuple[Target, dict[str, Labelled]]:
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
        rows={split: len(_counted(d.labels)) for split, d in data.items()},
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
        fix=f"name it with --{what}-column",
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


def _counted(labels: NDArray[Any]) -> NDArray[Any]:
    """The labels that count: of a regression all."""
    return labels[labels != IGNORED] if np.issubdtype(labels.dtype, np.integer) else labels


def _check_varied(source: TargetSource, labels: NDArray[Any], classes: Sequence[str]) -> None:
    """Refuse a target on which there is nothing to learn, before any checkpoint runs."""
    counted = _counted(labels)
    if not len(counted):
        raise DataError(f"{source.name} has no labelled examples.")
    if len(np.unique(counted)) > 1:
        return
    if classes:
        raise DataError(
            f"{source.name} has one class only ({classes[int(counted[0])]}).",
            why="there is nothing to tell apart",
        )
    raise DataError(f"{source.name} has the same value everywhere.", why="there is nothing to predict")
