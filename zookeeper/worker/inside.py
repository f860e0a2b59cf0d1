"""What a worker does: one job, with the room closed before anything of a stranger is opened."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import Any

from zookeeper.blocks import Block
from zookeeper.errors import CheckpointError, ZooError
from zookeeper.extract import Windows, read
from zookeeper.extract.preloading import begin_threads
from zookeeper.plain import decode, plain, shortened
from zookeeper.records import Corpus, Reading
from zookeeper.worker import granted, reasons, walls, wire
from zookeeper.worker.landlock import Access, Grant
from zookeeper.worker.linux import LIBC

_MOST = 2**40  # who asks is trusted
_LONGEST = 10_000  # characters of what is said of an error
_TRIM = getattr(LIBC, "malloc_trim", None)  # glibc's
_MOST_SHARED = 2**26  # bytes of windows that others may use as well
_SHARED_MEMORY = Path("/dev/nvidia-uvm")
_SECONDS_TO_WAKE = 30.0


def work(channel: socket) -> None:
    """Do the job that is asked for on a channel, and answer on it."""
    job = json.loads(bytes(_expected(channel, wire.JOB)))
    device = job.get("device", "cpu")
    _wake(device)
    begin_threads()
    standing = walls.close(
        memory=job["memory"],
        file_size=job["file_size"],
        grants=_grants(job),
        sockets=device != "cpu",
        connect=granted.daemon(device) is not None,
    )
    try:
        _JOBS[job["task"]](channel, job | {"walls": plain(standing)})
    except Exception as error:
        wire.send(channel, wire.FAULT, json.dumps(_fault(error)).encode())
    else:
        wire.send(channel, wire.END)


def _wake(device: str) -> None:
    """Have the device file of a GPU's memory made; after a boot Nvidia's library starts a program for it."""
    helper = shutil.which("nvidia-modprobe")
    if device.startswith("cuda") and helper and not _SHARED_MEMORY.exists():
        with suppress(OSError, subprocess.TimeoutExpired):  # what is missing then comes up where it is loaded
            subprocess.run([helper, "-u", "-c=0"], check=False, timeout=_SECONDS_TO_WAKE)  # noqa: S603


def _grants(job: Mapping[str, Any]) -> Iterator[Grant]:
    """All files that a job takes."""
    yield from granted.libraries()
    yield tempfile.gettempdir(), Access.WRITE
    if "device" in job:
        yield from granted.device(job["device"])
    if "folder" in job:
        yield from granted.checkpoint(Path(job["folder"]), pickled="into" in job)
    if "into" in job:
        yield job["into"], Access.WRITE & ~Access.MAKE_SYM


def _read(channel: socket, job: Mapping[str, Any]) -> None:
    text = json.loads(bytes(_expected(channel, wire.CORPUS)))
    corpus = Corpus(tuple(map(tuple, text["sentences"])), text["unit"])
    given = _expected(channel, wire.WINDOWS)

    def made(windows: Windows) -> None:
        data = wire.packed(windows.to_arrays())
        if not given and len(data) <= _MOST_SHARED:
            wire.send(channel, wire.WINDOWS, data)

    def advance(rows: int) -> None:
        if rows:
            wire.send(channel, wire.PROGRESS, wire.NUMBER.pack(rows))
        _give_back()

    blocks = read(
        Path(job["folder"]),
        corpus,
        decode(Reading, job["reading"]),
        head=job["head"],
        device=job["device"],
        advance=advance,
        windows=Windows.from_arrays(wire.unpacked(given), corpus) if given else None,
        made=made,
    )
    for block in blocks:
        _send(channel, block)
        del block  # before there is another


def _give_back() -> None:
    """Return free memory to the system; of batches that are all of other sizes much is kept in pieces."""
    if _TRIM is not None:
        _TRIM(0)


def _send(channel: socket, block: Block) -> None:
    for parts in wire.pieces(block):
        wire.send(channel, wire.BLOCK, *parts)


def _convert(channel: socket, job: Mapping[str, Any]) -> None:
    from zookeeper.extract.converting import convert

    convert(Path(job["folder"]), Path(job["into"]))


def _look(channel: socket, job: Mapping[str, Any]) -> None:
    """Say which walls stand; one that should keep a file from this process and does not is none."""
    found, forbidden = dict(job["walls"]), Path(job["forbidden"])
    with suppress(OSError):
        forbidden.read_bytes()
        found["landlock"] = 0
    with suppress(OSError):
        forbidden.chmod(0o600)
        found["calls"] = found["apart"] = False
    wire.send(channel, wire.WALLS, json.dumps(found).encode())


_JOBS: Mapping[str, Callable[[socket, Mapping[str, Any]], None]] = {
    "read": _read,
    "convert": _convert,
    "look": _look,
}


def _expected(channel: socket, kind: bytes) -> memoryview:
    came, data = wire.receive(channel, _MOST)
    if came != kind:
        raise wire.NonsenseError(f"{came!r} in the place of {kind!r}")
    return data


def _fault(error: Exception) -> dict[str, Any]:
    """What went wrong, in words; whether it was for want of memory."""
    said = error if isinstance(error, ZooError) else CheckpointError("it cannot be read.", why=repr(error))
    memory = any(map(_lacks_memory, _causes(error)))
    why = said.why and shortened(said.why, _LONGEST)
    return {"message": shortened(said.message, _LONGEST), "why": why, "memory": memory}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _lacks_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or reasons.wants_memory(str(error))
