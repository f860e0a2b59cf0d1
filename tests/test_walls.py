"""The walls of the room as native code meets them: it asks the system itself, so that no tripwire sees it."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import socket
import struct
import tempfile
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
from zookeeper.worker import calls, granted, inside, landlock, walls, wire
from zookeeper.worker.landlock import Access

KEPT = landlock.version()
needs_landlock = pytest.mark.skipif(not KEPT, reason="this kernel has no Landlock")

_LIBC = ctypes.CDLL(None, use_errno=True)


def said(result: int) -> str:
    """What the system says to a call."""
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def opened(path: Path, flags: int = os.O_RDONLY) -> str:
    return said(_LIBC.open(os.fsencode(path), flags, 0o600))


def address(port: int) -> bytes:
    return struct.pack("=HHI8x", socket.AF_INET, socket.htons(port), socket.htonl(0x7F000001))


def with_socket(kind: int, action: Callable[[int], int], family: int = socket.AF_INET) -> str:
    """What the system says to a socket, or to what is done with it."""
    handle = _LIBC.socket(family, kind, 0)
    return said(handle if handle < 0 else action(handle))


def connected(port: int) -> str:
    return with_socket(socket.SOCK_STREAM, lambda handle: _LIBC.connect(handle, address(port), 16))


def bound() -> str:
    return with_socket(socket.SOCK_STREAM, lambda handle: _LIBC.bind(handle, address(0), 16))


def sent(port: int) -> str:
    return with_socket(socket.SOCK_DGRAM, lambda handle: _LIBC.sendto(handle, b"x", 1, 0, address(port), 16))


def ordered(path: Path) -> str:
    """What the system says to connecting to a socket that has a name, as a session bus has."""
    name = struct.pack("=H108s", socket.AF_UNIX, os.fsencode(path))
    return with_socket(
        socket.SOCK_STREAM, lambda handle: _LIBC.connect(handle, name, len(name)), socket.AF_UNIX
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


def sockets_can_be_given_up() -> bool:
    return bool(apart(lambda: calls.give_up_sockets(connect=True)))


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
            "a program": _LIBC.system(os.fsencode(f"touch {waits}")),
            "connect": connected(listening),
            "bind": bound(),
            "send": sent(listening),
            "order": ordered(bus),
            "signal": said(_LIBC.kill(parent, 0)),
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
    job = {"task": "read", "folder": str(folder), "device": "cpu", "head": False, "reading": plain(Reading())}
    found = inside_the_room(job | {"memory": 10**9, "file_size": 10**6}, tries, own)
    allowed = {name: found.pop(name) for name in ("weights", "a package", "its own folder", "its own file")}
    assert set(allowed.values()) == {"done"}
    named.close()
    shutil.rmtree(bus.parent)
    if not sockets_can_be_given_up():
        del found["send"], found["order"]
        if KEPT < landlock.KNOWS_TCP:
            del found["connect"], found["bind"]
    if KEPT < 6:
        found.pop("signal")
    else:
        assert found.pop("signal") == "EPERM"
    assert found.pop("a program") != 0
    assert set(found.values()) == {"EACCES"}, found
    assert not waits.exists()
    assert not (home / "new").exists()


@pytest.mark.parametrize("connect", [True, False])
def test_without_landlock_there_is_no_network_either(listening: int, tmp_path: Path, connect: bool) -> None:
    if not sockets_can_be_given_up():
        pytest.skip("this machine does not filter system calls")
    bus = Path(tempfile.mkdtemp()) / "bus"

    def tries() -> list[str]:
        calls.give_up_sockets(connect=connect)
        ours, theirs = socket.socketpair()
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"
        return [connected(listening), bound(), sent(listening), ordered(bus)]

    with socket.socket(socket.AF_UNIX) as named:
        named.bind(str(bus))
        named.listen()
        assert apart(tries) == ["EACCES"] * 3 + ["EACCES" if connect else "done"]
    shutil.rmtree(bus.parent)


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
    project, home, packages = tmp_path / "project", tmp_path / "home", tmp_path / "home" / "packages"
    for path in (project / "used", home / "any.dist-info", packages / "any.dist-info"):
        path.mkdir(parents=True)
    (project / "used" / "__init__.py").touch()
    for path in (project, home, packages):
        monkeypatch.syspath_prepend(str(path))
    monkeypatch.setattr(granted, "_home", lambda: home)
    import used  # type: ignore[import-not-found]  # noqa: F401

    found = {Path(path) for path, _ in granted.libraries.__wrapped__()}
    assert {project / "used", packages} <= found
    assert not found & {project, *project.parents, home}


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


def test_a_worker_says_which_walls_stand(tmp_path: Path) -> None:
    found = worker.look()
    assert found.landlock == KEPT
    assert found.memory
