"""Energy is a number that is right, or none; and never more than that."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tiny import TEXT

from zookeeper import Zoo
from zookeeper.plans import Recipe
from zookeeper.recipes import recipe_of
from zookeeper.results import Trial
from zookeeper.tuning.energy import metered


@dataclass
class Codecarbon:
    """What stands for codecarbon.

    Attributes:
        counted: kilowatt-hours that it says.
        fails: which of its steps does.
        steps: that were taken, in order.
    """

    counted: Any = 0.75
    fails: str | None = None
    steps: list[str] = field(default_factory=list)

    def take(self, step: str) -> None:
        self.steps.append(step)
        if step == self.fails:
            raise RuntimeError(f"{step} fails")


@pytest.fixture
def codecarbon(monkeypatch: pytest.MonkeyPatch) -> Codecarbon:
    known = Codecarbon()

    class Tracker:
        def __init__(self, **_: object) -> None:
            known.take("make")

        def start(self) -> None:
            known.take("start")

        def stop(self) -> None:
            known.take("stop")

        @property
        def final_emissions_data(self) -> SimpleNamespace:
            known.take("read")
            return SimpleNamespace(energy_consumed=known.counted)

    module = ModuleType("codecarbon")
    module.OfflineEmissionsTracker = Tracker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    return known


@dataclass
class Quiet:
    """A reporter that tells nobody, and that can be told to act when a training has advanced.

    Attributes:
        after: what to do after a step.
    """

    after: Callable[[], None] = lambda: None

    def note(self, text: str) -> None:
        pass

    @contextmanager
    def track(self, what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
        yield lambda done, note="": self.after() if unit == "steps" else None


@pytest.fixture
def quiet() -> Quiet:
    return Quiet()


@pytest.fixture
def lab(quiet: Quiet, checkpoints: dict[str, Path], tmp_path: Path) -> Zoo:
    found = Zoo(tmp_path / "home", reporter=quiet)
    found.add([str(checkpoints["bert"])])
    return found


def words(path: Path, longer: int = 4) -> str:
    """A target of which words are long."""
    rows = [{"tokens": s.split(), "label": ["OX"[len(w) > longer] for w in s.split()]} for s in TEXT]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def quick(name: str, **settings: Any) -> Recipe:
    return replace(recipe_of(name, None).with_settings(settings), epochs=2, micro_batch=64)


# Counting


def test_energy_is_what_was_counted_from_start_to_stop(codecarbon: Codecarbon) -> None:
    with metered() as meter:
        assert codecarbon.steps == ["make", "start"]
        assert meter.energy is None
    assert codecarbon.steps == ["make", "start", "stop", "read"]
    assert meter.energy == 0.75


def test_energy_is_unknown_without_codecarbon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with metered() as meter:
        pass
    assert meter.energy is None


@pytest.mark.parametrize("step", ["make", "start", "stop", "read"])
def test_what_codecarbon_raises_ends_nothing(codecarbon: Codecarbon, step: str) -> None:
    codecarbon.fails = step
    done = False
    with metered() as meter:
        done = True
    assert done
    assert codecarbon.steps[-1] == step
    assert meter.energy is None


@pytest.mark.parametrize("counted", [None, "much", math.nan, math.inf, -1.0, 0.0])
def test_what_is_no_amount_of_energy_is_unknown(codecarbon: Codecarbon, counted: Any) -> None:
    codecarbon.counted = counted
    with metered() as meter:
        pass
    assert meter.energy is None


@pytest.mark.parametrize("fails", [None, "stop"])
def test_what_fails_within_fails_as_it_would_have(codecarbon: Codecarbon, fails: str | None) -> None:
    codecarbon.fails = fails
    with pytest.raises(KeyError, match="mine"), metered():
        raise KeyError("mine")
    assert "stop" in codecarbon.steps


def test_a_part_of_it_is_not_counted(codecarbon: Codecarbon) -> None:
    with metered(whole=False) as meter:
        pass
    assert meter.energy is None
    assert codecarbon.steps == []


# Of trials


@pytest.mark.parametrize(("fails", "energy"), [(None, 0.75), ("start", None), ("stop", None)])
def test_a_trial_is_made_whether_or_not_its_energy_is_known(
    codecarbon: Codecarbon, lab: Zoo, tmp_path: Path, fails: str | None, energy: float | None
) -> None:
    codecarbon.fails = fails
    run = lab.tune(words(tmp_path / "t.jsonl"), ("bert",), recipe=quick("head"), seeds=(0,))
    assert [trial.energy for trial in run.trials] == [energy]
    assert lab.store.all(Trial) == run.trials


@pytest.mark.parametrize(
    ("recipe", "through"),
    [(quick("full"), ()), (quick("reptile", outer_steps=3, inner_steps=1), (3, 5))],
    ids=["full", "reptile"],
)
def test_energy_of_a_training_that_was_interrupted_is_unknown(
    codecarbon: Codecarbon,
    lab: Zoo,
    quiet: Quiet,
    tmp_path: Path,
    recipe: Recipe,
    through: tuple[int, ...],
) -> None:
    stages = [words(tmp_path / f"{longer}.jsonl", longer) for longer in through]

    def tune() -> None:
        lab.tune(words(tmp_path / "t.jsonl"), ("bert",), recipe=recipe, seeds=(0, 1), through=stages)

    quiet.after = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        tune()
    assert lab.store.all(Trial) == ()
    quiet.after = lambda: None
    tune()
    trials = lab.store.all(Trial)
    first = [trial for trial in trials if trial.key.seed == 0 and bool(trial.results) != bool(through)]
    assert [trial.energy for trial in first] == [None]
    assert {trial.energy for trial in trials if trial not in first} == {0.75}, "of those that were made whole"
