"""The walls of the room as native code meets them: it asks the system itself, so that no tripwire sees it."""

from __future__ import annotations

import _json
import ctypes
import errno
import faulthandler
import hashlib
import json
import os
import platform
import resource
import shutil
import signal
import socket
import struct
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import transformers
from test_worker import assembled, corpus_of
from tiny import TEXT

from zookeeper import extract, worker
from zookeeper.errors import CheckpointError
from zookeeper.plain import plain
from zookeeper.records import Corpus, Reading
from zookeeper.worker import granted, inside, landlock, seccomp, walls, wire
from zookeeper.worker.keeper import _environment
from zookeeper.worker.landlock import Access
from zookeeper.worker.linux import LIBC

KEPT = landlock.version()
needs_landlock = pytest.mark.skipif(not KEPT, reason="this kernel has no Landlock")


def said(result: int) -> str:
    """What the system says to a call."""
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def opened(path: Path, flags: int = os.O_RDONLY) -> str:
    return said(LIBC.open(os.fsencode(path), flags, 0o600))


def address(port: int) -> bytes:
    return struct.pack("=HHI8x", socket.AF_INET, socket.htons(port), socket.htonl(0x7F000001))


def with_socket(kind: int, action: Callable[[int], int], family: int = socket.AF_INET) -> str:
    """What the system says to a socket, or to what is done with it."""
    handle = LIBC.socket(family, kind, 0)
    return said(handle if handle < 0 else action(handle))


def connected(port: int) -> str:
    return with_socket(socket.SOCK_STREAM, lambda handle: LIBC.connect(handle, address(port), 16))


def bound() -> str:
    return with_socket(socket.SOCK_STREAM, lambda handle: LIBC.bind(handle, address(0), 16))


def sent(port: int) -> str:
    return with_socket(socket.SOCK_DGRAM, lambda handle: LIBC.sendto(handle, b"x", 1, 0, address(port), 16))


def ordered(path: Path) -> str:
    """What the system says to connecting to a socket that has a name, as a session bus has."""
    name = struct.pack("=H108s", socket.AF_UNIX, os.fsencode(path))
    return with_socket(
        socket.SOCK_STREAM, lambda handle: LIBC.connect(handle, name, len(name)), socket.AF_UNIX
    )


@pytest.fixture
def listening() -> Iterator[int]:
    """The port of somebody on this machine who would answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def apart(action: Callable[[], Any]) -> Any:
    """What an action gives in a process of its own, which is gone afterwards."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if not pid:
            end_with(lambda: wire.send(theirs, b"R", json.dumps(action()).encode()))
        os.waitpid(pid, 0)
        return json.loads(bytes(wire.receive(ours, 2**20)[1]))


def end_with(action: Callable[[], Any]) -> NoReturn:
    try:
        action()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def inside_the_room(job: dict[str, Any], tries: Callable[[], Any], folder: Path) -> Any:
    """What comes of tries in the place of reading, in a worker as it is forked for a checkpoint.

    Args:
        job: for it.
        tries: what native code of a checkpoint would do; there is no network to leave.
        folder: that the worker may write to.
    """
    ours, theirs = socket.socketpair()

    def instead(*_: Any, **__: Any) -> NoReturn:
        raise CheckpointError(json.dumps(tries()))

    def work() -> None:
        tempfile.tempdir = str(folder)
        inside.read = instead  # type: ignore[assignment]
        walls._leave_the_network = lambda: False
        inside.work(theirs)

    with ours, theirs:
        pid = os.fork()
        if not pid:
            end_with(work)
        corpus = {"sentences": [["a"]], "unit": "word"}
        for kind, data in ((wire.JOB, job), (wire.CORPUS, corpus)):
            wire.send(ours, kind, json.dumps(data).encode())
        wire.send(ours, wire.WINDOWS)
        kind, answer = wire.receive(ours, 2**20)
        os.waitpid(pid, 0)
        assert kind == wire.FAULT
        return json.loads(json.loads(bytes(answer))["message"])


def calls_can_be_given_up() -> bool:
    return bool(apart(seccomp.give_up_calls))


@needs_landlock
def test_native_code_in_a_worker_meets_the_walls(
    checkpoints: dict[str, Path], tmp_path: Path, listening: int
) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    token, key = home / ".cache" / "huggingface" / "token", home / ".ssh" / "id_ed25519"
    folder = Path(shutil.copytree(checkpoints["bert"], home / "models" / "bert"))
    beside = folder / ".env"
    for path in (token, key, beside, own / "mine"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("canary")
    waits, bus = tmp_path / "waits", Path(tempfile.mkdtemp()) / "bus"
    named = socket.socket(socket.AF_UNIX)
    named.bind(str(bus))
    named.listen()
    parent = os.getpid()

    def tries() -> dict[str, Any]:
        return {
            "token": opened(token),
            "key": opened(key),
            "beside the checkpoint": opened(beside),
            "users": opened(Path("/etc/passwd")),
            "what the parent knows": opened(Path(f"/proc/{parent}/environ")),
            "listing": opened(home, os.O_RDONLY | os.O_DIRECTORY),
            "a new file": opened(home / "new", os.O_WRONLY | os.O_CREAT),
            "over the weights": opened(folder / "model.safetensors", os.O_WRONLY),
            "over a package": opened(Path(np.__file__), os.O_WRONLY),
            "a program": LIBC.system(os.fsencode(f"touch {waits}")),
            "connect": connected(listening),
            "bind": bound(),
            "send": sent(listening),
            "order": ordered(bus),
            "signal": said(LIBC.kill(parent, 0)),
            "weights": opened(folder / "model.safetensors"),
            "a package": opened(Path(np.__file__)),
            "its own folder": opened(own / "new", os.O_WRONLY | os.O_CREAT),
            "its own file": opened(own / "mine"),
        }

    outside = tries()
    assert outside.pop("a program") == 0
    assert set(outside.values()) == {"done"}, "without walls it can do all of it"
    (home / "new").unlink()
    waits.unlink()
    found = inside_the_room(job_of(folder), tries, own)
    allowed = {name: found.pop(name) for name in ("weights", "a package", "its own folder", "its own file")}
    assert set(allowed.values()) == {"done"}
    named.close()
    shutil.rmtree(bus.parent)
    if not calls_can_be_given_up():
        del found["send"], found["order"], found["signal"]
        if KEPT < landlock.KNOWS_TCP:
            del found["connect"], found["bind"]
    assert found.pop("a program") != 0
    assert set(found.values()) == {"EACCES"}, found
    assert not waits.exists()
    assert not (home / "new").exists()


@pytest.mark.parametrize("shared", [True, False])
def test_a_gpu_leaves_programs_of_this_machine_in_reach_only_where_it_is_shared(
    checkpoints: dict[str, Path],
    listening: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
) -> None:
    if not calls_can_be_given_up():
        pytest.skip("this machine does not filter system calls")
    pipes, bus = tmp_path / "pipes", Path(tempfile.mkdtemp()) / "bus"
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(pipes))
    if shared:
        pipes.mkdir()

    def tries() -> list[str]:
        ours, theirs = socket.socketpair()
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"
        own = with_socket(socket.SOCK_SEQPACKET, lambda handle: handle, socket.AF_UNIX)
        return [own, connected(listening), bound(), sent(listening), ordered(bus)]

    with socket.socket(socket.AF_UNIX) as named:
        named.bind(str(bus))
        named.listen()
        found = inside_the_room(job_of(checkpoints["bert"], "cuda:0"), tries, tmp_path)
    shutil.rmtree(bus.parent)
    assert found == ["done", *["EACCES"] * 3, "done" if shared else "EACCES"]


def job_of(folder: Path, device: str = "cpu") -> dict[str, Any]:
    """For a worker that is to read with a checkpoint."""
    job = {"task": "read", "folder": str(folder), "device": device, "head": False}
    return job | {"reading": plain(Reading()), "memory": 10**9, "file_size": 10**6}


class Target:
    """What native code would harm: another process of the user, a file, and a socket that listens.

    Args:
        pid: of the process.
        file: an empty one of the user's.
        bus: where it listens.
    """

    def __init__(self, pid: int, file: Path, bus: Path) -> None:
        self.pid = pid
        self.file = os.fsencode(file)
        self.bus = struct.pack("=H108s", socket.AF_UNIX, os.fsencode(bus))


def call(name: str, *arguments: Any) -> int:
    """A system call by its number, where the C library has no name for it."""
    number = getattr(seccomp._CALLS[name], platform.machine())
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return int(LIBC.syscall(ctypes.c_long(number), *given))


def pair(kind: int) -> tuple[int, int]:
    """Two sockets that are connected, or an error's number twice."""
    made = (ctypes.c_int * 2)()
    return (-1, -1) if LIBC.socketpair(socket.AF_UNIX, kind, 0, made) < 0 else (made[0], made[1])


def by_datagram(handle: int, target: Target) -> int:
    return int(handle if handle < 0 else LIBC.sendto(handle, b"x", 1, 0, target.bus, len(target.bus)))


def removed(made: int, remove: Callable[[int], Any]) -> int:
    """What came of making something that outlasts its process, and is not left behind."""
    if made >= 0:
        remove(made)
    return made


def started(start: Callable[[], Any]) -> int:
    """What came of starting a program, in a process that is replaced by it."""
    pid = LIBC.fork()  # as native code forks
    if not pid:
        start()
        os._exit(ctypes.get_errno())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ctypes.set_errno(status)
    return -status


TRUE = os.fsencode(shutil.which("true") or "/bin/true")
ARGUMENTS = (ctypes.c_char_p * 2)(b"true", None)
LIMIT, MASK, PLAIN = (ctypes.c_ulong * 2)(64, 64), (ctypes.c_ulong * 16)(1), ctypes.byref(ctypes.c_int(0))
CREATE = 0o1600  # IPC_CREAT, for the user alone
ATTACKS: dict[str, Callable[[Target], int]] = {
    "chmod": lambda it: LIBC.chmod(it.file, 0o666),
    "fchmod": lambda it: LIBC.fchmod(os.open(it.file, os.O_RDONLY), 0o666),
    "chown": lambda it: LIBC.chown(it.file, -1, -1),
    "utimes": lambda it: LIBC.utimes(it.file, None),
    "setxattr": lambda it: LIBC.setxattr(it.file, b"user.x", b"x", 1, 0),
    "removexattr": lambda it: LIBC.removexattr(it.file, b"user.x"),
    "truncate": lambda it: LIBC.truncate(it.file, 0),
    "open to read and empty": lambda it: LIBC.open(it.file, os.O_RDONLY | os.O_TRUNC),
    "open for nothing and empty": lambda it: LIBC.open(it.file, os.O_ACCMODE | os.O_TRUNC),
    "kill": lambda it: LIBC.kill(it.pid, 0),
    "tkill": lambda it: call("tkill", it.pid, 0),
    "tgkill": lambda it: call("tgkill", it.pid, it.pid, 0),
    "sigqueue": lambda it: LIBC.sigqueue(it.pid, 0, None),
    "pidfd_send_signal": lambda it: call("pidfd_send_signal", os.pidfd_open(it.pid), 0, None, 0),
    "owner of a file's signals": lambda it: LIBC.fcntl(pair(socket.SOCK_STREAM)[0], 8, it.pid),
    "setpriority": lambda it: LIBC.setpriority(os.PRIO_PROCESS, it.pid, 5),
    "prlimit": lambda it: LIBC.prlimit(it.pid, resource.RLIMIT_NOFILE, LIMIT, None),
    "sched_setaffinity": lambda it: LIBC.sched_setaffinity(it.pid, ctypes.sizeof(MASK), MASK),
    "sched_setscheduler": lambda it: LIBC.sched_setscheduler(it.pid, os.SCHED_BATCH, PLAIN),
    "ptrace": lambda it: LIBC.ptrace(0x4206, it.pid, None, None),  # PTRACE_SEIZE
    "keyctl": lambda _: call("keyctl", 0, -2, 1),  # KEYCTL_GET_KEYRING_ID, of this process
    "add_key": lambda _: call("add_key", b"user", b"zoo", b"x", 1, -2),
    "shmget": lambda _: removed(LIBC.shmget(0, 4096, CREATE), lambda made: LIBC.shmctl(made, 0, None)),
    "msgget": lambda _: removed(LIBC.msgget(0, CREATE), lambda made: LIBC.msgctl(made, 0, None)),
    "semget": lambda _: removed(LIBC.semget(0, 1, CREATE), lambda made: LIBC.semctl(made, 0, 0)),
    "datagram": lambda it: by_datagram(LIBC.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0), it),
    "datagram of a pair": lambda it: by_datagram(pair(socket.SOCK_DGRAM)[0], it),
    "socket": lambda _: LIBC.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0),
    "execve": lambda _: started(lambda: LIBC.execve(TRUE, ARGUMENTS, None)),
    "execveat": lambda _: started(
        lambda: call("execveat", os.open(TRUE, os.O_PATH), b"", ARGUMENTS, None, 0x1000)
    ),
    "io_uring_setup": lambda _: call("io_uring_setup", 1, (ctypes.c_char * 256)()),
}


@pytest.fixture(scope="module")
def attacked(
    checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], dict[str, str]]:
    """What the system says to each attack outside, and in a worker on a kernel without Landlock."""
    place, file = tmp_path_factory.mktemp("attacked"), tmp_path_factory.mktemp("home") / "file"
    file.touch()
    bus = Path(tempfile.mkdtemp()) / "bus"
    pid = os.fork()
    if not pid:
        end_with(signal.pause)
    target = Target(pid, file, bus)

    def tries() -> dict[str, str]:
        return {name: said(attack(target)) for name, attack in ATTACKS.items()}

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as named, pytest.MonkeyPatch.context() as patch:
            named.bind(str(bus))
            patch.setattr(landlock, "version", lambda: 0)
            return apart(tries), inside_the_room(job_of(checkpoints["bert"]), tries, place)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        shutil.rmtree(bus.parent)


@pytest.mark.parametrize("name", ATTACKS)
def test_what_reading_takes_none_of_is_refused_whatever_the_kernel_knows_of_landlock(
    attacked: tuple[dict[str, str], dict[str, str]], name: str
) -> None:
    outside, inside = attacked
    if not calls_can_be_given_up():
        pytest.skip("this machine does not filter system calls")
    if outside[name] != "done":
        pytest.skip(f"this system says {outside[name]} to everybody")
    assert inside[name] == "EACCES"


def test_a_worker_may_abort_and_decide_about_itself(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    def tries() -> list[str]:
        threading.Thread(target=torch.ones(1000, 1000).sum).start()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return [
            said(LIBC.prlimit(0, resource.RLIMIT_CORE, (ctypes.c_ulong * 2)(0, 0), None)),
            said(LIBC.sched_setaffinity(0, ctypes.sizeof(MASK), MASK)),
            said(call("tgkill", os.getpid(), os.getpid(), signal.SIGUSR1)),
            said(LIBC.open(os.fsencode(tmp_path / "own"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)),
        ]

    assert inside_the_room(job_of(checkpoints["bert"]), tries, tmp_path) == ["done"] * 4
    pid = os.fork()
    if not pid:
        faulthandler.disable()
        seccomp.give_up_calls()
        LIBC.abort()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGABRT


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root has no such rights")
def test_of_roots_rights_a_worker_keeps_those_to_open_files(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    assert apart(lambda: said(LIBC.chroot(b"/"))) == "done"
    assert inside_the_room(job_of(checkpoints["bert"]), lambda: said(LIBC.chroot(b"/")), tmp_path) == "EPERM"


@needs_landlock
def test_a_conversion_makes_no_links(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    job = job_of(checkpoints["bert"]) | {"into": str(tmp_path)}

    def tries() -> list[str]:
        tempfile.tempdir = str(tmp_path / "other")
        landlock.restrict(inside._grants(job))
        link = LIBC.symlink(b"/etc/passwd", os.fsencode(tmp_path / "link"))
        return [said(link), opened(tmp_path / "file", os.O_WRONLY | os.O_CREAT)]

    assert apart(tries) == ["EACCES", "done"]


def test_of_a_conversion_only_files_of_weights_and_tokenizers_are_taken(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, into = tmp_path / "victim", tmp_path / "into"
    victim.write_text("years of work")
    into.mkdir()

    def answers(job: dict[str, Any], *_: Any, **__: Any) -> Iterator[Any]:
        made = Path(job["into"])
        for name in ("model.safetensors", "config.json", "content", "evil.py"):
            (made / name).write_text("{}")
        for name in ("tokenizer.json", ".hidden"):
            (made / name).symlink_to(victim)
        (made / "vocab.txt").mkdir()
        yield from ()

    monkeypatch.setattr(worker, "_answers", answers)
    worker.convert(checkpoints["bert"], into)
    assert sorted(path.name for path in into.iterdir()) == ["config.json", "model.safetensors"]
    assert victim.read_text() == "years of work"


@needs_landlock
def test_walls_that_fall_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks would take the version that is returned for what is kept."""

    def refuses(number: int, *arguments: Any) -> int:
        if number == landlock._RESTRICT_SELF:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return call(number, *arguments)

    call = landlock._call
    monkeypatch.setattr(landlock, "_call", refuses)
    with pytest.raises(PermissionError):
        landlock.restrict([])

    def unreadable() -> Iterator[landlock.Grant]:
        yield "/usr", Access.READ
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with pytest.raises(PermissionError):
        landlock.restrict(unreadable())


@needs_landlock
@pytest.mark.parametrize("known", range(8))
def test_an_older_kernel_is_asked_for_as_much_as_it_knows(
    known: int, tmp_path: Path, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if known > KEPT:
        pytest.skip("this kernel does not know that version")
    monkeypatch.setattr(landlock, "version", lambda: known)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "canary").touch()

    def tries() -> list[Any]:
        kept = landlock.restrict([(tmp_path / "kept", Access.READ), (tmp_path / "nowhere", Access.READ)])
        return [kept, *map(opened, (tmp_path / "kept" / "file", tmp_path / "canary")), connected(listening)]

    refused = "EACCES" if known else "done"
    tcp = "EACCES" if known >= landlock.KNOWS_TCP else "done"
    assert apart(tries) == [known, "done", refused, tcp]


def test_a_kernel_without_it_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(number: int, *_: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    (tmp_path / "file").touch()
    monkeypatch.setattr(landlock, "_call", refuses)
    assert apart(lambda: [landlock.restrict([]), opened(tmp_path / "file")]) == [0, "done"]


def test_of_a_folder_on_pythons_path_only_packages_are_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, home, packages = tmp_path / "project", tmp_path / "home", tmp_path / "packages"
    for path in (project / "used", home / "any.dist-info", packages / "any.dist-info"):
        path.mkdir(parents=True)
    (project / "used" / "__init__.py").touch()
    for path in (project, home, packages):
        monkeypatch.syspath_prepend(str(path))
    monkeypatch.setenv(granted.HOME, str(home))
    import used  # type: ignore[import-not-found]  # noqa: F401

    found = {Path(path) for path, _ in granted.libraries.__wrapped__()}
    assert {project / "used", packages} <= found
    assert not found & {project, *project.parents, home}


@needs_landlock
def test_of_a_project_in_the_home_libraries_and_packages_are_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a library was loaded from it, is looked for there, or packages were put into it."""
    project = tmp_path / "project"
    (project / "put").mkdir(parents=True)
    (project / "put-1.dist-info").mkdir()
    (project / "put-1.dist-info" / "METADATA").write_text("Name: put\nVersion: 1\n")
    (project / "put-1.dist-info" / "RECORD").write_text("put/__init__.py,,\nput-1.dist-info/RECORD,,\n")
    (project / "put" / "__init__.py").touch()
    (project / ".env").touch()
    (project / "libx.so.1").touch()
    shutil.copy(_json.__file__, project / "loaded.so")
    known = _environment({"HOME": str(tmp_path), "LD_LIBRARY_PATH": str(project)}, "", 1)
    for name in (granted.HOME, "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, known[name])
    monkeypatch.syspath_prepend(str(project))

    def tries() -> list[str]:
        ctypes.CDLL(str(project / "loaded.so"))
        landlock.restrict(granted.libraries.__wrapped__())
        found = [".env", "libx.so.1", "loaded.so", "put/__init__.py", "put-1.dist-info/METADATA"]
        return [opened(project / name) for name in found]

    assert apart(tries) == ["EACCES", *["done"] * 4]


def test_of_a_device_that_is_not_known_nothing_is_granted() -> None:
    assert list(granted.device("cpu")) == list(granted.device("brand-new:0")) == []
    assert not any(
        Path(path) == Path("/dev") for kind in granted._DEVICES for path, _ in granted.device(kind)
    )


def folder_of_links(source: Path, repository: Path, blobs: Path) -> Path:
    """A snapshot as in the Hub's cache, each file a link to what is named by its digest."""
    snapshot = repository / "snapshots" / ("0" * 40)
    for path in (snapshot, blobs):
        path.mkdir(parents=True)
    for path in source.iterdir():
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blob)
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@pytest.mark.parametrize("blobs", ["own", "shared"])
def test_a_checkpoint_in_the_cache_of_the_hub_and_in_shards_reads_the_same(
    checkpoints: dict[str, Path], tmp_path: Path, blobs: str
) -> None:
    sharded, repository = tmp_path / "sharded", tmp_path / "hub" / "models--me--bert"
    model = transformers.BertForMaskedLM.from_pretrained(checkpoints["bert"])
    model.save_pretrained(sharded, max_shard_size="20KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    for path in checkpoints["bert"].glob("tokenizer*"):
        shutil.copy(path, sharded)
    links = folder_of_links(
        sharded, repository, (repository if blobs == "own" else repository.parent) / "blobs"
    )
    assert read(links) == read(checkpoints["bert"], extract.read)


def test_pickles_in_the_cache_of_the_hub_are_converted(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    old, into, repository = tmp_path / "old", tmp_path / "into", tmp_path / "hub" / "models--me--old"
    shutil.copytree(checkpoints["bert"], old)
    model = transformers.BertForMaskedLM.from_pretrained(checkpoints["bert"])
    torch.save(model.state_dict(), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    into.mkdir()
    worker.convert(folder_of_links(old, repository, repository / "blobs"), into)
    assert read(into) == read(checkpoints["bert"], extract.read)


def read(folder: Path, how: Callable[..., Any] = worker.read) -> list[Any]:
    """Features of every layer."""
    corpus: Corpus = corpus_of("word", TEXT)
    found = assembled(how(folder, corpus, Reading(layer="all")), corpus.n_rows)
    return [(name, np.asarray(values).tolist()) for name, values in found.items()]


def test_a_worker_says_which_walls_stand() -> None:
    found = worker.look()
    assert found.landlock == KEPT
    assert found.tcp == (KEPT >= landlock.KNOWS_TCP)
    assert found.calls == found.apart == calls_can_be_given_up()
    assert found.alone == apart(walls._leave_the_network)
    assert found.memory
