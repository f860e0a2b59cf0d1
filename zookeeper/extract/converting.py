"""Weights that are pickles to safetensors, once, where their owner agreed to it.

A pickle is a program. It is read by torch's reader of tensors and plain containers only, which runs none of
it, and within the closed room all the same.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from zookeeper.errors import CheckpointError
from zookeeper.layouts import INDEX
from zookeeper.raw import files_of

Tensors = dict[str, torch.Tensor]

# Tied weights are stored once and named twice, or a few times more; what multiplies beyond that is a bomb.
_MOST_COPIES = 4


def convert(folder: Path, into: Path) -> None:
    """Write a checkpoint whose weights are pickles as one whose weights are safetensors.

    Args:
        folder: its files.
        into: an empty folder, which becomes a checkpoint that can be loaded; what accompanies the weights is
            copied as it is.

    Raises:
        CheckpointError: a pickle holds anything but tensors, or is damaged.
        OSError: a file cannot be read or written.
    """
    files = files_of(folder, pickled=True)
    pickles = {name: path for name, path in files.items() if name.endswith(".bin")}
    if not pickles:
        raise CheckpointError("it cannot be converted.", why="it has no pytorch_model.bin")
    tensors: Tensors = {}
    for name, path in pickles.items():
        tensors |= _tensors(path, name)
    _check_size(tensors, sum(path.stat().st_size for path in pickles.values()))
    save_file(dict(_apart(tensors)), into / "model.safetensors", metadata={"format": "pt"})
    for name, path in files.items():
        if name not in pickles and name != INDEX:
            shutil.copyfile(path, into / name)


def _tensors(path: Path, name: str) -> Tensors:
    """The tensors of one pickle.

    torch's own errors are not passed on: they advise to read it without the guard.
    """
    try:
        found: Any = torch.load(path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise CheckpointError(
            f"its {name} cannot be converted.",
            why=f"it holds more than weights, or is damaged ({type(error).__name__}); nothing of it was run",
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"its {name} cannot be converted.", why="it is no table of weights")
    tensors = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
    for key, tensor in tensors.items():
        if (
            not isinstance(key, str)
            or tensor.layout != torch.strided
            or tensor.is_quantized
            or tensor.is_meta
        ):
            raise CheckpointError(f"its {name} cannot be converted.", why=f"{key!s:.100} is no plain weight")
    return tensors


def _check_size(tensors: Tensors, size: int) -> None:
    """Refuse tensors that repeat what little is stored, and would be written out in full."""
    written = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if written > _MOST_COPIES * size:
        raise CheckpointError(
            "its weights cannot be converted.", why=f"{size:,} bytes of pickles would become {written:,}"
        )


def _apart(tensors: Tensors) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that share no memory with one another, as safetensors wants them."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        whole = tensor.detach().contiguous()
        storage = whole.untyped_storage()
        alone = storage.nbytes() == whole.numel() * whole.element_size() and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        yield name, whole if alone else whole.clone()
