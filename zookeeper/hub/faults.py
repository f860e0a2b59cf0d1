"""What goes wrong on the way to the Hub, in our words."""

from __future__ import annotations

import errno
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
    StorageError,
    UsageError,
    ZooError,
)
from zookeeper.hub.transport import InsecureError, SlowError, may_have_token, retry_after
from zookeeper.plain import TOKENS, brief, redacted, refusal

LOGIN = "hf auth login"
NONSENSE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What the clients raise of an answer that is none of the Hub's."""

FOREIGN = (HfHubHTTPError, HFValidationError, OSError, httpx.HTTPError, *NONSENSE)
"""Roots of what the clients raise."""

_IMPOSTOR = "check that it is a Hub, and that no proxy or login page answers for it"
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Faults:
    """Translates the clients' errors.

    Attributes:
        endpoint: of the Hub that was asked.
        offline: whether it was asked not to be asked.
    """

    endpoint: str
    offline: bool

    @property
    def _shown(self) -> str:
        """The endpoint, without a password that it may hold."""
        return redacted(self.endpoint)

    def translate(self, what: str, error: Exception) -> ZooError:
        """Our error for one of the clients'; the order matters, as theirs inherit from one another."""
        match error:
            case LocalEntryNotFoundError(__cause__=httpx.HTTPError() as cause):
                # What went wrong on the way; that nothing was in the cache either does not matter.
                return self.translate(what, cause)
            case LocalEntryNotFoundError() | OfflineModeIsEnabled():
                return self._without_connection(what, error)
            case EntryNotFoundError():
                return NotFoundError(f"no {what} on the Hub.")
            case LocalTokenNotFoundError():
                return AccessError(f"you are not logged in ({what}).", fix=LOGIN)
            case HfHubHTTPError():
                return _missing(what, error) or self._by_status(what, error, error.response.status_code)
            case HFValidationError():
                return UsageError(f"{what}: not a name the Hub knows.", why=_without_advice(reason(error)))
            case ValueError(__cause__=BadRequestError()):
                return DataError("the Hub does not accept the metadata of the card.", why=_complaint(error))
            case _:
                return self._on_the_way(what, error)

    def _without_connection(self, what: str, error: Exception) -> ZooError:
        """It is not in the cache, and nobody was asked."""
        if self.offline:
            return OfflineError(
                f"offline, and {what} is not in the cache.",
                why="HF_HUB_OFFLINE is set",
                fix="run the same command once with a connection",
            )
        return NetworkError(f"cannot fetch {what}.", why=reason(error), fix="check the connection")

    def _by_status(self, what: str, error: HfHubHTTPError, status: int) -> ZooError:
        """The Hub answered that it will not, or cannot."""
        match status:
            case 401 if not may_have_token(self.endpoint):
                return AccessError(
                    f"{self._shown} wants to know who you are ({what}).",
                    why="no token is sent there: it is not encrypted, and could be read on the way",
                    fix="set HF_ENDPOINT to an address that begins with https://",
                )
            case 401:
                return AccessError(
                    f"the Hub did not accept your token ({what}).",
                    why="it is invalid or expired",
                    fix=use_another_token(),
                )
            case 403:
                return AccessError(
                    f"you may not do that ({what}).",
                    why=reason(error),
                    fix=f"check your token's rights at {self._shown}/settings/tokens",
                )
            case 412:
                return NetworkError(
                    f"{what} changed while it was being written.",
                    why="somebody else's commit came first; nothing of yours was written",
                    fix="run the same command again",
                )
            case 429:
                return NetworkError(
                    f"the Hub asks to slow down ({what}).",
                    why="too many requests (429)",
                    fix=f"wait {_pause(error)}, or log in for a higher limit: {LOGIN}",
                )
            case _ if status < 500:
                return NetworkError(f"the Hub refused ({what}).", why=f"{status}: {reason(error)}")
            case _:
                return NetworkError(
                    f"the Hub has a problem ({what}).", why=f"it answered {status}", fix="try again later"
                )

    def _on_the_way(self, what: str, error: Exception) -> ZooError:
        """No answer of the Hub came, or none that can be kept."""
        match error:
            case httpx.TooManyRedirects():
                return NetworkError(
                    f"{self._shown} leads from one address to the next without end ({what}).", fix=_IMPOSTOR
                )
            case InsecureError():
                return NetworkError(f"{self._shown} cannot be trusted ({what}).", why=reason(error))
            case SlowError():
                return NetworkError(
                    f"{self._shown} answers too slowly ({what}).", why=reason(error), fix="try again later"
                )
            case httpx.RemoteProtocolError():
                return NetworkError(
                    f"the connection to {self._shown} broke off ({what}).",
                    why=reason(error),
                    fix="run the same command again",
                )
            case OSError() if error.errno in _DISK:
                return StorageError(
                    f"cannot write {brief(error.filename or 'to the cache')}.",
                    why=refusal(error),
                )
            case _ if isinstance(error, NONSENSE):
                return NetworkError(
                    f"{self._shown} gave an answer that makes no sense ({what}).",
                    why=reason(error),
                    fix=_IMPOSTOR,
                )
            case _:
                return NetworkError(
                    f"cannot reach {self._shown} ({what}).",
                    why=reason(error),
                    fix="check the connection, or set HTTPS_PROXY",
                )


def use_another_token() -> str:
    """How to: what the environment holds wins over a login."""
    held = next((name for name in TOKENS if os.environ.get(name)), None)
    return f"change {held} in the environment, or unset it and log in: {LOGIN}" if held else LOGIN


def status_of(error: BaseException | None) -> int | None:
    """Status of the answer that an error came with; None where there was no answer."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def unanswered(error: ZooError) -> bool:
    """Whether the Hub may have done what it was asked for, although all that came of it is an error."""
    status = status_of(error.__cause__) or 500
    return isinstance(error, NetworkError) and (status == 408 or status >= 500)


def reason(error: Exception) -> str:
    """First line of a foreign error, short enough to print."""
    return brief(getattr(error, "server_message", None) or error) or type(error).__name__


def _missing(what: str, error: HfHubHTTPError) -> ZooError | None:
    """The Hub answered that it is not there, or not for everybody; None where it answered another thing."""
    match error:
        case GatedRepoError():
            return AccessError(
                f"{what}: access must be granted first.",
                why="its owner asks for a licence to be accepted",
                fix=f"accept it at {_page(error)}, log in ({LOGIN}), then run the same command again",
            )
        case RevisionNotFoundError():
            return NotFoundError(f"{what}: no such revision.", fix="name a branch, a tag or a whole commit")
        case RepositoryNotFoundError():
            return NotFoundError(
                f"no {what} on the Hub, or it is private and you are not logged in.",
                fix=f"check the name; for a private one: {LOGIN}",
            )
        case _:
            return None


def _without_advice(said: str) -> str:
    """A complaint of huggingface_hub about a name, without what would help who calls it."""
    return said.partition(" Use `")[0]


def _complaint(error: Exception) -> str:
    """What the Hub says is wrong with a card, below the client's heading."""
    return brief("".join(str(error).split("\n- ")[1:2])) or reason(error)


def wait(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait before the same request again; None where that would not help."""
    if isinstance(error, LocalEntryNotFoundError):
        return wait(error.__cause__, attempt) if isinstance(error.__cause__, HfHubHTTPError) else None
    status = status_of(error) or 0
    if status != 429 and status < 500:
        return None
    asked = _asked(error)
    return 2.0 ** (attempt - 1) if asked is None else asked


def _asked(error: BaseException) -> float | None:
    """How long the Hub asks to wait."""
    return retry_after(error.response.headers) if isinstance(error, HfHubHTTPError) else None


def _pause(error: HfHubHTTPError) -> str:
    """How long the Hub asks to wait, in words."""
    asked = _asked(error)
    if asked is None or asked > 10 * 24 * 3600:
        return "a few minutes"
    return f"{asked:.0f} seconds" if asked < 3600 else f"{asked / 3600:.0f} hours"


def _page(error: HfHubHTTPError) -> str:
    """The page of the repository that refused a request."""
    url = brief(error.response.url).split("?")[0]
    return re.sub(r"/api/models|/api(?=/datasets)|/(resolve|tree|revision)/.*", "", url)
