r"""Choosing the few checkpoints whose features, side by side, say most about one target.

Greedy forward selection of blocks of features by the evidence of one Bayesian linear model on all of them
(MacKay 1992, https://doi.org/10.1162/neco.1992.4.3.415; of one checkpoint it is LogME, You et al. 2021,
https://arxiv.org/abs/2102.11005). With H_A the features of the checkpoints A side by side,

    gain(y | A) = log p(labels | H_A, H_y) - log p(labels | H_A)   nats per example,

so that of two checkpoints that know the same the second adds little, however good it is by itself.

The samples of all checkpoints are of the same rows, so H^T H and Y^T H of all of them hold every subset as
sub-blocks, and no candidate looks at an example again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.evidence import Evidence
from zookeeper.labels import Array
from zookeeper.results import Choice, Covariance
from zookeeper.scores.logme import fit
from zookeeper.selection import Information
from zookeeper.statistics import Moments, Statistics

WIDTH = 64
"""Principal directions that are kept of a checkpoint; twice as many chose no better on real targets."""

_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class Stack:
    """Features of m checkpoints on the same examples, side by side.

    Attributes:
        statistics: of the examples, with the w columns of all checkpoints as features.
        ends: (m,), one past the last column of each checkpoint.
    """

    statistics: Statistics
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, checkpoints: Sequence[Evidence], *, width: int = WIDTH) -> Stack:
        """The samples of m checkpoints, each in its first principal directions.

        The directions are those of all its examples, about the origin, as LogME has no intercept. One prior
        holds for the weights of all checkpoints, so what one is worth beside others would depend on the
        scale of its features; hence each direction is brought to a mean square of 1. A checkpoint that is
        not wider than `width` then counts for the space that its features span and nothing else.

        Args:
            checkpoints: what is known of each on one target.
            width: at most so many directions of each.

        Raises:
            DegenerateInputError: there are none, their samples are not of the same rows, or all labels of
                the sample are the same.
            UsageError: `width` is not positive.
        """
        if not checkpoints:
            raise DegenerateInputError("there are no checkpoints to choose from.")
        if width < 1:
            raise UsageError(f"cannot keep {width} directions of a checkpoint.", fix="1 or more")
        _check_rows(checkpoints)
        blocks = [_reduced(checkpoint, width) for checkpoint in checkpoints]
        ends = np.cumsum([block.shape[1] for block in blocks])
        return cls(Statistics.of(np.hstack(blocks), checkpoints[0].sample.labels), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def evidence(self, items: Sequence[int]) -> float:
        """Log evidence of the labels with the features of these checkpoints, over that with none.

        It is LogME of their features side by side less LogME of no features, so that it does not depend
        on the unit of real labels.

        Args:
            items: numbers from 0 to m - 1, each once, in any order.

        Returns:
            Nats per example, mean over the targets. More checkpoints can have less evidence than fewer:
            they share one prior, and features that say nothing narrow it.
        """
        columns = np.concatenate([np.arange(0), *(self._columns[item] for item in items)])
        if not columns.size:
            return 0.0
        return fit(self._of_columns(columns)).score - self._nothing

    @cached_property
    def _columns(self) -> list[NDArray[np.int64]]:
        """Of each checkpoint."""
        return np.split(np.arange(self.ends[-1]), self.ends[:-1])

    @cached_property
    def _nothing(self) -> float:
        """LogME of no features: the targets are noise about 0, of the precision that suits each best."""
        squares = self.statistics.squares[self.statistics.squares > 0]
        return float(0.5 * (np.log(self.statistics.n / squares) - 1 - np.log(2 * np.pi)).mean())

    def _of_columns(self, columns: NDArray[np.int64]) -> Statistics:
        """Statistics of some columns, but for what takes three or four features at once; LogME takes two."""
        whole = self.statistics.moments
        moments = Moments(
            n=whole.n,
            gram=whole.gram[np.ix_(columns, columns)],
            total=whole.total[columns],
            cubic=np.full(len(columns), np.nan),
            quartic=np.nan,
        )
        return replace(self.statistics, moments=moments, cross=self.statistics.cross[:, columns])


def max_evidence(
    stack: Stack,
    k: int,
    *,
    include: Sequence[int] = (),
    exclude: Sequence[int] = (),
    information: Array | Covariance | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Choice:
    """Greedy choice of the checkpoints whose features side by side have most evidence on the target.

    With `information` each step goes half by the gain in evidence and half by the gain in mutual information
    with the rest of the zoo, see `zookeeper.selection`. The two have no unit in common, so both are brought
    to a scale on which the worst candidate of the step has 0 and the best 1.

    Args:
        stack: of m checkpoints.
        k: how many to pick.
        include: picked first, in this order.
        exclude: never picked.
        information: (m, m), the covariance of the checkpoints; None to go by evidence alone.
        advance: called with 1 after each pick.

    Returns:
        The picks in order, and the gain in evidence of each, in nats per example; all gains add up to
        `stack.evidence` of the picks. Ties within 1e-9 go to the lowest number. A gain may be negative: from
        then on another checkpoint costs more certainty about weights than it says about the target. Copies
        are not grouped: the second of two gains next to nothing.

    Raises:
        DegenerateInputError: the covariance is singular, or of other than m checkpoints.
        UsageError: `k`, `include` or `exclude` makes no sense.
    """
    _check_choice(len(stack), k, include, exclude)
    if information is not None and len(information) != len(stack):
        raise DegenerateInputError(
            f"a covariance of {len(information)} checkpoints does not go with {len(stack)}."
        )
    informed = None if information is None else Information(information)
    picks: list[int] = []
    gains: list[float] = []
    ties: list[tuple[int, ...]] = []
    while len(picks) < k:
        open_ = list(include[len(picks) : len(picks) + 1]) or [
            item for item in range(len(stack)) if item not in picks and item not in exclude
        ]
        evidence = np.array([stack.evidence([*picks, item]) for item in open_])
        merit = evidence
        if informed is not None:
            told = np.array([informed([*picks, item]) for item in open_])
            merit = (_on_scale(evidence) + _on_scale(told)) / 2
        best, *others = np.flatnonzero(merit >= merit.max() - _TIE)
        gains.append(float(evidence[best]) - sum(gains))
        ties.append(tuple(open_[i] for i in others))
        picks.append(open_[best])
        advance(1)
    return Choice(tuple(picks), tuple(gains), tuple(ties))


def _reduced(checkpoint: Evidence, width: int) -> Array:
    """(s, r), the sample of a checkpoint in its first principal directions, each of mean square 1."""
    values, directions = checkpoint.statistics.moments.spectrum
    sizes = np.sqrt(values[-width:] / checkpoint.statistics.n)
    return np.asarray(checkpoint.sample.features @ (directions[:, -width:] / sizes))


def _on_scale(values: Array) -> Array:
    """From 0 for the least to 1 for the largest; 0 where all are the same."""
    spread = np.ptp(values)
    return (values - values.min()) / spread if spread > _TIE else np.zeros_like(values)


def _check_rows(checkpoints: Sequence[Evidence]) -> None:
    """Refuse samples of different rows, and labels that are all the same."""
    first = checkpoints[0].sample
    for number, checkpoint in enumerate(checkpoints):
        sample = checkpoint.sample
        if not (
            np.array_equal(sample.sentences, first.sentences)
            and np.array_equal(sample.labels.values, first.labels.values)
        ):
            raise DegenerateInputError(
                f"the samples of checkpoints 0 and {number} are not of the same rows.",
                why="they were read on different examples, or with different labels",
                fix="zoo rank with all of them",
            )
    values = first.labels.values
    if (values == values[0]).all():
        raise DegenerateInputError(
            "all sampled examples have the same label.", why="there is nothing to tell apart"
        )


def _check_choice(m: int, k: int, include: Sequence[int], exclude: Sequence[int]) -> None:
    """Refuse what cannot be picked."""
    named = [*include, *exclude]
    if unknown := [item for item in named if not 0 <= item < m]:
        raise UsageError(f"there is no checkpoint {unknown[0]} among {m}.")
    if len(set(named)) < len([*include, *set(exclude)]):
        raise UsageError("a checkpoint is included twice, or both included and excluded.", fix="name it once")
    least, most = max(len(include), 1), m - len(set(exclude))
    if not least <= k <= most:
        raise UsageError(f"cannot pick {k} of {m}.", fix=f"-k between {least} and {most}")
