"""What is read: corpora of probes, and targets, as their names were pinned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zookeeper.collection import is_folder
from zookeeper.errors import DataError, NotFoundError
from zookeeper.layouts import COLUMN_FILES, TABLES
from zookeeper.plain import expanded
from zookeeper.probes import PROBES, TARGETS
from zookeeper.records import Corpus, Dataset, Labelled, RepoFile, Target, TargetSource, digest_of
from zookeeper.reporter import Reporter
from zookeeper.store import Store

if TYPE_CHECKING:
    from zookeeper.hub import Hub


class Texts:
    """Finds probes and targets.

    Args:
        store: keeps what the names of datasets mean.
        hub: gives the Hub; called only when something must be fetched.
        reporter: told what is going on.
    """

    def __init__(self, store: Store, hub: Callable[[], Hub], reporter: Reporter) -> None:
        self._store = store
        self._hub = hub
        self._reporter = reporter

    def probe(self, name: str, max_words: int) -> Corpus:
        """The corpus of a named probe, or of a text file.

        Raises:
            NotFoundError, DataError: there is no such probe, or no text in it.
            NetworkError: it cannot be fetched.
        """
        from zookeeper import data

        if name not in PROBES:
            path = expanded(name)
            if not path.exists():
                raise NotFoundError(
                    f'no probe "{name}".', fix=f"name a text file, or one of: {', '.join(PROBES)}"
                )
            return data.probe_from_file(path, max_words=max_words)
        probe = PROBES[name]
        dataset = self._dataset(probe.dataset, probe.commit)
        files = data.probe_files(dataset, probe)
        folder = self._fetch(dataset, files)
        return data.probe_from_snapshot(folder, files, probe, max_words=max_words)

    def target(
        self, source: TargetSource, splits: Sequence[str], max_examples: int | None
    ) -> tuple[Target, dict[str, Labelled]]:
        """A target with the splits that were asked for; those it lacks are left out, but not the first.

        Raises:
            NotFoundError, DataError: there is no such target, or it cannot be read as one.
            NetworkError: it cannot be fetched.
        """
        from zookeeper import data

        with self._reporter.track(f"loading {source.name}", 1, "targets") as advance:
            if _is_path(source.dataset):
                found = data.target_from_path(source, splits=splits, max_examples=max_examples)
            else:
                dataset = self._readable(source)
                files = data.split_files_of(dataset, source, splits)
                folder = self._fetch(dataset, tuple(file for found in files.values() for file in found))
                found = data.target_from_snapshot(folder, dataset, source, files, max_examples=max_examples)
            advance(1)
        return found

    def pin(self, dataset: Dataset) -> None:
        """Have the name of a dataset mean what is known of it here, so that the Hub is not asked."""
        revision = dataset.revision
        for name in (revision.asked, revision.commit):
            self._store.save_note(_note_of(revision.repo_id, name), dataset)

    def _readable(self, source: TargetSource) -> Dataset:
        """The dataset of a target; where it is a script, the copy of its data that the Hub keeps."""
        from zookeeper import data

        dataset = self._dataset(source.dataset, source.revision or "main")
        if not data.runs_a_script(dataset):
            return dataset
        if source.revision:
            raise DataError(
                f"{source.name} is a loading script, which nothing runs any more.",
                why="the Hub keeps a copy of its newest data only",
                fix=f"leave out @{source.revision}",
            )
        return self._dataset(source.dataset, data.PARQUET_BRANCH)

    def _dataset(self, name: str, revision: str) -> Dataset:
        """A dataset at the commit that its name meant when this zoo first met it."""
        known = self._store.load_note(_note_of(name, revision), Dataset)
        if known is None:
            known = self._hub().dataset(name, revision)
            self._store.save_note(_note_of(name, revision), known)
        return known

    def _fetch(self, dataset: Dataset, files: tuple[RepoFile, ...]) -> Path:
        size = sum(file.size for file in files)
        with self._reporter.track(f"fetching {dataset.revision.repo_id}", size, "bytes") as advance:
            return self._hub().fetch(dataset.revision, files, kind="dataset", advance=advance)


def target_source(target: TargetSource | str) -> TargetSource:
    """Where a target is, from what a user types: a name, ``org/name[@revision]``, a file or a folder."""
    if isinstance(target, TargetSource):
        return target
    if target in TARGETS:
        return TARGETS[target]
    if _is_path(target):
        return TargetSource(name=target, dataset=target)
    name, _, revision = target.partition("@")
    return TargetSource(name=target, dataset=name, revision=revision or None)


def _note_of(name: str, revision: str) -> str:
    """Under which note it is stored what the name of a dataset meant."""
    return f"dataset-{digest_of([name, revision])[:16]}"


def _is_path(text: str) -> bool:
    path = expanded(text)
    return is_folder(text) or path.exists() or path.suffix in COLUMN_FILES | TABLES.keys()
