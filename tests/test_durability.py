"""What was acknowledged is there: after kills and power cuts, and whatever was done in whatever order."""

from __future__ import annotations

import errno
import gc
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from faults import Fault
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from stores import (
    DIGEST,
    FILES,
    TRIAL,
    Places,
    array,
    checkpoint,
    child,
    features,
    folder_of,
    leftovers,
    save,
    save_trial,
    stored,
    tree,
    trial,
)

from zookeeper.errors import StorageError
from zookeeper.records import FeatureSet
from zookeeper.results import Trial
from zookeeper.store import Store, files

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
    for file in FILES:
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


def cut_power(root: Path, chance: random.Random, sync: str) -> tuple[list[str], list[str]]:
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
        with subprocess.Popen(
            command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout
            first = [writer.stdout.readline() for _ in range(chance.randint(1, 30))]
            time.sleep(chance.uniform(0, 0.02))
            writer.send_signal(signal.SIGSTOP)
            while Path(f"/proc/{writer.pid}/stat").read_text().split()[2] != "T":
                time.sleep(0.001)
            shutil.copyfile(image, after)
            writer.kill()
            acknowledged = [*first, *writer.stdout]
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
    results = [cut_power(tmp_path, chance, "with") for _ in range(cuts)]
    assert [faults for _, faults in results] == [[]] * cuts
    assert sum(len(acknowledged) for acknowledged, _ in results) > 10 * cuts


@pytest.mark.nightly
def test_without_syncing_a_power_cut_would_lose_something(tmp_path: Path) -> None:
    """Or else the test above proves nothing."""
    chance = random.Random(0)  # noqa: S311 a choice of instants
    assert any(cut_power(tmp_path, chance, "without")[1] for _ in range(3))


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

    @rule(number=numbers, name=st.sampled_from(FILES))
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
