"""A checkpoint from its files, as a stranger's: no code of it runs, and no weight is made up."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging as transformers_logging

from zookeeper.errors import CheckpointError, ZooError
from zookeeper.extract.preflight import Admitted, admitted
from zookeeper.layouts import tokenizer_of
from zookeeper.records import Reading, Unit

# Longer windows cost memory quadratically and no probe needs them.
_LONGEST_WINDOW = 2048
_DEFAULT_WINDOW = 512
# A head with more outputs is a language model's, whose words are no classes.
_MOST_SOURCE_CLASSES = 1024
# Numbers that a model may make up for itself, such as masks, beside those that go by the size of its files.
_MOST_BUFFERS = 2**28
# Every printable character of ASCII, and a few others; an honest tokenizer makes four bytes of the worst.
_CANARY = ["The", "keeper", "counted", *map(chr, range(33, 127)), "é", "ß", "Ж", "中", "한", "😀"]
_MOST_GROWTH = 64
_MADE_UP = "the files do not fit the configuration; made-up weights would be measured"
TOKEN_HEAD, SEQUENCE_HEAD = "ForTokenClassification", "ForSequenceClassification"

# Models that mix neighbours before they look at the attention mask: what pads a window would change it.
_READS_PADDING = {"convbert", "fnet", "nystromformer"}

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, eq=False)
class Outline:
    """What decides which sub-words of a text a checkpoint reads.

    Attributes:
        tokenizer: a fast one.
        window: longest input in sub-words, special tokens included.
        vocabulary: rows of its embeddings.
    """

    tokenizer: Any
    window: int
    vocabulary: int


@dataclass(frozen=True, eq=False)
class Loaded(Outline):
    """A checkpoint, ready to read.

    Attributes:
        model: the part of it that reads, in evaluation mode.
    """

    model: Any

    @property
    def pad(self) -> int:
        """The id that fills up a window; what it is does not matter, as long as it has an embedding."""
        return min(self.tokenizer.pad_token_id or 0, self.vocabulary - 1)

    @property
    def mixes(self) -> bool:
        """Whether windows of different lengths may go through it together."""
        return self.model.config.model_type not in _READS_PADDING

    @property
    def first_position(self) -> int:
        """The position of the first sub-word of a window, among its embeddings of positions."""
        return _first_position(self.model)

    @property
    def width(self) -> int:
        """Width of its hidden states, as its configuration says, or a guess."""
        return int(getattr(self.model.config, "hidden_size", None) or 1024)


@dataclass(frozen=True, eq=False)
class Opened(Outline):
    """A checkpoint of whose weights nothing was read but which there are; see `opened`.

    Attributes:
        door: its files.
        config: its configuration.
        auto: what builds a model of it.
        sketch: that model, without weights.
    """

    door: Admitted
    config: Any
    auto: Any
    sketch: Any

    def load(self, dtype: str, device: str = "cpu") -> Loaded:
        """The checkpoint with its weights.

        Args:
            dtype: as in `Reading`.
            device: torch device.

        Raises:
            CheckpointError: it cannot be read, or its weights are not those of its configuration.
        """
        with theirs():
            model = _load_model(self, dtype)
            _check_finite(model)
            return Loaded(self.tokenizer, self.window, self.vocabulary, model.to(device))


@contextmanager
def theirs() -> Iterator[None]:
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


def load(folder: Path, reading: Reading, *, head_for: Unit | None = None, device: str = "cpu") -> Loaded:
    """A checkpoint from its files: configuration, tokenizer and safetensors weights.

    Reads `folder` only; never runs code from it, never unpickles, never asks the network.

    Args:
        folder: its files.
        reading: with precision and window.
        head_for: what a row is, if a head that classifies such rows is to come along.
        device: torch device.

    Raises:
        CheckpointError: it cannot be read, or reads no text.
    """
    with opened(folder, reading, head_for=head_for) as checkpoint:
        return checkpoint.load(reading.dtype, device)


@contextmanager
def opened(folder: Path, reading: Reading, *, head_for: Unit | None = None) -> Iterator[Opened]:
    """A checkpoint before its weights are read, of which no more than the headers was looked at.

    Args:
        folder: as `load`.
        reading: with the window.
        head_for: as `load`.

    Raises:
        CheckpointError: it cannot be read, or reads no text.
    """
    with ExitStack() as stack:
        with theirs():
            door = stack.enter_context(admitted(folder))
            config = AutoConfig.from_pretrained(door.folder, local_files_only=True, trust_remote_code=False)
            _check_input(config)
            tokenizer = AutoTokenizer.from_pretrained(
                door.folder, local_files_only=True, trust_remote_code=False, truncation_side="right"
            )
            _check_tokenizer(tokenizer, door.folder)
            if hasattr(config, "use_cache"):
                config.use_cache = False  # keys and values are for generating
            auto = _auto_class(config, head_for)
            sketch = _sketch(auto, config, door.weights.elements)
            part = _part_of(sketch)
            window = _window_length(part, tokenizer, reading)
            vocabulary = len(part.get_input_embeddings().weight)
            checkpoint = Opened(tokenizer, window, vocabulary, door, config, auto, sketch)
        yield checkpoint


def _check_input(config: Any) -> None:
    """Refuse models of images or sound."""
    kind = MODEL_MAPPING.get(type(config), None)
    for one in kind if isinstance(kind, tuple) else (kind,):
        if getattr(one, "main_input_name", "input_ids") != "input_ids":
            raise CheckpointError("it reads no text.", why=f"{one.__name__} reads {one.main_input_name}")


def _check_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer that does not tell words apart, or makes far too much of a text."""
    if not tokenizer.is_fast:
        raise CheckpointError(
            "it has no fast tokenizer.", why="words cannot be told apart in what it makes of a text"
        )
    if tokenizer_of(path.name for path in folder.iterdir()) is None:
        raise CheckpointError("it has no tokenizer.", why="transformers would make one up, without any words")
    normalizer = tokenizer.backend_tokenizer.normalizer
    made = [*map(normalizer.normalize_str, _CANARY)] if normalizer else []
    ids = tokenizer(_CANARY, is_split_into_words=True)["input_ids"]
    grown = max(sum(map(len, made)), len(ids))
    if grown > _MOST_GROWTH * (sum(map(len, _CANARY)) + 1):
        raise CheckpointError(f"its tokenizer makes {grown:,} pieces of {len(_CANARY)} short words.")
    if not set(ids) - set(tokenizer.all_special_ids):
        raise CheckpointError("its tokenizer knows no word and no letter.", why="it may lack its vocabulary")


def _sketch(auto: Any, config: Any, elements: int) -> Any:
    """A model without weights, as its configuration describes it.

    Args:
        auto: what builds it.
        config: of the checkpoint.
        elements: numbers in its files.

    Raises:
        CheckpointError: it would be far larger than its files; all of it would be allocated, and made up.
    """
    with torch.device("meta"):
        model = auto.from_config(copy.deepcopy(config), trust_remote_code=False)
    part = _part_of(model)
    for wanted, most in (
        (_size(part.parameters()), 1.5 * elements),
        # A decoder may be left out of the files of an encoder, and masks are made for each layer.
        (_size(model.parameters()), 3 * elements),
        (_size(model.buffers()), 3 * elements + _MOST_BUFFERS),
    ):
        if wanted > most:
            raise CheckpointError(
                f"its configuration asks for {wanted:,} numbers and its files hold {elements:,}: "
                "weights are missing.",
                why=_MADE_UP,
            )
    return model


def _size(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _part_of(model: Any) -> Any:
    """The part that reads: the encoder, or all of it where there is no encoder and decoder.

    Not by `is_encoder_decoder`: encoders that were saved without their decoder deny it.
    """
    return model.get_encoder() if hasattr(model, "encoder") and hasattr(model, "decoder") else model


def _load_model(checkpoint: Opened, dtype: str) -> Any:
    """The part of a checkpoint that reads: the encoder, or the decoder where there is no encoder.

    Raises:
        CheckpointError: weights are missing or of another shape; transformers would make them up.
    """
    door, config = checkpoint.door, checkpoint.config
    model, info = checkpoint.auto.from_pretrained(
        door.folder,
        config=copy.deepcopy(config),
        dtype=getattr(torch, dtype),
        attn_implementation=checkpoint.sketch.config._attn_implementation,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    part = _part_of(model)
    used = {names[id(parameter)] for parameter in part.parameters() if id(parameter) in names}
    # A pooler is not on the way to the hidden states; classifiers and language models come without one.
    misshapen = {name for name, *_ in info["mismatched_keys"]}
    for fault, made_up in (("missing", info["missing_keys"]), ("of another shape", misshapen)):
        if found := sorted(n for n in made_up if n in used and not n.startswith("pooler.")):
            if checkpoint.auto is not AutoModel:
                # A head that was not saved is no head; what it stands on may be whole.
                sketch = _sketch(AutoModel, config, door.weights.elements)
                return _load_model(replace(checkpoint, auto=AutoModel, sketch=sketch), dtype)
            raise CheckpointError(
                f"{len(found)} of its weights are {fault}, such as {found[0]}.",
                why=_MADE_UP,
            )
    for module in part.modules():
        for name, child in module.named_children():
            # The same function, which torch computes in one pass and transformers in seven.
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return part.eval()


def _check_finite(model: torch.nn.Module) -> None:
    """Refuse weights that are no numbers, which need not show in features."""
    for name, weights in model.named_parameters():
        if weights.numel() and not torch.stack(torch.aminmax(weights.detach())).isfinite().all():
            raise CheckpointError(
                f"its weights are not finite (NaN or infinity), such as {name}.", why="they may be damaged"
            )


def _auto_class(config: Any, head_for: Unit | None) -> Any:
    """What loads a checkpoint: with the head it was saved with, where that classifies such rows."""
    heads = {
        "word": (TOKEN_HEAD, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoModelForTokenClassification),
        "sentence": (
            SEQUENCE_HEAD,
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
