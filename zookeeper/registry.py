"""Tables of named things: built-ins listed in code, others found by entry point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from zookeeper.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Built-in and installed objects by name.

    Packages add to it by exporting an object of the same type under the entry point group; a built-in
    name cannot be taken over. Entry points are loaded when they are first asked for.

    Args:
        kind: What the objects are called in messages, such as ``"score"``.
        group: The entry point group, such as ``"zookeeper.scores"``.
        builtins: The objects that ship with zookeeper.
    """

    def __init__(self, kind: str, group: str, builtins: Mapping[str, T]) -> None:
        self._kind = kind
        self._builtins = dict(builtins)
        self._installed = {
            point.name: point for point in entry_points(group=group) if point.name not in self._builtins
        }

    def __getitem__(self, name: str) -> T:
        if name in self._builtins:
            return self._builtins[name]
        if name in self._installed:
            found: T = self._installed[name].load()
            return found
        raise UsageError(f'no {self._kind} "{name}".', fix=f"one of: {', '.join(self)}")

    def __contains__(self, name: object) -> bool:
        return name in self._builtins or name in self._installed

    def __iter__(self) -> Iterator[str]:
        yield from self._builtins
        yield from self._installed

    def __len__(self) -> int:
        return len(self._builtins) + len(self._installed)
