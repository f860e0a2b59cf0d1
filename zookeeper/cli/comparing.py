"""What `zoo covariance`, `zoo neighbours` and `zoo select` say, as tables and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from zookeeper.cli.blocks import LEGEND, kappa_map, spark
from zookeeper.cli.output import Column, View, count, number, short, size
from zookeeper.cli.views import some, target_line
from zookeeper.plain import plain
from zookeeper.records import Outcome
from zookeeper.results import NEAR_DUPLICATES, Convergence, Covariance, Neighbourhood, Pick, Selection
from zookeeper.zoo import correlation, leaf_order, near_duplicates

_ISOLATED = 0.05
_WORTH_SAYING = 5e-4  # nats
_ROUGH = 0.04  # standard error of an estimate


def covariance(found: Covariance, *, show: bool = False) -> View:
    """`zoo covariance`; `show` adds a picture of characters."""
    matrix, names = found.matrix, found.names
    m = len(names)
    others = matrix - 2 * np.eye(m)
    nearest = others.argmax(axis=1)
    error = found.standard_error if found.estimated is None else found.estimated
    rows: list[list[Any]] = []
    for i, name in enumerate(names):
        if m == 1:
            rows.append([name, None, None, None, None, ""])
            continue
        j = int(nearest[i])
        kappa = float(matrix[i, j])
        mean = float(others[i].sum() + 1) / (m - 1)
        rows.append(
            [name, names[j], kappa, None if error is None else float(error[i, j]), mean, _nearness(kappa)]
        )
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    notes = [] if m > 1 else ["One checkpoint has nothing to be compared with; add more."]
    if show:
        near = correlation(matrix)
        notes += [*kappa_map(names, near, leaf_order(near)), LEGEND]
    if found.estimated is not None:
        notes.append("κ is estimated from signatures; ±: one standard error at most.")
        if found.estimated.max() > _ROUGH:
            notes.append("Some signatures say little; --refit fits their basis to the features there are.")
    elif error is not None:
        notes.append("±: one standard error over sentences.")
    if found.debiased:
        notes.append("Pairs of words of the same sentence are left out.")
    if found.shrinkage:
        notes.append(f"Shrunk: {found.shrinkage:.3g} of the identity is mixed in.")
    return View(
        "covariance",
        {
            "probe": found.probe,
            "names": list(names),
            "revisions": [plain(revision) for revision in found.revisions],
            "matrix": matrix.tolist(),
            "standard_error": None if found.standard_error is None else found.standard_error.tolist(),
            "estimated": None if found.estimated is None else found.estimated.tolist(),
            "debiased": found.debiased,
            "shrinkage": found.shrinkage,
            "smallest_eigenvalue": smallest,
            "near_duplicates": [list(pair) for pair in near_duplicates(found)],
            "left_out": plain(found.left_out),
        },
        [
            Column("MODEL"),
            Column("NEAREST"),
            Column("κ", number(3), right=True),
            Column("±", number(3), right=True),
            Column("MEAN κ", number(3), right=True),
            Column("NOTE"),
        ],
        rows,
        heading=f"κ of {m} checkpoints on {found.probe or 'a file'}; smallest eigenvalue {smallest:.3g}",
        notes=notes,
        outcomes=[*found.left_out, *(Outcome(name, "done") for name in names)],
    )


def convergence(found: Convergence) -> View:
    """`zoo covariance --convergence`."""
    kl, cosine = found.isotropic
    return View(
        "convergence",
        plain(found),
        [
            Column("WORDS", "{:,}".format, right=True),
            Column("KL", number(4), right=True),
            Column("COSINE", number(5), right=True),
        ],
        [list(row) for row in zip(found.words, found.divergence, found.cosine, strict=True)],
        heading=f"κ of {found.n_checkpoints} checkpoints on the first words of {found.probe}",
        notes=[
            f"KL: nats from κ of all words. If all tasks were unrelated: KL {kl:.2f}, cosine {cosine:.3f}."
        ],
    )


def neighbourhood(found: Neighbourhood) -> View:
    """`zoo neighbours`."""
    return View(
        "neighbours",
        plain(found),
        [
            Column("MODEL"),
            Column("COMMIT", short, right=True),
            Column("κ", number(3), right=True),
            Column("±", number(3), right=True),
            Column("NOTE"),
        ],
        [[n.name, n.revision.commit, n.alignment, n.error, _nearness(n.alignment)] for n in found.neighbours],
        heading=f"Nearest to {found.name} of {found.compared} checkpoints on {found.probe}",
        notes=["κ is estimated from signatures; ±: one standard error at most."],
        outcomes=[*found.left_out, Outcome(found.name, "done")],
    )


def _nearness(kappa: float) -> str:
    return "near-duplicate" if kappa >= NEAR_DUPLICATES else "isolated" if kappa < _ISOLATED else ""


def selection(found: Selection, *, show: bool = False) -> View:
    """`zoo select`; `show` adds a picture of characters."""
    per_example = "evidence" in found.by
    places = 4 if per_example else 2
    columns: list[tuple[Column, Callable[[int, Pick], Any]]] = [
        (Column("#", right=True, key=True), lambda n, _: n),
        (Column("MODEL", key=True), lambda _, p: p.name),
        (Column("GAIN", number(places), right=True), lambda _, p: p.gain),
        (Column("TOTAL", number(places), right=True), lambda _, p: p.total),
        *(
            [(Column("STABLE", "{:.0%}".format, right=True), lambda _, p: p.stable)]
            if found.replicates
            else []
        ),
        *([(Column("COST", _cost(found), right=True), lambda _, p: p.cost)] if found.budget else []),
        (Column("STANDS FOR", some), lambda _, p: ", ".join(p.stands_for)),
    ]
    return View(
        "select",
        plain(found),
        [column for column, _ in columns],
        [[value(n, pick) for _, value in columns] for n, pick in enumerate(found.picks, 1)],
        heading=_selected_from(found),
        notes=[
            *([f"gain per pick  {spark([p.gain for p in found.picks])}"] if show else []),
            *_remarks(found),
        ],
        outcomes=[*found.left_out, *(Outcome(pick.name, "done") for pick in found.picks)],
    )


def _selected_from(found: Selection) -> str:
    n = f"{len(found.picks)} of {found.n_checkpoints} checkpoints"
    if found.target is not None:
        return f"{n}, for {target_line(found.target, found.split or 'train')}"
    return f"{n} on {found.probe or 'this matrix'}"


def _cost(found: Selection) -> Callable[[int], str]:
    return size if found.budget and found.budget[1] == "bytes" else count


def _remarks(found: Selection) -> list[str]:
    """What a reader should know of a selection."""
    return [*_of_the_picks(found), *_of_other_sets(found), *_of_the_zoo(found)]


def _of_the_picks(found: Selection) -> list[str]:
    unit = {
        "mutual information": "nats of mutual information between the chosen and the rest",
        "evidence": "nats per example of evidence for the features side by side",
        "evidence and mutual information": "half evidence, half mutual information, as shares of the best",
    }[found.by]
    notes = [f"GAIN, TOTAL: {unit}."]
    if found.replicates:
        notes.append(f"STABLE: share of {found.replicates} resampled probes that pick it too.")
    if ending := next((n for n, p in enumerate(found.picks, 1) if p.gain <= 0), None):
        notes.append(f"From pick {ending} on, a pick says less about the rest than it takes from it.")
    if found.others:
        others = ", ".join(f"{name} ({share:.0%})" for name, share in found.others)
        notes.append(f"Often picked in their place: {others}.")
    if found.regret and found.regret.value >= _WORTH_SAYING:
        low, high = found.regret.low or 0.0, found.regret.high or 0.0
        notes.append(
            f"With picks of their own, resampled probes get {found.regret.value:.3f} nats more"
            f" [{low:.3f} {high:.3f}]."
        )
    ties = ((n, pick.ties) for n, pick in enumerate(found.picks, 1) if pick.ties)
    return notes + [f"Pick {n} is a tie with {', '.join(tied)}." for n, tied in ties]


def _of_other_sets(found: Selection) -> list[str]:
    """What other ways of choosing come to; of sets that are named, whom they share with the selection."""
    places = 2 if found.by == "mutual information" else 4
    picks = [pick.name for pick in found.picks]
    notes = []
    if found.optimum:
        names, best = found.optimum
        missing = [name for name in names if name not in picks]
        how = (
            "has most" if best.proven else f"has most of those tried in time; none has above {best.bound:.4f}"
        )
        with_ = f"the set with {', '.join(missing)} instead" if missing else "this set"
        notes.append(
            f"Of all sets {with_} {how}: {best.value:.4f}; this one has {found.picks[-1].total:.4f}."
        )
    for control in found.controls:
        name, value = control.name[0].upper() + control.name[1:], f"{control.value:.{places}f}"
        if control.spread is None:
            shared = ", ".join(pick for pick in picks if pick in control.picks) or "none"
            notes.append(f"{name}: {value}; in common: {shared}.")
        else:
            low, high = control.spread
            spread = f"[{low:.{places}f} {high:.{places}f}]"
            notes.append(f"{name}: {value} {spread}; {control.below:.1%} of them are below this one.")
    return notes


def _of_the_zoo(found: Selection) -> list[str]:
    notes = [f"Exact copies, counted once: {', '.join(group)}." for group in found.copies]
    notes += [f"Counted as one: {', '.join(group)}." for group in found.merged]
    if found.near and not found.merged:
        pairs = "; ".join(f"{a} and {b} (κ {kappa:.3f})" for a, b, kappa in found.near[:3])
        more = f" and {len(found.near) - 3} more pairs" if len(found.near) > 3 else ""
        notes.append(f"Near-duplicates, which can decide picks: {pairs}{more}.  --dedupe 0.95 merges them.")
    if found.shrinkage:
        notes.append(f"The covariance is shrunk: {found.shrinkage:.3g} of the identity is mixed in.")
    return notes
