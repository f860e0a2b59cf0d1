"""What is in the zoo, and what was left out on the way."""

from __future__ import annotations

from collections.abc import Iterator

from zookeeper.plain import count, spelt_out
from zookeeper.publications import Report
from zookeeper.records import Outcome
from zookeeper.report import words
from zookeeper.report.parts import Column, Panel, Table, name, names, whole

_CODE = "code"


def panel(report: Report) -> Panel | None:
    """None of an empty zoo in which nothing failed."""
    failures = tuple(_failures(report))
    if not report.checkpoints and not failures:
        return None
    sizes = [checkpoint.parameters for checkpoint in report.checkpoints if checkpoint.parameters]
    of = f", {words.size(sum(sizes))} parameters in all" if sizes else ""
    out = f" {count(len(failures), 'thing')} could not be measured." if failures else ""
    return Panel(
        id="checkpoints",
        title="Checkpoints",
        upshot=f"{count(len(report.checkpoints), 'checkpoint')}{of}.{out}",
        reading="Each is pinned to its commit; of a local folder that is the digest of its content, cut to "
        "40 digits.",
        figures=(),
        tables=tuple(_tables(report, failures)),
    )


def _tables(report: Report, failures: tuple[tuple[object, ...], ...]) -> Iterator[Table]:
    if report.checkpoints:
        yield Table.of(
            "In this zoo",
            (
                Column("checkpoint", spelt_out, "name"),
                Column("family", words.shown),
                Column("architecture", words.shown),
                whole("parameters"),
                Column("licence", words.shown),
                names("made from"),
                Column("problem", lambda text: words.shown(text, 200)),
                Column("commit", kind=_CODE),
            ),
            (
                (
                    one.name,
                    one.model_type,
                    one.architecture,
                    one.parameters,
                    one.license,
                    one.base_models or None,
                    one.problem or ("access must be asked for" if one.gated else None),
                    one.revision.commit,
                )
                for one in report.checkpoints
            ),
            folded=False,
        )
    if failures:
        yield Table.of(
            "Left out",
            (
                name(),
                Column("step"),
                Column("what happened", lambda text: words.shown(text, 300)),
                Column("why", lambda text: words.shown(text, 300)),
                Column("what helps", lambda text: words.shown(text, 300)),
            ),
            failures,
            folded=False,
        )


def _failures(report: Report) -> Iterator[tuple[object, ...]]:
    steps: list[tuple[str, tuple[Outcome, ...]]] = []
    if report.covariance:
        steps.append(("covariance", report.covariance.left_out))
    if report.selection:
        steps.append(("selection", report.selection.left_out))
    if report.ranking:
        steps.append(("ranking", report.ranking.failures))
    if report.comparison:
        steps.append(("comparison", report.comparison.failures))
    for step, outcomes in steps:
        for outcome in outcomes:
            yield outcome.name, step, outcome.error or outcome.status, outcome.why, outcome.fix
