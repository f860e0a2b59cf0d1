"""A corpus as a checkpoint reads it: windows of sub-words, and the rows that these are pooled into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from zookeeper.errors import CheckpointError
from zookeeper.labels import ranges
from zookeeper.records import Corpus, Pooling

Ints = NDArray[np.int64]

NOTHING = -1

_POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
# What windows are as arrays, and the name of the one that holds their length and pooling.
_HOW = "how"
_DTYPES: Mapping[str, type[np.generic]] = {
    "ids": np.int32,
    "lengths": np.int64,
    "shares": np.float32,
    "positions": np.int32,
    "slots": np.int32,
    "weights": np.float32,
    "counts": np.int64,
    "windows": np.int64,
    "sizes": np.int64,
    "sources": np.int64,
}


@dataclass(frozen=True, eq=False)
class Windows:
    """Items of a corpus - sentences, or both of a pair - as windows of sub-words.

    A slot is what sub-words are pooled into: the row of a word or of a sentence, or half that of a pair.

    Attributes:
        length: sub-words that a window has at most.
        pooling: how sub-words make a slot.
        ids: (t,) sub-words of all windows, the special tokens around them included.
        lengths: (w,) sub-words of each window.
        shares: (w,) of each, one over the windows that its sentence has.
        positions: (c,) of the sub-words that count, in their windows.
        slots: (c,) to which each adds.
        weights: (c,) with which it adds.
        counts: (w,) sub-words that count of each window.
        windows: (i,) windows of each item.
        sizes: (i,) slots of each item.
        sources: (s,) slot whose states each slot has: its own, or those of another if no sub-word makes it;
            `NOTHING` where there is no other in the sentence.
    """

    length: int
    pooling: Pooling
    ids: NDArray[np.int32]
    lengths: Ints
    shares: NDArray[np.float32]
    positions: NDArray[np.int32]
    slots: NDArray[np.int32]
    weights: NDArray[np.float32]
    counts: Ints
    windows: Ints
    sizes: Ints
    sources: Ints

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All there is to them, by name, for `from_arrays`; one-dimensional."""
        arrays = {name: getattr(self, name) for name in _DTYPES}
        return arrays | {_HOW: np.array([self.length, _POOLINGS.index(self.pooling)])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], corpus: Corpus) -> Windows:
        """The windows of a corpus that `to_arrays` gave, from whoever it was.

        Raises:
            CheckpointError: they are none, or not of this corpus.
        """
        if arrays.keys() != {_HOW, *_DTYPES}:
            raise CheckpointError("its windows are not whole.", why=f"they hold {sorted(arrays)}"[:200])
        for name, array in arrays.items():
            if array.ndim != 1 or array.dtype != _DTYPES.get(name, np.int64):
                raise CheckpointError(
                    "its windows are of no use.", why=f"{name} is {array.dtype} {array.shape}"
                )
        how = arrays[_HOW].tolist()
        if len(how) != 2 or not 0 <= how[1] < len(_POOLINGS):
            raise CheckpointError("its windows are of no use.", why="they do not say how they were made")
        made = cls(how[0], _POOLINGS[how[1]], **{name: arrays[name] for name in _DTYPES})
        if fault := _fault(made, item_sizes(corpus)):
            raise CheckpointError("its windows are not of this text.", why=fault)
        return made

    @property
    def n_windows(self) -> int:
        """Windows of all items."""
        return len(self.lengths)

    @property
    def n_slots(self) -> int:
        """Slots of all items."""
        return len(self.sources)

    @property
    def n_empty(self) -> int:
        """Slots that no sub-word makes."""
        return int((self.sources != np.arange(self.n_slots)).sum())

    @cached_property
    def sub_words(self) -> Ints:
        """(i,) sub-words of each item, over its windows."""
        ends = np.r_[0, np.cumsum(self.lengths)][np.r_[0, np.cumsum(self.windows)]]
        return np.asarray(np.diff(ends))

    @cached_property
    def longest(self) -> Ints:
        """(i,) sub-words of the longest window of each item; 0 of one that has none."""
        longest = np.zeros(len(self.windows), dtype=np.int64)
        some = self.windows > 0
        if some.any():
            longest[some] = np.maximum.reduceat(self.lengths, self._first_window[some])
        return longest

    def take(self, items: Ints) -> Windows:
        """Some items, in that order; slots are numbered anew."""
        windows = ranges(self._first_window[items], self.windows[items])
        counts = self.counts[windows]
        counted = ranges(self._first_counted[windows], counts)
        sizes = self.sizes[items]
        moved = starts(sizes) - self._first_slot[items]
        sources = self.sources[ranges(self._first_slot[items], sizes)]
        return Windows(
            length=self.length,
            pooling=self.pooling,
            ids=self.ids[ranges(self._first_id[windows], self.lengths[windows])],
            lengths=self.lengths[windows],
            shares=self.shares[windows],
            positions=self.positions[counted],
            slots=self.slots[counted] + np.repeat(np.repeat(moved, self.windows[items]), counts),
            weights=self.weights[counted],
            counts=counts,
            windows=self.windows[items],
            sizes=sizes,
            sources=np.where(sources == NOTHING, NOTHING, sources + np.repeat(moved, sizes)),
        )

    def slots_of(self, items: Ints) -> Ints:
        """The slots of some items, item by item."""
        return ranges(self._first_slot[items], self.sizes[items])

    def batches(self, budget: int, *, mixes: bool = True, fill: float = 0.0) -> Iterator[Ints]:
        """Windows of like length together, the longest first.

        Args:
            budget: sub-words of a batch, padding included.
            mixes: whether windows of different lengths may go together.
            fill: share of the longest window of a batch that its shortest fills at least.
        """
        batch: list[int] = []
        least, most = 0.0, 0
        lengths = self.lengths.tolist()
        for window in np.argsort(-self.lengths, kind="stable").tolist():
            if batch and (len(batch) >= most or lengths[window] < least):
                yield np.array(batch)
                batch = []
            if not batch:
                most = budget // lengths[window]
                least = lengths[window] * (fill if mixes else 1.0)
            batch.append(window)
        if batch:
            yield np.array(batch)

    def slots_in(self, chosen: Ints) -> Ints:
        """The slots that the sub-words of some windows add to, one for each."""
        return self.slots[ranges(self._first_counted[chosen], self.counts[chosen])].astype(np.int64)

    def rows(self, budget: int) -> Iterator[Ints]:
        """Windows of like length together, the longest first, for `row`.

        Args:
            budget: sub-words of a row, but for what its last window has more.
        """
        order = np.argsort(-self.lengths, kind="stable")
        number = starts(self.lengths[order]) // budget
        yield from np.split(order, np.flatnonzero(np.diff(number)) + 1) if len(order) else ()

    def batch(self, chosen: Ints, pad: int) -> dict[str, torch.Tensor]:
        """Some windows, padded, as `zookeeper.extract.states` takes them.

        Args:
            chosen: (b,) windows.
            pad: the id that fills up.

        Returns:
            ``ids`` and ``mask`` (b, t); of the sub-words that count ``positions`` in the b·t, ``slots`` and
            ``weights``.
        """
        lengths = self.lengths[chosen]
        longest = int(lengths.max())
        mask = np.arange(longest) < lengths[:, None]
        ids = np.full(mask.shape, pad, dtype=np.int64)
        ids[mask] = self.ids[ranges(self._first_id[chosen], lengths)]
        counted = self._counted(chosen, np.arange(len(chosen)) * longest)
        return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask.astype(np.int64)), **counted}

    def row(self, chosen: Ints, first: int, *, pad: int = 0, filler: int = 0) -> dict[str, torch.Tensor]:
        """Some windows side by side: a `batch` of one row, with ``places`` (1, t) of sub-words in windows.

        Args:
            chosen: (b,) windows.
            first: the place where windows begin.
            pad: the id that fills up.
            filler: how many of it follow, each in the first place; none counts.
        """
        lengths = self.lengths[chosen]
        begins = starts(lengths)
        ids = self.ids[ranges(self._first_id[chosen], lengths)].astype(np.int64)
        places = np.arange(first, first + len(ids)) - np.repeat(begins, lengths)
        ids, places = (np.pad(x, (0, filler), constant_values=v) for x, v in ((ids, pad), (places, first)))
        row = {"ids": ids, "mask": np.ones_like(ids), "places": places}
        made = {name: torch.from_numpy(array[None]) for name, array in row.items()}
        return made | self._counted(chosen, begins)

    def _counted(self, chosen: Ints, begins: Ints) -> dict[str, torch.Tensor]:
        """The sub-words that count of some windows, for those that begin at such positions of a batch."""
        counts = self.counts[chosen]
        counted = ranges(self._first_counted[chosen], counts)
        return {
            "positions": torch.from_numpy(np.repeat(begins, counts) + self.positions[counted]),
            "slots": torch.from_numpy(self.slots_in(chosen)),
            "weights": torch.from_numpy(self.weights[counted]),
        }

    def nothing(self, pad: int) -> dict[str, torch.Tensor]:
        """A batch of one window that adds to no slot, as models want some input."""
        whole, none = torch.tensor([[pad]]), torch.zeros(0, dtype=torch.int64)
        return {
            "ids": whole,
            "mask": torch.ones_like(whole),
            "positions": none,
            "slots": none,
            "weights": torch.zeros(0),
        }

    def repeated(self) -> tuple[Ints, Ints]:
        """(e,) slots that repeat the states of another, and (e,) these others."""
        slots = np.flatnonzero((self.sources != np.arange(self.n_slots)) & (self.sources != NOTHING))
        return slots, self.sources[slots]

    def repeats(self) -> torch.Tensor:
        """(s,) slot whose states each slot has; of one that has none, itself, to which nothing adds."""
        return torch.from_numpy(np.where(self.sources == NOTHING, np.arange(self.n_slots), self.sources))

    @cached_property
    def _first_id(self) -> Ints:
        return starts(self.lengths)

    @cached_property
    def _first_counted(self) -> Ints:
        return starts(self.counts)

    @cached_property
    def _first_window(self) -> Ints:
        return starts(self.windows)

    @cached_property
    def _first_slot(self) -> Ints:
        return starts(self.sizes)


def starts(sizes: Ints) -> Ints:
    """Where each of some ranges begins that follow one another."""
    return np.asarray(np.cumsum(sizes) - sizes)


def sentence_sizes(corpus: Corpus) -> Ints:
    """Slots of each sentence."""
    by_word = corpus.unit == "word"
    return np.array([len(words) if by_word else 1 for words in corpus.sentences], dtype=np.int64)


def by_item(counts: Ints, corpus: Corpus) -> Ints:
    """What is counted of each item, from what is counted of each sentence."""
    return np.asarray(counts.reshape(-1, 2).sum(axis=1) if corpus.unit == "pair" else counts)


def item_sizes(corpus: Corpus) -> Ints:
    """Slots of each item."""
    return by_item(sentence_sizes(corpus), corpus)


def _fault(windows: Windows, sizes: Ints) -> str | None:
    """What is wrong with windows that somebody else made for items of such sizes, if anything."""
    w = windows
    if not np.array_equal(w.sizes, sizes):
        return "other items"
    if len(w.windows) != len(sizes) or (w.windows < 0).any() or w.windows.sum() != w.n_windows:
        return "items have other windows than there are"
    if not len(w.lengths) == len(w.counts) == len(w.shares):
        return "windows lack their sizes"
    if ((w.lengths < 1) | (w.lengths > w.length)).any() or w.lengths.sum() != len(w.ids) or (w.ids < 0).any():
        return "windows have other sub-words than there are"
    if (w.counts < 1).any() or not w.counts.sum() == len(w.positions) == len(w.slots) == len(w.weights):
        return "windows count other sub-words than there are"
    if ((w.positions < 0) | (w.positions >= np.repeat(w.lengths, w.counts))).any():
        return "sub-words count that are outside of their windows"
    if not all(((share > 0) & (share <= 1)).all() for share in (w.weights, w.shares)):
        return "weights that are no shares"
    item = np.repeat(np.repeat(np.arange(len(sizes)), w.windows), w.counts)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    if ((w.slots < 0) | (w.slots >= len(owner))).any() or (owner[w.slots] != item).any():
        return "sub-words count for other items"
    own = np.arange(len(owner))
    made = np.bincount(w.slots, minlength=len(owner)) > 0
    other = w.sources[~made] if len(w.sources) == len(owner) else own[:0]
    if len(w.sources) != len(owner) or (w.sources[made] != own[made]).any():
        return "rows that are not their own"
    some = other != NOTHING
    if ((other < NOTHING) | (other >= len(owner))).any():
        return "rows that repeat none"
    if not made[other[some]].all() or (owner[other[some]] != owner[~made][some]).any():
        return "rows that repeat none of their item"
    return None
