"""Records as tables and JSON, one function each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zookeeper.cli.output import Column, View, count, number, short, size
from zookeeper.plain import plain
from zookeeper.records import (
    Covariance,
    Holding,
    Outcome,
    Push,
    Ranking,
    Run,
    Selection,
    Target,
    Verification,
)

_NEAR_DUPLICATE = 0.95
_ISOLATED = 0.05
_TITLES = {"logme": "LOGME", "hscore": "H-SCORE"}


def outcomes(command: str, found: Sequence[Outcome], *, columns: Sequence[tuple[Column, str]] = ()) -> View:
    """What became of each checkpoint; `columns` are drawn from the outcomes' details."""
    return View(
        command,
        {"checkpoints": plain(tuple(found))},
        [Column("MODEL"), Column("COMMIT", short, right=True), *(c for c, _ in columns), Column("STATUS")],
        [
            [
                o.revision.name if o.revision else o.name,
                o.revision.commit if o.revision else None,
                *(o.details.get(name) for _, name in columns),
                o.status,
            ]
            for o in found
        ],
        outcomes=found,
    )


def added(found: Sequence[Outcome]) -> View:
    """`zoo add`."""
    return outcomes("add", found)


def probed(found: Sequence[Outcome]) -> View:
    """`zoo probe`."""
    return outcomes(
        "probe",
        found,
        columns=[
            (Column("ROWS", "{:,}".format, right=True), "rows"),
            (Column("WIDTH", right=True), "dimension"),
            (Column("SIZE", size, right=True), "bytes"),
        ],
    )


def removed(found: Sequence[Outcome]) -> View:
    """`zoo rm`."""
    return outcomes("rm", found, columns=[(Column("FREED", size, right=True), "freed_bytes")])


def holdings(found: Sequence[Holding], home: str) -> View:
    """`zoo ls`."""
    if not found:
        return View(
            "ls",
            {"checkpoints": []},
            notes=[f"The zoo is empty ({home}).", "  Add one:      zoo add roberta-base"],
        )
    return View(
        "ls",
        {"checkpoints": [plain(holding) for holding in found]},
        [
            Column("MODEL"),
            Column("COMMIT", short, right=True),
            Column("PARAMS", count, right=True),
            Column("SIZE", size, right=True),
            Column("READ", right=True),
            Column("RUNS", right=True),
            Column("FLAGS"),
        ],
        [
            [
                h.checkpoint.name,
                h.checkpoint.revision.commit,
                h.checkpoint.parameters,
                h.checkpoint.download_bytes,
                len(h.features),
                len(h.runs),
                " ".join(
                    flag
                    for flag, on in (
                        ("local", h.checkpoint.revision.local),
                        ("gated", h.checkpoint.gated),
                        ("unreadable", h.checkpoint.problem),
                    )
                    if on
                ),
            ]
            for h in found
        ],
    )


def holding(found: Holding) -> View:
    """`zoo show`."""
    checkpoint = found.checkpoint
    facts: list[tuple[str, Any]] = [
        ("id", checkpoint.revision.repo_id),
        ("commit", checkpoint.revision.commit),
        ("asked for", checkpoint.revision.asked),
        ("also called", ", ".join(checkpoint.aliases)),
        ("architecture", checkpoint.architecture or checkpoint.model_type),
        ("parameters", f"{checkpoint.parameters:,}" if checkpoint.parameters else None),
        ("download", size(checkpoint.download_bytes)),
        ("whole repository", size(checkpoint.repo_bytes)),
        ("tokenizer", checkpoint.tokenizer),
        ("licence", checkpoint.license),
        ("made from", ", ".join(checkpoint.base_models)),
        ("gated", "yes" if checkpoint.gated else None),
        ("cannot be read", checkpoint.problem),
        ("added", checkpoint.added_at),
        ("runs", ", ".join(found.runs)),
    ]
    rows = [[name, value] for name, value in facts if value]
    rows += [
        ["features", f"{f.source}: {f.n_rows:,} x {f.dimension}, layer {f.key.reading.layer}, {size(f.size)}"]
        for f in found.features
    ]
    return View("show", plain(found), [Column("WHAT"), Column(checkpoint.name)], rows)


def covariance(found: Covariance) -> View:
    """`zoo covariance`."""
    matrix, names = found.matrix, found.names
    m = len(names)
    others = matrix - 2 * np.eye(m)
    nearest = others.argmax(axis=1)
    rows: list[list[Any]] = []
    for i, name in enumerate(names):
        if m == 1:
            rows.append([name, None, None, None, ""])
            continue
        j = int(nearest[i])
        kappa = matrix[i, j]
        note = "near-duplicate" if kappa >= _NEAR_DUPLICATE else "isolated" if kappa < _ISOLATED else ""
        rows.append([name, names[j], float(matrix[i, j]), float(others[i].sum() + 1) / (m - 1), note])
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    notes = [] if m > 1 else ["One checkpoint has nothing to be compared with; add more."]
    return View(
        "covariance",
        {
            "probe": found.probe,
            "names": list(names),
            "revisions": [plain(revision) for revision in found.revisions],
            "matrix": matrix.tolist(),
            "smallest_eigenvalue": smallest,
            "left_out": plain(found.left_out),
        },
        [
            Column("MODEL"),
            Column("NEAREST"),
            Column("κ", number(3), right=True),
            Column("MEAN κ", number(3), right=True),
            Column("NOTE"),
        ],
        rows,
        heading=f"κ of {m} checkpoints on {found.probe or 'a file'}; smallest eigenvalue {smallest:.3g}",
        notes=notes,
        outcomes=[*found.left_out, *(Outcome(name, "done") for name in names)],
    )


def selection(found: Selection) -> View:
    """`zoo select`."""
    notes = ["GAIN, TOTAL: nats of mutual information between the chosen and the rest."]
    if ending := next((n for n, p in enumerate(found.picks, 1) if p.gain <= 0), None):
        notes.append(f"From pick {ending} on, a pick says less about the rest than it takes from it.")
    notes += [f"Exact copies, counted once: {', '.join(group)}." for group in found.copies]
    return View(
        "select",
        plain(found),
        [
            Column("#", right=True),
            Column("MODEL"),
            Column("GAIN", number(2), right=True),
            Column("TOTAL", number(2), right=True),
            Column("STANDS FOR", _some),
        ],
        [[n, p.name, p.gain, p.total, ", ".join(p.stands_for)] for n, p in enumerate(found.picks, 1)],
        heading=f"{len(found.picks)} of {found.n_checkpoints} checkpoints on {found.probe or 'this matrix'}",
        notes=notes,
        outcomes=[*found.left_out, *(Outcome(pick.name, "done") for pick in found.picks)],
    )


def ranking(found: Ranking) -> View:
    """`zoo rank`."""
    names = [found.by, *sorted({name for s in found.scores for name in s.values} - {found.by})]
    rows: list[list[Any]] = [
        [n, s.name, *(s.values.get(name) for name in names), s.dimension, "; ".join(s.notes)]
        for n, s in enumerate(found.scores, 1)
    ]
    rows += [[None, o.name, *(None for _ in names), None, "failed"] for o in found.failures]
    return View(
        "rank",
        plain(found),
        [
            Column("#", right=True),
            Column("MODEL"),
            *(Column(_TITLES.get(name, name.upper()), number(4), right=True) for name in names),
            Column("WIDTH", right=True),
            Column("NOTE"),
        ],
        rows,
        heading=_target_line(found.target, found.split),
        notes=["Larger is better; scores compare within this target only."],
        outcomes=[*found.failures, *(Outcome(score.name, "done") for score in found.scores)],
    )


def run(found: Run) -> View:
    """`zoo tune`."""
    best = found.history[found.best_epoch]
    rows: list[list[Any]] = [
        [split, found.metric, value, found.target.examples.get(split, found.held_out)]
        for split, value in found.results.items()
    ]
    held_out = f"; {found.held_out:,} training sentences held out for validation" if found.held_out else ""
    return View(
        "tune",
        plain(found),
        [
            Column("SPLIT"),
            Column("METRIC"),
            Column("VALUE", number(4), right=True),
            Column("SENTENCES", "{:,}".format, right=True),
        ],
        rows,
        heading=f"run {found.id}: {', '.join(member.name for member in found.members)}\n"
        f"{_target_line(found.target, 'train')}{held_out}",
        notes=[
            f"Weights of pass {best.number} of {len(found.history) - 1}, {found.seconds:.1f} s.",
            f"Card: zoo card {found.id}    Publish: zoo push {found.id} OWNER/NAME",
        ],
    )


def runs(found: Sequence[Run]) -> View:
    """`zoo runs`."""
    return View(
        "runs",
        {"runs": [plain(r) for r in found]},
        [
            Column("RUN", right=True),
            Column("TARGET"),
            Column("MEMBERS", _some),
            Column("METRIC"),
            Column("VALIDATION", number(4), right=True),
            Column("TEST", number(4), right=True),
        ],
        [
            [
                r.id,
                r.target.name,
                ", ".join(member.name for member in r.members),
                r.metric,
                r.results.get("validation"),
                r.results.get("test"),
            ]
            for r in found
        ],
        notes=[] if found else ["No runs yet.  zoo tune --target conll2000 @selection"],
    )


def push(found: Push) -> View:
    """`zoo push`."""
    where = f"{found.repo_id}{' (new)' if found.created else ''}"
    notes = [found.diff] if found.dry_run and found.diff and not found.created else []
    notes.append("Nothing done." if found.dry_run else f"Written: {found.url}")
    return View(
        "push",
        plain(found),
        [Column("FILE"), Column("SIZE", size, right=True)],
        list(found.files.items()),
        heading=f"{'Would write' if found.dry_run else 'Wrote'} to {where}:",
        notes=notes,
    )


def verification(found: Verification) -> View:
    """`zoo verify`."""
    damaged = len(found.damaged)
    notes = [f"{found.checked} checked, {damaged} damaged."]
    if damaged:
        notes.append("They count as absent: the command that made them makes them again when it needs them.")
    return View(
        "verify",
        plain(found),
        [Column("DAMAGED"), Column("WHY")],
        list(found.damaged.items()),
        notes=notes,
    )


def _target_line(target: Target, split: str) -> str:
    classes = f", {len(target.classes)} classes" if target.classes else ""
    unit = "words" if target.task.startswith("token") else "sentences"
    return (
        f"{target.name}: {target.task}, {target.label_column} of {target.text_column}{classes}; "
        f"{target.examples[split]:,} sentences, {target.rows[split]:,} labelled {unit} of {split}"
    )


def _some(names: str) -> str:
    """The first of many names, and how many more."""
    first, *more = names.split(", ")
    return f"{first} +{len(more)}" if more else first
