"""What transformers may see of a checkpoint: copies without what picks code, within limits; no other file.

The limits are those that no honest checkpoint comes near to; they are looked at in the JSON itself, because a
library that is given a billion layers begins to make them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zookeeper.errors import CheckpointError
from zookeeper.layouts import CONFIG, INDEX, unknown_shards
from zookeeper.raw import LARGE, SMALL, Weights, content_of, files_of, parsed, weights_of

Json = dict[str, Any]

# The first that fits the name of a field says what its numbers count, and how many there may be.
_LIMITS = tuple(
    (re.compile(pattern), limit, what)
    for pattern, limit, what in (
        (r"vocab|^n_words$", 4 * 10**6, "words in its vocabulary"),
        (r"layers?$|blocks?$|depths?$|repeats?$", 512, "layers"),
        (r"heads?$", 1024, "heads"),
        (r"experts?$|groups?$|group_num$", 4096, "parts of a layer"),
        (r"hidden|intermediate|embedding_size|embd|inner|dim|width|^d_", 65_536, "numbers a state"),
        (r"position|context|ctx|length|window|seq", 2**24, "positions"),
    )
)
_ANY_OTHER = 2**53
_DEEPEST = 64
_MOST_LABELS = 10_000
_MOST_SHARDS = 1000
# A rule of a tokenizer may put so many characters in the place of what it finds.
_LONGEST_RULE = 256

_PRECISIONS = "weights are read as float64, float32, float16 or bfloat16"

_PICKS_CODE = re.compile(
    r"auto_map|.*(attn|attention|experts)_implementation.*|trust_remote_code|(torch_)?dtype"
)
_LABELS = ("num_labels", "id2label", "label2id")
# Paths to other files, what a constructor is given as it is, templates that are programs.
_PICKS_FILES = re.compile(r".*_(file|path)|init_inputs|auto_map|trust_remote_code|.*chat_template.*")


@dataclass(frozen=True)
class Admitted:
    """A checkpoint as transformers may see it.

    Attributes:
        folder: with configuration, tokenizer and weights, each looked at; gone when the door closes.
        weights: what the headers of its weight files say.
    """

    folder: Path
    weights: Weights


@contextmanager
def admitted(folder: Path) -> Iterator[Admitted]:
    """A checkpoint behind the door that every loading goes through.

    Args:
        folder: its files, pinned; only those that are on the allow-list are looked at.

    Raises:
        CheckpointError: something about it is out of bounds, or it cannot be read at all.
        OSError: the folder cannot be listed.
    """
    files = files_of(folder)
    if CONFIG not in files:
        raise CheckpointError("it cannot be read.", why=f"it has no {CONFIG}")
    documents = {
        name: clean(parsed(content_of(files[name], limit, name), name))
        for name, (limit, clean) in _DOCUMENTS.items()
        if name in files
    }
    if INDEX in documents:
        check_index(documents[INDEX], files)
    weights = weights_of(files)
    if not weights.files:
        raise CheckpointError("it cannot be read.", why="it has no safetensors weights")
    if weights.quantised:
        found = f"{weights.quantised} ({weights.types[weights.quantised]})"
        raise CheckpointError(f"its weights are quantised, such as {found}.", why=_PRECISIONS)
    with tempfile.TemporaryDirectory(prefix="zoo-") as made:
        room = Path(made)
        for name, path in files.items():
            if name in documents:
                (room / name).write_text(json.dumps(documents[name]), encoding="ascii")
            elif name.endswith(".safetensors"):
                (room / name).symlink_to(path)
            else:
                (room / name).write_bytes(content_of(path, LARGE, name))
        yield Admitted(room, weights)


def cleaned_config(config: Json) -> Json:
    """A configuration without what picks code or kernels, if its numbers are within limits.

    Args:
        config: as it is in ``config.json``; it is left as it is.

    Raises:
        CheckpointError: it asks for too much, or for what zoo does not do.
    """
    if config.get("transformers_weights") is not None:
        raise CheckpointError("its configuration names a weight file of its own, which was not pinned.")
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError(
            f"its {CONFIG} names no kind of model.", why="its model_type is missing, or no word"
        )
    for field, value in _fields(config, CONFIG):
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(field, value)
    return dict(_without(config, _PICKS_CODE, _checked_section))


def _fields(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All values in JSON at any depth, each with the field that it is of.

    Raises:
        CheckpointError: it is nested too deeply.
    """
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(_DEEPEST + 1):
        yield from level
        level = [pair for field, outer in level for pair in _within(field, outer)]
        if not level:
            return
    raise CheckpointError(f"its {name} is nested more than {_DEEPEST} deep.")


def _within(field: str, value: Any) -> Iterable[tuple[str, Any]]:
    """What JSON holds one level further down; what is in a list is of the field that the list is of.

    Names of labels are no fields.
    """
    if isinstance(value, dict):
        return (("" if field in _LABELS else key, inner) for key, inner in value.items())
    return ((field, inner) for inner in value) if isinstance(value, list) else ()


def _check_number(field: str, number: float) -> None:
    """Refuse a number that is too large for its field; not a number is no number of anything."""
    for pattern, limit, what in _LIMITS:
        if pattern.search(field):
            if not abs(number) <= limit:
                raise CheckpointError(
                    f"its {CONFIG} asks for {number:,} {what} ({field}); at most {limit:,} are read."
                )
            return
    if isinstance(number, int) and abs(number) > _ANY_OTHER:
        raise CheckpointError(f"its {CONFIG} has a number of more than 53 bits ({field}).")


def _checked_section(section: Json) -> Json:
    """A configuration, or one within it, without labels where they are too many to be any."""
    if section.get("quantization_config") or section.get("compression_config"):
        raise CheckpointError("its weights are quantised.", why=_PRECISIONS)
    if not any(_n_labels(section.get(name)) > _MOST_LABELS for name in _LABELS):
        return section
    return {key: value for key, value in section.items() if key not in _LABELS}


def _n_labels(value: Any) -> float:
    if isinstance(value, dict | list):
        return len(value)
    return value if isinstance(value, int | float) else 0


def _without(value: Any, unwanted: re.Pattern[str], checked: Callable[[Json], Json] = lambda v: v) -> Any:
    """JSON without some fields, at any depth; `checked` is called with every object in it."""
    if isinstance(value, list):
        return [_without(inner, unwanted, checked) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without(inner, unwanted, checked)
        for key, inner in checked(value).items()
        if not unwanted.fullmatch(key)
    }


def cleaned_tokenizer(tokenizer: Json) -> Json:
    """A ``tokenizer.json`` that neither pads nor cuts, if its rules do not blow up a text.

    Raises:
        CheckpointError: they do.
    """
    rules = {key: value for key, value in tokenizer.items() if key not in ("model", "added_tokens")}
    for field, value in _fields(rules, "tokenizer.json"):
        if field in ("content", "prepend") and isinstance(value, str) and len(value) > _LONGEST_RULE:
            raise CheckpointError(
                f"its tokenizer puts {len(value):,} characters in the place of a few; "
                f"at most {_LONGEST_RULE} are read."
            )
    return {key: value for key, value in tokenizer.items() if key not in ("padding", "truncation")}


def cleaned_companion(config: Json, name: str = "tokenizer_config.json") -> Json:
    """A file beside the tokenizer's, of that name, which picks no code, no other file and no template.

    Raises:
        CheckpointError: it is nested too deeply.
    """
    deque(_fields(config, name), maxlen=0)
    return dict(_without(config, _PICKS_FILES))


def check_index(index: Json, present: Mapping[str, Path]) -> None:
    """Refuse a list of weights that names anything but safetensors shards of this folder.

    Raises:
        CheckpointError: it does, or names too many.
    """
    found = index.get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise CheckpointError(f"its {INDEX} cannot be read.", why="it maps no weights to files")
    names = set(found.values())
    if unknown := unknown_shards(names, present):
        raise CheckpointError(f"its index names files that are no shards of it: {unknown[0]!r}.")
    if len(names) > _MOST_SHARDS:
        raise CheckpointError(f"its index names {len(names):,} shards; at most {_MOST_SHARDS:,} are read.")


_DOCUMENTS: Mapping[str, tuple[int, Callable[[Json], Json]]] = {
    CONFIG: (SMALL, cleaned_config),
    "tokenizer.json": (LARGE, cleaned_tokenizer),
    **{
        name: (SMALL, partial(cleaned_companion, name=name))
        for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    },
    INDEX: (LARGE, dict),
}
