"""tune, runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from zookeeper.cli import options, tuned
from zookeeper.cli.options import DryRun, Json, models_of
from zookeeper.cli.output import say, show
from zookeeper.errors import UsageError
from zookeeper.plain import encode
from zookeeper.plans import Recipe, Request
from zookeeper.zoo import RECIPES, recipe_of, save_text

PANEL = "Train and publish"

_HYPER_PARAMETERS = (
    "epochs",
    "patience",
    "learning_rate",
    "weight_decay",
    "micro_batch",
    "micro_batches",
    "clip",
    "precision",
)

_HOW, _WHERE = "The recipe", "Machines and batch systems"


def tune(
    ctx: typer.Context,
    target: options.TargetIfNew = None,
    models: options.ModelsOrSelection = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            metavar="RECIPE",
            help=f"One of: {', '.join(RECIPES)}. [default: head]",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="How many trials, from seed 0 on.")] = 3,
    fractions: Annotated[
        str, typer.Option(metavar="A,B,…", help="Shares of the training data: a learning curve.")
    ] = "1",
    test: Annotated[
        bool, typer.Option("--test", help="Measure on the test split too. Do that once, at the end.")
    ] = False,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC", help="Of zoo, or any of evaluate, which runs its code.", show_default=False
        ),
    ] = None,
    controls: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Tune so many random ensembles too, and the best ranked, and compare."
        ),
    ] = 0,
    through: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET,…",
            help="Tune on these first, one after another.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the recipe; see zoo recipes.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="all, embeddings, or numbers of members: what does not learn.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="At most so many passes.", show_default=False, rich_help_panel=_HOW
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Passes without a better validation metric.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            "--lr",
            min=0,
            metavar="X",
            help="Of the head; of members: --set backbone_rate.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Of AdamW.", show_default=False, rich_help_panel=_HOW),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Rows, or sub-words, that go through at a time.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    micro_batches: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of a step.", show_default=False, rich_help_panel=_HOW),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="X",
            help="Largest norm of a gradient; 0 for any.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    precision: Annotated[
        Literal["no", "bf16", "fp16"] | None,
        typer.Option(
            help="By default what Accelerate is configured to.", show_default=False, rich_help_panel=_HOW
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Processes with a GPU each.", show_default=False, rich_help_panel=_WHERE
        ),
    ] = None,
    cpu_processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes without; the result is the same.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="tensorboard, trackio, wandb, …: follows the training.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    dry_run: DryRun = False,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write what would be done, for --apply.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Do what such a file says.", show_default=False, rich_help_panel=_WHERE
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on with an interrupted run; zoo runs names them.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    max_examples: Annotated[
        int, typer.Option(min=0, metavar="N", help="At most so many sentences of each split; 0 for all.")
    ] = 0,
    config: options.Config = None,
    text_column: options.TextColumn = None,
    pair_column: options.PairColumn = None,
    label_column: options.LabelColumn = None,
    task: options.TaskName = None,
    columns: options.Columns = None,
    fold_bio: options.FoldBio = False,
    layer: options.Layer = "last",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    json: Json = False,
) -> None:
    """Tune checkpoints for a target: a head on their features side by side, or all of them.

    Checkpoints are those of the latest selection, unless others are named. What was interrupted goes on with
    the same command.

    `zoo tune -t conll2000 @selection`    `zoo tune -t conll2000 --controls 20`

    `zoo tune -t conll2000 roberta-base --recipe full --gpus 2 --test`

    `zoo tune -t conll2000 --fractions 0.01,0.1,1`
    """
    zoo = ctx.obj
    if apply or resume:
        written = "apply" if apply else "resume"
        beside = ("gpus", "cpu_processes", "tracker", "dry_run", "plan", "json", *_HYPER_PARAMETERS)
        options.only(ctx, written, *beside)
        request = zoo.load_request(apply) if apply else zoo.interrupted(resume)
        _check_same(ctx.params, request.recipe)
    else:
        request = _request(ctx)
    if plan and zoo.team.leads:
        save_text(encode(request).decode(), plan)
        say(f"Written: {plan}\n  Do it:  zoo tune --apply {shlex.quote(str(plan))}")
    if dry_run and zoo.team.leads:
        show(tuned.forecast(zoo.forecast(request)), as_json=json)
    if dry_run or plan:
        return
    run = zoo.carry_out(request, gpus=gpus, cpu_processes=cpu_processes, tracker=tracker)
    if zoo.team.shows:
        show(tuned.comparison(zoo.comparison(), run) if request.controls else tuned.run(run), as_json=json)


def runs(ctx: typer.Context, json: Json = False) -> None:
    """List runs, the latest first, and those that were interrupted."""
    show(tuned.runs(ctx.obj.runs(), ctx.obj.all_interrupted()), as_json=json)


def recipes(json: Json = False) -> None:
    """List the recipes of `zoo tune`, with what each can be told by --set."""
    show(tuned.recipes(), as_json=json)


def _request(ctx: typer.Context) -> Request:
    """What the options say together."""
    typed = ctx.params
    if typed["target"] is None:
        raise UsageError("there is no target.", fix="zoo tune --target conll2000")
    through: str | None = typed["through"]
    found: Request = ctx.obj.request(
        options.target_source(typed["target"], **{name: typed[name] for name in options.TARGET}),
        models_of(typed["models"]) or ["@selection"],
        recipe=_recipe(typed),
        metric=typed["metric"],
        seeds=tuple(range(typed["seeds"])),
        fractions=_numbers(typed["fractions"]),
        test=typed["test"],
        max_examples=typed["max_examples"] or None,
        through=through.split(",") if through else (),
        controls=typed["controls"],
        processes=typed["gpus"] or typed["cpu_processes"] or 1,
        command=shlex.join(["zoo", *ctx.meta["zoo.typed"]]),
    )
    return found


def _recipe(typed: Mapping[str, Any]) -> Recipe:
    """A recipe's defaults, with what was typed in place of some."""
    settings = _settings(typed["set_"] or [])
    if typed["freeze"]:
        settings["freeze"] = typed["freeze"]
    base = settings.get("of")
    recipe = recipe_of(
        typed["recipe"] or ("sequential" if typed["through"] else "head"), None if base is None else str(base)
    )
    return replace(
        recipe.with_settings(settings),
        reading=options.reading(typed["layer"], typed["pool"], typed["max_length"]),
        **{name: typed[name] for name in _HYPER_PARAMETERS if typed[name] is not None},
    )


def _check_same(typed: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse hyper-parameters other than those that a run was begun with."""
    given = {name: typed[name] for name in _HYPER_PARAMETERS if typed[name] is not None}
    other = {name: value for name, value in given.items() if value != getattr(recipe, name)}
    if other:
        raise UsageError(
            "a run goes on as it was begun.",
            why="; ".join(
                f"{name} was {getattr(recipe, name)}, {value} is asked for" for name, value in other.items()
            ),
            fix="leave them out; or begin another run, without --resume and --apply",
        )


def _settings(given: list[str]) -> dict[str, Any]:
    """Settings as they were typed: true and false, numbers, and words."""
    settings = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text} gives no value.", fix="--set NAME=VALUE")
        settings[name] = _value(value)
    return settings


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f'"{text}" is no list of numbers.', fix="--fractions 0.01,0.1,1") from error


COMMANDS = (tune, runs, recipes)
