"""`hf zoo`: an extension of the `hf` client that hands over to `zoo`, registered as that client does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import zookeeper

SCRIPTS = Path(sys.executable).parent
ROOT_FILE = Path(__file__).parents[1] / "hf-zoo"
CONSOLE_SCRIPT = SCRIPTS / "hf-zoo"

Hf = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hf(tmp_path: Path) -> Hf:
    """Runs `hf` in a home of its own, where an executable is registered as its extension `zoo`."""

    def run(executable: Path, *args: str, path: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / ".local/share/hf/extensions/hf-zoo"
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "owner": "someone",
            "repo": "hf-zoo",
            "repo_id": "someone/hf-zoo",
            "short_name": "zoo",
            "executable_path": str(executable),
            "type": "binary",
            "installed_at": datetime.now(UTC).isoformat(),
            "description": "Choose and combine checkpoints.",
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        environment = {
            "HOME": str(tmp_path),
            "PATH": path,
            "ZOO_HOME": str(tmp_path / "zoo"),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }
        command = [SCRIPTS / "hf", *args]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.mark.parametrize("executable", [CONSOLE_SCRIPT, ROOT_FILE], ids=["console script", "root file"])
def test_hf_zoo_is_zoo(hf: Hf, executable: Path) -> None:
    path = str(SCRIPTS)
    done = hf(executable, "zoo", "--version", path=path)
    assert (done.returncode, zookeeper.__version__ in done.stdout) == (0, True), done.stderr
    refused = hf(executable, "zoo", "show", "no such checkpoint", path=path)
    assert refused.returncode == 1
    assert 'no checkpoint "no such checkpoint"' in refused.stderr
    assert hf(executable, "zoo", "show", "--nonsense", path=path).returncode == 2


def test_hf_lists_zoo_among_its_commands(hf: Hf) -> None:
    done = hf(ROOT_FILE, "--help", path=str(SCRIPTS))
    assert done.returncode == 0
    below = done.stdout.lower().partition("extension commands")[2]
    assert "zoo" in below
    assert "Choose and combine checkpoints." in done.stdout


@pytest.fixture
def pretender(tmp_path: Path) -> Path:
    """A folder with a `zoo` that says what it is given, one argument a line, and fails with 7."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "zoo").write_text('#!/bin/sh\nprintf "<%s>\\n" "$@"\nexit 7\n')
    (folder / "zoo").chmod(0o755)
    return folder


def test_arguments_and_exit_code_pass_through_unchanged(hf: Hf, pretender: Path) -> None:
    args = ["add", "two words", "", "*", "$HOME", "it's", "--json"]
    done = hf(ROOT_FILE, "zoo", *args, path=str(pretender))
    assert done.stdout.splitlines() == [f"<{arg}>" for arg in args]
    assert done.returncode == 7


def test_without_zoo_it_says_how_to_get_it(hf: Hf, tmp_path: Path) -> None:
    """Also where only the console script of the same name, or this very file, is on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "hf-zoo").symlink_to(ROOT_FILE)
    done = hf(ROOT_FILE, "zoo", "--version", path=str(folder))
    assert done.returncode == 127
    assert done.stdout == ""
    assert "pip install hf-zoo" in done.stderr
    assert "uv tool install hf-zoo" in done.stderr


def test_the_root_file_is_what_hf_installs() -> None:
    """`hf extensions install` takes the file of the repository's own name, and runs it as it is."""
    assert os.access(ROOT_FILE, os.X_OK)
    assert ROOT_FILE.read_bytes().startswith(b"#!/bin/sh\n")
