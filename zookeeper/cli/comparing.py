"""What `zoo covariance`, `zoo neighbours` and `zoo select` say, as tables and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zookeeper.cli.blocks import LEGEND, cut, kappa_map, spark
from zookeeper.cli.output import Column, View, count, number, short, width
from zookeeper.cli.views import some, target_line
from zookeeper.plain import plain, size
from zookeeper.records import Outcome
from zookeeper.results import NEAR_DUPLICATES, Convergence, Covariance, Neighbourhood, Pick, Selection
from zookeeper.zoo import correlation, leaf_order, near_duplicates

_ISOLATED = 0.05
_SHORT = 21  # columns
_WORTH_SAYING = 5e-4  # nats
_FEW = 0.1  # of the sentences
_ROUGH = 0.04  # standard error of an estimate
_ROUNDING = 1e-9  # eigenvalues within it are 0
_GROUPS = 3  # of copies, that are named
_ESTIMATED = (
    "κ is estimated from signatures; ±: one standard error of that at most, not of the choice of sentences."
)


def covariance(found: Covariance, *, show: bool = False) -> View:
    """`zoo covariance`; `show` adds a picture of characters."""
    matrix, names = found.matrix, found.names
    m = len(names)
    others = matrix - 2 * np.eye(m)
    nearest = others.argmax(axis=1)
    error = found.standard_error if found.estimated is None else found.estimated
    rows = [
        [
            name,
            names[j] if m > 1 else None,
            float(matrix[i, j]) if m > 1 else None,
            float(error[i, j]) if error is not None and m > 1 else None,
            float(others[i].sum() + 1) / (m - 1) if m > 1 else None,
        ]
        for i, (name, j) in enumerate(zip(names, nearest.tolist(), strict=True))
    ]
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    notes = [] if m > 1 else ["One checkpoint has nothing to be compared with; add more."]
    if show:
        kappa = correlation(matrix)
        notes += [*kappa_map(names, kappa, leaf_order(kappa), width()), LEGEND]
    if found.estimated is not None:
        notes.append(_ESTIMATED)
        if found.estimated.max() > _ROUGH:
            notes.append("Some signatures say little; --refit fits their basis to the features there are.")
    elif error is not None and m > 1:
        notes.append("±: one standard error over sentences.")
    if near := near_duplicates(found):
        notes.append(f"Near-duplicates: {_pairs(near)}.")
    if isolated := [name for name, row in zip(names, others, strict=True) if m > 1 and row.max() < _ISOLATED]:
        notes.append(f"Isolated, κ below {_ISOLATED} with all others: {', '.join(isolated)}.")
    if found.support is not None and (
        few := [n for n, s in zip(names, found.support, strict=True) if s < _FEW]
    ):
        notes.append(
            f"Made by a few words, so that κ and ± say little; try another --layer: {', '.join(few)}."
        )
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
            "support": None if found.support is None else found.support.tolist(),
            "estimated": None if found.estimated is None else found.estimated.tolist(),
            "debiased": found.debiased,
            "shrinkage": found.shrinkage,
            "smallest_eigenvalue": smallest,
            "near_duplicates": [list(pair) for pair in near],
            "left_out": plain(found.left_out),
        },
        [
            Column("MODEL"),
            Column("NEAREST", _short),
            Column("κ", number(3), right=True),
            Column("±", number(3), right=True),
            Column("MEAN κ", number(3), right=True),
        ],
        rows,
        heading=(
            f"κ of {m} checkpoint{'s' * (m != 1)} on {found.probe or 'a file'}; smallest eigenvalue "
            f"{smallest if abs(smallest) > _ROUNDING else 0:.3g}"
        ),
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
        [[n.name, n.revision.commit, n.alignment, n.error, _likeness(n.alignment)] for n in found.neighbours],
        heading=f"Nearest to {found.name} of {found.compared} checkpoints on {found.probe}",
        notes=[_ESTIMATED],
        outcomes=[*found.left_out, Outcome(found.name, "done")],
    )


def _likeness(kappa: float) -> str:
    """Of two checkpoints."""
    return "near-duplicate" if kappa >= NEAR_DUPLICATES else ""


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
        (Column("STANDS FOR", _short), lambda _, p: ", ".join(p.stands_for)),
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
    return size if found.budget and found.budget.unit == "bytes" else count


def _short(names: str) -> str:
    first, *more = some(names).rsplit(" +", 1)
    return " +".join([cut(first, _SHORT), *more])


def _remarks(found: Selection) -> list[str]:
    """What a reader should know of a selection."""
    return [*_of_the_picks(found), *_of_other_sets(found), *_of_the_zoo(found)]


def _of_the_picks(found: Selection) -> list[str]:
    notes = [f"GAIN, TOTAL: {found.measured_in}."]
    if found.replicates:
        notes.append(f"STABLE: share of {found.replicates} resampled probes that pick it too.")
    if ending := next((n for n, p in enumerate(found.picks, 1) if p.gain <= 0), None):
        loss = "it takes from it" if found.target is None else "it costs in certainty"
        about = "the rest" if found.target is None else "the target"
        notes.append(f"From pick {ending} on, a pick says less about {about} than {loss}.")
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
        best = found.optimum
        missing = [name for name in best.names if name not in picks]
        how = (
            "has most" if best.proven else f"has most of those tried in time; none has above {best.bound:.4f}"
        )
        if missing:
            total = found.picks[-1].total
            notes.append(
                f"Of all sets the set with {', '.join(missing)} instead {how}: {best.value:.4f};"
                f" this one has {total:.4f}."
            )
        else:
            notes.append(f"Of all sets this one {how}: {best.value:z.4f}.")
    for control in found.controls:
        name, value = control.name[0].upper() + control.name[1:], f"{control.value:z.{places}f}"
        if control.spread is None:
            shared = ", ".join(pick for pick in picks if pick in control.picks) or "none"
            notes.append(f"{name}: {value}; in common: {shared}.")
        else:
            low, high = control.spread
            spread = f"[{low:z.{places}f} {high:z.{places}f}]"
            notes.append(f"{name}: {value} {spread}; {control.below:.1%} of them are below this one.")
    return notes


def _groups(groups: Sequence[Sequence[str]]) -> str:
    """The first few groups of names, and how many more."""
    named = "; ".join(", ".join(group) for group in groups[:_GROUPS])
    more = len(groups) - _GROUPS
    return f"{named} and {more} more group{'s' * (more > 1)}" if more > 0 else named


def _of_the_zoo(found: Selection) -> list[str]:
    notes = [f"Exact copies, counted once: {_groups(found.copies)}."] if found.copies else []
    if merged := [group for group in found.merged if group not in found.copies]:
        notes.append(f"Counted as one: {_groups(merged)}.")
    alike = [set(group) for group in found.copies]
    near = [pair for pair in found.near if not any({pair[0], pair[1]} <= group for group in alike)]
    if near and not found.merged:
        fix = "  --dedupe 0.95 merges them." if found.target is None else ""
        notes.append(f"Near-duplicates, which can decide picks: {_pairs(near)}.{fix}")
    if found.shrinkage:
        notes.append(f"The covariance is shrunk: {found.shrinkage:.3g} of the identity is mixed in.")
    return notes


def _pairs(near: Sequence[tuple[str, str, float]]) -> str:
    """The nearest of some pairs, and how many more there are."""
    shown = "; ".join(f"{a} and {b} (κ {kappa:.3f})" for a, b, kappa in near[:3])
    return shown + (f"; and {len(near) - 3} more pairs" if len(near) > 3 else "")
