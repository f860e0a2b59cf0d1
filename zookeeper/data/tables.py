"""Files as tables.

Tables are read by `datasets`; column files (CoNLL and its kin) by a reader of our own, which names the line
that is wrong where the library would pad or cut it silently.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets import Value

from zookeeper.errors import DataError, NotFoundError, UsageError
from zookeeper.layouts import COLUMN_FILES, TABLES
from zookeeper.plain import refusal

_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

datasets.disable_progress_bars()
# What goes wrong is in the errors, and not a second time on standard error.
datasets.logging.set_verbosity(datasets.logging.CRITICAL)
# Counting downloads means asking a server that has nothing to do with the data.
datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
# Long documents are cells like any other.
csv.field_size_limit(2**31 - 1)


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        DataError: it is not UTF-8.
        NotFoundError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text.", why=str(error), fix="convert it, for instance with iconv"
        ) from error
    except OSError as error:
        raise NotFoundError(f"cannot read {path}.", why=refusal(error)) from error


def table_of(paths: Sequence[Path], columns: Sequence[str] = ()) -> datasets.Dataset:
    """The files of a split as one table.

    Args:
        paths: of one kind; several only of tables.
        columns: names of the columns of a file that does not name them.

    Raises:
        DataError: they cannot be read; the file, and where possible the line, is named.
        UsageError: `columns` are not as many as the file has.
    """
    path = paths[0]
    if path.suffix in COLUMN_FILES:
        return _read_columns(path, columns)
    if path.suffix not in TABLES:
        kinds = ", ".join(sorted(COLUMN_FILES | TABLES.keys()))
        raise DataError(f"zoo cannot read {path}.", why=f"it reads {kinds}")
    for empty in (path for path in paths if not path.stat().st_size):
        raise DataError(f"{empty} is empty.")
    if path.suffix not in (".csv", ".tsv"):
        return load(TABLES[path.suffix], paths)
    dialect: dict[str, Any] = {"delimiter": ","}
    if path.suffix == ".tsv":
        dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    for part in paths:
        width = _width(part, dialect, header=not columns)
        if columns and len(columns) != width:
            raise _misnamed(part, width, columns)
    named = {"names": list(columns), "header": None} if columns else {}
    # Words such as None and NA are words; only an empty cell is empty.
    table = load("csv", paths, **dialect, **named, keep_default_na=False, na_values=[""])
    return _with_integers(table)


def _width(path: Path, dialect: Mapping[str, Any], *, header: bool) -> int:
    """Number of columns, the same in every line: where it is not, pandas would pad or shift them silently."""
    width, n_rows = 0, 0
    rows = csv.reader(io.StringIO(text_of(path)), **dialect)
    for row in rows:
        if not "".join(row).strip():
            continue
        width, n_rows = width or len(row), n_rows + 1
        if len(row) != width:
            raise _ragged(path, rows.line_num, len(row), width)
    if n_rows <= header:
        raise DataError(f"{path} has a header and no rows." if n_rows else f"{path} is empty.")
    return width


def _with_integers(table: datasets.Dataset) -> datasets.Dataset:
    """The table with integers where pandas made floats of them because a cell is empty."""
    for name, feature in table.features.items():
        given = [value for value in table[name] if value is not None]
        if feature == Value("float64") and len(given) < len(table) and all(v.is_integer() for v in given):
            table = table.cast_column(name, Value("int64"))
    return table


def load(builder: str, paths: Sequence[Path], **options: Any) -> datasets.Dataset:
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


def _read_columns(path: Path, names: Sequence[str]) -> datasets.Dataset:
    """A file with a word a line and its labels in further columns; empty lines end sentences."""
    conllu = path.suffix == ".conllu"
    rows: list[list[str]] = []
    sentences: list[list[list[str]]] = []
    width = 0
    for number, line in enumerate([*text_of(path).split("\n"), ""], start=1):
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
