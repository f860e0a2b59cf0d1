"""Features against their twin, for any text; and whatever may be wrong with somebody else's checkpoint."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, TEXT, make_checkpoint

from tests.extracted import extract
from tests.reference.examples import STEADY, parameters
from tests.reference.extract import extract as literal_extract
from zookeeper.errors import CheckpointError
from zookeeper.extract import Windows, read
from zookeeper.records import Corpus, Reading, Unit

every_family = pytest.mark.parametrize("family", FAMILIES)

Checkpoints = dict[str, Path]
Features = NDArray[np.float32]

ZERO_WIDTH = "\u200b"
ODD_WORDS = (
    ZERO_WIDTH,
    "ÅÅ",
    "e\u0301",
    "👩\u200d👩\u200d👧",
    "漢字",
    "\u0007",
    "a\u00adb",
    "<s>",
    "tuple()",
)
PLAIN = tuple(tuple(line.split()) for line in TEXT)
LONG = sum(PLAIN[:8], ())
SENTENCES = (*PLAIN[:3], (ZERO_WIDTH, *PLAIN[3], ZERO_WIDTH), LONG, ODD_WORDS, ("zoo",))


def corpus(*sentences: Iterable[str], unit: Unit = "word") -> Corpus:
    return Corpus(tuple(map(tuple, sentences)), unit)


def features(folder: Path, *sentences: Iterable[str], unit: Unit = "word", **reading: Any) -> Features:
    return extract(folder, corpus(*sentences, unit=unit), Reading(**reading)).features


def rows_of(*sentences: Iterable[str]) -> list[slice]:
    """Where the words of each sentence are."""
    ends = np.cumsum([len(tuple(sentence)) for sentence in sentences])
    return [slice(end - len(tuple(s)), end) for s, end in zip(sentences, ends, strict=True)]


def close(a: Features, b: Features, atol: float = 1e-5) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=atol)


def length_of(folder: Path, words: Iterable[str]) -> int:
    """Sub-words of a sentence, special tokens included."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return len(tokenizer(list(words), is_split_into_words=True)["input_ids"])


@pytest.fixture
def copy(checkpoints: Checkpoints, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a checkpoint of a family that may be damaged."""

    def copy(family: str) -> Path:
        return Path(shutil.copytree(checkpoints[family], tmp_path / family))

    return copy


def edit_json(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path.parent


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
    return folder


def refusal(folder: Path, **reading: Any) -> CheckpointError:
    """The error that reading a checkpoint gives."""
    with pytest.raises(CheckpointError) as caught:
        features(folder, PLAIN[0], **reading)
    return caught.value


# The twin


def test_the_twin_is_asked_as_its_fast_one_is() -> None:
    assert set(parameters(literal_extract)) <= set(parameters(read))


@every_family
@pytest.mark.parametrize(
    ("unit", "pooling", "layer"),
    [
        *[(unit, pooling, "last") for unit in ("word", "sentence") for pooling in ("first", "last", "mean")],
        *[("word", "mean", layer) for layer in ("mean", "0", "1", "-1", "-3")],
        ("sentence", "auto", "mean"),
        ("word", "auto", "1"),
    ],
)
def test_features_equal_the_twin(
    checkpoints: Checkpoints, family: str, unit: Unit, pooling: Any, layer: str
) -> None:
    reading = Reading(layer=layer, pooling=pooling)
    text = corpus(*SENTENCES, unit=unit)
    fast, slow = (run(checkpoints[family], text, reading) for run in (extract, literal_extract))
    assert close(fast.features, slow.features)
    assert fast.features.dtype == np.float32
    assert fast.n_empty == slow.n_empty


@every_family
@pytest.mark.parametrize("max_length", [5, 20, 47])
def test_windows_equal_the_twin(checkpoints: Checkpoints, family: str, max_length: int) -> None:
    reading = Reading(pooling="mean", max_length=max_length)
    text = corpus(*SENTENCES)
    assert close(
        extract(checkpoints[family], text, reading).features,
        literal_extract(checkpoints[family], text, reading).features,
    )


# Rows

odd_characters = st.one_of(
    st.sampled_from("\u200b\u200d\ufeff\u00ad\u0301\u0000\u0007\u202e\u3000\u00a0 \n漢👩🏽ßİﬁ<>/s"),
    st.characters(),
)
odd_words = st.one_of(st.text(odd_characters, max_size=6), st.text("ab👩漢", min_size=40, max_size=80))
odd_sentences = st.lists(st.lists(odd_words, max_size=6), max_size=4)


@settings(STEADY, max_examples=12)
@given(sentences=odd_sentences)
@example(sentences=[["a" * 2000]])
@example(sentences=[["zoo", ZERO_WIDTH, ","] * 150])
@example(sentences=[[ZERO_WIDTH] * 300, []])
@example(sentences=[["\ud800", "half a pair \udfff"]])
def test_there_is_a_row_for_every_word_of_any_text(
    checkpoints: Checkpoints, sentences: list[list[str]]
) -> None:
    text = corpus(*sentences, PLAIN[0])
    for family in FAMILIES:
        made = extract(checkpoints[family], text, Reading()).features
        assert made.shape == (text.n_rows, 24 if family == "gpt2" else 16)
        assert np.isfinite(made).all()
        assert close(made[-len(PLAIN[0]) :], features(checkpoints[family], PLAIN[0]))


def test_word_without_subword_repeats_the_row_before_it(checkpoints: Checkpoints) -> None:
    bert = checkpoints["bert"]
    read = extract(bert, corpus(["tiger", ZERO_WIDTH, "sleeps", ZERO_WIDTH, ZERO_WIDTH]), Reading())
    tiger, sleeps = features(bert, ["tiger", "sleeps"])
    assert close(read.features, np.stack([tiger, tiger, sleeps, sleeps, sleeps]))
    assert read.n_empty == 3


def test_first_word_without_subword_repeats_the_first_row_after_it(checkpoints: Checkpoints) -> None:
    bert = checkpoints["bert"]
    sentences = (["the", "gates"], [ZERO_WIDTH, ZERO_WIDTH, "tiger", "sleeps"])
    read = extract(bert, corpus(*sentences), Reading())
    tiger, sleeps = features(bert, ["tiger", "sleeps"])
    assert close(read.features[2:], np.stack([tiger, tiger, tiger, sleeps]))
    assert read.n_empty == 2


@pytest.mark.parametrize(("unit", "n_empty"), [("word", 2), ("sentence", 1)])
def test_sentence_without_subwords_is_zeros(checkpoints: Checkpoints, unit: Unit, n_empty: int) -> None:
    text = corpus(["tiger"], [ZERO_WIDTH, ZERO_WIDTH], ["sleeps"], unit=unit)
    read = extract(checkpoints["bert"], text, Reading())
    assert not read.features[1:-1].any()
    assert read.features[0].any()
    assert read.features[-1].any()
    assert read.n_empty == n_empty


def test_text_without_subwords_is_refused(checkpoints: Checkpoints) -> None:
    with pytest.raises(CheckpointError, match="no sub-words"):
        features(checkpoints["bert"], [ZERO_WIDTH])


@every_family
def test_company_and_order_of_sentences_do_not_matter(checkpoints: Checkpoints, family: str) -> None:
    folder = checkpoints[family]
    together = features(folder, *SENTENCES)
    order = np.random.default_rng(0).permutation(len(SENTENCES))
    shuffled = [SENTENCES[i] for i in order]
    mixed = features(folder, *shuffled)
    for i, there in zip(order, rows_of(*shuffled), strict=True):
        here = rows_of(*SENTENCES)[i]
        assert close(together[here], mixed[there])
        assert close(together[here], features(folder, SENTENCES[i]))


def test_many_batches_are_as_one_by_one(checkpoints: Checkpoints) -> None:
    sentences = (*PLAIN, LONG) * 12
    together = features(checkpoints["llama"], *sentences)
    for sentence, rows in list(zip(sentences, rows_of(*sentences), strict=True))[::29]:
        assert close(together[rows], features(checkpoints["llama"], sentence))


@pytest.mark.parametrize("family", ["fnet", "convbert"])
def test_models_that_read_padding_see_none(copy: Callable[[str], Path], family: str) -> None:
    folder = copy("roberta")
    sizes = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    config = {
        "fnet": lambda: transformers.FNetConfig(max_position_embeddings=48, **sizes),
        "convbert": lambda: transformers.ConvBertConfig(
            max_position_embeddings=48, num_attention_heads=2, embedding_size=16, **sizes
        ),
    }[family]()
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    together = features(folder, *PLAIN[:4])
    for sentence, rows in zip(PLAIN[:4], rows_of(*PLAIN[:4]), strict=True):
        assert close(together[rows], features(folder, sentence))


@pytest.mark.parametrize("unit", ["word", "sentence"])
@every_family
def test_progress_adds_up_to_the_rows(checkpoints: Checkpoints, family: str, unit: Unit) -> None:
    text = corpus(*SENTENCES * 8, unit=unit)
    steps: list[int] = []
    extract(checkpoints[family], text, Reading(pooling="mean", max_length=20), advance=steps.append)
    assert sum(steps) == text.n_rows
    assert len(steps) > 2


def test_interrupt_is_no_fault_of_the_checkpoint(checkpoints: Checkpoints) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(checkpoints["bert"], corpus(*PLAIN), Reading(), advance=interrupt)


# Windows


@pytest.mark.parametrize("family", ["t5", "llama"])
@pytest.mark.parametrize("max_length", [5, 31])
@pytest.mark.parametrize("pooling", ["first", "last", "mean"])
@pytest.mark.parametrize("unit", ["word", "sentence"])
def test_every_subword_counts_exactly_once(
    tmp_path: Path, family: str, max_length: int, pooling: Any, unit: Unit
) -> None:
    # Embeddings of these families know no position, so cutting must not show in them at all.
    folder = make_checkpoint(family, tmp_path, window=1000)
    whole, cut = (
        features(folder, LONG, PLAIN[0], unit=unit, layer="0", pooling=pooling, max_length=length)
        for length in (None, max_length)
    )
    assert close(whole, cut, atol=1e-6)


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_words_of_long_sentences_are_close_to_what_a_longer_window_gives(tmp_path: Path, family: str) -> None:
    folder = make_checkpoint(family, tmp_path, window=1000)
    truth, cut = (features(folder, LONG, max_length=length) for length in (None, 96))
    assert length_of(folder, LONG) > 200
    error = np.linalg.norm(truth - cut, axis=1) / np.linalg.norm(truth, axis=1)
    assert error.max() < 0.6
    assert np.median(error) < 0.2
    assert error.any()


@every_family
def test_sentence_that_just_fits_is_not_cut(checkpoints: Checkpoints, family: str) -> None:
    folder, sentence = checkpoints[family], PLAIN[0]
    n = length_of(folder, sentence)
    whole = features(folder, sentence, pooling="mean")
    assert n <= 48
    assert close(features(folder, sentence, pooling="mean", max_length=n), whole, atol=1e-6)
    assert not close(features(folder, sentence, pooling="mean", max_length=n - 1), whole)


@every_family
def test_sentence_of_exactly_the_models_window_is_read(checkpoints: Checkpoints, family: str) -> None:
    folder = checkpoints[family]
    n_special = length_of(folder, [])
    sentence = next(LONG[:n] for n in range(len(LONG)) if length_of(folder, LONG[: n + 1]) > 48)
    short = next(word for word in LONG if length_of(folder, [word]) == n_special + 1)
    sentence += (short,) * (48 - length_of(folder, sentence))
    assert (length_of(folder, sentence), n_special) == (48, 2 if family in ("bert", "roberta") else 0)
    assert close(features(folder, sentence), features(folder, sentence, max_length=48), atol=0)


@every_family
def test_longer_maximum_does_not_lengthen_the_models_window(checkpoints: Checkpoints, family: str) -> None:
    folder = checkpoints[family]
    assert close(features(folder, LONG, max_length=5000), features(folder, LONG), atol=0)


@every_family
def test_window_follows_from_the_positions_where_the_tokenizer_does_not_say(
    copy: Callable[[str], Path], checkpoints: Checkpoints, family: str
) -> None:
    folder = edit_json(copy(family) / "tokenizer_config.json", model_max_length=10**30)
    made = features(folder, LONG)
    # T5 has no positions to run out of, and reads the whole.
    assert close(made, features(checkpoints[family], LONG)) == (family != "t5")


def test_window_too_short_for_text_is_refused(checkpoints: Checkpoints) -> None:
    error = refusal(checkpoints["bert"], max_length=3)
    assert "window of 3" in error.message


def test_model_without_a_limit_is_read(copy: Callable[[str], Path]) -> None:
    folder = edit_json(copy("roberta") / "tokenizer_config.json", model_max_length=10**30)
    config = transformers.XLNetConfig(vocab_size=400, d_model=16, n_layer=1, n_head=2, d_inner=32)
    transformers.XLNetModel(config).save_pretrained(folder)
    assert features(folder, LONG).shape == (len(LONG), 16)


@pytest.mark.parametrize("setting", [{"truncation_side": "left"}, {"padding_side": "left"}])
def test_sides_of_the_tokenizer_do_not_matter(
    copy: Callable[[str], Path], checkpoints: Checkpoints, setting: dict[str, str]
) -> None:
    folder = edit_json(copy("bert") / "tokenizer_config.json", **setting)
    assert close(features(folder, *SENTENCES), features(checkpoints["bert"], *SENTENCES), atol=0)


def test_padding_token_beyond_the_embeddings_does_not_matter(
    copy: Callable[[str], Path], checkpoints: Checkpoints
) -> None:
    folder = copy("gpt2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<beyond>"})
    tokenizer.save_pretrained(folder)
    n_embeddings = transformers.AutoModel.from_pretrained(folder).get_input_embeddings().num_embeddings
    assert tokenizer.pad_token_id == n_embeddings
    assert close(features(folder, *SENTENCES), features(checkpoints["gpt2"], *SENTENCES), atol=1e-6)


def test_padding_and_truncation_of_the_tokenizer_do_not_matter(
    copy: Callable[[str], Path], checkpoints: Checkpoints
) -> None:
    padding = {"strategy": {"Fixed": 1000}, "direction": "Right", "pad_to_multiple_of": None}
    folder = edit_json(
        copy("bert") / "tokenizer.json",
        padding=padding | {"pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"},
        truncation={"direction": "Left", "max_length": 10, "strategy": "LongestFirst", "stride": 0},
    )
    assert close(features(folder, *SENTENCES), features(checkpoints["bert"], *SENTENCES), atol=0)


# Precision


def test_states_that_are_nearly_the_same_everywhere_are_read_in_single_precision(
    checkpoints: Checkpoints, copy: Callable[[str], Path]
) -> None:
    def shift(weights: dict[str, torch.Tensor]) -> None:
        for name in weights:
            if name.endswith("layer.1.output.LayerNorm.bias"):
                weights[name] += 200

    folder = edit_weights(copy("bert"), shift)
    full, half = (features(folder, *SENTENCES, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert np.array_equal(full, half)
    assert not np.array_equal(
        *(features(checkpoints["bert"], *SENTENCES, dtype=dtype) for dtype in ("float32", "bfloat16"))
    )


# Windows of another checkpoint


def blocks_of(
    folder: Path, text: Corpus, windows: Windows | None, **how: Any
) -> tuple[Features, Windows | None]:
    """Features, and the windows if they were cut."""
    cut: list[Windows] = []
    (block,) = read(folder, text, Reading(**how), windows=windows, made=cut.append)
    return next(iter(block.states.values())), next(iter(cut), None)


@pytest.mark.parametrize("unit", ["word", "sentence", "pair"])
@every_family
def test_windows_of_another_checkpoint_serve_as_ones_own(
    checkpoints: Checkpoints, copy: Callable[[str], Path], family: str, unit: Unit
) -> None:
    text = corpus(*SENTENCES[:6], unit=unit)
    other = edit_weights(copy(family), lambda w: w.update({name: -each for name, each in w.items()}))
    own, _ = blocks_of(other, text, None)
    _, cut = blocks_of(checkpoints[family], text, None)
    assert cut is not None
    given = Windows.from_arrays(cut.to_arrays(), text)
    made, again = blocks_of(other, text, given)
    assert np.array_equal(made, own)
    assert again is None


@pytest.mark.parametrize("how", [{"max_length": 20}, {"pooling": "mean"}])
def test_windows_that_do_not_fit_are_cut_again(checkpoints: Checkpoints, how: dict[str, Any]) -> None:
    text, bert = corpus(*SENTENCES), checkpoints["bert"]
    own, cut = blocks_of(bert, text, None, **how)
    _, other = blocks_of(bert, text, None)
    made, again = blocks_of(bert, text, other, **how)
    assert again is not None
    assert cut is not None
    assert again.length == cut.length
    assert np.array_equal(made, own)
    assert blocks_of(bert, corpus(*SENTENCES[1:]), other)[1] is not None


def test_windows_with_ids_beyond_the_embeddings_are_refused(checkpoints: Checkpoints) -> None:
    text = corpus(*PLAIN)
    _, cut = blocks_of(checkpoints["bert"], text, None)
    assert cut is not None
    cut.ids[3] = 10**6
    with pytest.raises(CheckpointError, match="id 1000000"):
        blocks_of(checkpoints["bert"], text, cut)


Arrays = dict[str, NDArray[Any]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a.pop("ids"),
        lambda a: a.update(more=np.zeros(1)),
        lambda a: a.update(ids=a["ids"].astype(np.float32)),
        lambda a: a.update(ids=a["ids"][None]),
        lambda a: a.update(how=np.array([48, 99])),
        lambda a: a.update(how=np.array([2, 0])),
        lambda a: a.update(ids=a["ids"][1:]),
        lambda a: a["ids"].__setitem__(0, -1),
        lambda a: a["lengths"].__setitem__(0, 10**12),
        lambda a: a["lengths"].__setitem__(slice(0, 2), a["lengths"][:2] + np.array([-(10**6), 10**6])),
        lambda a: a.update(shares=a["shares"][1:]),
        lambda a: a["shares"].__setitem__(0, np.nan),
        lambda a: a["counts"].__setitem__(0, -1),
        lambda a: a["positions"].__setitem__(0, -1),
        lambda a: a["positions"].__setitem__(0, a["lengths"][0]),
        lambda a: a["slots"].__setitem__(0, -1),
        lambda a: a["slots"].__setitem__(0, a["slots"][-1]),
        lambda a: a["slots"].__setitem__(-1, 10**6),
        lambda a: a["weights"].__setitem__(0, np.inf),
        lambda a: a.update(weights=a["weights"][1:]),
        lambda a: a["windows"].__setitem__(0, a["windows"][0] + 1),
        lambda a: a["windows"].__setitem__(slice(0, 2), a["windows"][:2] + np.array([-5, 5])),
        lambda a: a["sizes"].__setitem__(slice(0, 2), a["sizes"][:2] + np.array([1, -1])),
        lambda a: a.update(sources=a["sources"][1:]),
        lambda a: a["sources"].__setitem__(0, 1),
        lambda a: a["sources"].__setitem__(a["sources"] != np.arange(len(a["sources"])), 10**9),
        lambda a: a["sources"].__setitem__(a["sources"] != np.arange(len(a["sources"])), -2),
        lambda a: a["sources"].__setitem__(a["sources"] != np.arange(len(a["sources"])), 0),
    ],
)
def test_windows_that_are_not_of_the_text_are_refused(
    checkpoints: Checkpoints, spoil: Callable[[Arrays], object]
) -> None:
    text = corpus(*SENTENCES)
    _, cut = blocks_of(checkpoints["bert"], text, None)
    assert cut is not None
    arrays = {name: array.copy() for name, array in cut.to_arrays().items()}
    Windows.from_arrays(arrays, text)
    spoil(arrays)
    with pytest.raises(CheckpointError):
        Windows.from_arrays(arrays, text)


def test_windows_of_another_text_are_refused(checkpoints: Checkpoints) -> None:
    _, cut = blocks_of(checkpoints["bert"], corpus(*SENTENCES), None)
    assert cut is not None
    with pytest.raises(CheckpointError, match="not of this text"):
        Windows.from_arrays(cut.to_arrays(), corpus(*SENTENCES, ("zoo",)))


# Kinds of checkpoints


@pytest.mark.parametrize("family", ["roberta", "gpt2", "llama"])
def test_words_are_read_as_in_the_middle_of_a_text(
    copy: Callable[[str], Path], checkpoints: Checkpoints, family: str
) -> None:
    """Most byte-level tokenizers do not by themselves, as the tiny ones do."""
    folder = copy(family)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    assert tokenizer["pre_tokenizer"]["add_prefix_space"]
    edit_json(path, pre_tokenizer=tokenizer["pre_tokenizer"] | {"add_prefix_space": False})
    assert length_of(folder, LONG) != length_of(checkpoints[family], LONG)
    sentences = (*PLAIN, LONG, ODD_WORDS[:5])
    assert close(features(folder, *sentences), features(checkpoints[family], *sentences), atol=1e-6)


def test_encoder_of_an_encoder_decoder_is_read(copy: Callable[[str], Path], checkpoints: Checkpoints) -> None:
    t5, folder = checkpoints["t5"], copy("t5")
    whole = features(t5, *SENTENCES)
    edit_weights(folder, lambda w: [w.pop(name) for name in list(w) if name.startswith("decoder")])
    assert close(features(folder, *SENTENCES), whole, atol=1e-6)
    transformers.T5EncoderModel.from_pretrained(t5).save_pretrained(folder)
    assert close(features(folder, *SENTENCES), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("bert", "BertForSequenceClassification"),
        ("bert", "BertForTokenClassification"),
        ("roberta", "RobertaForTokenClassification"),
        ("gpt2", "GPT2ForSequenceClassification"),
        ("llama", "LlamaForTokenClassification"),
    ],
)
def test_classifiers_are_read_without_their_heads(
    copy: Callable[[str], Path],
    checkpoints: Checkpoints,
    capfd: pytest.CaptureFixture[str],
    family: str,
    kind: str,
) -> None:
    folder = copy(family)
    model = getattr(transformers, kind).from_pretrained(folder, num_labels=5)
    shutil.rmtree(folder)
    copy(family)
    model.save_pretrained(folder)
    capfd.readouterr()
    made = features(folder, *SENTENCES)
    assert capfd.readouterr() == ("", "")
    assert json.loads((folder / "config.json").read_text())["architectures"] == [kind]
    assert close(made, features(checkpoints[family], *SENTENCES), atol=1e-6)


@every_family
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_stored_in_half_precision_are_read_in_single(
    copy: Callable[[str], Path], family: str, dtype: torch.dtype
) -> None:
    folder = edit_json(copy(family) / "config.json", dtype=str(dtype).removeprefix("torch."))
    edit_weights(folder, lambda w: w.update({name: t.to(dtype) for name, t in w.items()}))
    half = features(folder, *PLAIN)
    edit_weights(folder, lambda w: w.update({name: t.float() for name, t in w.items()}))
    edit_json(folder / "config.json", dtype="float32")
    assert half.dtype == np.float32
    assert close(half, features(folder, *PLAIN), atol=0)


def test_sharded_weights_are_read(copy: Callable[[str], Path], checkpoints: Checkpoints) -> None:
    folder = copy("bert")
    model = transformers.AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert close(features(folder, *PLAIN), features(checkpoints["bert"], *PLAIN), atol=0)


@pytest.mark.parametrize(
    "setting", [{"return_dict": False}, {"output_attentions": True}, {"torchscript": True}]
)
def test_settings_for_output_do_not_matter(
    copy: Callable[[str], Path], checkpoints: Checkpoints, setting: dict[str, bool]
) -> None:
    folder = edit_json(copy("bert") / "config.json", **setting)
    assert close(features(folder, *PLAIN), features(checkpoints["bert"], *PLAIN), atol=0)


def test_folder_is_not_written_to(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    features(folder, *PLAIN)
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before


# Checkpoints that are refused

LAST_WEIGHTS = {
    "bert": "bert.encoder.layer.1.output.dense.weight",
    "roberta": "roberta.encoder.layer.1.output.dense.weight",
    "gpt2": "transformer.h.1.mlp.c_proj.weight",
    "t5": "encoder.block.1.layer.1.DenseReluDense.wo.weight",
    "llama": "model.layers.1.mlp.down_proj.weight",
}


@pytest.mark.parametrize(("family", "name"), [*LAST_WEIGHTS.items(), ("t5", "shared.weight")])
def test_missing_weights_are_named(copy: Callable[[str], Path], family: str, name: str) -> None:
    error = refusal(edit_weights(copy(family), lambda w: w.pop(name)))
    assert "1 of its weights are missing" in error.message
    assert name.partition(".")[2] in error.message


@pytest.mark.parametrize(("family", "name"), LAST_WEIGHTS.items())
def test_weights_of_another_shape_are_named(copy: Callable[[str], Path], family: str, name: str) -> None:
    error = refusal(edit_weights(copy(family), lambda w: w.update({name: w[name][:, :7].contiguous()})))
    assert "1 of its weights are of another shape" in error.message
    assert name.partition(".")[2] in error.message


def test_no_weights_at_all_are_refused(copy: Callable[[str], Path]) -> None:
    assert "weights are missing" in refusal(edit_weights(copy("bert"), dict.clear)).message


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not weights"])
def test_file_that_holds_no_weights_is_refused(copy: Callable[[str], Path], content: bytes) -> None:
    folder = copy("bert")
    (folder / "model.safetensors").write_bytes(content)
    assert "SafetensorError" in (refusal(folder).why or "")


def test_weights_cut_short_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "SafetensorError" in (refusal(folder).why or "")


@every_family
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(
    copy: Callable[[str], Path], family: str, value: float
) -> None:
    folder = edit_weights(copy(family), lambda w: w[LAST_WEIGHTS[family]].fill_(value))
    assert "not finite" in refusal(folder).message


def test_ids_beyond_the_embeddings_are_refused(copy: Callable[[str], Path]) -> None:
    name = "bert.embeddings.word_embeddings.weight"
    folder = edit_weights(copy("bert"), lambda w: w.update({name: w[name][:20].contiguous()}))
    error = refusal(edit_json(folder / "config.json", vocab_size=20))
    assert "its embeddings end at 19" in error.message


def test_tokenizer_that_does_not_tell_words_apart_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    error = refusal(folder)
    assert "no fast tokenizer" in error.message
    assert error.why


@every_family
@pytest.mark.parametrize("layer", ["3", "-4", "1000000"])
def test_unknown_layer_is_refused_with_the_range(checkpoints: Checkpoints, family: str, layer: str) -> None:
    error = refusal(checkpoints[family], layer=layer)
    assert layer in error.message
    assert error.why == "its layers are 0 (embeddings) to 2"


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        "\0",
        '{"model_type": "no-such-model"}',
        '{"model_type": null}',
        '{"model_type": ["bert"]}',
        '{"model_type": "bert", "num_attention_heads": 0}',
        '{"model_type": "bert", "num_attention_heads": 3, "num_hidden_layers": 0}',
        '{"model_type": "bert", "num_hidden_layers": "two"}',
        '{"model_type": "bert", "hidden_size": -16, "num_hidden_layers": 0}',
        '{"model_type": "bert", "pad_token_id": 100000}',
        '{"model_type": "bert", "quantization_config": {"quant_method": "gptq", "bits": 4}}',
        '{"model_type": "bert", "_attn_implementation": "some-org/some-kernel"}',
    ],
    ids=lambda config: config[:60],
)
def test_broken_configuration_is_refused_with_a_reason(copy: Callable[[str], Path], config: str) -> None:
    folder = copy("bert")
    (folder / "config.json").write_text(config)
    error = refusal(folder)
    assert error.why


def test_configuration_that_is_no_utf8_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("bert")
    (folder / "config.json").write_bytes(b'{"model_type": "\xff"}')
    assert refusal(folder).why


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_file_is_refused_with_a_reason(copy: Callable[[str], Path], name: str) -> None:
    folder = copy("bert")
    (folder / name).unlink()
    assert refusal(folder).why


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").why


@pytest.mark.parametrize(
    "damage",
    [
        {"model": {"type": "NoSuchModel"}},
        {"model": {"type": "WordPiece", "vocab": {}, "unk_token": "<unk>"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated"}},
        # A panic in Rust, which is no Exception.
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    ],
    ids=["unknown model", "no vocabulary", "broken pattern", "panic"],
)
def test_broken_tokenizer_is_refused_with_a_reason(
    copy: Callable[[str], Path], damage: dict[str, Any]
) -> None:
    folder = edit_json(copy("bert") / "tokenizer.json", **damage)
    assert refusal(folder).why


# Code


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def plant_code(folder: Path, canary: Path) -> None:
    """Python files in a checkpoint, that all leave a trace."""
    trace = f"import pathlib; pathlib.Path({str(canary)!r}).touch()\n"
    classes = "class Evil: pass\n"
    for name in (
        "evil.py",
        "configuration_evil.py",
        "modeling_evil.py",
        "tokenization_evil.py",
        "__init__.py",
    ):
        (folder / name).write_text(trace + classes)


AUTO_MAP = {
    "AutoConfig": "configuration_evil.Evil",
    "AutoModel": "modeling_evil.Evil",
    "AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"],
}


class Stdin(io.StringIO):
    """Says yes to everything, and knows whether it was asked."""

    def __init__(self) -> None:
        super().__init__("y\n" * 20)


@pytest.mark.parametrize("model_type", ["bert", "evil"])
def test_code_of_a_checkpoint_is_never_run(
    copy: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_type: str
) -> None:
    folder, canary, stdin = copy("bert"), tmp_path / "canary", Stdin()
    monkeypatch.setattr("sys.stdin", stdin)
    clean = features(folder, *PLAIN)
    plant_code(folder, canary)
    edit_json(folder / "config.json", auto_map=AUTO_MAP, model_type=model_type, trust_remote_code=True)
    edit_json(folder / "tokenizer_config.json", auto_map=AUTO_MAP, trust_remote_code=True)
    if model_type == "bert":
        assert close(features(folder, *PLAIN), clean, atol=0)
    else:
        assert refusal(folder).why
    assert not canary.exists()
    assert stdin.tell() == 0


def pickled(canary: Path) -> bytes:
    """A weight file as old ones are, but harmful."""
    buffer = io.BytesIO()
    torch.save({"bert.weight": Canary(canary)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("encoding", ["torch", "pickle"])
def test_pickles_are_never_read(copy: Callable[[str], Path], tmp_path: Path, encoding: str) -> None:
    folder, canary = copy("bert"), tmp_path / "canary"
    (folder / "model.safetensors").unlink()
    evil = pickled(canary) if encoding == "torch" else pickle.dumps(Canary(canary))
    (folder / "pytorch_model.bin").write_bytes(evil)
    error = refusal(folder)
    assert "weights_only" not in f"{error.message} {error.why}"
    assert not canary.exists()


@pytest.mark.parametrize(
    "shard",
    [
        "pytorch_model.bin",
        "../outside.safetensors",
        "/{outside}",
        "sub/model.safetensors",
        "model-00001-of-00002.safetensors",
        "other.safetensors",
    ],
)
def test_index_may_name_nothing_but_shards_of_the_folder(
    copy: Callable[[str], Path], tmp_path: Path, shard: str
) -> None:
    folder = copy("bert")
    outside = tmp_path / "outside.safetensors"
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "sub").mkdir()
    for place in (outside, folder / "sub" / "model.safetensors", folder / "other.safetensors"):
        shutil.copy(folder / "model.safetensors", place)
    (folder / "model.safetensors").unlink()
    shard = shard.replace("/{outside}", str(outside))
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert shard in refusal(folder).message


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": ["x"]}', '{"weight_map": {"x": ["y"]}}'])
def test_broken_index_is_refused(copy: Callable[[str], Path], index: str) -> None:
    folder = copy("bert")
    (folder / "model.safetensors.index.json").write_text(index)
    assert refusal(folder).why


@pytest.mark.parametrize(
    "name", ["other.safetensors", "other.safetensors.index.json", "../x.safetensors", "adapter_model.bin"]
)
def test_configuration_may_not_name_other_weights(copy: Callable[[str], Path], name: str) -> None:
    folder = copy("bert")
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "pytorch_model.bin")}
    (folder / "other.safetensors.index.json").write_text(json.dumps(index))
    error = refusal(edit_json(folder / "config.json", transformers_weights=name))
    assert "weight file of its own" in error.message


@pytest.mark.parametrize("value", ["kernels-community/flash-attn", "flash_attention_2"])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_configuration_does_not_choose_the_code_of_attention(
    copy: Callable[[str], Path], checkpoints: Checkpoints, key: str, value: str
) -> None:
    folder = copy("bert")
    edit_json(folder / "config.json", **{key: value})
    assert close(features(folder, *SENTENCES), features(checkpoints["bert"], *SENTENCES), atol=0)


# Heads


def with_head(folder: Path, kind: str, n_labels: int = 3, **config: Any) -> Path:
    """The checkpoint with a head of random weights, and changes to its configuration."""
    torch.manual_seed(0)
    getattr(transformers, kind).from_pretrained(folder, num_labels=n_labels).save_pretrained(folder)
    return edit_json(folder / "config.json", **config)


def source_probs(folder: Path, *sentences: Iterable[str], unit: Unit = "sentence", **reading: Any) -> Any:
    """What its own head says of each row, or None."""
    given = corpus(*sentences, unit=unit)
    blocks = list(read(folder, given, Reading(layer="all", **reading), head=True))
    if blocks[0].source_probs is None:
        return None
    order = np.argsort(np.concatenate([block.rows for block in blocks]))
    return np.concatenate([block.source_probs for block in blocks])[order]


@pytest.mark.parametrize("pooling", ["first", "last", "mean"])
@pytest.mark.parametrize(
    ("family", "kind", "unit"),
    [
        ("bert", "BertForSequenceClassification", "sentence"),
        ("gpt2", "GPT2ForSequenceClassification", "sentence"),
        ("llama", "LlamaForSequenceClassification", "sentence"),
        ("bert", "BertForTokenClassification", "word"),
    ],
)
def test_a_head_gives_probabilities_of_any_text(
    copy: Callable[[str], Path], family: str, kind: str, unit: Unit, pooling: str
) -> None:
    folder = with_head(copy(family), kind)
    sentences = (*SENTENCES, (), (ZERO_WIDTH,))
    probs = source_probs(folder, *sentences, unit=unit, pooling=pooling)
    assert probs.sum(axis=1) == pytest.approx(np.ones(len(probs)), abs=1e-5)


@pytest.mark.parametrize(
    ("family", "kind", "pad"),
    [
        ("llama", "LlamaForSequenceClassification", None),
        ("llama", "LlamaForSequenceClassification", 2),
        ("llama", "LlamaForSequenceClassification", 7),
        ("gpt2", "GPT2ForSequenceClassification", 10**6),
    ],
)
def test_company_does_not_matter_to_a_head_whatever_it_takes_for_padding(
    copy: Callable[[str], Path], family: str, kind: str, pad: int | None
) -> None:
    folder = with_head(copy(family), kind, pad_token_id=pad)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(folder)
    together = source_probs(folder, *PLAIN)
    alone = np.concatenate([source_probs(folder, sentence) for sentence in PLAIN])
    assert close(together, alone)


@pytest.mark.parametrize(
    ("n_labels", "config"),
    [(1, {}), (3, {"problem_type": "multi_label_classification"}), (2, {"problem_type": "regression"})],
)
def test_a_head_of_no_classes_is_not_read(
    copy: Callable[[str], Path], n_labels: int, config: dict[str, Any]
) -> None:
    folder = with_head(copy("bert"), "BertForSequenceClassification", n_labels, **config)
    assert source_probs(folder, *PLAIN) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("classifier.weight"),
        lambda w: w.pop("bert.pooler.dense.weight"),
        lambda w: w.update({"classifier.weight": w["classifier.weight"][:2].contiguous()}),
    ],
)
def test_a_head_that_was_not_saved_whole_is_no_head(
    copy: Callable[[str], Path], checkpoints: Checkpoints, change: Callable[[dict[str, Any]], object]
) -> None:
    folder = edit_weights(with_head(copy("bert"), "BertForSequenceClassification"), change)
    assert source_probs(folder, *PLAIN) is None
    assert close(features(folder, *PLAIN), features(checkpoints["bert"], *PLAIN))


def test_what_a_head_stands_on_must_be_whole(copy: Callable[[str], Path]) -> None:
    folder = with_head(copy("bert"), "BertForSequenceClassification")
    edit_weights(folder, lambda w: w.pop(LAST_WEIGHTS["bert"]))
    with pytest.raises(CheckpointError, match="1 of its weights are missing"):
        source_probs(folder, *PLAIN)


def test_a_checkpoint_without_layers_is_refused(copy: Callable[[str], Path]) -> None:
    folder = edit_json(copy("bert") / "config.json", num_hidden_layers=0)
    assert "no layers" in refusal(folder, layer="all").message
