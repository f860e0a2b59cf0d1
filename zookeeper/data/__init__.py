"""Probes and targets as sentences of words and labels, from files that are on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from zookeeper.data.labels import target_of
from zookeeper.data.layout import PARQUET_BRANCH, runs_a_script, split_files, split_files_of
from zookeeper.data.tables import load, table_of, text_of
from zookeeper.errors import DataError, NotFoundError
from zookeeper.plain import expanded
from zookeeper.records import Corpus, Dataset, Labelled, Probe, RepoFile, Target, TargetSource, digest_of

__all__ = [
    "PARQUET_BRANCH",
    "probe_files",
    "probe_from_file",
    "probe_from_lines",
    "probe_from_snapshot",
    "runs_a_script",
    "split_files_of",
    "target_from_path",
    "target_from_snapshot",
]


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
        least = "a word" if min_words <= 1 else f"{min_words} words or more"
        raise DataError("the probe has no text.", why=f"no line has {least}")
    return Corpus(tuple(sentences), "word")


def probe_from_file(path: Path, *, max_words: int) -> Corpus:
    """A probe from any text file, one sentence or paragraph a line.

    Raises:
        DataError: it is no UTF-8 text, or empty.
    """
    return probe_from_lines(text_of(path).splitlines(), max_words=max_words)


def probe_files(dataset: Dataset, probe: Probe) -> tuple[RepoFile, ...]:
    """The files of a dataset that hold a probe."""
    stem = f"{probe.config}/{probe.split}"
    found = tuple(f for f in dataset.files if f.path.startswith(stem) and f.path.endswith(".parquet"))
    if not found:
        raise DataError(f"{probe.dataset} has no files {stem}*.parquet.")
    return found


def probe_from_snapshot(folder: Path, files: Sequence[RepoFile], probe: Probe, *, max_words: int) -> Corpus:
    """A named probe from the files of its dataset."""
    table = load("parquet", [folder / file.path for file in files])
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
        max_examples: at most so many sentences, or pairs, of each split, drawn with a fixed seed.

    Raises:
        NotFoundError: there is no such file, or no file for the first split.
        DataError: it cannot be read as a target.
        UsageError: what was said of its columns or tags does not fit it.
    """
    path = expanded(source.dataset)
    if not path.exists():
        raise NotFoundError(f"there is no file {path}.")
    files = split_files(path) if path.is_dir() else {"train": path}
    if splits[0] not in files:
        raise NotFoundError(
            f"{path} has no {splits[0]} split.",
            why=f"it has: {', '.join(sorted(files)) or 'no data files'}",
            fix=None if path.is_dir() else "name a folder with a file for each split, or leave out --split",
        )
    wanted = {split: files[split] for split in splits if split in files}
    tables = {split: table_of([file], source.columns) for split, file in wanted.items()}
    content = [[split, hashlib.sha256(file.read_bytes()).hexdigest()] for split, file in wanted.items()]
    return target_of(source, tables, commit=digest_of(content)[:40], local=True, max_examples=max_examples)


def target_from_snapshot(
    folder: Path,
    dataset: Dataset,
    source: TargetSource,
    files: Mapping[str, Sequence[RepoFile]],
    *,
    max_examples: int | None = None,
) -> tuple[Target, dict[str, Labelled]]:
    """A target from the files of a dataset of the Hub; errors as `target_from_path`.

    Args:
        folder: where the files are.
        dataset: which.
        source: what in it is text and label.
        files: of each split (see `split_files_of`).
        max_examples: at most so many sentences, or pairs, of each split.
    """
    tables = {
        split: table_of([folder / file.path for file in found], source.columns)
        for split, found in files.items()
    }
    return target_of(source, tables, commit=dataset.revision.commit, local=False, max_examples=max_examples)
