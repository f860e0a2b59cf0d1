"""B-Tuning by the fixed point of You et al. 2022, https://arxiv.org/abs/2110.10545, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper.teaching import Form, Lesson

Array = NDArray[np.float64]


def lesson(
    student: NDArray[Any],
    teachers: Sequence[NDArray[Any]],
    labels: NDArray[Any],
    *,
    temperature: float = 0.1,
    form: Form = "evidence",
) -> Lesson:
    """Evidence and weights of every model, then the mixture of what the teachers predict."""
    Y = columns(labels)
    _, M_t = logme(student, Y)
    read = [logme(F, Y) for F in teachers]
    scores = np.array([score for score, _ in read])
    exponentials = np.exp(scores / temperature)
    pi = exponentials / exponentials.sum() if form == "evidence" else np.ones(len(read)) / len(read)
    targets = np.zeros(Y.shape)
    for i in range(len(Y)):
        for pi_k, F, (_, M) in zip(pi, teachers, read, strict=True):
            targets[i] += pi_k * F[i] @ M
    return Lesson(M_t, targets, pi, scores)


def columns(labels: NDArray[Any]) -> Array:
    """One of zeros and ones for each class up to the largest; numbers as they are."""
    if labels.dtype.kind == "i":
        return np.array([[float(label == c) for c in range(labels.max() + 1)] for label in labels])
    return labels.reshape(len(labels), -1)


def logme(F: Array, Y: Array) -> tuple[float, Array]:
    """Mean evidence of the columns that vary, and (d, c) weights."""
    read = [fixed_point(F, y) if np.ptp(y) else (np.nan, np.zeros(F.shape[1])) for y in Y.T]
    return float(np.nanmean([evidence for evidence, _ in read])), np.stack([m for _, m in read], axis=1)


def fixed_point(
    F: Array, y: Array, *, steps: int = 11, tolerance: float = 1e-3, slack: float = 1e-5
) -> tuple[float, Array]:
    """Evidence per row, and the posterior mean of the weights, for n >= d."""
    n, d = F.shape
    U, s, Vt = np.linalg.svd(F, full_matrices=False)
    sigma, x = s**2, U.T @ y
    outside = y @ y - x @ x
    alpha = beta = 1.0
    for _ in range(steps):
        t = alpha / beta
        gamma = (sigma / (t + sigma)).sum()
        m2 = (sigma * x**2 / (t + sigma) ** 2).sum()
        r2 = (x**2 / (1 + sigma / t) ** 2).sum() + outside
        alpha, beta = gamma / (m2 + slack), (n - gamma) / (r2 + slack)
        if abs(alpha / beta - t) <= tolerance * t:
            break
    evidence = (
        d / 2 * np.log(alpha)
        + n / 2 * np.log(beta)
        - np.log(alpha + beta * sigma).sum() / 2
        - beta / 2 * r2
        - alpha / 2 * m2
        - n / 2 * np.log(2 * np.pi)
    )
    return evidence / n, Vt.T @ (s * x / (t + sigma))
