"""probe, covariance, neighbours, select, rank, plot."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from zookeeper.cli import comparing, options, views
from zookeeper.cli.options import Json, models_of
from zookeeper.cli.output import say, show
from zookeeper.errors import UsageError
from zookeeper.plain import bytes_of
from zookeeper.records import Reading
from zookeeper.results import Covariance
from zookeeper.zoo import (
    DEFAULT_LAYER,
    DEFAULT_SCORES,
    Picture,
    Start,
    load_covariance,
    load_results,
    save_covariance,
)

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
    dtype: options.Dtype = "auto",
    signatures_only: Annotated[
        bool,
        typer.Option(
            "--signatures-only", help="Keep a signature of 200 kB in the place of features, from the 17th on."
        ),
    ] = False,
    gpus: options.Gpus = None,
    json: Json = False,
) -> None:
    """Read the probe with each checkpoint and keep its features. What is there is not computed again.

    `zoo probe`    `zoo probe roberta-base --layer mean`    `zoo probe -p my-text.txt`
    """
    reading = options.reading(layer, pool, max_length, dtype)
    found = ctx.obj.probe(
        models_of(models),
        probe=probe,
        max_words=max_words,
        reading=reading,
        signatures_only=signatures_only,
        gpus=gpus,
    )
    show(views.probed(found), as_json=json)


def covariance(
    ctx: typer.Context,
    models: options.Models = None,
    probe: options.ProbeRead = None,
    max_words: options.MaxWords = 10_000,
    layer: options.Layer = "last",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    dtype: options.Dtype = "auto",
    signatures: options.Signatures = False,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit the basis of signatures to the features there are now.")
    ] = False,
    debias: options.Debias = None,
    shrink: options.Shrink = 0.0,
    convergence: Annotated[
        bool, typer.Option("--convergence", help="Show how κ settles as more of the probe is read.")
    ] = False,
    errors: Annotated[
        bool, typer.Option("--errors/--no-errors", help="Give standard errors over sentences.")
    ] = True,
    memory: options.Memory = "4GB",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the matrix as .npy or .csv.", show_default=False
        ),
    ] = None,
    show_: options.Show = False,
    json: Json = False,
) -> None:
    """Compare the tasks behind checkpoints: the alignment of their features on the probe.

    `zoo covariance`    `zoo covariance --signatures`    `zoo covariance -o kappa.csv`
    """
    reading = options.probed(probe, max_words, layer, pool, max_length, dtype)
    names = models_of(models)
    read = {"probe": probe, "max_words": max_words, "reading": reading}
    if convergence:
        options.only(ctx, "convergence", "models", *options.PROBED, "memory", "json")
        found = ctx.obj.convergence(names, **read, memory=bytes_of(memory))
        show(comparing.convergence(found), as_json=json)
        return
    if signatures:
        options.only(
            ctx, "signatures", "models", *options.PROBED, "refit", "shrink", "output", "show_", "json"
        )
    elif refit:
        raise UsageError("--refit is for signatures.", fix="--signatures --refit")
    kappa = ctx.obj.covariance(
        names,
        **read,
        signatures=signatures,
        refit=refit,
        debiased=debias is not None,
        errors=errors,
        memory=bytes_of(memory),
    ).shrunk(shrink)
    if output:
        for path in save_covariance(kappa, output):
            say(f"Written: {path}")
    show(comparing.covariance(kappa, show=show_), as_json=json)


def neighbours(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The checkpoint to start from.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many to show.")] = 10,
    probe: options.ProbeRead = None,
    max_words: options.MaxWords = 10_000,
    layer: options.Layer = "last",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    dtype: options.Dtype = "auto",
    json: Json = False,
) -> None:
    """Find the checkpoints whose tasks are nearest to that of one.

    `zoo neighbours roberta-base`
    """
    reading = options.probed(probe, max_words, layer, pool, max_length, dtype)
    found = ctx.obj.neighbours(model, k, probe=probe, max_words=max_words, reading=reading)
    show(comparing.neighbourhood(found), as_json=json)


def select(
    ctx: typer.Context,
    models: options.Models = None,
    k: Annotated[
        int | None,
        typer.Option(
            "-k", help="How many to choose; 5 if there are, or what fits a budget.", show_default=False
        ),
    ] = None,
    target: options.TargetIfNew = None,
    half_mmi: Annotated[
        bool, typer.Option("--half-mmi", help="Go half by the target and half by mutual information.")
    ] = False,
    start: Annotated[
        Start, typer.Option(help="First pick: by mutual information, or the hub of the zoo.")
    ] = "mi",
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Pick it first; may be repeated.", show_default=False),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Do not pick it; may be repeated.", show_default=False),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="For all picks together: parameters (500M, 1.5B) or bytes (2GB).",
            show_default=False,
        ),
    ] = None,
    dedupe: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=1, metavar="κ", help="Count near-duplicates as one from here.", show_default=False
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Look for the best set too, and prove it.")] = False,
    seconds: Annotated[float, typer.Option(min=0, help="That --exact may take.")] = 10.0,
    bootstrap: Annotated[
        int, typer.Option(min=0, metavar="N", help="Resampled probes, for how stable picks are; 0 for none.")
    ] = 200,
    probe: options.ProbeRead = None,
    max_words: options.MaxWords = 10_000,
    layer: options.Layer = "last",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    dtype: options.Dtype = "auto",
    signatures: options.Signatures = False,
    debias: options.Debias = None,
    shrink: options.Shrink = 0.0,
    covariance: options.CovarianceFile = None,
    names: options.NamesFile = None,
    split: Annotated[str, typer.Option(help="Of the target: whose labels to use.")] = "train",
    max_examples: Annotated[
        int, typer.Option(min=0, help="Of the target: at most so many sentences; 0 for all.")
    ] = 2_000,
    config: options.Config = None,
    text_column: options.TextColumn = None,
    pair_column: options.PairColumn = None,
    label_column: options.LabelColumn = None,
    task: options.TaskName = None,
    columns: options.Columns = None,
    fold_bio: options.FoldBio = False,
    show_: options.Show = False,
    json: Json = False,
) -> None:
    """Choose the few checkpoints that say most about the rest, or about a target.

    Without a target by maximum mutual information on the probe; with one by the evidence of their features
    side by side.

    `zoo select -k 5`    `zoo select --target conll2000 -k 5`    `zoo select --budget 500M`
    """
    chosen = {"include": include or (), "exclude": exclude or (), "command": _typed(ctx)}
    if target is not None:
        options.only(
            ctx,
            "target",
            *("models", "k", "half_mmi", "include", "exclude", "pool", "max_length", "dtype", "bootstrap"),
            *("show_", "json"),
            *("split", "max_examples", *options.TARGET),
        )
        found = ctx.obj.select_for_target(
            options.target_source(
                target, config, text_column, label_column, task, columns, pair_column, fold_bio
            ),
            k,
            names=models_of(models),
            half=half_mmi,
            reading=Reading(pooling=pool, dtype=dtype, max_length=max_length),
            split=split,
            max_examples=max_examples or None,
            **chosen,
        )
        show(comparing.selection(found, show=show_), as_json=json)
        return
    options.wanting(ctx, "target", "half_mmi", "split", "max_examples", *options.TARGET)
    if covariance is None:
        options.wanting(ctx, "covariance", "names")
    if not exact:
        options.wanting(ctx, "exact", "seconds")
    found = ctx.obj.select(
        k,
        covariance=_kappa(
            ctx,
            models_of(models),
            covariance,
            names,
            probe=probe,
            max_words=max_words,
            reading=options.probed(probe, max_words, layer, pool, max_length, dtype),
            signatures=signatures,
            debiased=debias is not None,
        ).shrunk(shrink),
        start=start,
        budget=options.budget_of(budget) if budget else None,
        dedupe=dedupe,
        exact=exact,
        seconds=seconds,
        replicates=bootstrap,
        **chosen,
    )
    show(comparing.selection(found, show=show_), as_json=json)


def plot(
    ctx: typer.Context,
    kind: Annotated[
        Picture,
        typer.Argument(metavar="kappa|mi|map|convergence|rank|violin|curve|lineage", help="What to draw."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="A .png, .svg or .pdf.", show_default=False)
    ],
    models: options.ModelsOption = None,
    run: Annotated[str, typer.Option(metavar="RUN", help="Whose learning curve to draw.")] = "latest",
    k: Annotated[
        int | None,
        typer.Option(
            "-k", help="Picks of the curve of mutual information; 5 if there are.", show_default=False
        ),
    ] = None,
    probe: options.ProbeRead = None,
    max_words: options.MaxWords = 10_000,
    layer: options.Layer = "last",
    pool: options.Pool = "auto",
    max_length: options.MaxLength = None,
    dtype: options.Dtype = "auto",
    signatures: options.Signatures = False,
    debias: options.Debias = None,
    covariance: options.CovarianceFile = None,
    names: options.NamesFile = None,
    json: Json = False,
) -> None:
    """Draw what was found, as a file.

    kappa: the covariance; mi: the gains of a selection; map: the zoo in two dimensions; convergence: how much
    probe is enough; rank: the latest ranking; violin: an ensemble among random ones, of the latest
    `zoo tune --controls`; curve: the metric over shares of the training data, of `zoo tune --fractions`, or
    over passes; lineage: what was made from what.

    `zoo plot kappa -o kappa.svg`    `zoo plot mi -k 10 -o mi.png`    `zoo plot violin -o violin.svg`
    """
    known: dict[str, Callable[[], Any]] = {
        "rank": lambda: ctx.obj.subject("@ranking"),
        "violin": ctx.obj.comparison,
        "curve": lambda: ctx.obj.run(run),
        "lineage": lambda: None,
    }
    if kind in known:
        options.only(ctx, "kind", "output", "json", *(["run"] if kind == "curve" else []))
        ctx.obj.draw(kind, output, known[kind]())
        show(views.drawn(kind, output), as_json=json)
        return
    reading = options.probed(probe, max_words, layer, pool, max_length, dtype)
    read = {"probe": probe, "max_words": max_words, "reading": reading}
    chosen = models_of(models)
    if kind == "convergence":
        options.only(ctx, "kind", "output", "models", *options.PROBED, "json")
        ctx.obj.draw(kind, output, ctx.obj.convergence(chosen, **read))
    else:
        if kind != "mi":
            options.only(ctx, "kind", *(name for name in ctx.params if name not in ("k", "run")))
        if covariance is None:
            options.wanting(ctx, "covariance", "names")
        kappa = _kappa(
            ctx, chosen, covariance, names, **read, signatures=signatures, debiased=debias is not None
        )
        ctx.obj.draw(kind, output, ctx.obj.select(k, covariance=kappa, keep=False) if kind == "mi" else kappa)
    show(views.drawn(kind, output), as_json=json)


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
    dtype: options.Dtype = "auto",
    gpus: options.Gpus = None,
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
        found = ctx.obj.rerank(
            from_, scores=scores, layer=layer, bootstrap=bootstrap, level=level, command=_typed(ctx)
        )
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
            reading=Reading(pooling=pool, dtype=dtype, max_length=max_length),
            split=split,
            max_examples=max_examples or None,
            shortlist=shortlist,
            gpus=gpus,
            save=save,
            scores=(*(score or DEFAULT_SCORES), "ridge"),
            layer=layer or DEFAULT_LAYER,
            bootstrap=bootstrap,
            level=level,
            command=_typed(ctx),
        )
    if results is None:
        show(views.ranking(found, wide=wide), as_json=json)
    else:
        show(views.agreement(found, ctx.obj.agreement(found, results)), as_json=json)


def _typed(ctx: typer.Context) -> str:
    """The command line."""
    return shlex.join(["zoo", *ctx.meta["zoo.typed"]])


def _kappa(
    ctx: typer.Context, chosen: list[str], file: Path | None, names: Path | None, **how: Any
) -> Covariance:
    """The matrix in a file, or the zoo's own."""
    if file is None:
        found: Covariance = ctx.obj.covariance(chosen, **how, errors=False)
        return found
    options.only(
        ctx,
        "covariance",
        *("names", "kind", "output", "k", "start", "include", "exclude", "dedupe", "exact", "seconds"),
        "bootstrap",
        *("shrink", "show_", "json"),
    )
    return load_covariance(file, names)


COMMANDS = (probe, covariance, neighbours, select, rank, plot)
