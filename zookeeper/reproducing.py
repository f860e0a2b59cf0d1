"""Making a run again from what is known of it, and saying whether its numbers hold."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from zookeeper.errors import IntegrityError, NetworkError, StorageError, TerminatedError, UsageError
from zookeeper.plain import expanded
from zookeeper.plans import Recipe, Request
from zookeeper.publications import Repetition, Reproduction
from zookeeper.recipes import recipe_of
from zookeeper.records import Revision, TargetSource
from zookeeper.results import Run
from zookeeper.store.files import disk, held, make_folders

_LEAST_TOLERANCE = 0.005


def folder_in(home: Path) -> Path:
    """The folder in a zoo's home where runs are made again, in a folder each."""
    return home / "reproduced"


@contextmanager
def kept_while_interrupted(folder: Path) -> Iterator[None]:
    """Remove a folder in the end, unless what goes on in it was interrupted and can be gone on with.

    Meanwhile it is marked as one that is worked with.

    Raises:
        StorageError: another process works with it, or the disk refuses.
    """
    with ExitStack() as marks:
        with disk(folder):
            make_folders(folder)
            try:
                marks.enter_context(held(folder))
            except BlockingIOError as error:
                raise StorageError(
                    f"another process works in {folder} at the moment.", fix="run this again when it is done"
                ) from error
        try:
            yield
        except (KeyboardInterrupt, TerminatedError, NetworkError, StorageError):
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with disk(folder):
            shutil.rmtree(folder)


def members_of(stated: Run, folders: Mapping[str, str | Path], target: str | Path | None = None) -> list[str]:
    """The members of a run by names that mean what they were, and nothing else.

    Args:
        stated: the run.
        folders: where those are that came from local folders, by name.
        target: where its data are, if they came from a local file or folder.

    Raises:
        UsageError: it is not known where one of them is, or the data.
    """
    places = [
        next((folders[name] for name in member.names if name in folders), None) for member in stated.members
    ]
    lost = [
        f"--member {shlex.quote(member.name)}=PATH"
        for member, place in zip(stated.members, places, strict=True)
        if place is None and _elsewhere(member.revision.local, member.revision.repo_id)
    ]
    if stated.request and target is None and _elsewhere(stated.target.local, stated.request.target.dataset):
        lost.append("--target PATH")
    if lost:
        raise UsageError(
            f"run {stated.id} was made of folders or files of another machine.",
            why="it is not known where they are here",
            fix=f"add {' '.join(lost)}",
        )
    return [
        str(member.revision) if place is None else f"{expanded(place).absolute()}@{member.revision.commit}"
        for member, place in zip(stated.members, places, strict=True)
    ]


def _elsewhere(local: bool, path: str) -> bool:
    """Whether something is a folder or file of which only the name is known."""
    return local and not Path(path).is_absolute()


def request_of(stated: Run, members: Sequence[Revision], target: str | Path | None) -> Request:
    """What to ask for to have a run again.

    Args:
        stated: the run.
        members: as they are here.
        target: where its data are, if they came from a local file or folder.

    Raises:
        UsageError: it is not known what was asked for.
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
        "splits": ({"validation", "test"} if request.test else {"validation"}, stated.results.keys()),
    }
    other = [what for what, (asked, measured) in pairs.items() if asked != measured]
    return f"it was asked for other {' and '.join(other)} than it has" if other else None


def _source(stated: Run, source: TargetSource, target: str | Path | None) -> TargetSource:
    """The data, pinned."""
    if target is not None:
        return replace(source, dataset=str(expanded(target).absolute()), revision=None)
    return source if stated.target.local else replace(source, revision=stated.target.commit)


def compared(stated: Run, again: Run, tolerance: float | None = None) -> Reproduction:
    """A run beside what came of making it again.

    Args:
        stated: the run.
        again: the same, made now.
        tolerance: by which a mean may differ; by default the standard deviation between seeds that is found
            on its split, not what is stated, or 0.005 if that is more.
    """
    return Reproduction(
        run=stated,
        again=again,
        tolerances={
            split: max(_LEAST_TOLERANCE, spread.deviation or 0.0) if tolerance is None else tolerance
            for split, spread in again.results.items()
        },
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
