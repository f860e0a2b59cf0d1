"""The zoo on disk. Files are the truth; SQLite is an index of them that can be made again.

    HOME/zoo.db                                   the index, where the home is on a disk of this machine
    HOME/checkpoints/<digest>.json                a pinned checkpoint
    HOME/runs/<id>.json                           a run: which trials it is made of, and what came of them
    HOME/trials/v1/<2 hex>/<digest>/manifest.json, arrays.safetensors       a trial: what was learned
    HOME/unfinished/<digest>/                     the state of a trial that is going on, or was interrupted
    HOME/notes/<name>.json                        the latest selection, the latest ranking
    CACHE/<kind>/v1/<2 hex>/<digest>/manifest.json, arrays.safetensors      what was measured, of six kinds
    CACHE/converted/<digest>/                     weights of a checkpoint that were pickles
    HOME/locks, CACHE/locks                       who computes what at the moment

On a network file system the index of a home lies with the user's caches instead, one for each machine.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from zookeeper.errors import IntegrityError, NotFoundError
from zookeeper.plain import encode
from zookeeper.records import AlignmentSet, BasisSet, Checkpoint, JackknifeSet, Revision
from zookeeper.results import Run, Trial, Verification
from zookeeper.store import claims, files, leftovers
from zookeeper.store.artefacts import ArrayFile, Arrays, Artefacts, Draft
from zookeeper.store.care import Care
from zookeeper.store.index import Index
from zookeeper.store.layout import KINDS, MANIFEST, Layout, M, Measured, kind_of
from zookeeper.store.leftovers import Leftover
from zookeeper.store.truth import Truth

__all__ = ["KINDS", "ArrayFile", "Arrays", "Draft", "Leftover", "Measured", "Store"]

R = TypeVar("R")

# Of these there is one, which is stored again when more is known.
_GROWING = AlignmentSet, BasisSet, JackknifeSet, Trial
_HOUR, _MOMENT = 3600.0, 10.0  # seconds


class Store:
    """Everything that a zoo keeps.

    Args:
        home: folder of the index, the checkpoints and the runs. Made when something is first stored.
        cache: folder of what can be computed again.
        note: told when something was mended, or somebody has to be waited for.
    """

    def __init__(self, home: Path, cache: Path, *, note: Callable[[str], None] = lambda _: None) -> None:
        self.home = home
        self.cache = cache
        self._note = note
        self._layout = Layout(home, cache)
        self._artefacts = Artefacts()
        self._truth = Truth(self._layout, self._artefacts, note)

    # Checkpoints

    def add(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, or what is newly known of one that is there."""
        self._write(self._layout.checkpoint(checkpoint.revision), checkpoint)

    def remove(self, revision: Revision) -> None:
        """Forget a checkpoint; its features stay, and serve again when it is added again."""
        path = self._layout.checkpoint(revision)
        files.delete(path)
        self._index.drop("checkpoints", path.stem)

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All checkpoints, by name; the files decide, the index only saves reading them."""
        return tuple(
            sorted(self._all(Checkpoint, "checkpoints"), key=lambda c: (c.name.lower(), c.revision.commit))
        )

    # What was measured

    def save(
        self, found: Measured, arrays: Arrays, provenance: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Store what was measured: files first, then the index.

        Raises:
            StorageError: the disk refuses; what was stored before is still there.
        """
        with self.draft(type(found), found.key.digest) as draft:
            rooms = draft.arrays({name: (array.shape, array.dtype) for name, array in arrays.items()})
            for name, array in arrays.items():
                rooms[name][...] = array
            draft.keep(found, provenance)

    @contextmanager
    def draft(self, kind: type[Measured], digest: str) -> Iterator[Draft]:
        """Room for what is going to be measured: its arrays are written to the disk while they come.

        What is not kept when the context ends is removed.

        Args:
            kind: of what is measured.
            digest: of its key.

        Raises:
            StorageError: the disk refuses, or the index cannot be used.
        """
        self._index.ready()  # an index that cannot be used stops us before anything is written
        folder = self._layout.artefact(kind, digest)
        with files.made_aside(folder) as aside:

            def publish() -> None:
                self._artefacts.publish(aside, folder, replace=kind in _GROWING)
                self._enter(folder / MANIFEST)

            yield Draft(aside, folder, publish)

    def claim(
        self, kind: type[Measured], digest: str, tell: Callable[[str], None] | None = None
    ) -> AbstractContextManager[None]:
        """Compute something that no other process or thread computes meanwhile, as far as locks work here.

        It saves work and protects nothing. When it is had, look whether the other has stored it.

        Args:
            kind: of what is going to be computed.
            digest: of its key.
            tell: told who is computing it, where that has to be waited for, and if it is waited for no
                longer; the store's `note` by default.
        """
        return self.claimed(self._layout.artefact(kind, digest), tell or self._note)

    def claimed(self, folder: Path, tell: Callable[[str], None]) -> AbstractContextManager[None]:
        """Make a folder of this store that nobody else makes meanwhile; as `claim`.

        Args:
            folder: of what was measured, or `converted`.
            tell: as for `claim`.
        """
        return claims.held(self._layout.lock_of(folder), tell)

    def find(self, kind: type[M], digest: str) -> M | None:
        """What is stored under that digest, or None; the files decide, not the index."""
        return self._truth.find(kind, self._layout.artefact(kind, digest) / MANIFEST)

    def whole(self, kind: type[M], digest: str) -> M | None:
        """As `find`, if its arrays are the ones that were stored."""
        whole = self._artefacts.is_whole(self._layout.artefact(kind, digest))
        return self.find(kind, digest) if whole else None

    def all(self, kind: type[M]) -> tuple[M, ...]:
        """All of a kind; the files decide, the index only saves reading them."""
        return tuple(self._all(kind, KINDS[kind]))

    def arrays(self, kind: type[Measured], digest: str, names: Collection[str] | None = None) -> Arrays:
        """The arrays that were stored under that digest, or of these names those that there are.

        Raises:
            NotFoundError: there are none.
            IntegrityError: their bytes are not the ones that were stored.
        """
        return self._artefacts.arrays(self._layout.artefact(kind, digest), names)

    def array_file(self, kind: type[Measured], digest: str) -> ArrayFile:
        """The file of the arrays that were stored under that digest, which is whole.

        Raises:
            NotFoundError, IntegrityError: as `arrays`.
        """
        return self._artefacts.array_file(self._layout.artefact(kind, digest))

    def load(self, kind: type[M], digest: str) -> tuple[M, Arrays]:
        """What is stored under that digest with its arrays, which belong together.

        Raises:
            NotFoundError: there is nothing.
            IntegrityError: it is damaged.
        """
        return self._artefacts.load(kind, self._layout.artefact(kind, digest))

    def discard(self, kind: type[Measured], digest: str) -> int:
        """Delete what is stored under that digest; gives the bytes that were freed."""
        folder = self._layout.artefact(kind, digest)
        size = leftovers.size_of(folder)
        files.retire(folder)
        self._index.drop(KINDS[kind], digest)
        return size

    def strange(self) -> list[Path]:
        """Folders of what an earlier version made and this one does not understand; see `Care.strange`."""
        return list(self._care.strange())

    def discard_strange(self, folder: Path) -> None:
        """Delete one of those that `strange` found.

        Raises:
            StorageError: the disk refuses.
        """
        files.retire(folder)
        self._index.drop(kind_of(folder / MANIFEST), folder.name)

    # Weights that were pickles

    def converted(self, checkpoint: Checkpoint) -> Path:
        """The folder for the weights of a checkpoint that were pickles: by their content."""
        return self._layout.converted(checkpoint)

    def conversions(self) -> list[Path]:
        """Folders of all weights that were pickles."""
        return sorted(self._layout.conversions.glob("[!.]*"))

    # Runs

    def save_run(self, run: Run) -> None:
        """Store a run; a run of the same id is replaced. Its trials are stored already."""
        self._write(self._layout.run(run.id), run)

    def runs(self) -> tuple[Run, ...]:
        """All runs, the latest first; the files decide, the index only saves reading them."""
        return tuple(sorted(self._all(Run, "runs"), key=lambda run: (run.created_at, run.id), reverse=True))

    def run(self, run_id: str) -> Run | None:
        """The run of that id, if it is whole."""
        return self._truth.find(Run, self._layout.run(run_id))

    def unfinished(self, digest: str) -> Path:
        """The folder for the state of a trial that is going on."""
        return self._layout.unfinished(digest)

    # Notes

    def save_note(self, name: str, record: Any) -> None:
        """Store a record under a name, in place of the one before."""
        files.write(self._layout.note(name), encode(record))

    def load_note(self, name: str, kind: type[R]) -> R | None:
        """The record stored under a name, or None.

        Raises:
            IntegrityError: it is damaged.
        """
        path = self._layout.note(name)
        try:
            return self._truth.read(kind, path)
        except NotFoundError:
            return None
        except IntegrityError as error:
            raise IntegrityError(
                f"{path} is damaged.", why=error.why, fix=f"rm {shlex.quote(str(path))}"
            ) from error

    def load_notes(self, name: str, kind: type[R]) -> list[R]:
        """The records stored under a name, alone or with something after a dash; damaged ones left out."""
        paths = [path for path in self._layout.records("notes") if f"{path.stem}-".startswith(f"{name}-")]
        return [note for path in paths if (note := self._truth.find(kind, path)) is not None]

    # Files that decide, and the index of them

    def _all(self, kind: type[R], name: str) -> Iterator[R]:
        return self._truth.all(kind, name, self._index.rows(name))

    def _write(self, path: Path, record: Any) -> None:
        self._index.ready()  # an index that cannot be used stops us before anything is written
        files.write(path, encode(record))
        self._enter(path)

    @cached_property
    def _index(self) -> Index:
        return Index(self.index_path, self._truth.entries, self._note, lambda: not self._layout.is_new)

    @property
    def index_path(self) -> Path:
        """Where the index lies: in the home, unless other machines see that too."""
        return self._layout.index

    @property
    def stamp(self) -> str | None:
        """What changes when this zoo stores or discards anything here; None where there is no index."""
        return files.stamp(self.index_path)

    def rebuild(self) -> int:
        """Make the index again from the files; gives the number of entries.

        Raises:
            StorageError: the index cannot be written.
        """
        return self._index.rebuild()

    def index_fault(self) -> str | None:
        """What is wrong with the index, if there is one and anything is.

        Raises:
            StorageError: a newer zoo made it.
        """
        return self._index.fault()

    def _enter(self, path: Path) -> None:
        self._index.put(self._truth.entry(path))

    # Care

    @cached_property
    def _care(self) -> Care:
        return Care(self._layout, self._artefacts, self._truth, self._index)

    def unreadable_pins(self) -> list[Path]:
        """Files that should say of a checkpoint how it is pinned, and do not."""
        return self._care.unreadable_pins()

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> Verification:
        """What is damaged, of all that is stored; see `Care.verify`.

        Args:
            advance: called with 1 for each artefact; `artefacts` says how many there are.
        """
        return self._care.verify(advance)

    def artefacts(self) -> list[Path]:
        """Folders of all that was measured, trials among them."""
        return self._layout.artefacts()

    @property
    def settled_after(self) -> float:
        """Seconds after which what nobody is seen to hold is held by nobody: few, where locks tell that."""
        return _HOUR if self._layout.is_shared else _MOMENT

    def leftovers(self, older_than: float | None = None) -> list[Leftover]:
        """What processes that were killed have left behind: nothing reads it.

        Args:
            older_than: seconds since it was last written; what is younger may belong to one that lives.
                `settled_after` by default.
        """
        least = self.settled_after if older_than is None else older_than
        return [one for one in self._care.leftovers() if leftovers.age(one.path) >= least]

    def sweep(self, older_than: float | None = None) -> list[Leftover]:
        """Remove `leftovers`; gives what was removed."""
        return [one for one in self.leftovers(older_than) if leftovers.remove(one)]
