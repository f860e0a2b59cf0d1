"""Combining the outputs of members by the definitions, row by row and pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from tests.reference.logistic import newton, probabilities
from zookeeper.ensembles import Kind, Way
from zookeeper.records import counted

Array = NDArray[np.float64]
Rule = Callable[[list[Array]], Array]

PENALTIES = (1000.0, 100.0, 10.0, 1.0)


def combine(
    validation: Sequence[NDArray[Any]], labels: NDArray[Any], groups: NDArray[Any], kind: Kind, how: Way
) -> Rule:
    """A function from the outputs of members to those of the combination."""
    rows = np.flatnonzero(counted(labels))
    members, labels, groups = [z[rows].astype(float) for z in validation], labels[rows], groups[rows]
    if kind == "numbers":
        rule = of_numbers([z[:, 0] for z in members], labels, groups, how)
        return lambda outputs: rule([z[:, 0] for z in outputs])[:, None]
    if kind == "classes":
        return of_classes(members, labels, groups, how)
    c = labels.shape[1]
    rule = of_classes([yes_or_no(z) for z in members], labels.astype(int).ravel(), groups.repeat(c), how)

    def log_odds(outputs: list[Array]) -> Array:
        logs = rule([yes_or_no(z) for z in outputs])
        return np.array([yes - no for no, yes in logs]).reshape(-1, c)

    return log_odds


def cross_fitted(
    validation: Sequence[NDArray[Any]],
    labels: NDArray[Any],
    groups: NDArray[Any],
    kind: Kind,
    how: Way,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Array:
    """Every fold by the rule of the others."""
    found = np.full(validation[0].shape, np.nan)
    for test in parts(groups, counted(labels), folds, seed):
        train = [i for i in range(len(groups)) if i not in test]
        rule = combine([z[train] for z in validation], labels[train], groups[train], kind, how)
        found[test] = rule([z[test] for z in validation])
    return found


def diversity(
    predictions: Sequence[NDArray[Any]], labels: NDArray[Any], kind: Kind
) -> Mapping[str, float | None]:
    """Kuncheva and Whitaker 2003, equations 6 and 8, by counting."""
    pairs = list(combinations([p[counted(labels)].ravel() for p in predictions], 2))
    wanted = labels[counted(labels)].ravel()
    if kind == "numbers":
        return {"correlation": mean([float(np.corrcoef(a - wanted, b - wanted)[0, 1]) for a, b in pairs])}
    disagreements, qs = [], []
    for a, b in pairs:
        N = {(i, k): 0 for i in (True, False) for k in (True, False)}
        for x, y, label in zip(a, b, wanted, strict=True):
            N[bool(x == label), bool(y == label)] += 1
        ad, bc = N[True, True] * N[False, False], N[False, True] * N[True, False]
        disagreements.append((N[True, False] + N[False, True]) / sum(N.values()))
        qs += [(ad - bc) / (ad + bc)] if ad + bc else []
    return {"disagreement": mean(disagreements), "q": mean(qs)}


def of_classes(members: list[Array], y: NDArray[np.int64], groups: NDArray[Any], how: Way) -> Rule:
    """Log-probabilities from logits."""
    T = [temperature(z, y) for z in members]
    P = [probabilities(z / t) for z, t in zip(members, T, strict=True)]
    k = len(members)
    if how in ("mean", "weighted"):
        w = np.full(k, 1 / k) if how == "mean" else mixture([p[range(len(y)), y] for p in P])
        rule = lambda P: np.log(sum(w_m * p for w_m, p in zip(w, P, strict=True)))  # noqa: E731
    elif how == "vote":
        rule = vote
    else:
        rule = stacked(P, y, best(P, y, groups, stacked, nll))
    return lambda outputs: rule([probabilities(z / t) for z, t in zip(outputs, T, strict=True)])


def of_numbers(members: list[Array], y: Array, groups: NDArray[Any], how: Way) -> Rule:
    """Numbers from numbers."""
    if how == "mean":
        return lambda outputs: sum(outputs) / len(outputs)
    if how == "vote":
        return lambda outputs: np.array([np.median(row) for row in zip(*outputs, strict=True)])
    if how == "weighted":
        w = nearest(np.stack(members, axis=1), y)
        return lambda outputs: np.stack(outputs, axis=1) @ w
    return ridge(members, y, best(members, y, groups, ridge, squares))


def yes_or_no(z: Array) -> Array:
    """Logits of no and yes for each row and label."""
    return np.array([[0.0, value] for value in z.ravel()])


def temperature(z: Array, y: NDArray[np.int64]) -> float:
    """Guo et al. 2017, section 4.2."""

    def loss(log_t: float) -> float:
        return nll(log_softmax(z / np.exp(log_t)), y)

    bounds = (np.log(0.05), np.log(20))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))


def log_softmax(z: Array) -> Array:
    """Of each row."""
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))


def nll(logs: Array, y: NDArray[np.int64]) -> float:
    """Minus the sum of the log-probabilities of the labels."""
    return -float(sum(logs[i, label] for i, label in enumerate(y)))


def squares(found: Array, y: Array) -> float:
    """Sum of squared errors."""
    return float(((found - y) ** 2).sum())


def mixture(likelihoods: list[Array]) -> Array:
    """Weights of a mixture by expectation and maximisation (Dempster, Laird and Rubin 1977)."""
    L = np.stack(likelihoods, axis=1)
    w = np.full(L.shape[1], 1 / L.shape[1])
    for _ in range(5000):
        responsibilities = L * w / (L @ w)[:, None]
        w = responsibilities.mean(axis=0)
    return w


def nearest(Z: Array, y: Array) -> Array:
    """The best weights of every set of members that add up to 1, of those that are not negative."""
    k = Z.shape[1]
    found, least = np.zeros(k), np.inf
    for members in chain.from_iterable(combinations(range(k), size) for size in range(1, k + 1)):
        last, *others = members
        w = np.zeros(k)
        w[others] = np.linalg.lstsq(Z[:, others] - Z[:, [last]], y - Z[:, last], rcond=None)[0]
        w[last] = 1 - w.sum()
        if w.min() >= 0 and squares(Z @ w, y) < least:
            found, least = w, squares(Z @ w, y)
    return found


def vote(P: list[Array]) -> Array:
    """Votes of each row, and the mean as one more voter."""
    found = sum(P) / len(P)
    for i in range(len(found)):
        for p in P:
            found[i, p[i].argmax()] += 1
    return np.log(found / (len(P) + 1))


def stacked(P: list[Array], y: NDArray[np.int64], penalty: float) -> Rule:
    """Logistic regression on standardised log-probabilities; classes without examples go by the mean."""
    known = np.unique(y)
    X = np.hstack([np.log(p) for p in P])
    centre, scale, d = X.mean(axis=0), X.std(axis=0), X.shape[1]

    def design(P: list[Array]) -> Array:
        standard = (np.hstack([np.log(p) for p in P]) - centre) / scale
        return np.hstack([standard / np.sqrt(penalty), np.ones((len(standard), 1))])

    Y = np.array([[float(label == c) for c in known] for label in y])
    W = newton(design(P), Y if len(known) > 2 else Y[:, 1:], d)

    def rule(P: list[Array]) -> Array:
        logits = design(P) @ W
        own = log_softmax(logits if len(known) > 2 else np.hstack([np.zeros_like(logits), logits]))
        found = sum(P) / len(P)
        found[:, known] = np.exp(own) * found[:, known].sum(axis=1, keepdims=True)
        return np.log(found)

    return rule


def ridge(members: list[Array], y: Array, penalty: float) -> Rule:
    """Least squares with an intercept and a penalty on standardised coefficients, as rows of their own."""
    Z = np.stack(members, axis=1)
    centre, scale, k = Z.mean(axis=0), Z.std(axis=0), len(members)
    A = np.vstack(
        [np.c_[(Z - centre) / scale, np.ones(len(y))], np.c_[np.sqrt(penalty) * np.eye(k), np.zeros(k)]]
    )
    solved = np.linalg.lstsq(A, np.r_[y, np.zeros(k)], rcond=None)[0]
    return lambda outputs: (
        np.c_[(np.stack(outputs, axis=1) - centre) / scale, np.ones(len(outputs[0]))] @ solved
    )


def best(
    members: list[Array],
    y: NDArray[Any],
    groups: NDArray[Any],
    fit: Callable[[list[Array], Any, float], Rule],
    loss: Callable[[Array, Any], float],
) -> float:
    """The penalty whose rules do best on the folds that they have not seen."""

    def total(penalty: float) -> float:
        held_out = 0.0
        for test in parts(groups, np.ones(len(y), dtype=bool), 3, 0):
            train = [i for i in range(len(y)) if i not in test]
            rule = fit([z[train] for z in members], y[train], penalty)
            held_out += loss(rule([z[test] for z in members]), y[test])
        return held_out

    return min(PENALTIES, key=total)


def parts(groups: NDArray[Any], counts: NDArray[np.bool_], folds: int, seed: int) -> list[list[int]]:
    """Rows of each fold: sentences in random order, those with a label first, dealt in turn."""
    sentences = sorted(set(groups.tolist()))
    sentences = [sentences[i] for i in np.random.default_rng(seed).permutation(len(sentences))]
    labelled = [s for s in sentences if counts[groups == s].any()]
    order = labelled + [s for s in sentences if s not in labelled]
    folds = min(folds, len(labelled))
    return [[i for i, s in enumerate(groups) if order.index(s) % folds == fold] for fold in range(folds)]


def mean(values: list[float]) -> float | None:
    """None of nothing."""
    return float(np.mean(values)) if values else None
