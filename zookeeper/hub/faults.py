"""What goes wrong on the way to the Hub, in our words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

from zookeeper.errors import (
    AccessError,
    DataError,
    NetworkError,
    NotFoundError,
    OfflineError,
    UsageError,
    ZooError,
)
from zookeeper.plain import spelt_out

LOGIN = "hf auth login"
NONSENSE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What the clients raise of an answer that is none of the Hub's."""

FOREIGN = (HfHubHTTPError, HFValidationError, OSError, httpx.HTTPError, *NONSENSE)
"""Roots of what the clients raise."""

_TOKENS = "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"
_LONGEST_WAIT = 60.0
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Faults:
    """Translates the clients' errors.

    Attributes:
        endpoint: of the Hub that was asked.
        offline: whether it was asked not to be asked.
    """

    endpoint: str
    offline: bool

    def translate(self, what: str, error: Exception) -> ZooError:
        """Our error for one of the clients'; the order matters, as theirs inherit from one another."""
        if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, httpx.HTTPError):
            # What went wrong on the way; that nothing was in the cache either does not matter.
            return self.translate(what, error.__cause__)
        status = status_of(error)
        match error:
            case GatedRepoError():
                return AccessError(
                    f"{what}: access must be granted first.",
                    why="its owner asks for a licence to be accepted",
                    fix=f"accept it at {_page(error)}, log in ({LOGIN}), then run the same command again",
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
                return NetworkError(f"cannot fetch {what}.", why=reason(error), fix="check the connection")
            case RepositoryNotFoundError():
                return NotFoundError(
                    f"no {what} on the Hub, or it is private and you are not logged in.",
                    fix=f"check the name; for a private one: {LOGIN}",
                )
            case EntryNotFoundError():
                return NotFoundError(f"no {what} on the Hub.")
            case LocalTokenNotFoundError():
                return AccessError(f"you are not logged in ({what}).", fix=LOGIN)
            case HfHubHTTPError() if status == 401:
                return AccessError(
                    f"the Hub did not accept your token ({what}).",
                    why="it is invalid or expired",
                    fix=use_another_token(),
                )
            case HfHubHTTPError() if status == 403:
                return AccessError(
                    f"you may not do that ({what}).",
                    why=reason(error),
                    fix=f"check your token's rights at {self.endpoint}/settings/tokens",
                )
            case HfHubHTTPError() if status == 412:
                return NetworkError(
                    f"{what} changed while it was being written.",
                    why="somebody else's commit came first; nothing of yours was written",
                    fix="run the same command again",
                )
            case HfHubHTTPError() if status == 429:
                return NetworkError(
                    f"the Hub asks to slow down ({what}).",
                    why="too many requests (429)",
                    fix=f"wait {_pause(error)}, or log in for a higher limit: {LOGIN}",
                )
            case HfHubHTTPError() if status is not None and status < 500:
                return NetworkError(f"the Hub refused ({what}).", why=f"{status}: {reason(error)}")
            case HfHubHTTPError():
                return NetworkError(
                    f"the Hub has a problem ({what}).", why=f"it answered {status}", fix="try again later"
                )
            case HFValidationError():
                return UsageError(f"{what}: not a name the Hub knows.", why=reason(error))
            case ValueError() if isinstance(error.__cause__, BadRequestError):
                return DataError("the Hub does not accept the metadata of the card.", why=_complaint(error))
            case _ if isinstance(error, NONSENSE) and status is None:
                return NetworkError(
                    f"{self.endpoint} gave an answer that makes no sense ({what}).",
                    why=reason(error),
                    fix="check that it is a Hub, and that no proxy or login page answers for it",
                )
            case _:
                return NetworkError(
                    f"cannot reach {self.endpoint} ({what}).",
                    why=reason(error),
                    fix="check the connection, or set HTTPS_PROXY",
                )


def use_another_token() -> str:
    """How to: what the environment holds wins over a login."""
    held = next((name for name in _TOKENS if os.environ.get(name)), None)
    return f"change {held} in the environment, or unset it and log in: {LOGIN}" if held else LOGIN


def status_of(error: BaseException | None) -> int | None:
    """Status of the answer that an error came with; None where there was no answer."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def unanswered(error: ZooError) -> bool:
    """Whether the Hub may have done what it was asked for, although all that came of it is an error."""
    status = status_of(error.__cause__) or 500
    return isinstance(error, NetworkError) and (status == 408 or status >= 500)


def brief(text: object, longest: int = _LONGEST_REASON) -> str:
    """First line of foreign text, short, and of characters that only show."""
    return spelt_out("".join(str(text).strip().splitlines()[:1]))[:longest]


def reason(error: Exception) -> str:
    """First line of a foreign error, short enough to print."""
    return brief(getattr(error, "server_message", None) or error) or type(error).__name__


def _complaint(error: Exception) -> str:
    """What the Hub says is wrong with a card, below the client's heading."""
    return brief("".join(str(error).split("\n- ")[1:2])) or reason(error)


def wait(error: HfHubHTTPError, attempt: int) -> float | None:
    """Seconds to wait before the same request again; None where that would not help."""
    status = error.response.status_code
    if status != 429 and status < 500:
        return None
    asked = error.response.headers.get("Retry-After", "")
    seconds = float(asked) if asked.isdecimal() else 2.0 ** (attempt - 1)
    return seconds if seconds <= _LONGEST_WAIT else None


def _pause(error: HfHubHTTPError) -> str:
    """How long the Hub asks to wait."""
    asked = error.response.headers.get("Retry-After", "")
    return f"{brief(asked, 9)} seconds" if asked.isdecimal() else "a few minutes"


def _page(error: HfHubHTTPError) -> str:
    """The page of the repository that refused a request."""
    url = str(error.response.url).split("?")[0]
    return re.sub(r"/api/models|/api(?=/datasets)|/(resolve|tree|revision)/.*", "", url)
