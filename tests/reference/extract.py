"""Features of a corpus one sentence at a time, one word at a time: no batches, no padding, plain loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from tests.extracted import Extracted
from zookeeper.records import Corpus, Reading


def extract(
    folder: Path,
    corpus: Corpus,
    reading: Reading,
    *,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda _: None,
) -> Extracted:
    """Whole checkpoints of the families in `tests.tiny` only; their tokenizers say how long a window is."""
    reading = reading.settled(corpus.unit)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    rows: list[torch.Tensor | None] = []
    n_empty = 0
    for words in corpus.sentences:
        states, owners = read_sentence(model, tokenizer, words, reading)
        made = []
        if corpus.unit == "word":
            for word in range(len(words)):
                made.append(pooled([s for s, o in zip(states, owners, strict=True) if o == word], reading))
        else:
            made.append(pooled(states, reading))
        n_empty += sum(row is None for row in made)
        rows += repeated(made)
        advance(len(made))
    width = next(len(row) for row in rows if row is not None)
    stacked = np.stack([np.zeros(width, np.float32) if row is None else row.numpy() for row in rows])
    return Extracted({reading.layer: stacked}, n_empty)


def read_sentence(
    model: Any, tokenizer: Any, words: tuple[str, ...], reading: Reading
) -> tuple[list[torch.Tensor], list[int]]:
    """State and word of each sub-word of a sentence."""
    encoded = tokenizer(list(words), is_split_into_words=True, add_special_tokens=False)
    ids, owners = encoded["input_ids"], encoded.word_ids()
    before, after = special_ids(tokenizer)
    length = min(tokenizer.model_max_length, reading.max_length or tokenizer.model_max_length)
    room = length - len(before) - len(after)
    starts = [0]
    while starts[-1] + room < len(ids):
        starts.append(starts[-1] + room - room // 2)
    states: list[Any] = [None] * len(ids)
    margins = [-1.0] * len(ids)
    for start in starts:
        end = min(start + room, len(ids))
        if start == end:
            continue
        inputs = torch.tensor([before + ids[start:end] + after])
        with torch.no_grad():
            output = model(input_ids=inputs, output_hidden_states=True)
        layer = layer_of(output, reading.layer)[0, len(before) :]
        for position in range(start, end):
            left = position - start if start > 0 else np.inf
            right = end - 1 - position if end < len(ids) else np.inf
            if min(left, right) > margins[position]:
                margins[position] = min(left, right)
                states[position] = layer[position - start]
    return states, owners


def special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What a tokenizer puts before and after a text."""
    encoded = tokenizer(["zoo"], is_split_into_words=True)
    ids, owners = encoded["input_ids"], encoded.word_ids()
    first, last = owners.index(0), len(owners) - owners[::-1].index(0)
    return ids[:first], ids[last:]


def layer_of(output: Any, layer: str) -> torch.Tensor:
    """(1, t, d) hidden states."""
    if layer == "last":
        return output.last_hidden_state
    if layer == "mean":
        return sum(output.hidden_states[1:]) / (len(output.hidden_states) - 1)
    return output.hidden_states[int(layer)]


def pooled(states: list[torch.Tensor], reading: Reading) -> torch.Tensor | None:
    """One row of some sub-words; None of none."""
    if not states:
        return None
    if reading.pooling == "first":
        return states[0]
    if reading.pooling == "last":
        return states[-1]
    return sum(states) / len(states)


def repeated(rows: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """The rows of a sentence, where None is the last before it that is not, else the first after it."""
    filled = []
    for i in range(len(rows)):
        candidates = rows[: i + 1][::-1] + rows[i + 1 :]
        filled.append(next((row for row in candidates if row is not None), None))
    return filled
