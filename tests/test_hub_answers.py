"""What the Hub's clients raise and give, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
)
from loopback import LoopbackHub

from zookeeper.errors import AccessError, NetworkError, NotFoundError, OfflineError, UsageError, ZooError
from zookeeper.hub import Hub, transport
from zookeeper.hub.cached import cached
from zookeeper.hub.changes import _diff
from zookeeper.hub.faults import Faults
from zookeeper.hub.transport import InsecureError


@pytest.mark.parametrize(
    ("raised", "offline", "kind", "said", "fix"),
    [
        (EntryNotFoundError("404"), False, NotFoundError, "no a/b on the Hub.", None),
        (
            LocalTokenNotFoundError("none"),
            False,
            AccessError,
            "you are not logged in (a/b).",
            "hf auth login",
        ),
        (
            LocalEntryNotFoundError("none"),
            True,
            OfflineError,
            "offline, and a/b is not in the cache.",
            "once",
        ),
        (LocalEntryNotFoundError("none"), False, NetworkError, "cannot fetch a/b.", "check the connection"),
        (HFValidationError("--"), False, UsageError, "a/b: not a name the Hub knows.", None),
        (InsecureError("open"), False, NetworkError, "https://hub.example cannot be trusted (a/b).", None),
    ],
)
def test_what_the_clients_raise_is_said_in_our_words(
    raised: Exception, offline: bool, kind: type[ZooError], said: str, fix: str | None
) -> None:
    error = Faults("https://hub.example", offline).translate("a/b", raised)
    assert (type(error), error.message) == (kind, said)
    assert (fix or "") in (error.fix or "")


def test_a_card_whose_last_line_has_no_end_says_so() -> None:
    diff = _diff("one\ntwo", "one\ntwo\n")
    assert "-two\n\\ No newline at end of file\n+two\n" in diff


def test_a_cache_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert cached(tmp_path / "none") == ()


def test_what_answers_without_a_list_of_models_is_no_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    ours = Hub(hub.url, tmp_path)
    assert ours.reach(5.0).seconds < 5
    hub.fail(200, "api/models", body=b"{}")
    with pytest.raises(NetworkError, match="makes no sense"):
        ours.reach(5.0)


def test_a_body_that_comes_steadily_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_WINDOW", 0.0)
    monkeypatch.setattr(transport, "_SLOWEST", 0.0)

    def body() -> Iterator[bytes]:
        yield from (b"some", b"more", b"")

    assert b"".join(transport._Steady(body(), None)) == b"somemore"
