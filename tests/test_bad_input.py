"""Bad input gets what happened, why and what to do; never a traceback, and nothing computed is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Result, Zoo
from safetensors.numpy import load_file, save_file


def refused(done: Result, exit_code: int, *words: str) -> None:
    assert done.exit_code == exit_code, done.stderr
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_unknown_checkpoint(probed: Zoo, target_folder: Path) -> None:
    for command in (("show", "robrta"), ("probe", "robrta"), ("rank", "-t", target_folder, "robrta")):
        refused(probed(*command), 1, 'no checkpoint "robrta"', "fix: zoo add robrta")
    refused(probed("add", "./nowhere"), 1, "no folder")
    misnamed = probed("add", "bert/../x")
    refused(misnamed, 2, "not a name the Hub knows", "why: Repo id must be in the form")
    assert "argument" not in misnamed.stderr
    for command in ("rm", "update"):
        refused(probed(command, "robrta"), 1, "robrta", "fix: zoo ls")


@pytest.mark.parametrize("command", [("rank", "-t"), ("tune", "-t"), ("add", "-f"), ("add",), ("reproduce",)])
def test_a_home_that_nobody_has(zoo: Zoo, command: tuple[str, ...]) -> None:
    refused(zoo(*command, "~no-such-user/x"), 2, "~no-such-user/x", "nobody of that name has a home")


def test_unknown_column(probed: Zoo, target_folder: Path) -> None:
    done = probed("rank", "-t", target_folder, "--label-column", "chunks")
    refused(done, 1, 'no column "chunks"', "it has: tokens, label")


def test_empty_and_one_class_targets(probed: Zoo, tmp_path: Path) -> None:
    empty = tmp_path / "empty.conll"
    empty.write_text("")
    refused(probed("rank", "-t", empty), 1, "is empty")
    same = tmp_path / "same.conll"
    same.write_text("a O\nb O\n\nc O\n")
    refused(probed("rank", "-t", same), 1, "one class only (O)", "nothing to tell apart")
    refused(probed("tune", "-t", same, "bert"), 1, "one class only (O)")
    refused(probed("probe", "-p", empty), 1, "no text")
    refused(probed("rank", "-t", tmp_path / "missing.csv"), 1, "no file")


def test_more_picks_than_checkpoints(probed: Zoo) -> None:
    refused(probed("select", "-k", "9"), 2, "cannot pick 9 of 5", "-k between 1 and 5")
    refused(probed("select", "-k", "0"), 2, "cannot pick 0")


def test_a_zoo_of_one(zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path, target_folder: Path) -> None:
    zoo("add", checkpoints["bert"])
    zoo("probe", "-p", probe_file)
    assert zoo("covariance", "--json").json["matrix"] == [[1.0]]
    assert [row["MODEL"] for row in zoo("select", "-k", "1").table] == ["bert"]
    refused(zoo("select", "-k", "2"), 2, "cannot pick 2 of 1")
    assert len(zoo("rank", "-t", target_folder).ranked) == 1


def test_selecting_before_probing(zoo: Zoo, checkpoints: dict[str, Path], target_folder: Path) -> None:
    zoo("add", checkpoints["bert"])
    refused(zoo("covariance"), 1, "probed", "fix: zoo probe")
    refused(zoo("tune", "-t", target_folder), 1, "no selection yet", "zoo select")
    refused(zoo("card", "latest"), 1, "zoo runs")


def test_a_checkpoint_that_was_not_probed_is_left_out_and_named(
    probed: Zoo, checkpoints: dict[str, Path], tmp_path: Path, probe_file: Path
) -> None:
    late = tmp_path / "late"
    late.mkdir()
    for file in checkpoints["bert"].iterdir():
        (late / file.name).write_bytes(file.read_bytes())
    probed("add", late)
    done = probed("covariance")
    refused(done, 3, "late: not read with", f"zoo probe -p {probe_file} --max-words 10000 --layer last")
    assert len(done.table) == 5


def test_weights_that_are_not_numbers(
    probed: Zoo, checkpoints: dict[str, Path], tmp_path: Path, probe_file: Path, target_folder: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in checkpoints["bert"].iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][:] = np.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    probed("add", broken)
    refused(probed("probe", "-p", probe_file), 3, "broken: its weights are not finite")
    done = probed("rank", "-t", target_folder)
    refused(done, 3, "broken")
    assert [row["NOTE"] for row in done.table if row["MODEL"] == "broken"] == ["failed"]
    assert len(probed("covariance").table) == 5, "the others are measured"


def test_a_damaged_feature_file_is_named_and_computed_again(
    probed: Zoo, tmp_path: Path, probe_file: Path
) -> None:
    victim = sorted((tmp_path / "cache" / "features").rglob("arrays.safetensors"))[0]
    data = bytearray(victim.read_bytes())
    data[-3] ^= 1
    victim.write_bytes(data)
    found = probed("verify")
    assert found.exit_code == 1
    assert [row["DAMAGED"] for row in found.table] == [str(victim.parent)]
    done = probed("covariance")
    refused(done, 3, "damaged", "zoo probe")
    assert len(done.table) == 4
    again = probed("probe", "-p", probe_file)
    assert again.exit_code == 0
    assert sorted(row["STATUS"] for row in again.table) == ["already there"] * 4 + ["done"]
    assert "computed again" in again.stderr
    assert probed("verify").exit_code == 0
    assert probed("covariance").exit_code == 0


def test_a_matrix_that_is_no_covariance(zoo: Zoo, tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.array([[1, 2.0], [2.0, 1]]))
    refused(zoo("select", "--covariance", tmp_path / "k.npy", "-k", "1"), 1, "smallest eigenvalue is -1")
    np.save(tmp_path / "n.npy", np.array([[1, np.nan], [np.nan, 1]]))
    refused(zoo("select", "--covariance", tmp_path / "n.npy", "-k", "1"), 1, "not a number")
    refused(zoo("select", "--covariance", tmp_path / "none.npy", "-k", "1"), 1, "cannot be read")


def test_a_folder_that_changed_since_it_was_added(
    zoo: Zoo, checkpoints: dict[str, Path], tmp_path: Path, probe_file: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in checkpoints["bert"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    zoo("add", folder)
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    refused(zoo("probe", "-p", probe_file), 1, "changed since it was added", "zoo add")
    assert "in place of" in zoo("add", folder).table[0]["STATUS"]
    assert zoo("probe", "-p", probe_file).exit_code == 0
    assert len(zoo("ls").table) == 1


def test_a_zoo_that_cannot_be_written_to(
    zoo: Zoo, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "file" / "zoo"))
    assert zoo("ls").exit_code == 0
    refused(zoo("add", checkpoints["bert"]), 1, "cannot write", "ZOO_HOME")


def test_a_full_disk_loses_nothing(
    probed: Zoo, target_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    refused(probed("rank", "-t", target_folder), 1, "no space left on device", "free some space")
    monkeypatch.undo()
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    assert probed("verify").exit_code == 0
    assert probed("covariance").exit_code == 0
    assert not list((tmp_path / "cache").rglob(".*")), "nothing half-written is left"


def test_a_score_that_is_not_defined_for_the_target(probed: Zoo, tmp_path: Path) -> None:
    real = tmp_path / "real.csv"
    real.write_text("text,score\n" + "".join(f"the tiger sleeps {i},{i / 3:.2f}\n" for i in range(12)))
    refused(probed("rank", "-t", real, "--score", "hscore"), 2, "defined for classes only")
    assert len(probed("rank", "-t", real).ranked) == 5
    assert probed("tune", "-t", real, "bert", "--seeds", "1", "--json").json["metric"] == "pearson"


def test_sentence_classification(probed: Zoo, tmp_path: Path) -> None:
    table = tmp_path / "mood.jsonl"
    lines = [f'{{"sentence": "{w} {i} tigers", "label": "{w}"}}' for i in range(20) for w in ("good", "bad")]
    table.write_text("\n".join(lines))
    done = probed("tune", "-t", table, "roberta", "--seeds", "1", "--json").json
    assert (done["metric"], done["target"]["task"]) == ("accuracy", "text-classification")
    assert done["recipe"]["reading"]["pooling"] == "mean"
    assert done["results"]["validation"]["mean"] is not None


def test_what_was_chosen_for_another_target_is_not_tuned_by(
    probed: Zoo, target_folder: Path, tmp_path: Path
) -> None:
    probed("rank", "-t", target_folder)
    other = tmp_path / "other.conll"
    other.write_text("a X\nb Y\n\nc X\nd Y\n\ne X\n")
    refused(
        probed("tune", "-t", other, "@ranking:2"), 2, "@ranking is for label of", f"zoo rank --target {other}"
    )
    probed("select", "-t", target_folder, "-k", "2")
    refused(
        probed("tune", "-t", other, "@selection"),
        2,
        "@selection is for label of",
        f"zoo select --target {other}",
    )
    probed("select", "-k", "2")
    assert probed("tune", "-t", other, "@selection", "--seeds", "1").exit_code == 0


def test_ids_are_no_classes(probed: Zoo, tmp_path: Path) -> None:
    ids = tmp_path / "ids.csv"
    ids.write_text("text,label\n" + "".join(f"tiger {i},{i}\n" for i in range(50)))
    refused(probed("rank", "-t", ids), 1, "a class of its own", "--task text-regression")


def test_another_probe_does_not_take_the_first_away(probed: Zoo, probe_file: Path, tmp_path: Path) -> None:
    first = probed("covariance").stdout
    other = tmp_path / "other.txt"
    other.write_text("some other text to read\n" * 20)
    assert probed("probe", "-p", other, "bert").exit_code == 0
    done = probed("covariance")
    refused(done, 3, f"gpt2, llama, roberta, t5: not read with {other} yet")
    assert probed("covariance", "-p", probe_file).stdout == first
    refused(probed("covariance", "--layer", "1"), 2, "name it with -p")
    assert len(probed("select", "-p", probe_file, "-k", "2").table) == 2


def test_a_damaged_or_deleted_trial_is_made_again(probed: Zoo, target_folder: Path, tmp_path: Path) -> None:
    tune = ("tune", "-t", target_folder, "bert", "--seeds", "2", "--json")
    run = probed(*tune).json
    folders = sorted((tmp_path / "home" / "trials").glob("v1/??/*"))
    assert len(folders) == 2
    arrays = folders[0] / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"!")
    shutil.rmtree(folders[1])
    assert probed("verify").exit_code == 1
    again = probed(*tune)
    assert again.json["results"] == run["results"]
    assert "tuned before" not in again.stderr
    assert probed("verify").exit_code == 0


def test_a_damaged_run_is_made_again_of_its_trials(
    probed: Zoo, target_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = ("tune", "-t", target_folder, "bert", "--json")
    run = probed(*tune).json
    path = tmp_path / "home" / "runs" / f"{run['id']}.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert probed("verify").table[0]["DAMAGED"] == str(path)
    monkeypatch.setattr("zookeeper.tuning.loop.Training.run", None)
    again = probed(*tune).json
    assert again["trials"] == run["trials"]
    assert probed("verify").exit_code == 0


def test_a_folder_named_like_a_pin_is_that_folder(
    zoo: Zoo, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    for name, family in (("ckpt", "bert"), ("ckpt@1000", "gpt2")):
        (tmp_path / name).mkdir()
        for file in checkpoints[family].iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    row = zoo("add", f"{tmp_path}/ckpt@1000").table[0]
    assert row["MODEL"] == "ckpt@1000"
    assert row["COMMIT"] != zoo("add", tmp_path / "ckpt").table[0]["COMMIT"]
    refused(zoo("add", f"{tmp_path}/ckpt@deadbeef"), 1, "is not what it was at deadbeef")


def computed(root: Path) -> int:
    """Files of features that a zoo keeps."""
    return len(list((root / "cache" / "features").rglob("*.safetensors")))


MIXED = "".join(f"the tiger sleeps {i},{i / 4}\n" for i in range(12))
MANY = "".join(f"tiger {i},c{i % 10_001}\n" for i in range(10_100))


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("a.csv", "text,stars\na,1\nb,2\n", (), ("holds the label", "it has: text, stars", "--label-column")),
        (
            "a.jsonl",
            '{"tokens": ["the", "tiger"], "label": ["X"]}\n{"tokens": ["a"], "label": ["Y"]}',
            (),
            ("a.jsonl", "2 words but 1 labels in label", "the tiger"),
        ),
        (
            "a.csv",
            f"text,label\n{MIXED}",
            ("--task", "text-classification"),
            ("label holds real numbers", "one of them is 0.25", "fix: --task text-regression"),
        ),
        ("a.csv", f"text,label\n{MANY}", (), ("label holds 10,001 classes", "--label-column")),
        (
            "a.csv",
            'text,label\n"",x\n"",y\n',
            (),
            ("the texts of the train split are all empty", "no row of text"),
        ),
        ("a.csv", "text,score\na,0.5\nb,inf\n", (), ("score holds something that is no number", "inf")),
        ("a.csv", "text,label\na,x\nb,y\n", ("--split", "test"), ("has no test split", "it has: train")),
    ],
    ids=["no label column", "other lengths", "fractions", "ids", "no words", "infinity", "no split"],
)
def test_a_bad_target_is_refused_before_any_checkpoint_runs(
    probed: Zoo, tmp_path: Path, name: str, content: str, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    path = tmp_path / name
    path.write_text(content)
    before = computed(tmp_path)
    refused(probed("rank", "-t", path, "--max-examples", "0", *options), 1, name, *words)
    assert computed(tmp_path) == before > 0


def test_several_labels_at_once_are_tuned(probed: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "moods.jsonl"
    lists = (["good"], [], ["good", "bad"], None)
    path.write_text("\n".join(json.dumps({"text": f"tiger {i}", "labels": lists[i % 4]}) for i in range(20)))
    done = probed("tune", "-t", path, "bert", "--json")
    assert done.exit_code == 0, done.stderr
    assert (done.json["metric"], done.json["target"]["classes"]) == ("f1_micro", ["bad", "good"])
    assert done.json["results"]["validation"]["n"] == 3
