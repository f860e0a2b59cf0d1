"""A zoo as a file that another machine takes over: which commits, and the digests of all their files.

    {
     "schema": "zoo.lock/1",
     "zoo": "0.1.0",
     "checkpoints": [
      {
       "repo_id": "FacebookAI/roberta-base",
       "commit": "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
       "asked": "main",
       …
       "files": [
        {"path": "config.json", "size": 481, "digest": "git:…"},
        …

It is made to be compared line by line: one checkpoint after the other, one file a line, the same zoo the same
text. Whoever reads one believes nothing in it: a lock is refused whole where an entry cannot be a pin.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from zookeeper.errors import DataError, UsageError, ZooError
from zookeeper.layouts import needed, problem_of
from zookeeper.plain import count, decode, plain, shortened, spelt_out
from zookeeper.records import Checkpoint, Dataset, RepoFile, Revision

SCHEMA = "zoo.lock/1"
"""Of the files that are written; what is read must say the same."""

_AGAIN = "write it again on the machine that it came from: zoo freeze -o zoo.lock"
_MOST_ENTRIES = 100_000
_MOST_FILES = 100_000
_LARGEST_FILE = 1 << 50
_LONGEST, _LONGEST_TEXT = 300, 10_000
_SHOWN = 80
_FILES, _REVISION, _ADDED = "files", "revision", "added_at"
_REPO_ID = re.compile(r"(?!.*(?:\.\.|--))(?:\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)
_ASKED = re.compile(r"(?!.*\.\.)[^\s\\~^:?*\[]+")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}")

P = TypeVar("P", Checkpoint, Dataset)


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock holds.

    Attributes:
        zoo: version of what wrote it.
        checkpoints: by name.
        datasets: that probes and targets are, pinned as the zoo first met them.
    """

    zoo: str
    checkpoints: tuple[Checkpoint, ...]
    datasets: tuple[Dataset, ...] = ()

    @property
    def folders(self) -> tuple[Checkpoint, ...]:
        """Checkpoints that are folders of the machine where it was written, and not on the Hub."""
        return tuple(checkpoint for checkpoint in self.checkpoints if checkpoint.revision.local)

    @property
    def text(self) -> str:
        """Of the file; the same for the same pins, in whatever order they come."""
        entries = {
            "schema": SCHEMA,
            "zoo": self.zoo,
            "checkpoints": [_entry(one) for one in sorted(self.checkpoints, key=_order)],
            "datasets": [_entry(one) for one in sorted(self.datasets, key=_order)],
        }
        return _laid_out(entries) + "\n"


# Write


def _order(pinned: Checkpoint | Dataset) -> tuple[str, ...]:
    revision = pinned.revision
    return revision.repo_id.lower(), revision.repo_id, revision.commit, revision.asked


def _entry(pinned: Checkpoint | Dataset) -> dict[str, Any]:
    """A pin as it stands in a lock: without when it was made, and without what there is nothing to say of."""
    said = plain(pinned)
    entry = said.pop(_REVISION) | {name: value for name, value in said.items() if value}
    entry.pop(_ADDED, None)
    for name in ("aliases", "tags"):
        if name in entry:
            entry[name] = sorted(entry[name])
    entry[_FILES] = sorted(said[_FILES], key=lambda file: str(file["path"]))
    return {name: entry[name] for name in sorted(entry, key=lambda name: name == _FILES)}


def _laid_out(value: Any, indent: int = 0) -> str:
    """JSON with a line for everything but what is innermost, of which there is one a line."""
    inner = isinstance(value, dict | list) and any(isinstance(v, dict | list) for v in _values(value))
    if not inner:
        return json.dumps(value)
    margin = "\n" + " " * (indent + 1)
    if isinstance(value, dict):
        items = [f"{json.dumps(name)}: {_laid_out(one, indent + 1)}" for name, one in value.items()]
        start, end = "{}"
    else:
        items = [_laid_out(one, indent + 1) for one in value]
        start, end = "[]"
    return f"{start}{margin}{f',{margin}'.join(items)}{margin[:-1]}{end}"


def _values(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


# Read


def is_lock(text: str) -> bool:
    """Whether a text is meant to be a lock, and not a list of names."""
    return text.lstrip("\ufeff \t\r\n").startswith("{")


def names_of(text: str) -> list[str]:
    """The names of a list, with comments after a #; each once.

    Raises:
        UsageError: it names nothing.
    """
    lines = (line.split("#")[0] for line in text.removeprefix("\ufeff").splitlines())
    names = list(dict.fromkeys(name for line in lines for name in line.split()))
    if not names:
        raise UsageError("no checkpoint is named there.", fix="a name a line, or what zoo freeze writes")
    if len(names) > _MOST_ENTRIES:
        raise DataError(f"the list names more than {_MOST_ENTRIES:,} checkpoints.")
    return names


def read(text: str) -> Lock:
    """The lock that a text is.

    Raises:
        DataError: it is none, or an entry cannot be a pin; which, and why.
    """
    try:
        said = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"it is not JSON: {str(error)[:_LONGEST]}") from error
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        schema = said.get("schema") if isinstance(said, dict) else None
        names = "names no schema" if schema is None else f"has the schema {_shown(schema)}"
        raise _unreadable(f"it {names}; this zoo reads {SCHEMA}")
    checkpoints = tuple(_pins(Checkpoint, said.get("checkpoints"), "checkpoint"))
    datasets = tuple(_pins(Dataset, said.get("datasets", []), "dataset"))
    lock = Lock(shortened(str(said.get("zoo")), _SHOWN), checkpoints, datasets)
    _check_names(lock.checkpoints)
    return lock


def _pins(kind: type[P], entries: Any, what: str) -> Iterator[P]:
    if not isinstance(entries, list):
        raise _unreadable(f"it has no list of {what}s")
    if len(entries) > _MOST_ENTRIES:
        raise _unreadable(f"it has {count(len(entries), what)}, more than {_MOST_ENTRIES:,}")
    for number, entry in enumerate(entries, 1):
        try:
            pin = _pin(kind, entry)
            check(pin)
            if isinstance(pin, Checkpoint):
                pin = replace(pin, problem=pin.problem or _problem(pin))
        except ZooError as error:
            named = entry.get("repo_id") if isinstance(entry, dict) else entry
            raise DataError(
                f"{what} {number} of the lock, {_shown(named)}, is no pin.",
                why=" ".join(filter(None, [error.message, error.why])),
                fix=_AGAIN,
            ) from error
        yield pin


def _pin(kind: type[P], entry: Any) -> P:
    if not isinstance(entry, dict):
        raise DataError("it is no object.")
    flat = dict(entry)
    revision = {name: flat.pop(name, None) for name in ("repo_id", "asked", "commit")}
    flat.pop(_ADDED, None)
    return decode(kind, flat | {_REVISION: revision})


def check(pin: Checkpoint | Dataset) -> None:
    """Refuse what no lock says, be it to be written or read.

    Raises:
        DataError: which of it.
    """
    revision, files = pin.revision, pin.files
    texts = [revision.repo_id, revision.asked, *(file.path for file in files)]
    _demand(all(text.isprintable() for text in texts), "a name in it has characters that do not show")
    if revision.local:
        _demand(isinstance(pin, Checkpoint), "a dataset is no folder")
        _demand(not revision.repo_id.startswith("."), "its folder has no whole path")
    else:
        _demand(bool(_REPO_ID.fullmatch(revision.repo_id)), "no repository can have that name")
        _demand(_can_be_asked_for(revision.asked), "nobody can have asked for that revision")
    _demand(len(files) <= _MOST_FILES, "it has too many files")
    _demand(len({file.path for file in files}) == len(files), "it has a file twice")
    for file in files:
        _check_file(file)
    if isinstance(pin, Checkpoint):
        _check_said(pin)


def _check_file(file: RepoFile) -> None:
    parts = file.path.split("/")
    inside = not {"", ".", ".."} & set(parts) and "\\" not in file.path
    _demand(inside and len(file.path) <= _LONGEST, f"{_shown(file.path)} is no file of a repository")
    _demand(0 <= file.size <= _LARGEST_FILE, f"{_shown(file.path)} has no such size")
    _demand(bool(_DIGEST.fullmatch(file.digest)), f"{_shown(file.path)} has no digest")


def _check_said(checkpoint: Checkpoint) -> None:
    """Refuse what `zoo ls` and others could stumble over."""
    paths = [file.path for file in checkpoint.files]
    extra = sorted(set(paths) - set(needed(paths, pickled=checkpoint.pickled)))
    _demand(not extra, f"loading it does not take {_shown(', '.join(extra[:1]))}")
    texts = [checkpoint.architecture, checkpoint.model_type, checkpoint.tokenizer, checkpoint.license]
    texts += [checkpoint.problem, *checkpoint.aliases, *checkpoint.base_models, *checkpoint.tags]
    _demand(all(len(text) <= _LONGEST_TEXT for text in texts if text), "something in it is too long")
    _demand(min(checkpoint.parameters or 0, checkpoint.repo_bytes) >= 0, "it has less than no parameters")
    for alias in checkpoint.aliases:
        _demand(checkpoint.revision.local or _can_be_typed(alias), f"nobody can call it {_shown(alias)}")


def _problem(checkpoint: Checkpoint) -> str | None:
    """Why it cannot be read, whatever the lock says."""
    return problem_of((file.path for file in checkpoint.files), pickled=checkpoint.pickled)


def _check_names(checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse two entries for one pin, and one that goes by the name of another."""
    ids = {checkpoint.revision.repo_id for checkpoint in checkpoints}
    seen: set[Revision] = set()
    for checkpoint in checkpoints:
        revision = replace(checkpoint.revision, asked="")
        if revision in seen:
            raise _unreadable(f"it has {_shown(revision)} twice")
        seen.add(revision)
        if taken := ids.intersection(checkpoint.aliases) - {revision.repo_id}:
            raise _unreadable(f"{_shown(revision.repo_id)} goes by the name of {_shown(taken.pop())}")


def _can_be_asked_for(revision: str) -> bool:
    return len(revision) <= _LONGEST and bool(_ASKED.fullmatch(revision))


def _can_be_typed(name: str) -> bool:
    repo_id, _, revision = name.removeprefix("hf://").partition("@")
    return bool(_REPO_ID.fullmatch(repo_id)) and _can_be_asked_for(revision or "main")


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DataError(f"{otherwise}.")


def _unreadable(why: str) -> DataError:
    return DataError("this is no lock that can be read.", why=why, fix=_AGAIN)


def _shown(text: object) -> str:
    return f'"{spelt_out(shortened(str(text), _SHOWN))}"'
