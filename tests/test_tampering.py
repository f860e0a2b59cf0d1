"""Whatever was changed in what is stored is seen when it is read or verified, and is said with what to do."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zookeeper.errors import IntegrityError, NotFoundError
from zookeeper.records import (
    ALIGNMENT_VERSION,
    EXTRACTOR_VERSION,
    AlignmentKey,
    AlignmentSet,
    Checkpoint,
    FeatureKey,
    FeatureSet,
    ProbeChoice,
    Reading,
    Revision,
    Space,
    digest_of,
)
from zookeeper.store import Store, artefacts, files

KEY = FeatureKey("org/name", "a" * 40, "c" * 64, Reading(pooling="last"))
FOUND = FeatureSet(KEY, 3, 2, 0, 24, "probe")
ARRAYS = {"features": np.arange(6, dtype="f4").reshape(3, 2), "more": np.ones(4, dtype="f8")}


pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With one feature set, of two arrays, that this process has not read yet."""
    Store(tmp_path / "home", tmp_path / "cache").save(FOUND, ARRAYS)
    return Store(tmp_path / "home", tmp_path / "cache")


def folder_of(store: Store) -> Path:
    (folder,) = store.artefacts()
    return folder


def change(store: Store, said: Callable[[dict[str, Any]], Any], *, seal: bool = False) -> None:
    """Have a manifest say something else, and be sealed as if zoo had written it."""
    path = folder_of(store) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    said(manifest)
    if seal:
        del manifest["seal"]
        manifest["seal"] = digest_of([path.parent.name, manifest])
    path.write_text(json.dumps(manifest))


def flip(path: Path, place: int) -> None:
    """Change a byte, of which nothing but the bytes tells."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@dataclass
class Hashing:
    """The hashing of whole files.

    Attributes:
        paths: of files that were hashed.
        before: what happens before the next is.
    """

    paths: list[Path] = field(default_factory=list)
    before: Callable[[], object] | None = None

    def __call__(self, path: Path, whole: Callable[[Path], str] = files.sha256_of) -> str:
        action, self.before = self.before, None
        if action:
            action()
        self.paths.append(path)
        return whole(path)


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Hashing:
    hashing = Hashing()
    monkeypatch.setattr(files, "sha256_of", hashing)
    return hashing


def told(store: Store) -> str:
    """What verify says of the only thing that is damaged."""
    steps: list[int] = []
    found = store.verify(steps.append)
    assert sum(steps) == len(store.artefacts()) == 1
    assert found.checked == 1
    (why,) = (found.damaged[name] for name in [str(folder_of(store))])
    assert len(found.damaged) == 1
    return why


def test_bytes_that_change_after_they_were_read_are_seen_by_verify(store: Store) -> None:
    store.arrays(FeatureSet, KEY.digest)
    flip(folder_of(store) / "arrays.safetensors", -1)
    assert told(store) == (
        "the bytes of the arrays are not the ones that were stored; "
        "zoo probe -p probe makes it again (of org/name)"
    )
    with pytest.raises(IntegrityError):
        store.arrays(FeatureSet, KEY.digest)


def test_only_what_is_read_is_checked_and_it_always_is(store: Store) -> None:
    flip(folder_of(store) / "arrays.safetensors", -1)  # of float32, which comes behind float64
    np.testing.assert_array_equal(store.arrays(FeatureSet, KEY.digest, ["more", "none"])["more"], np.ones(4))
    for _ in range(2):
        with pytest.raises(IntegrityError) as caught:
            store.arrays(FeatureSet, KEY.digest, ["features"])
        assert caught.value.why == "the bytes of features are not the ones that were stored"
        assert str(folder_of(store)) in caught.value.message


@pytest.mark.parametrize("names", [None, ["features"]])
def test_what_is_no_file_of_arrays_is_refused(store: Store, names: list[str] | None) -> None:
    path = folder_of(store) / "arrays.safetensors"
    for damage in (lambda: path.write_bytes(b"!" * path.stat().st_size), path.unlink, path.mkdir):
        damage()
        with pytest.raises((IntegrityError, NotFoundError)):
            store.arrays(FeatureSet, KEY.digest, names)
        assert told(store)


def test_a_longer_file_of_arrays_is_not_the_one_that_was_stored(store: Store) -> None:
    with (folder_of(store) / "arrays.safetensors").open("ab") as file:
        file.write(b"more")
    assert "the bytes of the arrays" in told(store)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (lambda manifest: manifest.pop("seal"), "not the one that was stored here"),
        (lambda manifest: manifest["record"].update(source="other"), "not the one that was stored here"),
        (lambda manifest: manifest.update(sha256="0" * 64), "not the one that was stored here"),
        (lambda manifest: manifest["arrays"].update(more="0" * 64), "not the one that was stored here"),
    ],
)
def test_a_manifest_is_the_one_that_was_written(store: Store, said: Any, why: str) -> None:
    change(store, said)
    assert why in told(store)
    for read in (lambda: store.arrays(FeatureSet, KEY.digest), lambda: store.load(FeatureSet, KEY.digest)):
        with pytest.raises(IntegrityError) as caught:
            read()
        assert why in str(caught.value.why)
        assert "zoo probe" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("content", "why"), [(b"{", "not JSON"), (b"[]", "not the one"), (b"\xff", "not JSON")]
)
def test_a_manifest_is_an_object(store: Store, content: bytes, why: str) -> None:
    (folder_of(store) / "manifest.json").write_bytes(content)
    assert why in told(store)


def test_a_manifest_that_cannot_be_read_is_damage_and_not_absence(store: Store) -> None:
    path = folder_of(store) / "manifest.json"
    path.unlink()
    assert told(store).startswith("there is nothing at")
    path.mkdir()
    assert "is a directory" in told(store).lower()


def test_what_another_version_stored_is_not_called_damaged(store: Store) -> None:
    change(store, lambda manifest: manifest["record"].pop("n_rows"), seal=True)
    why = told(store)
    assert why.startswith("another version of zoo made it (")
    assert why.endswith("; zoo gc deletes it")
    with pytest.raises(artefacts.StrangeRecordError) as caught:
        store.load(FeatureSet, KEY.digest)
    assert "cannot be understood" in caught.value.message


def test_what_a_newer_version_stored_is_left_to_it(store: Store) -> None:
    def newer(manifest: dict[str, Any]) -> None:
        del manifest["record"]["n_rows"]
        manifest["record"]["key"]["extractor"] = 10**6

    change(store, newer, seal=True)
    assert told(store).startswith("a newer version of zoo made it (")
    assert "gc" not in told(store)
    assert not list(store.strange())


def test_what_is_of_no_kind_that_is_known_is_held_against_its_own_manifest(
    store: Store, tmp_path: Path
) -> None:
    folder = folder_of(store)
    other = tmp_path / "cache" / "wonders" / "v1" / folder.parent.name / folder.name
    shutil.copytree(folder, other)
    found = store.verify()
    assert (found.checked, found.damaged) == (2, {})
    flip(other / "arrays.safetensors", -1)
    (why,) = store.verify().damaged.values()
    assert why == "the bytes of the arrays are not the ones that were stored; zoo probe makes it again"


def other(store: Store, number: int = 0) -> FeatureSet:
    """Replace what is stored by another process, under the same name, with a record and arrays of its own."""
    elsewhere = Store(store.home, store.cache)
    elsewhere.discard(FeatureSet, KEY.digest)
    found = replace(FOUND, n_empty=number)
    elsewhere.save(found, {"features": np.full((3, 2), number)})
    return found


def test_what_was_read_or_written_is_not_hashed_again_until_it_is_replaced(
    store: Store, hashing: Hashing
) -> None:
    for _ in range(3):
        store.arrays(FeatureSet, KEY.digest)
        store.load(FeatureSet, KEY.digest)
    assert len(hashing.paths) == 1
    other(store)
    assert not store.arrays(FeatureSet, KEY.digest)["features"].any()
    assert len(hashing.paths) == 2
    store.verify()
    assert len(hashing.paths) == 3
    store.discard(FeatureSet, KEY.digest)
    store.save(FOUND, ARRAYS)
    store.arrays(FeatureSet, KEY.digest)
    assert len(hashing.paths) == 3


def test_what_is_damaged_is_hashed_once_and_then_refused(store: Store, hashing: Hashing) -> None:
    flip(folder_of(store) / "arrays.safetensors", -1)
    with pytest.raises(IntegrityError):
        store.arrays(FeatureSet, KEY.digest)
    assert len(hashing.paths) == 1


def test_what_is_replaced_while_it_is_read_is_read_again(store: Store, hashing: Hashing) -> None:
    hashing.before = lambda: other(store, 5)
    found, arrays = store.load(FeatureSet, KEY.digest)
    assert (found.n_empty, arrays["features"].tolist()) == (5, [[5, 5]] * 3)
    hashing.before = lambda: other(store, 6)
    other(store, 7)
    assert store.arrays(FeatureSet, KEY.digest)["features"].tolist() == [[6, 6]] * 3


def test_what_is_replaced_again_and_again_is_given_up(store: Store, hashing: Hashing) -> None:
    numbers = iter(range(1000))

    def again() -> None:
        other(store, next(numbers))
        hashing.before = again

    hashing.before = again
    with pytest.raises(IntegrityError):
        store.arrays(FeatureSet, KEY.digest)
    assert 0 < next(numbers) < 999


def test_what_was_moved_aside_for_something_that_never_came_is_put_back(store: Store) -> None:
    folder = folder_of(store)
    folder.rename(folder.with_name(f".{folder.name}.{'0' * 32}.old"))
    np.testing.assert_array_equal(store.arrays(FeatureSet, KEY.digest)["more"], np.ones(4))
    assert folder.is_dir()
    folder.rename(folder.with_name(f".{folder.name}.old"))  # this is none of ours
    assert store.all(FeatureSet) == ()
    with pytest.raises(NotFoundError):
        store.load(FeatureSet, KEY.digest)


@pytest.mark.parametrize(
    ("said", "newer"),
    [
        ({"key": {"extractor": EXTRACTOR_VERSION + 1}}, True),
        ([{"deep": [{"extractor": EXTRACTOR_VERSION + 1}]}, {}], True),
        ({"extractor": EXTRACTOR_VERSION}, False),
        ({"extractor": str(EXTRACTOR_VERSION + 1)}, False),
        ({"version": 10**6}, False),  # features have none
        ({}, False),
        ("text", False),
        (None, False),
    ],
)
def test_only_what_an_older_zoo_made_is_deleted_without_being_asked(
    store: Store, said: Any, newer: bool
) -> None:
    change(store, lambda manifest: manifest.update(record=said), seal=True)
    assert store.strange() == ([] if newer else [folder_of(store)])
    assert store.find(FeatureSet, KEY.digest) is None


@pytest.mark.parametrize(("ahead", "newer"), [(0, False), (1, True)])
def test_alignments_have_a_version_too(tmp_path: Path, ahead: int, newer: bool) -> None:
    store = Store(tmp_path / "home", tmp_path / "cache")
    key = AlignmentKey(Space("c" * 64, Reading()), debiased=False)
    store.save(AlignmentSet(key, features=("1" * 64,)), {"inner": np.eye(1)})
    record = {"key": {"version": ALIGNMENT_VERSION + ahead}}
    change(store, lambda manifest: manifest.update(record=record), seal=True)
    assert len(store.strange()) == (not newer)


def test_notes_and_the_index_are_looked_at_too(store: Store, tmp_path: Path) -> None:
    notes = tmp_path / "home" / "notes"
    store.save_note("good", ProbeChoice("p", 1, "c" * 64, (1,), Reading()))
    (notes / "torn.json").write_bytes(b'{"a":')
    (notes / "bytes.json").write_bytes(b"\xff\xfe")
    (notes / "folder.json").mkdir()
    (notes / ".hidden.json").write_bytes(b"{")
    found = store.verify()
    assert found.checked == 5
    assert found.damaged.keys() == {str(notes / f"{name}.json") for name in ("torn", "bytes", "folder")}
    for name in ("torn", "bytes"):
        why = found.damaged[str(notes / f"{name}.json")]
        assert why.startswith("it is not JSON (")
        assert why.endswith("; remove it")
    assert "directory" in found.damaged[str(notes / "folder.json")].lower()


def test_files_of_checkpoints_and_runs_are_read(store: Store, tmp_path: Path) -> None:
    shutil.rmtree(folder_of(store))
    store.add(Checkpoint(Revision("org/name", "main", "a" * 40), ()))
    (good,) = (tmp_path / "home" / "checkpoints").iterdir()
    shutil.copy(good, good.with_name("f" * 40 + ".json"))
    (tmp_path / "home" / "runs").mkdir()
    lost = tmp_path / "home" / "runs" / "0a1b2c3d4e5f.json"
    lost.symlink_to("nowhere")
    found = store.verify()
    assert found.checked == 3
    assert found.damaged == {
        str(good.with_name("f" * 40 + ".json")): "it describes another checkpoint than its name says",
        str(lost): f"there is no file {lost}.",
    }


@pytest.mark.parametrize(
    ("pragma", "why"),
    [
        ("application_id = 0", None),  # as an older zoo left it
        ("application_id = 77", "it is the database of another program"),
        ("user_version = 0", "it is the database of another program"),
    ],
)
def test_an_index_is_ours(store: Store, pragma: str, why: str | None) -> None:
    store.all(FeatureSet)
    Store(store.home, store.cache).rebuild()
    with sqlite3.connect(store.index_path) as db:
        db.execute(f"PRAGMA {pragma}")
    db.close()
    said = why and {str(store.index_path): f"{why}; zoo db rebuild makes it again"}
    assert Store(store.home, store.cache).verify().damaged == (said or {})


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "it is empty"), (b"garbage" * 999, "file is not a database")]
)
def test_an_index_is_whole(store: Store, content: bytes, why: str) -> None:
    store.index_path.write_bytes(content)
    (said,) = Store(store.home, store.cache).verify().damaged.values()
    assert said == f"{why}; zoo db rebuild makes it again"


def test_an_index_in_which_rows_cannot_be_found_is_damaged(store: Store) -> None:
    Store(store.home, store.cache).rebuild()
    with sqlite3.connect(store.index_path) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    content = bytearray(store.index_path.read_bytes())
    content[(root - 1) * size + 3 : (root - 1) * size + 5] = bytes(2)  # so many cells has the page
    store.index_path.write_bytes(content)
    (said,) = Store(store.home, store.cache).verify().damaged.values()
    assert "page" in said
    assert said.endswith("; zoo db rebuild makes it again")


def test_a_row_of_the_index_that_says_something_else_is_damage(store: Store) -> None:
    assert store.all(FeatureSet) == (FOUND,)
    with sqlite3.connect(store.index_path) as db:
        db.execute("UPDATE entry SET record = replace(record, 'probe', 'other')")
    db.close()
    (path, why), *more = Store(store.home, store.cache).verify().damaged.items()
    assert (path, more) == (str(store.index_path), [])
    assert why.startswith(f"it says something else than {folder_of(store)}")
    assert why.endswith("; zoo db rebuild makes it again")


def test_notes_of_a_name_are_those_with_something_after_a_dash(store: Store, tmp_path: Path) -> None:
    for name in ("probe", "probe-2", "probes", "prob"):
        store.save_note(name, ProbeChoice(name, 1, "c" * 64, (1,), Reading()))
    (tmp_path / "home" / "notes" / "probe-3.json").write_bytes(b"{")
    assert [note.name for note in store.load_notes("probe", ProbeChoice)] == ["probe-2", "probe"]
