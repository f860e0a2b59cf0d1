"""A small Hugging Face Hub on 127.0.0.1, in memory, for the unmodified clients.

    with LoopbackHub() as hub:
        sha = hub.add("model", "org/name", {"config.json": b"{}"})
        assert HfApi(endpoint=hub.url).model_info("org/name").sha == sha

Repositories have commits, branches and pull requests; requests are recorded and can be made to fail.
Replies follow the real Hub where clients look: error codes, ETags, `X-Repo-Commit`, 307 for old names.
On purpose there is no Xet (set `HF_HUB_DISABLE_XET=1`), LFS files come from here and not from a CDN,
and what is not served is refused with 501. Hashes and dates follow from what was committed: they are the
same in every run. Standard library only, but for PyYAML, on which the clients themselves depend.
"""

import base64
import hashlib
import json
import math
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from functools import lru_cache, partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qs, unquote

import yaml

Kind = Literal["model", "dataset", "space"]
Files = Mapping[str, bytes]
Gate = Literal["auto", "manual", False]

WRITE_TOKEN = "hf_loopback_write"
READ_TOKEN = "hf_loopback_read"
ECHO = "{authorization}"
LFS_SUFFIXES = (".safetensors", ".bin", ".parquet")


@dataclass(frozen=True)
class User:
    """Whom a token stands for; with role `read` it may download and nothing else."""

    name: str
    role: Literal["read", "write"] = "write"
    orgs: tuple[str, ...] = ()


class Request(NamedTuple):
    """A request as it came: the path is still quoted and has its query."""

    method: str
    path: str
    status: int
    has_token: bool


@dataclass(frozen=True)
class Pull:
    """A pull request; `files` are those it adds or changes, `base` is the commit it started from."""

    number: int
    title: str
    description: str
    author: str
    base: str
    files: Files = field(default_factory=dict)
    status: Literal["open", "closed", "merged"] = "open"

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"


def read_folder(folder: str | Path) -> dict[str, bytes]:
    """Every file below a folder, such as one that `save_pretrained` wrote, by relative path."""
    root = Path(folder)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# --- repositories -----------------------------------------------------------------------------------------


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class _Blob(NamedTuple):
    oid: str  # git's name for the bytes, or for the pointer that stands for them
    etag: str
    lfs: dict[str, int]


@lru_cache(256)
def _blob(path: str, data: bytes) -> _Blob:
    if not path.endswith(LFS_SUFFIXES):
        oid = _sha1(b"blob %d\0" % len(data) + data)
        return _Blob(oid, oid, {})
    sha256, size = hashlib.sha256(data).hexdigest(), len(data)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return _Blob(_blob("", pointer).oid, sha256, {"size": size, "pointerSize": len(pointer)})


@dataclass(frozen=True)
class _Commit:
    sha: str
    title: str
    date: str
    files: Files
    parent: "_Commit | None"

    def folders(self) -> set[str]:
        return {str(folder) for path in self.files for folder in Path(path).parents[:-1]}

    def entry(self, path: str, *, expand: bool) -> dict[str, Any]:
        """A file or a folder as the tree routes show it."""
        if path not in self.files:
            return {"type": "directory", "path": path, "oid": _sha1(path.encode()), "size": 0}
        data = self.files[path]
        blob = _blob(path, data)
        entry = {"type": "file", "path": path, "oid": blob.oid, "size": len(data)}
        if blob.lfs:
            entry["lfs"] = {"oid": blob.etag, **blob.lfs}
        if expand:
            last = self
            while last.parent and last.parent.files.get(path) == data:
                last = last.parent
            entry["lastCommit"] = {"id": last.sha, "title": last.title, "date": last.date}
        return entry

    def sibling(self, path: str, *, blobs: bool) -> dict[str, Any]:
        """A file as the info routes show it."""
        blob, size = _blob(path, self.files[path]), len(self.files[path])
        lfs = {"lfs": {"sha256": blob.etag, **blob.lfs}} if blob.lfs else {}
        return {"rfilename": path} | ({"size": size, "blobId": blob.oid, **lfs} if blobs else {})


@dataclass
class _Repo:
    kind: Kind
    id: str
    private: bool = False
    gated: Gate = False
    granted: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    commits: dict[str, _Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pulls: list[Pull] = field(default_factory=list)

    @property
    def web(self) -> str:
        return self.id if self.kind == "model" else f"{self.kind}s/{self.id}"

    def owned_by(self, user: User | None) -> bool:
        return user is not None and self.id.split("/")[0] in (user.name, *user.orgs)

    def at(self, revision: str) -> _Commit:
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if sha := self.refs.get(name):
                return self.commits[sha]
        if revision not in self.commits:
            raise _Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[revision]

    def append(self, revision: str, files: Files, title: str) -> str:
        ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        parent = self.commits.get(self.refs.get(ref, ""))
        tree = sorted((path, _blob(path, data).oid) for path, data in files.items())
        sha = _sha1(repr((self.kind, self.id, ref, title, parent and parent.sha, tree)).encode())
        date = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=len(self.commits))
        self.commits[sha] = _Commit(sha, title, f"{date:%Y-%m-%dT%H:%M:%S}.000Z", dict(files), parent)
        self.refs[ref] = sha
        return sha


def _front_matter(text: str) -> str | None:
    match = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
    return match and match[1]


def _mapping(parse: Callable[[Any], Any], text: str | bytes | None) -> dict[str, Any]:
    """What the text holds, or nothing: the Hub shows a repository whatever its files are like."""
    with suppress(ValueError, yaml.YAMLError):
        data = parse(text or b"")
        return data if isinstance(data, dict) else {}
    return {}


def _as_json(text: str) -> Any:
    """YAML as JSON can hold it."""
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


def _parameters(files: Files) -> Counter[str]:
    """Parameters by dtype, from the headers of safetensors files."""
    counts: Counter[str] = Counter()
    for path, data in files.items():
        if path.endswith(".safetensors"):
            header = _mapping(json.loads, data[8 : 8 + int.from_bytes(data[:8], "little")])
            for tensor in (header[name] for name in header if name != "__metadata__"):
                counts[tensor["dtype"]] += math.prod(tensor["shape"])
    return counts


def _info(repo: _Repo, commit: _Commit, *, blobs: bool) -> dict[str, Any]:
    """All that the info routes say of a repository at a commit."""
    files = commit.files
    card = _mapping(_as_json, _front_matter(files.get("README.md", b"").decode(errors="replace")))
    info: dict[str, Any] = {
        "id": repo.id,
        "author": repo.id.split("/")[0],
        "sha": commit.sha,
        "private": repo.private,
        "gated": repo.gated,
        "downloads": 0,
        "likes": 0,
        "lastModified": commit.date,
        "usedStorage": sum(map(len, files.values())),
        "siblings": [commit.sibling(path, blobs=blobs) for path in sorted(files)],
        "cardData": card or None,
    }
    tags = []
    if repo.kind == "model":
        config = _mapping(json.loads, files.get("config.json"))
        tokenizer = _mapping(json.loads, files.get("tokenizer_config.json"))
        shown = {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config}
        special = {key: tokenizer[key] for key in tokenizer if key.endswith("_token")}
        info["config"] = shown | ({"tokenizer_config": special} if special else {})
        info["library_name"] = card.get("library_name", "transformers" if "model_type" in config else None)
        info["pipeline_tag"] = card.get("pipeline_tag")
        info["model-index"] = card.get("model-index")
        tags = [info["library_name"], info["pipeline_tag"], config.get("model_type")]
        if parameters := _parameters(files):
            info["safetensors"] = {"parameters": dict(parameters), "total": parameters.total()}
            tags.append("safetensors")
    for key, prefix in {"tags": "", "language": "", "license": "license:", "datasets": "dataset:"}.items():
        listed = card.get(key) or []
        tags += [f"{prefix}{tag}" for tag in (listed if isinstance(listed, list) else [listed])]
    return info | {"tags": [tag for tag in tags if tag]} | dict(repo.info)


# --- calls, replies, routes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    query: Mapping[str, list[str]]
    headers: Message
    body: bytes
    user: User | None

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[-1].lower() in ("1", "true")

    def writer(self) -> User:
        """The user, if the token may write."""
        if self.user is None:
            raise _Refusal(401, "Invalid username or password.")
        if self.user.role != "write":
            raise _Refusal(403, "This token has no write access")
        return self.user


@dataclass(frozen=True)
class _Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip: float = 0.0

    def echoing(self, authorization: str) -> "_Reply":
        """The same, with what the request said of its sender in place of `{authorization}`."""
        headers = {name: value.replace(ECHO, authorization) for name, value in self.headers.items()}
        return replace(self, body=self.body.replace(ECHO.encode(), authorization.encode()), headers=headers)


def _json(data: Any, status: int = 200, **headers: str) -> _Reply:
    named = {key.replace("_", "-"): value for key, value in headers.items() if value}
    return _Reply(status, json.dumps(data).encode(), {"Content-Type": "application/json"} | named)


class _Refusal(Exception):  # noqa: N818
    """Carries the reply to a request that goes wrong, or elsewhere."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        self.reply = _json({"error": message}, status, X_Error_Message=message, X_Error_Code=code, **headers)


@dataclass
class _Fault:
    method: str | None
    pattern: re.Pattern[str]
    left: int | None
    reply: _Reply
    skip: int = 0
    late: bool = False

    def takes(self, method: str, target: str) -> bool:
        """Whether this request is one of those that it was planned for; it counts them."""
        if self.left == 0 or self.method not in (None, method) or not self.pattern.search(target):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.left = self.left and self.left - 1
        return True


_Handler = Callable[..., _Reply]
_ROUTES: list[tuple[str, re.Pattern[str], _Handler]] = []
_API = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+(?:/[^/]+)?)"
_WEB = r"/(?:(?P<kind>datasets|spaces)/)?(?P<repo>[^/]+(?:/[^/]+)?)"


def _route(method: str, pattern: str) -> Callable[[_Handler], _Handler]:
    """Serve a path. Groups become arguments: `repo` a repository that the user sees, `rev` its `commit`."""

    def register(handler: _Handler) -> _Handler:
        _ROUTES.append((method, re.compile(pattern), handler))
        return handler

    return register


class LoopbackHub:
    """A Hub that lives as long as its `with` block; see the module docstring."""

    def __init__(self) -> None:
        self.tokens = {WRITE_TOKEN: User("alice"), READ_TOKEN: User("alice", role="read")}
        self._repos: dict[tuple[Kind, str], _Repo] = {}
        self._aliases: dict[tuple[Kind, str], str] = {}
        self._uploads: dict[str, bytes] = {}
        self._faults: list[_Fault] = []
        self._meanwhile: list[tuple[re.Pattern[str], Callable[[], object]]] = []
        self._requests: list[Request] = []
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), partial(_Wire, self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(
        self,
        kind: Kind,
        repo_id: str,
        files: Files,
        *,
        alias: str | None = None,
        private: bool = False,
        gated: Gate = False,
        granted: tuple[str, ...] = (),
        info: Mapping[str, Any] | None = None,
    ) -> str:
        """Make a repository and its first commit, which `main` then names and this returns.

        Args:
            alias: an old or short name that redirects here.
            gated: files are for the owner and for the users `granted` only; metadata is for everyone.
            info: replaces what the info routes say, such as `downloads` or `safetensors`.
        """
        with self._lock:
            repo = self._repos[kind, repo_id] = _Repo(kind, repo_id, private, gated, granted, info or {})
            if alias:
                self._aliases[kind, alias] = repo_id
            return repo.append("main", files, "initial commit")

    def commit(
        self,
        kind: Kind,
        repo_id: str,
        files: Mapping[str, bytes | None],
        *,
        revision: str = "main",
        message: str = "Update",
    ) -> str:
        """Move a branch by one commit that writes these files, or deletes those that are None."""
        with self._lock:
            tree = {**self.files(kind, repo_id, revision), **files}
            kept = {path: data for path, data in tree.items() if data is not None}
            return self._repos[kind, repo_id].append(revision, kept, message)

    def branch(self, kind: Kind, repo_id: str, name: str, files: Files) -> str:
        """Give a branch, or a full ref like `refs/convert/parquet` or `refs/tags/v1`, a tree of its own."""
        with self._lock:
            return self._repos[kind, repo_id].append(name, files, f"Create {name}")

    def sha(self, kind: Kind, repo_id: str, revision: str = "main") -> str:
        """The commit that a revision names now."""
        return self._repos[kind, repo_id].at(revision).sha

    def files(self, kind: Kind, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """All files at a revision."""
        return dict(self._repos[kind, repo_id].at(revision).files)

    def pulls(self, kind: Kind, repo_id: str) -> list[Pull]:
        """Pull requests, oldest first, with the files they hold now."""
        repo = self._repos[kind, repo_id]
        trees = [(pull, repo.at(pull.base).files, repo.at(pull.ref).files) for pull in repo.pulls]
        return [
            replace(pull, files={path: new[path] for path in new if new[path] != old.get(path)})
            for pull, old, new in trees
        ]

    def end(self, kind: Kind, repo_id: str, number: int, status: Literal["open", "closed", "merged"]) -> None:
        """Close a pull request, merge it into main, or open it again, as the owner does."""
        with self._lock:
            repo = self._repos[kind, repo_id]
            pull = repo.pulls[number - 1] = replace(repo.pulls[number - 1], status=status)
            if status == "merged":
                repo.append("main", repo.at(pull.ref).files, f"Merge {pull.title}")

    def remove(self, kind: Kind, repo_id: str) -> None:
        """Let a repository vanish."""
        with self._lock:
            del self._repos[kind, repo_id]

    @property
    def requests(self) -> list[Request]:
        """What was asked since the start or the last `clear`, in order of arrival."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()

    def fail(
        self,
        status: int,
        pattern: str = "",
        *,
        method: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        late: bool = False,
        headers: Mapping[str, str] | None = None,
        body: bytes = b'{"error": "planned failure"}',
        cut: int | None = None,
        drip: float = 0.0,
    ) -> None:
        """Answer coming requests so, instead of as they deserve; what was planned first is used up first.

        `{authorization}` in headers and body stands for the header of that name that the request had.

        Args:
            status: any status; 0 hangs up without an answer.
            pattern: a regular expression, searched for in the quoted path with its query.
            method: only requests of this method; a download is a HEAD and then a GET.
            times: how many requests; None is all until `recover`.
            skip: how many of them are answered as they deserve before that.
            late: do what they ask for all the same, and keep the answer back.
            cut: hang up after so many bytes of the body.
            drip: seconds before each hundred bytes of the body.
        """
        reply = _Reply(status, body, headers or {}, cut, drip)
        with self._lock:
            self._faults.append(_Fault(method, re.compile(pattern), times, reply, skip, late))

    def meanwhile(self, pattern: str, action: Callable[[], object]) -> None:
        """Do something of somebody else's once, just before a request of this path is answered."""
        with self._lock:
            self._meanwhile.append((re.compile(pattern), action))

    def recover(self) -> None:
        """Drop the planned failures."""
        with self._lock:
            self._faults.clear()

    def answer(self, method: str, target: str, headers: Message, body: bytes) -> _Reply:
        """Reply to a request and record it, one at a time."""
        with self._lock:
            for due in [one for one in self._meanwhile if one[0].search(target)]:
                self._meanwhile.remove(due)
                due[1]()
            fault = next((fault for fault in self._faults if fault.takes(method, target)), None)
            if fault is None or fault.late:
                reply = self._deserved(method, target, headers, body)
            if fault:
                reply = fault.reply.echoing(headers.get("Authorization", ""))
            self._requests.append(Request(method, target, reply.status, "Authorization" in headers))
            return reply

    def _deserved(self, method: str, target: str, headers: Message, body: bytes) -> _Reply:
        try:
            return self._dispatch(method, target, headers, body)
        except _Refusal as refusal:
            return refusal.reply

    def _dispatch(self, method: str, target: str, headers: Message, body: bytes) -> _Reply:
        path, _, query = target.partition("?")
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            raise _Refusal(401, "Invalid credentials in Authorization header")
        call = _Call(parse_qs(query), headers, body, self.tokens.get(token))
        for verb, pattern, handler in _ROUTES:
            match = pattern.fullmatch(path) if verb == method.replace("HEAD", "GET") else None
            if not match:
                continue
            found: dict[str, Any] = {key: unquote(value or "") for key, value in match.groupdict().items()}
            if "repo" in found:
                kind: Any = (found.pop("kind") or "models")[:-1]
                if moved := self._aliases.get((kind, found["repo"])):
                    start, end = match.span("repo")
                    return _Reply(307, headers={"Location": target[:start] + moved + target[end:]})
                found["repo"] = self._visible(kind, found["repo"], call.user)
            if "rev" in found:
                found["commit"] = found["repo"].at(found.pop("rev"))
            return handler(self, call, **found)
        raise _Refusal(501, f"The loopback Hub does not serve {method} {path}")

    def _visible(self, kind: Kind, repo_id: str, user: User | None) -> _Repo:
        repo = self._repos.get((kind, repo_id))
        if repo and (not repo.private or repo.owned_by(user)):
            return repo
        if user is None:
            raise _Refusal(401, "Invalid username or password.", "RepoNotFound")
        raise _Refusal(404, "Repository not found", "RepoNotFound")

    def _pass_gate(self, repo: _Repo, user: User | None) -> None:
        if repo.gated and not repo.owned_by(user) and (user is None or user.name not in repo.granted):
            message = f"Access to {repo.kind} {repo.id} is restricted and you are not in the authorized list."
            raise _Refusal(403 if user else 401, message, "GatedRepo")

    # Reading

    @_route("GET", "/api/agent-harnesses")
    def _harnesses(self, call: _Call) -> _Reply:
        return _json({"standardEnvVars": [], "harnesses": {}})

    @_route("GET", "/api/whoami-v2")
    def _whoami(self, call: _Call) -> _Reply:
        if call.user is None:
            raise _Refusal(401, "Invalid username or password.")
        auth = {"type": "access_token", "accessToken": {"displayName": "loopback", "role": call.user.role}}
        orgs = [{"type": "org", "name": name} for name in call.user.orgs]
        return _json({"type": "user", "name": call.user.name, "orgs": orgs, "auth": auth})

    @_route("GET", f"{_API}/tree/(?P<rev>[^/]+)(?:/(?P<path>.+))?")
    def _tree(self, call: _Call, repo: _Repo, commit: _Commit, path: str) -> _Reply:
        prefix = f"{path}/" if path else ""
        below = sorted(p for p in {*commit.files, *commit.folders()} if p.startswith(prefix))
        if path and not below:
            raise _Refusal(404, f"{path} does not exist on {commit.sha}", "EntryNotFound")
        shown = [p for p in below if call.flag("recursive") or "/" not in p.removeprefix(prefix)]
        return _json([commit.entry(p, expand=call.flag("expand")) for p in shown])

    @_route("POST", f"{_API}/paths-info/(?P<rev>[^/]+)")
    def _paths_info(self, call: _Call, repo: _Repo, commit: _Commit) -> _Reply:
        form = replace(call, query=parse_qs(call.body.decode()))
        known = {*commit.files, *commit.folders()}
        paths = [path for path in form.query.get("paths", []) if path in known]
        return _json([commit.entry(path, expand=form.flag("expand")) for path in paths])

    @_route("GET", f"{_API}/refs")
    def _refs(self, call: _Call, repo: _Repo) -> _Reply:
        groups = {"heads": "branches", "convert": "converts", "tags": "tags", "pr": "pullRequests"}
        listed: dict[str, list[dict[str, str]]] = {group: [] for group in groups.values()}
        for ref, sha in repo.refs.items():
            _, folder, name = ref.split("/", 2)
            listed[groups[folder]].append({"name": name, "ref": ref, "targetCommit": sha})
        return _json(listed)

    @_route("GET", f"{_API}/commits/(?P<rev>[^/]+)")
    def _commits(self, call: _Call, repo: _Repo, commit: _Commit) -> _Reply:
        listed, last = [], commit
        while last:
            said = {"id": last.sha, "title": last.title, "message": "", "date": last.date}
            listed.append(said | {"authors": [{"user": repo.id.split("/")[0]}]})
            last = last.parent
        return _json(listed)

    @_route("GET", "/api/(?P<kind>models|datasets|spaces)")
    def _list(self, call: _Call, kind: str) -> _Reply:
        wanted, words = set(call.query.get("filter", [])), call.query.get("search", [""])[-1]
        repos = [repo for repo in self._repos.values() if f"{repo.kind}s" == kind]
        seen = [repo for repo in repos if not repo.private or repo.owned_by(call.user)]
        infos = [_info(repo, repo.at("main"), blobs=False) for repo in seen]
        return _json([info for info in infos if wanted <= set(info["tags"]) and words in info["id"]])

    @_route("GET", f"{_API}/auth-check")
    def _auth_check(self, call: _Call, repo: _Repo) -> _Reply:
        self._pass_gate(repo, call.user)
        return _json({})

    @_route("GET", f"{_API}/discussions")
    def _discussions(self, call: _Call, repo: _Repo) -> _Reply:
        asked = {key: values[-1] for key, values in call.query.items()}
        statuses = {"open": ("open",), "closed": ("closed", "merged")}.get(asked.get("status", "all"))
        none = asked.get("type") == "discussion"
        shown = [
            {
                "num": pull.number,
                "title": pull.title,
                "author": {"name": pull.author},
                "status": pull.status,
                "isPullRequest": True,
                "createdAt": repo.at(pull.ref).date,
                "repo": {"name": repo.id, "type": repo.kind},
            }
            for pull in repo.pulls
            if not none
            and asked.get("author") in (None, pull.author)
            and (statuses is None or pull.status in statuses)
        ]
        return _json({"discussions": shown, "count": len(shown), "start": 0})

    @_route("GET", f"{_WEB}/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
    def _resolve(self, call: _Call, repo: _Repo, commit: _Commit, path: str) -> _Reply:
        self._pass_gate(repo, call.user)
        data = commit.files.get(path)
        if data is None:
            raise _Refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
        blob, size = _blob(path, data), len(data)
        headers = {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        if blob.lfs:
            headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(size)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("Range", ""))
        if asked is None:
            return _Reply(200, data, headers)
        start, stop = int(asked[1]), min(int(asked[2] or size) + 1, size)
        if start >= stop:
            return _Reply(416, headers=headers | {"Content-Range": f"bytes */{size}"})
        return _Reply(206, data[start:stop], headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"})

    # Writing

    @_route("POST", "/api/validate-yaml")
    def _validate_yaml(self, call: _Call) -> _Reply:
        text = _front_matter(json.loads(call.body)["content"])
        warnings = ["empty or missing yaml metadata in repo card"] if text is None else []
        try:
            errors = [] if isinstance(yaml.safe_load(text or "{}"), dict) else ["metadata must be an object"]
        except yaml.YAMLError as error:
            errors = [f"YAML Metadata Error: {error}"]
        found = {"errors": errors, "warnings": warnings}
        said = {key: [{"message": message} for message in found[key]] for key in found}
        return _json(said, 400 if errors else 200)

    @_route("POST", "/api/repos/create")
    def _create(self, call: _Call) -> _Reply:
        asked, user = json.loads(call.body), call.writer()
        kind, name = asked.get("type", "model"), f"{asked.get('organization') or user.name}/{asked['name']}"
        repo = _Repo(kind, name, private=asked.get("visibility") == "private")
        reply = {"url": f"{self.url}/{repo.web}", "name": repo.id}
        if not repo.owned_by(user):
            raise _Refusal(403, f"You don't have the rights to create a {kind} under this namespace")
        if (kind, name) in self._repos:
            return _json(reply | {"error": f"You already created this {kind} repo"}, 409)
        rules = "".join(f"*{end} filter=lfs diff=lfs merge=lfs -text\n" for end in LFS_SUFFIXES)
        repo.append("main", {".gitattributes": rules.encode()}, "initial commit")
        self._repos[kind, name] = repo
        return _json(reply)

    @_route("POST", f"{_API}/preupload/(?P<rev>[^/]+)")
    def _preupload(self, call: _Call, repo: _Repo, commit: _Commit) -> _Reply:
        call.writer()
        modes = []
        for path in (file["path"] for file in json.loads(call.body)["files"]):
            oid = _blob(path, commit.files[path]).etag if path in commit.files else None
            mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
            modes.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _json({"files": modes})

    @_route("POST", f"{_API}/commit/(?P<revision>[^/]+)")
    def _commit(self, call: _Call, repo: _Repo, revision: str) -> _Reply:
        user, as_pull, head = call.writer(), call.flag("create_pr"), repo.at(revision)
        own_pull = any((pull.ref, pull.author) == (revision, user.name) for pull in repo.pulls)
        if any(pull.ref == revision and pull.status != "open" for pull in repo.pulls):
            raise _Refusal(403, "This pull request is not open")
        if not (as_pull or own_pull or repo.owned_by(user)):
            raise _Refusal(403, "Forbidden: pass create_pr=1 to open a pull request instead")
        header, *lines = [json.loads(line) for line in call.body.splitlines()]
        said = header["value"]
        if said.get("parentCommit", head.sha) != head.sha:
            raise _Refusal(412, "A commit has happened since. Please refresh and try again.")
        tree, reply = dict(head.files), {"success": True, "hookOutput": ""}
        for line in lines:
            self._apply(tree, line["key"], line["value"])
        if as_pull:
            pull = Pull(len(repo.pulls) + 1, said["summary"], said["description"], user.name, head.sha)
            repo.pulls.append(pull)
            revision = pull.ref
            repo.refs[revision] = head.sha
            reply["pullRequestUrl"] = f"{self.url}/{repo.web}/discussions/{pull.number}"
        sha = repo.append(revision, tree, said["summary"])
        return _json(reply | {"commitOid": sha, "commitUrl": f"{self.url}/{repo.web}/commit/{sha}"})

    def _apply(self, tree: dict[str, bytes], key: str, value: Any) -> None:
        """Carry out one line of a commit."""
        path = value["path"].rstrip("/")
        if key == "file":
            tree[path] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in self._uploads:
                raise _Refusal(400, f"LFS object {value['oid']} was not uploaded")
            tree[path] = self._uploads[value["oid"]]
        elif key in ("deletedFile", "deletedFolder"):
            gone = [p for p in tree if p == path or (key == "deletedFolder" and p.startswith(f"{path}/"))]
            if not gone:
                raise _Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
            for p in gone:
                del tree[p]
        else:
            raise _Refusal(501, f"The loopback Hub does not commit a {key}")

    @_route("POST", f"{_WEB}[.]git/info/lfs/objects/batch")
    def _lfs_batch(self, call: _Call, repo: _Repo) -> _Reply:
        call.writer()
        objects = [{"oid": file["oid"], "size": file["size"]} for file in json.loads(call.body)["objects"]]
        for file in (file for file in objects if file["oid"] not in self._uploads):
            verify = {"href": f"{self.url}/{repo.web}.git/info/lfs/verify"}
            file["actions"] = {"upload": {"href": f"{self.url}/lfs/{file['oid']}"}, "verify": verify}
        return _json({"transfer": "basic", "objects": objects})

    @_route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
    def _lfs_upload(self, call: _Call, oid: str) -> _Reply:
        if hashlib.sha256(call.body).hexdigest() != oid:
            raise _Refusal(400, "The bytes do not match the object id")
        self._uploads[oid] = call.body
        return _Reply()

    @_route("POST", f"{_WEB}[.]git/info/lfs/verify")
    def _lfs_verify(self, call: _Call, repo: _Repo) -> _Reply:
        if json.loads(call.body)["oid"] not in self._uploads:
            raise _Refusal(404, "The object was not uploaded")
        return _json({})

    # Last, because a repository name matches almost any path.
    @_route("GET", f"{_API}(?:/revision/(?P<revision>[^/]+))?")
    def _describe(self, call: _Call, repo: _Repo, revision: str) -> _Reply:
        info = _info(repo, repo.at(revision or "main"), blobs=call.flag("blobs"))
        wanted = {"id", *call.query.get("expand", info)}
        return _json({key: value for key, value in info.items() if key in wanted})


# --- the wire ---------------------------------------------------------------------------------------------


class _Server(ThreadingTCPServer):
    """Not an HTTPServer, which would look up the name of this machine."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go away in the midst of an answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Wire(BaseHTTPRequestHandler):
    """Speaks HTTP/1.0, so that no connection that a client keeps outlives its hub."""

    wbufsize = -1

    def __init__(self, hub: LoopbackHub, *connection: Any) -> None:
        self.hub = hub
        super().__init__(*connection)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.hub.answer(self.command, self.path, self.headers, body)
        if reply.status == 0:
            return
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send(reply.body[: reply.cut], reply.drip)

    def _send(self, body: bytes, drip: float) -> None:
        if not drip:
            self.wfile.write(body)
            return
        with suppress(OSError):  # the client had enough
            for start in range(0, len(body), 100):
                time.sleep(drip)
                self.wfile.write(body[start : start + 100])
                self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing: the hub records its requests."""
