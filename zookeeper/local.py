"""Checkpoints in folders on this machine, pinned by the content of their files."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from zookeeper.digests import SHA256, digest_like, size_of
from zookeeper.errors import CheckpointError, IntegrityError, NotFoundError
from zookeeper.layouts import (
    CONFIG,
    architecture_of,
    model_type_of,
    only_pickles,
    problem_of,
    tokenizer_of,
)
from zookeeper.plain import refusal
from zookeeper.raw import SMALL, content_of, files_of, parsed, weights_of
from zookeeper.records import Checkpoint, RepoFile, Revision, digest_of


def describe(folder: Path, *, pickles: bool = False) -> Checkpoint:
    """A checkpoint for a folder, pinned to the digest of the files that loading it takes.

    Args:
        folder: of its files; links are followed within it only.
        pickles: whether its weights may be pickles, where there are no others.

    Raises:
        NotFoundError: there is no such folder.
        CheckpointError: its configuration or weights cannot be read.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}.")
    try:
        return _describe(folder, pickles)
    except OSError as error:
        raise CheckpointError(f"{error.filename or folder} cannot be read.", why=refusal(error)) from error


def _describe(folder: Path, pickles: bool) -> Checkpoint:
    present = {path.name: path for path in folder.iterdir() if path.is_file()}
    unsafe = only_pickles(present)
    pickled = pickles and unsafe
    found = files_of(folder, pickled=unsafe)  # the commit says what is there, whatever is agreed to
    loaded = files_of(folder, pickled=pickled)
    config = parsed(content_of(found[CONFIG], SMALL, CONFIG), CONFIG) if CONFIG in found else {}
    weights = weights_of(found)
    files = tuple(_file(path, name) for name, path in found.items())
    return Checkpoint(
        revision=Revision(str(folder), "folder", _content_digest(files)),
        files=tuple(file for file in files if file.path in loaded),
        architecture=architecture_of(config),
        model_type=model_type_of(config),
        parameters=weights.elements if weights.files else None,
        repo_bytes=sum(path.stat().st_size for path in present.values()),
        tokenizer=tokenizer_of(present),
        problem=problem_of(present, pickled=pickled),
        pickled=pickled,
    )


def fetch(checkpoint: Checkpoint, *, advance: Callable[[int], None] = lambda _: None) -> Path:
    """The folder of a checkpoint, after a look that it still holds what was pinned.

    Raises:
        IntegrityError: a file changed or is gone.
    """
    folder = Path(checkpoint.revision.repo_id)
    if not folder.is_dir():
        raise IntegrityError(
            f"{folder} is no longer there.", fix=f"put it back, or zoo rm {shlex.quote(str(folder))}"
        )
    try:
        present = files_of(folder, pickled=checkpoint.pickled)
        for file in checkpoint.files:
            if file.path not in present or _file(present[file.path], file.path) != file:
                raise _changed(folder, file.path)
            advance(file.size)
    except OSError as error:
        raise _changed(folder, error.filename, refusal(error)) from error
    return folder


def _changed(folder: Path, what: object, why: str | None = None) -> IntegrityError:
    return IntegrityError(
        f"{folder} changed since it was added ({what}).",
        why=why,
        fix=remedy(folder),
    )


def remedy(folder: Path) -> str:
    """What to do about a folder that does not hold what was pinned."""
    return f"zoo add {shlex.quote(str(folder))}   pins what it holds now; or put back what it held"


def _file(path: Path, name: str) -> RepoFile:
    return RepoFile(name, size_of(path), digest_like(SHA256, path))


def _content_digest(files: tuple[RepoFile, ...]) -> str:
    return digest_of([[file.path, file.digest] for file in files])[:40]
