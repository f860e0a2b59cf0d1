"""verify, demo."""

from __future__ import annotations

import typer

from zookeeper.cli import views
from zookeeper.cli.options import Json
from zookeeper.cli.output import show

PANEL = "Care"


def verify(ctx: typer.Context, json: Json = False) -> None:
    """Read and hash everything that is stored; exit 1 if anything is not what was stored."""
    found = ctx.obj.verify()
    show(views.verification(found), as_json=json)
    if found.damaged:
        raise typer.Exit(1)


COMMANDS = (verify,)
