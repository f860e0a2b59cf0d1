"""Checkpoints come into a zoo, from names, folders and locks, and leave it again.

What becomes of a pin beside those that are there is decided by one function, `decide`. Whoever adds, takes
over a lock or moves with the Hub finds something, asks it, and has `enact` do what it says.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from zookeeper import local, lockfile
from zookeeper.collection import LIST, Collection, Names, is_folder, names_in_use, own_aliases, parse
from zookeeper.errors import (
    AccessError,
    CheckpointError,
    DataError,
    IntegrityError,
    NotFoundError,
    OfflineError,
)
from zookeeper.lockfile import Lock
from zookeeper.outcomes import attempt
from zookeeper.plain import expanded, now, spelt_out
from zookeeper.records import (
    Checkpoint,
    Dataset,
    Measurement,
    Outcome,
    Revision,
    is_commit,
)
from zookeeper.reporter import Reporter
from zookeeper.results import Holding
from zookeeper.store import Store
from zookeeper.texts import Texts

if TYPE_CHECKING:
    from zookeeper.hub import Hub


@dataclass(frozen=True, slots=True)
class Action:
    """What is to be done about a pin.

    Attributes:
        says: status of the outcome.
        pin: that the zoo has of it then.
        add: whether that is to be stored, as it is new, or more is known of it.
        remove: whose place it takes.
    """

    says: str
    pin: Checkpoint
    add: bool = False
    remove: Revision | None = None


class Pins:
    """The checkpoints of a zoo, each found in one step.

    Args:
        checkpoints: of the zoo; at each commit of a repository there is one at most.
    """

    def __init__(self, checkpoints: Iterable[Checkpoint]) -> None:
        self._pinned: dict[str, Checkpoint] = {}
        self._following: dict[tuple[str, str], str] = {}
        self._aliases: set[str] = set()
        for checkpoint in checkpoints:
            self._add(checkpoint)

    def at(self, revision: Revision) -> Checkpoint | None:
        """The one at that commit."""
        return self._pinned.get(str(revision))

    def following(self, revision: Revision) -> Checkpoint | None:
        """The one that was asked for as that revision was: of its repository, by the same branch or tag.

        That one goes by an alias which names that branch or tag will do.
        """
        name = self._following.get((revision.repo_id, revision.asked))
        return self._pinned.get(name) if name else None

    def agreed(self, revision: Revision) -> bool:
        """Whether pickles were agreed to, at that commit."""
        pinned = self.at(revision)
        return pinned is not None and pinned.pickled

    def named(self, alias: str) -> bool:
        """Whether one of them goes by just that alias."""
        return alias in self._aliases

    def apply(self, action: Action) -> None:
        """Know what was done."""
        gone = self._pinned.pop(str(action.remove), None)
        if gone:
            for asked in _followed(gone):
                self._following.pop(asked, None)
        self._add(action.pin)

    def _add(self, checkpoint: Checkpoint) -> None:
        name = str(checkpoint.revision)
        self._pinned[name] = checkpoint
        for asked in _followed(checkpoint):
            self._following.setdefault(asked, name)
        self._aliases.update(checkpoint.aliases)


def _followed(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Its repository with each branch or tag by which it was asked for."""
    repo_id, asked = checkpoint.revision.repo_id, checkpoint.revision.asked
    also = [alias.partition("@")[2] for alias in checkpoint.aliases]
    return [(repo_id, name) for name in (asked, *also) if name]


def decide(
    found: Checkpoint,
    pins: Pins,
    *,
    typed: str = "",
    instead: Checkpoint | None = None,
    elsewhere: str = "",
) -> Action:
    """What becomes of something that was found, beside what is pinned already.

    At one commit there is one pin: it keeps what it follows, and gains names, and pickles that are agreed to;
    one that moves there goes on following what it followed, and the other's branch or tag becomes an alias.
    A name of the Hub goes on meaning the commit that it was pinned to, until that is moved. What a folder
    held before cannot be read any more, so what it holds now takes its place.

    Args:
        found: a checkpoint, as the Hub, its folder or a lock has it.
        pins: of the zoo.
        typed: what a user called it; an alias from now on where it names a revision that the pin at its
            commit was not asked for by, nor any other, so that it finds that.
        instead: the pin that moves to what was found.
        elsewhere: words before the commit that a name means elsewhere, such as ``"the lock has it at"``; of
            the Hub by default.
    """
    revision = found.revision
    same, following = pins.at(revision), pins.following(revision)
    before = instead or (following if revision.local else None)
    if same is None and before is None and following is not None:
        elsewhere = elsewhere or f"{revision.asked} is now"
        return Action(f"already there; {elsewhere} {revision.commit[:8]}", following)
    kept = _joined(found, same, moves=instead is not None)
    names = {alias for one in (found, same, before) if one for alias in one.aliases}
    if same and same.revision.asked != revision.asked:
        if instead:
            names.add(f"{revision.repo_id}@{same.revision.asked}")
        elif "@" in typed and following in (None, same):
            names.add(typed)
    kept = replace(kept, aliases=tuple(sorted(names)))
    gone = before.revision if before and str(before.revision) != str(revision) else None
    if instead:
        says = "pinned to the latest"
    elif same:
        says = "agreed to its pickles" if kept.pickled and not same.pickled else "already there"
    else:
        says = "added in place of what the folder held before" if gone else "added"
    if found.problem and not same:
        says += f", but {found.problem}"
    return Action(says, kept, add=kept != same, remove=gone)


def _joined(found: Checkpoint, same: Checkpoint | None, *, moves: bool) -> Checkpoint:
    """One pin of what was found, maybe by moving there, and what is there at the same commit."""
    if same is None:
        return found
    better = (found.pickled and not same.pickled) or (same.problem and not found.problem)
    follows = found if moves else same
    return replace(found if better else same, revision=follows.revision, added_at=same.added_at)


def enact(action: Action, pins: Pins, store: Store) -> None:
    """Do it, so that at every moment one of the two is there.

    Raises:
        StorageError: the disk refuses.
    """
    if action.add:
        store.add(replace(action.pin, added_at=action.pin.added_at or now()))
    if action.remove:
        store.remove(action.remove)
    pins.apply(action)


class Collecting:
    """Adds checkpoints to a zoo, and takes them out.

    Args:
        store: that keeps them.
        collection: their names.
        texts: keeps what the names of datasets mean.
        hub: gives the Hub; called only where something of it is named.
        reporter: told what is going on.
    """

    def __init__(
        self,
        store: Store,
        collection: Collection,
        texts: Texts,
        hub: Callable[[], Hub],
        reporter: Reporter,
    ) -> None:
        self._store, self._collection, self._texts = store, collection, texts
        self._hub, self._reporter = hub, reporter

    # Names and folders

    def add(self, names: Sequence[str], *, pickles: bool) -> tuple[Outcome, ...]:
        """Pin checkpoints to the commits their names mean now; see `Zoo.add`.

        Raises:
            StorageError: the zoo cannot be written to.
        """
        pins = self._pins()
        return self._each([(name, partial(self._named, name, pins, pickles=pickles)) for name in names])

    def pin(self, name: str) -> Checkpoint:
        """Add one checkpoint; as it is in the zoo then.

        Raises:
            ZooError: it cannot be had, or the zoo cannot be written to.
        """
        return self._named(name, self._pins(), pickles=False).pin

    def _named(self, name: str, pins: Pins, *, pickles: bool) -> Action:
        """Add what a name means."""
        return self._enacted(decide(self._found(name, pins, pickles=pickles), pins, typed=name), pins)

    def _found(self, name: str, pins: Pins, *, pickles: bool) -> Checkpoint:
        """What a name means now; offline, what it means in the zoo."""
        repo_id, revision = parse(name)
        if is_folder(repo_id):
            _refuse_revision(repo_id)
            found = _described(expanded(repo_id), pins, pickles=pickles)
            if revision != "main" and not found.revision.commit.startswith(revision):
                raise IntegrityError(
                    f"{repo_id} is not what it was at {revision[:8]}.",
                    why=f"it is {found.revision.commit[:8]} now",
                    fix=local.remedy(expanded(repo_id)),
                )
            return found
        known = pins.at(Revision(repo_id, revision, revision)) if is_commit(revision) else None
        if known and (known.pickled or not pickles):
            return known
        try:
            return self._hub().checkpoint(repo_id, revision, pickles=pickles)
        except OfflineError:
            if not self._collection.fitting(name):
                raise
            pin = self._collection.find(name)
            if pickles and pin.problem:  # which may be pickles that nobody agreed to
                raise
            return pin
        except (NotFoundError, AccessError) as error:
            if not Path(repo_id).is_dir():
                raise
            fix = f"for the folder: zoo add {shlex.quote(f'./{repo_id}')}"
            raise type(error)(error.message, why=error.why, fix=fix) from error

    # Locks

    def add_listed(self, text: str, *, pickles: bool) -> tuple[Outcome, ...]:
        """Pin the checkpoints of a lock, or of a list of names; see `Zoo.add_listed`.

        Raises:
            DataError: it is a lock, and an entry of it cannot be a pin.
            UsageError: it is a list without names.
            StorageError: the zoo cannot be written to.
        """
        if not lockfile.is_lock(text):
            return self.add(lockfile.names_of(text), pickles=pickles)
        lock, known = lockfile.read(text), self._store.checkpoints()
        pins, in_use = Pins(known), names_in_use([*known, *lock.checkpoints])
        named = [replace(pin, aliases=own_aliases(pin, in_use)) for pin in lock.checkpoints]
        outcomes = self._each(
            [(pin.name, partial(self._taken_over, pin, pins, pickles=pickles)) for pin in named]
        )
        self._advise(
            one.name
            for pin, one in zip(named, outcomes, strict=True)
            if one.revision and one.revision.commit != pin.revision.commit
        )
        met = {dataset.revision.repo_id for dataset in self._datasets()}
        for dataset in lock.datasets:
            if dataset.revision.repo_id not in met:
                self._texts.pin(dataset)
        return outcomes

    def _advise(self, names: Iterable[str]) -> None:
        """Say how to take over what a lock has of checkpoints that are pinned to other commits here."""
        if listed := shlex.join(names):
            self._reporter.note(
                f"To take over what the lock has elsewhere, this and then the same again:\n  zoo rm {listed}"
            )

    def _taken_over(self, pin: Checkpoint, pins: Pins, *, pickles: bool) -> Action:
        """Add a checkpoint of a lock; a folder only if it is what it was."""
        if pin.pickled and not (pickles or pins.agreed(pin.revision)):
            raise CheckpointError(
                "its weights are pickles, which were agreed to elsewhere.",
                why="pickles can run code when they are read; zoo converts them without",
                fix="to agree to them here: the same with --allow-pickle",
            )
        if pin.revision.local:
            if not Path(pin.revision.repo_id).is_dir():
                raise NotFoundError(
                    f"there is no folder {pin.revision.repo_id}.", fix="put it there, then the same again"
                )
            return self._named(str(pin.revision), pins, pickles=pin.pickled)
        free = tuple(alias for alias in pin.aliases if not pins.named(alias))
        return self._enacted(decide(replace(pin, aliases=free), pins, elsewhere="the lock has it at"), pins)

    def freeze(self) -> Lock:
        """The zoo as a lock; what no lock can say is left out, and it is said why."""
        datasets = {str(found.revision): found for found in self._datasets()}
        return Lock(
            version("hf-zoo"),
            tuple(filter(self._can_be_locked, self._store.checkpoints())),
            tuple(filter(self._can_be_locked, datasets.values())),
        )

    def _can_be_locked(self, pin: Checkpoint | Dataset) -> bool:
        try:
            lockfile.check(pin)
        except DataError as error:
            self._reporter.note(spelt_out(f"{pin.revision.name} is left out: {error.message}"))
            return False
        return True

    # Out again

    def remove(self, names: Iterable[str], *, features: bool, dry_run: bool) -> tuple[Outcome, ...]:
        """Take checkpoints out of the zoo; see `Zoo.remove`.

        Raises:
            StorageError: the disk refuses.
        """
        holdings = {holding.checkpoint: holding for holding in self._collection.holdings()}
        there = Names(holdings)

        def remove(name: str) -> Outcome:
            checkpoint = there.find(name, fix=LIST)
            outcome = self._removed(name, holdings[checkpoint], features=features, dry_run=dry_run)
            if not dry_run:
                there.forget(checkpoint)
            return outcome

        return tuple(attempt(name, partial(remove, name)) for name in names)

    def _removed(self, name: str, holding: Holding, *, features: bool, dry_run: bool) -> Outcome:
        measured: list[Measurement] = [*holding.features, *holding.evidence, *holding.signatures]
        doomed = measured if features else []
        if not dry_run:
            for one in doomed:
                self._store.discard(type(one), one.key.digest)
            self._store.remove(holding.checkpoint.revision)
        status, freed = "would be removed" if dry_run else "removed", sum(one.size for one in doomed)
        details = {"freed_bytes": freed, "kept_bytes": sum(one.size for one in measured) - freed}
        return Outcome(name, status, holding.checkpoint.revision, details=details)

    # Parts

    def _pins(self) -> Pins:
        return Pins(self._store.checkpoints())

    def _datasets(self) -> Sequence[Dataset]:
        return self._store.load_notes("dataset", Dataset)

    def _enacted(self, action: Action, pins: Pins) -> Action:
        enact(action, pins, self._store)
        return action

    def _each(self, adding: Sequence[tuple[str, Callable[[], Action]]]) -> tuple[Outcome, ...]:
        """What becomes of each by its name; what goes wrong with one is its outcome."""
        outcomes: list[Outcome] = []
        with self._reporter.track("adding", len(adding), "checkpoints") as advance:
            for name, add in adding:
                done = attempt(name, add)
                outcomes.append(done if isinstance(done, Outcome) else _outcome(name, done))
                advance(1)
        return tuple(outcomes)


def _outcome(name: str, action: Action) -> Outcome:
    return Outcome(name, action.says, action.pin.revision)


def _refuse_revision(folder: str) -> None:
    """Say so where the name of a folder ends with what would be a revision of a repository.

    Raises:
        NotFoundError: there is no such folder, but one of the name before.
    """
    name, _, revision = folder.rpartition("@")
    if name and not expanded(folder).is_dir() and expanded(name).is_dir():
        raise NotFoundError(
            f"there is no folder {folder}.",
            why=f"a folder has no revisions such as {revision}",
            fix=f"zoo add {shlex.quote(name)}",
        )


def _described(folder: Path, pins: Pins, *, pickles: bool) -> Checkpoint:
    """What a folder holds; to pickles that it held when they were agreed to, nobody need agree again."""
    found = local.describe(folder, pickles=True)
    if pickles or not found.pickled or pins.agreed(found.revision):
        return found
    return local.describe(folder)
