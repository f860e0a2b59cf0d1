"""Cards: a run as Markdown that its reader can trust. Pure functions; nothing is guessed."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from importlib import resources

import jinja2
import numpy as np
from huggingface_hub import EvalResult, ModelCardData
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from zookeeper.plain import encode, spelt_out
from zookeeper.records import Target
from zookeeper.results import EvalCard, Run

_METRICS = {"span_f1": "Span F1", "accuracy": "Accuracy", "pearson": "Pearson's r"}
_PIPELINES = {"token-classification": "token-classification", "text-classification": "text-classification"}


def render(card: EvalCard) -> str:
    """A model card: metadata for the Hub, then what was measured, of what, how, and what that leaves open."""
    run = publishable(card.run)
    environment = jinja2.Environment(  # noqa: S701 the result is Markdown, not HTML; cells are escaped
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = _cell
    environment.filters["code"] = _code
    template = environment.from_string(
        resources.files("zookeeper").joinpath("templates/card.md.j2").read_text(encoding="utf-8")
    )
    return template.render(
        title=card.title,
        metadata=_metadata(replace(card, run=run)).to_yaml(line_break="\n"),
        run=run,
        target=run.target,
        metric=_METRICS[run.metric],
        unit=run.target.unit,
        examples=run.target.counted_in,
        reading=run.recipe.reading,
        width=sum(member.dimension for member in run.members),
        local=[member for member in run.members if member.revision.local],
    )


def publishable(run: Run) -> Run:
    """A run without the paths of this machine."""
    members = tuple(
        replace(m, revision=replace(m.revision, repo_id=f"./{m.name}")) if m.revision.local else m
        for m in run.members
    )
    name = run.target.dataset if run.target.local else run.target.name
    command = shlex.join(_without_folder(word) for word in shlex.split(run.command))
    return replace(run, members=members, target=replace(run.target, name=name), command=command)


def _without_folder(word: str) -> str:
    """A word of a command line; of an absolute path only the last part."""
    return re.sub(r"^(--[\w-]+=)?(?:[/~\\]|[A-Za-z]:[/\\]).*?([^/\\]+)[/\\]?$", r"\1./\2", word)


def head_file(run: Run, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> bytes:
    """A tuned head as safetensors; its metadata name the classes and the members in order."""
    run = publishable(run)
    data: bytes = safetensors.save(
        {"weight": weight, "bias": bias},
        metadata={
            "classes": json.dumps(run.target.classes),
            "members": json.dumps([str(member.revision) for member in run.members]),
            "run": run.id,
        },
    )
    return data


def run_file(run: Run) -> bytes:
    """The record of a run as JSON."""
    return encode(publishable(run)) + b"\n"


def _metadata(card: EvalCard) -> ModelCardData:
    run, target = card.run, card.run.target
    bases = [member.revision.repo_id for member in run.members if not member.revision.local]
    return ModelCardData(
        model_name=card.title,
        library_name="zookeeper",
        pipeline_tag=_PIPELINES.get(target.task),
        tags=["zookeeper", "ensemble" if len(run.members) > 1 else "linear-probe"],
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
                metric_name=_METRICS[run.metric],
                metric_value=round(value, 6),
            )
            for split, value in run.results.items()
            if value is not None
        ],
    )


def _split(run: Run, split: str) -> str:
    """What was measured on, for the Hub."""
    if split == "validation" and run.held_out:
        return f"{run.target.part('train')} (held-out part)"
    return run.target.part(split)


def _hub_metric(metric: str) -> str:
    """The id by which the Hub knows a metric."""
    return {"span_f1": "f1", "pearson": "pearsonr"}.get(metric, metric)


def _dataset_name(target: Target) -> str:
    return target.dataset.split("/")[-1]


def _cell(value: object) -> str:
    """Text that stays in its cell, as text."""
    text = spelt_out(" ".join(str(value).split()))
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>|#" else char for char in text)


def _code(value: object) -> str:
    """Text that stays between its backticks."""
    return spelt_out(" ".join(str(value).split())).replace("`", "'")
