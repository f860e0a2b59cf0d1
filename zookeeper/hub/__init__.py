"""The only network: names to commits, commits to files, results to repositories.

Nothing here parses weights. Every file that is fetched belongs to a commit that was resolved before, and
its bytes are compared with the digest that the Hub gave for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import cast

from huggingface_hub.hf_api import ModelInfo

from zookeeper.hub.benchmarks import tasks_of
from zookeeper.hub.cached import Cached, cached, free, place
from zookeeper.hub.client import Client, Kind
from zookeeper.hub.listings import checkpoint_of, repository_of
from zookeeper.hub.places import Place
from zookeeper.hub.pushing import Errand, account_of, push
from zookeeper.hub.reaching import Answer, reach
from zookeeper.hub.rights import Account
from zookeeper.publications import Publication, Push
from zookeeper.records import Checkpoint, Dataset, RepoFile, Revision
from zookeeper.settings import Settings

__all__ = ["Account", "Answer", "Cached", "Hub", "Kind"]


class Hub:
    """A Hugging Face Hub.

    Args:
        endpoint: such as ``https://huggingface.co``.
        cache: the folder of huggingface_hub's own cache, shared with other tools.
        offline: whether to answer from the cache only.
    """

    def __init__(self, endpoint: str, cache: Path, *, offline: bool = False) -> None:
        self.endpoint = endpoint
        self.cache = cache
        self.offline = offline
        self._client = Client(endpoint, cache, offline=offline)

    @classmethod
    def of(cls, settings: Settings) -> Hub:
        """The one that settings name."""
        return cls(settings.endpoint, settings.hub_cache, offline=settings.offline)

    def checkpoint(self, name: str, revision: str = "main", *, pickles: bool = False) -> Checkpoint:
        """Resolve a name to the commit it means now, with all that is known without the weights.

        Costs one request (and one more where a short name is redirected to its canonical id).

        Args:
            name: of the repository.
            revision: branch, tag or commit.
            pickles: whether its weights may be pickles, where there are no others.

        Raises:
            UsageError: no repository can have that name.
            NotFoundError: no such repository or revision.
            AccessError: it is private.
            NetworkError: the Hub cannot be reached.
        """
        info = cast(ModelInfo, self._client.info(name, revision))
        return checkpoint_of(info, name, revision, pickles=pickles)

    def dataset(self, name: str, revision: str = "main") -> Dataset:
        """Resolve a dataset's name to the commit it means now.

        Raises:
            UsageError, NotFoundError, AccessError, NetworkError: as `checkpoint`.
        """
        return self.repository(name, revision, kind="dataset")

    def repository(self, name: str, revision: str = "main", *, kind: Kind = "model") -> Dataset:
        """Resolve a repository's name to the commit it means now, with all of its files.

        Args:
            name: ``owner/name``.
            revision: branch, tag or commit.
            kind: of repository; a model is a set of files as well as a dataset.

        Raises:
            UsageError, NotFoundError, AccessError, NetworkError: as `checkpoint`.
        """
        return repository_of(self._client.info(name, revision, kind=kind), revision)

    def fetch(
        self,
        revision: Revision,
        files: tuple[RepoFile, ...],
        *,
        kind: Kind = "model",
        advance: Callable[[int], None] = lambda _: None,
    ) -> Path:
        """Bring files of a commit into the cache and check their bytes; what is there is not asked for.

        Args:
            revision: resolved before.
            files: which, with their digests.
            kind: of repository.
            advance: called with the bytes that came.

        Returns:
            The folder of the commit.

        Raises:
            IntegrityError: the Hub sent other bytes than it announced; they were removed.
            OfflineError: offline, and something is not in the cache.
            AccessError, NotFoundError, NetworkError: as the Hub answers.
        """
        return self._client.fetch(revision, files, kind=kind, advance=advance)

    def place(self, revision: Revision, file: RepoFile) -> Path | None:
        """Where a file of a model is in the cache; None where it was not fetched. Nobody is asked."""
        return place(self.cache, revision, file)

    def cached(self) -> tuple[Cached, ...]:
        """Every commit in the cache, which other tools may use too. Nobody is asked."""
        return cached(self.cache)

    def free(self, doomed: Collection[Cached]) -> None:
        """Delete commits from the cache, and of their files those that no other commit shares.

        Raises:
            StorageError: the disk refuses.
        """
        free(self.cache, doomed)

    def reach(self, patience: float) -> Answer:
        """Whether it answers, asked once and without a token.

        Args:
            patience: seconds to wait for a connection, and for what comes over it.

        Raises:
            NetworkError: it does not, or answers as no Hub does.
        """
        return reach(self._client, patience)

    def account(self) -> Account | None:
        """Whom the token stands for; None where nobody is logged in.

        Raises:
            AccessError: the token is invalid.
            NetworkError: the Hub cannot be reached.
        """
        return account_of(self._client)

    def push(
        self,
        repo_id: str,
        publication: Publication,
        *,
        create_pr: bool = False,
        private: bool = True,
        agreed: str | None = None,
        dry_run: bool = False,
    ) -> Push:
        """Write a card and files to a repository in one commit, or propose them in a pull request.

        The repository is made if it is one's own and does not exist. Of its README.md only what zoo says
        changes. Other people's repositories get their card changed, by pull request, where that was agreed
        to by name; an open one is updated, and one that they closed was the last. Nothing is written
        where nothing would change, and what is written, is written once: a commit is not asked for again.

        Args:
            repo_id: ``owner/name``.
            publication: what to write.
            create_pr: whether to open a pull request, or to update the open one, instead of writing to main.
            private: whether a repository that is made is private.
            agreed: somebody else's repository that shall get a pull request, as the user typed it.
            dry_run: whether to only say what would change; takes no account.

        Raises:
            UsageError: no such name, or more than a card for somebody else's repository.
            NotFoundError: somebody else's repository, or one for a pull request, that does not exist.
            AccessError: not logged in, no rights, not agreed to, or declined by the owner.
            DataError: the card that is there cannot be read, and so not be kept, or the Hub refuses the new
                one.
            StorageError: a file to be written cannot be read.
            NetworkError: the Hub cannot be reached, or the branch moved; the message says what was written.
        """
        errand = Errand(publication, create_pr=create_pr, private=private, agreed=agreed, dry_run=dry_run)
        return push(Place(self._client, repo_id, publication.kind), errand)

    def benchmark_tasks(self, dataset: str) -> tuple[str, ...]:
        """Ids of the tasks of a dataset that is a registered benchmark; nothing where it is none.

        Raises:
            UsageError: no repository can have that name.
            NotFoundError: no such dataset.
            AccessError, NetworkError: as `checkpoint`.
        """
        return tasks_of(self._client, dataset)
