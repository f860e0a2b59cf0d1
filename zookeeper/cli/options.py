"""Arguments and options that several commands share, each written once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from zookeeper.errors import UsageError
from zookeeper.plain import UNITS, bytes_of
from zookeeper.records import Pooling, Precision, Reading, TargetSource, Task
from zookeeper.results import Budget

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="Checkpoints of the zoo, by id, last part of the id, or ./folder; @selection and @ranking stand "
        "for the latest. All by default.",
        show_default=False,
    ),
]
ModelsOrSelection = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="As in other commands, in order; @selection by default, @ranking:3 for the first three.",
        show_default=False,
    ),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="As in other commands; may be repeated.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_OF_TARGET, _OF_READING = "The target", "Reading"

ProbeRead = Annotated[
    str | None,
    typer.Option(
        "--probe",
        "-p",
        metavar="PROBE",
        help="The probe that they were read with; the last by default.",
        show_default=False,
    ),
]
MaxWords = Annotated[int, typer.Option(min=2, help="Words of the probe: the rows of the features.")]
Layer = Annotated[
    str,
    typer.Option(
        metavar="LAYER",
        help="last, mean (of all layers), or a number: 0 for the embeddings, negative from the end.",
        rich_help_panel=_OF_READING,
    ),
]
Pool = Annotated[
    Pooling,
    typer.Option(
        help="Which sub-words make a row; auto: the last of a word, the mean of a sentence.",
        rich_help_panel=_OF_READING,
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        min=8,
        help="Longest window in sub-words; the model's own by default.",
        show_default=False,
        rich_help_panel=_OF_READING,
    ),
]
Dtype = Annotated[
    Precision,
    typer.Option(
        "--dtype",
        help="Precision in which checkpoints run; auto: ZOO_DTYPE, else as before, else as fits the device.",
        rich_help_panel=_OF_READING,
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        min=1,
        metavar="N",
        help="Read with so many GPUs at once, a checkpoint on each.",
        show_default=False,
    ),
]

_TARGET = (
    "A named target (conll2000), a dataset of the Hub, a file (.conll .conllu .txt .csv .tsv .jsonl "
    ".parquet), or a folder with a file for each split."
)
Target = Annotated[str, typer.Option("--target", "-t", metavar="TARGET", help=_TARGET)]
TargetIfNew = Annotated[
    str | None, typer.Option("--target", "-t", metavar="TARGET", help=_TARGET, show_default=False)
]
Config = Annotated[
    str | None,
    typer.Option(help="Configuration of the dataset.", show_default=False, rich_help_panel=_OF_TARGET),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Column of text or tokens.", show_default=False, rich_help_panel=_OF_TARGET
    ),
]
PairColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Column of the second text, of pairs; of contexts, of questions.",
        show_default=False,
        rich_help_panel=_OF_TARGET,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column of labels.", show_default=False, rich_help_panel=_OF_TARGET),
]
TaskName = Annotated[
    Task | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="token-, text- or pair-classification or -regression, text-multilabel, question-answering; "
        "inferred by default.",
        show_default=False,
        rich_help_panel=_OF_TARGET,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,…",
        help="Names of the columns of a file that does not name them.",
        show_default=False,
        rich_help_panel=_OF_TARGET,
    ),
]
FoldBio = Annotated[
    bool,
    typer.Option(
        "--fold-bio",
        help="Make one class X of the tags B-X and I-X; never by default.",
        rich_help_panel=_OF_TARGET,
    ),
]


def target_source(
    target: str,
    config: str | None,
    text_column: str | None,
    label_column: str | None,
    task: Task | None,
    columns: str | None,
    pair_column: str | None,
    fold_bio: bool,
) -> TargetSource:
    """What the target options say together."""
    from dataclasses import replace

    from zookeeper.zoo import target_source as parse

    source = parse(target)
    return replace(
        source,
        config=config or source.config,
        text_column=text_column or source.text_column,
        label_column=label_column or source.label_column,
        task=task or source.task,
        columns=tuple(columns.split(",")) if columns else source.columns,
        pair_column=pair_column or source.pair_column,
        fold_bio=fold_bio or source.fold_bio,
    )


Memory = Annotated[
    str, typer.Option(metavar="SIZE", help="Features to hold at a time, such as 500MB or 8GB.")
]
Debias = Annotated[
    Literal["sentence"] | None,
    typer.Option(
        help="sentence: leave out pairs of words of the same sentence, which few words are biased by.",
        show_default=False,
    ),
]
Shrink = Annotated[float, typer.Option(min=0, max=0.999, metavar="SHARE", help="Of the identity, to mix in.")]
Signatures = Annotated[
    bool, typer.Option("--signatures", help="Compare signatures, which need no features once they are made.")
]
CovarianceFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Use this matrix (.npy, .csv), not the zoo's own.", show_default=False),
]
NamesFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Names for a .npy matrix, one a line.", show_default=False),
]
Show = Annotated[bool, typer.Option("--show", help="Draw it in the terminal too.")]


def budget_of(text: str) -> Budget:
    """A budget: 500M or 1.5B are parameters, 800MB and 2GB are bytes.

    Raises:
        UsageError: it is neither.
    """
    if re.fullmatch(r".*[KMGT]i?B", text.strip(), re.IGNORECASE):
        return Budget(bytes_of(text), "bytes")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMBT]?)", text.strip(), re.IGNORECASE)
    if not found:
        raise UsageError(
            f'"{text}" is no budget.', fix="parameters, as in 500M or 1.5B; or a size, as in 2GB"
        )
    return Budget(int(float(found[1]) * UNITS[found[2].upper()]), "parameters")


def seconds_of(text: str) -> float:
    """Seconds that a user writes as 12h, 30d or 2w.

    Raises:
        UsageError: it is no age.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*([smhdw])", text.strip(), re.IGNORECASE)
    if not found:
        raise UsageError(f'"{text}" is no age.', fix="such as 12h, 30d or 2w")
    return float(found[1]) * _SECONDS[found[2].lower()]


def reading(layer: str, pool: Pooling, max_length: int | None, dtype: Precision = "auto") -> Reading:
    """What the reading options say together."""
    return Reading(layer=layer, pooling=pool, dtype=dtype, max_length=max_length)


def probed(
    probe: str | None, max_words: int, layer: str, pool: Pooling, max_length: int | None, dtype: Precision
) -> Reading:
    """How the probe that is named was read.

    Raises:
        UsageError: none is named, so that the last one counts, as it was read.
    """
    given = reading(layer, pool, max_length, dtype)
    if probe is None and (max_words, given) != (10_000, Reading()):
        raise UsageError(
            "--max-words, --layer, --pool, --max-length and --dtype say how a probe was read.",
            why="none is named, so the last one counts, as it was read",
            fix="name it with -p",
        )
    return given


PROBED = ("probe", "max_words", "layer", "pool", "max_length", "dtype")
TARGET = (
    "config",
    "text_column",
    "pair_column",
    "label_column",
    "task",
    "columns",
    "fold_bio",
)


def only(ctx: typer.Context, with_: str, *names: str) -> None:
    """Refuse options that mean nothing beside another one.

    Args:
        ctx: of the command.
        with_: parameter that is given.
        names: parameters that go with it.

    Raises:
        UsageError: another one was typed.
    """
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name not in (with_, *names) and source is not None and source.name == "COMMANDLINE":
            typed = parameter.opts[0] if parameter.opts[0].startswith("-") else "a checkpoint"
            if parameter.secondary_opts and ctx.params[parameter.name or ""] is False:
                typed = parameter.secondary_opts[0]
            option = next(p.opts[0] for p in ctx.command.params if p.name == with_)
            option = option if option.startswith("-") else ctx.params[with_]
            raise UsageError(f"{typed} means nothing with {option}.", fix="leave out one of the two")


def wanting(ctx: typer.Context, without: str, *names: str) -> None:
    """Refuse options that mean nothing without another one.

    Args:
        ctx: of the command.
        without: parameter that is not given.
        names: parameters that need it.

    Raises:
        UsageError: one of them was typed.
    """
    options = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(
                f"{options[name]} means nothing without {options[without]}.",
                fix=f"add {options[without]}, or leave out {options[name]}",
            )


def models_of(names: list[str] | None) -> list[str]:
    """Names from the command line, and from standard input where ``-`` stands for it."""
    import sys

    found: list[str] = []
    for name in names or ():
        found += _typed(sys.stdin.read()) if name == "-" else [name]
    if names and not found:
        raise UsageError("no checkpoint was named on standard input.")
    return found


def _typed(text: str) -> list[str]:
    """Names from a list, which may hold comments."""
    return [name for line in text.splitlines() for name in line.split("#")[0].split()]
