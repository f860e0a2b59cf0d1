"""What the tests of the store keep in it, and how they look at it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing
import pytest

from zookeeper.plans import Plan, Recipe
from zookeeper.records import (
    AlignmentKey,
    AlignmentSet,
    Checkpoint,
    FeatureKey,
    FeatureSet,
    ProbeChoice,
    Reading,
    RepoFile,
    Revision,
    Space,
    Target,
)
from zookeeper.results import Epoch, Member, Run, Trial
from zookeeper.store import Store

Places = tuple[Path, Path]
"""Home and cache of a zoo."""

FILES = "arrays.safetensors", "manifest.json"
REVISION = Revision("org/name", "main", "0123456789" * 4)


CHECKPOINT = Checkpoint(
    revision=REVISION,
    files=(RepoFile("config.json", 12, "git:" + "a" * 40), RepoFile("model.safetensors", 34, "sha256:b")),
    architecture="BertForMaskedLM",
    model_type="bert",
    parameters=1_234,
    repo_bytes=5_678,
    tokenizer="tokenizer.json",
    license="mit",
    base_models=("org/base",),
    tags=("fill-mask", "größe"),
    gated=True,
    problem="it has no tokenizer",
    aliases=("name",),
    added_at="2026-01-02T03:04:05Z",
)


RECIPE = Recipe(
    reading=Reading(layer="mean", pooling="last", max_length=64),
    settings={"mix": False, "rate": 1e-3, "of": "full"},
)


TRIAL = Trial(
    key=Plan("token-classification", "2" * 64, "f1", (str(REVISION),), RECIPE, seed=3, fraction=0.1),
    history=(Epoch(0, None, 0.25), Epoch(1, 0.1 + 0.2, None, 1e-4, 0.5)),
    best_epoch=1,
    results={"validation": 1 / 3, "test": None},
    data={"validation": "3" * 64},
    sentences={"train": 3, "validation": 1},
    steps=7,
    processes=1,
    padded=0.125,
    details={"layers": [0.5, 0.5]},
    versions={"numpy": "2"},
    device="cpu",
    seconds=1.5,
    peak_bytes=1_000,
    created_at="2026-01-02T03:04:05Z",
)


RUN = Run(
    id="0a1b2c3d4e5f",
    target=Target(
        name="t",
        dataset="t.conll",
        commit="1" * 40,
        config=None,
        task="token-classification",
        text_column="tokens",
        label_column="label",
        classes=("B-X", "O"),
        examples={"train": 3},
        rows={"train": 30},
        fingerprint="2" * 64,
        local=True,
    ),
    members=(Member("org/name", REVISION, 16, 1_234, "mit"),),
    recipe=RECIPE,
    metric="f1",
    trials=(TRIAL,),
    through=("squad",),
    held_out=0,
    majority={"validation": 0.25, "test": None},
    command="zoo tune -t t.conll",
    created_at="2026-01-02T03:04:05Z",
)


ALIGNMENTS = AlignmentSet(AlignmentKey(Space("c" * 64, Reading()), debiased=False), features=("1" * 64,))


def array(number: int) -> np.ndarray[Any, Any]:
    return np.full((3, 2), number, dtype=np.float32)


def features(number: int) -> FeatureSet:
    key = FeatureKey("org/name", REVISION.commit, f"{number:064x}", Reading(pooling="last"))
    return FeatureSet(key, n_rows=3, dimension=2, n_empty=0, size=24, source="probe, «mots»")


DIGEST = features(1).key.digest


def trial(number: int) -> Trial:
    """The same trial, of which more and more is known."""
    return replace(TRIAL, steps=number)


def checkpoint(number: int) -> Checkpoint:
    return replace(CHECKPOINT, revision=replace(REVISION, commit=f"{number:040x}"))


def save(store: Store, number: int) -> None:
    store.save(features(number), {"features": array(number)}, {"device": "cpu"})


def save_trial(store: Store, number: int = TRIAL.steps) -> None:
    store.save(trial(number), {"learned/weight": array(number)})


def stored(store: Store, number: int) -> np.ndarray[Any, Any]:
    return store.arrays(FeatureSet, features(number).key.digest)["features"]


def inner(store: Store) -> np.ndarray[Any, Any]:
    return store.arrays(AlignmentSet, ALIGNMENTS.key.digest)["inner"]


def weight(store: Store) -> np.ndarray[Any, Any]:
    return store.arrays(Trial, TRIAL.key.digest)["learned/weight"]


def check_full(store: Store) -> None:
    """Everything that `full` stored is there and whole."""
    assert store.checkpoints() == (CHECKPOINT,)
    assert set(store.all(FeatureSet)) == {features(1), features(2)}
    assert store.runs() == (RUN,)
    for number in (1, 2):
        np.testing.assert_array_equal(
            store.arrays(FeatureSet, features(number).key.digest)["features"], array(number)
        )
    assert store.all(Trial) == (TRIAL,)
    np.testing.assert_array_equal(weight(store), array(TRIAL.steps))
    np.testing.assert_array_equal(inner(store), np.eye(2))
    assert store.load_note("probe", ProbeChoice) is not None
    assert store.verify().damaged == {}


def folder_of(places: Places, number: int) -> Path:
    (folder,) = places[1].glob(f"features/v1/??/{features(number).key.digest}")
    return folder


def leftovers(places: Places) -> list[Path]:
    return [path for place in places for path in place.rglob(".*")]


def tree(places: Places) -> dict[Path, bytes]:
    return {path: path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}


def rows(index: Path) -> int:
    with contextlib.closing(sqlite3.connect(index)) as db:
        return int(db.execute("SELECT count(*) FROM entry").fetchone()[0])


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are beyond these tests, so nothing waits for the disk; children do."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return tmp_path / "home", tmp_path / "cache"


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("full")
    store = Store(root / "home", root / "cache")
    store.add(CHECKPOINT)
    save(store, 1)
    save(store, 2)
    store.save(ALIGNMENTS, {"inner": np.eye(2)})
    save_trial(store)
    store.save_run(RUN)
    store.save_note("probe", ProbeChoice("wikitext2", 100, "d" * 64, (60, 40), Reading()))
    return root


@pytest.fixture
def full(pattern: Path, places: Places) -> Places:
    """A zoo with one of everything, and two feature sets."""
    shutil.copytree(pattern, places[0].parent, dirs_exist_ok=True)
    return places


def child(
    function: Callable[..., None], *args: object, within: tuple[str, ...] = (), timeout: int = 60
) -> Any:
    """What a function of a test file prints in a process of its own, as JSON."""
    code = f"import sys, {function.__module__} as own; own.{function.__name__}(*sys.argv[1:])"
    done = subprocess.run(
        [*within, sys.executable, "-c", code, *map(str, args)],
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def within(mount: str) -> tuple[str, ...]:
    """How a process is started with something mounted for itself; skips where that may not be."""
    command = (
        "unshare",
        *(["-m"] if os.geteuid() == 0 else ["-Urm"]),
        "sh",
        "-c",
        f'{mount} && exec "$@"',
        "sh",
    )
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this system gives out no mount namespaces")
    return command
