"""card, report, push, pull, reproduce."""

from __future__ import annotations

import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import typer

from zookeeper.cli import options, published
from zookeeper.cli.options import DryRun, Json
from zookeeper.cli.output import show
from zookeeper.errors import UsageError
from zookeeper.plain import spelt_out
from zookeeper.zoo import Measured, Results

PANEL = "Train and publish"

_SUBJECT = "Id of a run, or its beginning; latest; @ranking, @ranking/NAME or @selection."

Subject = Annotated[str, typer.Argument(metavar="WHAT", help=_SUBJECT)]


def card(
    ctx: typer.Context,
    what: Subject = "latest",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write into a file, with pictures beside it; what else stands there stays.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading and model name.", show_default=False)] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Say what is wrong with the card, or with the one in FILE; exit 1 if any."
        ),
    ] = False,
    diff: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Show what would change on a card of the Hub.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Write the card of a run, a ranking or a selection: what was measured, of what, and how.

    `zoo card latest -o README.md`    `zoo card @ranking`    `zoo card latest --check -o README.md`
    """
    if check:
        options.only(ctx, "check", "what", "output", "title", "json")
        findings = ctx.obj.check_card(what, output, title=title)
        show(published.findings(findings, output), as_json=json)
        if findings:
            raise typer.Exit(1)
    elif diff:
        options.only(ctx, "diff", "what", "json")
        found = ctx.obj.push(what, diff, create_pr=not ctx.obj.owns(diff), dry_run=True)
        show(published.change(found), as_json=json)
    else:
        written = ctx.obj.save_card(what, output, title=title) if output else ()
        text = output.read_text(encoding="utf-8") if output else ctx.obj.card(what, title=title)
        if output or json:
            show(published.card(what, text, written), as_json=json)
        else:
            sys.stdout.write(text)


def report(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="An .html file.")] = Path(
        "zoo-report.html"
    ),
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="TARGET",
            help="What it is about, as it was ranked or tuned for; the latest by default.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="The latest on that target by default.", show_default=False),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
    json: Json = False,
) -> None:
    """Write all that is known as one HTML file: pictures, and the numbers below them. Runs nothing.

    `zoo report`    `zoo report -t conll2000 -o conll.html --open`
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output} is no file for HTML.", fix="-o zoo-report.html")
    command = shlex.join(["zoo", *ctx.meta["zoo.typed"]])
    found = ctx.obj.report(target=target, run=run, command=command)
    ctx.obj.save_report(found, output)
    show(published.report(found, output), as_json=json)
    if open_:
        typer.launch(str(output))


def push(
    ctx: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help=f"{_SUBJECT} Or signatures, or features, of the last probe.")
    ],
    repo: Annotated[
        str,
        typer.Argument(
            metavar="REPO",
            help="owner/name: a model repository of a run, a dataset repository of all else.",
        ),
    ],
    results: Annotated[
        Results,
        typer.Option(
            help="Where numbers go beside the text: model-index, and eval-results of registered benchmarks."
        ),
    ] = "auto",
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request, or go on with an open one.")
    ] = False,
    yes_open_pr_on: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="The name of somebody else's repository once more, where nobody can be asked.",
            show_default=False,
        ),
    ] = None,
    public: Annotated[
        bool,
        typer.Option("--public", help="Make a new repository public, and so the names of what it is of."),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Publish a run with what it learned, a ranking, a selection, or what was measured, in one commit.

    `zoo push latest alice/conll-zoo3 --dry-run`    `zoo push signatures alice/zoo-signatures`
    """
    zoo, agreed = ctx.obj, yes_open_pr_on
    measured = what in get_args(Measured)
    if measured:
        options.only(ctx, "what", *(name for name in ctx.params if name != "results"))
    publish = partial(zoo.share, what) if measured else partial(zoo.push, what, results=results)
    if create_pr and not dry_run and agreed is None and _can_ask() and not zoo.owns(repo):
        show(published.push(publish(repo, create_pr=True, dry_run=True)), as_json=False)
        agreed = _typed(f"{repo} is not yours. To open a pull request there, type its name")
    found = publish(repo, create_pr=create_pr, private=not public, agreed=agreed, dry_run=dry_run)
    show(published.push(found), as_json=json)


def _typed(question: str) -> str:
    """What somebody types; Ctrl-C is what it is everywhere."""
    try:
        return str(typer.prompt(spelt_out(question), err=True))
    except typer.Abort as error:
        raise KeyboardInterrupt from error


def _can_ask() -> bool:
    """Whether somebody sits there; nobody does in CI."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")


def pull(
    ctx: typer.Context,
    what: Annotated[Measured, typer.Argument(metavar="signatures|features", help="What to take over.")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name or owner/name@revision.")],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take over what others measured of checkpoints, so that no model need be run; adds the checkpoints.

    `zoo pull signatures alice/zoo-signatures`
    """
    show(published.pulled(ctx.obj.pull(what, repo, dry_run=dry_run)), as_json=json)


def reproduce(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CARD",
            help="A run of this zoo; or a repository, or a ./folder, with a card and its run.json.",
        ),
    ] = "latest",
    target: Annotated[
        str | None,
        typer.Option(
            "--target", "-t", metavar="PATH", help="Its data, if they were local.", show_default=False
        ),
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            "-m",
            metavar="NAME=PATH",
            help="Where a member is that came from a local folder; may be repeated.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="By which a mean may differ; by default as much as seeds do.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a run again, from the checkpoints on, and say whether its numbers hold; exit 1 if they do not.

    `zoo reproduce latest`    `zoo reproduce alice/conll-zoo3`
    """
    found = ctx.obj.reproduce(what, target=target, members=_pairs(member or []), tolerance=tolerance)
    show(published.reproduction(found), as_json=json)
    if not found.holds:
        raise typer.Exit(1)


def _pairs(given: list[str]) -> dict[str, str]:
    """NAME=PATH, read."""
    for one in given:
        if "=" not in one:
            raise UsageError(f"--member {one} names no folder.", fix="--member NAME=PATH")
    return dict(one.split("=", 1) for one in given)


COMMANDS = (card, report, push, pull, reproduce)
