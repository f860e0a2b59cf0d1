"""A repository that is to be written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from zookeeper.errors import AccessError, DataError, NotFoundError, UsageError
from zookeeper.hub.changes import README, Standing
from zookeeper.hub.client import Client, Info, Kind
from zookeeper.hub.faults import LOGIN, status_of
from zookeeper.hub.listings import repository_of
from zookeeper.plain import brief
from zookeeper.records import RepoFile, Revision

R = TypeVar("R")

MAIN = "main"

_LARGEST_CARD = 1 << 20


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request.

    Attributes:
        number: in its repository.
        status: ``open``, ``draft``, ``closed`` or ``merged``.
    """

    number: int
    status: str

    @property
    def is_open(self) -> bool:
        """Whether it still waits for its owner."""
        return self.status in ("open", "draft")

    @property
    def ref(self) -> str:
        """The branch of its commits."""
        return f"refs/pr/{self.number}"

    @property
    def page(self) -> str:
        """Where people talk about it, below the page of its repository."""
        return f"discussions/{self.number}"


@dataclass(frozen=True, slots=True)
class Place:
    """A repository on the Hub, which may not exist yet.

    Attributes:
        client: that asks the Hub.
        repo_id: ``owner/name``.
        kind: of repository.
    """

    client: Client
    repo_id: str
    kind: Kind

    def __post_init__(self) -> None:
        what = self.what
        if "/" not in self.repo_id:
            raise UsageError(f"{what} has no owner.", fix=f"name it OWNER/{self.repo_id}")

    @property
    def what(self) -> str:
        """The repository as errors name it.

        Raises:
            UsageError: no repository can have such a name.
        """
        return self.client.checked(self.repo_id, self.kind)

    def url(self, path: str = "") -> str:
        """Address of its page, or of one below that."""
        folder = "" if self.kind == "model" else f"{self.kind}s/"
        return "/".join(part for part in (self.client.endpoint, f"{folder}{self.repo_id}", path) if part)

    def missing(self) -> NotFoundError:
        """What to say where it has to be there, and is not."""
        return NotFoundError(
            f"no {self.what} on the Hub, or you may not see it.",
            fix=f"check the name; for a private one: {LOGIN}",
        )

    def standing(self, revision: str = MAIN) -> Standing:
        """What is there now.

        Raises:
            UsageError: it goes by another name now.
            NotFoundError: it is not there, or may not be seen.
            DataError: its card cannot be read, and so not be kept.
            AccessError, IntegrityError, NetworkError: as the Hub answers.
        """
        return self._standing(self.client.info(self.repo_id, revision, kind=self.kind), revision)

    def standing_or_none(self) -> Standing | None:
        """What is on main now; None where there is no such repository, or none that may be seen.

        Raises:
            UsageError, DataError, AccessError, IntegrityError, NetworkError: as `standing`.
            NotFoundError: it vanished while it was read.
        """
        try:
            info = self.client.info(self.repo_id, MAIN, kind=self.kind)
        except NotFoundError:
            return None
        return self._standing(info, MAIN)

    def _standing(self, info: Info, revision: str) -> Standing:
        if info.id != self.repo_id:
            found = brief(info.id)
            raise UsageError(
                f"{self.what} is called {found} now.",
                fix=f"run the same command with {found}, if you mean it",
            )
        there = repository_of(info, revision)
        files = {file.path: file for file in there.files}
        card = self._card(there.revision, files[README]) if README in files else ""
        return Standing(there.revision, files, card, bool(info.private))

    def _card(self, revision: Revision, file: RepoFile) -> str:
        if file.size > _LARGEST_CARD:
            raise DataError(
                f"{README} of {self.what} is too large to be changed: {file.size / 1e6:.1f} MB.",
                why=f"zoo reads cards of up to {_LARGEST_CARD / 1e6:.0f} MB",
            )
        folder = self.client.fetch(revision, (file,), kind=self.kind)
        try:
            return (folder / README).read_bytes().decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{README} of {self.what} is not UTF-8.",
                why=f"{error.reason} at byte {error.start}; zoo could not keep every byte of it",
                fix="save it as UTF-8 first",
            ) from error

    def make(self, *, private: bool) -> None:
        """Make the repository; nothing happens where it is there."""
        self.ask(
            lambda: self.client.api.create_repo(
                self.repo_id, repo_type=self.kind, private=private, exist_ok=True
            )
        )

    def pulls(self, author: str, title: str) -> tuple[Pull, ...]:
        """Pull requests of somebody whose title begins so, of whatever status, newest first.

        Raises:
            AccessError: the repository takes none.
        """

        def ask() -> list[Pull]:
            found = self.client.api.get_repo_discussions(
                self.repo_id, author=author, discussion_type="pull_request", repo_type=self.kind
            )
            return [
                Pull(int(one.num), brief(one.status))
                for one in found
                if one.is_pull_request and one.author == author and one.title.startswith(title)
            ]

        try:
            return tuple(sorted(self.ask(ask), key=lambda pull: -pull.number))
        except AccessError as error:
            if status_of(error.__cause__) == 403:
                raise AccessError(f"{self.repo_id} takes no pull requests.", why=error.why) from error
            raise

    def child(self, parent: str, title: str, revision: str) -> str | None:
        """The commit of that title on a branch that follows on another; None where there is none."""
        commits = self.ask(
            lambda: self.client.api.list_repo_commits(self.repo_id, repo_type=self.kind, revision=revision)
        )
        return next(
            (
                newer.commit_id
                for newer, older in pairwise(commits)
                if (newer.title, older.commit_id) == (title, parent)
            ),
            None,
        )

    def ask(self, request: Callable[[], R], *, once: bool = False) -> R:
        """Make a request that is about this repository; see `Client.ask`."""
        return self.client.ask(self.what, request, once=once)
