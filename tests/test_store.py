"""What is stored comes back; the index is only an index; damage is seen, never passed on."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import (
    ALIGNMENTS,
    CHECKPOINT,
    REVISION,
    RUN,
    TRIAL,
    Places,
    array,
    check_full,
    features,
    folder_of,
    inner,
    leftovers,
    rows,
    save,
    tree,
    weight,
)

from zookeeper.errors import IntegrityError, NotFoundError, StorageError
from zookeeper.records import AlignmentSet, FeatureSet, ProbeChoice, Reading
from zookeeper.results import Trial
from zookeeper.store import Store, files
from zookeeper.store.truth import Truth

pytestmark = pytest.mark.usefixtures("quick_disk")


# What is stored comes back


def test_everything_comes_back_as_it_was(full: Places) -> None:
    store = Store(*full)
    check_full(store)
    assert store.find(FeatureSet, features(1).key.digest) == features(1)
    assert store.load_note("probe", ProbeChoice) == ProbeChoice(
        "wikitext2", 100, "d" * 64, (60, 40), Reading()
    )
    assert leftovers(full) == []


def test_arrays_keep_their_types_and_values(places: Places) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "weight": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32).T,
        "labels": np.array([0, -100, 2], dtype=np.int64),
        "odd": np.array([np.nan, np.inf, -0.0, 5e-324]),
    }
    Store(*places).save(TRIAL, arrays)
    for name, found in Store(*places).arrays(Trial, TRIAL.key.digest).items():
        assert found.dtype == arrays[name].dtype
        np.testing.assert_array_equal(found, arrays[name])


def test_what_was_never_stored_is_absent(full: Places) -> None:
    store = Store(*full)
    assert store.find(FeatureSet, features(9).key.digest) is None
    assert store.find(AlignmentSet, "e" * 64) is None
    assert store.load_note("ranking", ProbeChoice) is None
    with pytest.raises(NotFoundError):
        store.arrays(FeatureSet, features(9).key.digest)["features"]
    with pytest.raises(NotFoundError):
        store.arrays(Trial, "f" * 64)
    assert store.run("f" * 12) is None


def test_reading_an_empty_zoo_leaves_no_trace(places: Places) -> None:
    store = Store(*places)
    assert store.checkpoints() == store.all(FeatureSet) == store.runs() == ()
    assert store.find(FeatureSet, features(1).key.digest) is None
    assert store.load_note("probe", ProbeChoice) is None
    assert store.verify().checked == 0
    assert not any(place.exists() for place in places)


def test_what_is_newly_known_of_a_checkpoint_replaces_what_was(full: Places) -> None:
    newer = replace(CHECKPOINT, aliases=("name", "other"))
    Store(*full).add(newer)
    assert Store(*full).checkpoints() == (newer,)


def test_revisions_of_one_repository_live_side_by_side(full: Places) -> None:
    other = replace(CHECKPOINT, revision=replace(REVISION, commit="f" * 40))
    store = Store(*full)
    store.add(other)
    assert store.checkpoints() == (CHECKPOINT, other)
    store.remove(REVISION)
    assert Store(*full).checkpoints() == (other,)


def test_features_outlive_their_checkpoint(full: Places) -> None:
    store = Store(*full)
    store.remove(REVISION)
    store.remove(REVISION)  # of what is gone already
    assert store.find(FeatureSet, features(1).key.digest) == features(1)
    assert Store(*full).checkpoints() == ()


def test_discarded_features_are_gone_and_their_bytes_counted(full: Places) -> None:
    store = Store(*full)
    size = sum(path.stat().st_size for path in folder_of(full, 1).iterdir())
    assert store.discard(FeatureSet, features(1).key.digest) == size
    assert store.all(FeatureSet) == (features(2),)
    assert store.discard(FeatureSet, features(1).key.digest) == 0
    save(store, 1)
    check_full(Store(*full))


def test_what_somebody_else_deletes_meanwhile_is_deleted(
    full: Places, monkeypatch: pytest.MonkeyPatch
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


def test_a_second_writer_wins_nothing_and_harms_nothing(full: Places) -> None:
    before = tree(full)
    Store(*full).save(features(1), {"features": array(1) + 1})
    after = tree(full)
    index = full[0] / "zoo.db"
    assert before.pop(index) and after.pop(index)
    assert after == before
    check_full(Store(*full))


def test_a_run_of_the_same_id_replaces_the_one_before(full: Places) -> None:
    again = replace(RUN, created_at="2026-02-02T00:00:00Z")
    Store(*full).save_run(again)
    assert Store(*full).runs() == (again,)
    assert Store(*full).run(RUN.id) == again
    assert leftovers(full) == []


def test_a_trial_that_was_measured_on_more_replaces_the_one_before(full: Places) -> None:
    more = replace(TRIAL, results={**TRIAL.results, "test": 0.5})
    Store(*full).save(more, {"learned/weight": array(4)})
    assert Store(*full).all(Trial) == (more,)
    np.testing.assert_array_equal(weight(Store(*full)), array(4))
    assert leftovers(full) == []


def test_trials_outlive_the_cache(full: Places) -> None:
    shutil.rmtree(full[1])
    np.testing.assert_array_equal(weight(Store(*full)), array(TRIAL.steps))
    assert Store(*full).verify().damaged == {}


def test_the_latest_run_comes_first(full: Places) -> None:
    later = replace(RUN, id="f" * 12, created_at="2027-01-01T00:00:00Z")
    Store(*full).save_run(later)
    assert Store(*full).runs() == (later, RUN)


def test_runs_of_one_second_have_an_order(places: Places) -> None:
    runs = [replace(RUN, id=f"{number:012x}") for number in (3, 1, 2)]
    store = Store(*places)
    for run in runs:
        store.save_run(run)
    assert [run.id[-1] for run in store.runs()] == ["3", "2", "1"]


def test_nothing_reads_what_was_never_there(places: Places) -> None:
    with pytest.raises(NotFoundError):
        Store(*places).load(Trial, TRIAL.key.digest)
    assert Store(*places).leftovers(0) == Store(*places).sweep(0) == []
    assert not any(place.exists() for place in places)


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
def test_a_lost_index_is_made_again_and_says_so(full: Places, spoil: Callable[[Path], object]) -> None:
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


def test_reading_a_zoo_without_its_index_leaves_no_trace(full: Places) -> None:
    (full[0] / "zoo.db").unlink()
    before = tree(full)
    check_full(Store(*full))
    assert tree(full) == before


def test_a_new_zoo_has_nothing_to_mend(places: Places) -> None:
    notes: list[str] = []
    store = Store(*places, note=notes.append)
    save(store, 1)
    store.add(CHECKPOINT)
    store.save_run(RUN)
    assert notes == []


def test_what_cannot_be_read_is_left_out_of_a_new_index(full: Places) -> None:
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
def test_the_index_of_a_newer_zoo_is_refused_before_anything_is_written(full: Places, action: str) -> None:
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


def test_a_row_without_its_file_is_absent(full: Places) -> None:
    shutil.rmtree(folder_of(full, 1))
    store = Store(*full)
    assert store.find(FeatureSet, features(1).key.digest) is None
    assert store.all(FeatureSet) == (features(2),)
    with pytest.raises(NotFoundError):
        store.arrays(FeatureSet, features(1).key.digest)["features"]


def test_a_file_without_its_row_is_found(full: Places, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other", tmp_path / "copy"
    Store(*elsewhere).add(CHECKPOINT)
    shutil.copytree(full[1], elsewhere[1])
    store = Store(*elsewhere)
    assert store.find(FeatureSet, features(1).key.digest) == features(1)
    assert set(store.all(FeatureSet)) == {features(1), features(2)}


def test_a_run_without_a_row_is_found_and_one_without_a_file_is_gone(full: Places) -> None:
    other = replace(RUN, id="f" * 12)
    elsewhere = full[0].with_name("other")
    Store(elsewhere, full[1]).save_run(other)
    shutil.move(elsewhere / "runs" / f"{other.id}.json", full[0] / "runs")
    (full[0] / "runs" / f"{RUN.id}.json").unlink()
    assert Store(*full).runs() == (other,)


def test_a_trial_without_a_row_is_found_and_one_without_a_folder_is_gone(full: Places) -> None:
    elsewhere = full[0].with_name("other")
    shutil.copytree(full[0] / "trials", elsewhere / "trials")
    assert Store(elsewhere, full[1]).all(Trial) == (TRIAL,)
    shutil.rmtree(full[0] / "trials")
    assert Store(*full).all(Trial) == ()


def test_an_index_of_before_is_made_again_and_what_is_not_ours_is_not_touched(
    full: Places,
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


@pytest.mark.parametrize("mark", [0, 1], ids=["unmarked", "marked"])
def test_the_database_of_another_program_is_set_aside(full: Places, mark: int) -> None:
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


def test_a_row_of_what_was_replaced_meanwhile_is_not_believed(full: Places) -> None:
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


def test_one_store_serves_several_threads(full: Places) -> None:
    store = Store(*full)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: save(store, number), range(10, 40)))
        found = list(pool.map(lambda _: len(store.all(FeatureSet)), range(8)))
    assert found == [32] * 8
    assert rows(full[0] / "zoo.db") == 36


def test_an_index_that_could_not_be_made_is_made_the_next_time(
    full: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(truth: Truth) -> Iterator[Any]:
        yield truth.entry(folder_of(full, 1) / "manifest.json")
        raise sqlite3.OperationalError("disk I/O error")

    (full[0] / "zoo.db").unlink()
    with monkeypatch.context() as patches:
        patches.setattr(Truth, "entries", half)
        with pytest.raises(StorageError, match="index"):
            save(Store(*full), 9)
    save(Store(*full), 1)
    assert rows(full[0] / "zoo.db") == 6
    check_full(Store(*full))


# Damage is seen, never passed on


@pytest.mark.parametrize("name", ["arrays.safetensors", "manifest.json"])
def test_half_an_artefact_is_absent(full: Places, name: str) -> None:
    (folder_of(full, 1) / name).unlink()
    with pytest.raises(NotFoundError):
        Store(*full).arrays(FeatureSet, features(1).key.digest)["features"]


def test_good_features_under_another_name_are_refused(full: Places) -> None:
    shutil.copytree(folder_of(full, 2), folder_of(full, 1), dirs_exist_ok=True)
    store = Store(*full)
    assert store.find(FeatureSet, features(1).key.digest) is None
    with pytest.raises(IntegrityError):
        store.arrays(FeatureSet, features(1).key.digest)["features"]
    assert list(store.verify().damaged) == [str(folder_of(full, 1))]


def test_good_arrays_under_another_manifest_are_refused(full: Places) -> None:
    name = "arrays.safetensors"
    shutil.copy(folder_of(full, 2) / name, folder_of(full, 1) / name)
    with pytest.raises(IntegrityError):
        Store(*full).arrays(FeatureSet, features(1).key.digest)["features"]


@pytest.mark.parametrize("name", ["arrays.safetensors", "manifest.json"])
def test_damaged_features_make_way_for_those_computed_again(full: Places, name: str) -> None:
    os.truncate(folder_of(full, 1) / name, 50)
    save(Store(*full), 1)
    check_full(Store(*full))
    assert leftovers(full) == []


def test_damaged_alignments_are_refused_and_can_be_stored_again(full: Places) -> None:
    (path,) = full[1].glob("alignments/v1/??/*/arrays.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    store = Store(*full)
    with pytest.raises(IntegrityError):
        inner(store)
    store.save(ALIGNMENTS, {"inner": np.eye(2)})
    check_full(store)


def test_a_damaged_note_is_refused(full: Places) -> None:
    (full[0] / "notes" / "probe.json").write_text('{"name": "wikitext2"}')
    with pytest.raises(IntegrityError):
        Store(*full).load_note("probe", ProbeChoice)


def test_verify_counts_everything_and_names_what_is_damaged(full: Places) -> None:
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
