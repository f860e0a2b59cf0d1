"""Signatures in the place of features: made, kept and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper import signatures
from zookeeper.collection import distinct_names
from zookeeper.errors import CheckpointError, EmptyZooError, IntegrityError, NotFoundError, UsageError
from zookeeper.outcomes import attempt
from zookeeper.probing import Probing, key_of, probing
from zookeeper.reader import Place, Reader
from zookeeper.records import (
    BasisKey,
    BasisSet,
    Checkpoint,
    Corpus,
    FeatureSet,
    Outcome,
    ProbeChoice,
    SignatureKey,
    SignatureSet,
)
from zookeeper.reporter import Reporter
from zookeeper.results import Covariance, Neighbour, Neighbourhood
from zookeeper.signatures import Basis, Signature
from zookeeper.store import Store

ANCHORS = 16
"""Checkpoints to whose features a basis is fitted before the features of others are let go."""

_MOST_ANCHORS = 64
_SAME = 1e-3  # by which vectors of a basis may differ, as half precision makes signatures differ


class Signing:
    """Reads probes, and compares checkpoints by their signatures on them.

    Args:
        store: that keeps bases and signatures.
        reader: of the probe.
        probing: the features.
        reporter: told what is going on.
    """

    def __init__(self, store: Store, reader: Reader, probing: Probing, reporter: Reporter) -> None:
        self._store = store
        self._reader = reader
        self._probing = probing
        self._reporter = reporter

    def probe(
        self,
        checkpoints: Sequence[Checkpoint],
        choice: ProbeChoice,
        corpus: Corpus,
        *,
        signatures_only: bool,
        devices: Sequence[str] = (),
    ) -> tuple[Outcome, ...]:
        """Read a probe with checkpoints; what is there is not read again.

        Args:
            checkpoints: which.
            choice: the probe, and how to read it.
            corpus: its text.
            signatures_only: whether to keep no features, once there are those of `ANCHORS` checkpoints to
                fit the basis of signatures to.
            devices: to read with at the same time; none for the one that the settings mean.
        """
        fitted = self._fitted(choice)
        n_features = len(self._probing.features_on(choice))
        may_settle = signatures_only and not (fitted and fitted.settled)
        one_at_a_time = Lock()

        def settled() -> _Fitted | None:
            nonlocal fitted, may_settle
            with one_at_a_time:
                if may_settle and n_features >= ANCHORS:
                    fitted, may_settle = self._settled(choice, fitted), False
                return fitted

        def probe(checkpoint: Checkpoint, place: Place) -> Outcome:
            nonlocal n_features
            basis = settled()
            if signatures_only and basis is not None and basis.settled:
                outcome = self._probe_signature(checkpoint, choice, corpus, basis, place)
            else:
                outcome = self._probe_features(checkpoint, choice, corpus, basis, place)
            with one_at_a_time:
                n_features += outcome.status == "done"
                self._probing.remember(choice)
            return outcome

        return tuple(self._reader.over([(c.name, partial(probe, c)) for c in checkpoints], devices))

    def _probe_features(
        self,
        checkpoint: Checkpoint,
        choice: ProbeChoice,
        corpus: Corpus,
        fitted: _Fitted | None,
        place: Place,
    ) -> Outcome:
        read = self._reader.features(checkpoint, corpus, choice.reading, choice.name, place)
        if fitted is not None:
            self._signature(read.features, lambda: read.array, fitted)
        return _outcome(checkpoint, read.computed, choice, read.features)

    def _probe_signature(
        self, checkpoint: Checkpoint, choice: ProbeChoice, corpus: Corpus, fitted: _Fitted, place: Place
    ) -> Outcome:
        features = self._store.find(FeatureSet, key_of(checkpoint, choice).digest)
        if features is not None:
            made = self._signature(features, self._probing.loader(features.key), fitted)
            return _outcome(checkpoint, False, choice, made)
        key = SignatureKey(key_of(checkpoint, choice), fitted.name)
        found = self._store.find(SignatureSet, key.digest)
        made = found or self._reader.signature(checkpoint, corpus, key, fitted.basis, choice.name, place)
        return _outcome(checkpoint, found is None, choice, made)

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
            CheckpointError: the one has no signature.
            UsageError: there is no other.
        """
        fitted, signed, left_out = self._signed([checkpoint, *others], choice, "screen")
        if checkpoint not in signed:
            raise next(
                CheckpointError(outcome.error or "", why=outcome.why, fix=outcome.fix)
                for outcome in left_out
                if outcome.name == checkpoint.name
            )
        own = self._load(signed.pop(checkpoint)[0], fitted)
        if not signed:
            raise UsageError(
                f"there is nothing to compare {checkpoint.name} with.", fix="zoo add another, and zoo probe"
            )
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
                made = attempt(
                    one.checkpoint, partial(self._signature, one, self._probing.loader(one.key), fitted)
                )
                if isinstance(made, Outcome):
                    self._reporter.note(f"{made.name} has no signature: {made.error}")
                else:
                    signed.append(one)
                advance(1)
        return signed

    def signed(
        self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice
    ) -> tuple[dict[Checkpoint, SignatureSet], list[Outcome]]:
        """Signatures of checkpoints, made of features if need be, and what is wrong with those without one.

        Raises:
            EmptyZooError: none of them was read with the probe.
        """
        _, signed, left_out = self._signed(checkpoints, choice, "screen")
        return {checkpoint: found for checkpoint, (found, _) in signed.items()}, left_out

    def agrees(self, basis: BasisSet, vectors: NDArray[Any], choice: ProbeChoice) -> bool:
        """Whether signatures on a basis from elsewhere can be compared with those of this zoo.

        The name of the fit does not tell: the same features give other vectors on another machine where
        eigenvalues are nearly the same.
        """
        fitted = self._fitted(choice)
        return fitted is not None and _same(fitted, basis, vectors)

    def adopt(
        self, basis: BasisSet, vectors: NDArray[Any], choice: ProbeChoice, *, dry_run: bool = False
    ) -> None:
        """Make a basis from elsewhere the one of this zoo; its signatures are made again of features.

        Args:
            basis: what it is.
            vectors: of it.
            choice: the probe that it is on.
            dry_run: whether to only look whether that can be done.

        Raises:
            UsageError: signatures on the old one would be lost.
        """
        fitted = self._fitted(choice)
        if fitted is not None and _same(fitted, basis, vectors):
            return
        if fitted is not None and (lost := self._lost(choice, fitted)):
            raise UsageError(
                "this zoo has signatures on another basis, which cannot be made again on this one.",
                why=f"the features of {len(lost)} checkpoints are gone, such as those of {lost[0]}",
                fix=f"{probing(choice)}; or pull into a zoo of its own: zoo --zoo FOLDER pull …",
            )
        if dry_run:
            return
        if fitted is not None:
            self._reporter.note("the basis of signatures is another one now; own signatures are made again")
            for one in self._store.all(SignatureSet):
                if one.key.basis == fitted.name:
                    self._store.discard(SignatureSet, one.key.digest)
        self._store.save(basis, {"vectors": vectors})

    def alone(self, choice: ProbeChoice) -> bool:
        """Whether there are signatures on a probe, and no features at all."""
        if self._probing.features_on(choice):
            return False
        return any(found.key.features.space == choice.space for found in self._store.all(SignatureSet))

    def outdated(self) -> tuple[SignatureSet, ...]:
        """Signatures on bases that were fitted anew since."""
        current = {basis.fit for basis in self._store.all(BasisSet)}
        return tuple(one for one in self._store.all(SignatureSet) if one.key.basis not in current)

    def _fitted(self, choice: ProbeChoice) -> _Fitted | None:
        """The basis of signatures on a probe, or None where none was fitted yet."""
        try:
            found, arrays = self._store.load(BasisSet, BasisKey(choice.space).digest)
        except NotFoundError:
            return None
        except IntegrityError as error:
            self._reporter.note(f"{error.message} The basis of signatures is fitted again.")
            return None
        basis = Basis(arrays["vectors"], t=found.t, seed=found.seed)
        return _Fitted(found.fit, len(found.anchors), basis)

    def _settled(self, choice: ProbeChoice, fitted: _Fitted | None) -> _Fitted:
        """A basis fitted to more checkpoints, unless signatures on the old one would be lost."""
        if fitted is not None and self._lost(choice, fitted):
            return fitted
        return self._fit(choice, anew=True)

    def _refit(self, choice: ProbeChoice) -> None:
        fitted = self._fitted(choice)
        if fitted is not None and (lost := self._lost(choice, fitted)):
            raise UsageError(
                f"{len(lost)} signatures cannot be made again, such as that of {lost[0]}.",
                why="their features are gone, and signatures on two bases cannot be compared",
                fix=probing(choice),
            )
        self._fit(choice, anew=True)

    def _lost(self, choice: ProbeChoice, fitted: _Fitted) -> list[str]:
        """Checkpoints of the zoo that have a signature on a basis, and no features to make another of."""
        features = {found.key for found in self._probing.features_on(choice)}
        keys = [(c.name, SignatureKey(key_of(c, choice), fitted.name)) for c in self._store.checkpoints()]
        return [
            name
            for name, key in keys
            if key.features not in features and self._store.find(SignatureSet, key.digest)
        ]

    def _fit(self, choice: ProbeChoice, *, anew: bool = False) -> _Fitted:
        """Fit the basis of signatures to the features on a probe.

        Args:
            choice: the probe.
            anew: whether to do so also where there is one by then; signatures on that are then lost.

        Raises:
            EmptyZooError: there are none, or they cannot be used.
        """
        keys = [found.key for found in self._probing.features_on(choice)]
        some = keys[:: -(-len(keys) // _MOST_ANCHORS) or 1]
        faults = [attempt(key.checkpoint, partial(self._probing.check, key)) for key in some]
        anchors = [key for key, fault in zip(some, faults, strict=True) if fault is None]
        if not anchors:
            why = next((fault.error for fault in faults if fault is not None), None)
            raise EmptyZooError(
                f"no checkpoint has features on {choice.name} that can be signed.",
                why=why,
                fix="probe more words" if why else probing(choice),
            )
        with self._reporter.track("fitting the basis of signatures", 1000, "‰") as advance:
            basis = Basis.fit([self._probing.loader(key) for key in anchors], advance=advance)
        made = BasisSet(
            BasisKey(choice.space),
            anchors=tuple(anchor.digest for anchor in anchors),
            q=basis.q,
            t=basis.t,
            seed=basis.seed,
            source=choice.name,
        )
        if not anew and (other := self._fitted(choice)):
            return other  # another process was faster
        self._store.save(made, {"vectors": basis.vectors})
        return _Fitted(made.fit, len(anchors), basis)

    def _signed(
        self, checkpoints: Sequence[Checkpoint], choice: ProbeChoice, name: str
    ) -> tuple[_Fitted, dict[Checkpoint, tuple[SignatureSet, NDArray[Any]]], list[Outcome]]:
        """Signatures of checkpoints, each with its array of that name; made of features if there is none."""
        fitted = self._fitted(choice) or self._fit(choice)
        unread = self._probing.unread(choice)

        def sign(checkpoint: Checkpoint) -> tuple[SignatureSet, NDArray[Any]]:
            key = SignatureKey(key_of(checkpoint, choice), fitted.name)
            if found := self._store.find(SignatureSet, key.digest):
                try:
                    return found, self._array(found, name)
                except IntegrityError as error:
                    self._reporter.note(f"{checkpoint.name}: {error.message}")
            features = self._store.find(FeatureSet, key.features.digest)
            if features is None:
                raise unread(checkpoint)
            made = self._signature(features, self._probing.loader(features.key), fitted)
            return made, self._array(made, name)

        return fitted, *self._probing.over(checkpoints, "signing", sign)

    def _signature(
        self, features: FeatureSet, load: Callable[[], NDArray[Any]], fitted: _Fitted
    ) -> SignatureSet:
        """The signature of features, made if there is none yet."""
        key = SignatureKey(features.key, fitted.name)
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


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A basis of signatures, the name of its fit, and how many checkpoints it was fitted to."""

    name: str
    anchors: int
    basis: Basis

    @property
    def settled(self) -> bool:
        """Whether it was fitted to enough checkpoints for the features of others to be let go."""
        return self.anchors >= ANCHORS


def _same(fitted: _Fitted, basis: BasisSet, vectors: NDArray[Any]) -> bool:
    """Whether signatures on two bases can be compared."""
    own = fitted.basis.vectors
    return (fitted.name, own.shape) == (basis.fit, vectors.shape) and bool(
        np.linalg.norm(own - vectors, axis=0).max() <= _SAME
    )


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
