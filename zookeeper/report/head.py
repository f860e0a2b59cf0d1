"""The head of a report: what came out, and what it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zookeeper.arrangement import correlation
from zookeeper.plain import count
from zookeeper.publications import Report
from zookeeper.records import Target
from zookeeper.report import words
from zookeeper.results import Run

Fact = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above the panels.

    Attributes:
        title: of the page.
        upshot: in a sentence.
        figures: a few numbers with what they are.
        facts: where all of it comes from; name and value.
    """

    title: str
    upshot: str
    figures: tuple[Fact, ...]
    facts: tuple[Fact, ...]


def head(report: Report) -> Head:
    """The head of a report."""
    target = _target(report)
    what = count(len(report.checkpoints), "checkpoint")
    return Head(
        title=f"{what} for {words.target(target)}" if target else what,
        upshot=_sentence(list(_clauses(report))),
        figures=tuple(_figures(report)),
        facts=tuple(_facts(report, target)),
    )


def _target(report: Report) -> Target | None:
    found = (report.ranking, *report.runs, report.comparison, report.selection)
    return next((each.target for each in found if each is not None and each.target is not None), None)


def _sentence(clauses: list[str]) -> str:
    if not clauses:
        return "Nothing was measured yet."
    return f"{words.capital('; '.join(clauses))}."


def _clauses(report: Report) -> Iterator[str]:
    if report.ranking and report.ranking.scores:
        first = report.ranking.scores[0]
        yield (
            f"of {len(report.ranking.scores):,} ranked for {words.target(report.ranking.target)}, "
            f"{words.shown(first.name)} is first by {words.score(report.ranking.by)}"
        )
    if report.selection and report.selection.picks:
        names = words.listed([words.shown(pick.name) for pick in report.selection.picks[:5]])
        more = len(report.selection.picks) - 5
        yield f"chosen by {report.selection.by}: {names}" + (f", and {more} more" if more > 0 else "")
    if report.runs and (split := _split(report.runs[0])):
        run = report.runs[0]
        yield (
            f"run {run.id} of {count(len(run.members), 'member')} reaches "
            f"{words.metric(run.metric)} {words.spread(run.results[split])} on {split}"
        )
    found = report.comparison
    if found and found.random and found.contenders:
        asked = found.contenders[0]
        yield (
            f"the ensemble {words.shown(asked.name)} is above {words.placed(found, asked)} random ensembles, "
            f"{words.chance(found, asked)}"
        )


def _split(run: Run) -> str | None:
    """On which its result counts; None where it was measured on neither."""
    return next((split for split in ("test", "validation") if split in run.results), None)


def _figures(report: Report) -> Iterator[Fact]:
    yield f"{len(report.checkpoints):,}", "checkpoint" if len(report.checkpoints) == 1 else "checkpoints"
    if report.covariance and len(report.covariance) > 1:
        kappa = correlation(report.covariance.matrix)
        median = float(np.median(kappa[np.triu_indices(len(kappa), 1)]))
        yield words.number(median, 2), "median κ of a pair"
    if report.selection and report.selection.picks:
        total = words.number(report.selection.picks[-1].total, 2)
        yield (
            total,
            f"{report.selection.unit} that {count(len(report.selection.picks), 'pick')} say",
        )
    if report.ranking and report.ranking.scores:
        first = report.ranking.scores[0]
        yield (
            words.number(first.estimates[report.ranking.by].value, 3),
            f"{words.score(report.ranking.by)} of the first",
        )
    if report.runs and (split := _split(report.runs[0])):
        run = report.runs[0]
        yield words.number(run.results[split].mean, 3), f"{words.metric(run.metric)}, {split}"
    found = report.comparison
    if found and found.random and found.contenders:
        asked = found.contenders[0]
        yield words.placed(found, asked), f"random ensembles it is above, {words.chance(found, asked)}"


def _facts(report: Report, target: Target | None) -> Iterator[Fact]:
    yield "made", report.created_at
    if report.covariance and report.covariance.probed:
        probed = report.covariance.probed
        yield "probe", f"{words.probe(str(probed))} in {count(len(probed.lengths), 'sentence')}"
        yield "probe's digest", probed.corpus
        yield (
            "read",
            f"layer {probed.reading.layer}, {probed.reading.pooling} sub-word, {probed.reading.dtype}",
        )
    elif report.selection and report.selection.probe:
        yield "probe", words.probe(report.selection.probe)
    if target:
        config = f", {words.shown(target.config)}" if target.config else ""
        yield "target", f"{words.shown(target.dataset)}{config}: {target.task}"
        yield "target's digest" if target.local else "target's commit", target.commit
        yield "its fingerprint", target.fingerprint
    for run in report.runs[:1]:
        yield "run", f"{run.id}, {run.created_at}, on {words.shown(run.best.device)}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())
