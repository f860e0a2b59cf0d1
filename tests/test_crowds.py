"""Many processes write, mend and read one zoo at the same time. The functions run in children."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from stores import (
    CHECKPOINT,
    REVISION,
    RUN,
    TRIAL,
    Places,
    array,
    check_full,
    child,
    features,
    folder_of,
    leftovers,
    rows,
    save,
    save_trial,
    weight,
)

from zookeeper.records import FeatureSet
from zookeeper.results import Trial
from zookeeper.store import Store
from zookeeper.store.truth import Truth

pytestmark = pytest.mark.usefixtures("quick_disk")


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


def test_eight_processes_write_the_same_and_different_features(places: Places) -> None:
    assert child(write_in_a_crowd, *places) == [0] * 8
    store = Store(*places)
    expected = [*range(5), *(100 * worker + 10 + number for worker in range(8) for number in range(5))]
    assert set(store.all(FeatureSet)) == {features(number) for number in expected}
    assert len(store.checkpoints()) == 8
    assert store.runs() == (RUN,)
    np.testing.assert_array_equal(weight(store), array(TRIAL.steps))
    assert store.verify().damaged == {}
    assert leftovers(places) == []


def mend_in_a_crowd(home: str, cache: str) -> None:
    crowd(lambda _: save(Store(Path(home), Path(cache)), 1))


def test_eight_processes_mend_the_same_features(full: Places) -> None:
    (folder_of(full, 1) / "arrays.safetensors").write_bytes(b"damaged")
    assert child(mend_in_a_crowd, *full) == [0] * 8
    check_full(Store(*full))
    assert leftovers(full) == []


def test_eight_processes_mend_the_same_index(full: Places) -> None:
    (full[0] / "zoo.db").write_bytes(b"garbage" * 1000)
    assert child(mend_in_a_crowd, *full) == [0] * 8
    check_full(Store(*full))
    assert Store(*full).rebuild() == rows(full[0] / "zoo.db") == 6


def begin_anew_in_a_crowd(home: str, cache: str, log: str) -> None:
    def listed(truth: Truth, entries: Callable[[Truth], Iterator[Any]] = Truth.entries) -> Iterator[Any]:
        with Path(log).open("a") as file:
            file.write("listed\n")
        return entries(truth)

    Truth.entries = listed  # type: ignore[method-assign]
    crowd(lambda _: save(Store(Path(home), Path(cache)), 1))


def test_eight_processes_make_one_index(places: Places, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert child(begin_anew_in_a_crowd, *places, log) == [0] * 8
    assert log.read_text() == "listed\n"
    assert Store(*places).all(FeatureSet) == (features(1),)


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

    processes = [context.Process(target=compute, args=(worker,)) for worker in range(int(writers))]
    processes += [context.Process(target=read, args=(worker,)) for worker in range(int(readers))]
    for process in processes:
        process.start()
    for process in processes[: int(writers)]:
        process.join()
    done.set()
    for process in processes:
        process.join()
    names = [path.name for path in counted.iterdir()]
    computed = [name.partition("-")[0] for name in names if not name.startswith("reads")]
    reads = sum(int(name.rpartition("-")[2]) for name in names if name.startswith("reads"))
    codes = [process.exitcode for process in processes]
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
