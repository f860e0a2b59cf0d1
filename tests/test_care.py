"""What can be let go of, what must stay, and whether what is there is what was stored."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Zoo
from loopback import LoopbackHub

from zookeeper.errors import StorageError
from zookeeper.records import BasisSet, FeatureSet
from zookeeper.reproducing import kept_while_interrupted
from zookeeper.store import Store, artefacts, files


def age(*folders: Path, seconds: float = 7200) -> None:
    """Have all that is in folders be written and read so long ago."""
    then = time.time() - seconds
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (then, then))


def wasted(done: Any) -> dict[str, int]:
    return {row["WHAT"]: int(row["ITEMS"]) for row in done.table}


def features_in(cache: Path) -> int:
    return len(list(cache.glob("features/v1/??/*")))


@pytest.fixture
def probed(zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path) -> Zoo:
    """A zoo of two folders that were read, and compared."""
    zoo("add", checkpoints["bert"], checkpoints["gpt2"])
    zoo("probe", "-p", probe_file)
    zoo("covariance")
    return zoo


# gc


def test_there_is_nothing_to_delete_where_all_is_named(probed: Zoo) -> None:
    done = probed("gc")
    assert (done.exit_code, done.table) == (0, [])
    assert "nothing to delete" in done.stderr


def test_what_nothing_names_goes_once_it_is_an_hour_old(probed: Zoo, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    probed("rm", "bert", "gpt2")
    young = probed("gc", "--yes")
    assert young.table == []
    assert "4 items are too young and stay for now" in young.stderr
    age(cache)
    would = probed("gc")
    assert wasted(would) == {"features": 2, "alignments": 1, "jackknives": 1}
    assert "--yes" in would.stderr
    assert features_in(cache) == 2
    assert probed("gc", "--older-than", "3h").table == []
    assert wasted(probed("gc", "--older-than", "1.5h"))["features"] == 2
    deleted = probed("gc", "--yes", "--json").json
    assert deleted["deleted"]
    assert sum(one["size"] for one in deleted["waste"]) > 0
    assert list(cache.glob("*/v1/??/*")) == []


def test_an_age_that_is_none_is_refused(zoo: Zoo) -> None:
    for text in ("30", "d", "a week", "-1d"):
        assert zoo("gc", f"--older-than={text}").exit_code == 2


def test_what_a_run_a_ranking_or_a_selection_names_stays(
    zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path, target_folder: Path, tmp_path: Path
) -> None:
    zoo("add", checkpoints["bert"], checkpoints["gpt2"], checkpoints["roberta"])
    zoo("probe", "-p", probe_file)
    chosen = zoo("select", "-k", "1").table[0]["MODEL"]
    others = sorted({"bert", "gpt2", "roberta"} - {chosen})
    zoo("rank", "-t", target_folder, others[0])
    zoo("rm", "bert", "gpt2", "roberta")
    age(tmp_path / "cache")
    done = zoo("gc", "--yes")
    assert wasted(done) == {"features": 1}
    assert "stay of checkpoints that a run, a ranking or a selection names" in done.stderr
    kept = {found.checkpoint for found in Store(tmp_path / "home", tmp_path / "cache").all(FeatureSet)}
    assert {Path(name.rpartition("@")[0]).name for name in kept} == {chosen, others[0]}


def test_alignments_stay_while_one_of_their_checkpoints_is_named(probed: Zoo, tmp_path: Path) -> None:
    probed("rm", "bert")
    age(tmp_path / "cache")
    assert wasted(probed("gc", "--yes")) == {"features": 1}


def test_a_basis_of_an_older_zoo_stops_nothing(probed: Zoo, tmp_path: Path) -> None:
    probed("covariance", "--signatures")
    (manifest,) = (tmp_path / "cache").glob("bases/v1/??/*/manifest.json")
    said = json.loads(manifest.read_text())
    said["record"] = {"from": "before"}
    manifest.write_text(json.dumps(said))
    done = probed("gc")
    assert done.exit_code == 0, done.stderr
    assert wasted(done) == {"signatures": 2}


def test_a_basis_without_signatures_and_features_goes(probed: Zoo, tmp_path: Path) -> None:
    probed("covariance", "--signatures")
    store = Store(tmp_path / "home", tmp_path / "cache")
    probed("rm", "bert", "gpt2", "--features")
    age(tmp_path / "cache")
    assert wasted(probed("gc", "--yes"))["bases"] == 1
    assert store.all(BasisSet) == ()


def test_what_interrupted_commands_left_goes(probed: Zoo, tmp_path: Path) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    (feature,) = list(cache.glob("features/v1/??/*"))[:1]
    aside = feature.with_name(f".{feature.name}.{'0' * 32}")
    shutil.copytree(feature, aside)
    (home / "reproduced" / "abc").mkdir(parents=True)
    (home / "reproduced" / "abc" / "file").write_bytes(b"x" * 1000)
    assert probed("gc").table == [], "it may belong to a command that runs"
    age(aside, seconds=60)
    assert wasted(probed("gc")) == {"leftovers": 1}, "a command that runs would hold it"
    age(home / "reproduced")
    done = probed("gc", "--yes", "--json").json["waste"]
    assert {(one["what"], one["items"]) for one in done} == {("leftovers", 1), ("reproductions", 1)}
    assert not aside.exists()
    assert not (home / "reproduced" / "abc").exists()
    assert features_in(cache) == 2


def test_what_is_going_on_stays_however_old_it_is(probed: Zoo, tmp_path: Path) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    aside = cache / "converted" / f".{'b' * 64}.{'0' * 32}"
    again = home / "reproduced" / "abc"
    for folder in (aside, again):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x")
    age(aside, again)
    with files.held(aside), kept_while_interrupted(again):
        assert probed("gc", "--yes").table == []
        with pytest.raises(StorageError), kept_while_interrupted(again):
            pass
        assert again.exists()
    assert not again.exists()
    assert wasted(probed("gc", "--yes")) == {"leftovers": 1}


def store_as_another_version(folder: Path, record: dict[str, Any]) -> None:
    """Have an artefact that is whole say something that this version does not understand."""
    manifest = json.loads((folder / "manifest.json").read_text()) | {"record": record}
    del manifest["seal"]
    manifest["seal"] = artefacts._seal(folder, manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_an_earlier_version_stored_otherwise_is_named_and_goes(probed: Zoo, tmp_path: Path) -> None:
    """Of a newer version, which may share the home, nothing goes."""
    cache = tmp_path / "cache"
    probed("covariance", "--signatures")
    (earlier,), (newer,) = cache.glob("bases/v1/??/*"), cache.glob("jackknives/v1/??/*")
    store_as_another_version(earlier, {"key": {"space": {"extractor": 1}}})
    store_as_another_version(newer, {"key": {"version": 99}})
    rebuilt = probed("db", "rebuild")
    assert f"{earlier} is left out of the index" in rebuilt.stderr.replace("\n", "")
    named = probed("verify", "--json").json["damaged"]
    assert "zoo gc" in named[str(earlier)]
    assert "another version of zoo made it" in named[str(earlier)]
    assert "measurements" not in wasted(probed("gc", "--yes")), "somebody may work with a newer version"
    age(earlier, newer, seconds=8 * 24 * 3600)
    assert wasted(probed("gc", "--yes"))["measurements"] == 1
    assert (earlier.exists(), newer.exists()) == (False, True)


def test_what_a_newer_version_measured_stays(probed: Zoo, tmp_path: Path) -> None:
    for record in (tmp_path / "cache").glob("features/v1/??/*/manifest.json"):
        said = json.loads(record.read_text())["record"]
        said["key"]["extractor"] += 1
        store_as_another_version(record.parent, said)
    age(tmp_path / "cache")
    assert "features" not in wasted(probed("gc"))


def test_converted_weights_go_with_their_checkpoint(probed: Zoo, tmp_path: Path) -> None:
    store = Store(tmp_path / "home", tmp_path / "cache")
    one, other = store.checkpoints()
    store.remove(one.revision)
    store.add(replace(one, pickled=True))
    for checkpoint in (one, other):
        folder = store.converted(checkpoint)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x" * 99)
    age(store.cache)
    assert wasted(probed("gc", "--yes")) == {"converted weights": 1}
    assert store.converted(one).exists()
    assert not store.converted(other).exists()


@pytest.fixture
def fetched(zoo: Zoo, zoo_hub: LoopbackHub, probe_file: Path, tmp_path: Path) -> Iterator[Zoo]:
    """A zoo of two checkpoints of a Hub, of which one was read, in a cache that holds more."""
    from huggingface_hub import snapshot_download

    zoo("add", "roberta-base", "me/bert")
    zoo("probe", "-p", probe_file, "roberta-base")
    others = zoo_hub.commit("model", "me/bert", {"README.md": b"# Of another commit"})
    zoo_hub.add("model", "their/model", {"config.json": b"{}" * 99})
    for name, commit in (("me/bert", others), ("their/model", "main")):
        snapshot_download(
            name, revision=commit, cache_dir=tmp_path / "hub", endpoint=zoo_hub.url, allow_patterns="*.json"
        )
    age(tmp_path / "hub")
    yield zoo


def test_of_the_hub_cache_goes_what_was_read_or_is_of_no_pin(
    fetched: Zoo, zoo_hub: LoopbackHub, tmp_path: Path, probe_file: Path
) -> None:
    assert fetched("gc").table == []
    would = fetched("gc", "--hub", "--json").json["waste"]
    assert sorted((one["why"], one["items"]) for one in would) == [
        ("no pin names them", 1),
        ("read already; can be fetched again", 1),
    ]
    before = sum(path.stat().st_size for path in (tmp_path / "hub").rglob("*") if path.is_file())
    assert fetched("gc", "--hub", "--yes").exit_code == 0
    after = sum(path.stat().st_size for path in (tmp_path / "hub").rglob("*") if path.is_file())
    assert after < before
    left = {path.name for path in (tmp_path / "hub").glob("models--*")}
    assert left == {"models--their--model"}, "what the zoo does not know is somebody else's"
    shutil.rmtree(tmp_path / "cache")
    assert fetched("probe", "-p", probe_file, "roberta-base").exit_code == 0, "it is fetched again"


def test_offline_nothing_goes_that_is_needed_again(fetched: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = fetched("gc", "--hub")
    assert [row["WHY"] for row in done.table] == ["no pin names them"]
    assert "offline" in done.stderr


# verify --full


def test_files_of_checkpoints_and_their_features_are_compared_with_what_they_were(
    fetched: Zoo, tmp_path: Path
) -> None:
    done = fetched("verify", "--full", "--json")
    assert done.exit_code == 0, done.stderr
    assert done.json["damaged"] == {}
    (by,) = done.json["read_again"].values()
    assert by < 1e-5
    assert done.json["checked"] > fetched("verify", "--json").json["checked"]
    weights = max((tmp_path / "hub").glob("models--Face*/blobs/*"), key=lambda path: path.stat().st_size)
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert fetched("verify").exit_code == 0
    damaged = fetched("verify", "--full")
    assert damaged.exit_code == 1
    assert "pinned" in damaged.table[0]["WHY"]


def test_features_of_other_numbers_are_damage(probed: Zoo, tmp_path: Path) -> None:
    store = Store(tmp_path / "home", tmp_path / "cache")
    for found in store.all(FeatureSet):
        rows = np.array(store.arrays(FeatureSet, found.key.digest)["features"])
        store.discard(FeatureSet, found.key.digest)
        store.save(found, {"features": rows + 0.1})
    assert probed("verify").exit_code == 0, "they are as they were stored"
    done = probed("verify", "--full")
    assert done.exit_code == 1
    assert "read again" in done.table[0]["WHY"]


def test_a_folder_that_changed_is_named(zoo: Zoo, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "mine")
    zoo("add", folder)
    assert zoo("verify", "--full").exit_code == 0
    (folder / "config.json").unlink()
    done = zoo("verify", "--full")
    assert done.exit_code == 1
    assert done.table[0]["DAMAGED"] == str(folder / "config.json")
    shutil.rmtree(folder)
    (row,) = zoo("verify", "--full").table
    assert row["DAMAGED"] == str(folder)
    assert "zoo rm" in row["WHY"]


# The index, and errors for programs


def test_the_index_can_be_found_and_made_again(probed: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "home" / "zoo.db"
    assert probed("db", "path").stdout == f"{path}\n"
    listed = probed("ls").stdout
    path.write_bytes(b"garbage" * 999)
    pin = tmp_path / "home" / "checkpoints" / "x.json"
    pin.write_text("{")
    done = probed("db", "rebuild", "--json")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.replace("\n", "").count(str(pin)) == 1
    assert "cannot be read" in probed("doctor").stdout
    pin.unlink()
    assert done.json["entries"] > 4
    assert probed("ls").stdout == listed


def test_an_error_is_data_where_data_was_asked_for(zoo: Zoo) -> None:
    done = zoo("show", "nothing", "--json")
    assert done.exit_code == 1
    assert done.json["schema"] == "zoo.error/1"
    assert (done.json["exit_code"], done.json["fix"]) == (1, "zoo add nothing")
    assert "no checkpoint" in done.json["error"]
    assert "no checkpoint" in done.stderr
    assert zoo("show", "nothing").stdout == ""


def test_every_command_of_care_has_an_example_and_data(zoo: Zoo) -> None:
    for command in ("freeze", "update", "gc", "verify", "doctor", "db"):
        text = zoo(command, "--help").stdout
        assert "--json" in text, command
        assert f"zoo {command}" in text.split("Usage", 1)[1].split("\n", 1)[1], command


# Checkpoints that cannot be read


def test_of_all_those_are_left_out_that_are_known_to_be_unreadable(
    zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    done = zoo("add", checkpoints["bert"], empty)
    assert "no config.json" in done.table[1]["STATUS"]
    everything = zoo("probe", "-p", probe_file)
    assert everything.exit_code == 0, everything.stderr
    assert [row["MODEL"] for row in everything.table] == ["bert"]
    assert everything.stderr.count("empty is left out: it has no config.json") == 1
    assert zoo("covariance").exit_code == 0
    named = zoo("probe", "-p", probe_file, "empty")
    assert named.exit_code == 1
    assert "no config.json" in named.stderr
    more = tmp_path / "more"
    shutil.copytree(empty, more)
    zoo("add", more)
    noted = [line for line in zoo("covariance").stderr.splitlines() if "left out" in line]
    assert noted == ["2 checkpoints are left out: 2 (it has no config.json). zoo ls shows which"]


def test_a_device_that_is_not_there_is_one_error_before_anything_is_read(
    zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", checkpoints["bert"], checkpoints["roberta"])
    monkeypatch.setenv("ZOO_DEVICE", "gpu7")
    done = zoo("probe", "-p", probe_file)
    assert done.exit_code == 2
    assert done.stderr.count("error:") == 1
    assert "ZOO_DEVICE" in done.stderr
    assert len(zoo("ls").table) == 2


def test_pickles_that_were_agreed_to_stay_so_until_they_are_others(
    zoo: Zoo, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "pick"
    shutil.copytree(checkpoints["bert"], folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "pytorch_model.bin").write_bytes(b"other pickles")
    commits = [row["COMMIT"] for row in zoo("add", folder, other).table]
    assert len(set(commits)) == 2
    (agreed,) = zoo("add", folder, "--allow-pickle").table
    assert (agreed["COMMIT"], agreed["STATUS"]) == (commits[0], "agreed to its pickles")
    zoo("rm", other)
    before = zoo("ls").table
    assert zoo("add", folder).table[0]["STATUS"] == "already there"
    assert zoo("ls").table == before
    assert zoo("show", "pick", "--json").json["checkpoint"]["pickled"]
    (folder / "pytorch_model.bin").write_bytes(b"other pickles")
    assert "which can run code" in zoo("add", folder).table[0]["STATUS"]
    assert not zoo("show", "pick", "--json").json["checkpoint"]["pickled"]
