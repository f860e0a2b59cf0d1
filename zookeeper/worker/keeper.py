"""The process that workers are forked from, and a worker, as seen by who asks. Loads no torch."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, MSG_WAITALL, SOCK_SEQPACKET, SOCK_STREAM, send_fds, socket, socketpair
from types import TracebackType
from typing import BinaryIO
from weakref import WeakSet

from zookeeper.errors import CheckpointError, TerminatedError
from zookeeper.worker import granted, reasons
from zookeeper.worker.wire import NUMBER, receive, send

FORKS = sys.platform == "linux"
"""Whether a process that has torch loaded can be forked."""

_PACKAGE = Path(__file__).parents[2]
# Not where threads are to run: with GNU's OpenMP one thread puts another there, which no room allows.
_KEPT = re.compile(
    r"(?!OMP_PROC_BIND|OMP_PLACES|GOMP_CPU_AFFINITY)"
    r"(PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|GLIBC_TUNABLES|(OMP|MKL|KMP|GOMP|CUDA|NVIDIA|HIP|ROCR)_\w+"
    r"|PYTHON(HOME|HASHSEED|UTF8|NOUSERSITE|DONTWRITEBYTECODE|PYCACHEPREFIX))"
)
_PRODUCTS_KEPT = "16"  # of oneDNN: those of a layer, whose code is some 100 KiB each; others are made anew
_HUGE_PAGES = "glibc.malloc.hugetlb=1"  # where the kernel has some: what is multiplied lies in fewer of them
_LAST_WORDS = 4096  # bytes of what a worker said that are looked at
_SECONDS_TO_DIE = 10.0
_SECONDS_TO_CLEAR_UP = 2.0


class Server:
    """A process with torch loaded and without secrets, which forks workers.

    Args:
        threads: of each worker, unless the environment says.
        forks: whether it forks, or does one job itself.
    """

    def __init__(self, threads: int, *, forks: bool = FORKS) -> None:
        self.forks = forks
        self._last_words = ""
        self._folder = tempfile.mkdtemp(prefix="zoo-worker-")
        self._control, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET if forks else SOCK_STREAM)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 it is open as long as the process runs
        # It sees for itself when this process is gone: a signal of the system would come when this thread is.
        self._process = subprocess.Popen(  # noqa: S603 our own code
            [
                *(sys.executable, "-P", "-m", "zookeeper.worker"),
                *(str(theirs.fileno()), str(os.getpid()), "forks" if forks else "alone"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            env=_environment(os.environ, self._folder, threads),
            cwd=self._folder,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    @property
    def runs(self) -> bool:
        """Whether it does."""
        return self._process.poll() is None

    def worker(self, family: str | None, patience: float) -> Worker:
        """A new worker, which waits for its job.

        Args:
            family: model type of the checkpoint, whose code is loaded ahead.
            patience: seconds without a sign of life after which it counts as dead.
        """
        channel, theirs = socketpair()
        report, reported = socketpair()
        said = tempfile.TemporaryFile()  # noqa: SIM115 the worker closes it
        with theirs, reported, suppress(OSError):  # if it is gone, the worker says so
            message = json.dumps({"family": family}).encode()
            send_fds(self._control, [message], [theirs.fileno(), reported.fileno(), said.fileno()])
        channel.settimeout(patience)
        report.settimeout(patience)
        return Worker(self, channel, report, said)

    def ended(self) -> tuple[int, str]:
        """How it ended, by itself or by force, and what it said last."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_DIE)
        self.close()
        return self._process.returncode, self._last_words

    def close(self) -> None:
        """End it, with its workers; if it does not clear up after them soon, the system ends them."""
        self._process.terminate()
        try:
            self._process.wait(_SECONDS_TO_CLEAR_UP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._control.close()
        if not self._said.closed:
            self._last_words = _last_words(self._said)
            self._said.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Worker:
    """A process that does one job, and then is gone.

    Args:
        server: that forks it.
        channel: to it.
        report: from the server, of how it fares.
        said: file of what it says.
    """

    def __init__(self, server: Server, channel: socket, report: socket, said: BinaryIO) -> None:
        self._server = server
        self._channel = channel
        self._report = report
        self._said = said
        self._pid: int | None = None
        self._status: int | None = None

    def ask(self, kind: bytes, data: bytes) -> None:
        """Send it a frame; one that is gone gets none.

        Raises:
            CheckpointError: the system does not start it.
            TimeoutError: it does not take it.
        """
        if self._pid is None:
            self._pid = self._begun()
        with suppress(BrokenPipeError, ConnectionResetError):
            send(self._channel, kind, data)

    def answer(self, most: int) -> tuple[bytes, memoryview]:
        """The next frame of it; see `receive`."""
        try:
            return receive(self._channel, most)
        except ConnectionResetError as error:
            raise EOFError from error

    def ended(self) -> tuple[int, str]:
        """How it ended, by itself or by force, and what it said last."""
        self._wait()
        if self._status is None:
            return self._server.ended()
        return self._status, _last_words(self._said)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._wait()  # so that its memory is free for the next
            elif self._status is None:
                self._kill()
        finally:
            self._channel.close()
            self._report.close()
            self._said.close()
            if not self._server.forks:
                self._server.close()

    def _wait(self) -> None:
        """Wait for its end, but not for long; then force it."""
        self._report.settimeout(_SECONDS_TO_DIE)
        for _ in range(2):
            with suppress(TimeoutError):
                self._status = self._status if self._status is not None else self._reported()
                return
            self._kill()

    def _kill(self) -> None:
        """End it at once, with whatever it started; one that has not begun finds its channel closed."""
        if self._pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def _begun(self) -> int | None:
        """Its process id, or None where there is no server any more."""
        number = self._reported()
        if number is not None and number < 0:
            self._status = number
            raise CheckpointError("no process could be started for it.", why=os.strerror(-number))
        return number

    def _reported(self) -> int | None:
        """What the server says next of it; None where there is no server any more."""
        try:
            came = self._report.recv(NUMBER.size, MSG_WAITALL)
        except ConnectionResetError:
            return None
        return NUMBER.unpack(came)[0] if len(came) == NUMBER.size else None


class Keeper:
    """Servers of this process: one for each number of threads, so usually one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[int, Server] = {}
        self._stopped: WeakSet[threading.Thread] = WeakSet()
        atexit.register(self.close)

    def server(self, threads: int) -> Server:
        """One that runs, started if need be.

        Args:
            threads: of its workers.

        Raises:
            TerminatedError: this thread was at work when all were ended.
        """
        with self._lock:
            if threading.current_thread() in self._stopped:
                raise TerminatedError("no more checkpoints are read.")
            server = self._servers.get(threads)
            if server is None or not server.runs:
                if server is not None:
                    server.close()
                server = self._servers[threads] = Server(threads)
            return server

    def close(self) -> None:
        """End them and their workers, at once; for no other thread that is at work now does one begin."""
        with self._lock:
            self._stopped.update(set(threading.enumerate()) - {threading.current_thread()})
            while self._servers:
                self._servers.popitem()[1].close()


def _environment(environ: Mapping[str, str], folder: str, threads: int) -> dict[str, str]:
    """What a server knows of where it runs: no token, and no home to find one in."""
    kept = {name: value for name, value in environ.items() if _KEPT.fullmatch(name)}
    path = os.pathsep.join(filter(None, [str(_PACKAGE), environ.get("PYTHONPATH")]))
    return (
        {
            "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": str(threads),
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY": _PRODUCTS_KEPT,
            "GLIBC_TUNABLES": _HUGE_PAGES,
        }
        | kept
        | {
            "PYTHONPATH": path,
            granted.HOME: environ.get("HOME", ""),
            "TMPDIR": folder,
            "HF_HOME": folder,
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DISABLE_SAFETENSORS_CONVERSION": "1",
        }
    )


def _last_words(said: BinaryIO) -> str:
    """The last line of what a process said, as text that does nothing but show, without secrets."""
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _LAST_WORDS))
    lines = said.read(_LAST_WORDS).decode(errors="replace").strip().splitlines()
    return reasons.line(lines[-1]) if lines else ""
