"""What was acknowledged is there: after kills, damage, faults, crowds and power cuts."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import mmap
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import filelock
import numpy as np
import pytest
from faults import Fault, open_files
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from safetensors import numpy as safetensors
from test_store import CHECKPOINT, REVISION, RUN, TRIAL, array, features, folder_of, leftovers, save, tree

from zookeeper import store as package
from zookeeper.errors import IntegrityError, NotFoundError, StorageError
from zookeeper.records import Checkpoint, FeatureSet
from zookeeper.results import Trial
from zookeeper.store import Store, files
from zookeeper.store.mounts import is_network, kind_of_file_system

Places = tuple[Path, Path]
_FILES = "arrays.safetensors", "manifest.json"
DIGEST = features(1).key.digest
HERE = Path(__file__).parent


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return tmp_path / "home", tmp_path / "cache"


def trial(number: int) -> Trial:
    """The same trial, of which more and more is known."""
    return replace(TRIAL, steps=number)


def save_trial(store: Store, number: int) -> None:
    store.save(trial(number), {"learned/weight": array(number)})


def checkpoint(number: int) -> Checkpoint:
    return replace(CHECKPOINT, revision=replace(REVISION, commit=f"{number:040x}"))


def stored(store: Store, number: int) -> np.ndarray[Any, Any]:
    return store.arrays(FeatureSet, features(number).key.digest)["features"]


# Drafts: arrays that are written while they come

SHAPES = {
    "layers/0": ((3, 2), np.float32),
    "of rows": ((5,), np.int64),
    "half": ((2, 3), np.float16),
    "flags": ((3,), np.bool_),
    "one": ((), np.float64),
    "none": ((0, 4), np.float32),
    "größe": ((7,), np.uint8),
}


def test_a_draft_is_the_file_that_the_library_would_write(places: Places) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: np.asarray(9 * rng.normal(size=shape), dtype=dtype) for name, (shape, dtype) in SHAPES.items()
    }
    store = Store(*places)
    with store.draft(Trial, TRIAL.key.digest) as draft:
        rooms = draft.arrays(SHAPES)
        for name, room in rooms.items():
            assert not room.any()
            room[...] = arrays[name]
            draft.relieve()
        draft.keep(TRIAL, {"device": "cpu"})
    path = Store(*places).array_file(Trial, TRIAL.key.digest).path
    assert path.read_bytes() == safetensors.save(arrays)
    for name, found in Store(*places).arrays(Trial, TRIAL.key.digest).items():
        np.testing.assert_array_equal(found, arrays[name])
        np.testing.assert_array_equal(found, rooms[name])


def test_a_draft_is_absent_until_it_is_kept_and_cannot_be_changed_after(places: Places) -> None:
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        room = draft.arrays({"features": ((3, 2), np.float32)})["features"]
        room[...] = 1
        assert store.find(FeatureSet, DIGEST) is None
        assert store.all(FeatureSet) == ()
        draft.keep(features(1))
        assert store.all(FeatureSet) == (features(1),)
        with pytest.raises(ValueError, match="read-only"):
            room[0] = 2
    np.testing.assert_array_equal(stored(Store(*places), 1), array(1))


def test_a_draft_that_is_not_kept_leaves_nothing(places: Places) -> None:
    store = Store(*places)
    opened = open_files()
    for error in (None, KeyboardInterrupt, ValueError):
        with suppress(KeyboardInterrupt, ValueError), store.draft(FeatureSet, DIGEST) as draft:
            draft.arrays({"features": ((3, 2), np.float32)})["features"][...] = 1
            if error:
                raise error
    del draft
    assert leftovers(places) == []
    assert store.all(FeatureSet) == ()
    assert open_files() <= opened + 1  # the index


def test_a_draft_can_begin_anew(places: Places) -> None:
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        first = draft.arrays({"features": ((9, 9), np.float32)})["features"]
        room = draft.arrays({"features": ((3, 2), np.float32)})["features"]
        first[...] = 9
        room[...] = 1
        draft.keep(features(1))
    np.testing.assert_array_equal(stored(Store(*places), 1), array(1))


def test_something_else_than_what_was_drafted_is_refused(places: Places) -> None:
    store = Store(*places)
    with pytest.raises(ValueError, match="drafted"), store.draft(FeatureSet, DIGEST) as draft:
        draft.keep(features(2))
    assert store.all(FeatureSet) == ()


def test_of_two_drafts_of_one_thing_the_first_that_is_kept_stays(places: Places) -> None:
    store = Store(*places)
    forms = {"features": ((3, 2), np.float32)}
    with store.draft(FeatureSet, DIGEST) as first, store.draft(FeatureSet, DIGEST) as second:
        first.arrays(forms)["features"][...] = 1
        second.arrays(forms)["features"][...] = 2
        first.keep(features(1))
        second.keep(features(1))
    np.testing.assert_array_equal(stored(Store(*places), 1), array(1))
    assert leftovers(places) == []


def test_more_than_the_disk_has_is_refused_before_it_is_written(places: Places) -> None:
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        with pytest.raises(StorageError, match="cannot write") as caught:
            draft.arrays({"features": ((10**9, 10**6), np.float64)})
        assert "it takes 8,000.0 TB, and" in str(caught.value.why)
        assert "free some space" in str(caught.value.fix)
    assert leftovers(places) == []


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


def child(
    function: Callable[..., None], *args: object, within: tuple[str, ...] = (), timeout: int = 60
) -> Any:
    """What a function of this file prints in a process of its own, as JSON."""
    code = f"import sys, test_durability; test_durability.{function.__name__}(*sys.argv[1:])"
    done = subprocess.run(
        [*within, sys.executable, "-c", code, *map(str, args)],
        cwd=HERE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
    assert re.match(r"no space left: it takes 4.0 MB, and [\d.]+ [MK]B are free", reasons[0])
    assert all("free some space" in reason for reason in reasons)


# Claims: nobody computes what somebody is computing


def holding(home: Path, cache: Path, told: Any, seconds: float) -> None:
    with Store(home, cache).claim(FeatureSet, DIGEST):
        told.set()
        time.sleep(seconds)


@pytest.fixture
def holder(places: Places) -> Iterator[Callable[[float], multiprocessing.Process]]:
    """Starts a process that holds a claim for some seconds."""
    context = multiprocessing.get_context("fork")
    started = []

    def start(seconds: float) -> Any:
        told = context.Event()
        process = context.Process(target=holding, args=(*places, told, seconds))
        process.start()
        started.append(process)
        assert told.wait(10)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_who_waits_is_told_once_by_whom(places: Places, holder: Callable[[float], Any]) -> None:
    process, told = holder(0.5), []
    with Store(*places).claim(FeatureSet, DIGEST, told.append):
        assert not process.is_alive() or process.join(5) is None
    assert told == [f"waits for process {process.pid} on {os.uname().nodename}"]
    assert list((places[1] / "locks").iterdir()) == []


def test_a_claim_ends_with_its_process(places: Places, holder: Callable[[float], Any]) -> None:
    process, told = holder(60), []
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with Store(*places).claim(FeatureSet, DIGEST, told.append):
        pass
    assert told == []


def test_claims_of_other_things_do_not_wait(places: Places, holder: Callable[[float], Any]) -> None:
    holder(60)
    with (
        Store(*places).claim(FeatureSet, features(2).key.digest, pytest.fail),
        Store(*places).claim(Trial, DIGEST, pytest.fail),
        Store(places[0], places[1] / "other").claim(FeatureSet, DIGEST, pytest.fail),
    ):
        assert (places[0] / "locks").is_dir()


def test_a_process_never_waits_for_itself(places: Places) -> None:
    store = Store(*places)
    with store.claim(FeatureSet, DIGEST), store.claim(FeatureSet, DIGEST, pytest.fail):
        with Store(*places).claim(FeatureSet, DIGEST, pytest.fail):
            pass
        assert len(list((places[1] / "locks").iterdir())) == 1
    assert list((places[1] / "locks").iterdir()) == []


@pytest.mark.parametrize("said", [b"", b"\x1b[31mprocess 1 on x", b"process 1 on \xff since 2026"])
def test_what_a_lock_file_says_is_not_passed_on_as_it_is(
    places: Places, holder: Callable[[float], Any], said: bytes
) -> None:
    holder(0.3)
    (lock,) = (places[1] / "locks").iterdir()
    lock.write_bytes(said)
    told: list[str] = []
    with Store(*places).claim(FeatureSet, DIGEST, told.append):
        pass
    assert told == ["waits for another process"]


@pytest.mark.parametrize(
    "error", [OSError(errno.EROFS, "read-only"), NotImplementedError()], ids=["EROFS", "no locks"]
)
def test_where_there_are_no_locks_work_goes_on_without(
    places: Places, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with Store(*places).claim(FeatureSet, DIGEST, pytest.fail):
        save(Store(*places), 1)
    assert Store(*places).all(FeatureSet) == (features(1),)


# Kills


def write_on_and_on(home: str, cache: str, turn: int, pipe: int) -> None:
    def acknowledge(line: str) -> None:
        os.write(pipe, f"{line}\n".encode())

    store = Store(Path(home), Path(cache))
    for number in range(turn * 1000, turn * 1000 + 1000):
        save(store, number)
        acknowledge(f"features {number}")
        store.add(checkpoint(number))
        acknowledge(f"checkpoint {number}")
        save_trial(store, number)
        acknowledge(f"trial {number}")


def kill_writers(home: str, cache: str, kills: str) -> None:
    """Fork a writer, read what it acknowledges, kill it at a random instant; again and again."""
    chance = random.Random(0)  # noqa: S311 a choice of instants
    acknowledged: dict[str, list[int]] = {"features": [], "checkpoint": [], "trial": []}
    lost = []
    for turn in range(int(kills)):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            write_on_and_on(home, cache, turn, writer)
        os.close(writer)
        with open(reader) as pipe:  # noqa: PTH123
            lines = [pipe.readline() for _ in range(chance.randrange(7))]
            time.sleep(chance.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            for kind, number in (line.split() for line in [*lines, *pipe]):
                acknowledged[kind].append(int(number))
        store = Store(Path(home), Path(cache))
        if acknowledged["trial"]:
            found = store.whole(Trial, TRIAL.key.digest)
            if found is None or found.steps < acknowledged["trial"][-1]:
                lost.append([turn, acknowledged["trial"][-1], found and found.steps])
    print(json.dumps({**acknowledged, "lost": lost}))  # noqa: T201


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.nightly)])
def test_whatever_was_acknowledged_before_a_kill_is_there(places: Places, kills: int) -> None:
    acknowledged = child(kill_writers, *places, kills, timeout=300)
    assert acknowledged.pop("lost") == []
    assert all(len(numbers) >= kills // 4 for numbers in acknowledged.values()), "hardly anything was tried"
    store = Store(*places)
    assert store.verify().damaged == {}
    for number in acknowledged["features"]:
        assert store.find(FeatureSet, features(number).key.digest) == features(number)
        np.testing.assert_array_equal(stored(store, number), array(number))
    assert {checkpoint(number) for number in acknowledged["checkpoint"]} <= set(store.checkpoints())
    (last,) = store.all(Trial)
    assert last.steps >= acknowledged["trial"][-1]
    np.testing.assert_array_equal(store.arrays(Trial, TRIAL.key.digest)["learned/weight"], array(last.steps))
    # What was under way is swept, and nothing else.
    before = tree(places)
    swept = store.sweep(0)
    assert leftovers(places) == []
    left = tree(places)
    assert {path for path in before if path not in left} == {
        path for one in swept for path in before if path.is_relative_to(one.path)
    }
    assert store.verify().damaged == {}
    assert store.leftovers(0) == []


@pytest.mark.parametrize("reading", ["find", "all", "arrays", "load", "whole"])
def test_a_trial_whose_replacement_was_killed_is_put_back(places: Places, reading: str) -> None:
    save_trial(Store(*places), 1)
    pid = os.fork()
    if not pid:
        files._take = lambda *_: os._exit(0)  # type: ignore[assignment]
        files.publish = lambda *_: False  # type: ignore[assignment]
        save_trial(Store(*places), 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not any((places[0] / "trials").rglob("[!.]*/manifest.json")), "there is nothing to put back"
    store = Store(*places)
    if reading == "all":
        assert store.all(Trial) == (trial(1),)
    else:
        assert getattr(store, reading)(Trial, TRIAL.key.digest)
    assert store.find(Trial, TRIAL.key.digest) == trial(1)
    save_trial(store, 3)
    assert store.all(Trial) == (trial(3),)


def test_who_replaces_a_trial_while_another_puts_it_back_tries_again(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(*places)
    save_trial(store, 1)
    take, meddled = files._take, list[Path]()

    def meddling(folder: Path, aside: Path) -> bool:
        if not meddled and not folder.exists():
            meddled.append(folder)
            assert files.mended(folder)
        return take(folder, aside)

    monkeypatch.setattr(files, "_take", meddling)
    save_trial(store, 2)
    assert len(meddled) == 1
    assert Store(*places).all(Trial) == (trial(2),)
    assert leftovers(places) == []


# Damage


def every_damage(data: bytes) -> Iterator[bytes]:
    """Every truncation, every flipped bit, zeros of the same length, and something after the end."""
    yield from (data[:length] for length in range(len(data)))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
    yield bytes(len(data))
    yield data + b"\0"


@pytest.mark.parametrize(
    ("name", "step"),
    [(_FILES[0], 1), (_FILES[1], 7), pytest.param(_FILES[1], 1, marks=pytest.mark.nightly)],
)
def test_every_bit_and_every_length_counts(places: Places, name: str, step: int) -> None:
    """Whatever became of a file, it reads as a miss, and what is computed again takes its place."""
    save(Store(*places), 1)
    path = folder_of(places, 1) / name
    whole = path.read_bytes()
    for number, data in enumerate(itertools.islice(every_damage(whole), 0, None, step)):
        path.write_bytes(data)
        store = Store(*places)
        with pytest.raises(IntegrityError):
            store.arrays(FeatureSet, DIGEST)
        assert store.find(FeatureSet, DIGEST) in (None, features(1))
        if number % 500 == 0:
            assert store.whole(FeatureSet, DIGEST) is None
            assert list(store.verify().damaged) == [str(path.parent)]
            save(store, 1)
            np.testing.assert_array_equal(stored(Store(*places), 1), array(1))
    assert number > 8 * len(whole) / step


@pytest.mark.nightly
def test_random_damage_of_large_files_is_seen(places: Places) -> None:
    store = Store(*places)
    store.save(features(1), {"features": np.random.default_rng(0).normal(size=(1000, 100))})
    path = folder_of(places, 1) / "arrays.safetensors"
    whole, chance = path.read_bytes(), random.Random(0)  # noqa: S311 a choice of bits
    for _ in range(2_000):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 2, 50])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        if data != whole:
            path.write_bytes(data)
            assert Store(*places).whole(FeatureSet, DIGEST) is None


def test_verify_says_what_makes_it_again(places: Places) -> None:
    store = Store(*places)
    save(store, 1)
    save_trial(store, 1)
    for path in (*places[1].rglob("arrays.safetensors"), *places[0].rglob("manifest.json")):
        path.write_bytes(bytes(path.stat().st_size))
    found = store.verify().damaged
    assert {Path(path).parts[-4]: why.rpartition("; ")[2] for path, why in found.items()} == {
        "features": "zoo probe makes it again (of org/name)",
        "trials": "zoo tune makes it again",
    }


def test_verify_looks_into_the_index(places: Places) -> None:
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(os, "fsync", lambda _: None)
        for number in range(100):
            save(Store(*places), number)
    index = places[0] / "zoo.db"
    data = bytearray(index.read_bytes())
    data[-3000:-1000] = bytes(2000)
    index.write_bytes(data)
    found = Store(*places).verify()
    assert list(found.damaged) == [str(index)]
    assert "zoo db rebuild" in found.damaged[str(index)]
    assert len(Store(*places).all(FeatureSet)) == 100
    assert Store(*places).rebuild() == 100
    assert Store(*places).verify().damaged == {}


def test_verify_names_rows_that_say_something_else_than_their_files(places: Places) -> None:
    store = Store(*places)
    save(store, 1)
    index = places[0] / "zoo.db"
    with closing(sqlite3.connect(index)) as db, db:
        db.execute("UPDATE entry SET record = replace(record, 'probe', 'other')")
    assert list(Store(*places).verify().damaged) == [str(index)]
    Store(*places).rebuild()
    assert Store(*places).verify().damaged == {}


# What is left behind


def test_what_others_are_writing_is_not_left_behind(places: Places) -> None:
    store = Store(*places)
    with store.draft(FeatureSet, DIGEST) as draft:
        draft.arrays({"features": ((3, 2), np.float32)})["features"][...] = 1
        assert leftovers(places)
        assert Store(*places).leftovers(0) == Store(*places).sweep(0) == []
        draft.keep(features(1))
    assert store.verify().damaged == {}


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


# Crowds


def compute_in_a_crowd(home: str, cache: str, writers: str, readers: str, keys: str, locks: str) -> None:
    """Every writer wants all features; a file a computation counts who computed what."""
    if locks == "without":
        filelock.FileLock.acquire = lambda *_, **__: None  # type: ignore[method-assign]
        filelock.FileLock.release = lambda *_, **__: None  # type: ignore[method-assign]
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(int(writers) + int(readers))
    done = context.Event()
    counted = Path(home).parent / "counted"
    counted.mkdir()

    def compute(worker: int) -> None:
        store = Store(Path(home), Path(cache))
        order = list(range(int(keys)))
        random.Random(worker).shuffle(order)  # noqa: S311 an order
        barrier.wait()
        for number in order:
            digest = features(number).key.digest
            if store.find(FeatureSet, digest):
                continue
            with store.claim(FeatureSet, digest):
                if store.find(FeatureSet, digest):
                    continue
                (counted / f"{number}-{worker}").touch()
                save(store, number)

    def read(worker: int) -> None:
        store = Store(Path(home), Path(cache))
        reads = 0
        barrier.wait()
        while not done.is_set():
            for found in store.all(FeatureSet):
                arrays = store.arrays(FeatureSet, found.key.digest)
                number = int(found.key.corpus, 16)
                assert (arrays["features"] == number).all()
                reads += 1
            store.checkpoints()
        (counted / f"reads-{worker}-{reads}").touch()

    crowd = [context.Process(target=compute, args=(worker,)) for worker in range(int(writers))]
    crowd += [context.Process(target=read, args=(worker,)) for worker in range(int(readers))]
    for process in crowd:
        process.start()
    for process in crowd[: int(writers)]:
        process.join()
    done.set()
    for process in crowd:
        process.join()
    names = [path.name for path in counted.iterdir()]
    computed = [name.partition("-")[0] for name in names if not name.startswith("reads")]
    reads = sum(int(name.rpartition("-")[2]) for name in names if name.startswith("reads"))
    codes = [process.exitcode for process in crowd]
    print(json.dumps({"codes": codes, "computed": sorted(map(int, computed)), "reads": reads}))  # noqa: T201


@pytest.mark.parametrize("locks", ["with", "without"])
@pytest.mark.parametrize(
    ("writers", "readers", "keys"), [(4, 5, 12), pytest.param(16, 20, 100, marks=pytest.mark.nightly)]
)
def test_each_feature_is_computed_once_and_read_by_all(
    places: Places, writers: int, readers: int, keys: int, locks: str
) -> None:
    found = child(compute_in_a_crowd, *places, writers, readers, keys, locks, timeout=300)
    assert set(found["codes"]) == {0}
    assert set(found["computed"]) == set(range(keys))
    if locks == "with":
        assert len(found["computed"]) == keys
    assert found["reads"] > 0
    store = Store(*places)
    assert set(store.all(FeatureSet)) == {features(number) for number in range(keys)}
    assert store.verify().damaged == {}
    assert leftovers(places) == []


def replace_in_a_crowd(home: str, cache: str) -> None:
    """One process replaces a trial on and on; others never miss it, and never see halves of two."""
    store = Store(Path(home), Path(cache))
    save_trial(store, 0)
    context = multiprocessing.get_context("fork")

    def read() -> None:
        store, before = Store(Path(home), Path(cache)), 0
        while before < 29:
            found, arrays = store.load(Trial, TRIAL.key.digest)
            assert (arrays["learned/weight"] == found.steps).all()
            assert found.steps >= before
            before = found.steps
            store.arrays(Trial, TRIAL.key.digest)
            assert store.find(Trial, TRIAL.key.digest)
            assert store.all(Trial)

    readers = [context.Process(target=read) for _ in range(3)]
    for process in readers:
        process.start()
    for number in range(1, 30):
        save_trial(store, number)
    for process in readers:
        process.join()
    print(json.dumps([process.exitcode for process in readers]))  # noqa: T201


def test_a_trial_that_is_replaced_can_be_read_at_every_moment(places: Places) -> None:
    assert child(replace_in_a_crowd, *places) == [0] * 3
    assert leftovers(places) == []


# The order of things, and power cuts


def save_one(home: str, cache: str) -> None:
    save(Store(Path(home), Path(cache)), 1)
    print("{}")  # noqa: T201


def test_files_are_on_the_disk_before_they_have_their_name_and_the_index_is_last(
    places: Places, tmp_path: Path
) -> None:
    if not shutil.which("strace"):
        pytest.skip("there is no strace")
    log = tmp_path / "calls"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,pwrite64,msync"
    tracer = ("strace", "-f", "-y", "-o", str(log), "-e", calls)
    if subprocess.run([*tracer, "true"], capture_output=True).returncode:
        pytest.skip("nothing may be traced here")
    child(save_one, *places, within=tracer)
    lines = log.read_text().splitlines()

    def place(pattern: str, after: int = 0) -> int:
        found = [number for number, line in enumerate(lines) if number >= after and re.search(pattern, line)]
        assert found, f"{pattern} is not among\n" + "\n".join(lines)
        return found[0]

    two = f"{places[1]}/features/v1/{DIGEST[:2]}"
    aside = rf"{two}/\.{DIGEST}\.[0-9a-f]{{32}}"
    renamed = place(rf'rename.*"{aside}".*"{two}/{DIGEST}"')
    for file in _FILES:
        assert place(rf"fsync\(\d+<{aside}/{file}>") < renamed
    assert place(rf"fsync\(\d+<{aside}>") < renamed
    named = place(rf"fsync\(\d+<{two}>", after=renamed)
    for parent in (f"{places[1]}/features/v1", f"{places[1]}/features", places[1], places[1].parent):
        assert place(rf"fsync\(\d+<{parent}>") < named
    # The index was made before; the row of what was stored comes after its name is safe.
    rows = place(rf"pwrite64\(\d+<{places[0]}/zoo.db>.*", after=renamed)
    assert named < rows
    assert place(rf"(fsync|fdatasync)\(\d+<{places[0]}/zoo.db>", after=rows)


def write_until_killed(home: str, cache: str, sync: str) -> None:
    if sync == "without":
        os.fsync = lambda _: None  # type: ignore[assignment]
    write_on_and_on(home, cache, 0, sys.stdout.fileno())


def cut_power(root: Path, instant: float, sync: str) -> tuple[list[str], list[str]]:
    """What a writer acknowledged before the power went, and what is wrong after it came back.

    The image of a file system, copied while the writer stands still, is the disk without what was cached.
    """
    tools = [shutil.which(name) for name in ("mkfs.ext4", "mount", "umount")]
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists() or not all(tools):
        pytest.skip("it takes root, loop devices and ext4")
    make, mount, unmount = map(str, tools)
    image, after, mounted = root / "image", root / "after", root / "disk"
    mounted.mkdir(exist_ok=True)
    image.write_bytes(b"")
    os.truncate(image, 64 << 20)
    subprocess.run([make, "-q", "-F", image], check=True, capture_output=True)
    if subprocess.run([mount, "-o", "loop", image, mounted], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    places = mounted / "home", mounted / "cache"
    code = "import sys, test_durability; test_durability.write_until_killed(*sys.argv[1:])"
    try:
        command = [sys.executable, "-c", code, *map(str, places), sync]
        with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            first = writer.stdout.readline()
            time.sleep(instant)
            writer.send_signal(signal.SIGSTOP)
            while Path(f"/proc/{writer.pid}/stat").read_text().split()[2] != "T":
                time.sleep(0.001)
            shutil.copyfile(image, after)
            writer.kill()
            acknowledged = [first, *writer.stdout]
    finally:
        subprocess.run([unmount, mounted], check=True)
    subprocess.run([mount, "-o", "loop", after, mounted], check=True)
    try:
        return acknowledged, list(wrong(places, acknowledged))
    finally:
        gc.collect()  # closes the index
        subprocess.run([unmount, mounted], check=True)


def wrong(places: Places, acknowledged: list[str]) -> Iterator[str]:
    """What is damaged or lost of what was acknowledged."""
    store = Store(*places)
    yield from store.verify().damaged.values()
    checkpoints, found = store.checkpoints(), store.whole(Trial, TRIAL.key.digest)
    for line in acknowledged:
        kind, number = line.split()
        there = {
            "features": lambda n: store.whole(FeatureSet, features(n).key.digest),
            "checkpoint": lambda n: checkpoint(n) in checkpoints,
            "trial": lambda n: found and found.steps >= n,
        }
        if not there[kind](int(number)):
            yield f"{line.strip()} is lost"


@pytest.mark.nightly
@pytest.mark.parametrize("cuts", [30])
def test_whatever_was_acknowledged_before_a_power_cut_is_there(tmp_path: Path, cuts: int) -> None:
    chance = random.Random(0)  # noqa: S311 a choice of instants
    results = [cut_power(tmp_path, chance.uniform(0, 0.3), "with") for _ in range(cuts)]
    assert [faults for _, faults in results] == [[]] * cuts
    assert sum(len(acknowledged) for acknowledged, _ in results) > 10 * cuts


@pytest.mark.nightly
def test_without_syncing_a_power_cut_would_lose_something(tmp_path: Path) -> None:
    """Or else the test above proves nothing."""
    assert any(cut_power(tmp_path, 0.3, "without")[1] for _ in range(3))


# Against a dictionary


class Zoo(RuleBasedStateMachine):
    """Whatever is done in whatever order, the store holds what a dictionary would."""

    folder: ClassVar[Path]
    numbers = st.integers(0, 3)

    @initialize()
    def begin(self) -> None:
        root = Path(tempfile.mkdtemp(dir=self.folder))
        self.places = root / "home", root / "cache"
        self.features: dict[int, int] = {}
        self.checkpoints: set[int] = set()
        self.trial: int | None = None
        self.store = Store(*self.places)

    @rule(number=numbers)
    def save(self, number: int) -> None:
        save(self.store, number)
        self.features[number] = number

    @rule(number=numbers)
    def discard(self, number: int) -> None:
        freed = self.store.discard(FeatureSet, features(number).key.digest)
        assert bool(freed) == (number in self.features)
        self.features.pop(number, None)

    @rule(number=numbers)
    def add(self, number: int) -> None:
        self.store.add(checkpoint(number))
        self.checkpoints.add(number)

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        self.store.remove(checkpoint(number).revision)
        self.checkpoints.discard(number)

    @rule(number=numbers)
    def replace(self, number: int) -> None:
        save_trial(self.store, number)
        self.trial = number

    @rule(number=numbers, name=st.sampled_from(_FILES))
    def damage(self, number: int, name: str) -> None:
        if number in self.features:
            path = folder_of(self.places, number) / name
            path.write_bytes(bytes(path.stat().st_size))
            assert str(path.parent) in Store(*self.places).verify().damaged
            save(Store(*self.places), number)

    @rule(n=st.integers(1, 40), number=numbers)
    def crash(self, n: int, number: int) -> None:
        """Everything fails from some call on, as where a process is killed."""
        with pytest.MonkeyPatch.context() as patches:
            Fault(patches, n, errno.EIO)
            with suppress(StorageError):
                save(self.store, number)
        if self.store.find(FeatureSet, features(number).key.digest):
            self.features[number] = number
        self.store = Store(*self.places)

    @rule()
    def reopen(self) -> None:
        self.store = Store(*self.places)

    @rule()
    def lose_the_index(self) -> None:
        (self.places[0] / "zoo.db").unlink(missing_ok=True)
        self.store = Store(*self.places)

    @rule()
    def sweep(self) -> None:
        self.store.sweep(0)

    @invariant()
    def holds(self) -> None:
        assert {int(found.key.corpus, 16) for found in self.store.all(FeatureSet)} == set(self.features)
        for number in self.features:
            np.testing.assert_array_equal(stored(self.store, number), array(number))
        assert set(self.store.checkpoints()) == {checkpoint(number) for number in self.checkpoints}
        assert self.store.all(Trial) == (() if self.trial is None else (trial(self.trial),))
        assert self.store.verify().damaged == {}
        assert leftovers(self.places) == []


@pytest.mark.parametrize("examples", [10, pytest.param(100, marks=pytest.mark.nightly)])
def test_a_store_is_a_dictionary_that_outlives_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(Zoo, "folder", tmp_path, raising=False)
    run_state_machine_as_test(
        Zoo,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# Where the index lies

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/me/local rw - xfs /dev/vdb rw
32 27 0:42 / /mnt/with\\040space rw,relatime - fuse.sshfs me@host:/ rw
33 27 0:43 / /scratch rw - ext4 /dev/vdc rw
34 33 0:44 / /scratch rw - lustre mgs@tcp:/fs rw
torn line
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/", "ext4", False),
        ("/homes/x", "ext4", False),
        ("/home", "nfs4", True),
        ("/home/me/zoo", "nfs4", True),
        ("/home/me/local/zoo", "xfs", False),
        ("/mnt/with space/zoo", "fuse.sshfs", True),
        ("/mnt/with", "ext4", False),
        ("/scratch/zoo", "lustre", True),
    ],
)
def test_the_file_system_of_a_path_is_the_nearest_and_latest_that_is_mounted(
    path: str, kind: str, network: bool
) -> None:
    assert kind_of_file_system(PurePosixPath(path), MOUNTS) == kind
    assert is_network(kind) == network


@pytest.mark.parametrize("kind", ["nfs", "cifs", "smb3", "gpfs", "beegfs", "ceph", "fuse.glusterfs", "fuse"])
def test_other_machines_see_network_file_systems(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "tmpfs", "overlay", "apfs", "zfs", "fuseblk", None])
def test_no_other_machine_sees_local_file_systems(kind: str | None) -> None:
    assert not is_network(kind)


def test_on_a_network_file_system_every_machine_has_an_index_of_its_own(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "file_system_of", lambda _: "nfs4")
    caches = tmp_path / "caches of a user"
    monkeypatch.setattr(package.platformdirs, "user_cache_path", lambda _: caches)
    here = Store(*places)
    save(here, 1)
    monkeypatch.setattr(package.platform, "node", lambda: "another machine")
    there = Store(*places)
    save_trial(there, 1)
    save_trial(here, 2)
    here.add(CHECKPOINT)
    assert not (places[0] / "zoo.db").exists()
    assert len(list((caches / "index").glob("*.db"))) == 2
    for store in (here, there):
        assert store.all(Trial) == (trial(2),)
        assert store.all(FeatureSet) == (features(1),)
        assert store.checkpoints() == (CHECKPOINT,)
        assert store.verify().damaged == {}


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
