"""Whether a Hub answers at all, how quickly, and what time it has."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

from zookeeper.hub.client import Client


@dataclass(frozen=True, slots=True)
class Answer:
    """That a Hub answered.

    Attributes:
        seconds: that it took.
        ahead: seconds by which the clock of this machine is ahead of its; None where it says no time.
    """

    seconds: float
    ahead: float | None


def reach(client: Client, patience: float) -> Answer:
    """Ask for the names of few models, without a token; see `Hub.reach`."""

    def ask() -> Any:
        response = get_session().get(f"{client.endpoint}/api/models", params={"limit": 1}, timeout=patience)
        hf_raise_for_status(response)
        if not isinstance(response.json(), list):
            raise ValueError("it gave no list of models")
        return response

    started = time.monotonic()
    response = client.ask("a list of models", ask, once=True)
    seconds = time.monotonic() - started
    return Answer(seconds, _ahead(response.headers.get("Date")))


def _ahead(date: str | None) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
