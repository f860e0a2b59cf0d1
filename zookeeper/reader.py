"""Where text meets checkpoints: corpora, targets, and the features of one on the other, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from zookeeper import local
from zookeeper.blocks import Block
from zookeeper.errors import CheckpointError, DataError, IntegrityError, NotFoundError
from zookeeper.gathering import Gatherer
from zookeeper.layouts import COLUMN_FILES, TABLES
from zookeeper.probes import PROBES, TARGETS
from zookeeper.records import (
    Checkpoint,
    Corpus,
    Dataset,
    EvidenceKey,
    EvidenceSet,
    FeatureKey,
    FeatureSet,
    Labelled,
    Reading,
    RepoFile,
    SignatureKey,
    SignatureSet,
    Target,
    TargetSource,
    digest_of,
)
from zookeeper.reporter import Reporter
from zookeeper.settings import Settings
from zookeeper.signatures import Basis, Signature, Signer, screen
from zookeeper.store import Arrays, Store

if TYPE_CHECKING:
    from zookeeper.hub import Hub


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

    @cached_property
    def device(self) -> str:
        """The torch device that the settings mean."""
        from zookeeper.extract import resolve_device

        return resolve_device(self._settings.device)

    @property
    def used(self) -> str:
        """The torch device that it has read with; the processor where it did not have to."""
        return str(self.__dict__.get("device", "cpu"))

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
        reading = reading.settled(corpus.unit)
        key = feature_key(checkpoint, corpus.digest, reading)
        stored = self._store.find(FeatureSet, key.digest)
        if stored is not None:
            try:
                return stored, self._store.arrays(FeatureSet, key.digest), False
            except IntegrityError as error:
                self._reporter.note(f"{checkpoint.name}: {error.message} It is computed again.")
                self._store.discard(FeatureSet, key.digest)
        folder = self._fetch_checkpoint(checkpoint)

        from zookeeper import extract

        with self._reading(checkpoint, corpus) as advance:
            made = extract.extract(folder, corpus, reading, device=self.device, advance=advance)
        if reading.layer == "all":
            arrays = {name: layer for name, layer in made.layers.items() if name != "mean"}
        else:
            arrays = {"features": made.features}
        features = FeatureSet(
            key=key,
            n_rows=corpus.n_rows,
            dimension=next(iter(arrays.values())).shape[1],
            n_empty=made.n_empty,
            size=sum(array.nbytes for array in arrays.values()),
            source=source,
        )
        self._store.save(features, arrays, {"device": self.device})
        return features, arrays, True

    def folder(self, checkpoint: Checkpoint) -> Path:
        """The files of a checkpoint, as they were pinned.

        Raises:
            ZooError: as `features`.
        """
        return self._fetch_checkpoint(checkpoint)

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
        signer = Signer(basis)
        dimension = n_empty = 0
        with self._blocks(checkpoint, corpus, key.features.reading) as (blocks, device):
            for block in blocks:
                (states,) = block.states.values()
                signer.add(block.rows, states)
                dimension, n_empty = states.shape[1], n_empty + block.n_empty
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
        reading = replace(reading, layer="all").settled(data.corpus.unit)
        features = feature_key(checkpoint, data.corpus.digest, reading)
        key = EvidenceKey(features, data.labels_digest)
        stored = self._store.find(EvidenceSet, key.digest)
        if stored is not None:
            return stored
        with self._blocks(checkpoint, data.corpus, reading, head=True) as (blocks, device):
            gatherer = Gatherer(data)
            for block in blocks:
                gatherer.add(block.rows, block.states, block.source_probs)
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
        folder = self._fetch_checkpoint(checkpoint)

        from zookeeper import extract

        with self._reading(checkpoint, corpus) as advance:
            blocks = extract.read(folder, corpus, reading, head=head, device=self.device, advance=advance)
            yield blocks, self.device

    def _reading(
        self, checkpoint: Checkpoint, corpus: Corpus
    ) -> AbstractContextManager[Callable[[int], None]]:
        return self._reporter.track(f"reading with {checkpoint.name}", corpus.n_rows, f"{corpus.unit}s")

    def _fetch_checkpoint(self, checkpoint: Checkpoint) -> Path:
        if checkpoint.problem:
            raise CheckpointError(f"{checkpoint.problem}.")
        size = checkpoint.download_bytes
        local_ = checkpoint.revision.local
        with self._reporter.track(
            f"{'checking' if local_ else 'fetching'} {checkpoint.name}", size, "bytes"
        ) as advance:
            if local_:
                return local.fetch(checkpoint, advance=advance)
            return self._hub().fetch(checkpoint.revision, checkpoint.files, advance=advance)

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


def feature_key(checkpoint: Checkpoint, corpus: str, reading: Reading) -> FeatureKey:
    """The name of a checkpoint's features on the corpus with that digest."""
    return FeatureKey(checkpoint.revision.repo_id, checkpoint.revision.commit, corpus, reading)


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
