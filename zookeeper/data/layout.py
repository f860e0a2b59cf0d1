"""Which files hold which split: of a folder here, and of a dataset of the Hub.

What a dataset's card says of its files is matched against the files that it has at its commit, and against
nothing else: a card may name any path or address.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from zookeeper.errors import DataError, NotFoundError
from zookeeper.layouts import COLUMN_FILES, TABLES
from zookeeper.records import Dataset, RepoFile, TargetSource

PARQUET_BRANCH = "refs/convert/parquet"
"""Where the Hub keeps a copy of a dataset as ``configuration/split/NNNN.parquet``."""

_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}


def split_files(folder: Path) -> dict[str, Path]:
    """The data file of each split in a folder, by its name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in COLUMN_FILES | TABLES.keys():
            continue
        split = _split_of(path.stem.lower())
        if split in found:
            raise DataError(f"{folder} has two files for {split}: {found[split].name} and {path.name}.")
        if split is not None:
            found[split] = path
    return found


def runs_a_script(dataset: Dataset) -> bool:
    """Whether a dataset is a loading script and no data, so that only the Hub's parquet copy can be read."""
    script = dataset.revision.repo_id.split("/")[-1] + ".py"
    return script in {file.path for file in dataset.files}


def split_files_of(
    dataset: Dataset, source: TargetSource, splits: Sequence[str]
) -> dict[str, tuple[RepoFile, ...]]:
    """The files of each split of a dataset of the Hub.

    Args:
        dataset: which.
        source: with its configuration, if it has several.
        splits: which are wanted; those that it lacks are left out, the first must be there.

    Raises:
        DataError: it has no data that can be read, or several configurations and none was named.
        NotFoundError: it has no files for the first split.
    """
    configs = _configurations(dataset)
    if not configs:
        raise DataError(
            f"{source.dataset} has no data that zoo can read.", why=f"it reads {', '.join(TABLES)}"
        )
    if source.config not in configs and (source.config is not None or len(configs) > 1):
        raise _which_config(source, sorted(configs))
    found = configs[source.config or next(iter(configs))]
    if splits[0] not in found:
        raise NotFoundError(f"{source.dataset} has no {splits[0]} split.", why=f"it has: {', '.join(found)}")
    return {split: _of_one_kind(found[split]) for split in splits if split in found}


def _configurations(dataset: Dataset) -> Mapping[str, Mapping[str, Sequence[RepoFile]]]:
    """Files by configuration and split: as the card says, as a parquet copy has them, or by their names."""
    files = [file for file in dataset.files if PurePosixPath(file.path).suffix in TABLES]
    configs: dict[str, dict[str, list[RepoFile]]] = {}
    for config, layout in dataset.layout.items():
        for split, patterns in layout.items():
            if found := [file for file in files if any(fnmatchcase(file.path, p) for p in patterns)]:
                configs.setdefault(config, {})[split] = found
    if configs or not files:
        return configs
    copied = [re.fullmatch(r"([^/]+)/([^/]+)/\d+\.parquet", file.path) for file in files]
    named: dict[str, list[RepoFile]] = {}
    for file, parts in zip(files, copied, strict=True):
        if parts and all(copied):
            configs.setdefault(parts[1], {}).setdefault(parts[2], []).append(file)
        else:
            named.setdefault(_split_of(file.path.lower()) or "", []).append(file)
    unnamed = named.pop("", [])
    return configs or {"default": named or {"train": unnamed}}


def _of_one_kind(files: Sequence[RepoFile]) -> tuple[RepoFile, ...]:
    """The files of the commonest kind, where a split is there as several."""
    kinds = Counter(PurePosixPath(file.path).suffix for file in files)
    (kind, _) = kinds.most_common(1)[0]
    return tuple(file for file in files if PurePosixPath(file.path).suffix == kind)


def _split_of(stem: str) -> str | None:
    """The split that a file's name speaks of: as a word, or else within one."""
    for parts in (re.findall("[a-z]+", stem), stem):
        for split, words in _SPLITS.items():
            if any(word in parts for word in words):
                return split
    return None


def _which_config(source: TargetSource, configs: Sequence[str]) -> DataError:
    return DataError(
        f"{source.dataset} has several configurations."
        if source.config is None
        else f"{source.dataset} has no configuration {source.config}.",
        why=f"it has: {', '.join(configs)}",
        fix="name one with --config",
    )
