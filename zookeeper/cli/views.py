"""Records as tables and JSON, one function each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zookeeper.cli.output import Column, View, count, number, short
from zookeeper.plain import count as counted
from zookeeper.plain import plain, size
from zookeeper.records import Outcome, Reading, Target
from zookeeper.results import (
    Agreement,
    Check,
    Estimate,
    Holding,
    Ranking,
    Score,
    Verification,
    Waste,
)
from zookeeper.zoo import SCORES, title_of


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


def updated(found: Sequence[Outcome], *, applied: bool) -> View:
    """`zoo update`."""
    moved = [one for one in found if "latest" in one.details]
    done = [one for one in moved if not one.failed] if applied else []
    unknown = sum(one.failed for one in found if "latest" not in one.details)
    notes = [f"Could not ask about {unknown} of {len(found)}."] if unknown else []
    if not moved and unknown < len(found):
        notes.append("Of the others nothing moved." if unknown else "Nothing moved.")
    elif done:
        notes.append("What was measured of the commits before stays until zoo gc.")
    elif not applied:
        of_card = sum(one.details["changed"] == ["card only"] for one in moved)
        which = "" if of_card == len(moved) else f"{of_card} of them "
        apart = f", {which}with a new card only" if of_card else ""
        notes += [f"{len(moved)} of {len(found)} moved{apart}.", "  To pin them anew:  zoo update --apply"]
    return View(
        "update",
        {"checkpoints": plain(tuple(found)), "applied": applied},
        [
            Column("MODEL"),
            Column("PINNED", short, right=True),
            Column("LATEST", short, right=True),
            Column("CHANGED"),
            Column("STATUS"),
        ],
        [
            [
                one.revision.name if one.revision else one.name,
                one.revision.commit if one.revision else None,
                one.details.get("latest"),
                ", ".join(one.details.get("changed", ())) or None,
                one.status,
            ]
            for one in found
        ],
        notes=notes,
        outcomes=found,
    )


def removed(found: Sequence[Outcome]) -> View:
    """`zoo rm`."""
    view = outcomes("rm", found, columns=[(Column("FREED", size, right=True), "freed_bytes")])
    kept = sum(one.details.get("kept_bytes", 0) for one in found)
    said = f"What was measured stays ({size(kept)}) until zoo gc; with --features it goes at once."
    return replace(view, notes=[said] if kept else [])


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
                len(h.features) + len(h.evidence),
                len(h.runs),
                " ".join(
                    flag
                    for flag, on in (
                        ("local", h.checkpoint.revision.local),
                        ("gated", h.checkpoint.gated),
                        ("pickle", h.checkpoint.pickled),
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
        ("weights", "pickles, agreed to at this commit" if checkpoint.pickled else None),
        ("cannot be read", checkpoint.problem),
        ("added", checkpoint.added_at),
        ("runs", ", ".join(found.runs)),
    ]
    rows = [[name, value] for name, value in facts if value]
    rows += [
        ["features", f"{f.source}: {f.n_rows:,} x {f.dimension}, {_read(f.key.reading)}, {size(f.size)}"]
        for f in found.features
    ]
    rows += [
        ["signature", f"{s.source}: {size(s.size)}, {1 - s.residual**2:.1%} of it within the basis"]
        for s in found.signatures
    ]
    rows += [
        ["evidence", f"{e.source}: {e.n:,} x {e.dimension}, {len(e.layers)} layers, {size(e.size)}"]
        for e in found.evidence
    ]
    return View("show", plain(found), [Column("WHAT"), Column(checkpoint.name)], rows)


def waste(found: Sequence[Waste], *, deleted: bool) -> View:
    """`zoo gc`."""
    doomed = [one for one in found if one.items]
    freed, left = size(sum(one.size for one in doomed)), sum(one.left for one in found)
    if not doomed:
        notes = ["There is nothing to delete."]
    elif deleted:
        notes = [f"Freed {freed}."]
    else:
        notes = [f"Would free {freed}. Nothing deleted; to delete: the same with --yes"]
    if left:
        stays = "1 item is too young and stays" if left == 1 else f"{left:,} items are too young and stay"
        notes.append(f"{stays} for now; most kinds may go after an hour.")
    return View(
        "gc",
        {"waste": plain(tuple(doomed)), "left": left, "deleted": deleted and bool(doomed)},
        [
            Column("WHAT"),
            Column("ITEMS", right=True),
            Column("SIZE", size, right=True),
            Column("WHY"),
        ],
        [[one.what, one.items, one.size, one.why] for one in doomed],
        notes=notes,
    )


def drawn(kind: str, path: Path) -> View:
    """`zoo plot`."""
    return View("plot", {"kind": kind, "file": str(path)}, notes=[f"Written: {path}"])


def ranking(found: Ranking, *, wide: bool = False) -> View:
    """`zoo rank`."""
    by = SCORES[found.by]
    names = [name for name in SCORES if any(name in score.estimates for score in found.scores)]
    names.sort(key=lambda name: name != found.by)
    shown = [column for name in names for column in _score_columns(found, name, wide=wide)]
    noted = any(score.notes for score in found.scores) or found.failures
    columns: list[tuple[Column, Callable[[int, Score], Any]]] = [
        (Column("#", right=True, key=True), lambda n, _: n),
        *([(Column("TIER"), lambda _, s: s.tier)] if found.replicates else []),
        *([(Column("RANKS", right=True), lambda _, s: _range(s.ranks))] if wide and found.replicates else []),
        (Column("MODEL", key=True), lambda _, s: s.name),
        *shown,
        (Column("LAYER", right=True), lambda _, s: s.layer),
        (Column("PARAMS", count, right=True), lambda _, s: s.parameters),
        *([(Column("WIDTH", right=True), lambda _, s: s.dimension)] if wide else []),
        *([(Column("NOTE"), lambda _, s: "; ".join(s.notes))] if noted else []),
    ]
    rows = [[value(n, score) for _, value in columns] for n, score in enumerate(found.scores, 1)]
    titles = [column.title for column, _ in columns]
    for baseline in found.baselines:
        named = {
            "MODEL": f"({baseline.name})",
            by.title.upper(): baseline.value,
            "#": baseline.rank,
        }
        rows.append([named.get(title) for title in titles])
    for outcome in found.failures:
        rows.append([{"MODEL": outcome.name, "NOTE": "failed"}.get(title) for title in titles])
    notes = [f"{by.title}: {by.unit}; larger is better, within this target only."]
    if found.replicates:
        notes += [
            "TIER: what shares a letter cannot be told apart.",
            f"±: of the distance to the first, {found.level:.0%} of {found.replicates} resampled sets.",
        ]
    notes += found.notes
    if found.shortlist:
        notes.append(
            f"Only {found.shortlist.n} of {found.shortlist.of} checkpoints were run, by {found.shortlist.by}."
        )
    return View(
        "rank",
        plain(found),
        [column for column, _ in columns],
        rows,
        heading="; ".join([target_line(found.target, found.split), *_read_in(found.reading)]),
        notes=notes,
        outcomes=[*found.failures, *(Outcome(score.name, "done") for score in found.scores)],
    )


def _read(reading: Reading) -> str:
    return ", ".join([f"layer {reading.layer}", *reading.rough])


def _read_in(reading: Reading) -> list[str]:
    return [f"read in {precision}" for precision in reading.rough]


def _score_columns(
    found: Ranking, name: str, *, wide: bool
) -> list[tuple[Column, Callable[[int, Score], Any]]]:
    """A score, its interval where it orders or all is shown, and what it has above chance."""

    def of(read: Callable[[Estimate], float | None]) -> Callable[[int, Score], float | None]:
        return lambda _, score: read(score.estimates[name]) if name in score.estimates else None

    shown, title = number(3 if name == "ridge" else 4), SCORES[name].title.upper()
    columns: list[tuple[Column, Callable[[int, Score], Any]]] = [
        (Column(title, shown, right=True), of(lambda e: e.value))
    ]
    if found.replicates and name == found.by:
        columns.append((Column("±", shown, right=True), lambda _, s: s.behind and _half_width(s.behind)))
    if wide and found.replicates:
        columns.append((Column(f"{title} ±", shown, right=True), of(_half_width)))
    if wide:
        columns.append(
            (Column(f"{title} - NULL", shown, right=True), of(lambda e: e.value - (e.null or 0.0)))
        )
    return columns


def agreement(ranking: Ranking, found: Sequence[Agreement]) -> View:
    """`zoo rank --against`."""
    return View(
        "agreement",
        {"ranking": plain(ranking), "agreement": plain(tuple(found))},
        [
            Column("SCORE", key=True),
            Column("N", right=True),
            Column("KENDALL", right=True),
            Column("WEIGHTED", right=True),
            Column("PEARSON", right=True),
            Column("TOP", right=True),
            Column("REGRET", right=True),
        ],
        [
            [
                title_of(a.name),
                a.n,
                *(each and _with_interval(each) for each in (a.kendall, a.weighted, a.pearson)),
                "yes" if a.top else "no",
                _with_interval(a.regret),
            ]
            for a in found
        ],
        heading=target_line(ranking.target, ranking.split),
        notes=[
            f"In brackets {ranking.level:.0%} over resampled checkpoints.",
            "TOP: whether the first is the best. REGRET: what following the score costs, in results.",
        ],
        outcomes=[*ranking.failures, *(Outcome(score.name, "done") for score in ranking.scores)],
    )


def _half_width(estimate: Estimate) -> float | None:
    if estimate.low is None or estimate.high is None:
        return None
    return (estimate.high - estimate.low) / 2


def _with_interval(estimate: Estimate) -> str:
    if estimate.low is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f} {estimate.high:.2f}]"


def _range(ranks: tuple[int, int] | None) -> str | None:
    if ranks is None:
        return None
    first, last = ranks
    return str(first) if first == last else f"{first}–{last}"


def verification(found: Verification) -> View:
    """`zoo verify`."""
    damaged = len(found.damaged)
    notes = [f"{found.checked:,} checked, {damaged:,} damaged."]
    notes += [f"Read again: {name}, largest difference {by:.1g}." for name, by in found.read_again.items()]
    if damaged:
        notes.append(
            "What was measured and is damaged counts as absent, and is made again when it is needed."
        )
    return View(
        "verify",
        plain(found),
        [Column("DAMAGED"), Column("WHY")],
        list(found.damaged.items()),
        notes=notes,
    )


_STATES = {"ok": "✓", "warning": "!", "problem": "✗"}


def examination(found: Sequence[Check]) -> View:
    """`zoo doctor`."""
    states = Counter(check.state for check in found)
    fixes = [f"  {check.name}\n    {check.fix}" for check in found if check.fix and not check.mended]
    counts = ", ".join(counted(states[state], state) for state in ("problem", "warning") if states[state])
    return View(
        "doctor",
        {"checks": plain(tuple(found)), "well": not states["problem"]},
        [Column("OK", lambda state: _STATES[state]), Column("CHECK"), Column("FOUND")],
        [[check.state, check.name, _said(check)] for check in found],
        notes=[f"{counts or 'All is well'}.", *(["What to do:", *fixes] if fixes else [])],
    )


def _said(check: Check) -> str:
    return f"{check.says.rstrip('.')}: mended." if check.mended else check.says


def index(path: Path, entries: int | None) -> View:
    """`zoo db`."""
    notes = (
        []
        if entries is None
        else [f"Made again from the files: {entries:,} {'entry' if entries == 1 else 'entries'}."]
    )
    return View("db", {"path": str(path), "entries": entries}, notes=notes)


def target_line(target: Target, split: str) -> str:
    """A target in a sentence."""
    classes = f", {len(target.classes)} classes" if target.classes else ""
    examples, rows = f"{target.examples[split]:,} {target.counted_in}", f"{target.rows[split]:,}"
    within = "" if examples == f"{rows} {target.unit}s" else f"{examples}, "
    return (
        f"{target.name}: {target.task}, {target.label_column} of {target.text_column}{classes}; "
        f"{within}{rows} labelled {target.unit}s of {split}"
    )


def some(names: str) -> str:
    """The first of many names, and how many more."""
    first, *more = names.split(", ")
    return f"{first} +{len(more)}" if more else first
