"""Texts to windows: what a tokenizer makes of them, each sub-word to count where it has most around it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import CheckpointError
from zookeeper.extract.loading import Outline, theirs
from zookeeper.extract.windows import NOTHING, Ints, Windows, by_item, item_sizes, sentence_sizes, starts
from zookeeper.labels import ranges
from zookeeper.records import Corpus, Pooling, Reading


def windows_of(corpus: Corpus, checkpoint: Outline, reading: Reading, *, blank: bool = False) -> Windows:
    """The windows of a whole corpus.

    Args:
        corpus: every sentence, or pair, is an item.
        checkpoint: whose tokenizer makes the sub-words.
        reading: with a pooling that is settled.
        blank: whether there may be no sub-word in all of it.

    Raises:
        CheckpointError: the tokenizer fails, or gives what the model has no embeddings for.
    """
    with theirs():
        made = _cut(corpus, checkpoint.tokenizer, reading.pooling, checkpoint.window)
    if not made.n_windows and not blank:
        raise CheckpointError("it makes no sub-words of this text at all.")
    _check_ids(made, checkpoint)
    return made


def fit(windows: Windows, corpus: Corpus, checkpoint: Outline, reading: Reading) -> bool:
    """Whether windows are those of a corpus for a checkpoint, if its tokenizer is the one that made them.

    Raises:
        CheckpointError: they are, and the model has no embeddings for them.
    """
    if (windows.length, windows.pooling) != (checkpoint.window, reading.pooling):
        return False
    if not windows.n_windows or not np.array_equal(windows.sizes, item_sizes(corpus)):
        return False
    _check_ids(windows, checkpoint)
    return True


def _check_ids(windows: Windows, checkpoint: Outline) -> None:
    highest = int(windows.ids.max(initial=-1))
    if highest >= checkpoint.vocabulary:
        raise CheckpointError(
            f"its tokenizer gives id {highest}, its embeddings end at {checkpoint.vocabulary - 1}."
        )


def _cut(corpus: Corpus, tokenizer: Any, pooling: Pooling, length: int) -> Windows:
    """The items of a corpus as windows of at most `length` sub-words."""
    room = length - tokenizer.num_special_tokens_to_add()
    if room <= 1:
        raise CheckpointError(f"its window of {length} sub-words leaves no room for text.")
    overlap = room // 2
    encoded = _tokenized(corpus, tokenizer, length, overlap)
    sentence = np.array(encoded["overflow_to_sample_mapping"], dtype=np.int64)
    lengths = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
    ids = np.fromiter(chain.from_iterable(encoded["input_ids"]), dtype=np.int32, count=lengths.sum())
    by_word = corpus.unit == "word"
    sizes = sentence_sizes(corpus)

    pieces = _Pieces.of(encoded, lengths)
    pieces = pieces.where(pieces.deepest(sentence, room - overlap))
    slot = starts(sizes)[sentence[pieces.window]] + (pieces.word if by_word else 0)
    weights = _pooling_weights(slot, pooling)
    order = np.flatnonzero(weights > 0)
    order = order[np.argsort(pieces.window[order], kind="stable")]
    counts = np.bincount(pieces.window[order], minlength=len(lengths))
    kept = np.flatnonzero(counts)
    windows = np.bincount(sentence[kept], minlength=len(sizes))

    return Windows(
        length=length,
        pooling=pooling,
        ids=ids[ranges(starts(lengths)[kept], lengths[kept])],
        lengths=lengths[kept],
        shares=(1 / windows[sentence[kept]]).astype(np.float32),
        positions=pieces.position[order].astype(np.int32),
        slots=slot[order].astype(np.int32),
        weights=weights[order],
        counts=counts[kept],
        windows=by_item(windows, corpus),
        sizes=by_item(sizes, corpus),
        sources=_sources(np.bincount(slot, minlength=sizes.sum()) > 0, sizes),
    )


def _tokenized(corpus: Corpus, tokenizer: Any, length: int, overlap: int) -> Any:
    """The sub-words of all sentences, window by window, as tokenizers give them."""
    prefix = _prefix(tokenizer)
    return tokenizer(
        # Half of a surrogate pair, which JSON can hold, is no text to a tokenizer.
        [[prefix + word.encode(errors="replace").decode() for word in words] for words in corpus.sentences],
        is_split_into_words=True,
        truncation=True,
        max_length=length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_attention_mask=False,
    )


def _prefix(tokenizer: Any) -> str:
    """A space, if a word takes one to be read as in the middle of a text; some tokenizers see to it."""
    text = tokenizer("a a", add_special_tokens=False)["input_ids"]
    words = tokenizer(["a", "a"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    return "" if words == text else " "


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Sub-words of all windows, in order.

    Attributes:
        window: of each.
        position: in the window.
        word: of its sentence.
    """

    window: Ints
    position: Ints
    word: Ints

    @classmethod
    def of(cls, encoded: Any, lengths: Ints) -> _Pieces:
        """All but the special tokens of what a tokenizer made."""
        words = np.fromiter(
            (NOTHING if word is None else word for i in range(len(lengths)) for word in encoded.word_ids(i)),
            dtype=np.int64,
            count=lengths.sum(),
        )
        place = np.flatnonzero(words != NOTHING)
        window = np.repeat(np.arange(len(lengths)), lengths)[place]
        return cls(window, place - starts(lengths)[window], words[place])

    def where(self, chosen: Ints) -> _Pieces:
        """Some of them."""
        return _Pieces(self.window[chosen], self.position[chosen], self.word[chosen])

    def deepest(self, sentence: Ints, step: int) -> Ints:
        """Each sub-word of each sentence once, in order, where it stands furthest from the window's edges.

        Args:
            sentence: (w,) of each window.
            step: sub-words that lie between the starts of windows of a sentence.
        """
        if len(np.unique(sentence)) == len(sentence):
            return np.arange(len(self.window))
        counts = np.bincount(self.window, minlength=len(sentence))
        offset = np.arange(len(self.window)) - starts(counts)[self.window]
        number = np.arange(len(sentence)) - np.searchsorted(sentence, sentence)
        piece = number[self.window] * step + offset
        depth = np.minimum(offset, counts[self.window] - 1 - offset)
        order = np.lexsort((self.window, -depth, piece, sentence[self.window]))
        keys = np.stack([sentence[self.window], piece])[:, order]
        return np.asarray(order[np.r_[True, (np.diff(keys) != 0).any(axis=0)][: len(order)]])


def _pooling_weights(slots: Ints, pooling: Pooling) -> NDArray[np.float32]:
    """Weight of each sub-word in its slot, for sub-words in order."""
    if not len(slots):
        return np.zeros(0, dtype=np.float32)
    change = np.flatnonzero(np.diff(slots)) + 1
    first, past = np.r_[0, change], np.r_[change, len(slots)]
    weights = np.zeros(len(slots), dtype=np.float32)
    if pooling == "first":
        weights[first] = 1
    elif pooling == "last":
        weights[past - 1] = 1
    else:
        weights[:] = np.repeat(1 / (past - first), past - first)
    return weights


def _sources(made: NDArray[np.bool_], sizes: Ints) -> Ints:
    """For each slot itself, or the last before it in its sentence that is made, else the first after."""
    slots = np.arange(len(made))
    first = np.repeat(starts(sizes), sizes)
    last = first + np.repeat(sizes, sizes) - 1
    before = np.maximum.accumulate(np.where(made, slots, -1))
    after = np.minimum.accumulate(np.where(made, slots, len(made))[::-1])[::-1]
    return np.asarray(np.where(before >= first, before, np.where(after <= last, after, NOTHING)))
