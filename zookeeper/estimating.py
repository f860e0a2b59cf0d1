"""What a training would take, before anything is read: steps, memory and time, roughly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from zookeeper.reader import Reader, feature_key
from zookeeper.recipes import RECIPES, of_each
from zookeeper.records import Checkpoint, FeatureSet, Labelled
from zookeeper.results import Expected, Trial
from zookeeper.store import Store
from zookeeper.tuner import Cell, Work

# Sub-words of a word, and of special ones around a sentence.
_PIECES, _SPECIAL = 1.3, 2
# AdamW in single precision: weight, gradient, two moments; and a weight alone.
_LEARNT, _FROZEN = 16, 4
# Numbers that a layer keeps of each sub-word for its gradient, in units of its width (Korthikanti et al.
# 2022, https://arxiv.org/abs/2205.05198, section 4, without the attention matrices).
_KEPT = 17
# Width over number of layers, as in BERT; a body of P parameters has P = 12 layers width^2.
_ASPECT = 64
# Of the products that a processor can do, what a training gets to do.
_EFFICIENCY = 0.8
_STEP_SECONDS = 2e-3


class Estimator:
    """Estimates what is left to do.

    Args:
        store: knows what is done.
        reader: knows which features there are.
    """

    def __init__(self, store: Store, reader: Reader) -> None:
        self._store, self._reader = store, reader

    def expected(self, what: str, work: Work, cells: Sequence[Cell]) -> Expected:
        """What the trials of some seeds and shares would take.

        Args:
            what: the ensemble is.
            work: what is tuned.
            cells: seeds and shares.
        """
        trainings = self._trainings(work, cells)
        steps = sum(_steps(part, fraction) for part, fraction in trainings)
        flops = sum(_flops(part, fraction) for part, fraction in trainings)
        reading = sum(self._reading_flops(part) for part in dict.fromkeys(part for part, _ in trainings))
        left = self._left(work, cells)
        return Expected(
            what=what,
            members=tuple(member.name for member in work.members),
            trials=len(cells),
            done=len(cells) - len(left),
            begun=sum(self._begun(work, cell) for cell in left),
            steps=steps,
            bytes=max(_bytes(part) for part in _parts(work)),
            seconds=(flops + reading) / self._speed + steps * _STEP_SECONDS,
        )

    def _left(self, work: Work, cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in cells if self._store.find(Trial, work.plan(*cell).digest) is None]

    def _begun(self, work: Work, cell: Cell) -> bool:
        return any(self._store.unfinished(work.plan(*cell).digest).glob("state-*"))

    def _trainings(self, work: Work, cells: Sequence[Cell]) -> list[tuple[Work, float]]:
        """The trainings that are left, each with its share of the training data."""
        left = self._left(work, cells)
        if RECIPES[work.recipe.name].needs == "members":
            return [training for alone in _apart(work) for training in self._trainings(alone, left)]
        whole = list(dict.fromkeys((seed, 1.0) for seed, _ in left))
        before = self._trainings(work.before, whole) if work.before else []
        return [*before, *((work, fraction) for _, fraction in left)]

    def _reading_flops(self, work: Work) -> float:
        """Of reading the features that are not there yet."""
        if RECIPES[work.recipe.name].needs not in ("features", "both"):
            return 0.0
        reading, missing = work.recipe.reading, 0.0
        for member in work.members:
            for data in work.task.data.values():
                key = feature_key(member, data.corpus.digest, reading.settled(data.corpus.unit))
                if self._store.find(FeatureSet, key.digest) is None:
                    missing += 2 * (member.parameters or 0) * _subwords(data)
        return missing

    @cached_property
    def _speed(self) -> float:
        """Multiplications and additions a second that a training gets to do on this machine."""
        from zookeeper.tuning.speed import products_per_second

        return products_per_second(self._reader.device) * _EFFICIENCY


def _apart(work: Work) -> list[Work]:
    return [replace(work, members=(member,), recipe=of_each(work.recipe)) for member in work.members]


def _parts(work: Work) -> list[Work]:
    """The trainings that a trial is made of, done or not."""
    if RECIPES[work.recipe.name].needs == "members":
        return _apart(work)
    return [*(_parts(work.before) if work.before else []), work]


def _subwords(data: Labelled) -> float:
    sentences = data.corpus.sentences
    return sum(map(len, sentences)) * _PIECES + len(sentences) * _SPECIAL


def _frozen(work: Work) -> bool:
    return RECIPES[work.recipe.name].needs == "features"


def _size(work: Work) -> float:
    """Of the training split, in the unit of a micro-batch."""
    return float(
        sum(
            task.data["train"].corpus.n_rows if _frozen(work) else _subwords(task.data["train"])
            for task in work.tasks
        )
    )


def _steps(work: Work, fraction: float) -> int:
    recipe = work.recipe
    if RECIPES[recipe.name].needs == "stages":
        return int(recipe.settings["outer_steps"]) * int(recipe.settings["inner_steps"]) * len(work.tasks)
    a_pass = -(-int(_size(work) * fraction) // (recipe.micro_batch * recipe.micro_batches))
    return int(recipe.epochs * max(1, a_pass))


def _flops(work: Work, fraction: float) -> float:
    """Of all passes: twice the weights forward, and twice that back."""
    learners = work.members[:1] if RECIPES[work.recipe.name].needs == "both" else work.members
    outputs = max(1, len(work.tasks[0].target.classes))
    weights = sum(_width(m) * outputs if _frozen(work) else (m.parameters or 0) for m in learners)
    return 6 * weights * _learnt_from(work, fraction)


def _learnt_from(work: Work, fraction: float) -> float:
    """Rows or sub-words that go through, each as often as it does."""
    recipe = work.recipe
    if RECIPES[recipe.name].needs == "stages":
        whole = min(recipe.micro_batch * recipe.micro_batches, _size(work) / len(work.tasks))
        return _steps(work, fraction) * whole
    return _size(work) * fraction * recipe.epochs


def _bytes(work: Work) -> int:
    """Of weights and what is kept for their gradients; of frozen features the features."""
    if _frozen(work):
        rows = sum(data.corpus.n_rows for data in work.task.data.values())
        return int(4 * rows * sum(map(_width, work.members)))
    a_weight = (
        _FROZEN if work.recipe.name == "lora" or work.recipe.settings.get("freeze") == "all" else _LEARNT
    )
    total = 0.0
    for member in work.members:
        width = _width(member)
        total += a_weight * (member.parameters or 0)
        total += 4 * _KEPT * work.recipe.micro_batch * width * (width / _ASPECT)
    return int(total)


def _width(member: Checkpoint) -> int:
    """Of its features, as checkpoints of its size have."""
    return int(((member.parameters or 0) * _ASPECT / 12) ** (1 / 3))
