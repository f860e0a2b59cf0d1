"""In which precision texts are read, where nobody says: as the same text was read before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import get_args

from zookeeper import hardware
from zookeeper.records import (
    Corpus,
    EvidenceSet,
    FeatureKey,
    FeatureSet,
    Precision,
    Reading,
    SignatureSet,
    Space,
)
from zookeeper.settings import Settings
from zookeeper.store import Store

_PRECISIONS = [dtype for dtype in get_args(Precision) if dtype != "auto"]


class Settling:
    """Decides what readings leave open.

    Args:
        settings: of the zoo.
        store: knows what was read before.
        device: gives the torch device that is read with; called only when it decides.
    """

    def __init__(self, settings: Settings, store: Store, device: Callable[[], str]) -> None:
        self._settings = settings
        self._store = store
        self._device = device
        self._listed: dict[bool, tuple[str | None, set[Space]]] = {}  # with the index that it was true of

    def settled(self, reading: Reading, corpus: Corpus, latest: Reading | None = None) -> Reading:
        """A reading with what it leaves open.

        Precision is as asked for, else as the settings say. Else it stays what it was where the same text
        was read in the same way before, as only what was read in one precision can be compared: what it was
        the last time, or ever, if it was always the same. Where neither is known, the device decides.

        Args:
            reading: what is asked for.
            corpus: what is going to be read.
            latest: how it was read the last time, if that is known.

        Raises:
            UsageError: the device decides, and there is none.
        """
        if reading.dtype == "auto" and self._settings.dtype != "auto":
            reading = replace(reading, dtype=self._settings.dtype)
        if reading.dtype != "auto":
            return reading.settled(corpus.unit)
        able = [reading.settled(corpus.unit, dtype) for dtype in _PRECISIONS]
        if latest in able:
            return latest
        there = self._there(evidence=reading.layer == "all")
        before = [one for one in able if Space(corpus.digest, one) in there]
        if len(before) == 1:
            return before[0]
        return reading.settled(corpus.unit, hardware.precision(self._device()))

    def _there(self, *, evidence: bool) -> set[Space]:
        """What was read, in which way; listed again once this zoo has stored or discarded anything."""
        now = self._store.stamp
        then, there = self._listed.get(evidence, (None, set()))
        if now is None or now != then:
            there = {key.space for key in self._read(evidence=evidence)}
            self._listed[evidence] = now, there
        return there

    def _read(self, *, evidence: bool) -> Iterator[FeatureKey]:
        """What was read of which evidence is stored, or else features or signatures."""
        if evidence:
            yield from (one.key.features for one in self._store.all(EvidenceSet))
        else:
            yield from (one.key for one in self._store.all(FeatureSet))
            yield from (one.key.features for one in self._store.all(SignatureSet))
