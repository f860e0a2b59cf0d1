"""Conventions of the command line: data on stdout, words on stderr, JSON with a schema, exit codes, speed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Zoo, done_once
from rich.console import Console

from zookeeper.cli import output
from zookeeper.plain import spelt_out

COLLECT = ["add", "ls", "show", "rm"]
MEASURE = ["probe", "covariance", "neighbours", "select", "rank", "plot"]
COMMANDS = [*COLLECT, *MEASURE, "tune", "runs", "recipes", "card", "push", "verify", "gc", "demo"]


@pytest.fixture(scope="session")
def measured_once(tmp_path_factory: pytest.TempPathFactory, probed_once: Path, target_folder: Path) -> Path:
    """Folder of a zoo in which every step was done once. Not to be written to."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(probed_once, folder, dirs_exist_ok=True)
    return done_once(
        folder,
        ("select", "-k", "2"),
        ("rank", "-t", target_folder),
        ("tune", "-t", target_folder, "@selection", "--seeds", "1"),
    )


@pytest.fixture
def measured(zoo: Zoo, measured_once: Path, tmp_path: Path) -> Zoo:
    """A zoo in which every step was done once."""
    shutil.copytree(measured_once, tmp_path, dirs_exist_ok=True)
    return zoo


def test_every_command_is_there_with_help_and_json(zoo: Zoo) -> None:
    listing = zoo("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in listing
        text = zoo(command, "--help").stdout
        assert "--json" in text, command


def test_help_imports_nothing_slow() -> None:
    slow = ["torch", "transformers", "datasets", "evaluate", "accelerate", "huggingface_hub", "sklearn"]
    slow += ["matplotlib", "scipy.stats", "scipy.spatial", "scipy.cluster"]
    code = (
        "import sys; from typer.testing import CliRunner; from zookeeper.cli import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        f"print([name for name in {slow} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_whole_line_prints_one_json_object_each(
    measured: Zoo, target_folder: Path, tmp_path: Path
) -> None:
    folder = str(target_folder)
    for command in (
        ("ls",),
        ("show", "bert"),
        ("probe", "-p", folder + "/train.conll", "bert"),
        ("probe", "bert", "-p", folder + "/train.conll"),
        ("covariance", "bert"),
        ("select", "-k", "1", "bert"),
        ("rank", "-t", folder, "bert"),
        ("tune", "-t", folder, "bert"),
        ("tune", "-t", folder, "bert", "--dry-run"),
        ("tune", "-t", folder, "bert", "--controls", "2"),
        ("runs",),
        ("recipes",),
        ("card", "latest"),
        ("verify",),
        ("rm", "bert", "--dry-run"),
    ):
        done = measured(*command, "--json")
        assert done.exit_code == 0, (command, done.stderr)
        named = {"--dry-run": "forecast", "--controls": "comparison"} if command[0] == "tune" else {}
        kind = next((named[word] for word in command if word in named), command[0])
        assert done.json["schema"] == f"zoo.{kind}/1"


def test_tables_are_tab_separated_and_uncut_where_stdout_is_no_terminal(measured: Zoo) -> None:
    rows = measured("ls").table
    assert {row["MODEL"] for row in rows} == {"bert", "gpt2", "llama", "roberta", "t5"}
    assert all(len(row["COMMIT"]) == 40 for row in rows)
    assert {row["READ"] for row in rows} == {"2", "4"}, (
        "probe and target; members of the run also its two splits"
    )


def test_ranking_lists_every_score_and_orders_by_the_one_asked_for(
    measured: Zoo, target_folder: Path
) -> None:
    for score, column in (("logme", "LOGME"), ("hscore", "H-SCORE")):
        rows = measured("rank", "-t", target_folder, "--score", score).ranked
        values = [float(row[column]) for row in rows]
        assert values == sorted(values, reverse=True)
        assert len(rows) == 5
    unknown = measured("rank", "-t", target_folder, "--score", "vibes")
    assert unknown.exit_code == 2
    assert "logme" in unknown.stderr


def test_reranking_computes_no_features(
    measured: Zoo, target_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zookeeper.worker.read", None)
    assert measured("rank", "-t", target_folder, "--score", "hscore").exit_code == 0


def test_selection_and_ranking_stand_for_checkpoints(measured: Zoo, target_folder: Path) -> None:
    picked = [row["MODEL"] for row in measured("select", "-k", "2").table]
    members = [
        m["name"] for m in measured("tune", "-t", target_folder, "@selection", "--json").json["members"]
    ]
    assert members == picked
    ranked = [row["MODEL"] for row in measured("rank", "-t", target_folder).ranked]
    members = [
        m["name"] for m in measured("tune", "-t", target_folder, "@ranking:1", "--json").json["members"]
    ]
    assert members == ranked[:1]


def test_the_same_tune_is_not_done_twice(
    measured: Zoo, target_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = ("tune", "-t", target_folder, "@selection", "--seeds", "1", "--json")
    first = measured(*tune).json
    monkeypatch.setattr("zookeeper.tuning.loop.Training.run", None)
    again = measured(*tune)
    assert again.json == first
    assert "tuned before" in again.stderr
    assert len(measured("runs", "--json").json["runs"]) == 1


def test_the_test_split_is_read_only_when_asked_for(measured: Zoo, target_folder: Path) -> None:
    without = measured("tune", "-t", target_folder, "bert", "--json").json
    assert "test" not in without["results"]
    assert "test" not in without["target"]["examples"]
    asked = measured("tune", "-t", target_folder, "bert", "--test", "--json").json
    assert set(asked["results"]) == {"validation", "test"}
    assert asked["results"]["validation"] == without["results"]["validation"]


def test_covariance_is_written_for_other_programs(measured: Zoo, tmp_path: Path) -> None:
    assert measured("covariance", "-o", tmp_path / "k.csv").exit_code == 0
    again = measured("select", "--covariance", tmp_path / "k.csv", "-k", "2")
    assert [row["MODEL"] for row in again.table] == [
        row["MODEL"] for row in measured("select", "-k", "2").table
    ]
    measured("covariance", "-o", tmp_path / "k.npy")
    named = measured(
        "select", "--covariance", tmp_path / "k.npy", "--names", tmp_path / "k.names.txt", "-k", "2"
    )
    assert named.stdout == again.stdout


def test_an_exact_copy_counts_once(
    measured: Zoo, checkpoints: dict[str, Path], tmp_path: Path, probe_file: Path
) -> None:
    before = [row["MODEL"] for row in measured("select", "-k", "3").table]
    copy = tmp_path / "twin"
    copy.mkdir()
    for file in checkpoints[before[0]].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    measured("add", copy)
    measured("probe", "-p", probe_file)
    done = measured("select", "-k", "3", "--json").json
    assert ["twin" if p["name"] == "twin" else p["name"] for p in done["picks"]] == before
    assert sorted(done["copies"][0]) == sorted(["twin", before[0]])


def test_rm_keeps_features_unless_told(measured: Zoo, checkpoints: dict[str, Path], probe_file: Path) -> None:
    assert measured("rm", "bert", "--dry-run").table[0]["STATUS"] == "would be removed"
    assert len(measured("ls").table) == 5
    assert "What was measured stays" in measured("rm", "bert").stderr
    assert len(measured("ls").table) == 4
    measured("add", checkpoints["bert"])
    assert measured("probe", "bert", "-p", probe_file).table[0]["STATUS"] == "already there"
    removed = measured("rm", "bert", "--features")
    assert int(removed.table[0]["FREED"]) > 0
    assert "stays" not in removed.stderr
    measured("add", checkpoints["bert"])
    assert measured("probe", "bert", "-p", probe_file).table[0]["STATUS"] == "done"


def test_the_card_records_what_was_typed(measured: Zoo, target_folder: Path) -> None:
    text = measured("card", "latest").stdout
    assert f"zoo tune -t ./{target_folder.name} @selection" in text
    assert str(target_folder.parent) not in text


def test_usage_errors_exit_with_2(zoo: Zoo) -> None:
    for command in (("select", "-k", "many"), ("nonsense",), ("rank",), ("select", "--start", "middle")):
        assert zoo(*command).exit_code == 2, command
    for misuse in (("doctor", "--json", "--nope"), ("select", "-k", "many", "--json"), ("rank", "--json")):
        done = zoo(*misuse)
        assert (done.exit_code, done.json["schema"], done.json["exit_code"]) == (2, "zoo.error/1", 2), misuse
        assert done.json["error"]


def test_an_empty_zoo_is_no_error_to_list_but_one_to_use(zoo: Zoo) -> None:
    assert zoo("ls", "--json").json["checkpoints"] == []
    assert zoo().exit_code == 0
    for command in (("probe",), ("covariance",), ("select", "-k", "1"), ("rank", "-t", "conll2000")):
        done = zoo(*command)
        assert done.exit_code == 1, command
        assert "zoo add roberta-base" in done.stderr


def test_hostile_names_are_spelt_out() -> None:
    hostile = "a\x1b]8;;http://evil\x1b\\b\u202ec\x9bd\u200be\nf[bold]\ud800"
    shown = spelt_out(hostile)
    assert shown == r"a\x1b]8;;http://evil\x1b\b\u202ec\x9bd\u200be\nf[bold]\ud800"
    shown.encode()


def test_a_closed_pipe_ends_quietly(measured: Zoo, tmp_path: Path) -> None:
    environment = dict(os.environ) | {
        "ZOO_HOME": str(tmp_path / "home"),
        "ZOO_CACHE": str(tmp_path / "cache"),
    }
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "zookeeper", "ls", "--json"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""


def test_ctrl_c_says_that_nothing_is_lost(
    measured: Zoo, target_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zookeeper.worker.read", interrupted)
    done = measured("rank", "-t", target_folder, "--max-examples", "7")
    assert done.exit_code == 130
    assert "goes on from there" in done.stderr


def test_ctrl_c_promises_nothing_of_a_command_that_begins_anew(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zookeeper.zoo.Zoo.holdings", interrupted)
    done = zoo("ls")
    assert (done.exit_code, done.stderr) == (130, "Stopped.\n")


def test_a_command_to_copy_stays_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=30)
    monkeypatch.setattr(output, "open_console", lambda *, stderr: console)
    command = "  zoo update FacebookAI/roberta-base --apply"
    output.say(f"what is said to people is wrapped between words\n{command}")
    first, *_, last = shown.getvalue().splitlines()
    assert (first.rstrip(), last) == ("what is said to people is", command)


def test_what_is_left_over_of_a_wide_table_is_no_single_column() -> None:
    titles = "RUN", "TARGET", "MEMBERS", "DATE"
    columns = [output.Column(title, key=title == "RUN") for title in titles]
    assert output._parts(columns, [8, 30, 30, 10], 80) == [[0, 1], [0, 2, 3]]
    assert output._parts(columns, [8, 20, 30, 10], 80) == [[0, 1, 2, 3]]


def test_a_bug_is_reported_without_a_traceback(
    measured: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of our own making")

    monkeypatch.setattr("zookeeper.kernels.normalised", broken)
    done = measured("covariance")
    assert done.exit_code == 70
    assert "Traceback" not in done.stderr
    (report,) = (tmp_path / "home" / "logs").iterdir()
    assert str(report) in done.stderr
    assert "of our own making" in report.read_text()


def test_json_is_ascii_so_that_any_pipe_takes_it(measured: Zoo) -> None:
    text = measured("ls", "--json").stdout
    assert text.isascii()
    assert json.loads(text)


def test_two_processes_tune_as_one_does(
    measured: Zoo,
    checkpoints: dict[str, Path],
    target_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tune = ("tune", "-t", target_folder, "bert", "gpt2", "--seeds", "1", "--json")
    alone = measured(*tune).json
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "other"))
    measured("add", *checkpoints.values())
    (tmp_path / "accelerate.py").write_text("raise SystemExit('code of the working folder')")
    monkeypatch.chdir(tmp_path)
    together = measured(*tune, "--cpu-processes", "2")
    assert together.exit_code == 0, together.stderr
    assert (processes_of(alone), processes_of(together.json)) == ([1], [2])
    assert timeless(together.json) == timeless(alone)


def processes_of(run: dict[str, Any]) -> list[int]:
    return [trial["processes"] for trial in run["trials"]]


def timeless(run: dict[str, Any]) -> dict[str, Any]:
    """A run without what time it took, how large its processes were and how it was asked for."""
    told = ("seconds", "created_at", "peak_bytes", "processes", "command")
    trials = [
        {**trial, "history": [{**epoch, "seconds": 0} for epoch in trial["history"]]}
        for trial in run["trials"]
    ]
    trials = [{name: value for name, value in trial.items() if name not in told} for trial in trials]
    kept = {name: value for name, value in run.items() if name not in told}
    return kept | {"trials": trials, "request": run["request"] | {"command": ""}}


def test_a_pipe_that_lacks_a_letter_is_no_error(measured: Zoo, tmp_path: Path) -> None:
    environment = dict(os.environ) | {
        "ZOO_HOME": str(tmp_path / "home"),
        "ZOO_CACHE": str(tmp_path / "cache"),
    }
    for command in (["--help"], ["covariance"], ["card", "latest"]):
        done = subprocess.run(
            [sys.executable, "-m", "zookeeper", *command],
            env=environment | {"PYTHONIOENCODING": "cp1252"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
