"""Files of checkpoints as they were pinned: looked at or fetched, and without pickles."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zookeeper import local, worker
from zookeeper.errors import CheckpointError, IntegrityError, ZooError
from zookeeper.records import Checkpoint
from zookeeper.reporter import Reporter
from zookeeper.store import Store
from zookeeper.store import files as on_disk
from zookeeper.worker import Limits

if TYPE_CHECKING:
    from zookeeper.hub import Hub

_CONTENT = "content"  # file that names the content of a folder of converted weights


@dataclass(frozen=True, eq=False)
class Pinned:
    """Files of a checkpoint that hold what was pinned, as long as nobody writes to them.

    Attributes:
        folder: they are in.
        stamps: what they were before it was looked what they hold.
    """

    folder: Path
    stamps: Mapping[Path, str | None]

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """The folder, for as long as it is read; what is read counts if this ends without an error.

        Raises:
            IntegrityError: as `check`, before anything is read or after all was.
        """
        self.check()
        yield self.folder
        self.check()

    def check(self) -> None:
        """Refuse what was read of them if it may be something else than what was pinned.

        Raises:
            IntegrityError: one was written to, replaced or removed.
        """
        for path, before in self.stamps.items():
            if on_disk.stamp(path) != before:
                raise IntegrityError(
                    f"{path} changed while it was read.",
                    why="nothing of what was read is kept",
                    fix="run the same command again",
                )


class Fetcher:
    """Has the files of checkpoints at hand.

    Args:
        store: whose cache keeps converted weights.
        hub: gives the Hub; called only when something must be fetched.
        reporter: told what is going on.
    """

    def __init__(self, store: Store, hub: Callable[[], Hub], reporter: Reporter) -> None:
        self._store = store
        self._hub = hub
        self._reporter = reporter

    def fetch(self, checkpoint: Checkpoint, limits: Limits) -> Pinned:
        """The files of a checkpoint, after a look that they are what was pinned.

        Args:
            checkpoint: which.
            limits: of what a conversion may take.

        Raises:
            CheckpointError: it has a problem, or is made of pickles that cannot be converted.
            IntegrityError, AccessError, NetworkError: its files cannot be had as they were pinned.
            StorageError: the disk refuses.
        """
        if checkpoint.problem:
            agreed = f"zoo add --allow-pickle {shlex.quote(checkpoint.revision.repo_id)}"
            fix = agreed if "--allow-pickle" in checkpoint.problem else None
            raise CheckpointError(f"{checkpoint.problem}.", fix=fix)
        pinned = self._looked_at(checkpoint) if checkpoint.revision.local else self._fetched(checkpoint)
        return self._converted(checkpoint, pinned, limits) if checkpoint.pickled else pinned

    def _looked_at(self, checkpoint: Checkpoint) -> Pinned:
        """Files in a folder of this machine."""
        folder = Path(checkpoint.revision.repo_id)
        stamps = _stamps(folder / file.path for file in checkpoint.files)
        with self._reporter.track(
            f"checking {checkpoint.name}", checkpoint.download_bytes, "bytes"
        ) as advance:
            return Pinned(local.fetch(checkpoint, advance=advance), stamps)

    def _fetched(self, checkpoint: Checkpoint) -> Pinned:
        """Files in the cache of the Hub, where those that are missing are stamped when they came."""
        hub, revision, files = self._hub(), checkpoint.revision, checkpoint.files
        before = _stamps(path for file in files if (path := hub.place(revision, file)) is not None)
        with self._reporter.track(
            f"fetching {checkpoint.name}", checkpoint.download_bytes, "bytes"
        ) as advance:
            folder = hub.fetch(revision, files, advance=advance)
        return Pinned(folder, _stamps(folder / file.path for file in files) | before)

    def _converted(self, checkpoint: Checkpoint, pickles: Pinned, limits: Limits) -> Pinned:
        """The same files with weights that are no pickles, converted in a closed room, and only once."""
        folder = self._store.converted(checkpoint)
        converted = _conversion(folder)
        if converted is not None:
            return converted
        with self._store.claimed(folder, lambda who: self._reporter.note(f"{checkpoint.name}: {who}")):
            converted = _conversion(folder)  # by whoever had the lock before
            if converted is not None:
                return converted
            with self._reporter.track(f"converting {checkpoint.name}", 1, "checkpoints") as advance:
                made = _convert(pickles, folder, limits)
                advance(1)
            return made


def _convert(pickles: Pinned, folder: Path, limits: Limits) -> Pinned:
    """Convert weights, in the place of what is not whole."""
    with on_disk.made_aside(folder) as aside:
        with pickles.opened() as source:
            worker.convert(source, aside, limits)
        with on_disk.disk(aside):
            on_disk.write_synced(aside / _CONTENT, local.describe(aside).revision.commit.encode())
        if not on_disk.publish(aside, folder):
            # Locks do not work everywhere: somebody else may have been faster.
            converted = _conversion(folder)
            if converted is not None:
                return converted
            on_disk.replace(aside, folder)
    return Pinned(folder, _stamps(folder.iterdir()))


def _conversion(folder: Path) -> Pinned | None:
    """Converted weights, if they are whole."""
    with suppress(ZooError, OSError):
        stamps = _stamps(folder.iterdir())
        if local.describe(folder).revision.commit == (folder / _CONTENT).read_text():
            return Pinned(folder, stamps)
    return None


def _stamps(paths: Iterable[Path]) -> dict[Path, str | None]:
    """What changes when one of these files is written to or replaced."""
    return {path: on_disk.stamp(path) for path in paths}
