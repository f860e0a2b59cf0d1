"""The documentation is true: what it lists is there, what is there is listed, and its code runs."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from loopback import LoopbackHub, read_folder

from zookeeper.cli import app
from zookeeper.probes import PROBES, TARGETS
from zookeeper.scores import SCORES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_score_probe_and_target_is_in_the_readme() -> None:
    for command in app.registered_commands:
        assert f"`zoo {command.name}" in README, command.name
    for table in (SCORES, PROBES, TARGETS):
        for name in table:
            assert f"`{name}`" in README, name


def test_every_command_that_the_readme_types_exists() -> None:
    known = {command.name for command in app.registered_commands}
    for command in re.findall(r"^\$ zoo (\w+)", README, flags=re.MULTILINE):
        assert command in known


@pytest.mark.usefixtures("conll")
def test_the_python_of_the_readme_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    checkpoints: dict[str, Path],
    zoo_hub: LoopbackHub,
) -> None:
    zoo_hub.add("model", "google-bert/bert-base-cased", read_folder(checkpoints["bert"]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 our own README
    printed = capsys.readouterr().out
    assert "FacebookAI/roberta-base" in printed
    assert "model-index" in printed


def test_the_changelog_knows_this_version() -> None:
    assert f"## {version('hf-zoo')}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_nothing_speaks_of_the_machine_it_was_written_on() -> None:
    folders = ("zookeeper", "tests", "cards", ".ci")
    files = [
        p for f in folders for p in (ROOT / f).rglob("*") if p.suffix in (".py", ".md", ".j2", ".json", "")
    ]
    for path in [*files, ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "pyproject.toml"]:
        if path.is_file():
            assert not re.search(r"/(work|root|tmp/w)/", path.read_text(encoding="utf-8")), path
