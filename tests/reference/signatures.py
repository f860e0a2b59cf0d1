"""Signatures from n x n kernels, written out.

With K = H F F^T H, H = I - 1 1^T / n, scaled to |K| = 1:

    B = Q^T K Q,   R = K - Q B Q^T,   r = (G kron H)^T vec(R)

and CountSketch as in Charikar, Chen, Farach-Colton 2002, https://doi.org/10.1007/3-540-45465-9_59.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from zookeeper.signatures import Basis, Nearest, Signature

Array = NDArray[np.float64]


def unit_kernel(features: NDArray[np.floating]) -> Array:
    """(n, n), centred, of unit length."""
    F = features.astype(np.float64)
    n = len(F)
    H = np.eye(n) - np.ones((n, n)) / n
    K = H @ F @ F.T @ H
    return np.asarray(K / np.linalg.norm(K))


def residual(features: NDArray[np.floating], basis: Basis) -> Array:
    """(n, n), what is left of the kernel outside the basis."""
    K, Q = unit_kernel(features), basis.vectors.astype(np.float64)
    return np.asarray(K - Q @ (Q.T @ K @ Q) @ Q.T)


def signature(features: NDArray[np.floating], basis: Basis) -> Signature:
    """Literal signature of a checkpoint."""
    K, R = unit_kernel(features), residual(features, basis)
    Q = basis.vectors.astype(np.float64)
    G, H, _ = np.split(basis.sketches.toarray().astype(np.float64), [basis.t, 2 * basis.t], axis=1)
    B = Q.T @ K @ Q
    v = [B[i, j] * (1 if i == j else 2**0.5) for i in range(basis.q) for j in range(i + 1)]
    r = np.kron(G, H).T @ R.ravel()
    eps = float(np.linalg.norm(R))
    r *= eps / np.linalg.norm(r)
    return Signature(np.concatenate([v, r]).astype(np.float16), eps, basis.t)


def estimate(signatures: Sequence[Signature]) -> tuple[Array, Array]:
    """Literal cosine of every pair, and its error."""
    m = len(signatures)
    matrix, error = np.eye(m), np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            if i != j:
                matrix[i, j] = cosine(signatures[i], signatures[j])
                error[i, j] = signatures[i].residual * signatures[j].residual / signatures[i].t ** 0.5 + 1e-4
    return matrix, error


def row(signature: Signature, signatures: Iterable[Signature]) -> tuple[Array, Array]:
    """Literal cosine with each, and its error."""
    others = list(signatures)
    errors = [signature.residual * other.residual / signature.t**0.5 + 1e-4 for other in others]
    return np.array([cosine(signature, other) for other in others]), np.array(errors)


def screen(signature: Signature, *, size: int = 1024) -> NDArray[np.float32]:
    """Literal CountSketch of the tail, a coordinate at a time."""
    vector = signature.vector.astype(np.float64)
    vector /= np.linalg.norm(vector)
    half = size // 2
    tail = vector[half:]
    rng = np.random.default_rng(0)
    buckets, coins = (rng.integers(0, count, size=len(tail)) for count in (size - half, 2))
    sketch = np.zeros(size - half)
    for value, bucket, coin in zip(tail, buckets, coins, strict=True):
        sketch[bucket] += -value if coin else value
    sketch *= np.linalg.norm(tail) / np.linalg.norm(sketch)
    return np.concatenate([vector[:half], sketch]).astype(np.float32)


def nearest(
    signature: Signature,
    screens: NDArray[np.float32],
    load: Callable[[NDArray[np.intp]], Iterable[Signature]],
    k: int,
    *,
    shortlist: int = 256,
) -> Nearest:
    """The nearest when all are compared in full, whatever the screens say."""
    alignment, error = row(signature, load(np.arange(len(screens))))
    best = np.array(sorted(range(len(screens)), key=lambda i: -alignment[i])[:k])
    return Nearest(best, alignment[best], error[best])


def cosine(one: Signature, other: Signature) -> float:
    """Of two signatures."""
    a, b = one.vector.astype(np.float64), other.vector.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
