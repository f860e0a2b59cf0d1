"""freeze, update; and files of names, for add."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from zookeeper.cli import views
from zookeeper.cli.options import Json, Models
from zookeeper.cli.output import say, show
from zookeeper.errors import DataError, UsageError
from zookeeper.plain import count, expanded, refusal
from zookeeper.zoo import save_text

PANEL = "Collect"

_LARGEST = 256 << 20  # bytes of a lock or list


def freeze(
    ctx: typer.Context,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write it there; to standard output by default.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write all pins as a file that another machine takes over, also offline. Asks nobody.

    The file is JSON, and --json shows it where it is written to a file too.

    `zoo freeze -o zoo.lock`, and elsewhere `zoo add -f zoo.lock`
    """
    lock = ctx.obj.freeze()
    text = lock.text
    if lock.folders:
        names = ", ".join(one.name for one in lock.folders[:3]) + (", …" if len(lock.folders) > 3 else "")
        say(f"It names folders of this machine, by their content: {names}")
    if output is not None:
        save_text(text, output)
        say(f"Written: {output} ({count(len(lock.checkpoints), 'checkpoint')})")
        say(f"  Take it over:  zoo add -f {shlex.quote(str(output))}")
    if output is None or json:
        sys.stdout.write(text)


def update(
    ctx: typer.Context,
    models: Models = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 if anything moved, be it the card only.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Pin what moved to what it is now.")] = False,
    json: Json = False,
) -> None:
    """Compare pins with the Hub: what moved, and whether weights, config, tokenizer or only the card did.

    `zoo update`    `zoo update --check`    `zoo update roberta-base --apply`
    """
    if check and apply:
        raise UsageError("--check means nothing with --apply.", fix="leave out one of the two")
    found = ctx.obj.update(models or (), apply=apply)
    show(views.updated(found, applied=apply), as_json=json)
    if check and any("latest" in one.details for one in found):
        raise typer.Exit(1)


def listing(file: str) -> str:
    """Text of a lock or of a list of names, which may come from standard input.

    Raises:
        DataError: it cannot be read as text.
        UsageError: nobody has the home that it begins with.
    """
    try:
        if file == "-":
            content = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with expanded(file).open("rb") as opened:
                content = opened.read(_LARGEST + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise DataError(f"{file} cannot be read.", why=refusal(error)) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} cannot be read as text.", why=str(error)) from error
    if len(content) > _LARGEST:
        raise DataError(f"{file} is larger than any lock ({_LARGEST >> 20} MiB).")
    return text


COMMANDS = (freeze, update)
