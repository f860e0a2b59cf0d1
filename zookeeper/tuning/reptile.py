"""Recipe ``reptile``: members learn to learn other targets first, and the target from where that ended.

Nichol, Achiam, Schulman 2018, "On First-Order Meta-Learning Algorithms", https://arxiv.org/abs/1803.02999,
in the batched form of section 3: every outer step trains each target for a few inner steps from the same
weights phi, with an optimiser of its own, and moves phi towards the mean of where they ended,

    phi <- phi + epsilon_i ( mean_b phi_b - phi ),   epsilon_i = epsilon (1 - i / steps).

Heads belong to their targets and are no part of phi.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from zookeeper.errors import DegenerateInputError, UsageError
from zookeeper.plans import Recipe
from zookeeper.results import Epoch
from zookeeper.tuning.batches import Step, steps
from zookeeper.tuning.joint import Joint
from zookeeper.tuning.room import Room, readable
from zookeeper.tuning.watch import Watch

Weights = dict[str, torch.Tensor]

_STATE = "phi.safetensors"


@dataclass(frozen=True, eq=False)
class Met:
    """What came of meeting the targets.

    Attributes:
        learned: phi, by name.
        history: mean loss of each outer step.
        steps: inner ones, of all targets.
    """

    learned: dict[str, NDArray[Any]]
    history: tuple[Epoch, ...]
    steps: int


def meta_trained(
    learners: Sequence[Joint],
    recipe: Recipe,
    *,
    seed: int,
    accelerator: Accelerator,
    room: Room,
    watch: Watch,
    advance: Callable[[int, str], None] = lambda done, note: None,
) -> Met:
    """Learn to learn several targets.

    Args:
        learners: of each target, of the same members; from here on they share their bodies.
        recipe: with the steps, inner and outer.
        seed: of the order of examples and of dropout.
        accelerator: process r of w trains targets r, r + w, …
        room: keeps the state.
        watch: what is asked of it from outside.
        advance: called after each outer step.

    Raises:
        UsageError: members do not learn, or there are no targets.
        DegenerateInputError: a loss is not finite.
        KeyboardInterrupt, TerminatedError: it was asked to end; its state is kept.
    """
    meeting = _Meeting(learners, recipe, seed, accelerator)
    outer = int(recipe.settings["outer_steps"])
    history = [Epoch(0, None, None), *meeting.resume(room)]
    with torch.random.fork_rng([]), watch.listening():
        for i in range(len(history) - 1, outer):
            loss = meeting.step(i, float(recipe.settings["step_size"]) * (1 - i / outer))
            history.append(Epoch(i + 1, loss, None))
            advance(1, f"loss {loss:.4g}")
            if wish := int(accelerator.gather(torch.tensor([watch.wish], device=accelerator.device)).max()):
                meeting.save(room, history)
                watch.saved()
            if wish == 2:
                watch.end()
    learned = {name: value.cpu().numpy() for name, value in meeting.phi().items()}
    return Met(learned, tuple(history), outer * int(recipe.settings["inner_steps"]) * len(learners))


class _Meeting:
    """Learners around one body.

    Args:
        learners: as `meta_trained`.
        recipe: as `meta_trained`.
        seed: as `meta_trained`.
        accelerator: as `meta_trained`.
    """

    def __init__(
        self, learners: Sequence[Joint], recipe: Recipe, seed: int, accelerator: Accelerator
    ) -> None:
        if not learners:
            raise UsageError("there are no targets to learn from.", fix="--through TARGET,…")
        first, *others = learners
        for other in others:
            other.module.encoders = first.module.encoders
        for learner in learners:
            learner.module.to(accelerator.device)
        self._learners, self._recipe, self._seed, self._accelerator = learners, recipe, seed, accelerator
        self._body = {n: p for n, p in first.learning.items() if not n.startswith("head.")}
        if not self._body:
            raise UsageError(
                "members that do not learn learn nothing from other targets.", fix="leave out --freeze"
            )

    def phi(self) -> Weights:
        """A copy of the weights of the body that learn."""
        return {name: parameter.detach().clone() for name, parameter in self._body.items()}

    def step(self, number: int, size: float) -> float:
        """An outer step; gives the mean loss of all inner ones."""
        accelerator, begin = self._accelerator, self.phi()
        moved = {name: torch.zeros_like(value) for name, value in begin.items()}
        losses = torch.zeros(1, device=accelerator.device)
        for b in range(accelerator.process_index, len(self._learners), accelerator.num_processes):
            losses += self._inner(b, number)
            for name, parameter in self._body.items():
                moved[name] += parameter.detach() - begin[name]
            self._set(begin)
        share = size / len(self._learners)
        everyones = accelerator.reduce(moved, reduction="sum")
        self._set({name: value + share * everyones[name] for name, value in begin.items()})
        loss = float(accelerator.reduce(losses, reduction="sum")) / len(self._learners)
        if not np.isfinite(loss):
            raise DegenerateInputError(
                f"the loss is {loss} in outer step {number + 1}.", fix="a smaller --set backbone_rate"
            )
        return loss

    def _inner(self, b: int, number: int) -> float:
        """A few steps on one target, with an optimiser of their own; gives their mean loss."""
        learner, k = self._learners[b], int(self._recipe.settings["inner_steps"])
        optimizer = torch.optim.AdamW(learner.groups(), weight_decay=self._recipe.weight_decay)
        learner.module.train()
        total = 0.0
        for i, step in enumerate(islice(self._examples(b, number), k)):
            torch.manual_seed(int(np.random.SeedSequence([self._seed, number, b, i]).generate_state(1)[0]))
            total += self._learnt(learner, step, optimizer)
        return total / k

    def _examples(self, b: int, number: int) -> Iterator[Step]:
        """Steps of a target, over and over."""
        recipe, sizes = self._recipe, self._learners[b].sizes("train")
        return cycle(steps(sizes, recipe.micro_batch, recipe.micro_batches, [self._seed, number, b]))

    def _learnt(self, learner: Joint, step: Step, optimizer: torch.optim.Optimizer) -> float:
        n = max(1, sum(int(learner.counts()[micro].sum()) for micro in step))
        optimizer.zero_grad()
        total = 0.0
        for micro in (micro for micro in step if len(micro)):
            batch = learner.batch("train", micro)
            device = self._accelerator.device
            with self._accelerator.autocast():
                outputs = learner.module(send_to_device(batch.inputs, device))
            loss = learner.loss(outputs, type(batch)(None, batch.labels.to(device), batch.rows)) / n
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        if self._recipe.clip:
            torch.nn.utils.clip_grad_norm_(list(learner.learning.values()), self._recipe.clip)
        optimizer.step()
        return total

    @torch.no_grad()
    def _set(self, weights: Weights) -> None:
        for name, parameter in self._body.items():
            parameter.copy_(weights[name])

    # State

    def save(self, room: Room, history: Sequence[Epoch]) -> None:
        """Keep where it stands."""
        accelerator = self._accelerator

        def write(folder: Path) -> None:
            heads = self._heads()
            if accelerator.is_main_process:
                losses = torch.tensor([epoch.loss for epoch in history[1:]], dtype=torch.float64)
                save_file({**self.phi(), **heads, "losses": losses}, folder / _STATE)

        room.save(
            len(history) - 1, write, leads=accelerator.is_main_process, meet=accelerator.wait_for_everyone
        )

    def _heads(self) -> Weights:
        """Of all targets, from the processes that train them."""
        found = {}
        for b, learner in enumerate(self._learners):
            mine = b % self._accelerator.num_processes == self._accelerator.process_index
            for name, parameter in learner.learning.items():
                if name.startswith("head."):
                    own = parameter.detach().clone() if mine else torch.zeros_like(parameter)
                    found[f"{b}/{name}"] = self._accelerator.reduce(own, reduction="sum")
        return found

    @torch.no_grad()
    def resume(self, room: Room) -> list[Epoch]:
        """Go on from what was kept; gives the outer steps that were done."""
        folder = room.latest()
        if folder is None:
            return []
        with readable(folder):
            kept = load_file(folder / _STATE, device=str(self._accelerator.device))
        self._set(kept)
        for b, learner in enumerate(self._learners):
            for name, parameter in learner.learning.items():
                if name.startswith("head."):
                    parameter.copy_(kept[f"{b}/{name}"])
        return [Epoch(i + 1, loss, None) for i, loss in enumerate(kept["losses"].tolist())]
