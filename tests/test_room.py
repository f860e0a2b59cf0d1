"""States of unfinished trainings: whole or not there, the last two of them, and one process at a time."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
import toy
from safetensors import SafetensorError

from zookeeper.errors import StorageError, UsageError
from zookeeper.tuning.room import Room
from zookeeper.tuning.watch import Watch

Write = Callable[[Path], None]


def save(room: Room, n: int, write: Write | None = None) -> None:
    """As a process alone does."""
    room.save(n, write or content(n), leads=True, meet=lambda: None)


def content(n: int) -> Write:
    def write(folder: Path) -> None:
        (folder / "sub").mkdir()
        (folder / "sub" / "number").write_text(str(n))

    return write


def kept(room: Room) -> dict[str, str]:
    return {path.name: (path / "sub" / "number").read_text() for path in room.folder.glob("state-*")}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / "digest")


# States


def test_nothing_is_kept_before_something_is_saved(room: Room) -> None:
    assert room.latest() is None
    assert not room.folder.exists()


def test_last_two_states_are_kept(room: Room) -> None:
    for n in (8, 9, 10, 100):
        save(room, n)
        latest = room.latest()
        assert latest is not None
        assert (latest / "sub" / "number").read_text() == str(n)
    assert kept(room) == {"state-10": "10", "state-100": "100"}


@pytest.mark.parametrize(
    "refusal",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0\nmore"),
        SafetensorError("I/O error: No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
    ids=["full", "torch", "safetensors", "denied"],
)
def test_write_that_fails_leaves_the_states_before(room: Room, refusal: Exception) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("1")
        raise refusal

    save(room, 1)
    with pytest.raises(StorageError) as caught:
        save(room, 2, write)
    assert caught.value.fix
    assert "\n" not in (caught.value.why or "")
    assert kept(room) == {"state-1": "1"}
    save(room, 2)
    assert kept(room) == {"state-1": "1", "state-2": "2"}


def test_state_that_was_half_written_is_ignored(room: Room) -> None:
    save(room, 3)
    (room.folder / ".state-4").mkdir()
    (room.folder / ".state-4" / "half").write_text("1")
    assert room.latest() == room.folder / "state-3"
    save(room, 4)
    assert kept(room) == {"state-3": "3", "state-4": "4"}
    assert not (room.folder / "state-4" / "half").exists()


def test_interrupted_write_leaves_the_states_before(room: Room) -> None:
    def write(folder: Path) -> None:
        raise KeyboardInterrupt

    save(room, 1)
    with pytest.raises(KeyboardInterrupt):
        save(room, 2, write)
    assert kept(room) == {"state-1": "1"}


def test_only_the_first_process_makes_a_state_visible(room: Room) -> None:
    met: list[bool] = []

    def meet() -> None:
        met.append((room.folder / "state-1").exists())

    room.save(1, content(1), leads=False, meet=meet)
    assert met == [False] * 3
    assert room.latest() is None


def test_finished_room_is_gone(room: Room) -> None:
    with room.held():
        save(room, 1)
        room.clear()
    assert not room.folder.exists()
    assert list(room.folder.parent.iterdir()) == []
    room.clear()


# One process at a time


def test_second_process_is_refused_by_name_of_the_first(room: Room) -> None:
    refused = pytest.raises(UsageError, match="another process is training this")
    with room.held(), refused as caught, Room(room.folder).held():
        pass
    assert caught.value.why is not None
    assert f"process {os.getpid()} on {os.uname().nodename} holds" in caught.value.why
    with room.held():
        pass


def test_error_frees_the_room(room: Room) -> None:
    with pytest.raises(ZeroDivisionError), room.held():
        raise ZeroDivisionError
    with room.held():
        pass


def hold(folder: Path) -> None:
    with Room(folder).held():
        (folder / "held").touch()
        signal.pause()


def test_killed_process_frees_the_room(room: Room) -> None:
    holder = get_context("forkserver").Process(target=hold, args=(room.folder,))
    holder.start()
    toy.wait_for(room.folder, "held")
    with pytest.raises(UsageError) as caught, room.held():
        pass
    assert caught.value.why is not None
    assert str(holder.pid) in caught.value.why
    holder.kill()
    holder.join(10)
    with room.held():
        pass


# A full disk


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files that cannot be larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("size", [20, 600, 3000])
def test_training_on_a_full_disk_goes_on_from_the_state_before(tmp_path: Path, size: int) -> None:
    room = Room(tmp_path / "digest")
    whole = toy.training(toy.Toy.of()).run()

    def fill(progress: toy.Progress) -> None:
        if progress.made == 5:
            stack.__enter__()

    stack = largest_file(size)
    try:
        with pytest.raises(StorageError):
            toy.training(toy.Toy.of(), room=room, watch=Watch(every=0)).run(fill)
    finally:
        stack.__exit__(None, None, None)
    latest = room.latest()
    assert latest is not None
    assert json.loads((latest / "progress.json").read_text())["made"] == 4
    assert toy.summary(toy.training(toy.Toy.of(), room=room).run()) == toy.summary(whole)
