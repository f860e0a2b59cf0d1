"""The zoo on disk. Files are the truth; SQLite is an index of their manifests that can be made again.

    HOME/zoo.db                                   the index
    HOME/checkpoints/<digest>.json                a pinned checkpoint
    HOME/runs/<id>.json                           a run: which trials it is made of, and what came of them
    HOME/trials/v1/<2 hex>/<digest>/manifest.json, arrays.safetensors       a trial: what was learned
    HOME/unfinished/<digest>/                     the state of a trial that is going on, or was interrupted
    HOME/notes/<name>.json                        the latest selection, the latest ranking
    CACHE/<kind>/v1/<2 hex>/<digest>/manifest.json, arrays.safetensors      what was measured, of six kinds

An artefact is a manifest and its arrays. The manifest holds the record of what the arrays are, their SHA-256,
which is checked when a process first reads them (of each array, where only some are read), and a seal: the
digest of its own content and of the name it was stored under. Damage counts as absence: what can be computed
again is.
"""

from __future__ import annotations

import json
import shlex
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from zookeeper.errors import IntegrityError, NotFoundError, StorageError
from zookeeper.plain import decode, encode, plain
from zookeeper.records import (
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
from zookeeper.store import files
from zookeeper.store.migrations import migrate

Arrays = Mapping[str, NDArray[Any]]
Measured = FeatureSet | BasisSet | SignatureSet | AlignmentSet | JackknifeSet | EvidenceSet | Trial
R = TypeVar("R")
M = TypeVar("M", FeatureSet, BasisSet, SignatureSet, AlignmentSet, JackknifeSet, EvidenceSet, Trial)

# Where each kind lies: trials in the home, as they cost too much to be made again, all else in the cache.
_KINDS: dict[type[Measured], str] = {
    FeatureSet: "features",
    BasisSet: "bases",
    SignatureSet: "signatures",
    AlignmentSet: "alignments",
    JackknifeSet: "jackknives",
    EvidenceSet: "evidence",
    Trial: "trials",
}
# Of these there is one, which is stored again when more is known.
_GROWING = AlignmentSet, BasisSet, JackknifeSet, Trial
_TYPES = {folder: kind for kind, folder in _KINDS.items()}
_TRIES = 5
_MANIFEST, _ARRAYS = "manifest.json", "arrays.safetensors"


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """The file of the arrays of something that is stored.

    Attributes:
        path: of the safetensors file; not to be written to.
        size: bytes.
        sha256: of them, 64 hex digits.
    """

    path: Path
    size: int
    sha256: str


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
        self._db: sqlite3.Connection | None = None
        self._verified: set[Path] = set()

    # Checkpoints

    def add(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, or what is newly known of one that is there."""
        self._connection(create=True)  # an index that cannot be used stops us before anything is written
        files.write(self._checkpoint_path(checkpoint.revision), encode(checkpoint))
        with self._writing() as db:
            _index_checkpoint(db, checkpoint)

    def remove(self, revision: Revision) -> None:
        """Forget a checkpoint; its features stay, and serve again when it is added again."""
        with files.disk(self.home):
            self._checkpoint_path(revision).unlink(missing_ok=True)
        with self._writing() as db:
            db.execute(
                "DELETE FROM checkpoint WHERE repo_id = ? AND sha = ?", (revision.repo_id, revision.commit)
            )

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All checkpoints, by name; the files decide, the index only saves reading them."""
        indexed = (decode(Checkpoint, text) for text in self._records("checkpoint"))
        known = {self._checkpoint_path(checkpoint.revision): checkpoint for checkpoint in indexed}
        paths = (self.home / "checkpoints").glob("[!.]*.json")
        found = [known.get(path) or self._read(Checkpoint, path) for path in paths]
        whole = (checkpoint for checkpoint in found if checkpoint is not None)
        return tuple(sorted(whole, key=lambda c: (c.name.lower(), c.revision.commit)))

    def _checkpoint_path(self, revision: Revision) -> Path:
        return self.home / "checkpoints" / f"{digest_of([revision.repo_id, revision.commit])[:40]}.json"

    # What was measured

    def save(
        self, found: Measured, arrays: Arrays, provenance: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Store what was measured: files first, then the index."""
        self._connection(create=True)
        folder = self._artefact_path(type(found), found.key.digest)
        self._publish(folder, found, arrays, provenance, replace=isinstance(found, _GROWING))
        with self._writing() as db:
            _index_measured(db, found)

    def find(self, kind: type[M], digest: str) -> M | None:
        """What is stored under that digest, or None; the files decide, not the index."""
        return self._record(kind, self._artefact_path(kind, digest))

    def whole(self, kind: type[M], digest: str) -> M | None:
        """As `find`, if its arrays are the ones that were stored."""
        return self.find(kind, digest) if self._whole(self._artefact_path(kind, digest)) else None

    def all(self, kind: type[M]) -> tuple[M, ...]:
        """All of a kind; the files decide, the index only saves reading them."""
        indexed = (decode(kind, text) for text in self._records("measured", kind=_KINDS[kind]))
        known = {found.key.digest: found for found in indexed}
        folders = sorted(self._root(kind).glob(f"{_KINDS[kind]}/v1/??/[!.]*"))
        found = (known.get(folder.name) or self._record(kind, folder) for folder in folders)
        return tuple(one for one in found if one is not None)

    def arrays(self, kind: type[Measured], digest: str, names: Collection[str] | None = None) -> Arrays:
        """The arrays that were stored under that digest, or of these names those that there are.

        Raises:
            NotFoundError: there are none.
            IntegrityError: their bytes are not the ones that were stored.
        """
        return self._arrays(self._artefact_path(kind, digest), names)

    def array_file(self, kind: type[Measured], digest: str) -> ArrayFile:
        """The file of the arrays that were stored under that digest, which is whole.

        Raises:
            NotFoundError, IntegrityError: as `arrays`.
        """
        folder = self._artefact_path(kind, digest)
        self._arrays(folder)
        manifest = _read_manifest(folder)
        return ArrayFile(folder / _ARRAYS, manifest["bytes"], manifest["sha256"])

    def load(self, kind: type[M], digest: str) -> tuple[M, Arrays]:
        """What is stored under that digest with its arrays, which belong together.

        Raises:
            NotFoundError: there is nothing.
            IntegrityError: it is damaged.
        """
        folder = self._artefact_path(kind, digest)
        for _ in range(_TRIES):
            self._verified.discard(folder)
            found = self._record(kind, folder)
            try:
                arrays = self._arrays(folder)
            except (IntegrityError, NotFoundError):
                if self._record(kind, folder) == found:
                    raise
            else:
                if found is not None and self._record(kind, folder) == found:
                    return found, arrays
        raise _damaged(folder, "it was replaced again and again while it was read")

    def discard(self, kind: type[Measured], digest: str) -> int:
        """Delete what is stored under that digest; gives the bytes that were freed."""
        folder = self._artefact_path(kind, digest)
        size = sum(file.stat().st_size for file in folder.glob("*"))
        files.retire(folder)
        with self._writing() as db:
            db.execute("DELETE FROM measured WHERE kind = ? AND key = ?", (_KINDS[kind], digest))
        return size

    # Runs

    def save_run(self, run: Run) -> None:
        """Store a run; a run of the same id is replaced. Its trials are stored already."""
        self._connection(create=True)
        files.write(self._run_path(run.id), encode(run))
        with self._writing() as db:
            _index_run(db, run)

    def runs(self) -> tuple[Run, ...]:
        """All runs, the latest first; the files decide, the index only saves reading them."""
        indexed = (decode(Run, text) for text in self._records("run"))
        known = {self._run_path(run.id): run for run in indexed}
        paths = (self.home / "runs").glob("[!.]*.json")
        found = [known.get(path) or self._read(Run, path) for path in paths]
        return tuple(sorted((r for r in found if r is not None), key=lambda r: r.created_at, reverse=True))

    def run(self, run_id: str) -> Run | None:
        """The run of that id, if it is whole."""
        return self._read(Run, self._run_path(run_id))

    def _run_path(self, run_id: str) -> Path:
        return self.home / "runs" / f"{run_id}.json"

    def _read(self, kind: type[R], path: Path) -> R | None:
        try:
            return decode(kind, path.read_bytes())
        except (IntegrityError, OSError):
            return None

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

    # Care

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> Verification:
        """Hash every stored array and read every manifest.

        Args:
            advance: called with 1 for each artefact; `artefacts` says how many there are.
        """
        damaged: dict[str, str] = {}
        folders, manifests = self.artefacts(), sorted((self.home / "checkpoints").glob("*.json"))
        self._verified.clear()
        for folder in folders:
            try:
                self._arrays(folder)
            except (IntegrityError, NotFoundError) as error:
                damaged[str(folder)] = error.why or error.message
            advance(1)
        for path in manifests:
            try:
                checkpoint = decode(Checkpoint, path.read_bytes())
                if self._checkpoint_path(checkpoint.revision) != path:
                    damaged[str(path)] = "it describes another checkpoint than its name says"
            except IntegrityError as error:
                damaged[str(path)] = error.why or error.message
        runs = sorted((self.home / "runs").glob("[!.]*.json"))
        for path in runs:
            try:
                decode(Run, path.read_bytes())
            except IntegrityError as error:
                damaged[str(path)] = error.why or error.message
        notes = sorted((self.home / "notes").glob("[!.]*.json"))
        for path in notes:
            try:
                json.loads(path.read_bytes())
            except ValueError as error:
                damaged[str(path)] = f"it is not JSON ({error}); remove it"
        return Verification(checked=len(folders) + len(manifests) + len(runs) + len(notes), damaged=damaged)

    def artefacts(self) -> list[Path]:
        """Folders of all that was measured, trials among them."""
        found = {*self.cache.glob("*/v1/??/*"), *self.home.glob(f"{_KINDS[Trial]}/v1/??/*")}
        return sorted(path for path in found if not path.name.startswith("."))

    def _fill(self, db: sqlite3.Connection) -> None:
        for table in ("checkpoint", "measured", "run"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 the names are ours
        for path in (self.home / "checkpoints").glob("*.json"):
            with files.disk(path), _skipping_damage(self._note):
                _index_checkpoint(db, decode(Checkpoint, path.read_bytes()))
        for path in (self.home / "runs").glob("*.json"):
            with files.disk(path), _skipping_damage(self._note):
                _index_run(db, decode(Run, path.read_bytes()))
        for folder in self.artefacts():
            with files.disk(folder), _skipping_damage(self._note):
                if kind := _TYPES.get(folder.parts[-4]):
                    _index_measured(db, decode(kind, _read_manifest(folder)["record"]))

    # Artefacts

    def _artefact_path(self, kind: type[Measured], digest: str) -> Path:
        return self._root(kind) / _KINDS[kind] / "v1" / digest[:2] / digest

    def _root(self, kind: type[Measured]) -> Path:
        return self.home if kind is Trial else self.cache

    def _publish(
        self,
        folder: Path,
        record: Any,
        arrays: Arrays,
        provenance: Mapping[str, str],
        *,
        replace: bool = False,
    ) -> None:
        payload = safetensors.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        manifest = {
            "record": plain(record),
            "sha256": files.sha256(payload),
            "arrays": {name: _digest_of_array(array) for name, array in arrays.items()},
            "bytes": len(payload),
            "provenance": dict(provenance),
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        manifest["seal"] = _seal(folder, manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        contents = {_ARRAYS: payload, _MANIFEST: text.encode("utf-8", "surrogatepass")}
        # Where somebody was faster, theirs serves if it is whole; a damaged one makes way for ours.
        if not files.publish(folder, contents) and (replace or not self._whole(folder)):
            files.replace(folder, contents)
        self._verified.add(folder)

    def _record(self, kind: type[R], folder: Path) -> R | None:
        """What an artefact says it is; None where it is absent or damaged."""
        try:
            return decode(kind, _read_manifest(folder)["record"])
        except (IntegrityError, OSError):
            return None

    def _whole(self, folder: Path) -> bool:
        try:
            self._arrays(folder)
        except (IntegrityError, NotFoundError):
            return False
        return True

    def _arrays(self, folder: Path, names: Collection[str] | None = None) -> Arrays:
        """The arrays of an artefact, or those of these names: only what is read is checked."""
        try:
            manifest = _read_manifest(folder)
            if names is not None:
                return self._some_arrays(folder, manifest, names)
            payload = (folder / _ARRAYS).read_bytes()
            if folder not in self._verified:
                if len(payload) != manifest["bytes"] or files.sha256(payload) != manifest["sha256"]:
                    raise _damaged(folder, "the bytes of the arrays are not the ones that were stored")
                self._verified.add(folder)
            return dict(safetensors.load(payload))
        except FileNotFoundError as error:
            raise NotFoundError(f"there is nothing at {folder}.") from error
        except OSError as error:
            raise IntegrityError(
                f"cannot read {folder}.", why=(error.strerror or str(error)).lower()
            ) from error
        except SafetensorError as error:
            raise _damaged(folder, f"the arrays cannot be read ({error})") from error

    def _some_arrays(self, folder: Path, manifest: Mapping[str, Any], names: Collection[str]) -> Arrays:
        digests: Mapping[str, str] = manifest["arrays"]
        with safe_open(folder / _ARRAYS, framework="numpy") as opened:
            found = {name: opened.get_tensor(name) for name in names if name in digests}
        if folder not in self._verified:
            for name, array in found.items():
                if _digest_of_array(array) != digests[name]:
                    raise _damaged(folder, f"the bytes of {name} are not the ones that were stored")
        return found

    # Index

    def _records(self, table: str, **where: str) -> list[str]:
        db = self._connection(create=False)
        condition = " AND ".join([f"{column} = :{column}" for column in where] or ["TRUE"])
        query = f"SELECT record FROM {table} WHERE {condition}"  # noqa: S608 the names are ours
        with _index_errors(self.home):
            return [row[0] for row in db.execute(query, where)]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        db = self._connection(create=True)
        with _index_errors(self.home):
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has ended it already
                    db.execute("ROLLBACK")
                raise

    def _connection(self, *, create: bool) -> sqlite3.Connection:
        """The open index; made from the manifests where it is missing or no index at all."""
        if self._db is not None:
            return self._db
        path = self.home / "zoo.db"
        if not create and not path.exists():
            # Reading an empty or read-only zoo leaves no trace.
            db = sqlite3.connect(":memory:", isolation_level=None)
            migrate(db)
            self._fill(db)
            return db
        with files.disk(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
        try:
            self._db = self._open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise _index_error(self.home, error) from error
            aside = path.with_name(f"zoo.db.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
            with files.disk(self.home):
                path.rename(aside)
            self._note(f"the index was damaged; it was set aside as {aside}")
            self._db = self._open(path)
        return self._db

    def _open(self, path: Path) -> sqlite3.Connection:
        # A rollback journal, not a write-ahead log: it works on network and on read-only file systems.
        db = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
            (state,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            if migrate(db):
                db.execute("BEGIN IMMEDIATE")
                self._fill(db)
                db.execute("COMMIT")
                if db.total_changes:
                    self._note("the index was made again from the manifests")
        except BaseException:
            db.close()
            raise
        return db


def _index_checkpoint(db: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    revision = checkpoint.revision
    db.execute(
        "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)",
        (revision.repo_id, revision.commit, encode(checkpoint).decode()),
    )


def _index_measured(db: sqlite3.Connection, found: Measured) -> None:
    db.execute(
        "INSERT OR REPLACE INTO measured VALUES (?, ?, ?)",
        (_KINDS[type(found)], found.key.digest, encode(found).decode()),
    )


def _index_run(db: sqlite3.Connection, run: Run) -> None:
    db.execute("INSERT OR REPLACE INTO run VALUES (?, ?, ?)", (run.id, run.created_at, encode(run).decode()))


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except ValueError as error:
        raise _damaged(folder, "the manifest is not JSON") from error
    if not isinstance(manifest, dict) or manifest.pop("seal", None) != _seal(folder, manifest):
        raise _damaged(folder, "the manifest is not the one that was stored here")
    return manifest


def _digest_of_array(array: NDArray[Any]) -> str:
    return files.sha256(np.ascontiguousarray(array).data)


def _seal(folder: Path, manifest: Mapping[str, Any]) -> str:
    return digest_of([folder.name, manifest])


def _damaged(folder: Path, why: str) -> IntegrityError:
    made_by = "zoo tune" if _KINDS[Trial] in folder.parts else "zoo probe"
    return IntegrityError(f"a stored file is damaged: {folder}.", why=why, fix=f"{made_by} makes it again")


@contextmanager
def _skipping_damage(note: Callable[[str], None]) -> Iterator[None]:
    try:
        yield
    except (IntegrityError, FileNotFoundError, NotADirectoryError) as error:
        note(f"left out of the index: {error}")


@contextmanager
def _index_errors(home: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _index_error(home, error) from error


def _index_error(home: Path, error: sqlite3.Error) -> StorageError:
    text = str(error)
    fixes = {
        "readonly": files.FIXES["denied"],
        "unable to open": files.FIXES["denied"],
        "full": files.FIXES["full"],
        "disk I/O": files.FIXES["full"],
        "locked": "another zoo command is writing; run this one again when it is done",
    }
    fix = next((fix for part, fix in fixes.items() if part in text), "zoo verify")
    return StorageError(f"cannot use the index in {home}.", why=text, fix=fix)
