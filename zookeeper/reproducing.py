"""Making a run again from what is known of it, and saying whether its numbers hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zookeeper.errors import IntegrityError, UsageError
from zookeeper.plans import Recipe, Request
from zookeeper.recipes import recipe_of
from zookeeper.records import Revision, TargetSource
from zookeeper.results import Member, Repetition, Reproduction, Run

_LEAST_TOLERANCE = 0.005


def members_of(stated: Run, folders: Mapping[str, str | Path]) -> list[str]:
    """The members of a run by names that mean what they were, and nothing else.

    Args:
        stated: the run.
        folders: where those are that came from local folders, by name.

    Raises:
        UsageError: it is not known where one is.
    """
    return [_pinned(member, folders) for member in stated.members]


def _pinned(member: Member, folders: Mapping[str, str | Path]) -> str:
    revision = member.revision
    folder = folders.get(member.name) or folders.get(revision.repo_id)
    if folder is not None:
        return f"{Path(folder).expanduser().absolute()}@{revision.commit}"
    if revision.local and not Path(revision.repo_id).is_absolute():
        raise UsageError(
            f"{member.name} came from a folder of the machine that the run was made on.",
            fix=f"--member {member.name}=PATH, where it is here",
        )
    return str(revision)


def request_of(stated: Run, members: Sequence[Revision], target: str | Path | None) -> Request:
    """What to ask for to have a run again.

    Args:
        stated: the run.
        members: as they are here.
        target: where its data are, if they came from a local file or folder.

    Raises:
        UsageError: it is not known what was asked for, or where its data are.
        IntegrityError: what was asked for is not what its numbers are said to be of.
    """
    request = stated.request
    if request is None:
        raise UsageError(
            f"run {stated.id} cannot be made again.",
            why="an earlier version made it, which did not keep all that was asked for",
            fix="tune it again, by the command on its card",
        )
    if fault := _contradiction(stated, request):
        raise IntegrityError(f"the record of run {stated.id} contradicts itself.", why=fault)
    if odd := [seed for seed in request.seeds if not 0 <= seed < 2**32]:
        raise UsageError(f"a seed of run {stated.id} is {odd[0]}.", fix="none, but to tune it with others")
    return replace(
        request,
        recipe=_checked(request.recipe),
        target=_source(stated, request.target, target),
        members=tuple(members),
        controls=0,
    )


def _checked(recipe: Recipe) -> Recipe:
    """A recipe with just the settings that it has.

    Raises:
        UsageError: it is none of ours, or has others.
    """
    of = recipe.settings.get("of")
    defaults = recipe_of(recipe.name, None if of is None else str(of))
    return replace(recipe, settings=defaults.with_settings(recipe.settings).settings)


def _contradiction(stated: Run, request: Request) -> str | None:
    """What was asked for and is not what was measured, by a record that somebody else may have written."""
    shares = [fraction for fraction in request.fractions for _ in request.seeds]
    pairs: dict[str, tuple[object, object]] = {
        "data": (request.fingerprint, stated.target.fingerprint),
        "members": ([*map(str, request.members)], [str(member.revision) for member in stated.members]),
        "recipe": (request.recipe, stated.recipe),
        "metric": (request.metric, stated.metric),
        "seeds": (request.seeds, stated.seeds),
        "shares of the data": (shares, [trial.key.fraction for trial in stated.trials]),
        "splits": ({"validation", *["test"] * request.test}, stated.results.keys()),
    }
    other = [what for what, (asked, measured) in pairs.items() if asked != measured]
    return f"it was asked for other {' and '.join(other)} than it has" if other else None


def _source(stated: Run, source: TargetSource, target: str | Path | None) -> TargetSource:
    """The data, pinned."""
    if target is not None:
        return replace(source, dataset=str(Path(target).expanduser().absolute()), revision=None)
    if not stated.target.local:
        return replace(source, revision=stated.target.commit)
    if not Path(source.dataset).is_absolute():
        raise UsageError(
            f"the data of run {stated.id} came from a file of the machine that it was made on.",
            fix=f"--target PATH, where {source.name} is here",
        )
    return source


def compared(stated: Run, again: Run, tolerance: float | None = None) -> Reproduction:
    """A run beside what came of making it again.

    Args:
        stated: the run.
        again: the same, made now.
        tolerance: by which a mean may differ; by default the largest standard deviation between seeds that
            is found, not what is stated, or 0.005 if that is more.
    """
    deviations = [spread.deviation or 0.0 for spread in again.results.values()]
    return Reproduction(
        run=stated,
        again=again,
        tolerance=max([_LEAST_TOLERANCE, *deviations]) if tolerance is None else tolerance,
        repetitions=tuple(_repetitions(stated, again)),
        differences=tuple(_differences(stated, again)),
    )


def _repetitions(stated: Run, again: Run) -> Iterator[Repetition]:
    for split, spread in stated.results.items():
        yield Repetition(split, None, spread.mean, again.results[split].mean)
        for before, now in zip(stated.whole, again.whole, strict=True):
            yield Repetition(split, before.key.seed, before.results.get(split), now.results.get(split))


def _differences(stated: Run, again: Run) -> Iterator[str]:
    """What else is not the same."""
    before, now = stated.best, again.best
    for name in sorted(before.versions.keys() | now.versions.keys()):
        then, here = before.versions.get(name, "none"), now.versions.get(name, "none")
        if then != here:
            yield f"{name}: {then}, now {here}"
    if before.device != now.device:
        yield f"hardware: {before.device}, now {now.device}"
    if before.processes != now.processes:
        yield f"processes: {before.processes}, now {now.processes}"
