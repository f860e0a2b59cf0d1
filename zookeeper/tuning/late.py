"""Recipe ``late``: members are tuned apart, and combined by what they say of the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from zookeeper.ensembles import Combination, Way, combine, cross_fitted, diversity
from zookeeper.plans import Recipe
from zookeeper.tuning.problem import Problem

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Combined:
    """Members' outputs, combined.

    Attributes:
        outputs: (n, c) of each part; of validation each sentence by what was fitted to the others.
        learned: the combination.
        details: what there is to say of it.
    """

    outputs: dict[str, NDArray[np.float32]]
    learned: dict[str, NDArray[Any]]
    details: dict[str, Any]


def combined(members: Mapping[str, Arrays], problem: Problem, recipe: Recipe, *, seed: int) -> Combined:
    """Combine k members.

    Args:
        members: outputs of each, by its name, for validation and what else there is.
        problem: what they learned.
        recipe: with the way to combine.
        seed: of the folds of the validation split.

    Raises:
        UsageError: there is no such way.
        DegenerateInputError: a member's outputs are not finite.
    """
    part = problem.parts["validation"]
    how = cast(Way, recipe.settings["combine"])  # which other words are none
    groups = np.repeat(np.arange(len(part.lengths)), part.lengths)
    parts = list(members.values())
    judged = [member["validation"] for member in parts]
    fitted: Combination = combine(judged, problem.wanted("validation"), groups, problem.kind, how)
    outputs = {
        name: fitted.apply([member[name] for member in parts]).astype(np.float32)
        for name in parts[0]
        if name != "validation"
    }
    validation = cross_fitted(judged, problem.wanted("validation"), groups, problem.kind, how, seed=seed)
    predictions = [problem.predictions(made) for made in judged]
    return Combined(
        {"validation": validation.astype(np.float32), **outputs},
        dict(fitted.arrays),
        {
            **fitted.details(list(members)),
            **diversity(predictions, part.labels, problem.kind),
        },
    )
