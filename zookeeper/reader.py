"""Where text meets checkpoints: features, signatures and evidence of one on the other, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zookeeper import hardware, worker
from zookeeper.blocks import Block
from zookeeper.errors import IntegrityError
from zookeeper.fetcher import Fetcher
from zookeeper.gathering import Gatherer
from zookeeper.outcomes import attempts
from zookeeper.records import (
    Checkpoint,
    Corpus,
    EvidenceKey,
    EvidenceSet,
    FeatureKey,
    FeatureSet,
    Key,
    Labelled,
    Outcome,
    Reading,
    SignatureKey,
    SignatureSet,
)
from zookeeper.reporter import Reporter
from zookeeper.settings import Settings
from zookeeper.settling import Settling
from zookeeper.signatures import Basis, Signature, Signer, screen
from zookeeper.store import Arrays, Store
from zookeeper.texts import Texts
from zookeeper.worker import Cuts, Limits

if TYPE_CHECKING:
    from zookeeper.hub import Hub

R = TypeVar("R")


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


class Reader:
    """Reads texts with checkpoints, and keeps what came of it.

    Args:
        settings: of the zoo.
        store: of the zoo.
        hub: gives the Hub; called only when something must be fetched.
        reporter: told what is going on.

    Attributes:
        texts: finds what is read.
        fetcher: has what reads at hand.
        settling: decides what readings leave open.
    """

    def __init__(self, settings: Settings, store: Store, hub: Callable[[], Hub], reporter: Reporter) -> None:
        self._settings = settings
        self._store = store
        self._reporter = reporter

        self._used: str | None = None
        self._free: SimpleQueue[str] | None = None
        self._limits = Limits(settings.memory, settings.patience)
        self._cuts = Cuts()

        self.texts = Texts(store, hub, reporter)
        self.fetcher = Fetcher(store, hub, reporter, self._limits)
        self.settling = Settling(settings, store, lambda: self.device)

    @cached_property
    def device(self) -> str:
        """The torch device that the settings mean."""
        return hardware.best_device(self._settings.device)

    @property
    def used(self) -> str:
        """The torch device that it has read with last; the processor where it did not have to read."""
        return self._used or "cpu"

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
        reading = self.settling.settled(reading, corpus)
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
        with self._store.draft(FeatureSet, key.digest) as draft:
            with self._blocks(checkpoint, corpus, key.reading) as (blocks, device):
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
        reading = self.settling.settled(replace(reading, layer="all"), data.corpus)
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
        """Blocks of rows, as a checkpoint reads them, and the device it runs on.

        Raises:
            IntegrityError: when all were given: its files changed meanwhile, and so none of them counts.
        """
        worker.prepare(self._limits)
        pinned = self.fetcher.fetch(checkpoint, at_once=self._limits.at_once)
        cut = self._cuts.name(checkpoint, pinned.folder, corpus, reading)

        def keep(windows: bytes) -> None:
            pinned.check()
            self._cuts.keep(cut, windows)

        with (
            self._free_device() as device,
            pinned.opened() as folder,
            self._reporter.track(
                f"reading with {checkpoint.name}", corpus.n_rows, f"{corpus.unit}s"
            ) as advance,
            closing(
                worker.read(
                    folder,
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
            yield blocks, device

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


def feature_key(checkpoint: Checkpoint, corpus: str, reading: Reading) -> FeatureKey:
    """The name of a checkpoint's features on the corpus with that digest."""
    return FeatureKey(checkpoint.revision.repo_id, checkpoint.revision.commit, corpus, reading)


def _layers_of(block: Block, reading: Reading) -> Arrays:
    """The states of a block that are kept, under the names that they are kept under."""
    if reading.layer == "all":
        return {name: states for name, states in block.states.items() if name != "mean"}
    (features,) = block.states.values()
    return {"features": features}
