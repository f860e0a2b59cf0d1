"""The demo: real text, real labels, checkpoints that load, and the commands a user would type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Zoo

from tests.extracted import extract
from zookeeper.demo import build, pretrain, text
from zookeeper.errors import DataError
from zookeeper.records import Corpus, Reading

SOURCE = '''
import os.path

class Keeper(Base):
    def count(self, animals: list, twice=True):
        """Count the animals of the zoo."""
        self.total = os.path.join(animals, key=twice)
        raise ValueError("none")
'''


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that takes seconds: little text, and three checkpoints that learn for a few steps."""
    monkeypatch.setattr(text, "SOURCE_BYTES", 500_000)
    monkeypatch.setattr(text, "SPLITS", {"train": 120, "validation": 30, "test": 30})
    monkeypatch.setattr(text, "PROBE_WORDS", 400)
    courses = tuple(pretrain.Course(c.name, c.family, c.text, min(c.steps, 3)) for c in pretrain.COURSES)
    names = ("roformer-prose", "deberta-code", "llama-code")
    monkeypatch.setattr("zookeeper.demo.COURSES", tuple(c for c in courses if c.name in names))


def test_labels_are_the_roles_of_names_in_the_syntax_tree(tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(SOURCE)
    (module,) = text._read(path)
    tagged = [tuple(line.split()) for block in module.labelled for line in block.splitlines()]
    spans = {
        ("count", "B-DEF"),
        ("animals", "B-PARAM"),
        ("list", "B-TYPE"),
        ("self", "B-TARGET"),
        ("total", "I-TARGET"),
        ("os", "B-CALL"),
        ("join", "I-CALL"),
        ("key", "B-KEYWORD"),
    }
    assert spans <= set(tagged)
    assert module.prose == ["Count the animals of the zoo ."]
    assert all('"""' not in word for word, _ in tagged)


@pytest.mark.usefixtures("small")
def test_splits_share_no_sentence(tmp_path: Path) -> None:
    files = build(tmp_path)
    blocks = {
        split: (files.target / f"{split}.conll").read_text().strip().split("\n\n") for split in text.SPLITS
    }
    assert {split: len(found) for split, found in blocks.items()} == text.SPLITS
    everything = [block for found in blocks.values() for block in found]
    assert len(set(everything)) == len(everything)
    assert all(8 <= len(block.splitlines()) <= 60 for block in everything)


@pytest.mark.usefixtures("small")
def test_checkpoints_load_whole_and_an_interrupted_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage.startswith("training") and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, report=interrupt)
    files = build(tmp_path)
    corpus = Corpus((("Count", "the", "animals", "."), ("self", ".", "total")), "word")
    for folder in files.checkpoints:
        assert extract(folder, corpus, Reading()).features.shape == (7, 96)
    monkeypatch.setattr("zookeeper.demo.train_all", None)
    assert build(tmp_path) == files, "a finished build is found, not made again"
    assert not [path for path in files.checkpoints[0].parent.iterdir() if path.name.startswith(".")]


def test_a_python_without_sources_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataError, match="too little source"):
        build(tmp_path / "demo")


@pytest.mark.usefixtures("small")
def test_zoo_demo_runs_the_whole_line(zoo: Zoo, tmp_path: Path) -> None:
    done = zoo("demo", "--into", tmp_path / "demo", "--json")
    assert done.exit_code == 0, done.stderr
    made = done.json
    assert made["schema"] == "zoo.demo/1"
    assert [command.split()[1] for command in made["commands"]] == [
        "add", "probe", "covariance", "plot", "select", "tune", "rank", "select", "tune", "runs", "card",
        "report",
    ]  # fmt: skip
    assert "model-index" in Path(made["card"]).read_text()
    assert "<svg" in Path(made["report"]).read_text(encoding="utf-8")
    assert zoo("ls", "--json").json["checkpoints"] == [], "your own zoo is as it was"


@pytest.mark.nightly
def test_the_real_demo_ranks_training_above_chance(tmp_path: Path) -> None:
    environment = dict(os.environ) | {"ZOO_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "zookeeper"]
    done = subprocess.run([*command, "demo", "--json"], env=environment, capture_output=True, check=True)
    folder = Path(json.loads(done.stdout)["folder"])
    environment |= {"ZOO_HOME": str(folder / "zoo"), "ZOO_CACHE": str(folder / "zoo" / "cache")}
    rank = [*command, "rank", "-t", "./text/target", "--json"]
    ranked = subprocess.run(rank, env=environment, cwd=folder, capture_output=True, check=True)
    scores = json.loads(ranked.stdout)["scores"]
    assert scores[-1]["name"] == "roformer-random"
