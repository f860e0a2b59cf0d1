"""The command line: parse, one call, show."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zookeeper import interrupts
from zookeeper.cli import care, collect, measure, pins, publish, tune
from zookeeper.cli.output import say, show_error, show_zoo_error, write_error
from zookeeper.cli.progress import Terminal
from zookeeper.errors import TerminatedError, ZooError
from zookeeper.plain import redacted, spelt_out_lines
from zookeeper.zoo import Zoo, leave_error

_BUG = 70
_MISUSE: Any = typer.BadParameter.__mro__[1]
"""What the parser raises, of which that is one kind."""

_OF_PYDANTIC = "Value error, "
"""What it puts before the reason why a value is none of the choices."""

_KEEP_NOTHING = frozenset(
    {None, "ls", "show", "rm", "freeze", "update", "runs", "recipes", "doctor", "verify", "gc", "db"}
)
"""Commands that begin anew after they were stopped."""


class _Group(TyperGroup):
    """Remembers what was typed, and turns what commands raise into words and exit codes."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        typed = list(args)
        with _unread(), _misuse(typed):  # --help and --version print here
            ctx = super().make_context(info_name, args, *rest, **extra)
        ctx.meta["zoo.typed"] = typed
        return ctx

    def invoke(self, ctx: Any) -> Any:
        try:
            with _unread(), _misuse(ctx.meta["zoo.typed"]):
                return super().invoke(ctx)
        except ZooError as error:
            if not leave_error(error):
                show_zoo_error(error, as_json="--json" in ctx.meta["zoo.typed"])
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            interrupts.said()
            if not leave_error(TerminatedError("stopped.")):
                say(interrupts.line())
            raise typer.Exit(interrupts.INTERRUPTED) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if os.environ.get("ZOO_DEBUG") or type(error).__module__.startswith("typer"):
                raise
            _report_bug(error, ctx)
            raise typer.Exit(_BUG) from error


@contextmanager
def _misuse(typed: Sequence[str]) -> Iterator[None]:
    """Have what cannot be parsed be data too where data was asked for; the parser says it to people."""
    try:
        yield
    except _MISUSE as error:
        error.message = error.message.removeprefix(_OF_PYDANTIC)
        if "--json" in typed:
            fix = f"{error.ctx.command_path} --help" if error.ctx else None
            write_error(error.format_message(), None, fix, error.exit_code)
        raise


@contextmanager
def _unread() -> Iterator[None]:
    """Leave quietly where whoever reads our output went away."""
    try:
        yield
    except (BrokenPipeError, SystemExit) as error:
        # Of the first, rich makes the second.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        interrupts.forget_output()
        raise typer.Exit(interrupts.UNREAD) from error


def _report_bug(error: Exception, ctx: Any) -> None:
    """Keep the traceback (without values of variables, which may be secrets) and say where."""
    settings = ctx.obj.settings if isinstance(ctx.obj, Zoo) else None
    folder = settings.home / "logs" if settings else Path(tempfile.gettempdir())
    trace = spelt_out_lines(redacted("".join(traceback.format_exception(error))))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only for who runs this, and never a file that somebody put there before.
        file, path = tempfile.mkstemp(".txt", f"bug-{time.strftime('%Y%m%dT%H%M%S')}-", folder, text=True)
        with os.fdopen(file, "w", encoding="utf-8") as report:
            report.write(trace)
        fix = f"report it with {path}"
    except OSError:
        fix = "set ZOO_DEBUG=1 to see where"
    show_error("zoo stumbled over a bug of its own.", f"{type(error).__name__}: {error}"[:300], fix)


app = typer.Typer(
    name="zoo",
    cls=_Group,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:
    if wanted:
        from zookeeper import __version__

        typer.echo(f"zoo {__version__}")
        raise typer.Exit


@app.callback()
def start(
    ctx: typer.Context,
    zoo: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the zoo; else ZOO_HOME, or your data folder.", show_default=False
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Choose, from two million checkpoints, the few that serve your task.

    add → probe → covariance → select / rank → tune → card → push
    """
    interrupts.expect(kept=ctx.invoked_subcommand not in _KEEP_NOTHING)
    reporter = Terminal()
    ctx.call_on_close(reporter.close)
    ctx.obj = Zoo(zoo, reporter=reporter)
    if ctx.invoked_subcommand is None:
        n = len(ctx.obj.holdings())
        say(f"The zoo has {n} {'checkpoint' if n == 1 else 'checkpoints'} ({ctx.obj.settings.home}).")
        say("  See it work, offline        zoo demo")
        say("  Add a checkpoint            zoo add roberta-base")
        say("  All commands                zoo --help")


for _module in (collect, pins, measure, tune, publish, care):
    for _command in _module.COMMANDS:
        app.command(name=_command.__name__.strip("_"), rich_help_panel=_module.PANEL)(_command)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or pipe that lacks a letter gets its code, not an error.
            stream.reconfigure(errors="backslashreplace")
    app()
