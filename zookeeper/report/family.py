"""What was made from what, as far as cards say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from zookeeper.lineage import Relative, lineage
from zookeeper.plain import count
from zookeeper.records import Checkpoint
from zookeeper.report import svg, words
from zookeeper.report.parts import Column, Panel, Table, name

_ROW, _TOP, _GAP, _TALL = 28.0, 8.0, 56.0, 21.0
_PADDING = 9.0
_SHORTEST, _LONGEST = 18, 44  # letters of a name


class _Kind(NamedTuple):
    """A way in which one checkpoint is made from another: for people, and as its line is drawn."""

    title: str
    line: str


_KINDS = {
    "finetune": _Kind("fine-tuned", "solid"),
    "adapter": _Kind("adapter", "dashed"),
    "merge": _Kind("merged", "dots and dashes"),
    "quantized": _Kind("quantised", "dotted"),
}


def panel(checkpoints: Sequence[Checkpoint], picks: Collection[str]) -> Panel | None:
    """None where no card names a base."""
    derived = [checkpoint for checkpoint in checkpoints if checkpoint.base_models]
    if not derived:
        return None
    named = {base for checkpoint in derived for base in checkpoint.base_models}
    bases = [one for one in checkpoints if not one.base_models and named & _called(one)]
    related = [*derived, *bases]
    return Panel(
        id="lineage",
        title="Where they come from",
        upshot=f"{count(len(derived), 'checkpoint')} of {len(checkpoints):,} name what they were made "
        f"from; {count(len(named), 'base')} in all.",
        reading=_reading(derived, picks),
        figures=(_drawing(lineage(related, first=picks), related, picks),),
        tables=(_table(derived, checkpoints),),
    )


def _reading(derived: Sequence[Checkpoint], picks: Collection[str]) -> str:
    kinds = {kind for one in derived for base in one.base_models if (kind := _kind(one, base))}
    lines = [f"{kind.line}: {kind.title}" for kind in _KINDS.values() if kind in kinds]
    return (
        "From left to right, each checkpoint after what its card says it was made from. A dashed frame is a "
        "base that is not in the zoo"
        + ("; a filled one was chosen" if picks else "")
        + (f". Lines are {', '.join(lines)}" if lines else "")
        + "."
    )


def _called(checkpoint: Checkpoint) -> set[str]:
    return {checkpoint.revision.repo_id, *checkpoint.aliases}


def _kind(checkpoint: Checkpoint, base: str) -> _Kind | None:
    """How it was made from that base, as its tags say; of several bases, by merging."""
    for tag in checkpoint.tags:
        found = re.fullmatch(rf"base_model:(\w+):{re.escape(base)}", tag)
        if found and found[1] in _KINDS:
            return _KINDS[found[1]]
    return _KINDS["merge"] if len(checkpoint.base_models) > 1 else None


def _drawing(relatives: Sequence[Relative], related: Sequence[Checkpoint], picks: Collection[str]) -> Markup:
    depths = 1 + max(one.depth for one in relatives)
    room = (svg.WIDTH - (depths - 1) * _GAP) / depths - 2 * _PADDING
    longest = min(max(int(room / svg.width_of("n")), _SHORTEST), _LONGEST)
    labels = [words.shown(one.name, longest) for one in relatives]
    widths = [svg.width_of(label) + 2 * _PADDING for label in labels]
    widest = [0.0] * depths
    for one, width in zip(relatives, widths, strict=True):
        widest[one.depth] = max(widest[one.depth], width)
    lefts = [1 + sum(widest[:depth]) + depth * _GAP for depth in range(depths)]
    places = [(lefts[one.depth], _TOP + (one.row + 0.5) * _ROW) for one in relatives]
    height = max(y for _, y in places) + _ROW / 2 + _TOP
    return svg.drawing(
        f"Lineage of {count(len(related), 'checkpoint')}; a table of it is below",
        lefts[-1] + widest[-1] + 1,
        height,
        *_edges(relatives, related, places, widths),
        *(
            _node(one, label, place, width, chosen=one.name in picks)
            for one, label, place, width in zip(relatives, labels, places, widths, strict=True)
        ),
    )


def _edges(
    relatives: Sequence[Relative],
    related: Sequence[Checkpoint],
    places: Sequence[svg.Point],
    widths: Sequence[float],
) -> Iterator[Markup]:
    for one, (x, y) in zip(relatives, places, strict=True):
        for base in one.bases:
            (left, height), width = places[base], widths[base]
            kind = None if one.checkpoint is None else _kind(related[one.checkpoint], relatives[base].name)
            start, middle = left + width, x - _GAP / 2
            curve = (
                f"M{svg.number(start)} {svg.number(height)}H{svg.number(max(start, middle - _GAP / 2))}"
                f"C{svg.number(middle)} {svg.number(height)} {svg.number(middle)} {svg.number(y)} "
                f"{svg.number(x)} {svg.number(y)}"
            )
            yield svg.path(curve, f"edge {kind.title}" if kind else "edge")


def _node(one: Relative, label: str, place: svg.Point, width: float, *, chosen: bool) -> Markup:
    x, y = place
    if one.folded:
        return svg.text(x + _PADDING, y + 4, label, "n m")
    class_ = "node chosen" if chosen else "node" if one.checkpoint is not None else "node outside"
    return svg.group(
        svg.titled(words.shown(one.name, 80)),
        svg.rectangle(x, y - _TALL / 2, width, _TALL, class_, rx=_TALL / 2),
        svg.text(x + _PADDING, y + 4, label, "n onchosen" if chosen else "n"),
    )


def _table(derived: Sequence[Checkpoint], checkpoints: Sequence[Checkpoint]) -> Table:
    own = set.union(*map(_called, checkpoints))
    return Table.of(
        "What was made from what",
        (name(), name("made from"), Column("how"), Column("base in this zoo")),
        (
            (
                one.name,
                base,
                None if (kind := _kind(one, base)) is None else kind.title,
                "yes" if base in own else "no",
            )
            for one in derived
            for base in one.base_models
        ),
    )
