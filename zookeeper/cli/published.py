"""What was written, pushed, pulled and made again, as tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zookeeper.cli.output import Column, View, number
from zookeeper.cli.views import outcomes
from zookeeper.plain import plain, size
from zookeeper.publications import Finding, Push, Report, Reproduction
from zookeeper.records import Outcome


def card(what: str, text: str, written: Sequence[Path] = ()) -> View:
    """`zoo card`."""
    data = {"what": what, "markdown": text, "files": [str(path) for path in written]}
    return View("card", data, notes=[f"Written: {path}" for path in written])


def findings(found: Sequence[Finding], path: Path | None) -> View:
    """`zoo card --check`."""
    where = str(path) if path else "the card"
    return View(
        "card-check",
        {"file": str(path) if path else None, "findings": [plain(one) for one in found]},
        [Column("LINE", right=True), Column("WHAT IS WRONG")],
        [[one.line or None, one.message] for one in found],
        notes=[] if found else [f"Nothing is wrong with {where}: its numbers are those that are stored."],
    )


def change(found: Push) -> View:
    """`zoo card --diff`."""
    unchanged = f"Nothing would change on the card of {found.repo_id}."
    return View("card-diff", {"repo_id": found.repo_id, "diff": found.diff}, notes=[found.diff or unchanged])


def push(found: Push) -> View:
    """`zoo push`."""
    return View(
        "push",
        plain(found),
        [Column("FILE"), Column("SIZE", size, right=True)],
        list(found.files.items()),
        heading=_going_on(found) if found.files else None,
        notes=[
            *([found.diff] if found.dry_run and found.diff and not found.created else []),
            *found.notes,
            *([f"Written: {found.url}"] if found.files and not found.dry_run else []),
            *(["That is what would be done; nothing was."] if found.files and found.dry_run else []),
        ],
    )


def _going_on(found: Push) -> str:
    """What a push does, in a line."""
    state = "private" if found.private else "public"
    where = f"{found.repo_id} ({'new, ' if found.created else ''}{state} {found.kind} repository)"
    if found.pull is not None:
        return f"{'Would go' if found.dry_run else 'Went'} on with pull request {found.pull} of {where}:"
    if found.proposed:
        return f"{'Would open' if found.dry_run else 'Opened'} a pull request on {where}:"
    return f"{'Would write' if found.dry_run else 'Wrote'} to {where}:"


def pulled(found: Sequence[Outcome]) -> View:
    """`zoo pull`."""
    return outcomes("pull", found, columns=[(Column("SIZE", size, right=True), "bytes")])


def reproduction(found: Reproduction) -> View:
    """`zoo reproduce`."""
    run = found.run
    verdict = "It holds" if found.holds else "It does not hold"
    exactly = ", to the last digit" if found.exact else ""
    may = " and ".join(f"{most:.4g} on {split}" for split, most in found.tolerances.items())
    notes = [f"{verdict}{exactly} (a mean may differ by {may})."]
    if found.differences and not found.exact:
        notes.append(f"Not the same: {'; '.join(found.differences)}.")
    elif not found.exact:
        notes.append("Versions and hardware are the same, so that the numbers should be: look into it.")
    data = plain(found) | {"holds": found.holds, "exact": found.exact}
    return View(
        "reproduce",
        data,
        [
            Column("SPLIT"),
            Column("SEED", right=True),
            Column("STATED", number(4), right=True),
            Column("FOUND", number(4), right=True),
            Column("DIFFERENCE", "{:+.4f}".format, right=True),
        ],
        [
            [
                one.split,
                "mean" if one.seed is None else one.seed,
                one.stated,
                one.found,
                None if one.stated is None or one.found is None else one.found - one.stated,
            ]
            for one in found.repetitions
        ],
        heading=f"run {run.id}, recipe {run.recipe.name}, {run.metric} on {run.target.name}, made again",
        notes=notes,
    )


def report(found: Report, path: Path) -> View:
    """`zoo report`."""
    n = len(found.checkpoints)
    parts = {
        "covariance": found.covariance is not None,
        "selection": found.selection is not None,
        "ranking": found.ranking is not None,
        "runs": bool(found.runs),
        "comparison": found.comparison is not None,
    }
    missing = [name for name, there in parts.items() if not there]
    notes = [f"Written: {path} ({size(path.stat().st_size)}, {n} checkpoints)"]
    if missing:
        notes.append(f"Left out, as there is none: {', '.join(missing)}.")
    return View("report", {"file": str(path), "holds": parts}, notes=notes)
