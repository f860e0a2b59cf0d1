"""Who may write where, and how other people are asked: by hand, once, and never again where they say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zookeeper.errors import AccessError, UsageError
from zookeeper.hub.faults import LOGIN, use_another_token
from zookeeper.plain import brief
from zookeeper.publications import Publication

RESULTS_FOLDER = ".eval_results/"
"""Where files may be proposed to other people's repositories, beside their card."""

_KEY = "zookeeper"
_DECLINED = {"nopr", "noprs", "nopull", "nopulls", "nopullrequest", "nopullrequests", "no", "none", "never"}
_PULLS = {"pr", "prs", "pull", "pulls", "pullrequest", "pullrequests"}
_NO = {"", "no", "off", "false", "none", "never", "0"}
_LINES_OF_ACCOUNT = 13
_LONGEST_LINE = 4000
_LONGEST_PATH = 200
_CODE_OR_CALL = re.compile(r"(?<![\\`])(`+)(?!`).*?(?<!`)\1(?!`)|@", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a token stands for.

    Attributes:
        name: of the user.
        owners: whose repositories are as good as one's own: the user, and organizations they may write to.
        may_write: whether the token may.
    """

    name: str
    owners: tuple[str, ...]
    may_write: bool

    @classmethod
    def of(cls, whoami: Mapping[str, Any]) -> Account:
        """From what the Hub answers."""
        name = str(whoami["name"])
        orgs = [org for org in whoami.get("orgs") or () if org.get("roleInOrg") != "read"]
        token = (whoami.get("auth") or {}).get("accessToken") or {}
        return cls(name, (name, *(str(org["name"]) for org in orgs)), token.get("role") != "read")

    def owns(self, repo_id: str) -> bool:
        """Whether a repository is this account's, or would be."""
        return repo_id.split("/")[0] in self.owners


def check_token(account: Account | None, endpoint: str) -> Account:
    """The account, if it may write anything at all.

    Raises:
        AccessError: not logged in, or a token that may read only.
    """
    if account is None:
        raise AccessError("you are not logged in.", why="writing takes an account", fix=LOGIN)
    if not account.may_write:
        raise AccessError(
            "your token may read only.",
            why=f"it is logged in as {brief(account.name)}",
            fix=f"make one that may write at {endpoint}/settings/tokens, then {use_another_token()}",
        )
    return account


def check_proposal(repo_id: str, files: Mapping[str, Any], *, create_pr: bool) -> None:
    """Refuse what zoo does not do to other people's repositories.

    Raises:
        UsageError: to propose more than a card and results.
        AccessError: to write without a pull request.
    """
    more = [path for path in files if not path.startswith(RESULTS_FOLDER)]
    if more:
        raise UsageError(
            f"{repo_id} is not yours: zoo proposes a change of its card, and nothing else.",
            why=f"there are {len(more)} more files, such as {brief(more[0])}",
            fix="push it to a repository of your own",
        )
    if not create_pr:
        raise AccessError(
            f"{repo_id} is not yours.",
            why="zoo writes to other people's repositories by pull request only, and only when asked",
            fix=f"the same command with --create-pr --yes-open-pr-on {repo_id}",
        )


def check_consent(repo_id: str, agreed: str | None) -> None:
    """Refuse to write to other people unless the user named the repository.

    Raises:
        AccessError: they did not.
    """
    if agreed != repo_id:
        raise AccessError(
            f"{repo_id} is not yours, and you did not confirm that its owner shall get a pull request.",
            why="its name was not typed" if agreed is None else f"what was typed is {brief(agreed)}",
            fix=f"the same command with --create-pr --yes-open-pr-on {repo_id}",
        )


def check_invitation(repo_id: str, metadata: Mapping[str, Any]) -> None:
    """Refuse where the card says that its owner wants no pull requests by zoo.

    Args:
        repo_id: whose card.
        metadata: of the card; ``zookeeper: no-pr``, and what else can be meant by it.

    Raises:
        AccessError: it does.
    """
    said = metadata.get(_KEY)
    wishes = said.items() if isinstance(said, dict) else said if isinstance(said, list) else [said]
    if any(_declines(wish) for wish in wishes):
        raise AccessError(
            f"{repo_id} takes no pull requests by zoo.",
            why=f"the metadata of its card say {_KEY}: no-pr",
            fix="send its owner a card yourself: zoo card writes one",
        )


def _declines(wish: Any) -> bool:
    """Whether one of the things that a card says to zoo is that it wants no pull request."""
    key, value = wish if isinstance(wish, tuple) else (wish, None)
    key, value = _word(key), None if value is None else _word(value)
    if value is None:
        return key in _DECLINED or key == "false"
    return (key in _DECLINED and value not in _NO) or (key in _PULLS and value in _NO)


def _word(said: Any) -> str:
    return re.sub(r"[^a-z0-9]", "", str(said).lower()) if isinstance(said, str | int) else "?"


def invitation(account: Account, publication: Publication) -> str:
    """Text of a pull request, of at most 15 lines, which calls nobody but by its own name.

    Args:
        account: who asked for it.
        publication: what it proposes.
    """
    told = [brief(line, _LONGEST_LINE) for line in publication.account.strip().splitlines()]
    closing = (
        f"{account.name} made this by hand, with the tool "
        "[zookeeper](https://pypi.org/project/hf-zoo/), for this repository alone. It touches no more than "
        f"{_touched(publication)}; every other byte stays. To decline for good, close it, or write "
        f"`{_KEY}: no-pr` into the card's metadata: zookeeper then opens no other one here."
    )
    return "\n\n".join(filter(None, [_calling_nobody("\n".join(told[:_LINES_OF_ACCOUNT])), closing]))


def _touched(publication: Publication) -> str:
    files = [f"the file `{brief(path, _LONGEST_PATH).replace('`', '')}`" for path in publication.files]
    parts = ["one block of metadata in README.md"] if publication.card.metadata else []
    parts += ["one marked section of README.md"] if publication.card.body.strip() else []
    return " and ".join([*parts, *(files if len(files) == 1 else [f"{len(files)} files"] if files else [])])


def _calling_nobody(markdown: str) -> str:
    """Markdown in which no ``@name`` notifies anybody; what is code is left as it is."""

    def quiet(found: re.Match[str]) -> str:
        return "`@`" if found[0] == "@" else found[0]

    return _CODE_OR_CALL.sub(quiet, markdown)
