"""What huggingface_hub keeps on this machine: which commits, in how many bytes, and letting go of some.

The cache is shared with other tools, so nothing of it goes but what is named. No network.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import HFCacheInfo, scan_cache_dir, try_to_load_from_cache

from zookeeper.errors import StorageError
from zookeeper.plain import refusal
from zookeeper.records import RepoFile, Revision


@dataclass(frozen=True, slots=True)
class Cached:
    """A commit of a repository, with the files of it that were fetched.

    Attributes:
        repo_id: of the repository.
        kind: of the repository: ``"model"``, ``"dataset"`` or ``"space"``.
        commit: 40 hex digits.
        size: bytes of its files, which other commits may share.
        used_at: seconds since 1970 when a file of its repository was last read, or one of its own came.
    """

    repo_id: str
    kind: str
    commit: str
    size: int
    used_at: float


def cached(cache: Path) -> tuple[Cached, ...]:
    """All commits in a cache; nothing where there is no cache yet."""
    return tuple(
        Cached(
            repo.repo_id,
            repo.repo_type,
            revision.commit_hash,
            revision.size_on_disk,
            max(repo.last_accessed, revision.last_modified),
        )
        for repo in sorted(_scan(cache).repos, key=lambda repo: (repo.repo_type, repo.repo_id))
        for revision in sorted(repo.revisions, key=lambda revision: revision.commit_hash)
    )


def free(cache: Path, doomed: Collection[Cached]) -> None:
    """Delete commits, and of their files those that no other commit shares.

    Raises:
        StorageError: the disk refuses.
    """
    named = {(one.kind, one.repo_id, one.commit) for one in doomed}
    found = _scan(cache)
    try:
        for repo in found.repos:  # each alone: copies of a repository have its commits
            here = [revision.commit_hash for revision in repo.revisions]
            commits = [one for one in here if (repo.repo_type, repo.repo_id, one) in named]
            if commits:
                replace(found, repos=frozenset({repo})).delete_revisions(*commits).execute()
    except OSError as error:
        raise StorageError(f"cannot delete in {cache}.", why=refusal(error)) from error


def place(cache: Path, revision: Revision, file: RepoFile) -> Path | None:
    """Where a file of a commit is; None where it was not fetched."""
    found = try_to_load_from_cache(
        revision.repo_id, file.path, cache_dir=cache, revision=revision.commit, repo_type="model"
    )
    return Path(found) if isinstance(found, str) else None


def _scan(cache: Path) -> HFCacheInfo:
    if not cache.is_dir():
        return HFCacheInfo(size_on_disk=0, repos=frozenset(), incomplete_files=frozenset(), warnings=[])
    try:
        return scan_cache_dir(cache)
    except OSError as error:
        raise StorageError(f"cannot read {cache}.", why=refusal(error)) from error
