"""One way to ask the Hub anything: repeated while it is busy, its errors in our words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from time import sleep
from typing import Any, Literal, TypeVar

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import DatasetInfo, ModelInfo
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    disable_progress_bars,
    tqdm,
    validate_repo_id,
)

from zookeeper.digests import digest_like
from zookeeper.errors import IntegrityError, NotFoundError, OfflineError
from zookeeper.hub.faults import FOREIGN, Faults, wait
from zookeeper.hub.transport import install, patient
from zookeeper.plain import brief
from zookeeper.records import RepoFile, Revision

R = TypeVar("R")
Kind = Literal["model", "dataset"]
Info = ModelInfo | DatasetInfo

ATTEMPTS = 4

_TIMEOUT = 30.0
_LONGEST_NAME = 100


class Client:
    """The clients of huggingface_hub at one endpoint, with one cache; arguments are those of `Hub`."""

    def __init__(self, endpoint: str, cache: Path, *, offline: bool = False) -> None:
        self.endpoint = endpoint
        self.cache = cache
        self.offline = offline
        self.api = HfApi(endpoint=endpoint, library_name="zookeeper")
        self._faults = Faults(endpoint, offline)
        disable_progress_bars()
        install()

    def checked(self, name: str, kind: Kind) -> str:
        """A repository as errors name it, if there can be one of that name; nobody is asked.

        Raises:
            UsageError: there cannot.
        """
        what = f'{kind} "{brief(name, _LONGEST_NAME)}"'
        self.ask(what, lambda: validate_repo_id(name), needs_network=False)
        return what

    def info(self, name: str, revision: str = "main", *, kind: Kind = "model") -> Info:
        """What the Hub says of a repository at a revision, its files included.

        Raises:
            UsageError: no repository can have that name; nobody was asked.
            NotFoundError, AccessError, NetworkError: as `ask`.
        """
        what = self.checked(name, kind)
        describe: Callable[..., Any] = self.api.model_info if kind == "model" else self.api.dataset_info
        info: Info = self.ask(
            what, lambda: describe(name, revision=revision, files_metadata=True, timeout=_TIMEOUT)
        )
        return info

    def fetch(
        self,
        revision: Revision,
        files: Iterable[RepoFile],
        *,
        kind: Kind = "model",
        advance: Callable[[int], None] = lambda _: None,
    ) -> Path:
        """Bring files of a commit into the cache; see `Hub.fetch`."""
        folder = self.cache
        for file in files:
            if not _is_within(file.path):
                raise IntegrityError(f"{revision.repo_id}: {brief(file.path)} is no file of a repository.")
            path = self._download(revision, file.path, kind, advance)
            digest = digest_like(file.digest, path)
            if digest != file.digest:
                path.resolve().unlink()
                path.unlink(missing_ok=True)
                raise IntegrityError(
                    f"{revision.repo_id}: {file.path} is not what the Hub announced.",
                    why=f"expected {file.digest}, got {digest}; the file was removed",
                    fix="run the same command again",
                )
            folder = path.parents[file.path.count("/")]
        return folder

    def _download(self, revision: Revision, path: str, kind: Kind, advance: Callable[[int], None]) -> Path:
        class Bytes(tqdm):
            """Feeds huggingface_hub's own progress into ours, and draws nothing."""

            def update(self, n: float | None = 1) -> None:
                advance(int(n or 0))

        try:
            found = self.ask(
                f"{path} of {revision.repo_id}",
                lambda: hf_hub_download(
                    revision.repo_id,
                    path,
                    repo_type=kind,
                    revision=revision.commit,
                    cache_dir=self.cache,
                    endpoint=self.endpoint,
                    local_files_only=self.offline,
                    tqdm_class=Bytes,
                ),
                needs_network=False,
            )
        except NotFoundError as error:
            if isinstance(error.__cause__, RevisionNotFoundError):
                raise _gone(revision, kind) from error
            raise
        return Path(found)

    def ask(
        self, what: str, request: Callable[[], R], *, once: bool = False, needs_network: bool = True
    ) -> R:
        """Make a request; wait and repeat while the Hub is busy; translate its errors.

        huggingface_hub repeats listings and downloads but not, for instance, `model_info`.

        Args:
            what: is asked for, as an error names it.
            request: of huggingface_hub.
            once: whether not to repeat it, as what it changes may be changed already.
            needs_network: whether it is of no use offline.

        Raises:
            UsageError: a name that no repository can have.
            NotFoundError: no such repository, revision or file.
            AccessError: login, an accepted licence or rights are missing.
            DataError: the metadata of a card that is sent are refused.
            NetworkError: the Hub cannot be reached, refuses, or answers what makes no sense.
        """
        if needs_network and self.offline:
            raise OfflineError(
                f"offline: cannot ask the Hub for {what}.",
                why="HF_HUB_OFFLINE is set",
                fix="unset HF_HUB_OFFLINE",
            )
        try:
            return _patiently(request, 1 if once else ATTEMPTS)
        except FOREIGN as error:
            raise self._faults.translate(what, error) from error


def _gone(revision: Revision, kind: Kind) -> NotFoundError:
    """Of a commit that was resolved before."""
    name = shlex.quote(revision.repo_id)
    newer = f"zoo add {name}" if revision.by_commit else f"zoo update {name} --apply"
    return NotFoundError(
        f"commit {revision.commit[:8]} of {revision.repo_id} is no longer on the Hub.",
        why="the repository was made anew, or its history rewritten",
        fix=newer if kind == "model" else None,
    )


def _is_within(path: str) -> bool:
    """Whether a path that the Hub gives stays in the folder to which it is added, on every system."""
    return not re.search(r"\\|\0|^/|^[A-Za-z]:", path) and not {"", ".", ".."} & {*path.split("/")}


def _patiently(request: Callable[[], R], attempts: int) -> R:
    with patient() as patience:
        for attempt in range(1, attempts):
            try:
                return request()
            except (HfHubHTTPError, LocalEntryNotFoundError) as error:
                seconds = wait(error, attempt)
                if seconds is None or not patience.spend(seconds):
                    raise
                sleep(seconds)
        return request()
