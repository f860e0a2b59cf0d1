"""What lies beside a card: what was learned, records as JSON, tables as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from zookeeper.cards.privacy import publishable
from zookeeper.plain import csv_cell, encode
from zookeeper.results import Ranking, Run, Selection

_ABOUT = "zookeeper"


def weights_name(run: Run) -> str:
    """Of the file that `weights_file` makes."""
    return "head.safetensors" if run.recipe.name == "head" else "learned.safetensors"


def weights_file(run: Run, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """What the trial to publish learned, as safetensors; the same bytes each time.

    Its metadata, JSON under ``"zookeeper"``, name classes, members in order and recipe.

    Args:
        run: whose `best` trial it is.
        arrays: by name; of the recipe ``"head"``, ``"head.weight"`` (c, d) and ``"head.bias"`` (c,) for
            features as they are, side by side.
    """
    run = publishable(run)
    about = {
        "classes": run.target.classes,
        "members": [str(member.revision) for member in run.members],
        "recipe": run.recipe.name,
        "run": run.id,
        "seed": run.best.key.seed,
        "task": run.target.task,
    }
    data: bytes = safetensors.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        metadata={_ABOUT: json.dumps(about)},  # several entries would come in any order
    )
    return data


def about_weights(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """What the metadata of a file say, which `weights_file` may have made.

    Raises:
        ValueError: it is no JSON.
    """
    about = json.loads((metadata or {}).get(_ABOUT, "{}"))
    return about if isinstance(about, dict) else {}


def run_file(run: Run) -> bytes:
    """The record of a run as JSON."""
    return encode(publishable(run)) + b"\n"


def record_file(found: Ranking | Selection) -> bytes:
    """A ranking or a selection as JSON, with every digit."""
    return encode(publishable(found)) + b"\n"


def table_file(found: Ranking | Selection) -> bytes:
    """A ranking or a selection as CSV, a row for each checkpoint; no cell is a formula to a spreadsheet."""
    found = publishable(found)
    rows = _of_ranking(found) if isinstance(found, Ranking) else _of_selection(found)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(cell) for name, cell in row.items()} for row in rows)
    return file.getvalue().encode("utf-8", "replace")


def _of_ranking(found: Ranking) -> list[dict[str, Any]]:
    names = dict.fromkeys([found.by, *(name for score in found.scores for name in score.estimates)])
    return [
        {
            "rank": rank,
            "tier": score.tier,
            "checkpoint": score.revision.repo_id,
            "commit": score.revision.commit,
            **{
                f"{name}{'_' * bool(part)}{part}": getattr(score.estimates.get(name), part or "value", None)
                for name in names
                for part in ("", "low", "high", "null")
            },
            "behind": score.behind and score.behind.value,
            "behind_low": score.behind and score.behind.low,
            "behind_high": score.behind and score.behind.high,
            "layer": score.layer,
            "dimension": score.dimension,
            "examples": score.examples,
            "evidence": score.evidence,
            "parameters": score.parameters,
            "notes": "; ".join(score.notes),
        }
        for rank, score in enumerate(found.scores, 1)
    ]


def _of_selection(found: Selection) -> list[dict[str, Any]]:
    return [
        {
            "pick": number,
            "checkpoint": pick.revision.repo_id if pick.revision else pick.name,
            "commit": pick.revision.commit if pick.revision else None,
            "gain": pick.gain,
            "total": pick.total,
            "stable": pick.stable,
            "cost": pick.cost,
            "stands_for": ", ".join(pick.stands_for),
        }
        for number, pick in enumerate(found.picks, 1)
    ]
