"""The space in which tasks are compared: exact alignments of features, and how sure they are.

Whatever is computed here is kept by the store under a name made of all that it depends on, so that another
checkpoint costs one row of the covariance, and taking one out costs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from zookeeper import convergence, kernels, uncertainty
from zookeeper.collection import distinct_names
from zookeeper.errors import DegenerateInputError, IntegrityError, NotFoundError
from zookeeper.labels import Array
from zookeeper.probing import Probing, key_of
from zookeeper.records import (
    AlignmentKey,
    AlignmentSet,
    Checkpoint,
    FeatureKey,
    FeatureSet,
    JackknifeKey,
    JackknifeSet,
    Outcome,
    ProbeChoice,
)
from zookeeper.reporter import Reporter
from zookeeper.results import Convergence, Covariance
from zookeeper.store import Store
from zookeeper.uncertainty import Jackknife

_ROWS_AT_A_TIME = 256


class TaskSpace:
    """Compares checkpoints by their features on a probe.

    Args:
        store: that keeps alignments.
        probing: the features.
        reporter: told what is going on.
    """

    def __init__(self, store: Store, probing: Probing, reporter: Reporter) -> None:
        self._store = store
        self._probing = probing
        self._reporter = reporter

    def covariance(
        self,
        checkpoints: Sequence[Checkpoint],
        choice: ProbeChoice,
        *,
        debiased: bool = False,
        errors: bool = False,
        memory: int = kernels.MEMORY,
    ) -> Covariance:
        """Exact covariance of checkpoints; what was computed before is not computed again.

        Args:
            checkpoints: which.
            choice: the probe, and how it was read.
            debiased: whether to leave out pairs of words of the same sentence.
            errors: whether to give standard errors; they are not known of a debiased one.
            memory: bytes of features to hold at a time.

        Raises:
            EmptyZooError: none of them was read with the probe.
        """
        alignments = _Alignments.load(self._store, AlignmentKey(choice.space, debiased))
        keys = {checkpoint: key_of(checkpoint, choice) for checkpoint in checkpoints}
        left_out: list[Outcome] = []
        if not alignments.complete(keys.values()):
            keys, left_out = self._probing.readable(checkpoints, choice, known=alignments.knows, needed=False)
        if not alignments.complete(keys.values()):
            keys, gone = self._probing.readable(list(keys), choice, known=lambda _: True)
            left_out += gone
            self._align(alignments, list(keys.values()), choice, memory)
        jackknife = None
        if errors and not debiased:
            jackknife = self.jackknife(list(keys), choice, "no standard errors")
        return Covariance(
            names=distinct_names(list(keys)),
            matrix=kernels.normalised(alignments.block([key.digest for key in keys.values()])),
            probed=choice,
            revisions=tuple(checkpoint.revision for checkpoint in keys),
            left_out=tuple(left_out),
            standard_error=None if jackknife is None else jackknife.standard_error,
            support=None if jackknife is None else jackknife.support / len(choice.lengths),
            debiased=debiased,
        )

    def _align(
        self, alignments: _Alignments, keys: Sequence[FeatureKey], choice: ProbeChoice, memory: int
    ) -> None:
        """Compute the inner products that are not known, and store them block by block."""
        lengths = choice.lengths if alignments.key.debiased else None
        by_digest = {key.digest: self._probing.loader(key) for key in keys}

        def compute(rows: Sequence[str], columns: Sequence[str] | None) -> None:
            what = f"aligning {len(rows)} with {len(columns) if columns else len(rows)}"
            with self._reporter.track(what, 1000, "‰") as advance:
                block = kernels.inner_products(
                    [by_digest[digest] for digest in rows],
                    None if columns is None else [by_digest[digest] for digest in columns],
                    lengths=lengths,
                    memory=memory,
                    advance=advance,
                )
            alignments.add(rows, columns or rows, block)
            alignments.save(self._store)

        old = [digest for digest in by_digest if alignments.knows(digest)]
        new = [digest for digest in by_digest if not alignments.knows(digest)]
        if strangers := alignments.unpaired(old):
            compute(strangers, None)
        for first in range(0, len(new), _ROWS_AT_A_TIME):
            rows = new[first : first + _ROWS_AT_A_TIME]
            if old:
                compute(rows, old)
            compute(rows, None)
            old += rows

    def jackknife(
        self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice, otherwise: str
    ) -> Jackknife | None:
        """How their alignments move with the sentences of the probe.

        Args:
            checkpoints: which.
            choice: the probe.
            otherwise: said, with the reason, where that cannot be known: features are gone or damaged, the
                probe has one sentence only, or there are too many checkpoints.
        """
        try:
            return self._jackknife(checkpoints, choice)
        except NotFoundError:
            self._reporter.note(f"{otherwise}: the features of some are gone")
        except (IntegrityError, DegenerateInputError) as error:
            self._reporter.note(f"{otherwise}: {error.message}")
        return None

    def _jackknife(self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice) -> Jackknife:
        size = 2 * len(choice.lengths) * len(checkpoints) * (len(checkpoints) + 1)
        if size > kernels.MEMORY:
            raise DegenerateInputError(f"{len(checkpoints)} checkpoints would take {size / 1e9:.0f} GB.")
        keys = [key_of(checkpoint, choice) for checkpoint in checkpoints]
        wanted = tuple(key.digest for key in keys)
        kept = JackknifeKey(choice.space, uncertainty.RANK)
        known: tuple[str, ...] = ()
        try:
            stored, arrays = self._store.load(JackknifeSet, kept.digest)
            known = stored.features
            if set(wanted) <= set(known):
                return Jackknife(**arrays).among([known.index(digest) for digest in wanted])
        except NotFoundError:
            pass
        except IntegrityError as error:
            self._reporter.note(f"{error.message} It is computed again.")
        with self._reporter.track("resampling sentences", 1000, "‰") as advance:
            loaders = [self._probing.loader(key) for key in keys]
            found = uncertainty.jackknife(loaders, choice.lengths, advance=advance)
        if not self._needed(set(known) - set(wanted), choice):
            self._store.save(JackknifeSet(kept, wanted), found.arrays)
        return found

    def _needed(self, digests: Collection[str], choice: ProbeChoice) -> bool:
        """Whether what is known of features could not be had again: they are gone, their checkpoints not."""
        ours = {key_of(checkpoint, choice).digest for checkpoint in self._store.checkpoints()}
        return any(d in ours and self._store.find(FeatureSet, d) is None for d in digests)

    def convergence(
        self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice, *, memory: int
    ) -> Convergence:
        """How their covariance settles as more of the probe is read.

        Raises:
            EmptyZooError: none of them was read with the probe.
        """
        readable, _ = self._probing.readable(checkpoints, choice)
        loaders = [self._probing.loader(key) for key in readable.values()]
        with self._reporter.track("aligning ever more words", 1000, "‰") as advance:
            found = convergence.convergence(loaders, choice.lengths, memory=memory, advance=advance)
        return replace(found, probe=str(choice))


class _Alignments:
    """Inner products of kernels by the digests of their features; NaN where they are not known.

    Args:
        key: which are kept together.
        digests: of m feature sets.
        inner: (m, m).
    """

    def __init__(self, key: AlignmentKey, digests: Sequence[str], inner: Array) -> None:
        self.key = key
        self._place = {digest: i for i, digest in enumerate(digests)}
        self._inner = inner

    @classmethod
    def load(cls, store: Store, key: AlignmentKey) -> _Alignments:
        """Those that are stored; none where what is stored is damaged."""
        try:
            found, arrays = store.load(AlignmentSet, key.digest)
        except (NotFoundError, IntegrityError):
            return cls(key, (), np.empty((0, 0)))
        return cls(key, found.features, arrays["inner"])

    def save(self, store: Store) -> None:
        """Store them, with what another process has stored in the meantime."""
        merged = _Alignments.load(store, self.key)
        digests = list(self._place)
        merged.add(digests, digests, self._inner)
        store.save(AlignmentSet(self.key, tuple(merged._place)), {"inner": merged._inner})

    def add(self, rows: Sequence[str], columns: Sequence[str], block: Array) -> None:
        """Take in the products of some with others; NaN adds nothing."""
        for digest in (*rows, *columns):
            self._place.setdefault(digest, len(self._place))
        grown = np.full((len(self._place), len(self._place)), np.nan)
        grown[: len(self._inner), : len(self._inner)] = self._inner
        here = np.ix_([self._place[d] for d in rows], [self._place[d] for d in columns])
        grown[here] = np.where(np.isnan(block), grown[here], block)
        self._inner = np.where(np.isnan(grown), grown.T, grown)

    def block(self, digests: Sequence[str]) -> Array:
        """(m, m), of these."""
        places = np.array([self._place[digest] for digest in digests], dtype=np.intp)
        return self._inner[np.ix_(places, places)]

    def knows(self, digest: str) -> bool:
        """Whether any is known of it."""
        return digest in self._place

    def complete(self, keys: Iterable[FeatureKey]) -> bool:
        """Whether all among these are known."""
        digests = [key.digest for key in keys]
        return all(map(self.knows, digests)) and not np.isnan(self.block(digests)).any()

    def unpaired(self, digests: Sequence[str]) -> list[str]:
        """Those of which the product with some other of these is not known."""
        missing = np.flatnonzero(np.isnan(self.block(digests)).any(axis=1))
        return [digests[int(i)] for i in missing]
