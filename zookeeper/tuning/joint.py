"""Recipes ``full`` and ``lora``: members are fine-tuned together, under one head.

The head is linear in the vectors of all members side by side, of a word, a sentence or a pair. Each member
cuts the text into sub-words of its own, within its own window; what they have in common are the rows. With
``lora`` members stay as they are but for adapters of low rank (Hu et al. 2021,
https://arxiv.org/abs/2106.09685).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from zookeeper.errors import CheckpointError, OutOfMemoryError, UsageError
from zookeeper.extract import Encoder, Loaded, Windows, compared, load, ranges, theirs, windows_of
from zookeeper.outcomes import told_of
from zookeeper.plans import Recipe, Setting
from zookeeper.records import IGNORED, Corpus, Reading, Unit
from zookeeper.tuning.learner import Batch, summed_loss
from zookeeper.tuning.materials import Materials
from zookeeper.tuning.problem import Problem

Ints = NDArray[np.int64]
Settings = Mapping[str, Setting]
Inputs = Sequence[Mapping[str, Any]]
Arrays = Mapping[str, NDArray[Any]]

# So small that it does not matter to vectors of whatever length but 0.
_LEAST_VARIANCE = 1e-12
# A window that fills less of the longest of its batch goes into the next one.
_FILL = 0.7
_EMBEDDINGS = "embeddings"


class Members(torch.nn.Module):
    """Members side by side, and a linear head on their vectors.

    Args:
        encoders: of the members.
        names: of the members.
        head: on (r, d) vectors, d the sum of the members' widths.
        dropout: before the head.
        normalize: whether each member's vectors are brought to mean 0 and deviation 1.
        pairs: whether a row is made of two vectors.
    """

    def __init__(
        self,
        encoders: Sequence[Encoder],
        names: Sequence[str],
        head: torch.nn.Linear,
        *,
        dropout: float,
        normalize: bool,
        pairs: bool,
    ) -> None:
        super().__init__()
        self.encoders = torch.nn.ModuleList(encoders)
        self.head = head
        self.dropout = torch.nn.Dropout(dropout)
        self._names, self._normalize, self._pairs = tuple(names), normalize, pairs

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(r, c) outputs; see `vectors`."""
        return self.outputs(self.vectors(inputs))

    def outputs(self, vectors: torch.Tensor) -> torch.Tensor:
        """(r, c) of the head on (r, d) vectors."""
        return self.head(self.dropout(vectors))  # type: ignore[no-any-return]

    def vectors(self, inputs: Inputs) -> torch.Tensor:
        """(r, d) vectors of all members side by side.

        Args:
            inputs: of each member, what its encoder takes, by name.

        Raises:
            OutOfMemoryError: with the member that there was no memory for.
        """
        sides = []
        for name, encoder, given in zip(self._names, self.encoders, inputs, strict=True):
            learns = torch.is_grad_enabled() and _learns(encoder)
            with _memory_for(name), torch.set_grad_enabled(learns):
                layers = encoder(**given)
            sides += [self._side(states) for states in layers]
        return torch.cat(sides, dim=1)

    def _side(self, states: torch.Tensor) -> torch.Tensor:
        """(r, d) vectors of (s, d) states of a layer."""
        if self._normalize:
            states = functional.layer_norm(states, states.shape[1:], eps=_LEAST_VARIANCE)
        return compared(states) if self._pairs else states

    @property
    def models(self) -> list[torch.nn.Module]:
        """Of the members."""
        return [cast(Encoder, encoder).model for encoder in self.encoders]

    def train(self, mode: bool = True) -> Members:
        """Learn, or not; members that are frozen never do, and have no dropout."""
        super().train(mode)
        for encoder in self.encoders:
            if not _learns(encoder):
                encoder.eval()
        return self


@dataclass(frozen=True, eq=False)
class Text:
    """The sentences of a problem, as one member reads them.

    Attributes:
        windows: by split of the target.
        pad: id that fills up windows.
        mixes: whether windows of different lengths may go together.
    """

    windows: Mapping[str, Windows]
    pad: int
    mixes: bool

    def inputs(self, source: str, items: Ints, budget: int | None = None) -> dict[str, Any]:
        """Some items of a split as an `Encoder` takes them.

        Args:
            source: the split.
            items: which.
            budget: sub-words that go through a model at once, padding included; None for all.
        """
        windows = self.windows[source].take(items)
        whole = len(windows.lengths) * int(windows.lengths.max(initial=0))
        chosen = windows.batches(whole if budget is None else budget, mixes=self.mixes, fill=_FILL)
        batches = [windows.batch(some, self.pad) for some in chosen]
        return {"batches": batches or [windows.nothing(self.pad)], "repeats": windows.repeats()}


@dataclass(frozen=True, eq=False)
class Side:
    """A member, opened: what it reads with, and what reads.

    Attributes:
        name: of the member.
        loaded: its files.
        reading: how it reads.
        encoder: of which that learns on which its vectors depend, and that is not frozen.
        width: of its vectors, or those of all layers that are read.
    """

    name: str
    loaded: Loaded
    reading: Reading
    encoder: Encoder
    width: int

    def text(self, corpora: Mapping[str, Corpus], *, blank: bool = False) -> Text:
        """Some corpora as it reads them.

        Args:
            corpora: by name.
            blank: as `windows_of`.

        Raises:
            CheckpointError: with the name of the member.
        """
        with told_of(self.name):
            windows = {
                source: windows_of(corpus, self.loaded, self.reading, blank=blank)
                for source, corpus in corpora.items()
            }
        return Text(windows, self.loaded.pad, self.loaded.mixes)


def opened(
    names: Sequence[str],
    folders: Sequence[Path],
    reading: Reading,
    settings: Settings,
    *,
    seed: int = 0,
    learned: Arrays | None = None,
) -> list[Side]:
    """Members from their files.

    Args:
        names: of the members.
        folders: of each.
        reading: with a pooling that is settled.
        settings: of a recipe: what is frozen, which adapters there are.
        seed: of adapters.
        learned: values of adapters, as `Joint.learned` gives them; None to draw them.

    Raises:
        CheckpointError: a member cannot be read, or not be trained in that way; with its name.
        UsageError: a setting names what is not there, or adapters are not those that were learned.
    """
    frozen = _frozen(str(settings.get("freeze", "")), names)
    sides = []
    for number, (name, folder) in enumerate(zip(names, folders, strict=True)):
        with told_of(name), _drawn(seed):
            loaded = load(folder, reading)
            encoder = Encoder(_prepared(loaded.model, settings, empty=learned is not None), reading.layer)
            _fill(encoder.model, {} if learned is None else learned, f"{number}.")
        _freeze(encoder.model, whole=number in frozen, embeddings=_EMBEDDINGS in frozen)
        with told_of(name), theirs(), _memory_for(name):
            width = _settled(encoder, _nothing(loaded, reading))
        sides.append(Side(name, loaded, reading, encoder, width))
    return sides


def width_of(sides: Sequence[Side], unit: Unit) -> int:
    """Of the vectors that a head has before it."""
    return sum(side.width for side in sides) * (2 if unit == "pair" else 1)


def under(sides: Sequence[Side], head: torch.nn.Linear, settings: Settings, unit: Unit) -> Members:
    """Members under a head."""
    return Members(
        [side.encoder for side in sides],
        [side.name for side in sides],
        head,
        dropout=float(settings["head_dropout"]),
        normalize=bool(settings["normalize"]),
        pairs=unit == "pair",
    )


@dataclass(slots=True)
class _Tally:
    """Sub-words of all batches so far, padding included, and without."""

    slots: int = 0
    filled: int = 0

    def add(self, inputs: Inputs) -> None:
        for batch in (batch for given in inputs for batch in given["batches"]):
            self.slots += batch["mask"].numel()
            self.filled += int(batch["mask"].sum())


@dataclass(frozen=True, eq=False)
class Joint:
    """Members as the loop trains them; an example is a sentence, or a pair.

    Attributes:
        module: the members under a head.
        problem: what they learn.
        texts: what each member reads.
        items: of each part, its sentences among those that are read of its split.
        rates: of learning, of each parameter that learns; those of the head begin with ``head.``, those of
            members with their number from 0.
    """

    module: Members
    problem: Problem
    texts: tuple[Text, ...]
    items: Mapping[str, Ints]
    rates: Mapping[str, float]
    _tally: _Tally = field(default_factory=_Tally)
    _begun: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, materials: Materials, problem: Problem, recipe: Recipe, *, seed: int, device: str) -> Joint:
        """From the members' files.

        Args:
            materials: with folders.
            problem: what to learn.
            recipe: how.
            seed: of initial weights.
            device: not used; the loop places the module.

        Raises:
            CheckpointError: a member cannot be read, or not be trained in that way; with its name.
            UsageError: a setting names what is not there.
        """
        unit = next(iter(materials.corpora.values())).unit
        reading, settings = recipe.reading.settled(unit), recipe.settings
        if reading.layer == "all":
            raise UsageError("one layer is tuned, not all.", fix="--layer last, mean, or a number")
        read = _read(problem)
        corpora = {source: _part(materials.corpora[source], items) for source, items in read.items()}
        items = {name: np.searchsorted(read[p.source], p.sentences) for name, p in problem.parts.items()}
        sides = opened(materials.names, materials.folders, reading, settings, seed=seed)
        texts = tuple(side.text(corpora) for side in sides)
        with _drawn(seed):
            head = torch.nn.Linear(width_of(sides, unit), problem.n_outputs)
        module = under(sides, head, settings, unit)
        return cls(module, problem, texts, items, _rates(module, recipe))

    @property
    def padded(self) -> float | None:
        """Share of the sub-words of all batches so far that is padding."""
        return 1 - self._tally.filled / self._tally.slots if self._tally.slots else None

    @property
    def learning(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that learn, by name, those of the head first."""
        return {name: parameter for name, parameter in _parameters(self.module) if name in self.rates}

    @property
    def details(self) -> dict[str, Any]:
        """How many parameters there are, and how many of them learn."""
        sizes = {name: parameter.numel() for name, parameter in _parameters(self.module)}
        return {"parameters": sum(sizes.values()), "learning": sum(sizes[name] for name in self.rates)}

    def groups(self) -> list[dict[str, Any]]:
        """The parameters that learn by rate, those of the head first; biases and norms do not decay."""
        groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in self.learning.items():
            groups.setdefault((self.rates[name], parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "lr": rate} | ({} if decays else {"weight_decay": 0.0})
            for (rate, decays), parameters in groups.items()
        ]

    def sizes(self, split: str) -> Ints:
        """Sub-words of each example, over all windows of the member that makes the most of them."""
        return sizes_of(self.texts, self.problem.parts[split].source)[self.items[split]]

    def counts(self) -> Ints:
        """Labels that count of each training example."""
        train = self.problem.parts["train"]
        example = np.repeat(np.arange(len(train.lengths)), train.lengths)
        return np.bincount(example[train.counts], minlength=len(train.lengths))

    def batch(self, split: str, examples: Ints) -> Batch:
        """Some examples of a part; of none, the shortest of all, whose labels do not count then."""
        part, some = self.problem.parts[split], bool(len(examples))
        if not some:
            examples = np.array([self.sizes(split).argmin()])
        items = self.items[split][examples]
        inputs = [text.inputs(part.source, items) for text in self.texts]
        self._tally.add(inputs)
        lengths = part.lengths
        rows = ranges((np.cumsum(lengths) - lengths)[examples], lengths[examples])
        labels = self._wanted[split][rows]
        if not some:
            labels = np.full_like(labels, IGNORED if self.problem.kind == "classes" else np.nan)
        return Batch(inputs, torch.from_numpy(labels), rows)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """By the kind of the labels."""
        return summed_loss(outputs, batch.labels, self.problem.kind)

    def learned(self) -> dict[str, NDArray[Any]]:
        """The parameters that learn, and those it began with; those that a member ties together once."""
        return {
            name: parameter.detach().float().cpu().numpy().copy()
            for name, parameter in _parameters(self.module)
            if name in self.rates or name in self._begun
        }

    def begin(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """As `Learner.begin`."""
        members = {name: value for name, value in learned.items() if not _of_head(name)}
        if not members:
            raise _misfit("nothing but a head was learned")
        _assign(self.module, members)
        self._begun.update(members)

    def restore(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """As `Learner.restore`.

        Raises:
            UsageError: it was not learned by these members with these settings.
        """
        restore(self.module, learned)
        self._begun.update(learned)

    @cached_property
    def _wanted(self) -> dict[str, NDArray[Any]]:
        """Labels of each part, as the loss takes them."""
        kind = np.int64 if self.problem.kind == "classes" else np.float32
        return {name: self.problem.wanted(name).astype(kind) for name in self.problem.parts}


# Sentences


def _read(problem: Problem) -> dict[str, Ints]:
    """The sentences of each split of the target that any part has, ascending."""
    sources = {part.source for part in problem.parts.values()}
    return {
        source: np.unique(np.concatenate([p.sentences for p in problem.parts.values() if p.source == source]))
        for source in sorted(sources)
    }


def _part(corpus: Corpus, items: Ints) -> Corpus:
    """Some sentences, or pairs, of a corpus."""
    together = 2 if corpus.unit == "pair" else 1
    chosen = ranges(items * together, np.full(len(items), together)).tolist()
    return Corpus(tuple(corpus.sentences[i] for i in chosen), corpus.unit)


def sizes_of(texts: Sequence[Text], source: str) -> Ints:
    """Sub-words of each item, over all windows of the member that makes the most of them; at least 1."""
    return np.asarray(np.max([text.windows[source].sub_words for text in texts], axis=0).clip(min=1))


# Members


def _nothing(loaded: Loaded, reading: Reading) -> dict[str, Any]:
    """What an encoder takes of a text without words, which is one row."""
    windows = windows_of(Corpus(((),), "sentence"), loaded, reading, blank=True)
    return Text({"": windows}, loaded.pad, loaded.mixes).inputs("", np.array([0]))


def _prepared(model: Any, settings: Settings, *, empty: bool) -> Any:
    """A model with adapters, where settings say how, that recomputes activations, where they say so.

    Args:
        model: of a member.
        settings: of a recipe.
        empty: whether adapters have no values yet, and take no memory.
    """
    for module in model.modules():
        if hasattr(module, "layerdrop"):
            module.layerdrop = 0.0  # processes that leave out different layers wait for one another
    if "rank" in settings:
        _adapt(model, settings, empty=empty)
    if settings["checkpointing"]:
        if not model.supports_gradient_checkpointing:
            raise CheckpointError("it cannot compute activations twice.", fix="--set checkpointing=false")
        # Transformers 5.3 knows it by its older name only.
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    return model


def _adapt(model: Any, settings: Settings, *, empty: bool) -> None:
    """Add adapters to linear maps; nothing else of the model learns any more."""
    import peft  # slow

    names = str(settings["modules"])
    config = peft.LoraConfig(
        r=int(settings["rank"]),
        lora_alpha=int(settings["alpha"]),
        lora_dropout=float(settings["dropout"]),
        target_modules=names if names == "all-linear" else [name.strip() for name in names.split(",")],
        # GPT-2 keeps its weights transposed.
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in model.modules()),
    )
    try:
        with torch.device("meta") if empty else nullcontext():
            peft.inject_adapter_in_model(config, model, low_cpu_mem_usage=empty)
    except ValueError as error:
        linear = {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        raise CheckpointError(
            f"it takes no adapters at {names}.",
            why=str(error).splitlines()[0],
            fix=f"modules may be all-linear, or some of: {', '.join(sorted(linear))}",
        ) from error


def _fill(model: torch.nn.Module, learned: Arrays, start: str) -> None:
    """Give adapters that have no values those that were learned, under their name after `start`; else zeros.

    Adapters on which vectors do not depend were never learned. Together they are smaller than the model, in
    whatever size somebody asks for them.
    """
    named = list(model.named_parameters())
    empty = [(name, parameter) for name, parameter in named if parameter.is_meta]
    spare = sum(p.numel() for name, p in empty if start + name not in learned)
    if spare > sum(p.numel() for _, p in named if not p.is_meta):
        raise _misfit(f"{spare:,} values of adapters were not learned")
    for name, parameter in empty:
        value = torch.zeros(parameter.shape)
        if start + name in learned:
            value = torch.from_numpy(_fitting(learned, start + name, parameter)).float()
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, torch.nn.Parameter(value, parameter.requires_grad))


def _frozen(freeze: str, names: Sequence[str]) -> set[int | str]:
    """Numbers, from 0, of the members that a setting says shall not learn, and whether embeddings."""
    frozen: set[int | str] = set()
    for word in freeze.replace(",", " ").split():
        if word == "all":
            frozen |= set(range(len(names)))
        elif word == _EMBEDDINGS:
            frozen.add(word)
        elif word in names:
            frozen.add(names.index(word))
        elif word.isdecimal() and 1 <= int(word) <= len(names):
            frozen.add(int(word) - 1)
        else:
            raise UsageError(
                f"there is no {word} to freeze.",
                fix=f"all, embeddings, or some of 1 to {len(names)}: {', '.join(names)}",
            )
    return frozen


def _freeze(model: torch.nn.Module, *, whole: bool, embeddings: bool) -> None:
    """Let all of a model, or its embeddings, learn no more."""
    depths = _depths(model)
    for name, parameter in model.named_parameters():
        if whole or (embeddings and depths[name] == 0):
            parameter.requires_grad_(False)


def _settled(encoder: Encoder, inputs: Mapping[str, Any]) -> int:
    """The width of an encoder's states, of all layers; what they do not depend on learns no more.

    Processes that train together wait for the gradient of every parameter that learns: so poolers must not,
    nor layers above the one that is read.
    """
    learning = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    states = torch.cat(encoder.eval()(**inputs), dim=1)
    if learning and states.requires_grad:
        gradients: Sequence[Any] = torch.autograd.grad(states.sum(), learning, allow_unused=True)
    else:
        gradients = [None] * len(learning)
    for parameter, gradient in zip(learning, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    return int(states.shape[1])


def _learns(module: torch.nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


# Parameters


def _parameters(module: Members) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """All, by name: first those of the head, then those of the members, by number."""
    for name, parameter in module.head.named_parameters():
        yield f"head.{name}", parameter
    for number, model in enumerate(module.models):
        for name, parameter in model.named_parameters():
            yield f"{number}.{name}", parameter


def restore(module: Members, learned: Arrays) -> None:
    """Give members and their head back what was learned.

    Raises:
        UsageError: it was not learned by these members with these settings, or not all of it is there.
    """
    learning = {name for name, parameter in _parameters(module) if parameter.requires_grad}
    if missing := sorted(learning - learned.keys()):
        raise _misfit(f"{missing[0]} was not learned")
    _assign(module, learned)


@torch.no_grad()
def _assign(module: Members, learned: Arrays) -> None:
    parameters = dict(_parameters(module))
    if unknown := sorted(learned.keys() - parameters.keys()):
        raise _misfit(f"there is no {unknown[0]}")
    fitting = {name: _fitting(learned, name, parameters[name]) for name in learned}
    for name, value in fitting.items():
        parameters[name].copy_(torch.from_numpy(value))


def _fitting(learned: Arrays, name: str, parameter: torch.nn.Parameter) -> NDArray[Any]:
    """What was learned for a parameter.

    Raises:
        UsageError: it is of another shape.
    """
    if learned[name].shape != parameter.shape:
        raise _misfit(f"{name} was {learned[name].shape} and is {tuple(parameter.shape)}")
    return learned[name]


def _of_head(name: str) -> bool:
    return name.startswith("head.")


def _rates(module: Members, recipe: Recipe) -> dict[str, float]:
    """Of each parameter that learns; each layer learns slower than that above it, by the setting's factor."""
    settings = recipe.settings
    rate = float(settings["adapter_rate" if "rank" in settings else "backbone_rate"])
    decay = float(settings.get("layer_decay", 1.0))
    factors: dict[str, float] = {}
    for number, model in enumerate(module.models):
        depths = _depths(model)
        top = max(depths.values())
        factors |= {f"{number}.{name}": decay ** (top - depth) for name, depth in depths.items()}
    return {
        name: recipe.learning_rate if _of_head(name) else rate * factors[name]
        for name, parameter in _parameters(module)
        if parameter.requires_grad
    }


def _depths(model: torch.nn.Module) -> dict[str, int]:
    """Of each parameter the number of its layer, from 1: 0 of embeddings, the last of what follows it."""
    stacks = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList)]
    if not stacks:
        return {name: 0 for name, _ in model.named_parameters()}
    prefix, layers = max(stacks, key=lambda stack: sum(p.numel() for p in stack[1].parameters()))
    depths: dict[str, int] = {}
    after = 0
    for name, _ in model.named_parameters():
        if name.startswith(f"{prefix}."):
            depths[name] = 1 + int(name.removeprefix(f"{prefix}.").partition(".")[0])
            after = len(layers)
        else:
            depths[name] = 0 if "embed" in name else after
    return depths


# Errors and randomness


@contextmanager
def _memory_for(name: str) -> Iterator[None]:
    """Say which member there was no memory for."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "you tried to allocate" not in str(error):
            raise
        raise OutOfMemoryError(
            f"there is not enough memory to train {name}.",
            why=str(error).splitlines()[0],
            fix="a smaller --micro-batch, --set freeze=embeddings, or the recipe lora or late",
        ) from error


def _misfit(why: str) -> UsageError:
    return UsageError("what was learned does not fit these members and settings.", why=why)


@contextmanager
def _drawn(seed: int) -> Iterator[None]:
    """Draw from this seed alone, and leave no trace."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        yield
