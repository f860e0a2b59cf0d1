"""What processes that were killed left behind is found and swept, and nothing else."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import DIGEST, RUN, TRIAL, Places, features, folder_of, leftovers, save, save_trial, tree, trial

from zookeeper.records import FeatureSet
from zookeeper.results import Trial
from zookeeper.store import Store


def test_what_others_are_writing_is_not_left_behind(places: Places) -> None:
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        draft.arrays({"features": ((3, 2), np.float32)})["features"][...] = 1
        assert leftovers(places)
        assert Store(*places).leftovers(0) == Store(*places).sweep(0) == []
        draft.keep(features(1))
    assert store.verify().damaged == {}


def test_what_was_taken_out_of_its_place_is_put_back_by_listing_alone(
    places: Places,
) -> None:
    save(Store(*places), 1)
    folder = folder_of(places, 1)
    folder.rename(folder.with_name(f".{DIGEST}.{'0' * 32}.old"))
    (places[0] / "zoo.db").unlink()
    before = tree(places)
    store = Store(*places)
    assert store.verify().damaged == {}
    assert store.leftovers(0) == store.strange() == []
    assert tree(places) == before, "to look after it changes nothing"
    assert store.all(FeatureSet) == (features(1),)
    assert leftovers(places) == []
    assert folder.is_dir()


def old(path: Path, hours: float = 2) -> Path:
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - 3600 * hours,) * 2)
    return path


def test_leftovers_are_found_by_age_and_kind_and_swept(places: Places) -> None:
    store = Store(*places)
    save(store, 1)
    save_trial(store, 1)
    store.save_run(RUN)
    before = tree(places)
    hex32 = "0" * 32
    parent = folder_of(places, 1).parent
    torn = parent / f".{DIGEST}.{hex32}"
    torn.mkdir()
    (torn / "arrays.safetensors").write_bytes(b"1234")
    note = places[0] / "runs" / f".x.json.{hex32}"
    note.write_bytes(b"12")
    replaced = parent / f".{DIGEST}.{hex32}.old"
    replaced.mkdir()
    index = places[0] / "zoo.db.damaged-20260101T000000"
    index.write_bytes(b"123")
    lock = places[1] / "locks" / "features-x.lock"
    lock.parent.mkdir()
    lock.write_bytes(b"process 1 on x")
    finished = places[0] / "unfinished" / TRIAL.key.digest
    going_on = places[0] / "unfinished" / ("9" * 64)
    for folder in (finished, going_on):
        (folder / "state-1").mkdir(parents=True)
        (folder / "lock").touch()
    ours = parent / ".gitignore", places[0] / ".git", places[1] / "features" / f".x.{hex32}"
    for path in ours:
        path.touch()
    doomed = {torn: 4, note: 2, replaced: 0, index: 3, lock: 14, finished: 0}
    assert store.leftovers() == store.sweep() == []  # of just now
    for path in (*doomed, going_on, *ours):
        old(path)
    found = store.leftovers()
    assert {path: size for path, size, _ in found} == doomed
    assert {reason for *_, reason in found} == {
        "a write that was interrupted",
        "an index that was damaged, and was made again",
        "a lock that nobody holds",
        "the state of a trial that is finished",
    }
    assert sorted(store.sweep()) == sorted(found)
    assert going_on.is_dir()
    assert all(path.exists() for path in ours)
    assert {path: data for path, data in tree(places).items() if path in before} == before
    assert store.leftovers(0) == []


def test_sweeping_follows_no_link(places: Places, tmp_path: Path) -> None:
    store = Store(*places)
    save(store, 1)
    elsewhere = tmp_path / "elsewhere"
    precious = elsewhere / f".x.{'0' * 32}"
    precious.mkdir(parents=True)
    (precious / "thesis").write_text("not to be lost")
    (elsewhere / "a.lock").write_text("not to be lost")
    v1 = places[1] / "features" / "v1"
    (v1 / "zz").symlink_to(elsewhere)
    (folder_of(places, 1).parent / f".y.{'1' * 32}").symlink_to(precious)
    (places[1] / "locks").symlink_to(elsewhere)
    (places[0] / "unfinished").symlink_to(elsewhere)
    before = tree((elsewhere, elsewhere))
    assert store.leftovers(0) == store.sweep(0) == []
    assert tree((elsewhere, elsewhere)) == before


def test_what_could_not_be_cleaned_up_is_swept_later(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(*places)
    save_trial(store, 1)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patches:
        patches.setattr(os, "unlink", refuse)
        patches.setattr(os, "rmdir", refuse)
        save_trial(store, 2)
    assert leftovers(places)
    assert Store(*places).all(Trial) == (trial(2),)
    assert store.sweep(0)
    assert leftovers(places) == []
    assert store.verify().damaged == {}
