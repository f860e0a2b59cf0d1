"""Trials that others could disturb: other processes, other commands, the machine's own configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Zoo as Line
from tiny import TEXT

from zookeeper import Zoo
from zookeeper.errors import UsageError
from zookeeper.plans import Recipe, Setting
from zookeeper.recipes import recipe_of
from zookeeper.results import Trial
from zookeeper.store import Store
from zookeeper.team import WORLD, Team, team
from zookeeper.tuning.room import Room

SHORT = ("--seeds", 1, "--epochs", 1)


@pytest.fixture
def lab(zoo: Line, checkpoints: dict[str, Path]) -> Zoo:
    """The zoo in which the fixture `zoo` runs its command lines."""
    found = Zoo()
    found.add([str(checkpoints[name]) for name in ("bert", "gpt2", "llama")])
    return found


@pytest.fixture
def target(tmp_path: Path) -> str:
    return words(tmp_path / "target")


def words(folder: Path, tags: Sequence[str] = ("O", "B-X")) -> str:
    """Words that are long, of twelve sentences and of four."""
    folder.mkdir(exist_ok=True)
    for split, sentences in (("train", TEXT[:12]), ("validation", TEXT[10:]), ("test", TEXT[3:8])):
        rows = [{"tokens": s.split(), "label": [tags[len(w) > 4] for w in s.split()]} for s in sentences]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder)


def quick(name: str = "head", of: str | None = None, **settings: Setting) -> Recipe:
    """A recipe that is over soon."""
    return replace(recipe_of(name, of).with_settings(settings), epochs=1, micro_batch=256)


# Other commands


def test_members_that_were_tested_are_combined_without_their_test(lab: Zoo, target: str) -> None:
    lab.tune(target, ("bert",), recipe=quick(), seeds=(0,), test=True)
    run = lab.tune(target, ("bert", "gpt2"), recipe=quick("late", "head"), seeds=(0,))
    assert set(run.results) == {"validation"}


def test_trial_is_nobody_elses_until_it_is_stored(
    lab: Zoo, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Store.save
    stored = []

    def held(self: Store, found: Any, *rest: Any) -> None:
        if isinstance(found, Trial):
            with (
                pytest.raises(UsageError, match="another process"),
                Room(lab.store.unfinished(found.key.digest)).held(),
            ):
                pass
            stored.append(found)
        save(self, found, *rest)

    monkeypatch.setattr(Store, "save", held)
    for recipe in (quick(), quick("full")):
        lab.tune(target, ("bert",), recipe=recipe, seeds=(0,))
    assert len(stored) == 2
    assert not list((lab.settings.home / "unfinished").iterdir())


def test_other_names_of_classes_make_other_trials(lab: Zoo, tmp_path: Path) -> None:
    runs = [
        lab.tune(words(tmp_path / "t", tags), ("bert",), recipe=quick(), seeds=(0,), metric="accuracy")
        for tags in (("O", "B-X"), ("B-Y", "B-X"))
    ]
    assert runs[0].results == runs[1].results
    assert runs[0].trials[0].key != runs[1].trials[0].key


def test_metric_of_ours_is_not_taken_for_a_folder(
    lab: Zoo, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("accuracy").mkdir()
    assert lab.request(target, ("bert",), metric="accuracy", recipe=quick()).metric == "accuracy"


def test_student_whose_vectors_are_normalized_is_refused(lab: Zoo, target: str) -> None:
    with pytest.raises(UsageError, match="not normalized"):
        lab.tune(target, ("bert", "gpt2"), recipe=quick("b-tuning", normalize=True), seeds=(0,))


# The machine's own configuration


def test_precision_is_settled_when_a_request_is_made(
    lab: Zoo, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = lab.request(target, ("bert",), recipe=quick())
    assert plain.recipe.precision == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    configured = lab.request(target, ("bert",), recipe=quick())
    assert configured.recipe.precision == "bf16"
    assert configured.run_id != plain.run_id
    assert lab.request(target, ("bert",), recipe=replace(quick(), precision="no")).run_id == plain.run_id


def test_precision_that_no_recipe_knows_is_refused(
    lab: Zoo, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(UsageError, match="fp8") as caught:
        lab.request(target, ("bert",), recipe=quick())
    assert "--precision" in str(caught.value.fix)


@pytest.mark.parametrize("asked", [1000, 2000])
def test_more_gpus_than_there_are_are_refused(zoo: Line, lab: Zoo, target: str, asked: int) -> None:
    done = zoo("tune", "-t", target, "bert", *SHORT, "--gpus", asked)
    assert done.exit_code == 2
    assert f"{asked} GPUs were asked for" in done.stderr
    assert lab.runs() == ()


def test_processes_are_with_or_without_a_gpu(zoo: Line, lab: Zoo, target: str) -> None:
    done = zoo("tune", "-t", target, "bert", *SHORT, "--gpus", 1, "--cpu-processes", 2)
    assert done.exit_code == 2
    assert "a GPU each, or none" in done.stderr


def test_processes_without_a_gpu_take_none(
    zoo: Line, lab: Zoo, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_DEVICE", "xpu")  # which is not there
    done = zoo("tune", "-t", target, "bert", *SHORT, "--cpu-processes", 1)
    assert done.exit_code == 0, done.stderr
    assert lab.run("latest").trials[0].device.startswith("cpu")


def test_launcher_that_starts_fewer_processes_is_noticed() -> None:
    assert team({WORLD: "2", "WORLD_SIZE": "2", "RANK": "1"}) == Team(1, 2)
    with pytest.raises(UsageError, match="2 processes were asked for, 1 started"):
        team({WORLD: "2"})


# Other processes


def test_checkpoint_that_cannot_be_read_does_not_end_others_in_two_processes(
    zoo: Line, lab: Zoo, target: str, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoints["bert"], broken)
    lab.add([str(broken)])
    (broken / "config.json").write_text("{}")
    done = zoo("tune", "-t", target, "llama", *SHORT, "--controls", 4, "--cpu-processes", 2, "--json")
    assert done.exit_code == 3, done.stderr
    found = done.json["comparison"]
    assert [one["name"] for one in found["failures"]] == ["broken"]
    assert len(found["random"]) == 3
    assert lab.all_interrupted() == ()


def test_one_of_several_processes_writes_the_plan(
    zoo: Line, lab: Zoo, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("tune", "-t", target, "bert", *SHORT, "--dry-run", "--plan", tmp_path / "plan.json")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert zoo(*asked).stdout == ""
    assert not (tmp_path / "plan.json").exists()
    monkeypatch.setenv("RANK", "0")
    assert "bert" in zoo(*asked).stdout
    assert (tmp_path / "plan.json").exists()
