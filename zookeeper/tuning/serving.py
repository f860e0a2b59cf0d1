"""What was learned, at work again: from members' files and published arrays to outputs on any text.

The road is that of training: members are opened in the same way, cut texts into the same windows, and stand
under the same head. A linear head on frozen features is a head on members of which none has learned anything.
Outputs are computed in single precision, whatever products were computed in before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from accelerate.utils import send_to_device
from numpy.typing import NDArray

from zookeeper.ensembles import Combination, Way
from zookeeper.errors import DegenerateInputError, IntegrityError, OutOfMemoryError, UsageError
from zookeeper.extract import ranges, theirs
from zookeeper.plans import Recipe, Setting
from zookeeper.recipes import RECIPES, of_each, recipe_of
from zookeeper.records import Corpus, Target
from zookeeper.tuning.batches import cut
from zookeeper.tuning.joint import Members, Side, opened, restore, sizes_of, under, width_of

Arrays = Mapping[str, NDArray[Any]]
Outputs = NDArray[np.float32]

_WHOLE = "all"
# Sub-words that go through a member at once, padding included.
_BUDGET = 8192
_AS_THEY_ARE: dict[str, Setting] = {
    "freeze": "all",
    "normalize": False,
    "head_dropout": 0.0,
    "checkpointing": False,
}


@dataclass(frozen=True, slots=True)
class Sources:
    """What an ensemble is made of, but for what it learned.

    Attributes:
        names: of the members, in order.
        folders: of their files.
        target: that was learned.
        device: torch device.
    """

    names: tuple[str, ...]
    folders: tuple[Path, ...]
    target: Target
    device: str

    def only(self, number: int) -> Sources:
        """One member alone."""
        return replace(self, names=(self.names[number],), folders=(self.folders[number],))


class Server(Protocol):
    """Gives outputs.

    Attributes:
        n_outputs: c; as many as there are classes that training saw, or labels, or 1 of numbers.
    """

    @property
    def n_outputs(self) -> int:
        """As above."""

    def outputs(self, corpus: Corpus) -> Outputs:
        """(n, c) on the rows of a corpus, as training stored them.

        Raises:
            CheckpointError: a member fails on it.
            OutOfMemoryError: the device is too small.
        """


def served(recipe: Recipe, sources: Sources, arrays: Arrays) -> Callable[[Corpus], Outputs]:
    """What a recipe made, ready for any text.

    Args:
        recipe: of the trial; somebody else may have written it.
        sources: its members, and what it learned of.
        arrays: as `Runner.published` gives them, finite.

    Returns:
        From a corpus to (n, c) logits of classes or labels, log-probabilities of combined classes, or numbers
        in the unit of the target.

    Raises:
        UsageError: the recipe is not one of ours, or what was learned does not fit it or its members.
        CheckpointError: a member cannot be read.
        DegenerateInputError: a combination means nothing.
        IntegrityError: something is missing.
    """
    recipe = _checked(recipe)
    given = dict(arrays)
    centre, deviation = _scale(given.pop("scale", np.array([0.0, 1.0])), sources.target)
    server = _server(recipe, sources, given)

    def outputs(corpus: Corpus) -> Outputs:
        with np.errstate(over="ignore", invalid="ignore"):
            found = (server.outputs(corpus).astype(np.float64) * deviation + centre).astype(np.float32)
        if not np.isfinite(found).all():
            raise DegenerateInputError("its outputs are not finite (NaN or infinity).")
        return found

    return outputs


def _checked(recipe: Recipe) -> Recipe:
    """With the settings that its way of tuning has, each of its kind, and nothing else.

    Raises:
        UsageError: they are others, or it is no recipe of ours.
    """
    if recipe.name not in _SERVERS:
        raise UsageError(
            f"what the recipe {recipe.name} made cannot be served here.",
            why=f"these can: {', '.join(_SERVERS)}",
        )
    given, way = recipe.settings, RECIPES[recipe.name]
    for name, choices in way.choices.items():
        if given.get(name, way.recipe.settings[name]) not in choices:
            raise UsageError(f"{name} is {given[name]}.", why=f"it is one of: {', '.join(choices)}")
    defaults = recipe_of(recipe.name, str(given["of"]) if "of" in given else None)
    return replace(recipe, settings=defaults.with_settings(given).settings)


def _scale(scale: NDArray[Any], target: Target) -> tuple[float, float]:
    """Mean and deviation of the numbers that were learnt from; 0 and 1 of all else."""
    if scale.shape != (2,) or not scale[1] > 0:
        raise IntegrityError("the scale of its numbers is none.")
    return (float(scale[0]), float(scale[1])) if target.kind == "numbers" else (0.0, 1.0)


def _server(recipe: Recipe, sources: Sources, arrays: Arrays) -> Server:
    return _SERVERS[recipe.name](recipe, sources, arrays)


# Members under a head


@dataclass(frozen=True, eq=False)
class Together:
    """Members under a head.

    Attributes:
        sides: the members.
        module: of all.
        device: on which it is.
    """

    sides: tuple[Side, ...]
    module: Members
    device: str

    @property
    def n_outputs(self) -> int:
        """As `Server`."""
        return self.module.head.out_features

    def outputs(self, corpus: Corpus) -> Outputs:
        """As `Server`; memory does not grow with the length of a text but for its sub-words."""
        found = np.zeros((corpus.n_rows, self.n_outputs), dtype=np.float32)
        if not corpus.n_rows:
            return found
        texts = [side.text({_WHOLE: corpus}, blank=True) for side in self.sides]
        lengths = texts[0].windows[_WHOLE].sizes // (2 if corpus.unit == "pair" else 1)
        starts, sizes = np.cumsum(lengths) - lengths, sizes_of(texts, _WHOLE)
        for items in cut(np.argsort(sizes, kind="stable"), sizes, _BUDGET):
            inputs = [text.inputs(_WHOLE, items, _BUDGET) for text in texts]
            found[ranges(starts[items], lengths[items])] = self._run(inputs)
        return found

    @torch.inference_mode()
    def _run(self, inputs: list[dict[str, Any]]) -> Outputs:
        try:
            with theirs():
                outputs = self.module(send_to_device(inputs, self.device))
        except OutOfMemoryError as error:
            raise OutOfMemoryError(
                "there is not enough memory to run the ensemble.", why=error.why, fix='device="cpu"'
            ) from error
        return np.asarray(outputs.float().cpu().numpy())


def _together(recipe: Recipe, sources: Sources, arrays: Arrays) -> Together:
    """Members as they were tuned, under their head."""
    target = sources.target
    settings = {**recipe.settings, "checkpointing": False}
    reading = recipe.reading.settled(target.unit)
    with theirs():  # so are the settings
        sides = opened(sources.names, sources.folders, reading, settings, learned=arrays)
    head = _head_of(arrays, width_of(sides, target.unit), target)
    module = under(sides, head, settings, target.unit)
    restore(module, arrays)
    return Together(tuple(sides), module.eval().to(sources.device), sources.device)


def _head_of(arrays: Arrays, width: int, target: Target) -> torch.nn.Linear:
    """A head of the size of the one that was learned.

    Raises:
        IntegrityError: there is none, or none of vectors so wide, or for such a target.
    """
    weight = arrays.get("head.weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] != width:
        raise IntegrityError(
            "its head does not fit its members.",
            why=f"they give {width:,} numbers a row, and it is "
            f"{'not there' if weight is None else ' x '.join(map(str, weight.shape))}",
        )
    c, most = len(weight), max(1, len(target.classes))
    if c > most or (target.kind != "classes" and c != most):
        raise IntegrityError(f"its head has {c:,} outputs, and the target {most:,}.")
    return torch.nn.Linear(width, c)


def _on_features(recipe: Recipe, sources: Sources, arrays: Arrays) -> Together:
    """A head on features of members as they are."""
    layer = "all" if recipe.settings["mix"] else recipe.reading.layer
    reading = replace(recipe.reading, layer=layer)
    return _together(replace(recipe, reading=reading, settings=_AS_THEY_ARE), sources, arrays)


def _student(recipe: Recipe, sources: Sources, arrays: Arrays) -> Together:
    """The first member: the others only taught it."""
    return _together(recipe, sources.only(0), arrays)


# Members apart


@dataclass(frozen=True, eq=False)
class Apart:
    """Members under a head of their own each, whose outputs are combined.

    Attributes:
        members: in order.
        combination: of them.
    """

    members: tuple[Server, ...]
    combination: Combination

    @property
    def n_outputs(self) -> int:
        """As `Server`."""
        return self.combination.n_outputs

    def outputs(self, corpus: Corpus) -> Outputs:
        """As `Server`."""
        return self.combination.apply([member.outputs(corpus) for member in self.members]).astype(np.float32)


def _apart(recipe: Recipe, sources: Sources, arrays: Arrays) -> Apart:
    """Members that were tuned apart."""
    k = len(sources.names)
    if not any(name.startswith("members/") for name in arrays):
        raise IntegrityError(
            "what its members learned is not there.",
            why="it was published by an earlier version",
            fix="zoo push RUN REPO   again, by its owner",
        )
    learned = [_of_member(arrays, number) for number in range(k)]
    members = tuple(
        _server(_checked(of_each(recipe)), sources.only(number), each) for number, each in enumerate(learned)
    )
    of_members = {f"members/{number}/{name}" for number, each in enumerate(learned) for name in each}
    own = {name: array for name, array in arrays.items() if name not in of_members}
    how = cast(Way, recipe.settings["combine"])  # which other words are none
    combination = Combination(sources.target.kind, how, k, members[0].n_outputs, own)
    return Apart(members, combination)


def _of_member(arrays: Arrays, number: int) -> dict[str, NDArray[Any]]:
    """What a member learned, by the names that it has alone."""
    start = f"members/{number}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


_SERVERS: dict[str, Callable[[Recipe, Sources, Arrays], Server]] = {
    "head": _on_features,
    "full": _together,
    "lora": _together,
    "b-tuning": _student,
    "late": _apart,
}
