"""Reading a corpus for its features, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from zookeeper.blocks import Block
from zookeeper.errors import CheckpointError
from zookeeper.extract.cutting import fit, windows_of
from zookeeper.extract.loading import SEQUENCE_HEAD, Loaded, opened, theirs
from zookeeper.extract.packing import packs, side_by_side
from zookeeper.extract.states import Batch, Sums, compared, hidden, run
from zookeeper.extract.windows import Ints, Windows
from zookeeper.records import Corpus, Reading, Unit

# Sub-words of a batch: on an accelerator so many as fill it, on a processor so many as stay in its caches,
# which is fewer where padded states are wide; of a row of windows, any number from 512 to 2048 is as good.
_TOKENS_PER_BATCH = 32768
_TOKENS_PER_ROW_ON_CPU = 1024
_NUMBERS_PER_BATCH_ON_CPU = 2**18
# Rows are filled up to a multiple of so many: of each length that it meets oneDNN keeps code, a MiB and more.
_STEP_OF_ROWS = 32
# Numbers that are kept while sentences go through the model, over all layers: on an accelerator several
# batches of them, which it is not left without meanwhile.
_NUMBERS_PER_BLOCK = 2**26
_NUMBERS_PER_BLOCK_ON_CPU = 2**24
# Half precision keeps 8 bits of a number. Where what all states have in common is this many times what tells
# them apart, too few of them are left for that; of most checkpoints the two are alike.
_MOST_IN_COMMON = 8
_TOKENS_TRIED = 128
_PROBS = "source_probs"


def read(
    folder: Path,
    corpus: Corpus,
    reading: Reading,
    *,
    head: bool = False,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda _: None,
    windows: Windows | None = None,
    made: Callable[[Windows], None] = lambda _: None,
) -> Iterator[Block]:
    """Run a checkpoint over a corpus, and give its rows block by block, the longest sentences first.

    A checkpoint whose states are nearly the same everywhere is read in single precision whatever was asked:
    rounded to half precision they are noise.

    Reads `folder` only; never runs code from it, never unpickles, never asks the network. Memory does not
    grow with the number of rows but for the corpus itself and its sub-words.

    Args:
        folder: configuration, tokenizer and safetensors weights.
        corpus: n rows. The row of a pair is as `compared` makes it of the vectors of its sentences.
        reading: layer (``"all"`` for each by number, and their mean), pooling, precision and window.
        head: whether to read the predictions of the checkpoint's own head too, where it has one that says
            something of such rows.
        device: torch device.
        advance: called with the number of rows that were begun since; `corpus.n_rows` in all.
        windows: those that a checkpoint with the same tokenizer was given of this corpus; where they fit, as
            they do not if that one reads less at a time, nothing is cut again.
        made: called with the windows, where they were cut, and before any weight is read: so they are what
            tokenizer and configuration make of the corpus, whatever the weights do to who reads them.

    Raises:
        CheckpointError: whatever keeps this checkpoint from being read, with the reason.
    """
    reading = reading.settled(corpus.unit)
    with opened(folder, reading, head_for=corpus.unit if head else None) as checkpoint:
        if windows is None or not fit(windows, corpus, checkpoint, reading):
            windows = windows_of(corpus, checkpoint, reading)
            made(windows)
        loaded = checkpoint.load(reading.dtype, device)
        passes = _Passes(loaded, windows, reading.layer, device)
        if reading.dtype == "bfloat16" and not passes.tell_apart():
            del passes, loaded
            loaded = checkpoint.load("float32", device)
            passes = _Passes(loaded, windows, reading.layer, device)
    longest_first = np.argsort(-windows.longest, kind="stable")
    for items in _blocks(longest_first, windows.sizes, _slots_per_block(loaded, reading.layer, device)):
        yield passes.block(np.sort(items), corpus.unit, advance)


def _blocks(items: Ints, sizes: Ints, most: int) -> Iterator[Ints]:
    """Items in their order, together up to so many slots."""
    first = n_slots = 0
    for i, size in enumerate(sizes[items].tolist()):
        if i > first and n_slots + size > most:
            yield items[first:i]
            first, n_slots = i, 0
        n_slots += size
    if first < len(items):
        yield items[first:]


def _slots_per_block(loaded: Loaded, layer: str, device: str) -> int:
    """Slots whose states, at all layers that are kept, make a block."""
    most = _NUMBERS_PER_BLOCK_ON_CPU if torch.device(device).type == "cpu" else _NUMBERS_PER_BLOCK
    layers = (getattr(loaded.model.config, "num_hidden_layers", None) or 24) + 2 if layer == "all" else 1
    return max(1, most // (loaded.width * int(layers)))


class _Passes:
    """Passes through a model, block by block.

    Args:
        loaded: the checkpoint.
        windows: all that will go through it.
        layer: of the reading.
        device: torch device.
    """

    @torch.inference_mode()
    def __init__(self, loaded: Loaded, windows: Windows, layer: str, device: str) -> None:
        self._model = loaded.model
        self._windows = windows
        self._layer = layer
        self._device = torch.device(device)
        self._pad, self._mixes = loaded.pad, loaded.mixes
        self._first = loaded.first_position
        self._whole = type(self._model).__name__.endswith(SEQUENCE_HEAD)
        if self._whole:
            # Its head may look for the last sub-word that is no padding, by its own word for it.
            config = self._model.config.get_text_config()
            if config.pad_token_id is None or not 0 <= config.pad_token_id < loaded.vocabulary:
                self._mixes, config.pad_token_id = False, -1
            else:
                self._pad = config.pad_token_id
        # Where positions are counted by the id of the padding, a text that holds it has no plain positions.
        counts = self._first and (windows.ids == self._first - 1).any()
        self._packs = not self._whole and not counts and packs(loaded, self._states)
        self._budget = _tokens_per_batch(loaded, self._device, in_rows=self._packs)

    @torch.inference_mode()
    def block(self, items: Ints, unit: Unit, advance: Callable[[int], None]) -> Block:
        """The rows of some items, which are in the order of the corpus."""
        windows, slots = self._windows.take(items), self._windows.slots_of(items)
        halves = 2 if unit == "pair" else 1
        begun = np.zeros(len(slots), dtype=bool)
        sums = Sums(len(slots))
        for chosen in self._batches(windows):
            with theirs():
                added = self._add(windows, chosen, sums)
            before = begun.sum() // halves
            begun[added] = True
            advance(int(begun.sum() // halves - before))
        advance(len(slots) // halves - int(begun.sum() // halves))
        repeated = (torch.from_numpy(each).to(self._device) for each in windows.repeated())
        states = {name: each.cpu() for name, each in sums.settle(*repeated).items()}
        probs = states.pop(_PROBS, None)
        if probs is not None:
            # Of a text without a sub-word the head says nothing.
            probs[~probs.any(dim=1)] = 1 / probs.shape[1]
        if self._layer == "all":
            states["mean"] = _mean([states[str(i)] for i in range(1, len(states))])
        if unit == "pair":
            states = {name: compared(each) for name, each in states.items()}
        if not all(map(_finite, [*states.values(), *([] if probs is None else [probs])])):
            raise CheckpointError(
                "its features are not finite (NaN or infinity).", why="the weights may be damaged"
            )
        return Block(
            slots[::halves] // halves,
            {name: each.numpy() for name, each in states.items()},
            None if probs is None else probs.numpy(),
            windows.n_empty,
        )

    def _batches(self, windows: Windows) -> Iterator[Ints]:
        """Windows that go through the model together, the longest first."""
        if self._packs:
            return windows.rows(self._budget)
        return windows.batches(self._budget, mixes=self._mixes)

    @torch.inference_mode()
    def tell_apart(self) -> bool:
        """Whether states differ by more than what half precision makes of what they have in common."""
        items = np.flatnonzero(self._windows.windows)
        items = items[np.linspace(0, len(items) - 1, num=min(16, len(items)), dtype=np.int64)]
        within = np.cumsum(self._windows.sub_words[items]) <= _TOKENS_TRIED
        sample = self._windows.take(items[within] if within.any() else items[:1])
        found: dict[str, list[torch.Tensor]] = {}
        for chosen in self._batches(sample):
            with theirs():
                batch, states = self._through(sample, chosen)
            states.pop(_PROBS, None)
            for name, each in states.items():
                found.setdefault(name, []).append(each.flatten(0, 1)[batch["positions"]].float())
        together = map(torch.cat, found.values())
        return all(_MOST_IN_COMMON * (x - x.mean(dim=0)).norm() >= x.norm() for x in together)

    def _add(self, windows: Windows, chosen: Ints, sums: Sums) -> Ints:
        """Add what the model makes of some windows to what is kept of slots, and give these."""
        batch, states = self._through(windows, chosen)
        if self._whole and _PROBS in states:
            counts = windows.counts[chosen]
            first = torch.from_numpy(np.cumsum(counts) - counts).to(self._device)
            share = torch.from_numpy(windows.shares[chosen]).to(self._device)[:, None]
            sums.add(_PROBS, batch["slots"][first], states.pop(_PROBS) * share)
        for name, each in states.items():
            sums.pool(name, batch, each)
        return windows.slots_in(chosen)

    def _through(self, windows: Windows, chosen: Ints) -> tuple[Batch, dict[str, torch.Tensor]]:
        """A batch of some windows, and what is wanted of it."""
        if not self._packs:
            batch = self._there(windows.batch(chosen, self._pad))
            return batch, self._states(batch)
        lengths = windows.lengths[chosen]
        filler = -int(lengths.sum()) % _STEP_OF_ROWS
        batch = self._there(windows.row(chosen, self._first, pad=self._pad, filler=filler))
        with side_by_side([*lengths.tolist(), filler]):
            return batch, self._states(batch)

    def _states(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What is wanted of a batch, (b, t, d) each by name; (b, z) the predictions for whole sentences."""
        output = run(self._model, batch, self._layer)
        states = hidden(output, self._layer)
        logits = getattr(output, "logits", None)
        return states if logits is None else states | {_PROBS: logits.float().softmax(dim=-1)}

    def _there(self, batch: Batch) -> dict[str, torch.Tensor]:
        """A batch on the device, which is not waited for."""
        if self._device.type == "cuda":
            return {n: each.pin_memory().to(self._device, non_blocking=True) for n, each in batch.items()}
        return {name: each.to(self._device) for name, each in batch.items()}


def _tokens_per_batch(loaded: Loaded, device: torch.device, *, in_rows: bool) -> int:
    """Sub-words that go through a model together."""
    if device.type != "cpu":
        return _TOKENS_PER_BATCH
    return (
        _TOKENS_PER_ROW_ON_CPU if in_rows else min(max(_NUMBERS_PER_BATCH_ON_CPU // loaded.width, 512), 2048)
    )


def _mean(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """(s, d) mean of layers."""
    total = layers[0].clone()
    for layer in layers[1:]:
        total += layer
    return total.div_(len(layers))


def _finite(states: torch.Tensor) -> bool:
    """Whether no number is NaN or infinite; takes no memory as `isfinite` does."""
    return bool(torch.stack(states.aminmax()).isfinite().all())
