"""Transferability scores: how well a checkpoint's frozen features serve a target, before any tuning.

A score is a function of a target's `Statistics`; larger is better. Scores compare checkpoints on one
target only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zookeeper.registry import Registry
from zookeeper.scores.hscore import hscore
from zookeeper.scores.logme import logme
from zookeeper.statistics import Statistics


@dataclass(frozen=True, slots=True)
class ScoreSpec:
    """A score and what a reader needs to know of it.

    Attributes:
        name: as on the command line.
        title: as at the head of a column.
        function: from statistics to the score; larger is better.
        unit: what the number counts.
        regression: whether it is defined where labels are real numbers.
        source: paper.
    """

    name: str
    title: str
    function: Callable[[Statistics], float]
    unit: str
    regression: bool
    source: str


SCORES = Registry[ScoreSpec](
    "score",
    "zookeeper.scores",
    {
        "logme": ScoreSpec(
            "logme",
            "LogME",
            logme,
            "nats per example",
            True,
            "You et al. 2021, https://arxiv.org/abs/2102.11005",
        ),
        "hscore": ScoreSpec(
            "hscore",
            "H-score",
            hscore,
            "explained class variance, at most classes - 1",
            False,
            "Bao et al. 2019; shrinkage by Ibrahim et al. 2022, https://arxiv.org/abs/2110.06893",
        ),
    },
)

__all__ = ["SCORES", "ScoreSpec", "hscore", "logme"]
