"""Whether zoo can work here is found out by trying, and said with what to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Zoo
from loopback import READ_TOKEN, LoopbackHub

from zookeeper import doctor, worker
from zookeeper.errors import CheckpointError
from zookeeper.hub import Answer, Hub
from zookeeper.settings import Settings
from zookeeper.store import Store
from zookeeper.worker import Walls, landlock


def checks(done: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in done.json["checks"]}


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """What workers are forked from takes its seconds to start here, and not in a test of seconds."""
    worker.look()


@pytest.fixture
def examined(zoo: Zoo, hub: LoopbackHub) -> Zoo:
    return zoo


def test_where_nothing_is_there_yet_all_is_well(examined: Zoo, tmp_path: Path) -> None:
    done = examined("doctor", "--json")
    assert done.exit_code == 0, done.stderr
    found = checks(done)
    assert {name for name, check in found.items() if check["state"] != "ok"} <= {"endpoint", "room"}
    assert "not there yet" in found["home"]["says"]
    assert "alice, which may write" in found["token"]["says"]
    assert not (tmp_path / "home").exists(), "to look makes nothing"
    assert "hf_loopback" not in done.stdout + done.stderr


def test_the_libraries_that_it_takes_are_those_that_are_declared(
    examined: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["torch>=99", "no-such-thing", 'x; extra == "test"'])
    done = examined("doctor")
    assert done.exit_code == 1
    assert "torch is" in done.stdout
    assert 'pip install --upgrade "torch>=99"' in done.stderr
    assert "no-such-thing is missing" in done.stdout
    assert "x is missing" not in done.stdout


def test_a_package_that_fetches_code_is_warned_of(examined: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name == "kernels" or None)
    done = examined("doctor", "--json")
    assert done.exit_code == 0
    assert checks(done)["kernels"]["state"] == "warning"


def test_mending_makes_folders_and_the_index_and_sweeps_and_closes(
    examined: Zoo, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    made = checks(examined("doctor", "--fix", "--json"))
    assert "made" in made["home"]["says"]
    assert not made["home"]["mended"], "nothing was broken"
    assert "--fix" not in made["endpoint"]["says"]
    assert home.is_dir()
    assert (tmp_path / "cache").is_dir()
    examined("add", checkpoints["bert"])
    (home / "zoo.db").write_bytes(b"garbage" * 999)
    aside = home / "notes" / f".note.{'0' * 32}"
    aside.parent.mkdir(exist_ok=True)
    aside.write_bytes(b"x")
    os.utime(aside, (time.time() - 7200,) * 2)
    home.chmod(0o757)
    before = checks(examined("doctor", "--json"))
    assert {before[name]["state"] for name in ("index", "leftovers", "home")} == {"warning"}
    mended = checks(examined("doctor", "--fix", "--json"))
    assert len(list(home.glob("zoo.db.damaged-*"))) == 1, "set aside, and not swept at once"
    assert all(mended[name]["mended"] for name in ("index", "leftovers", "home"))
    after = checks(examined("doctor", "--json"))
    assert {after[name]["state"] for name in ("index", "leftovers", "home")} == {"ok"}
    assert home.stat().st_mode & 0o002 == 0
    assert not aside.exists()
    assert [row["MODEL"] for row in examined("ls").table] == ["bert"]


@pytest.mark.parametrize(
    ("mode", "after", "state"),
    [
        (0o2775, 0o2775, "ok"),
        (0o2777, 0o2775, "ok"),
        (0o777, 0o755, "ok"),
        (0o775, 0o775, "warning"),
        (0o1777, 0o1777, "warning"),
    ],
)
def test_mending_takes_no_rights_from_a_group_and_nothing_from_a_folder_for_all(
    examined: Zoo, tmp_path: Path, mode: int, after: int, state: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    found = checks(examined("doctor", "--fix", "--json"))["home"]
    assert found["state"] == state
    assert ("--fix leaves that to you" in found["says"]) == (state == "warning")
    assert home.stat().st_mode & 0o7777 == after


def test_a_home_that_is_a_file_is_a_problem_and_the_rest_is_looked_at(examined: Zoo, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    done = examined("doctor", "--json")
    assert done.exit_code == 1
    assert checks(done)["home"]["state"] == "problem"
    assert "ZOO_HOME" in checks(done)["home"]["fix"]
    assert checks(done)["hardware"]["state"] == "ok"
    for command in (("ls",), ("show", "bert"), ("probe",)):
        other = examined(*command)
        assert other.exit_code == 1, command
        assert checks(done)["home"]["says"] in other.stderr


def test_a_home_that_cannot_be_written_to_is_a_problem(
    examined: Zoo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(doctor, "_writable", lambda folder: folder.name != "home")
    done = examined("doctor", "--json")
    assert done.exit_code == 1
    assert "cannot be written to" in checks(done)["home"]["says"]
    assert "file system" not in checks(done), "one fault is said once"


def test_an_index_of_a_newer_zoo_is_said(examined: Zoo, tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "home").mkdir()
    db = sqlite3.connect(tmp_path / "home" / "zoo.db")
    db.execute("CREATE TABLE t (x)")
    db.execute("PRAGMA user_version = 999")
    db.close()
    done = examined("doctor", "--json")
    assert done.exit_code == 1
    assert "newer zoo" in checks(done)["index"]["says"]


# The Hub


def test_offline_nobody_is_asked(examined: Zoo, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = examined("doctor", "--json")
    assert "offline" in checks(done)["Hub"]["says"]
    assert hub.requests == []


def test_a_token_that_may_read_only_is_warned_of_and_no_token_is_not(
    examined: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    found = checks(examined("doctor", "--json"))
    assert found["token"]["state"] == "warning"
    assert "zoo push" in found["token"]["says"]
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    refused = examined("doctor", "--json")
    assert refused.exit_code == 1
    assert checks(refused)["token"]["state"] == "problem"
    assert "did not accept" in checks(refused)["token"]["says"]
    monkeypatch.delenv("HF_TOKEN")
    assert checks(examined("doctor", "--json"))["token"]["state"] == "ok"


def test_a_hub_that_is_not_there_is_a_problem(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = zoo("doctor", "--json")
    assert done.exit_code == 1
    assert checks(done)["Hub"]["state"] == "problem"
    assert "HTTPS_PROXY" in checks(done)["Hub"]["fix"]


def test_a_hub_that_does_not_answer_costs_no_more_than_was_allowed(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.meanwhile("/api/models", lambda: time.sleep(3))
    settings = Settings(tmp_path, tmp_path, tmp_path, endpoint=hub.url)
    patient = doctor.Doctor(settings, Store(tmp_path, tmp_path), lambda: Hub.of(settings), patience=0.5)
    started = time.monotonic()
    found = {check.name: check for check in patient.examine()}
    assert time.monotonic() - started < 2.5
    assert found["Hub"].state == "problem"
    assert found["safety"].state == "ok"


def test_what_answers_and_is_no_hub_is_a_problem(examined: Zoo, hub: LoopbackHub) -> None:
    hub.fail(200, "/api/models", times=None, body=b"<html>log in here</html>")
    done = examined("doctor", "--json")
    assert done.exit_code == 1
    assert "makes no sense" in checks(done)["Hub"]["says"]


@pytest.mark.parametrize(
    ("ahead", "said"), [(1200.0, "ahead of"), (-1200.0, "behind"), (20.0, None), (None, None)]
)
def test_a_clock_that_is_wrong_is_said(ahead: float | None, said: str | None) -> None:
    found = {check.name: check for check in doctor._answered("https://hub", Answer(0.1, ahead))}
    assert ("clock" in found) == (said is not None)
    assert said is None or said in found["clock"].says


def test_the_hub_says_what_time_it_is(hub: LoopbackHub, tmp_path: Path) -> None:
    answer = Hub(hub.url, tmp_path).reach(5)
    assert answer.ahead is not None
    assert abs(answer.ahead) < 5
    assert not any(request.has_token for request in hub.requests)


@pytest.mark.parametrize(
    ("endpoint", "state"),
    [
        ("https://huggingface.co", None),
        ("https://mirror.example", "warning"),
        ("http://mirror.example", "problem"),
        ("http://127.0.0.1:8000", "warning"),
    ],
)
def test_where_a_token_goes_is_said(endpoint: str, state: str | None) -> None:
    assert [check.state for check in doctor._address(endpoint)] == ([state] if state else [])


def test_each_thing_is_a_row_of_the_table_and_what_to_do_comes_after(
    examined: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    done = examined("doctor")
    rows = {row["CHECK"]: row["OK"] for row in done.table}
    assert rows["token"] == "warning"
    assert "settings/tokens" in done.stderr


def test_an_index_that_was_emptied_is_said(
    examined: Zoo, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    examined("add", checkpoints["bert"])
    (tmp_path / "home" / "zoo.db").write_bytes(b"")
    assert checks(examined("doctor", "--json"))["index"]["state"] == "warning"
    assert checks(examined("doctor", "--fix", "--json"))["index"]["mended"]
    assert checks(examined("doctor", "--json"))["index"]["state"] == "ok"


# The room


def test_a_worker_is_started_and_says_which_walls_stand(examined: Zoo) -> None:
    room = checks(examined("doctor", "--json"))["room"]
    assert "a worker started" in room["says"]
    assert "with a memory cap" in room["says"]
    assert (f"Landlock {landlock.version()}" in room["says"]) == bool(landlock.version())


@pytest.mark.parametrize(
    ("walls", "said", "advice"),
    [
        (Walls(True, True, True, 0, True), "could read your files", "Landlock in"),
        (Walls(False, False, False, 7, True), "not taken away, but for TCP", "user namespaces"),
        (Walls(False, False, False, 1, True), "watched and not taken away, and", "user namespaces"),
        (Walls(False, True, True, 7, False), "without a network", "container"),
        (Walls(True, False, False, 7, True), "could start programs, end yours", "another user"),
        (
            Walls(True, True, False, 7, True),
            "such as a session bus, as connecting to NVIDIA's MPS",
            "stop MPS",
        ),
    ],
)
def test_a_wall_that_does_not_stand_is_warned_of(
    examined: Zoo, monkeypatch: pytest.MonkeyPatch, walls: Walls, said: str, advice: str
) -> None:
    monkeypatch.setattr(worker, "look", lambda *_: walls)
    done = examined("doctor", "--json")
    room = checks(done)["room"]
    assert room["state"] == "warning"
    assert said in room["says"]
    assert advice in room["fix"]


def test_a_worker_that_does_not_start_is_a_problem_that_mending_does_not_mend(
    examined: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> Walls:
        raise CheckpointError("it crashed (exit code 1) while it was loaded.", why="No module named 'torch'")

    monkeypatch.setattr(worker, "look", dies)
    done = examined("doctor", "--fix", "--json")
    assert done.exit_code == 1
    room = checks(done)["room"]
    assert room["state"] == "problem"
    assert "No module named 'torch'" in room["says"]
    assert "--fix cannot mend that" in room["says"]
    assert "import torch" in room["fix"]
    assert "cannot mend" not in checks(done)["home"]["says"]
