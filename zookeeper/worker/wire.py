"""Frames: what goes between a worker and the process that asked. Bytes in a format of our own, no pickles.

A frame is a letter, the length of what follows in 8 bytes, and that. The worker is asked with

    J   the job, as JSON
    C   the corpus, as JSON
    W   its windows, as a worker answered them, or nothing

and answers, if it was given no windows and they are not too many, first of all with

    W   the windows, as arrays

and then with any number of

    P   rows that were begun since the last, 8 bytes
    B   some rows: the length of a header in 4 bytes, the header as JSON, and the arrays that it names

or, if it was only to look around, with

    L   the walls that stand, as JSON

and at the end one of

    F   what went wrong, as JSON
    E   nothing: that was all
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from io import BytesIO
from socket import socket
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.blocks import Block

JOB, CORPUS, WINDOWS, PROGRESS, BLOCK, WALLS, FAULT, END = b"J", b"C", b"W", b"P", b"B", b"L", b"F", b"E"
NUMBER = struct.Struct("<q")

_HEAD = struct.Struct("<cQ")
_HEADER = struct.Struct("<I")
_MOST_HEADER = 2**20  # bytes
_PIECE = 2**24  # bytes of the rows that go in one frame, unless a single row has more
_ROWS, _STATES = np.dtype("<i8"), np.dtype("<f4")


class NonsenseError(Exception):
    """An answer that no worker of ours gives."""


def send(channel: socket, kind: bytes, *parts: bytes | memoryview) -> None:
    """Send a frame, in one or more parts."""
    channel.sendall(_HEAD.pack(kind, sum(memoryview(part).nbytes for part in parts)))
    for part in parts:
        channel.sendall(part)


def receive(channel: socket, most: int) -> tuple[bytes, memoryview]:
    """The next frame.

    Args:
        channel: with the timeout that is wanted, of the whole frame.
        most: bytes that it may have.

    Raises:
        EOFError: there is none, or it breaks off.
        TimeoutError: it is not there in time.
        NonsenseError: it is larger.
    """
    patience = channel.gettimeout()
    end = None if patience is None else monotonic() + patience
    try:
        kind, size = _HEAD.unpack(_exactly(channel, _HEAD.size, end))
        if size > most:
            raise NonsenseError(f"a frame of {size} bytes")
        return kind, _exactly(channel, size, end)
    finally:
        channel.settimeout(patience)


def pieces(block: Block) -> Iterator[tuple[bytes | memoryview, ...]]:
    """A block as frames of some MiB, each of some of its rows."""
    arrays = [*block.states.values(), *([] if block.source_probs is None else [block.source_probs])]
    step = max(1, _PIECE // sum(array.shape[1] * _STATES.itemsize for array in arrays))
    for first in range(0, len(block.rows), step):
        some = slice(first, first + step)
        header = {
            "rows": len(block.rows[some]),
            "layers": {name: states.shape[1] for name, states in block.states.items()},
            "classes": 0 if block.source_probs is None else block.source_probs.shape[1],
            "empty": 0 if first else block.n_empty,
        }
        text = json.dumps(header).encode()
        parts = [np.ascontiguousarray(array[some], dtype=_STATES).data for array in arrays]
        yield _HEADER.pack(len(text)), text, block.rows[some].astype(_ROWS).data, *parts


def block_of(frame: memoryview) -> Block:
    """The block that a frame is.

    Raises:
        NonsenseError: it is none.
    """
    try:
        size = _HEADER.unpack_from(frame)[0]
        if size > _MOST_HEADER:
            raise ValueError(size)
        header = json.loads(bytes(frame[_HEADER.size : _HEADER.size + size]))
        n_rows, layers = _natural(header["rows"]), dict(header["layers"])
        classes, n_empty = _natural(header["classes"]), _natural(header["empty"])
        widths = [_natural(width) for width in layers.values()]
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise NonsenseError("a header that is none") from error
    body = frame[_HEADER.size + size :]
    if body.nbytes != n_rows * (_ROWS.itemsize + (sum(widths) + classes) * _STATES.itemsize):
        raise NonsenseError("arrays of another size than their header says")
    rows, body = np.frombuffer(body, _ROWS, n_rows), body[n_rows * _ROWS.itemsize :]
    arrays: list[NDArray[np.float32]] = []
    for width in (*widths, classes):
        arrays.append(np.frombuffer(body, _STATES, n_rows * width).reshape(n_rows, width))
        body = body[arrays[-1].nbytes :]
    *states, probs = arrays
    named: dict[str, Any] = dict(zip(layers, states, strict=True))
    return Block(rows, named, probs if classes else None, n_empty)


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name, for `unpacked`."""
    file = BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(data: memoryview) -> dict[str, NDArray[Any]]:
    """Arrays that were `packed`; the worker's own business, of which who asks opens nothing.

    Raises:
        ValueError, OSError, BadZipFile: they are none.
    """
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _natural(value: Any) -> int:
    """A number of things, or an error."""
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(value)
    return value


def _exactly(channel: socket, size: int, end: float | None) -> memoryview:
    """So many bytes, until a moment of the clock."""
    data = memoryview(bytearray(size))
    done = 0
    while done < size:
        if end is not None:
            channel.settimeout(_left(end))
        came = channel.recv_into(data[done:])
        if not came:
            raise EOFError
        done += came
    return data


def _left(end: float) -> float:
    """Seconds until a moment of the clock, if it has not come."""
    left = end - monotonic()
    if left <= 0:
        raise TimeoutError
    return left
