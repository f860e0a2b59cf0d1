"""Which files make a checkpoint that can be loaded, which a target, and what a configuration says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

COLUMN_FILES = frozenset({".conll", ".conllu", ".txt"})
"""Endings of files with a word a line and its labels in further columns."""

TABLES = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
"""Endings of tables, and the builders of `datasets` that read them."""

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_PICKLES = re.compile(r".*\.(bin|pt|pth|ckpt|pkl)")
_PICKLED_WEIGHTS = re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin")
_LONGEST_NAME = 100

# The file that defines the tokenizer, most telling first, and files that only accompany one.
_TOKENIZERS = (
    "tokenizer.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
)
_COMPANIONS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")


def needed(paths: Iterable[str], *, pickled: bool = False) -> list[str]:
    """The files that loading a checkpoint from `paths` takes: an allow-list, so no code.

    Args:
        paths: of all its files.
        pickled: whether its weights are pickles that were agreed to; else there is none among them.
    """
    allowed = {CONFIG, INDEX, *_TOKENIZERS, *_COMPANIONS}
    weights = _PICKLED_WEIGHTS if pickled else _WEIGHTS
    return sorted(path for path in paths if path in allowed or weights.fullmatch(path))


def only_pickles(paths: Iterable[str]) -> bool:
    """Whether the weights among `paths` are all pickles, and such as can be converted."""
    present = set(paths)
    return any(map(_PICKLED_WEIGHTS.fullmatch, present)) and not any(map(_WEIGHTS.fullmatch, present))


def tokenizer_of(paths: Iterable[str]) -> str | None:
    """The file among `paths` that defines the tokenizer."""
    present = set(paths)
    return next((name for name in _TOKENIZERS if name in present), None)


def problem_of(paths: Iterable[str], *, pickled: bool = False) -> str | None:
    """Why a checkpoint with these files cannot be probed, or None.

    Args:
        paths: of its files.
        pickled: whether its weights are pickles that were agreed to.
    """
    present = set(paths)
    if CONFIG not in present:
        return "it has no config.json"
    if not pickled and not any(_WEIGHTS.fullmatch(path) for path in present):
        if any(_PICKLES.fullmatch(PurePosixPath(path).name) for path in present):
            danger = "its weights are pickles, which can run code when they are read"
            agree = "add it with --allow-pickle to have them converted"
            return f"{danger}; {agree if only_pickles(present) else 'zoo reads safetensors only'}"
        return "it has no safetensors weights"
    if tokenizer_of(present) is None:
        return "it has no tokenizer"
    return None


def architecture_of(config: Mapping[str, Any]) -> str | None:
    """The class that wrote a checkpoint with this configuration."""
    named = config.get("architectures")
    return _name(named[0]) if isinstance(named, list) and named else None


def model_type_of(config: Mapping[str, Any]) -> str | None:
    """The model type that a configuration names."""
    return _name(config.get("model_type"))


def _name(value: Any) -> str | None:
    """A configuration may hold anything where a name should be."""
    fits = isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_NAME
    return value if fits else None


def unknown_shards(names: Iterable[str], present: Iterable[str]) -> list[str]:
    """Weight files that a shard index names and that are not plain safetensors shards among `present`."""
    known = {path for path in present if _WEIGHTS.fullmatch(path)}
    return sorted({name for name in names if name not in known})
