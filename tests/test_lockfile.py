"""A zoo as a file: the same zoo the same text, taken over without a network, and believed in nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Zoo
from hypothesis import given
from hypothesis import strategies as st
from loopback import LoopbackHub

from zookeeper import lockfile
from zookeeper.errors import DataError, UsageError, ZooError
from zookeeper.lockfile import Lock
from zookeeper.records import Checkpoint, Dataset, RepoFile, Revision
from zookeeper.store import Store

SHA256 = "sha256:" + "0" * 64


def pinned(repo_id: str = "org/bert", commit: str = "a" * 40, **said: Any) -> Checkpoint:
    names = ("config.json", "model.safetensors", "tokenizer.json")
    files = tuple(RepoFile(name, 10 + n, SHA256) for n, name in enumerate(names))
    return Checkpoint(**{"revision": Revision(repo_id, "main", commit), "files": files, **said})


def entry_of(checkpoint: Checkpoint) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(Lock("0", (checkpoint,)).text)["checkpoints"][0]
    return entry


def lock_of(*entries: Any, **said: Any) -> str:
    return json.dumps({"schema": lockfile.SCHEMA, "zoo": "0", "checkpoints": list(entries)} | said)


# The text


def test_the_same_pins_are_the_same_text_in_whatever_order() -> None:
    some = [pinned(f"org/model-{n}", f"{n:040x}", aliases=("b", "a")) for n in range(12)]
    text = Lock("0", tuple(some)).text
    shuffled = [replace(one, files=one.files[::-1], aliases=one.aliases[::-1]) for one in some[::-1]]
    assert Lock("0", tuple(shuffled)).text == text
    assert lockfile.read(text).checkpoints[3].revision.repo_id == "org/model-11"


def test_another_file_is_another_line() -> None:
    before = Lock("0", (pinned(), pinned("org/gpt"))).text.splitlines()
    files = (*pinned().files[:2], RepoFile("tokenizer.json", 12, "git:" + "1" * 40))
    after = Lock("0", (pinned(files=files), pinned("org/gpt"))).text.splitlines()
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [
        (
            f'    {{"path": "tokenizer.json", "size": 12, "digest": "{SHA256}"}}',
            f'    {{"path": "tokenizer.json", "size": 12, "digest": "git:{"1" * 40}"}}',
        )
    ]


def test_when_something_was_added_is_in_no_lock() -> None:
    assert Lock("0", (pinned(added_at="2026-01-01"),)).text == Lock("0", (pinned(),)).text


def test_what_there_is_nothing_to_say_of_takes_no_line() -> None:
    text = Lock("0", (pinned(aliases=("b", "a"), tags=("z", "y")),)).text
    entry = json.loads(text)["checkpoints"][0]
    assert list(entry)[-1] == "files", "the longest comes last"
    assert entry.keys() == {"repo_id", "asked", "commit", "aliases", "tags", "files"}
    assert (entry["aliases"], entry["tags"]) == (["a", "b"], ["y", "z"])


def test_folders_of_the_machine_that_wrote_it_are_known() -> None:
    folder = pinned("/home/me/mine")
    assert lockfile.read(Lock("0", (pinned(), folder)).text).folders == (folder,)


def test_an_editor_that_puts_a_mark_before_a_text_does_no_harm() -> None:
    text = Lock("0", (pinned(),)).text
    assert lockfile.is_lock(f"\ufeff{text}")
    assert lockfile.read(f"\ufeff{text}") == lockfile.read(text)
    assert not lockfile.is_lock("\ufefforg/bert\n")
    assert lockfile.names_of("\ufefforg/bert\n") == ["org/bert"]


def test_what_is_read_is_what_was_written() -> None:
    whole = pinned(
        architecture="BertModel",
        model_type="bert",
        parameters=7,
        repo_bytes=99,
        tokenizer="tokenizer.json",
        license="mit",
        base_models=("org/parent",),
        tags=("base_model:finetune:org/parent",),
        gated=True,
        aliases=("bert", "org/bert@v1.0"),
    )
    dataset = Dataset(
        Revision("org/data", "refs/convert/parquet", "b" * 40),
        (RepoFile("default/train/0.parquet", 3, SHA256),),
        {"default": {"train": ("default/train/*.parquet",)}},
    )
    assert lockfile.read(Lock("1", (whole,), (dataset,)).text) == Lock("1", (whole,), (dataset,))


# Nothing in it is believed


def _change(**said: Any) -> Callable[[], str]:
    return lambda: lock_of(entry_of(pinned("org/good")), entry_of(pinned()) | said)


def _file(**said: Any) -> Callable[[], str]:
    files = entry_of(pinned())["files"]
    return _change(files=[*files[1:], files[0] | said])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (_change(commit="main"), "40 hex digits"),
        (_change(commit=None), ""),
        (_change(repo_id="org/../etc"), "name"),
        (_change(repo_id="org/bert/more"), "name"),
        (_change(repo_id="org/be\u202ert"), "show"),
        (_change(repo_id="../../etc"), "whole path"),
        (_change(asked="a..b"), "asked for"),
        (_change(files=entry_of(pinned())["files"] * 2), "twice"),
        (_change(aliases=["../x"]), "call it"),
        (_change(license="x" * 20_000), "too long"),
        (_change(parameters=-1), "less than"),
        (_change(tags="many"), ""),
        (_file(path="../config.json"), "no file"),
        (_file(path="/etc/passwd"), "no file"),
        (_file(path="pytorch_model.bin"), "does not take"),
        (_file(path="modeling.py"), "does not take"),
        (_file(size=-1), "size"),
        (_file(size="many"), ""),
        (_file(digest="sha256:" + "g" * 64), "digest"),
        (_file(digest="md5:" + "0" * 32), "digest"),
    ],
)
def test_an_entry_that_cannot_be_a_pin_is_named(text: Callable[[], str], why: str) -> None:
    with pytest.raises(DataError, match="checkpoint 2 of the lock") as refused:
        lockfile.read(text())
    assert why in str(refused.value.why)


@pytest.mark.parametrize("path", ["/etc/passwd", "../../key", "a/../../key"])
def test_no_file_of_a_folder_lies_elsewhere(path: str) -> None:
    entry = entry_of(pinned("/home/me/mine")) | {"asked": "folder", "aliases": []}
    assert lockfile.read(lock_of(entry)).folders
    entry["files"][0]["path"] = path
    with pytest.raises(DataError) as refused:
        lockfile.read(lock_of(entry))
    assert "no file of a repository" in str(refused.value.why)


def test_a_refusal_says_which_entry_by_number_and_name() -> None:
    bad = [entry_of(pinned()) | {"parameters": -1}, "me/bert"]
    for entries, name, why in ((bad, "org/bert", "it has less than no"), (bad[1:], "me/bert", "no object")):
        with pytest.raises(DataError) as refused:
            lockfile.read(lock_of(*entries))
        assert refused.value.message == f'checkpoint 1 of the lock, "{name}", is no pin.'
        assert why in str(refused.value.why)
    with pytest.raises(DataError) as refused:
        lockfile.read(lock_of(schema="zoo.lock/2"))
    assert '"zoo.lock/2"' in str(refused.value.why)
    with pytest.raises(DataError) as refused:
        lockfile.read(_change(files=[*bad[0]["files"], *_odd("adapter.py", "modeling.py")])())
    assert '"adapter.py"' in str(refused.value.why)
    assert "modeling.py" not in str(refused.value.why)


def _odd(*names: str) -> list[dict[str, Any]]:
    return [{"path": name, "size": 1, "digest": SHA256} for name in names]


def test_why_it_cannot_be_read_is_for_this_zoo_to_say() -> None:
    weightless = entry_of(pinned())
    del weightless["files"][1]
    said = weightless | {"problem": "it is too large"}
    once, twice = lockfile.read(lock_of(weightless, said | {"repo_id": "org/other"})).checkpoints
    assert "weights" in str(once.problem)
    assert twice.problem == "it is too large"


def test_when_it_was_added_elsewhere_is_not_taken_over() -> None:
    (found,) = lockfile.read(lock_of(entry_of(pinned()) | {"added_at": "2026-01-01"})).checkpoints
    assert found.added_at == ""


DATA = Dataset(Revision("org/data", "main", "b" * 40), (), {})
BIG = RepoFile("x" * 300, 1 << 50, SHA256)


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        (replace(DATA, files=(BIG, replace(BIG, path="empty", size=0))), None),
        (replace(DATA, files=(replace(BIG, path="x" * 301),)), "no file of a repository"),
        (replace(DATA, files=(replace(BIG, size=BIG.size + 1),)), "no such size"),
        (replace(DATA, files=(replace(BIG, path="./config.json"),)), "no file of a repository"),
        (replace(DATA, files=(replace(BIG, path="a\\b"),)), "no file of a repository"),
        (replace(DATA, files=(BIG,) * 100_000), "a file twice"),
        (replace(DATA, files=(BIG,) * 100_001), "too many files"),
        (replace(DATA, revision=Revision("/home/me/data", "folder", "b" * 40)), "no folder"),
        (replace(DATA, revision=replace(DATA.revision, asked="v" * 300)), None),
        (replace(DATA, revision=replace(DATA.revision, asked="v" * 301)), "asked for"),
        (pinned(license="x" * 10_000, problem="x" * 10_000), None),
        (pinned(problem="x" * 10_001), "too long"),
        (pinned(tags=("x" * 10_001,)), "too long"),
        (pinned(base_models=("org/parent", "x" * 10_001)), "too long"),
        (pinned(parameters=0, repo_bytes=0), None),
        (pinned(repo_bytes=-1), "less than no"),
    ],
)
def test_what_is_pinned_has_the_size_of_something_real(pin: Checkpoint | Dataset, why: str | None) -> None:
    if why is None:
        lockfile.check(pin)
        return
    with pytest.raises(DataError, match=why):
        lockfile.check(pin)


def test_a_lock_has_a_hundred_thousand_entries_at_most() -> None:
    with pytest.raises(DataError) as refused:
        lockfile.read(lock_of(*[0] * 100_001))
    assert "more than 100,000" in str(refused.value.why)
    with pytest.raises(DataError, match="checkpoint 1 of the lock"):
        lockfile.read(lock_of(*[0] * 100_000))


def test_a_dataset_is_looked_at_too() -> None:
    odd = {"repo_id": "org/data", "asked": "main", "commit": "b" * 40, "files": [{}]}
    with pytest.raises(DataError, match=r"^dataset 1 of the lock"):
        lockfile.read(lock_of(datasets=[odd]))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"schema": "zoo.lock/2", "checkpoints": []}',
        '{"schema": "zoo.lock/1"}',
        '{"schema": "zoo.lock/1", "checkpoints": {}}',
        '{"schema": "zoo.lock/1", "checkpoints": [[]]}',
        '{"a":' * 100_000,
    ],
)
def test_what_is_no_lock_is_refused(text: str) -> None:
    assert lockfile.is_lock(text)
    with pytest.raises(DataError):
        lockfile.read(text)


def test_nothing_goes_by_the_name_of_another_entry() -> None:
    thief = pinned("evil/bert", "c" * 40, aliases=("org/bert",))
    with pytest.raises(DataError) as refused:
        lockfile.read(Lock("0", (pinned(), thief)).text)
    assert "goes by the name" in str(refused.value.why)
    with pytest.raises(DataError):
        lockfile.read(lock_of(entry_of(pinned()), entry_of(pinned())))


@given(
    st.text(max_size=60).map(lambda text: "{" + text)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["repo_id", "commit", "asked", "files", "aliases", "path", "size", "digest"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    ).map(lambda value: lock_of(value))
)
def test_whatever_it_holds_only_our_errors_leave(text: str) -> None:
    with pytest.raises(ZooError):
        lockfile.read(text)


def test_a_list_of_names_may_have_comments() -> None:
    assert lockfile.names_of("# mine\na/b  # the one\n\nc@v1 a/b\n") == ["a/b", "c@v1"]
    with pytest.raises(UsageError):
        lockfile.names_of("# nothing\n")
    many = [f"m{n}" for n in range(100_000)]
    assert lockfile.names_of("\n".join(many)) == many
    with pytest.raises(DataError, match="more than 100,000"):
        lockfile.names_of("\n".join([*many, "one-more"]))


# The commands


def test_a_zoo_is_taken_over_without_a_request_and_files_are_checked_against_it(
    zoo: Zoo, zoo_hub: LoopbackHub, tmp_path: Path, probe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", "roberta-base", "me/bert")
    there = tmp_path / "zoo.lock"
    assert zoo("freeze", "-o", there).exit_code == 0
    assert zoo("freeze").stdout == there.read_text()
    assert zoo("freeze", "--json").json["schema"] == "zoo.lock/1"
    again = zoo("freeze", "--json", "-o", tmp_path / "again.lock")
    assert again.stdout == (tmp_path / "again.lock").read_text() == there.read_text()
    listed = zoo("ls").table
    zoo_hub.clear()

    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    done = zoo("add", "-f", there)
    assert [row["STATUS"] for row in done.table] == ["added", "added"], done.stderr
    assert zoo("ls").table == [row | {"READ": "0"} for row in listed]
    assert zoo("show", "roberta-base").exit_code == 0, "aliases come too"
    assert zoo_hub.requests == []
    again = zoo("add", "-f", "-", stdin=there.read_text())
    assert [row["STATUS"] for row in again.table] == ["already there"] * 2

    forged = re.sub("sha256:....", "sha256:0000", there.read_text(), count=1)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "third"))
    zoo("add", "-f", "-", stdin=forged)
    refused = zoo("probe", "-p", probe_file)
    assert refused.exit_code == 3
    assert "not what the Hub announced" in refused.stderr


def test_another_commit_for_the_same_name_is_said_and_not_taken(
    zoo: Zoo, zoo_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", "me/bert")
    lock = zoo("freeze").stdout
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    moved = zoo_hub.commit("model", "me/bert", {"README.md": b"new"})
    zoo("add", "me/bert")
    done = zoo("add", "-f", "-", stdin=lock)
    (row,) = done.table
    assert row["COMMIT"] == moved
    assert row["STATUS"].startswith("already there; the lock has it at ")
    assert "  zoo rm me/bert\n" in done.stderr
    assert zoo("rm", "me/bert").exit_code == 0
    assert "zoo rm" not in zoo("add", "-f", "-", stdin=lock).stderr


def test_a_folder_is_taken_over_only_where_it_holds_the_same(
    zoo: Zoo, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "mine")
    zoo("add", folder)
    frozen = zoo("freeze")
    assert "folders of this machine" in frozen.stderr
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    changed = zoo("add", "-f", "-", stdin=frozen.stdout)
    assert changed.exit_code == 1
    assert "is not what it was" in changed.stderr
    assert f"fix: zoo add {folder}" in changed.stderr
    shutil.rmtree(folder)
    gone = zoo("add", "-f", "-", stdin=frozen.stdout).stderr
    assert "no folder" in gone
    assert "fix: put it there" in gone


def test_a_lock_does_not_agree_to_pickles_for_anybody(zoo: Zoo) -> None:
    files = (*pinned().files[::2], RepoFile("pytorch_model.bin", 10, SHA256))
    lock = Lock("0", (pinned(pickled=True, files=files),)).text
    refused = zoo("add", "-f", "-", stdin=lock)
    assert refused.exit_code == 1
    assert "--allow-pickle" in refused.stderr
    assert zoo("add", "-f", "-", "--allow-pickle", stdin=lock).table[0]["STATUS"] == "added"
    assert zoo("add", "-f", "-", stdin=lock).table[0]["STATUS"] == "already there", "agreed to here"


def test_no_alias_of_a_lock_takes_the_name_of_what_is_there(zoo: Zoo, zoo_hub: LoopbackHub) -> None:
    zoo("add", "me/bert")
    evil = pinned("evil/x", "c" * 40, aliases=("me/bert", "bert", "me/bert@main", "hf://me/bert", "gpt2"))
    zoo("add", "-f", "-", stdin=Lock("0", (evil,)).text)
    for name in ("me/bert", "bert", "me/bert@main", "hf://me/bert"):
        assert zoo("show", name, "--json").json["checkpoint"]["revision"]["repo_id"] == "me/bert", name
    assert zoo("show", "x").exit_code == 0
    assert zoo("show", "gpt2").exit_code == 1, "nobody who adds gpt2 later gets this one"


def test_what_two_entries_of_a_lock_call_themselves_is_the_name_of_neither(zoo: Zoo) -> None:
    some = [pinned(f"{who}/bert", who[0] * 40, aliases=("bert",)) for who in ("bad", "fair")]
    zoo("add", "-f", "-", stdin=Lock("0", tuple(some)).text)
    assert "fits 2 checkpoints" in zoo("show", "bert").stderr


def test_names_come_from_a_file_too(zoo: Zoo, zoo_hub: LoopbackHub, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("# ours\nme/bert\nroberta-base # short\n")
    assert [row["STATUS"] for row in zoo("add", "-f", names).table] == ["added"] * 2
    assert zoo("add", "-f", tmp_path / "none").exit_code == 1
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "as text" in zoo("add", "-f", tmp_path / "binary").stderr
    assert zoo("add").exit_code == 2


def test_pinned_datasets_come_with_it(
    zoo: Zoo, conll: str, zoo_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo("add", "me/bert")
    before = zoo("rank", "-t", "conll2000", "--json").json["target"]
    lock = zoo("freeze").stdout
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    zoo("add", "-f", "-", stdin=lock)
    zoo_hub.branch("dataset", "eriktks/conll2000", "refs/convert/parquet", {"moved": b""})
    assert zoo("rank", "-t", "conll2000", "--json").json["target"] == before


def test_what_no_lock_can_say_is_left_out_and_the_others_can_be_taken_over(
    zoo: Zoo, zoo_hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo_hub.add("model", "me/empty", {"README.md": b"# Nothing"})
    zoo("add", "me/bert", "me/empty")
    Store(tmp_path / "home", tmp_path / "cache").add(pinned("me/odd", license="x" * 20_000))
    frozen = zoo("freeze")
    assert "me/odd is left out: something in it is too long" in frozen.stderr
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    done = zoo("add", "-f", "-", stdin=frozen.stdout)
    assert {row["MODEL"]: row["STATUS"] for row in done.table} == {
        "me/bert": "added",
        "me/empty": "added, but it has no config.json",
    }
