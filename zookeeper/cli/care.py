"""demo, doctor, verify, gc, db."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from zookeeper.cli import views
from zookeeper.cli.options import Json, seconds_of
from zookeeper.cli.output import View, say, show
from zookeeper.zoo import build_demo

PANEL = "Care"


def verify(
    ctx: typer.Context,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Hash the files of checkpoints too, and compute some features again.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Read and hash everything that is stored; exit 1 if anything is not what was stored.

    `zoo verify`    `zoo verify --full`
    """
    found = ctx.obj.verify(full=full)
    show(views.verification(found), as_json=json)
    if found.damaged:
        raise typer.Exit(1)


def gc(
    ctx: typer.Context,
    features: Annotated[
        bool,
        typer.Option(
            "--features", help="The features of the last probe too; a signature of each stays for comparing."
        ),
    ] = False,
    hub: Annotated[
        bool,
        typer.Option(
            "--hub",
            help="Of the zoo's repositories also what was fetched and is read, or of commits no pin names.",
        ),
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Only what is older: 12h, 30d or 2w.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; else only say what would go.")] = False,
    json: Json = False,
) -> None:
    """Delete what nothing asks for any more, or what can be made again.

    Features of checkpoints in the zoo stay, on earlier probes too; zoo rm MODEL --features deletes them.

    `zoo gc`    `zoo gc --features --yes`    `zoo gc --hub --older-than 30d`
    """
    age = seconds_of(older_than) if older_than else 0.0
    found = ctx.obj.waste(features=features, hub=hub, older_than=age, delete=yes)
    show(views.waste(found, deleted=yes), as_json=json)


def doctor(
    ctx: typer.Context,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Make missing folders and the index, sweep leftovers, close folders to others."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Look whether zoo can work here: libraries, folders, the Hub, hardware, the closed room; exit 1 if not.

    It starts a worker, as checkpoints are read in, and says which walls stand around it.

    `zoo doctor`    `zoo doctor --fix`
    """
    with ctx.obj.reporter.track("starting a worker", 1, "worker") as advance:
        found = ctx.obj.examine(fix=fix)
        advance(1)
    show(views.examination(found), as_json=json)
    if any(check.state == "problem" for check in found):
        raise typer.Exit(1)


def db(
    ctx: typer.Context,
    what: Annotated[Literal["path", "rebuild"], typer.Argument(help="Say where it is, or make it again.")],
    json: Json = False,
) -> None:
    """The index, which is made of the files beside it and can be made again at any time.

    `zoo db path`    `zoo db rebuild`
    """
    entries = ctx.obj.store.rebuild() if what == "rebuild" else None
    path = ctx.obj.store.index_path
    show(views.index(path, entries), as_json=json)
    if not json:
        sys.stdout.write(f"{path}\n")


def demo(
    ctx: typer.Context,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where to build; `demo` in the zoo's folder by default.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """See the whole line at work: offline, on the CPU, in about two minutes.

    Pretrains a few tiny checkpoints on the text and source of Python's standard library, makes a labelled
    task of the same, and runs on them the commands that you would run.
    """
    started = time.monotonic()
    files = build_demo((into or ctx.obj.settings.home / "demo").absolute(), ctx.obj.reporter)
    folder = files.checkpoints[0].parent
    names = [f"./{path.relative_to(folder)}" for path in (*files.checkpoints, files.probe, files.target)]
    *checkpoints, probe, target = names
    say(f"$ cd {shlex.quote(str(folder))} && export ZOO_HOME=$PWD/zoo ZOO_CACHE=$PWD/zoo/cache")
    typed: list[str] = []
    with _inside(folder):
        for line in (
            ["add", *checkpoints],
            ["probe", "-p", probe],
            ["covariance", "--show"],
            ["plot", "kappa", "-o", "kappa.png"],
            ["select", "-k", "3"],
            ["tune", "-t", target, "@selection"],
            ["rank", "-t", target],
            ["select", "-t", target, "-k", "3"],
            ["tune", "-t", target, "@selection", "--test"],
            ["runs"],
            ["card", "latest", "-o", "card.md"],
            ["report", "-o", "report.html"],
        ):
            typed.append(shlex.join(["zoo", *line]))
            say(f"\n$ {typed[-1]}")
            _run(ctx, line, to_stderr=json)
    seconds = time.monotonic() - started
    if json:
        made = {
            "folder": str(folder),
            "commands": typed,
            "card": str(folder / "card.md"),
            "report": str(folder / "report.html"),
            "seconds": seconds,
        }
        show(View("demo", made), as_json=True)
        return
    say(
        f"\nDone in {seconds:.0f} s. Made in {folder}:\n"
        f"  {len(checkpoints)} checkpoints, a probe, a labelled task; features, two runs;\n"
        f"  kappa.png, card.md, report.html\n"
        "Look around, after the first line above:\n"
        "  zoo ls    zoo show llama-code    zoo runs --json    less card.md\n"
        "Then your own:\n"
        "  zoo add roberta-base google-bert/bert-base-cased\n"
        "  zoo select --target conll2000"
    )


def _run(ctx: typer.Context, line: list[str], *, to_stderr: bool) -> None:
    """Run a command line in this process; leave with its exit code if it fails."""
    root = ctx.find_root().command
    with contextlib.redirect_stdout(sys.stderr) if to_stderr else contextlib.nullcontext():
        if code := root.main(line, prog_name="zoo", standalone_mode=False):
            raise typer.Exit(code)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder, with the zoo in it, as after ``cd`` and ``export``."""
    before = {name: os.environ.get(name) for name in ("ZOO_HOME", "ZOO_CACHE")}
    os.environ |= {"ZOO_HOME": str(folder / "zoo"), "ZOO_CACHE": str(folder / "zoo" / "cache")}
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


COMMANDS = (demo, doctor, verify, gc, db)
