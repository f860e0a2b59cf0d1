"""The only network: names to commits, commits to files, results to repositories.

Nothing here parses weights. Every file that is fetched belongs to a commit that was resolved before, and
its bytes are compared with the digest that the Hub gave for them.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any, Literal, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import DatasetInfo, ModelInfo
from huggingface_hub.utils import disable_progress_bars, httpx, tqdm  # type: ignore[attr-defined]
from yaml import YAMLError

from zookeeper.errors import (
    AccessError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    OfflineError,
    UsageError,
    ZooError,
)
from zookeeper.layouts import (
    architecture_of,
    git_blob_digest,
    model_type_of,
    needed,
    problem_of,
    tokenizer_of,
)
from zookeeper.records import Checkpoint, Dataset, RepoFile, Revision
from zookeeper.results import Push

R = TypeVar("R")
Kind = Literal["model", "dataset"]

_TIMEOUT = 30.0
_ATTEMPTS = 4
_LONGEST_WAIT = 60.0
_LOGIN = "hf auth login"


class Hub:
    """A Hugging Face Hub.

    Args:
        endpoint: such as ``https://huggingface.co``.
        cache: the folder of huggingface_hub's own cache, shared with other tools.
        offline: whether to answer from the cache only.
    """

    def __init__(
        self,
        endpoint: str,
        cache: Path,
        *,
        offline: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.cache = cache
        self.offline = offline
        self._api = HfApi(endpoint=endpoint, library_name="zookeeper")
        disable_progress_bars()

    def checkpoint(self, name: str, revision: str = "main") -> Checkpoint:
        """Resolve a name to the commit it means now, with all that is known without the weights.

        Costs one request (and one more where a short name is redirected to its canonical id).

        Raises:
            NotFoundError: no such repository or revision.
            AccessError: it is private.
            NetworkError: the Hub cannot be reached.
        """
        info: ModelInfo = self._ask(
            f'model "{name}"',
            lambda: self._api.model_info(name, revision=revision, files_metadata=True, timeout=_TIMEOUT),
        )
        files = _files(info)
        paths = [file.path for file in files]
        config: dict[str, Any] = info.config or {}
        card = info.card_data.to_dict() if info.card_data else {}  # type: ignore[no-untyped-call]
        bases = card.get("base_model") or []
        loaded = set(needed(paths))
        return Checkpoint(
            revision=Revision(repo_id=info.id, asked=revision, commit=str(info.sha)),
            files=tuple(file for file in files if file.path in loaded),
            architecture=architecture_of(config),
            model_type=model_type_of(config),
            parameters=info.safetensors.total if info.safetensors else None,
            repo_bytes=sum(file.size for file in files),
            tokenizer=tokenizer_of(paths),
            license=str(card["license"]) if card.get("license") else None,
            base_models=(bases,) if isinstance(bases, str) else tuple(map(str, bases)),
            tags=tuple(info.tags or ()),
            gated=bool(info.gated),
            problem=problem_of(paths),
            aliases=() if name == info.id else (name,),
        )

    def dataset(self, name: str, revision: str = "main") -> Dataset:
        """Resolve a dataset's name to the commit it means now.

        Raises:
            NotFoundError, AccessError, NetworkError: as `checkpoint`.
        """
        info: DatasetInfo = self._ask(
            f'dataset "{name}"',
            lambda: self._api.dataset_info(name, revision=revision, files_metadata=True, timeout=_TIMEOUT),
        )
        card = info.card_data.to_dict() if info.card_data else {}  # type: ignore[no-untyped-call]
        return Dataset(
            revision=Revision(repo_id=info.id, asked=revision, commit=str(info.sha)),
            files=_files(info),
            layout=_layout(card.get("configs")),
        )

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
        folder = self.cache
        for file in files:
            path = self._download(revision, file.path, kind, advance)
            digest = _digest(path, file.digest)
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

    def push(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        message: str,
        create_pr: bool = False,
        private: bool = True,
        dry_run: bool = False,
    ) -> Push:
        """Write files to a model repository in one commit, or open a pull request with them.

        The repository is made if it is one's own and does not exist. A README.md that zoo did not write is
        never replaced on a branch, only proposed in a pull request.

        Raises:
            AccessError: not logged in, a read-only token, or somebody else's repository without `create_pr`.
            UsageError: the repository has a README.md of its own.
            NetworkError: the Hub cannot be reached.
        """
        head = self._head(repo_id)
        old = self._remote_text(repo_id, head, "README.md") if head else ""
        new = files["README.md"].decode()
        diff = "".join(
            difflib.unified_diff(
                old.splitlines(keepends=True),
                new.splitlines(keepends=True),
                "README.md (there)",
                "README.md (new)",
            )
        )
        plan = Push(
            repo_id=repo_id,
            created=head is None,
            files={path: len(data) for path, data in sorted(files.items())},
            diff=diff,
            dry_run=dry_run,
        )
        if old and not _ours(old) and not create_pr:
            raise UsageError(
                f"{repo_id} has a README.md that zoo did not write.",
                why="zoo replaces cards of its own only",
                fix=f"zoo push RUN {repo_id} --create-pr",
            )
        if dry_run:
            return plan
        self._check_rights(repo_id, create_pr)
        if head is None:
            self._ask(repo_id, lambda: self._api.create_repo(repo_id, private=private, exist_ok=True))
        info = self._ask(
            repo_id,
            lambda: self._api.create_commit(
                repo_id,
                [CommitOperationAdd(path, data) for path, data in sorted(files.items())],
                commit_message=message,
                create_pr=create_pr,
                parent_commit=head,
            ),
            attempts=1,
        )
        return Push(
            repo_id=repo_id,
            created=plan.created,
            files=plan.files,
            diff=diff,
            dry_run=False,
            url=info.pr_url or info.commit_url,
            commit=info.oid,
        )

    def _check_rights(self, repo_id: str, create_pr: bool) -> None:
        """Refuse before anything is written what the Hub would refuse later, and what zoo never does."""
        user = self._ask("your account", lambda: self._api.whoami())
        token = (user.get("auth") or {}).get("accessToken") or {}
        if token.get("role") == "read":
            raise AccessError(
                "your token may read only.",
                why=f"it is logged in as {user.get('name')}",
                fix=f"make one that may write at {self.endpoint}/settings/tokens, then: {_LOGIN}",
            )
        owners = {user.get("name"), *(org.get("name") for org in user.get("orgs") or ())}
        if repo_id.split("/")[0] not in owners and not create_pr:
            raise AccessError(
                f"{repo_id} is not yours.",
                why="zoo writes to other people's repositories by pull request only, and only when asked",
                fix=f"zoo push RUN {repo_id} --create-pr",
            )

    def _head(self, repo_id: str) -> str | None:
        """The commit of main, or None where there is no such repository (or none that may be seen)."""
        try:
            info = self._ask(f'model "{repo_id}"', lambda: self._api.model_info(repo_id, timeout=_TIMEOUT))
        except NotFoundError:
            return None
        return str(info.sha)

    def _remote_text(self, repo_id: str, commit: str, path: str) -> str:
        try:
            found = self._download(Revision(repo_id, "main", commit), path, "model", lambda _: None)
        except NotFoundError:
            return ""
        return found.read_text(encoding="utf-8", errors="replace")

    def _download(self, revision: Revision, path: str, kind: Kind, advance: Callable[[int], None]) -> Path:
        class Bytes(tqdm):
            """Feeds huggingface_hub's own progress into ours, and draws nothing."""

            def update(self, n: float | None = 1) -> None:
                advance(int(n or 0))

        return Path(
            self._ask(
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
        )

    def _ask(
        self, what: str, request: Callable[[], R], *, attempts: int = _ATTEMPTS, needs_network: bool = True
    ) -> R:
        """Make a request; wait and repeat while the Hub is busy; translate its errors.

        huggingface_hub repeats listings and downloads but not, for instance, `model_info`.
        """
        if needs_network and self.offline:
            raise OfflineError(
                f"offline: cannot ask the Hub for {what}.",
                why="HF_HUB_OFFLINE is set",
                fix="unset HF_HUB_OFFLINE",
            )
        with self._translated(what):
            for attempt in range(1, attempts + 1):
                try:
                    return request()
                except HfHubHTTPError as error:
                    wait = _wait(error, attempt)
                    if attempt == attempts or wait is None:
                        raise
                    sleep(wait)
        raise AssertionError("unreachable")

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (HfHubHTTPError, HFValidationError, OSError, httpx.HTTPError) as error:
            raise self._translate(what, error) from error

    def _translate(self, what: str, error: Exception) -> ZooError:
        """Our error for one of the clients'; the order matters, as theirs inherit from one another."""
        if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, httpx.HTTPError):
            # What went wrong on the way; that nothing was in the cache either does not matter.
            return self._translate(what, error.__cause__)
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        match error:
            case GatedRepoError():
                return AccessError(
                    f"{what}: access must be granted first.",
                    why="its owner asks for a licence to be accepted",
                    fix=f"accept it at {_page(error)}, log in ({_LOGIN}), then run the same command again",
                )
            case RevisionNotFoundError():
                return NotFoundError(
                    f"{what}: no such revision.", fix="name a branch, a tag or a whole commit"
                )
            case LocalEntryNotFoundError() | OfflineModeIsEnabled():
                if self.offline:
                    return OfflineError(
                        f"offline, and {what} is not in the cache.",
                        why="HF_HUB_OFFLINE is set",
                        fix="run the same command once with a connection",
                    )
                return NetworkError(f"cannot fetch {what}.", why=_reason(error), fix="check the connection")
            case RepositoryNotFoundError():
                return NotFoundError(
                    f"no {what} on the Hub, or it is private and you are not logged in.",
                    fix=f"check the name; for a private one: {_LOGIN}",
                )
            case EntryNotFoundError():
                return NotFoundError(f"no {what} on the Hub.")
            case HfHubHTTPError() if status == 401:
                return AccessError(
                    f"the Hub did not accept your token ({what}).", why="it is invalid or expired", fix=_LOGIN
                )
            case HfHubHTTPError() if status == 403:
                return AccessError(
                    f"you may not do that ({what}).",
                    why=_reason(error),
                    fix=f"check your token's rights at {self.endpoint}/settings/tokens",
                )
            case HfHubHTTPError() if status == 412:
                return NetworkError(
                    f"{what} changed while it was being written.", fix="run the same command again"
                )
            case HfHubHTTPError() if status == 429:
                return NetworkError(
                    f"the Hub asks to slow down ({what}).",
                    why="too many requests (429)",
                    fix=f"wait {_pause(error)}, or log in for a higher limit: {_LOGIN}",
                )
            case HfHubHTTPError() if status is not None and status < 500:
                return NetworkError(f"the Hub refused ({what}).", why=f"{status}: {_reason(error)}")
            case HfHubHTTPError():
                return NetworkError(
                    f"the Hub has a problem ({what}).", why=f"it answered {status}", fix="try again later"
                )
            case HFValidationError():
                return UsageError(f"{what}: not a name the Hub knows.", why=_reason(error))
            case _:
                return NetworkError(
                    f"cannot reach {self.endpoint} ({what}).",
                    why=_reason(error),
                    fix="check the connection, or set HTTPS_PROXY",
                )


def _files(info: ModelInfo | DatasetInfo) -> tuple[RepoFile, ...]:
    return tuple(
        RepoFile(
            path=file.rfilename,
            size=int(file.size or 0),
            digest=f"sha256:{file.lfs.sha256}" if file.lfs else f"git:{file.blob_id}",
        )
        for file in info.siblings or ()
    )


def _layout(configs: Any) -> dict[str, dict[str, tuple[str, ...]]]:
    """Configurations, splits and patterns of a card, of which anything may be anything."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for config in configs if isinstance(configs, list) else ():
        given = config.get("data_files") if isinstance(config, dict) else None
        splits = found.setdefault(str(config.get("config_name", "default")), {}) if given else {}
        for item in given if isinstance(given, list) else [given]:
            entry = item if isinstance(item, dict) else {"path": item}
            paths = entry.get("path")
            patterns = paths if isinstance(paths, list) else [paths]
            split = str(entry.get("split", "train"))
            splits[split] = splits.get(split, ()) + tuple(p for p in patterns if isinstance(p, str))
    return found


def _digest(path: Path, like: str) -> str:
    """Digest of a file, of the same kind as `like`."""
    if like.startswith("git:"):
        return f"git:{git_blob_digest(path.read_bytes())}"
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _wait(error: HfHubHTTPError, attempt: int) -> float | None:
    """Seconds to wait before the same request again; None where that would not help."""
    status = error.response.status_code
    if status != 429 and status < 500:
        return None
    asked = error.response.headers.get("Retry-After", "")
    wait = float(asked) if asked.isdigit() else 2.0 ** (attempt - 1)
    return wait if wait <= _LONGEST_WAIT else None


def _pause(error: HfHubHTTPError) -> str:
    """How long the Hub asks to wait."""
    asked = error.response.headers.get("Retry-After", "")
    return f"{asked} seconds" if asked.isdigit() else "a few minutes"


def _page(error: HfHubHTTPError) -> str:
    """The page of the repository that refused a request."""
    url = str(error.response.url).split("?")[0]
    return re.sub(r"/api/models|/api(?=/datasets)|/(resolve|tree|revision)/.*", "", url)


def _reason(error: Exception) -> str:
    """First line of a foreign error, short enough to print."""
    text = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0][:300]


def _ours(card: str) -> bool:
    """Whether zoo wrote this card."""
    try:
        tags = ModelCard(card, ignore_metadata_errors=True).data.get("tags")
    except (ValueError, YAMLError):
        return False
    return isinstance(tags, list) and "zookeeper" in tags
