"""Checkpoints in folders: pinned by what loading them takes, and refused where they cannot be loaded."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from zookeeper import layouts, local
from zookeeper.digests import digest_like
from zookeeper.errors import CheckpointError, IntegrityError, NotFoundError
from zookeeper.store import Store


@pytest.fixture
def folder(tmp_path: Path, checkpoints: dict[str, Path]) -> Path:
    """A checkpoint that may be written to."""
    return Path(shutil.copytree(checkpoints["bert"], tmp_path / "mine"))


def commit_of(folder: Path) -> str:
    return local.describe(folder).revision.commit


def append(path: Path, text: str = " ") -> None:
    with path.open("a") as file:
        file.write(text)


# What is known of a folder


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        ("bert", "BertForMaskedLM"),
        ("roberta", "RobertaForMaskedLM"),
        ("gpt2", "GPT2LMHeadModel"),
        ("t5", "T5ForConditionalGeneration"),
        ("llama", "LlamaForCausalLM"),
    ],
)
def test_a_folder_tells_what_it_is(checkpoints: dict[str, Path], family: str, architecture: str) -> None:
    found = local.describe(checkpoints[family])
    tensors = load_file(checkpoints[family] / "model.safetensors")
    assert found.parameters == sum(tensor.size for tensor in tensors.values()) > 1000
    assert (found.architecture, found.model_type) == (architecture, family)
    assert (found.tokenizer, found.problem) == ("tokenizer.json", None)
    assert found.revision.repo_id == str(checkpoints[family].resolve())
    assert found.revision.local
    assert found.name == family


def test_download_bytes_are_those_of_the_files_that_are_needed(folder: Path) -> None:
    (folder / "README.md").write_text("x" * 1000)
    found = local.describe(folder)
    assert found.repo_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert found.repo_bytes - found.download_bytes >= 1000
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.path for file in found.files}


def test_parameters_are_counted_over_all_shards_and_types(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    save_file(
        {"a": np.ones((3, 4), np.float32), "b": np.ones((), np.int64)},
        folder / "model-00001-of-00002.safetensors",
    )
    header = b'{"c":{"dtype":"BF16","shape":[5],"data_offsets":[0,10]}}'
    data = struct.pack("<Q", len(header)) + header + bytes(10)
    (folder / "model-00002-of-00002.safetensors").write_bytes(data)
    assert local.describe(folder).parameters == 12 + 1 + 5


# The pin


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_the_pin_changes_with_configuration_and_tokenizer(folder: Path, name: str) -> None:
    before = commit_of(folder)
    append(folder / name)
    assert commit_of(folder) != before


def test_the_pin_changes_with_one_weight(folder: Path) -> None:
    before, path = commit_of(folder), folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert commit_of(folder) != before


def test_the_pin_changes_with_a_file_that_is_added_or_renamed(folder: Path) -> None:
    commits = {commit_of(folder)}
    (folder / "vocab.txt").write_text("a")
    commits.add(commit_of(folder))
    (folder / "vocab.txt").rename(folder / "merges.txt")
    commits.add(commit_of(folder))
    assert len(commits) == 3


def test_the_pin_stays_with_what_loading_does_not_take(folder: Path) -> None:
    before = commit_of(folder)
    (folder / "README.md").write_text("new")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "sub").mkdir()
    shutil.copy(folder / "config.json", folder / "sub")
    os.utime(folder / "config.json", (0, 0))
    assert commit_of(folder) == before


def test_the_pin_is_of_the_content_and_not_of_the_place(folder: Path) -> None:
    before = commit_of(folder)
    assert commit_of(folder.rename(folder.with_name("elsewhere"))) == before


def test_a_link_to_a_file_within_is_that_file(folder: Path) -> None:
    before = local.describe(folder)
    (folder / "blobs").mkdir()
    blob = (folder / "model.safetensors").rename(folder / "blobs" / "1")
    (folder / "model.safetensors").symlink_to(blob)
    linked = local.describe(folder)
    assert linked == before
    assert local.fetch(linked) == folder
    blob.write_bytes(blob.read_bytes() + b"x")
    with pytest.raises(IntegrityError):
        local.fetch(linked)


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model-00001-of-00001.safetensors"])
def test_a_link_that_leads_out_is_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    with pytest.raises(CheckpointError, match=name) as caught:
        local.describe(folder)
    assert "leads out" in caught.value.message


@pytest.mark.parametrize("blobs", ["models--me--bert/blobs", "blobs"])
def test_links_of_the_hubs_cache_lead_to_its_blobs(
    checkpoints: dict[str, Path], tmp_path: Path, blobs: str
) -> None:
    snapshot = tmp_path / "models--me--bert" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / blobs).mkdir(parents=True)
    for number, path in enumerate(checkpoints["bert"].iterdir()):
        blob = Path(shutil.copy(path, tmp_path / blobs / str(number)))
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    assert commit_of(snapshot) == commit_of(checkpoints["bert"])
    assert local.fetch(local.describe(snapshot)) == snapshot


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_a_folder_and_a_loop_are_no_files(folder: Path, name: str) -> None:
    found, path = local.describe(folder), folder / name
    path.unlink()
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)):
        make(path)
        assert local.describe(folder).problem
        with pytest.raises(IntegrityError):
            local.fetch(found)
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_link_to_nowhere_is_no_file(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("nowhere")
    assert local.describe(folder).problem == "it has no safetensors weights"


# Fetching is looking again


def test_what_did_not_change_is_served_and_its_bytes_are_counted(folder: Path) -> None:
    found, read = local.describe(folder), []
    assert local.fetch(found, advance=read.append) == folder
    assert sum(read) == found.download_bytes


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("change", [append, Path.unlink], ids=["changed", "gone"])
def test_what_changed_after_it_was_added_is_refused(
    folder: Path, name: str, change: Callable[[Path], None]
) -> None:
    found = local.describe(folder)
    change(folder / name)
    with pytest.raises(IntegrityError, match="changed since it was added") as caught:
        local.fetch(found)
    assert name in caught.value.message
    assert str(caught.value.fix).startswith(f"zoo add {folder}")


def test_a_change_of_the_same_size_and_time_is_seen(folder: Path) -> None:
    found, path = local.describe(folder), folder / "model.safetensors"
    times = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(IntegrityError):
        local.fetch(found)


def test_a_folder_that_is_gone_is_refused(folder: Path) -> None:
    found = local.describe(folder)
    shutil.rmtree(folder)
    with pytest.raises(IntegrityError) as caught:
        local.fetch(found)
    assert "is no longer there" in caught.value.message
    assert "zoo rm" in str(caught.value.fix)


# What cannot be loaded


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(NotFoundError, match=name):
            local.describe(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b"{" * 10, b"[" * 100_000, b'{"a":' * 100_000]
)
def test_a_broken_configuration_is_named(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read") as caught:
        local.describe(folder)
    assert caught.value.why


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": [], "model_type": None},
        {"architectures": [1], "model_type": 5},
        {"architectures": "Bert", "model_type": ["bert"]},
        {"architectures": {"a": 1}, "model_type": {"bert": 1}},
        {"architectures": ["\ud800"], "model_type": "a\x1b[31m"},
    ],
)
def test_a_configuration_without_names_does_no_harm(
    folder: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    found = local.describe(folder)
    assert (found.architecture, found.model_type) == (None, None)
    Store(tmp_path / "home", tmp_path / "cache").add(found)
    assert Store(tmp_path / "home", tmp_path / "cache").checkpoints() == (found,)


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_truncated_weights_are_named(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    os.truncate(path, length if length >= 0 else path.stat().st_size + length)
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read") as caught:
        local.describe(folder)
    assert caught.value.why


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        (["config.json"], "it has no config.json"),
        (["model.safetensors"], "it has no safetensors weights"),
        (["tokenizer.json"], "it has no tokenizer"),
        (["config.json", "model.safetensors", "tokenizer.json"], "it has no config.json"),
    ],
)
def test_what_is_missing_is_known_before_anything_is_loaded(
    folder: Path, missing: list[str], problem: str
) -> None:
    for name in missing:
        (folder / name).unlink()
    assert local.describe(folder).problem == problem


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "weights.pkl"])
def test_pickles_alone_are_refused_for_what_they_are(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    found = local.describe(folder)
    assert "can run code" in str(found.problem)
    assert found.parameters is None
    assert name not in [file.path for file in found.files]


def test_pickles_beside_safetensors_do_not_matter(folder: Path) -> None:
    before = local.describe(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    for agreed in (False, True):
        assert local.describe(folder, pickles=agreed).files == before.files
        assert not local.describe(folder, pickles=agreed).pickled


@pytest.mark.parametrize(
    "names", [["pytorch_model.bin"], [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]]
)
def test_pickles_that_are_agreed_to_are_pinned(folder: Path, names: list[str]) -> None:
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).write_bytes(b"pickle")
    found = local.describe(folder, pickles=True)
    assert found.pickled
    assert found.problem is None
    assert set(names) <= {file.path for file in found.files}
    assert local.fetch(found) == folder
    (folder / names[0]).write_bytes(b"Pickle")
    with pytest.raises(IntegrityError, match=names[0]):
        local.fetch(found)


def test_agreeing_to_pickles_agrees_to_no_others(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.pt")
    found = local.describe(folder, pickles=True)
    assert "can run code" in str(found.problem)
    assert not found.pickled


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_file_that_may_not_be_read_is_named(folder: Path) -> None:
    (folder / "config.json").chmod(0)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        local.describe(folder)


# Layouts

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "../model.safetensors",
        "/etc/passwd",
        "sub/model.safetensors",
        "model-00003-of-00003.safetensors",
        "MODEL.safetensors",
        "model.safetensors\n",
        "",
    ],
)
def test_a_shard_index_may_name_nothing_but_shards_that_are_there(name: str) -> None:
    present = [*SHARDS, "pytorch_model.bin", "config.json"]
    assert layouts.unknown_shards([*SHARDS, name, SHARDS[0]], present) == [name]
    assert layouts.unknown_shards(SHARDS, present) == []


def test_only_what_loading_takes_is_needed() -> None:
    paths = [*SHARDS, "model.safetensors.index.json", "config.json", "vocab.json", "merges.txt"]
    other = ["README.md", "modeling_x.py", "pytorch_model.bin", "sub/config.json", "adapter_config.json"]
    other += ["adapter_model.safetensors", "model.safetensors.bak", "tf_model.h5", "training_args.bin"]
    assert layouts.needed([*other, *paths]) == sorted(paths)


@pytest.mark.parametrize(
    ("paths", "tokenizer"),
    [
        (["vocab.txt", "tokenizer.json"], "tokenizer.json"),
        (["vocab.txt", "tokenizer_config.json"], "vocab.txt"),
        (["spiece.model"], "spiece.model"),
        (["vocab.json", "merges.txt"], "vocab.json"),
        (["tokenizer_config.json", "special_tokens_map.json"], None),
    ],
)
def test_the_most_telling_file_defines_the_tokenizer(paths: list[str], tokenizer: str | None) -> None:
    assert layouts.tokenizer_of(paths) == tokenizer


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
        (b"what is up, doc?", "bd9dbf5aae1a3862dd1526723246b20206e5fc37"),  # of the book Pro Git
    ],
)
def test_blobs_are_named_as_git_names_them(data: bytes, name: str) -> None:
    assert digest_like("git:", data) == f"git:{name}"
