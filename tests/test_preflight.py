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
from zookeeper.raw import content_of, files_of, parsed, weights_of
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


@pytest.mark.parametrize(
    ("field", "most", "what"),
    [
        ("vocab_size", 4_000_000, "words in its vocabulary"),
        ("n_words", 4_000_000, "words in its vocabulary"),
        ("num_hidden_layers", 512, "layers"),
        ("n_layer", 512, "layers"),
        ("num_blocks", 512, "layers"),
        ("depth", 512, "layers"),
        ("block_repeats", 512, "layers"),
        ("num_attention_heads", 1024, "heads"),
        ("num_local_experts", 4096, "parts of a layer"),
        ("conv_groups", 4096, "parts of a layer"),
        ("group_num", 4096, "parts of a layer"),
        ("hidden_size", 65_536, "numbers a state"),
        ("intermediate_size", 65_536, "numbers a state"),
        ("embedding_size", 65_536, "numbers a state"),
        ("n_embd", 65_536, "numbers a state"),
        ("n_inner", 65_536, "numbers a state"),
        ("head_dim", 65_536, "numbers a state"),
        ("width", 65_536, "numbers a state"),
        ("d_model", 65_536, "numbers a state"),
        ("max_position_embeddings", 2**24, "positions"),
        ("n_ctx", 2**24, "positions"),
        ("context", 2**24, "positions"),
        ("max_length", 2**24, "positions"),
        ("window", 2**24, "positions"),
        ("max_seq", 2**24, "positions"),
        ("eos_token_id", 2**53, "a number of more than 53 bits"),
    ],
)
def test_a_number_may_be_as_large_as_of_the_largest_checkpoints(field: str, most: int, what: str) -> None:
    for number in (most, -most, True, 0.5):
        config = {"model_type": "any", "list": [{field: [number]}]}
        assert cleaned_config(config) == config
    for number in (most + 1, -most - 1):
        with pytest.raises(CheckpointError) as caught:
            cleaned_config({"model_type": "any", "list": [{field: [number]}]})
        asks = f"asks for {number:,} {what} ({field}); at most {most:,} are read."
        assert caught.value.message in (f"its config.json {asks}", f"its config.json has {what} ({field}).")


def nested(depth: int, field: str = "a") -> dict[str, Any]:
    """An object in an object, and so on, the innermost in so many others."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {field: value}
    return value


@pytest.mark.parametrize(
    ("clean", "name"),
    [
        (cleaned_config, "config.json"),
        (cleaned_tokenizer, "tokenizer.json"),
        (cleaned_companion, "tokenizer_config.json"),
    ],
)
def test_nothing_is_nested_more_than_sixty_four_deep(clean: Callable[[Any], Any], name: str) -> None:
    deepest = {"model_type": "any"} | nested(64)
    assert clean(deepest) == deepest
    with pytest.raises(CheckpointError) as caught:
        clean({"model_type": "any"} | nested(65))
    assert caught.value.message == f"its {name} is nested more than 64 deep."


def test_labels_are_too_many_from_ten_thousand_and_one() -> None:
    bert = {"model_type": "bert"}
    for n, kept in ((10_000, True), (10_001, False)):
        names = {str(i): "" for i in range(n)}
        for labels in ({"num_labels": n}, {"id2label": names}, {"label2id": names}, {"id2label": [""] * n}):
            assert cleaned_config(bert | labels) == (bert | labels if kept else bert)
            assert cleaned_config(bert | {"inner": labels}) == bert | {"inner": labels if kept else {}}
    numbers = {"label2id": {"ten layers": 10**6}, "id2label": {"layers": 10**6}}
    assert cleaned_config(bert | numbers) == bert | numbers, "names of labels are no fields"


@pytest.mark.parametrize("section", ["quantization_config", "compression_config"])
def test_quantised_weights_are_refused_at_any_depth(section: str) -> None:
    assert cleaned_config({"model_type": "bert", section: None})
    for config in ({section: {"bits": 4}}, {"inner": {section: {"bits": 4}}}):
        with pytest.raises(CheckpointError, match="quantised") as caught:
            cleaned_config({"model_type": "bert", **config})
        assert caught.value.why == "weights are read as float64, float32, float16 or bfloat16"


def test_a_configuration_that_names_other_weights_or_no_model_is_refused() -> None:
    for config, why in (
        ({"model_type": "bert", "transformers_weights": "x.safetensors"}, "names a weight file of its own"),
        ({}, "names no kind of model"),
        ({"model_type": ["bert"]}, "names no kind of model"),
    ):
        with pytest.raises(CheckpointError, match=why):
            cleaned_config(config)


def test_a_rule_of_a_tokenizer_puts_in_two_hundred_and_fifty_six_characters_at_most() -> None:
    for field in ("content", "prepend"):
        rules = {"normalizer": {"normalizers": [{field: "x" * 256}]}, "model": {field: "x" * 999}}
        rules["added_tokens"] = [{field: "x" * 999}]
        assert cleaned_tokenizer(rules) == rules
        with pytest.raises(CheckpointError, match="257 characters"):
            cleaned_tokenizer({"normalizer": {"normalizers": [{field: "x" * 257}]}})
    assert cleaned_tokenizer({"padding": {}, "truncation": {}, "version": "1.0"}) == {"version": "1.0"}


def test_a_companion_names_no_file_no_code_and_no_template() -> None:
    bait = ("vocab_file", "merges_path", "init_inputs", "auto_map", "trust_remote_code")
    config = dict.fromkeys((*bait, "chat_template", "default_chat_template_2"), "x")
    kept = {"pad_token": "<pad>", "file": "kept", "list": [{"path": "kept"}]}
    assert cleaned_companion(config | kept | {"deep": [config]}) == kept | {"deep": [{}]}


def test_an_index_maps_weights_to_shards_that_are_there() -> None:
    for index in ({}, {"weight_map": []}, {"weight_map": {"a": "model.safetensors", "b": 1}}):
        with pytest.raises(CheckpointError) as caught:
            check_index(index, {})
        assert caught.value.why == "it maps no weights to files"
    with pytest.raises(CheckpointError, match=r"no shards of it: 'pytorch_model\.bin'"):
        check_index({"weight_map": {"a": "pytorch_model.bin"}}, {"pytorch_model.bin": Path("x")})


# Files as they lie there


@pytest.mark.parametrize(
    ("name", "most"),
    [("config.json", 2**22), ("tokenizer_config.json", 2**22), ("tokenizer.json", 2**26)],
)
def test_of_a_file_no_more_is_read_than_any_honest_one_has(victim: Victim, name: str, most: int) -> None:
    os.truncate(victim / name, most + 1)
    with pytest.raises(CheckpointError) as caught, admitted(victim.folder):
        pass
    assert caught.value.message == f"its {name} has {most + 1:,} bytes; at most {most:,} are read."


def test_each_file_gets_in_as_what_it_is(victim: Victim) -> None:
    bait = {"auto_map": {"": "evil.py"}, "chat_template": "{{ 1 }}", "pad_token": "<pad>"}
    companions = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    for name in companions:
        (victim / name).write_text(json.dumps(bait))
    victim.edit("tokenizer.json", padding={"strategy": "BatchLongest"}, truncation={"max_length": 1})
    (victim / "vocab.txt").write_text("as it is")
    with admitted(victim.folder) as door:
        for name in companions:
            assert json.loads((door.folder / name).read_text()) == {"pad_token": "<pad>"}
        assert not {"padding", "truncation"} & json.loads((door.folder / "tokenizer.json").read_text()).keys()
        assert (door.folder / "vocab.txt").read_text() == "as it is"
        links = {path.name for path in door.folder.iterdir() if path.is_symlink()}
        assert links == {"model.safetensors"}, "weights are not copied, and nothing else can change any more"
    os.truncate(victim / "vocab.txt", 2**26 + 1)
    with (
        pytest.raises(CheckpointError, match=r"its vocab\.txt has 67,108,865 bytes"),
        admitted(victim.folder),
    ):
        pass


def test_an_index_is_looked_at_before_anything_is_loaded(victim: Victim) -> None:
    (victim / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}')
    with pytest.raises(CheckpointError, match="no shards of it"), admitted(victim.folder):
        pass


def test_a_file_may_have_as_many_bytes_as_are_read(tmp_path: Path) -> None:
    (tmp_path / "some").write_bytes(b"12345")
    assert content_of(tmp_path / "some", 5, "some") == b"12345"
    with pytest.raises(CheckpointError, match="has 5 bytes; at most 4"):
        content_of(tmp_path / "some", 4, "some")


def test_a_link_that_takes_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(b"secret")
    (tmp_path / "config.json").symlink_to("private")
    for name in ("config.json", "nothing"):
        with pytest.raises(CheckpointError, match=f"its {name} cannot be read") as caught:
            content_of(tmp_path / name, 100, name)
        assert caught.value.why


def test_a_header_may_have_sixteen_mebibytes(victim: Victim) -> None:
    path = victim / "model.safetensors"
    for length, why in (
        (2**24, "cannot be read"),
        (2**24 + 1, "a header of 16,777,217 bytes"),
    ):
        path.write_bytes(length.to_bytes(8, "little") + b"{")
        os.truncate(path, length)
        with pytest.raises(CheckpointError, match=why):
            weights_of({"model.safetensors": path})


def test_json_that_is_nested_without_end_is_no_object() -> None:
    for data in (b"[" * 100_000, b'{"a":' * 100_000, b"[]", b"\xff", b'"text"'):
        with pytest.raises(CheckpointError, match="its x cannot be read") as caught:
            parsed(data, "x")
        assert caught.value.why
    assert parsed(b'{"a": 1, "a": 2}', "x") == {"a": 2}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_of_every_precision_that_is_read_get_in(victim: Victim, dtype: torch.dtype) -> None:
    weights = {name: w.to(dtype) for name, w in load_file(victim / "model.safetensors").items()}
    save_file(weights | {"mask": torch.ones(3, dtype=torch.int8)}, victim / "model.safetensors")
    with admitted(victim.folder) as door:
        assert door.weights.shapes["mask"] == (3,)
        assert door.weights.files == 1
    save_file(weights | {"a.weight": torch.ones(3, dtype=torch.int8)}, victim / "model.safetensors")
    with (
        pytest.raises(CheckpointError, match=r"such as a\.weight \(I8\)"),
        admitted(victim.folder),
    ):
        pass


def test_pickles_are_no_files_of_a_checkpoint_unless_they_were_agreed_to(victim: Victim) -> None:
    pickled(victim)
    assert "pytorch_model.bin" not in files_of(victim.folder)
    assert "pytorch_model.bin" in files_of(victim.folder, pickled=True)
    with pytest.raises(CheckpointError) as caught, admitted(victim.folder):
        pass
    assert caught.value.why == "it has no safetensors weights"
    (victim / "config.json").unlink()
    with pytest.raises(CheckpointError) as caught, admitted(victim.folder):
        pass
    assert caught.value.why == "it has no config.json"


@pytest.mark.parametrize("place", ["models--x/snapshots/abc", "models--x/others/abc", "mine/snapshots/abc"])
def test_only_a_snapshot_of_the_hub_has_blobs_beside_it(victim: Victim, tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    blobs = folder.parent.parent / "blobs"
    shutil.copytree(victim.folder, folder)
    blobs.mkdir()
    (folder / "tokenizer.json").symlink_to(shutil.move(folder / "tokenizer.json", blobs / "1"))
    if place == "models--x/snapshots/abc":
        assert files_of(folder)["tokenizer.json"] == (blobs / "1").resolve()
    else:
        with pytest.raises(CheckpointError, match=r"tokenizer\.json is a link that leads out"):
            files_of(folder)


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
