"""The report: records as one HTML file that needs nothing else, not even a network.

What is drawn is SVG within the page; its script and stylesheet are within it too, and by its content security
policy nothing else may run, load or be sent. All foreign text is escaped, and what does not show is spelt
out. The same record makes the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from zookeeper.plain import spelt_out
from zookeeper.publications import Report
from zookeeper.report import beside, contents, family, gains, heat, order, passes, plane
from zookeeper.report.head import head
from zookeeper.report.heat import Arranged
from zookeeper.report.parts import Panel


def html(report: Report) -> str:
    """A page of all that a report has; what it lacks is left out.

    Args:
        report: of more than 100 checkpoints, the table of all alignments is left out; of more than 300, what
            the page reads out of the heat map too.
    """
    zoo = None if report.covariance is None else Arranged.of(report.covariance)
    style, script = _shipped("report.css"), _shipped("report.js")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_showing,
    )
    return environment.from_string(_shipped("report.html.j2")).render(
        head=head(report),
        command=report.command,
        created_at=report.created_at,
        panels=_panels(report, zoo),
        looked_up=zoo and zoo.looked_up(),
        style=Markup(style),  # noqa: S704  ours
        script=Markup(script),  # noqa: S704  ours
        policy=_policy(style, script),
    )


def _panels(report: Report, zoo: Arranged | None) -> list[Panel]:
    picks = report.selection.picks if report.selection else ()
    revisions = {pick.revision for pick in picks}
    chosen = {one.name for one in report.checkpoints if one.revision in revisions}
    found = [
        report.ranking and order.panel(report.ranking),
        report.selection and gains.panel(report.selection),
        report.unlabelled and gains.panel(report.unlabelled),
        zoo and heat.panel(zoo),
        zoo and plane.panel(zoo, report.checkpoints, picks),
        passes.panel(report.runs),
        report.comparison and beside.panel(report.comparison),
        family.panel(report.checkpoints, chosen),
        contents.panel(report),
    ]
    return [each for each in found if each]


def _shipped(name: str) -> str:
    return resources.files("zookeeper").joinpath(f"templates/{name}").read_text(encoding="utf-8")


def _showing(value: Any) -> Any:
    return spelt_out(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str, script: str) -> str:
    """Nothing but this stylesheet, this script, and pictures that are in the page."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()}"
