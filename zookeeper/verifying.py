"""Whether what checkpoints are made of, and what they gave, is still what was recorded."""

from __future__ import annotations

import random
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zookeeper import local
from zookeeper.digests import digest_like, size_of
from zookeeper.errors import DataError, EmptyZooError
from zookeeper.fetcher import Fetcher
from zookeeper.outcomes import attempt
from zookeeper.plain import refusal
from zookeeper.probing import Probing
from zookeeper.reader import Reader
from zookeeper.records import Checkpoint, FeatureSet, Outcome, RepoFile
from zookeeper.reporter import Reporter
from zookeeper.results import Verification
from zookeeper.settings import Settings
from zookeeper.settling import Settling
from zookeeper.store import Store

if TYPE_CHECKING:
    from zookeeper.hub import Hub

_SHARE = 100
# What another machine or version may make of the same numbers.
_ROUNDING = {"float32": 1e-3, "bfloat16": 5e-2}


@dataclass(frozen=True, slots=True)
class Verifying:
    """Compares with what is recorded what `Store.verify` does not look at.

    Attributes:
        settings: of the zoo.
        store: that keeps measurements.
        probing: the features.
        fetcher: has checkpoints at hand.
        settling: decides what readings leave open.
        hub: gives the Hub, of which the cache is read; called only where something of it is pinned.
        reporter: told what is going on.
    """

    settings: Settings
    store: Store
    probing: Probing
    fetcher: Fetcher
    settling: Settling
    hub: Callable[[], Hub]
    reporter: Reporter

    def verify(self, stored: Verification) -> Verification:
        """What was found of all that is stored, and what is found of checkpoints beside it.

        Args:
            stored: what `Store.verify` found.
        """
        there = {one: self._there(one) for one in self.store.checkpoints()}
        damaged = dict(stored.damaged)
        damaged |= {
            one.revision.repo_id: f"it is no longer there; put it back, or {_forget(one)}"
            for one in there
            if _is_gone(one)
        }
        found = [(one, path, file) for one, files in there.items() for path, file in files]
        total = sum(file.size for *_, file in found)
        with self.reporter.track("hashing files of checkpoints", total, "bytes") as advance:
            for checkpoint, path, file in found:
                if why := _fault(path, file):
                    damaged[str(path)] = f"{why}; {_remedy(checkpoint)}"
                advance(file.size)
        whole = [
            one
            for one, files in there.items()
            if len(files) == len(one.files) and not any(str(path) in damaged for path, _ in files)
        ]
        read_again, strange = self._read_again(whole, damaged)
        return Verification(stored.checked + len(found), damaged | strange, read_again)

    def _there(self, checkpoint: Checkpoint) -> list[tuple[Path, RepoFile]]:
        """Those of its files that are on this machine; of a folder all, as none may be missing."""
        revision = checkpoint.revision
        if _is_gone(checkpoint):
            return []
        if revision.local:
            return [(Path(revision.repo_id) / file.path, file) for file in checkpoint.files]
        places = ((self.hub().place(revision, file), file) for file in checkpoint.files)
        return [(path, file) for path, file in places if path is not None]

    # Features

    def _read_again(
        self, checkpoints: Sequence[Checkpoint], damaged: Mapping[str, str]
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Differences of some features from those that are computed now, and features that are others."""
        differences: dict[str, float] = {}
        strange: dict[str, str] = {}
        for checkpoint, stored in self._sample(checkpoints, damaged):
            found = attempt(checkpoint.name, partial(self._difference, checkpoint, stored))
            if isinstance(found, Outcome):
                self.reporter.note(f"{found.name} was not read again: {found.error}")
                continue
            differences[checkpoint.name] = found
            if not found <= _ROUNDING[stored.key.reading.settled("word").dtype]:
                strange[f"features of {checkpoint.name}"] = f"read again, they differ by {found:.1g}"
        return differences, strange

    def _sample(
        self, checkpoints: Sequence[Checkpoint], damaged: Mapping[str, str]
    ) -> Iterator[tuple[Checkpoint, FeatureSet]]:
        """One in a hundred of the features of the last probe that can be computed again, and one at least."""
        try:
            choice = self.probing.latest()
        except EmptyZooError:
            return
        stored = {one.checkpoint: one for one in self.probing.features_on(choice)}
        lost = {Path(path).name for path in damaged}
        able = [
            (one, stored[str(one.revision)])
            for one in checkpoints
            if str(one.revision) in stored and stored[str(one.revision)].key.digest not in lost
        ]
        yield from random.sample(able, min(len(able), -(-len(able) // _SHARE)))

    def _difference(self, checkpoint: Checkpoint, stored: FeatureSet) -> float:
        """Largest difference, as a share of the largest number; nothing of it is kept.

        Raises:
            ZooError: the features cannot be computed now.
        """
        latest = self.probing.latest()
        choice, corpus = self.probing.choice(latest.name, latest.max_words, latest.reading)
        if choice.corpus != stored.key.corpus:
            raise DataError(f"{latest.name} is another text by now.")
        before = self.probing.loader(stored.key)()
        with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
            aside = Store(Path(folder), Path(folder))
            reader = Reader(self.settings, aside, self.fetcher, self.settling, self.reporter)
            again = reader.features(checkpoint, corpus, stored.key.reading, choice.name).array
            largest = float(np.abs(before).max()) or 1.0
            return float(np.abs(np.subtract(before, again, dtype=np.float64)).max()) / largest


def _is_gone(checkpoint: Checkpoint) -> bool:
    """Whether it is a folder that is not there."""
    return checkpoint.revision.local and not Path(checkpoint.revision.repo_id).is_dir()


def _forget(checkpoint: Checkpoint) -> str:
    return f"zoo rm {shlex.quote(checkpoint.revision.repo_id)}"


def _remedy(checkpoint: Checkpoint) -> str:
    if checkpoint.revision.local:
        return local.remedy(Path(checkpoint.revision.repo_id))
    return "remove it, and zoo probe fetches it again"


def _fault(path: Path, file: RepoFile) -> str | None:
    """Why a file is not what was pinned; None where it is."""
    try:
        if size_of(path) != file.size:
            return "it has not the size that was pinned"
        return None if digest_like(file.digest, path) == file.digest else "its bytes are not the pinned ones"
    except OSError as error:
        return refusal(error)
