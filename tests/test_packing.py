"""Windows in a row against padded ones: the same features, and models that are not trusted with rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny import TEXT, make_checkpoint

from tests.extracted import extract
from zookeeper.extract import Loaded, load, read, reading, windows_of
from zookeeper.extract.packing import packs
from zookeeper.extract.states import Batch, hidden, run
from zookeeper.records import Corpus, Reading

PACKED = ("bert", "roberta", "gpt2", "llama")
PLAIN = tuple(tuple(line.split()) for line in TEXT)
# Of all lengths, some alike, some in several windows.
SENTENCES = (*PLAIN, *(line[:n] for n, line in enumerate(PLAIN[:9], 1)), sum(PLAIN[:6], ()))
TEXTS = Corpus(SENTENCES, "word")
SETTLED = Reading(pooling="mean").settled("word")


def states_of(loaded: Loaded) -> Callable[[Batch], Mapping[str, torch.Tensor]]:
    return lambda batch: hidden(run(loaded.model, batch, "last"), "last")


@torch.inference_mode()
def takes_rows(folder: Path, change: Callable[[Any], object] = lambda _: None, **how: Any) -> bool:
    """Whether a checkpoint, once changed, is trusted with rows; if not, it reads padded windows as before."""
    loaded = load(folder, Reading(**how).settled("word"))
    change(loaded.model)
    windows = windows_of(TEXTS, loaded, SETTLED)
    batch = windows.batch(np.arange(4), loaded.pad)
    before = states_of(loaded)(batch)["last"]
    taken = packs(loaded, states_of(loaded))
    if not taken:
        assert states_of(loaded)(batch)["last"].equal(before)
    return taken


def of_config(config: Any, folder: Path) -> Path:
    """A checkpoint with random weights, with the tokenizer of the tiny RoBERTa."""
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints["roberta"], tmp_path / "checkpoint"))


@pytest.fixture
def padded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Extracts with padded windows, whatever the model can do."""

    def padded(*args: Any, **options: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(reading, "packs", lambda *_: False)
            return extract(*args, **options)

    return padded


SIZES = {
    "vocab_size": 400,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


# Which models


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", PACKED)
def test_models_with_plain_attention_take_rows(checkpoints: dict[str, Path], family: str, dtype: str) -> None:
    assert takes_rows(checkpoints[family], dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            lambda: transformers.MistralConfig(
                sliding_window=24, max_position_embeddings=48, num_key_value_heads=2, **SIZES
            ),
            id="a window that slides, wider than what is tried",
        ),
        pytest.param(
            lambda: transformers.ModernBertConfig(
                local_attention=24, max_position_embeddings=48, pad_token_id=0, **SIZES
            ),
            id="local attention",
        ),
        pytest.param(
            lambda: transformers.MPNetConfig(max_position_embeddings=50, pad_token_id=1, **SIZES),
            id="a bias by distance",
        ),
        pytest.param(
            lambda: transformers.BloomConfig(vocab_size=400, hidden_size=16, n_layer=2, n_head=2), id="alibi"
        ),
        pytest.param(
            lambda: transformers.DebertaV2Config(
                max_position_embeddings=48, relative_attention=True, pos_att_type=["p2c", "c2p"], **SIZES
            ),
            id="disentangled attention",
        ),
        pytest.param(
            lambda: transformers.MambaConfig(vocab_size=400, hidden_size=16, num_hidden_layers=2),
            id="no attention at all",
        ),
        pytest.param(
            lambda: transformers.BartConfig(
                vocab_size=400, d_model=16, encoder_layers=2, decoder_layers=1, max_position_embeddings=48
            ),
            id="no say in positions",
        ),
    ],
)
def test_other_models_are_read_padded(folder: Path, config: Callable[[], Any], dtype: str) -> None:
    assert not takes_rows(of_config(config(), folder), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_model_that_does_not_listen_to_positions_is_read_padded(
    checkpoints: dict[str, Path], dtype: str
) -> None:
    def deafen(model: Any) -> None:
        forward = model.embeddings.forward
        model.embeddings.forward = lambda **inputs: forward(**{**inputs, "position_ids": None})

    assert not takes_rows(checkpoints["bert"], deafen, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_model_that_looks_a_little_at_its_neighbours_is_read_padded(
    checkpoints: dict[str, Path], dtype: str
) -> None:
    def leak(model: Any) -> None:
        model.encoder.layer[0].register_forward_hook(
            lambda _, __, made: made + 0.02 * made.mean(dim=1, keepdim=True)
        )

    assert not takes_rows(checkpoints["bert"], leak, dtype=dtype)


def test_damaged_model_is_not_trusted(checkpoints: dict[str, Path]) -> None:
    loaded = load(checkpoints["bert"], SETTLED)
    loaded.model.encoder.layer[0].output.dense.weight.data.fill_(float("nan"))
    assert not packs(loaded, states_of(loaded))


# The same features


@pytest.mark.parametrize("layer", ["last", "0", "1", "mean", "all"])
@pytest.mark.parametrize("family", PACKED)
def test_rows_give_the_features_of_padded_windows(
    checkpoints: dict[str, Path], padded: Callable[..., Any], family: str, layer: str
) -> None:
    how = Reading(layer=layer, pooling="mean", max_length=20)
    rows, wanted = extract(checkpoints[family], TEXTS, how), padded(checkpoints[family], TEXTS, how)
    assert rows.layers.keys() == wanted.layers.keys()
    for name, layers in wanted.layers.items():
        assert np.abs(rows.layers[name] - layers).max() <= 1e-5


@pytest.mark.parametrize("budget", [1, 30, 100_000])
def test_how_many_windows_a_row_has_does_not_matter(
    checkpoints: dict[str, Path], padded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    wanted = padded(checkpoints["llama"], TEXTS, SETTLED).features
    monkeypatch.setattr(reading, "_TOKENS_PER_ROW_ON_CPU", budget)
    assert np.abs(extract(checkpoints["llama"], TEXTS, SETTLED).features - wanted).max() <= 1e-5


@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
def test_padding_token_in_a_text_makes_no_difference_to_rows(
    checkpoints: dict[str, Path], padded: Callable[..., Any], family: str
) -> None:
    """RoBERTa counts positions by it."""
    odd = Corpus((*PLAIN[:2], ("the", "<pad>", "zoo", "<pad>", "sleeps"), *PLAIN[2:4]), "word")
    rows, wanted = extract(checkpoints[family], odd, SETTLED), padded(checkpoints[family], odd, SETTLED)
    assert np.abs(rows.features - wanted.features).max() <= 1e-5


@pytest.mark.parametrize(
    ("unit", "kind"),
    [("word", "BertForTokenClassification"), ("sentence", "BertForSequenceClassification")],
)
def test_predictions_of_heads_are_those_of_padded_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: Any, kind: str
) -> None:
    folder = make_checkpoint("bert", tmp_path / "bert")
    torch.manual_seed(1)
    model = getattr(transformers, kind).from_pretrained(folder, num_labels=5)
    model.classifier.weight.data.normal_(std=30)
    model.save_pretrained(folder)
    texts = Corpus(SENTENCES, unit)

    def predictions() -> Any:
        (block,) = read(folder, texts, Reading(layer="all", max_length=20), head=True)
        return block.source_probs

    rows = predictions()
    monkeypatch.setattr(reading, "packs", lambda *_: False)
    assert np.abs(rows - predictions()).max() <= 1e-5
    assert np.ptp(rows, axis=0).max() > 1e-3


@pytest.mark.parametrize("family", (*PACKED, "t5"))
def test_half_precision_gives_nearly_the_same_features(checkpoints: dict[str, Path], family: str) -> None:
    full, half = (
        extract(checkpoints[family], TEXTS, Reading(dtype=dtype)).features
        for dtype in ("float32", "bfloat16")
    )
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - full) < 0.03 * np.linalg.norm(full)


# Rows


def test_rows_hold_every_window_once_the_longest_first(checkpoints: dict[str, Path]) -> None:
    loaded = load(checkpoints["bert"], SETTLED)
    windows = windows_of(TEXTS, loaded, SETTLED)
    rows = list(windows.rows(60))
    order = np.concatenate(rows)
    assert sorted(order) == list(range(windows.n_windows))
    assert (np.diff(windows.lengths[order]) <= 0).all()
    assert all(windows.lengths[row[:-1]].sum() < 60 for row in rows)
    assert len(rows) <= 1 + windows.lengths.sum() // 60


def test_row_has_no_padding_and_positions_of_its_own_for_every_window(checkpoints: dict[str, Path]) -> None:
    loaded = load(checkpoints["roberta"], SETTLED)
    windows = windows_of(TEXTS, loaded, SETTLED)
    chosen = np.array([3, 0])
    row = windows.row(chosen, first=1)
    lengths = windows.lengths[chosen]
    assert row["ids"].shape == (1, lengths.sum())
    assert row["places"][0].tolist() == [1 + i for length in lengths for i in range(length)]


def test_rows_are_filled_to_few_lengths_and_nothing_of_the_filling_counts(
    checkpoints: dict[str, Path],
) -> None:
    loaded = load(checkpoints["roberta"], SETTLED)
    windows = windows_of(TEXTS, loaded, SETTLED)
    chosen = np.array([3, 0])
    plain, filled = (windows.row(chosen, 1, pad=loaded.pad, filler=filler) for filler in (0, 5))
    n = plain["ids"].shape[1]
    assert filled["ids"][0, n:].tolist() == [loaded.pad] * 5
    assert filled["places"][0, n:].tolist() == [1] * 5
    assert all(filled[name][:, :n].equal(plain[name]) for name in ("ids", "places", "mask"))
    assert all(filled[name].equal(plain[name]) for name in ("positions", "slots", "weights"))
