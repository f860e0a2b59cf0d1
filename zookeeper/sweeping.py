"""What a zoo can let go of: what nothing asks for any more, and what can be made or fetched again.

Each kind of it is found by a function of its own, which says why it can be spared, what of it there is, and
how it is deleted; `Sweeping` decides by age. What the zoo, a run, a ranking or a selection names stays, and
so does what is younger than an hour and named by nobody: somebody may be about to name it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zookeeper import reproducing
from zookeeper.probing import Probing
from zookeeper.records import (
    ALIGNMENT_VERSION,
    EVIDENCE_VERSION,
    EXTRACTOR_VERSION,
    SIGNATURE_VERSION,
    AlignmentSet,
    BasisSet,
    Checkpoint,
    Dataset,
    EvidenceSet,
    FeatureKey,
    FeatureSet,
    JackknifeSet,
    Measurement,
    SignatureSet,
    Space,
    by_checkpoint,
)
from zookeeper.reporter import Reporter
from zookeeper.results import Ranking, Selection, Waste
from zookeeper.settings import Settings
from zookeeper.signing import Signing
from zookeeper.store import KINDS, Measured, Store
from zookeeper.store.files import disk, held, is_held, retire
from zookeeper.store.leftovers import size_of, written_at

if TYPE_CHECKING:
    from zookeeper.hub import Hub

YOUNG = 3600.0
"""Seconds for which nothing is deleted only because nothing refers to it."""

FORGOTTEN = 7 * 24 * YOUNG
"""Seconds for which what cannot be understood is left alone: a newer zoo may share the home."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be deleted.

    Attributes:
        what: it is, as `Heap.delete` takes it.
        size: bytes on disk.
        at: when it was last written, in seconds since 1970.
    """

    what: Any
    size: int
    at: float

    @classmethod
    def of(cls, what: Any, path: Path) -> Item:
        """Something that is a file or folder."""
        return cls(what, size_of(path), written_at(path))


@dataclass(frozen=True, slots=True)
class Heap:
    """Things that can be deleted for one reason.

    Attributes:
        what: kind of thing.
        why: it can be spared.
        items: all there are.
        delete: deletes some of them.
        young: seconds for which they are left alone.
    """

    what: str
    why: str
    items: Sequence[Item]
    delete: Callable[[Sequence[Item]], None]
    young: float = YOUNG


@dataclass(frozen=True, eq=False)
class Sweeping:
    """Finds what can be deleted, and deletes it.

    Attributes:
        settings: of the zoo.
        store: that keeps measurements.
        probing: the features.
        signing: the signatures.
        hub: gives the Hub; called only when its cache is looked at.
        reporter: told what is going on.
    """

    settings: Settings
    store: Store
    probing: Probing
    signing: Signing
    hub: Callable[[], Hub]
    reporter: Reporter

    def sweep(
        self, *, features: bool = False, hub: bool = False, older_than: float = 0.0, delete: bool = False
    ) -> tuple[Waste, ...]:
        """What can be deleted, kind by kind.

        Args:
            features: whether the features of the probe that was read last are among it; see `Zoo.waste`.
            hub: whether what was fetched from the Hub is.
            older_than: seconds; what is younger stays.
            delete: whether to delete it.

        Raises:
            EmptyZooError: features are among it, and no probe was read.
            StorageError: the disk refuses; what was deleted before is gone.
        """
        finders = [*_ALWAYS, *([_signed] if features else []), *([_fetched] if hub else [])]
        now, found = time.time(), []
        for heap in [heap for find in finders for heap in find(self)]:
            ripe = [item for item in heap.items if now - item.at >= max(heap.young, older_than)]
            if delete and ripe:
                heap.delete(ripe)
            if heap.items:
                size = sum(item.size for item in ripe)
                found.append(Waste(heap.what, heap.why, len(ripe), size, len(heap.items) - len(ripe)))
        return tuple(found)

    # What the finders below look at, each read once. Measurements come before the checkpoints that name them:
    # what is measured in between is then in neither.

    @cached_property
    def measured(self) -> tuple[Measurement, ...]:
        """All that was measured of checkpoints."""
        kinds: tuple[type[Any], ...] = (FeatureSet, EvidenceSet, SignatureSet)
        return tuple(one for kind in kinds for one in self.store.all(kind))

    @cached_property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Those of the zoo."""
        _ = self.measured
        return self.store.checkpoints()

    @cached_property
    def kept(self) -> frozenset[str]:
        """Checkpoints that the zoo, a run, a ranking or a selection names, as `Revision` writes them."""
        named = [checkpoint.revision for checkpoint in self.checkpoints]
        named += [member.revision for run in self.store.runs() for member in run.members]
        named += [s.revision for note in self.store.load_notes("ranking", Ranking) for s in note.scores]
        picks = [pick for note in self.store.load_notes("selection", Selection) for pick in note.picks]
        named += [pick.revision for pick in picks if pick.revision]
        return frozenset(map(str, named))

    @cached_property
    def folders(self) -> dict[tuple[str, str], Path]:
        """Where artefacts are, by kind and digest."""
        return {(folder.parts[-4], folder.name): folder for folder in self.store.artefacts()}

    def digests(self, space: Space) -> set[str]:
        """What the features of all that is named go by, whether they are there or not."""
        pins = [name.rpartition("@")[::2] for name in self.kept]
        fields = space.corpus, space.reading, space.prefix_space, space.extractor
        return {FeatureKey(repo_id, commit, *fields).digest for repo_id, commit in pins}

    def heap(self, what: type[Measured], why: str, found: Iterable[Any], *, young: float = YOUNG) -> Heap:
        """Of artefacts of one kind."""
        items = [self._artefact(one) for one in found]
        return Heap(KINDS[what], why, items, self._discard, young)

    def _artefact(self, one: Any) -> Item:
        folder = self.folders.get((KINDS[type(one)], one.key.digest))
        return Item.of(one, folder) if folder else Item(one, 0, time.time())

    def _discard(self, items: Sequence[Item]) -> None:
        for item in items:
            self.store.discard(type(item.what), item.what.key.digest)

    def discard_strange(self, items: Sequence[Item]) -> None:
        """Delete folders of what this version does not understand."""
        for item in items:
            self.store.discard_strange(item.what)

    def discard_signed(self, items: Sequence[Item]) -> None:
        """Delete features, each after it has a signature; those that get none stay."""
        signed = self.signing.sign([item.what for item in items], self.probing.latest())
        self._discard([item for item in items if item.what in signed])

    def sweep_leftovers(self, items: Sequence[Item]) -> None:
        """Delete leftovers; what somebody began to hold in the meantime stays."""
        self.store.sweep(time.time() - max(item.at for item in items))

    def discard_fetched(self, items: Sequence[Item]) -> None:
        """Delete commits from the Hub's cache."""
        self.hub().free([item.what for item in items])


# What there is to find. A finder yields a heap for each kind of thing that it looks for.


def _unnamed(of: Sweeping) -> Iterator[Heap]:
    """Measurements of checkpoints that nothing names."""
    for kind in (FeatureSet, EvidenceSet, SignatureSet):
        doomed = [one for one in of.measured if isinstance(one, kind) and one.checkpoint not in of.kept]
        yield of.heap(kind, "of checkpoints that are not in the zoo", doomed)
    pinned = {str(checkpoint.revision) for checkpoint in of.checkpoints}
    if named := sum(one.checkpoint in of.kept - pinned for one in of.measured):
        which = "1 measurement stays" if named == 1 else f"{named:,} measurements stay"
        of.reporter.note(f"{which} of checkpoints that a run, a ranking or a selection names")


def _of_earlier_versions(of: Sweeping) -> Iterator[Heap]:
    """Measurements that this version of zoo does not find any more, as it would make others."""
    versions: dict[type[Any], Callable[[Any], bool]] = {
        FeatureSet: lambda one: _read_now(one.key),
        EvidenceSet: lambda one: _read_now(one.key.features) and one.key.version >= EVIDENCE_VERSION,
        SignatureSet: lambda one: _read_now(one.key.features) and one.key.version >= SIGNATURE_VERSION,
    }
    for kind, current in versions.items():
        named = [one for one in of.measured if isinstance(one, kind) and one.checkpoint in of.kept]
        doomed = [one for one in named if not current(one)]
        yield of.heap(kind, "made by an earlier version of zoo", doomed, young=0)


def _read_now(key: FeatureKey) -> bool:
    return key.extractor >= EXTRACTOR_VERSION


def _strange(of: Sweeping) -> Iterator[Heap]:
    """What an earlier version stored in a form that this one does not understand."""
    items = [Item.of(folder, folder) for folder in of.store.strange()]
    why = "in the form of an earlier version of zoo, for a week and more"
    yield Heap("measurements", why, items, of.discard_strange, FORGOTTEN)


def _outdated(of: Sweeping) -> Iterator[Heap]:
    """Signatures that no other can be compared with."""
    doomed = [
        one
        for one in of.signing.outdated()
        if one.checkpoint in of.kept and one.key.version == SIGNATURE_VERSION
    ]
    yield of.heap(SignatureSet, "on a basis that was fitted anew", doomed, young=0)


def _compared(of: Sweeping) -> Iterator[Heap]:
    """Comparisons of features of none that is named; the features need not be there, they may be signed."""
    kinds: dict[type[Any], Sequence[AlignmentSet | JackknifeSet]] = {
        AlignmentSet: of.store.all(AlignmentSet),
        JackknifeSet: of.store.all(JackknifeSet),
    }
    for kind, found in kinds.items():
        doomed = [
            one
            for one in found
            if one.key.version < ALIGNMENT_VERSION
            or (one.key.version == ALIGNMENT_VERSION and of.digests(one.key.space).isdisjoint(one.features))
        ]
        yield of.heap(kind, "of features that nothing names", doomed)


def _bare(of: Sweeping) -> Iterator[Heap]:
    """Bases on which there is no signature, and no features to make one of."""
    used = {one.key.basis for one in of.measured if isinstance(one, SignatureSet)}
    spaces = {one.key.space for one in of.measured if isinstance(one, FeatureSet)}
    doomed = [one for one in of.store.all(BasisSet) if one.fit not in used and one.key.space not in spaces]
    yield of.heap(BasisSet, "no signature is on them", doomed)


def _left_behind(of: Sweeping) -> Iterator[Heap]:
    """What interrupted commands left, and nothing reads."""
    found: dict[str, list[Item]] = {}
    for one in of.store.leftovers(0):
        found.setdefault(one.reason, []).append(Item(one, one.size, written_at(one.path)))
    for why, items in found.items():
        yield Heap("leftovers", why, items, of.sweep_leftovers, young=of.store.settled_after)


def _converted(of: Sweeping) -> Iterator[Heap]:
    """Weights that were pickles, of checkpoints that are gone; they can be converted again."""
    named = {of.store.converted(checkpoint) for checkpoint in of.checkpoints if checkpoint.pickled}
    doomed = [path for path in of.store.conversions() if path not in named]
    yield _paths("converted weights", "of checkpoints that are not in the zoo", doomed)


def _reproduced(of: Sweeping) -> Iterator[Heap]:
    """Runs that were made again, as far as that came, and nobody is at it; a finished one leaves none."""
    there = sorted(reproducing.folder_in(of.settings.home).glob("*"))
    doomed = [path for path in there if not is_held(path)]
    yield _paths("reproductions", "interrupted; zoo reproduce begins them again", doomed)


def _signed(of: Sweeping) -> Iterator[Heap]:
    """Features of the last probe, for which signatures can stand."""
    features = [f for f in of.probing.features_on(of.probing.latest()) if f.checkpoint in of.kept]
    heap = of.heap(FeatureSet, "signatures stand for them", features)
    yield Heap(heap.what, heap.why, heap.items, of.discard_signed, young=0)


def _fetched(of: Sweeping) -> Iterator[Heap]:
    """Files in the Hub's cache that were read, or that no pin names; of repositories that the zoo knows."""
    read, pinned = by_checkpoint(of.measured), {str(c.revision) for c in of.checkpoints}
    known = {("model", name.rpartition("@")[0]) for name in of.kept}
    datasets = [dataset.revision for dataset in of.store.load_notes("dataset", Dataset)]
    known |= {("dataset", revision.repo_id) for revision in datasets}
    named = of.kept | set(map(str, datasets))
    cached = [one for one in of.hub().cached() if (one.kind, one.repo_id) in known]
    there = {f"{one.repo_id}@{one.commit}": one for one in cached}
    unnamed = [one for name, one in there.items() if name not in named]
    spent = [one for name, one in there.items() if name in pinned and name in read]
    if of.settings.offline and spent:
        of.reporter.note("offline: what was fetched of the zoo's checkpoints stays")
        spent = []
    for why, doomed in (("no pin names them", unnamed), ("read already; can be fetched again", spent)):
        items = [Item(one, one.size, one.used_at) for one in doomed]
        yield Heap("fetched commits", why, items, of.discard_fetched)


_ALWAYS: tuple[Callable[[Sweeping], Iterator[Heap]], ...] = (
    _unnamed,
    _of_earlier_versions,
    _strange,
    _outdated,
    _compared,
    _bare,
    _converted,
    _reproduced,
    _left_behind,
)


def _paths(what: str, why: str, paths: Sequence[Path]) -> Heap:
    """Of files and folders."""
    return Heap(what, why, [Item.of(path, path) for path in paths], _delete)


def _delete(items: Sequence[Item]) -> None:
    for item in items:
        with disk(item.what.parent):
            if not item.what.is_dir() or item.what.is_symlink():
                item.what.unlink(missing_ok=True)
                continue
            with suppress(BlockingIOError, FileNotFoundError), held(item.what):
                retire(item.what)
