"""Nothing here or in any test reaches another address than 127.0.0.1."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read by the clients when they are imported, so set before anything imports them.
os.environ |= {
    "HF_HOME": tempfile.mkdtemp(prefix="zoo-tests-"),
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "ZOO_DTYPE": "float32",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "OMP_NUM_THREADS": "1",
    "ZOO_DEVICE": "cpu",
    "COLUMNS": "80",
}
for _name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "ZOO_HOME", "ZOO_CACHE", "ZOO_DEBUG"):
    os.environ.pop(_name, None)

import pytest
from loopback import WRITE_TOKEN, LoopbackHub, read_folder
from tiny import FAMILIES, TEXT, make_checkpoint
from typer.testing import CliRunner

from zookeeper.cli import app

pytest_plugins = ["stores"]

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
        raise AssertionError(f"a test reached for {address}")
    _connect(self, address)


socket.socket.connect = _loopback_only  # type: ignore[method-assign]


@dataclass
class Result:
    """What a command printed, and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def table(self) -> list[dict[str, str]]:
        """Rows of the tab-separated table."""
        head, *lines = [line.split("\t") for line in self.stdout.splitlines()]
        return [dict(zip(head, line, strict=True)) for line in lines]

    @property
    def ranked(self) -> list[dict[str, str]]:
        """Rows of checkpoints, without those of what one would have got by chance or by size."""
        return [row for row in self.table if not row["MODEL"].startswith("(")]


Zoo = Callable[..., Result]


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Runs a command line in a zoo of its own: ``zoo("add", "roberta-base")``."""
    return _zoo_in(tmp_path, monkeypatch)


def _zoo_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    monkeypatch.setenv("ZOO_HOME", str(folder / "home"))
    monkeypatch.setenv("ZOO_CACHE", str(folder / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))

    def run(*args: object, stdin: str | None = None) -> Result:
        done = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    return run


def done_once(folder: Path, *commands: tuple[object, ...]) -> Path:
    """The folder of a zoo in which commands were run; tests work in copies of it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        zoo = _zoo_in(folder, monkeypatch)
        for command in commands:
            done = zoo(*command)
            assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def probed_once(
    tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, Path], probe_file: Path
) -> Path:
    """Folder of a zoo with features of all families. Not to be written to."""
    folder = tmp_path_factory.mktemp("probed")
    return done_once(folder, ("add", *checkpoints.values()), ("probe", "-p", probe_file))


@pytest.fixture
def probed(zoo: Zoo, probed_once: Path, tmp_path: Path) -> Zoo:
    """A zoo with features of all families."""
    shutil.copytree(probed_once, tmp_path, dirs_exist_ok=True)
    return zoo


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub on this machine, logged in to with a token that may write."""
    with LoopbackHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
        yield running


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real, tiny checkpoints, one of each family: name to folder. Not to be written to."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: make_checkpoint(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def probe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file to probe with, of 200 words and more."""
    path = tmp_path_factory.mktemp("probe") / "probe.txt"
    path.write_text("\n".join(TEXT), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def target_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chunking target with three splits, whose tags follow from the words."""
    folder = tmp_path_factory.mktemp("target")
    for split, first, last in (("train", 0, 30), ("validation", 30, 36), ("test", 36, 42)):
        blocks = []
        for line in (TEXT * 3)[first:last]:
            tags = ["B-X" if len(word) > 4 else "O" for word in line.split()]
            blocks.append("\n".join(f"{w} {t}" for w, t in zip(line.split(), tags, strict=True)))
        (folder / f"{split}.conll").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def zoo_hub(hub: LoopbackHub, checkpoints: dict[str, Path]) -> LoopbackHub:
    """A Hub with checkpoints, a chunking dataset behind a script, and the text of the named probe."""
    card = b"---\nlicense: mit\nbase_model: some/parent\ntags: [tiny]\n---\n# A card\n"
    hub.add("model", "FacebookAI/roberta-base", read_folder(checkpoints["roberta"]), alias="roberta-base")
    hub.add(
        "model", "me/bert", read_folder(checkpoints["bert"]) | {"README.md": card, "extra.bin": b"x" * 999}
    )
    return hub


@pytest.fixture
def conll(zoo_hub: LoopbackHub, tmp_path: Path) -> str:
    """CoNLL-2000 as the Hub has it: a loading script on main, the data in the parquet branch."""
    import datasets

    tags = datasets.List(datasets.ClassLabel(names=["O", "B-NP", "I-NP"]))
    features = datasets.Features(
        {"id": datasets.Value("string"), "tokens": datasets.List(datasets.Value("string"))}
    )
    features |= {"pos_tags": tags, "chunk_tags": tags}
    files = {}
    for split, lines in (("train", TEXT * 2), ("test", TEXT[:4])):
        words = [line.split() for line in lines]
        chunks = [[len(w) % 3 for w in line] for line in words]
        columns = {
            "id": [str(i) for i in range(len(words))],
            "tokens": words,
            "pos_tags": chunks,
            "chunk_tags": chunks,
        }
        path = tmp_path / f"{split}.parquet"
        datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(path)
        files[f"conll2000/{split}/0000.parquet"] = path.read_bytes()
    zoo_hub.add(
        "dataset", "eriktks/conll2000", {"conll2000.py": b"raise SystemExit", "README.md": b"# CoNLL"}
    )
    return zoo_hub.branch("dataset", "eriktks/conll2000", "refs/convert/parquet", files)
