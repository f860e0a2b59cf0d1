"""Measurements in a dataset repository: where they lie, and how they are read.

    probe.json                                              what all were read with
    basis.json, basis.safetensors                           of signatures
    signatures/<owner>/<name>/<commit>.json, .safetensors   a checkpoint's, with what it claims to be
    features/<owner>/<name>/<commit>.json, .safetensors

There is no list of all that is there, so that several people can add to one repository. Everything is
written by strangers: no path is followed that is not of these forms, and nothing is fetched, or read into
memory, that is larger than what it claims to be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError, safe_open

from zookeeper.digests import SHA256, digest_like
from zookeeper.errors import DataError, IntegrityError, UsageError
from zookeeper.plain import decode
from zookeeper.records import Dataset, RepoFile, Revision
from zookeeper.sharing.claims import (
    FORMAT,
    Forms,
    Ground,
    Kind,
    Measured,
    Spec,
    check_ground,
    claimed,
    demand,
    is_repo_id,
)
from zookeeper.store import Arrays

if TYPE_CHECKING:
    from zookeeper.hub import Hub

R = TypeVar("R")

GROUND, BASIS = "probe.json", "basis"

_MOST_FILES = 200_000
_LARGEST_GROUND = 16 << 20
_LARGEST_SPEC = 1 << 20
_LARGEST_ARRAYS = 2 << 30
_MEMBER = re.compile(r"(?P<what>[a-z]+)/(?P<repo_id>.+)/(?P<commit>[0-9a-f]{40})\.(?:json|safetensors)")


@dataclass(frozen=True, eq=False)
class Measurement:
    """Something that is what it says.

    Attributes:
        record: what it is.
        arrays: of it.
        size: of their file, in bytes.
    """

    record: Any
    arrays: Arrays
    size: int


class Shelf:
    """A repository of measurements, as the Hub lists it.

    Args:
        hub: that has it.
        repository: at the commit that is read.

    Raises:
        UsageError: it has too many files.
    """

    def __init__(self, hub: Hub, repository: Dataset) -> None:
        if len(repository.files) > _MOST_FILES:
            raise UsageError(f"{repository.revision.repo_id} has more than {_MOST_FILES:,} files.")
        self._hub = hub
        self.revision = repository.revision
        self.files = {file.path: file for file in repository.files}

    @property
    def name(self) -> str:
        """Of the repository."""
        return self.revision.repo_id

    def ground(self) -> Ground | None:
        """What all measurements have in common; None where there are none.

        Raises:
            DataError: a newer zoo wrote them.
            IntegrityError: it is not what a zoo writes.
        """
        if GROUND not in self.files:
            return None
        data = self._read(GROUND, _LARGEST_GROUND)
        written = _decoded(_Format, data, GROUND).format
        if written != FORMAT:
            raise DataError(
                f"{self.name} was written by another zoo (format {written}, this one reads {FORMAT}).",
                fix="pip install --upgrade hf-zoo",
            )
        ground = _decoded(Ground, data, GROUND)
        check_ground(ground)
        return ground

    def members(self, what: Measured) -> dict[Revision, int]:
        """Checkpoints of which there are measurements, by name, with the bytes of those."""
        found: dict[Revision, int] = {}
        for path, file in sorted(self.files.items()):
            member = _MEMBER.fullmatch(path)
            if member is not None and member["what"] == what and is_repo_id(member["repo_id"]):
                revision = Revision(member["repo_id"], member["commit"], member["commit"])
                found[revision] = found.get(revision, 0) + file.size
        return found

    def holds(self, stem: str) -> bool:
        """Whether there are a spec and arrays under a name."""
        return {f"{stem}.json", f"{stem}.safetensors"} <= self.files.keys()

    def measurement(
        self, stem: str, kind: Kind, revision: Revision, advance: Callable[[int], None] = lambda _: None
    ) -> Measurement:
        """What lies under a name, if it is what it says; arrays are fetched after names and sizes are right.

        Args:
            stem: the name.
            kind: of measurement that is expected.
            revision: of the checkpoint that is expected.
            advance: called with the bytes that came.

        Raises:
            IntegrityError, DegenerateInputError: it is not what it says, or not what is expected.
            NetworkError: the Hub cannot be reached.
        """
        listed = self._listed(f"{stem}.safetensors", _LARGEST_ARRAYS)
        spec = _decoded(Spec, self._read(f"{stem}.json", _LARGEST_SPEC), f"{stem}.json")
        forms = claimed(kind, revision, spec, listed)
        path = self._bring(listed, advance)
        # Of a large file the digest that the Hub gives, which its bytes were compared with, is of this kind.
        digest = listed.digest if listed.digest.startswith(SHA256) else digest_like(SHA256, path)
        demand(spec.arrays.digest == digest, "the bytes of its arrays have another digest")
        arrays = _loaded(path, forms)
        kind.check(spec.record, arrays)
        return Measurement(spec.record, arrays, listed.size)

    def _listed(self, path: str, most: int) -> RepoFile:
        """A file by its path.

        Raises:
            IntegrityError: there is none, or it is larger than such a file may be.
        """
        file = self.files.get(path)
        if file is None:
            raise IntegrityError(f"{path} is missing in {self.name}.")
        if file.size > most:
            raise IntegrityError(f"{path} in {self.name} is too large.", why=f"it has {file.size:,} bytes")
        return file

    def _read(self, path: str, most: int) -> bytes:
        return self._bring(self._listed(path, most)).read_bytes()

    def _bring(self, file: RepoFile, advance: Callable[[int], None] = lambda _: None) -> Path:
        folder = self._hub.fetch(self.revision, (file,), kind="dataset", advance=advance)
        return folder / file.path


@dataclass(frozen=True, slots=True)
class _Format:
    format: int


def _decoded(kind: type[R], data: bytes, path: str) -> R:
    try:
        return decode(kind, data)
    except (IntegrityError, UsageError) as error:
        raise IntegrityError(f"{path} is not what a zoo writes.", why=error.why or error.message) from error


def _loaded(path: Path, forms: Forms) -> Arrays:
    """Arrays of a safetensors file, if they are just these; only its header is read before."""
    try:
        with safe_open(path, framework="numpy") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 it is no mapping
            found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
            demand(found == forms, "it has other arrays than it says")
            return {name: opened.get_tensor(name) for name in forms}
    except SafetensorError as error:
        raise IntegrityError("its arrays cannot be read.", why="this is no whole safetensors file") from error
