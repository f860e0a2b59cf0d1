"""Runs, from what is asked for to what is kept: seeds, shares, recipes, comparisons, requests, refusals."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import Zoo as Line
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tiny import TEXT

from tests.made_up import TARGET
from zookeeper import Zoo
from zookeeper.errors import (
    CheckpointError,
    DataError,
    NotFoundError,
    TerminatedError,
    UsageError,
)
from zookeeper.plain import encode
from zookeeper.plans import Recipe, Request, Setting
from zookeeper.recipes import RECIPES, recipe_of
from zookeeper.records import Corpus, Labelled
from zookeeper.results import Comparison, Run, Trial
from zookeeper.tuning.joint import Joint
from zookeeper.tuning.loop import Training, accelerator_of
from zookeeper.tuning.materials import Materials
from zookeeper.tuning.problem import Part, Problem
from zookeeper.tuning.reptile import meta_trained
from zookeeper.tuning.room import Room
from zookeeper.tuning.watch import Watch, undisturbed

Arrays = Mapping[str, NDArray[Any]]
ALL = ("bert", "gpt2", "llama", "roberta", "t5")


# Zoos, targets and recipes, as small as they can be


@dataclass
class Heard:
    """A reporter that remembers, and that can be told to act when a training has advanced.

    Attributes:
        notes: what was said.
        after: what to do after a step.
    """

    notes: list[str] = field(default_factory=list)
    after: Callable[[], None] = lambda: None

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def track(self, what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
        yield lambda done, note="": self.after() if unit == "steps" else None


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, Path]) -> Path:
    """A zoo of one checkpoint of each family, of which nothing was read."""
    home = tmp_path_factory.mktemp("pattern")
    Zoo(home).add([str(folder) for folder in checkpoints.values()])
    return home


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def lab(zoo: Line, heard: Heard, pattern: Path, tmp_path: Path) -> Zoo:
    """The zoo in which the fixture `zoo` runs its command lines."""
    shutil.copytree(pattern, tmp_path / "home")
    return Zoo(reporter=heard)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Arrays]:
    """What each training began with, in the order in which they were made."""
    began: list[Arrays] = []
    run = Training.run

    def remembered(self: Training, *report: Any) -> Any:
        began.append(self._learner.learned())
        return run(self, *report)

    monkeypatch.setattr(Training, "run", remembered)
    return began


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    """A target of a file of JSON lines."""
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def words(folder: Path, *, rule: Callable[[str], bool] = lambda word: len(word) > 4) -> str:
    """Words that are long, of twelve sentences and of four."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, sentences in (("train", TEXT[:12]), ("validation", TEXT[10:]), ("test", TEXT[3:8])):
        rows = [
            {"tokens": s.split(), "label": ["X" if rule(w) else "O" for w in s.split()]} for s in sentences
        ]
        lines(folder / f"{split}.jsonl", rows)
    return str(folder)


def sentences(path: Path, names: tuple[str, str] = ("even", "odd")) -> str:
    return lines(path, [{"sentence": TEXT[i % 14], "label": names[i % 2]} for i in range(20)])


def pairs(path: Path) -> str:
    return lines(
        path,
        [
            {"premise": TEXT[i % 14], "hypothesis": TEXT[(i + i % 2) % 14], "label": "yn"[i % 2]}
            for i in range(20)
        ],
    )


def numbers(path: Path) -> str:
    return lines(path, [{"sentence": TEXT[i % 14], "score": len(TEXT[i % 14]) + i / 7} for i in range(20)])


def moods(path: Path) -> str:
    kinds: tuple[list[str] | None, ...] = (["good"], [], ["good", "bad"], None)
    return lines(path, [{"sentence": TEXT[i % 14], "labels": kinds[i % 4]} for i in range(24)])


def questions(path: Path) -> str:
    rows = []
    for text in TEXT * 2:
        answer = text.split()[3]
        answers = {"text": [answer], "answer_start": [text.index(answer)]}
        rows.append({"question": "Which one is it ?", "context": text, "answers": answers})
    return lines(path, rows)


KINDS: dict[str, tuple[Callable[[Path], str], str]] = {
    "token-classification": (words, "accuracy"),
    "text-classification": (sentences, "accuracy"),
    "pair-classification": (pairs, "accuracy"),
    "text-regression": (numbers, "pearson"),
    "text-multilabel": (moods, "f1_micro"),
    "question-answering": (questions, "span_f1"),
}


def quick(name: str = "head", of: str | None = None, *, epochs: int = 2, **settings: Setting) -> Recipe:
    """A recipe that is over soon."""
    return replace(recipe_of(name, of).with_settings(settings), epochs=epochs, micro_batch=256)


def learned(zoo: Zoo, trial: Trial) -> dict[str, NDArray[Any]]:
    arrays = zoo.store.arrays(Trial, trial.key.digest)
    return {n.removeprefix("learned/"): array for n, array in arrays.items() if n.startswith("learned/")}


def same_bits(left: Arrays, right: Arrays) -> bool:
    return left.keys() == right.keys() and all(left[n].tobytes() == right[n].tobytes() for n in left)


def tune(zoo: Zoo, target: str, names: Any = ("bert",), recipe: Recipe | None = None, **asked: Any) -> Run:
    return zoo.tune(target, names, recipe=recipe or quick(), **({"seeds": (0,)} | asked))


# Seeds


def test_a_run_is_the_mean_and_the_deviation_of_its_seeds(lab: Zoo, tmp_path: Path) -> None:
    run = tune(lab, words(tmp_path / "t"), ("bert", "gpt2"), seeds=(0, 1, 2))
    values = [trial.results["validation"] for trial in run.trials]
    assert run.seeds == (0, 1, 2)
    assert len(set(values)) > 1, "seeds differ"
    spread = run.results["validation"]
    assert (spread.mean, spread.deviation, spread.n) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
        3,
    )
    assert run.best.results["validation"] == max(values)
    assert lab.run(run.id) == run


def test_more_seeds_train_only_the_new_ones(lab: Zoo, tmp_path: Path, trained: list[Arrays]) -> None:
    target = words(tmp_path / "t")
    one = tune(lab, target)
    three = tune(lab, target, seeds=(0, 1, 2))
    assert len(trained) == 3
    assert three.trials[0] == one.trials[0]
    assert three.id != one.id
    assert [run.id for run in lab.runs()].count(one.id) == 1


def test_a_finished_run_is_shown_again_without_training(
    lab: Zoo, heard: Heard, tmp_path: Path, trained: list[Arrays]
) -> None:
    target = words(tmp_path / "t")
    run = tune(lab, target)
    assert tune(lab, target) == run
    assert len(trained) == 1
    assert any("tuned before" in note for note in heard.notes)


def test_a_damaged_trial_is_trained_again_to_the_same_bits(
    lab: Zoo, tmp_path: Path, trained: list[Arrays]
) -> None:
    target = words(tmp_path / "t")
    run = tune(lab, target, seeds=(0, 1))
    before = learned(lab, run.trials[0])
    (path,) = (tmp_path / "home" / "trials").glob(f"v1/??/{run.trials[0].key.digest}/arrays.safetensors")
    path.write_bytes(bytes(path.stat().st_size))
    again = tune(Zoo(), target, seeds=(0, 1))
    assert len(trained) == 3
    assert again.results == run.results
    assert same_bits(learned(Zoo(), again.trials[0]), before)


# The test split


def test_measuring_on_the_test_split_later_trains_nothing_again(
    lab: Zoo, tmp_path: Path, trained: list[Arrays]
) -> None:
    target = words(tmp_path / "t")
    without = tune(lab, target, recipe=quick("full"), seeds=(0, 1))
    before = learned(lab, without.trials[0])
    tested = tune(lab, target, recipe=quick("full"), seeds=(0, 1), test=True)
    assert len(trained) == 2
    assert set(without.results) == {"validation"}
    assert set(tested.results) == set(tested.majority) == {"validation", "test"}
    assert tested.results["validation"] == without.results["validation"]
    assert same_bits(learned(lab, tested.trials[0]), before)
    assert tested.trials[0].sentences == {"train": 12, "validation": 4, "test": 5}
    at_once = Zoo(tmp_path / "other")
    at_once.add([member.revision.repo_id for member in tested.members])
    assert tune(at_once, target, recipe=quick("full"), seeds=(0, 1), test=True).results == tested.results


def test_the_test_split_is_not_touched_unless_it_is_asked_for(lab: Zoo, tmp_path: Path) -> None:
    target = words(tmp_path / "t")
    broken = Path(target) / "test.jsonl"
    content = broken.read_text()
    broken.write_text("{")
    run = tune(lab, target)
    assert set(run.results) == {"validation"}
    with pytest.raises(DataError, match="test"):
        tune(lab, target, test=True)
    broken.write_text(content)
    assert set(tune(lab, target, test=True).results) == {"validation", "test"}
    assert set(tune(lab, target, seeds=(0, 1)).results) == {"validation"}, "known, but not asked for"


def test_a_changed_test_split_is_measured_anew(lab: Zoo, tmp_path: Path, trained: list[Arrays]) -> None:
    target = words(tmp_path / "t")
    before = tune(lab, target, test=True)
    rows = [{"tokens": s.split(), "label": ["O"] * len(s.split())} for s in TEXT[:6]]
    lines(Path(target) / "test.jsonl", rows)
    after = tune(lab, target, test=True)
    assert len(trained) == 1
    assert after.results["validation"] == before.results["validation"]
    assert after.trials[0].sentences["test"] == 6
    assert after.results["test"] != before.results["test"]


# Shares of the training data


def test_a_learning_curve_has_a_trial_for_each_share_and_seed(
    lab: Zoo, tmp_path: Path, trained: list[Arrays]
) -> None:
    target = words(tmp_path / "t")
    run = tune(lab, target, seeds=(0, 1), fractions=(1.0, 0.25, 0.5))
    assert len(trained) == 6
    assert {share: [t.key.seed for t in trials] for share, trials in run.curve.items()} == {
        0.25: [0, 1],
        0.5: [0, 1],
        1.0: [0, 1],
    }
    assert [trial.sentences["train"] for trial in run.trials] == [3, 3, 6, 6, 12, 12]
    assert {trial.sentences["validation"] for trial in run.trials} == {4}
    assert run.results["validation"].mean == pytest.approx(
        np.mean([trial.results["validation"] for trial in run.curve[1.0]])
    )
    assert tune(lab, target, seeds=(0, 1)).trials == run.curve[1.0]
    assert len(trained) == 6, "all of the data is a share that was tuned"


def test_smaller_shares_are_parts_of_larger_ones() -> None:
    data = Labelled(Corpus(tuple(tuple(s.split()) for s in TEXT * 5), "sentence"), np.arange(70) % 2)
    drawn = [
        set(Problem.of(TARGET, {"train": data}, seed=3, fraction=f).parts["train"].sentences.tolist())
        for f in (0.1, 0.3, 0.35, 1.0)
    ]
    assert all(smaller < larger for smaller, larger in pairwise(drawn))


@pytest.mark.parametrize("fractions", [(0.0,), (1.5,), (-0.1,), (0.01,), (0.5, 0.5), ()])
def test_shares_of_nothing_are_refused(lab: Zoo, tmp_path: Path, fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"fraction|none"):
        tune(lab, words(tmp_path / "t"), fractions=fractions)


# Recipes


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("name", ["head", "full", "lora", "late", "b-tuning"])
def test_every_recipe_tunes_every_kind_of_target(lab: Zoo, tmp_path: Path, name: str, task: str) -> None:
    make, metric = KINDS[task]
    run = tune(lab, make(tmp_path / "t.jsonl"), ("bert", "llama"), quick(name, epochs=1))
    assert (run.target.task, run.metric) == (task, metric)
    assert run.recipe.name == name
    assert len(run.trials) == 1
    arrays = lab.store.arrays(Trial, run.trials[0].key.digest)
    assert len(arrays["predictions/validation"]) == len(arrays["labels/validation"])
    assert np.isfinite(arrays["outputs/validation"]).all()
    card = lab.card(run.id)
    assert "tiny" not in card
    assert run.members[1].name in card


def test_full_moves_members_and_frozen_ones_stay(lab: Zoo, tmp_path: Path) -> None:
    target = sentences(tmp_path / "t.jsonl")
    run = tune(lab, target, ("bert", "gpt2"), quick("full", freeze="2", backbone_rate=1e-3))
    names = {name.split(".")[0] for name in learned(lab, run.trials[0])}
    assert names == {"head", "0"}
    assert run.trials[0].padded is not None


@pytest.mark.parametrize(
    ("of", "combine"),
    [("full", "mean"), ("head", "mean"), ("head", "vote"), ("head", "weighted"), ("head", "stacked")],
)
def test_late_combines_trials_of_its_members(
    lab: Zoo, tmp_path: Path, trained: list[Arrays], combine: str, of: str
) -> None:
    target = words(tmp_path / "t")
    alone = tune(lab, target, ("gpt2",), quick(of, epochs=1))
    run = tune(lab, target, ("bert", "gpt2"), quick("late", of, epochs=1, combine=combine), test=True)
    assert len(trained) == 2, "the member that was tuned alone is taken as it was"
    assert set(run.results) == {"validation", "test"}
    assert run.trials[0].key.recipe.settings["combine"] == combine
    again = tune(lab, target, ("gpt2",), quick(of, epochs=1), test=True)
    assert again.results["validation"] == alone.results["validation"]
    assert len(trained) == 2


def test_sequential_begins_where_its_stages_ended_and_uses_them_again(
    lab: Zoo, tmp_path: Path, trained: list[Arrays]
) -> None:
    through = (words(tmp_path / "a", rule=str.istitle), words(tmp_path / "b", rule=lambda w: "a" in w))
    recipe = quick("sequential", backbone_rate=1e-2)
    run = tune(lab, words(tmp_path / "t"), ("bert",), recipe, through=through)
    assert len(trained) == 3
    first, second, last = (weights_of_members(began) for began in trained)
    assert not same_bits(first, second)
    stages = {trial.key.digest: trial for trial in lab.store.all(Trial)}
    stage = stages[str(run.trials[0].key.start)]
    assert stages[str(stage.key.start)].key.start is None
    assert same_bits(weights_of_members(learned(lab, stage)), last)
    other = numbers(tmp_path / "n.jsonl")
    tune(lab, other, ("bert",), recipe, through=through)
    assert len(trained) == 4, "only the other target is new"
    plain = tune(lab, words(tmp_path / "t"), ("bert",), quick("full", backbone_rate=1e-2))
    assert same_bits(weights_of_members(trained[-1]), first)
    assert not same_bits(learned(lab, plain.trials[0]), learned(lab, run.trials[0]))
    assert run.through == through


def weights_of_members(weights: Arrays) -> dict[str, NDArray[Any]]:
    return {name: value for name, value in weights.items() if not name.startswith("head.")}


def test_a_stage_is_read_as_its_own_kind_of_target_asks(lab: Zoo, tmp_path: Path) -> None:
    stage, target = sentences(tmp_path / "s.jsonl"), words(tmp_path / "t")
    run = tune(lab, target, ("bert",), quick("sequential", epochs=1), through=(stage,))
    own = tune(lab, stage, ("bert",), quick("full", epochs=1))
    assert run.trials[0].key.start == own.trials[0].key.digest, "as if it had been tuned for itself"


def test_reptile_meets_its_targets_before_the_own_one(
    lab: Zoo, tmp_path: Path, trained: list[Arrays]
) -> None:
    through = (questions(tmp_path / "q.jsonl"), sentences(tmp_path / "s.jsonl"))
    recipe = quick("reptile", epochs=1, outer_steps=2, inner_steps=2, backbone_rate=1e-3)
    run = tune(lab, words(tmp_path / "t"), ("bert", "gpt2"), recipe, through=through)
    (met,) = [t for t in lab.store.all(Trial) if t.key.digest == run.trials[0].key.start]
    assert met.steps == 2 * 2 * 2
    assert len(met.history) == 3
    tune(lab, words(tmp_path / "t"), ("bert", "gpt2"), quick("full", epochs=1, backbone_rate=1e-3))
    moved, plain = (weights_of_members(began) for began in trained)
    assert same_bits(moved, learned(lab, met))
    assert not same_bits(moved, plain)
    tune(lab, numbers(tmp_path / "n.jsonl"), ("bert", "gpt2"), recipe, through=through)
    assert len(trained) == 3
    assert len([t for t in lab.store.all(Trial) if t.steps == met.steps and not t.results]) == 1


@pytest.mark.parametrize("size", [1.0, 0.25])
def test_an_outer_step_of_reptile_goes_part_of_the_way(
    checkpoints: dict[str, Path], tmp_path: Path, size: float
) -> None:
    """Beside one step of AdamW on the mean loss, and phi + epsilon (phi' - phi), written out."""
    recipe = replace(
        quick("reptile", outer_steps=1, inner_steps=1, step_size=size, head_dropout=0.0, backbone_rate=1e-3),
        micro_batch=10_000,
    )
    twin, phi = llama(checkpoints, recipe), llama(checkpoints, recipe).learned()
    batch = twin.batch("train", np.arange(12))
    twin.module.train()
    optimizer = torch.optim.AdamW(twin.groups(), weight_decay=recipe.weight_decay)
    (twin.loss(twin.module(batch.inputs), batch) / 12).backward()
    torch.nn.utils.clip_grad_norm_(list(twin.learning.values()), recipe.clip)
    optimizer.step()
    met = meta_trained(
        [llama(checkpoints, recipe)],
        recipe,
        seed=0,
        accelerator=accelerator_of("cpu", None),
        room=Room(tmp_path / "room"),
        watch=Watch(),
    )
    there = twin.learned()
    assert met.learned.keys() == weights_of_members(there).keys()
    for name, value in met.learned.items():
        wanted = phi[name] + size * (there[name] - phi[name])
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6, err_msg=name)
    assert any((value != phi[name]).any() for name, value in met.learned.items())


def llama(checkpoints: dict[str, Path], recipe: Recipe) -> Joint:
    """A member without dropout, for twelve sentences of two classes."""
    text = Corpus(tuple(tuple(line.split()) for line in TEXT[:12]), "sentence")
    part = Part.of("train", Labelled(text, np.arange(12) % 2), np.arange(12))
    problem = Problem({"train": part, "validation": part}, "classes", ("a", "b"))
    materials = Materials(("llama",), {"train": text}, (checkpoints["llama"],))
    return Joint.of(materials, problem, recipe, seed=0, device="cpu")


def test_teachers_count_and_without_strength_there_are_none(lab: Zoo, tmp_path: Path) -> None:
    target = words(tmp_path / "t")
    settings = {"backbone_rate": 1e-3, "normalize": False, "head_dropout": 0.0}
    taught, untaught = (
        tune(lab, target, ("llama", "bert", "gpt2"), quick("b-tuning", strength=strength, **settings))
        for strength in (100.0, 0.0)
    )
    plain = tune(lab, target, ("llama",), quick("full", **settings))
    assert same_bits(learned(lab, untaught.trials[0]), learned(lab, plain.trials[0]))
    assert untaught.results == plain.results
    assert not same_bits(learned(lab, taught.trials[0]), learned(lab, plain.trials[0]))
    prior = taught.trials[0].details["teachers"]
    assert list(prior) == [member.name for member in taught.members[1:]]
    assert sum(prior.values()) == pytest.approx(1)
    even = tune(lab, target, ("llama", "bert", "gpt2"), quick("b-tuning", form="uniform", **settings))
    assert list(even.trials[0].details["teachers"].values()) == [0.5, 0.5]


# Comparisons


@pytest.fixture
def compared(lab: Zoo, zoo: Line, checkpoints: dict[str, Path], tmp_path: Path) -> Line:
    """A zoo with a ranking for words, in which one checkpoint cannot be read any more."""
    broken = tmp_path / "broken"
    shutil.copytree(checkpoints["bert"], broken)
    lab.add([str(broken)])
    lab.rank(words(tmp_path / "t"), ALL)
    (broken / "config.json").write_text("{}")
    return zoo


CONTROLS = ("--controls", 20, "--seeds", 2, "--epochs", 2, "--json")


def test_a_choice_is_ranked_among_all_others(compared: Line, lab: Zoo, tmp_path: Path) -> None:
    target = words(tmp_path / "t")
    done = compared("tune", "-t", target, "t5", "gpt2", *CONTROLS)
    assert done.exit_code == 3, done.stderr
    found, run = done.json["comparison"], done.json["run"]
    sets = [tuple(sorted(one["members"])) for one in found["random"]]
    assert len(set(sets)) == len(sets) == 10, "those of six that do not hold the broken one"
    assert all(len(members) == 2 for members in sets)
    assert len(found["failures"]) == 5
    assert all("broken" in one["name"] for one in found["failures"])
    assert "broken" in done.stderr
    by_name = {one["name"]: one for one in found["contenders"]}
    assert by_name["chosen"]["members"] == ["t5", "gpt2"]
    assert by_name["chosen"]["values"] == [trial["results"]["validation"] for trial in run["trials"]]
    ranked = [row["MODEL"] for row in compared("rank", "-t", target, *ALL).ranked]
    assert by_name["first 2 by LogME"]["members"] == ranked[:2]
    assert len(by_name["first alone"]["members"]) == 1
    comparison = lab.comparison()
    mine = float(np.mean(by_name["chosen"]["values"]))
    better = sum(float(np.mean(one["values"])) >= mine for one in found["random"])
    assert comparison.rank(comparison.contenders[0]) == 1 + better
    assert comparison.p(comparison.contenders[0]) == pytest.approx((1 + better) / 11)
    assert [row["RUN"] for row in compared("runs").table] == [run["id"]], "others make no runs"
    again = compared("tune", "-t", target, "t5", "gpt2", *CONTROLS)
    assert again.json["comparison"] == found


def contest(lab: Zoo, request: Request) -> Comparison:
    lab.carry_out(request)
    return lab.comparison()


def test_comparisons_train_no_ensemble_twice(
    compared: Line, lab: Zoo, tmp_path: Path, trained: list[Arrays]
) -> None:
    target = words(tmp_path / "t")
    request = lab.request(target, ("bert", "gpt2"), recipe=quick(), seeds=(0,), controls=3)
    lab.carry_out(request)
    lab.carry_out(request)
    n = len(trained)
    more = contest(lab, replace(request, controls=6))
    assert len(trained) - n <= 3
    assert len(more.random) + len(more.failures) == 6


def test_the_best_ranked_for_another_target_are_no_rivals(compared: Line, lab: Zoo, tmp_path: Path) -> None:
    other = sentences(tmp_path / "s.jsonl")
    request = lab.request(other, ("bert",), recipe=quick(), seeds=(0,), controls=2)
    assert [one.name for one in contest(lab, request).contenders] == ["chosen"]


def test_one_checkpoint_is_compared_with_the_first_once(compared: Line, lab: Zoo, tmp_path: Path) -> None:
    ranked = compared("rank", "-t", words(tmp_path / "t"), *ALL).ranked
    last = ranked[-1]["MODEL"]
    request = lab.request(words(tmp_path / "t"), (last,), recipe=quick(), seeds=(0,), controls=1)
    rivals = [one.members for one in contest(lab, request).contenders]
    assert rivals == [(last,), (ranked[0]["MODEL"],)]


def test_a_rival_that_left_the_zoo_is_no_rival(compared: Line, lab: Zoo, tmp_path: Path) -> None:
    first, *_, last = (row["MODEL"] for row in compared("rank", "-t", words(tmp_path / "t"), *ALL).ranked)
    compared("rm", first)
    request = lab.request(words(tmp_path / "t"), (last,), recipe=quick(), seeds=(0,), controls=1)
    assert "chosen" in [one.name for one in contest(lab, request).contenders]


def test_comparisons_and_curves_are_drawn(compared: Line, tmp_path: Path) -> None:
    for kind in ("violin", "curve"):
        done = compared("plot", kind, "-o", tmp_path / "p.svg")
        assert done.exit_code == 1, "there is nothing to draw"
        assert "fix: zoo" in done.stderr
    target = words(tmp_path / "t")
    options = ("--seeds", 1, "--epochs", 1, "--fractions", "0.5,1", "--controls", 3)
    compared("tune", "-t", target, "bert", *options)
    for kind in ("violin", "curve"):
        path = tmp_path / f"{kind}.svg"
        done = compared("plot", kind, "-o", path)
        assert done.exit_code == 0, done.stderr
        assert "<svg" in path.read_text()


# Requests


def test_a_plan_is_done_elsewhere(
    zoo: Line, lab: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words(tmp_path / "t")
    monkeypatch.chdir(tmp_path)
    asked = ("tune", "-t", "t", "bert", "--seeds", 2, "--epochs", 1)
    planned = zoo(*asked, "--plan", "job.json")
    assert planned.exit_code == 0, planned.stderr
    assert "zoo tune --apply job.json" in planned.stderr
    assert lab.store.all(Trial) == lab.runs() == ()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    applied = zoo("tune", "--apply", "../job.json", "--json").json
    assert applied["command"].startswith("zoo tune -t t bert")
    assert lab.load_request(tmp_path / "job.json").run_id == applied["id"]
    monkeypatch.chdir(tmp_path)
    assert zoo(*asked, "--json").json["id"] == applied["id"]


def test_a_plan_for_other_labels_is_refused(zoo: Line, lab: Zoo, tmp_path: Path) -> None:
    target, job = words(tmp_path / "t"), tmp_path / "job.json"
    zoo("tune", "-t", target, "bert", "--plan", job)
    words(tmp_path / "t", rule=lambda word: len(word) > 5)
    done = zoo("tune", "--apply", job)
    assert done.exit_code == 1
    assert "is not what it was when this was planned" in done.stderr
    assert "its labels" in done.stderr
    assert lab.all_interrupted() == (), "nothing was begun"


def test_changed_labels_make_other_trials(lab: Zoo, tmp_path: Path, trained: list[Arrays]) -> None:
    before = tune(lab, words(tmp_path / "t"))
    after = tune(lab, words(tmp_path / "t", rule=lambda word: len(word) > 5))
    assert len(trained) == 2
    assert before.id != after.id


@pytest.mark.parametrize("option", [("--seeds", 2), ("-t", "x"), ("bert",), ("--test",), ("--columns", "a")])
def test_a_plan_takes_no_other_options(zoo: Line, lab: Zoo, tmp_path: Path, option: tuple[Any, ...]) -> None:
    target, job = words(tmp_path / "t"), tmp_path / "job.json"
    zoo("tune", "-t", target, "bert", "--plan", job)
    done = zoo("tune", "--apply", job, *option)
    assert done.exit_code == 2
    assert "means nothing with --apply" in done.stderr


def test_a_file_that_is_no_plan_is_refused(zoo: Line, lab: Zoo, tmp_path: Path) -> None:
    assert "there is no file" in zoo("tune", "--apply", tmp_path / "none.json").stderr
    (tmp_path / "job.json").write_text('{"a": 1}')
    done = zoo("tune", "--apply", tmp_path / "job.json")
    assert done.exit_code == 2
    assert "is no plan of zoo tune" in done.stderr


def test_a_run_does_not_go_on_with_other_hyper_parameters(zoo: Line, lab: Zoo, tmp_path: Path) -> None:
    target, job = words(tmp_path / "t"), tmp_path / "job.json"
    zoo("tune", "-t", target, "bert", "--lr", "0.01", "--epochs", "2", "--plan", job)
    done = zoo("tune", "--apply", job, "--lr", "0.02", "--epochs", "3")
    assert done.exit_code == 2
    assert "learning_rate was 0.01, 0.02 is asked for" in done.stderr
    assert "epochs was 2, 3 is asked for" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    lab: Zoo, zoo: Line, heard: Heard, tmp_path: Path, number: signal.Signals
) -> None:
    target = words(tmp_path / "t")
    recipe = replace(quick("full", epochs=4), patience=4, micro_batch=64)
    steps = iter(range(100))
    heard.after = lambda: os.kill(os.getpid(), number) if next(steps) == 5 else None
    with pytest.raises((TerminatedError, KeyboardInterrupt)):
        tune(lab, target, recipe=recipe)
    (request,) = lab.all_interrupted()
    assert f"zoo tune --resume {request.run_id}" in zoo("runs").stderr
    assert lab.runs() == ()
    expected = lab.forecast(request).expected[0]
    assert (expected.done, expected.begun, expected.trials) == (0, 1, 1)
    resumed = zoo("tune", "--resume", request.run_id[:5], "--json").json
    assert resumed["id"] == request.run_id
    assert lab.all_interrupted() == ()
    other = Zoo(tmp_path / "other")
    other.add([member["revision"]["repo_id"] for member in resumed["members"]])
    whole = tune(other, target, recipe=recipe)
    assert same_bits(learned(other, whole.trials[0]), learned(lab, lab.run(request.run_id).trials[0]))
    assert not list((tmp_path / "home" / "unfinished").iterdir())


def test_a_terminated_command_exits_with_143_and_goes_on(lab: Zoo, zoo: Line, tmp_path: Path) -> None:
    command = ["tune", "-t", words(tmp_path / "t"), "bert", "-r", "full", "--seeds", "1"]
    command += ["--epochs", "2000", "--patience", "2000", "--micro-batch", "64"]
    ran = subprocess.Popen(
        [sys.executable, "-m", "zookeeper", *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    unfinished = tmp_path / "home" / "unfinished"
    until = time.monotonic() + 40
    while not list(unfinished.glob("*/state-*")):
        assert time.monotonic() < until
        assert ran.poll() is None
        if list(unfinished.glob("*/lock")):
            ran.send_signal(signal.SIGUSR1)  # which is heard once it trains
        time.sleep(0.1)
    second = zoo(*command)
    assert second.exit_code == 2
    assert f"process {ran.pid} on" in second.stderr
    ran.terminate()
    _, said = ran.communicate(timeout=20)
    assert ran.returncode == 143, said
    assert "Traceback" not in said
    assert list(unfinished.glob("*/state-*"))
    assert "Interrupted: full" in zoo("runs").stderr


def test_nobody_dies_of_a_signal_while_it_is_only_getting_ready() -> None:
    with pytest.raises(TerminatedError, match="stopped"), undisturbed():
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    with undisturbed(alone=False):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "others would wait for it"


def test_what_is_not_interrupted_cannot_go_on(zoo: Line, lab: Zoo) -> None:
    done = zoo("tune", "--resume", "abc")
    assert done.exit_code == 1
    assert 'no interrupted run "abc"' in done.stderr


def test_interrupted_runs_of_another_version_do_not_hide_the_others(
    zoo: Line, lab: Zoo, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "unfinished"
    folder.mkdir()
    (folder / "0123456789ab.json").write_text('{"target": "before"}')
    request = lab.request(words(tmp_path / "t"), ("bert",), recipe=quick())
    (folder / f"{request.run_id}.json").write_bytes(encode(request))
    assert lab.all_interrupted() == (request,)
    done = zoo("runs")
    assert done.exit_code == 0
    assert request.run_id in done.stderr


def test_what_goes_on_takes_no_other_options(zoo: Line, lab: Zoo) -> None:
    for option in (("--layer", 1), ("--seeds", 2), ("--apply", "job.json"), ("bert",)):
        done = zoo("tune", "--resume", "0123", *option)
        assert done.exit_code == 2
        assert "means nothing with" in done.stderr


def test_a_dry_run_says_what_is_left_and_does_nothing(lab: Zoo, zoo: Line, tmp_path: Path) -> None:
    target = words(tmp_path / "t")
    asked = ("tune", "-t", target, "bert", "--epochs", 1, "--seeds")
    zoo(*asked, 1)
    features = sorted(path.name for path in (tmp_path / "cache").rglob("*"))
    done = zoo(*asked, 3, "--dry-run", "--controls", 2)
    assert done.exit_code == 0, done.stderr
    assert done.table[0]["LEFT"] == "2 of 3"
    assert [row["ENSEMBLE"] for row in done.table] == ["chosen", "random", "random"]
    assert "Nothing done." in done.stderr
    assert len(lab.runs()) == len(lab.store.all(Trial)) == 1
    assert lab.all_interrupted() == ()
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*")) == features


def test_anything_that_is_asked_for_makes_another_run(lab: Zoo, tmp_path: Path) -> None:
    request = lab.request(words(tmp_path / "t"), ("bert", "gpt2"), recipe=quick())
    same = replace(request, controls=7, command="zoo tune --controls 7")
    others: dict[str, Any] = {
        "target": replace(request.target, name="other"),
        "fingerprint": "0" * 64,
        "members": request.members[::-1],
        "recipe": replace(request.recipe, epochs=9),
        "metric": "accuracy?x=1",
        "script": "0" * 64,
        "seeds": (0, 1),
        "fractions": (0.5, 1.0),
        "test": True,
        "max_examples": 5,
        "through": (request.target,),
        "stages": ("0" * 64,),
    }
    changed = [replace(request, **{name: value}) for name, value in others.items()]
    assert same.run_id == request.run_id
    assert len({one.run_id for one in (request, *changed)}) == 1 + len(changed)
    assert {*others, "controls", "command"} == set(Request.__dataclass_fields__)


# Metrics

SCRIPT = """
import datasets
import evaluate

class Mine(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features(dict.fromkeys(["predictions", "references"], datasets.Value("int64"))),
        )

    def _compute(self, predictions, references):
        return {{"mine": {value}}}
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], str]:
    """A metric that always gives the same value; the cache of evaluate is a folder of its own."""
    for name in ("HF_MODULES_CACHE", "HF_METRICS_CACHE", "HF_EVALUATE_CACHE"):
        monkeypatch.setattr(f"evaluate.config.{name}", tmp_path / "evaluate" / name)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "evaluate" / "HF_MODULES_CACHE"), *sys.path])
    importlib.invalidate_caches()
    for module in [name for name in sys.modules if name.startswith("evaluate_modules")]:
        monkeypatch.delitem(sys.modules, module)

    def write(value: float) -> str:
        path = tmp_path / "mine" / "mine.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(SCRIPT.format(value=value))
        return str(path)

    return write


def test_an_edited_metric_makes_another_trial(
    lab: Zoo, tmp_path: Path, trained: list[Arrays], script: Callable[[float], str]
) -> None:
    target = words(tmp_path / "t")
    first = tune(lab, target, metric=script(0.25))
    assert first.results["validation"].mean == 0.25
    assert tune(lab, target, metric=script(0.25)) == first
    request = lab.request(target, ("bert",), recipe=quick(), seeds=(7,), metric=script(0.25))
    second = tune(lab, target, metric=script(0.5))
    assert second.results["validation"].mean == 0.5
    assert second.id != first.id
    assert len(trained) == 2
    with pytest.raises(DataError, match="is not what it was when this was planned"):
        lab.carry_out(request)


# What is refused


def test_members_that_read_no_text_are_named(lab: Zoo, tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.ViTModel(transformers.ViTConfig(image_size=8, patch_size=4, **sizes)).save_pretrained(folder)
    lab.add([str(folder)])
    for name in ("head", "full"):
        with pytest.raises(UsageError, match="vit reads no text") as caught:
            tune(lab, words(tmp_path / "t"), ("bert", "vit"), quick(name))
        assert "no tokenizer" in str(caught.value.why)
    assert lab.all_interrupted() == ()


@pytest.mark.parametrize("name", ["head", "full"])
def test_a_member_whose_weights_do_not_load_whole_is_named(
    lab: Zoo, checkpoints: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(checkpoints["bert"], folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("bert.encoder.layer.1.output.dense.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    lab.add([str(folder)])
    with pytest.raises(CheckpointError, match="torn") as caught:
        tune(lab, words(tmp_path / "t"), ("gpt2", "torn"), quick(name))
    assert "encoder.layer.1.output.dense.weight" in f"{caught.value} {caught.value.why}"
    assert lab.all_interrupted() == (), "it would not go on"


def test_a_loss_that_is_no_number_stops_and_names_the_step(zoo: Line, lab: Zoo, tmp_path: Path) -> None:
    done = zoo("tune", "-t", words(tmp_path / "t"), "bert", "-r", "full", "--lr", "1e30", "--micro-batch", 32)
    assert done.exit_code == 1
    assert "the loss is" in done.stderr
    assert "of pass 1." in done.stderr
    assert "training examples" in done.stderr
    assert "a smaller learning rate" in done.stderr
    assert lab.runs() == lab.store.all(Trial) == lab.all_interrupted() == ()


def test_two_tunes_of_one_trial_are_one_too_many(lab: Zoo, tmp_path: Path) -> None:
    target = words(tmp_path / "t")
    digest = tune(lab, target).trials[0].key.digest
    lab.store.discard(Trial, digest)
    with Room(lab.store.unfinished(digest)).held():
        with pytest.raises(UsageError, match="another process is training this") as caught:
            tune(lab, target)
        assert f"process {os.getpid()} " in str(caught.value.why)
    assert tune(lab, target).trials[0].key.digest == digest


@pytest.mark.parametrize(
    ("options", "words_"),
    [
        (("-r", "nonsense"), ("nonsense", "head, full, lora")),
        (("--set", "rank=8"), ("recipe head has no setting rank", "mix, standardize")),
        (("--set", "mix=3"), ("takes a bool",)),
        (("--set", "mix"), ("gives no value",)),
        (("-r", "late", "--set", "of=nonsense", "gpt2"), ("nonsense", "head, full, lora")),
        (("-r", "late", "--set", "of=late", "gpt2"), ("of",)),
        (("-r", "sequential", "--through", "{t}", "--set", "of=sequential"), ("of",)),
        (("-r", "late", "--set", "combine=magic", "--set", "of=head", "gpt2"), ("magic", "mean")),
        (("--through", "{t}", "-r", "full"), ("recipe full takes no other targets first", "sequential")),
        (("-r", "sequential"), ("takes other targets first", "--through")),
        (("-r", "reptile"), ("takes other targets first", "--through")),
        (("--through", "{t}", "--set", "of=head"), ("of is head", "full, lora")),
        (("-r", "late"), ("two members or more", "there is 1")),
        (("-r", "b-tuning"), ("two members or more", "there is 1")),
        (("--fractions", "0,1"), ("0", "above 0")),
        (("--fractions", "lots"), ("no list of numbers",)),
        (("--seeds", "0"), ("--seeds",)),
        (("--freeze", "1"), ("recipe head has no setting freeze",)),
        (("-r", "full", "--freeze", "7"), ("no 7 to freeze",)),
        (("-r", "full", "--set", "backbone_rate=-1"), ("backbone_rate",)),
        (("-r", "full", "--set", "head_dropout=2"), ("head_dropout is 2", "from 0 to 1")),
        (("-r", "lora", "--set", "rank=0"), ("rank is 0", "1 or more")),
        (("--through", "{t}", "-r", "reptile", "--set", "inner_steps=0"), ("inner_steps is 0",)),
        (("--lr", "inf"), ("learning_rate is inf", "0 or more")),
        (("--set", "mix=true", "--set", "standardize=maybe"), ("takes a bool",)),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("-") else "",
)
def test_what_makes_no_sense_is_refused_in_words(
    zoo: Line, lab: Zoo, tmp_path: Path, options: tuple[str, ...], words_: tuple[str, ...]
) -> None:
    target = words(tmp_path / "t")
    filled = [option.format(t=target) for option in options]
    done = zoo("tune", "-t", target, "bert", "--epochs", 1, *filled)
    assert done.exit_code == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words_:
        assert word in done.stderr
    assert lab.runs() == lab.all_interrupted() == ()


def test_a_missing_target_or_member_is_named(zoo: Line, lab: Zoo, tmp_path: Path) -> None:
    assert "there is no target" in zoo("tune", "bert").stderr
    with pytest.raises(NotFoundError, match="nobody"):
        tune(lab, words(tmp_path / "t"), ("bert", "nobody"))
    with pytest.raises(DataError, match="no test split"):
        tune(lab, sentences(tmp_path / "s.jsonl"), test=True)


# Forecasts


@pytest.mark.parametrize("fractions", [(1.0,), (0.3, 1.0)])
def test_the_steps_of_a_head_are_those_that_it_makes(
    lab: Zoo, tmp_path: Path, fractions: tuple[float, ...]
) -> None:
    recipe = replace(quick(epochs=5), micro_batch=16, patience=5)
    request = lab.request(
        words(tmp_path / "t"), ("bert", "t5"), recipe=recipe, seeds=(0, 1), fractions=fractions
    )
    (expected,) = lab.forecast(request).expected
    assert (expected.done, expected.begun, expected.trials) == (0, 0, 2 * len(fractions))
    run = lab.carry_out(request)
    made = sum(trial.steps for trial in run.trials)
    assert made == expected.steps if fractions == (1.0,) else made == pytest.approx(expected.steps, rel=0.2)
    after = lab.forecast(request).expected[0]
    assert (after.done, after.steps, after.seconds) == (2 * len(fractions), 0, 0)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_forecast(lab: Zoo, tmp_path: Path, name: str) -> None:
    through = (sentences(tmp_path / "s.jsonl"),) if RECIPES[name].needs == "stages" else ()
    target = words(tmp_path / "t")
    request = lab.request(target, ("bert", "gpt2"), recipe=quick(name), through=through)
    (expected,) = lab.forecast(request).expected
    assert expected.members == ("bert", "gpt2")
    assert expected.trials == 3
    assert expected.steps > 0
    assert expected.bytes > 0
    assert expected.seconds > 0
    (larger,) = lab.forecast(replace(request, recipe=replace(request.recipe, epochs=20))).expected
    assert larger.steps > expected.steps


def test_a_stage_that_is_done_is_not_forecast_again(lab: Zoo, tmp_path: Path) -> None:
    through = (sentences(tmp_path / "s.jsonl"),)
    request = lab.request(
        words(tmp_path / "t"), ("bert",), recipe=quick("sequential", epochs=1), seeds=(0,), through=through
    )
    before = lab.forecast(request).expected[0].steps
    tune(lab, through[0], ("bert",), quick("full", epochs=1))
    assert lab.forecast(request).expected[0].steps < before
