"""A checkpoint from its files, as a stranger's: no code of it runs, and no weight is made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from zookeeper.layouts import INDEX, unknown_shards
from zookeeper.records import Reading, Unit

# Longer windows cost memory quadratically and no probe needs them.
_LONGEST_WINDOW = 2048
_DEFAULT_WINDOW = 512
# A head with more outputs is a language model's, whose words are no classes.
_MOST_SOURCE_CLASSES = 1024
TOKEN_HEAD, SEQUENCE_HEAD = "ForTokenClassification", "ForSequenceClassification"

# Models that mix neighbours before they look at the attention mask: what pads a window would change it.
_READS_PADDING = {"convbert", "fnet", "nystromformer"}

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, eq=False)
class Loaded:
    """A checkpoint, ready to read.

    Attributes:
        model: the part of it that reads, in evaluation mode.
        tokenizer: a fast one.
        window: longest input in sub-words, special tokens included.
    """

    model: Any
    tokenizer: Any
    window: int

    @property
    def vocabulary(self) -> int:
        """Rows of its embeddings."""
        return len(self.model.get_input_embeddings().weight)

    @property
    def pad(self) -> int:
        """The id that fills up a window; what it is does not matter, as long as it has an embedding."""
        return min(self.tokenizer.pad_token_id or 0, self.vocabulary - 1)

    @property
    def mixes(self) -> bool:
        """Whether windows of different lengths may go through it together."""
        return self.model.config.model_type not in _READS_PADDING

    @property
    def width(self) -> int:
        """Width of its hidden states, as its configuration says, or a guess."""
        return int(getattr(self.model.config, "hidden_size", None) or 1024)


def resolve_device(name: str) -> str:
    """A torch device for ``auto`` or a name."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


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
    with theirs():
        _check_shards(folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        _check_input(config)
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, truncation_side="right"
        )
        if not tokenizer.is_fast:
            raise CheckpointError(
                "it has no fast tokenizer.", why="words cannot be told apart in what it makes of a text"
            )
        model = _load_model(folder, config, reading, head_for, device)
        return Loaded(model, tokenizer, _window_length(model, tokenizer, reading))


def _check_shards(folder: Path) -> None:
    """Refuse a shard index that names anything but safetensors shards of this folder."""
    index = folder / INDEX
    if not index.exists():
        return
    names = set(json.loads(index.read_bytes())["weight_map"].values())
    if unknown := unknown_shards(names, (path.name for path in folder.iterdir())):
        raise CheckpointError(f"its index names files that are no shards of it: {unknown[0]!r}.")


def _check_input(config: Any) -> None:
    """Refuse models of images or sound."""
    kind = MODEL_MAPPING.get(type(config), None)
    for one in kind if isinstance(kind, tuple) else (kind,):
        if getattr(one, "main_input_name", "input_ids") != "input_ids":
            raise CheckpointError("it reads no text.", why=f"{one.__name__} reads {one.main_input_name}")


def _load_model(folder: Path, config: Any, reading: Reading, head_for: Unit | None, device: str) -> Any:
    """The part of a checkpoint that reads: the encoder, or the decoder where there is no encoder.

    Args:
        folder: its files.
        config: its configuration.
        reading: with the precision.
        head_for: what a row is, if a head that classifies such rows is to come along.
        device: torch device.

    Raises:
        CheckpointError: weights are missing or of another shape; transformers would make them up.
    """
    if getattr(config, "transformers_weights", None) is not None:
        raise CheckpointError("its configuration names a weight file of its own, which was not pinned.")
    # Which code computes attention is ours to say: a configuration may name a kernel to fetch and import.
    for name in ("_attn_implementation", "_experts_implementation"):
        if getattr(config, name, None) is not None:
            setattr(config, name, None)
    if hasattr(config, "use_cache"):
        config.use_cache = False  # keys and values are for generating
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
                return _load_model(folder, config, reading, None, device)
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
