"""Colours of a heat map, as a palette and as pixels."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from zookeeper.records import Array

# Of viridis, at nine places from 0 to 1; between them a straight line serves.
_ANCHORS = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")
_LEVELS = 128


def ramp(levels: int = _LEVELS) -> NDArray[np.uint8]:
    """From the colour of 0 to that of 1: (levels, 3), red, green and blue."""
    anchors = np.array([list(bytes.fromhex(anchor)) for anchor in _ANCHORS], dtype=float)
    at = np.linspace(0, len(anchors) - 1, levels)
    return (
        np.stack([np.interp(at, range(len(anchors)), one) for one in anchors.T], axis=1).round().astype("u1")
    )


def hexadecimal(colour: NDArray[np.uint8]) -> str:
    """A colour as stylesheets write it."""
    return f"#{bytes(colour).hex()}"


def pixels(values: Array, scale: int) -> str:
    """A square of values from 0 to 1 as the address of a picture in itself; what is not a number is clear.

    Args:
        values: (m, m); beyond 0 and 1 they have the colours of these.
        scale: pixels of a cell along each side, so that no reader smooths them.
    """
    levels = np.rint(np.nan_to_num(np.clip(values, 0, 1), nan=0) * (_LEVELS - 1)).astype("u1")
    levels[np.isnan(values)] = _LEVELS
    image = np.kron(levels, np.ones((scale, scale), dtype="u1"))
    rows = np.pad(image, ((0, 0), (1, 0)))
    height, width = image.shape
    data = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", ramp().tobytes() + b"\0\0\0")
        + _chunk(b"tRNS", b"\xff" * _LEVELS + b"\0")
        + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
