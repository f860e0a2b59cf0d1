"""The training loop, on Accelerate; any number of processes that divides a step gives the same weights.

A step is a fixed number of micro-batches, whoever computes them: rank r of w takes r, r + w, … Their losses
are summed and divided by the labels of the whole step, so neither an uneven end nor the number of processes
changes the gradient. The order of examples is a function of seed and pass alone, and dropout one of seed,
step and micro-batch, so that nothing random needs to be saved. With two micro-batches a step, as by default,
the weights are the same to the bit; with more, up to the rounding of their sum.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.commands.config.config_args import default_config_file, load_config_from_file
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    broadcast_object_list,
    find_executable_batch_size,
    gather_object,
    send_to_device,
)
from accelerate.utils.memory import should_reduce_batch_size
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from zookeeper.errors import DegenerateInputError, OutOfMemoryError, UsageError
from zookeeper.plain import decode
from zookeeper.plans import Precision, Recipe
from zookeeper.results import Epoch
from zookeeper.tuning.batches import Examples, Step, cut, steps
from zookeeper.tuning.learner import Batch, Learner
from zookeeper.tuning.metrics import Judge
from zookeeper.tuning.problem import Problem
from zookeeper.tuning.room import Room, readable
from zookeeper.tuning.together import partners
from zookeeper.tuning.watch import Watch

Arrays = dict[str, NDArray[Any]]

_PROGRESS, _BEST = "progress.json", "best.safetensors"
# Processes look at each other's wishes after so many steps, and an accelerator is asked for its losses.
_STRIDE = 4
# Beside the wishes of a watch: the loss is no number.
_FAIL = 3
# Without gradients more fits than in a micro-batch.
_EVALUATED = 4


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came of a training.

    Attributes:
        learned: as the learner gives it, after the best pass.
        outputs: (n, c) of each row of each part but the one that was learnt from.
        history: pass by pass.
        best_epoch: the first with the best validation metric.
        steps: that were made.
    """

    learned: Arrays
    outputs: Arrays
    history: tuple[Epoch, ...]
    best_epoch: int
    steps: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands.

    Attributes:
        made: steps in all.
        epoch: number of the pass.
        loss: mean over the labels of the last step.
        rate: of the head.
    """

    made: int
    epoch: int
    loss: float
    rate: float

    def __str__(self) -> str:
        return f"loss {self.loss:.3g}"


@dataclass(slots=True)
class _Position:
    """Where a training stands, as it is saved.

    Attributes:
        epoch: number of the pass.
        step: next step of the pass.
        made: steps in all.
        losses: summed, of each own micro-batch of the pass.
        history: passes that are done.
        best_epoch: of them.
        seconds: that were spent.
    """

    epoch: int = 0
    step: int = 0
    made: int = 0
    losses: list[list[float]] = field(default_factory=list)
    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    seconds: float = 0.0


class Training:
    """One training of one learner.

    Args:
        learner: what is trained.
        problem: what it learns.
        judge: of validation.
        recipe: how.
        seed: of order and dropout.
        device: torch device; with several processes Accelerate places them.
        processes: that were started for this; checked, because many launchers silently start another number.
        threads: of the processor, for this process; more of them round otherwise.
        room: keeps its state; None not to keep it.
        watch: what is asked of it from outside.
        tracker: that Accelerate knows, such as ``"tensorboard"``; None for none.
        logs: where it writes; None for nowhere.

    Raises:
        UsageError: the number of processes does not divide a step's micro-batches, or is another than said;
            or there is no such tracker.
    """

    def __init__(
        self,
        learner: Learner,
        problem: Problem,
        judge: Judge,
        recipe: Recipe,
        *,
        seed: int,
        device: str = "cpu",
        processes: int = 1,
        threads: int = 1,
        room: Room | None = None,
        watch: Watch | None = None,
        tracker: str | None = None,
        logs: Path | None = None,
    ) -> None:
        self._learner, self._problem, self._judge = learner, problem, judge
        self._recipe, self._seed = recipe, seed
        self._room, self._watch = room, watch or Watch()
        self._threads = threads
        self._accelerator = accelerator_of(device, recipe.precision, tracker, logs)
        self._world, self._rank = self._accelerator.num_processes, self._accelerator.process_index
        if self._world != processes:
            raise UsageError(f"{processes} processes were asked for, {self._world} run together.")
        if recipe.micro_batches % self._world:
            raise UsageError(
                f"{self._world} processes do not divide a step of {recipe.micro_batches} micro-batches.",
                fix=f"--micro-batches {self._world}",
            )
        optimizer = torch.optim.AdamW(learner.groups(), weight_decay=recipe.weight_decay)
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._sizes, self._counts = learner.sizes("train"), learner.counts()
        with partners():
            self._budget = self._fitting()
            self._module, self._optimizer = self._accelerator.prepare(learner.module, optimizer)
        self._position = _Position()
        self._best: Arrays = {}
        self._unsettled: list[tuple[Step, torch.Tensor]] = []
        self._failure: DegenerateInputError | None = None
        self._started = time.monotonic()
        if tracker:
            self._accelerator.init_trackers("zookeeper", config=_flat(recipe, seed))

    @property
    def n_steps(self) -> int:
        """Steps of all passes, if patience lasts; passes differ by a few."""
        return self._recipe.epochs * len(self._plan(1))

    def run(self, report: Callable[[Progress], None] = lambda _: None) -> Tuned:
        """Train to the end, from the state that was kept, if there is one.

        Args:
            report: called after every step, or every few on an accelerator.

        Raises:
            DegenerateInputError: the loss is not finite; step and sentences are named.
            KeyboardInterrupt, TerminatedError: it was asked to end; its state is kept. Or another process
                that trained with this one is gone.
            StorageError: the state cannot be saved.
        """
        with self._forked(), _threads(self._threads), self._watch.listening(), partners():
            self._resume()
            while self._position.epoch <= self._recipe.epochs and not self._exhausted:
                if self._position.epoch:
                    self._pass(report)
                self._validate()
                self._attend()
        for tracker in self._accelerator.trackers:
            tracker.finish()
        where = self._position
        return Tuned(self._best, self.outputs_of(self._best), where.history, where.best_epoch, where.made)

    def outputs_of(self, learned: Arrays) -> Arrays:
        """(n, c) outputs for each part but the one that is learnt from, with what was learned."""
        self._learner.restore(learned)
        with _threads(self._threads):
            return {name: self._outputs(name) for name in self._problem.parts if name != "train"}

    def _forked(self) -> Any:
        """Leaves the random numbers of the process as they were."""
        device = self._accelerator.device
        return torch.random.fork_rng([device] if device.type == "cuda" else [])

    @property
    def _exhausted(self) -> bool:
        """Whether patience is at its end."""
        where = self._position
        return bool(where.history) and where.epoch - 1 - where.best_epoch >= self._recipe.patience

    # Passes

    def _plan(self, epoch: int) -> list[Step]:
        recipe = self._recipe
        return steps(self._sizes, recipe.micro_batch, recipe.micro_batches, [self._seed, epoch])

    def _pass(self, report: Callable[[Progress], None]) -> None:
        """What is left of a pass over the training examples."""
        where, plan = self._position, self._plan(self._position.epoch)
        self._module.train()
        left = plan[where.step :]
        for mine, whole in zip(self._prefetched(left), left, strict=True):
            self._step(mine, whole, progress=(where.epoch - 1 + where.step / len(plan)) / self._recipe.epochs)
            where.step, where.made = where.step + 1, where.made + 1
            if self._accelerator.device.type == "cpu" or len(self._unsettled) == _STRIDE:
                self._settle()
                report(Progress(where.made, where.epoch, self._last_loss(whole), self._rate))
            if self._world == 1 or where.made % _STRIDE == 0:
                self._attend()
        self._settle()

    def _step(self, mine: Sequence[Sequence[Batch]], whole: Step, *, progress: float) -> None:
        """One step: own micro-batches, each in pieces that fit into memory."""
        factor = _factor(progress, self._recipe)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        n = max(1, sum(int(self._counts[micro].sum()) for micro in whole))
        self._optimizer.zero_grad()
        losses = torch.zeros(len(mine), dtype=torch.float32, device=self._accelerator.device)
        for j, pieces in enumerate(mine):
            for i, piece in enumerate(pieces):
                last = j == len(mine) - 1 and i == len(pieces) - 1
                self._seed_dropout(self._rank + j * self._world, i)
                with _memory(), nullcontext() if last else self._accelerator.no_sync(self._module):
                    batch = _on(piece, self._accelerator.device)
                    loss = self._learner.loss(self._module(batch.inputs), batch)
                    # Accelerate averages gradients over ranks; the sum over the step is what is meant.
                    self._accelerator.backward(loss * self._world / n)
                losses[j] += loss.detach()
        self._unsettled.append((whole, losses))
        if self._recipe.clip:
            self._accelerator.clip_grad_norm_(self._parameters, self._recipe.clip)
        self._optimizer.step()

    def _settle(self) -> None:
        """Take the losses of the last steps from the device; weights that came of others are never saved.

        Raises:
            DegenerateInputError: one is not finite. Of several processes all come to `_attend` first.
        """
        where, first = self._position, len(self._position.losses)
        for number, (whole, on_device) in enumerate(self._unsettled, first + 1):
            losses = on_device.tolist()
            if not np.isfinite(losses).all():
                self._failure = self._failure or self._diverged(number, whole, losses)
                if self._world == 1:
                    raise self._failure
            where.losses.append(losses)
        self._unsettled.clear()

    def _seed_dropout(self, micro_batch: int, piece: int) -> None:
        """The same for whoever computes the micro-batch."""
        where = self._position
        key = [self._seed, where.epoch, where.step, micro_batch, piece]
        on_cpu = self._accelerator.device.type == "cpu"
        seed = torch.default_generator.manual_seed if on_cpu else torch.manual_seed  # which asks all devices
        seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def _diverged(self, number: int, whole: Step, losses: Sequence[float]) -> DegenerateInputError:
        j = int(np.flatnonzero(~np.isfinite(losses))[0])
        examples = whole[self._rank + j * self._world]
        return DegenerateInputError(
            f"the loss is {losses[j]} in step {number} of pass {self._position.epoch}.",
            why=f"micro-batch {self._rank + j * self._world + 1} of it: training examples "
            f"{', '.join(map(str, np.sort(examples)[:8]))}{', …' if len(examples) > 8 else ''}",
            fix="a smaller learning rate, --clip 1, or --precision no",
        )

    def _last_loss(self, whole: Step) -> float:
        """Mean over the labels of the own micro-batches of the last step."""
        own = whole[self._rank :: self._world]
        return sum(self._position.losses[-1]) / max(1, sum(int(self._counts[m].sum()) for m in own))

    @property
    def _rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def _prefetched(self, plan: Sequence[Step]) -> Iterator[list[list[Batch]]]:
        """Own micro-batches of each step, made while the step before is computed."""
        with ThreadPoolExecutor(1) as pool:
            upcoming = [pool.submit(self._collated, step) for step in plan[:2]]
            for step in [*plan[2:], None, None][: len(plan)]:
                ready = upcoming.pop(0).result()
                if step is not None:
                    upcoming.append(pool.submit(self._collated, step))
                yield ready

    def _collated(self, step: Step) -> list[list[Batch]]:
        return [
            [self._learner.batch("train", piece) for piece in self._pieces("train", micro, self._budget)]
            for micro in step[self._rank :: self._world]
        ]

    def _pieces(self, name: str, examples: Examples, budget: int) -> list[Examples]:
        """Examples in pieces that fit; one without any is a piece too, for what all processes do together."""
        sizes = self._sizes if name == "train" else self._learner.sizes(name)
        return cut(examples, sizes, budget) or [examples]

    def _fitting(self) -> int:
        """The largest piece of a micro-batch that fits into memory, by trying the longest and the fullest.

        Raises:
            OutOfMemoryError: not even one example fits.
        """
        longest = np.argsort(-self._sizes, kind="stable")
        reached: list[OutOfMemoryError] = []

        def attempt(budget: int) -> int:
            pieces = cut(longest, self._sizes, budget)
            fullest = max(pieces, key=lambda piece: len(piece) * int(self._sizes[piece[0]]))
            try:
                with _memory():
                    _moments = [torch.empty_like(p) for p in self._parameters for _ in range(2)]  # of AdamW
                    for examples in (pieces[0], fullest):
                        batch = _on(self._learner.batch("train", examples), self._accelerator.device)
                        self._learner.loss(module(batch.inputs), batch).backward()  # type: ignore[no-untyped-call]
            except OutOfMemoryError as error:
                # Without its traceback, which would hold on to the memory.
                reached.append(OutOfMemoryError(error.message, why=error.why, fix=error.fix))
                raise RuntimeError("the device is out of memory.") from None
            finally:
                module.zero_grad(set_to_none=True)
            return budget

        budget = self._recipe.micro_batch
        if self._accelerator.is_main_process:
            module = self._learner.module.to(self._accelerator.device).train()
            with self._forked(), self._accelerator.autocast():
                try:
                    budget = attempt(budget)
                except RuntimeError:
                    if not reached:
                        raise
                    budget = _largest(attempt, budget, reached)
        return int(broadcast_object_list([budget])[0])

    # Validation

    def _validate(self) -> None:
        """Measure, and keep the weights where they are the best so far."""
        where = self._position
        loss = None
        if where.epoch:
            loss = self._mean_loss()
        # Every rank judges: equal outputs give equal metrics, so all stop together without a word.
        part = self._problem.parts["validation"]
        value = self._judge.measure(
            self._problem.predictions(self._outputs("validation")), part.labels, part.lengths
        )
        seconds = round(where.seconds + time.monotonic() - self._started, 3)
        epoch = Epoch(where.epoch, loss, value, self._rate if where.epoch else None, seconds)
        best = where.history[where.best_epoch].metric if where.history else None
        if not where.history or _better(value, best):
            where.best_epoch, self._best = where.epoch, self._learner.learned()
        where.history = (*where.history, epoch)
        where.epoch, where.step, where.losses = where.epoch + 1, 0, []
        self._accelerator.log(
            {k: v for k, v in (("loss", loss), ("validation", value)) if v is not None}, step=where.made
        )

    def _mean_loss(self) -> float:
        """Of the pass, in the order of the micro-batches, so that its rounding too is the same for all."""
        return float(self._everyones_losses().sum()) / int(self._counts.sum())

    def _everyones_losses(self) -> torch.Tensor:
        """(steps, micro-batches), those of the other processes included."""
        losses = torch.tensor(self._position.losses, dtype=torch.float64)
        losses = losses.view(-1, self._recipe.micro_batches // self._world)
        if self._world == 1:
            return losses
        per_rank = self._accelerator.gather(losses[None].to(self._accelerator.device))
        return torch.as_tensor(per_rank.permute(1, 2, 0).flatten(1).cpu())

    @torch.no_grad()
    def _outputs(self, name: str) -> NDArray[np.float32]:
        """(n, c) outputs for the rows of a part; every process computes some, and all have them."""
        self._module.eval()
        part, sizes = self._problem.parts[name], self._learner.sizes(name)
        pieces = cut(np.argsort(sizes, kind="stable"), sizes, self._budget * _EVALUATED)
        rounds = -(-len(pieces) // self._world)
        mine = [*pieces[self._rank :: self._world], np.zeros(0, dtype=np.int64)][:rounds]
        found = torch.zeros((len(part.labels), self._problem.n_outputs), device=self._accelerator.device)
        for examples in mine:
            batch = self._learner.batch(name, examples)
            outputs = self._module(send_to_device(batch.inputs, self._accelerator.device)).float()
            if len(examples):
                found[torch.from_numpy(batch.rows).to(found.device)] = outputs
        summed = self._accelerator.reduce(found, reduction="sum")
        return np.asarray(summed.cpu().numpy())

    # State

    def _attend(self) -> None:
        """Save, or save and end, where that is wished for, or fail with another process."""
        wish = self._watch.wish
        if self._world > 1:
            self._settle()
            wish = _FAIL if self._failure else wish
            wish = int(self._accelerator.gather(torch.tensor([wish], device=self._accelerator.device)).max())
        if wish == _FAIL:
            raise next(filter(None, gather_object([self._failure])))
        if wish:
            self._save()
        if wish == 2:
            self._watch.end()

    def _save(self) -> None:
        self._settle()
        if self._room is not None:
            losses = self._everyones_losses().tolist()
            self._room.save(
                self._position.made + len(self._position.history),
                lambda folder: self._write(folder, losses),
                leads=self._accelerator.is_main_process,
                meet=self._accelerator.wait_for_everyone,
            )
        self._watch.saved()

    def _write(self, folder: Path, losses: list[list[float]]) -> None:
        self._accelerator.save_state(str(folder), safe_serialization=False)
        where = self._position
        if self._accelerator.is_main_process:
            seconds = where.seconds + time.monotonic() - self._started
            saved = asdict(where) | {"losses": losses, "seconds": seconds}
            (folder / _PROGRESS).write_text(json.dumps(saved))
            save_file(self._best, folder / _BEST)

    def _resume(self) -> None:
        """Go on from the state that was kept, with any number of processes."""
        self._accelerator.wait_for_everyone()
        folder = self._room.latest() if self._room else None
        if folder is None:
            return
        with readable(folder):
            self._accelerator.load_state(str(folder))
            self._position = decode(_Position, (folder / _PROGRESS).read_bytes())
            self._best = load_file(folder / _BEST)
        self._position.losses = [row[self._rank :: self._world] for row in self._position.losses]


def accelerator_of(
    device: str, precision: str | None, tracker: str | None = None, logs: Path | None = None
) -> Accelerator:
    """An accelerator in this process, or with those that were started beside it.

    Args:
        device: ``"cpu"``, or anything else for what Accelerate finds.
        precision: of the products; None for what Accelerate is configured to.
        tracker: that Accelerate knows; None for none.
        logs: where it writes.

    Raises:
        UsageError: there is no such tracker.
    """
    if tracker and tracker not in (there := {str(known.value) for known in get_available_trackers()}):
        raise UsageError(
            f"there is no tracker {tracker} here.",
            why=f"Accelerate finds: {', '.join(sorted(there)) or 'none'}",
            fix="pip install tensorboard, trackio, wandb, …; or leave out --tracker",
        )
    if AcceleratorState._shared_state:  # of an earlier training in this process, with its own precision
        AcceleratorState._reset_state()
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=precision,
        log_with=tracker,
        project_dir=logs,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=1))],
    )


def configured_precision() -> Precision:
    """Of the products, where it is left to Accelerate: by the environment, else by the user's configuration.

    Raises:
        UsageError: it is none that recipes know.
    """
    found = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if not found and Path(default_config_file).is_file():
        found = load_config_from_file(None).mixed_precision
    for known in get_args(Precision):
        if (found or "no") == known:
            return cast(Precision, known)
    raise UsageError(
        f"Accelerate is configured to compute in {found}, which no recipe does.",
        fix=f"--precision one of: {', '.join(get_args(Precision))}",
    )


def thread_count(micro_batches: int) -> int:
    """Threads of the processor for each process: its share when every micro-batch of a step has its own."""
    return max(1, torch.get_num_threads() // micro_batches)


def _flat(recipe: Recipe, seed: int) -> dict[str, Any]:
    """Hyper-parameters as trackers take them."""
    plain = asdict(recipe)
    reading, settings = plain.pop("reading"), plain.pop("settings")
    return {k: v for k, v in (plain | reading | settings | {"seed": seed}).items() if v is not None}


def _largest(attempt: Callable[[int], int], budget: int, reached: Sequence[OutOfMemoryError]) -> int:
    """The largest budget below this one that fits.

    Raises:
        OutOfMemoryError: none does; the last that was reached.
    """
    try:
        found: int = find_executable_batch_size(attempt, starting_batch_size=int(0.9 * budget))()
    except RuntimeError as error:
        raise reached[-1] from error
    return found


def _factor(progress: float, recipe: Recipe) -> float:
    """By which rates are multiplied when a share of all passes is done."""
    if progress < recipe.warmup:
        return progress / recipe.warmup
    return (1 - progress) / (1 - recipe.warmup) if recipe.anneal else 1.0


def _on(batch: Batch, device: torch.device) -> Batch:
    return Batch(send_to_device(batch.inputs, device), batch.labels.to(device), batch.rows)


def _better(value: float | None, best: float | None) -> bool:
    return value is not None and (best is None or value > best)


@contextmanager
def _memory() -> Iterator[None]:
    """What libraries make of too little memory, as what it is."""
    try:
        yield
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        raise OutOfMemoryError(
            "there is not enough memory for a training step.",
            why=str(error).splitlines()[0],
            fix="a smaller --micro-batch, or the recipe lora or late",
        ) from error


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
