"""Records as Markdown: templates, and foreign text that stays text in it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

import jinja2

from zookeeper.plain import size, spelt_out
from zookeeper.records import Revision, Target
from zookeeper.results import Estimate, Spread

LOCAL_DATA = "unknown"
"""The dataset of a result where it is files of a user; a name would be taken for the dataset of that name."""

_MARKUP = re.compile(r"[\\`*_{}\[\]<>|#&~$]")
_OPENS_A_BLOCK = re.compile(r"^(?:(?=[-+=])|(\d+)(?=[.)](?:\s|$)))")
_PIPELINES = {
    "question-answering": "token-classification",
    "token-classification": "token-classification",
    "text-classification": "text-classification",
    "text-multilabel": "text-classification",
    "pair-classification": "text-classification",
}


def rendered(template: str, **known: Any) -> str:
    """A template of `zookeeper/templates` with these values."""
    return _environment().get_template(template).render(**known).strip()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(  # noqa: S701 the result is Markdown, not HTML; cells are escaped
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_source),
    )
    environment.filters |= {
        "cell": cell,
        "code": code,
        "fence": fence,
        "literal": literal,
        "value": value,
        "interval": interval,
        "share": share,
        "size": size,
        "count": "{:,}".format,
        "link": link,
    }
    return environment


def _source(template: str) -> str:
    return resources.files("zookeeper").joinpath("templates", template).read_text(encoding="utf-8")


def pipeline_of(target: Target) -> str | None:
    """What the Hub calls a task; None where it has no name for it."""
    return _PIPELINES.get(target.task)


def cell(foreign: object) -> str:
    """Text that stays in its cell, or on its line, as text."""
    text = _MARKUP.sub(r"\\\g<0>", spelt_out(" ".join(str(foreign).split())))
    return _OPENS_A_BLOCK.sub(r"\1\\", text) or "–"


def code(foreign: object) -> str:
    """Text that stays between its backticks, in a table too."""
    return spelt_out(" ".join(str(foreign).split())).replace("`", "'").replace("|", "\\|") or "–"


def fence(command: str, language: str) -> str:
    """A line of code as a block, whatever backticks it holds."""
    longest = max((len(run) for run in re.findall(r"`+", command)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{spelt_out(command)}\n{ticks}"


def literal(text: str) -> str:
    """Text as a string of Python."""
    return json.dumps(text)


def link(revision: Revision, name: str | None = None) -> str:
    """A checkpoint, linked at its commit where it is on the Hub."""
    shown = cell(name or revision.name)
    if revision.local:
        return shown
    return f"[{shown}](https://huggingface.co/{quote(revision.repo_id)}/tree/{quote(revision.commit)})"


def value(number: float | None, decimals: int = 4) -> str:
    """A metric or a score; "–" for None."""
    return "–" if number is None else f"{number:.{decimals}f}"


def interval(estimate: Estimate | None, decimals: int = 4) -> str:
    """Both ends of an interval; "–" where there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return "–"
    return f"{estimate.low:.{decimals}f} to {estimate.high:.{decimals}f}"


def share(part: float) -> str:
    """Per cent."""
    return f"{100 * part:.3g} %"


def spread(found: Spread) -> str:
    """Mean and deviation, in words."""
    return value(found.mean) + ("" if found.deviation is None else f" ± {value(found.deviation)}")


def dataset_name(target: Target) -> str:
    """The last part of a dataset's id."""
    return target.dataset.split("/")[-1]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, as text."""
    return ", ".join(cell(name) for name in names)
