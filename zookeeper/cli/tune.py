"""tune, runs."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from zookeeper.cli import options, views
from zookeeper.cli.options import Json, models_of
from zookeeper.cli.output import show
from zookeeper.records import Recipe

PANEL = "Train and publish"


def tune(
    ctx: typer.Context,
    target: options.Target,
    models: options.Models = None,
    seed: Annotated[int, typer.Option(help="Of initial weights and order of examples.")] = 0,
    test: Annotated[
        bool, typer.Option("--test", help="Measure on the test split too. Do that once, at the end.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train together; the result is the same.")
    ] = 1,
    max_examples: Annotated[
        int, typer.Option(min=0, help="At most so many sentences of each split; 0 for all.")
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
    """Read a target with checkpoints side by side and tune a linear head on their features.

    Checkpoints are those of the latest selection, unless others are named.

    `zoo tune -t conll2000 @selection`    `zoo tune -t conll2000 roberta-base --test`
    """
    found = ctx.obj.tune(
        options.target_source(
            target, config, text_column, label_column, task, columns, pair_column, fold_bio
        ),
        models_of(models) or ["@selection"],
        recipe=Recipe(reading=options.reading(layer, pool, max_length)),
        seed=seed,
        processes=processes,
        test=test,
        max_examples=max_examples or None,
        command=_command(ctx),
    )
    show(views.run(found), as_json=json)


def runs(ctx: typer.Context, json: Json = False) -> None:
    """List runs, the latest first."""
    show(views.runs(ctx.obj.runs()), as_json=json)


def _command(ctx: typer.Context) -> str:
    """What was typed."""
    return shlex.join(["zoo", *ctx.meta["zoo.typed"]])


COMMANDS = (tune, runs)
