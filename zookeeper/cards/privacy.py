"""Records without what is nobody's business: where on this machine things are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from zookeeper.plain import decode, plain
from zookeeper.publications import EvalCard
from zookeeper.results import Ranking, Run, Selection

R = TypeVar("R", bound=Run | EvalCard | Ranking | Selection)

_NAMES = {"classes", "config", "label_column", "pair_column", "text_column"}
"""Fields that are what they are, even where they look like a path."""
_SENTENCES = {"error", "why", "fix", "notes"}
"""Fields in which a path may stand among words."""
_LEADS_AWAY = re.compile(
    r"((?:--[\w-]+=|-[A-Za-z]?|[\w.-]+=){0,2})"
    r"(?:[/~\\]|[A-Za-z]:[/\\]|(?:\.[/\\]+)*\.\.[/\\]"
    r"|\.[/\\]+(?:[^/\\]+[/\\]+){2}|(?!\.[/\\])(?:[^/\\@:,\s]+[/\\]+){2})"
)
"""The beginning of a path that is absolute, or leads upwards, or down into more than one folder (of which a
name on the Hub has one); before it the name of an option."""
_PATH_AMONG_WORDS = re.compile(
    r"(?<![\w/\\.~-])(?:file:/{0,2})?(?:~[\w.-]*|[A-Za-z]:)?(?:[/\\]+[^\s/\\'\"`,;:()<>|]+){2,}[/\\]?"
)


def publishable(record: R) -> R:
    """A record in which a path of a folder or file here is its last part only.

    That is one that is absolute, leads upwards, or down into more than one folder: ``org/name`` stays, and
    ``./folder/name``.
    """
    everything = plain(record)
    paths = sorted({text for text in _texts(everything) if _last_part(text) != text}, key=len, reverse=True)
    return decode(type(record), _published(everything, paths))


def publishable_command(command: str) -> str:
    """A command line in which a path is its last part only, where it is so in a record."""
    return shlex.join(",".join(_last_part(part) for part in word.split(",")) for word in _words(command))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def _published(value: Any, paths: Iterable[str], field: str = "") -> Any:
    """What JSON holds, without folders.

    Args:
        value: of a field.
        paths: those that are a whole value elsewhere in the record, longest first.
        field: name of the field.
    """
    if field in _NAMES:
        return value
    if isinstance(value, Mapping):
        return {_last_part(name): _published(one, paths, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_published(one, paths, field) for one in value]
    if not isinstance(value, str):
        return value
    if field == "command":
        return publishable_command(value)
    return _sentence(value, paths) if field in _SENTENCES else _last_part(value)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _sentence(text: str, paths: Iterable[str]) -> str:
    for path in paths:
        text = text.replace(path, _last_part(path))
    return _PATH_AMONG_WORDS.sub(lambda found: _last_part(found[0].removeprefix("file:")), text)


def _last_part(text: str) -> str:
    """Of a path that leads away from here, be it the value of an option; any other text as it is."""
    found = _LEADS_AWAY.match(text)
    name = re.split(r"[/\\]", text[found.end(1) :].rstrip("/\\"))[-1].lstrip("~") if found else ""
    return f"{found[1]}./{name}" if found and name else text
