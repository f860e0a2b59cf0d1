"""The whole line against a Hub on this machine: add, probe, rank, tune, push."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from conftest import Zoo
from huggingface_hub import ModelCard
from loopback import READ_TOKEN, LoopbackHub, User, read_folder
from safetensors.numpy import load
from tiny import TEXT

from zookeeper import probes, texts
from zookeeper.registry import Registry

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


@pytest.fixture
def wikitext(zoo_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The dataset of the named probe, pinned to its commit on the loopback Hub."""
    path = tmp_path / "wiki.parquet"
    datasets.Dataset.from_dict({"text": ["", "too short", *TEXT]}).to_parquet(path)
    name = "wikitext-2-v1/train-00000-of-00001.parquet"
    commit = zoo_hub.add("dataset", "Salesforce/wikitext", {name: path.read_bytes()})
    probe = replace(probes.PROBES["wikitext2"], commit=commit)
    monkeypatch.setattr(texts, "PROBES", Registry("probe", "none", {"wikitext2": probe}))
    return commit


def test_add_pins_the_canonical_name_and_downloads_no_weights(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    done = zoo("add", "roberta-base", "me/bert")
    assert done.exit_code == 0
    rows = done.table
    assert [row["MODEL"] for row in rows] == ["FacebookAI/roberta-base", "me/bert"]
    assert rows[0]["COMMIT"] == zoo_hub.sha("model", "FacebookAI/roberta-base")
    assert not [r for r in zoo_hub.requests if "safetensors" in r.path]
    found = zoo("show", "bert", "--json").json["checkpoint"]
    assert (found["license"], found["base_models"]) == ("mit", ["some/parent"])
    assert found["parameters"] > 1000
    assert [f["path"] for f in found["files"] if f["path"].endswith(".bin")] == []
    assert zoo("show", "roberta-base").exit_code == 0, "the name that was typed still works"


def test_names_come_from_standard_input_too(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    assert len(zoo("add", "-", stdin="roberta-base\nme/bert\n").table) == 2


def test_adding_again_changes_nothing_and_says_when_main_moved(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    first = zoo("add", "me/bert").table[0]["COMMIT"]
    assert zoo("add", "me/bert").table[0]["STATUS"] == "already there"
    moved = zoo_hub.commit("model", "me/bert", {"README.md": b"new"})
    row = zoo("add", "me/bert").table[0]
    assert row["COMMIT"] == first
    assert moved[:8] in row["STATUS"]
    assert zoo("add", f"me/bert@{moved}").table[0]["STATUS"] == "added"
    assert len(zoo("ls").table) == 2
    zoo_hub.remove("model", "me/bert")
    assert zoo("add", f"me/bert@{first}").table[0]["STATUS"] == "already there"
    ambiguous = zoo("show", "me/bert")
    assert ambiguous.exit_code == 2
    assert first[:8] in ambiguous.stderr
    assert zoo("show", f"me/bert@{first[:8]}").exit_code == 0


def test_a_folder_that_is_named_like_a_repository_is_pointed_at(
    zoo: Zoo, zoo_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert "fix: for the folder: zoo add ./mine\n" in zoo("add", "mine").stderr
    assert "fix: zoo add ./mine\n" in zoo("show", "mine").stderr
    assert "fix: zoo add ./mine\n" in zoo("add", "./mine@main").stderr


def test_probe_reads_the_pinned_commit_after_main_moved(
    zoo: Zoo, zoo_hub: LoopbackHub, checkpoints: dict[str, Path], probe_file: Path
) -> None:
    zoo("add", "me/bert")
    before = zoo("add", str(checkpoints["bert"])).exit_code
    zoo_hub.commit("model", "me/bert", {"model.safetensors": b"something else"})
    done = zoo("probe", "-p", probe_file)
    assert (before, done.exit_code) == (0, 0), done.stderr
    kappa = zoo("covariance", "--json").json
    assert kappa["matrix"][0][1] == pytest.approx(1.0, abs=1e-9), "the old weights, as in the folder"


def test_a_second_probe_asks_and_computes_nothing(
    zoo: Zoo, zoo_hub: LoopbackHub, wikitext: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", "roberta-base", "me/bert")
    first = zoo("probe", "--max-words", "100")
    assert [row["STATUS"] for row in first.table] == ["done", "done"], first.stderr
    assert {row["ROWS"] for row in first.table} == {"100"}
    zoo_hub.clear()
    monkeypatch.setattr("zookeeper.worker.read", None)
    second = zoo("probe", "--max-words", "100")
    assert [row["STATUS"] for row in second.table] == ["already there"] * 2
    assert zoo_hub.requests == []


def test_everything_after_the_first_probe_works_offline(
    zoo: Zoo, zoo_hub: LoopbackHub, wikitext: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", "roberta-base", "me/bert")
    zoo("probe", "--max-words", "100")
    zoo_hub.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for command in (
        ("ls",),
        ("probe", "--max-words", "100"),
        ("covariance",),
        ("select", "-k", "1"),
        ("verify",),
    ):
        done = zoo(*command)
        assert done.exit_code == 0, done.stderr
    assert zoo("add", "me/bert").table[0]["STATUS"] == "already there"
    other = zoo("add", "me/gpt2")
    assert other.exit_code == 5
    assert "HF_HUB_OFFLINE" in other.stderr
    assert zoo_hub.requests == []


def test_rank_reads_the_parquet_branch_of_a_scripted_dataset(
    zoo: Zoo, zoo_hub: LoopbackHub, conll: str
) -> None:
    zoo("add", "roberta-base", "me/bert")
    for target in ("conll2000", "eriktks/conll2000"):
        options = () if target == "conll2000" else ("--label-column", "chunk_tags")
        done = zoo("rank", "--target", target, *options, "--json")
        assert done.exit_code == 0, done.stderr
        ranking = done.json
        assert ranking["schema"] == "zoo.rank/1"
        assert ranking["target"]["commit"] == conll
        assert ranking["target"]["classes"] == ["O", "B-NP", "I-NP"]
        assert list(ranking["target"]["examples"]) == ["train"], "no other split was read"
        values = [score["estimates"]["logme"]["value"] for score in ranking["scores"]]
        assert values == sorted(values, reverse=True)


def test_the_dataset_stays_at_the_commit_where_the_zoo_met_it(
    zoo: Zoo, zoo_hub: LoopbackHub, conll: str
) -> None:
    zoo("add", "me/bert")
    first = zoo("rank", "-t", "conll2000", "--json").json
    zoo_hub.branch(
        "dataset", "eriktks/conll2000", "refs/convert/parquet", {"conll2000/train/0000.parquet": b"moved"}
    )
    zoo_hub.clear()
    again = zoo("rank", "-t", "conll2000", "--json").json
    assert again["target"] == first["target"]
    assert zoo_hub.requests == []


def test_any_dataset_of_the_hub_is_a_target(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    table = "text,label\n" + "".join(f"tiger {i} {w},{w}\n" for i in range(9) for w in ("good", "bad"))
    card = (
        "---\nconfigs:\n- config_name: one\n  data_files: one/train.csv\n"
        "- config_name: two\n  data_files: two/train.csv\n---\n"
    )
    commit = zoo_hub.add(
        "dataset",
        "me/mood",
        {"one/train.csv": table.encode(), "two/train.csv": b"x\n1\n", "README.md": card.encode()},
    )
    zoo("add", "me/bert")
    unclear = zoo("rank", "-t", "me/mood")
    assert unclear.exit_code == 1
    assert "--config" in unclear.stderr
    done = zoo("rank", "-t", "me/mood", "--config", "one", "--json")
    assert done.exit_code == 0, done.stderr
    target = done.json["target"]
    assert (target["commit"], target["classes"], target["task"]) == (
        commit,
        ["bad", "good"],
        "text-classification",
    )
    missing = zoo("rank", "-t", "me/none")
    assert missing.exit_code == 1
    assert 'no dataset "me/none"' in missing.stderr


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../secret.csv", "http://127.0.0.1:9/x.csv", "hf://datasets/a/b"]
)
def test_a_card_cannot_name_files_of_this_machine(zoo: Zoo, zoo_hub: LoopbackHub, path: str) -> None:
    card = f"---\nconfigs:\n- config_name: default\n  data_files: '{path}'\n---\n"
    zoo_hub.add("dataset", "evil/data", {"README.md": card.encode()})
    zoo("add", "me/bert")
    done = zoo("rank", "-t", "evil/data")
    assert done.exit_code == 1
    assert "no data that zoo can read" in done.stderr


def test_only_the_files_of_the_split_are_fetched(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    lines = [f"tiger {i} {w},{w}\n" for i in range(9) for w in ("good", "bad")]
    table = ("text,label\n" + "".join(lines)).encode()
    zoo_hub.add("dataset", "me/splits", {f"data/{s}-0.csv": table for s in ("train", "validation", "test")})
    zoo("add", "me/bert")
    zoo_hub.clear()
    assert zoo("rank", "-t", "me/splits").exit_code == 0
    fetched = {r.path.split("/")[-1] for r in zoo_hub.requests if "/datasets/me/splits/resolve" in r.path}
    assert fetched == {"train-0.csv"}


def test_push_writes_card_head_and_record_in_one_commit(zoo: Zoo, zoo_hub: LoopbackHub, conll: str) -> None:
    zoo("add", "roberta-base", "me/bert")
    run = zoo("tune", "-t", "conll2000", "roberta-base", "me/bert", "--test", "--json").json
    zoo_hub.clear()
    plan = zoo("push", run["id"], "alice/chunks", "--dry-run", "--json").json
    assert (plan["created"], plan["dry_run"]) == (True, True)
    assert not [r for r in zoo_hub.requests if r.method not in ("GET", "HEAD")], "a dry run writes nothing"
    done = zoo("push", run["id"], "alice/chunks", "--json")
    assert done.exit_code == 0, done.stderr
    files = zoo_hub.files("model", "alice/chunks")
    assert {"README.md", "head.safetensors", "run.json"} <= set(files)
    assert len([r for r in zoo_hub.requests if r.method == "POST" and "/commit/" in r.path]) == 1
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == ["FacebookAI/roberta-base", "me/bert"]
    assert card.data.datasets == ["eriktks/conll2000"]
    result = next(r for r in card.data.eval_results if r.dataset_split == "test")
    assert result.metric_value == pytest.approx(run["results"]["test"]["mean"], abs=1e-6)
    assert result.dataset_revision == conll
    head = load(files["head.safetensors"])
    assert (head["head.weight"].shape, head["head.bias"].shape) == ((3, 32), (3,))
    again = zoo("push", run["id"], "alice/chunks", "--dry-run", "--json").json
    assert (again["created"], again["diff"]) == (False, ""), "nothing would change"


@pytest.mark.parametrize("readme", [b"---\nfoo: [\n---\nmine", b"---\n- a\n---\nmine"])
def test_push_never_replaces_a_card_that_it_cannot_read(
    zoo: Zoo, zoo_hub: LoopbackHub, conll: str, readme: bytes
) -> None:
    zoo_hub.add("model", "alice/mine", {"README.md": readme})
    zoo("add", "me/bert")
    run = zoo("tune", "-t", "conll2000", "me/bert", "--json").json["id"]
    done = zoo("push", run, "alice/mine", "--dry-run")
    assert done.exit_code == 1, done.stderr
    assert "alice/mine" in done.stderr
    assert "metadata of the card cannot be read" in done.stderr


def test_push_needs_a_token_that_may_write(
    zoo: Zoo, zoo_hub: LoopbackHub, conll: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", "me/bert")
    run = zoo("tune", "-t", "conll2000", "me/bert", "--json").json["id"]
    for token, words in ((READ_TOKEN, "may read only"), ("hf_expired", "invalid or expired")):
        monkeypatch.setenv("HF_TOKEN", token)
        done = zoo("push", run, "alice/chunks")
        assert done.exit_code == 4
        assert words in done.stderr
        assert "hf auth login" in done.stderr
    zoo_hub.tokens["hf_other"] = User("carol")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    done = zoo("push", run, "alice/chunks")
    assert done.exit_code == 4
    assert "alice/chunks is not yours" in done.stderr


def test_the_token_is_in_nothing_that_is_written(
    zoo: Zoo, zoo_hub: LoopbackHub, conll: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "hf_canaryCanaryCanaryCanary"
    zoo_hub.tokens[token] = User("alice")
    monkeypatch.setenv("HF_TOKEN", token)
    said = ""
    zoo("add", "me/bert")
    run = zoo("tune", "-t", "conll2000", "me/bert", "--json").json["id"]
    zoo_hub.fail(500, "whoami", times=None)
    monkeypatch.setattr("zookeeper.hub.client.ATTEMPTS", 1)
    for command in (("push", run, "alice/x"), ("show", "me/bert"), ("card", run), ("runs",)):
        done = zoo(*command)
        said += done.stdout + done.stderr
    zoo_hub.recover()
    zoo("push", run, "alice/x")
    assert token not in said
    written = [p for folder in ("home", "cache") for p in (tmp_path / folder).rglob("*") if p.is_file()]
    assert len(written) > 5
    assert not [p for p in written if token.encode() in p.read_bytes()]
    assert not [name for name, data in zoo_hub.files("model", "alice/x").items() if token.encode() in data]


@pytest.mark.parametrize(
    ("status", "headers", "exit_code", "words"),
    [
        (401, {}, 4, "token"),
        (403, {"X-Error-Code": "GatedRepo"}, 4, "access must be granted"),
        (403, {}, 4, "you may not"),
        (404, {"X-Error-Code": "RepoNotFound"}, 1, "no model"),
        (404, {"X-Error-Code": "RevisionNotFound"}, 1, "no such revision"),
        (429, {"Retry-After": "7"}, 5, "slow down"),
        (500, {}, 5, "500"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_right_exit_code(
    zoo: Zoo,
    zoo_hub: LoopbackHub,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
    exit_code: int,
    words: str,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("zookeeper.hub.client.sleep", waits.append)
    zoo_hub.fail(status, "api/models", times=None, headers=headers)
    done = zoo("add", "me/bert")
    assert done.exit_code == exit_code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    busy = status in (429, 500)
    assert len(zoo_hub.requests) == (4 if busy else 1), "only a busy Hub is asked again"
    assert waits == ([7.0] * 3 if status == 429 else [1.0, 2.0, 4.0] if busy else [])


def test_a_hub_that_was_busy_for_a_moment_is_no_error(
    zoo: Zoo, zoo_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zookeeper.hub.client.sleep", lambda _: None)
    zoo_hub.fail(503, "api/models", times=2)
    assert zoo("add", "me/bert").exit_code == 0


def test_a_hub_that_is_not_there(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = zoo("add", "me/bert")
    assert done.exit_code == 5
    assert "cannot reach http://127.0.0.1:9" in done.stderr


def test_one_that_fails_does_not_keep_the_others(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    done = zoo("add", "me/bert", "me/nothing")
    assert done.exit_code == 3
    assert [row["STATUS"] for row in done.table] == ["added", "failed"]
    assert "me/nothing" in done.stderr


def test_gated_files_are_a_row_with_a_reason(
    zoo: Zoo, zoo_hub: LoopbackHub, checkpoints: dict[str, Path], probe_file: Path
) -> None:
    zoo_hub.add("model", "meta/secret", read_folder(checkpoints["llama"]), gated="manual")
    zoo("add", "me/bert", "meta/secret")
    done = zoo("probe", "-p", probe_file)
    assert done.exit_code == 3
    assert {row["MODEL"]: row["STATUS"] for row in done.table} == {"me/bert": "done", "meta/secret": "failed"}
    assert "access must be granted" in done.stderr
    assert f"{zoo_hub.url}/meta/secret," in done.stderr, "the page where to ask for it"


def test_bytes_that_are_not_the_announced_ones_are_refused(
    zoo: Zoo, zoo_hub: LoopbackHub, checkpoints: dict[str, Path], probe_file: Path
) -> None:
    zoo("add", "me/bert")
    good = read_folder(checkpoints["bert"])["model.safetensors"]
    zoo_hub.fail(200, r"resolve/.*model\.safetensors", method="GET", body=good[:-1] + b"\x00")
    done = zoo("probe", "-p", probe_file)
    assert done.exit_code == 1
    assert "not what the Hub announced" in done.stderr
    assert zoo("probe", "-p", probe_file).exit_code == 0, "the next try fetches it again"


def test_pickled_weights_are_not_even_downloaded(zoo: Zoo, zoo_hub: LoopbackHub, probe_file: Path) -> None:
    zoo_hub.add(
        "model", "me/pickle", {"config.json": b"{}", "pytorch_model.bin": b"x", "tokenizer.json": b"{}"}
    )
    assert "pickles" in zoo("add", "me/pickle").table[0]["STATUS"]
    zoo_hub.clear()
    done = zoo("probe", "-p", probe_file)
    assert done.exit_code == 1
    assert "pickles" in done.stderr
    assert zoo_hub.requests == []
