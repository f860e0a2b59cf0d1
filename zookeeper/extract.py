"""A checkpoint and a corpus to features: one row for each word, or sentence, whatever the tokenizer.

Sentences longer than a model's window are read in windows that overlap by half, and each sub-word counts
in the window in which it stands furthest from a cut edge. A word that comes to no sub-word repeats the row
before it in its sentence (or the first after it): it adds nothing to what was read so far. So the rows are
those of the corpus for every checkpoint alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging as transformers_logging

from zookeeper.errors import CheckpointError, ZooError
from zookeeper.layouts import INDEX, unknown_shards
from zookeeper.records import Corpus, Pooling, Reading, Unit

# Longer windows cost memory quadratically and no probe needs them.
_LONGEST_WINDOW = 2048
_DEFAULT_WINDOW = 512
# Sub-words of a batch: on an accelerator so many as fill it, on a processor so many as stay in its caches,
# which is fewer where states are wide.
_TOKENS_PER_BATCH = 32768
_NUMBERS_PER_BATCH_ON_CPU = 2**18
# Numbers that are kept while sentences go through the model, over all layers.
_NUMBERS_PER_BLOCK = 2**24
# A head with more outputs is a language model's, whose words are no classes.
_MOST_SOURCE_CLASSES = 1024
_TOKEN_HEAD, _SEQUENCE_HEAD = "ForTokenClassification", "ForSequenceClassification"
_PROBS = "source_probs"

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
class Block:
    """Some rows of a corpus, as a checkpoint reads them.

    Attributes:
        rows: (r,), which.
        states: (r, d), float32, of each layer that was asked for, by name.
        source_probs: (r, z), predictions of the checkpoint's own head; None where it was not asked.
        n_empty: rows whose word came to no sub-word.
    """

    rows: NDArray[np.int64]
    states: Mapping[str, NDArray[np.float32]]
    source_probs: NDArray[np.float32] | None
    n_empty: int


@dataclass(frozen=True, eq=False)
class _Window:
    """Some sub-words of a sentence, as they go through the model, and where their states go.

    A slot is what sub-words are pooled into: the row of a word or of a sentence, or half that of a pair.

    Attributes:
        ids: sub-words with the special tokens around them.
        positions: (t,) positions in `ids` that count.
        slots: (t,) slot to which each adds.
        weights: (t,) with which it adds.
        share: of the sentence's windows that count.
    """

    ids: list[int]
    positions: NDArray[np.int64]
    slots: NDArray[np.int64]
    weights: NDArray[np.float32]
    share: float


@dataclass(frozen=True, eq=False)
class _Item:
    """What is read together: a sentence, or both of a pair.

    Attributes:
        slots: first, and one past the last.
        windows: over its sentences.
        empty: slots that no sub-word makes, with the slot that each repeats.
    """

    slots: tuple[int, int]
    windows: list[_Window]
    empty: list[tuple[int, int | None]]

    @property
    def length(self) -> int:
        """Sub-words of its longest window."""
        return max((len(window.ids) for window in self.windows), default=0)


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
    """Features of a corpus at one layer; see `read`.

    Args:
        folder: as `read`.
        corpus: as `read`.
        reading: of one layer.
        device: as `read`.
        advance: as `read`.
    """
    features: NDArray[np.float32] | None = None
    n_empty = 0
    for block in read(folder, corpus, reading, device=device, advance=advance):
        (states,) = block.states.values()
        if features is None:
            features = np.zeros((corpus.n_rows, states.shape[1]), dtype=np.float32)
        features[block.rows] = states
        n_empty += block.n_empty
    if features is None:
        raise CheckpointError("there is nothing to read.")
    return Extracted(features, n_empty)


def read(
    folder: Path,
    corpus: Corpus,
    reading: Reading,
    *,
    head: bool = False,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Block]:
    """Run a checkpoint over a corpus, and give its rows block by block, the longest sentences first.

    Reads `folder` only; never runs code from it, never unpickles, never asks the network. Memory does not
    grow with the number of rows but for the corpus itself and its sub-words.

    Args:
        folder: configuration, tokenizer and safetensors weights.
        corpus: n rows. The row of a pair is [|u - v|, u * v] of the vectors u and v of its sentences
            (Conneau et al. 2017, https://arxiv.org/abs/1705.02364).
        reading: layer (``"all"`` for each by number, and their mean), pooling, precision and window.
        head: whether to read the predictions of the checkpoint's own head too, where it has one that says
            something of such rows.
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
        model = _load_model(folder, reading, corpus.unit if head else None, device)
        window = _window_length(model, tokenizer, reading)
        items = _items(corpus, tokenizer, reading.pooling, window)
        vocabulary = len(model.get_input_embeddings().weight)
    highest = max((max(w.ids) for item in items for w in item.windows), default=-1)
    if highest < 0:
        raise CheckpointError("it makes no sub-words of this text at all.")
    if highest >= vocabulary:
        raise CheckpointError(f"its tokenizer gives id {highest}, its embeddings end at {vocabulary - 1}.")
    passes = _Passes(model, tokenizer, vocabulary, reading.layer, device)
    items.sort(key=lambda item: item.length, reverse=True)
    for chosen in _blocks(items, _slots_per_block(model, reading.layer)):
        yield passes.block(chosen, corpus.unit, advance)


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


def _load_model(folder: Path, reading: Reading, head_for: Unit | None, device: str) -> Any:
    """The part of a checkpoint that reads: the encoder, or the decoder where there is no encoder.

    Args:
        folder: its files.
        reading: with the precision.
        head_for: what a row is, if a head that classifies such rows is to come along.
        device: torch device.

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
    auto = _auto_class(config, head_for)
    model, info = auto.from_pretrained(
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
            if auto is not AutoModel:  # a head that was not saved is no head; what it stands on may be whole
                return _load_model(folder, reading, None, device)
            raise CheckpointError(
                f"{len(found)} of its weights are {fault}, such as {found[0]}.",
                why="the file does not fit the configuration; made-up weights would be measured",
            )
    for module in part.modules():
        for name, child in module.named_children():
            # The same function, which torch computes in one pass and transformers in seven.
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return part.eval().to(device)


def _auto_class(config: Any, head_for: Unit | None) -> Any:
    """What loads a checkpoint: with the head it was saved with, where that classifies such rows."""
    heads = {
        "word": (_TOKEN_HEAD, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoModelForTokenClassification),
        "sentence": (
            _SEQUENCE_HEAD,
            MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
            AutoModelForSequenceClassification,
        ),
    }
    if head_for not in heads or config.is_encoder_decoder:
        return AutoModel
    # Numbers, and labels that do not exclude each other, are no probabilities of classes.
    if getattr(config, "problem_type", None) not in (None, "single_label_classification"):
        return AutoModel
    if not 2 <= config.num_labels <= _MOST_SOURCE_CLASSES:
        return AutoModel
    ending, known, auto = heads[head_for]
    saved = (config.architectures or [""])[0]
    return auto if saved.endswith(ending) and type(config) in known else AutoModel


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


def _items(corpus: Corpus, tokenizer: Any, pooling: Pooling, length: int) -> list[_Item]:
    """The sentences, or pairs, of a corpus as windows of at most `length` sub-words."""
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
    by_word = corpus.unit == "word"
    items: list[_Item] = []
    first = 0
    for words, indices in zip(corpus.sentences, by_sentence, strict=True):
        n_slots = len(words) if by_word else 1
        pieces = _Pieces.of([encoded.word_ids(i) for i in indices], step, whole=not by_word)
        weights = _pooling_weights(pieces.row, pooling)
        counts = [np.flatnonzero((pieces.window == i) & (weights > 0)) for i in range(len(indices))]
        share = 1 / max(sum(map(bool, map(len, counts))), 1)
        windows = [
            _Window(
                ids=encoded["input_ids"][index],
                positions=pieces.position[here],
                slots=first + pieces.row[here],
                weights=weights[here],
                share=share,
            )
            for index, here in zip(indices, counts, strict=True)
            if len(here)
        ]
        made = np.zeros(n_slots, dtype=bool)
        made[pieces.row] = True
        items.append(_Item((first, first + n_slots), windows, list(_stand_ins(made, first))))
        first += n_slots
    return (
        [_paired(*pair) for pair in zip(items[::2], items[1::2], strict=True)]
        if corpus.unit == "pair"
        else items
    )


def _paired(one: _Item, other: _Item) -> _Item:
    return _Item((one.slots[0], other.slots[1]), one.windows + other.windows, one.empty + other.empty)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The sub-words of a sentence in order: row in the sentence, window and position where each counts."""

    row: NDArray[np.int64]
    window: NDArray[np.int64]
    position: NDArray[np.int64]

    @classmethod
    def of(cls, word_ids: Sequence[Sequence[int | None]], step: int, whole: bool) -> _Pieces:
        """From the word of each position of each window; `step` sub-words lie between window starts."""
        if len(word_ids) == 1:
            position = np.array([i for i, word in enumerate(word_ids[0]) if word is not None], dtype=np.int64)
            row = np.array([word for word in word_ids[0] if word is not None], dtype=np.int64)
            return cls(row * (not whole), np.zeros_like(row), position)
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


def _blocks(items: Sequence[_Item], most: int) -> Iterator[list[_Item]]:
    """Items in their order, together up to so many slots."""
    block: list[_Item] = []
    n_slots = 0
    for item in items:
        size = item.slots[1] - item.slots[0]
        if block and n_slots + size > most:
            yield block
            block, n_slots = [], 0
        block.append(item)
        n_slots += size
    if block:
        yield block


def _slots_per_block(model: Any, layer: str) -> int:
    """Slots whose states, at all layers that are kept, make a block."""
    layers = (getattr(model.config, "num_hidden_layers", None) or 24) + 2 if layer == "all" else 1
    return max(1, _NUMBERS_PER_BLOCK // (_width(model) * int(layers)))


def _width(model: Any) -> int:
    """Width of its hidden states, as its configuration says, or a guess."""
    return int(getattr(model.config, "hidden_size", None) or 1024)


class _Passes:
    """Passes through a model, block by block.

    Args:
        model: as `_load_model` gives it.
        tokenizer: of the same checkpoint.
        vocabulary: rows of its embeddings.
        layer: of the reading.
        device: torch device.
    """

    def __init__(self, model: Any, tokenizer: Any, vocabulary: int, layer: str, device: str) -> None:
        self._model = model
        self._pad = min(tokenizer.pad_token_id or 0, vocabulary - 1)
        self._layer = layer
        self._device = device
        self._padding = model.config.model_type not in _READS_PADDING
        self._budget = _TOKENS_PER_BATCH
        if torch.device(device).type == "cpu":
            self._budget = min(max(_NUMBERS_PER_BATCH_ON_CPU // _width(model), 512), 2048)
        if type(model).__name__.endswith(_SEQUENCE_HEAD):
            # Its head may look for the last sub-word that is no padding, by its own word for it.
            config = model.config.get_text_config()
            if config.pad_token_id is None or not 0 <= config.pad_token_id < vocabulary:
                self._padding, config.pad_token_id = False, -1
            else:
                self._pad = config.pad_token_id

    @torch.inference_mode()
    def block(self, items: Sequence[_Item], unit: Unit, advance: Callable[[int], None]) -> Block:
        """The rows of some items."""
        slots = np.sort(np.concatenate([np.arange(*item.slots) for item in items]))
        halves = 2 if unit == "pair" else 1
        begun = np.zeros(len(slots), dtype=bool)
        kept: dict[str, torch.Tensor] = {}
        for batch in self._batches([window for item in items for window in item.windows]):
            here = np.searchsorted(slots, np.concatenate([window.slots for window in batch]))
            with _theirs():
                self._pool(batch, self._model_of(batch), here, len(slots), kept)
            before = begun.sum() // halves
            begun[here] = True
            advance(int(begun.sum() // halves - before))
        advance(len(slots) // halves - int(begun.sum() // halves))
        empty = [pair for item in items for pair in item.empty]
        for slot, stand_in in empty:
            if stand_in is not None:
                to, source = np.searchsorted(slots, [slot, stand_in])
                for states in kept.values():
                    states[to] = states[source]
        arrays = {name: states.cpu().numpy() for name, states in kept.items()}
        probs = arrays.pop(_PROBS, None)
        if probs is not None:
            # Of a text without a sub-word the head says nothing.
            probs[~probs.any(axis=1)] = 1 / probs.shape[1]
        if self._layer == "all":
            arrays["mean"] = np.mean([arrays[str(i)] for i in range(1, len(arrays))], axis=0)
        if unit == "pair":
            arrays = {name: _compared(states[::2], states[1::2]) for name, states in arrays.items()}
        found = [*arrays.values(), *([] if probs is None else [probs])]
        if not all(np.isfinite(states).all() for states in found):
            raise CheckpointError(
                "its features are not finite (NaN or infinity).", why="the weights may be damaged"
            )
        return Block(slots[::halves] // halves, arrays, probs, len(empty))

    def _batches(self, windows: list[_Window]) -> Iterator[list[_Window]]:
        """Windows of like length together, or of the same, up to a budget of sub-words."""
        batch: list[_Window] = []
        for window in sorted(windows, key=lambda w: len(w.ids), reverse=True):
            if batch:
                longest = len(batch[0].ids)
                full = (len(batch) + 1) * longest > self._budget
                if full or not (self._padding or len(window.ids) == longest):
                    yield batch
                    batch = []
            batch.append(window)
        if batch:
            yield batch

    def _model_of(self, batch: list[_Window]) -> Any:
        """What the model makes of a batch."""
        longest = len(batch[0].ids)
        ids = torch.tensor([window.ids + [self._pad] * (longest - len(window.ids)) for window in batch])
        lengths = torch.tensor([len(window.ids) for window in batch])
        return self._model(
            input_ids=ids.to(self._device),
            attention_mask=(torch.arange(longest) < lengths[:, None]).long().to(self._device),
            output_hidden_states=self._layer != "last",
            return_dict=True,
        )

    def _pool(
        self,
        batch: list[_Window],
        output: Any,
        slots: NDArray[np.int64],
        n_slots: int,
        kept: dict[str, torch.Tensor],
    ) -> None:
        """Add the states of a batch to what is kept of each slot."""
        longest = len(batch[0].ids)
        index = np.concatenate([i * longest + window.positions for i, window in enumerate(batch)])
        weights = np.concatenate([window.weights for window in batch])
        states = self._states(output)
        logits = getattr(output, "logits", None)
        if logits is not None and logits.ndim == 3:
            states[_PROBS] = logits.float().softmax(dim=-1)
        positions, to = torch.from_numpy(index).to(self._device), torch.from_numpy(slots).to(self._device)
        scale = None if (weights == 1).all() else torch.from_numpy(weights).to(self._device)[:, None]
        for name, state in states.items():
            chosen = state.reshape(-1, state.shape[-1])[positions].float()
            _add(kept, name, n_slots, to, chosen if scale is None else chosen * scale)
        if logits is not None and logits.ndim == 2:
            first = np.cumsum([0] + [len(window.slots) for window in batch[:-1]])
            share = torch.tensor([[window.share] for window in batch], device=self._device)
            _add(kept, _PROBS, n_slots, to[first], logits.float().softmax(dim=-1) * share)

    def _states(self, output: Any) -> dict[str, torch.Tensor]:
        """Hidden states (b, t, d) of the layers that are read, by name."""
        if self._layer == "last":
            return {"last": output.last_hidden_state}
        hidden = output.hidden_states
        if self._layer == "all":
            if len(hidden) < 2:
                raise CheckpointError("it has embeddings only, and no layers.")
            return {str(number): states for number, states in enumerate(hidden)}
        if self._layer == "mean":
            return {"mean": torch.stack(hidden[1:]).mean(dim=0)}
        try:
            return {self._layer: hidden[int(self._layer)]}
        except IndexError:
            raise CheckpointError(
                f"it has no layer {self._layer}.", why=f"its layers are 0 (embeddings) to {len(hidden) - 1}"
            ) from None


def _add(
    kept: dict[str, torch.Tensor], name: str, n_slots: int, slots: torch.Tensor, states: torch.Tensor
) -> None:
    """Add (t, d) states to (n_slots, d) of that name, which are zero at first."""
    if name not in kept:
        kept[name] = torch.zeros((n_slots, states.shape[1]), dtype=torch.float32, device=states.device)
    kept[name].index_add_(0, slots, states)


def _compared(u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
    """(r, 2d): how two vectors differ, and where they agree."""
    return np.concatenate([np.abs(u - v), u * v], axis=1)
