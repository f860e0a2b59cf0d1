"""A token is nowhere but where it was put: in nothing said or written, in nothing other processes get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Zoo
from loopback import LoopbackHub, User, read_folder

from zookeeper.errors import DataError
from zookeeper.team import ERRORS, leave_error

CANARY = "hf_CanaryCanaryCanaryCanaryCanary"

LINE = """
import json, sys
from zookeeper.cli import app
for command in json.loads(sys.stdin.read()):
    try:
        app(command)
    except SystemExit as ended:
        print("ended", command[0], ended.code, file=sys.stderr)
"""


def everything_in(folder: Path) -> dict[Path, bytes]:
    """Files with what is in them, and names of files."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def below(pid: int) -> list[int]:
    """A process and all that it started, and they."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


class Witness:
    """Looks at processes while they run: what was typed to start them, and what workers find about them."""

    def __init__(self) -> None:
        self.arguments: set[bytes] = set()
        self.workers: set[bytes] = set()

    def look(self, pid: int) -> None:
        for one in below(pid):
            try:
                typed = Path(f"/proc/{one}/cmdline").read_bytes()
                environment = Path(f"/proc/{one}/environ").read_bytes()
            except OSError:
                continue
            self.arguments.add(typed)
            if b"zookeeper.worker" in typed:
                self.workers.add(environment)


def run(commands: list[list[str]], environment: dict[str, str], witness: Witness) -> tuple[str, str]:
    """Commands one after the other in a process of their own; what it says."""
    call = [sys.executable, "-c", LINE]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(call, env=environment, text=True, **pipes) as running:
        assert running.stdin
        running.stdin.write(json.dumps(commands))
        running.stdin.close()
        running.stdin = None
        while running.poll() is None and not _closed(running.pid):
            witness.look(running.pid)
            time.sleep(0.05)
        said, told = running.communicate(timeout=120)
    return said, told


def _closed(pid: int) -> bool:
    return not Path(f"/proc/{pid}/exe").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kept", ["environment", pytest.param("login", marks=pytest.mark.nightly)])
def test_a_token_is_nowhere_after_a_whole_line_of_commands(
    kept: str,
    hub: LoopbackHub,
    checkpoints: dict[str, Path],
    probe_file: Path,
    target_folder: Path,
    tmp_path: Path,
) -> None:
    hub.tokens = {CANARY: User("alice")}
    for family in ("bert", "roberta"):
        hub.add("model", f"alice/{family}", read_folder(checkpoints[family]), private=True)
    hub.add("model", "alice/gone", {"config.json": b"{}"})
    echo = b'{"error": "who is {authorization}, alice?"}'
    for status in (403, 401, 500):
        hub.fail(
            status, "alice/gone", times=1, body=echo, headers={"X-Error-Message": "who is {authorization}?"}
        )
    hub.fail(400, "alice/gone", times=None, body=echo)
    environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"} | {
        "ZOO_HOME": str(tmp_path / "home"),
        "ZOO_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "TMPDIR": str(tmp_path / "tmp"),
        "HF_ENDPOINT": hub.url,
        "OMP_NUM_THREADS": "1",
    }
    (tmp_path / "tmp").mkdir()
    login = tmp_path / "hf" / "token"
    if kept == "login":
        login.parent.mkdir()
        login.write_text(CANARY)
    else:
        environment["HF_TOKEN"] = CANARY
    target = str(target_folder)
    result, kind = ("latest", "model") if kept == "login" else ("@ranking", "dataset")
    witness = Witness()
    said = run(
        [
            ["add", "alice/bert", "alice/roberta"],
            *[["add", "alice/gone"]] * 4,
            ["probe", "-p", str(probe_file)],
            ["rank", "-t", target, "--score", "logme"],
            ["select", "-k", "1"],
            ["card", "@ranking"],
            ["report", "-o", str(tmp_path / "report.html")],
            *([["tune", "-t", target, "alice/bert", "--seeds", "1"]] if kept == "login" else []),
            ["push", result, "alice/result", "--dry-run"],
            ["push", result, "alice/result"],
            ["push", result, "alice/gone"],
            ["show", "alice/bert"],
        ],
        environment,
        witness,
    )
    ended = [line.split()[1:] for line in said[1].splitlines() if line.startswith("ended ")]
    assert [code for name, code in ended if name not in ("add", "push")] == ["0"] * (6 + (kept == "login")), (
        said[1]
    )
    assert "who is Bearer ***" in said[1], "what the Hub said is told"
    assert hub.files(kind, "alice/result"), "the token was good for something"
    assert CANARY not in said[0] + said[1]
    written = everything_in(tmp_path)
    assert len(written) > 20
    assert {path for path, data in written.items() if CANARY.encode() in data} <= {login}
    assert not [data for data in hub.files(kind, "alice/result").values() if CANARY.encode() in data]
    assert not [typed for typed in witness.arguments if CANARY.encode() in typed]
    assert witness.workers, "checkpoints were read in processes of their own"
    for found in witness.workers:
        assert CANARY.encode() not in found
        assert b"HF_TOKEN" not in found


def test_a_report_of_a_bug_holds_no_secret_and_is_for_its_owner_only(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(f"at http://me:password@proxy with Bearer {CANARY}\x1b[2J and odd one")

    monkeypatch.setenv("HF_TOKEN", "odd one")
    monkeypatch.setattr("zookeeper.zoo.Zoo.holdings", broken)
    before = os.umask(0)
    try:
        done = zoo("ls")
    finally:
        os.umask(before)
    assert done.exit_code == 70
    (report,) = (tmp_path / "home" / "logs").iterdir()
    text = report.read_text()
    assert report.stat().st_mode & 0o777 == 0o600
    assert "ZeroDivisionError" in text
    assert "Bearer ***" in text
    for secret in (CANARY, "password", "odd one", "\x1b"):
        assert secret not in text + done.stderr


def test_what_a_process_leaves_for_the_one_that_started_it_holds_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ERRORS, str(tmp_path))
    assert leave_error(DataError(f"a {CANARY}", why=f"b {CANARY}", fix=None))
    (left,) = tmp_path.iterdir()
    assert CANARY not in left.read_text()
    assert json.loads(left.read_text())["why"] == "b ***"
