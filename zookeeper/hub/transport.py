"""What goes over the wire, whichever of the clients asks: no token in clear, no waiting without end."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

from huggingface_hub import set_client_factory
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    hf_raise_for_status,
    httpx,
    logging,
    parse_ratelimit_headers,
)
from huggingface_hub.utils._http import default_client_factory

LONGEST_WAIT = 60.0
"""Seconds for which a Hub may ask to be left alone before the same request is made again."""

WHOLE_WAIT = 300.0
"""Seconds that all waits for one thing may take together."""

_SILENCE = 300.0  # seconds, for what names no limit of its own
_WINDOW = 60.0  # seconds
_SLOWEST = 10_000  # bytes a second


class SlowError(httpx.RequestError):
    """An answer that comes in drops."""


class InsecureError(httpx.RequestError):
    """An answer that leads from an encrypted connection to one that is not."""


class Patience:
    """What may still be waited, over all repetitions of a request."""

    def __init__(self) -> None:
        self.left = WHOLE_WAIT

    def spend(self, seconds: float) -> bool:
        """Whether so long may be waited yet; if so it is no longer left."""
        if seconds > min(LONGEST_WAIT, self.left):
            return False
        self.left -= seconds
        return True


_patience: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def patient() -> Iterator[Patience]:
    """A patience in which all share that is asked within."""
    patience = Patience()
    held = _patience.set(patience)
    try:
        yield patience
    finally:
        _patience.reset(held)


def may_have_token(url: str) -> bool:
    """Whether nobody on the way to an address can read what is sent there: it is encrypted, or stays here."""
    address = httpx.URL(url)
    return address.scheme == "https" or _is_loopback(address.host)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds after which a Hub wants to be asked again, as number or date; None where it does not say."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except (ValueError, OverflowError):
        return None
    return max(
        0.0, ((until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    )


@cache
def install() -> None:
    """Have huggingface_hub, in this process, talk to the network by these rules and leave words to us."""
    set_client_factory(_client)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def _client() -> Any:
    client = default_client_factory()
    client.timeout = httpx.Timeout(_SILENCE, connect=30.0)
    client.event_hooks["request"].append(_before_request)
    client.event_hooks["response"].append(_on_response)
    return client


def _before_request(request: Any) -> None:
    """Every request, those to which a redirect leads too."""
    if not may_have_token(str(request.url)):
        request.headers.pop("Authorization", None)


def _on_response(response: Any) -> None:
    response.stream = _Steady(response.stream, response.request)
    if response.has_redirect_location and response.url.scheme == "https":
        target = response.url.join(response.headers["Location"])
        if target.scheme == "http":
            raise InsecureError(f"it leads to {target.host} without encryption", request=response.request)
    if response.status_code == 429 or response.status_code >= 500:
        _limit_wait(response)


def _limit_wait(response: Any) -> None:
    """Let the clients wait for a busy Hub, but not for hours; dates they do not understand become seconds."""
    seconds = retry_after(response.headers)
    if seconds is not None:
        response.headers["Retry-After"] = str(math.ceil(seconds))
    limit = parse_ratelimit_headers(response.headers)
    asked = max(seconds or 0.0, limit.reset_in_seconds if limit and not limit.remaining else 0.0)
    patience = _patience.get() or Patience()
    if not patience.spend(asked):
        response.read()
        hf_raise_for_status(response)


class _Steady(httpx.SyncByteStream):
    """The body of an answer, as long as it does not come in drops."""

    def __init__(self, stream: Any, request: Any) -> None:
        self._stream = stream
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        # What whoever reads it does in between is not the server's time.
        chunks, waited, received = iter(self._stream), 0.0, 0
        while True:
            began = time.monotonic()
            chunk = next(chunks, None)
            waited += time.monotonic() - began
            if chunk is None:
                return
            received += len(chunk)
            if waited >= _WINDOW:
                if received < _SLOWEST * waited:
                    raise SlowError(f"{received / waited:,.0f} bytes a second", request=self._request)
                waited, received = 0.0, 0
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
