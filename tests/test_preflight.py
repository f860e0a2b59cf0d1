"""What transformers may see of a stranger's checkpoint, and what is refused before it sees anything."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import BAD, BAITED, Victim, make
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny import TEXT

from tests.extracted import extract
from zookeeper.errors import CheckpointError
from zookeeper.extract import load
from zookeeper.extract.converting import convert
from zookeeper.extract.preflight import (
    admitted,
    check_index,
    cleaned_companion,
    cleaned_config,
    cleaned_tokenizer,
)
from zookeeper.raw import files_of, parsed
from zookeeper.records import Corpus, Reading

CORPUS = Corpus(tuple(tuple(line.split()) for line in TEXT[:3]), "word")
READING = Reading(dtype="float32")

Checkpoints = dict[str, Path]


@pytest.fixture
def made(checkpoints: Checkpoints, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a hostile checkpoint of a name."""
    (tmp_path / "zoo").mkdir()
    return lambda name: make(name, checkpoints["bert"], tmp_path / "zoo", tmp_path / "canary")


@pytest.fixture
def victim(checkpoints: Checkpoints, tmp_path: Path) -> Victim:
    """A checkpoint that may be damaged."""
    return Victim(Path(shutil.copytree(checkpoints["bert"], tmp_path / "mine")), tmp_path / "canary")


def features(folder: Path) -> Any:
    return extract(folder, CORPUS, READING).features


# All of them


@pytest.mark.parametrize("name", BAD)
def test_bad_checkpoints_are_refused_with_a_reason(
    made: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = made(name)
    with pytest.raises(CheckpointError) as caught:
        features(folder)
    said = f"{caught.value.message} {caught.value.why}"
    assert caught.value.message
    assert "Traceback" not in said
    assert "weights_only" not in said
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", BAITED)
def test_bait_changes_nothing(
    made: Callable[[str], Path], checkpoints: Checkpoints, tmp_path: Path, name: str
) -> None:
    np.testing.assert_array_equal(features(made(name)), features(checkpoints["bert"]))
    assert not (tmp_path / "canary").exists()


# The door


def test_only_what_is_on_the_list_gets_in(victim: Victim) -> None:
    victim.code()
    for name in ("adapter_config.json", "chat_template.jinja", "pytorch_model.bin", "generation_config.json"):
        (victim / name).write_text("{}")
    (victim / "sub").mkdir()
    with admitted(victim.folder) as door:
        assert {path.name for path in door.folder.iterdir()} == {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        assert door.weights.elements == sum(
            t.numel() for t in load_file(victim / "model.safetensors").values()
        )
    assert not door.folder.exists()


def test_what_picks_code_does_not_get_in_at_any_depth(victim: Victim) -> None:
    bait = {
        "auto_map": {"AutoModel": "evil.Evil"},
        "_attn_implementation": "evil/kernel",
        "_attn_implementation_internal": "evil/kernel",
        "attn_implementation": "evil/kernel",
        "_experts_implementation": "evil/kernel",
        "trust_remote_code": True,
        "dtype": "load",
    }
    victim.edit(**bait, text_config={**bait, "list": [bait]})
    files = {"vocab_file": "/etc/passwd", "init_inputs": ["/etc/passwd"], "chat_template": "{{ 1 }}"}
    victim.edit("tokenizer_config.json", **files, auto_map=bait["auto_map"])
    with admitted(victim.folder) as door:
        seen = (door.folder / "config.json").read_text()
        assert json.loads(seen)["text_config"] == {"list": [{}]}
        assert not any(f'"{key}"' in seen for key in bait)
        told = json.loads((door.folder / "tokenizer_config.json").read_text())
        assert not {*files, "auto_map"} & told.keys()
        assert "tokenizer_class" in told


def test_what_was_loaded_outlives_the_door(victim: Victim, tmp_path: Path) -> None:
    loaded = load(victim.folder, READING)
    before = {name: weights.sum().item() for name, weights in loaded.model.named_parameters()}
    shutil.rmtree(victim.folder)
    assert {name: weights.sum().item() for name, weights in loaded.model.named_parameters()} == before
    assert loaded.tokenizer("tigers")["input_ids"]


def test_nothing_is_left_behind(
    made: Callable[[str], Path], checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    features(checkpoints["bert"])
    for name in ("five hundred layers", "weights that are no number", "panic"):
        with pytest.raises(CheckpointError):
            features(made(name))
    assert not list((tmp_path / "temporary").iterdir())


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(victim: Victim) -> None:
    from zookeeper.raw import content_of

    os.mkfifo(victim / "pipe")
    with pytest.raises(CheckpointError, match="no file"):
        content_of(victim / "pipe", 100, "pipe")


def test_numbers_are_named_with_their_field_and_limit() -> None:
    with pytest.raises(CheckpointError) as caught:
        cleaned_config({"model_type": "bert", "encoder": {"n_layer": 10**9}})
    assert caught.value.message == (
        "its config.json asks for 1,000,000,000 layers (n_layer); at most 512 are read."
    )


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": 16_384, "intermediate_size": 53_248, "num_hidden_layers": 126},
        {"vocab_size": 262_144, "max_position_embeddings": 10_485_760, "rope_theta": 500_000_000},
        {"d_model": 1024, "d_ff": 65_536, "num_heads": 128, "num_layers": 24},
        {"vocab_size_per_layer_input": 262_144, "hidden_size_per_layer_input": 256},
        {"id2label": {"0": "tape player"}, "label2id": {"tape player": 849, "ten layers": 900}},
        {"max_vocab": -1, "n_words": 95_000, "time_step_limit": [0.0, float("inf")]},
        {"num_local_experts": 512, "layer_norm_eps": 1e-12, "attention_window": [512] * 48},
    ],
)
def test_numbers_of_real_checkpoints_get_in(config: dict[str, Any]) -> None:
    config["model_type"] = "any"
    assert cleaned_config(config) == config


def test_labels_are_kept_where_they_are_some() -> None:
    labels = {"id2label": {str(i): f"L{i}" for i in range(1000)}, "num_labels": 1000}
    few = {"model_type": "bert", **labels}
    assert cleaned_config(few) == few
    for many in ({"num_labels": 10**8}, {"id2label": {str(i): "" for i in range(20_000)}}):
        assert cleaned_config({"model_type": "bert", **many, "label2id": {}}) == {"model_type": "bert"}


def test_an_index_names_a_thousand_shards_at_most() -> None:
    names = [f"model-{i:05d}-of-01001.safetensors" for i in range(1001)]
    index, present = {name: name for name in names}, {name: Path(name) for name in names}
    with pytest.raises(CheckpointError, match="1,001 shards"):
        check_index({"weight_map": index}, present)
    del index[names[0]]
    check_index({"weight_map": index}, present)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["model_type", "hidden_size", "num_layers", "num_labels", "id2label", "auto_map"])
            | st.text(max_size=9),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        assert isinstance(parsed(data, "config.json"), dict)
    except CheckpointError as error:
        assert error.message


@given(st.dictionaries(st.text(max_size=9), json_values, max_size=5), st.booleans())
def test_any_object_is_cleaned_or_refused(found: dict[str, Any], typed: bool) -> None:
    if typed:
        found["model_type"] = "bert"
    before = json.dumps(found)
    for clean in (cleaned_config, cleaned_tokenizer, cleaned_companion, lambda index: check_index(index, {})):
        try:
            made = clean(found)
        except CheckpointError as error:
            assert error.message
        else:
            again = clean(made or {})
            assert json.dumps(again) == json.dumps(made), "what is clean stays as it is"
            assert '"auto_map"' not in json.dumps(made) or clean is cleaned_tokenizer
    assert json.dumps(found) == before


# Pickles that were agreed to


def pickled(victim: Victim, *, name: str = "pytorch_model.bin", legacy: bool = False) -> None:
    """Have the weights as a pickle."""
    torch.save(
        load_file(victim / "model.safetensors"), victim / name, _use_new_zipfile_serialization=not legacy
    )
    (victim / "model.safetensors").unlink()


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_convert_to_the_same_features(
    victim: Victim, checkpoints: Checkpoints, tmp_path: Path, legacy: bool
) -> None:
    pickled(victim, legacy=legacy)
    (tmp_path / "into").mkdir()
    convert(victim.folder, tmp_path / "into")
    assert not list((tmp_path / "into").glob("*.bin"))
    np.testing.assert_array_equal(features(tmp_path / "into"), features(checkpoints["bert"]))


def test_pickled_shards_and_tied_weights_convert(victim: Victim, tmp_path: Path) -> None:
    weights = load_file(victim / "model.safetensors")
    (victim / "model.safetensors").unlink()
    names = sorted(weights)
    tied = {name: weights[name] for name in names[::2]}
    tied["tied"] = tied[names[0]]
    tied["view"] = weights[names[0]][:1]
    torch.save(tied | {"step": 3}, victim / "pytorch_model-00001-of-00002.bin")
    torch.save({name: weights[name] for name in names[1::2]}, victim / "pytorch_model-00002-of-00002.bin")
    (tmp_path / "into").mkdir()
    convert(victim.folder, tmp_path / "into")
    made = load_file(tmp_path / "into" / "model.safetensors")
    assert made.keys() == {*names, "tied", "view"}
    for name in names:
        assert torch.equal(made[name], weights[name])
    assert torch.equal(made["tied"], weights[names[0]])


def bomb(data: bytes) -> bytes:
    """The same zip, each entry with a long run of zeros that takes no room."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + bytes(10**6))
    return buffer.getvalue()


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        lambda v: v.evil(),
        lambda v: v.evil(_use_new_zipfile_serialization=False),
        lambda v: b"",
        lambda v: b"cos\nsystem\n(S'true'\ntR.",
        lambda v: saved([torch.ones(3)]),
        lambda v: saved({"a": torch.ones(1).expand(10**9)}),
        lambda v: saved({"a": torch.ones(3, device="meta")}),
        lambda v: saved({"a": torch.eye(3).to_sparse()}),
        lambda v: saved({3: torch.ones(3)}),
        lambda v: saved({"a": torch.ones(3)})[:-30],
        lambda v: bomb(saved({"a": torch.ones(3)})),
    ],
)
def test_pickles_of_anything_but_weights_are_refused(
    victim: Victim, tmp_path: Path, content: Callable[[Victim], bytes]
) -> None:
    victim.pickle(content(victim))
    (tmp_path / "into").mkdir()
    with pytest.raises(CheckpointError, match="converted") as caught:
        convert(victim.folder, tmp_path / "into")
    assert caught.value.why
    assert "weights_only" not in f"{caught.value.message} {caught.value.why}"
    assert not victim.canary.exists()
    assert not (tmp_path / "into" / "model.safetensors").exists()


def test_half_precision_and_double_precision_are_cast(victim: Victim, checkpoints: Checkpoints) -> None:
    weights = load_file(victim / "model.safetensors")
    save_file({name: w.double() for name, w in weights.items()}, victim / "model.safetensors")
    np.testing.assert_array_equal(features(victim.folder), features(checkpoints["bert"]))


@pytest.mark.parametrize("level", [0, 1])
def test_in_a_folder_like_one_of_the_hub_blobs_that_are_a_link_are_not_within(
    victim: Victim, tmp_path: Path, level: int
) -> None:
    snapshot = tmp_path / "taken" / "models--x" / "snapshots" / "abc"
    shutil.copytree(victim.folder, snapshot)
    vocabulary = shutil.move(snapshot / "tokenizer.json", tmp_path / "private.json")
    (snapshot / "tokenizer.json").symlink_to(vocabulary)
    (snapshot.parents[1 + level] / "blobs").symlink_to("/")
    with pytest.raises(CheckpointError, match="leads out"):
        files_of(snapshot)
    (snapshot.parents[1 + level] / "blobs").unlink()
    blobs = snapshot.parents[1 + level] / "blobs"
    blobs.mkdir()
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to(shutil.move(vocabulary, blobs))
    assert files_of(snapshot)["tokenizer.json"].parent == blobs.resolve()
