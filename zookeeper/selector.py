"""Selections from what a zoo holds: with what checkpoints cost, how they ranked, and how sure it all is."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace

from zookeeper.choices import Terms, select, select_for_target
from zookeeper.collection import Collection
from zookeeper.errors import (
    EmptyZooError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from zookeeper.labels import Array
from zookeeper.probing import Probing
from zookeeper.ranker import Ranker
from zookeeper.records import Checkpoint, Revision
from zookeeper.reporter import Reporter
from zookeeper.results import Budget, Covariance, Origin, Ranking, Score, Selection
from zookeeper.space import TaskSpace
from zookeeper.store import Store

_NOTE = "selection"
_MOST_WEIGHED = 100  # their reduced features side by side take some hundred MB


class Selector:
    """Selects checkpoints of a zoo, and remembers the latest selection.

    Args:
        store: of the zoo.
        collection: the names of its checkpoints.
        probing: what there is of a probe.
        space: in which they are compared.
        ranker: that keeps their evidence on targets.
        reporter: told what is going on.
    """

    def __init__(
        self,
        store: Store,
        collection: Collection,
        probing: Probing,
        space: TaskSpace,
        ranker: Ranker,
        reporter: Reporter,
    ) -> None:
        self._store = store
        self._collection = collection
        self._probing = probing
        self._space = space
        self._ranker = ranker
        self._reporter = reporter

    def select(
        self,
        kappa: Covariance,
        terms: Terms,
        *,
        replicates: int,
        seconds: float,
        keep: bool,
        origin: Callable[[], Origin],
    ) -> Selection:
        """The checkpoints that say most about the rest.

        Args:
            kappa: the zoo's own covariance, or one from a file.
            terms: what the selection must keep to.
            replicates: over resampled sentences, where there are features to resample.
            seconds: that looking for the best set may take.
            keep: whether to remember it; one from a file is not.
            origin: says what made it, once it is made.

        Raises:
            UsageError, DegenerateInputError: as `zookeeper.choices.select`.
        """
        named = self._named(terms, kappa.names, kappa.revisions)
        costs = None if terms.budget is None else self._costs(kappa, terms.budget)
        ranked, drawn = self._ranked(kappa), self._replicates(kappa, replicates)
        deadline = time.monotonic() + seconds
        found = select(
            kappa,
            named,
            costs=costs,
            replicates=drawn,
            ranked=ranked,
            stop=lambda: time.monotonic() > deadline,
        )
        found = replace(found, origin=origin())
        if keep and kappa.revisions:
            self._store.save_note(_NOTE, found)
        return found

    def select_for_target(
        self, ranking: Ranking, terms: Terms, *, half: bool, origin: Callable[[], Origin]
    ) -> Selection:
        """The checkpoints of a ranking whose features side by side have the greatest evidence.

        Args:
            ranking: on the target, of all that are chosen from.
            terms: what the selection must keep to.
            half: whether to go half by evidence and half by mutual information on the latest probe.
            origin: as in `select`.

        Raises:
            UsageError, DegenerateInputError: as `zookeeper.choices.select_for_target`.
        """
        if not ranking.scores:
            raise EmptyZooError("no checkpoint could be read.", why=ranking.failures[0].error)
        terms = self._named(terms, *_columns(ranking.scores))
        scores = self._best(ranking, keep=terms.include)
        names, revisions = _columns(scores)
        kappa = self.covariance(revisions)
        with self._reporter.track("choosing", terms.k or len(scores), "checkpoints") as advance:
            found = select_for_target(
                {score.name: self._ranker.evidence(score) for score in scores},
                replace(terms, exclude=tuple(name for name in terms.exclude if name in names)),
                kappa=kappa and replace(kappa, names=names),
                half=half,
                advance=advance,
            )
        found = replace(
            found,
            picks=tuple(replace(pick, revision=revisions[names.index(pick.name)]) for pick in found.picks),
            target=ranking.target,
            split=ranking.split,
            left_out=ranking.failures,
            candidates=revisions,
            origin=origin(),
        )
        self._store.save_note(_NOTE, found)
        return found

    def picks(self, kappa: Covariance) -> list[str]:
        """The names in a covariance of what was selected last."""
        latest = self._store.load_note(_NOTE, Selection)
        return kappa.named(pick.revision for pick in latest.picks if pick.revision) if latest else []

    def covariance(self, revisions: Iterable[Revision]) -> Covariance | None:
        """The covariance of checkpoints on the probe that was read last, if all of them were read with it."""
        try:
            kappa = self._space.covariance(self._pinned(revisions), self._probing.latest())
        except EmptyZooError:
            return None
        except UsageError as error:  # two sets of features do not fit into memory
            self._reporter.note(f"no comparison with the choice without labels: {error.message}")
            return None
        return None if kappa.left_out else kappa

    def _best(self, ranking: Ranking, keep: Container[str]) -> list[Score]:
        """The scores to choose from: not more than can be weighed against each other."""
        if len(ranking.scores) > _MOST_WEIGHED:
            self._reporter.note(f"choosing from the {_MOST_WEIGHED} best ranked of {len(ranking.scores)}")
        return [s for n, s in enumerate(ranking.scores) if n < _MOST_WEIGHED or s.name in keep]

    def _replicates(self, kappa: Covariance, n: int) -> Iterator[Array]:
        """The covariance over resampled sentences; none of a debiased one, or of one from a file."""
        if not n or kappa.probed is None or kappa.debiased:
            return
        otherwise = "nothing is known of the stability of picks"
        jackknife = self._space.jackknife(self._pinned(kappa.revisions), kappa.probed, otherwise)
        if jackknife is not None:
            with self._reporter.track("choosing again", n, "replicates") as advance:
                for replicate in jackknife.replicates(kappa.matrix, n):
                    yield replicate
                    advance(1)

    def _ranked(self, kappa: Covariance) -> Sequence[str]:
        """The names in a covariance, in the order of the latest ranking."""
        try:
            ranking = self._store.load_note("ranking", Ranking)
        except IntegrityError as error:
            self._reporter.note(f"no comparison with the latest ranking: {error.message}")
            return ()
        return kappa.named(score.revision for score in ranking.scores) if ranking else ()

    def _costs(self, kappa: Covariance, budget: Budget) -> list[int]:
        """What each checkpoint costs.

        Raises:
            UsageError: this is not known of all.
        """
        if not kappa.revisions:
            raise UsageError("a covariance from a file says nothing of sizes.", fix="leave out --budget")
        costs = []
        for checkpoint in self._pinned(kappa.revisions):
            cost = checkpoint.parameters if budget.unit == "parameters" else checkpoint.download_bytes
            if not cost:
                raise UsageError(
                    f"it is not known how many {budget.unit} {checkpoint.name} has.", fix="name the others"
                )
            costs.append(cost)
        return costs

    def _named(self, terms: Terms, names: Sequence[str], revisions: Sequence[Revision]) -> Terms:
        """The same terms, with the names that checkpoints go by here; those of a file go by no other."""
        by_revision = dict(zip(revisions, names, strict=False))

        def named(name: str) -> str:
            if name in names or not by_revision:
                return name
            revision = self._collection.find(name).revision
            if revision not in by_revision:
                raise UsageError(f"{name} is not among the checkpoints to choose from.")
            return by_revision[revision]

        include, exclude = map(named, terms.include), map(named, terms.exclude)
        return replace(terms, include=tuple(include), exclude=tuple(exclude))

    def _pinned(self, revisions: Iterable[Revision]) -> list[Checkpoint]:
        """The checkpoints of the zoo at these revisions.

        Raises:
            NotFoundError: one was taken out in the meantime.
        """
        known = {checkpoint.revision: checkpoint for checkpoint in self._store.checkpoints()}
        try:
            return [known[revision] for revision in revisions]
        except KeyError as error:
            raise NotFoundError(f"{error.args[0]} is in the zoo no more.") from error


def _columns(scores: Sequence[Score]) -> tuple[tuple[str, ...], tuple[Revision, ...]]:
    """Names and revisions."""
    return tuple(score.name for score in scores), tuple(score.revision for score in scores)
