"""What `zoo tune`, `zoo runs` and `zoo recipes` say, as tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zookeeper.cli.blocks import cut
from zookeeper.cli.output import Column, View, number, short
from zookeeper.cli.views import some, target_line
from zookeeper.plain import plain, size
from zookeeper.plans import Request, Setting
from zookeeper.records import Outcome
from zookeeper.results import Comparison, Contender, Forecast, Run, Trial, spread_of
from zookeeper.zoo import RECIPES

_SHORT = 17  # columns
_MANY = 12  # values of a detail; more are not for reading


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


_RESULT = (
    Column("SPLIT"),
    Column("METRIC"),
    Column("MEAN", number(4), right=True),
    Column("±", number(4), right=True),
    Column("SEEDS", right=True),
    Column("MAJORITY", number(4), right=True),
    Column("SENTENCES", "{:,}".format, right=True),
)
_CURVE = (
    Column("TRAIN", _percent, right=True),
    Column("SENTENCES", "{:,}".format, right=True),
    Column("VALIDATION", number(4), right=True),
    Column("±", number(4), right=True),
    Column("TEST", number(4), right=True),
    Column("TEST ±", number(4), right=True),
    Column("SEEDS", right=True),
)


def run(found: Run) -> View:
    """`zoo tune`."""
    several = len(found.curve) > 1
    return View(
        "tune",
        _data(found),
        _CURVE if several else _RESULT,
        _curve_rows(found) if several else _result_rows(found),
        heading=_heading(found),
        notes=[
            *(_commonest(found) if several else []),
            *_undefined(found),
            *_of_the_best(found),
            *_of_all_trials(found.trials),
            f"Card: zoo card {found.id}    Publish: zoo push {found.id} OWNER/NAME",
        ],
    )


def _result_rows(found: Run) -> list[list[Any]]:
    return [
        [
            split,
            found.metric,
            spread.mean,
            spread.deviation,
            spread.n,
            found.majority.get(split),
            found.best.sentences.get(split),
        ]
        for split, spread in found.results.items()
    ]


def _curve_rows(found: Run) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for share, trials in found.curve.items():
        validation, test = (
            spread_of(trial.results.get(split) for trial in trials) for split in ("validation", "test")
        )
        rows.append(
            [
                share,
                trials[0].sentences["train"],
                validation.mean,
                validation.deviation,
                test.mean,
                test.deviation,
                len(trials),
            ]
        )
    return rows


def _heading(found: Run) -> str:
    members = ", ".join(member.name for member in found.members)
    after = f", after {' then '.join(found.through)}" if found.through else ""
    held_out = f"; {found.held_out:,} training sentences held out for validation" if found.held_out else ""
    return (
        f"run {found.id}, recipe {found.recipe.name}{after}: {members}\n"
        f"{target_line(found.target, 'train')}{held_out}"
    )


def _commonest(found: Run) -> list[str]:
    known = [f"{value:.4f} on {split}" for split, value in found.majority.items() if value is not None]
    return [f"{found.metric}; the commonest answer alone gets {', '.join(known)}."] if known else []


def _undefined(found: Run) -> list[str]:
    seeds = len(found.seeds)
    return [
        f"On {split}, {found.metric} is undefined for {seeds - spread.n} of {seeds} seeds."
        for split, spread in found.results.items()
        if spread.n < seeds
    ]


def _of_the_best(found: Run) -> list[str]:
    """Whose weights are published, and what else its recipe has to say."""
    best = found.best
    notes = []
    if best.history and best.best_epoch == 0:
        notes.append("No pass was better than none: these are the weights that it began with.")
    elif passes := len(best.history) - 1 if best.history else 0:
        whose = f" of seed {best.key.seed}, the best on validation" if len(found.seeds) > 1 else ""
        notes.append(f"Weights of pass {best.best_epoch} of {passes}{whose}.")
    names = [member.name for member in found.members]
    told = {name: _told(value, names) for name, value in best.details.items()}
    return notes + [f"{name.replace('_', ' ')}: {text}." for name, text in told.items() if text]


def _told(value: Any, names: Sequence[str]) -> str | None:
    """A detail in a line; of many values, or of values that hold others, nothing."""
    if isinstance(value, Mapping):
        parts = [(str(name), _scalar(one)) for name, one in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        labels = names if len(value) == len(names) else [""] * len(value)
        parts = [(name, _scalar(one)) for name, one in zip(labels, value, strict=True)]
    else:
        return _scalar(value)
    if len(parts) > _MANY or any(text is None for _, text in parts):
        return None
    return ", ".join(f"{name} {text}".lstrip() for name, text in parts)


def _scalar(value: Any) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else None


def _of_all_trials(trials: Sequence[Trial]) -> list[str]:
    """What they took."""
    n = len(trials)
    steps, processes = sum(trial.steps for trial in trials), max(trial.processes for trial in trials)
    cost = f"{n} trial{'s' * (n > 1)}, {steps:,} steps, {sum(trial.seconds for trial in trials):,.1f} s"
    if processes > 1:
        cost += f" in {processes} processes"
    if peak := max(trial.peak_bytes for trial in trials):
        cost += f", at most {size(peak)} of memory"
    padded = [trial.padded for trial in trials if trial.padded is not None]
    return [f"{cost}{f', {max(padded):.1%} of the sub-words padding' if padded else ''}."]


def runs(found: Sequence[Run], interrupted: Sequence[Request] = ()) -> View:
    """`zoo runs`."""
    return View(
        "runs",
        {
            "runs": [_data(r) for r in found],
            "interrupted": [{"id": r.run_id, "request": plain(r)} for r in interrupted],
        },
        [
            Column("RUN", short, right=True, key=True),
            Column("TARGET"),
            Column("RECIPE"),
            Column("MEMBERS", _short),
            Column("VALIDATION", number(4), right=True),
            Column("TEST", number(4), right=True),
            Column("METRIC"),
            Column("SEEDS", right=True),
            Column("DATE", _day, right=True),
        ],
        [
            [
                r.id,
                r.target.name,
                r.recipe.name,
                ", ".join(member.name for member in r.members),
                *(r.results[split].mean if split in r.results else None for split in ("validation", "test")),
                r.metric,
                len(r.seeds),
                r.created_at,
            ]
            for r in found
        ],
        notes=[
            *(
                f"Interrupted: {r.recipe.name} for {r.target.name}.\n  zoo tune --resume {r.run_id}"
                for r in interrupted
            ),
            *([] if found or interrupted else ["No runs yet.  zoo tune --target conll2000 @selection"]),
        ],
    )


def forecast(found: Forecast) -> View:
    """`zoo tune --dry-run`."""
    request = found.request
    left, begun = sum(one.seconds for one in found.expected), sum(one.begun for one in found.expected)
    return View(
        "forecast",
        plain(found),
        [
            Column("ENSEMBLE"),
            Column("MEMBERS", _short),
            Column("LEFT", right=True),
            Column("STEPS", "{:,}".format, right=True),
            Column("MEMORY", size, right=True),
            Column("TIME", _time, right=True),
        ],
        [
            [
                one.what,
                ", ".join(one.members),
                f"{one.trials - one.done} of {one.trials}",
                one.steps,
                one.bytes,
                one.seconds,
            ]
            for one in found.expected
        ],
        heading=f"run {found.run}, recipe {request.recipe.name}, seeds {', '.join(map(str, request.seeds))}, "
        f"shares {', '.join(map(_percent, request.fractions))}\n{target_line(found.target, 'train')}",
        notes=[
            "LEFT: trials. STEPS: if patience lasts. MEMORY, TIME: roughly.",
            *([f"{begun} interrupted trial{'s' * (begun > 1)} will go on."] if begun else []),
            f"{_time(left)} in all. Nothing done.",
        ],
    )


def recipes() -> View:
    """`zoo recipes`."""
    ways = {name: RECIPES[name] for name in RECIPES}
    rows: list[list[str | None]] = []
    for name, way in ways.items():
        rows.append([name, None, way.summary])
        rows += [
            [name, f"{setting}={_setting(value)}", way.help.get(setting)]
            for setting, value in way.recipe.settings.items()
        ]
    made_of = [name for name, way in ways.items() if "of" in way.recipe.settings]
    return View(
        "recipes",
        {"recipes": {name: plain(way) for name, way in ways.items()}},
        [Column("RECIPE"), Column("--set"), Column("WHAT IT IS")],
        rows,
        notes=[f"Those of the recipe that they are made of can be set too for {', '.join(made_of)}."],
    )


def comparison(found: Comparison, run: Run) -> View:
    """`zoo tune --controls`."""
    ranked = sorted(found.contenders, key=_mean_or_least, reverse=True)
    rows = [[n, *_contender_row(found, one)] for n, one in enumerate(ranked, 1)]
    columns = [
        Column("#", right=True),
        Column("ENSEMBLE"),
        Column("MEMBERS", _short),
        Column(found.metric.upper(), number(4), right=True),
        Column("±", number(4), right=True),
    ]
    if found.random:
        columns += [Column("ABOVE", right=True), Column("P", number(3), right=True)]
        rows += [[None, *row, None, None] for row in _random_rows(found.random)]
    return View(
        "comparison",
        {"run": _data(run), "comparison": plain(found)},
        columns,
        rows,
        heading=_compared(found),
        notes=[*_about(found), f"Card: zoo card {run.id}    Publish: zoo push {run.id} OWNER/NAME"],
        outcomes=[*found.failures, *(Outcome(one.name, "done") for one in found.contenders)],
    )


def _contender_row(found: Comparison, one: Contender) -> list[Any]:
    spread = spread_of(one.values)
    row = [one.name, ", ".join(one.members), spread.mean, spread.deviation]
    if not found.random:
        return row
    above = 1 + len(found.random) - found.rank(one)
    return [*row, f"{above} of {len(found.random)}", found.p(one)]


def _random_rows(random: Sequence[Contender]) -> list[list[Any]]:
    """All of them together, the best and the worst."""
    together = spread_of(one.mean for one in random)
    known = sorted((one for one in random if one.mean is not None), key=_mean_or_least, reverse=True)
    ends = {"best random": known[:1], "worst random": known[-1:]}
    return [
        [f"{len(random)} random", None, together.mean, together.deviation],
        *(
            [name, ", ".join(one.members), one.mean, spread_of(one.values).deviation]
            for name, end in ends.items()
            for one in end
        ),
    ]


def _compared(found: Comparison) -> str:
    share = "all training data" if found.fraction == 1 else f"{_percent(found.fraction)} of the training data"
    return (
        f"run {found.run}, recipe {found.recipe}, {_seeds(found)}, {share}, measured on {found.split}\n"
        f"{target_line(found.target, 'train')}"
    )


def _seeds(found: Comparison) -> str:
    n = len(found.seeds)
    return f"{n} seed{'s' * (n > 1)}"


def _about(found: Comparison) -> list[str]:
    notes = []
    if len(found.seeds) > 1:
        notes.append(
            f"{found.metric.upper()}: mean over {_seeds(found)}; ±: standard deviation between them."
        )
    if found.random:
        notes += [
            f"±, of {len(found.random)} random: between ensembles.",
            "ABOVE: how many random ensembles it is better than. P: (1 + the others) / (1 + all).",
        ]
    unknown = sum(one.mean is None for one in found.random)
    if unknown:
        notes.append(f"Random ensembles for which {found.metric} is undefined: {unknown}; below all others.")
    return notes


def _data(run: Run) -> dict[str, Any]:
    """A run, and its results over seeds."""
    return {**plain(run), "results": plain(run.results)}


def _mean_or_least(one: Contender) -> float:
    return float("-inf") if one.mean is None else one.mean


def _short(names: str) -> str:
    first, *more = some(names).rsplit(" +", 1)
    return " +".join([cut(first, _SHORT), *more])


def _setting(value: Setting) -> str:
    """As it is typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time(seconds: float) -> str:
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.2g} {name}" if seconds < 10 * unit else f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _day(moment: str) -> str:
    """The date of an ISO 8601 moment."""
    return moment[:10]
