"""The space in which tasks are compared: features on a probe, their alignments, and their signatures.

Whatever is computed here is kept by the store under a name made of all that it depends on, so that another
checkpoint costs one row of the covariance, and taking one out costs nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zookeeper import convergence, kernels, signatures, uncertainty
from zookeeper.collection import distinct_names
from zookeeper.errors import (
    CheckpointError,
    DegenerateInputError,
    EmptyZooError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from zookeeper.labels import Array
from zookeeper.outcomes import attempt
from zookeeper.reader import Reader, feature_key
from zookeeper.records import (
    AlignmentKey,
    AlignmentSet,
    BasisKey,
    BasisSet,
    Checkpoint,
    Corpus,
    FeatureKey,
    FeatureSet,
    JackknifeKey,
    JackknifeSet,
    Outcome,
    ProbeChoice,
    Reading,
    SignatureKey,
    SignatureSet,
    Space,
)
from zookeeper.reporter import Reporter
from zookeeper.results import Convergence, Covariance, Neighbour, Neighbourhood
from zookeeper.signatures import Basis, Signature
from zookeeper.store import Store
from zookeeper.uncertainty import Jackknife

R = TypeVar("R")

_PROBED = "probed"

ANCHORS = 16
"""Checkpoints whose features are kept to fit a basis to, where the features of others are not."""

_MOST_ANCHORS = 64
_ROWS_AT_A_TIME = 256


class TaskSpace:
    """Compares checkpoints by what they make of a probe.

    Args:
        store: that keeps features, alignments and signatures.
        reader: of the probe.
        reporter: told what is going on.
    """

    def __init__(self, store: Store, reader: Reader, reporter: Reporter) -> None:
        self._store = store
        self._reader = reader
        self._reporter = reporter

    # Probe

    def choice(self, name: str, max_words: int, reading: Reading | None) -> tuple[ProbeChoice, Corpus]:
        """A probe, how it is to be read, and its text.

        Raises:
            DataError, NotFoundError, NetworkError: the probe cannot be had.
        """
        corpus = self._reader.probe(name, max_words)
        lengths = tuple(map(len, corpus.sentences))
        settled = (reading or Reading()).settled(corpus.unit)
        return ProbeChoice(name, max_words, corpus.digest, lengths, settled), corpus

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

    def probe(
        self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice, corpus: Corpus, *, signatures_only: bool
    ) -> tuple[Outcome, ...]:
        """Read a probe with checkpoints; what is there is not read again.

        Args:
            checkpoints: which.
            choice: the probe, and how to read it.
            corpus: its text.
            signatures_only: whether to keep no features, but those of the first `ANCHORS`, to which the
                basis of signatures is fitted.
        """
        fitted = self._fitted(choice)
        read: list[Checkpoint] = []
        outcomes: list[Outcome] = []
        for checkpoint in checkpoints:
            if signatures_only and fitted is None and len(read) == ANCHORS:
                fitted = self._fit(choice)
            if signatures_only and fitted is not None:
                work = partial(self._probe_signature, checkpoint, choice, corpus, fitted)
            else:
                work = partial(self._probe_features, checkpoint, choice, corpus, fitted)
            outcomes.append(attempt(checkpoint.name, work))
            if not outcomes[-1].failed:
                read.append(checkpoint)
                self._store.save_note(_PROBED, choice)
        if signatures_only and fitted is None and read:
            self._signed(read, choice, "screen")
        return tuple(outcomes)

    def _probe_features(
        self, checkpoint: Checkpoint, choice: ProbeChoice, corpus: Corpus, fitted: _Fitted | None
    ) -> Outcome:
        read = self._reader.features(checkpoint, corpus, choice.reading, choice.name)
        if fitted is not None:
            self._signature(read.features, lambda: read.array, fitted)
        return _outcome(checkpoint, read.computed, choice, read.features)

    def _probe_signature(
        self, checkpoint: Checkpoint, choice: ProbeChoice, corpus: Corpus, fitted: _Fitted
    ) -> Outcome:
        features = self._store.find(FeatureSet, _key(checkpoint, choice).digest)
        if features is not None:
            made = self._signature(features, self._loader(features.key), fitted)
            return _outcome(checkpoint, False, choice, made)
        key = SignatureKey(_key(checkpoint, choice), fitted.digest)
        found = self._store.find(SignatureSet, key.digest)
        made = found or self._reader.signature(checkpoint, corpus, key, fitted.basis, choice.name)
        return _outcome(checkpoint, found is None, choice, made)

    # Features compared

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
            errors: whether to give standard errors.
            memory: bytes of features to hold at a time.

        Raises:
            EmptyZooError: none of them was read with the probe.
        """
        alignments = _Alignments.load(self._store, AlignmentKey(choice.space, debiased))
        keys = {checkpoint: _key(checkpoint, choice) for checkpoint in checkpoints}
        left_out: list[Outcome] = []
        if not alignments.complete(keys.values()):
            keys, left_out = self._readable(checkpoints, choice, known=alignments.knows, needed=False)
        if not alignments.complete(keys.values()):
            keys, gone = self._readable(list(keys), choice, known=lambda _: True)
            left_out += gone
            self._align(alignments, list(keys.values()), choice, memory)
        return Covariance(
            names=distinct_names(list(keys)),
            matrix=kernels.normalised(alignments.block([key.digest for key in keys.values()])),
            probed=choice,
            revisions=tuple(checkpoint.revision for checkpoint in keys),
            left_out=tuple(left_out),
            standard_error=self._standard_error(list(keys), choice) if errors else None,
            debiased=debiased,
        )

    def _align(
        self, alignments: _Alignments, keys: Sequence[FeatureKey], choice: ProbeChoice, memory: int
    ) -> None:
        """Compute the inner products that are not known, and store them block by block."""
        lengths = choice.lengths if alignments.key.debiased else None
        by_digest = {key.digest: self._loader(key) for key in keys}

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

    def _standard_error(self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice) -> Array | None:
        try:
            return self.jackknife(checkpoints, choice).standard_error
        except (NotFoundError, IntegrityError, DegenerateInputError) as error:
            self._reporter.note(f"no standard errors: {error.message}")
            return None

    def jackknife(self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice) -> Jackknife:
        """How their alignments move with the sentences of the probe.

        Raises:
            NotFoundError: their features are gone.
            IntegrityError: they are damaged.
            DegenerateInputError: the probe has one sentence only, or they are too many.
        """
        size = 2 * len(choice.lengths) * len(checkpoints) * (len(checkpoints) + 1)
        if size > kernels.MEMORY:
            raise DegenerateInputError(f"{len(checkpoints)} checkpoints would take {size / 1e9:.0f} GB.")
        keys = [_key(checkpoint, choice) for checkpoint in checkpoints]
        wanted = tuple(key.digest for key in keys)
        kept = JackknifeKey(choice.space, uncertainty.RANK)
        stored = self._store.find(JackknifeSet, kept.digest)
        if stored is not None and set(wanted) <= set(stored.features):
            try:
                arrays = self._store.arrays(JackknifeSet, kept.digest)
                return Jackknife(**arrays).among([stored.features.index(digest) for digest in wanted])
            except (NotFoundError, IntegrityError) as error:
                self._reporter.note(f"{error.message} It is computed again.")
        with self._reporter.track("resampling sentences", 1000, "‰") as advance:
            loaders = [self._loader(key) for key in keys]
            found = uncertainty.jackknife(loaders, choice.lengths, advance=advance)
        if stored is None or not self._needed(set(stored.features) - set(wanted), choice):
            self._store.save(JackknifeSet(kept, wanted), found.arrays)
        return found

    def _needed(self, digests: Collection[str], choice: ProbeChoice) -> bool:
        """Whether what is known of features could not be had again: they are gone, their checkpoints not."""
        ours = {_key(checkpoint, choice).digest for checkpoint in self._store.checkpoints()}
        return any(d in ours and self._store.find(FeatureSet, d) is None for d in digests)

    def convergence(
        self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice, *, memory: int
    ) -> Convergence:
        """How their covariance settles as more of the probe is read.

        Raises:
            EmptyZooError: none of them was read with the probe.
        """
        readable, _ = self._readable(checkpoints, choice)
        loaders = [self._loader(key) for key in readable.values()]
        with self._reporter.track("aligning ever more words", 1000, "‰") as advance:
            found = convergence.convergence(loaders, choice.lengths, memory=memory, advance=advance)
        return replace(found, probe=str(choice), n_checkpoints=len(loaders))

    # Signatures compared

    def estimate(
        self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice, *, refit: bool = False
    ) -> Covariance:
        """Covariance of checkpoints by their signatures, which need no features once they are made.

        Args:
            checkpoints: which.
            choice: the probe, and how it was read.
            refit: whether to fit the basis again, to the features that there are now.

        Raises:
            EmptyZooError: none of them was read with the probe.
            UsageError: one has a signature on the old basis and no features to make a new one of.
        """
        if refit:
            self._refit(choice)
        fitted, signed, left_out = self._signed(checkpoints, choice, "vector")
        matrix, error = signatures.estimate(
            [Signature(vector, found.residual, fitted.basis.t) for found, vector in signed.values()]
        )
        return Covariance(
            names=distinct_names(list(signed)),
            matrix=matrix,
            probed=choice,
            revisions=tuple(checkpoint.revision for checkpoint in signed),
            left_out=tuple(left_out),
            estimated=error,
        )

    def neighbours(
        self, checkpoint: Checkpoint, others: Sequence[Checkpoint], choice: ProbeChoice, k: int
    ) -> Neighbourhood:
        """The `k` checkpoints that are most like one, by their signatures.

        Raises:
            CheckpointError: the one was not read with the probe.
            UsageError: there is no other.
        """
        fitted, signed, left_out = self._signed([checkpoint, *others], choice, "screen")
        if checkpoint not in signed:
            raise self._unread(choice)(checkpoint)
        own = self._load(signed.pop(checkpoint)[0], fitted)
        if not signed:
            raise UsageError(f"there is nothing to compare {checkpoint.name} with.", fix="zoo probe")
        compared, sets = list(signed), [found for found, _ in signed.values()]
        names = distinct_names([checkpoint, *compared])
        screens = np.stack([screen for _, screen in signed.values()])
        nearest = signatures.nearest(
            own, screens, lambda some: (self._load(sets[i], fitted) for i in some), min(k, len(sets))
        )
        found = zip(nearest.indices, nearest.alignment, nearest.error, strict=True)
        return Neighbourhood(
            name=names[0],
            revision=checkpoint.revision,
            probe=str(choice),
            neighbours=tuple(
                Neighbour(names[i + 1], compared[i].revision, float(kappa), float(error))
                for i, kappa, error in found
            ),
            compared=len(sets),
            left_out=tuple(left_out),
        )

    def features_on(self, choice: ProbeChoice) -> tuple[FeatureSet, ...]:
        """All features on a probe."""
        return tuple(found for found in self._store.all(FeatureSet) if found.key.space == choice.space)

    def sign(self, features: Sequence[FeatureSet], choice: ProbeChoice) -> list[FeatureSet]:
        """See to it that features on a probe have signatures, and so can be spared.

        Returns:
            Those that have.

        Raises:
            EmptyZooError: there are no features to fit a basis to.
        """
        fitted = self._fitted(choice) or self._fit(choice)
        signed = []
        with self._reporter.track("signing", len(features), "checkpoints") as advance:
            for one in features:
                made = attempt(one.checkpoint, partial(self._signature, one, self._loader(one.key), fitted))
                if isinstance(made, Outcome):
                    self._reporter.note(f"{made.name} has no signature: {made.error}")
                else:
                    signed.append(one)
                advance(1)
        return signed

    def outdated(self) -> tuple[BasisSet | SignatureSet, ...]:
        """Bases that were fitted anew since, and the signatures on them."""
        bases = self._store.all(BasisSet)
        used = [self._store.load_note(_basis_note(basis.key.space), BasisSet) for basis in bases]
        current = {basis.key.digest for basis in used if basis is not None}
        return (
            *(basis for basis in bases if basis.key.digest not in current),
            *(one for one in self._store.all(SignatureSet) if one.key.basis not in current),
        )

    def _fitted(self, choice: ProbeChoice) -> _Fitted | None:
        """The basis of signatures on a probe, or None where none was fitted yet."""
        found = self._store.load_note(_basis_note(choice.space), BasisSet)
        if found is None:
            return None
        try:
            vectors = self._store.arrays(BasisSet, found.key.digest)["vectors"]
        except (NotFoundError, IntegrityError) as error:
            self._reporter.note(f"{error.message} The basis of signatures is fitted again.")
            return None
        return _Fitted(found.key.digest, Basis(vectors, t=found.key.t, seed=found.key.seed))

    def _refit(self, choice: ProbeChoice) -> None:
        fitted, features = self._fitted(choice), {found.key for found in self.features_on(choice)}
        if fitted is not None:
            pinned = self._store.checkpoints()
            keys = [(c, SignatureKey(_key(c, choice), fitted.digest)) for c in pinned]
            lost = [
                checkpoint.name
                for checkpoint, key in keys
                if key.features not in features and self._store.find(SignatureSet, key.digest)
            ]
            if lost:
                raise UsageError(
                    f"{len(lost)} signatures cannot be made again, such as that of {lost[0]}.",
                    why="their features are gone, and signatures on two bases cannot be compared",
                    fix=f"{_probing(choice)}   reads them again",
                )
        self._fit(choice, anew=True)

    def _fit(self, choice: ProbeChoice, *, anew: bool = False) -> _Fitted:
        """Fit the basis of signatures to the features on a probe.

        Args:
            choice: the probe.
            anew: whether to do so also where another process has fitted one in the meantime; signatures on
                that are then lost.

        Raises:
            EmptyZooError: there are none, or they cannot be used.
        """
        keys = [found.key for found in self.features_on(choice)]
        some = keys[:: -(-len(keys) // _MOST_ANCHORS) or 1]
        usable = [attempt(key.checkpoint, partial(self._check, key)) is None for key in some]
        anchors = [key for key, good in zip(some, usable, strict=True) if good]
        if not anchors:
            raise EmptyZooError(f"no checkpoint has features on {choice.name}.", fix=_probing(choice))
        with self._reporter.track("fitting the basis of signatures", 1000, "‰") as advance:
            basis = Basis.fit([self._loader(key) for key in anchors], advance=advance)
        key = BasisKey(choice.space, tuple(a.digest for a in anchors), basis.q, basis.t, basis.seed)
        made = BasisSet(key, choice.n_rows, basis.vectors.nbytes, choice.name)
        if not anew and (other := self._fitted(choice)):
            return other
        self._store.save(made, {"vectors": basis.vectors})
        self._store.save_note(_basis_note(choice.space), made)
        return _Fitted(key.digest, basis)

    def _signed(
        self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice, name: str
    ) -> tuple[_Fitted, dict[Checkpoint, tuple[SignatureSet, NDArray[Any]]], list[Outcome]]:
        """Signatures of checkpoints, each with its array of that name; made of features if there is none."""
        fitted = self._fitted(choice) or self._fit(choice)
        unread = self._unread(choice)

        def sign(checkpoint: Checkpoint) -> tuple[SignatureSet, NDArray[Any]]:
            key = SignatureKey(_key(checkpoint, choice), fitted.digest)
            if found := self._store.find(SignatureSet, key.digest):
                try:
                    return found, self._array(found, name)
                except IntegrityError as error:
                    self._reporter.note(f"{checkpoint.name}: {error.message}")
            features = self._store.find(FeatureSet, key.features.digest)
            if features is None:
                raise unread(checkpoint)
            made = self._signature(features, self._loader(features.key), fitted)
            return made, self._array(made, name)

        return fitted, *self._over(checkpoints, "signing", sign)

    def _signature(
        self, features: FeatureSet, load: Callable[[], NDArray[Any]], fitted: _Fitted
    ) -> SignatureSet:
        """The signature of features, made if there is none yet."""
        key = SignatureKey(features.key, fitted.digest)
        return self._store.find(SignatureSet, key.digest) or self._reader.keep(
            signatures.signature(load(), fitted.basis),
            key,
            dimension=features.dimension,
            n_empty=features.n_empty,
            source=features.source,
        )

    def _load(self, found: SignatureSet, fitted: _Fitted) -> Signature:
        return Signature(self._array(found, "vector"), found.residual, fitted.basis.t)

    def _array(self, found: SignatureSet, name: str) -> NDArray[Any]:
        """One array of a signature; a damaged signature is discarded, so that it is made again.

        Raises:
            IntegrityError: it is damaged.
        """
        try:
            return self._store.arrays(SignatureSet, found.key.digest, [name])[name]
        except IntegrityError:
            self._store.discard(SignatureSet, found.key.digest)
            raise

    # Features

    def _loader(self, key: FeatureKey) -> Callable[[], NDArray[Any]]:
        return lambda: self._store.arrays(FeatureSet, key.digest)["features"]

    def _check(self, key: FeatureKey) -> None:
        """Refuse features that are damaged, not finite, or the same in every row."""
        kernels.centred(self._loader(key)())

    def _readable(
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
        unread = self._unread(choice)

        def check(checkpoint: Checkpoint) -> FeatureKey:
            key = _key(checkpoint, choice)
            is_known = known(key.digest)
            if (needed or not is_known) and self._store.find(FeatureSet, key.digest) is None:
                raise unread(checkpoint)
            if not is_known:
                self._check(key)
            return key

        return self._over(checkpoints, "checking", check)

    def _unread(self, choice: ProbeChoice) -> Callable[[Checkpoint], CheckpointError]:
        """What to say of a checkpoint that has no features on a probe."""

        @cache
        def stored() -> dict[str, list[FeatureSet]]:
            found: dict[str, list[FeatureSet]] = {}
            for features in self._store.all(FeatureSet):
                found.setdefault(features.checkpoint, []).append(features)
            return found

        def unread(checkpoint: Checkpoint) -> CheckpointError:
            others = stored().get(str(checkpoint.revision), [])
            why = None
            if any((f.key.corpus, f.key.reading) == (choice.corpus, choice.reading) for f in others):
                why = "an older zoo read it, in another way"
            elif others:
                why = f"it was read with {', '.join(sorted({f.source for f in others}))}"
            return CheckpointError(
                f"not read with {choice.name} yet.",
                why=why,
                fix=f"{_probing(choice)}   reads it with all that were not; or name another probe with -p",
            )

        return unread

    def _over(
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


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A basis of signatures, and the digest it is stored under."""

    digest: str
    basis: Basis


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
        found = store.find(AlignmentSet, key.digest)
        if found is not None:
            try:
                return cls(key, found.features, store.arrays(AlignmentSet, key.digest)["inner"])
            except (NotFoundError, IntegrityError):
                pass  # they are computed again
        return cls(key, (), np.empty((0, 0)))

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


def _key(checkpoint: Checkpoint, choice: ProbeChoice) -> FeatureKey:
    return feature_key(checkpoint, choice.corpus, choice.reading)


def _probing(choice: ProbeChoice) -> str:
    """What to type to read a probe in the same way."""
    reading = choice.reading
    command = f"zoo probe -p {shlex.quote(choice.name)} --max-words {choice.max_words}"
    command += f" --layer {reading.layer} --pool {reading.pooling}"
    return command + (f" --max-length {reading.max_length}" if reading.max_length else "")


def _outcome(
    checkpoint: Checkpoint, computed: bool, choice: ProbeChoice, kept: FeatureSet | SignatureSet
) -> Outcome:
    """What became of a checkpoint that was to be probed."""
    details = {
        "rows": choice.n_rows,
        "dimension": kept.dimension,
        "empty_rows": kept.n_empty,
        "bytes": kept.size,
        "key": kept.key.digest,
    }
    status = "done" if computed else "already there"
    return Outcome(checkpoint.name, status, checkpoint.revision, details=details)


def _basis_note(space: Space) -> str:
    return f"basis-{space.digest[:16]}"
