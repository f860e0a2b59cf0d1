"""Where text meets checkpoints: features, signatures and evidence of one on the other, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from queue import SimpleQueue
from typing import Any, TypeVar

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
from zookeeper.worker import Cuts, Limits

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint is read.

    Attributes:
        device: torch device, with which nothing else of this process reads meanwhile.
        limits: of what may be taken there.
    """

    device: str
    limits: Limits


@dataclass(frozen=True, eq=False)
class ReadFeatures:
    """Features of a checkpoint on a corpus.

    Attributes:
        features: what they are.
        arrays: (n, d) each; of all layers by their numbers.
        computed: whether this call made them.
    """

    features: FeatureSet
    arrays: Arrays
    computed: bool

    @property
    def array(self) -> NDArray[Any]:
        """(n, d) of the one layer."""
        return self.arrays["features"]


class Reader:
    """Reads texts with checkpoints, and keeps what came of it.

    Args:
        settings: of the zoo.
        store: of the zoo.
        fetcher: has checkpoints at hand.
        settling: decides what readings leave open.
        reporter: told what is going on.

    Attributes:
        limits: of a checkpoint that has the machine to itself.
    """

    def __init__(
        self, settings: Settings, store: Store, fetcher: Fetcher, settling: Settling, reporter: Reporter
    ) -> None:
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._settling = settling
        self._reporter = reporter
        self._used: str | None = None
        self._cuts = Cuts()
        self.limits = Limits(settings.memory, settings.patience)

    @cached_property
    def device(self) -> str:
        """The torch device that the settings mean."""
        return hardware.best_device(self._settings.device)

    @property
    def used(self) -> str:
        """The torch device that it has read with last; the processor where it did not have to read."""
        return self._used or "cpu"

    def over(
        self, actions: Sequence[tuple[str, Callable[[Place], R]]], devices: Sequence[str] = ()
    ) -> list[R | Outcome]:
        """What comes of reading with several checkpoints, each where it is free; see `attempts`.

        Args:
            actions: name of the checkpoint, and what is done with it at a place that nothing else has.
            devices: as torch names them; none for the one that the settings mean.

        Raises:
            UsageError: the settings mean one that is not there.
        """
        devices = devices or (self.device,)
        limits = replace(self.limits, at_once=len(devices))
        free: SimpleQueue[Place] = SimpleQueue()
        for device in devices:
            free.put(Place(device, limits))

        def somewhere(action: Callable[[Place], R]) -> R:
            place = free.get()
            try:
                return action(place)
            finally:
                free.put(place)

        placed = [(name, partial(somewhere, action)) for name, action in actions]
        return attempts(placed, at_once=len(devices), stop=worker.stop)

    def features(
        self,
        checkpoint: Checkpoint,
        corpus: Corpus,
        reading: Reading,
        source: str,
        place: Place | None = None,
    ) -> ReadFeatures:
        """Features of a checkpoint on a corpus: stored ones if they are whole, else computed and stored.

        Args:
            checkpoint: which.
            corpus: of which every word, or sentence, is a row.
            reading: layer, pooling and window; of a layer ``"all"`` every one is kept.
            source: what the corpus is, for people.
            place: where it is read, as `over` gives it; by default on the device that the settings mean.

        Raises:
            CheckpointError: it cannot be read, with the reason.
            IntegrityError, AccessError, NetworkError: its files cannot be had as they were pinned.
            StorageError: the features cannot be kept.
        """
        reading = self._settling.settled(reading, corpus)
        key = feature_key(checkpoint, corpus.digest, reading)
        stored = self._stored_features(checkpoint, key)
        if stored is not None:
            return stored
        with self._claim(FeatureSet, key, checkpoint):
            stored = self._stored_features(checkpoint, key)  # by whoever had the claim before
            return stored or self._made_features(checkpoint, corpus, key, source, place)

    def layers(
        self, checkpoint: Checkpoint, corpus: Corpus, reading: Reading, source: str
    ) -> tuple[NDArray[Any], ...]:
        """Features of every layer, the embeddings first, kept together; see `features`."""
        arrays = self.features(checkpoint, corpus, replace(reading, layer="all"), source).arrays
        return tuple(arrays[str(number)] for number in range(len(arrays)))

    def _stored_features(self, checkpoint: Checkpoint, key: FeatureKey) -> ReadFeatures | None:
        """What is stored, if it is whole; what is damaged is discarded."""
        stored = self._store.find(FeatureSet, key.digest)
        if stored is None:
            return None
        try:
            return ReadFeatures(stored, self._store.arrays(FeatureSet, key.digest), computed=False)
        except IntegrityError as error:
            self._reporter.note(f"{checkpoint.name}: {error.message} It is computed again.")
            self._store.discard(FeatureSet, key.digest)
            return None

    def _made_features(
        self, checkpoint: Checkpoint, corpus: Corpus, key: FeatureKey, source: str, place: Place | None
    ) -> ReadFeatures:
        """What a checkpoint makes of a corpus, written to the disk while it reads."""
        arrays: Arrays = {}
        n_empty = 0
        with self._store.draft(FeatureSet, key.digest) as draft:
            with self._blocks(checkpoint, corpus, key.reading, place) as (blocks, device):
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
        return ReadFeatures(features, arrays, computed=True)

    def _claim(
        self, kind: type[FeatureSet | EvidenceSet | SignatureSet], key: Key, checkpoint: Checkpoint
    ) -> AbstractContextManager[None]:
        """Make something that no other process makes meanwhile; see `Store.claim`."""
        return self._store.claim(
            kind, key.digest, lambda who: self._reporter.note(f"{checkpoint.name}: {who}")
        )

    def signature(
        self,
        checkpoint: Checkpoint,
        corpus: Corpus,
        key: SignatureKey,
        basis: Basis,
        source: str,
        place: Place | None = None,
    ) -> SignatureSet:
        """Read a corpus with a checkpoint and keep its signature only; features are not held.

        Args:
            checkpoint: which.
            corpus: of which every word is a row.
            key: of the signature.
            basis: of the signatures on this corpus.
            source: what the corpus is, for people.
            place: as in `features`.

        Raises:
            ZooError: as `features`.
        """
        with self._claim(SignatureSet, key, checkpoint):
            stored = self._store.find(SignatureSet, key.digest)
            if stored is not None:
                return stored
            signer = Signer(basis)
            dimension = n_empty = 0
            with self._blocks(checkpoint, corpus, key.features.reading, place) as (blocks, device):
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

    def evidence(
        self,
        checkpoint: Checkpoint,
        data: Labelled,
        reading: Reading,
        source: str,
        place: Place | None = None,
    ) -> EvidenceSet:
        """Evidence of a checkpoint on a target: what is stored, if it is whole, else made and stored.

        Args:
            checkpoint: which.
            data: sentences and labels of a split.
            reading: pooling and window; every layer is read.
            source: what the target is, for people.
            place: as in `features`.

        Raises:
            ZooError: as `features`.
        """
        reading = self._settling.settled(replace(reading, layer="all"), data.corpus)
        features = feature_key(checkpoint, data.corpus.digest, reading)
        key = EvidenceKey(features, data.labels_digest)
        stored = self._store.find(EvidenceSet, key.digest)
        if stored is not None:
            return stored
        with self._claim(EvidenceSet, key, checkpoint):
            stored = self._store.find(EvidenceSet, key.digest)  # by whoever had the claim before
            return stored or self._gathered(checkpoint, data, key, source, place)

    def _gathered(
        self, checkpoint: Checkpoint, data: Labelled, key: EvidenceKey, source: str, place: Place | None
    ) -> EvidenceSet:
        """Evidence of a checkpoint, gathered while it reads."""
        reading = key.features.reading
        with self._blocks(checkpoint, data.corpus, reading, place, head=True) as (blocks, device):
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
        self,
        checkpoint: Checkpoint,
        corpus: Corpus,
        reading: Reading,
        place: Place | None,
        *,
        head: bool = False,
    ) -> Iterator[tuple[Iterator[Block], str]]:
        """Blocks of rows, as a checkpoint reads them, and the device it runs on.

        Raises:
            IntegrityError: when all were given: its files changed meanwhile, and so none of them counts.
        """
        place = place or Place(self.device, self.limits)
        worker.prepare(place.limits)
        pinned = self._fetcher.fetch(checkpoint, place.limits)
        cut = self._cuts.name(checkpoint, pinned.folder, corpus, reading)

        def keep(windows: bytes) -> None:
            pinned.check()
            self._cuts.keep(cut, windows)

        self._used = place.device
        with (
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
                    device=place.device,
                    limits=place.limits,
                    family=checkpoint.model_type,
                    advance=advance,
                    windows=self._cuts.get(cut),
                    made=keep,
                )
            ) as blocks,
        ):
            yield blocks, place.device


def feature_key(checkpoint: Checkpoint, corpus: str, reading: Reading) -> FeatureKey:
    """The name of a checkpoint's features on the corpus with that digest."""
    return FeatureKey(checkpoint.revision.repo_id, checkpoint.revision.commit, corpus, reading)


def _layers_of(block: Block, reading: Reading) -> Arrays:
    """The states of a block that are kept, under the names that they are kept under."""
    if reading.layer == "all":
        return {name: states for name, states in block.states.items() if name != "mean"}
    (features,) = block.states.values()
    return {"features": features}
