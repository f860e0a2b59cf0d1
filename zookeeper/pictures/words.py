"""What is written in pictures: foreign text as it can be drawn, counts, shares, metrics."""

from __future__ import annotations

from functools import cache
from pathlib import PurePath
from typing import Any

from matplotlib.font_manager import FontProperties, findfont, get_font

from zookeeper import results
from zookeeper.pictures.page import FONT
from zookeeper.plain import shortened, spelt_out
from zookeeper.records import Target
from zookeeper.scores import title_of

_LONGEST_NAME = 48


def shown(text: object) -> str:
    """Foreign text as a picture can hold it: all characters show, and a long one loses its middle."""
    letters = "".join(
        char if _has_glyph(char) else char.encode("unicode_escape").decode("ascii")
        for char in spelt_out(text)
    )
    return shortened(letters, _LONGEST_NAME)


def _has_glyph(char: str) -> bool:
    return bool(_font().get_char_index(ord(char)))


@cache
def _font() -> Any:
    return get_font(findfont(FontProperties(family=[FONT])))


def measured(metric: str, target: Target, split: str) -> str:
    """What was measured, on what."""
    return f"{metric_title(metric)} on {shown(target.dataset if target.local else target.name)}, {split}"


def metric_title(metric: str) -> str:
    """A metric as a heading has it; of a script its name."""
    return shown(results.metric_title(PurePath(metric).name))


def score_title(score: str) -> str:
    """A score as a heading has it."""
    return shown(title_of(score))


def trained_on(share: float) -> str:
    """A share of the training data."""
    return "all training data" if share == 1 else f"{percent(share)} of the training data"


def on(probe: str | None) -> str:
    """The probe, as the end of a title."""
    return f" on {shown(probe)}" if probe else ""


def whole_percent(share: float) -> str:
    """A share, rounded to a hundredth."""
    return f"{100 * share:.0f} %"


def percent(share: float) -> str:
    """A share, to three digits."""
    return f"{100 * share:.3g} %"
