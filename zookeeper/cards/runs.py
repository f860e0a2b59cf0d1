"""The card of a run: what was measured, how, and what that leaves open; and its results for the Hub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from zookeeper.cards.files import weights_name
from zookeeper.cards.privacy import publishable
from zookeeper.cards.text import (
    LOCAL_DATA,
    dataset_name,
    interval,
    link,
    pipeline_of,
    rendered,
    spread,
    value,
)
from zookeeper.errors import DegenerateInputError
from zookeeper.publications import CardText, EvalCard
from zookeeper.recipes import RECIPES
from zookeeper.results import LEVEL, Comparison, Contender, Member, Run, Spread, metric_title, spread_of

_CHANCE = 0.05
"""From which a place among random ensembles is called near to chance."""
_GROUP = re.compile(r"(?<!\S)@(?:selection|ranking)(?::\d+)?(?!\S)")
"""What in a command stands for several checkpoints."""
_DIGITS = 6
"""Of a number for the Hub, after the point."""


def run_card(card: EvalCard) -> CardText:
    """What the card of a run says: metadata for the Hub, then text."""
    card = publishable(card)
    return CardText(_metadata(card), _body(card))


def pictures_of(card: EvalCard) -> tuple[str, ...]:
    """Names of the picture files that the card of a run shows."""
    history = any(sum(epoch.metric is not None for epoch in trial.history) > 1 for trial in card.run.trials)
    pictures = {
        "comparison.png": card.comparison is not None and bool(card.comparison.random),
        "learning.png": len(card.run.curve) > 1 or history,
    }
    return tuple(name for name, shown in pictures.items() if shown)


def account_of(card: EvalCard) -> str:
    """What was measured and how, in a few lines: the text of a pull request."""
    card = publishable(card)
    return rendered(
        "account.md.j2",
        run=card.run,
        target=card.run.target,
        metric=metric_title(card.run.metric),
        intervals=card.intervals,
        results=_defined(card.run),
        spread=spread,
        member=_member,
    )


def benchmark_results(card: EvalCard, task_id: str) -> bytes:
    """The result of a run as a file for `.eval_results`: that on the test split where it was measured.

    Args:
        card: of the run, whose target is a registered benchmark.
        task_id: of the benchmark.

    Raises:
        DegenerateInputError: there is no number.
    """
    card = publishable(card)
    results = _defined(card.run)
    if not results:
        raise DegenerateInputError(f"the metric of run {card.run.id} is undefined: there is no result.")
    split, found = next(((s, r) for s, r in results.items() if s == "test"), next(iter(results.items())))
    notes = [f"{metric_title(card.run.metric)} on {_split(card.run, split)}"]
    notes += [f"mean of {found.n} seeds, deviation {value(found.deviation)}"] if found.n > 1 else ["one seed"]
    if _interval(card, split):
        notes += [f"{LEVEL:.0%} of resampled examples: {interval(card.intervals[split])}"]
    entry = EvalResultEntry(
        dataset_id=card.run.target.dataset,
        task_id=task_id,
        value=_rounded(found.mean),
        dataset_revision=card.run.target.commit,
        date=card.run.created_at,
        source_url=f"https://huggingface.co/{card.repo_id}" if card.repo_id else None,
        source_name="model card" if card.repo_id else None,
        notes="; ".join([*notes, f"zookeeper run {card.run.id}"]),
    )
    entries = eval_result_entries_to_yaml([entry])
    return str(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)).encode()


# Text


def _body(card: EvalCard) -> str:
    run = card.run
    dimensions = [member.dimension for member in run.members]
    energies = [trial.energy for trial in run.trials if trial.energy is not None]
    return rendered(
        "run.md.j2",
        title=card.title,
        repo_id=card.repo_id,
        run=run,
        best=run.best,
        recipe=run.recipe,
        summary=RECIPES[run.recipe.name].summary if run.recipe.name in RECIPES else None,
        frozen=all(trial.padded is None for trial in run.trials),
        target=run.target,
        metric=metric_title(run.metric),
        unit=run.target.unit,
        examples=run.target.counted_in,
        reading=run.recipe.reading.settled(run.target.unit),
        width=None if None in dimensions else sum(dimension or 0 for dimension in dimensions),
        sized=any(dimensions),
        labelled={split: _labelled(run, split) for split in run.results},
        stood=_GROUP.findall(run.command),
        reproduce=_reproduce(card),
        local=_folders(run),
        curve=_curve(run),
        intervals={split: one for split, one in card.intervals.items() if one.low is not None},
        level=LEVEL,
        majority={split: number for split, number in run.majority.items() if number is not None},
        energies=energies,
        weights=weights_name(run),
        pictures=pictures_of(card),
        comparison=card.comparison,
        contenders=_contenders(card.comparison) if card.comparison else [],
        chance=_CHANCE,
        member=_member,
    )


def _folders(run: Run) -> dict[str, str]:
    """Name of the folder of each member that is none of the Hub, by what `load_ensemble` knows it by."""
    local = [member for member in run.members if member.revision.local]
    names = [member.name for member in local]
    return {str(one.revision) if names.count(one.name) > 1 else one.name: one.revision.name for one in local}


def _reproduce(card: EvalCard) -> str:
    """The command that makes the number again: in the zoo that it is of, or wherever it was published."""
    run = card.run
    if card.repo_id is None:
        return f"zoo reproduce {run.id}"
    members = [
        f"--member {shlex.quote(f'{name}=path/to/{folder}')}" for name, folder in _folders(run).items()
    ]
    data = [f"--target {shlex.quote(f'path/to/{run.target.dataset}')}"] if run.target.local else []
    return " ".join([f"zoo reproduce {card.repo_id}", *members, *data])


def _labelled(run: Run, split: str) -> int | None:
    """How many words, sentences or pairs with a label were measured on; None where that is not known."""
    target = run.target
    if split != "validation" or not run.held_out:
        return target.rows[split]
    return run.held_out if target.rows["train"] == target.examples["train"] else None


def _member(member: Member) -> str:
    return link(member.revision, member.name)


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


def _contenders(found: Comparison) -> list[tuple[str, Sequence[str], Spread, int | None, float | None]]:
    """Name, members, metric, how many random ensembles it is above, and the chance of that; best first."""
    rows: list[tuple[str, Sequence[str], Spread, int | None, float | None]] = [
        (one.name, one.members, spread_of(one.values), *_place(found, one)) for one in found.contenders
    ]
    known = [one for one in found.random if one.mean is not None]
    if found.random:
        rows.append((f"{len(found.random)} random", (), spread_of(one.mean for one in known), None, None))
    if known:
        best = max(known, key=lambda one: one.mean or 0.0)
        rows.append(("best random", best.members, spread_of(best.values), None, None))
    return rows


def _place(found: Comparison, one: Contender) -> tuple[int | None, float | None]:
    if not found.random:
        return None, None
    return 1 + len(found.random) - found.rank(one), found.p(one)


# Metadata


def _metadata(card: EvalCard) -> dict[str, Any]:
    run, target = card.run, card.run.target
    bases = list(dict.fromkeys(m.revision.repo_id for m in run.members if not m.revision.local))
    data: Any = ModelCardData(
        model_name=card.title,
        library_name="zookeeper",
        pipeline_tag=pipeline_of(target),
        tags=["zookeeper", *_tags(run)],
        base_model=bases or None,
        base_model_relation=_relation(run) if bases else None,
        datasets=None if target.local else [target.dataset],
        metrics=[_hub_metric(run.metric)],
        eval_results=[_result(card, split, found) for split, found in _defined(run).items()],
    )
    return dict(data.to_dict())


def _result(card: EvalCard, split: str, found: Spread) -> EvalResult:
    run, target = card.run, card.run.target
    about = {
        "seeds": found.n,
        "deviation": _rounded(found.deviation),
        **_interval(card, split),
    }
    return EvalResult(
        task_type=target.task,
        dataset_type=LOCAL_DATA if target.local else target.dataset,
        dataset_name=dataset_name(target),
        dataset_config=target.config,
        dataset_split=_split(run, split),
        dataset_revision=target.commit,
        metric_type=_hub_metric(run.metric),
        metric_name=metric_title(run.metric),
        metric_value=_rounded(found.mean),
        metric_args={name: given for name, given in about.items() if given is not None},
    )


def _interval(card: EvalCard, split: str) -> dict[str, Any]:
    found = card.intervals.get(split)
    if found is None or found.low is None or found.high is None:
        return {}
    return {"interval": [_rounded(found.low), _rounded(found.high)], "level": LEVEL}


def _defined(run: Run) -> dict[str, Spread]:
    return {split: found for split, found in run.results.items() if found.mean is not None}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, _DIGITS)


def _relation(run: Run) -> str:
    """How the Hub calls what a run made of its members."""
    return "adapter" if "lora" in (run.recipe.name, run.recipe.settings.get("of")) else "finetune"


def _tags(run: Run) -> list[str]:
    if len(run.members) > 1:
        return ["ensemble"]
    return ["linear-probe"] if run.recipe.name == "head" else []


def _split(run: Run, split: str) -> str:
    """What was measured on, for the Hub."""
    if split == "validation" and run.held_out:
        return f"{run.target.part('train')} (held-out part)"
    return run.target.part(split)


def _hub_metric(metric: str) -> str:
    """The id by which the Hub knows a metric."""
    return {"span_f1": "f1", "f1_micro": "f1", "pearson": "pearsonr"}.get(metric, metric)
