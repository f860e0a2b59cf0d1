"""Where a zoo keeps what, and by which name."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

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
from zookeeper.results import Run, Trial
from zookeeper.store.mounts import file_system_of, is_network

Measured = FeatureSet | BasisSet | SignatureSet | AlignmentSet | JackknifeSet | EvidenceSet | Trial
M = TypeVar("M", FeatureSet, BasisSet, SignatureSet, AlignmentSet, JackknifeSet, EvidenceSet, Trial)

MANIFEST, ARRAYS = "manifest.json", "arrays.safetensors"

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

FOLDERS: dict[str, type[Any]] = {
    "checkpoints": Checkpoint,
    "runs": Run,
    **{name: kind for kind, name in KINDS.items()},
}
"""What the files that decide hold, by the name of their kind."""


@dataclass(frozen=True)
class Layout:
    """Where a zoo keeps what.

    A file that decides is a JSON file of its own, or the manifest in the folder of an artefact.

    Attributes:
        home: folder of the index, the checkpoints and the runs.
        cache: folder of what can be computed again.
    """

    home: Path
    cache: Path

    def checkpoint(self, revision: Revision) -> Path:
        """The file of a checkpoint."""
        return self.home / "checkpoints" / f"{digest_of([revision.repo_id, revision.commit])[:40]}.json"

    def run(self, run_id: str) -> Path:
        """The file of a run."""
        return self.home / "runs" / f"{run_id}.json"

    def note(self, name: str) -> Path:
        """The file of a note."""
        return self.home / "notes" / f"{name}.json"

    def unfinished(self, digest: str) -> Path:
        """The folder for the state of a trial."""
        return self.home / "unfinished" / digest

    def artefact(self, kind: type[Measured], digest: str) -> Path:
        """The folder of what was measured."""
        return self.kind(KINDS[kind]) / digest[:2] / digest

    def converted(self, checkpoint: Checkpoint) -> Path:
        """The folder of the weights of a checkpoint that were pickles: by their content."""
        return self.conversions / digest_of([[file.path, file.digest] for file in checkpoint.files])

    @property
    def conversions(self) -> Path:
        """The folder of all weights that were pickles."""
        return self.cache / "converted"

    def lock_of(self, folder: Path) -> Path:
        """The lock file of who makes a folder, in the home or in the cache, whichever it lies in."""
        root = max(filter(folder.is_relative_to, (self.home, self.cache)), key=lambda one: len(one.parts))
        return root / "locks" / f"{folder.relative_to(root).parts[0]}-{folder.name}.lock"

    def kind(self, name: str) -> Path:
        """The folder of all artefacts of a kind."""
        return self._root(name) / name / "v1"

    @cached_property
    def index(self) -> Path:
        """Where the index lies: in the home, unless other machines see that too."""
        if not is_network(file_system_of(self.home)):
            return self.home / "zoo.db"
        name = digest_of([str(self.home.absolute()), platform.node()])
        return platformdirs.user_cache_path("zookeeper") / "index" / f"{name}.db"

    @property
    def is_new(self) -> bool:
        """Whether nothing was stored in the home yet; the cache may be that of other zoos, too."""
        return not any(map(self.records, ("checkpoints", "runs", "notes")))

    @cached_property
    def is_shared(self) -> bool:
        """Whether other machines may see any of it."""
        return any(is_network(file_system_of(root)) for root in (self.home, self.cache))

    @property
    def locks(self) -> list[Path]:
        """The folders of locks."""
        return [root / "locks" for root in dict.fromkeys((self.home, self.cache))]

    def records(self, name: str) -> list[Path]:
        """The files of a kind that has one for each record; notes, checkpoints or runs."""
        return sorted((self.home / name).glob("[!.]*.json"))

    def manifests(self, name: str, entered: Iterable[str] = ()) -> list[Path]:
        """The manifests of a kind.

        Args:
            name: of the kind.
            entered: digests that are known, whether their folders are seen or not.
        """
        root = self.kind(name)
        folders = {root / digest[:2] / digest for digest in entered}
        return sorted(folder / MANIFEST for folder in folders.union(root.glob("??/[!.]*")))

    def taken_out(self, name: str) -> list[Path]:
        """What was taken out of its place among the artefacts of a kind, and lies beside it."""
        return sorted(self.kind(name).glob("??/.*.old"))

    def deciding(self, name: str, entered: Iterable[str] = ()) -> list[Path]:
        """The files of a kind that decide; `entered` as for `manifests`."""
        return self.manifests(name, entered) if FOLDERS[name] in KINDS else self.records(name)

    def artefacts(self) -> list[Path]:
        """Folders of all that was measured, trials among them, and of what no kind is known of."""
        found = {*self.cache.glob("*/v1/??/*"), *self.kind(KINDS[Trial]).glob("??/*")}
        return sorted(path for path in found if not path.name.startswith("."))

    def _root(self, name: str) -> Path:
        return self.home if name == KINDS[Trial] else self.cache


def name_of(path: Path) -> str:
    """By which a file that decides is known among those of its kind."""
    return path.parent.name if path.name == MANIFEST else path.stem


def kind_of(path: Path) -> str:
    """The name of the kind of a file that decides."""
    return path.parts[-5] if path.name == MANIFEST else path.parent.name
