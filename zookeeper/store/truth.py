"""What the files of a zoo say; they decide, and the index only saves reading them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from zookeeper.errors import IntegrityError, NotFoundError, ZooError
from zookeeper.plain import decode, plain, refusal
from zookeeper.store import files
from zookeeper.store.artefacts import Artefacts
from zookeeper.store.index import Entry
from zookeeper.store.layout import FOLDERS, MANIFEST, Layout, kind_of, name_of

R = TypeVar("R")


class Truth:
    """Reads the files that decide.

    Args:
        layout: where they lie.
        artefacts: by which those are read that are manifests.
        note: told of each that cannot be indexed.
    """

    def __init__(self, layout: Layout, artefacts: Artefacts, note: Callable[[str], None]) -> None:
        self._layout = layout
        self._artefacts = artefacts
        self._note = note
        self._left_out: set[Path] = set()

    def read(self, kind: type[R], path: Path) -> R:
        """What a file says.

        Raises:
            NotFoundError: there is none.
            IntegrityError: it is damaged, or cannot be read.
        """
        if path.name == MANIFEST:
            return self._artefacts.record(kind, path.parent)
        try:
            return decode(kind, path.read_bytes())
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no file {path}.") from error
        except OSError as error:
            raise IntegrityError(f"cannot read {path}.", why=refusal(error)) from error

    def find(self, kind: type[R], path: Path) -> R | None:
        """What a file says; None where it is absent or damaged."""
        try:
            return self.read(kind, path)
        except (IntegrityError, NotFoundError):
            return None

    def all(self, kind: type[R], name: str, rows: Mapping[str, Entry]) -> Iterator[R]:
        """What all files of a kind say; one with a row of its stamp is not read."""
        # One that is being replaced while folders are listed may be missed, but was entered before.
        for path in self._deciding(name, rows):
            row = rows.get(name_of(path))
            if row is not None and row.stamp == files.stamp(path):
                with suppress(IntegrityError):
                    yield decode(kind, row.record)
                    continue
            found = self.find(kind, path)
            if found is not None:
                yield found

    def entry(self, path: Path) -> Entry:
        """A file as it is indexed; a stamp from before it was read never stands for what came after.

        Raises:
            NotFoundError, IntegrityError: as `read`.
        """
        kind, stamp = kind_of(path), files.stamp(path)
        found: Any = self.read(FOLDERS[kind], path)
        return Entry(kind, name_of(path), stamp or "", json.dumps(plain(found)))

    def entries(self) -> Iterator[Entry]:
        """All that can be indexed."""
        for path in (path for name in FOLDERS for path in self._deciding(name)):
            try:
                yield self.entry(path)
            except (IntegrityError, NotFoundError) as error:
                place = path.parent if path.name == MANIFEST else path
                if place not in self._left_out:
                    self._left_out.add(place)
                    self._note(f"{place} is left out of the index: {told(error)}")

    def _deciding(self, name: str, entered: Iterable[str] = ()) -> list[Path]:
        """As `Layout.deciding`; what was taken out for something that never came is put back before."""
        for old in self._layout.taken_out(name):
            if place := files.taken_aside(old):
                files.mended(place)
        return self._layout.deciding(name, entered)


def told(error: ZooError) -> str:
    """What is wrong, and what to do."""
    why = error.why or error.message
    return f"{why}; {error.fix}" if error.fix else why
