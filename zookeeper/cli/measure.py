"""probe, covariance, select, rank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zookeeper.cli import options, views
from zookeeper.cli.options import Json, models_of
from zookeeper.cli.output import say, show
from zookeeper.errors import UsageError
from zookeeper.records import Reading
from zookeeper.results import Covariance
from zookeeper.zoo import DEFAULT_LAYER, DEFAULT_SCORES, Start, load_covariance, load_results, save_covariance

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
    models: options.Models = None,
    target: options.TargetIfNew = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCORE",
            help="logme by default; may be repeated, the first orders; or all.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            help="best by the score (default), mean of all, last, or a number.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Whose labels to use.")] = "train",
    max_examples: Annotated[
        int, typer.Option(min=0, help="At most so many sentences, drawn with a fixed seed; 0 for all.")
    ] = 2_000,
    shortlist: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Run only the N that look best by earlier rankings, covariance or size.",
            show_default=False,
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, metavar="N", help="Replicates for intervals and tiers; 0 for none.")
    ] = 200,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of intervals and tiers.")] = 0.95,
    wide: Annotated[bool, typer.Option("--wide", help="Show all that is known of each.")] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Compare with true results: a .csv of names and numbers.",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the ranking under a name.", show_default=False)
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME",
            help="A kept ranking (or latest) by other scores or of another layer; runs no model.",
            show_default=False,
        ),
    ] = None,
    config: options.Config = None,
    text_column: options.TextColumn = None,
    pair_column: options.PairColumn = None,
    label_column: options.LabelColumn = None,
    task: options.TaskName = None,
    columns: options.Columns = None,
    fold_bio: options.FoldBio = False,
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    json: Json = False,
) -> None:
    """Order checkpoints by how well their frozen features serve a target, without tuning any.

    `zoo rank --target conll2000`    `zoo rank -t reviews.csv --label-column stars`
    `zoo rank --from latest --score hscore --layer last`
    """
    results = load_results(against) if against else None
    if from_ is not None:
        options.only(ctx, "from_", "score", "layer", "bootstrap", "level", "wide", "against", "json")
        scores = (*score, "ridge") if score else None
        found = ctx.obj.rerank(from_, scores=scores, layer=layer, bootstrap=bootstrap, level=level)
    elif target is None:
        raise UsageError(
            "a ranking is for a --target, or --from an earlier one.", fix="zoo rank --target conll2000"
        )
    else:
        found = ctx.obj.rank(
            options.target_source(
                target, config, text_column, label_column, task, columns, pair_column, fold_bio
            ),
            models_of(models),
            reading=Reading(pooling=pool, max_length=max_length),
            split=split,
            max_examples=max_examples or None,
            shortlist=shortlist,
            save=save,
            scores=(*(score or DEFAULT_SCORES), "ridge"),
            layer=layer or DEFAULT_LAYER,
            bootstrap=bootstrap,
            level=level,
        )
    if results is None:
        show(views.ranking(found, wide=wide), as_json=json)
    else:
        show(views.agreement(found, ctx.obj.agreement(found, results)), as_json=json)


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
