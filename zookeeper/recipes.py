"""The ways of tuning, each with its defaults: values, no code. What they do is in `zookeeper.tuning`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from zookeeper.plans import Recipe
from zookeeper.registry import Registry

Needs = Literal["features", "checkpoints", "both", "members", "stages"]
"""What is learnt from: frozen features of the members; the members themselves; the first member and features
of all; trials of the members one by one; trials of other targets, one after another."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way of tuning.

    Attributes:
        recipe: with its defaults.
        code: ``module:function`` that makes what the loop trains (see `zookeeper.tuning.learner`);
            of `members`, that combines them; of `stages`, that trains all of them at once, if any does.
        needs: what that function is given.
        summary: what it does, for people.
        help: what each of the recipe's settings is.
        choices: what a setting may be, where that is one of a few words.
    """

    recipe: Recipe
    code: str
    needs: Needs
    summary: str
    help: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_JOINT: dict[str, str] = {
    "head_dropout": "dropout before the head",
    "normalize": "whether each member's vectors are brought to mean 0 and deviation 1",
    "checkpointing": "whether activations are computed twice, to spare memory",
}

_FULL = Recipe(
    "full",
    epochs=3,
    patience=3,
    micro_batch=2048,
    learning_rate=1e-3,
    weight_decay=0.01,
    warmup=0.06,
    anneal=True,
    clip=1.0,
    settings={
        "backbone_rate": 2e-5,
        "layer_decay": 1.0,
        "freeze": "",
        "head_dropout": 0.1,
        "normalize": True,
        "checkpointing": False,
    },
)
_FULL_HELP = {
    "backbone_rate": "learning rate of the members",
    "layer_decay": "factor of that rate from each layer to the one below it",
    "freeze": "what does not learn: all, embeddings, or numbers of members, as in 1,3",
    **_JOINT,
}

RECIPES = Registry[Way](
    "recipe",
    "zookeeper.recipes",
    {
        "head": Way(
            Recipe("head", settings={"mix": False, "standardize": True}),
            "zookeeper.tuning.head:Head.of",
            "features",
            "a linear head on the frozen features of all members, side by side",
            {
                "mix": "whether to learn how much each layer counts, in place of taking one",
                "standardize": "whether columns are brought to mean 0 and deviation 1",
            },
        ),
        "full": Way(
            _FULL,
            "zookeeper.tuning.joint:Joint.of",
            "checkpoints",
            "all members are fine-tuned together, under one head on their vectors side by side",
            _FULL_HELP,
        ),
        "lora": Way(
            replace(
                _FULL,
                name="lora",
                settings={
                    "rank": 16,
                    "alpha": 32,
                    "dropout": 0.05,
                    "modules": "all-linear",
                    "adapter_rate": 2e-4,
                    "head_dropout": 0.1,
                    "normalize": True,
                    "checkpointing": False,
                },
            ),
            "zookeeper.tuning.joint:Joint.of",
            "checkpoints",
            "low-rank adapters in all members learn, under one head on their vectors side by side "
            "(Hu et al. 2021)",
            {
                "rank": "of the adapters",
                "alpha": "by which, over the rank, they are scaled",
                "dropout": "before the adapters",
                "modules": "that get one: all-linear, or names, as in query,value",
                "adapter_rate": "learning rate of the adapters",
                **_JOINT,
            },
        ),
        "late": Way(
            Recipe("late", settings={"of": "full", "combine": "mean"}),
            "zookeeper.tuning.late:combined",
            "members",
            "members are tuned apart, and their predictions combined",
            {
                "of": "the recipe by which each member is tuned",
                "combine": "mean, vote, weighted or stacked, by the validation split",
            },
            {"combine": ("mean", "vote", "weighted", "stacked"), "of": ("head", "full", "lora")},
        ),
        "sequential": Way(
            Recipe("sequential", settings={"of": "full"}),
            "",
            "stages",
            "members are tuned on other targets first, one after another (--through)",
            {"of": "the recipe of each stage, and of the target"},
            {"of": ("full", "lora")},
        ),
        "reptile": Way(
            Recipe(
                "reptile",
                settings={"of": "full", "outer_steps": 100, "inner_steps": 10, "step_size": 0.5},
            ),
            "zookeeper.tuning.reptile:meta_trained",
            "stages",
            "members learn to learn other targets first (--through), then the target (Nichol et al. 2018)",
            {
                "of": "the recipe of the inner steps, and of the target",
                "outer_steps": "moves towards what the inner steps reach",
                "inner_steps": "of each target, from where all begin",
                "step_size": "of the first move; it falls to 0, linearly",
            },
            {"of": ("full", "lora")},
        ),
        "b-tuning": Way(
            replace(
                _FULL,
                name="b-tuning",
                settings={
                    **_FULL.settings,
                    "normalize": False,
                    "strength": 100.0,
                    "temperature": 0.1,
                    "form": "evidence",
                },
            ),
            "zookeeper.tuning.taught:Taught.of",
            "both",
            "the first member is fine-tuned, and what the others say of the target teaches it "
            "(You et al. 2022)",
            {
                **_FULL_HELP,
                "strength": "of the teaching, beside the loss",
                "temperature": "of the softmax that turns the teachers' LogME into weights",
                "form": "what teachers count by: evidence, or uniform",
            },
            {"form": ("evidence", "uniform")},
        ),
    },
)


def recipe_of(name: str, base: str | None = None) -> Recipe:
    """A recipe with its defaults; where it is made of trials, with the defaults of their recipe too.

    Args:
        name: of the recipe.
        base: of the recipe of those trials; its own default otherwise.

    Raises:
        UsageError: there is no such recipe.
    """
    recipe = RECIPES[name].recipe
    if "of" not in recipe.settings:
        return recipe
    base = base or str(recipe.settings["of"])
    each = RECIPES[base].recipe
    return replace(each, name=name, settings={**each.settings, **recipe.settings, "of": base})


def of_each(recipe: Recipe) -> Recipe:
    """The recipe of the trials that one is made of."""
    own = RECIPES[recipe.name].recipe.settings
    settings = {name: value for name, value in recipe.settings.items() if name not in own}
    return replace(recipe, name=str(recipe.settings["of"]), settings=settings)
