"""Artefacts: folders of a manifest and the arrays that it tells of.

The manifest holds the record of what the arrays are, their SHA-256, which is checked when a process first
reads them (of each array, where only some are read), and a seal: the digest of its own content and of the
name it was stored under. Damage counts as absence: what can be computed again is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError, safe_open

from zookeeper.errors import IntegrityError, NotFoundError
from zookeeper.plain import decode, now, plain, refusal
from zookeeper.records import (
    ALIGNMENT_VERSION,
    EVIDENCE_VERSION,
    EXTRACTOR_VERSION,
    SIGNATURE_VERSION,
    AlignmentSet,
    EvidenceSet,
    JackknifeSet,
    SignatureSet,
    digest_of,
)
from zookeeper.results import Trial
from zookeeper.store import files
from zookeeper.store.layout import ARRAYS, KINDS, MANIFEST, kind_of, name_of

Arrays = Mapping[str, NDArray[Any]]
Forms = Mapping[str, tuple[tuple[int, ...], DTypeLike]]
"""Shape and type of arrays by name."""
T = TypeVar("T")

_TRIES = 20
_VERSIONS = {
    KINDS[SignatureSet]: SIGNATURE_VERSION,
    KINDS[AlignmentSet]: ALIGNMENT_VERSION,
    KINDS[JackknifeSet]: ALIGNMENT_VERSION,
    KINDS[EvidenceSet]: EVIDENCE_VERSION,
}
# What the format calls its types, in the order in which it puts arrays of them: each is aligned as it lies.
_TYPES = {
    np.dtype(numpy): name
    for numpy, name in (
        (np.uint64, "U64"),
        (np.int64, "I64"),
        (np.float64, "F64"),
        (np.complex64, "C64"),
        (np.float32, "F32"),
        (np.uint32, "U32"),
        (np.int32, "I32"),
        (np.float16, "F16"),
        (np.uint16, "U16"),
        (np.int16, "I16"),
        (np.int8, "I8"),
        (np.uint8, "U8"),
        (np.bool_, "BOOL"),
    )
}
_REMEDIES = {KINDS[Trial]: "zoo tune", KINDS[EvidenceSet]: "zoo rank"}
_RANKS = {dtype: rank for rank, dtype in enumerate(_TYPES)}


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


class StrangeRecordError(IntegrityError):
    """An artefact is as it was stored, by another version of zoo, and this one does not understand it.

    Args:
        folder: of the artefact.
        said: its record as it lies there.
        why: it is not understood.

    Attributes:
        newer: whether a newer version made it, which can still use it.
    """

    def __init__(self, folder: Path, said: Any, why: str | None) -> None:
        kind = kind_of(folder / MANIFEST)
        self.newer = _is_newer(kind, said)
        deleted = None if kind == KINDS[Trial] else "zoo gc deletes it"
        super().__init__(
            f"a stored file cannot be understood: {folder}.",
            why=f"{'a newer' if self.newer else 'another'} version of zoo made it ({why})",
            fix="use a zoo as new as that" if self.newer else deleted,
        )


class Draft:
    """An artefact on its way to the disk: its arrays are written while they come.

    Args:
        aside: an empty folder beside its place.
        folder: its place.
        publish: puts in its place what lies aside, when all is written.
    """

    def __init__(self, aside: Path, folder: Path, publish: Callable[[], None]) -> None:
        self._aside = aside
        self._folder = folder
        self._publish = publish
        self._sheet: files.Sheet | None = None
        self._arrays: Arrays = {}

    def arrays(self, forms: Forms) -> Arrays:
        """Room for arrays, on the disk; it is zero before it is written to. Called again, it begins anew.

        Args:
            forms: shape and type of each, by name.

        Returns:
            Arrays that can be written to until they are kept; only read after that.

        Raises:
            StorageError: there is not as much space, or the disk refuses.
        """
        header, places = _laid_out(forms)
        size = len(header) + sum(math.prod(shape) * dtype.itemsize for shape, dtype, _ in places.values())
        files.demand_space(self._folder.parent, size)
        with files.disk(self._folder.parent):
            if self._sheet:
                (self._aside / ARRAYS).unlink()
            sheet = files.Sheet(self._aside / ARRAYS, size)
        sheet.memory[: len(header)] = header
        self._sheet = sheet
        self._arrays = {
            name: np.ndarray(shape, dtype, sheet.memory, len(header) + start)
            for name, (shape, dtype, start) in places.items()
        }
        return MappingProxyType(self._arrays)

    def relieve(self) -> None:
        """Let the process have back the memory that what was written so far takes; nothing is lost."""
        if self._sheet:
            self._sheet.relieve()

    def keep(self, found: Any, provenance: Mapping[str, str] = MappingProxyType({})) -> None:
        """Store it: hashed, on the disk itself, and in its place.

        Args:
            found: what the arrays are.
            provenance: where they come from, as far as their name does not say it.

        Raises:
            ValueError: it is no record of what was drafted.
            StorageError: the disk refuses; nothing is left behind.
        """
        place = self._folder / MANIFEST
        if KINDS.get(type(found)) != kind_of(place) or found.key.digest != name_of(place):
            raise ValueError(f"{found} is not what was drafted")
        self._finish(found, provenance)
        self._publish()

    def _finish(self, found: Any, provenance: Mapping[str, str]) -> None:
        """Bring the arrays and their manifest to the disk, ready to be put in their place."""
        if self._sheet is None:
            self.arrays({})
        assert self._sheet is not None  # noqa: S101
        for array in self._arrays.values():
            array.flags.writeable = False
        manifest = {
            "record": plain(found),
            "sha256": files.sha256(self._sheet.memory),
            "arrays": {name: _digest_of_array(array) for name, array in self._arrays.items()},
            "bytes": len(self._sheet.memory),
            "provenance": dict(provenance),
            "created_at": now(),
        }
        manifest["seal"] = _seal(self._folder, manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        with files.disk(self._folder.parent):
            self._sheet.settle()
            files.write_synced(self._aside / MANIFEST, text.encode("utf-8", "surrogatepass"))


class Artefacts:
    """Publishes and reads artefacts, and remembers which of them are whole."""

    def __init__(self) -> None:
        self._whole: dict[Path, str | None] = {}

    def publish(self, aside: Path, folder: Path, *, replace: bool) -> None:
        """Put an artefact in its place; one that is there makes way if it is damaged, or if told so.

        Args:
            aside: where it lies, beside its place.
            folder: its place.
            replace: whether it takes the place of one that is whole.

        Raises:
            StorageError: the disk refuses.
        """
        # Where somebody was faster, theirs serves if it is whole.
        if not files.publish(aside, folder) and (replace or not self.is_whole(folder)):
            files.replace(aside, folder)
        self._whole[folder] = files.stamp(folder / MANIFEST)

    def record(self, kind: type[T], folder: Path) -> T:
        """What an artefact says it is.

        Raises:
            NotFoundError: there is none.
            IntegrityError: it is damaged.
            StrangeRecordError: another version of zoo made it.
        """
        return self._steadily(folder, lambda: self._record(kind, folder))

    def arrays(self, folder: Path, names: Collection[str] | None = None) -> Arrays:
        """The arrays of an artefact, or of these names those that there are: only what is read is checked.

        Raises:
            NotFoundError, IntegrityError: as `record`.
        """
        return self._steadily(folder, lambda: self._arrays(folder, names))

    def array_file(self, folder: Path) -> ArrayFile:
        """The file of the arrays of an artefact, which is whole.

        Raises:
            NotFoundError, IntegrityError: as `record`.
        """
        return self._steadily(folder, lambda: self._array_file(folder))

    def load(self, kind: type[T], folder: Path) -> tuple[T, Arrays]:
        """What an artefact says it is, with its arrays, which belong together.

        Raises:
            NotFoundError, IntegrityError: as `record`.
        """
        return self._steadily(folder, lambda: (self._record(kind, folder), self._arrays(folder, None)))

    def is_whole(self, folder: Path) -> bool:
        """Whether an artefact is there, and its bytes are the ones that were stored."""
        try:
            self.array_file(folder)
        except (IntegrityError, NotFoundError):
            return False
        return True

    def forget(self) -> None:
        """Hash everything again when it is next read."""
        self._whole.clear()

    def _steadily(self, folder: Path, read: Callable[[], T]) -> T:
        """What `read` gives, or how it fails, of an artefact that nobody replaces meanwhile."""
        manifest = folder / MANIFEST
        for _ in range(_TRIES):
            before = files.stamp(manifest)
            if before is None and files.mended(folder):
                before = files.stamp(manifest)
            try:
                found = read()
            except (IntegrityError, NotFoundError):
                if files.stamp(manifest) == before:
                    raise
            else:
                if files.stamp(manifest) == before:
                    return found
        raise _damaged(folder, "it was replaced again and again while it was read")

    def _record(self, kind: type[T], folder: Path) -> T:
        said = self._manifest(folder)["record"]
        try:
            return decode(kind, said)
        except IntegrityError as error:
            raise StrangeRecordError(folder, said, error.why) from error

    def _array_file(self, folder: Path) -> ArrayFile:
        manifest = self._manifest(folder)
        self._check(folder, manifest)
        return ArrayFile(folder / ARRAYS, manifest["bytes"], manifest["sha256"])

    def _manifest(self, folder: Path) -> dict[str, Any]:
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
        except ValueError as error:
            raise _damaged(folder, "the manifest is not JSON") from error
        except OSError as error:
            raise _unreadable(folder, error) from error
        if not isinstance(manifest, dict) or manifest.pop("seal", None) != _seal(folder, manifest):
            raise _damaged(folder, "the manifest is not the one that was stored here")
        return manifest

    def _check(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        if self._is_checked(folder):
            return
        stamp, path = files.stamp(folder / MANIFEST), folder / ARRAYS
        try:
            whole = path.stat().st_size == manifest["bytes"] and files.sha256_of(path) == manifest["sha256"]
        except OSError as error:
            raise _unreadable(folder, error) from error
        if not whole:
            raise _damaged(folder, "the bytes of the arrays are not the ones that were stored")
        self._whole[folder] = stamp

    def _is_checked(self, folder: Path) -> bool:
        return folder in self._whole and self._whole[folder] == files.stamp(folder / MANIFEST)

    def _arrays(self, folder: Path, names: Collection[str] | None) -> Arrays:
        manifest = self._manifest(folder)
        digests: Mapping[str, str] = manifest["arrays"]
        wanted = digests if names is None else names
        if names is None:
            self._check(folder, manifest)
        try:
            with safe_open(folder / ARRAYS, framework="numpy") as opened:
                found = {name: opened.get_tensor(name) for name in wanted if name in digests}
        except OSError as error:
            raise _unreadable(folder, error) from error
        except SafetensorError as error:
            raise _damaged(folder, f"the arrays cannot be read ({error})") from error
        if not self._is_checked(folder):
            for name, array in found.items():
                if _digest_of_array(array) != digests[name]:
                    raise _damaged(folder, f"the bytes of {name} are not the ones that were stored")
        return found


def _laid_out(
    forms: Forms,
) -> tuple[bytes, dict[str, tuple[tuple[int, ...], np.dtype[Any], int]]]:
    """Header of a safetensors file, and shape, type and place behind the header of each array."""
    typed = {name: (shape, np.dtype(dtype).newbyteorder("=")) for name, (shape, dtype) in forms.items()}
    places, header, end = {}, {}, 0
    for name, (shape, dtype) in sorted(typed.items(), key=lambda item: (_RANKS[item[1][1]], item[0])):
        start, end = end, end + math.prod(shape) * dtype.itemsize
        places[name] = shape, dtype, start
        header[name] = {"dtype": _TYPES[dtype], "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places


def _digest_of_array(array: NDArray[Any]) -> str:
    return files.sha256(np.ascontiguousarray(array).data)


def _seal(folder: Path, manifest: Mapping[str, Any]) -> str:
    return digest_of([folder.name, manifest])


def _damaged(folder: Path, why: str) -> IntegrityError:
    remedy = _REMEDIES.get(kind_of(folder / MANIFEST), "zoo probe")
    return IntegrityError(f"a stored file is damaged: {folder}.", why=why, fix=f"{remedy} makes it again")


def _is_newer(kind: str, said: Any) -> bool:
    """Whether a record of a kind, as it lies there, says at any depth that a newer zoo made it."""
    if isinstance(said, list):
        return any(_is_newer(kind, part) for part in said)
    if not isinstance(said, dict):
        return False
    ours = {"extractor": EXTRACTOR_VERSION, "version": _VERSIONS.get(kind)}
    newer = (isinstance(said.get(name), int) and said[name] > n for name, n in ours.items() if n)
    return any(newer) or any(_is_newer(kind, part) for part in said.values())


def _unreadable(folder: Path, error: OSError) -> IntegrityError | NotFoundError:
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"there is nothing at {folder}.")
    return IntegrityError(f"cannot read {folder}.", why=refusal(error))
