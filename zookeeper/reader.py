"""Where text meets checkpoints: corpora, targets, and the features of one on the other, each made once."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from zookeeper import hardware, local, worker
from zookeeper.blocks import Block
from zookeeper.errors import CheckpointError, DataError, IntegrityError, NotFoundError, ZooError
from zookeeper.gathering import Gatherer
from zookeeper.layouts import COLUMN_FILES, TABLES
from zookeeper.outcomes import attempts
from zookeeper.probes import PROBES, TARGETS
from zookeeper.records import (
    Checkpoint,
    Corpus,
    Dataset,
    EvidenceKey,
    EvidenceSet,
    FeatureKey,
    FeatureSet,
    Key,
    Labelled,
    Outcome,
    Precision,
    Reading,
    RepoFile,
    SignatureKey,
    SignatureSet,
    Space,
    Target,
    TargetSource,
    digest_of,
)
from zookeeper.reporter import Reporter
from zookeeper.settings import Settings
from zookeeper.signatures import Basis, Signature, Signer, screen
from zookeeper.store import Arrays, Store, claims
from zookeeper.store import files as on_disk
from zookeeper.worker import Cuts, Limits

if TYPE_CHECKING:
    from zookeeper.hub import Hub

R = TypeVar("R")

_CONTENT = "content"  # file that names the content of a folder of converted weights


@dataclass(frozen=True, eq=False)
class Read:
    """Features of a checkpoint on a corpus.

    Attributes:
        features: what they are.
        array: (n, d).
        computed: whether this call made them.
    """

    features: FeatureSet
    array: NDArray[Any]
    computed: bool


@dataclass(frozen=True, eq=False)
class _Pinned:
    """Files of a checkpoint that hold what was pinned, as long as nobody writes to them.

    Attributes:
        folder: they are in.
        stamps: what they were before it was looked what they hold.
    """

    folder: Path
    stamps: Mapping[Path, str | None]

    def check(self) -> None:
        """Refuse what was read of them if it may be something else than what was pinned.

        Raises:
            IntegrityError: one was written to, replaced or removed.
        """
        for path, before in self.stamps.items():
            if on_disk.stamp(path) != before:
                raise IntegrityError(
                    f"{path} changed while it was read.",
                    why="nothing of what was read is kept",
                    fix="run the same command again",
                )

    def watched(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """All blocks that were read of them; after the last they are checked."""
        yield from blocks
        self.check()


class Reader:
    """Reads probes and targets with checkpoints, and keeps what came of it.

    Args:
        settings: of the zoo.
        store: of the zoo.
        hub: gives the Hub; called only when something must be fetched.
        reporter: told what is going on.
    """

    def __init__(self, settings: Settings, store: Store, hub: Callable[[], Hub], reporter: Reporter) -> None:
        self._settings = settings
        self._store = store
        self._hub = hub
        self._reporter = reporter

        self._used: str | None = None
        self._free: SimpleQueue[str] | None = None
        self._limits = Limits(settings.memory, settings.patience)
        self._cuts = Cuts()

    @cached_property
    def device(self) -> str:
        """The torch device that the settings mean."""
        return hardware.best_device(self._settings.device)

    @property
    def used(self) -> str:
        """The torch device that it has read with last; the processor where it did not have to read."""
        return self._used or "cpu"

    def settled(self, reading: Reading, corpus: Corpus, latest: Reading | None = None) -> Reading:
        """A reading with what it leaves open.

        Precision is as asked for, else as the settings say. Else it stays what it was where the same text
        was read in the same way before, as only what was read in one precision can be compared: what it was
        the last time, or ever, if it was always the same. Where neither is known, the device decides.

        Args:
            reading: what is asked for.
            corpus: what is going to be read.
            latest: how it was read the last time, if that is known.
        """
        if reading.dtype == "auto" and self._settings.dtype != "auto":
            reading = replace(reading, dtype=self._settings.dtype)
        if reading.dtype != "auto":
            return reading.settled(corpus.unit)
        able = [reading.settled(corpus.unit, dtype) for dtype in get_args(Precision) if dtype != "auto"]
        if latest in able:
            return latest
        there = {key.space for key in self._read(evidence=reading.layer == "all")}
        before = [one for one in able if Space(corpus.digest, one) in there]
        if len(before) == 1:
            return before[0]
        return reading.settled(corpus.unit, hardware.precision(self.device))

    def _read(self, *, evidence: bool) -> Iterator[FeatureKey]:
        """What was read of which evidence is stored, or else features or signatures."""
        if evidence:
            yield from (one.key.features for one in self._store.all(EvidenceSet))
        else:
            yield from (one.key for one in self._store.all(FeatureSet))
            yield from (one.key.features for one in self._store.all(SignatureSet))

    def over(
        self, actions: Sequence[tuple[str, Callable[[], R]]], devices: Sequence[str] = ()
    ) -> list[R | Outcome]:
        """What comes of reading with several checkpoints, each on a device that is free; see `attempts`.

        Args:
            actions: name of the checkpoint, and what is done with it.
            devices: as torch names them; none for the one that the settings mean.

        Raises:
            UsageError: the settings mean one that is not there.
        """
        before = self._free, self._limits
        devices = devices or (self.device,)
        self._free, self._limits = SimpleQueue(), replace(self._limits, at_once=len(devices))
        for device in devices:
            self._free.put(device)
        try:
            return attempts(actions, at_once=len(devices), stop=worker.stop)
        finally:
            self._free, self._limits = before

    def probe(self, name: str, max_words: int) -> Corpus:
        """The corpus of a named probe, or of a text file.

        Raises:
            NotFoundError, DataError: there is no such probe, or no text in it.
            NetworkError: it cannot be fetched.
        """
        from zookeeper import data

        if name not in PROBES:
            path = Path(name).expanduser()
            if not path.exists():
                raise NotFoundError(
                    f'no probe "{name}".', fix=f"name a text file, or one of: {', '.join(PROBES)}"
                )
            return data.probe_from_file(path, max_words=max_words)
        probe = PROBES[name]
        dataset = self._dataset(probe.dataset, probe.commit)
        files = data.probe_files(dataset, probe)
        folder = self._fetch(dataset, files)
        return data.probe_from_snapshot(folder, files, probe, max_words=max_words)

    def target(
        self, source: TargetSource, splits: Sequence[str], max_examples: int | None
    ) -> tuple[Target, dict[str, Labelled]]:
        """A target with the splits that were asked for; those it lacks are left out, but not the first.

        Raises:
            NotFoundError, DataError: there is no such target, or it cannot be read as one.
            NetworkError: it cannot be fetched.
        """
        from zookeeper import data

        with self._reporter.track(f"loading {source.name}", 1, "targets") as advance:
            if _is_path(source.dataset):
                found = data.target_from_path(source, splits=splits, max_examples=max_examples)
            else:
                dataset = self._dataset(source.dataset, source.revision or "main")
                if data.runs_a_script(dataset):
                    if source.revision:
                        raise DataError(
                            f"{source.name} is a loading script, which nothing runs any more.",
                            why="the Hub keeps a copy of its newest data only",
                            fix=f"leave out @{source.revision}",
                        )
                    dataset = self._dataset(source.dataset, data.PARQUET_BRANCH)
                files = data.split_files_of(dataset, source, splits)
                folder = self._fetch(dataset, tuple(file for found in files.values() for file in found))
                found = data.target_from_snapshot(folder, dataset, source, files, max_examples=max_examples)
            advance(1)
        return found

    def features(self, checkpoint: Checkpoint, corpus: Corpus, reading: Reading, source: str) -> Read:
        """Features of a checkpoint on a corpus: stored ones if they are whole, else computed and stored.

        Args:
            checkpoint: which.
            corpus: of which every word, or sentence, is a row.
            reading: layer, pooling and window.
            source: what the corpus is, for people.

        Raises:
            CheckpointError: it cannot be read, with the reason.
            IntegrityError, AccessError, NetworkError: its files cannot be had as they were pinned.
            StorageError: the features cannot be kept.
        """
        features, arrays, computed = self._features(checkpoint, corpus, reading, source)
        return Read(features, arrays["features"], computed)

    def layers(
        self, checkpoint: Checkpoint, corpus: Corpus, reading: Reading, source: str
    ) -> tuple[NDArray[Any], ...]:
        """Features of every layer, the embeddings first, kept together; see `features`."""
        _, arrays, _ = self._features(checkpoint, corpus, replace(reading, layer="all"), source)
        return tuple(arrays[str(number)] for number in range(len(arrays)))

    def _features(
        self, checkpoint: Checkpoint, corpus: Corpus, reading: Reading, source: str
    ) -> tuple[FeatureSet, Arrays, bool]:
        """The feature set, its arrays, and whether this call made them."""
        reading = self.settled(reading, corpus)
        key = feature_key(checkpoint, corpus.digest, reading)
        stored = self._stored_features(checkpoint, key)
        if stored is not None:
            return *stored, False
        with self._claim(FeatureSet, key, checkpoint):
            stored = self._stored_features(checkpoint, key)  # by whoever had the claim before
            if stored is not None:
                return *stored, False
            return *self._made_features(checkpoint, corpus, key, source), True

    def _stored_features(self, checkpoint: Checkpoint, key: FeatureKey) -> tuple[FeatureSet, Arrays] | None:
        """What is stored, if it is whole; what is damaged is discarded."""
        stored = self._store.find(FeatureSet, key.digest)
        if stored is None:
            return None
        try:
            return stored, self._store.arrays(FeatureSet, key.digest)
        except IntegrityError as error:
            self._reporter.note(f"{checkpoint.name}: {error.message} It is computed again.")
            self._store.discard(FeatureSet, key.digest)
            return None

    def _made_features(
        self, checkpoint: Checkpoint, corpus: Corpus, key: FeatureKey, source: str
    ) -> tuple[FeatureSet, Arrays]:
        """What a checkpoint makes of a corpus, written to the disk while it reads."""
        arrays: Arrays = {}
        n_empty = 0
        with (
            self._store.draft(FeatureSet, key.digest) as draft,
            self._blocks(checkpoint, corpus, key.reading) as (blocks, device),
        ):
            for block in blocks:
                layers = _layers_of(block, key.reading)
                if not arrays:
                    forms = {
                        name: ((corpus.n_rows, states.shape[1]), np.float32)
                        for name, states in layers.items()
                    }
                    arrays = draft.arrays(forms)
                for name, states in layers.items():
                    arrays[name][block.rows] = states
                draft.relieve()
                n_empty += block.n_empty
                del block, layers, states  # before there is another
            features = FeatureSet(
                key=key,
                n_rows=corpus.n_rows,
                dimension=next(iter(arrays.values())).shape[1],
                n_empty=n_empty,
                size=sum(array.nbytes for array in arrays.values()),
                source=source,
            )
            draft.keep(features, {"device": device})
        return features, arrays

    def _claim(
        self, kind: type[FeatureSet | EvidenceSet | SignatureSet], key: Key, checkpoint: Checkpoint
    ) -> AbstractContextManager[None]:
        """Make something that no other process makes meanwhile; see `Store.claim`."""
        return self._store.claim(
            kind, key.digest, lambda who: self._reporter.note(f"{checkpoint.name}: {who}")
        )

    def folder(self, checkpoint: Checkpoint) -> Path:
        """The files of a checkpoint, as they were pinned.

        Raises:
            ZooError: as `features`.
        """
        return self._fetch_checkpoint(checkpoint).folder

    def signature(
        self, checkpoint: Checkpoint, corpus: Corpus, key: SignatureKey, basis: Basis, source: str
    ) -> SignatureSet:
        """Read a corpus with a checkpoint and keep its signature only; features are not held.

        Args:
            checkpoint: which.
            corpus: of which every word is a row.
            key: of the signature.
            basis: of the signatures on this corpus.
            source: what the corpus is, for people.

        Raises:
            ZooError: as `features`.
        """
        with self._claim(SignatureSet, key, checkpoint):
            stored = self._store.find(SignatureSet, key.digest)
            if stored is not None:
                return stored
            signer = Signer(basis)
            dimension = n_empty = 0
            with self._blocks(checkpoint, corpus, key.features.reading) as (blocks, device):
                for block in blocks:
                    (states,) = block.states.values()
                    signer.add(block.rows, states)
                    dimension, n_empty = states.shape[1], n_empty + block.n_empty
                    del block, states  # before there is another
            return self.keep(
                signer.finish(), key, dimension=dimension, n_empty=n_empty, source=source, device=device
            )

    def keep(
        self,
        signature: Signature,
        key: SignatureKey,
        *,
        dimension: int,
        n_empty: int,
        source: str,
        **provenance: str,
    ) -> SignatureSet:
        """Store a signature, and the short form of it that neighbours are found by."""
        arrays: Arrays = {"vector": signature.vector, "screen": screen(signature)}
        size = sum(array.nbytes for array in arrays.values())
        made = SignatureSet(key, dimension, n_empty, signature.residual, size, source)
        self._store.save(made, arrays, provenance)
        return made

    def evidence(self, checkpoint: Checkpoint, data: Labelled, reading: Reading, source: str) -> EvidenceSet:
        """Evidence of a checkpoint on a target: what is stored, if it is whole, else made and stored.

        Args:
            checkpoint: which.
            data: sentences and labels of a split.
            reading: pooling and window; every layer is read.
            source: what the target is, for people.

        Raises:
            ZooError: as `features`.
        """
        reading = self.settled(replace(reading, layer="all"), data.corpus)
        features = feature_key(checkpoint, data.corpus.digest, reading)
        key = EvidenceKey(features, data.labels_digest)
        stored = self._store.find(EvidenceSet, key.digest)
        if stored is not None:
            return stored
        with self._claim(EvidenceSet, key, checkpoint):
            return self._store.find(EvidenceSet, key.digest) or self._gathered(checkpoint, data, key, source)

    def _gathered(self, checkpoint: Checkpoint, data: Labelled, key: EvidenceKey, source: str) -> EvidenceSet:
        """Evidence of a checkpoint, gathered while it reads."""
        with self._blocks(checkpoint, data.corpus, key.features.reading, head=True) as (blocks, device):
            gatherer = Gatherer(data)
            for block in blocks:
                gatherer.add(block.rows, block.states, block.source_probs)
                del block  # before there is another
        arrays = gatherer.arrays()
        found = EvidenceSet(
            key=key,
            layers=gatherer.layers,
            n=gatherer.n,
            sampled=len(arrays["labels"]),
            classes=data.classes,
            dimension=arrays["mean/total"].shape[0],
            head="source_probs" in arrays,
            size=sum(array.nbytes for array in arrays.values()),
            source=source,
        )
        self._store.save(found, arrays, {"device": device})
        return found

    @contextmanager
    def _blocks(
        self, checkpoint: Checkpoint, corpus: Corpus, reading: Reading, *, head: bool = False
    ) -> Iterator[tuple[Iterator[Block], str]]:
        """Blocks of rows, as a checkpoint reads them, and the device it runs on."""
        worker.prepare(self._limits)
        pinned = self._fetch_checkpoint(checkpoint)
        cut = self._cuts.name(checkpoint, pinned.folder, corpus, reading)

        def keep(windows: bytes) -> None:
            pinned.check()
            self._cuts.keep(cut, windows)

        with (
            self._free_device() as device,
            self._reporter.track(
                f"reading with {checkpoint.name}", corpus.n_rows, f"{corpus.unit}s"
            ) as advance,
            closing(
                worker.read(
                    pinned.folder,
                    corpus,
                    reading,
                    head=head,
                    device=device,
                    limits=self._limits,
                    family=checkpoint.model_type,
                    advance=advance,
                    windows=self._cuts.get(cut),
                    made=keep,
                )
            ) as blocks,
        ):
            yield pinned.watched(blocks), device

    @contextmanager
    def _free_device(self) -> Iterator[str]:
        """A device that nothing else of this process reads with meanwhile."""
        free = self._free
        device = self._used = free.get() if free else self.device
        try:
            yield device
        finally:
            if free:
                free.put(device)

    def _fetch_checkpoint(self, checkpoint: Checkpoint) -> _Pinned:
        if checkpoint.problem:
            agreed = f"zoo add --allow-pickle {shlex.quote(checkpoint.revision.repo_id)}"
            fix = agreed if "--allow-pickle" in checkpoint.problem else None
            raise CheckpointError(f"{checkpoint.problem}.", fix=fix)
        size = checkpoint.download_bytes
        local_ = checkpoint.revision.local
        with self._reporter.track(
            f"{'checking' if local_ else 'fetching'} {checkpoint.name}", size, "bytes"
        ) as advance:
            if local_:
                stamps = _stamps(Path(checkpoint.revision.repo_id) / file.path for file in checkpoint.files)
                folder = local.fetch(checkpoint, advance=advance)
            else:
                places = (self._hub().place(checkpoint.revision, file) for file in checkpoint.files)
                stamps = _stamps(path for path in places if path is not None)
                folder = self._hub().fetch(checkpoint.revision, checkpoint.files, advance=advance)
        fetched = _stamps(folder / file.path for file in checkpoint.files)
        pinned = _Pinned(folder, fetched | stamps)
        return self._converted(checkpoint, pinned) if checkpoint.pickled else pinned

    def _converted(self, checkpoint: Checkpoint, pickles: _Pinned) -> _Pinned:
        """The same files with weights that are no pickles, converted in a closed room, and only once."""
        folder = self._store.cache / converted_at(checkpoint)
        lock = self._store.cache / "locks" / f"{folder.parent.name}-{folder.name}.lock"
        converted = _conversion(folder)
        if converted is not None:
            return converted
        with claims.held(lock, lambda who: self._reporter.note(f"{checkpoint.name}: {who}")):
            converted = _conversion(folder)  # by whoever had the lock before
            return converted or self._convert(checkpoint, pickles, folder)

    def _convert(self, checkpoint: Checkpoint, pickles: _Pinned, folder: Path) -> _Pinned:
        """Convert weights, in the place of what is not whole."""
        with on_disk.made_aside(folder) as aside:
            with self._reporter.track(f"converting {checkpoint.name}", 1, "checkpoints") as advance:
                worker.convert(pickles.folder, aside, self._limits)
                advance(1)
            pickles.check()
            with on_disk.disk(aside):
                (aside / _CONTENT).write_text(local.describe(aside).revision.commit)
            if not on_disk.publish(aside, folder):
                # Locks do not work everywhere: somebody else may have been faster.
                converted = _conversion(folder)
                if converted is not None:
                    return converted
                on_disk.replace(aside, folder)
        return _Pinned(folder, _stamps(folder.iterdir()))

    def _fetch(self, dataset: Dataset, files: tuple[RepoFile, ...]) -> Path:
        size = sum(file.size for file in files)
        with self._reporter.track(f"fetching {dataset.revision.repo_id}", size, "bytes") as advance:
            return self._hub().fetch(dataset.revision, files, kind="dataset", advance=advance)

    def _dataset(self, name: str, revision: str) -> Dataset:
        """A dataset at the commit that its name meant when this zoo first met it."""
        known = self._store.load_note(_pin(name, revision), Dataset)
        if known is None:
            known = self._hub().dataset(name, revision)
            self._store.save_note(_pin(name, revision), known)
        return known

    def pin(self, dataset: Dataset) -> None:
        """Have the name of a dataset mean what is known of it here, so that the Hub is not asked."""
        revision = dataset.revision
        for name in (revision.asked, revision.commit):
            self._store.save_note(_pin(revision.repo_id, name), dataset)


def _pin(name: str, revision: str) -> str:
    """Under which note it is stored what the name of a dataset meant."""
    return f"dataset-{digest_of([name, revision])[:16]}"


def _stamps(paths: Iterable[Path]) -> dict[Path, str | None]:
    """What changes when one of these files is written to or replaced."""
    return {path: on_disk.stamp(path) for path in paths}


def _conversion(folder: Path) -> _Pinned | None:
    """Converted weights, if they are whole."""
    with suppress(ZooError, OSError):
        stamps = _stamps(folder.iterdir())
        if local.describe(folder).revision.commit == (folder / _CONTENT).read_text():
            return _Pinned(folder, stamps)
    return None


def converted_at(checkpoint: Checkpoint) -> Path:
    """Where in the cache the weights of a checkpoint are that were pickles: by their content."""
    return Path("converted", digest_of([[file.path, file.digest] for file in checkpoint.files]))


def feature_key(checkpoint: Checkpoint, corpus: str, reading: Reading) -> FeatureKey:
    """The name of a checkpoint's features on the corpus with that digest."""
    return FeatureKey(checkpoint.revision.repo_id, checkpoint.revision.commit, corpus, reading)


def _layers_of(block: Block, reading: Reading) -> Arrays:
    """The states of a block that are kept, under the names that they are kept under."""
    if reading.layer == "all":
        return {name: states for name, states in block.states.items() if name != "mean"}
    (features,) = block.states.values()
    return {"features": features}


def target_source(target: TargetSource | str) -> TargetSource:
    """Where a target is, from what a user types: a name, ``org/name[@revision]``, a file or a folder."""
    if isinstance(target, TargetSource):
        return target
    if target in TARGETS:
        return TARGETS[target]
    if _is_path(target):
        return TargetSource(name=target, dataset=target)
    name, _, revision = target.partition("@")
    return TargetSource(name=target, dataset=name, revision=revision or None)


def _is_path(text: str) -> bool:
    path = Path(text).expanduser()
    return path.exists() or path.suffix in COLUMN_FILES | TABLES.keys() or text.startswith((".", "/", "~"))
