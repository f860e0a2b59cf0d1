"""Nobody computes what somebody is computing; a claim protects nothing, and nobody waits for ever."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Barrier, Thread, Timer
from typing import Any

import filelock
import pytest
from stores import DIGEST, Places, features, save

from zookeeper.records import FeatureSet
from zookeeper.results import Trial
from zookeeper.store import Store, claims


def holding(home: Path, cache: Path, seconds: float, told: Any) -> None:
    with Store(home, cache).claim(FeatureSet, DIGEST):
        told.set()
        time.sleep(seconds)


def hanging(lock: Path, told: Any) -> None:
    with claims.held(lock, pytest.fail):
        told.set()
        os.kill(os.getpid(), signal.SIGSTOP)


def beating(lock: Path, told: Any) -> None:
    with claims.held(lock, pytest.fail, patience=0.3):
        told.set()
        time.sleep(0.8)


@pytest.fixture
def other() -> Iterator[Callable[..., Any]]:
    """Starts a process that holds something, and goes on when it does."""
    context = multiprocessing.get_context("fork")
    started = []

    def start(target: Callable[..., None], *args: object) -> Any:
        told = context.Event()
        process = context.Process(target=target, args=(*args, told))
        process.start()
        started.append(process)
        assert told.wait(10)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def holder(places: Places, other: Callable[..., Any]) -> Callable[[float], Any]:
    """Starts a process that holds a claim for some seconds."""
    return lambda seconds: other(holding, *places, seconds)


def test_who_waits_is_told_once_by_whom(places: Places, holder: Callable[[float], Any]) -> None:
    process, told = holder(0.5), []
    with Store(*places).claim(FeatureSet, DIGEST, told.append):
        process.join(5)
        assert process.exitcode == 0
    (line,) = told
    who, _, since = line.partition(", at work since ")
    assert who == f"waits for process {process.pid}"
    assert abs(time.time() - datetime.fromisoformat(since).timestamp()) < 60
    assert list((places[1] / "locks").iterdir()) == []


def test_the_note_of_the_store_says_it_too(places: Places, holder: Callable[[float], Any]) -> None:
    process, notes = holder(0.2), []
    with Store(*places, note=notes.append).claim(FeatureSet, DIGEST):
        pass
    assert [note.startswith(f"waits for process {process.pid}, ") for note in notes] == [True]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "process 7 on elsewhere since 2026-01-02T12:04:05Z",
            "process 7 on elsewhere, at work since 2026-01-0",
        ),
        ("process 7 on elsewhere since 2026-99-99", "another process"),
    ],
)
def test_another_machine_is_named(tmp_path: Path, said: str, shown: str) -> None:
    (tmp_path / "lock").write_text(said)
    assert claims._holder(tmp_path / "lock").startswith(shown)


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


def test_a_thread_never_waits_for_itself(places: Places) -> None:
    store = Store(*places)
    with store.claim(FeatureSet, DIGEST), store.claim(FeatureSet, DIGEST, pytest.fail):
        with Store(*places).claim(FeatureSet, DIGEST, pytest.fail):
            pass
        assert len(list((places[1] / "locks").iterdir())) == 1
    assert list((places[1] / "locks").iterdir()) == []


def test_threads_of_one_process_wait_for_each_other(places: Places) -> None:
    """As two names of one commit that are read at the same time, on a GPU each."""
    store, begin, computed = Store(*places), Barrier(4), []

    def compute(number: int) -> None:
        begin.wait()
        with store.claim(FeatureSet, DIGEST):
            if store.find(FeatureSet, DIGEST) is None:
                computed.append(number)
                save(store, 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(compute, range(4)))
    assert len(computed) == 1
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


def test_where_no_thread_can_be_started_a_claim_is_held_without_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    with claims.held(tmp_path / "lock", pytest.fail):
        (lock,) = tmp_path.iterdir()
        assert lock.read_text(encoding="ascii").startswith(f"process {os.getpid()} on ")
    assert list(tmp_path.iterdir()) == []


# Nobody waits for ever


def test_who_gives_no_sign_of_life_is_waited_for_no_longer(tmp_path: Path, other: Callable[..., Any]) -> None:
    lock, told = tmp_path / "lock", list[str]()
    process = other(hanging, lock)
    with claims.held(lock, told.append, patience=0.3):
        (mine,) = tmp_path.iterdir()
        assert f"process {os.getpid()} " in mine.read_text()
        assert [line.split(",")[0] for line in told] == [
            f"waits for process {process.pid}",
            f"process {process.pid}",
        ]
        assert told[1].endswith("has given no sign of life for 0.3 s; goes on without it")
        # It wakes up, ends its work, and does not let go of what is no longer its own.
        os.kill(process.pid, signal.SIGCONT)
        process.join(10)
        assert process.exitcode == 0
        assert f"process {os.getpid()} " in mine.read_text()
    assert list(tmp_path.iterdir()) == []


def test_that_a_lock_was_taken_is_said_when_it_is_had(tmp_path: Path, other: Callable[..., Any]) -> None:
    lock, told = tmp_path / "lock", list[str]()
    other(hanging, lock)

    def tell(line: str) -> None:
        if "goes on without it" in line:
            with pytest.raises(filelock.Timeout):
                filelock.FileLock(lock).acquire(blocking=False)
            told.append(line)

    with claims.held(lock, tell, patience=0.3):
        assert len(told) == 1


def test_several_that_give_up_waiting_harm_nothing(places: Places, other: Callable[..., Any]) -> None:
    lock, store = places[1] / "locks" / "lock", Store(*places)
    other(hanging, lock)

    def compute(_: int) -> None:
        with claims.held(lock, lambda _: None, patience=0.3):
            save(store, 1)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(compute, range(3)))
    assert store.verify().damaged == {}
    assert store.all(FeatureSet) == (features(1),)
    assert list(lock.parent.iterdir()) == []


def test_who_gives_signs_of_life_is_waited_for_however_long(
    tmp_path: Path, other: Callable[..., Any]
) -> None:
    lock, told = tmp_path / "lock", list[str]()
    process = other(beating, lock)
    with claims.held(lock, told.append, patience=0.3):
        assert len(told) == 1
        process.join(10)
        assert process.exitcode == 0


def test_ctrl_c_while_one_waits_ends_it_at_once(
    tmp_path: Path, other: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    lock = tmp_path / "lock"
    other(hanging, lock)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), claims.held(lock, lambda _: signal.raise_signal(signal.SIGINT)):
        pytest.fail("it was not waited for")
    stop = Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()
    with pytest.raises(KeyboardInterrupt), claims.held(lock, lambda _: None):
        pytest.fail("it was not waited for")
    stop.join()
    assert time.monotonic() - began < 2
    assert lock.exists(), "it is still another's"
