"""Evidence: gathered in one pass in whatever order, and resampled without another."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from tests.reference.examples import STEADY, Array, blobs, seeds
from tests.reference.resampling import bootstrap
from zookeeper.errors import CheckpointError, DegenerateInputError
from zookeeper.evidence import Evidence, Sample, evidence_of
from zookeeper.gathering import SAMPLE_ROWS, Gatherer, evidence_from, names_of
from zookeeper.labels import Labels, examples
from zookeeper.records import IGNORED, Corpus, Labelled
from zookeeper.resampling import draws, interval, rank_ranges, replicates, tiers
from zookeeper.scores import SCORES, hscore, leep, logme

PER_SENTENCE = 4


def clustered(seed: int, n: int = 320, d: int = 5) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Words of which those of a sentence are alike, so that a bootstrap over words would be too sure."""
    features, labels = blobs(seed, n=n, d=d)
    sentences = np.arange(n) // PER_SENTENCE
    shared = np.random.default_rng(seed).normal(size=(n // PER_SENTENCE, d))
    return features + 1.5 * shared[sentences], labels, sentences


def words_of(labels: NDArray[Any], per_sentence: int = PER_SENTENCE) -> Labelled:
    """A target with so many words a sentence."""
    n = len(labels) // per_sentence
    corpus = Corpus(tuple(tuple(f"w{i}" for i in range(per_sentence)) for _ in range(n)), "word")
    return Labelled(corpus, labels)


def gathered(data: Labelled, features: Array, order: NDArray[np.int64], n_blocks: int = 3) -> Evidence:
    """Evidence of features that come in blocks."""
    gatherer = Gatherer(data)
    for rows in np.array_split(order, n_blocks):
        gatherer.add(rows, {"1": features[rows].astype(np.float32)}, None)
    arrays = {name: array for name, array in gatherer.arrays().items() if name in names_of("1")}
    return evidence_from(arrays, "1", n=gatherer.n, classes=data.classes)


# One pass


@STEADY
@given(seeds)
def test_blocks_in_any_order_are_one_pass(seed: int) -> None:
    features, labels, _ = clustered(seed)
    labels[::7] = IGNORED
    features = features.astype(np.float32).astype(np.float64)
    rng = np.random.default_rng(seed)
    sentences = rng.permutation(len(features) // PER_SENTENCE)
    order = np.concatenate([np.arange(s * PER_SENTENCE, (s + 1) * PER_SENTENCE) for s in sentences])
    found = gathered(words_of(labels), features, order, n_blocks=int(rng.integers(1, 9)))
    whole = evidence_of(*examples(features, labels))
    for name in ("logme", "hscore"):
        expected = SCORES[name].measure(whole).value
        assert SCORES[name].measure(found).value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(found.sample.features, whole.sample.features)
    assert found.sample.labels.values.tolist() == whole.sample.labels.values.tolist()


def test_the_sample_is_bounded_made_of_whole_sentences_and_the_same_for_all() -> None:
    n = 4 * SAMPLE_ROWS
    labels = np.arange(n) % 3
    features = np.random.default_rng(0).normal(size=(n, 2))
    features[:, 1] = np.arange(n) // 8
    first = gathered(words_of(labels, 8), features, np.arange(n))
    assert SAMPLE_ROWS - 8 < len(first.sample) <= SAMPLE_ROWS
    assert first.sample.n_sentences == len(first.sample) / 8
    sentence = first.sample.features[:, 1].reshape(-1, 8)
    assert (sentence == sentence[:, :1]).all(), "words of a sentence stay together"
    other = gathered(words_of(labels, 8), features * [2, 1], np.arange(n)[::-1])
    assert (other.sample.features[:, 1] == first.sample.features[:, 1]).all()
    assert first.statistics.n == n


def test_of_a_sentence_longer_than_the_sample_so_much_is_taken_as_fits() -> None:
    labels = np.arange(2 * SAMPLE_ROWS) % 3
    found = gathered(
        words_of(labels, len(labels)),
        np.random.default_rng(0).normal(size=(len(labels), 2)),
        np.arange(len(labels)),
    )
    assert len(found.sample) == SAMPLE_ROWS
    assert found.statistics.n == len(labels)


@STEADY
@given(seeds)
def test_shuffled_labels_score_as_if_features_knew_nothing(seed: int) -> None:
    features, labels, sentences = clustered(seed)
    X, y = examples(features, labels)
    evidence = evidence_of(X, y, sentences)
    null = evidence.null
    assert sorted(null.sample.labels.codes) == sorted(y.codes)
    for name, score in (("logme", logme), ("hscore", hscore)):
        found = SCORES[name].measure(null).value
        assert found == pytest.approx(score(null.sample.features, null.sample.labels.codes), rel=1e-9)
        assert found < SCORES[name].measure(evidence).value
    accuracy = SCORES["ridge"].measure(null).value
    assert accuracy < 0.55, "three classes, nothing to learn"


# The bootstrap


@pytest.mark.parametrize(("name", "correlation"), [("logme", 0.96), ("hscore", 0.95)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_replicates_follow_the_bootstrap_one_by_one(name: str, correlation: float, seed: int) -> None:
    features, labels, sentences = clustered(seed)
    evidence = evidence_of(*examples(features, labels), sentences)
    drawn = draws(evidence.sample.n_sentences, 100)
    fast = replicates(SCORES[name].measure(evidence), sentences, drawn)
    slow = bootstrap(SCORES[name].function, features, labels, sentences, drawn)
    assert np.corrcoef(fast, slow)[0, 1] > correlation
    assert 0.85 < fast.std() / slow.std() < 1.15


def test_replicates_of_a_regression_follow_the_bootstrap() -> None:
    features, _, sentences = clustered(3)
    labels = features @ np.arange(5.0) + 3 * np.random.default_rng(3).normal(size=len(features))
    evidence = evidence_of(*examples(features, labels), sentences)
    drawn = draws(evidence.sample.n_sentences, 100)
    fast = replicates(SCORES["logme"].measure(evidence), sentences, drawn)
    slow = bootstrap(logme, features, labels, sentences, drawn)
    assert np.corrcoef(fast, slow)[0, 1] > 0.96
    assert 0.85 < fast.std() / slow.std() < 1.15


@pytest.mark.parametrize("name", ["ridge", "knn", "logistic", "gbc", "parc", "nleep"])
def test_replicates_of_held_out_and_sampled_scores_spread_as_new_data_do(name: str) -> None:
    # Not as resamples: these repeat examples, which neighbours and held-out sentences then know already.
    features, labels, sentences = clustered(0, n=30 * 320)
    spread, values = [], []
    for rows in np.arange(30 * 320).reshape(30, -1):
        evidence = evidence_of(*examples(features[rows], labels[rows]), sentences[rows] - sentences[rows[0]])
        measured = SCORES[name].measure(evidence)
        drawn = draws(evidence.sample.n_sentences, 100)
        spread.append(replicates(measured, evidence.sample.sentences, drawn).std())
        values.append(measured.value)
    assert 0.6 < np.mean(spread) / np.std(values) < 1.6


@pytest.mark.parametrize(("n", "d", "decay"), [(300, 300, 0.0), (400, 200, 0.0), (150, 300, 0.5)])
def test_replicates_of_the_hscore_spread_as_new_data_do_where_features_are_many(
    n: int, d: int, decay: float
) -> None:
    rng = np.random.default_rng(0)
    scale, means = np.arange(1, d + 1) ** -decay, rng.normal(size=(3, d)) / 4
    spread, values = [], []
    for _ in range(25):
        labels = rng.integers(3, size=n)
        features = 3 + (rng.normal(size=(n, d)) + means[labels]) * scale
        measured = SCORES["hscore"].measure(evidence_of(*examples(features, labels)))
        values.append(measured.value)
        spread.append(replicates(measured, np.arange(n), draws(n, 100)).std())
    assert 0.6 < np.mean(spread) / np.std(values) < 2.1, "the infinitesimal jackknife errs upwards"


def test_replicates_of_leep_follow_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=320)
    sentences = np.arange(320) // PER_SENTENCE
    probs = rng.dirichlet(np.ones(5), size=320) + rng.dirichlet(np.ones(3), size=320)[:, [0, 1, 2, 0, 1]]
    probs[np.arange(320), labels] += 1
    probs /= probs.sum(axis=1, keepdims=True)
    sample = Sample(np.zeros((320, 1)), Labels.of(labels), sentences, probs)
    known = evidence_of(*examples(probs, labels), sentences)
    drawn = draws(sample.n_sentences, 100)
    fast = replicates(SCORES["leep"].measure(replace(known, sample=sample)), sentences, drawn)
    slow = bootstrap(leep, probs, labels, sentences, drawn)
    assert np.corrcoef(fast, slow)[0, 1] > 0.96
    assert 0.9 < fast.std() / slow.std() < 1.1


@STEADY
@given(seeds)
def test_a_sample_of_more_examples_is_as_sure_as_all_of_them(seed: int) -> None:
    features, labels, sentences = clustered(seed)
    whole = evidence_of(*examples(features, labels), sentences)
    four_times = evidence_of(
        *examples(np.tile(features, (4, 1)), np.tile(labels, 4)), np.repeat(np.arange(320), PER_SENTENCE)
    )
    sampled = Evidence(four_times.statistics, whole.sample, four_times.null_cross, whole.null_labels)
    spread = [
        replicates(SCORES["logme"].measure(e), sentences, draws(whole.sample.n_sentences, 200)).std()
        for e in (whole, sampled)
    ]
    assert spread[0] / spread[1] == pytest.approx(2, rel=0.1)


def test_a_score_of_a_package_gets_an_interval_too() -> None:
    from zookeeper.scores import ScoreSpec

    spec = ScoreSpec("first", "First", lambda features: float(features[:, 0].mean()), "", "")
    X, y = examples(*blobs(0, n=400))
    measured = spec.measure(evidence_of(X, y))
    spread = replicates(measured, np.arange(400), draws(400, 400)).std()
    assert measured.value == X[:, 0].mean()
    # The spread of ten tenths is known to a quarter.
    assert spread == pytest.approx(X[:, 0].std() / 20, rel=0.6)


# What cannot be told apart


def test_tiers_and_ranks_by_hand() -> None:
    noise = np.random.default_rng(0).normal(size=500)
    values = np.stack([5 + noise, 4.99 + noise, 3 + 0.01 * noise, 3 + 0.02 * noise[::-1], 1 + noise / 9])
    # Paired: the second moves with the first, and never catches up.
    assert tiers(values) == ("A", "B", "C", "C", "D")
    assert rank_ranges(values)[2:] == ((3, 4), (3, 4), (5, 5))
    assert tiers(np.stack([5 + noise, 4.9 + noise[::-1]])) == ("A", "A")


def test_there_are_letters_for_any_number_of_tiers() -> None:
    found = tiers(np.arange(60.0)[::-1, None] + np.zeros(3))
    assert found[:3] == ("A", "B", "C")
    assert found[25:28] == ("Z", "AA", "AB")
    assert len(set(found)) == 60


@STEADY
@given(seeds)
def test_intervals_hold_their_share(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=400)
    low, high = interval(values, 0.9)
    assert ((values > low) & (values < high)).mean() == pytest.approx(0.9, abs=0.01)


def test_draws_repeat_and_take_as_many_sentences_as_there_are() -> None:
    first, again = draws(30, 50), draws(30, 50)
    assert (first == again).all()
    assert (first.sum(axis=1) == 0).all()
    assert first.min() == -1


def test_one_sentence_has_no_spread() -> None:
    X, y = examples(*blobs(0))
    measured = SCORES["logme"].measure(evidence_of(X, y, np.zeros(len(X), dtype=np.int64)))
    found = replicates(measured, np.zeros(len(X), dtype=np.int64), draws(1, 20))
    assert found == pytest.approx(np.full(20, measured.value))


def test_labels_may_be_names_and_have_gaps() -> None:
    found = Labels.of(np.array(["b", "a", "b", "z"]))
    assert found.classes == ("a", "b", "z")
    assert found.counts.tolist() == [1, 2, 1]
    assert Labels.of(np.array([7, -3, 7, 40])).codes.tolist() == [1, 0, 1, 2]


# Edges


def test_a_sentence_longer_than_the_sample_is_left_out_where_there_are_others() -> None:
    for long in range(4):
        lengths = [3] * 4
        lengths[long] = SAMPLE_ROWS + 1
        corpus = Corpus(tuple(("w",) * length for length in lengths), "word")
        gatherer = Gatherer(Labelled(corpus, np.arange(corpus.n_rows) % 3))
        gatherer.add(np.arange(corpus.n_rows), {"1": np.zeros((corpus.n_rows, 2), np.float32)}, None)
        assert gatherer.arrays()["sentences"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_one_sentence_holds_nothing_out() -> None:
    X, y = examples(*blobs(0))
    evidence = evidence_of(X, y, np.zeros(len(X), dtype=np.int64))
    with pytest.raises(DegenerateInputError, match="one only"):
        SCORES["ridge"].measure(evidence)
    with pytest.raises(DegenerateInputError, match="one sentence"):
        SCORES["gbc"].measure(evidence).influence  # noqa: B018


def test_a_class_of_one_sentence_leaves_no_interval() -> None:
    X, y = examples(np.random.default_rng(0).normal(size=(100, 3)), np.arange(100) >= 90)
    evidence = evidence_of(X, y, np.arange(100) // 10)
    measured = SCORES["gbc"].measure(evidence)
    assert np.isfinite(measured.value)
    with pytest.raises(DegenerateInputError, match="no interval"):
        measured.influence  # noqa: B018


def test_logme_of_fewer_examples_than_features_spreads_as_new_data_do() -> None:
    features, labels, sentences = clustered(0, n=30 * 40, d=60)
    spread, values = [], []
    for rows in np.arange(30 * 40).reshape(30, -1):
        evidence = evidence_of(*examples(features[rows], labels[rows]), sentences[rows] - sentences[rows[0]])
        measured = SCORES["logme"].measure(evidence)
        drawn = draws(evidence.sample.n_sentences, 100)
        spread.append(replicates(measured, evidence.sample.sentences, drawn).std())
        values.append(measured.value)
    assert 0.5 < np.mean(spread) / np.std(values) < 2.5


def test_memory_does_not_grow_with_examples_times_classes() -> None:
    n, c = 20_000, 5_000
    labels = np.arange(n) % c
    gatherer, states = Gatherer(words_of(labels)), np.ones((n, 2), dtype=np.float32)
    tracemalloc.start()
    gatherer.add(np.arange(n), {"1": states}, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * c / 10, "a table of all classes for each example holds 800 MB"
    assert (gatherer.arrays()["1/cross"] == n / c).all()


def test_features_too_wide_for_memory_are_refused_before_they_take_any() -> None:
    gatherer = Gatherer(words_of(np.arange(8) % 2))

    def add(width: int) -> None:
        states = np.zeros((8, width), dtype=np.float32)
        gatherer.add(np.arange(8), {"0": states, "1": states, "mean": states}, None)

    tracemalloc.start()
    with pytest.raises(CheckpointError, match="24,576 wide") as refused:
        add(24_576)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21
    assert gatherer.layers == ()
    fits = int(re.sub(r"\D", "", str(refused.value.why)))
    assert 2 * fits * (fits + 4) * 8 <= 2**31 < 2 * (fits + 1) * (fits + 5) * 8
