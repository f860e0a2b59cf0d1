"""A disk that refuses the n-th thing that is asked of it."""

from __future__ import annotations

import gc
import mmap
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

# Whatever the store does to files goes through these; pathlib calls them too.
_CALLS = (
    *((os, name) for name in ("open", "write", "fsync", "mkdir", "rename", "replace", "posix_fallocate")),
    (mmap, "mmap"),
)


class Fault:
    """Lets the n-th call to the file system fail, once.

    Args:
        monkeypatch: by which the calls are replaced.
        n: which call, from 1.
        code: errno that it fails with.

    Attributes:
        left: calls until it fails; 0 or less when it has.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n: int, code: int) -> None:
        self.left = n
        self._code = code
        for owner, name in _CALLS:
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name)))

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            if "dir_fd" in options:  # rmtree, which cleans up
                return call(*args, **options)
            self.left -= 1
            if self.left == 0:
                raise OSError(self._code, os.strerror(self._code))
            return call(*args, **options)

        return counted


def open_files() -> int:
    """How many files this process has open, without those that nothing refers to any more."""
    _look_no_further_back()
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@cache
def _look_no_further_back() -> None:
    """Spare collections all that the libraries have made by now: each would take a second for it."""
    gc.collect()
    gc.freeze()
