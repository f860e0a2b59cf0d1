"""The zoo on disk. Files are the truth; SQLite is an index of them that can be made again.

    HOME/zoo.db                                   the index, where the home is on a disk of this machine
    HOME/checkpoints/<digest>.json                a pinned checkpoint
    HOME/runs/<id>.json                           a run: which trials it is made of, and what came of them
    HOME/trials/v1/<2 hex>/<digest>/manifest.json, arrays.safetensors       a trial: what was learned
    HOME/unfinished/<digest>/                     the state of a trial that is going on, or was interrupted
    HOME/notes/<name>.json                        the latest selection, the latest ranking
    CACHE/<kind>/v1/<2 hex>/<digest>/manifest.json, arrays.safetensors      what was measured, of six kinds
    HOME/locks, CACHE/locks                       who computes what at the moment

On a network file system the index of a home lies with the user's caches instead, one for each machine.
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import platformdirs

from zookeeper.errors import IntegrityError, NotFoundError, ZooError
from zookeeper.hardware import cores
from zookeeper.plain import decode, encode, plain, refusal
from zookeeper.records import (
    ALIGNMENT_VERSION,
    EVIDENCE_VERSION,
    EXTRACTOR_VERSION,
    SIGNATURE_VERSION,
    AlignmentSet,
    BasisSet,
    Checkpoint,
    EvidenceSet,
    FeatureSet,
    JackknifeSet,
    Revision,
    SignatureSet,
    digest_of,
)
from zookeeper.results import Run, Trial, Verification
from zookeeper.store import claims, files, leftovers
from zookeeper.store.artefacts import MANIFEST, ArrayFile, Arrays, Artefacts, Draft, StrangeRecordError
from zookeeper.store.index import Entry, Index
from zookeeper.store.leftovers import Leftover
from zookeeper.store.mounts import file_system_of, is_network

__all__ = ["KINDS", "ArrayFile", "Arrays", "Draft", "Leftover", "Store"]

Measured = FeatureSet | BasisSet | SignatureSet | AlignmentSet | JackknifeSet | EvidenceSet | Trial
R = TypeVar("R")
M = TypeVar("M", FeatureSet, BasisSet, SignatureSet, AlignmentSet, JackknifeSet, EvidenceSet, Trial)

KINDS: dict[type[Measured], str] = {
    FeatureSet: "features",
    BasisSet: "bases",
    SignatureSet: "signatures",
    AlignmentSet: "alignments",
    JackknifeSet: "jackknives",
    EvidenceSet: "evidence",
    Trial: "trials",
}
"""Names of kinds. Trials lie in the home, as they cost too much to be made again; all else in the cache."""

# Of these there is one, which is stored again when more is known.
_GROWING = AlignmentSet, BasisSet, JackknifeSet, Trial
# What a record says, at any depth, of the version of that which made it.
_VERSIONS: dict[type[Measured], int] = {
    SignatureSet: SIGNATURE_VERSION,
    AlignmentSet: ALIGNMENT_VERSION,
    JackknifeSet: ALIGNMENT_VERSION,
    EvidenceSet: EVIDENCE_VERSION,
}
_TYPES: dict[str, type[Any]] = {folder: kind for kind, folder in KINDS.items()}
_TYPES |= {"checkpoints": Checkpoint, "runs": Run}
_HOUR, _MOMENT = 3600.0, 10.0  # seconds


class Store:
    """Everything that a zoo keeps.

    Args:
        home: folder of the index, the checkpoints and the runs. Made when something is first stored.
        cache: folder of what can be computed again.
        note: told when something was mended.
    """

    def __init__(self, home: Path, cache: Path, *, note: Callable[[str], None] = lambda _: None) -> None:
        self.home = home
        self.cache = cache
        self._note = note
        self._left_out: set[Path] = set()
        self._artefacts = Artefacts(_remedy)

    # Checkpoints

    def add(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, or what is newly known of one that is there."""
        self._write(self._checkpoint_path(checkpoint.revision), checkpoint)

    def remove(self, revision: Revision) -> None:
        """Forget a checkpoint; its features stay, and serve again when it is added again."""
        path = self._checkpoint_path(revision)
        files.delete(path)
        self._index.drop("checkpoints", path.stem)

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All checkpoints, by name; the files decide, the index only saves reading them."""
        found = self._listed(Checkpoint, self._index.rows("checkpoints"), self._records("checkpoints"))
        return tuple(sorted(found, key=lambda c: (c.name.lower(), c.revision.commit)))

    def _checkpoint_path(self, revision: Revision) -> Path:
        return self.home / "checkpoints" / f"{digest_of([revision.repo_id, revision.commit])[:40]}.json"

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
        folder = self._artefact_path(kind, digest)

        def keep(found: Any, draft: Draft, provenance: Mapping[str, str]) -> None:
            if not isinstance(found, kind) or found.key.digest != digest:
                raise ValueError(f"{found} is not what was drafted")
            draft.finish(folder, found, provenance)
            self._artefacts.publish(draft, folder, replace=kind in _GROWING)
            self._enter(folder / MANIFEST)

        with files.made_aside(folder) as aside:
            yield Draft(aside, keep)

    @contextmanager
    def claim(
        self, kind: type[Measured], digest: str, waiting: Callable[[str], None] = lambda _: None
    ) -> Iterator[None]:
        """Compute something that no other process computes meanwhile, as far as locks work here.

        It saves work and protects nothing. When it is had, look whether the other has stored it.

        Args:
            kind: of what is going to be computed.
            digest: of its key.
            waiting: told once who is computing it, where that has to be waited for.
        """
        with claims.held(self._locks(self._root(kind)) / f"{KINDS[kind]}-{digest}.lock", waiting):
            yield

    def find(self, kind: type[M], digest: str) -> M | None:
        """What is stored under that digest, or None; the files decide, not the index."""
        return self._read(kind, self._artefact_path(kind, digest) / MANIFEST)

    def whole(self, kind: type[M], digest: str) -> M | None:
        """As `find`, if its arrays are the ones that were stored."""
        whole = self._artefacts.is_whole(self._artefact_path(kind, digest))
        return self.find(kind, digest) if whole else None

    def all(self, kind: type[M]) -> tuple[M, ...]:
        """All of a kind; the files decide, the index only saves reading them."""
        rows = self._index.rows(KINDS[kind])
        # One that is being replaced while folders are listed may be missed, but was entered before.
        return tuple(self._listed(kind, rows, self._manifests(KINDS[kind], rows)))

    def arrays(self, kind: type[Measured], digest: str, names: Collection[str] | None = None) -> Arrays:
        """The arrays that were stored under that digest, or of these names those that there are.

        Raises:
            NotFoundError: there are none.
            IntegrityError: their bytes are not the ones that were stored.
        """
        return self._artefacts.arrays(self._artefact_path(kind, digest), names)

    def array_file(self, kind: type[Measured], digest: str) -> ArrayFile:
        """The file of the arrays that were stored under that digest, which is whole.

        Raises:
            NotFoundError, IntegrityError: as `arrays`.
        """
        return self._artefacts.array_file(self._artefact_path(kind, digest))

    def load(self, kind: type[M], digest: str) -> tuple[M, Arrays]:
        """What is stored under that digest with its arrays, which belong together.

        Raises:
            NotFoundError: there is nothing.
            IntegrityError: it is damaged.
        """
        return self._artefacts.load(kind, self._artefact_path(kind, digest))

    def discard(self, kind: type[Measured], digest: str) -> int:
        """Delete what is stored under that digest; gives the bytes that were freed."""
        folder = self._artefact_path(kind, digest)
        size = leftovers.size_of(folder)
        files.retire(folder)
        self._index.drop(KINDS[kind], digest)
        return size

    def strange(self) -> list[Path]:
        """Folders of what an earlier version of zoo made of checkpoints and this one does not understand.

        What says that a newer one made it is not among them, and trials are not, which nothing makes again.
        """
        found = []
        for kind, name in KINDS.items():
            for manifest in self._manifests(name) if kind is not Trial else []:
                try:
                    self._artefacts.record(kind, manifest.parent)
                except StrangeRecordError:
                    with suppress(IntegrityError, NotFoundError):
                        if not _is_newer(kind, self._artefacts.said(manifest.parent)):
                            found.append(manifest.parent)
                except (IntegrityError, NotFoundError):
                    continue
        return found

    def discard_strange(self, folder: Path) -> None:
        """Delete one of those that `strange` found.

        Raises:
            StorageError: the disk refuses.
        """
        files.retire(folder)
        self._index.drop(_kind(folder / MANIFEST), folder.name)

    def _artefact_path(self, kind: type[Measured], digest: str) -> Path:
        return self._root(kind) / KINDS[kind] / "v1" / digest[:2] / digest

    def _root(self, kind: type[Measured]) -> Path:
        return self.home if kind is Trial else self.cache

    def _locks(self, root: Path) -> Path:
        return root / "locks"

    # Runs

    def save_run(self, run: Run) -> None:
        """Store a run; a run of the same id is replaced. Its trials are stored already."""
        self._write(self._run_path(run.id), run)

    def runs(self) -> tuple[Run, ...]:
        """All runs, the latest first; the files decide, the index only saves reading them."""
        found = self._listed(Run, self._index.rows("runs"), self._records("runs"))
        return tuple(sorted(found, key=lambda run: (run.created_at, run.id), reverse=True))

    def run(self, run_id: str) -> Run | None:
        """The run of that id, if it is whole."""
        return self._read(Run, self._run_path(run_id))

    def _run_path(self, run_id: str) -> Path:
        return self.home / "runs" / f"{run_id}.json"

    def unfinished(self, digest: str) -> Path:
        """The folder for the state of a trial that is going on."""
        return self.home / "unfinished" / digest

    # Notes

    def save_note(self, name: str, record: Any) -> None:
        """Store a record under a name, in place of the one before."""
        files.write(self.home / "notes" / f"{name}.json", encode(record))

    def load_note(self, name: str, kind: type[R]) -> R | None:
        """The record stored under a name, or None.

        Raises:
            IntegrityError: it is damaged.
        """
        path = self.home / "notes" / f"{name}.json"
        try:
            return decode(kind, path.read_bytes())
        except FileNotFoundError:
            return None
        except IntegrityError as error:
            raise IntegrityError(
                f"{path} is damaged.", why=error.why, fix=f"rm {shlex.quote(str(path))}"
            ) from error

    def load_notes(self, name: str, kind: type[R]) -> list[R]:
        """The records stored under a name, alone or with something after a dash; damaged ones left out."""
        paths = sorted((self.home / "notes").glob(f"{name}*.json"))
        found = []
        for path in paths:
            if path.stem == name or path.stem.startswith(f"{name}-"):
                with suppress(IntegrityError, FileNotFoundError):
                    found.append(decode(kind, path.read_bytes()))
        return found

    # Files that decide: a JSON file of its own, or the manifest of an artefact

    def _records(self, kind: str) -> list[Path]:
        return sorted((self.home / kind).glob("[!.]*.json"))

    def _manifests(self, kind: str, entered: Iterable[str] = ()) -> list[Path]:
        root = self.home if _TYPES.get(kind) is Trial else self.cache
        for old in root.glob(f"{kind}/v1/??/.*.old"):
            if place := files.taken_aside(old):
                files.mended(place)
        folders = {root / kind / "v1" / name[:2] / name for name in entered}
        return sorted(folder / MANIFEST for folder in folders.union(root.glob(f"{kind}/v1/??/[!.]*")))

    def _read(self, kind: type[R], path: Path) -> R | None:
        """What a file says; None where it is absent or damaged."""
        try:
            return self._decoded(kind, path)
        except (IntegrityError, NotFoundError):
            return None

    def _decoded(self, kind: type[R], path: Path) -> R:
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

    def _listed(self, kind: type[R], rows: Mapping[str, Entry], paths: list[Path]) -> Iterator[R]:
        for path in paths:
            row = rows.get(_name(path))
            if row is not None and row.stamp == files.stamp(path):
                with suppress(IntegrityError):
                    yield decode(kind, row.record)
                    continue
            found = self._read(kind, path)
            if found is not None:
                yield found

    def _write(self, path: Path, record: Any) -> None:
        self._index.ready()  # an index that cannot be used stops us before anything is written
        files.write(path, encode(record))
        self._enter(path)

    # Index

    @cached_property
    def _index(self) -> Index:
        return Index(self.index_path, self._entries, self._note)

    @cached_property
    def index_path(self) -> Path:
        """Where the index lies: in the home, unless other machines see that too."""
        if not is_network(file_system_of(self.home)):
            return self.home / "zoo.db"
        name = digest_of([str(self.home.absolute()), platform.node()])
        return platformdirs.user_cache_path("zookeeper") / "index" / f"{name}.db"

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
        self._index.put(self._entry(path))

    def _entries(self) -> Iterator[Entry]:
        for path in self._deciding():
            try:
                yield self._entry(path)
            except (IntegrityError, NotFoundError) as error:
                place = path.parent if path.name == MANIFEST else path
                if place not in self._left_out:
                    self._left_out.add(place)
                    self._note(f"{place} is left out of the index: {self._fault_told(place, error)}")

    def _entry(self, path: Path) -> Entry:
        """A file as it is indexed; a stamp from before it was read never stands for what came after."""
        folder = _kind(path)
        stamp = files.stamp(path)
        found = self._decoded(_TYPES[folder], path)
        return Entry(folder, _name(path), stamp or "", json.dumps(plain(found)))

    def _deciding(self) -> list[Path]:
        kinds = ("checkpoints", "runs")
        return [
            *(path for kind in kinds for path in self._records(kind)),
            *(path for kind in KINDS.values() for path in self._manifests(kind)),
        ]

    # Care

    def unreadable_pins(self) -> list[Path]:
        """Files that should say of a checkpoint how it is pinned, and do not."""
        return [path for path in self._records("checkpoints") if self._read(Checkpoint, path) is None]

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> Verification:
        """Hash every stored array, read every record, and hold the index against the files.

        Args:
            advance: called with 1 for each artefact; `artefacts` says how many there are.
        """
        damaged: dict[str, str] = {}
        folders = self.artefacts()
        self._artefacts.forget()
        with ThreadPoolExecutor(min(4, cores())) as pool:
            for folder, fault in zip(folders, pool.map(self._fault_of_artefact, folders), strict=True):
                if fault:
                    damaged[str(folder)] = fault
                advance(1)
        records = [*self._records("checkpoints"), *self._records("runs")]
        notes = sorted((self.home / "notes").glob("[!.]*.json"))
        for path in (*records, *notes):
            if fault := self._fault_of_file(path):
                damaged[str(path)] = fault
        if fault := self._index.fault() or self._fault_of_rows():
            damaged[str(self.index_path)] = f"{fault}; zoo db rebuild makes it again"
        return Verification(checked=len(folders) + len(records) + len(notes), damaged=damaged)

    def artefacts(self) -> list[Path]:
        """Folders of all that was measured, trials among them."""
        found = {*self.cache.glob("*/v1/??/*"), *self.home.glob(f"{KINDS[Trial]}/v1/??/*")}
        return sorted(path for path in found if not path.name.startswith("."))

    def _fault_of_artefact(self, folder: Path) -> str | None:
        try:
            self._artefacts.array_file(folder)
            if kind := _TYPES.get(_kind(folder / MANIFEST)):
                self._artefacts.record(kind, folder)
        except (IntegrityError, NotFoundError) as error:
            return self._fault_told(folder, error) + self._whose(folder)
        return None

    def _whose(self, folder: Path) -> str:
        """Of which checkpoint something is that was measured, as far as its manifest can be read."""
        kind = _TYPES.get(_kind(folder / MANIFEST))
        with suppress(IntegrityError, NotFoundError):
            if kind in (FeatureSet, EvidenceSet, SignatureSet):
                repo_id, _, _ = self._artefacts.record(kind, folder).checkpoint.rpartition("@")
                return f" (of {repo_id})"
        return ""

    def _fault_told(self, folder: Path, error: ZooError) -> str:
        """What is wrong with a folder or file, and what to do."""
        if isinstance(error, StrangeRecordError) and _kind(folder / MANIFEST) != KINDS[Trial]:
            return f"{_told(error)}; zoo gc deletes it"
        return _told(error)

    def _fault_of_file(self, path: Path) -> str | None:
        try:
            if path.parent.name == "notes":
                json.loads(path.read_bytes())
            elif path.parent.name == "runs":
                self._decoded(Run, path)
            elif self._checkpoint_path(self._decoded(Checkpoint, path).revision) != path:
                return "it describes another checkpoint than its name says"
        except (IntegrityError, NotFoundError) as error:
            return _told(error)
        except ValueError as error:
            return f"it is not JSON ({error}); remove it"
        except OSError as error:
            return refusal(error)
        return None

    def _fault_of_rows(self) -> str | None:
        """Whether rows say something else than the files that they were made from."""
        rows = {kind: self._index.rows(kind) for kind in _TYPES}
        for path in self._deciding():
            row = rows[_kind(path)].get(_name(path))
            if row is not None and row.stamp == files.stamp(path):
                with suppress(IntegrityError, NotFoundError):
                    if row != self._entry(path):
                        return f"it says something else than {path}"
        return None

    @cached_property
    def settled_after(self) -> float:
        """Seconds after which what nobody is seen to hold is held by nobody: few, where locks tell that."""
        shared = any(is_network(file_system_of(root)) for root in (self.home, self.cache))
        return _HOUR if shared else _MOMENT

    def leftovers(self, older_than: float | None = None) -> list[Leftover]:
        """What processes that were killed have left behind: nothing reads it.

        Args:
            older_than: seconds since it was last written; what is younger may belong to one that lives.
                `settled_after` by default.
        """
        least = self.settled_after if older_than is None else older_than
        return [one for one in self._found_leftovers() if leftovers.age(one.path) >= least]

    def sweep(self, older_than: float | None = None) -> list[Leftover]:
        """Remove `leftovers`; gives what was removed."""
        return [one for one in self.leftovers(older_than) if leftovers.remove(one)]

    def _found_leftovers(self) -> Iterator[Leftover]:
        for kind, name in KINDS.items():
            for folder in leftovers.folders(self._root(kind) / name / "v1", 1):
                yield from leftovers.hidden(folder)
        for name in ("checkpoints", "runs", "notes", "unfinished"):
            yield from leftovers.hidden(self.home / name)
        for root in dict.fromkeys((self.home, self.cache)):
            yield from leftovers.locks(self._locks(root))
        yield from leftovers.hidden(self.cache / "converted")
        yield from leftovers.damaged_indexes(self.index_path)
        for folder in leftovers.folders(self.unfinished(""), 1):
            if not files.is_held(folder / "lock") and self.whole(Trial, folder.name):
                yield leftovers.sized(folder, "the state of a trial that is finished")


def _name(path: Path) -> str:
    """By which a file is known among those of its kind."""
    return path.parent.name if path.name == MANIFEST else path.stem


def _kind(path: Path) -> str:
    """The folder that a file's kind is called by."""
    return path.parts[-5] if path.name == MANIFEST else path.parent.name


def _is_newer(kind: type[Measured], said: Any) -> bool:
    """Whether a record, as it lies there, says that a newer zoo made it."""
    if isinstance(said, list):
        return any(_is_newer(kind, part) for part in said)
    if not isinstance(said, dict):
        return False
    ours = {"extractor": EXTRACTOR_VERSION, "version": _VERSIONS.get(kind)}
    newer = (isinstance(said.get(name), int) and said[name] > n for name, n in ours.items() if n)
    return any(newer) or any(_is_newer(kind, part) for part in said.values())


def _told(error: ZooError) -> str:
    why = error.why or error.message
    return f"{why}; {error.fix}" if error.fix else why


def _remedy(folder: Path) -> str:
    return "zoo tune" if KINDS[Trial] in folder.parts else "zoo probe"
