"""add, ls, show, rm."""

from __future__ import annotations

from typing import Annotated

import typer

from zookeeper.cli import views
from zookeeper.cli.options import DryRun, Json, models_of
from zookeeper.cli.output import show
from zookeeper.cli.pins import listing
from zookeeper.errors import UsageError

PANEL = "Collect"


def add(
    ctx: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="repo, org/repo, org/repo@revision or ./folder; - reads names from standard input.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="What zoo freeze wrote, of which nobody is asked; or names, one a line, # for comments. "
            "- for standard input.",
            show_default=False,
        ),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Accept weights that are pickles, at this commit. They are converted without running them.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Add checkpoints, pinned to the commits their names mean now. Downloads no weights.

    `zoo add roberta-base google-bert/bert-base-cased ./my-checkpoint`    `zoo add -f zoo.lock`
    """
    if not models and not file:
        raise UsageError("no checkpoint is named.", fix="zoo add roberta-base, or zoo add -f FILE")
    found = ctx.obj.add_listed(listing(file), pickles=allow_pickle) if file else ()
    found += ctx.obj.add(models_of(models), pickles=allow_pickle) if models else ()
    show(views.added(found), as_json=json)


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
