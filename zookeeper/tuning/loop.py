"""The training loop, on Accelerate; any number of processes that divides a step gives the same weights.

A step is a fixed number of micro-batches, whoever computes them: rank r of w takes r, r + w, … Their losses
are summed and divided by the labels of the whole step, so neither an uneven end nor the number of processes
changes the gradient. The order of examples is a function of seed and epoch alone. With two micro-batches a
step, as by default, the weights are the same to the bit; with more, up to the rounding of their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.nn import functional

from zookeeper.errors import UsageError
from zookeeper.records import Recipe, counted
from zookeeper.results import Epoch
from zookeeper.tuning.problem import Problem


@dataclass(frozen=True, eq=False)
class Tuned:
    """A tuned linear head and how it came about.

    Attributes:
        weight: (c, d), for features as they are: standardisation is folded in.
        bias: (c,).
        history: pass by pass.
        best_epoch: whose weights these are.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    history: tuple[Epoch, ...]
    best_epoch: int

    def predict(self, features: NDArray[np.float32], *, regression: bool) -> NDArray[Any]:
        """(n,) classes or real numbers for (n, d) features."""
        outputs = features @ self.weight.T + self.bias
        return outputs[:, 0].astype(np.float64) if regression else outputs.argmax(axis=1)

    def predictions(self, problem: Problem) -> dict[str, NDArray[Any]]:
        """Predictions on every split but the one that was learnt from."""
        return {
            split: self.predict(problem.features[split], regression=not problem.classes)
            for split in ("validation", "test")
            if split in problem.features
        }


def train_head(
    problem: Problem,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    processes: int = 1,
    advance: Callable[[Epoch], None] = lambda _: None,
) -> Tuned:
    """Tune a linear head on frozen features.

    Cross-entropy for classes, squared error for real numbers, Adam with a constant rate; keeps the weights
    of the first pass with the best validation metric, the untrained ones included.

    Args:
        problem: what to learn.
        recipe: how.
        seed: of initial weights and order.
        device: torch device; with several processes Accelerate places them.
        processes: that were started for this; checked, because many launchers silently start another number.
        advance: called after each pass.

    Raises:
        UsageError: the number of processes does not divide a step's micro-batches, or is another than said.
    """
    accelerator = Accelerator(cpu=device == "cpu")
    world = accelerator.num_processes
    if world != processes:
        raise UsageError(f"{processes} processes were asked for, {world} run together.")
    if recipe.micro_batches % world:
        raise UsageError(f"{world} processes do not divide a step of {recipe.micro_batches} micro-batches.")
    regression = not problem.classes
    labels = problem.labels["train"]
    rows = np.flatnonzero(counted(labels))
    scales = _Scales.of(problem, rows, standardize=recipe.standardize)
    X, y = scales.inputs(problem.features["train"]), scales.outputs(labels)

    torch.manual_seed(seed)
    head = torch.nn.Linear(X.shape[1], problem.n_outputs)
    optimizer = torch.optim.Adam(head.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    head, optimizer = accelerator.prepare(head, optimizer)

    history: list[Epoch] = []
    best: Tuned | None = None
    for epoch in range(recipe.epochs + 1):
        loss = None
        if epoch:
            with _one_thread():
                loss = _pass(accelerator, head, optimizer, X, y, rows, recipe, [seed, epoch])
        tuned = Tuned(*scales.folded(accelerator.unwrap_model(head)), (), epoch)
        # Every rank evaluates: equal weights give equal metrics, so all stop together without a word.
        value = problem.measure(
            "validation", tuned.predict(problem.features["validation"], regression=regression)
        )
        history.append(Epoch(epoch, loss, value))
        advance(history[-1])
        if best is None or _better(value, history[best.best_epoch].metric):
            best = tuned
        elif epoch - best.best_epoch >= recipe.patience:
            break
    if best is None:
        raise UsageError("the recipe has no epochs.")
    return Tuned(best.weight, best.bias, tuple(history), best.best_epoch)


@dataclass(frozen=True, eq=False)
class _Scales:
    """Standardisation of features and, in a regression, of the target; folded back into what was learnt.

    Attributes:
        centre, scale: (d,) of the features.
        y_centre, y_scale: (1,) of the target; 0 and 1 for classes.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    y_centre: NDArray[np.float64]
    y_scale: NDArray[np.float64]

    @classmethod
    def of(cls, problem: Problem, rows: NDArray[np.int64], *, standardize: bool) -> _Scales:
        """From the training rows that count."""
        features, labels = problem.features["train"][rows], problem.labels["train"][rows, None]
        return cls(*_moments(features, standardize), *_moments(labels, not problem.classes))

    def inputs(self, features: NDArray[np.float32]) -> torch.Tensor:
        """What the head reads."""
        scaled = features - self.centre.astype(np.float32)
        scaled /= self.scale.astype(np.float32)
        return torch.from_numpy(scaled)

    def outputs(self, labels: NDArray[Any]) -> torch.Tensor:
        """What it learns."""
        if np.issubdtype(labels.dtype, np.integer):
            return torch.from_numpy(labels)
        return torch.from_numpy(((labels - self.y_centre) / self.y_scale).astype(np.float32))

    def folded(self, layer: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias for features and target as they are."""
        weight = layer.weight.detach().cpu().numpy().astype(np.float64) / self.scale
        bias = layer.bias.detach().cpu().numpy() - weight @ self.centre
        weight, bias = weight * self.y_scale[:, None], bias * self.y_scale + self.y_centre
        return weight.astype(np.float32), bias.astype(np.float32)


def _moments(columns: NDArray[Any], wanted: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each column; 1 for one that varies by no more than rounding does."""
    if not wanted:
        return np.zeros(columns.shape[1]), np.ones(columns.shape[1])
    centre, scale = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
    return centre, np.where(scale < np.maximum(1e-8, 1e-6 * np.abs(centre)), 1.0, scale)


def _pass(
    accelerator: Accelerator,
    head: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    X: torch.Tensor,
    y: torch.Tensor,
    rows: NDArray[np.int64],
    recipe: Recipe,
    seed: list[int],
) -> float:
    """One pass over the training rows; gives the mean loss over them."""
    world, rank = accelerator.num_processes, accelerator.process_index
    order = np.random.default_rng(seed).permutation(rows)
    step_rows = recipe.batch_rows * recipe.micro_batches
    losses: list[torch.Tensor] = []
    for first in range(0, len(order), step_rows):
        step = order[first : first + step_rows]
        mine = [
            step[j * recipe.batch_rows : (j + 1) * recipe.batch_rows]
            for j in range(rank, recipe.micro_batches, world)
        ]
        optimizer.zero_grad()
        for number, micro_batch in enumerate(mine):
            index = torch.from_numpy(micro_batch)
            with _accumulating(accelerator, head, number < len(mine) - 1):
                outputs = head(X[index].to(accelerator.device))
                loss = _loss(outputs, y[index].to(accelerator.device))
                # Accelerate averages gradients over ranks; the sum over the step is what is meant.
                accelerator.backward(loss * world / len(step))
            losses.append(loss.detach())
        optimizer.step()
    # Back into the order of the micro-batches, so that the sum too is the same for any number of processes.
    per_rank = accelerator.gather(torch.stack(losses).reshape(1, -1, recipe.micro_batches // world))
    return float(per_rank.permute(1, 2, 0).double().sum()) / len(order)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one CPU thread: a head's products are so small that more of them wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _accumulating(accelerator: Accelerator, head: torch.nn.Module, more: bool) -> Any:
    """Let gradients add up locally until the last micro-batch of a step."""
    return accelerator.no_sync(head) if more else accelerator.accumulate()


def _loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if y.is_floating_point():
        return functional.mse_loss(outputs[:, 0], y, reduction="sum")
    return functional.cross_entropy(outputs, y, reduction="sum")


def _better(value: float | None, best: float | None) -> bool:
    return value is not None and (best is None or value > best)
