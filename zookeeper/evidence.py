"""What the features of one checkpoint, read at one layer, say of one target: all that scores look at.

    statistics    of every example: additive, of fixed size
    sample        some of the examples themselves, for the scores that need them

A score that is known on all examples varies as its examples do. How much each example moves it is its
influence (Hampel 1974); with the influences of the sample, a bootstrap over sentences costs a product of
two small matrices and no second reading (the infinitesimal jackknife; Jaeckel 1972, Efron 1982).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError
from zookeeper.labels import Array, Labels
from zookeeper.statistics import Statistics

_JACKKNIFE_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Sample:
    """Some examples, drawn as whole sentences; the same for every checkpoint.

    Attributes:
        features: (s, d).
        labels: of the s examples; of the classes of the whole target, not all of which need occur.
        sentences: (s,), the sentence of each, numbered from 0 in order.
        source_probs: (s, z), predictions of the checkpoint's own head; None where it has none that fits.
    """

    features: Array
    labels: Labels
    sentences: NDArray[np.int64]
    source_probs: Array | None = None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def source_labels(self) -> NDArray[np.int64] | None:
        """(s,), the likeliest class of the checkpoint's own head."""
        return None if self.source_probs is None else self.source_probs.argmax(axis=1)

    @cached_property
    def n_sentences(self) -> int:
        """Number of sentences."""
        return int(self.sentences[-1]) + 1

    def folds(self, n: int) -> NDArray[np.int64]:
        """(s,), the fold of each example when the sentences are dealt to n folds in turn."""
        return np.asarray(self.sentences % min(n, self.n_sentences))

    def parts(self, n: int) -> Iterator[NDArray[np.bool_]]:
        """The rows of each of n folds, as masks (s,)."""
        fold = self.folds(n)
        for number in range(int(fold.max()) + 1):
            yield fold == number

    def __getitem__(self, rows: NDArray[np.bool_]) -> Sample:
        """Some of the examples."""
        probs = None if self.source_probs is None else self.source_probs[rows]
        return Sample(self.features[rows], self.labels[rows], self.sentences[rows], probs)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Statistics of all n examples, and s of them as a sample.

    Attributes:
        statistics: of all examples.
        sample: of them.
        null_cross: `cross` of `statistics` with the labels of all examples shuffled, (c, d).
        null_labels: of the sample, so shuffled.
    """

    statistics: Statistics
    sample: Sample
    null_cross: Array
    null_labels: Labels

    @property
    def share(self) -> float:
        """The sample's share of the examples."""
        return len(self.sample) / self.statistics.n

    @cached_property
    def null(self) -> Evidence:
        """The same features with labels that say nothing of them."""
        known = replace(self.statistics, cross=self.null_cross)
        return replace(self, statistics=known, sample=replace(self.sample, labels=self.null_labels))

    def without(self, rows: NDArray[np.bool_]) -> Statistics:
        """The statistics of all examples but these of the sample."""
        return self.statistics - Statistics.of(self.sample.features[rows], self.sample.labels[rows])


@dataclass(frozen=True, eq=False)
class Measured:
    """A score, and how much the examples of the sample move it.

    Attributes:
        value: the score.
        influences: gives `influence`, which not everybody asks for.
    """

    value: float
    influences: Callable[[], Array]

    @cached_property
    def influence(self) -> Array:
        """(s,); with w_i copies of example i the score is about value + mean((w - 1) influence).

        Raises:
            DegenerateInputError: it cannot be known.
        """
        found = self.influences()
        return np.asarray(found - found.mean())


def jackknife(sample: Sample, value: float, without: Callable[[NDArray[np.bool_]], float]) -> Array:
    """(s,) influence of examples, from a score without each tenth of the sentences (Tukey 1958).

    Args:
        sample: whose examples are left out.
        value: the score with all of them.
        without: the score without the rows of a mask.

    Raises:
        DegenerateInputError: it is not defined without some tenth.
    """
    if sample.n_sentences == 1:
        raise DegenerateInputError("it has no interval: all sampled examples are of one sentence.")
    influence = np.zeros(len(sample))
    for rows in sample.parts(_JACKKNIFE_FOLDS):
        try:
            rest = without(rows)
        except DegenerateInputError as error:
            raise DegenerateInputError(
                f"it has no interval: without a tenth of the sentences, {error.message}"
            ) from error
        # The sentences of a fold move alike, so that as many are drawn twice as are left out; what is lost
        # by that in variance is their number.
        sentences = len(np.unique(sample.sentences[rows]))
        influence[rows] = (value - rest) * (~rows).sum() / rows.sum() * np.sqrt(sentences)
    return influence


def evidence_of(X: Array, labels: Labels, sentences: NDArray[np.int64] | None = None) -> Evidence:
    """The evidence of features in memory, all of which are the sample.

    Args:
        X: (n, d).
        labels: of the n examples.
        sentences: (n,), numbered from 0 in order; each example its own by default.
    """
    known = Statistics.of(X, labels)
    null = labels[np.random.default_rng(0).permutation(len(X))]
    given = np.arange(len(X)) if sentences is None else sentences
    return Evidence(known, Sample(X, labels, given), null.cross(X), null)
