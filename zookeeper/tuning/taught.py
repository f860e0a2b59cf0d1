"""Recipe ``b-tuning``: the first member is fine-tuned while the others teach it, each as its LogME is worth.

You et al. 2022, "Ranking and Tuning Pre-trained Models: A New Paradigm for Exploiting Model Hubs",
https://arxiv.org/abs/2110.10545, section 5. Teachers do not run beside the student: all that they say of the
training rows is known before it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import torch

from zookeeper.errors import UsageError
from zookeeper.plans import Recipe
from zookeeper.records import counted
from zookeeper.teaching import Form, lesson
from zookeeper.tuning.joint import Inputs, Joint, Members
from zookeeper.tuning.learner import Batch
from zookeeper.tuning.materials import Materials
from zookeeper.tuning.problem import Problem


class Student(torch.nn.Module):
    """A member under its head which, while it learns, also says what its vectors mean to its LogME.

    Args:
        members: the one.
        weights: (d, c), of LogME on the features that it began with.
    """

    def __init__(self, members: Members, weights: torch.Tensor) -> None:
        super().__init__()
        self.members = members
        self.register_buffer("weights", weights)

    @property
    def head(self) -> torch.nn.Linear:
        """Of the student."""
        return self.members.head

    @property
    def models(self) -> list[torch.nn.Module]:
        """The student's own."""
        return self.members.models

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(r, c) outputs; while it learns with as many columns again for what its vectors mean."""
        vectors = self.members.vectors(inputs)
        outputs = self.members.outputs(vectors)
        if not self.training:
            return outputs
        return torch.cat([outputs, vectors.float() @ self.get_buffer("weights")], dim=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Taught(Joint):
    """A student as the loop trains it.

    Attributes:
        said: (n, c), what teachers say of each row of the training part.
        strength: of the teaching, beside the loss.
        worth: share of each teacher in it, by name.
    """

    said: torch.Tensor
    strength: float
    worth: Mapping[str, float]

    @classmethod
    def of(cls, materials: Materials, problem: Problem, recipe: Recipe, *, seed: int, device: str) -> Taught:
        """From the files of the first member, and features of all on the training split.

        Args:
            materials: with both.
            problem: what to learn.
            recipe: how.
            seed: of initial weights.
            device: not used; the loop places the module.

        Raises:
            CheckpointError: the student cannot be read, or not be trained.
            UsageError: its vectors are to be normalized, so that they would mean nothing to its LogME.
            DegenerateInputError: features say nothing of the labels.
        """
        if recipe.settings["normalize"]:
            raise UsageError(
                "a student's vectors are not normalized.",
                why="its LogME is of its features as they are",
                fix="--set normalize=false",
            )
        alone = Materials(materials.names[:1], materials.corpora, materials.folders[:1])
        joint = Joint.of(alone, problem, recipe, seed=seed, device=device)
        train, settings = problem.parts["train"], recipe.settings
        student, *teachers = [layers[0][train.rows] for layers in materials.layers[train.source]]
        taught = lesson(
            student,
            teachers,
            problem.wanted("train"),
            temperature=float(settings["temperature"]),
            form=cast(Form, settings["form"]),  # which other words are none
        )
        shared = {field.name: getattr(joint, field.name) for field in fields(Joint)}
        student_module = Student(joint.module, torch.from_numpy(taught.weights).float())
        return cls(
            **shared | {"module": student_module},
            said=torch.from_numpy(taught.targets).float(),
            strength=float(settings["strength"]),
            worth=dict(zip(materials.names[1:], taught.prior.tolist(), strict=True)),
        )

    @property
    def details(self) -> dict[str, Any]:
        """What each teacher is worth too."""
        return {**super().details, "teachers": self.worth}

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """With the squared distance between what the student's vectors mean and what teachers say."""
        c = outputs.shape[1] - self.said.shape[1]
        said = self.said[torch.from_numpy(batch.rows)].to(outputs.device)
        counts = torch.from_numpy(counted(batch.labels.cpu().numpy())).to(outputs.device)
        apart = (outputs[:, c:].float() - said).square().mean(dim=1)
        return super().loss(outputs[:, :c], batch) + self.strength * apart[counts].sum()
