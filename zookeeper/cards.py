"""Cards: a run as Markdown that its reader can trust. Pure functions; nothing is guessed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from huggingface_hub import EvalResult, ModelCardData
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from zookeeper.plain import encode, spelt_out
from zookeeper.plans import Recipe
from zookeeper.recipes import RECIPES
from zookeeper.records import Revision, Target
from zookeeper.results import EvalCard, Run, Spread, Trial, spread_of

_METRICS = {"span_f1": "Span F1", "accuracy": "Accuracy", "pearson": "Pearson's r"}
_PIPELINES = {
    "question-answering": "token-classification",
    "token-classification": "token-classification",
    "text-classification": "text-classification",
}


def render(card: EvalCard) -> str:
    """A model card: metadata for the Hub, then what was measured, of what, how, and what that leaves open."""
    run = publishable(card.run)
    environment = jinja2.Environment(  # noqa: S701 the result is Markdown, not HTML; cells are escaped
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"cell": _cell, "code": _code, "value": _value, "share": _share, "size": _size}
    template = environment.from_string(
        resources.files("zookeeper").joinpath("templates/card.md.j2").read_text(encoding="utf-8")
    )
    dimensions = [member.dimension for member in run.members]
    return template.render(
        title=card.title,
        metadata=_metadata(replace(card, run=run)).to_yaml(line_break="\n"),
        run=run,
        best=run.best,
        recipe=run.recipe,
        summary=RECIPES[run.recipe.name].summary if run.recipe.name in RECIPES else None,
        frozen=all(trial.padded is None for trial in run.trials),
        target=run.target,
        metric=_titled(run.metric),
        unit=run.target.unit,
        examples=run.target.counted_in,
        reading=run.recipe.reading,
        width=None if None in dimensions else sum(dimension or 0 for dimension in dimensions),
        local=[member for member in run.members if member.revision.local],
        curve=_curve(run),
        majority={split: value for split, value in run.majority.items() if value is not None},
        weights=weights_name(run),
    )


def publishable(run: Run) -> Run:
    """A run without the paths of this machine."""
    members = tuple(replace(m, revision=_published(m.revision)) for m in run.members)
    name = run.target.dataset if run.target.local else run.target.name
    return replace(
        run,
        members=members,
        target=replace(run.target, name=name),
        recipe=_of_no_machine(run.recipe),
        metric=_without_folders(run.metric),
        trials=tuple(_trial(trial) for trial in run.trials),
        through=tuple(_without_folders(name) for name in run.through),
        command=shlex.join(_without_folders(word) for word in shlex.split(run.command)),
    )


def _published(revision: Revision) -> Revision:
    return replace(revision, repo_id=f"./{revision.name}") if revision.local else revision


def _trial(trial: Trial) -> Trial:
    """A trial without the paths of this machine; what its key names is not what made it any more."""
    members = tuple(str(_published(_revision(member))) for member in trial.key.members)
    key = replace(trial.key, members=members, recipe=_of_no_machine(trial.key.recipe))
    return replace(trial, key=key, details=_plainly(trial.details))


def _revision(member: str) -> Revision:
    """What `Revision` writes, read."""
    repo_id, _, commit = member.rpartition("@")
    return Revision(repo_id, commit, commit)


def _of_no_machine(recipe: Recipe) -> Recipe:
    return replace(recipe, settings=_plainly(recipe.settings))


def _plainly(value: Any) -> Any:
    """What JSON holds, without folders."""
    if isinstance(value, str):
        return _without_folders(value)
    if isinstance(value, Mapping):
        return {_plainly(name): _plainly(one) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [_plainly(one) for one in value]
    return value


def _without_folders(word: str) -> str:
    """A word of a command line, or several with commas; of an absolute path only the last part."""
    return ",".join(
        re.sub(r"^(--[\w-]+=|-)?(?:[/~\\]|[A-Za-z]:[/\\]).*?([^/\\]+)[/\\]?$", r"\1./\2", part)
        for part in word.split(",")
    )


def weights_name(run: Run) -> str:
    """Of the file that `weights_file` makes."""
    return "head.safetensors" if run.recipe.name == "head" else "learned.safetensors"


def weights_file(run: Run, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """What the trial to publish learned, as safetensors; metadata name classes, members in order and recipe.

    Args:
        run: whose `best` trial it is.
        arrays: by name; of the recipe ``"head"``, ``"head.weight"`` (c, d) and ``"head.bias"`` (c,) for
            features as they are, side by side.
    """
    run = publishable(run)
    data: bytes = safetensors.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        metadata={
            "classes": json.dumps(run.target.classes),
            "members": json.dumps([str(member.revision) for member in run.members]),
            "recipe": run.recipe.name,
            "run": run.id,
            "seed": str(run.best.key.seed),
        },
    )
    return data


def run_file(run: Run) -> bytes:
    """The record of a run as JSON."""
    return encode(publishable(run)) + b"\n"


def _curve(run: Run) -> list[tuple[float, int, dict[str, Spread]]]:
    """Each share of the training data, its sentences, and the metric over seeds by split; of one share []."""
    if len(run.curve) == 1:
        return []
    return [
        (
            share,
            trials[0].sentences["train"],
            {split: spread_of(t.results.get(split) for t in trials) for split in run.results},
        )
        for share, trials in run.curve.items()
    ]


def _metadata(card: EvalCard) -> ModelCardData:
    run, target = card.run, card.run.target
    bases = [member.revision.repo_id for member in run.members if not member.revision.local]
    return ModelCardData(
        model_name=card.title,
        library_name="zookeeper",
        pipeline_tag=_PIPELINES.get(target.task),
        tags=["zookeeper", *_tags(run)],
        base_model=bases or None,
        base_model_relation="finetune" if bases else None,
        datasets=None if target.local else [target.dataset],
        metrics=[_hub_metric(run.metric)],
        eval_results=[
            EvalResult(
                task_type=target.task,
                dataset_type=target.dataset,
                dataset_name=_dataset_name(target),
                dataset_config=target.config,
                dataset_split=_split(run, split),
                dataset_revision=target.commit,
                metric_type=_hub_metric(run.metric),
                metric_name=_titled(run.metric),
                metric_value=round(spread.mean, 6),
            )
            for split, spread in run.results.items()
            if spread.mean is not None
        ],
    )


def _tags(run: Run) -> list[str]:
    if len(run.members) > 1:
        return ["ensemble"]
    return ["linear-probe"] if run.recipe.name == "head" else []


def _split(run: Run, split: str) -> str:
    """What was measured on, for the Hub."""
    if split == "validation" and run.held_out:
        return f"{run.target.part('train')} (held-out part)"
    return run.target.part(split)


def _titled(metric: str) -> str:
    return _METRICS.get(metric, metric)


def _hub_metric(metric: str) -> str:
    """The id by which the Hub knows a metric."""
    return {"span_f1": "f1", "pearson": "pearsonr"}.get(metric, metric)


def _dataset_name(target: Target) -> str:
    return target.dataset.split("/")[-1]


def _value(value: float | None) -> str:
    """A metric, or its deviation."""
    return "–" if value is None else f"{value:.4f}"


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"


def _size(n: int) -> str:
    return f"{n / 1e9:.2f} GB"


def _cell(value: object) -> str:
    """Text that stays in its cell, as text."""
    text = spelt_out(" ".join(str(value).split()))
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>|#" else char for char in text)


def _code(value: object) -> str:
    """Text that stays between its backticks."""
    return spelt_out(" ".join(str(value).split())).replace("`", "'")
