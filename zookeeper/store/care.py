"""What is wrong with a zoo on disk, and what in it nothing reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from zookeeper.errors import IntegrityError, NotFoundError
from zookeeper.hardware import cores
from zookeeper.plain import refusal
from zookeeper.records import Checkpoint, EvidenceSet, FeatureSet, SignatureSet
from zookeeper.results import Run, Trial, Verification
from zookeeper.store import files, leftovers
from zookeeper.store.artefacts import Artefacts, StrangeRecordError
from zookeeper.store.index import Index
from zookeeper.store.layout import FOLDERS, KINDS, MANIFEST, Layout, kind_of, name_of
from zookeeper.store.leftovers import Leftover
from zookeeper.store.truth import Truth, told

_SPLITS = "train", "validation", "test"


class Care:
    """Looks after what lies on the disk; changes nothing.

    Args:
        layout: where it lies.
        artefacts: reads what was measured.
        truth: reads the files that decide.
        index: of them.
    """

    def __init__(self, layout: Layout, artefacts: Artefacts, truth: Truth, index: Index) -> None:
        self._layout = layout
        self._artefacts = artefacts
        self._truth = truth
        self._index = index

    def verify(self, advance: Callable[[int], None]) -> Verification:
        """Hash every stored array, read every record, and hold the index against the files.

        Args:
            advance: called with 1 for each artefact.
        """
        damaged: dict[str, str] = {}
        folders = self._layout.artefacts()
        self._artefacts.forget()
        with ThreadPoolExecutor(min(4, cores())) as pool:
            for folder, fault in zip(folders, pool.map(self._fault_of_artefact, folders), strict=True):
                if fault:
                    damaged[str(folder)] = fault
                advance(1)
        records = [path for name in ("checkpoints", "runs", "notes") for path in self._layout.records(name)]
        for path in records:
            if fault := self._fault_of_file(path):
                damaged[str(path)] = fault
        if fault := self._index.fault() or self._fault_of_rows():
            damaged[str(self._layout.index)] = f"{fault}; zoo db rebuild makes it again"
        return Verification(checked=len(folders) + len(records), damaged=damaged)

    def _fault_of_artefact(self, folder: Path) -> str | None:
        try:
            self._artefacts.array_file(folder)
            if kind := FOLDERS.get(kind_of(folder / MANIFEST)):
                self._artefacts.record(kind, folder)
        except (IntegrityError, NotFoundError) as error:
            again = self._makes_again(folder)
            return f"{error.why or error.message}; {again}" if again else told(error)
        return None

    def _makes_again(self, folder: Path) -> str | None:
        """What makes again what was measured of a checkpoint, as far as its manifest can be read."""
        kind = FOLDERS.get(kind_of(folder / MANIFEST))
        with suppress(IntegrityError, NotFoundError):
            if kind in (FeatureSet, EvidenceSet, SignatureSet):
                found = self._artefacts.record(kind, folder)
                repo_id, _, _ = found.checkpoint.rpartition("@")
                return f"{_command(found)} makes it again (of {repo_id})"
        return None

    def _fault_of_file(self, path: Path) -> str | None:
        try:
            if path.parent.name == "notes":
                json.loads(path.read_bytes())
            elif path.parent.name == "runs":
                self._truth.read(Run, path)
            elif self._layout.checkpoint(self._truth.read(Checkpoint, path).revision) != path:
                return "it describes another checkpoint than its name says"
        except (IntegrityError, NotFoundError) as error:
            return told(error)
        except ValueError as error:
            return f"it is not JSON ({error}); remove it"
        except OSError as error:
            return refusal(error)
        return None

    def _fault_of_rows(self) -> str | None:
        """Whether rows say something else than the files that they were made from."""
        for name in FOLDERS:
            rows = self._index.rows(name)
            for path in self._layout.deciding(name):
                row = rows.get(name_of(path))
                if row is not None and row.stamp == files.stamp(path):
                    with suppress(IntegrityError, NotFoundError):
                        if row != self._truth.entry(path):
                            return f"it says something else than {path}"
        return None

    def unreadable_pins(self) -> list[Path]:
        """Files that should say of a checkpoint how it is pinned, and do not."""
        pins = self._layout.records("checkpoints")
        return [path for path in pins if self._truth.find(Checkpoint, path) is None]

    def strange(self) -> Iterator[Path]:
        """Folders of what an earlier version of zoo made of checkpoints and this one does not understand.

        What says that a newer one made it is not among them, and trials are not, which nothing makes again.
        """
        for kind, name in KINDS.items():
            for manifest in self._layout.manifests(name) if kind is not Trial else []:
                try:
                    self._artefacts.record(kind, manifest.parent)
                except StrangeRecordError as error:
                    if not error.newer:
                        yield manifest.parent
                except (IntegrityError, NotFoundError):
                    continue

    def leftovers(self) -> Iterator[Leftover]:
        """What processes that were killed have left behind, of any age: nothing reads it."""
        for name in KINDS.values():
            for folder in leftovers.folders(self._layout.kind(name), 1):
                yield from leftovers.hidden(folder)
        for name in ("checkpoints", "runs", "notes", "unfinished"):
            yield from leftovers.hidden(self._layout.home / name)
        for locks in self._layout.locks:
            yield from leftovers.locks(locks)
        yield from leftovers.hidden(self._layout.conversions)
        yield from leftovers.damaged_indexes(self._layout.index)
        for folder in leftovers.folders(self._layout.unfinished(""), 1):
            if not files.is_held(folder / "lock") and self._is_finished(folder.name):
                yield leftovers.sized(folder, "the state of a trial that is finished")

    def _is_finished(self, digest: str) -> bool:
        trial = self._layout.artefact(Trial, digest)
        return self._artefacts.is_whole(trial) and self._truth.find(Trial, trial / MANIFEST) is not None


def _command(found: FeatureSet | EvidenceSet | SignatureSet) -> str:
    """The command that measured something: rank, tune for a split of a target, or probe."""
    target, _, split = found.source.rpartition(" ")
    if isinstance(found, EvidenceSet):
        return f"zoo rank -t {shlex.quote(found.source)}"
    if target and split in _SPLITS:
        return f"zoo tune -t {shlex.quote(target)}"
    return f"zoo probe -p {shlex.quote(found.source)}"
