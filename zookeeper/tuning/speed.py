"""How fast a device multiplies."""

from __future__ import annotations

import time

import torch

_SIZE = 1024
_SECONDS = 0.1


def products_per_second(device: str) -> float:
    """Multiplications and additions a second of large matrices, in single precision."""
    matrix = torch.ones((_SIZE, _SIZE), device=device)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        float((matrix @ matrix)[0, 0])
        done += 1
    return done * 2 * _SIZE**3 / (time.perf_counter() - started)
