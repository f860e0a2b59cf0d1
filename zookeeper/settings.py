"""Where the zoo lives and how it may reach out, read from the environment once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

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
    """

    home: Path
    cache: Path
    hub_cache: Path
    endpoint: str = _ENDPOINT
    offline: bool = False
    device: str = "auto"

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, *, home: Path | None = None
    ) -> Settings:
        """Read the environment; `home` overrides ``ZOO_HOME`` and keeps features inside it."""

        def path(name: str, default: Path) -> Path:
            return Path(environ[name]).expanduser().absolute() if environ.get(name) else default

        hf_home = path("HF_HOME", path("XDG_CACHE_HOME", Path.home() / ".cache") / "huggingface")
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
        }
