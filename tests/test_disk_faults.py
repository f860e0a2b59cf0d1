"""A disk that is full, read-only or broken loses nothing, and is named."""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import resource
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import Fault, open_files
from stores import (
    ALIGNMENTS,
    CHECKPOINT,
    DIGEST,
    REVISION,
    RUN,
    TRIAL,
    Places,
    array,
    check_full,
    child,
    features,
    leftovers,
    save,
    save_trial,
    stored,
    weight,
    within,
)

from zookeeper.errors import StorageError
from zookeeper.records import FeatureSet
from zookeeper.store import Store, files

pytestmark = pytest.mark.usefixtures("quick_disk")


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
    full: Places, tmp_path: Path, write: str, code: int
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
        np.testing.assert_array_equal(weight(found), array(TRIAL.steps))
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


@pytest.mark.parametrize("refused", ["posix_fallocate", "mmap"])
def test_file_systems_that_can_do_less_serve_too(
    places: Places, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """Such as NFS and FUSE, of which some reserve no blocks or map no file."""
    mapped = mmap.mmap

    def refusing(handle: int, *rest: int) -> Any:
        if handle >= 0:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return mapped(handle, *rest)

    monkeypatch.setattr(*((os, refused) if refused == "posix_fallocate" else (mmap, refused)), refusing)
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        draft.arrays({"features": ((3, 2), np.float32)})["features"][...] = 1
        draft.relieve()
        draft.keep(features(1))
    np.testing.assert_array_equal(stored(Store(*places), 1), array(1))


# Real limits, in processes of their own. The functions run in the child.


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


def test_a_full_disk_is_named_and_loses_nothing(places: Places) -> None:
    refusals = child(fill_the_disk, *places)
    assert len(refusals) == 3
    assert all("free some space" in refusal for refusal in refusals)
    store = Store(*places)
    assert len(store.all(FeatureSet)) == 3
    assert store.checkpoints() == (CHECKPOINT,)
    assert store.verify().damaged == {}


def fill_a_small_disk(home: str, cache: str) -> None:
    store = Store(Path(home), Path(cache))
    save(store, 1)
    reasons = []
    wide = {"features": ((1000, 1000), np.float32)}
    for space in (files.demand_space, lambda *_: None):  # the second time it is the disk itself that refuses
        files.demand_space = space
        with store.draft(FeatureSet, features(2).key.digest) as draft:
            try:
                draft.arrays(wide)
            except StorageError as error:
                reasons.append(f"{error.why}; {error.fix}")
        assert leftovers((Path(home), Path(cache))) == []
    save(store, 3)
    assert store.verify().damaged == {}
    print(json.dumps(reasons))  # noqa: T201


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(places: Places) -> None:
    root = places[0].parent
    reasons = child(fill_a_small_disk, *places, within=within(f"mount -t tmpfs -o size=1m tmpfs '{root}'"))
    assert len(reasons) == 2
    assert re.match(r"no space left: it takes 4 MB, and [\d.]+ [Mk]?B are free", reasons[0])
    assert all("free some space" in reason for reason in reasons)


def read_and_try_to_write(home: str, cache: str, user: str) -> None:
    warm = Path(tempfile.mkdtemp())
    save(Store(warm / "home", warm / "cache"), 1)  # whatever is imported late is imported now
    os.seteuid(int(user))
    store = Store(Path(home), Path(cache))
    check_full(store)
    refusals = [attempt(partial(write, store)) for write in _WRITES.values()]
    print(json.dumps(refusals))  # noqa: T201


@pytest.fixture
def open_to_all(pattern: Path) -> Iterator[Places]:
    """A zoo with one of everything where other users can read it; `tmp_path` is closed to them."""
    root = Path(tempfile.mkdtemp(prefix="zoo-read-only-"))
    shutil.copytree(pattern, root, dirs_exist_ok=True)
    yield root / "home", root / "cache"
    for path in (root, *root.rglob("*")):
        path.chmod(stat.S_IRWXU)
    shutil.rmtree(root)


def test_a_zoo_of_somebody_else_can_be_read_but_not_written(open_to_all: Places) -> None:
    root = open_to_all[0].parent
    for path in (*root.rglob("*"), root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    user = 65534 if os.geteuid() == 0 else os.geteuid()  # permissions do not bind root
    refusals = child(read_and_try_to_write, *open_to_all, user)
    assert len(refusals) == len(_WRITES)
    assert all("ZOO_HOME" in refusal for refusal in refusals)


def test_a_zoo_on_a_read_only_disk_can_be_read_but_not_written(full: Places) -> None:
    root = full[0].parent
    mount = f"mount --bind '{root}' '{root}' && mount -o remount,ro,bind '{root}'"
    refusals = child(read_and_try_to_write, *full, os.geteuid(), within=within(mount))
    assert len(refusals) == len(_WRITES)
    assert all("ZOO_HOME" in refusal for refusal in refusals)
