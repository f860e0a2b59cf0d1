"""add, ls, show, rm."""

from __future__ import annotations

from typing import Annotated

import typer

from zookeeper.cli import views
from zookeeper.cli.options import DryRun, Json, models_of
from zookeeper.cli.output import show

PANEL = "Collect"


def add(
    ctx: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="repo, org/repo, org/repo@revision or ./folder; - reads names from standard input.",
        ),
    ],
    json: Json = False,
) -> None:
    """Add checkpoints, pinned to the commits their names mean now. Downloads no weights.

    `zoo add roberta-base google-bert/bert-base-cased ./my-checkpoint`
    """
    show(views.added(ctx.obj.add(models_of(models))), as_json=json)


def ls(ctx: typer.Context, json: Json = False) -> None:
    """List the checkpoints of the zoo."""
    show(views.holdings(ctx.obj.holdings(), str(ctx.obj.settings.home)), as_json=json)


def _show(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A checkpoint of the zoo.")],
    json: Json = False,
) -> None:
    """Show all that the zoo knows of a checkpoint."""
    show(views.holding(ctx.obj.show(model)), as_json=json)


def rm(
    ctx: typer.Context,
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Checkpoints of the zoo.")],
    features: Annotated[bool, typer.Option("--features", help="Delete their features too.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take checkpoints out of the zoo. Their features stay unless --features is given."""
    show(views.removed(ctx.obj.remove(models_of(models), features=features, dry_run=dry_run)), as_json=json)


COMMANDS = (add, ls, _show, rm)
