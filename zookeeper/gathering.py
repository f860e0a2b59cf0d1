"""From blocks of features to evidence: one pass over a target, whatever its size, for every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import CheckpointError
from zookeeper.evidence import Evidence, Sample
from zookeeper.labels import Array, Labels, labelled
from zookeeper.records import Labelled
from zookeeper.statistics import Moments, Statistics

SAMPLE_ROWS = 2048
"""Examples that are kept as they are, for the scores that look at examples."""

# Of the statistics of all layers; 13 layers of width 4,096 with some hundred classes.
_MOST_BYTES = 2**31

Arrays = dict[str, NDArray[Any]]


class Gatherer:
    """Adds up what blocks of rows say of a target, layer by layer.

    Which rows make the sample, and how labels are shuffled, depends on the target alone, so that both
    are the same for every checkpoint.

    Args:
        data: the target's sentences and labels.
    """

    def __init__(self, data: Labelled) -> None:
        self._rows, self._labels = labelled(np.empty((data.corpus.n_rows, 0)), data.labels)
        # Where each row of the corpus stands among those that count; -1 where it does not.
        self._place = np.full(data.corpus.n_rows, -1)
        self._place[self._rows] = np.arange(len(self._rows))
        order = np.random.default_rng(0).permutation(len(self._rows))
        self._null = self._labels[order]
        sentence = np.repeat(np.arange(len(data.lengths)), data.lengths)[self._rows]
        self._sampled = _draw(sentence)
        self._sentences = np.unique(sentence[self._sampled], return_inverse=True)[1]
        self._layers: dict[str, _Layer] = {}
        self._probs: NDArray[np.float32] | None = None

    def add(
        self,
        rows: NDArray[np.int64],
        states: Mapping[str, NDArray[np.float32]],
        source_probs: NDArray[np.float32] | None,
    ) -> None:
        """Add some rows of the corpus, no row twice.

        Args:
            rows: (r,), which.
            states: (r, d) of each layer, finite.
            source_probs: (r, z), or None.

        Raises:
            CheckpointError: it is so wide that not even the statistics of two layers fit into memory.
        """
        place = self._place[rows]
        counts = place >= 0
        if not counts.any():
            return
        place = place[counts]
        targets = self._labels[place], self._null[place]
        # Where in the sample each of these rows goes.
        to = np.searchsorted(self._sampled, place)
        to[to == len(self._sampled)] = 0
        taken = self._sampled[to] == place
        for name in _affordable(states, 2 * len(self._labels.sums[0])):
            layer = self._layers.setdefault(name, _Layer(len(self._sampled)))
            layer.add(states[name][counts], targets, to[taken], taken)
        if source_probs is not None:
            if self._probs is None:
                self._probs = np.zeros((len(self._sampled), source_probs.shape[1]), dtype=np.float32)
            self._probs[to[taken]] = source_probs[counts][taken]

    @property
    def n(self) -> int:
        """Number of examples that count."""
        return len(self._rows)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that were seen."""
        return tuple(self._layers)

    def arrays(self) -> Arrays:
        """All of it by name, as `evidence_from` reads it."""
        totals, squares = self._labels.sums
        arrays: Arrays = {
            "labels": self._labels[self._sampled].values,
            "null_labels": self._null[self._sampled].values,
            "sentences": self._sentences,
            "totals": totals,
            "squares": squares,
        }
        if self._probs is not None:
            arrays["source_probs"] = self._probs
        for name, layer in self._layers.items():
            cross, null = np.split(layer.cross, 2)
            arrays |= {
                f"{name}/gram": layer.moments.gram,
                f"{name}/total": layer.moments.total,
                f"{name}/cubic": layer.moments.cubic,
                f"{name}/quartic": np.array([layer.moments.quartic]),
                f"{name}/cross": cross,
                f"{name}/null": null,
                f"{name}/sample": layer.sample,
            }
        return arrays


class _Layer:
    """What is known of one layer so far.

    Attributes:
        moments: of its features.
        cross: (2 c, d), targets times features, and the same with the targets shuffled.
        sample: (s, d).
    """

    def __init__(self, n_sampled: int) -> None:
        self.moments: Moments
        self.cross: Array
        self.sample = np.zeros((0, 0), dtype=np.float32)
        self._n_sampled = n_sampled

    def add(
        self,
        states: NDArray[np.float32],
        targets: tuple[Labels, Labels],
        to: NDArray[np.int64],
        taken: NDArray[np.bool_],
    ) -> None:
        """Add (r, d) states with r labels, true and shuffled; those taken go `to` rows of the sample."""
        X = states.astype(np.float64)
        moments, cross = Moments.of(X), np.concatenate([labels.cross(X) for labels in targets])
        if not self.sample.size:
            self.moments, self.cross = moments, cross
            self.sample = np.zeros((self._n_sampled, X.shape[1]), dtype=np.float32)
        else:
            self.moments, self.cross = self.moments + moments, self.cross + cross
        self.sample[to] = states[taken]


def _affordable(states: Mapping[str, NDArray[np.float32]], n_targets: int) -> list[str]:
    """The layers whose statistics fit into memory: all, or the last and the mean.

    Raises:
        CheckpointError: not even these fit.
    """
    names = list(states)
    width = max(layer.shape[1] for layer in states.values())
    least = [name for name in names if name in (names[-2:][0], "mean")]
    for kept in (names, least):
        # What fits is the root of len(kept) d (d + n_targets) 8 = _MOST_BYTES.
        widest = (math.isqrt(n_targets**2 + _MOST_BYTES // (2 * len(kept))) - n_targets) // 2
        if width <= widest:
            return kept
    raise CheckpointError(
        f"its features are {width:,} wide.",
        why=f"statistics of a target fit into memory up to a width of {widest:,}",
    )


def evidence_from(arrays: Mapping[str, NDArray[Any]], layer: str, *, n: int, classes: bool) -> Evidence:
    """The evidence of one layer.

    Args:
        arrays: see `Gatherer.arrays`; those of other layers need not be there.
        layer: which.
        n: number of examples.
        classes: whether each example has one class.
    """
    part = {name.removeprefix(f"{layer}/"): array for name, array in arrays.items()}
    names = tuple(range(len(part["totals"]))) if classes else None
    probs = part["source_probs"].astype(np.float64) if "source_probs" in part else None
    sample = Sample(
        part["sample"].astype(np.float64), Labels(part["labels"], names), part["sentences"], probs
    )
    moments = Moments(n, part["gram"], part["total"], part["cubic"], float(part["quartic"][0]))
    known = Statistics(moments, part["cross"], part["totals"], part["squares"], classes)
    return Evidence(known, sample, part["null"], Labels(part["null_labels"], names))


def names_of(layer: str) -> tuple[str, ...]:
    """What `evidence_from` needs of one layer."""
    shared = ("labels", "null_labels", "sentences", "totals", "squares", "source_probs")
    own = ("gram", "total", "cubic", "quartic", "cross", "null", "sample")
    return shared + tuple(f"{layer}/{name}" for name in own)


def _draw(sentence: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the examples that make the sample, in order: whole sentences, with a fixed seed.

    A sentence that is longer than the sample is left out, but if all are, of the shortest so much is taken.

    Args:
        sentence: (n,), the sentence of each example, in order.
    """
    numbers, first, sizes = np.unique(sentence, return_index=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(numbers))
    drawn = sizes[order]
    fits = drawn <= SAMPLE_ROWS
    fits &= np.cumsum(drawn * fits) <= SAMPLE_ROWS
    if not fits.any():
        fits[drawn.argmin()] = True
    chosen = np.sort(order[fits])
    return np.concatenate([np.arange(first[i], first[i] + sizes[i]) for i in chosen])[:SAMPLE_ROWS]
