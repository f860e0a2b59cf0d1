"""Small inputs that the tests and benchmarks of the mathematical floor share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEADY = settings(derandomize=True, deadline=None, max_examples=25)
"""The same examples in every run, however slow the machine."""

seeds = st.integers(min_value=0, max_value=2**32 - 1)


def feature_sets(seed: int, m: int = 4, n: int = 40, widest: int = 60) -> list[Array]:
    """Related features of m checkpoints; some wider than they have rows, some narrower."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 6))
    widths = rng.integers(1, widest + 1, size=m)
    return [shared @ rng.normal(size=(6, d)) + 2 * rng.normal(size=(n, d)) for d in widths]


def random_kappa(seed: int, m: int) -> Array:
    """(m, m) covariance with unit diagonal, well conditioned, its items positively related."""
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(m, 2 * m + 1)) + rng.uniform(0, 1.5, size=(m, 1))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    kappa = np.asarray(items @ items.T)
    np.fill_diagonal(kappa, 1.0)
    return kappa


def conditioned_kappa(seed: int, m: int, condition: float) -> Array:
    """(m, m) covariance with eigenvalues from 1 down to 1/condition."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(m, m)))[0]
    kappa = (axes * np.logspace(0, -np.log10(condition), m)) @ axes.T
    return np.asarray(kappa + kappa.T) / 2


def blobs(seed: int, n: int = 80, d: int = 6, classes: int = 3) -> tuple[Array, NDArray[np.int64]]:
    """Features (n, d) scattered about the centre of their class, and labels in which no class is missing."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    centres = 2 * rng.normal(size=(classes, d))
    return centres[labels] + rng.normal(size=(n, d)), labels


def rotation(seed: int, d: int) -> Array:
    """(d, d) orthogonal matrix."""
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0])


def parameters(function: Callable[..., Any]) -> list[tuple[object, ...]]:
    """Name, kind and default of each parameter; of a default that is a function only that it is one."""
    return [
        (p.name, p.kind, callable if inspect.isfunction(p.default) else p.default)
        for p in inspect.signature(function).parameters.values()
    ]
