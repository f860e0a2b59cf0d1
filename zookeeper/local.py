"""Checkpoints in folders on this machine, pinned by the content of their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from zookeeper.digests import SHA256, digest_like, size_of
from zookeeper.errors import CheckpointError, IntegrityError, NotFoundError
from zookeeper.layouts import CONFIG, architecture_of, model_type_of, needed, problem_of, tokenizer_of
from zookeeper.records import Checkpoint, RepoFile, Revision, digest_of


def describe(folder: Path) -> Checkpoint:
    """A checkpoint for a folder, pinned to the digest of the files that loading it takes.

    Raises:
        NotFoundError: there is no such folder.
        CheckpointError: its configuration or weights cannot be read.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}.")
    try:
        return _describe(folder)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or folder} cannot be read.", why=(error.strerror or str(error)).lower()
        ) from error


def _describe(folder: Path) -> Checkpoint:
    paths = [path.name for path in folder.iterdir() if path.is_file()]
    files = tuple(_file(folder, name) for name in needed(paths))
    config = _config(folder) if CONFIG in paths else {}
    return Checkpoint(
        revision=Revision(str(folder), "folder", _content_digest(files)),
        files=files,
        architecture=architecture_of(config),
        model_type=model_type_of(config),
        parameters=_parameters(folder, files),
        repo_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        tokenizer=tokenizer_of(paths),
        problem=problem_of(paths),
    )


def fetch(checkpoint: Checkpoint, *, advance: Callable[[int], None] = lambda _: None) -> Path:
    """The folder of a checkpoint, after a look that it still holds what was pinned.

    Raises:
        IntegrityError: a file changed or is gone.
    """
    folder = Path(checkpoint.revision.repo_id)
    for file in checkpoint.files:
        found, why = None, None
        try:
            found = _file(folder, file.path)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
        if found != file:
            raise IntegrityError(
                f"{folder} changed since it was added ({file.path}).",
                why=why,
                fix=f"zoo add {folder}   adds what it is now",
            )
        advance(file.size)
    return folder


def _file(folder: Path, name: str) -> RepoFile:
    path = folder / name
    return RepoFile(name, size_of(path), digest_like(SHA256, path))


def _content_digest(files: tuple[RepoFile, ...]) -> str:
    return digest_of([[file.path, file.digest] for file in files])[:40]


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read.", why=str(error)) from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / CONFIG} cannot be read.", why="it is not a JSON object")
    return config


def _parameters(folder: Path, files: tuple[RepoFile, ...]) -> int | None:
    """Number of parameters, from the headers of the weights alone."""
    weights = [file.path for file in files if file.path.endswith(".safetensors")]
    total = 0
    for name in weights:
        try:
            with safe_open(folder / name, framework="np") as tensors:
                for tensor in tensors.keys():  # noqa: SIM118 it is no mapping
                    count = 1
                    for size in tensors.get_slice(tensor).get_shape():
                        count *= size
                    total += count
        except SafetensorError as error:
            raise CheckpointError(f"{folder / name} cannot be read.", why=str(error)) from error
    return total if weights else None
