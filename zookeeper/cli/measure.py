"""probe, covariance, select, rank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zookeeper.cli import options, views
from zookeeper.cli.options import Json, models_of
from zookeeper.cli.output import say, show
from zookeeper.errors import UsageError
from zookeeper.records import Covariance, Reading
from zookeeper.zoo import Start, load_covariance, save_covariance

PANEL = "Measure and choose"


def probe(
    ctx: typer.Context,
    models: options.Models = None,
    probe: Annotated[
        str, typer.Option("--probe", "-p", metavar="PROBE", help="A named probe, or any text file.")
    ] = "wikitext2",
    max_words: options.MaxWords = 10_000,
    layer: options.Layer = "last",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    json: Json = False,
) -> None:
    """Read the probe with each checkpoint and keep its features. What is there is not computed again.

    `zoo probe`    `zoo probe roberta-base --layer mean`    `zoo probe -p my-text.txt`
    """
    reading = options.reading(layer, pool, max_length)
    found = ctx.obj.probe(models_of(models), probe=probe, max_words=max_words, reading=reading)
    show(views.probed(found), as_json=json)


def covariance(
    ctx: typer.Context,
    models: options.Models = None,
    probe: options.ProbeRead = None,
    max_words: options.MaxWords = 10_000,
    layer: options.Layer = "last",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the matrix as .npy or .csv.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare the tasks behind checkpoints: the alignment of their features on the probe.

    `zoo covariance`    `zoo covariance -o kappa.csv`
    """
    found = _kappa(ctx, models, probe, max_words, options.reading(layer, pool, max_length))
    if output:
        for path in save_covariance(found, output):
            say(f"Written: {path}")
    show(views.covariance(found), as_json=json)


def select(
    ctx: typer.Context,
    models: options.Models = None,
    k: Annotated[int, typer.Option("-k", help="How many to choose.")] = 5,
    probe: options.ProbeRead = None,
    max_words: options.MaxWords = 10_000,
    layer: options.Layer = "last",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    start: Annotated[
        Start, typer.Option(help="First pick: by mutual information, or the hub of the zoo.")
    ] = "mi",
    covariance: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Choose by this matrix (.npy, .csv), not the zoo's own.", show_default=False
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Names for a .npy matrix, one a line.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Choose the few checkpoints that say most about the rest, by maximum mutual information.

    `zoo select -k 5`    `zoo select --covariance kappa.npy --names names.txt -k 5`
    """
    if covariance and models:
        raise UsageError("a covariance from a file has its own names.", fix="leave out the checkpoints")
    if covariance:
        kappa = load_covariance(covariance, names)
    else:
        kappa = _kappa(ctx, models, probe, max_words, options.reading(layer, pool, max_length))
    found = ctx.obj.select(k, start=start, covariance=kappa)
    show(views.selection(found), as_json=json)


def rank(
    ctx: typer.Context,
    target: options.Target,
    models: options.Models = None,
    score: Annotated[str, typer.Option(metavar="SCORE", help="Order by logme or hscore.")] = "logme",
    split: Annotated[str, typer.Option(help="Whose labels to use.")] = "train",
    max_examples: Annotated[
        int, typer.Option(min=0, help="At most so many sentences, drawn with a fixed seed; 0 for all.")
    ] = 2_000,
    config: options.Config = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    task: options.TaskName = None,
    columns: options.Columns = None,
    layer: options.Layer = "mean",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    json: Json = False,
) -> None:
    """Order checkpoints by how well their frozen features serve a target, without tuning any.

    `zoo rank --target conll2000`    `zoo rank -t reviews.csv --label-column stars`
    """
    found = ctx.obj.rank(
        options.target_source(target, config, text_column, label_column, task, columns),
        models_of(models),
        by=score,
        reading=options.reading(layer, pool, max_length),
        split=split,
        max_examples=max_examples or None,
    )
    show(views.ranking(found), as_json=json)


def _kappa(
    ctx: typer.Context, models: list[str] | None, probe: str | None, max_words: int, reading: Reading
) -> Covariance:
    """The zoo's covariance on the probe that the options name together."""
    if probe is None and (max_words, reading) != (10_000, Reading()):
        raise UsageError(
            "--max-words, --layer, --pool and --max-length say how a probe was read.",
            why="none is named, so the last one counts, as it was read",
            fix="name it with -p",
        )
    names = models_of(models)
    found: Covariance = ctx.obj.covariance(names, probe=probe, max_words=max_words, reading=reading)
    return found


COMMANDS = (probe, covariance, select, rank)
