"""Files of checkpoints and features that were read from them are what was recorded, or are named."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import Zoo as Command
from hypothesis import given
from hypothesis import strategies as st

from zookeeper import Zoo
from zookeeper.digests import digest_like, size_of
from zookeeper.hub import Hub
from zookeeper.records import Checkpoint, FeatureKey, FeatureSet, ProbeChoice, Reading, RepoFile, Revision
from zookeeper.reporter import Advance
from zookeeper.results import Verification
from zookeeper.settings import Settings
from zookeeper.store import Store

CHOICE = ProbeChoice("old.txt", 100, "c" * 64, (3,), Reading(pooling="last", dtype="float32"))


@dataclass
class Told:
    """A reporter that remembers."""

    notes: list[str] = field(default_factory=list)
    total: int = 0
    done: int = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def track(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        self.total += total * (unit == "bytes")
        yield self._advance if unit == "bytes" else lambda done, note="": None

    def _advance(self, done: int, note: str = "") -> None:
        self.done += done


class Cache:
    """A Hub of which a folder holds what was downloaded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, revision: Revision, file: RepoFile) -> Path | None:
        path = self._folder / revision.repo_id / file.path
        return path if path.exists() else None


class Case:
    """A zoo of checkpoints whose files are some letters."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told = Told()
        settings = Settings(root / "home", root / "cache", root / "hub", "http://127.0.0.1:9")
        hub = cast(Hub, Cache(root / "hub"))
        self.zoo = Zoo(settings=settings, hub=hub, reporter=self.told)
        self.store = self.zoo.store

    def folder(self, name: str, **files: str) -> Checkpoint:
        """A checkpoint that is a folder, with files of some content."""
        return self._pinned(self.root / name, str(self.root / name), files)

    def downloaded(self, repo_id: str, **files: str) -> Checkpoint:
        """A checkpoint of the Hub that is on this machine."""
        return self._pinned(self.root / "hub" / repo_id, repo_id, files)

    def _pinned(self, folder: Path, repo_id: str, files: dict[str, str]) -> Checkpoint:
        folder.mkdir(parents=True)
        pins = []
        for kind, (name, content) in zip(("git:", "sha256:") * 2, files.items(), strict=False):
            (folder / name).write_text(content)
            pins.append(RepoFile(name, len(content), digest_like(kind, content.encode())))
        commit = digest_like("git:", repo_id.encode()).removeprefix("git:")
        checkpoint = Checkpoint(Revision(repo_id, "main", commit), tuple(pins))
        self.store.add(checkpoint)
        return checkpoint

    def read(self, *checkpoints: Checkpoint) -> list[Path]:
        """Have features of checkpoints on a text that is gone, so that it is said what is read again."""
        self.store.save_note("probed", CHOICE)
        folders = []
        for one in checkpoints:
            key = FeatureKey(one.revision.repo_id, one.revision.commit, CHOICE.corpus, CHOICE.reading)
            self.store.save(FeatureSet(key, 3, 1, 0, 12, "old.txt"), {"features": np.ones((3, 1), "f4")})
            folders += self.root.glob(f"cache/features/v1/??/{key.digest}")
        return folders

    def verify(self) -> Verification:
        """What is found by looking at everything."""
        return self.zoo.verify(full=True)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


# Files


def test_what_is_as_it_was_is_counted_and_no_damage(case: Case) -> None:
    case.folder("mine", a="some", b="letters")
    case.downloaded("org/theirs", c="more")
    (case.root / "home" / "notes").mkdir()
    torn = case.root / "home" / "notes" / "torn.json"
    torn.write_bytes(b"{")
    found = case.verify()
    assert found.checked == len(case.store.checkpoints()) + len([torn]) + 3
    assert found.damaged.keys() == {str(torn)}
    assert found.read_again == {}
    assert case.told.done == case.told.total == len("somelettersmore")
    assert case.told.notes == [], "no probe was read, and nothing is to be said of it"


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("longer than before", "it has not the size that was pinned"),
        ("", "it has not the size that was pinned"),
        ("othe!", "its bytes are not the pinned ones"),
        (None, "no such file or directory"),
    ],
)
def test_each_file_is_held_against_its_pin(case: Case, name: str, content: str | None, why: str) -> None:
    case.folder("mine", a="first", b="other")
    path = case.root / "mine" / name
    path.unlink() if content is None else path.write_text(content)
    found = case.verify()
    assert found.checked == 1 + 2
    fix = f"zoo add {case.root / 'mine'}   pins what it holds now; or put back what it held"
    assert found.damaged == {str(path): f"{why}; {fix}"}


def test_of_the_hub_only_what_is_here_is_looked_at(case: Case) -> None:
    case.downloaded("org/theirs", a="first", b="other", c="third")
    (case.root / "hub" / "org" / "theirs" / "a").unlink()
    damaged = case.root / "hub" / "org" / "theirs" / "b"
    damaged.write_text("othe!")
    found = case.verify()
    assert found.checked == 1 + 2
    fix = "remove it, and zoo probe fetches it again"
    assert found.damaged == {str(damaged): f"its bytes are not the pinned ones; {fix}"}


def test_a_folder_that_is_gone_can_be_forgotten_by_the_command_that_is_said(case: Case) -> None:
    gone = case.folder("all mine", a="first")
    case.folder("other", b="there")
    (case.root / "all mine" / "a").unlink()
    (case.root / "all mine").rmdir()
    found = case.verify()
    assert found.checked == 2 + 1
    (why,) = (found.damaged[name] for name in [gone.revision.repo_id])
    assert shlex.split(why)[-3:] == ["zoo", "rm", gone.revision.repo_id]
    assert "no longer there" in why


@given(st.binary(max_size=50), st.sampled_from(["git:", "sha256:"]))
def test_a_digest_is_of_content_in_memory_or_in_a_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(content)
    digest = digest_like(kind, content)
    assert digest_like(digest, path) == digest
    assert re.fullmatch(r"git:[0-9a-f]{40}|sha256:[0-9a-f]{64}", digest)
    assert digest.startswith(kind)
    assert size_of(path) == size_of(content) == len(content)
    assert digest_like(kind, content + b"!") != digest


def test_digests_are_those_of_git_and_of_sha256sum() -> None:
    # As `git hash-object` and `sha256sum` say of a file of five letters and the end of a line.
    assert digest_like("git:", b"hello\n") == "git:ce013625030ba8dba906f756967f9e9ca394464a"
    known = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert digest_like("sha256:", b"hello\n") == f"sha256:{known}"


# Features: which of them are read again


def names_of(notes: list[str]) -> set[str]:
    """Checkpoints of which it is said that they were not read again."""
    return {note.split()[0] for note in notes if 'was not read again: no probe "old.txt".' in note}


@pytest.mark.parametrize(("checkpoints", "again"), [(2, 1), pytest.param(101, 2, marks=pytest.mark.nightly)])
def test_one_in_a_hundred_is_read_again_and_one_at_least(case: Case, checkpoints: int, again: int) -> None:
    case.read(*(case.folder(f"m{n}") for n in range(checkpoints)))
    found = case.verify()
    assert len(names_of(case.told.notes)) == len(case.told.notes) == again
    assert (found.read_again, found.damaged) == ({}, {}), "what cannot be read is no damage"


def test_what_is_damaged_is_not_read_again(case: Case) -> None:
    sound, torn, away, lost, unread = (
        case.downloaded(f"org/{name}", a="first", b="other")
        for name in ("sound", "torn", "away", "lost", "unread")
    )
    *_, folder = case.read(sound, torn, away, lost)
    os.truncate(folder / "arrays.safetensors", 10)
    (case.root / "hub" / "org" / "torn" / "b").write_text("othe!")
    (case.root / "hub" / "org" / "away" / "a").unlink()
    for _ in range(8):  # which of them is read again is left to chance
        assert str(folder) in case.verify().damaged
    assert names_of(case.told.notes) == {"org/sound"}
    assert unread.name not in "".join(case.told.notes)


# Features: what they are compared with


def rewritten(store: Store, change: Callable[[Any], Any]) -> None:
    """Have other numbers in the features, stored as if they had been read."""
    (found,) = store.all(FeatureSet)
    rows = np.array(store.arrays(FeatureSet, found.key.digest)["features"])
    store.discard(FeatureSet, found.key.digest)
    store.save(found, {"features": change(rows)})


@pytest.mark.parametrize(
    ("dtype", "little", "much"),
    [("float32", 5e-4, 2e-3), pytest.param("bfloat16", 0.02, 0.1, marks=pytest.mark.nightly)],
)
def test_features_may_differ_by_what_rounding_does_and_no_more(
    zoo: Command,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    probe_file: Path,
    dtype: str,
    little: float,
    much: float,
) -> None:
    store = Store(tmp_path / "home", tmp_path / "cache")
    zoo("add", checkpoints["bert"])
    zoo("probe", "-p", probe_file, "--dtype", dtype)

    def differing(by: float) -> tuple[float, dict[str, str]]:
        """How much is found where one number of one row is another, and what is said to be damaged."""

        def change(rows: Any) -> Any:
            rows[1, 2] += by * np.abs(rows).max()
            return rows

        rewritten(store, change)
        done = zoo("verify", "--full", "--json")
        assert done.exit_code == bool(done.json["damaged"])
        assert "not read again" not in done.stderr
        return done.json["read_again"]["bert"], done.json["damaged"]

    by, damaged = differing(little)
    assert by == pytest.approx(little, rel=0.3)
    assert damaged == {}
    by, damaged = differing(-little - much)
    assert by == pytest.approx(much, rel=0.3)
    assert damaged == {"features of bert": f"read again, they differ by {by:.1g}"}


def test_features_that_are_nothing_are_damage(
    zoo: Command, checkpoints: dict[str, Path], tmp_path: Path, probe_file: Path
) -> None:
    store = Store(tmp_path / "home", tmp_path / "cache")
    zoo("add", checkpoints["bert"])
    zoo("probe", "-p", probe_file)
    (found,) = store.all(FeatureSet)
    largest = np.abs(store.arrays(FeatureSet, found.key.digest)["features"]).max()
    for nothing, share in ((0.0, largest), (np.nan, np.nan)):
        rewritten(store, lambda rows, nothing=nothing: np.full_like(rows, nothing))
        done = zoo("verify", "--full", "--json")
        assert done.json["read_again"]["bert"] == pytest.approx(share, rel=1e-3, nan_ok=True)
        assert list(done.json["damaged"]) == ["features of bert"]


def test_features_of_a_text_that_is_another_by_now_are_not_read_again(
    zoo: Command, checkpoints: dict[str, Path], tmp_path: Path, probe_file: Path
) -> None:
    text = tmp_path / "probe.txt"
    text.write_text(probe_file.read_text())
    zoo("add", checkpoints["bert"])
    zoo("probe", "-p", text)
    assert list(zoo("verify", "--full", "--json").json["read_again"]) == ["bert"]
    text.write_text(probe_file.read_text().replace("keeper", "warden"))
    done = zoo("verify", "--full", "--json")
    assert (done.exit_code, done.json["read_again"]) == (0, {})
    assert "another text by now" in done.stderr
