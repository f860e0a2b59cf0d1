"""A zoo of hostile checkpoints beside good ones, through the commands that people type."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Zoo
from hostile import BAD, BAITED, Victim, make
from loopback import LoopbackHub, read_folder
from safetensors.torch import load_file

from zookeeper.worker import landlock
from zookeeper.worker.keeper import _environment

CARD = """---
license: "mit\\e[31m[/x]"
base_model: ["[link=http://evil]a[/link]", "\\u202eb\\n", 7]
tags: ["<img src=x onerror=alert(1)>", {a: b}]
---
"""
# The file is named in the code: what a worker knows of its environment is not for a test to widen.
AUDIT = """
import os, sys
_ADDRESSES = {{
    "socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0, "socket.gethostbyaddr": 0,
}}
def note(event, given):
    at = _ADDRESSES.get(event)
    if at is None or given[at] is None:
        return
    address = tuple(given[:2]) if at == 0 else given[at]
    try:
        handle = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except PermissionError:
        os.abort()  # within the walls nothing can be noted: its row then says what it died of
    os.write(handle, (str(address) + "\\n").encode())
    os.close(handle)
sys.addaudithook(note)
"""
BAIT = """
import socket, sys
for reach in (lambda: socket.create_connection(("127.0.0.1", 9), 1),
              lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.2", 9)),
              lambda: socket.socket(socket.AF_UNIX).connect("/nowhere")):
    try:
        reach()
    except OSError:
        pass
"""
CLOSED = """
from zookeeper.worker import granted, walls
walls.close(memory=10**9, file_size=10**6, grants=granted.libraries())
"""


@dataclass
class Told:
    """What a command said, and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def outcomes(self) -> dict[str, dict[str, Any]]:
        """What became of each checkpoint, by the name that its outcome has."""
        return {one["name"]: one for one in json.loads(self.stdout)["checkpoints"]}

    @property
    def reasons(self) -> dict[str, str]:
        """Why those that cannot be read cannot."""
        return {
            name: f"{one['error'] or one['status']} {one['why']}"
            for name, one in self.outcomes.items()
            if one["error"] or one["status"].startswith("added, but ")
        }


@dataclass
class Place:
    """Where commands run: `root` is for all that they write, `hub` all that they may reach."""

    root: Path
    hub: LoopbackHub

    @property
    def canary(self) -> Path:
        """What code of a checkpoint would touch."""
        return self.root / "canary"

    @property
    def connected(self) -> set[str]:
        """Addresses that a command, or what it started, connected to, sent to or looked up."""
        path = self.root / "connected"
        return set(path.read_text().splitlines()) if path.exists() else set()

    def run(self, *args: object) -> Told:
        """A command, with somebody who says yes to every question."""
        kept = {key: os.environ[key] for key in os.environ if not key.startswith(("ZOO", "HF", "PYTHON"))}
        given = {
            "ZOO_HOME": self.root / "home",
            "ZOO_CACHE": self.root / "cache",
            "HF_HOME": self.root / "hf",
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "ZOO_DEVICE": "cpu",
            "ZOO_DTYPE": "float32",
            "ZOO_PATIENCE": "60",
            "PYTHONPATH": self.root / "audit",
        }
        done = subprocess.run(
            [sys.executable, "-m", "zookeeper", *map(str, args)],
            input=b"y\n" * 10_000,
            env=kept | {key: str(value) for key, value in given.items()},
            capture_output=True,
            timeout=280,
            check=False,
        )
        return Told(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty zoo, and a Hub beside it."""
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "sitecustomize.py").write_text(AUDIT.format(path=str(tmp_path / "connected")))
    (tmp_path / "made").mkdir()
    with LoopbackHub() as hub:
        yield Place(tmp_path, hub)


def controls(text: str) -> set[str]:
    """Characters that do anything to a terminal but show, or hide what is shown."""
    unseen = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    return {char for char in text if unicodedata.category(char) in unseen} - {"\n", "\t"}


def test_what_a_worker_reaches_for_would_be_noted(place: Place) -> None:
    environment = _environment({"PYTHONPATH": str(place.root / "audit")}, str(place.root), 1)
    subprocess.run([sys.executable, "-P", "-c", BAIT], env=environment, check=True)
    assert place.connected == {"('127.0.0.1', 9)", "('127.0.0.2', 9)", "/nowhere"}
    if landlock.version():
        died = subprocess.run([sys.executable, "-P", "-c", CLOSED + BAIT], env=environment, check=False)
        assert died.returncode == -signal.SIGABRT


def test_hostile_checkpoints_do_no_harm_and_the_others_are_read(
    place: Place, checkpoints: dict[str, Path], probe_file: Path
) -> None:
    assert len(BAD) >= 40
    folders = {
        name: make(name, checkpoints["bert"], place.root / "made", place.canary) for name in (*BAD, *BAITED)
    }
    local_good = [checkpoints[family] for family in ("bert", "gpt2", "t5", "llama")]
    place.hub.add("model", "me/good", read_folder(checkpoints["roberta"]) | {"README.md": CARD.encode()})
    evil = read_folder(checkpoints["bert"]) | {"README.md": CARD.encode()}
    del evil["model.safetensors"]
    evil["pytorch_model.bin"] = Victim(place.root, place.canary).evil()
    place.hub.add("model", "evil/pickle", evil)
    place.hub.add("model", "evil/agreed", evil)
    config = {"model_type": "bert", "hidden_size": 10**9, "architectures": ["\x1b[31m[/x]"]}
    wide = {"config.json": json.dumps(config).encode()}
    place.hub.add("model", "evil/wide", read_folder(checkpoints["bert"]) | wide)

    added = place.run("add", "--json", *folders.values(), *local_good, "me/good", "evil/pickle", "evil/wide")
    agreed = place.run("add", "--allow-pickle", "--json", "evil/agreed")
    place.hub.clear()
    (place.root / "connected").unlink(missing_ok=True)
    probed = place.run("probe", "-p", probe_file, "--json")
    listed = place.run("ls")

    assert not place.canary.exists(), "code of a checkpoint ran"
    assert probed.exit_code == 3, probed.stderr
    assert (added.exit_code, agreed.exit_code) == (3, 0)
    for name in (*BAITED, *(path.name for path in local_good), "me/good"):
        assert probed.outcomes[name]["status"] == "done", probed.outcomes[name]
    reasons = {name: why for told in (added, agreed, probed) for name, why in told.reasons.items()}
    for name in (*BAD, "evil/pickle", "evil/agreed", "evil/wide"):
        # One that could not be read when it was added is called as it was added, any other by its name.
        called = {str(folders[name]), folders[name].name} if name in folders else {name}
        assert called & reasons.keys(), name
        assert not re.search("Traceback|weights_only|SIGABRT", reasons[(called & reasons.keys()).pop()])
    for told in (added, agreed, probed, listed):
        assert "Traceback" not in told.stdout + told.stderr
        assert not controls(told.stdout + told.stderr)
    assert place.connected == {str(("127.0.0.1", int(place.hub.url.rpartition(":")[2])))}
    assert {request.path.split("/resolve/")[0] for request in place.hub.requests} <= {
        "/me/good",
        "/evil/agreed",
        "/evil/wide",
    }, "only what was pinned is fetched"


def test_pickles_are_read_once_they_are_agreed_to(
    zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints["bert"], tmp_path / "old"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "--allow-pickle" in zoo("add", folder).table[0]["STATUS"]
    assert zoo("probe", "-p", probe_file, "old").exit_code == 1
    zoo("add", "--allow-pickle", folder, checkpoints["bert"])
    assert zoo("show", "old", "--json").json["checkpoint"]["pickled"]
    assert "pickles" in zoo("show", "old").stdout
    assert zoo("probe", "-p", probe_file).exit_code == 0
    assert zoo("covariance", "--json").json["matrix"] == pytest.approx(np.ones((2, 2)))


def test_a_pickle_on_the_hub_is_agreed_to_at_its_commit(
    zoo: Zoo, hub: LoopbackHub, checkpoints: dict[str, Path], probe_file: Path, tmp_path: Path
) -> None:
    files = read_folder(checkpoints["bert"])
    torch.save(load_file(checkpoints["bert"] / "model.safetensors"), tmp_path / "weights")
    del files["model.safetensors"]
    hub.add("model", "old/bert", files | {"pytorch_model.bin": (tmp_path / "weights").read_bytes()})
    assert "--allow-pickle" in zoo("add", "old/bert").table[0]["STATUS"]
    assert "agreed" in zoo("add", "--allow-pickle", "old/bert").table[0]["STATUS"]
    assert "already there" in zoo("add", "old/bert").table[0]["STATUS"]
    assert zoo("probe", "-p", probe_file).table[0]["STATUS"] == "done"
    hub.commit("model", "old/bert", {"pytorch_model.bin": b"other"})
    assert zoo("show", "old/bert", "--json").json["checkpoint"]["pickled"], "as it was pinned"
