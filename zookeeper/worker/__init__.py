"""The closed room in which a stranger's checkpoint runs.

For each checkpoint there is a process that knows no token, has no network, and may take so much memory and
no more. It answers in bytes of our own format, of which nothing is believed that was not checked. Whatever it
dies of is an error of this one checkpoint.

The processes are forked from one that has torch and transformers loaded and that opens nothing of a stranger,
so that a checkpoint costs some hundredths of a second; where the system cannot do that, each is started anew.
This side of it loads no torch.
"""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zookeeper import hardware
from zookeeper.blocks import Block
from zookeeper.layouts import needed
from zookeeper.plain import decode, plain
from zookeeper.records import Corpus, Reading
from zookeeper.worker import reasons, wire
from zookeeper.worker.cuts import Cuts
from zookeeper.worker.keeper import FORKS, Keeper, Server
from zookeeper.worker.walls import Walls
from zookeeper.worker.wire import NonsenseError

__all__ = ["Cuts", "Limits", "Walls", "convert", "look", "prepare", "read", "stop"]

_SHARE = 0.8  # of the machine's memory that checkpoints may take together
_COPIES, _BASE = 3, 2**31  # of the weights: as stored, in single precision, and while they are cast
_MOST_WRITTEN = 2**27  # bytes of a file, such as the copy of a tokenizer
_MOST_ANSWERED = 2**28  # bytes of a frame
_MOST_LAYERS, _MOST_WIDE, _MOST_CLASSES = 514, 2**16, 1024  # as checkpoints may have that are loaded
_WEIGHTS = (".safetensors", ".bin")
_ROWS = (wire.WINDOWS, wire.PROGRESS, wire.BLOCK)

_KEEPER = Keeper()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a checkpoint may take.

    Attributes:
        memory: bytes of what loading takes by itself, not of what native code maps to share; None for what
            its weights and the machine give reason for.
        patience: seconds without a sign of life after which it is given up.
        at_once: checkpoints that run at the same time, and share the machine.
    """

    memory: int | None = None
    patience: float = 600.0
    at_once: int = 1

    @property
    def threads(self) -> int:
        """Of each worker."""
        return max(1, hardware.cores() // self.at_once)

    def bytes_for(self, folder: Path, device: str = "cpu") -> int:
        """Bytes of memory that a checkpoint may take on a device."""
        if self.memory is not None:
            return self.memory
        most = int(_SHARE * hardware.memory() / self.at_once)
        if device.startswith("cuda"):  # whose driver maps far more than it uses
            return most
        return min(most, _COPIES * _weights(folder) + _BASE)


def prepare(limits: Limits) -> None:
    """Start what workers are forked from, without waiting for it."""
    if FORKS:
        _KEEPER.server(limits.threads)


def stop() -> None:
    """End all workers at once, and begin none for other threads that want one now: these get an error."""
    _KEEPER.close()


def read(
    folder: Path,
    corpus: Corpus,
    reading: Reading,
    *,
    head: bool = False,
    device: str = "cpu",
    limits: Limits = Limits(),
    family: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
    windows: bytes = b"",
    made: Callable[[bytes], None] = lambda _: None,
) -> Generator[Block]:
    """As `zookeeper.extract.read`, in a closed room.

    Args:
        folder: configuration, tokenizer and safetensors weights.
        corpus: n rows.
        reading: layer, pooling, precision and window.
        head: whether to read the predictions of the checkpoint's own head too.
        device: torch device.
        limits: of memory and of time.
        family: model type of the checkpoint, whose code is then loaded ahead.
        advance: called with the number of rows that were begun since.
        windows: as `made` was called with them for another checkpoint, whose `Cuts.name` is the same.
        made: called with the windows, if none were given. They come before anything else, when the worker has
            read no weights: from the next moment on it may be in the hands of a stranger.

    Yields:
        Blocks of rows, in no order; together each row once, every value finite, the layers and their widths
        the same in all.

    Raises:
        CheckpointError: whatever keeps this checkpoint from being read, and whatever its process died of.
    """
    job = {
        "task": "read",
        "folder": str(folder.absolute()),
        "reading": plain(reading),
        "head": head,
        "device": device,
        "memory": limits.bytes_for(folder, device),
        "file_size": _MOST_WRITTEN,
    }
    text = json.dumps({"sentences": corpus.sentences, "unit": corpus.unit}).encode()
    frames = {wire.CORPUS: text, wire.WINDOWS: windows}
    check = _Check(corpus.n_rows, head=head, every=reading.layer == "all")
    with _believed(), closing(_answers(job, frames, limits, family, kinds=_ROWS)) as answers:
        for number, (kind, data) in enumerate(answers):
            if kind == wire.WINDOWS:
                if number or windows:
                    raise NonsenseError("windows out of turn")
                made(bytes(data))
            elif kind == wire.PROGRESS:
                advance(check.begun(data))
            else:
                yield check.block(data)
        check.whole()


def convert(folder: Path, into: Path, limits: Limits = Limits()) -> None:
    """Make safetensors weights of pickles, in a closed room.

    Args:
        folder: with ``pytorch_model.bin``, or its shards and their index.
        into: an empty folder for the weights and what loading takes besides; nothing else is put there.
        limits: of memory and of time.

    Raises:
        CheckpointError: they cannot be read without running code, or are no weights.
    """
    made = Path(tempfile.mkdtemp(dir=into))
    job = {
        "task": "convert",
        "folder": str(folder.absolute()),
        "into": str(made.absolute()),
        "memory": limits.bytes_for(folder),
        "file_size": 2 * _weights(folder) + _MOST_WRITTEN,
    }
    try:
        with _believed(), closing(_answers(job, {}, limits)) as answers:
            for _ in answers:
                raise NonsenseError("rows, where there are none")
        _take(made, into)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _take(made: Path, into: Path) -> None:
    """Move what loading takes from a folder in which a stranger may have left anything; links stay there."""
    files = [path.name for path in made.iterdir() if stat.S_ISREG(path.lstat().st_mode)]
    for name in needed(files):
        (made / name).replace(into / name)


def look(limits: Limits = Limits(), device: str = "cpu") -> Walls:
    """Have a worker that opens nothing say which walls stand around it.

    Args:
        limits: of memory and of time.
        device: torch device that it could use, on which some walls depend.

    Raises:
        CheckpointError: it cannot be started, or dies of what would be the death of any.
    """
    with tempfile.NamedTemporaryFile(prefix="zoo-") as forbidden:
        job = {
            "task": "look",
            "forbidden": forbidden.name,
            "device": device,
            "memory": limits.memory or _BASE,
            "file_size": _MOST_WRITTEN,
        }
        with _believed(), closing(_answers(job, {}, limits, kinds=(wire.WALLS,))) as answers:
            said = [bytes(data) for _, data in answers]
    if len(said) != 1:
        raise reasons.nonsense(NonsenseError("walls more or less than once"))
    return decode(Walls, json.loads(said[0]))


class _Check:
    """What was answered so far, of which nothing is believed.

    Args:
        n_rows: of the corpus.
        head: whether predictions were asked for.
        every: whether all layers were.
    """

    def __init__(self, n_rows: int, *, head: bool, every: bool) -> None:
        self._came: NDArray[np.bool_] = np.zeros(n_rows, dtype=bool)
        self._head = head
        self._every = every
        self._form: tuple[dict[str, int], int] | None = None
        self._begun = self._n_empty = 0

    def begun(self, data: memoryview) -> int:
        """Rows that were begun since the last time."""
        n = wire.NUMBER.unpack(data)[0] if data.nbytes == wire.NUMBER.size else -1
        self._begun += n
        if n <= 0 or self._begun > len(self._came):  # with none it could go on for ever
            raise NonsenseError("progress that is none, or beyond the rows that there are")
        return int(n)

    def block(self, data: memoryview) -> Block:
        """The next block."""
        block = wire.block_of(data)
        probs = block.source_probs
        arrays = [*block.states.values(), *([] if probs is None else [probs])]
        form = (
            {name: a.shape[1] for name, a in block.states.items()},
            0 if probs is None else probs.shape[1],
        )
        if self._form is None:
            self._check_form(*form)
            self._form = form
        if form != self._form:
            raise NonsenseError("layers of another form than before")
        self._n_empty += block.n_empty
        if self._n_empty > 2 * len(self._came):
            raise NonsenseError("more empty rows than rows")
        rows = block.rows
        if not len(rows) or rows.min() < 0 or rows.max() >= len(self._came) or self._came[rows].any():
            raise NonsenseError("rows that there are not, or that were there before")
        self._came[rows] = True
        if len(np.unique(rows)) < len(rows):
            raise NonsenseError("a row twice")
        if not all(np.isfinite(array).all() for array in arrays):
            raise NonsenseError("values that are not finite")
        return block

    def whole(self) -> None:
        """Nothing more comes."""
        if not self._came.all():
            raise NonsenseError(f"{int((~self._came).sum())} rows too few")

    def _check_form(self, layers: Mapping[str, int], classes: int) -> None:
        if not layers or not all(layers.values()) or (classes and not self._head):
            raise NonsenseError("layers without width, or predictions that were not asked for")
        if len(layers) > _MOST_LAYERS or max(layers.values()) > _MOST_WIDE or classes > _MOST_CLASSES:
            raise NonsenseError("more layers, or wider ones, than any checkpoint has")
        if self._every and list(layers) != [*map(str, range(len(layers) - 1)), "mean"]:
            raise NonsenseError("layers of other names than there are")
        if not self._every and len(layers) != 1:
            raise NonsenseError("more layers than were asked for")


@contextmanager
def _believed() -> Iterator[None]:
    """Turn nonsense into an error of the checkpoint."""
    try:
        yield
    except NonsenseError as error:
        raise reasons.nonsense(error) from error


def _answers(
    job: Mapping[str, Any],
    frames: Mapping[bytes, bytes],
    limits: Limits,
    family: str | None = None,
    *,
    kinds: Collection[bytes] = (),
) -> Generator[tuple[bytes, memoryview]]:
    """Frames that a worker sends, all of some kinds, until it says that it is done.

    Raises:
        CheckpointError: it met an error, died, or was not heard of for too long.
        NonsenseError: it sent something else.
    """
    memory, begun = job["memory"], False
    server = _KEEPER.server(limits.threads) if FORKS else Server(limits.threads, forks=False)
    with server.worker(family, limits.patience) as worker:
        try:
            worker.ask(wire.JOB, json.dumps(job).encode())
            for kind, data in frames.items():
                worker.ask(kind, data)
            while True:
                kind, answer = worker.answer(_MOST_ANSWERED)
                if kind == wire.END:
                    return
                if kind == wire.FAULT:
                    raise reasons.fault(answer, memory)
                if kind not in kinds:
                    raise NonsenseError(f"a frame of the kind {kind!r}")
                begun = kind != wire.WINDOWS
                yield kind, answer
                del answer
        except TimeoutError as error:
            raise reasons.silence(limits.patience) from error
        except EOFError as error:
            raise reasons.death(*worker.ended(), begun=begun, memory=memory) from error


def _weights(folder: Path) -> int:
    """Bytes of the weights in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())
