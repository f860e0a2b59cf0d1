"""What somebody else's measurement claims to be, and whether it can be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from zookeeper import kernels, signatures
from zookeeper.errors import IntegrityError
from zookeeper.records import (
    EXTRACTOR_VERSION,
    BasisKey,
    BasisSet,
    FeatureKey,
    FeatureSet,
    Key,
    ProbeChoice,
    RepoFile,
    Revision,
    SignatureKey,
    SignatureSet,
    Space,
)
from zookeeper.store import Arrays

Measured = Literal["signatures", "features"]
Forms = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type and shape of arrays by name, as the header of a safetensors file says them."""

FORMAT = 1
"""Of what is shared; raised when an older zoo could not read it."""

_BYTES = {"F16": 2, "F32": 4}
_HEADER = 4096  # bytes that the names and shapes of arrays take at most
_SCREEN = 1024
_MOST_VECTORS = 4096
_WIDEST = 1 << 20
_ROUNDING = 1e-2  # more than half precision leaves of a length
_REPO_ID = re.compile(r"(?!.*(?:\.\.|--))(?:\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)
_PROBE_NAME = re.compile(r"(?:\./)?\w[\w.-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Ground:
    """What all measurements of a repository have in common.

    Attributes:
        format: of what is shared.
        probe: that checkpoints were read with.
        space: what their features have in common.
    """

    format: int
    probe: ProbeChoice
    space: Space


@dataclass(frozen=True, slots=True)
class Spec:
    """What is said of a file of arrays.

    Attributes:
        record: what they are.
        arrays: the file.
    """

    record: FeatureSet | SignatureSet | BasisSet
    arrays: RepoFile


@dataclass(frozen=True, slots=True)
class Features:
    """Features on a probe, of whatever checkpoint."""

    probe: ProbeChoice
    kind: ClassVar[type[FeatureSet]] = FeatureSet

    def key(self, revision: Revision) -> FeatureKey:
        """By which the zoo knows those of a checkpoint."""
        return FeatureKey(revision.repo_id, revision.commit, self.probe.corpus, self.probe.reading)

    def forms(self, record: FeatureSet) -> Forms:
        """Arrays that they must have.

        Raises:
            IntegrityError: there are no such features on the probe.
        """
        demand(record.n_rows == self.probe.n_rows, "they have other rows than the probe")
        demand(0 <= record.n_empty <= record.n_rows, "they have more empty rows than rows")
        return {"features": ("F32", (record.n_rows, record.dimension))}

    def check(self, record: FeatureSet, arrays: Arrays) -> None:
        """Refuse numbers that no checkpoint gives.

        Raises:
            DegenerateInputError: they are not finite, or the same in every row.
        """
        kernels.centred(arrays["features"])


@dataclass(frozen=True, slots=True)
class Signatures:
    """Signatures on a basis, of whatever checkpoint."""

    probe: ProbeChoice
    basis: BasisSet
    kind: ClassVar[type[SignatureSet]] = SignatureSet

    def key(self, revision: Revision) -> SignatureKey:
        """By which the zoo knows that of a checkpoint."""
        return SignatureKey(Features(self.probe).key(revision), self.basis.fit)

    def forms(self, record: SignatureSet) -> Forms:
        """Arrays that it must have.

        Raises:
            IntegrityError: there is no such signature on the basis.
        """
        demand(0 <= record.n_empty <= self.probe.n_rows, "it has more empty rows than the probe has rows")
        demand(0 < record.dimension <= _WIDEST, "no features are that wide")
        demand(0 <= record.residual <= 1, "its residual is no length")
        return {"vector": ("F16", (self._inside + self.basis.t**2,)), "screen": ("F32", (_SCREEN,))}

    def check(self, record: SignatureSet, arrays: Arrays) -> None:
        """Refuse numbers that no checkpoint gives.

        Raises:
            IntegrityError: they are not finite, of no unit length, or do not belong together.
        """
        vector = arrays["vector"].astype(np.float64)
        demand(bool(np.isfinite(vector).all()), "it holds values that are not finite")
        inside = float(np.sum(vector[: self._inside] ** 2))
        demand(abs(float(np.linalg.norm(vector)) - 1) < _ROUNDING, "it is not of unit length")
        demand(abs(inside + record.residual**2 - 1) < _ROUNDING, "its residual is not what it leaves out")
        made = signatures.screen(signatures.Signature(arrays["vector"], record.residual, self.basis.t))
        demand(np.allclose(arrays["screen"], made, rtol=0, atol=1e-5), "its short form is of something else")

    @property
    def _inside(self) -> int:
        """How many of its numbers are inside the basis."""
        return self.basis.q * (self.basis.q + 1) // 2


@dataclass(frozen=True, slots=True)
class Bases:
    """Bases of signatures on a probe."""

    probe: ProbeChoice
    kind: ClassVar[type[BasisSet]] = BasisSet

    def key(self, revision: Revision) -> BasisKey:
        """By which the zoo knows it: there is one on a probe, whoever fitted it."""
        return BasisKey(self.probe.space)

    def forms(self, record: BasisSet) -> Forms:
        """Arrays that it must have.

        Raises:
            IntegrityError: there is no such basis on the probe.
        """
        demand(0 < record.q < min(self.probe.n_rows, _MOST_VECTORS), "it has too many vectors, or none")
        demand(0 < record.t <= _MOST_VECTORS, "its sketch has no such width")
        demand(0 <= record.seed < 2**63, "its sketch has no such seed")
        demand(all(map(_DIGEST.fullmatch, record.anchors)), "it was fitted to no features")
        return {"vectors": ("F32", (self.probe.n_rows, record.q))}

    def check(self, record: BasisSet, arrays: Arrays) -> None:
        """Refuse vectors that are no basis.

        Raises:
            IntegrityError: they are not orthonormal, or not orthogonal to 1.
        """
        vectors = arrays["vectors"]
        demand(bool((np.abs(vectors) <= 1 + _ROUNDING).all()), "its vectors are not of unit length")
        products = vectors.T @ vectors
        demand(np.allclose(products, np.eye(record.q), atol=_ROUNDING), "its vectors are not orthonormal")
        demand(np.allclose(vectors.sum(axis=0), 0, atol=_ROUNDING), "its vectors are not centred")


class Kind(Protocol):
    """A kind of measurement: `Features`, `Signatures` or `Bases`."""

    @property
    def kind(self) -> type[FeatureSet] | type[SignatureSet] | type[BasisSet]:
        """Of record."""

    @property
    def probe(self) -> ProbeChoice:
        """That they are on."""

    def key(self, revision: Revision) -> Key:
        """By which the zoo knows what is of a checkpoint."""

    def forms(self, record: Any) -> Forms:
        """Arrays that a record implies, where there can be such a record."""

    def check(self, record: Any, arrays: Arrays) -> None:
        """Refuse arrays that cannot be."""


def claimed(kind: Kind, revision: Revision, spec: Spec, listed: RepoFile) -> Forms:
    """Arrays that a file must have to be what its spec says, on a look at names and sizes only.

    Args:
        kind: of measurement that is expected.
        revision: of the checkpoint that is expected.
        spec: what is said of the file.
        listed: the file, as the Hub lists it.

    Raises:
        IntegrityError: it cannot be what is expected.
    """
    record = spec.record
    demand(isinstance(record, kind.kind), "it is something else")
    demand(record.key == kind.key(revision), "it is of another checkpoint, probe or basis, or version of zoo")
    demand(record.source == kind.probe.name, "it names another probe")
    forms = kind.forms(record)
    demand(all(min(shape) > 0 for _, shape in forms.values()), "it has no numbers")
    size = sum(_BYTES[dtype] * math.prod(shape) for dtype, shape in forms.values())
    demand(getattr(record, "size", size) == size, "it has another size than it says")
    demand((spec.arrays.path, spec.arrays.size) == (listed.path, listed.size), "its arrays are not these")
    demand(size < listed.size <= size + _HEADER, "its arrays are larger, or smaller, than it says")
    return forms


def check_ground(ground: Ground) -> None:
    """Refuse a probe that cannot be one.

    Raises:
        IntegrityError: it cannot.
    """
    probe = ground.probe
    demand(bool(_PROBE_NAME.fullmatch(probe.name)), "the probe has a name that no zoo writes")
    demand(bool(_DIGEST.fullmatch(probe.corpus)), "the text of the probe has no digest")
    demand(bool(probe.lengths) and min(probe.lengths) > 0, "the probe has sentences without words")
    demand(probe.max_words > 0, "the probe has no words")
    open_ = "auto" in (probe.reading.pooling, probe.reading.dtype)
    demand(probe.reading.layer != "all" and not open_, "it is not said how it was read")
    demand((probe.reading.max_length or 1) > 0, "windows of the probe have no words")
    demand(
        ground.space == probe.space,
        f"the probe was read by another version of zoo (this one reads as version {EXTRACTOR_VERSION})",
    )


def on_hub(revision: Revision) -> bool:
    """Whether a checkpoint is one of the Hub, by its name."""
    return not revision.local and is_repo_id(revision.repo_id)


def is_repo_id(text: str) -> bool:
    """Whether a repository of the Hub may be called so."""
    return bool(_REPO_ID.fullmatch(text))


def probe_name(name: str, *, known: bool) -> str:
    """What a probe is called in what is shared: no path of this machine, and nothing but letters.

    Args:
        name: of the probe, or path of a text file.
        known: whether it is a named probe.
    """
    if known:
        return name
    plain = re.sub(r"[^\w.-]+", "-", re.split(r"[/\\]", name.rstrip("/\\"))[-1]).strip(".-")
    return f"./{plain[:100] or 'probe'}"


def demand(holds: bool, otherwise: str) -> None:
    """Raise an error where a claim does not hold.

    Raises:
        IntegrityError: it does not.
    """
    if not holds:
        raise IntegrityError("what was shared is not what it says.", why=otherwise)
