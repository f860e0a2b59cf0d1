"""What can go wrong on the way to the Hub: the right words and exit code, and no waiting without end."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.file_download
import pytest
from conftest import Zoo
from huggingface_hub.utils import _http, httpx
from loopback import WRITE_TOKEN, LoopbackHub, read_folder

from zookeeper.hub import transport

WEIGHTS = r"resolve/.*model\.safetensors"
LOGIN_PAGE = b"<!doctype html><title>Please log in</title>"
ESCAPES = b'{"error": "no \\u001b]8;;http://evil\\u001b\\\\ [bold]way[/x] \\u202e\\u009b"}'
WHOLE_WAIT = 300.0


def date(**ahead: float) -> str:
    """A moment to come, as HTTP writes it."""
    return format_datetime(datetime.now(UTC) + timedelta(**ahead), usegmt=True)


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        command: in which it strikes.
        plan: makes the Hub answer so.
        exit_code: of the command.
        said: must stand in what it says.
        unsaid: must not.
    """

    command: str
    plan: Callable[[LoopbackHub], object]
    exit_code: int = 5
    said: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()


def failing(
    status: int, pattern: str, times: int | None = None, **options: Any
) -> Callable[[LoopbackHub], object]:
    """The Hub fails so."""
    return lambda hub: hub.fail(status, pattern, times=times, **options)


def weights(hub: LoopbackHub) -> bytes:
    """Those of the checkpoint that is fetched."""
    return hub.files("model", "me/bert")["model.safetensors"]


def cut_off(hub: LoopbackHub) -> None:
    hub.fail(200, WEIGHTS, method="GET", times=None, body=weights(hub), cut=2_000)


def dripping(hub: LoopbackHub) -> None:
    hub.fail(200, WEIGHTS, method="GET", times=None, body=weights(hub), drip=0.02)


def wrong_bytes(hub: LoopbackHub) -> None:
    good = hub.files("model", "me/bert")["config.json"]
    hub.fail(200, r"resolve/.*/config\.json", method="GET", body=good.replace(b"bert", b"trap"))


def too_few_bytes(hub: LoopbackHub) -> None:
    hub.fail(200, WEIGHTS, method="GET", times=None, body=weights(hub)[:-5])


def too_many_bytes(hub: LoopbackHub) -> None:
    hub.fail(200, WEIGHTS, method="GET", times=None, body=weights(hub) + b"more")


def endless(pattern: str, method: str) -> Callable[[LoopbackHub], object]:
    return lambda hub: hub.fail(
        302,
        pattern,
        method=method,
        times=None,
        headers={"Location": f"{hub.url}/api/models/me/bert?blobs=true"},
    )


MODELS = "api/models"
FAULTS = {
    "429, for a day": Fault(
        "add", failing(429, MODELS, headers={"Retry-After": "86400"}), said=("slow down", "wait 24 hours")
    ),
    "429, until a date far away": Fault(
        "add",
        failing(429, MODELS, headers={"Retry-After": date(days=2)}),
        said=("slow down", "wait 48 hours"),
    ),
    "429, for a century": Fault(
        "add", failing(429, MODELS, headers={"Retry-After": "9" * 40}), said=("slow down",)
    ),
    "429, again and again": Fault(
        "add", failing(429, MODELS, headers={"Retry-After": "59"}), said=("slow down", "59 seconds")
    ),
    "429, until a date at hand": Fault(
        "add", failing(429, MODELS, 1, headers={"Retry-After": date(seconds=30)}), 0
    ),
    "429 with a date that is none": Fault(
        "add", failing(429, MODELS, 1, headers={"Retry-After": "Caturday, 99 Foo"}), 0
    ),
    "429 of a file, for a day": Fault(
        "probe", failing(429, WEIGHTS, method="GET", headers={"Retry-After": "86400"}), said=("slow down",)
    ),
    "429 of a file by its rate limit": Fault(
        "probe",
        failing(429, WEIGHTS, method="GET", headers={"RateLimit": '"api";r=0;t=86400'}),
        said=("slow down",),
    ),
    "429 of a file's head, for a day": Fault(
        "probe", failing(429, WEIGHTS, method="HEAD", headers={"Retry-After": "86400"}), said=("slow down",)
    ),
    "429 of a file, until a date at hand": Fault(
        "probe", failing(429, WEIGHTS, 1, method="GET", headers={"Retry-After": date(seconds=20)}), 0
    ),
    "500 of a file's head": Fault(
        "probe", failing(500, WEIGHTS, method="HEAD"), said=("answered 500",), unsaid=("connection",)
    ),
    "503 of a file's head, twice": Fault("probe", failing(503, WEIGHTS, 2, method="HEAD"), 0),
    "500 of a file": Fault("probe", failing(500, WEIGHTS, method="GET"), said=("answered 500",)),
    "502 of a file, three times": Fault("probe", failing(502, WEIGHTS, 3, method="GET"), 0),
    "hung up": Fault("add", failing(0, MODELS), said=("broke off",)),
    "hung up on a file": Fault("probe", failing(0, WEIGHTS, method="GET"), said=("broke off", "again")),
    "a file that is cut off": Fault("probe", cut_off, said=("broke off", "again")),
    "a file that comes in drops": Fault("probe", dripping, said=("too slowly",)),
    "a file of other bytes": Fault("probe", wrong_bytes, 1, said=("not what the Hub announced", "removed")),
    "a file that is too short": Fault("probe", too_few_bytes, said=("model.safetensors of me/bert",)),
    "a file that is too long": Fault("probe", too_many_bytes, said=("model.safetensors of me/bert",)),
    "redirects without end": Fault("add", endless("models/me/bert", "GET"), said=("without end",)),
    "redirects of a file without end": Fault("probe", endless("", "HEAD"), said=("without end",)),
    "a login page": Fault(
        "add", failing(200, MODELS, body=LOGIN_PAGE), said=("makes no sense", "login page")
    ),
    "a list where a repository should be": Fault(
        "add", failing(200, MODELS, body=b"[[]]"), said=("makes no sense",)
    ),
    "refused with escapes": Fault(
        "add",
        failing(403, MODELS, body=ESCAPES),
        4,
        said=("you may not", r"\x1b]8;;", "[bold]way[/x]", r"\u202e"),
    ),
    "refused in a header with escapes": Fault(
        "add",
        failing(403, MODELS, headers={"X-Error-Message": "no [/x] \x9b2J"}),
        4,
        said=("[/x]", r"\x9b2J"),
    ),
    "refused with the token in it": Fault(
        "add",
        failing(403, MODELS, body=b'{"error": "who is {authorization}?"}'),
        4,
        said=("who is Bearer ***?",),
    ),
    "gone since": Fault("probe", lambda hub: hub.remove("model", "me/bert"), 1, said=("no ",)),
    "rewritten since": Fault(
        "probe",
        failing(404, "resolve", headers={"X-Error-Code": "RevisionNotFound"}),
        1,
        said=("no longer on the Hub", "fix: zoo update me/bert --apply"),
    ),
    "private since": Fault(
        "probe", failing(401, WEIGHTS, headers={"X-Error-Code": "RepoNotFound"}), 1, said=("private",)
    ),
}


@dataclass
class Clock:
    """Time in which nobody waits, although it is asked for."""

    waited: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of zoo and of its client, and of nobody else: the Hub sleeps for true."""
    clock = Clock()
    monkeypatch.setattr("zookeeper.hub.client.sleep", clock.sleep)
    stands_still = SimpleNamespace(**vars(time) | {"sleep": clock.sleep})
    monkeypatch.setattr(_http, "time", stands_still)
    monkeypatch.setattr(huggingface_hub.file_download, "time", stands_still)
    return clock


def beside(tmp_path: Path) -> set[str]:
    """What lies there that is no folder of the zoo."""
    return {path.name for path in tmp_path.iterdir()} - {"home", "cache", "hub"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_said_as_what_it_is_and_is_not_waited_for_without_end(
    name: str,
    zoo: Zoo,
    hub: LoopbackHub,
    clock: Clock,
    checkpoints: dict[str, Path],
    probe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault = FAULTS[name]
    hub.add("model", "me/bert", read_folder(checkpoints["bert"]))
    monkeypatch.setattr(transport, "_WINDOW", 0.2)
    monkeypatch.setattr(transport, "_SLOWEST", 50_000)
    command = {"add": ("add", "me/bert"), "probe": ("probe", "-p", probe_file)}[fault.command]
    if fault.command == "probe":
        assert zoo("add", "me/bert").exit_code == 0
    fault.plan(hub)
    done = zoo(*command)
    assert done.exit_code == fault.exit_code, done.stderr
    assert all(said in done.stderr for said in fault.said), done.stderr
    assert not any(unsaid in done.stderr for unsaid in fault.unsaid), done.stderr
    assert WRITE_TOKEN not in done.stderr
    assert done.stderr.replace("\n", "").isprintable()
    assert sum(clock.waited) <= WHOLE_WAIT
    assert not beside(tmp_path)
    hub.recover()
    if "since" not in name:
        assert zoo(*command).exit_code == 0, "the next try succeeds"


def test_there_are_twenty_and_more() -> None:
    assert len(FAULTS) >= 20


def test_a_date_is_waited_for(zoo: Zoo, hub: LoopbackHub, clock: Clock, checkpoints: dict[str, Path]) -> None:
    hub.add("model", "me/bert", read_folder(checkpoints["bert"]))
    hub.fail(429, MODELS, headers={"Retry-After": date(seconds=30)})
    assert zoo("add", "me/bert").exit_code == 0
    assert clock.waited == [pytest.approx(30, abs=5)]


def test_a_silent_hub_is_given_up(
    zoo: Zoo, hub: LoopbackHub, clock: Clock, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("model", "me/bert", read_folder(checkpoints["bert"]))
    monkeypatch.setattr("zookeeper.hub.client._TIMEOUT", 0.3)
    hub.fail(200, MODELS, body=b"{}" * 100, drip=1.0)
    done = zoo("add", "me/bert")
    assert done.exit_code == 5
    assert "timed out" in done.stderr


def test_a_disk_that_fills_during_a_download_is_no_fault_of_the_hub(
    zoo: Zoo,
    hub: LoopbackHub,
    checkpoints: dict[str, Path],
    probe_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "blobs/x.incomplete")

    hub.add("model", "me/bert", read_folder(checkpoints["bert"]))
    zoo("add", "me/bert")
    monkeypatch.setattr(huggingface_hub.file_download, "http_get", full)
    done = zoo("probe", "-p", probe_file)
    assert done.exit_code == 1
    assert "cannot write" in done.stderr
    assert "no space left" in done.stderr


@pytest.mark.parametrize(
    "path",
    [
        "../../evil.safetensors",
        "/evil.safetensors",
        "a/../../evil.safetensors",
        "..\\evil.safetensors",
        "C:evil.safetensors",
        "x//model.safetensors",
    ],
)
def test_a_file_that_leads_out_of_its_folder_is_refused(hub: LoopbackHub, tmp_path: Path, path: str) -> None:
    from zookeeper.errors import ZooError
    from zookeeper.hub import Hub
    from zookeeper.records import RepoFile

    commit = hub.add("model", "me/bert", {path: b"evil"})
    ours = Hub(hub.url, tmp_path / "a" / "b")
    found = ours.repository("me/bert")
    assert found.revision.commit == commit
    with pytest.raises(ZooError, match="no file of a repository"):
        ours.fetch(found.revision, (RepoFile(path, 4, "git:x"),))
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


# Where a token goes


def asked(url: str, **redirects: str) -> list[tuple[str, bool]]:
    """What is asked for, and whether with a token, of servers that lead from one address to another."""
    seen = []

    def answer(request: Any) -> Any:
        seen.append((str(request.url), "authorization" in request.headers))
        target = redirects.get(request.url.path.strip("/"))
        return httpx.Response(302, headers={"Location": target}) if target else httpx.Response(200)

    hooks = transport._client().event_hooks
    with httpx.Client(
        transport=httpx.MockTransport(answer), event_hooks=hooks, follow_redirects=True
    ) as client:
        client.get(url, headers={"Authorization": f"Bearer {WRITE_TOKEN}"})
    return seen


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://huggingface.co/x", True),
        ("https://hub.example.org/x", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://[::1]/x", True),
        ("http://localhost/x", True),
        ("http://hub.example.org/x", False),
        ("http://10.0.0.1/x", False),
        ("http://127.0.0.1.example.org/x", False),
        ("http://localhost.example.org/x", False),
    ],
)
def test_a_token_is_sent_where_nobody_on_the_way_can_read_it(url: str, sent: bool) -> None:
    assert asked(url) == [(url, sent)]


def test_a_redirect_takes_no_token_elsewhere_and_never_leads_into_the_open() -> None:
    there = "https://cdn.example.org/file"
    assert asked("https://huggingface.co/x", x=there)[-1] == (there, False)
    with pytest.raises(transport.InsecureError, match="without encryption"):
        asked("https://huggingface.co/x", x="http://huggingface.co/y")


def test_a_hub_in_the_open_that_asks_who_one_is_gets_no_token(
    zoo: Zoo, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_is_loopback", lambda host: False)
    hub.add("model", "bob/secret", {}, private=True)
    hub.fail(401, MODELS)
    done = zoo("add", "bob/secret")
    assert done.exit_code == 4
    assert "no token is sent there" in done.stderr
    assert "https://" in done.stderr
    assert not any(request.has_token for request in hub.requests)


def test_whoever_reads_slowly_is_not_taken_for_a_slow_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for pause_of_hub, fault in ((0.0, False), (40.0, True)):

        def body(pause: float = pause_of_hub) -> Iterator[bytes]:
            for _ in range(9):
                now[0] += pause
                yield b"x"

        def read(stream: Iterator[bytes]) -> None:
            for _ in stream:
                now[0] += 100.0

        steady = iter(transport._Steady(body(), None))
        with pytest.raises(transport.SlowError) if fault else nullcontext():
            read(steady)
