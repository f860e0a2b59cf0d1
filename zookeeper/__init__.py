"""Choose, from two million checkpoints, the few that serve your task."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zookeeper.errors import ZooError
    from zookeeper.predicting import load_ensemble
    from zookeeper.zoo import Zoo

    __version__: str

__all__ = ["Zoo", "ZooError", "load_ensemble"]

_HOMES = {"Zoo": "zookeeper.zoo", "ZooError": "zookeeper.errors", "load_ensemble": "zookeeper.predicting"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a worker or ``zoo --version`` needs none of them."""
    if name == "__version__":
        from importlib.metadata import version

        return version("hf-zoo")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """With the names that are not imported yet."""
    return sorted({*globals(), *__all__, "__version__"})
