"""Pins beside the Hub: what moved, what of it counts, and moving with it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from conftest import Zoo
from loopback import LoopbackHub, read_folder

from zookeeper.collecting import Pins
from zookeeper.errors import CheckpointError
from zookeeper.records import Checkpoint, RepoFile, Revision
from zookeeper.updating import changes, check_movable


def checkpoint(asked: str = "main", commit: str = "a" * 40, **digests: str) -> Checkpoint:
    names = {"weights": "model.safetensors", "config": "config.json", "tokenizer": "tokenizer.json"}
    files = tuple(RepoFile(names[part], 1, digests.get(part, "sha256:0")) for part in sorted(names))
    return Checkpoint(Revision("org/bert", asked, commit), files)


def test_what_changed_is_what_loading_would_notice() -> None:
    pinned = checkpoint()
    assert changes(pinned, checkpoint()) == ("card only",)
    assert changes(pinned, checkpoint(weights="sha256:1")) == ("weights",)
    assert changes(pinned, checkpoint(tokenizer="sha256:1", config="sha256:1")) == ("config", "tokenizer")
    fewer = Checkpoint(pinned.revision, pinned.files[1:])
    assert changes(pinned, fewer) == ("config",)
    assert changes(fewer, pinned) == ("config",)


def test_a_commit_never_moves_and_a_branch_may() -> None:
    assert checkpoint("a" * 40).revision.by_commit
    assert checkpoint("a" * 8).revision.by_commit
    assert not checkpoint("main").revision.by_commit
    assert not checkpoint("abad1dea").revision.by_commit


@pytest.fixture
def added(zoo: Zoo, zoo_hub: LoopbackHub) -> Zoo:
    zoo("add", "roberta-base", "me/bert")
    return zoo


def test_what_did_not_move_is_said_and_exits_0(added: Zoo) -> None:
    done = added("update", "--check")
    assert done.exit_code == 0
    assert {row["STATUS"] for row in done.table} == {"up to date"}
    assert "Nothing moved" in done.stderr


@pytest.mark.parametrize(
    ("files", "changed"),
    [
        ({"README.md": b"# New"}, "card only"),
        ({"config.json": b"{}"}, "config"),
        ({"model.safetensors": b"new", "tokenizer.json": b"{}", "extra.bin": b"x"}, "weights, tokenizer"),
    ],
)
def test_what_moved_is_reported_and_nothing_done(
    added: Zoo, zoo_hub: LoopbackHub, files: dict[str, bytes], changed: str
) -> None:
    before = zoo_hub.sha("model", "me/bert")
    latest = zoo_hub.commit("model", "me/bert", files)
    done = added("update")
    assert done.exit_code == 0
    row = next(row for row in done.table if row["MODEL"] == "me/bert")
    assert row | {"PINNED": before, "LATEST": latest, "CHANGED": changed} == row
    assert added("update", "--check").exit_code == 1
    assert added("update", "roberta-base", "--check").exit_code == 0
    assert added("show", "me/bert", "--json").json["checkpoint"]["revision"]["commit"] == before


def test_a_new_card_only_is_said_apart(added: Zoo, zoo_hub: LoopbackHub) -> None:
    zoo_hub.commit("model", "FacebookAI/roberta-base", {"README.md": b"# New"})
    assert "1 of 2 moved, with a new card only.\n  To pin" in added("update").stderr
    zoo_hub.commit("model", "me/bert", {"model.safetensors": b"new"})
    done = added("update", "--check")
    assert "2 of 2 moved, 1 of them with a new card only." in done.stderr
    assert done.exit_code == 1


def test_pickles_that_were_agreed_to_are_moved_to(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    """What the refusal says to do is enough."""
    pickled = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"1"}
    zoo_hub.add("model", "me/pickled", pickled)
    zoo("add", "me/pickled", "--allow-pickle")
    assert zoo("ls").table[0]["FLAGS"] == "pickle"
    zoo_hub.commit("model", "me/pickled", {"pytorch_model.bin": b"2"})
    refused = zoo("update", "--apply").stderr
    assert "were not agreed to" in refused
    (fix,) = [line.split()[2:] for line in refused.splitlines() if "fix: zoo" in line]
    assert zoo(*fix).exit_code == 0
    assert zoo("update", "--apply").exit_code == 0
    assert len(zoo("ls").table) == 1


def test_applying_pins_anew_and_keeps_names_and_features(
    added: Zoo, zoo_hub: LoopbackHub, probe_file: Path, tmp_path: Path
) -> None:
    added("probe", "-p", probe_file, "roberta-base")
    latest = zoo_hub.commit("model", "FacebookAI/roberta-base", {"README.md": b"# New"})
    done = added("update", "--apply")
    assert done.exit_code == 0, done.stderr
    assert "zoo gc" in done.stderr
    shown = added("show", "roberta-base", "--json").json
    assert shown["checkpoint"]["revision"] == {
        "repo_id": "FacebookAI/roberta-base",
        "asked": "main",
        "commit": latest,
    }
    assert (shown["checkpoint"]["aliases"], shown["features"]) == (["roberta-base"], [])
    assert len(list((tmp_path / "cache").glob("features/v1/??/*"))) == 1
    assert len(added("ls").table) == 2
    assert added("update", "--check").exit_code == 0


def test_what_cannot_be_read_any_more_keeps_its_pin(added: Zoo, zoo_hub: LoopbackHub) -> None:
    before = zoo_hub.sha("model", "me/bert")
    zoo_hub.commit("model", "me/bert", {"model.safetensors": None})
    done = added("update", "me/bert", "--apply")
    assert done.exit_code == 1
    assert "it stays as it was" in done.stderr
    assert added("show", "me/bert", "--json").json["checkpoint"]["revision"]["commit"] == before


def test_what_is_gone_or_gated_is_an_outcome(
    added: Zoo, zoo_hub: LoopbackHub, checkpoints: dict[str, Path]
) -> None:
    zoo_hub.remove("model", "me/bert")
    zoo_hub.add("model", "FacebookAI/roberta-base", read_folder(checkpoints["roberta"]), gated="manual")
    done = added("update")
    assert done.exit_code == 3
    assert {row["MODEL"]: row["STATUS"] for row in done.table} == {
        "FacebookAI/roberta-base": "up to date, gated now",
        "me/bert": "failed",
    }
    assert "no model" in done.stderr
    assert "the pin still works from the cache" in done.stderr
    assert "Could not ask about 1 of 2." in done.stderr


def test_a_pin_by_commit_costs_no_request(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    zoo("add", f"me/bert@{zoo_hub.sha('model', 'me/bert')}")
    zoo_hub.commit("model", "me/bert", {"README.md": b"# New"})
    zoo_hub.clear()
    assert [row["STATUS"] for row in zoo("update", "--check").table] == ["pinned by commit"]
    assert zoo_hub.requests == []


def test_a_folder_is_compared_with_what_it_holds(
    zoo: Zoo, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "mine")
    zoo("add", folder)
    assert zoo("update", "--check").exit_code == 0
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    done = zoo("update", "--check")
    assert (done.exit_code, done.table[0]["CHANGED"]) == (1, "tokenizer")
    zoo("update", "--apply")
    assert len(zoo("ls").table) == 1
    assert zoo("update", "--check").exit_code == 0
    shutil.rmtree(folder)
    assert "no folder" in zoo("update").stderr


def test_two_pins_that_come_to_mean_the_same_become_one(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    zoo("add", "me/bert")
    latest = zoo_hub.commit("model", "me/bert", {"README.md": b"# New"})
    zoo("add", f"me/bert@{latest}")
    assert len(zoo("ls").table) == 2
    zoo("update", "--apply")
    assert [row["COMMIT"] for row in zoo("ls").table] == [latest]


def test_offline_no_pickles_are_agreed_to(
    zoo: Zoo, zoo_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"1"}
    zoo_hub.add("model", "me/pickled", pickled)
    zoo("add", "me/pickled", "me/bert")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused = zoo("add", "me/pickled", "--allow-pickle")
    assert refused.exit_code == 5
    assert "HF_HUB_OFFLINE" in refused.stderr
    assert zoo("add", "me/pickled").exit_code == 0
    assert zoo("add", "me/bert", "--allow-pickle").exit_code == 0


def test_checking_and_applying_exclude_each_other(zoo: Zoo) -> None:
    assert zoo("update", "--check", "--apply").exit_code == 2


def test_offline_nothing_is_known_of_the_hub(added: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = added("update")
    assert done.exit_code == 5
    assert "HF_HUB_OFFLINE" in done.stderr


def test_several_are_looked_up_at_once(
    zoo: Zoo, zoo_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zookeeper.hub import Hub

    files = {"config.json": b"{}"}
    names = [f"me/model-{n}" for n in range(16)]
    for name in names:
        zoo_hub.add("model", name, files)
    zoo("add", *names)
    ask = Hub.checkpoint

    def slowly(self: Hub, name: str, revision: str = "main", *, pickles: bool = False) -> Checkpoint:
        time.sleep(0.25)
        return ask(self, name, revision, pickles=pickles)

    monkeypatch.setattr(Hub, "checkpoint", slowly)
    started = time.monotonic()
    assert zoo("update").exit_code == 0
    assert time.monotonic() - started < 16 * 0.25 / 2


def test_a_folder_is_agreed_to_by_its_path(tmp_path: Path) -> None:
    path = str(tmp_path / "my model")
    pickled = Checkpoint(Revision(path, "folder", "a" * 40), files=(), pickled=True)
    with pytest.raises(CheckpointError) as refused:
        check_movable(pickled, Pins(()))
    assert refused.value.fix == f"zoo add '{path}' --allow-pickle"
