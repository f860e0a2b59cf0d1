"""What is written for others: cards, pushes, reports, and making it again from them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Zoo
from huggingface_hub import DatasetCard
from loopback import LoopbackHub, read_folder

from tests import made_up
from zookeeper.errors import ZooError
from zookeeper.hub import Hub
from zookeeper.plain import decode, encode
from zookeeper.reproducing import compared, request_of
from zookeeper.results import Run, Trial
from zookeeper.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

QUICK = ("--seeds", "2", "--epochs", "4")


@pytest.fixture
def run(zoo: Zoo, zoo_hub: LoopbackHub, conll: str) -> dict[str, Any]:
    """A run of two checkpoints of the Hub on a dataset of the Hub."""
    zoo("add", "roberta-base", "me/bert")
    done = zoo("tune", "-t", "conll2000", "roberta-base", "me/bert", "--test", *QUICK, "--json")
    assert done.exit_code == 0, done.stderr
    return dict(done.json)


def python_of(card: str) -> str:
    """The one block of Python of a card."""
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    return str(code)


def forge(home: Path, run_id: str, change: float) -> None:
    """Make a stored run state another number than it measured."""
    store = Store(home, home.parent / "cache")
    known = store.run(run_id)
    assert known is not None
    trials = tuple(
        replace(one, results={split: (value or 0) + change for split, value in one.results.items()})
        for one in known.trials
    )
    store.save_run(replace(known, trials=trials))


# Cards


def test_a_card_in_a_file_keeps_what_else_stands_there(zoo: Zoo, run: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model" / "README.md"
    first = zoo("card", "latest", "-o", path)
    assert first.exit_code == 0, first.stderr
    assert (path.parent / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert "learning.png" in first.stderr
    path.write_bytes(path.read_bytes() + b"\r\nMy own words.\r\n")
    before = path.read_bytes()
    assert zoo("card", "latest", "-o", path).exit_code == 0
    assert path.read_bytes() == before, "nothing has changed since"


def test_a_card_is_checked_against_what_is_stored(zoo: Zoo, run: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    zoo("card", "latest", "-o", path)
    good = zoo("card", "latest", "--check", "-o", path)
    assert good.exit_code == 0, good.stderr
    stated = f"{run['results']['test']['mean']:.4f}"
    text = path.read_text()
    assert stated in text
    path.write_text(text.replace(stated, "0.9999"))
    bad = zoo("card", "latest", "--check", "-o", path)
    assert bad.exit_code == 1
    lines = path.read_text().splitlines()
    found = [int(row["LINE"]) for row in bad.table if row["LINE"]]
    assert any("0.9999" in lines[line - 1] for line in found), bad.stdout
    assert zoo("card", "latest", "--check").exit_code == 0, "the one that would be made"


def test_a_number_that_was_forged_is_found(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any], tmp_path: Path
) -> None:
    forge(tmp_path / "home", run["id"], 0.1)
    for command in (("card", "latest", "--check"), ("push", "latest", "alice/chunks")):
        done = zoo(*command)
        assert done.exit_code == 1
        assert "its stored predictions give" in done.stderr
    with pytest.raises(KeyError):
        zoo_hub.files("model", "alice/chunks")


def test_rankings_and_selections_have_cards(zoo: Zoo, zoo_hub: LoopbackHub, conll: str) -> None:
    zoo("add", "roberta-base", "me/bert")
    zoo("rank", "-t", "conll2000", "--save", "first")
    zoo("select", "-t", "conll2000", "-k", "1")
    for what in ("@ranking", "@ranking/first", "@selection"):
        done = zoo("card", what)
        assert done.exit_code == 0, done.stderr
        assert "me/bert" in done.stdout
        assert conll in done.stdout, "the commit of the data"
        assert zoo("card", what, "--check").exit_code == 0
    none = zoo("card", "@ranking/second")
    assert none.exit_code == 1
    assert 'no ranking "second"' in none.stderr


def test_a_card_that_was_pushed_is_found_right_wherever_its_numbers_went(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any], tmp_path: Path
) -> None:
    for results in ("auto", "none", "both"):
        zoo("push", "latest", f"alice/{results}", "--results", results)
        path = tmp_path / f"{results}.md"
        path.write_bytes(zoo_hub.files("model", f"alice/{results}")["README.md"])
        assert zoo("card", "latest", "--check", "-o", path).exit_code == 0


# Pushes


def test_a_pushed_run_loads_by_the_lines_of_its_card(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("push", "latest", "alice/chunks").exit_code == 0
    card = zoo_hub.files("model", "alice/chunks")["README.md"].decode()
    code = python_of(card)
    assert 'load_ensemble("alice/chunks")' in code
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    exec(code, {})  # noqa: S102 what a reader of the card would do
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert len(said) > 3
    assert {label for _, label, _ in said} <= {"O", "B-NP", "I-NP"}


def test_pushing_again_changes_nothing(zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any]) -> None:
    zoo("push", "latest", "alice/chunks")
    before = zoo_hub.sha("model", "alice/chunks")
    again = zoo("push", "latest", "alice/chunks")
    assert again.exit_code == 0, again.stderr
    assert zoo_hub.sha("model", "alice/chunks") == before


def test_what_would_change_on_a_card_is_shown(zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any]) -> None:
    zoo_hub.add("model", "alice/chunks", {"README.md": b"---\nlicense: mit\n---\n# Mine\n"})
    done = zoo("card", "latest", "--diff", "alice/chunks")
    assert done.exit_code == 0, done.stderr
    assert "+base_model:" in done.stderr
    assert "-# Mine" not in done.stderr
    assert list(zoo_hub.files("model", "alice/chunks")) == ["README.md"]


def test_elsewhere_only_results_are_proposed(
    zoo: Zoo, zoo_hub: LoopbackHub, conll: str, checkpoints: dict[str, Path]
) -> None:
    old = b"---\nlicense: mit\n---\r\nBob wrote this.\n"
    zoo_hub.add("model", "bob/theirs", read_folder(checkpoints["gpt2"]) | {"README.md": old})
    zoo("add", "bob/theirs")
    run = zoo("tune", "-t", "conll2000", "bob/theirs", *QUICK, "--json").json["id"]
    refused = zoo("push", run, "bob/theirs", "--create-pr")
    assert refused.exit_code == 4
    assert "--yes-open-pr-on bob/theirs" in refused.stderr
    assert zoo_hub.pulls("model", "bob/theirs") == []
    seen = zoo("card", run, "--diff", "bob/theirs")
    assert "+model-index:" in seen.stderr, "it may be looked at before"
    done = zoo("push", run, "bob/theirs", "--create-pr", "--yes-open-pr-on", "bob/theirs")
    assert done.exit_code == 0, done.stderr
    assert "Opened a pull request on bob/theirs" in done.stderr
    (pull,) = zoo_hub.pulls("model", "bob/theirs")
    assert list(pull.files) == ["README.md"]
    assert pull.files["README.md"].endswith(b"---\r\nBob wrote this.\n")
    assert b"model-index" in pull.files["README.md"]
    assert run in pull.description
    assert len(pull.description.splitlines()) <= 15
    again = zoo("push", run, "bob/theirs", "--create-pr", "--yes-open-pr-on", "bob/theirs")
    assert again.exit_code == 0, again.stderr
    assert len(zoo_hub.pulls("model", "bob/theirs")) == 1


def test_nobody_is_told_of_what_their_checkpoint_did_not_do_alone(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any]
) -> None:
    zoo_hub.add("model", "bob/other", {"README.md": b"# Other"})
    for repo in ("bob/other", "FacebookAI/roberta-base"):
        done = zoo("push", run["id"], repo, "--create-pr", "--yes-open-pr-on", repo)
        assert done.exit_code == 4
        assert "no result of what is in it alone" in done.stderr
        assert zoo_hub.pulls("model", repo) == []


def test_rankings_and_selections_go_to_dataset_repositories(
    zoo: Zoo, zoo_hub: LoopbackHub, conll: str
) -> None:
    zoo("add", "roberta-base", "me/bert")
    zoo("rank", "-t", "conll2000")
    zoo("select", "-t", "conll2000", "-k", "1")
    for what, name in (("@ranking", "ranking"), ("@selection", "selection")):
        done = zoo("push", what, f"alice/{name}")
        assert done.exit_code == 0, done.stderr
        files = zoo_hub.files("dataset", f"alice/{name}")
        assert {"README.md", f"{name}.json", f"{name}.csv"} <= set(files)
        assert "zookeeper" in DatasetCard(files["README.md"].decode()).data.tags
        assert json.loads(files[f"{name}.json"])
    elsewhere = zoo("push", "@ranking", "bob/theirs", "--create-pr")
    assert elsewhere.exit_code == 4
    assert "a repository of your own" in elsewhere.stderr


def test_results_go_to_benchmarks_only_where_the_dataset_is_one_or_on_request(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any]
) -> None:
    zoo("push", "latest", "alice/auto")
    assert not [path for path in zoo_hub.files("model", "alice/auto") if path.startswith(".eval_results")]
    done = zoo("push", "latest", "alice/both", "--results", "both")
    assert done.exit_code == 0, done.stderr
    files = zoo_hub.files("model", "alice/both")
    assert [path for path in files if path.startswith(".eval_results/")]
    assert b"model-index" in files["README.md"]
    zoo("push", "latest", "alice/none", "--results", "none")
    assert b"model-index" not in zoo_hub.files("model", "alice/none")["README.md"]


@pytest.mark.parametrize(
    ("tasks", "told"),
    [(("chunks",), "chunks"), (("a", "b"), None)],
)
def test_a_benchmark_is_told_of_its_own_task_and_its_whole_test_split(
    zoo: Zoo,
    zoo_hub: LoopbackHub,
    run: dict[str, Any],
    tasks: tuple[str, ...],
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Hub, "benchmark_tasks", lambda self, dataset: tasks)

    def pushed(name: str, of: str) -> list[str]:
        done = zoo("push", of, f"alice/{name}")
        assert done.exit_code == 0, done.stderr
        files = zoo_hub.files("model", f"alice/{name}")
        return [str(data) for path, data in files.items() if path.startswith(".eval_results/")]

    results = pushed("test", run["id"])
    assert len(results) == (told is not None)
    assert all(f"task_id: {told}" in one for one in results)
    asked = zoo("push", run["id"], "alice/asked", "--results", "both")
    assert asked.exit_code == (0 if told else 2), asked.stderr
    tune = ("tune", "-t", "conll2000", "me/bert", *QUICK, "--json")
    assert pushed("untouched", zoo(*tune).json["id"]) == []
    assert pushed("sampled", zoo(*tune, "--test", "--max-examples", "2").json["id"]) == []


def test_measurements_are_pushed_and_pulled(
    zoo: Zoo, zoo_hub: LoopbackHub, probe_file: Path, tmp_path: Path
) -> None:
    zoo("add", "roberta-base", "me/bert")
    zoo("probe", "-p", probe_file)
    kappa = zoo("covariance", "--signatures", "--json").json
    for what in ("signatures", "features"):
        pushed = zoo("push", what, f"alice/{what}")
        assert pushed.exit_code == 0, pushed.stderr
        other = ("--zoo", tmp_path / f"other-{what}")
        zoo_hub.clear()
        pulled = zoo(*other, "pull", what, f"alice/{what}")
        assert pulled.exit_code == 0, pulled.stderr
        assert not [r for r in zoo_hub.requests if "/model.safetensors" in r.path], "no weights"
        again = zoo(*other, "covariance", *(["--signatures"] if what == "signatures" else []), "--json")
        assert again.exit_code == 0, again.stderr
        assert again.json["names"] == kappa["names"]
        assert zoo(*other, "covariance").exit_code == 0, "signatures serve where there is nothing else"
        assert again.json["matrix"][0][1] == pytest.approx(kappa["matrix"][0][1], abs=0.05)


# Making it again


def test_a_run_is_made_again_and_holds_to_the_last_digit(
    zoo: Zoo, run: dict[str, Any], tmp_path: Path
) -> None:
    done = zoo("reproduce", "latest", "--json")
    assert done.exit_code == 0, done.stderr
    assert (done.json["holds"], done.json["exact"]) == (True, True)
    assert len(done.json["repetitions"]) == 6, "a mean and two seeds on two splits"
    assert not list((tmp_path / "home" / "reproduced").iterdir()), "nothing of it is left"


def test_nothing_that_was_measured_is_used_again(
    zoo: Zoo, run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zookeeper.tuning.loop import Training

    made: list[object] = []
    original = Training.run
    monkeypatch.setattr(Training, "run", lambda self, report: made.append(self) or original(self, report))
    zoo("reproduce", "latest")
    assert len(made) == 2


def test_a_number_that_does_not_come_again_does_not_hold(
    zoo: Zoo, run: dict[str, Any], tmp_path: Path
) -> None:
    forge(tmp_path / "home", run["id"], 0.1)
    done = zoo("reproduce", "latest", "--tolerance", "0.05")
    assert done.exit_code == 1
    assert "does not hold" in done.stderr
    assert {row["DIFFERENCE"] for row in done.table} != {"0.0"}
    assert zoo("reproduce", "latest", "--tolerance", "0.2").exit_code == 0


def test_a_run_is_made_again_from_its_repository_by_somebody_else(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any], tmp_path: Path
) -> None:
    zoo("push", "latest", "alice/chunks")
    zoo_hub.commit("model", "me/bert", {"model.safetensors": b"moved on"})
    done = zoo("--zoo", tmp_path / "other", "reproduce", "alice/chunks", "--json")
    assert done.exit_code == 0, done.stderr
    assert done.json["exact"]
    folder = tmp_path / "copy"
    for name, data in zoo_hub.files("model", "alice/chunks").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert zoo("--zoo", tmp_path / "third", "reproduce", folder, "--json").json["exact"]


def test_what_was_local_must_be_named(
    zoo: Zoo, checkpoints: dict[str, Path], target_folder: Path, tmp_path: Path
) -> None:
    zoo("add", checkpoints["bert"])
    run = zoo("tune", "-t", target_folder, "bert", *QUICK, "--json").json
    stored = Store(tmp_path / "home", tmp_path / "cache").run(run["id"])
    assert stored is not None
    from zookeeper.cards import publishable

    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "run.json").write_bytes(encode(publishable(stored)))
    unknown = zoo("reproduce", folder)
    assert unknown.exit_code == 2
    assert "--member bert=PATH --target PATH" in unknown.stderr
    untargeted = zoo("reproduce", folder, "--member", f"bert={checkpoints['bert']}")
    assert untargeted.exit_code == 2
    assert "--target PATH" in untargeted.stderr
    member = ("--member", f"bert={checkpoints['bert']}")
    done = zoo("reproduce", folder, *member, "--target", target_folder, "--json")
    assert done.exit_code == 0, done.stderr
    assert done.json["exact"]
    other = zoo("reproduce", folder, "--member", f"bert={checkpoints['gpt2']}", "--target", target_folder)
    assert other.exit_code != 0
    assert "is not what it was" in other.stderr


def test_a_record_of_somebody_else_is_not_believed(zoo: Zoo, run: dict[str, Any], tmp_path: Path) -> None:
    stored = Store(tmp_path / "home", tmp_path / "cache").run(run["id"])
    assert stored is not None
    assert stored.request is not None

    def refused(**changes: Any) -> str:
        with pytest.raises(ZooError) as error:
            request_of(replace(stored, **changes), [], None)
        return f"{error.value.message} {error.value.why}"

    def asked(**changes: Any) -> dict[str, Any]:
        return {"request": replace(stored.request, **changes)}

    assert "other data" in refused(**asked(fingerprint="f" * 64))
    assert "other seeds" in refused(**asked(seeds=(0, 5)))
    assert "other seeds and shares" in refused(trials=stored.trials[:1])
    assert "other splits" in refused(**asked(test=False))
    assert "other members" in refused(members=stored.members[:1])
    assert "other metric" in refused(metric="accuracy")
    other = replace(stored.recipe, settings={"poison": True})
    assert "no setting poison" in refused(recipe=other, **asked(recipe=other))
    seeded = tuple(replace(one, key=replace(one.key, seed=-1 - one.key.seed)) for one in stored.trials)
    assert "is -1" in refused(trials=seeded, **asked(seeds=(-1, -2)))
    assert request_of(stored, [one.revision for one in stored.members], None).seeds == (0, 1)


def test_how_far_a_mean_may_be_is_not_for_the_record_to_say() -> None:
    again = made_up.run(made_up.trial(0, test=0.40), made_up.trial(1, test=0.42))
    forged = made_up.run(
        made_up.trial(0, validation=0.0, test=0.9), made_up.trial(1, validation=1.0, test=0.9)
    )
    found = compared(forged, again)
    assert set(found.tolerances) == {"validation", "test"}
    assert max(found.tolerances.values()) < 0.02
    assert not found.holds


def test_what_else_is_not_the_same_is_said() -> None:
    stated = made_up.run(replace(made_up.trial(0), processes=4, device="cuda"))
    again = made_up.run(made_up.trial(0))
    assert compared(stated, again).differences == ("hardware: cuda, now cpu (x86_64)", "processes: 4, now 1")


def test_a_card_that_says_otherwise_than_its_record_is_refused(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any], tmp_path: Path
) -> None:
    zoo("push", run["id"], "alice/chunks")
    card = zoo_hub.files("model", "alice/chunks")["README.md"].decode()
    mean = run["results"]["test"]["mean"]
    for forged in (card.replace(f"value: {mean:.6g}", "value: 0.99"), card.replace(f"{mean:.4f}", "0.9900")):
        assert forged != card
        zoo_hub.commit("model", "alice/chunks", {"README.md": forged.encode()})
        done = zoo("--zoo", tmp_path / "other", "reproduce", "alice/chunks")
        assert done.exit_code == 1
        assert "its card and its record contradict each other" in done.stderr


def test_a_run_is_made_again_offline_from_what_is_in_the_cache(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    zoo_hub.clear()
    done = zoo("reproduce", run["id"], "--json")
    assert done.exit_code == 0, done.stderr
    assert done.json["exact"]
    assert zoo_hub.requests == []


def test_a_refusal_leaves_nothing_behind(
    zoo: Zoo, zoo_hub: LoopbackHub, run: dict[str, Any], tmp_path: Path
) -> None:
    zoo("push", run["id"], "alice/chunks")
    zoo_hub.remove("model", "me/bert")
    done = zoo("--zoo", tmp_path / "other", "reproduce", "alice/chunks")
    assert done.exit_code == 1
    assert "me/bert" in done.stderr
    assert not list((tmp_path / "other" / "reproduced").glob("*"))


def test_runs_of_earlier_versions_cannot_be_made_again(zoo: Zoo, run: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path / "home", tmp_path / "cache")
    known = store.run(run["id"])
    assert known is not None
    store.save_run(replace(known, request=None))
    done = zoo("reproduce", "latest")
    assert done.exit_code == 2
    assert "an earlier version" in done.stderr


def test_what_was_asked_for_is_part_of_a_run(run: dict[str, Any], tmp_path: Path) -> None:
    stored = Store(tmp_path / "home", tmp_path / "cache").run(run["id"])
    assert stored is not None
    assert stored.request is not None
    assert stored.request.run_id == run["id"]
    assert decode(Run, encode(stored)) == stored


# The report


def test_a_report_of_all_that_is_known(zoo: Zoo, zoo_hub: LoopbackHub, conll: str, tmp_path: Path) -> None:
    zoo("add", "roberta-base", "me/bert")
    zoo("rank", "-t", "conll2000")
    zoo("tune", "-t", "conll2000", "me/bert", *QUICK)
    zoo_hub.clear()
    path = tmp_path / "zoo.html"
    done = zoo("report", "-o", path, "--json")
    assert done.exit_code == 0, done.stderr
    assert done.json["holds"] == {
        "covariance": False,
        "selection": False,
        "ranking": True,
        "runs": True,
        "comparison": False,
    }
    text = path.read_text(encoding="utf-8")
    assert "me/bert" in text
    assert conll in text
    assert zoo_hub.requests == [], "it asks no network"
    assert zoo("report", "-t", "conll2000", "-o", path).exit_code == 0
    unknown = zoo("report", "-t", "other", "-o", path)
    assert unknown.exit_code == 1
    assert "zoo rank --target other" in unknown.stderr


def test_a_report_is_about_the_latest_ranking(
    zoo: Zoo, zoo_hub: LoopbackHub, conll: str, target_folder: Path, tmp_path: Path
) -> None:
    zoo("add", "me/bert")
    zoo("rank", "-t", "conll2000", "--save", "first")
    done = zoo("rank", "-t", target_folder)
    assert done.exit_code == 0, done.stderr
    zoo("report", "-o", tmp_path / "zoo.html")
    assert conll not in (tmp_path / "zoo.html").read_text(encoding="utf-8")
    tuned = zoo("tune", "-t", "conll2000", "me/bert", *QUICK, "--json").json
    other = zoo("report", "-o", tmp_path / "other.html", "-t", target_folder, "--run", tuned["id"])
    assert other.exit_code == 2
    assert "is of conll2000" in other.stderr
    assert not (tmp_path / "other.html").exists()


def test_a_report_of_nothing_says_what_to_do(zoo: Zoo, tmp_path: Path) -> None:
    done = zoo("report", "-o", tmp_path / "zoo.html")
    assert done.exit_code == 1
    assert "zoo add" in done.stderr
    assert not (tmp_path / "zoo.html").exists()


def test_a_trial_without_energy_is_as_it_was() -> None:
    from tests.made_up import trial

    before = json.loads(encode(trial()))
    del before["energy"]
    assert decode(Trial, before) == trial()
