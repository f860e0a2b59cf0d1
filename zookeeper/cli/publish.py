"""card, push."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zookeeper.cli import options, views
from zookeeper.cli.options import DryRun, Json, RunId
from zookeeper.cli.output import View, say, show
from zookeeper.zoo import save_text

PANEL = "Train and publish"


def card(
    ctx: typer.Context,
    run: RunId,
    output: options.OutputFile = None,
    title: Annotated[str | None, typer.Option(help="Heading and model name.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Write the card of a run: what was measured, of what, and how.

    `zoo card latest`    `zoo card 3f2a91 -o README.md`
    """
    text = ctx.obj.card(run, title=title)
    if output:
        save_text(text, output)
        say(f"Written: {output}")
    if json:
        show(View("card", {"run": ctx.obj.run(run).id, "markdown": text}), as_json=True)
    elif not output:
        sys.stdout.write(text)


def push(
    ctx: typer.Context,
    run: RunId,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name of a model repository.")],
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request instead of writing to main.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Publish a run: its card, its head and its record, in one commit.

    `zoo push latest alice/conll-zoo3 --dry-run`
    """
    found = ctx.obj.push(run, repo, create_pr=create_pr, private=not public, dry_run=dry_run)
    show(views.push(found), as_json=json)


COMMANDS = (card, push)
