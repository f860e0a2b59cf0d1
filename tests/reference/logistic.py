"""Cross-validated logistic regression: the penalised likelihood written out, minimised by Newton's method."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def logistic(features: NDArray[Any], labels: NDArray[Any], *, folds: int = 5, seed: int = 0) -> float:
    """Sort the rows, shuffle them, deal the classes to the folds in turn, and predict each fold."""
    rows = sorted(range(len(features)), key=lambda i: features[i, ::-1].tolist())
    rows = [rows[i] for i in np.random.RandomState(seed).permutation(len(rows))]
    by_class: dict[Any, list[int]] = {}
    for i in rows:
        by_class.setdefault(labels[i], []).append(i)
    dealt = [i for members in by_class.values() for i in members]
    right = 0
    for fold in range(folds):
        test = dealt[fold::folds]
        train = [i for i in dealt if i not in test]
        if test:
            right += (predict(features[train], labels[train], features[test]) == labels[test]).sum()
    return float(right / len(labels))


def predict(X: Array, y: NDArray[Any], new: Array) -> NDArray[Any]:
    """Likeliest class of new rows."""
    classes = np.unique(y)
    mean, scale = X.mean(axis=0), X.std(axis=0)
    scale[scale == 0] = 1
    X, new = (X - mean) / scale, (new - mean) / scale
    n, d, C = len(X), X.shape[1], len(classes)
    A, Y = np.hstack([X, np.ones((n, 1))]), np.array([[float(c == k) for k in classes] for c in y])
    if C == 2:  # one weight vector, its negative implied: the penalty counts it once
        new_logits = np.hstack([new, np.ones((len(new), 1))]) @ newton(A, Y[:, 1:], d)
        return classes[(new_logits[:, 0] > 0).astype(int)]
    return classes[(np.hstack([new, np.ones((len(new), 1))]) @ newton(A, Y, d)).argmax(axis=1)]


def newton(A: Array, Y: Array, d: int) -> Array:
    """(d + 1, C) weights of a softmax, or of a sigmoid where there is one column."""
    C = Y.shape[1]
    W = np.zeros((d + 1, C))
    ridge = np.kron(np.diag([1.0] * d + [1e-9]), np.eye(C))
    for _ in range(100):
        P = probabilities(A @ W)
        gradient = (A.T @ (P - Y)).ravel() + ridge @ W.ravel()
        curvature = np.einsum("nc,ck->nck", P, np.eye(C)) - np.einsum("nc,nk->nck", P, P)
        hessian = ridge + np.einsum("ni,nj,nck->icjk", A, A, curvature, optimize=True).reshape(ridge.shape)
        step = np.linalg.solve(hessian, gradient)
        t = 1.0
        while loss(A, Y, W - t * step.reshape(W.shape), ridge) > loss(A, Y, W, ridge) and t > 1e-6:
            t /= 2
        W = W - t * step.reshape(W.shape)
        if np.abs(step).max() < 1e-8:
            break
    return W


def probabilities(logits: Array) -> Array:
    """Softmax of each row; sigmoid of a single column."""
    if logits.shape[1] == 1:
        return np.asarray(1 / (1 + np.exp(-logits)))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def loss(A: Array, Y: Array, W: Array, ridge: Array) -> float:
    """Minus log likelihood and half the penalised squares."""
    P = probabilities(A @ W)
    likelihood = np.where(Y > 0, np.log(P), 0 if Y.shape[1] > 1 else np.log1p(-P)).sum()
    return float(-likelihood + W.ravel() @ ridge @ W.ravel() / 2)
