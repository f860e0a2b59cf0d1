"""Features of checkpoints on a probe: which there are, which can be used, and why the others cannot."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from typing import Any, TypeVar

from numpy.typing import NDArray

from zookeeper import kernels
from zookeeper.errors import CheckpointError, EmptyZooError, IntegrityError
from zookeeper.outcomes import attempt
from zookeeper.reader import feature_key
from zookeeper.records import (
    Checkpoint,
    Corpus,
    FeatureKey,
    FeatureSet,
    Outcome,
    ProbeChoice,
    Reading,
    SignatureSet,
    by_checkpoint,
)
from zookeeper.reporter import Reporter
from zookeeper.settling import Settling
from zookeeper.store import Store
from zookeeper.texts import Texts

R = TypeVar("R")

_PROBED = "probed"


class Probing:
    """What a zoo has of a probe.

    Args:
        store: that keeps features.
        texts: finds probes.
        settling: decides what readings leave open.
        reporter: told what is going on.
    """

    def __init__(self, store: Store, texts: Texts, settling: Settling, reporter: Reporter) -> None:
        self._store = store
        self._texts = texts
        self._settling = settling
        self._reporter = reporter

    def choice(self, name: str, max_words: int, reading: Reading | None) -> tuple[ProbeChoice, Corpus]:
        """A probe, how it is to be read, and its text.

        Raises:
            DataError, NotFoundError, NetworkError: the probe cannot be had.
        """
        corpus = self._texts.probe(name, max_words)
        lengths = tuple(map(len, corpus.sentences))
        settled = self._settling.settled(reading or Reading(), corpus, self._latest_on(corpus))
        return ProbeChoice(name, max_words, corpus.digest, lengths, settled), corpus

    def _latest_on(self, corpus: Corpus) -> Reading | None:
        """How a text was read, if it was the last that was."""
        with suppress(EmptyZooError):
            latest = self.latest()
            return latest.reading if latest.corpus == corpus.digest else None
        return None

    def latest(self) -> ProbeChoice:
        """The probe that was read last.

        Raises:
            EmptyZooError: none was, or it is not known which.
        """
        try:
            choice = self._store.load_note(_PROBED, ProbeChoice)
        except IntegrityError as error:
            why = f"{error.message} An older zoo may have written it."
            raise EmptyZooError(
                "it is not known which probe was read last.", why=why, fix="zoo probe"
            ) from error
        if choice is None:
            raise EmptyZooError("no checkpoint was probed yet.", fix="zoo probe")
        return choice

    def remember(self, choice: ProbeChoice) -> None:
        """Make a probe the one that was read last."""
        self._store.save_note(_PROBED, choice)

    def features_on(self, choice: ProbeChoice) -> tuple[FeatureSet, ...]:
        """All features on a probe."""
        return tuple(found for found in self._store.all(FeatureSet) if found.key.space == choice.space)

    def loader(self, key: FeatureKey) -> Callable[[], NDArray[Any]]:
        """Reads features, when it is called.

        Raises:
            NotFoundError, IntegrityError: they are gone, or damaged; when it is called.
        """
        return lambda: self._store.arrays(FeatureSet, key.digest)["features"]

    def check(self, key: FeatureKey) -> None:
        """Refuse features that are damaged, not finite, or the same in every row.

        Raises:
            NotFoundError, IntegrityError, DegenerateInputError: which of it.
        """
        kernels.centred(self.loader(key)())

    def readable(
        self,
        checkpoints: Sequence[Checkpoint],
        choice: ProbeChoice,
        *,
        known: Callable[[str], bool] = lambda _: False,
        needed: bool = True,
    ) -> tuple[dict[Checkpoint, FeatureKey], list[Outcome]]:
        """Those whose features can be compared, and what is wrong with the others.

        Args:
            checkpoints: which.
            choice: the probe.
            known: whether the features of that digest were looked at before.
            needed: whether those must be there still.
        """
        unread = self.unread(choice)

        def check(checkpoint: Checkpoint) -> FeatureKey:
            key = key_of(checkpoint, choice)
            is_known = known(key.digest)
            if (needed or not is_known) and self._store.find(FeatureSet, key.digest) is None:
                raise unread(checkpoint)
            if not is_known:
                self.check(key)
            return key

        return self.over(checkpoints, "checking", check)

    def unread(self, choice: ProbeChoice) -> Callable[[Checkpoint], CheckpointError]:
        """What to say of a checkpoint that has no features on a probe."""

        @cache
        def stored() -> dict[str, tuple[FeatureSet, ...]]:
            return by_checkpoint(self._store.all(FeatureSet))

        @cache
        def signed() -> set[str]:
            return {found.key.features.digest for found in self._store.all(SignatureSet)}

        def unread(checkpoint: Checkpoint) -> CheckpointError:
            if key_of(checkpoint, choice).digest in signed():
                return CheckpointError(
                    f"its features on {choice.name} are gone.",
                    why="a signature stands for them",
                    fix=f"zoo covariance --signatures; or {probing(choice)}",
                )
            others = stored().get(str(checkpoint.revision), ())
            here = [f.key.reading for f in others if f.key.corpus == choice.corpus]
            why = None
            if choice.reading in here:
                why = "an older zoo read it, in another way"
            elif rough := [r.dtype for r in here if replace(r, dtype=choice.reading.dtype) == choice.reading]:
                why = f"it was read in {rough[0]}"
            elif others:
                why = f"it was read with {', '.join(sorted({f.source for f in others}))}"
            return CheckpointError(
                f"not read with {choice.name} yet.",
                why=why,
                fix=probing(choice),
            )

        return unread

    def over(
        self, checkpoints: Sequence[Checkpoint], what: str, work: Callable[[Checkpoint], R]
    ) -> tuple[dict[Checkpoint, R], list[Outcome]]:
        """What comes of each checkpoint, and of which nothing does.

        Raises:
            EmptyZooError: nothing comes of any.
        """
        good: dict[Checkpoint, R] = {}
        left_out: list[Outcome] = []
        with self._reporter.track(what, len(checkpoints), "checkpoints") as advance:
            for checkpoint in checkpoints:
                found = attempt(checkpoint.name, partial(work, checkpoint))
                if isinstance(found, Outcome):
                    left_out.append(found)
                else:
                    good[checkpoint] = found
                advance(1)
        if not good:
            first = left_out[0]
            why = " ".join(text for text in (first.error, first.why) if text)
            raise EmptyZooError("no checkpoint has features to compare.", why=why, fix=first.fix)
        return good, left_out


def key_of(checkpoint: Checkpoint, choice: ProbeChoice) -> FeatureKey:
    """The name of a checkpoint's features on a probe."""
    return feature_key(checkpoint, choice.corpus, choice.reading)


def probing(choice: ProbeChoice) -> str:
    """What to type to read a probe in the same way."""
    reading = choice.reading
    command = f"zoo probe -p {shlex.quote(choice.name)} --max-words {choice.max_words}"
    command += f" --layer {reading.layer} --pool {reading.pooling} --dtype {reading.dtype}"
    return command + (f" --max-length {reading.max_length}" if reading.max_length else "")
