"""The checkpoints of a zoo: what a user may call them, and what there is of each."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from zookeeper.errors import EmptyZooError, NotFoundError, StorageError, UsageError
from zookeeper.plain import expanded, spelt_out
from zookeeper.records import Checkpoint, EvidenceSet, FeatureSet, Revision, SignatureSet, by_checkpoint
from zookeeper.results import Holding, Ranking, Selection
from zookeeper.store import Store

LIST = "zoo ls"
"""What to do where only what is in the zoo makes sense."""

_HOW = {"selection": "zoo select -k 3", "ranking": "zoo rank --target conll2000"}


class Collection:
    """The checkpoints of a store, by the names that people type.

    Args:
        store: that keeps them.
        note: told of those that are left out.
    """

    def __init__(self, store: Store, *, note: Callable[[str], None] = lambda _: None) -> None:
        self._store = store
        self._note = note
        self._noted: set[str] = set()

    def fitting(self, name: str) -> list[Checkpoint]:
        """The checkpoints that a name may mean; see `Names.fitting`."""
        return self._names().fitting(name)

    def find(self, name: str) -> Checkpoint:
        """The one checkpoint of that name; see `Names.find`.

        Raises:
            NotFoundError, UsageError: as `Names.find`.
        """
        return self._names().find(name)

    def chosen(self, names: Iterable[str] | str, *, fix: str | None = None) -> list[Checkpoint]:
        """Checkpoints by name, each once; where none is named, all of the zoo that can be read.

        Of all, those are left out of which it is known since they were added that they cannot be read; it
        is said once. One that is named is chosen, for what uses it to say why it cannot.

        Args:
            names: as in `find`; ``@selection`` and ``@ranking`` stand for the latest, ``@ranking:3`` for its
                first three.
            fix: as in `Names.find`.

        Raises:
            EmptyZooError: there are no checkpoints at all.
            NotFoundError, UsageError: as `find`.
        """
        everything = self.everything()
        known = Names(everything)
        chosen: dict[Checkpoint, None] = {}  # in order, each once
        for name in listed(names):
            found = self._group(name) if name.startswith("@") else [name]
            chosen |= dict.fromkeys(known.find(one, fix=fix) for one in found)
        return list(chosen) or self._readable(everything)

    def everything(self) -> list[Checkpoint]:
        """All checkpoints of the zoo.

        Raises:
            EmptyZooError: there are none.
        """
        everything = self._pinned()
        if not everything:
            raise EmptyZooError("the zoo has no checkpoints.", fix="zoo add roberta-base")
        return list(everything)

    def holdings(self) -> tuple[Holding, ...]:
        """All checkpoints, by name, with what the zoo has of each; none of an empty zoo."""
        features = by_checkpoint(self._store.all(FeatureSet))
        evidence = by_checkpoint(self._store.all(EvidenceSet))
        signatures = by_checkpoint(self._store.all(SignatureSet))
        runs: defaultdict[str, list[str]] = defaultdict(list)
        for run in self._store.runs():
            for member in run.members:
                runs[str(member.revision)].append(run.id)
        return tuple(
            Holding(
                c, features.get(name, ()), evidence.get(name, ()), tuple(runs[name]), signatures.get(name, ())
            )
            for c in self._pinned()
            for name in [str(c.revision)]
        )

    def holding(self, name: str) -> Holding:
        """One checkpoint with what the zoo has of it.

        Raises:
            NotFoundError, UsageError: as `find`.
        """
        checkpoint = self.find(name)
        return next(h for h in self.holdings() if h.checkpoint.revision == checkpoint.revision)

    def _names(self) -> Names:
        return Names(self._pinned())

    def _pinned(self) -> Sequence[Checkpoint]:
        """Those of the store.

        Raises:
            StorageError: what should be its home is no folder.
        """
        home = self._store.home
        if home.exists() and not home.is_dir():
            raise StorageError(f"{home} is no folder.", fix="set ZOO_HOME to another folder")
        return self._store.checkpoints()

    def _readable(self, checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
        """Those that can be read as far as is known; all where none can, so that it is said why."""
        readable = [checkpoint for checkpoint in checkpoints if not checkpoint.problem]
        if not readable:
            return list(checkpoints)
        new = [one for one in checkpoints if one.problem and str(one.revision) not in self._noted]
        self._noted.update(str(one.revision) for one in new)
        if len(new) == 1:
            self._note(spelt_out(f"{new[0].name} is left out: {new[0].problem}"))
        elif new:
            reasons = Counter(str(one.problem) for one in new).most_common()
            counted = ", ".join(f"{n:,} ({reason})" for reason, n in reasons)
            self._note(spelt_out(f"{len(new):,} checkpoints are left out: {counted}. zoo ls shows which"))
        return readable

    def _group(self, name: str) -> list[str]:
        """Names of the checkpoints of a group."""
        kind, _, count = name[1:].partition(":")
        if kind not in _HOW or not re.fullmatch("([1-9][0-9]*)?", count):
            raise UsageError(
                f'no group "{name}".', fix="@selection, @ranking, or @ranking:3 for its first three"
            )
        revisions = self.selected() if kind == "selection" else self._ranked()
        if not revisions:
            raise NotFoundError(f"there is no {kind} yet.", fix=_HOW[kind])
        kept = revisions[: int(count)] if count else revisions
        return list(map(str, kept))

    def selected(self) -> Sequence[Revision]:
        """The picks of the latest selection, in order; none without one."""
        selection = self._store.load_note("selection", Selection)
        return [pick.revision for pick in selection.picks if pick.revision] if selection else []

    def _ranked(self) -> Sequence[Revision]:
        ranking = self._store.load_note("ranking", Ranking)
        return [score.revision for score in ranking.scores] if ranking else []


class Names:
    """Checkpoints by what users may call them, each found in one step.

    Args:
        checkpoints: of a zoo.
    """

    def __init__(self, checkpoints: Iterable[Checkpoint]) -> None:
        self._checkpoints = dict.fromkeys(checkpoints)
        self._by: tuple[dict[str, list[Checkpoint]], ...] = {}, {}, {}
        for checkpoint in self._checkpoints:
            for names, found in zip(_ways_to_say(checkpoint), self._by, strict=True):
                for name in names:
                    found.setdefault(name, []).append(checkpoint)

    def fitting(self, name: str) -> list[Checkpoint]:
        """The checkpoints that `name` may mean: an id, an alias, the last part of an id, a folder.

        Raises:
            UsageError: it names nothing.
        """
        repo_id, revision = parse(name)
        if is_folder(repo_id):
            repo_id = str(expanded(repo_id).resolve())
        aliases, ids, short = self._by
        if named := aliases.get(name):
            return list(named)
        found = ids.get(repo_id) or short.get(repo_id) or []
        if not name.endswith(f"@{revision}"):
            return list(found)
        return [c for c in found if c.revision.asked == revision or c.revision.commit.startswith(revision)]

    def find(self, name: str, *, fix: str | None = None) -> Checkpoint:
        """The one checkpoint of that name.

        Args:
            name: with ``@revision`` where the zoo has several of one repository.
            fix: what to do where there is none; by default, to add it.

        Raises:
            NotFoundError: it is not in the zoo.
            UsageError: the name fits several.
        """
        found = self.fitting(name)
        if len(found) == 1:
            return found[0]
        if not found:
            near = [c.name for c in self._checkpoints if parse(name)[0].lower() in c.name.lower()]
            raise NotFoundError(
                f'no checkpoint "{name}" in the zoo.',
                why=f"did you mean {', '.join(near[:3])}?" if near else None,
                fix=fix or f"zoo add {_addable(name)}",
            )
        raise UsageError(
            f'"{name}" fits {len(found)} checkpoints.',
            why=", ".join(f"{c.revision.repo_id}@{c.revision.commit[:8]}" for c in found),
            fix="name one of them",
        )

    def forget(self, checkpoint: Checkpoint) -> None:
        """Find one no more: it is in the zoo no longer."""
        del self._checkpoints[checkpoint]
        for names, found in zip(_ways_to_say(checkpoint), self._by, strict=True):
            for name in names:
                found[name].remove(checkpoint)


def _addable(name: str) -> str:
    """A name as it is added: one that is no repository's may be that of a folder here."""
    beside = "/" not in name and Path(name).is_dir()
    return shlex.quote(f"./{name}" if beside else name)


def _ways_to_say(checkpoint: Checkpoint) -> tuple[set[str], set[str], set[str]]:
    """Its names: those that mean nothing else, those that it goes by, and those that will do."""
    aliases = set(checkpoint.aliases)
    return aliases, {checkpoint.revision.repo_id, *aliases}, {checkpoint.name, _last(checkpoint.name)}


def parse(name: str) -> tuple[str, str]:
    """Repository (or folder) and revision of what a user typed.

    Raises:
        UsageError: it names nothing.
    """
    text = name.removeprefix("hf://")
    if is_folder(text):
        # A folder's name may hold an @; the commit of one is the digest of its content.
        pinned = None if expanded(text).is_dir() else re.fullmatch("(.+)@([0-9a-f]{4,40})", text)
        return (pinned[1], pinned[2]) if pinned else (text, "main")
    repo_id, _, revision = text.partition("@")
    if not repo_id:
        raise UsageError(
            f'"{name}" names no checkpoint.', fix="repo, org/repo, org/repo@revision or ./folder"
        )
    return repo_id, revision or "main"


def is_folder(text: str) -> bool:
    """Whether a name is that of a folder on this machine."""
    return text.startswith((".", "/", "~"))


def listed(names: Iterable[str] | str) -> list[str]:
    """Names as a list; a single one may come bare."""
    return [names] if isinstance(names, str) else list(names)


def names_in_use(checkpoints: Iterable[Checkpoint]) -> dict[str, set[str]]:
    """The names by which `Collection.fitting` finds checkpoints, and the repositories that go by each."""
    found: dict[str, set[str]] = {}
    for checkpoint in checkpoints:
        for name in _names_of(checkpoint):
            found.setdefault(name, set()).add(checkpoint.revision.repo_id)
    return found


def own_aliases(pin: Checkpoint, in_use: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Of what somebody else says that a checkpoint is called, what takes no other name over.

    An alias must end as the id does, and be no name of another repository.

    Args:
        pin: of the Hub, with the aliases that are said.
        in_use: `names_in_use` of all that it is going to lie with; itself may be among them.
    """
    named = {alias: _bare(alias) for alias in pin.aliases}
    alone: set[str] = {pin.revision.repo_id}
    return tuple(
        alias
        for alias, name in named.items()
        if _last(name) == _last(pin.name) and in_use.get(name, alone) <= alone
    )


def _names_of(checkpoint: Checkpoint) -> set[str]:
    name = checkpoint.name
    return {checkpoint.revision.repo_id, name, _last(name), *map(_bare, checkpoint.aliases)}


def _bare(alias: str) -> str:
    """An alias without its revision."""
    return alias.removeprefix("hf://").partition("@")[0]


def _last(name: str) -> str:
    return name.split("/")[-1]


def distinct_names(checkpoints: Sequence[Checkpoint]) -> tuple[str, ...]:
    """Short names; with the commit where two would be the same, or whole where that is the same too."""
    names = [checkpoint.name for checkpoint in checkpoints]
    longer = [
        f"{name}@{checkpoint.revision.commit[:8]}"
        for name, checkpoint in zip(names, checkpoints, strict=True)
    ]
    return tuple(
        next(
            (n for n, among in ((name, names), (long, longer)) if among.count(n) == 1),
            checkpoint.revision.repo_id,
        )
        for name, long, checkpoint in zip(names, longer, checkpoints, strict=True)
    )
