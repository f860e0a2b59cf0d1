"""A stranger's files before any library sees them: which may be opened, and what they hold, within limits.

Nothing here waits, follows a link out, recurses or allocates by what a file asks for.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from zookeeper.errors import CheckpointError
from zookeeper.layouts import needed
from zookeeper.plain import refusal

MEBIBYTE = 2**20
SMALL, LARGE = 4 * MEBIBYTE, 64 * MEBIBYTE
"""Bytes that are read of a configuration, and of a tokenizer or a list of weights."""

_HEADER = 16 * MEBIBYTE
_FLOATS = {"F64", "F32", "F16", "BF16"}


def files_of(folder: Path, *, pickled: bool = False) -> dict[str, Path]:
    """The files of a folder that loading a checkpoint takes, by name; links are followed within it only.

    A snapshot in the Hub's cache consists of links into the blobs of its repository, or into those that all
    repositories share: these count as within, unless the folder of blobs is itself a link. What is no file -
    a pipe, a device, a link to nowhere - is not there.

    Args:
        folder: of the checkpoint.
        pickled: whether its weights may be pickles.

    Raises:
        CheckpointError: a link leads out.
        OSError: the folder cannot be listed.
    """
    present = {path.name: path for path in folder.iterdir() if path.is_file()}
    roots = _roots(folder.resolve())
    found = {name: present[name].resolve() for name in needed(present, pickled=pickled)}
    for name, path in found.items():
        if not any(path.is_relative_to(root) for root in roots):
            raise CheckpointError(
                f"its {name} is a link that leads out of its folder.", fix="put the file itself there"
            )
    return found


def _roots(folder: Path) -> list[Path]:
    """Folders in which the files of a checkpoint may lie."""
    repository = folder.parent.parent
    if folder.parent.name != "snapshots" or not repository.name.startswith("models--"):
        return [folder]
    blobs = repository / "blobs", repository.parent / "blobs"
    return [folder, *(path for path in blobs if not path.is_symlink())]


def content_of(path: Path, limit: int, name: str) -> bytes:
    """Bytes of a file, if they are not too many.

    Args:
        path: without links.
        limit: of bytes.
        name: by which an error calls it.

    Raises:
        CheckpointError: it is no file, too large, or cannot be read.
    """
    try:
        # A pipe that took the place of a file is opened without waiting for whoever writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise CheckpointError(f"its {name} is no file.")
            if found.st_size > limit:
                raise CheckpointError(f"its {name} has {found.st_size:,} bytes; at most {limit:,} are read.")
            return file.read(limit)
    except OSError as error:
        why = refusal(error)
        raise CheckpointError(f"its {name} cannot be read.", why=why) from error


def parsed(data: bytes, name: str) -> dict[str, Any]:
    """The JSON object that a file holds. Of a name that comes twice the last counts.

    Args:
        data: of the file.
        name: by which an error calls it.

    Raises:
        CheckpointError: it holds none.
    """
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its {name} cannot be read.", why=str(error)) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"its {name} cannot be read.", why="it is not a JSON object")
    return found


@dataclass(frozen=True)
class Weights:
    """What the headers of weight files say.

    Attributes:
        files: how many there are.
        shapes: of each tensor.
        types: of its numbers, as safetensors calls them.
    """

    files: int
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str]

    @property
    def elements(self) -> int:
        """Numbers in all tensors."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def quantised(self) -> str | None:
        """A tensor of weights that are no floating-point numbers of 16 bits or more; masks may be."""
        return next(
            (n for n, kind in self.types.items() if kind not in _FLOATS and n.endswith("weight")), None
        )


def weights_of(files: Mapping[str, Path]) -> Weights:
    """What safetensors files say that they hold; their numbers are not read.

    Args:
        files: by name; others are passed over.

    Raises:
        CheckpointError: one is no such file, or not whole.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    held = {name: path for name, path in files.items() if name.endswith(".safetensors")}
    for name, path in held.items():
        try:
            _check_header(path, name)
            with safe_open(path, framework="np") as tensors:
                for tensor in tensors.keys():  # noqa: SIM118 it is no mapping
                    part = tensors.get_slice(tensor)
                    shapes[tensor], types[tensor] = tuple(part.get_shape()), part.get_dtype()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"its {name} cannot be read.", why=f"{type(error).__name__}: {error}"
            ) from error
    return Weights(len(held), shapes, types)


def _check_header(path: Path, name: str) -> None:
    """Refuse a header that is whole and yet too long to be one."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if _HEADER < length <= path.stat().st_size:
        raise CheckpointError(f"its {name} has a header of {length:,} bytes; at most {_HEADER:,} are read.")
