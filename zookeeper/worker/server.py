"""The process that has torch loaded, and forks a worker for each checkpoint.

It opens nothing of a stranger. On its standard input there is nothing; what it is asked comes with three
descriptors on a socket: of the channel to the worker, of one on which it reports how the worker fares, and
of a file for what the worker says before it dies.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from zookeeper.extract.preloading import preload
from zookeeper.worker import granted, inside, walls
from zookeeper.worker.wire import NUMBER

_LONGEST_REQUEST = 4096
_CHANNEL = 3  # the first descriptor after the standard ones
_WATCH = 1.0  # seconds between looks at whether the parent is there
_LOOKS = 100  # for what workers left behind, which may multiply


def serve(control: socket.socket, *, parent: int, forks: bool) -> None:
    """Do what is asked for until nobody can ask any more.

    Args:
        control: on which it is asked.
        parent: process id of who asks.
        forks: whether to fork a worker each time, or to be the worker, once.
    """
    signal.signal(signal.SIGTERM, _end)
    walls.adopt()
    granted.libraries()  # which workers then need not find again
    gc.collect()
    gc.freeze()  # so that workers share the pages of what is loaded here
    workers: dict[int, _Worker] = {}
    try:
        with suppress(SystemExit), selectors.DefaultSelector() as ready:
            ready.register(control, selectors.EVENT_READ)
            while os.getppid() == parent:
                for key, _ in ready.select(_WATCH):
                    if key.fileobj is not control:
                        ready.unregister(key.fileobj)
                        workers.pop(key.fd).buried()
                        _end_strays({worker.pid for worker in workers.values()})
                        continue
                    request = _Request.of(control)
                    if request is None:
                        return
                    worker = request.forked() if forks else request.done_here()
                    if worker is not None:
                        workers[worker.handle] = worker
                        ready.register(worker.handle, selectors.EVENT_READ)
    finally:
        for worker in workers.values():
            worker.buried()
        _end_strays(set())


def _end(*_: object) -> NoReturn:
    """What a signal to end means."""
    sys.exit()


def _end_strays(known: Set[int]) -> None:
    """End what a worker started, in groups of its own too, and left to this process.

    Args:
        known: process ids of the workers that run.
    """
    for _ in range(_LOOKS):
        strays = set(_children()) - known
        if not strays:
            return
        for pid in strays:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in strays:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> Iterator[int]:
    """Process ids of all children, where the system tells."""
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, path.read_text().split())


@dataclass(frozen=True)
class _Worker:
    """A worker that was forked.

    Attributes:
        pid: of its process, and of the group that it leads.
        handle: by which the system says that it ended.
        report: to whom that is passed on.
        folder: that it may write to.
    """

    pid: int
    handle: int
    report: socket.socket
    folder: Path

    def kill(self) -> None:
        """End it and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def buried(self) -> None:
        """Report how it ended."""
        self.kill()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.handle)
        shutil.rmtree(self.folder, ignore_errors=True)
        _report(self.report, status)
        self.report.close()


@dataclass(frozen=True)
class _Request:
    """A job that is asked for.

    Attributes:
        channel: to whom asks.
        report: likewise, for what becomes of the worker.
        errors: file of its standard output and standard error.
    """

    channel: socket.socket
    report: socket.socket
    errors: int

    @classmethod
    def of(cls, control: socket.socket) -> _Request | None:
        """The next, or None where there will be none."""
        message, handles, *_ = socket.recv_fds(control, _LONGEST_REQUEST, 3)
        if not message:
            return None
        preload(json.loads(message)["family"])
        channel, report, errors = handles
        return cls(socket.socket(fileno=channel), socket.socket(fileno=report), errors)

    def forked(self) -> _Worker | None:
        """Have a process of its own do it; None where the system gives none, which is reported."""
        try:
            with ExitStack() as undo:
                folder = Path(tempfile.mkdtemp(dir=os.environ["TMPDIR"]))
                undo.callback(shutil.rmtree, folder, ignore_errors=True)
                parent = os.getpid()
                pid = os.fork()
                if not pid:
                    self._do(folder, parent)
                undo.callback(_end_child, pid)
                worker = _Worker(pid, os.pidfd_open(pid), self.report, folder)
                undo.pop_all()
        except OSError as error:
            _report(self.report, -(error.errno or errno.EIO))
            self.report.close()
            return None
        else:
            _report(self.report, pid)
            return worker
        finally:
            self.channel.close()
            os.close(self.errors)

    def done_here(self) -> NoReturn:
        """Do it in this process, which ends with it."""
        _report(self.report, os.getpid())
        self._do(Path(os.environ["TMPDIR"]), None)

    def _do(self, folder: Path, parent: int | None) -> NoReturn:
        """Be the worker; nothing of the server's is left open.

        Args:
            folder: to write to.
            parent: the process that forked this one.
        """
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if parent is not None:
                os.setsid()
                walls.end_with(parent)
            for standard in (1, 2):
                os.dup2(self.errors, standard)
            os.dup2(self.channel.fileno(), _CHANNEL)
            os.closerange(_CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))
            tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
            inside.work(socket.socket(fileno=_CHANNEL))
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _end_child(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _report(to: socket.socket, number: int) -> None:
    """Pass a number on to whom it concerns, who may have gone."""
    with suppress(OSError):
        to.send(NUMBER.pack(number))
