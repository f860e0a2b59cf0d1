r"""B-Tuning: what a student is taught by several frozen checkpoints while it is tuned.

You et al. 2022, https://arxiv.org/abs/2110.10545. Each checkpoint has a Bayesian linear model of the labels
on its features, the one that LogME is the evidence of, with posterior mean M. The teachers' predictions are
mixed into one, and what is tuned is the student's features phi_t under its own fixed M_t:

    loss = task loss + lambda * mean over rows and outputs of ( phi_t(x) M_t - sum_k pi_k phi_k(x) M_k )^2

The predictions of all teachers are (n, c), so they may be of any width and kind.

The published code has had two forms, which pull the student to different places: each teacher counts alike
(2021, with the first version of the paper), or by its evidence, pi = softmax(LogME / T) (2022, with the
journal's). A distance to each teacher, weighted by pi, instead of the one to the mixture is no third form:

    sum_k pi_k (s - t_k)^2 = (s - sum_k pi_k t_k)^2 + sum_k pi_k (t_k - sum_j pi_j t_j)^2

and the last term does not depend on the student.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.labels import Array
from zookeeper.records import counted
from zookeeper.scores.logme import fit
from zookeeper.statistics import statistics

Form = Literal["evidence", "uniform"]

FORMS: tuple[Form, ...] = ("evidence", "uniform")
"""What teachers count by: their evidence, or all alike."""

_CHUNK = 4096
_ALONE = 0.99


@dataclass(frozen=True, eq=False)
class Lesson:
    """What the K teachers say about n rows, and how the student is to be heard.

    Attributes:
        weights: (d, c), the student's posterior mean M_t, by which its features are read; fixed.
        targets: (n, c), the teachers' predictions, mixed.
        prior: (K,), the share pi of each teacher; they add up to 1.
        scores: (K,), LogME of each teacher, in nats per row.
    """

    weights: Array
    targets: Array
    prior: Array
    scores: Array

    @property
    def one_hot(self) -> bool:
        """Whether one of several teachers is practically alone, its score far above, by the temperature."""
        return len(self.prior) > 1 and bool(self.prior.max() > _ALONE)


def lesson(
    student: NDArray[Any],
    teachers: Sequence[NDArray[Any]],
    labels: NDArray[Any],
    *,
    temperature: float = 0.1,
    form: Form = "evidence",
) -> Lesson:
    """What a student learns from the teachers beside the labels.

    Departs from the published code in that the evidence is maximised to convergence, see
    `zookeeper.scores.logme`; and in that all is computed on the features that are given, where the code
    mixes features of whole images with those of random crops.

    Args:
        student: (n, d) features of the training rows before tuning.
        teachers: K of (n, d_k) features of the same rows; the student may be one of them.
        labels: (n,) classes as integers, in which there may be gaps; (n,) real numbers, best of mean 0, as
            there is no intercept; or (n, c) of several labels at once. Rows whose label does not count have
            no part in weights and prior.
        temperature: by which scores are divided before the softmax; the larger, the more alike teachers
            count. Without effect where `form` is ``"uniform"``.
        form: what teachers count by.

    Returns:
        The lesson. It has an output for each class up to the largest, 1 for real numbers, or c; that of a
        class that does not occur, or of a label that is always the same, is zero everywhere.

    Raises:
        DegenerateInputError: there is nothing to learn from the labels; features are not finite, all zero,
            or not of as many rows.
        UsageError: there is no teacher, no such form, or the temperature is not positive.
    """
    _check(student, teachers, temperature, form)
    labels = np.asarray(labels)
    (_, own), *read = [_read(features, labels) for features in (student, *teachers)]
    scores = np.array([score for score, _ in read])
    prior = _softmax(scores / temperature) if form == "evidence" else np.full(len(read), 1 / len(read))
    mixed = np.zeros((len(student), own.shape[1]))
    for share, teacher, (_, weights) in zip(prior, teachers, read, strict=True):
        _add_predictions(mixed, teacher, share * weights)
    return Lesson(_placed(own, labels), _placed(mixed, labels), prior, scores)


def _read(features: NDArray[Any], labels: NDArray[Any]) -> tuple[float, Array]:
    """LogME of (n, d) features, and (d, c') weights by which they predict the c' outputs that vary."""
    known = statistics(features, labels)
    found = fit(known)
    return found.score, found.mean(known)


def _placed(varied: Array, labels: NDArray[Any]) -> Array:
    """(r, c), each of the (r, c') columns at its output, zeros at those that do not vary."""
    outputs, n_outputs = _outputs(labels[counted(labels)])
    placed = np.zeros((len(varied), n_outputs))
    placed[:, outputs] = varied
    return placed


def _outputs(labels: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Which outputs vary, ascending, and how many there are."""
    if labels.ndim == 1 and labels.dtype.kind in "iub":
        return np.unique(labels).astype(np.int64), int(labels.max()) + 1
    columns = labels.reshape(len(labels), -1)
    return np.flatnonzero(np.ptp(columns, axis=0) > 0), columns.shape[1]


def _add_predictions(totals: Array, features: NDArray[Any], weights: Array) -> None:
    """Add the product of (n, d) features, in whatever precision, and (d, c) weights to (n, c) totals."""
    for first in range(0, len(features), _CHUNK):
        rows = slice(first, first + _CHUNK)
        totals[rows] += features[rows].astype(np.float64) @ weights


def _softmax(values: Array) -> Array:
    shares = np.exp(values - values.max())
    return np.asarray(shares / shares.sum())


def _check(student: NDArray[Any], teachers: Sequence[NDArray[Any]], temperature: float, form: str) -> None:
    """Refuse a class without teachers, or with one who has read something else."""
    if form not in FORMS:
        raise UsageError(f"teachers do not count by {form}.", fix=f"one of: {', '.join(FORMS)}")
    if not temperature > 0:
        raise UsageError(f"a temperature of {temperature:g} is none.", fix="a number above 0")
    if not teachers:
        raise UsageError("there is no teacher.", fix="a student and one or more teachers")
    for number, teacher in enumerate(teachers, start=1):
        if len(teacher) != len(student):
            raise DegenerateInputError(
                f"teacher {number} has features of {len(teacher):,} rows, the student of {len(student):,}."
            )
