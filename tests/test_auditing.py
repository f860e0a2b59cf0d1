"""The numbers of a run follow from its predictions, and are given with what is known of their chance."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.made_up import TARGET, run, trial
from tests.reference import auditing as literal
from tests.reference.examples import STEADY
from zookeeper.auditing import Audit
from zookeeper.errors import IntegrityError
from zookeeper.results import Run, Trial
from zookeeper.tuning.metrics import Judge

ROOT = Path(__file__).parents[1]
JUDGE = Judge.of("accuracy", TARGET.classes, "classes")


def predicted(seed: int, lengths: list[int], right: float) -> dict[str, NDArray[Any]]:
    """Arrays of a trial of which about so many words are right, on both splits."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, sum(lengths))
    wrong = random.random(len(labels)) >= right
    made = {
        "predictions": np.where(wrong, (labels + 1) % 3, labels),
        "labels": labels,
        "lengths": np.array(lengths),
    }
    return {f"{name}/{split}": array for name, array in made.items() for split in ("validation", "test")}


def measured(arrays: Mapping[str, NDArray[Any]]) -> float | None:
    return JUDGE.measure(arrays["predictions/test"], arrays["labels/test"], arrays["lengths/test"])


def audit(*stored: Mapping[str, NDArray[Any]]) -> Audit:
    """Of a run that states what it measured."""
    values = [measured(arrays) for arrays in stored]
    made = run(*(trial(i, validation=value, test=value) for i, value in enumerate(values)), metric="accuracy")
    return Audit(made, JUDGE, lambda one: stored[one.key.seed])


lengths = st.lists(st.integers(1, 9), min_size=2, max_size=12)


@STEADY
@given(lengths, st.integers(0, 99), st.floats(0.1, 0.9))
def test_an_interval_is_that_of_resampled_sentences(lengths: list[int], seed: int, right: float) -> None:
    arrays = predicted(seed, lengths, right)
    pairs = list(zip(arrays["predictions/test"].tolist(), arrays["labels/test"].tolist(), strict=True))
    ends = np.cumsum(lengths).tolist()
    sentences = [pairs[end - n : end] for end, n in zip(ends, lengths, strict=True)]

    found = audit(arrays).intervals()["test"]

    assert found.value == measured(arrays)
    expected = literal.interval(sentences, lambda made, true: float(np.mean(np.equal(made, true))))
    assert (found.low, found.high) == pytest.approx(expected)


def test_more_sentences_make_it_surer() -> None:
    few, many = (audit(predicted(0, [5] * n, 0.7)).intervals()["test"] for n in (20, 2000))
    assert many.high - many.low < (few.high - few.low) / 5


def test_it_is_of_the_mean_over_seeds() -> None:
    one, other = predicted(0, [5] * 50, 0.5), predicted(1, [5] * 50, 0.9)
    found = audit(one, other).intervals()["test"]
    assert found.value == pytest.approx((measured(one) + measured(other)) / 2)
    assert found.low < found.value < found.high


def test_where_a_seed_has_no_value_there_is_no_interval() -> None:
    arrays = predicted(0, [5] * 10, 0.7)
    made = run(trial(0), trial(1, test=None), metric="accuracy")
    assert "test" not in Audit(made, JUDGE, lambda _: arrays).intervals()


def test_a_number_that_predictions_do_not_give_is_refused() -> None:
    arrays = predicted(0, [5] * 10, 0.7)
    good = audit(arrays)
    good.check()
    forged: Run = run(trial(0, validation=measured(arrays), test=0.99), metric="accuracy")
    with pytest.raises(IntegrityError, match="accuracy on test of seed 0 is stated") as error:
        Audit(forged, JUDGE, good.load).check()
    assert str(measured(arrays)) in str(error.value.why)


def test_every_trial_is_measured_again() -> None:
    arrays = predicted(0, [5] * 10, 0.7)
    seen: list[Trial] = []

    def load(one: Trial) -> dict[str, NDArray[Any]]:
        seen.append(one)
        return arrays

    value = measured(arrays)
    made = run(
        *(trial(s, f, validation=value, test=value) for s in (0, 1) for f in (0.1, 1.0)), metric="accuracy"
    )
    Audit(made, JUDGE, load).check()
    assert seen == list(made.trials)


def test_measuring_again_waits_for_no_slow_library() -> None:
    code = """
import sys
import numpy as np
from zookeeper.auditing import Audit
from zookeeper.tuning.metrics import Judge
from tests.made_up import run, trial

arrays = {name: np.array([1, 0, 1]) for name in ("predictions/test", "labels/test")}
arrays["lengths/test"] = np.array([2, 1])
for metric in ("accuracy", "span_f1"):
    judge = Judge.of(metric, ("O", "B-X"), "classes")
    audit = Audit(run(trial(0, test=1.0, measured=["test"]), metric=metric), judge, lambda one: arrays)
    audit.check()
    assert audit.intervals()["test"].value == 1
Judge.of("pearson", (), "numbers")
Judge.of("f1_micro", ("a", "b"), "labels")
print(*{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {"accelerate", "datasets", "evaluate", "pandas", "peft", "torch", "transformers"}
