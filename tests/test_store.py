"""What is stored stays stored: through damage, full disks, kills and many writers."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing
import pytest
from faults import Fault, open_files

from zookeeper.errors import IntegrityError, NotFoundError, StorageError
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
from zookeeper.store import Store, files

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


def inner(store: Store) -> np.ndarray[Any, Any]:
    return store.arrays(AlignmentSet, ALIGNMENTS.key.digest)["inner"]


def weight(store: Store) -> np.ndarray[Any, Any]:
    return store.arrays(Trial, TRIAL.key.digest)["learned/weight"]


def save_trial(store: Store, number: int = 3) -> None:
    store.save(TRIAL, {"learned/weight": array(number)})


def array(number: int) -> np.ndarray[Any, Any]:
    return np.full((3, 2), number, dtype=np.float32)


def features(number: int) -> FeatureSet:
    key = FeatureKey("org/name", REVISION.commit, f"{number:064x}", Reading(pooling="last"))
    return FeatureSet(key, n_rows=3, dimension=2, n_empty=0, size=24, source="probe, «mots»")


def save(store: Store, number: int) -> None:
    store.save(features(number), {"features": array(number)}, {"device": "cpu"})


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are beyond these tests, so nothing waits for the disk; children do."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
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
def full(pattern: Path, places: tuple[Path, Path]) -> tuple[Path, Path]:
    """A zoo with one of everything, and two feature sets."""
    shutil.copytree(pattern, places[0].parent, dirs_exist_ok=True)
    return places


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
    np.testing.assert_array_equal(weight(store), array(3))
    np.testing.assert_array_equal(inner(store), np.eye(2))
    assert store.load_note("probe", ProbeChoice) is not None
    assert store.verify().damaged == {}


def folder_of(places: tuple[Path, Path], number: int) -> Path:
    (folder,) = places[1].glob(f"features/v1/??/{features(number).key.digest}")
    return folder


def leftovers(places: tuple[Path, Path]) -> list[Path]:
    return [path for place in places for path in place.rglob(".*")]


def tree(places: tuple[Path, Path]) -> dict[Path, bytes]:
    return {path: path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}


# What is stored comes back


def test_everything_comes_back_as_it_was(full: tuple[Path, Path]) -> None:
    store = Store(*full)
    check_full(store)
    assert store.find(FeatureSet, features(1).key.digest) == features(1)
    assert store.load_note("probe", ProbeChoice) == ProbeChoice(
        "wikitext2", 100, "d" * 64, (60, 40), Reading()
    )
    assert leftovers(full) == []


def test_arrays_keep_their_types_and_values(places: tuple[Path, Path]) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "weight": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32).T,
        "labels": np.array([0, -100, 2], dtype=np.int64),
        "odd": np.array([np.nan, np.inf, -0.0, 5e-324]),
    }
    Store(*places).save(TRIAL, arrays)
    for name, found in Store(*places).arrays(Trial, TRIAL.key.digest).items():
        assert found.dtype == arrays[name].dtype
        np.testing.assert_array_equal(found, arrays[name])


def test_what_was_never_stored_is_absent(full: tuple[Path, Path]) -> None:
    store = Store(*full)
    assert store.find(FeatureSet, features(9).key.digest) is None
    assert store.find(AlignmentSet, "e" * 64) is None
    assert store.load_note("ranking", ProbeChoice) is None
    with pytest.raises(NotFoundError):
        store.arrays(FeatureSet, features(9).key.digest)["features"]
    with pytest.raises(NotFoundError):
        store.arrays(Trial, "f" * 64)
    assert store.run("f" * 12) is None


def test_reading_an_empty_zoo_leaves_no_trace(places: tuple[Path, Path]) -> None:
    store = Store(*places)
    assert store.checkpoints() == store.all(FeatureSet) == store.runs() == ()
    assert store.find(FeatureSet, features(1).key.digest) is None
    assert store.load_note("probe", ProbeChoice) is None
    assert store.verify().checked == 0
    assert not any(place.exists() for place in places)


def test_what_is_newly_known_of_a_checkpoint_replaces_what_was(full: tuple[Path, Path]) -> None:
    newer = replace(CHECKPOINT, aliases=("name", "other"))
    Store(*full).add(newer)
    assert Store(*full).checkpoints() == (newer,)


def test_revisions_of_one_repository_live_side_by_side(full: tuple[Path, Path]) -> None:
    other = replace(CHECKPOINT, revision=replace(REVISION, commit="f" * 40))
    store = Store(*full)
    store.add(other)
    assert store.checkpoints() == (CHECKPOINT, other)
    store.remove(REVISION)
    assert Store(*full).checkpoints() == (other,)


def test_features_outlive_their_checkpoint(full: tuple[Path, Path]) -> None:
    store = Store(*full)
    store.remove(REVISION)
    store.remove(REVISION)  # of what is gone already
    assert store.find(FeatureSet, features(1).key.digest) == features(1)
    assert Store(*full).checkpoints() == ()


def test_discarded_features_are_gone_and_their_bytes_counted(full: tuple[Path, Path]) -> None:
    store = Store(*full)
    size = sum(path.stat().st_size for path in folder_of(full, 1).iterdir())
    assert store.discard(FeatureSet, features(1).key.digest) == size
    assert store.all(FeatureSet) == (features(2),)
    assert store.discard(FeatureSet, features(1).key.digest) == 0
    save(store, 1)
    check_full(Store(*full))


def test_what_somebody_else_deletes_meanwhile_is_deleted(
    full: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(full, 1)
    found = Path.glob

    def gone(path: Path, pattern: str) -> Any:
        listed = list(found(path, pattern))
        if path == folder:
            shutil.rmtree(folder)
        return iter(listed)

    monkeypatch.setattr(Path, "glob", gone)
    Store(*full).discard(FeatureSet, features(1).key.digest)
    assert Store(*full).find(FeatureSet, features(1).key.digest) is None


def test_a_second_writer_wins_nothing_and_harms_nothing(full: tuple[Path, Path]) -> None:
    before = tree(full)
    Store(*full).save(features(1), {"features": array(1) + 1})
    after = tree(full)
    index = full[0] / "zoo.db"
    assert before.pop(index) and after.pop(index)
    assert after == before
    check_full(Store(*full))


def test_a_run_of_the_same_id_replaces_the_one_before(full: tuple[Path, Path]) -> None:
    again = replace(RUN, created_at="2026-02-02T00:00:00Z")
    Store(*full).save_run(again)
    assert Store(*full).runs() == (again,)
    assert Store(*full).run(RUN.id) == again
    assert leftovers(full) == []


def test_a_trial_that_was_measured_on_more_replaces_the_one_before(full: tuple[Path, Path]) -> None:
    more = replace(TRIAL, results={**TRIAL.results, "test": 0.5})
    Store(*full).save(more, {"learned/weight": array(4)})
    assert Store(*full).all(Trial) == (more,)
    np.testing.assert_array_equal(weight(Store(*full)), array(4))
    assert leftovers(full) == []


def test_trials_outlive_the_cache(full: tuple[Path, Path]) -> None:
    shutil.rmtree(full[1])
    np.testing.assert_array_equal(weight(Store(*full)), array(3))
    assert Store(*full).verify().damaged == {}


def test_the_latest_run_comes_first(full: tuple[Path, Path]) -> None:
    later = replace(RUN, id="f" * 12, created_at="2027-01-01T00:00:00Z")
    Store(*full).save_run(later)
    assert Store(*full).runs() == (later, RUN)


# The index is only an index


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"garbage" * 1000),
        lambda path: os.truncate(path, 100),
        lambda path: os.truncate(path, 4096),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(path.read_bytes()[:8192] + bytes(path.stat().st_size - 8192)),
    ],
    ids=["deleted", "empty", "garbage", "cut-100", "cut-4096", "cut-half", "zeroed-tail"],
)
def test_a_lost_index_is_made_again_and_says_so(
    full: tuple[Path, Path], spoil: Callable[[Path], object]
) -> None:
    spoil(full[0] / "zoo.db")
    notes: list[str] = []
    store = Store(*full, note=notes.append)
    assert store.checkpoints() == (CHECKPOINT,)
    assert set(store.all(FeatureSet)) == {features(1), features(2)}
    assert set(store.verify().damaged) <= {str(full[0] / "zoo.db")}
    store.add(CHECKPOINT)
    assert [note for note in notes if "the index was made again" in note]
    notes.clear()
    store = Store(*full, note=notes.append)
    check_full(store)
    assert notes == []


def test_reading_a_zoo_without_its_index_leaves_no_trace(full: tuple[Path, Path]) -> None:
    (full[0] / "zoo.db").unlink()
    before = tree(full)
    check_full(Store(*full))
    assert tree(full) == before


def test_a_new_zoo_has_nothing_to_mend(places: tuple[Path, Path]) -> None:
    notes: list[str] = []
    store = Store(*places, note=notes.append)
    save(store, 1)
    store.add(CHECKPOINT)
    store.save_run(RUN)
    assert notes == []


def test_what_cannot_be_read_is_left_out_of_a_new_index(full: tuple[Path, Path]) -> None:
    (full[0] / "runs" / "f.json").write_text("somebody's own file")
    (full[0] / "checkpoints" / "f.json").write_text("{")
    notes: list[str] = []
    store = Store(*full, note=notes.append)
    assert store.rebuild() == 6  # checkpoint, 2 features, alignments, trial, run
    assert len(notes) == 2
    for note, path in zip(notes, ("checkpoints/f.json", "runs/f.json"), strict=True):
        assert note.startswith(f"{full[0] / path} is left out of the index")
    assert store.checkpoints() == (CHECKPOINT,)


@pytest.mark.parametrize("action", ["checkpoints", "add", "save", "save_run"])
def test_the_index_of_a_newer_zoo_is_refused_before_anything_is_written(
    full: tuple[Path, Path], action: str
) -> None:
    with contextlib.closing(sqlite3.connect(full[0] / "zoo.db")) as db:
        db.execute("PRAGMA user_version = 99")
    before = tree(full)
    store = Store(*full)
    actions: dict[str, Callable[[], object]] = {
        "checkpoints": store.checkpoints,
        "add": lambda: store.add(replace(CHECKPOINT, revision=replace(REVISION, commit="f" * 40))),
        "save": lambda: save(store, 9),
        "save_run": lambda: store.save_run(replace(RUN, id="f" * 12)),
    }
    with pytest.raises(StorageError, match="newer zoo") as caught:
        actions[action]()
    assert "--upgrade" in str(caught.value.fix)
    assert tree(full) == before


def test_a_row_without_its_file_is_absent(full: tuple[Path, Path]) -> None:
    shutil.rmtree(folder_of(full, 1))
    store = Store(*full)
    assert store.find(FeatureSet, features(1).key.digest) is None
    assert store.all(FeatureSet) == (features(2),)
    with pytest.raises(NotFoundError):
        store.arrays(FeatureSet, features(1).key.digest)["features"]


def test_a_file_without_its_row_is_found(full: tuple[Path, Path], tmp_path: Path) -> None:
    elsewhere = tmp_path / "other", tmp_path / "copy"
    Store(*elsewhere).add(CHECKPOINT)
    shutil.copytree(full[1], elsewhere[1])
    store = Store(*elsewhere)
    assert store.find(FeatureSet, features(1).key.digest) == features(1)
    assert set(store.all(FeatureSet)) == {features(1), features(2)}


def test_a_run_without_a_row_is_found_and_one_without_a_file_is_gone(full: tuple[Path, Path]) -> None:
    other = replace(RUN, id="f" * 12)
    elsewhere = full[0].with_name("other")
    Store(elsewhere, full[1]).save_run(other)
    shutil.move(elsewhere / "runs" / f"{other.id}.json", full[0] / "runs")
    (full[0] / "runs" / f"{RUN.id}.json").unlink()
    assert Store(*full).runs() == (other,)


def test_a_trial_without_a_row_is_found_and_one_without_a_folder_is_gone(full: tuple[Path, Path]) -> None:
    elsewhere = full[0].with_name("other")
    shutil.copytree(full[0] / "trials", elsewhere / "trials")
    assert Store(elsewhere, full[1]).all(Trial) == (TRIAL,)
    shutil.rmtree(full[0] / "trials")
    assert Store(*full).all(Trial) == ()


def test_an_index_of_before_is_made_again_and_what_is_not_ours_is_not_touched(
    full: tuple[Path, Path],
) -> None:
    """Such as one with tables of the fourth form, and runs that were folders."""
    old = full[0] / "runs" / "0123456789ab"
    old.mkdir()
    (old / "manifest.json").write_text("{}")
    index = full[0] / "zoo.db"
    index.unlink()
    with contextlib.closing(sqlite3.connect(index)) as db, db:
        db.execute(
            "CREATE TABLE run (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, record TEXT NOT NULL) STRICT"
        )
        db.execute("INSERT INTO run VALUES ('0123456789ab', '2026-01-01T00:00:00Z', '{\"id\": 1}')")
        db.execute("PRAGMA user_version = 4")
    check_full(Store(*full))
    Store(*full).add(CHECKPOINT)
    check_full(Store(*full))
    assert (old / "manifest.json").read_text() == "{}"
    assert rows(index) == 6


def rows(index: Path) -> int:
    with contextlib.closing(sqlite3.connect(index)) as db:
        return int(db.execute("SELECT count(*) FROM entry").fetchone()[0])


@pytest.mark.parametrize("mark", [0, 1], ids=["unmarked", "marked"])
def test_the_database_of_another_program_is_set_aside(full: tuple[Path, Path], mark: int) -> None:
    index = full[0] / "zoo.db"
    index.unlink()
    with contextlib.closing(sqlite3.connect(index)) as db, db:
        db.execute("CREATE TABLE entry (mine TEXT)")
        db.execute("INSERT INTO entry VALUES ('precious')")
        db.execute(f"PRAGMA application_id = {mark}")
    notes: list[str] = []
    Store(*full, note=notes.append).add(CHECKPOINT)
    check_full(Store(*full))
    (aside,) = full[0].glob("zoo.db.damaged-*")
    assert any(str(aside) in note for note in notes)
    with contextlib.closing(sqlite3.connect(aside)) as db:
        assert db.execute("SELECT mine FROM entry").fetchall() == [("precious",)]


def test_a_row_of_what_was_replaced_meanwhile_is_not_believed(full: tuple[Path, Path]) -> None:
    """As after a kill between the file and its row, or a write from another machine."""
    index = full[0] / "zoo.db"
    before = index.read_bytes()
    more = replace(TRIAL, results={**TRIAL.results, "test": 0.5})
    newer, again = replace(CHECKPOINT, aliases=("other",)), replace(RUN, created_at="2026-02-02T00:00:00Z")
    store = Store(*full)
    store.save(more, {"learned/weight": array(4)})
    store.add(newer)
    store.save_run(again)
    index.write_bytes(before)
    store = Store(*full)
    assert store.all(Trial) == (more,)
    assert store.checkpoints() == (newer,)
    assert store.runs() == (again,)


def test_one_store_serves_several_threads(full: tuple[Path, Path]) -> None:
    store = Store(*full)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: save(store, number), range(10, 40)))
        found = list(pool.map(lambda _: len(store.all(FeatureSet)), range(8)))
    assert found == [32] * 8
    assert rows(full[0] / "zoo.db") == 36


# Damage is seen, never passed on


@pytest.mark.parametrize("name", ["arrays.safetensors", "manifest.json"])
def test_half_an_artefact_is_absent(full: tuple[Path, Path], name: str) -> None:
    (folder_of(full, 1) / name).unlink()
    with pytest.raises(NotFoundError):
        Store(*full).arrays(FeatureSet, features(1).key.digest)["features"]


def test_good_features_under_another_name_are_refused(full: tuple[Path, Path]) -> None:
    shutil.copytree(folder_of(full, 2), folder_of(full, 1), dirs_exist_ok=True)
    store = Store(*full)
    assert store.find(FeatureSet, features(1).key.digest) is None
    with pytest.raises(IntegrityError):
        store.arrays(FeatureSet, features(1).key.digest)["features"]
    assert list(store.verify().damaged) == [str(folder_of(full, 1))]


def test_good_arrays_under_another_manifest_are_refused(full: tuple[Path, Path]) -> None:
    name = "arrays.safetensors"
    shutil.copy(folder_of(full, 2) / name, folder_of(full, 1) / name)
    with pytest.raises(IntegrityError):
        Store(*full).arrays(FeatureSet, features(1).key.digest)["features"]


@pytest.mark.parametrize("name", ["arrays.safetensors", "manifest.json"])
def test_damaged_features_make_way_for_those_computed_again(full: tuple[Path, Path], name: str) -> None:
    os.truncate(folder_of(full, 1) / name, 50)
    save(Store(*full), 1)
    check_full(Store(*full))
    assert leftovers(full) == []


def test_damaged_alignments_are_refused_and_can_be_stored_again(full: tuple[Path, Path]) -> None:
    (path,) = full[1].glob("alignments/v1/??/*/arrays.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    store = Store(*full)
    with pytest.raises(IntegrityError):
        inner(store)
    store.save(ALIGNMENTS, {"inner": np.eye(2)})
    check_full(store)


def test_a_damaged_note_is_refused(full: tuple[Path, Path]) -> None:
    (full[0] / "notes" / "probe.json").write_text('{"name": "wikitext2"}')
    with pytest.raises(IntegrityError):
        Store(*full).load_note("probe", ProbeChoice)


def test_verify_counts_everything_and_names_what_is_damaged(full: tuple[Path, Path]) -> None:
    steps: list[int] = []
    store = Store(*full)
    assert store.verify(steps.append).checked == 7  # checkpoint, 2 features, alignments, trial, run, note
    assert len(steps) == len(store.artefacts()) == 4
    (arrays,) = full[0].glob(f"trials/v1/??/{TRIAL.key.digest}/arrays.safetensors")
    arrays.write_bytes(bytes(len(arrays.read_bytes())))
    (manifest,) = (full[0] / "checkpoints").iterdir()
    copied = manifest.with_name("f" * 40 + ".json")
    shutil.copy(manifest, copied)
    torn = manifest.with_name("e" * 40 + ".json")
    torn.write_bytes(manifest.read_bytes()[:-5])
    run = full[0] / "runs" / f"{RUN.id}.json"
    run.write_bytes(run.read_bytes()[:-5])
    found = store.verify()
    assert found.checked == 9
    assert found.damaged.keys() == {str(arrays.parent), str(copied), str(torn), str(run)}
    assert "another checkpoint" in found.damaged[str(copied)]
    assert all(found.damaged.values())


# The disk refuses

_CODES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EIO: "ZOO_HOME",
    errno.EROFS: "ZOO_HOME",
}
_WRITES: dict[str, Callable[[Store], None]] = {
    "add": lambda store: store.add(replace(CHECKPOINT, revision=replace(REVISION, commit="f" * 40))),
    "features": lambda store: save(store, 9),
    "alignments": lambda store: store.save(
        replace(ALIGNMENTS, key=replace(ALIGNMENTS.key, debiased=True)), {"inner": np.ones((1, 1))}
    ),
    "trial": lambda store: store.save(
        replace(TRIAL, key=replace(TRIAL.key, seed=4)), {"learned/weight": array(4)}
    ),
    "replaced trial": save_trial,
    "run": lambda store: store.save_run(replace(RUN, id="f" * 12)),
    "replaced run": lambda store: store.save_run(RUN),
    "note": lambda store: store.save_note("ranking", CHECKPOINT),
}


@pytest.mark.parametrize("code", _CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("write", _WRITES)
def test_whichever_call_fails_nothing_is_lost_and_the_next_try_works(
    full: tuple[Path, Path], tmp_path: Path, write: str, code: int
) -> None:
    n, opened = 0, open_files()
    while True:
        n += 1
        places = tmp_path / f"{n}" / "home", tmp_path / f"{n}" / "cache"
        for place, copy in zip(full, places, strict=True):
            shutil.copytree(place, copy)
        before = Store(*places)
        with pytest.MonkeyPatch.context() as patches:
            fault = Fault(patches, n, code)
            try:
                _WRITES[write](before)
            except StorageError as error:
                assert _CODES[code] in str(error.fix)
                assert os.strerror(code).lower() in str(error.why)
            else:
                assert fault.left > 0, "a failed call went unnoticed"
                break
        assert fault.left <= 0
        assert leftovers(places) == []
        found = Store(*places)
        assert CHECKPOINT in found.checkpoints()
        assert {features(1), features(2)} <= set(found.all(FeatureSet))
        assert RUN in found.runs()
        assert found.verify().damaged == {}
        np.testing.assert_array_equal(weight(found), array(3))
        _WRITES[write](before)
        assert Store(*places).verify().damaged == {}
        assert leftovers(places) == []
    assert n > 4, "nothing was tried"
    del before, found
    assert open_files() <= opened


def test_whichever_call_fails_in_a_new_zoo_the_next_try_works(tmp_path: Path) -> None:
    n = 0
    while True:
        n += 1
        places = tmp_path / f"{n}" / "home", tmp_path / f"{n}" / "cache"
        store = Store(*places)
        with pytest.MonkeyPatch.context() as patches:
            Fault(patches, n, errno.ENOSPC)
            try:
                save(store, 1)
            except StorageError as error:
                assert "free some space" in str(error.fix)
            else:
                break
        assert leftovers(places) == []
        save(store, 1)
        assert Store(*places).all(FeatureSet) == (features(1),)
    assert n > 8, "nothing was tried"


# In processes of their own: real limits, kills and crowds. The functions run in the child.


def child(function: Callable[..., None], *args: object, within: tuple[str, ...] = ()) -> Any:
    """What a function of this file prints in a process of its own, as JSON."""
    code = f"import sys, test_store; test_store.{function.__name__}(*sys.argv[1:])"
    done = subprocess.run(
        [*within, sys.executable, "-c", code, *map(str, args)],
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def attempt(write: Callable[[], None]) -> str | None:
    """Why a write was refused, and what to do, or None."""
    try:
        write()
    except StorageError as error:
        return f"{error.why}; {error.fix}"
    return None


def fill_the_disk(home: str, cache: str) -> None:
    store = Store(Path(home), Path(cache))
    save(store, 1)
    wide = replace(features(2), dimension=10_000)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    refusals = []
    # 20 kB are too few for the arrays; 4 kB are enough for small arrays, but not for the index.
    for limit, write in (
        (20_000, lambda: store.save(wide, {"features": np.ones((3, 10_000), np.float32)})),
        (4_000, lambda: save(store, 3)),
        (4_000, lambda: store.add(CHECKPOINT)),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        refusals.append(attempt(write))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert leftovers((Path(home), Path(cache))) == []
        np.testing.assert_array_equal(
            Store(Path(home), Path(cache)).arrays(FeatureSet, features(1).key.digest)["features"], array(1)
        )
        write()
    print(json.dumps(refusals))  # noqa: T201


def test_a_full_disk_is_named_and_loses_nothing(places: tuple[Path, Path]) -> None:
    refusals = child(fill_the_disk, *places)
    assert len(refusals) == 3
    assert all("free some space" in refusal for refusal in refusals)
    store = Store(*places)
    assert len(store.all(FeatureSet)) == 3
    assert store.checkpoints() == (CHECKPOINT,)
    assert store.verify().damaged == {}


def read_and_try_to_write(home: str, cache: str, user: str) -> None:
    warm = Path(tempfile.mkdtemp())
    save(Store(warm / "home", warm / "cache"), 1)  # whatever is imported late is imported now
    os.seteuid(int(user))
    store = Store(Path(home), Path(cache))
    check_full(store)
    refusals = [attempt(partial(write, store)) for write in _WRITES.values()]
    print(json.dumps(refusals))  # noqa: T201


@pytest.fixture
def open_to_all(pattern: Path) -> Iterator[tuple[Path, Path]]:
    """A zoo with one of everything where other users can read it; `tmp_path` is closed to them."""
    root = Path(tempfile.mkdtemp(prefix="zoo-read-only-"))
    shutil.copytree(pattern, root, dirs_exist_ok=True)
    yield root / "home", root / "cache"
    for path in (root, *root.rglob("*")):
        path.chmod(stat.S_IRWXU)
    shutil.rmtree(root)


def test_a_zoo_of_somebody_else_can_be_read_but_not_written(open_to_all: tuple[Path, Path]) -> None:
    root = open_to_all[0].parent
    for path in (*root.rglob("*"), root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    user = 65534 if os.geteuid() == 0 else os.geteuid()  # permissions do not bind root
    refusals = child(read_and_try_to_write, *open_to_all, user)
    assert len(refusals) == len(_WRITES)
    assert all("ZOO_HOME" in refusal for refusal in refusals)


def test_a_zoo_on_a_read_only_disk_can_be_read_but_not_written(full: tuple[Path, Path]) -> None:
    root = full[0].parent
    mount = f"mount --bind '{root}' '{root}' && mount -o remount,ro,bind '{root}' && exec \"$@\""
    flags = ["-m"] if os.geteuid() == 0 else ["-Urm"]
    within = ("unshare", *flags, "sh", "-c", mount, "sh")
    if not shutil.which("unshare") or subprocess.run([*within, "true"], capture_output=True).returncode:
        pytest.skip("this system gives out no mount namespaces")
    refusals = child(read_and_try_to_write, *full, os.geteuid(), within=within)
    assert len(refusals) == len(_WRITES)
    assert all("ZOO_HOME" in refusal for refusal in refusals)


def crowd(work: Callable[[int], None]) -> None:
    """Eight processes that begin at the same moment; fails if one of them does."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)

    def begin(worker: int) -> None:
        barrier.wait()
        work(worker)

    workers = [context.Process(target=begin, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps([worker.exitcode for worker in workers]))  # noqa: T201


def write_in_a_crowd(home: str, cache: str) -> None:
    def work(worker: int) -> None:
        store = Store(Path(home), Path(cache))
        for number in range(5):
            save(store, number)
            save(store, 100 * worker + 10 + number)
            np.testing.assert_array_equal(
                store.arrays(FeatureSet, features(number).key.digest)["features"], array(number)
            )
        store.add(replace(CHECKPOINT, revision=replace(REVISION, commit=f"{worker:040x}")))
        save_trial(store)
        store.save_run(RUN)

    crowd(work)


def test_eight_processes_write_the_same_and_different_features(places: tuple[Path, Path]) -> None:
    assert child(write_in_a_crowd, *places) == [0] * 8
    store = Store(*places)
    expected = [*range(5), *(100 * worker + 10 + number for worker in range(8) for number in range(5))]
    assert set(store.all(FeatureSet)) == {features(number) for number in expected}
    assert len(store.checkpoints()) == 8
    assert store.runs() == (RUN,)
    np.testing.assert_array_equal(weight(store), array(3))
    assert store.verify().damaged == {}
    assert leftovers(places) == []


def mend_in_a_crowd(home: str, cache: str) -> None:
    crowd(lambda _: save(Store(Path(home), Path(cache)), 1))


def test_eight_processes_mend_the_same_features(full: tuple[Path, Path]) -> None:
    (folder_of(full, 1) / "arrays.safetensors").write_bytes(b"damaged")
    assert child(mend_in_a_crowd, *full) == [0] * 8
    check_full(Store(*full))
    assert leftovers(full) == []


def test_eight_processes_mend_the_same_index(full: tuple[Path, Path]) -> None:
    (full[0] / "zoo.db").write_bytes(b"garbage" * 1000)
    assert child(mend_in_a_crowd, *full) == [0] * 8
    check_full(Store(*full))
    assert Store(*full).rebuild() == rows(full[0] / "zoo.db") == 6


def begin_anew_in_a_crowd(home: str, cache: str, log: str) -> None:
    def listed(store: Store, entries: Callable[[Store], Iterator[Any]] = Store._entries) -> Iterator[Any]:
        with Path(log).open("a") as file:
            file.write("listed\n")
        return entries(store)

    Store._entries = listed  # type: ignore[method-assign]
    crowd(lambda _: save(Store(Path(home), Path(cache)), 1))


def test_eight_processes_make_one_index(places: tuple[Path, Path], tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert child(begin_anew_in_a_crowd, *places, log) == [0] * 8
    assert log.read_text() == "listed\n"
    assert Store(*places).all(FeatureSet) == (features(1),)


def test_an_index_that_could_not_be_made_is_made_the_next_time(
    full: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(store: Store) -> Iterator[Any]:
        yield store._entry(folder_of(full, 1) / "manifest.json")
        raise sqlite3.OperationalError("disk I/O error")

    (full[0] / "zoo.db").unlink()
    with monkeypatch.context() as patches:
        patches.setattr(Store, "_entries", half)
        with pytest.raises(StorageError, match="index"):
            save(Store(*full), 9)
    save(Store(*full), 1)
    assert rows(full[0] / "zoo.db") == 6
    check_full(Store(*full))


# Files


def put(folder: Path, content: bytes, place: Callable[[Path, Path], Any]) -> Any:
    with files.made_aside(folder) as aside:
        (aside / "x").write_bytes(content)
        return place(aside, folder)


def test_the_first_of_two_that_publish_wins(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert put(folder, b"1", files.publish)
    assert not put(folder, b"2", files.publish)
    assert (folder / "x").read_bytes() == b"1"
    put(folder, b"3", files.replace)
    assert [path.name for path in folder.parent.iterdir()] == ["b"]
    assert (folder / "x").read_bytes() == b"3"
