"""What a report shows: all that is stored of a zoo, and of one target."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from zookeeper.errors import EmptyZooError, NotFoundError, UsageError
from zookeeper.records import Checkpoint, Target
from zookeeper.results import Comparison, Covariance, Ranking, Report, Run, Selection
from zookeeper.runner import aim
from zookeeper.store import Store
from zookeeper.tuner import versions

Aim = tuple[object, ...]


class Reporting:
    """Gathers reports.

    Args:
        store: of the zoo.
        covariance: gives that of the zoo, by what was measured.
        select: chooses by it.
        comparison: gives that of a run, if there is one.
    """

    def __init__(
        self,
        store: Store,
        covariance: Callable[[], Covariance],
        select: Callable[[Covariance], Selection],
        comparison: Callable[[Run], Comparison | None],
    ) -> None:
        self._store = store
        self._covariance, self._select, self._comparison = covariance, select, comparison

    def report(
        self, checkpoints: Sequence[Checkpoint], *, target: str | None, run: Run | None, command: str
    ) -> Report:
        """All that is known; see `Zoo.report`.

        Raises:
            NotFoundError: nothing is known of the target.
            UsageError: the run is of another.
        """
        rankings, runs = self._rankings(), self._store.runs()
        known = [ranking.target for ranking in rankings] + [one.target for one in runs]
        about = _aimed(target, [run.target] if run and target is None else known)
        if run and aim(run.target) != about:
            raise UsageError(f"run {run.id} is of {run.target.name}, and not of {target}.", fix="name one")
        others = [one for one in runs if aim(one.target) == about and (run is None or one.id != run.id)]
        shown = [run, *others] if run else others
        kappa = None
        with suppress(EmptyZooError):
            kappa = self._covariance()
        from zookeeper.cards import publishable_command

        return Report(
            command=publishable_command(command),
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions=versions(),
            checkpoints=tuple(checkpoints),
            covariance=kappa,
            selection=self._selection(kappa, about),
            ranking=next((one for one in rankings if aim(one.target) == about), None),
            runs=tuple(shown),
            comparison=self._comparison(shown[0]) if shown else None,
        )

    def _rankings(self) -> list[Ranking]:
        """All, the latest first."""
        latest = self._store.load_note("ranking", Ranking)
        saved = self._store.load_notes("ranking", Ranking)
        return [latest, *saved] if latest else saved

    def _selection(self, kappa: Covariance | None, about: Aim | None) -> Selection | None:
        """The latest, if it is for that target or none; else what would be selected without one."""
        stored = self._store.load_note("selection", Selection)
        if stored is not None and (stored.target is None or aim(stored.target) == about):
            return stored
        return self._select(kappa) if kappa and len(kappa) > 1 else None


def _aimed(name: str | None, known: Sequence[Target]) -> Aim | None:
    """What a report is about: the target of that name, or the first; None where nothing has labels."""
    if name is None:
        return aim(known[0]) if known else None
    for one in known:
        if name in (one.name, one.dataset):
            return aim(one)
    raise NotFoundError(f"nothing is known of {name}.", fix=f"zoo rank --target {name}")
