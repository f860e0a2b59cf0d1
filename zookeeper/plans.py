"""What is to be tuned, and how: the values that a trial is named by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from zookeeper.errors import UsageError
from zookeeper.records import EXTRACTOR_VERSION, Key, Reading, Revision, TargetSource, digest_of

TUNING_VERSION = 1
"""Raised when the loop, or a recipe, would give other numbers for the same plan."""

Setting = bool | int | float | str
Precision = Literal["no", "bf16", "fp16"]

_LARGEST = 1e30  # that single precision can be multiplied with


@dataclass(frozen=True, slots=True)
class Recipe:
    """How members are tuned.

    Attributes:
        name: of the recipe; it decides which `settings` there are.
        epochs: at most so many passes.
        patience: passes without a better validation metric before it stops.
        micro_batch: size of a micro-batch: rows where features are frozen, else sub-words of the member
            that makes the most of them.
        micro_batches: micro-batches of one step; any number of processes that divides it gives the
            same result, to the bit with two of them.
        learning_rate: of what is new, the head.
        weight_decay: of AdamW.
        warmup: share of all passes over which rates rise from 0.
        anneal: whether rates fall to 0 after that, linearly.
        clip: largest norm of the gradient of a step; 0 for any.
        precision: of the products; None for what Accelerate is configured to when a request is made.
        reading: how members are read.
        settings: of this recipe alone, by name.
    """

    name: str = "head"
    epochs: int = 40
    patience: int = 10
    micro_batch: int = 256
    micro_batches: int = 2
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    warmup: float = 0.0
    anneal: bool = True
    clip: float = 0.0
    precision: Precision | None = None
    reading: Reading = field(default_factory=Reading)
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "micro_batch", "micro_batches"):
            least = 0 if name == "epochs" else 1
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}.", fix=f"{least} or more")
        for name in ("learning_rate", "weight_decay", "clip"):
            if not 0 <= getattr(self, name) <= _LARGEST:
                raise UsageError(f"{name} is {getattr(self, name)}.", fix="0 or more")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"warmup is {self.warmup}.", fix="a share of all passes, from 0 to below 1")

    def with_settings(self, given: Mapping[str, Setting]) -> Recipe:
        """The same with some of its own settings changed.

        Raises:
            UsageError: it has no such setting, or one of another kind.
        """
        for name, value in given.items():
            if name not in self.settings:
                raise UsageError(
                    f"recipe {self.name} has no setting {name}.",
                    fix=f"one of: {', '.join(self.settings) or 'none'}",
                )
            kind = type(self.settings[name])
            if type(value) is not kind and not (kind is float and type(value) is int) and kind is not str:
                raise UsageError(f"{name} is {value!r}.", why=f"recipe {self.name} takes a {kind.__name__}")
            least, most = int(kind is int), 1.0 if name.endswith("dropout") else _LARGEST
            if not isinstance(value, str) and kind is not bool and not least <= value <= most:
                raise UsageError(
                    f"{name} is {value}.", fix=f"{least} or more" if most > 1 else "a share, from 0 to 1"
                )
        kept = {n: type(self.settings[n])(v) for n, v in given.items()}
        return replace(self, settings={**self.settings, **kept})


@dataclass(frozen=True, slots=True)
class Plan(Key):
    """Everything that makes a trial's weights, and so its name.

    Attributes:
        task: what is predicted of what.
        data: digest of the sentences and labels that are learnt from and validated on.
        metric: that decides which pass is best, with the digest of its code where it is none of ours.
        members: checkpoints in order, as `Revision` writes them.
        recipe: how they are tuned.
        seed: of initial weights, order, dropout, the sentences that are held out, and those of a fraction.
        fraction: share of the training sentences.
        start: digest of the trial whose weights it begins with; None for those of the checkpoints.
        extractor: version of what reads.
        version: of what tunes.
    """

    task: str
    data: str
    metric: str
    members: tuple[str, ...]
    recipe: Recipe
    seed: int
    fraction: float = 1.0
    start: str | None = None
    extractor: int = EXTRACTOR_VERSION
    version: int = TUNING_VERSION


@dataclass(frozen=True, slots=True)
class Request:
    """All that is asked of `zoo tune`, with nothing left to look up; as a file a job for another machine.

    Attributes:
        target: what for.
        fingerprint: of its sentences and labels, so that others are noticed.
        members: in order.
        recipe: how.
        metric: by which it is judged.
        script: digest of the metric's code, where it is none of ours.
        seeds: each makes a trial.
        fractions: of the training data; each makes a trial for every seed.
        test: whether the test split is measured.
        max_examples: at most so many sentences of each split; None for all.
        through: targets that the members are tuned on before.
        stages: fingerprint of each of them.
        controls: ensembles drawn at random that it is compared with.
        command: what was typed.
    """

    target: TargetSource
    fingerprint: str
    members: tuple[Revision, ...]
    recipe: Recipe
    metric: str
    seeds: tuple[int, ...]
    script: str | None = None
    fractions: tuple[float, ...] = (1.0,)
    test: bool = False
    max_examples: int | None = None
    through: tuple[TargetSource, ...] = ()
    stages: tuple[str, ...] = ()
    controls: int = 0
    command: str = ""

    def __post_init__(self) -> None:
        for name in ("members", "seeds", "fractions"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise UsageError(f"{name} are {', '.join(map(str, given)) or 'none'}.", fix="name each once")

    @property
    def run_id(self) -> str:
        """12 hex digits of the run that it makes; controls and command do not change them."""
        made_by = asdict(replace(self, controls=0, command=""))
        return digest_of([made_by, EXTRACTOR_VERSION, TUNING_VERSION])[:12]
