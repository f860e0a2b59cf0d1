"""Measurements that pass from zoo to zoo through a dataset repository, so that no model is run twice.

What is pulled was written by strangers. It is taken over only where it is what it says, see `claims`; what
lies where is in `shelf`. Nothing but JSON and arrays is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from zookeeper.digests import size_of
from zookeeper.errors import (
    CheckpointError,
    DataError,
    EmptyZooError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    UsageError,
)
from zookeeper.outcomes import attempt
from zookeeper.plain import encode, now
from zookeeper.probes import PROBES
from zookeeper.probing import Probing
from zookeeper.publications import Publication
from zookeeper.records import (
    BasisKey,
    BasisSet,
    Checkpoint,
    Dataset,
    FeatureSet,
    Outcome,
    ProbeChoice,
    RepoFile,
    Revision,
    SignatureSet,
)
from zookeeper.reporter import Reporter
from zookeeper.sharing.claims import (
    FORMAT,
    Bases,
    Features,
    Ground,
    Kind,
    Measured,
    Signatures,
    Spec,
    on_hub,
    probe_name,
)
from zookeeper.sharing.shelf import BASIS, GROUND, Measurement, Shelf
from zookeeper.signing import Signing
from zookeeper.store import Store

if TYPE_CHECKING:
    from zookeeper.hub import Hub

__all__ = ["Measured", "Sharing"]

_OTHER: dict[Measured, Measured] = {"signatures": "features", "features": "signatures"}


class Sharing:
    """Publishes what a zoo measured, and takes over what others did.

    Args:
        store: that keeps measurements.
        probing: the features.
        signing: the signatures.
        hub: gives the Hub; called only when something is asked of it.
        reporter: told what is going on.
    """

    def __init__(
        self, store: Store, probing: Probing, signing: Signing, hub: Callable[[], Hub], reporter: Reporter
    ) -> None:
        self._store = store
        self._probing = probing
        self._signing = signing
        self._hub = hub
        self._reporter = reporter

    # Push

    def publication(
        self, what: Measured, choice: ProbeChoice, checkpoints: Sequence[Checkpoint], *, repo_id: str
    ) -> Publication:
        """What is to be added to a repository of measurements; what is there already stays as it is.

        Folders of this machine are left out, which is said, and so is the path of a probe.

        Args:
            what: is to be shared; signatures are made of features where there are none.
            choice: the probe.
            checkpoints: of which.
            repo_id: ``owner/name`` of a dataset, which may not exist yet.

        Raises:
            EmptyZooError: there is nothing that can be shared.
            UsageError: the repository holds measurements that these cannot be compared with.
            NetworkError, AccessError: the Hub cannot be asked what it holds.
        """
        from zookeeper import cards

        shelf = self._shelf(repo_id)
        ground = shelf.ground() or _ground(choice)
        if ground.space != choice.space:
            raise UsageError(
                f"{repo_id} holds measurements on another probe.",
                why=f"they are on {ground.probe}, these on {choice}",
                fix="push to another repository",
            )
        measured = self._measured(what, choice, checkpoints)
        files: dict[str, bytes | Path] = {}
        if GROUND not in shelf.files:
            files[GROUND] = encode(ground)
        if what == "signatures" and not self._on_its_basis(shelf, ground.probe):
            files |= self._files(BASIS, self._basis(choice), ground)
        for revision, record in measured.items():
            if not shelf.holds(_stem(what, revision)):
                files |= self._files(_stem(what, revision), record, ground)
        there = {file.path: file.size for file in shelf.files.values()}
        sizes = there | {path: size_of(content) for path, content in files.items()}
        return Publication(
            "dataset",
            subject=f"{len(measured)} {what} on {ground.probe}, measured by zookeeper",
            card=cards.measurements_card(
                repo_id=repo_id,
                kind=what,
                choice=ground.probe,
                revisions=sorted({*measured, *shelf.members(what)}, key=str),
                size=sum(size for path, size in sizes.items() if path.startswith(f"{what}/")),
            ),
            files=files,
            account=f"Made by `zoo push {what} {repo_id}`, to be taken over by `zoo pull {what} {repo_id}`.",
        )

    def _shelf(self, repo_id: str) -> Shelf:
        """The repository as it is now; an empty one where there is none."""
        hub = self._hub()
        try:
            return Shelf(hub, hub.repository(repo_id, kind="dataset"))
        except NotFoundError:
            return Shelf(hub, Dataset(Revision(repo_id, "main", "0" * 40), ()))

    def _measured(
        self, what: Measured, choice: ProbeChoice, checkpoints: Sequence[Checkpoint]
    ) -> dict[Revision, FeatureSet | SignatureSet]:
        """What can be shared of checkpoints; says what cannot."""
        shared = [checkpoint for checkpoint in checkpoints if on_hub(checkpoint.revision)]
        for checkpoint in checkpoints:
            if checkpoint not in shared:
                self._reporter.note(f"{checkpoint.name} is left out: it is a folder of this machine")
        if not shared:
            raise EmptyZooError("no checkpoint of this zoo is on the Hub.", fix="zoo add org/repo; zoo probe")
        found: Mapping[Checkpoint, FeatureSet | SignatureSet | None]
        if what == "signatures":
            found, left_out = self._signing.signed(shared, choice)
        else:
            keys, left_out = self._probing.readable(shared, choice)
            found = {one: self._store.find(FeatureSet, key.digest) for one, key in keys.items()}
        for outcome in left_out:
            self._reporter.note(f"{outcome.name} is left out: {outcome.error}")
        return {_pinned(one.revision): record for one, record in found.items() if record is not None}

    def _basis(self, choice: ProbeChoice) -> BasisSet:
        return self._store.load(BasisSet, BasisKey(choice.space).digest)[0]

    def _on_its_basis(self, shelf: Shelf, probe: ProbeChoice) -> bool:
        """Whether there is a basis that signatures of this zoo are on too.

        Raises:
            UsageError: there is another one.
        """
        if not shelf.holds(BASIS):
            return False
        basis, vectors = _shared_basis(shelf, probe)
        if not self._signing.agrees(basis, vectors, probe):
            raise UsageError(
                f"{shelf.name} holds signatures on another basis.",
                why="signatures on two bases cannot be compared",
                fix=f"zoo pull signatures {shelf.name}, which takes its basis over; or another repository",
            )
        return True

    def _files(
        self, stem: str, record: FeatureSet | SignatureSet | BasisSet, ground: Ground
    ) -> dict[str, bytes | Path]:
        """Arrays as they are stored, and what is said of them."""
        arrays = self._store.array_file(type(record), record.key.digest)
        path = f"{stem}.safetensors"
        spec = Spec(
            replace(record, source=ground.probe.name), RepoFile(path, arrays.size, f"sha256:{arrays.sha256}")
        )
        return {f"{stem}.json": encode(spec), path: arrays.path}

    # Pull

    def pull(
        self, what: Measured, name: str, revision: str = "main", *, dry_run: bool = False
    ) -> tuple[Outcome, ...]:
        """Take over what a repository holds; what is there already is not fetched again.

        Checkpoints that the zoo does not have are added, as the Hub describes them; no model is fetched. The
        probe becomes the one that was read last where none was read yet.

        Args:
            what: is to be taken over.
            name: ``owner/name`` of a dataset.
            revision: of it.
            dry_run: whether to only say what would be fetched.

        Returns:
            What became of each checkpoint that the repository names. Measurements that are not what they
            say are refused, and so are those of checkpoints that the Hub does not have.

        Raises:
            DataError: the repository holds nothing of the kind, or another zoo wrote it.
            IntegrityError: its probe, or its basis, is not what it says.
            UsageError: signatures of this zoo are on another basis.
            NotFoundError, AccessError, NetworkError: the repository cannot be had; what was taken over
                before is kept.
        """
        hub = self._hub()
        shelf = Shelf(hub, hub.repository(name, revision, kind="dataset"))
        ground, members = shelf.ground(), shelf.members(what)
        if ground is None or not members:
            raise DataError(
                f"{name} holds no {what} of a zoo.",
                why=None if ground else f"it has no {GROUND}",
                fix=f"zoo pull {_OTHER[what]} {name}, if it has those",
            )
        kind = self._kind(what, shelf, ground.probe, dry_run=dry_run)
        held = {str(checkpoint.revision) for checkpoint in self._store.checkpoints()}
        missing = {one: size for one, size in members.items() if not self._known(kind, one)}
        outcomes = []
        with self._reporter.track(f"pulling {what}", sum(missing.values()), "bytes") as advance:
            for one in members:
                if one not in missing and str(one) in held:
                    found = _outcome(one, "already there")
                elif dry_run:
                    found = _outcome(one, "would be pulled", bytes=missing.get(one, 0))
                else:
                    fetch = partial(shelf.measurement, _stem(what, one), kind, one, advance)
                    needed = fetch if one in missing else None
                    take = partial(self._take, one, shelf, str(one) in held, needed)
                    # Where the Hub is gone, it is gone for all of them.
                    found = attempt(one.name, take, fatal=(NetworkError,))
                outcomes.append(found)
        if not dry_run and not all(outcome.failed for outcome in outcomes):
            self._remember(ground.probe)
        return tuple(outcomes)

    def _kind(self, what: Measured, shelf: Shelf, probe: ProbeChoice, *, dry_run: bool) -> Kind:
        """What measurements of a repository are; signatures of this zoo are on its basis from now on."""
        if what == "features":
            return Features(probe)
        basis, vectors = _shared_basis(shelf, probe)
        self._signing.adopt(basis, vectors, probe, dry_run=dry_run)
        return Signatures(probe, basis)

    def _known(self, kind: Kind, revision: Revision) -> bool:
        """Whether the zoo has what is of a checkpoint, undamaged."""
        try:
            self._store.arrays(kind.kind, kind.key(revision).digest)
        except (NotFoundError, IntegrityError):
            return False
        return True

    def _take(
        self, revision: Revision, shelf: Shelf, held: bool, fetch: Callable[[], Measurement] | None
    ) -> Outcome:
        """Take over a checkpoint with what was measured of it; nothing is stored before all was looked at.

        Args:
            revision: of the checkpoint.
            shelf: where it is.
            held: whether the zoo has the checkpoint.
            fetch: gives the measurement; None where the zoo has it.
        """
        # That the Hub refuses to tell of one checkpoint says nothing of the others.
        checkpoint = None if held else attempt(revision.name, partial(self._described, revision))
        if isinstance(checkpoint, Outcome):
            return checkpoint
        measurement = fetch() if fetch else None
        if checkpoint is not None:
            self._store.add(checkpoint)
        if measurement is None:
            return _outcome(revision, "already there")
        record = measurement.record
        self._store.save(record, measurement.arrays, {"pulled from": str(shelf.revision)})
        return _outcome(revision, "pulled", bytes=measurement.size, key=record.key.digest)

    def _described(self, revision: Revision) -> Checkpoint:
        """A checkpoint that is to be added, as the Hub has it.

        Raises:
            CheckpointError: it has another name there now.
            NotFoundError, AccessError, NetworkError: it cannot be had.
        """
        found = self._hub().checkpoint(revision.repo_id, revision.commit)
        if str(found.revision) != str(revision):
            raise CheckpointError(
                f"it is {found.revision} on the Hub.", why=f"what was measured was {revision}"
            )
        return replace(found, added_at=now())

    def _remember(self, probe: ProbeChoice) -> None:
        """Make a probe the one that was read last, if none was."""
        try:
            latest = self._probing.latest()
        except EmptyZooError:
            self._probing.remember(probe)
            return
        if latest.space != probe.space:
            self._reporter.note(
                f"these were measured on {probe}, and the probe that was read last is {latest}; "
                f"to compare them: zoo covariance -p {probe.name} --max-words {probe.max_words}"
            )


def _pinned(revision: Revision) -> Revision:
    """The same, whatever it was asked as."""
    return replace(revision, asked=revision.commit)


def _stem(what: Measured, revision: Revision) -> str:
    """Under which name what was measured of a checkpoint lies."""
    return f"{what}/{revision.repo_id}/{revision.commit}"


def _ground(choice: ProbeChoice) -> Ground:
    """What is to be shared of a probe: how it was read, and no path of this machine."""
    name = probe_name(choice.name, known=choice.name in PROBES)
    return Ground(FORMAT, replace(choice, name=name), choice.space)


def _shared_basis(shelf: Shelf, probe: ProbeChoice) -> tuple[BasisSet, NDArray[Any]]:
    """The basis of a repository's signatures, and its vectors.

    Raises:
        IntegrityError: they are not what they say.
    """
    found = shelf.measurement(BASIS, Bases(probe), shelf.revision)
    return found.record, found.arrays["vectors"]


def _outcome(revision: Revision, status: str, **details: Any) -> Outcome:
    return Outcome(revision.name, status, revision, details=details)
