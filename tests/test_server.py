"""The server that forks workers, and who asks it, when the other side is gone or does not obey."""

from __future__ import annotations

import errno
import gc
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from zookeeper import worker
from zookeeper.errors import CheckpointError
from zookeeper.records import Corpus, Reading, Revision
from zookeeper.worker import Cuts, Limits, inside, keeper, reasons, walls, wire
from zookeeper.worker.keeper import Server, Worker

FORKING = multiprocessing.get_context("fork")
CORPUS = Corpus((("two", "words"),), "word")
NOBODY = 2**22 + 1  # no process has that number


# The server


class Serving:
    """A server in a fork of this process, which has torch loaded already.

    Args:
        folder: that it may write to.
        work: what its workers do in the place of a job.
        parent: the process that it takes for the one that started it.
    """

    def __init__(
        self,
        folder: Path,
        work: Callable[[socket.socket], None] = inside.work,
        parent: int | None = None,
    ) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = theirs, folder, work, parent or os.getpid()
        self.process = FORKING.Process(target=self._serve, args=arguments)
        self.process.start()
        theirs.close()

    def _serve(self, theirs: socket.socket, folder: Path, work: Any, parent: int) -> None:
        from zookeeper.worker.server import serve

        self.control.close()
        gc.freeze()  # it collects garbage first, and here that of all tests would be looked through
        os.environ["TMPDIR"] = str(folder)
        inside.work = work
        serve(theirs, parent=parent, forks=True)

    def ask(self) -> int:
        """Ask for a worker; gives its process id, or the error for which there is none."""
        channel, theirs = socket.socketpair()
        report, reported = socket.socketpair()
        report.settimeout(30)
        with channel, theirs, report, reported:
            handles = [theirs.fileno(), reported.fileno(), 2]
            socket.send_fds(self.control, [b'{"family": null}'], handles)
            return int(wire.NUMBER.unpack(report.recv(wire.NUMBER.size))[0])

    def ended(self) -> int | None:
        """How it ended, when nobody can ask it any more."""
        self.control.close()
        self.process.join(30)
        return self.process.exitcode


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(one) for one in found.split()]


def until(holds: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def test_a_server_ends_when_the_process_that_started_it_is_gone(tmp_path: Path) -> None:
    serving = Serving(tmp_path, parent=NOBODY)
    serving.process.join(30)
    assert serving.process.exitcode == 0
    serving.control.close()


def test_a_worker_that_cannot_be_watched_is_reported_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    serving = Serving(tmp_path, lambda channel: time.sleep(60))
    assert serving.ask() == -errno.EMFILE
    assert until(lambda: not children_of(cast(int, serving.process.pid)))
    assert until(lambda: not list(tmp_path.iterdir()))
    assert serving.ask() == -errno.EMFILE, "it can be asked again"
    assert serving.ended() == 0


def test_what_a_worker_leaves_in_groups_of_their_own_ends_with_it_or_with_the_server(tmp_path: Path) -> None:
    found, stay = tmp_path / "found", tmp_path / "stay"

    def work(channel: socket.socket) -> None:
        for _ in range(2):  # as native code could: the child of a child
            if os.fork():
                until(lambda: found.exists() and not stay.exists())
                return
            os.setsid()
        (tmp_path / "pid").write_text(str(os.getpid()))
        (tmp_path / "pid").rename(found)
        time.sleep(60)

    def stray() -> Path:
        found.unlink(missing_ok=True)
        assert serving.ask() > 0
        assert until(found.exists)
        return Path("/proc", found.read_text())

    (tmp_path / "room").mkdir()
    serving = Serving(tmp_path / "room", work)
    first = stray()
    assert until(lambda: not first.exists())
    stay.touch()
    second = stray()
    assert second.exists()
    serving.process.terminate()
    assert until(lambda: not second.exists())
    assert serving.ended() == 0


# The walls


def test_a_worker_whose_server_is_gone_before_it_begins_ends() -> None:
    for parent, status in ((os.getpid(), 0), (NOBODY, 1)):
        process = FORKING.Process(target=walls.end_with, args=(parent,))
        process.start()
        process.join(30)
        assert process.exitcode == status


def test_a_worker_takes_a_job_first_and_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(theirs, wire.CORPUS, b"{}")
        with pytest.raises(wire.NonsenseError, match=r"b'C' in the place of b'J'"):
            inside.work(ours)


# Who asks


class Speaking:
    """A server whose workers have said already what they will say, and how they ended."""

    def __init__(self, said: bytes = b"", *reported: int) -> None:
        self._said = said
        self._reported = reported
        self.forks = True
        self.theirs: list[socket.socket] = []

    def server(self, threads: int) -> Speaking:
        return self

    def worker(self, family: str | None, patience: float) -> Worker:
        channel, theirs = socket.socketpair()
        report, reported = socket.socketpair()
        channel.settimeout(patience)
        theirs.sendall(self._said)
        for number in self._reported:
            reported.send(wire.NUMBER.pack(number))
        self.theirs += [theirs, reported]
        return Worker(cast(Server, self), channel, report, tempfile.TemporaryFile())

    def ended(self) -> tuple[int, str]:
        return 1, "the last words"

    def close(self) -> None:
        for one in self.theirs:
            one.close()


def frame(kind: bytes, data: bytes = b"") -> bytes:
    return kind + len(data).to_bytes(8, "little") + data


@contextmanager
def speaking(monkeypatch: pytest.MonkeyPatch, said: bytes, *reported: int) -> Iterator[None]:
    server = Speaking(said, *reported)
    monkeypatch.setattr(worker, "_KEEPER", server)
    try:
        yield
    finally:
        server.close()


def test_rows_are_nonsense_where_weights_are_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = frame(wire.PROGRESS, wire.NUMBER.pack(1))
    with speaking(monkeypatch, said, NOBODY, 0), pytest.raises(CheckpointError, match="nonsense"):
        worker.convert(tmp_path, tmp_path)


def test_layers_have_the_names_that_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(layer="all")
    for names, right in ((("0", "1", "mean"), True), (("0", "2", "mean"), False), (("0", "1"), False)):
        layers = dict.fromkeys(names, 1)
        header = json.dumps({"rows": 2, "layers": layers, "classes": 0, "empty": 0}).encode()
        arrays = np.arange(2).tobytes() + np.ones((len(names), 2), "f4").tobytes()
        block = frame(wire.BLOCK, len(header).to_bytes(4, "little") + header + arrays)
        with speaking(monkeypatch, block + frame(wire.END), NOBODY, 0):
            if right:
                assert [list(found.states) for found in worker.read(tmp_path, CORPUS, reading)] == [
                    list(names)
                ]
            else:
                with pytest.raises(CheckpointError, match="nonsense"):
                    list(worker.read(tmp_path, CORPUS, reading))


def test_a_worker_that_goes_with_a_question_unread_has_died() -> None:
    server = Speaking(b"", NOBODY)
    with server.worker(None, 5) as asked:
        asked.ask(wire.JOB, b"{}")
        for one in server.theirs:
            one.close()  # with the question unread, which the system calls a reset
        with pytest.raises(EOFError):
            asked.answer(100)
        assert asked.ended() == (1, "the last words"), "of the server, as nothing was reported"


def test_a_worker_that_does_not_say_how_it_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_SECONDS_TO_DIE", 0.05)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:  # noqa: S607
        server = Speaking(b"", process.pid)
        with server.worker(None, 5) as asked:
            asked.ask(wire.JOB, b"{}")
        assert process.wait(20) < 0
        server.close()


def test_a_server_that_does_not_clear_up_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = tmp_path / "python"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\necho deaf >&2\nwhile :; do sleep 0.1; done\n")
    deaf.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(deaf))
    monkeypatch.setattr(keeper, "_SECONDS_TO_CLEAR_UP", 0.1)
    monkeypatch.setattr(keeper, "_SECONDS_TO_DIE", 0.5)
    server = Server(1)
    assert server.runs
    status, said = server.ended()
    assert (status, said) == (-9, "deaf")
    assert not server.runs


def test_last_words_about_memory_are_about_memory() -> None:
    said = reasons.death(-6, "terminate called: std::bad_alloc", begun=False, memory=2 * 10**9)
    assert said.message == "it needs more than 2 GB of memory."
    assert str(said.fix).startswith("ZOO_MEMORY=4")


def test_on_a_gpu_memory_that_is_only_mapped_counts_too(tmp_path: Path) -> None:
    assert Limits().bytes_for(tmp_path, "cuda:0") >= Limits().bytes_for(tmp_path, "cpu")
    assert Limits().bytes_for(tmp_path, "cuda:0") == Limits().bytes_for(tmp_path.parent, "cuda")
    assert Limits(memory=5).bytes_for(tmp_path, "cuda") == 5


def test_a_frame_that_is_late_when_it_is_waited_for_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(theirs, wire.END)
        ours.settimeout(0.0)
        with pytest.raises(TimeoutError):
            wire.receive(ours, 100)


def test_windows_have_no_name_where_the_configuration_is_gone(tmp_path: Path) -> None:
    from zookeeper.records import Checkpoint

    checkpoint = Checkpoint(Revision("org/name", "main", "a" * 40), ())
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(CheckpointError, match="its configuration is gone"):
            Cuts.name(checkpoint, folder, CORPUS, Reading())
