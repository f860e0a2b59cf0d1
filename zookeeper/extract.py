"""A checkpoint and a corpus to features: one row for each word, or sentence, whatever the tokenizer.

Sentences longer than a model's window are read in windows that overlap by half, and each sub-word counts
in the window in which it stands furthest from a cut edge. A word that comes to no sub-word repeats the row
before it in its sentence (or the first after it): it adds nothing to what was read so far. So the rows are
those of the corpus for every checkpoint alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from zookeeper.errors import CheckpointError, ZooError
from zookeeper.layouts import INDEX, unknown_shards
from zookeeper.records import Corpus, Pooling, Reading

# Longer windows cost memory quadratically and no probe needs them.
_LONGEST_WINDOW = 2048
_DEFAULT_WINDOW = 512
_TOKENS_PER_BATCH = 4096

# Models that mix neighbours before they look at the attention mask: what pads a window would change it.
_READS_PADDING = {"convbert", "fnet", "nystromformer"}

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, eq=False)
class Extracted:
    """Features and how they came about.

    Attributes:
        features: (n, d), float32.
        n_empty: rows whose word came to no sub-word.
    """

    features: NDArray[np.float32]
    n_empty: int


@dataclass(frozen=True, eq=False)
class _Window:
    """Some sub-words of a sentence, as they go through the model, and where their states go.

    Attributes:
        ids: sub-words with the special tokens around them.
        positions: (t,) positions in `ids` that count.
        rows: (t,) row of the features to which each adds.
        weights: (t,) with which it adds.
    """

    ids: list[int]
    positions: NDArray[np.int64]
    rows: NDArray[np.int64]
    weights: NDArray[np.float32]


def resolve_device(name: str) -> str:
    """A torch device for ``auto`` or a name."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def extract(
    folder: Path,
    corpus: Corpus,
    reading: Reading,
    *,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda _: None,
) -> Extracted:
    """Run a checkpoint over a corpus.

    Reads `folder` only; never runs code from it, never unpickles, never asks the network.

    Args:
        folder: configuration, tokenizer and safetensors weights.
        corpus: n rows.
        reading: layer, pooling, precision and window.
        device: torch device.
        advance: called with the number of rows that were begun since; `corpus.n_rows` in all.

    Raises:
        CheckpointError: whatever keeps this checkpoint from being read, with the reason.
    """
    reading = reading.settled(corpus.unit)
    with _theirs():
        _check_shards(folder)
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, truncation_side="right"
        )
        if not tokenizer.is_fast:
            raise CheckpointError(
                "it has no fast tokenizer.", why="words cannot be told apart in what it makes of a text"
            )
        model = _load_model(folder, reading, device)
        window = _window_length(model, tokenizer, reading)
        windows, empty = _windows(corpus, tokenizer, reading.pooling, window)
        vocabulary = len(model.get_input_embeddings().weight)
    highest = max((max(w.ids) for w in windows), default=0)
    if highest >= vocabulary:
        raise CheckpointError(f"its tokenizer gives id {highest}, its embeddings end at {vocabulary - 1}.")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    features: torch.Tensor | None = None
    begun = np.zeros(corpus.n_rows, dtype=bool)
    for batch in _batches(windows, padding=model.config.model_type not in _READS_PADDING):
        with _theirs():
            states = _states(model, batch, min(pad, vocabulary - 1), reading.layer, device)
        if features is None:
            features = torch.zeros((corpus.n_rows, states.shape[-1]), dtype=torch.float32)
        for window_, state in zip(batch, states, strict=True):
            chosen = state[torch.from_numpy(window_.positions)] * torch.from_numpy(window_.weights)[:, None]
            features.index_add_(0, torch.from_numpy(window_.rows), chosen)
        n_begun = begun.sum()
        begun[np.concatenate([w.rows for w in batch])] = True
        advance(int(begun.sum() - n_begun))
    if features is None:
        raise CheckpointError("it makes no sub-words of this text at all.")
    array = features.numpy()
    for row, model_row in empty:
        array[row] = array[model_row] if model_row is not None else 0.0
    advance(len(empty))
    if not np.isfinite(array).all():
        raise CheckpointError(
            "its features are not finite (NaN or infinity).", why="the weights may be damaged"
        )
    return Extracted(array, len(empty))


@contextmanager
def _theirs() -> Iterator[None]:
    """The boundary around somebody else's checkpoint, within which anything may be raised.

    Raises:
        CheckpointError: for whatever it was; panics of tokenizers are no Exception.
    """
    try:
        yield
    except (ZooError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            "it cannot be read.", why=f"{type(error).__name__}: {reason[0][:200] if reason else 'no message'}"
        ) from error


def _check_shards(folder: Path) -> None:
    """Refuse a shard index that names anything but safetensors shards of this folder."""
    index = folder / INDEX
    if not index.exists():
        return
    names = set(json.loads(index.read_bytes())["weight_map"].values())
    if unknown := unknown_shards(names, (path.name for path in folder.iterdir())):
        raise CheckpointError(f"its index names files that are no shards of it: {unknown[0]!r}.")


def _load_model(folder: Path, reading: Reading, device: str) -> Any:
    """The part of a checkpoint that reads: the encoder, or the decoder where there is no encoder.

    Raises:
        CheckpointError: weights are missing or of another shape; transformers would make them up.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if getattr(config, "transformers_weights", None) is not None:
        raise CheckpointError("its configuration names a weight file of its own, which was not pinned.")
    # Which code computes attention is ours to say: a configuration may name a kernel to fetch and import.
    for name in ("_attn_implementation", "_experts_implementation"):
        if getattr(config, name, None) is not None:
            setattr(config, name, None)
    model, info = AutoModel.from_pretrained(
        folder,
        config=config,
        dtype=getattr(torch, reading.dtype),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    # Not by `is_encoder_decoder`: encoders that were saved without their decoder deny it.
    part = model.get_encoder() if hasattr(model, "encoder") and hasattr(model, "decoder") else model
    used = {names[id(parameter)] for parameter in part.parameters() if id(parameter) in names}
    # A pooler is not on the way to the hidden states; classifiers and language models come without one.
    misshapen = {name for name, *_ in info["mismatched_keys"]}
    for fault, made_up in (("missing", info["missing_keys"]), ("of another shape", misshapen)):
        if found := sorted(n for n in made_up if n in used and not n.startswith("pooler.")):
            raise CheckpointError(
                f"{len(found)} of its weights are {fault}, such as {found[0]}.",
                why="the file does not fit the configuration; made-up weights would be measured",
            )
    return part.eval().to(device)


def _window_length(model: Any, tokenizer: Any, reading: Reading) -> int:
    """Longest input in sub-words, special tokens included."""
    limits = [_LONGEST_WINDOW]
    if tokenizer.model_max_length < 10**6:
        limits.append(int(tokenizer.model_max_length))
    config = model.config
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    # XLNet says -1: it has no limit.
    if positions and positions > 0:
        limits.append(int(positions) - _first_position(model))
    if len(limits) == 1:
        limits.append(_DEFAULT_WINDOW)
    if reading.max_length is not None:
        limits.append(reading.max_length)
    return min(limits)


def _first_position(model: torch.nn.Module) -> int:
    """Where positions begin: RoBERTa and its kin count from the padding's on, and so have fewer."""
    tables = [m for name, m in model.named_modules() if name.endswith("position_embeddings")]
    paddings = [getattr(table, "padding_idx", None) for table in tables]
    return max((padding + 1 for padding in paddings if padding is not None), default=0)


def _prefix(tokenizer: Any) -> str:
    """A space, if a word takes one to be read as in the middle of a text; some tokenizers see to it."""
    text = tokenizer("a a", add_special_tokens=False)["input_ids"]
    words = tokenizer(["a", "a"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    return "" if words == text else " "


def _windows(
    corpus: Corpus, tokenizer: Any, pooling: Pooling, length: int
) -> tuple[list[_Window], list[tuple[int, int | None]]]:
    """Windows over all sentences, and the rows that no sub-word makes with the row each repeats."""
    special = tokenizer.num_special_tokens_to_add()
    if length <= special + 1:
        raise CheckpointError(f"its window of {length} sub-words leaves no room for text.")
    overlap = (length - special) // 2
    step = length - special - overlap
    prefix = _prefix(tokenizer)
    encoded = tokenizer(
        # Half of a surrogate pair, which JSON can hold, is no text to a tokenizer.
        [[prefix + word.encode(errors="replace").decode() for word in words] for words in corpus.sentences],
        is_split_into_words=True,
        truncation=True,
        max_length=length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_attention_mask=False,
    )
    by_sentence: list[list[int]] = [[] for _ in corpus.sentences]
    for index, sentence in enumerate(encoded["overflow_to_sample_mapping"]):
        by_sentence[sentence].append(index)
    windows: list[_Window] = []
    empty: list[tuple[int, int | None]] = []
    first_row = 0
    for words, indices in zip(corpus.sentences, by_sentence, strict=True):
        n_rows = len(words) if corpus.unit == "word" else 1
        pieces = _Pieces.of([encoded.word_ids(i) for i in indices], step, corpus.unit == "sentence")
        weights = _pooling_weights(pieces.row, pooling)
        for i, index in enumerate(indices):
            here = (pieces.window == i) & (weights > 0)
            if here.any():
                windows.append(
                    _Window(
                        ids=encoded["input_ids"][index],
                        positions=pieces.position[here],
                        rows=first_row + pieces.row[here],
                        weights=weights[here],
                    )
                )
        made = np.zeros(n_rows, dtype=bool)
        made[pieces.row] = True
        empty += _stand_ins(made, first_row)
        first_row += n_rows
    return windows, empty


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The sub-words of a sentence in order: row in the sentence, window and position where each counts."""

    row: NDArray[np.int64]
    window: NDArray[np.int64]
    position: NDArray[np.int64]

    @classmethod
    def of(cls, word_ids: Sequence[Sequence[int | None]], step: int, whole: bool) -> _Pieces:
        """From the word of each position of each window; `step` sub-words lie between window starts."""
        columns = []
        for window, words in enumerate(word_ids):
            position = np.array([i for i, word in enumerate(words) if word is not None], dtype=np.int64)
            row = np.array([0 if whole else word for word in words if word is not None], dtype=np.int64)
            offset = np.arange(len(position))
            piece = window * step + offset
            columns.append(
                np.stack(
                    [piece, -np.minimum(offset, offset[::-1]), np.full(len(offset), window), position, row]
                )
            )
        table = np.concatenate(columns, axis=1)
        table = table[:, np.lexsort((table[2], table[1], table[0]))]
        _, first = np.unique(table[0], return_index=True)
        return cls(row=table[4, first], window=table[2, first], position=table[3, first])


def _pooling_weights(rows: NDArray[np.int64], pooling: Pooling) -> NDArray[np.float32]:
    """Weight of each sub-word in its row, for rows in order."""
    if not len(rows):
        return np.zeros(0, dtype=np.float32)
    change = np.flatnonzero(np.diff(rows)) + 1
    starts, ends = np.r_[0, change], np.r_[change, len(rows)]
    weights = np.zeros(len(rows), dtype=np.float32)
    if pooling == "first":
        weights[starts] = 1
    elif pooling == "last":
        weights[ends - 1] = 1
    else:
        weights[:] = np.repeat(1 / (ends - starts), ends - starts)
    return weights


def _stand_ins(made: NDArray[np.bool_], first_row: int) -> Iterator[tuple[int, int | None]]:
    """For each row that no sub-word makes, the one it repeats: the last before it, else the first after."""
    present = np.flatnonzero(made)
    for row in np.flatnonzero(~made):
        before = present[present < row]
        stand_in = before[-1] if len(before) else present[0] if len(present) else None
        yield first_row + int(row), None if stand_in is None else first_row + int(stand_in)


def _batches(windows: list[_Window], *, padding: bool) -> Iterator[list[_Window]]:
    """Windows of like length together, or of the same, up to a budget of sub-words; the longest first."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda w: len(w.ids), reverse=True):
        if batch:
            longest = len(batch[0].ids)
            full = (len(batch) + 1) * longest > _TOKENS_PER_BATCH
            if full or not (padding or len(window.ids) == longest):
                yield batch
                batch = []
        batch.append(window)
    if batch:
        yield batch


@torch.inference_mode()
def _states(model: torch.nn.Module, batch: list[_Window], pad: int, layer: str, device: str) -> torch.Tensor:
    """Hidden states (b, t, d) of one layer, on the CPU."""
    longest = len(batch[0].ids)
    ids = torch.full((len(batch), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(batch), longest), dtype=torch.long)
    for i, window in enumerate(batch):
        ids[i, : len(window.ids)] = torch.tensor(window.ids)
        mask[i, : len(window.ids)] = 1
    output = model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        output_hidden_states=layer != "last",
        return_dict=True,
    )
    if layer == "last":
        states = output.last_hidden_state
    elif layer == "mean":
        states = torch.stack(output.hidden_states[1:]).mean(dim=0)
    else:
        try:
            states = output.hidden_states[int(layer)]
        except IndexError:
            raise CheckpointError(
                f"it has no layer {layer}.",
                why=f"its layers are 0 (embeddings) to {len(output.hidden_states) - 1}",
            ) from None
    return states.float().cpu()  # type: ignore[no-any-return]
