"""What a push changes of what is there, and nothing where it changes nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zookeeper.digests import digest_like, size_of
from zookeeper.errors import StorageError
from zookeeper.publications import Publication
from zookeeper.records import RepoFile, Revision
from zookeeper.sections import left_out, spliced

README = "README.md"

_CONTEXT = 3  # lines round a change
_COMPARED_UP_TO = 2000  # lines

Content = bytes | Path


@dataclass(frozen=True, slots=True)
class Standing:
    """A repository at a commit, as far as a push has to know it.

    Attributes:
        revision: which.
        files: all, by path.
        card: its README.md; empty for none.
        private: whether only its owner sees it.
    """

    revision: Revision
    files: Mapping[str, RepoFile]
    card: str
    private: bool


@dataclass(frozen=True, slots=True)
class Change:
    """Files that differ from what is there.

    Attributes:
        files: their content, by path.
        sizes: in bytes, by path.
        diff: of the card, as a unified diff.
        notes: what a reader should know.
    """

    files: Mapping[str, Content]
    sizes: Mapping[str, int]
    diff: str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, there: Standing | None, publication: Publication) -> Change:
        """What to write where that is there, or nothing is, to have the publication.

        Raises:
            DataError: the card that is there cannot be kept.
            StorageError: a file to be written cannot be read.
        """
        old, files = (there.card, there.files) if there else ("", {})
        new = spliced(old, publication.card)
        wanted = {**publication.files, **({README: new.encode()} if new != old else {})}
        try:
            changed = {
                path: wanted[path] for path in sorted(wanted) if _differs(wanted[path], files.get(path))
            }
            sizes = {path: size_of(content) for path, content in changed.items()}
        except OSError as error:
            raise StorageError(f"{error.filename} cannot be read.", why=error.strerror) from error
        return cls(changed, sizes, _diff(old, new), tuple(_notes(old, publication, changed)))


def _notes(old: str, publication: Publication, changed: Mapping[str, Content]) -> list[str]:
    kept = left_out(old, publication.card)
    notes = [f"The card keeps what it says itself of: {', '.join(kept)}."] if kept else []
    return notes if changed else [*notes, "Everything is there already: there is nothing to write."]


def _differs(content: Content, there: RepoFile | None) -> bool:
    return (
        there is None or size_of(content) != there.size or digest_like(there.digest, content) != there.digest
    )


def _diff(old: str, new: str) -> str:
    """A unified diff; empty where nothing changes.

    What is compared lies between the first and the last change. A card may be made so that comparing it takes
    hours: of more lines than two thousand, it is only said which they are.
    """
    if old == new:
        return ""
    before, after = _lines(old), _lines(new)
    start = max(_shared(before, after) - _CONTEXT, 0)
    end = max(_shared(before[:start:-1], after[:start:-1]) - _CONTEXT, 0)
    old_part, new_part = (lines[start : len(lines) - end] for lines in (before, after))
    heads = f"{README} (there)", f"{README} (new)"
    n_old, n_new = len(old_part), len(new_part)
    if max(n_old, n_new) > _COMPARED_UP_TO:
        span = f"@@ -{start + 1},{n_old} +{start + 1},{n_new} @@"
        said = f"{n_old:,} lines become {n_new:,}: too many to be compared"
        return f"--- {heads[0]}\n+++ {heads[1]}\n{span} {said}\n"
    return "".join(_numbered_from(start, line) for line in difflib.unified_diff(old_part, new_part, *heads))


def _shared(some: Sequence[str], others: Sequence[str]) -> int:
    """With how many equal items both begin."""
    pairs = zip(some, others, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(some), len(others)))


def _numbered_from(start: int, line: str) -> str:
    """A line of a diff of what follows on so many lines; they are counted in the heads of its hunks."""
    if not line.startswith("@@"):
        return line
    return re.sub(r"(?<=[-+])\d+", lambda number: str(int(number[0]) + start), line)


def _lines(text: str) -> list[str]:
    """Lines with their ends; one without says so, as in every diff."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n\\ No newline at end of file\n"
    return lines
