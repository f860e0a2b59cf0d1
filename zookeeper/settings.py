"""Where the zoo lives and how it may reach out, read from the environment once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import platformdirs

from zookeeper.errors import UsageError
from zookeeper.plain import bytes_of, expanded
from zookeeper.records import Precision

_ENDPOINT = "https://huggingface.co"
_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Places and limits of one zoo.

    Attributes:
        home: index, checkpoints' manifests and runs (``ZOO_HOME``).
        cache: features and covariances, which can be made again (``ZOO_CACHE``).
        hub_cache: what huggingface_hub downloaded (``HF_HUB_CACHE``, ``HF_HOME``).
        endpoint: of the Hub (``HF_ENDPOINT``).
        offline: whether the network may not be used (``HF_HUB_OFFLINE``).
        device: such as ``cpu`` or ``cuda:0``; ``auto`` takes the first accelerator (``ZOO_DEVICE``).
        dtype: precision in which checkpoints are read, where nothing else is asked for (``ZOO_DTYPE``).
        memory: bytes that a checkpoint may take while it is read (``ZOO_MEMORY``); None: by its size.
        patience: seconds without a sign of life after which a checkpoint is given up (``ZOO_PATIENCE``).
    """

    home: Path
    cache: Path
    hub_cache: Path
    endpoint: str = _ENDPOINT
    offline: bool = False
    device: str = "auto"
    dtype: Precision = "auto"
    memory: int | None = None
    patience: float = 600.0

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, home: Path | None = None
    ) -> Settings:
        """Read the environment; `home` overrides ``ZOO_HOME`` and keeps features inside it."""

        def path(name: str, default: Path | str) -> Path:
            return _place(name, environ.get(name) or default)

        hf_home = path("HF_HOME", path("XDG_CACHE_HOME", "~/.cache") / "huggingface")
        assets = path("HF_ASSETS_CACHE", hf_home / "assets")
        return cls(
            home=home.absolute() if home else path("ZOO_HOME", platformdirs.user_data_path("zookeeper")),
            cache=home.absolute() / "cache" if home else path("ZOO_CACHE", assets / "zookeeper"),
            hub_cache=path("HF_HUB_CACHE", hf_home / "hub"),
            endpoint=(environ.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/"),
            offline=any(
                environ.get(name, "").upper() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
            ),
            device=environ.get("ZOO_DEVICE") or "auto",
            dtype=_precision(environ.get("ZOO_DTYPE") or "auto"),
            memory=_memory(environ["ZOO_MEMORY"]) if environ.get("ZOO_MEMORY") else None,
            patience=_seconds(environ.get("ZOO_PATIENCE") or "600"),
        )

    def as_environment(self) -> dict[str, str]:
        """What another process reads to have the same settings."""
        return {
            "ZOO_HOME": str(self.home),
            "ZOO_CACHE": str(self.cache),
            "HF_HUB_CACHE": str(self.hub_cache),
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_OFFLINE": "1" if self.offline else "0",
            "ZOO_DEVICE": self.device,
            "ZOO_DTYPE": self.dtype,
            "ZOO_MEMORY": str(self.memory or ""),
            "ZOO_PATIENCE": str(self.patience),
        }


def _place(name: str, path: Path | str) -> Path:
    try:
        return expanded(path).absolute()
    except UsageError as error:
        raise UsageError(f'{name} is "{path}".', why=error.why, fix=error.fix) from error


def _precision(text: str) -> Precision:
    if text not in get_args(Precision):
        raise UsageError(f'ZOO_DTYPE is "{text}".', fix=f"one of: {', '.join(get_args(Precision))}")
    return cast(Precision, text)


def _memory(text: str) -> int:
    try:
        return bytes_of(text)
    except UsageError as error:
        raise UsageError(f'ZOO_MEMORY is "{text}".', fix=f"a size, {error.fix}") from error


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f'ZOO_PATIENCE is "{text}".', fix="seconds, such as 600")
    return seconds
