"""Selections by name: what is picked, how sure that is, and what other ways of choosing would have got."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np

from zookeeper.arrangement import correlation
from zookeeper.controls import medoids, random_sets, share_below
from zookeeper.errors import DegenerateInputError, NotFoundError, UsageError
from zookeeper.evidence import Evidence
from zookeeper.labels import Array
from zookeeper.optimum import best_subset
from zookeeper.results import (
    NEAR_DUPLICATES,
    BestSet,
    Budget,
    Choice,
    Control,
    Covariance,
    Estimate,
    Pick,
    Selection,
)
from zookeeper.selection import COPIES, Information, Start, copies, groups, max_mutual_information, preferred
from zookeeper.targeted import Stack, max_evidence
from zookeeper.uncertainty import stability

_RUNNER_UP = 0.2  # of the replicates, from which a checkpoint that was not picked is worth naming
_K = 5  # to pick, unless told otherwise
_FIFTH_TO_95TH = 0.05, 0.95
_RANDOM_SETS = 1_000
_RANDOM_SETS_BY_EVIDENCE = 100  # each costs an eigendecomposition


@dataclass(frozen=True, slots=True)
class Terms:
    """What a selection must keep to.

    Attributes:
        k: how many to pick; None for as many as the budget allows, or without one 5, if there are so many.
        start: how the first is found, without labels.
        include: names that are picked first.
        exclude: names that are not picked, but remain among those to be told about.
        budget: for the costs of all picks together; None for none.
        dedupe: alignment from which checkpoints count as one; None for exact copies only.
        exact: whether to look for the best set too.
    """

    k: int | None = None
    start: Start = "mi"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    budget: Budget | None = None
    dedupe: float | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        if self.dedupe is not None and not 0 < self.dedupe <= 1:
            raise UsageError(f"{self.dedupe} is no alignment.", fix="--dedupe 0.95")
        if both := set(self.include) & set(self.exclude):
            raise UsageError(f"{min(both)} is both included and excluded.", fix="leave out one")
        if self.exact and self.budget is not None:
            raise UsageError("--exact is for a number of checkpoints, not for a budget.", fix="leave out one")


def select(
    kappa: Covariance,
    terms: Terms,
    *,
    costs: Sequence[int] | None = None,
    replicates: Iterable[Array] = (),
    ranked: Sequence[str] = (),
    stop: Callable[[], bool] = lambda: False,
) -> Selection:
    """The checkpoints that say most about the rest, by greedy maximum mutual information.

    Args:
        kappa: covariance of m checkpoints.
        terms: what the selection must keep to.
        costs: of each checkpoint, where the terms have a budget.
        replicates: (m, m) covariances over resampled sentences, read one at a time; () for none.
        ranked: names in the order of a ranking, the best first; a control.
        stop: polled by the search for the best set; ends it.

    Raises:
        UsageError: the terms contradict each other or the zoo.
        DegenerateInputError: the covariance is singular.
    """
    distinct = _Distinct.of(kappa, terms, costs)
    choice = distinct.choose(distinct.alone)
    controls, random = distinct.controls(choice, _places(kappa.names, ranked))
    found = replace(
        _named(kappa, distinct.among_all(choice), costs),
        start=terms.start,
        copies=_groups(kappa.names, copies(kappa.matrix)),
        merged=() if terms.dedupe is None else _groups(kappa.names, groups(distinct.information)),
        near=near_duplicates(kappa),
        controls=controls,
        random=random,
        budget=terms.budget,
    )
    if terms.exact:
        found = replace(found, optimum=distinct.best(len(choice.picks), stop))
    return distinct.with_stability(found, choice, replicates)


def select_for_target(
    evidence: Mapping[str, Evidence],
    terms: Terms,
    *,
    kappa: Covariance | None = None,
    half: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Selection:
    """The checkpoints whose features side by side have the greatest evidence on a target.

    Args:
        evidence: of m checkpoints by name, in the order of a ranking.
        terms: what the selection must keep to.
        kappa: covariance of the same checkpoints, in the same order; None where it is not known.
        half: whether to go half by evidence and half by mutual information.
        advance: called with 1 after each pick.

    Raises:
        UsageError: the terms contradict each other or the zoo; or `half` without a covariance.
    """
    names = tuple(evidence)
    if half and kappa is None:
        raise UsageError(
            "half by mutual information needs the covariance of all that are chosen from.", fix="zoo probe"
        )
    include, exclude = _places(names, terms.include), _places(names, terms.exclude)
    stack = Stack.of(list(evidence.values()))
    k = max(1, min(_K, len(names) - len(exclude))) if terms.k is None else terms.k
    ways: dict[str, Sequence[int]] = {} if kappa is None else _without_labels(kappa, k)
    kappa = kappa or Covariance(names, np.eye(len(names)))
    choice = max_evidence(
        stack, k, include=include, exclude=exclude, information=kappa if half else None, advance=advance
    )
    ways["first of the ranking"] = range(k)
    ways["the best alone"] = [max(range(len(names)), key=lambda item: stack.evidence([item]))]
    free = _free(range(len(names)), include, exclude)
    drawn = random_sets(free, k, n=_RANDOM_SETS_BY_EVIDENCE, include=include)
    return replace(
        _named(kappa, choice),
        by="evidence and mutual information" if half else "evidence",
        near=near_duplicates(kappa),
        controls=(
            _drawn(stack.evidence(choice.picks), np.array([stack.evidence(items) for items in drawn])),
            *(_control(names, name, picks, stack.evidence) for name, picks in ways.items()),
        ),
    )


@dataclass(frozen=True, eq=False)
class _Distinct:
    """The checkpoints of which none is a copy of another, and what a choice of them must keep to, by place.

    Attributes:
        names: (n,), of them.
        items: (n,), their numbers among all.
        information: of all.
        alone: of the distinct; of places it gives what they tell about the others.
        terms: what a choice must keep to.
        k: how many to pick; None for as many as the budget allows.
        include: places that are picked first.
        exclude: places that are not picked.
        costs: (n,), where there is a budget.
    """

    names: tuple[str, ...]
    items: list[int]
    information: Information
    alone: Information
    terms: Terms
    k: int | None
    include: list[int]
    exclude: list[int]
    costs: Array | None

    @classmethod
    def of(cls, kappa: Covariance, terms: Terms, costs: Sequence[int] | None) -> _Distinct:
        """Those of a covariance; of a group that which is included, or cheapest, is here."""
        include, exclude = _places(kappa.names, terms.include), _places(kappa.names, terms.exclude)
        prices = None if costs is None else np.asarray(costs, dtype=np.float64)
        information = Information(
            kappa,
            tolerance=COPIES if terms.dedupe is None else 1 - terms.dedupe,
            lead=preferred(len(kappa), include, exclude, prices),
        )
        items, places = information.items.tolist(), information.place
        forced = [int(places[item]) for item in include]
        if len(set(forced)) < len(forced):
            raise UsageError("two of the included checkpoints count as one.", fix="include one of them")
        barred = [place for place, item in enumerate(items) if item in exclude]
        k, most = terms.k, len(items) - len(barred)
        if k is None and terms.budget is None:
            k = max(1, min(_K, most))
        if k is not None and k > most and len(items) < len(kappa):
            raise UsageError(
                f"cannot pick {k} of {len(kappa)} checkpoints.",
                why=f"{len(kappa) - len(items)} of them count as one with others",
                fix=f"-k between 1 and {most}",
            )
        return cls(
            names=tuple(kappa.names[item] for item in items),
            items=items,
            information=information,
            alone=information.distinct(),
            terms=terms,
            k=k,
            include=forced,
            exclude=barred,
            costs=None if prices is None else prices[items],
        )

    def choose(self, information: Information, k: int | None = None) -> Choice:
        """The greedy choice by `alone`, or by what a replicate has in its place."""
        return max_mutual_information(
            information,
            k or self.k,
            start=self.terms.start,
            include=self.include,
            exclude=self.exclude,
            costs=self.costs,
            budget=None if self.terms.budget is None else self.terms.budget.amount,
        )

    def among_all(self, choice: Choice) -> Choice:
        """A choice by numbers among all, in the place of places."""
        ties = tuple(tuple(self.items[place] for place in tied) for tied in choice.ties)
        return replace(choice, picks=tuple(self.items[place] for place in choice.picks), ties=ties)

    def controls(
        self, choice: Choice, ranked: Sequence[int]
    ) -> tuple[tuple[Control, ...], tuple[Estimate, ...]]:
        """What other ways of choosing as many, or for as much, come to, and random sets of each size.

        Sets that keep to a budget are of any size, so that they say nothing of each. `ranked` are numbers
        among all.
        """
        free = _free(range(len(self.items)), self.include, self.exclude)
        k = len(choice.picks)
        draw = partial(random_sets, free, n=_RANDOM_SETS, include=self.include)
        reached = self.alone(choice.picks)
        if self.terms.budget is not None and self.costs is not None:
            most = self.k or len(self.include) + len(free)
            drawn = draw(most, costs=self.costs.tolist(), budget=self.terms.budget.amount)
            return (_drawn(reached, np.array([self.alone(items) for items in drawn])),), ()
        values = self.alone.totals(draw(k))
        ways: dict[str, Sequence[int]] = {
            "medoids": medoids(self.alone.correlation, k),
            "first of the ranking": [self.items.index(i) for i in self.information.leaders(ranked)[:k]],
        }
        others = (_control(self.names, way, picks, self.alone) for way, picks in ways.items() if picks)
        return (_drawn(reached, values[:, -1]), *others), tuple(_spread(each) for each in values.T)

    def best(self, k: int, stop: Callable[[], bool]) -> BestSet:
        """The best set of as many."""
        found = best_subset(self.alone, k, include=self.include, exclude=self.exclude, stop=stop)
        names = tuple(self.names[place] for place in found.picks)
        return BestSet(names, found.value, found.bound, found.proven)

    def with_stability(self, found: Selection, choice: Choice, replicates: Iterable[Array]) -> Selection:
        """The same with how often replicates pick each, what all come to, and how much better their own.

        Copies are not looked for anew: a pair near the tolerance would be one in some and two in others.
        """
        drawn = iter(replicates)
        first = next(drawn, None)
        if first is None:
            return found
        stable = stability(
            choice.picks,
            (
                Information(kappa[np.ix_(self.items, self.items)], tolerance=0.0)
                for kappa in chain([first], drawn)
            ),
            lambda information: self.choose(information, len(choice.picks)).picks,
            Information.totals,
        )
        share: list[float] = stable.share.tolist()
        often = (i for i, part in enumerate(share) if part >= _RUNNER_UP and i not in choice.picks)
        low, high = np.quantile(stable.regret, [0.025, 0.975])
        ends = np.quantile(stable.totals, _FIFTH_TO_95TH, axis=0)
        return replace(
            found,
            picks=tuple(
                replace(pick, stable=share[i]) for pick, i in zip(found.picks, choice.picks, strict=True)
            ),
            band=tuple((float(low), float(high)) for low, high in ends.T),
            others=tuple((self.names[i], share[i]) for i in sorted(often, key=lambda i: -share[i])),
            regret=Estimate(float(stable.regret.mean()), float(low), float(high)),
            replicates=len(stable.regret),
        )


def near_duplicates(kappa: Covariance) -> tuple[tuple[str, str, float], ...]:
    """Pairs of names whose alignment is that of near-duplicates, nearest first."""
    near = correlation(kappa.matrix)
    left, right = np.nonzero(np.triu(near >= NEAR_DUPLICATES, 1))
    order = np.argsort(-near[left, right], kind="stable")
    return tuple((kappa.names[left[i]], kappa.names[right[i]], float(near[left[i], right[i]])) for i in order)


def _named(kappa: Covariance, choice: Choice, costs: Sequence[int] | None = None) -> Selection:
    """A choice with the names of what was picked, and of what each pick stands for."""
    names, picks, near = kappa.names, list(choice.picks), correlation(kappa.matrix)
    nearest = np.where(near[:, picks].any(axis=1), near[:, picks].argmax(axis=1), -1)
    totals = np.cumsum(choice.gains)
    return Selection(
        picks=tuple(
            Pick(
                name=names[pick],
                gain=choice.gains[t],
                total=float(totals[t]),
                stands_for=tuple(names[i] for i in np.flatnonzero(nearest == t) if i not in picks),
                revision=kappa.revisions[pick] if kappa.revisions else None,
                ties=tuple(names[i] for i in choice.ties[t]),
                cost=None if costs is None else costs[pick],
            )
            for t, pick in enumerate(picks)
        ),
        start="mi",
        n_checkpoints=len(names),
        probe=kappa.probe,
        shrinkage=kappa.shrinkage,
        left_out=kappa.left_out,
        candidates=kappa.revisions,
    )


def _control(
    names: Sequence[str], name: str, picks: Sequence[int], value: Callable[[Sequence[int]], float]
) -> Control:
    return Control(name, value(picks), tuple(names[i] for i in picks))


def _without_labels(kappa: Covariance, k: int) -> dict[str, Sequence[int]]:
    """What would be picked without labels; nothing where the covariance is singular."""
    try:
        k = min(k, len(Information(kappa).items))
        return {
            "maximum mutual information": max_mutual_information(kappa, k).picks,
            "medoids": medoids(correlation(kappa.matrix), k),
        }
    except DegenerateInputError:
        return {}


def _drawn(reached: float, values: Array) -> Control:
    """What sets drawn at random come to, beside what was reached."""
    low, high = np.quantile(values, _FIFTH_TO_95TH).tolist()
    return Control(
        "random sets", float(values.mean()), spread=(low, high), below=share_below(reached, values)
    )


def _spread(values: Array) -> Estimate:
    """Mean, 5th and 95th percentile."""
    low, high = np.quantile(values, _FIFTH_TO_95TH).tolist()
    return Estimate(float(values.mean()), low, high)


def _free(items: Iterable[int], include: Sequence[int], exclude: Sequence[int]) -> list[int]:
    """Those of the items that can be drawn."""
    return [int(item) for item in items if item not in (*include, *exclude)]


def _groups(names: Sequence[str], groups: Iterable[Sequence[int]]) -> tuple[tuple[str, ...], ...]:
    """The names of groups of several."""
    return tuple(tuple(names[i] for i in group) for group in groups if len(group) > 1)


def _places(names: Sequence[str], wanted: Iterable[str]) -> tuple[int, ...]:
    """Where names stand.

    Raises:
        NotFoundError: there is no such name.
    """
    wanted = tuple(wanted)
    if missing := [name for name in wanted if name not in names]:
        raise NotFoundError(f"{missing[0]} is not among the checkpoints to choose from.")
    return tuple(names.index(name) for name in wanted)
