"""What a user may call the checkpoints of a zoo."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from zookeeper.errors import EmptyZooError, NotFoundError, UsageError
from zookeeper.records import Checkpoint, Revision
from zookeeper.results import Ranking, Selection
from zookeeper.store import Store

_HOW = {"selection": "zoo select -k 3", "ranking": "zoo rank --target conll2000"}


class Collection:
    """The checkpoints of a store, by the names that people type.

    Args:
        store: that keeps them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def fitting(self, name: str) -> list[Checkpoint]:
        """The checkpoints that `name` may mean: an id, an alias, the last part of an id, a folder."""
        repo_id, revision = parse(name)
        if is_folder(repo_id):
            repo_id = str(folder_of(repo_id).resolve())
        everything = self._store.checkpoints()
        if named := [c for c in everything if name in c.aliases]:
            return named
        found = [c for c in everything if repo_id == c.revision.repo_id or repo_id in c.aliases]
        found = found or [c for c in everything if repo_id in (c.name, c.name.split("/")[-1])]
        if name.endswith(f"@{revision}"):
            found = [
                c for c in found if c.revision.asked == revision or c.revision.commit.startswith(revision)
            ]
        return found

    def find(self, name: str) -> Checkpoint:
        """The one checkpoint of that name.

        Args:
            name: with ``@revision`` where the zoo has several of one repository.

        Raises:
            NotFoundError: it is not in the zoo.
            UsageError: the name fits several.
        """
        found = self.fitting(name)
        if len(found) == 1:
            return found[0]
        if not found:
            near = [c.name for c in self._store.checkpoints() if parse(name)[0].lower() in c.name.lower()]
            raise NotFoundError(
                f'no checkpoint "{name}" in the zoo.',
                why=f"did you mean {', '.join(near[:3])}?" if near else None,
                fix=f"zoo add {name}",
            )
        raise UsageError(
            f'"{name}" fits {len(found)} checkpoints.',
            why=", ".join(f"{c.revision.repo_id}@{c.revision.commit[:8]}" for c in found),
            fix="name one of them",
        )

    def chosen(self, names: Iterable[str] | str) -> list[Checkpoint]:
        """Checkpoints by name, each once, all of the zoo where none is named.

        Args:
            names: as in `find`; ``@selection`` and ``@ranking`` stand for the latest, ``@ranking:3`` for its
                first three.

        Raises:
            EmptyZooError: there are no checkpoints at all.
            NotFoundError, UsageError: as `find`.
        """
        everything = self._store.checkpoints()
        if not everything:
            raise EmptyZooError("the zoo has no checkpoints.", fix="zoo add roberta-base")
        chosen: list[Checkpoint] = []
        for name in listed(names):
            found = self._group(name) if name.startswith("@") else [self.find(name)]
            chosen += [checkpoint for checkpoint in found if checkpoint not in chosen]
        return chosen or list(everything)

    def _group(self, name: str) -> list[Checkpoint]:
        kind, _, count = name[1:].partition(":")
        if kind not in _HOW or not re.fullmatch("([1-9][0-9]*)?", count):
            raise UsageError(
                f'no group "{name}".', fix="@selection, @ranking, or @ranking:3 for its first three"
            )
        revisions = self.selected() if kind == "selection" else self._ranked()
        if not revisions:
            raise NotFoundError(f"there is no {kind} yet.", fix=_HOW[kind])
        kept = revisions[: int(count)] if count else revisions
        return [self.find(str(revision)) for revision in kept]

    def selected(self) -> Sequence[Revision]:
        """The picks of the latest selection, in order; none without one."""
        selection = self._store.load_note("selection", Selection)
        return [pick.revision for pick in selection.picks if pick.revision] if selection else []

    def _ranked(self) -> Sequence[Revision]:
        ranking = self._store.load_note("ranking", Ranking)
        return [score.revision for score in ranking.scores] if ranking else []


def parse(name: str) -> tuple[str, str]:
    """Repository (or folder) and revision of what a user typed.

    Raises:
        UsageError: it names nothing.
    """
    text = name.removeprefix("hf://")
    if is_folder(text):
        # A folder's name may hold an @; the commit of one is the digest of its content.
        pinned = None if folder_of(text).is_dir() else re.fullmatch("(.+)@([0-9a-f]{4,40})", text)
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


def folder_of(text: str) -> Path:
    """The folder that a user names, with ~ for a home.

    Raises:
        UsageError: nobody of that name has one.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text} names no folder.", why=str(error)) from error


def listed(names: Iterable[str] | str) -> list[str]:
    """Names as a list; a single one may come bare."""
    return [names] if isinstance(names, str) else list(names)


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
