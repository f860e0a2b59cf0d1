"""What a report shows: all that is stored of a zoo, and of one target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from zookeeper.errors import EmptyZooError, NotFoundError, UsageError
from zookeeper.plain import now
from zookeeper.publications import Report
from zookeeper.records import Checkpoint, Target
from zookeeper.results import Comparison, Covariance, Ranking, Run, Selection
from zookeeper.runner import aim
from zookeeper.store import Store
from zookeeper.tuner import versions

Aim = tuple[object, ...]


def gathered(
    store: Store,
    checkpoints: Sequence[Checkpoint],
    *,
    covariance: Callable[[], Covariance],
    select: Callable[[Covariance], Selection],
    comparison: Callable[[Run], Comparison | None],
    target: str | None,
    run: Run | None,
    command: str,
) -> Report:
    """All that is known; see `Zoo.report`.

    Args:
        store: of the zoo.
        checkpoints: of the zoo.
        covariance: gives theirs, by what was measured.
        select: chooses by it.
        comparison: gives that of a run, if there is one.
        target: name of what it is about.
        run: that it is about.
        command: what the user typed.

    Raises:
        NotFoundError: nothing is known of the target.
        UsageError: the run is of another.
    """
    from zookeeper.cards import publishable_command

    rankings, runs = _rankings(store), store.runs()
    known = [ranking.target for ranking in rankings] + [one.target for one in runs]
    about = _aimed(target, [run.target] if run and target is None else known)
    if run and aim(run.target) != about:
        raise UsageError(f"run {run.id} is of {run.target.name}, and not of {target}.", fix="name one")
    others = [one for one in runs if aim(one.target) == about and (run is None or one.id != run.id)]
    shown = [run, *others] if run else others
    kappa = None
    with suppress(EmptyZooError):
        kappa = covariance()
    stored, unlabelled = _selected(store, about), None
    if kappa is not None and len(kappa) > 1 and (stored is None or stored.target is not None):
        unlabelled = select(kappa)
    return Report(
        command=publishable_command(command),
        created_at=now(),
        versions=versions(),
        checkpoints=tuple(checkpoints),
        covariance=kappa,
        selection=stored or unlabelled,
        unlabelled=unlabelled if stored else None,
        ranking=next((one for one in rankings if aim(one.target) == about), None),
        runs=tuple(shown),
        comparison=comparison(shown[0]) if shown else None,
    )


def _rankings(store: Store) -> list[Ranking]:
    """All, the latest first."""
    latest, saved = store.load_note("ranking", Ranking), store.load_notes("ranking", Ranking)
    return [latest, *saved] if latest else saved


def _selected(store: Store, about: Aim | None) -> Selection | None:
    """The latest selection, if it is for that target or for none."""
    stored = store.load_note("selection", Selection)
    if stored is None or (stored.target is not None and aim(stored.target) != about):
        return None
    return stored


def _aimed(name: str | None, known: Sequence[Target]) -> Aim | None:
    """What a report is about: the target of that name, or the first; None where nothing has labels."""
    if name is None:
        return aim(known[0]) if known else None
    for one in known:
        if name in (one.name, one.dataset):
            return aim(one)
    raise NotFoundError(f"nothing is known of {name}.", fix=f"zoo rank --target {name}")
