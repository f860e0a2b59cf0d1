"""Signatures: how well they stand for features, on what they do not depend, and what they refuse."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.reference import signatures as literal
from tests.reference.examples import STEADY, Array, feature_sets, parameters, rotation, seeds
from zookeeper import signatures
from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.kernels import alignment
from zookeeper.signatures import Basis, Signature, Signer, estimate, nearest, row, screen, signature

HALF = 1e-3
"""What half precision and single-precision products may change at most; see the test of it."""


def basis_of(sets: list[Array], q: int = 8, t: int = 6, seed: int = 0) -> Basis:
    return Basis.fit(sets, q=q, t=t, seed=seed)


def zoo(seed: int, m: int = 12, n: int = 500, d: int = 40, families: int = 3) -> list[Array]:
    """Features of checkpoints, each of which shares half of its directions with its family."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(families, n, d)) * np.arange(1, d + 1) ** -0.7
    return [
        (centres[i % families] + rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.7)
        @ rng.normal(size=(d, d))
        for i in range(m)
    ]


def covariance(sets: list[Array]) -> Array:
    return np.array([[alignment(left, right) for left in sets] for right in sets])


def unit(signature: Signature) -> Array:
    return signature.vector.astype(np.float64)


def assert_alike(one: Signature, other: Signature) -> None:
    np.testing.assert_allclose(unit(one), unit(other), atol=1e-3)
    assert one.residual == pytest.approx(other.residual, abs=2e-3)
    assert row(one, [other])[0] == pytest.approx([1], abs=1e-6)


@STEADY
@given(seeds, st.integers(1, 20), st.integers(1, 6))
def test_equals_the_literal_definition(seed: int, q: int, t: int) -> None:
    first, *rest = feature_sets(seed)
    basis = basis_of(rest, q, t, seed)
    fast, slow = signature(first, basis), literal.signature(first, basis)
    np.testing.assert_allclose(unit(fast), unit(slow), atol=1e-3)
    assert fast.residual == pytest.approx(slow.residual, abs=1e-3)
    assert fast.t == slow.t


@STEADY
@given(seeds)
def test_comparisons_equal_the_literal_ones(seed: int) -> None:
    sets = feature_sets(seed, m=5)
    made = [signature(features, basis_of(sets)) for features in sets]
    for fast, slow in zip(estimate(made), literal.estimate(made), strict=True):
        np.testing.assert_allclose(fast, slow, atol=1e-6)
    for fast, slow in zip(row(made[0], made[1:]), literal.row(made[0], made[1:]), strict=True):
        np.testing.assert_allclose(fast, slow, atol=1e-6)
    np.testing.assert_allclose(screen(made[0], size=16), literal.screen(made[0], size=16), atol=1e-6)


@pytest.mark.parametrize("name", ["signature", "estimate", "row", "screen", "nearest"])
def test_twin_is_called_alike(name: str) -> None:
    assert parameters(getattr(signatures, name)) == parameters(getattr(literal, name))


@STEADY
@given(seeds, st.integers(1, 60), st.integers(1, 5))
def test_basis_is_orthonormal_and_orthogonal_to_one(seed: int, q: int, m: int) -> None:
    Q = basis_of(feature_sets(seed, m=m), q).vectors.astype(np.float64)
    np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-6)
    np.testing.assert_allclose(Q.sum(axis=0), 0, atol=1e-6)


@STEADY
@given(seeds)
def test_basis_holds_no_more_directions_than_there_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    narrow = [rng.normal(size=(200, 3)), 1e6 * rng.normal(size=(200, 4)) + 1e7]
    assert basis_of(narrow, q=50).q == 7
    assert basis_of([rng.normal(size=(9, 30))], q=50).q == 8
    assert basis_of([rng.normal(size=(200, 90))], q=50).q == 50


@settings(STEADY, max_examples=10)
@given(seeds, st.sampled_from([4, 10, 20, 40]))
def test_basis_is_nearly_the_best_of_its_size(seed: int, q: int) -> None:
    sets = zoo(seed, m=6, n=150)
    total = sum(literal.unit_kernel(features) for features in sets)
    best = Basis(np.linalg.eigh(total)[1][:, ::-1][:, :q].astype(np.float32), 6, 0)

    def rms(basis: Basis) -> float:
        return float(np.linalg.norm([signature(features, basis).residual for features in sets]))

    assert rms(basis_of(sets, q, seed=seed)) < 1.1 * rms(best)


def test_basis_has_the_more_important_directions_first() -> None:
    sets = zoo(0, m=5, n=200)
    total = sum(map(literal.unit_kernel, sets))
    weight = [q @ total @ q for q in basis_of(sets, q=20).vectors.T]
    assert weight == pytest.approx(sorted(weight, reverse=True), rel=0.05)


def test_anchors_are_loaded_once_one_at_a_time() -> None:
    sets = [features.astype(np.float32) for features in zoo(0, m=20, n=2000, d=200)]
    calls = []

    def load(i: int) -> NDArray[np.float32]:
        calls.append(i)
        return sets[i].copy()

    lazy = Basis.fit([partial(load, i) for i in range(20)], q=4, t=2)
    assert calls == list(range(20))
    assert (lazy.vectors == Basis.fit(sets, q=4, t=2).vectors).all()
    tracemalloc.start()
    Basis.fit([partial(load, i) for i in range(20)], q=4, t=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * sets[0].nbytes


@STEADY
@given(seeds)
def test_residual_is_the_length_of_what_is_outside(seed: int) -> None:
    sets = zoo(seed, m=4, n=100)
    basis = basis_of(sets[:2])
    for features in sets:
        expected = np.linalg.norm(literal.residual(features, basis))
        assert signature(features, basis).residual == pytest.approx(expected, abs=1e-4)


@STEADY
@given(seeds)
def test_is_of_unit_length(seed: int) -> None:
    sets = feature_sets(seed)
    for features in sets:
        made = signature(features, basis_of(sets[:1]))
        assert made.vector.dtype == np.float16
        assert np.linalg.norm(unit(made)) == pytest.approx(1, abs=5e-4)
        assert 0 <= made.residual <= 1


@STEADY
@given(seeds)
def test_basis_alone_is_off_by_the_residuals_at_most(seed: int) -> None:
    left, right, *anchors = zoo(seed, m=5, n=120)
    basis = basis_of(anchors)
    a, b = signature(left, basis), signature(right, basis)
    inside = basis.q * (basis.q + 1) // 2
    plain = unit(a)[:inside] @ unit(b)[:inside]
    off = alignment(left, right) - plain
    assert abs(off) <= a.residual * b.residual + HALF


def test_sketch_estimates_the_alignment_within_its_error_and_without_bias() -> None:
    sets = zoo(0, m=8, n=400)
    kappa = covariance(sets)
    off = []
    for seed in range(12):
        basis = basis_of(sets[:3], q=10, t=16, seed=seed)
        found, error = estimate([signature(features, basis) for features in sets])
        off.append(((found - kappa) / np.where(error, error, 1))[np.triu_indices(8, 1)])
    assert np.sqrt(np.mean(np.square(off))) < 1
    assert np.abs(off).max() < 3
    assert np.abs(np.mean(off)) < 0.1


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.58, 0.8, 1.0])
def test_error_covers_residuals_of_rank_one(cosine: float) -> None:
    rng = np.random.default_rng(0)
    anchor, x, y = (v[:, None] - v.mean() for v in rng.normal(size=(3, 300)))
    sine = np.sqrt(1 - cosine**2)
    other = cosine * x / np.linalg.norm(x) + sine * y / np.linalg.norm(y)
    off = []
    for seed in range(100):
        basis = basis_of([anchor], q=1, t=32, seed=seed)
        made = [signature(features, basis) for features in (x, other)]
        found, error = estimate(made)
        off.append((found[0, 1] - alignment(x, other)) / error[0, 1])
    assert np.sqrt(np.mean(np.square(off))) < 1


def test_wider_sketches_are_better() -> None:
    sets = zoo(0, m=8, n=400)
    kappa = covariance(sets)

    def rms(t: int) -> float:
        basis = basis_of(sets[:2], q=5, t=t)
        return float(np.linalg.norm(estimate([signature(f, basis) for f in sets])[0] - kappa))

    assert rms(64) < rms(4) / 3


@STEADY
@given(seeds, st.integers(1, 12))
def test_estimate_is_a_covariance(seed: int, m: int) -> None:
    sets = feature_sets(seed, m)
    basis = basis_of(sets[:1], q=3, t=2)
    matrix, error = estimate([signature(features, basis) for features in sets])
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1).all()
    assert matrix.max() == 1
    assert np.linalg.eigvalsh(matrix)[0] > -1e-6
    assert (error == error.T).all()
    assert (np.diag(error) == 0).all()


@STEADY
@given(seeds)
def test_half_precision_costs_nothing_that_can_be_measured(seed: int) -> None:
    sets = zoo(seed, m=6, n=100)
    basis = basis_of(sets, q=99)
    found, _ = estimate([signature(features, basis) for features in sets])
    np.testing.assert_allclose(found, covariance(sets), atol=3e-4)


@STEADY
@given(seeds)
def test_half_precision_costs_little_where_one_number_is_all(seed: int) -> None:
    sets = list(np.random.default_rng(seed).normal(size=(4, 30, 1)))
    found, _ = estimate([signature(features, basis_of(sets)) for features in sets])
    np.testing.assert_allclose(found, covariance(sets), atol=HALF)


@STEADY
@given(seeds)
def test_anchors_inside_the_basis_have_no_residual(seed: int) -> None:
    sets = list(np.random.default_rng(seed).normal(size=(3, 200, 5)))
    for features in sets:
        assert signature(features, basis_of(sets, q=15)).residual < 2e-3


@STEADY
@given(seeds)
def test_copies_are_aligned_whole(seed: int) -> None:
    features, other = zoo(seed, m=2)
    basis = basis_of([other])
    copy = features @ rotation(seed, features.shape[1])
    made = [signature(each, basis) for each in (features, features, copy)]
    assert estimate(made)[0] == pytest.approx(np.ones((3, 3)), abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: f @ rotation(1, f.shape[1]), id="rotated"),
        pytest.param(lambda f: 1e-9 * f, id="scaled down"),
        pytest.param(lambda f: 1e100 * f, id="scaled up"),
        pytest.param(lambda f: (f + 50 * f.std(axis=0)).astype(np.float32), id="shifted"),
        pytest.param(lambda f: np.hstack([f, np.full((len(f), 2), 0.1)]), id="dead columns"),
        pytest.param(lambda f: f[:, ::-1], id="columns turned round"),
    ],
)
@STEADY
@given(seed=seeds)
def test_does_not_depend_on_the_coordinates(seed: int, change: Callable[[Array], Array]) -> None:
    features, *anchors = zoo(seed, m=3)
    assert_alike(signature(change(features), basis_of(anchors)), signature(features, basis_of(anchors)))


def test_features_far_from_zero_lose_nothing_in_single_precision() -> None:
    """Without the zero of the first block the residual is off by several thousandths."""
    sets = [(f + 50 * f.std(axis=0)).astype(np.float32) for f in zoo(0, m=4, n=2000, d=60)]
    basis = Basis.fit(sets, q=200, t=2)
    made = [signature(features, basis) for features in sets]
    for features, each in zip(sets, made, strict=True):
        centred = features - features.mean(axis=0, dtype=np.float64)
        inside = basis.vectors.T @ centred
        share = np.linalg.norm(inside @ inside.T) / np.linalg.norm(centred.T @ centred)
        assert each.residual == pytest.approx(np.sqrt(1 - share**2), abs=1e-3)
    np.testing.assert_allclose(estimate(made)[0], covariance(sets), atol=HALF)


def in_blocks(
    features: Array, order: NDArray[np.int64], cuts: list[int]
) -> Iterator[tuple[NDArray[np.int64], Array]]:
    for rows in np.split(order, sorted(cuts)):
        yield rows, features[rows]


@STEADY
@given(seeds, st.lists(st.integers(0, 500), max_size=6))
def test_rows_come_in_any_order_and_blocks(seed: int, cuts: list[int]) -> None:
    features, *anchors = zoo(seed, m=3)
    features += 50 * features.std(axis=0)
    basis = basis_of(anchors)
    signer = Signer(basis)
    for rows, block in in_blocks(features, np.random.default_rng(seed).permutation(500), cuts):
        signer.add(rows, block.astype(np.float32))
    assert_alike(signer.finish(), signature(features, basis))


def test_the_first_rows_may_be_all_the_same() -> None:
    features = zoo(0, m=2)
    features[0][:100] = 0
    basis = basis_of(features)
    signer = Signer(basis)
    signer.add(np.arange(100), features[0][:100])
    signer.add(np.arange(100, 500), features[0][100:])
    assert_alike(signer.finish(), literal.signature(features[0], basis))


def test_memory_does_not_grow_with_the_features() -> None:
    n, d = 20_000, 32
    basis = Basis(np.linalg.qr(np.random.default_rng(0).normal(size=(n, 4)))[0].astype(np.float32), 3, 0)
    basis.overlaps  # noqa: B018
    features = np.random.default_rng(1).normal(size=(n, d)).astype(np.float32)
    tracemalloc.start()
    signature(features, basis)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < features.nbytes / 3


def test_leaves_its_input_alone() -> None:
    sets = feature_sets(0)
    made = [signature(features, basis_of(sets)) for features in sets]
    kept = [each.vector.copy() for each in made]
    estimate(made), row(made[0], made), screen(made[0])
    for used, fresh in zip(sets, feature_sets(0), strict=True):
        assert (used == fresh).all()
    for each, vector in zip(made, kept, strict=True):
        assert (each.vector == vector).all()


def test_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    first, *rest = zoo(0, m=3)
    one, again, other = (signature(first, basis_of(rest, seed=seed)) for seed in (0, 0, 1))
    assert (one.vector == again.vector).all()
    assert not np.allclose(unit(one), unit(other), atol=1e-2)


def test_a_basis_can_be_kept_without_its_sketches() -> None:
    features = zoo(0, m=2)
    basis = basis_of(features)
    again = Basis(basis.vectors.copy(), basis.t, basis.seed)
    assert (signature(features[0], again).vector == signature(features[0], basis).vector).all()


@pytest.mark.parametrize("m", [1, 3, 7])
def test_progress_comes_to_its_end(m: int) -> None:
    steps: list[int] = []
    Basis.fit(feature_sets(0, m=m), q=3, t=2, advance=steps.append)
    assert sum(steps) == 1000
    assert len(steps) == m


@pytest.fixture(scope="module")
def families() -> tuple[list[Signature], NDArray[np.float32]]:
    """Signatures of 300 checkpoints in 30 families of ten, and their screens."""
    sets = zoo(0, m=300, n=300, d=24, families=30)
    basis = basis_of(sets[:60], q=60, t=32)
    made = [signature(features, basis) for features in sets]
    return made, np.stack([screen(each, size=512) for each in made])


def test_nearest_finds_the_family(families: tuple[list[Signature], NDArray[np.float32]]) -> None:
    made, screens = families
    hits = 0
    for query in range(0, 300, 7):
        found = nearest(made[query], screens, lambda few: [made[i] for i in few], 10, shortlist=80)
        assert found.indices[0] == query
        assert found.alignment[0] == pytest.approx(1, abs=1e-6)
        assert (np.diff(found.alignment) <= 0).all()
        truth = literal.nearest(made[query], screens, lambda few: [made[i] for i in few], 10)
        hits += len({*found.indices} & {*truth.indices})
        np.testing.assert_allclose(found.error, row(made[query], [made[i] for i in found.indices])[1])
    assert hits >= 0.98 * 10 * 43


def test_nearest_with_a_full_shortlist_is_exact(
    families: tuple[list[Signature], NDArray[np.float32]],
) -> None:
    made, screens = families
    fast, slow = (
        find(made[5], screens, lambda few: (made[i] for i in few), 20, shortlist=300)
        for find in (nearest, literal.nearest)
    )
    assert (fast.indices == slow.indices).all()
    np.testing.assert_allclose(fast.alignment, slow.alignment, atol=1e-6)


def test_screens_estimate_the_alignment_within_their_error(
    families: tuple[list[Signature], NDArray[np.float32]],
) -> None:
    made, _ = families
    screens = np.stack([screen(each, size=1024) for each in made])
    rho = np.linalg.norm(screens[:, 512:], axis=1)
    np.testing.assert_allclose(np.linalg.norm(screens, axis=1), 1, atol=1e-6)
    off = (screens @ screens.T - estimate(made)[0]) / (np.outer(rho, rho) * np.sqrt(2 / 512))
    assert np.sqrt(np.mean(np.square(off[~np.eye(300, dtype=bool)]))) < 1


def test_nearest_loads_no_more_than_the_shortlist(
    families: tuple[list[Signature], NDArray[np.float32]],
) -> None:
    made, screens = families
    asked: list[int] = []

    def load(few: NDArray[np.intp]) -> list[Signature]:
        asked.extend(few)
        return [made[i] for i in few]

    assert len(nearest(made[0], screens, load, 3, shortlist=20).indices) == 3
    assert len(asked) == len(set(asked)) == 20


GOOD = np.arange(12.0).reshape(6, 2) ** 2


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ([], "at least one set"),
        ([GOOD, GOOD[:-1]], r"anchor 2 of 2: .* \(5, 2\), not of 6 rows"),
        ([GOOD, np.full((6, 2), 0.1)], "anchor 2 of 2: every row of the features is the same"),
        ([np.zeros((6, 2))], "anchor 1 of 1: every row of the features is the same"),
        ([np.tile([0.1, 1e4 / 3], (6, 1))], "every row of the features is the same"),
        ([np.zeros((0, 2))], "no rows"),
        ([GOOD[:1]], "every row of the features is the same"),
        ([np.where(GOOD == 4, np.nan, GOOD)], "not finite"),
        ([GOOD, lambda: np.where(GOOD == 4, np.inf, GOOD)], "anchor 2 of 2: .*not finite"),
    ],
)
def test_a_basis_refuses(anchors: list[Array], message: str) -> None:
    with pytest.raises(DegenerateInputError, match=message):
        Basis.fit(anchors)


@pytest.mark.parametrize(("q", "t"), [(0, 1), (1, 0)])
def test_a_basis_refuses_sizes(q: int, t: int) -> None:
    with pytest.raises(UsageError, match="is none"):
        Basis.fit([GOOD], q=q, t=t)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "6 of 6 rows of the probe are missing"),
        ([([0, 1, 3], GOOD[:3])], "3 of 6 rows of the probe are missing, row 2 first"),
        ([([0, 1, 1], GOOD[:3])], "given twice"),
        ([([0, 1], GOOD[:2]), ([2, 1], GOOD[:2])], "given twice"),
        ([([0, 6], GOOD[:2])], "row 6 is not of a probe of 6"),
        ([([0, -1], GOOD[:2])], "row -1 is not of a probe of 6"),
        ([([0, 1], GOOD[:3])], r"2 rows cannot have features of shape \(3, 2\)"),
        ([([0, 1], GOOD[0])], r"2 rows cannot have features of shape \(2,\)"),
        ([([0, 1], GOOD[:2]), ([2], GOOD[:1, :1])], "2 wide, and then 1"),
        ([([0], np.array([[1.0, np.nan]]))], "not finite"),
        ([([0], GOOD[:1]), ([1], np.array([[1.0, np.inf]]))], "not finite"),
        ([(range(6), np.full((6, 2), 0.1))], "every row of the features is the same"),
        ([(range(6), np.full((6, 2), 0.1, dtype=np.float32))], "every row of the features is the same"),
        ([(range(6), np.zeros((6, 2)))], "every row of the features is the same"),
    ],
)
def test_a_signer_refuses(blocks: list[tuple[list[int], Array]], message: str) -> None:
    signer = Signer(basis_of([GOOD], q=1))
    with pytest.raises(DegenerateInputError, match=message):
        for rows, features in blocks:
            signer.add(np.array(rows, dtype=np.int64), features)
        signer.finish()
        pytest.fail("a signature was made")


def test_comparisons_refuse_what_cannot_be_compared() -> None:
    one, other = (signature(GOOD, basis_of([GOOD], q=1, t=t)) for t in (2, 3))
    with pytest.raises(DegenerateInputError, match="at least one signature"):
        estimate([])
    with pytest.raises(DegenerateInputError, match="same basis"):
        estimate([one, other])
    with pytest.raises(DegenerateInputError, match="same basis"):
        row(one, [one, other])
    assert row(one, [])[0].shape == (0,)


@pytest.mark.parametrize("k", [0, 4])
def test_nearest_refuses(k: int) -> None:
    one = signature(GOOD, basis_of([GOOD], q=1))
    with pytest.raises(UsageError, match=f"no {k} nearest of 3"):
        nearest(one, np.tile(screen(one), (3, 1)), lambda few: [one for _ in few], k)
