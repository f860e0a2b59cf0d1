"""Reading a corpus for its features, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from zookeeper.blocks import Block
from zookeeper.errors import CheckpointError
from zookeeper.extract.loading import SEQUENCE_HEAD, Loaded, load, theirs
from zookeeper.extract.states import Sums, compared, hidden, run
from zookeeper.extract.windows import Ints, Windows
from zookeeper.records import Corpus, Reading, Unit

# Sub-words of a batch: on an accelerator so many as fill it, on a processor so many as stay in its caches,
# which is fewer where states are wide.
_TOKENS_PER_BATCH = 32768
_NUMBERS_PER_BATCH_ON_CPU = 2**18
# Numbers that are kept while sentences go through the model, over all layers.
_NUMBERS_PER_BLOCK = 2**24
_PROBS = "source_probs"


@dataclass(frozen=True, eq=False)
class Extracted:
    """Features and how they came about.

    Attributes:
        layers: (n, d), float32, of each layer that was read, by name.
        n_empty: rows whose word came to no sub-word.
    """

    layers: Mapping[str, NDArray[np.float32]]
    n_empty: int

    @property
    def features(self) -> NDArray[np.float32]:
        """(n, d) of the one layer."""
        (features,) = self.layers.values()
        return features


def extract(
    folder: Path,
    corpus: Corpus,
    reading: Reading,
    *,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda _: None,
) -> Extracted:
    """Features of a corpus at one layer, or at all; see `read`.

    Args:
        folder: as `read`.
        corpus: as `read`.
        reading: as `read`.
        device: as `read`.
        advance: as `read`.
    """
    layers: dict[str, NDArray[np.float32]] = {}
    n_empty = 0
    for block in read(folder, corpus, reading, device=device, advance=advance):
        for name, states in block.states.items():
            if name not in layers:
                layers[name] = np.zeros((corpus.n_rows, states.shape[1]), dtype=np.float32)
            layers[name][block.rows] = states
        n_empty += block.n_empty
    if not layers:
        raise CheckpointError("there is nothing to read.")
    return Extracted(layers, n_empty)


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
        corpus: n rows. The row of a pair is as `compared` makes it of the vectors of its sentences.
        reading: layer (``"all"`` for each by number, and their mean), pooling, precision and window.
        head: whether to read the predictions of the checkpoint's own head too, where it has one that says
            something of such rows.
        device: torch device.
        advance: called with the number of rows that were begun since; `corpus.n_rows` in all.

    Raises:
        CheckpointError: whatever keeps this checkpoint from being read, with the reason.
    """
    reading = reading.settled(corpus.unit)
    loaded = load(folder, reading, head_for=corpus.unit if head else None, device=device)
    windows = Windows.of(corpus, loaded, reading)
    passes = _Passes(loaded, reading.layer, device)
    longest_first = np.argsort(-windows.longest, kind="stable")
    for items in _blocks(longest_first, windows.sizes, _slots_per_block(loaded, reading.layer)):
        yield passes.block(windows, np.sort(items), corpus.unit, advance)


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


def _slots_per_block(loaded: Loaded, layer: str) -> int:
    """Slots whose states, at all layers that are kept, make a block."""
    layers = (getattr(loaded.model.config, "num_hidden_layers", None) or 24) + 2 if layer == "all" else 1
    return max(1, _NUMBERS_PER_BLOCK // (loaded.width * int(layers)))


class _Passes:
    """Passes through a model, block by block.

    Args:
        loaded: the checkpoint.
        layer: of the reading.
        device: torch device.
    """

    def __init__(self, loaded: Loaded, layer: str, device: str) -> None:
        self._model = loaded.model
        self._pad, self._mixes = loaded.pad, loaded.mixes
        self._layer = layer
        self._device = device
        self._budget = _TOKENS_PER_BATCH
        if torch.device(device).type == "cpu":
            self._budget = min(max(_NUMBERS_PER_BATCH_ON_CPU // loaded.width, 512), 2048)
        if type(self._model).__name__.endswith(SEQUENCE_HEAD):
            # Its head may look for the last sub-word that is no padding, by its own word for it.
            config = self._model.config.get_text_config()
            if config.pad_token_id is None or not 0 <= config.pad_token_id < loaded.vocabulary:
                self._mixes, config.pad_token_id = False, -1
            else:
                self._pad = config.pad_token_id

    @torch.inference_mode()
    def block(self, corpus: Windows, items: Ints, unit: Unit, advance: Callable[[int], None]) -> Block:
        """The rows of some items, which are in the order of the corpus."""
        windows, slots = corpus.take(items), corpus.slots_of(items)
        halves = 2 if unit == "pair" else 1
        begun = np.zeros(len(slots), dtype=bool)
        sums = Sums(len(slots))
        for chosen in windows.batches(self._budget, mixes=self._mixes):
            batch = windows.batch(chosen, self._pad)
            with theirs():
                self._pool(batch, windows.shares[chosen], windows.counts[chosen], sums)
            before = begun.sum() // halves
            begun[batch["slots"].numpy()] = True
            advance(int(begun.sum() // halves - before))
        advance(len(slots) // halves - int(begun.sum() // halves))
        states = {name: s.cpu() for name, s in sums.finish(windows.repeats().to(self._device)).items()}
        probs = states.pop(_PROBS, None)
        if probs is not None:
            # Of a text without a sub-word the head says nothing.
            probs[~probs.any(dim=1)] = 1 / probs.shape[1]
        if self._layer == "all":
            layers = [states[str(i)] for i in range(1, len(states))]
            states["mean"] = reduce(torch.add, layers) / len(layers)
        if unit == "pair":
            states = {name: compared(each) for name, each in states.items()}
        found = [*states.values(), *([] if probs is None else [probs])]
        if not all(each.isfinite().all() for each in found):
            raise CheckpointError(
                "its features are not finite (NaN or infinity).", why="the weights may be damaged"
            )
        return Block(
            slots[::halves] // halves,
            {name: each.numpy() for name, each in states.items()},
            None if probs is None else probs.numpy(),
            windows.n_empty,
        )

    def _pool(
        self, batch: dict[str, torch.Tensor], shares: NDArray[np.float32], counts: Ints, sums: Sums
    ) -> None:
        """Add what the model makes of a batch to what is kept of each slot."""
        batch = {name: tensor.to(self._device) for name, tensor in batch.items()}
        output = run(self._model, batch, self._layer)
        for name, states in hidden(output, self._layer).items():
            sums.pool(name, batch, states)
        logits = getattr(output, "logits", None)
        if logits is None:
            return
        probs = logits.float().softmax(dim=-1)
        if probs.ndim == 3:
            sums.pool(_PROBS, batch, probs)
        else:
            first = torch.from_numpy(np.cumsum(counts) - counts).to(self._device)
            share = torch.from_numpy(shares).to(self._device)[:, None]
            sums.add(_PROBS, batch["slots"][first], probs * share)
