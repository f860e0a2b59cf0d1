"""The loop against a plain one; what must not change its result: processes, steps, rows without a label."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zookeeper.errors import DataError, DegenerateInputError, UsageError, ZooError
from zookeeper.records import IGNORED, Corpus, Labelled, Recipe, Target, Task
from zookeeper.tuning.loop import Tuned, train_head
from zookeeper.tuning.problem import Problem
from zookeeper.tuning.worker import train_in_processes

SHORT = Recipe(epochs=4, batch_rows=16, learning_rate=1e-2)
LONG = Recipe(epochs=40, patience=40, batch_rows=64, learning_rate=3e-2)

Array = NDArray[Any]


def problem_of(
    features: dict[str, Array], labels: dict[str, Array], classes: tuple[str, ...], metric: str
) -> Problem:
    lengths = {split: np.ones(len(y), dtype=np.int64) for split, y in labels.items()}
    return Problem({s: x.astype(np.float32) for s, x in features.items()}, labels, lengths, classes, metric)


def blobs(seed: int = 0, *, noise: float = 0.5, n: int = 190, d: int = 6) -> Problem:
    """Three classes, well apart if there is little noise; every tenth row has no label."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(3, d))
    labels = {split: rng.integers(3, size=size) for split, size in (("train", n), ("validation", 80))}
    features = {split: centres[y] + noise * rng.normal(size=(len(y), d)) for split, y in labels.items()}
    for y in labels.values():
        y[::10] = IGNORED
    return problem_of(features, labels, ("a", "b", "c"), "accuracy")


def line(seed: int = 0, *, slope: float = 1.0, height: float = 0.0, n: int = 203) -> Problem:
    """Real labels, linear in the features but for little noise."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=5)
    features = {split: rng.normal(size=(size, 5)) for split, size in (("train", n), ("validation", 80))}
    labels = {s: slope * (x @ w + 0.01 * rng.normal(size=len(x))) + height for s, x in features.items()}
    return problem_of(features, labels, (), "pearson")


def gaps() -> Problem:
    """Real labels, every tenth of them missing."""
    problem = line(slope=50, height=1000)
    labels = {split: np.where(np.arange(len(y)) % 10, y, np.nan) for split, y in problem.labels.items()}
    return changed(problem, labels=labels)


def changed(problem: Problem, **fields: dict[str, Array]) -> Problem:
    """With some splits of some fields replaced."""
    return replace(problem, **{name: {**getattr(problem, name), **new} for name, new in fields.items()})


def same(a: Tuned, b: Tuned) -> bool:
    return np.array_equal(a.weight, b.weight) and np.array_equal(a.bias, b.bias)


# What is learned


def test_learns_classes_that_are_apart() -> None:
    problem = blobs()
    tuned = train_head(problem, LONG, seed=0)
    made = tuned.predict(problem.features["validation"], regression=False)
    assert problem.measure("validation", made) == 1.0
    assert tuned.history[0].metric < 0.9
    assert tuned.history[-1].loss < 0.1 < tuned.history[1].loss


def test_learns_real_numbers_in_their_own_units() -> None:
    problem = line(slope=50, height=1000)
    tuned = train_head(problem, LONG, seed=0)
    made = tuned.predict(problem.features["validation"], regression=True)
    truth = problem.labels["validation"]
    assert made.dtype == np.float64
    assert np.sqrt(np.mean((made - truth) ** 2)) < 0.05 * truth.std()
    assert tuned.history[-1].metric > 0.999
    assert tuned.bias == pytest.approx(1000, abs=3)


@pytest.mark.parametrize("problem", [blobs(noise=3), line()], ids=["classes", "numbers"])
@pytest.mark.parametrize(("batch_rows", "micro_batches"), [(32, 2), (16, 4), (64, 1), (1000, 2)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_weights_are_those_of_a_plain_loop(
    problem: Problem, batch_rows: int, micro_batches: int, weight_decay: float
) -> None:
    recipe = replace(
        SHORT,
        patience=4,
        batch_rows=batch_rows,
        micro_batches=micro_batches,
        standardize=False,
        weight_decay=weight_decay,
    )
    if not problem.classes:
        y = problem.labels["train"]
        problem = changed(problem, labels={"train": (y - y.mean()) / y.std()})
    tuned = train_head(problem, recipe, seed=3)
    weight, bias, losses = plain_loop(problem, recipe, seed=3, epochs=tuned.best_epoch)
    np.testing.assert_allclose(tuned.weight, weight, rtol=0, atol=2e-5)
    np.testing.assert_allclose(tuned.bias, bias, rtol=0, atol=2e-5)
    assert tuned.best_epoch > 0
    assert [e.loss for e in tuned.history[1 : len(losses) + 1]] == pytest.approx(losses, abs=1e-5)


def plain_loop(
    problem: Problem, recipe: Recipe, *, seed: int, epochs: int
) -> tuple[Array, Array, list[float]]:
    """Adam on steps of all micro-batches together, in the documented order."""
    labels = problem.labels["train"]
    X, y = torch.from_numpy(problem.features["train"]), torch.from_numpy(labels)
    criterion = torch.nn.CrossEntropyLoss() if problem.classes else torch.nn.MSELoss()
    torch.manual_seed(seed)
    head = torch.nn.Linear(X.shape[1], 3 if problem.classes else 1)
    adam = torch.optim.Adam(head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    losses = []
    for epoch in range(1, epochs + 1):
        rows = np.random.default_rng([seed, epoch]).permutation(np.flatnonzero(labels != IGNORED))
        total = 0.0
        for step in np.array_split(rows, range(0, len(rows), recipe.batch_rows * recipe.micro_batches)[1:]):
            adam.zero_grad()
            loss = criterion(head(X[step]) if problem.classes else head(X[step])[:, 0].double(), y[step])
            loss.backward()
            adam.step()
            total += loss.item() * len(step)
        losses.append(total / len(rows))
    return head.weight.detach().numpy(), head.bias.detach().numpy(), losses


# What changes the weights, and what does not


@pytest.mark.parametrize("problem", [blobs(noise=3), line()], ids=["classes", "numbers"])
def test_seed_decides(problem: Problem) -> None:
    first, again, other = (train_head(problem, SHORT, seed=seed) for seed in (1, 1, 2))
    assert same(first, again)
    assert first.history == again.history
    assert not same(first, other)


def test_global_state_of_random_numbers_does_not_matter() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    first = train_head(blobs(), SHORT, seed=1)
    torch.rand(3)
    assert same(first, train_head(blobs(), SHORT, seed=1))


@pytest.mark.parametrize("problem", [blobs(noise=3), gaps()], ids=["classes", "numbers"])
def test_rows_without_a_label_do_not_influence_the_weights(problem: Problem) -> None:
    labels = problem.labels["train"]
    ignored = labels == IGNORED if problem.classes else np.isnan(labels)
    wild = problem.features["train"].copy()
    wild[ignored] = 1e6
    without = {
        name: {"train": getattr(problem, name)["train"][~ignored]}
        for name in ("features", "labels", "lengths")
    }
    plain = train_head(problem, SHORT, seed=0)
    assert ignored.any()
    assert same(plain, train_head(changed(problem, features={"train": wild}), SHORT, seed=0))
    assert same(plain, train_head(changed(problem, **without), SHORT, seed=0))


def test_rows_without_a_number_are_predicted_but_not_measured() -> None:
    problem = gaps()
    tuned = train_head(problem, LONG, seed=0)
    made = tuned.predictions(problem)["validation"]
    truth = line(slope=50, height=1000).labels["validation"]
    missing = np.isnan(problem.labels["validation"])
    assert np.sqrt(np.mean((made - truth)[missing] ** 2)) < 0.05 * truth.std()
    assert all(np.isfinite(epoch.loss) for epoch in tuned.history[1:])
    assert tuned.history[tuned.best_epoch].metric == problem.measure("validation", made)
    assert problem.measure("validation", made) == pytest.approx(
        np.corrcoef(made[~missing], truth[~missing])[0, 1]
    )


def test_inputs_are_not_changed() -> None:
    problem, before = blobs(), blobs()
    train_head(problem, SHORT, seed=0)
    for split in ("train", "validation"):
        assert np.array_equal(problem.features[split], before.features[split])
        assert np.array_equal(problem.labels[split], before.labels[split])


# Standardisation


def standardized(problem: Problem) -> Problem:
    """The same with columns brought to mean 0 and deviation 1 of the labelled training rows."""
    train = problem.features["train"].astype(np.float64)
    if problem.classes:
        train = train[problem.labels["train"] != IGNORED]
    centre, scale = train.mean(axis=0), train.std(axis=0)
    features = {s: ((x - centre) / np.where(scale == 0, 1, scale)) for s, x in problem.features.items()}
    return changed(problem, features={s: x.astype(np.float32) for s, x in features.items()})


def stretched(problem: Problem) -> Problem:
    """The same with columns of all sizes and offsets, and a constant one."""
    d = problem.features["train"].shape[1]
    scale, offset = np.logspace(-3, 3, d), np.linspace(-5, 5, d) * np.logspace(-3, 3, d)
    scale[2], offset[2] = 0, 700
    return changed(
        problem, features={s: (x * scale + offset).astype(np.float32) for s, x in problem.features.items()}
    )


@pytest.mark.parametrize("problem", [blobs(noise=3), line()], ids=["classes", "numbers"])
def test_head_for_raw_features_is_that_of_standardized_ones(problem: Problem) -> None:
    raw = stretched(problem)
    ready = standardized(raw)
    folded = train_head(raw, SHORT, seed=0)
    plain = train_head(ready, replace(SHORT, standardize=False), seed=0)
    for split in ("train", "validation"):
        outputs = raw.features[split] @ folded.weight.T + folded.bias
        np.testing.assert_allclose(
            outputs, ready.features[split] @ plain.weight.T + plain.bias, rtol=0, atol=2e-3
        )
    assert [e.loss for e in folded.history[1:]] == pytest.approx(
        [e.loss for e in plain.history[1:]], abs=1e-3
    )
    assert np.abs(outputs).max() > 0.5


def test_size_of_columns_does_not_matter_when_standardizing() -> None:
    problem = blobs()
    assert train_head(stretched(problem), LONG, seed=0).history[-1].metric > 0.95
    assert train_head(stretched(problem), replace(LONG, standardize=False), seed=0).history[-1].metric < 0.95


@pytest.mark.parametrize("level", [0.0, 1.0, 1000.0, -70_000.0])
def test_column_that_varies_by_rounding_only_does_no_harm(level: float) -> None:
    problem = blobs()
    rng = np.random.default_rng(0)

    def with_column(features: Array) -> Array:
        column = np.full(len(features), level, dtype=np.float32)
        flipped = rng.random(len(features)) < 0.1
        column[flipped] = np.nextafter(column[flipped], np.float32(np.inf))
        return np.column_stack([features, column])

    wider = changed(problem, features={s: with_column(x) for s, x in problem.features.items()})
    tuned = train_head(wider, LONG, seed=0)
    X = wider.features["validation"]
    exact = X.astype(np.float64) @ tuned.weight.astype(np.float64).T + tuned.bias
    np.testing.assert_allclose(X @ tuned.weight.T + tuned.bias, exact, rtol=0, atol=0.05)
    assert tuned.history[-1].metric == 1.0


# When it stops


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_stops_after_patience_and_keeps_the_first_best(patience: int) -> None:
    stopped_early = 0
    for seed in range(4):
        problem = blobs(seed, noise=6)
        recipe = replace(SHORT, epochs=12, patience=patience)
        tuned = train_head(problem, recipe, seed=seed)
        metrics = [epoch.metric for epoch in tuned.history]
        assert [epoch.number for epoch in tuned.history] == list(range(len(metrics)))
        assert tuned.best_epoch == int(np.argmax(metrics))
        waits = [i - int(np.argmax(metrics[: i + 1])) for i in range(len(metrics))]
        assert waits[-1] == patience or len(metrics) == 13
        assert all(wait < patience for wait in waits[:-1])
        stopped_early += len(metrics) < 13
        again = train_head(problem, replace(recipe, epochs=tuned.best_epoch), seed=seed)
        assert same(tuned, again)
        made = tuned.predict(problem.features["validation"], regression=False)
        assert problem.measure("validation", made) == metrics[tuned.best_epoch]
    assert stopped_early


def test_untrained_weights_count() -> None:
    problem = blobs(noise=3)
    untrained = train_head(problem, replace(SHORT, epochs=0), seed=0)
    made = untrained.predict(problem.features["validation"], regression=False)
    tuned = train_head(changed(problem, labels={"validation": made}), replace(SHORT, patience=3), seed=0)
    assert tuned.history[0].metric == 1.0
    assert len(tuned.history) == 4
    assert tuned.best_epoch == 0
    assert tuned.history[0].loss is None
    assert same(tuned, untrained)


def test_defined_metric_is_better_than_an_undefined_one() -> None:
    problem = line()
    nothing = {"validation": np.full(80, 3.0)}
    tuned = train_head(changed(problem, labels=nothing), replace(SHORT, patience=2), seed=0)
    assert [epoch.metric for epoch in tuned.history] == [None] * 3
    assert tuned.best_epoch == 0


def test_every_pass_is_reported() -> None:
    seen: list[Any] = []
    tuned = train_head(blobs(noise=3), SHORT, seed=0, advance=seen.append)
    assert tuple(seen) == tuned.history


# Several processes


@cache
def in_two_processes() -> tuple[Tuned, Tuned]:
    """One uneven problem with rows that do not count, in one process and in two."""
    problem, recipe = blobs(noise=3), replace(SHORT, epochs=6)
    return train_head(problem, recipe, seed=4), train_in_processes(
        problem, recipe, seed=4, device="cpu", processes=2
    )


def test_two_processes_give_the_same_weights_to_the_bit() -> None:
    one, two = in_two_processes()
    n_rows = int((blobs(noise=3).labels["train"] != IGNORED).sum())
    assert n_rows % (SHORT.batch_rows * 2) % SHORT.batch_rows  # the last step is uneven
    assert n_rows % (SHORT.batch_rows * 2) < SHORT.batch_rows  # and has nothing for the second process
    assert same(one, two)
    assert one.best_epoch > 0


def test_two_processes_give_the_same_history() -> None:
    one, two = in_two_processes()
    assert one.history == two.history
    assert one.best_epoch == two.best_epoch


def test_failing_process_is_an_error_with_its_cause() -> None:
    started = time.monotonic()
    with pytest.raises(ZooError) as caught:
        train_in_processes(blobs(), replace(SHORT, epochs=-1), seed=0, device="cpu", processes=2)
    assert caught.value.why == "UsageError: the recipe has no epochs."
    assert caught.value.fix
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(("processes", "micro_batches"), [(3, 2), (2, 1), (4, 6)])
def test_processes_that_do_not_divide_a_step_are_refused(processes: int, micro_batches: int) -> None:
    with pytest.raises(UsageError, match=f"{processes} processes do not divide"):
        train_in_processes(
            blobs(), replace(SHORT, micro_batches=micro_batches), seed=0, device="cpu", processes=processes
        )


def test_other_number_of_processes_than_asked_for_is_noticed() -> None:
    with pytest.raises(UsageError, match="2 processes were asked for, 1 run together"):
        train_head(blobs(), SHORT, seed=0, processes=2)


# Problems


def target(task: Task = "token-classification", classes: tuple[str, ...] = ("a", "b", "c")) -> Target:
    return Target("t", "d", "0" * 40, None, task, "text", "label", classes, {}, {}, "0" * 64)


def split_of(lengths: list[int], seed: int = 0, n_classes: int = 3) -> tuple[Labelled, list[Array]]:
    """Sentences, and features of two members that say of which sentence and word they are."""
    sentences = tuple(tuple(f"{i}.{j}" for j in range(n)) for i, n in enumerate(lengths))
    corpus = Corpus(sentences, "word")
    rng = np.random.default_rng(seed)
    places = np.array([[i, j] for i, n in enumerate(lengths) for j in range(n)], dtype=np.float32)
    return Labelled(corpus, rng.integers(n_classes, size=corpus.n_rows)), [places, 2 * places[:, :1]]


def test_members_stand_side_by_side_in_order() -> None:
    data, parts = split_of([3, 2])
    problem = Problem.of(
        target(), {"train": data, "validation": data}, dict.fromkeys(("train", "validation"), parts), seed=0
    )
    assert np.array_equal(problem.features["train"], np.hstack(parts))
    assert np.array_equal(problem.labels["validation"], data.labels)
    assert problem.lengths["train"].tolist() == [3, 2]


def test_tenth_of_the_sentences_is_held_out() -> None:
    lengths = [1 + i % 4 for i in range(50)]
    data, parts = split_of(lengths)
    problem = Problem.of(target(), {"train": data}, {"train": parts}, seed=0)
    held, rest = (set(problem.features[s][:, 0].astype(int)) for s in ("validation", "train"))
    assert len(held) == len(problem.lengths["validation"]) == 5
    assert held | rest == set(range(50))
    assert not held & rest
    for split in ("train", "validation"):
        X = problem.features[split]
        sentences = list(dict.fromkeys(X[:, 0].astype(int)))
        assert problem.lengths[split].tolist() == [lengths[i] for i in sentences]
        rows = [int(sum(lengths[: int(i)]) + j) for i, j in X[:, :2]]
        assert np.array_equal(problem.labels[split], data.labels[rows])


def test_seed_decides_which_sentences_are_held_out() -> None:
    data, parts = split_of([2] * 50)

    def held(seed: int) -> list[float]:
        return (
            Problem.of(target(), {"train": data}, {"train": parts}, seed=seed).features["validation"].tolist()
        )

    assert held(0) == held(0)
    assert held(0) != held(1)


@pytest.mark.parametrize("n", [2, 3, 9, 15])
def test_some_sentences_are_held_out_and_never_all(n: int) -> None:
    data, parts = split_of([1] * n)
    lengths = Problem.of(target(), {"train": data}, {"train": parts}, seed=0).lengths
    assert len(lengths["validation"]) == max(1, round(n / 10))
    assert len(lengths["train"]) + len(lengths["validation"]) == n


def test_nothing_is_held_out_of_the_test_split() -> None:
    data, parts = split_of([2] * 20)
    problem = Problem.of(target(), {"train": data, "test": data}, {"train": parts, "test": parts}, seed=0)
    assert np.array_equal(problem.labels["test"], data.labels)


def test_single_sentence_is_refused() -> None:
    data, parts = split_of([9])
    with pytest.raises(DataError, match="one sentence"):
        Problem.of(target(), {"train": data}, {"train": parts}, seed=0)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(("problem", "missing"), [(blobs(), IGNORED), (line(), np.nan)])
def test_split_without_labels_is_refused(split: str, problem: Problem, missing: float) -> None:
    with pytest.raises(DataError, match=split):
        changed(problem, labels={split: np.full_like(problem.labels[split], missing)})


@pytest.mark.parametrize(("name", "value"), [("features", np.nan), ("features", np.inf), ("labels", np.inf)])
def test_features_and_labels_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    problem = line()
    damaged = getattr(problem, name)["train"].copy()
    damaged[3] = value
    with pytest.raises(DegenerateInputError):
        changed(problem, **{name: {"train": damaged}})


def test_pairs_are_held_out_as_one() -> None:
    corpus = Corpus(tuple((f"{i}",) for i in range(60)), "pair")
    data = Labelled(corpus, np.arange(30.0))
    features = np.arange(30, dtype=np.float32)[:, None]
    problem = Problem.of(target("pair-regression", ()), {"train": data}, {"train": [features]}, seed=0)
    assert {split: len(y) for split, y in problem.labels.items()} == {"train": 27, "validation": 3}
    for split in ("train", "validation"):
        assert np.array_equal(problem.features[split][:, 0], problem.labels[split])
    assert problem.metric == "pearson"


def test_several_labels_at_once_are_refused() -> None:
    data = Labelled(Corpus((("a",), ("b",)), "sentence"), np.eye(2))
    features = {split: [np.ones((2, 1), dtype=np.float32)] for split in ("train", "validation")}
    with pytest.raises(UsageError, match="zoo tune cannot learn several labels at once yet"):
        Problem.of(target("text-multilabel"), dict.fromkeys(features, data), features, seed=0)


def test_class_of_the_test_split_alone_has_no_output() -> None:
    problem = replace(blobs(), classes=("a", "b", "c", "only in test"))
    X = problem.features["validation"]
    labels = np.where(np.arange(len(X)) % 2, problem.labels["validation"], 3)
    problem = changed(
        problem, features={"test": X}, labels={"test": labels}, lengths={"test": np.ones(len(X))}
    )
    tuned = train_head(problem, LONG, seed=0)
    made = tuned.predict(X, regression=False)
    assert len(tuned.weight) == len(tuned.bias) == 3
    assert problem.measure("test", made) == pytest.approx(np.mean(labels[labels != IGNORED] != 3))


def test_class_of_validation_alone_has_an_output() -> None:
    problem = replace(blobs(), classes=("a", "b", "c", "d"))
    labels = problem.labels["validation"].copy()
    labels[1] = 3
    assert len(train_head(changed(problem, labels={"validation": labels}), SHORT, seed=0).weight) == 4


def test_single_class_is_learned() -> None:
    problem = blobs()
    one = {s: np.zeros(len(y), dtype=np.int64) for s, y in problem.labels.items()}
    tuned = train_head(replace(problem, labels=one, classes=("a",)), SHORT, seed=0)
    assert tuned.history[0].metric == 1.0
