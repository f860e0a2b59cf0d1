"""Windows side by side in one row, without padding, for models that can be told where each of them ends.

Transformers lets others say what computes attention, and what masks are. Here attention is computed for each
run of windows of one length, and nothing is masked: no sub-word is spent on padding, and nothing grows with
the square of the row. Whether a model says the same of windows in a row as of padded ones is tried out first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

from zookeeper.errors import CheckpointError
from zookeeper.extract.loading import Loaded, theirs
from zookeeper.extract.states import Batch
from zookeeper.extract.windows import Ints, Windows

_NAME = "zookeeper_rows"
# Lengths of the windows that a model is tried with: some alike, and neighbours that are not.
_TRIED = (9, 5, 5, 3)
# How far states may be from those of padded windows, as a share of how these differ among each other: what
# rounding makes of it in a deep model. No position is so little off its own.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}

# How many windows of which length follow each other in the row that goes through a model now.
_runs: ContextVar[tuple[tuple[int, int], ...]] = ContextVar("_runs")


@contextmanager
def side_by_side(lengths: Iterable[int]) -> Iterator[None]:
    """For as long as a row goes through a model that `packs`.

    Args:
        lengths: of its windows, in order; some may have none.
    """
    runs = tuple((len(list(alike)), length) for length, alike in groupby(lengths) if length)
    token = _runs.set(runs)
    try:
        yield
    finally:
        _runs.reset(token)


def packs(loaded: Loaded, states: Callable[[Batch], Mapping[str, torch.Tensor]]) -> bool:
    """Whether a model reads windows in a row as if padded; if it does, it takes nothing but rows from now on.

    Args:
        loaded: the checkpoint.
        states: what is wanted of a batch, (b, t, d) each by name.
    """
    model = loaded.model
    if not loaded.mixes or "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    usual = model.config._attn_implementation
    same = False
    try:
        with theirs():
            same = _same(loaded, states)
    except CheckpointError:
        pass  # What it is will be said of padded windows, if it is not about rows.
    finally:
        if not same:
            model.set_attn_implementation(usual)
    return same


def _same(loaded: Loaded, states: Callable[[Batch], Mapping[str, torch.Tensor]]) -> bool:
    """Whether made-up windows come out as if padded, and take no notice of each other."""
    lengths = np.minimum(_TRIED, loaded.window)
    every, last = np.arange(len(lengths)), int(lengths[:-1].sum())
    windows = _made_up(lengths, loaded)
    batch, row = (
        {name: each.to(loaded.model.device) for name, each in made.items()}
        for made in (windows.batch(every, loaded.pad), windows.row(every, loaded.first_position))
    )
    padded = states(batch)
    loaded.model.set_attn_implementation(_NAME)
    if loaded.model.config._attn_implementation != _NAME:
        return False
    with side_by_side(lengths.tolist()):
        packed = states(row)
        row["ids"] = torch.cat([row["ids"][:, :last].flip(1), row["ids"][:, last:]], dim=1)
        beside_others = states(row)
    tolerance = _TOLERANCE[loaded.model.dtype]
    return all(
        _close(packed[name][0], each.flatten(0, 1)[batch["positions"]], tolerance)
        and packed[name][0, last:].equal(beside_others[name][0, last:])
        for name, each in padded.items()
    )


def _close(made: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> bool:
    """Whether (c, d) states are those wanted, but for rounding."""
    made, wanted = made.float(), wanted.float()
    return bool((made - wanted).norm() <= tolerance * (wanted - wanted.mean(dim=0)).norm())


def _made_up(lengths: Ints, loaded: Loaded) -> Windows:
    """Windows of special and other sub-words, but none that takes no position; all count."""
    total, n = int(lengths.sum()), len(lengths)
    padding = loaded.first_position - 1
    special = [i for i in loaded.tokenizer.all_special_ids if i != padding and i < loaded.vocabulary]
    ids = np.random.default_rng(0).integers(loaded.vocabulary, size=total, dtype=np.int32)
    ids[ids == padding] += 1
    ids[: lengths[0]][: len(special)] = special[: lengths[0]]
    return Windows(
        length=loaded.window,
        pooling="first",
        ids=ids % loaded.vocabulary,
        lengths=lengths,
        shares=np.ones(n, dtype=np.float32),
        positions=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        slots=np.arange(total, dtype=np.int32),
        weights=np.ones(total, dtype=np.float32),
        counts=lengths,
        windows=np.ones(n, dtype=np.int64),
        sizes=lengths,
        sources=np.arange(total),
    )


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_bias: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each window of a row, (1, t, h, d), of (1, h, t, d) each; as transformers calls it.

    Raises:
        NotImplementedError: it is to be masked or biased.
    """
    if attention_mask is not None or position_bias is not None:
        raise NotImplementedError("a mask or a bias for a row")
    made, first = [], 0
    for count, length in _runs.get():
        q, k, v = (
            x[:, :, first : first + count * length].reshape(x.shape[1], count, length, -1).transpose(0, 1)
            for x in (query, key, value)
        )
        made.append(sdpa_attention_forward(module, q, k, v, None, **options)[0].flatten(0, 1))
        first += count * length
    return (made[0] if len(made) == 1 else torch.cat(made))[None], None


def _no_mask(*, mask_function: Callable[..., Any], **_: Any) -> None:
    """The mask of a row, which is none, as attention stays within windows by itself.

    Raises:
        NotImplementedError: a window is not to see all of itself, or all that comes before.
    """
    if mask_function not in (bidirectional_mask_function, causal_mask_function):
        raise NotImplementedError("a mask that is neither plain nor causal")


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, _no_mask)
