"""The loop against a plain one; what must not change its result: processes, steps, rows without a label."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from numpy.typing import NDArray

from zookeeper.errors import DataError, DegenerateInputError, OutOfMemoryError, TerminatedError, UsageError
from zookeeper.plans import Recipe
from zookeeper.recipes import recipe_of
from zookeeper.records import IGNORED, Corpus, Labelled, Target, Task
from zookeeper.results import Epoch
from zookeeper.tuning.batches import steps
from zookeeper.tuning.head import Head, folded
from zookeeper.tuning.loop import Progress, Training, Tuned
from zookeeper.tuning.materials import Materials
from zookeeper.tuning.metrics import Judge
from zookeeper.tuning.problem import Kind, Part, Problem
from zookeeper.tuning.room import Room
from zookeeper.tuning.watch import Watch

HEAD = replace(recipe_of("head"), anneal=False, patience=5)
SHORT = replace(HEAD, epochs=4, micro_batch=16, learning_rate=1e-2)
LONG = replace(HEAD, epochs=40, patience=40, micro_batch=64, learning_rate=3e-2)

Array = NDArray[Any]


@pytest.fixture(autouse=True, scope="module")
def little_garbage() -> Iterator[None]:
    """Trying how much fits into memory collects garbage, and looks through all that the tests imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@dataclass(frozen=True, eq=False)
class Case:
    """Features and labels of each split; a row is a sentence."""

    features: dict[str, Array]
    labels: dict[str, Array]
    classes: tuple[str, ...]

    @property
    def problem(self) -> Problem:
        parts = {}
        for split, y in self.labels.items():
            rows = np.arange(len(y))
            parts[split] = Part(split, rows, np.ones(len(y), dtype=np.int64), rows, y)
        first = next(iter(self.labels.values()))
        kind: Kind = "labels" if first.ndim == 2 else "classes" if self.classes else "numbers"
        return Problem(parts, kind, self.classes)

    @property
    def materials(self) -> Materials:
        layers = {split: ((x.astype(np.float32),),) for split, x in self.features.items()}
        return Materials(("a",), {}, layers=layers)

    def judge(self) -> Judge:
        metric = {"labels": "f1_micro", "classes": "accuracy", "numbers": "pearson"}[self.problem.kind]
        return Judge.of(metric, self.classes, self.problem.kind)

    def measure(self, tuned: Tuned, split: str = "validation") -> float | None:
        part = self.problem.parts[split]
        return self.judge().measure(self.predictions(tuned, split), part.labels, part.lengths)

    def predictions(self, tuned: Tuned, split: str = "validation") -> Array:
        return self.problem.predictions(tuned.outputs[split])

    def head(self, tuned: Tuned) -> tuple[Array, Array]:
        """Weight and bias for features and numbers as they are."""
        made = folded(tuned.learned, self.problem.scale)
        return made["head.weight"], made["head.bias"]


def training(case: Case, recipe: Recipe, *, seed: int = 0, **options: Any) -> Training:
    learner = Head.of(case.materials, case.problem, recipe, seed=seed, device="cpu")
    return Training(learner, case.problem, case.judge(), recipe, seed=seed, **options)


def train(case: Case, recipe: Recipe, *, seed: int = 0, **options: Any) -> Tuned:
    return training(case, recipe, seed=seed, **options).run()


def blobs(seed: int = 0, *, noise: float = 0.5, n: int = 190, d: int = 6) -> Case:
    """Three classes, well apart if there is little noise; every tenth row has no label."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(3, d))
    labels = {split: rng.integers(3, size=size) for split, size in (("train", n), ("validation", 80))}
    features = {split: centres[y] + noise * rng.normal(size=(len(y), d)) for split, y in labels.items()}
    for y in labels.values():
        y[::10] = IGNORED
    return Case(features, labels, ("a", "b", "c"))


def line(seed: int = 0, *, slope: float = 1.0, height: float = 0.0, n: int = 203) -> Case:
    """Real labels, linear in the features but for little noise."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=5)
    features = {split: rng.normal(size=(size, 5)) for split, size in (("train", n), ("validation", 80))}
    labels = {s: slope * (x @ w + 0.01 * rng.normal(size=len(x))) + height for s, x in features.items()}
    return Case(features, labels, ())


def topics(seed: int = 0, n: int = 200) -> Case:
    """Several labels at once, each linear in the features; some rows have none that is known."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(6, 3))
    features = {split: rng.normal(size=(size, 6)) for split, size in (("train", n), ("validation", 80))}
    labels = {split: (x @ W > 0).astype(float) for split, x in features.items()}
    for y in labels.values():
        y[::10] = np.nan
    return Case(features, labels, ("x", "y", "z"))


def gaps() -> Case:
    """Real labels, every tenth of them missing."""
    case = line(slope=50, height=1000)
    known = {split: np.where(np.arange(len(y)) % 10, y, np.nan) for split, y in case.labels.items()}
    return changed(case, labels=known)


def changed(case: Case, **fields: dict[str, Array]) -> Case:
    """With some splits of some fields replaced."""
    new: dict[str, Any] = {name: {**getattr(case, name), **splits} for name, splits in fields.items()}
    return replace(case, **new)


def same(a: Tuned, b: Tuned) -> bool:
    assert a.learned.keys() == b.learned.keys()
    return all(np.array_equal(a.learned[name], b.learned[name]) for name in a.learned)


def timeless(tuned: Tuned) -> list[Epoch]:
    """Its history, but for the time it took."""
    return [replace(epoch, seconds=0.0) for epoch in tuned.history]


def losses(tuned: Tuned) -> list[float]:
    return [epoch.loss for epoch in tuned.history[1:] if epoch.loss is not None]


def unscaled(recipe: Recipe) -> Recipe:
    return recipe.with_settings({"standardize": False})


# What is learned


def test_learns_classes_that_are_apart() -> None:
    case = blobs()
    tuned = train(case, LONG)
    assert case.measure(tuned) == 1.0
    first = tuned.history[0].metric
    assert first is not None
    assert first < 0.9
    assert losses(tuned)[-1] < 0.1 < losses(tuned)[0]


def test_learns_real_numbers_in_their_own_units() -> None:
    case = line(slope=50, height=1000)
    tuned = train(case, LONG)
    made, truth = case.predictions(tuned), case.labels["validation"]
    assert made.dtype == np.float64
    assert np.sqrt(np.mean((made - truth) ** 2)) < 0.05 * truth.std()
    last = tuned.history[-1].metric
    assert last is not None
    assert last > 0.999
    assert case.head(tuned)[1] == pytest.approx(1000, abs=3)


def test_learns_several_labels_at_once() -> None:
    case = topics()
    tuned = train(case, LONG)
    made, truth = case.predictions(tuned), case.labels["validation"]
    known = ~np.isnan(truth).any(axis=1)
    assert made.shape == truth.shape
    assert np.mean(made[known] == truth[known]) > 0.9
    assert losses(tuned)[-1] < 0.3 < losses(tuned)[0]


PROBLEMS = pytest.mark.parametrize(
    "case", [blobs(noise=3), line(), topics()], ids=["classes", "numbers", "labels"]
)


@PROBLEMS
@pytest.mark.parametrize(
    "settings",
    [
        {"micro_batch": 32},
        {"micro_batches": 4, "weight_decay": 0.1},
        {"micro_batch": 64, "micro_batches": 1, "warmup": 0.3, "anneal": True},
        {"micro_batch": 1000, "clip": 0.2},
    ],
    ids=["plain", "decay", "warmup-anneal", "clip"],
)
def test_weights_are_those_of_a_plain_loop(case: Case, settings: dict[str, Any]) -> None:
    recipe = unscaled(replace(SHORT, patience=4, **settings))
    tuned = train(case, recipe, seed=3)
    plain = plain_loop(case, recipe, seed=3, epochs=tuned.best_epoch)
    np.testing.assert_allclose(tuned.learned["head.linear.weight"], plain.weight, rtol=0, atol=2e-5)
    np.testing.assert_allclose(tuned.learned["head.linear.bias"], plain.bias, rtol=0, atol=2e-5)
    assert tuned.best_epoch > 0
    assert losses(tuned)[: tuned.best_epoch] == pytest.approx(plain.losses, abs=1e-5)
    assert [epoch.rate for epoch in tuned.history[1 : tuned.best_epoch + 1]] == pytest.approx(plain.rates)


@dataclass(frozen=True, eq=False)
class Plain:
    """What came of a plain loop."""

    weight: Array
    bias: Array
    losses: list[float]
    rates: list[float]


def plain_loop(case: Case, recipe: Recipe, *, seed: int, epochs: int) -> Plain:
    """AdamW on steps of all micro-batches together, in the documented order; rates as they are documented."""
    problem = case.problem
    counts = problem.parts["train"].counts
    X = torch.from_numpy(case.features["train"][counts].astype(np.float32))
    y = torch.from_numpy(problem.wanted("train")[counts])
    criterion = {
        "classes": torch.nn.CrossEntropyLoss(),
        "numbers": torch.nn.MSELoss(),
        "labels": torch.nn.BCEWithLogitsLoss(),
    }[problem.kind]
    torch.manual_seed(seed)
    head = torch.nn.Linear(X.shape[1], problem.n_outputs)
    adam = torch.optim.AdamW(head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    found, rates = [], []
    for epoch in range(1, epochs + 1):
        plan = steps(np.ones(len(y), dtype=np.int64), recipe.micro_batch, recipe.micro_batches, [seed, epoch])
        total = 0.0
        for i, micro in enumerate(plan):
            rows = np.concatenate(micro)
            rate = recipe.learning_rate * share_of_rate((epoch - 1 + i / len(plan)) / recipe.epochs, recipe)
            adam.param_groups[0]["lr"] = rate
            adam.zero_grad()
            loss = criterion(head(X[rows])[:, 0] if problem.kind == "numbers" else head(X[rows]), y[rows])
            loss.backward()
            if recipe.clip:
                torch.nn.utils.clip_grad_norm_(head.parameters(), recipe.clip)
            adam.step()
            total += loss.item() * len(rows)
        found.append(total / len(y))
        rates.append(rate)
    return Plain(head.weight.detach().numpy(), head.bias.detach().numpy(), found, rates)


def share_of_rate(done: float, recipe: Recipe) -> float:
    """Up from 0 in a straight line, and down to 0 again."""
    if not recipe.anneal:
        return 1.0
    return float(np.interp(done, [0, recipe.warmup, 1], [0, 1, 0]))


# What changes the weights, and what does not


@PROBLEMS
def test_seed_decides(case: Case) -> None:
    first, again, other = (train(case, SHORT, seed=seed) for seed in (1, 1, 2))
    assert same(first, again)
    assert timeless(first) == timeless(again)
    assert not same(first, other)


def test_global_state_of_random_numbers_does_not_matter_and_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state()
    first = train(blobs(), SHORT, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert same(first, train(blobs(), SHORT, seed=1))


@pytest.mark.parametrize("case", [blobs(noise=3), gaps(), topics()], ids=["classes", "numbers", "labels"])
def test_rows_without_a_label_do_not_influence_the_weights(case: Case) -> None:
    counts = case.problem.parts["train"].counts
    wild = case.features["train"].copy()
    wild[~counts] = 1e6
    without = {name: {"train": getattr(case, name)["train"][counts]} for name in ("features", "labels")}
    plain = train(case, SHORT)
    assert not counts.all()
    assert same(plain, train(changed(case, features={"train": wild}), SHORT))
    assert same(plain, train(changed(case, **without), SHORT))


def test_rows_without_a_number_are_predicted_but_not_measured() -> None:
    case = gaps()
    tuned = train(case, LONG)
    made, truth = case.predictions(tuned), line(slope=50, height=1000).labels["validation"]
    missing = np.isnan(case.labels["validation"])
    assert np.sqrt(np.mean((made - truth)[missing] ** 2)) < 0.05 * truth.std()
    assert np.isfinite(losses(tuned)).all()
    assert tuned.history[tuned.best_epoch].metric == case.measure(tuned)
    assert case.measure(tuned) == pytest.approx(np.corrcoef(made[~missing], truth[~missing])[0, 1])


def test_single_label_that_is_not_known_leaves_out_its_row() -> None:
    case = topics()
    X, labels = case.features["train"], case.labels["train"].copy()
    labels[3, 1] = np.nan
    without = changed(case, features={"train": np.delete(X, 3, 0)}, labels={"train": np.delete(labels, 3, 0)})
    assert same(train(changed(case, labels={"train": labels}), SHORT), train(without, SHORT))


def test_inputs_are_not_changed() -> None:
    case, before = blobs(), blobs()
    train(case, SHORT)
    for split in ("train", "validation"):
        assert np.array_equal(case.features[split], before.features[split])
        assert np.array_equal(case.labels[split], before.labels[split])


def test_what_was_learned_gives_its_outputs_again() -> None:
    case, other = blobs(noise=3), blobs(1)
    case = changed(case, features={"test": other.features["train"]}, labels={"test": other.labels["train"]})
    tuned = train(case, SHORT, seed=1)
    again = training(case, replace(SHORT, epochs=0), seed=2).outputs_of(tuned.learned)
    assert tuned.outputs.keys() == {"validation", "test"}
    for name, outputs in tuned.outputs.items():
        assert np.array_equal(again[name], outputs)
    assert tuned.history[tuned.best_epoch].metric == case.measure(tuned)


# Standardisation


def standardized(case: Case) -> Case:
    """The same with columns brought to mean 0 and deviation 1 of the labelled training rows."""
    known = case.features["train"][case.problem.parts["train"].counts].astype(np.float64)
    centre, scale = known.mean(axis=0), known.std(axis=0)
    features = {s: ((x - centre) / np.where(scale == 0, 1, scale)) for s, x in case.features.items()}
    return changed(case, features={s: x.astype(np.float32) for s, x in features.items()})


def stretched(case: Case) -> Case:
    """The same with columns of all sizes and offsets, and a constant one."""
    d = case.features["train"].shape[1]
    scale, offset = np.logspace(-3, 3, d), np.linspace(-5, 5, d) * np.logspace(-3, 3, d)
    scale[2], offset[2] = 0, 700
    return changed(
        case, features={s: (x * scale + offset).astype(np.float32) for s, x in case.features.items()}
    )


@pytest.mark.parametrize("case", [blobs(noise=3), line()], ids=["classes", "numbers"])
def test_head_for_raw_features_is_that_of_standardized_ones(case: Case) -> None:
    raw = stretched(case)
    ready = standardized(raw)
    tuned, plain = train(raw, SHORT), train(ready, unscaled(SHORT))
    (weight, bias), (plain_weight, plain_bias) = raw.head(tuned), ready.head(plain)
    for split in ("train", "validation"):
        outputs = raw.features[split] @ weight.T + bias
        expected = ready.features[split] @ plain_weight.T + plain_bias
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-3)
        assert np.abs(outputs).max() > 0.5
    assert losses(tuned) == pytest.approx(losses(plain), abs=1e-3)


@PROBLEMS
def test_folded_head_gives_the_outputs(case: Case) -> None:
    tuned = train(case, SHORT)
    weight, bias = case.head(tuned)
    centre, deviation = case.problem.scale
    np.testing.assert_allclose(
        case.features["validation"] @ weight.T + bias,
        tuned.outputs["validation"] * deviation + centre,
        rtol=0,
        atol=1e-4,
    )


def test_size_of_columns_does_not_matter_when_standardizing() -> None:
    case = stretched(blobs())
    assert (case.measure(train(case, LONG)) or 0) > 0.95
    assert (case.measure(train(case, unscaled(LONG))) or 0) < 0.95


@pytest.mark.parametrize("level", [0.0, 1.0, 1000.0, -70_000.0])
def test_column_that_varies_by_rounding_only_does_no_harm(level: float) -> None:
    case = blobs()
    rng = np.random.default_rng(0)

    def with_column(features: Array) -> Array:
        column = np.full(len(features), level, dtype=np.float32)
        flipped = rng.random(len(features)) < 0.1
        column[flipped] = np.nextafter(column[flipped], np.float32(np.inf))
        return np.column_stack([features, column]).astype(np.float32)

    wider = changed(case, features={s: with_column(x) for s, x in case.features.items()})
    tuned = train(wider, LONG)
    weight, bias = wider.head(tuned)
    X = wider.features["validation"]
    exact = X.astype(np.float64) @ weight.astype(np.float64).T + bias
    np.testing.assert_allclose(X @ weight.T + bias, exact, rtol=0, atol=0.05)
    assert tuned.history[-1].metric == 1.0


# Layers


def layered(case: Case) -> Materials:
    """Two members, one of three layers of which the second holds the signal, and one of noise."""
    rng = np.random.default_rng(5)
    layers = {}
    for split, x in case.features.items():
        noise = rng.normal(size=(4, *x.shape))
        first = tuple(layer.astype(np.float32) for layer in (noise[0], x, noise[1]))
        layers[split] = (first, (noise[2].astype(np.float32), noise[3].astype(np.float32)))
    return Materials(("a", "b"), {}, layers=layers)


def mixed(case: Case, recipe: Recipe = LONG) -> tuple[Head, Tuned]:
    recipe = recipe.with_settings({"mix": True})
    head = Head.of(layered(case), case.problem, recipe, seed=0, device="cpu")
    return head, Training(head, case.problem, case.judge(), recipe, seed=0).run()


def test_layer_that_holds_the_signal_gets_the_largest_share() -> None:
    case = blobs()
    head, tuned = mixed(case)
    first, second = (shares.values() for shares in head.details.values())
    assert head.details.keys() == {"layers of a", "layers of b"}
    assert max(first) == head.details["layers of a"]["1"] > 0.5
    assert [sum(first), sum(second)] == pytest.approx([1, 1])
    assert (case.measure(tuned) or 0) > 0.95
    assert tuned.learned["head.linear.weight"].shape == (3, 12)


def test_layers_have_equal_shares_before_training() -> None:
    head, _ = mixed(blobs(), replace(LONG, epochs=0))
    assert [list(shares.values()) for shares in head.details.values()] == [
        pytest.approx([1 / 3] * 3),
        pytest.approx([1 / 2] * 2),
    ]


@pytest.mark.parametrize("case", [blobs(), line(slope=50, height=1000)], ids=["classes", "numbers"])
def test_folded_weights_of_all_layers_give_the_same_outputs(case: Case) -> None:
    head, tuned = mixed(case, SHORT)
    made = folded(tuned.learned, case.problem.scale)
    centre, deviation = case.problem.scale
    np.testing.assert_allclose(
        head.features["validation"] @ made["head.weight"].T + made["head.bias"],
        tuned.outputs["validation"] * deviation + centre,
        rtol=1e-5,
        atol=1e-4,
    )


def test_single_layers_are_not_mixed() -> None:
    case = blobs()
    assert same(train(case, SHORT), train(case, SHORT.with_settings({"mix": True})))


# When it stops


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_stops_after_patience_and_keeps_the_first_best(patience: int) -> None:
    stopped_early = 0
    for seed in range(4):
        case = blobs(seed, noise=6)
        recipe = replace(SHORT, epochs=12, patience=patience)
        tuned = train(case, recipe, seed=seed)
        metrics = [epoch.metric or 0.0 for epoch in tuned.history]
        bests = [int(np.argmax(metrics[: i + 1])) for i in range(len(metrics))]
        assert [epoch.number for epoch in tuned.history] == list(range(len(metrics)))
        assert tuned.best_epoch == bests[-1]
        waits = [i - best for i, best in enumerate(bests)]
        assert waits[-1] == patience or len(metrics) == 13
        assert all(wait < patience for wait in waits[:-1])
        stopped_early += len(metrics) < 13
        assert same(tuned, train(case, replace(recipe, epochs=tuned.best_epoch), seed=seed))
        assert case.measure(tuned) == metrics[tuned.best_epoch]
    assert stopped_early


def test_untrained_weights_count() -> None:
    case = blobs(noise=3)
    untrained = train(case, replace(SHORT, epochs=0))
    easy = changed(case, labels={"validation": case.predictions(untrained)})
    tuned = train(easy, replace(SHORT, patience=3))
    assert tuned.history[0].metric == 1.0
    assert len(tuned.history) == 4
    assert tuned.best_epoch == 0
    assert tuned.history[0].loss is None
    assert same(tuned, untrained)


def test_defined_metric_is_better_than_an_undefined_one() -> None:
    case = line()
    nothing = {"validation": np.full(80, 3.0)}
    tuned = train(changed(case, labels=nothing), replace(SHORT, patience=2))
    assert [epoch.metric for epoch in tuned.history] == [None] * 3
    assert tuned.best_epoch == 0


def test_every_step_is_reported() -> None:
    seen: list[Progress] = []
    trained = training(blobs(noise=3), replace(SHORT, patience=4))
    tuned = trained.run(seen.append)
    assert [progress.made for progress in seen] == list(range(1, tuned.steps + 1))
    assert tuned.steps == trained.n_steps == 4 * 6
    assert {progress.epoch for progress in seen} == {1, 2, 3, 4}
    assert str(seen[0]).startswith("loss ")


# Memory


@pytest.mark.parametrize("room", [11, 25])
def test_micro_batch_that_does_not_fit_is_split_and_weights_stay_the_same(room: float) -> None:
    whole = toy.training(toy.Toy.of(dropout=0)).run()
    split = toy.training(toy.Toy.of(dropout=0, room=room)).run()
    for name, array in whole.learned.items():
        np.testing.assert_allclose(split.learned[name], array, rtol=0, atol=2e-5)
    assert losses(split) == pytest.approx(losses(whole), abs=1e-5)
    assert not same(whole, toy.training(toy.Toy.of(seed=2, dropout=0)).run())


def test_not_even_one_example_fits() -> None:
    with pytest.raises(OutOfMemoryError, match="11 words do not fit") as caught:
        toy.training(toy.Toy.of(room=10), replace(toy.RECIPE, micro_batch=13))
    assert caught.value.__cause__


def test_memory_that_ends_on_the_way_is_said_in_words() -> None:
    learner = toy.Toy.of()

    def full(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    trained = toy.training(learner)
    learner.loss = full  # type: ignore[method-assign]
    with pytest.raises(OutOfMemoryError, match="not enough memory for a training step") as caught:
        trained.run()
    assert caught.value.why == "CUDA out of memory. Tried to allocate 2.00 GiB."


# What goes wrong


def test_loss_that_is_no_number_names_its_step_and_examples(tmp_path: Path) -> None:
    learner, room = toy.Toy.of(), Room(tmp_path)
    trained = toy.training(learner, room=room, watch=Watch(every=0))

    def spoil(progress: Progress) -> None:
        if progress.made == 10:
            learner.module.head.bias.data.fill_(torch.nan)

    with pytest.raises(DegenerateInputError, match="the loss is nan in step 3 of pass 2") as caught:
        trained.run(spoil)
    plan = steps(learner.sizes("train"), 40, 2, [1, 2])
    examples = ", ".join(map(str, sorted(plan[2][0])[:8]))
    assert caught.value.why is not None
    assert f"micro-batch 1 of it: training examples {examples}" in caught.value.why
    assert room.latest() is not None


def test_error_of_a_batch_made_ahead_comes_out() -> None:
    class Torn(toy.Toy):
        def batch(self, split: str, examples: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                raise DataError("the file is gone.")
            return super().batch(split, examples)

    with pytest.raises(DataError, match="the file is gone"):
        toy.training(Torn.of()).run()


@pytest.mark.parametrize(("processes", "micro_batches"), [(2, 2), (3, 6)])
def test_other_number_of_processes_than_asked_for_is_noticed(processes: int, micro_batches: int) -> None:
    with pytest.raises(UsageError, match=f"{processes} processes were asked for, 1 run together"):
        train(blobs(), replace(SHORT, micro_batches=micro_batches), processes=processes)


def test_tracker_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="there is no tracker nonesuch here"):
        train(blobs(), SHORT, tracker="nonesuch")


# Around it


def test_precision_is_that_of_each_training() -> None:
    case = blobs(noise=3)
    full, half, again = (train(case, replace(SHORT, precision=p)) for p in ("no", "bf16", "no"))
    assert same(full, again)
    assert not same(full, half)
    for name in ("head.linear.weight", "head.linear.bias"):
        np.testing.assert_allclose(half.learned[name], full.learned[name], rtol=0, atol=0.05)
        assert half.learned[name].dtype == np.float32


def test_threads_and_handlers_of_signals_are_given_back() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM)
    before = torch.get_num_threads(), [signal.getsignal(number) for number in numbers]
    seen: set[int] = set()
    training(blobs(), SHORT, threads=2).run(lambda _: seen.add(torch.get_num_threads()))
    assert seen == {2}
    assert (torch.get_num_threads(), [signal.getsignal(number) for number in numbers]) == before


def test_state_of_a_training_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = toy.training(toy.Toy.of()).run()
    for made in range(1, whole.steps + 1, 7):
        room = Room(tmp_path / str(made))
        with pytest.raises(ZeroDivisionError):
            toy.training(toy.Toy.of(), room=room, watch=Watch(every=0)).run(stop_after(made))
        assert toy.summary(toy.training(toy.Toy.of(), room=room).run()) == toy.summary(whole)


def test_signal_during_the_last_validation_is_not_lost(tmp_path: Path) -> None:
    class Told(toy.Toy):
        def batch(self, split: str, examples: Any) -> Any:
            if split == "validation" and len(seen) == whole.steps:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().batch(split, examples)

    seen: list[Progress] = []
    whole, room = toy.training(toy.Toy.of()).run(), Room(tmp_path)
    with pytest.raises(TerminatedError):
        toy.training(Told.of(), room=room).run(seen.append)
    seen.clear()
    assert toy.summary(toy.training(toy.Toy.of(), room=room).run(seen.append)) == toy.summary(whole)
    assert not seen


def test_state_remembers_patience(tmp_path: Path) -> None:
    recipe, room = replace(toy.RECIPE, epochs=12, patience=2), Room(tmp_path)
    whole = toy.training(toy.Toy.of(), recipe).run()
    with pytest.raises(ZeroDivisionError):
        toy.training(toy.Toy.of(), recipe, room=room, watch=Watch(every=0)).run(stop_after(whole.steps))
    assert len(whole.history) < 13
    assert toy.summary(toy.training(toy.Toy.of(), recipe, room=room).run()) == toy.summary(whole)


def test_time_that_was_spent_before_counts(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.made == 3:
            time.sleep(0.4)
        if progress.made == 5:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        toy.training(toy.Toy.of(), room=Room(tmp_path), watch=Watch(every=0)).run(stop)
    tuned = toy.training(toy.Toy.of(), room=Room(tmp_path)).run()
    assert tuned.history[-1].seconds > 0.4
    assert [epoch.seconds for epoch in tuned.history] == sorted(epoch.seconds for epoch in tuned.history)


def stop_after(made: int) -> Callable[[Progress], None]:
    def stop(progress: Progress) -> None:
        if progress.made == made:
            raise ZeroDivisionError

    return stop


# Problems


def target(task: Task = "token-classification", classes: tuple[str, ...] = ("a", "b", "c")) -> Target:
    return Target("t", "d", "0" * 40, None, task, "text", "label", classes, {}, {}, "0" * 64)


def split_of(lengths: list[int], seed: int = 0, n_classes: int = 3) -> Labelled:
    """Sentences whose words say which they are."""
    sentences = tuple(tuple(f"{i}.{j}" for j in range(n)) for i, n in enumerate(lengths))
    corpus = Corpus(sentences, "word")
    return Labelled(corpus, np.random.default_rng(seed).integers(n_classes, size=corpus.n_rows))


def words(data: Labelled, part: Part) -> list[str]:
    """Of its rows."""
    return list(np.array([word for sentence in data.corpus.sentences for word in sentence])[part.rows])


def test_members_stand_side_by_side_in_order() -> None:
    case = blobs()
    layers = {s: ((x, 2 * x), (3 * x[:, :1],)) for s, x in case.features.items()}
    materials = Materials(("a", "b"), {}, layers=layers)
    for split, x in case.features.items():
        assert np.array_equal(materials.features[split], np.hstack([x, 2 * x, 3 * x[:, :1]]))
    assert materials.shape == ([2, 1], [6, 1])


def test_parts_are_the_splits_where_there_is_one_for_validation() -> None:
    data, other = split_of([3, 2]), split_of([1, 4], seed=1)
    problem = Problem.of(target(), {"train": data, "validation": other}, seed=0)
    for part, split in (("train", data), ("validation", other)):
        assert np.array_equal(problem.parts[part].labels, split.labels)
        assert problem.parts[part].source == part
        assert words(split, problem.parts[part]) == [w for s in split.corpus.sentences for w in s]
    assert problem.parts["train"].lengths.tolist() == [3, 2]


def test_tenth_of_the_sentences_is_held_out() -> None:
    lengths = [1 + i % 4 for i in range(50)]
    data = split_of(lengths)
    problem = Problem.of(target(), {"train": data}, seed=0)
    held, rest = (set(problem.parts[s].sentences.tolist()) for s in ("validation", "train"))
    assert len(held) == 5
    assert held | rest == set(range(50))
    assert not held & rest
    for split in ("train", "validation"):
        part = problem.parts[split]
        assert part.source == "train"
        assert part.lengths.tolist() == [lengths[i] for i in part.sentences]
        assert words(data, part) == [f"{i}.{j}" for i in part.sentences for j in range(lengths[i])]
        assert np.array_equal(part.labels, data.labels[part.rows])


def test_seed_decides_which_sentences_are_held_out() -> None:
    data = {"train": split_of([2] * 50)}
    first, again, other = (
        Problem.of(target(), data, seed=seed).parts["validation"].sentences.tolist() for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("n", [2, 3, 9, 15])
def test_some_sentences_are_held_out_and_never_all(n: int) -> None:
    parts = Problem.of(target(), {"train": split_of([1] * n)}, seed=0).parts
    assert len(parts["validation"].lengths) == max(1, round(n / 10))
    assert len(parts["train"].lengths) + len(parts["validation"].lengths) == n


def test_nothing_is_held_out_of_the_test_split() -> None:
    data = split_of([2] * 20)
    problem = Problem.of(target(), {"train": data, "test": data}, seed=0)
    assert np.array_equal(problem.parts["test"].labels, data.labels)


def test_single_sentence_is_refused() -> None:
    with pytest.raises(DataError, match="one sentence"):
        Problem.of(target(), {"train": split_of([9])}, seed=0)


@pytest.mark.parametrize("held_out", [False, True])
def test_smaller_fractions_are_parts_of_larger_ones(held_out: bool) -> None:
    data = {"train": split_of([1 + i % 3 for i in range(80)]), "validation": split_of([2] * 9)}
    if held_out:
        del data["validation"]
    every = [Problem.of(target(), data, seed=3, fraction=f) for f in (0.05, 0.1, 0.5, 1.0)]
    shares = [set(problem.parts["train"].sentences.tolist()) for problem in every]
    n = 72 if held_out else 80
    assert [len(share) for share in shares] == [int(f * n) for f in (0.05, 0.1, 0.5, 1.0)]
    assert all(small < large for small, large in pairwise(shares))
    validation = [problem.parts["validation"].sentences.tolist() for problem in every]
    assert all(sentences == validation[0] for sentences in validation)
    assert not held_out or not shares[-1] & set(validation[0])


def test_seed_decides_which_sentences_a_fraction_has() -> None:
    data = {"train": split_of([1] * 80), "validation": split_of([1])}
    drawn = [Problem.of(target(), data, seed=s, fraction=0.1).parts["train"].sentences for s in (0, 1)]
    assert set(drawn[0]) != set(drawn[1])


@pytest.mark.parametrize("fraction", [0.01, 0.0, -1.0, 1.01, float("nan")])
def test_fraction_of_nothing_is_refused(fraction: float) -> None:
    data = {"train": split_of([2] * 50), "validation": split_of([2])}
    with pytest.raises(UsageError, match="is none"):
        Problem.of(target(), data, seed=0, fraction=fraction)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(("case", "missing"), [(blobs(), IGNORED), (line(), np.nan), (topics(), np.nan)])
def test_split_without_labels_is_refused(split: str, case: Case, missing: float) -> None:
    with pytest.raises(DataError, match=split):
        _ = changed(case, labels={split: np.full_like(case.labels[split], missing)}).problem


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    case = line()
    damaged = case.features["train"].copy()
    damaged[3] = value
    with pytest.raises(DegenerateInputError, match="features of a are not finite"):
        train(changed(case, features={"train": damaged}), SHORT)


def test_infinite_labels_are_refused() -> None:
    case = line()
    damaged = case.labels["train"].copy()
    damaged[3] = np.inf
    with pytest.raises(DegenerateInputError, match="labels are not finite"):
        _ = changed(case, labels={"train": damaged}).problem


def test_pairs_are_held_out_as_one() -> None:
    corpus = Corpus(tuple((f"{i}",) for i in range(60)), "pair")
    problem = Problem.of(target("pair-regression", ()), {"train": Labelled(corpus, np.arange(30.0))}, seed=0)
    assert {name: len(part.labels) for name, part in problem.parts.items()} == {
        "train": 27,
        "validation": 3,
    }
    for part in problem.parts.values():
        assert np.array_equal(part.rows, part.labels)
        assert np.array_equal(part.rows, part.sentences)
    assert problem.kind == "numbers"


def test_several_labels_at_once_have_an_output_each() -> None:
    data = Labelled(Corpus((("a",), ("b",)), "sentence"), np.eye(2))
    problem = Problem.of(target("text-multilabel", ("x", "y")), {"train": data, "validation": data}, seed=0)
    assert problem.kind == "labels"
    assert problem.n_outputs == 2
    assert problem.predictions(np.array([[-1, 2], [0.5, 0]], dtype=np.float32)).tolist() == [[0, 1], [1, 0]]


def test_class_of_the_test_split_alone_has_no_output() -> None:
    case = replace(blobs(), classes=("a", "b", "c", "only in test"))
    X = case.features["validation"]
    labels = np.where(np.arange(len(X)) % 2, case.labels["validation"], 3)
    case = changed(case, features={"test": X}, labels={"test": labels})
    tuned = train(case, LONG)
    assert len(tuned.learned["head.linear.weight"]) == len(tuned.learned["head.linear.bias"]) == 3
    assert case.measure(tuned, "test") == pytest.approx(np.mean(labels[labels != IGNORED] != 3))


def test_class_of_validation_alone_has_an_output() -> None:
    case = replace(blobs(), classes=("a", "b", "c", "d"))
    labels = case.labels["validation"].copy()
    labels[1] = 3
    tuned = train(changed(case, labels={"validation": labels}), SHORT)
    assert len(tuned.learned["head.linear.weight"]) == 4


def test_single_class_is_learned() -> None:
    case = blobs()
    one = {s: np.zeros(len(y), dtype=np.int64) for s, y in case.labels.items()}
    assert train(replace(case, labels=one, classes=("a",)), SHORT).history[0].metric == 1.0


def test_head_takes_nothing_along_from_another_target() -> None:
    case = blobs()
    head = Head.of(case.materials, case.problem, SHORT, seed=0, device="cpu")
    with pytest.raises(UsageError, match="takes nothing along"):
        head.begin(train(case, SHORT).learned)


# Trackers


def test_a_tracker_follows_every_pass(tmp_path: Path) -> None:
    case = blobs()
    learner = Head.of(case.materials, case.problem, SHORT, seed=0, device="cpu")
    training = Training(
        learner, case.problem, case.judge(), SHORT, seed=0, tracker="tensorboard", logs=tmp_path
    )
    followed = training.run()
    (events,) = (tmp_path / "zookeeper").glob("events.out.*")
    assert b"validation" in events.read_bytes()
    assert same(followed, train(case, SHORT))


def test_a_tracker_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no tracker nonsense") as caught:
        train(blobs(), SHORT, tracker="nonsense")
    assert "tensorboard" in (caught.value.why or "")
