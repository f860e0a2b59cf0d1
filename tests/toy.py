"""A learner with dropout and a tied weight, and processes that train it, for the tests of the loop."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zookeeper.errors import OutOfMemoryError, ZooError
from zookeeper.plans import Recipe
from zookeeper.records import digest_of
from zookeeper.results import Epoch
from zookeeper.tuning.batches import Step, steps
from zookeeper.tuning.learner import Batch, summed_loss
from zookeeper.tuning.loop import Progress, Training, Tuned
from zookeeper.tuning.metrics import Judge
from zookeeper.tuning.problem import Part, Problem
from zookeeper.tuning.room import Room
from zookeeper.tuning.watch import Watch

Array = NDArray[Any]

N_WORDS, N_CLASSES = 12, 3
RECIPE = Recipe(
    "toy",
    epochs=3,
    patience=3,
    micro_batch=40,
    learning_rate=3e-2,
    weight_decay=0.01,
    warmup=0.1,
    anneal=True,
    clip=1.0,
)


class Bag(torch.nn.Module):
    """Classes of the mean word of a sentence, by way of the words themselves.

    Args:
        dropout: share of the mean word that is left out.
        room: sub-words that fit into memory.
    """

    def __init__(self, dropout: float, room: float) -> None:
        super().__init__()
        self._room = room
        self.words = torch.nn.Embedding(N_WORDS, 8)
        self.dropout = torch.nn.Dropout(dropout)
        self.back = torch.nn.Linear(8, N_WORDS, bias=False)
        self.back.weight = self.words.weight
        self.head = torch.nn.Linear(N_WORDS, N_CLASSES)

    def forward(self, sentences: torch.Tensor) -> torch.Tensor:
        """(s, 3) outputs of (s, w) words, 0 where there is none."""
        if self.training and sentences.numel() > self._room:
            raise OutOfMemoryError(f"{sentences.numel()} words do not fit.")
        real = (sentences > 0).unsqueeze(2)
        mean = (self.words(sentences) * real).sum(1) / real.sum(1).clamp(min=1)
        return self.head(self.back(self.dropout(mean)))  # type: ignore[no-any-return]


@dataclass(eq=False)
class Toy:
    """Learns classes of sentences; an example is a sentence, as large as it has words.

    Attributes:
        module: that learns.
        sentences: (s, w) words of each part, 0 behind the last.
        problem: what it learns.
    """

    module: Bag
    sentences: Mapping[str, Array]
    problem: Problem
    padded = None
    details: Mapping[str, Any] = ()  # type: ignore[assignment]

    @classmethod
    def of(cls, *, seed: int = 0, dropout: float = 0.2, room: float = float("inf"), n: int = 71) -> Toy:
        """Sentences of 1 to 11 words, whose class is that of most of their words."""
        rng = np.random.default_rng(seed)
        sentences, parts = {}, {}
        for part, size in (("train", n), ("validation", 30), ("test", 20)):
            words = rng.integers(1, N_WORDS, size=(size, 11))
            words[np.arange(11) >= rng.integers(1, 12, size=(size, 1))] = 0
            counts = [((words > 0) & (words % N_CLASSES == c)).sum(1) for c in range(N_CLASSES)]
            rows = np.arange(size)
            sentences[part] = words
            parts[part] = Part(part, rows, np.ones_like(rows), rows, np.argmax(counts, axis=0))
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            module = Bag(dropout, room)
        return cls(module, sentences, Problem(parts, "classes", ("a", "b", "c")))

    def groups(self) -> list[dict[str, Any]]:
        head = list(self.module.head.parameters())
        return [{"params": head, "lr": 3e-2}, {"params": [self.module.words.weight], "lr": 1e-2}]

    def sizes(self, split: str) -> NDArray[np.int64]:
        return np.asarray((self.sentences[split] > 0).sum(1))

    def counts(self) -> NDArray[np.int64]:
        return np.ones(len(self.sentences["train"]), dtype=np.int64)

    def batch(self, split: str, examples: NDArray[np.int64]) -> Batch:
        widest = int(self.sizes(split)[examples].max(initial=0))
        words = torch.from_numpy(self.sentences[split][examples, :widest])
        return Batch(words, torch.from_numpy(self.problem.wanted(split)[examples]), examples)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        return summed_loss(outputs, batch.labels, "classes")

    def learned(self) -> dict[str, Array]:
        return {name: value.numpy().copy() for name, value in self.module.state_dict().items()}

    def begin(self, learned: Mapping[str, Array]) -> None:
        raise NotImplementedError

    def restore(self, learned: Mapping[str, Array]) -> None:
        self.module.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})


def training(toy: Toy, recipe: Recipe = RECIPE, **options: Any) -> Training:
    """Of a toy, with seed 1."""
    judge = Judge.of("accuracy", toy.problem.classes, "classes")
    return Training(toy, toy.problem, judge, recipe, seed=1, **options)


def steps_of(toy: Toy, recipe: Recipe, *, epoch: int) -> list[Step]:
    """Of a pass of its training."""
    return steps(toy.sizes("train"), recipe.micro_batch, recipe.micro_batches, [1, epoch])


def summary(tuned: Tuned) -> dict[str, Any]:
    """All that a training gives, but for the time it took."""
    return {
        "learned": _digests(tuned.learned),
        "outputs": _digests(tuned.outputs),
        "history": [asdict(_timeless(epoch)) for epoch in tuned.history],
        "best_epoch": tuned.best_epoch,
        "steps": tuned.steps,
    }


def _digests(arrays: Mapping[str, Array]) -> dict[str, str]:
    return {name: digest_of([array.shape, array.tobytes().hex()]) for name, array in arrays.items()}


def _timeless(epoch: Epoch) -> Epoch:
    return replace(epoch, seconds=0.0)


# Processes


@dataclass(frozen=True)
class Job:
    """A training in one or several processes.

    Attributes:
        folder: keeps its state, and what comes of it.
        recipe: how it trains.
        every: seconds between states.
        pause: seconds after each step.
        kill_at: the step after which the first process kills itself.
        nan_in: the process that loses its weights after a step.
        asked: number of processes that it says there are; by default what there are.
        fits: words that fit into memory.
    """

    folder: Path
    recipe: Recipe = RECIPE
    every: float = 600.0
    pause: float = 0.0
    kill_at: int | None = None
    nan_in: int | None = None
    asked: int | None = None
    fits: float = float("inf")

    def start(self, processes: int = 1) -> list[ForkServerProcess]:
        """Begin, in processes that have imported everything already."""
        self.folder.mkdir(exist_ok=True, parents=True)
        for left in self.folder.glob("*.json"):
            left.unlink()
        context = get_context("forkserver")
        context.set_forkserver_preload(["accelerate", "torch", "zookeeper.tuning.loop"])
        port = _free_port()
        started = [context.Process(target=_work, args=(self, r, processes, port)) for r in range(processes)]
        for process in started:
            process.start()
        return started

    def run(self, processes: int = 1) -> dict[str, Any]:
        """What came of it; of all processes alike."""
        started = self.start(processes)
        for process in started:
            process.join(60)
        found = [self.found(rank) for rank in range(processes)]
        assert all(one == found[0] for one in found)
        return found[0]

    def found(self, rank: int = 0) -> dict[str, Any]:
        """What came of one process."""
        found: dict[str, Any] = json.loads((self.folder / f"{rank}.json").read_text())
        return found


def wait_for(folder: Path, name: str, seconds: float = 30) -> None:
    """Until there is such a file or folder."""
    wait_until(lambda: bool(list(folder.glob(name))), seconds)


def wait_until(so: Callable[[], bool], seconds: float = 30) -> None:
    """Until it is so."""
    until = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < until, f"it was not so for {seconds} s"
        time.sleep(0.01)


def _work(job: Job, rank: int, processes: int, port: int) -> None:
    if processes > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    (job.folder / f"{rank}.json").write_text(json.dumps(_outcome(job, rank, processes)))


def _outcome(job: Job, rank: int, processes: int) -> dict[str, Any]:
    toy = Toy.of(room=job.fits)
    try:
        made = training(
            toy,
            job.recipe,
            processes=job.asked or processes,
            room=Room(job.folder),
            watch=Watch(every=job.every),
        )
        tuned = made.run(_reporting(job, rank, toy))
        np.savez(job.folder / f"{rank}.npz", **tuned.learned)
        return summary(tuned)
    except (ZooError, KeyboardInterrupt) as error:
        return {"error": type(error).__name__, "message": str(error), "why": getattr(error, "why", None)}


def _reporting(job: Job, rank: int, toy: Toy) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        (job.folder / "at").write_text(str(progress.made))
        time.sleep(job.pause)
        if rank == job.nan_in:
            toy.module.head.bias.data.fill_(torch.nan)
        if rank == 0 and progress.made == job.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return report


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
