"""Cards of what was measured before any tuning: rankings, selections, and what they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from zookeeper.cards.privacy import publishable
from zookeeper.cards.text import link, listed, pipeline_of, rendered
from zookeeper.publications import CardText
from zookeeper.records import ProbeChoice, Revision, Target
from zookeeper.results import Estimate, Pick, Ranking, Score, Selection
from zookeeper.scores import SCORES, title_of

_PROBE = "ridge"
"""The score that says what a linear probe gets right."""
_FOLDED = 10
"""So many checkpoints beside the picks are shown without a click."""


def ranking_card(ranking: Ranking, title: str) -> CardText:
    """What the card of a ranking says; its table lies beside it as ``ranking.csv``."""
    ranking = publishable(ranking)
    body = rendered(
        "ranking.md.j2",
        title=title,
        ranking=ranking,
        score_title=title_of(ranking.by),
        counts=SCORES[ranking.by].unit if ranking.by in SCORES else None,
        target=ranking.target,
        reading=ranking.reading.settled(ranking.target.unit),
        tiered=bool(ranking.replicates),
        probed=ranking.by != _PROBE and any(_PROBE in score.estimates for score in ranking.scores),
        probe=_PROBE,
        noted=any(score.notes for score in ranking.scores),
        half_width=_half_width,
        checkpoint=_checkpoint,
    )
    return CardText(_metadata(title, "checkpoint-ranking", "ranking", ranking.target), body)


def selection_card(selection: Selection, title: str) -> CardText:
    """What the card of a selection says; its table lies beside it as ``selection.csv``."""
    selection = publishable(selection)
    body = rendered(
        "selection.md.j2",
        title=title,
        selection=selection,
        target=selection.target,
        places=4 if "evidence" in selection.by else 2,
        turn=next((n for n, pick in enumerate(selection.picks, 1) if pick.gain <= 0), None),
        drawn=_reaches(selection.band, selection),
        random=_reaches(selection.random, selection),
        checkpoint=_checkpoint,
        listed=listed,
        others=_others(selection),
        link=link,
        folded=_FOLDED,
    )
    return CardText(_metadata(title, "checkpoint-selection", "selection", selection.target), body)


def measurements_card(
    *,
    repo_id: str,
    kind: Literal["signatures", "features"],
    choice: ProbeChoice,
    revisions: Sequence[Revision],
    size: int,
) -> CardText:
    """What the card of shared measurements says.

    Args:
        repo_id: of the dataset repository that they are in.
        kind: of measurement.
        choice: the probe that the checkpoints read.
        revisions: of the checkpoints.
        size: of all files, in bytes.
    """
    title = repo_id.split("/")[-1]
    name = choice.name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    body = rendered(
        "measurements.md.j2",
        title=title,
        repo_id=repo_id,
        kind=kind,
        choice=choice,
        reading=choice.reading.settled("word"),
        probe=name,
        revisions=sorted(revisions, key=str),
        size=size,
        link=link,
    )
    tags = ["zookeeper", f"checkpoint-{kind}"]
    metadata = {"pretty_name": title, "library_name": "zookeeper", "tags": tags, "viewer": False}
    return CardText(metadata, body)


def _metadata(title: str, tag: str, table: str, target: Target | None) -> dict[str, Any]:
    task = pipeline_of(target) if target else None
    return {
        "pretty_name": title,
        "library_name": "zookeeper",
        "tags": ["zookeeper", tag],
        **({"task_categories": [task]} if task else {}),
        "configs": [{"config_name": "default", "data_files": f"{table}.csv"}],
    }


def _checkpoint(one: Score | Pick) -> str:
    return link(one.revision, one.name) if one.revision else listed([one.name])


def _others(selection: Selection) -> list[Revision]:
    """What could have been picked too."""
    picked = [pick.revision for pick in selection.picks]
    return [revision for revision in selection.candidates if revision not in picked]


def _half_width(estimate: Estimate | None) -> float | None:
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    return (estimate.high - estimate.low) / 2


def _reaches(values: Sequence[Any], selection: Selection) -> bool:
    """Whether there is one for each pick."""
    return len(values) == len(selection.picks) > 0
