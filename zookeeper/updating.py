"""Pins beside what their names mean now: what moved, and what of it loading a checkpoint would notice."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zookeeper import local
from zookeeper.collecting import Pins, decide, enact
from zookeeper.errors import CheckpointError, NotFoundError
from zookeeper.layouts import CONFIG
from zookeeper.outcomes import attempt, attempts
from zookeeper.records import Checkpoint, Outcome
from zookeeper.reporter import Reporter
from zookeeper.store import Store

if TYPE_CHECKING:
    from zookeeper.hub import Hub

_AT_ONCE = 8
_WEIGHTS = re.compile(r".*\.(safetensors|safetensors\.index\.json|bin|bin\.index\.json|pt|pth)")
_ORDER = ("weights", "config", "tokenizer", "card only")


class Updating:
    """Compares the pins of a zoo with the Hub, and moves them.

    Args:
        store: that keeps checkpoints.
        hub: gives the Hub; called only where something of it is pinned.
        reporter: told what is going on.
    """

    def __init__(self, store: Store, hub: Callable[[], Hub], reporter: Reporter) -> None:
        self._store = store
        self._hub = hub
        self._reporter = reporter

    def update(self, checkpoints: Sequence[Checkpoint], *, apply: bool) -> tuple[Outcome, ...]:
        """What became of each checkpoint on the Hub, or in its folder; one request each, several at once.

        Args:
            checkpoints: which.
            apply: whether to pin those that moved to what they are now.

        Returns:
            Outcomes, in the order of `checkpoints`; of one that moved with ``latest``, the commit that its
            name means now, and ``changed``.

        Raises:
            StorageError: a pin cannot be written.
        """
        found = zip(checkpoints, self._looked_up(checkpoints), strict=True)
        pins = Pins(self._store.checkpoints())
        return tuple(
            replace(latest, revision=pinned.revision)
            if isinstance(latest, Outcome)
            else self._outcome(pinned, latest, pins, apply=apply)
            for pinned, latest in found
        )

    def _looked_up(self, checkpoints: Sequence[Checkpoint]) -> list[Checkpoint | Outcome]:
        """What names mean now; a checkpoint that is pinned by its commit is looked up by nobody."""
        if any(not (c.revision.local or c.revision.by_commit) for c in checkpoints):
            self._hub()  # once, before threads could make one each

        with self._reporter.track("looking up", len(checkpoints), "checkpoints") as advance:

            def look_up(checkpoint: Checkpoint) -> Checkpoint:
                try:
                    return self._latest(checkpoint)
                finally:
                    advance(1)

            return attempts([(one.name, partial(look_up, one)) for one in checkpoints], at_once=_AT_ONCE)

    def _latest(self, pinned: Checkpoint) -> Checkpoint:
        revision = pinned.revision
        if revision.local:
            return local.describe(Path(revision.repo_id), pickles=pinned.pickled)
        if revision.by_commit:
            return pinned
        try:
            return self._hub().checkpoint(revision.repo_id, revision.asked, pickles=pinned.pickled)
        except NotFoundError as error:
            why = "it was removed or made private since; the pin still works from the cache"
            raise NotFoundError(error.message, why=why, fix=error.fix) from error

    def _outcome(self, pinned: Checkpoint, latest: Checkpoint, pins: Pins, *, apply: bool) -> Outcome:
        if latest.revision.commit == pinned.revision.commit:
            return Outcome(pinned.name, _unmoved(pinned, latest), pinned.revision)
        details = {"latest": latest.revision.commit, "changed": list(changes(pinned, latest))}
        done = attempt(pinned.name, partial(self._moved, pinned, latest, pins)) if apply else "moved"
        if isinstance(done, Outcome):
            return replace(done, revision=pinned.revision, details=details)
        status = ", ".join([done, *_remarks(pinned, latest)])
        return Outcome(pinned.name, status, pinned.revision, details=details)

    def _moved(self, pinned: Checkpoint, latest: Checkpoint, pins: Pins) -> str:
        """Pin a checkpoint to what it is now; says what was done.

        Raises:
            CheckpointError: it may not be.
            StorageError: the pin cannot be written.
        """
        check_movable(latest, pins)
        action = decide(latest, pins, instead=pinned)
        enact(action, pins, self._store)
        return action.says


def check_movable(latest: Checkpoint, pins: Pins) -> None:
    """Refuse to pin a checkpoint to what it is now, where that cannot be read.

    Args:
        latest: what it is now.
        pins: of the zoo, which know what pickles were agreed to.

    Raises:
        CheckpointError: why, and what to do.
    """
    revision, commit = latest.revision, latest.revision.commit
    if latest.problem:
        raise CheckpointError(f"it stays as it was: at {commit[:8]} {latest.problem}.")
    if latest.pickled and not pins.agreed(revision):
        name = revision.repo_id if revision.local else f"{revision.repo_id}@{commit}"
        raise CheckpointError(
            f"it stays as it was: the pickles of {commit[:8]} were not agreed to.",
            fix=f"zoo add {shlex.quote(name)} --allow-pickle",
        )


def changes(pinned: Checkpoint, latest: Checkpoint) -> tuple[str, ...]:
    """What loading a checkpoint would notice: weights, config, tokenizer; else ``"card only"``."""
    before, after = ({file.path: file.digest for file in c.files} for c in (pinned, latest))
    paths = [path for path in {*before, *after} if before.get(path) != after.get(path)]
    parts = {_part(path) for path in paths} or {"card only"}
    return tuple(sorted(parts, key=_ORDER.index))


def _part(path: str) -> str:
    if _WEIGHTS.fullmatch(path):
        return "weights"
    return "config" if path == CONFIG else "tokenizer"


def _unmoved(pinned: Checkpoint, latest: Checkpoint) -> str:
    if not pinned.revision.local and pinned.revision.by_commit:
        return "pinned by commit"
    return ", ".join(["up to date", *_remarks(pinned, latest)])


def _remarks(pinned: Checkpoint, latest: Checkpoint) -> list[str]:
    """What else a user should know."""
    facts: dict[str, Any] = {
        "gated now": latest.gated and not pinned.gated,
        "cannot be read any more": latest.problem and not pinned.problem,
    }
    return [said for said, holds in facts.items() if holds]
