"""The index: records by kind and name, so that listing need not read every file. The files decide.

A row holds the stamp of the file that it was made from. Where the file has another one by now, or there is no
row or no index, the file is read; so the index can be lost, old or of another machine, and nothing is wrong.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from zookeeper.errors import StorageError
from zookeeper.plain import brief
from zookeeper.store import claims, files

FORMAT = 5
"""Of the tables; an index of an older one is made again."""
_OURS = 0x7A6F6F21  # "zoo!"
_TABLE = (
    "CREATE TABLE entry (kind TEXT NOT NULL, name TEXT NOT NULL, stamp TEXT NOT NULL, record TEXT NOT NULL,"
    " PRIMARY KEY (kind, name)) STRICT"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that is indexed.

    Attributes:
        kind: of what it holds.
        name: among those of its kind.
        stamp: of the file when it was read.
        record: JSON of what it holds.
    """

    kind: str
    name: str
    stamp: str
    record: str


class Index:
    """A SQLite file that can be made again at any time; several threads and processes may use it.

    Args:
        path: of the file.
        entries: all that there is to be indexed.
        note: told when the index was mended.
        lost: whether there must have been one, where there is none.
    """

    def __init__(
        self,
        path: Path,
        entries: Callable[[], Iterable[Entry]],
        note: Callable[[str], None],
        lost: Callable[[], bool] = lambda: True,
    ) -> None:
        self.path = path
        self._lost = lost
        self._entries = entries
        self._note = note
        self._db: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    def rows(self, kind: str) -> Mapping[str, Entry]:
        """What is known of a kind, by name; nothing where there is no index that can be used.

        Raises:
            StorageError: the index was made by a newer zoo.
        """
        query = "SELECT kind, name, stamp, record FROM entry WHERE kind = ?"
        with self._lock:
            try:
                db = self._db or self._usable()
                return {row[1]: Entry(*row) for row in db.execute(query, (kind,))} if db else {}
            except sqlite3.Error:
                return {}

    def put(self, entry: Entry) -> None:
        """Keep what is known of a file.

        Raises:
            StorageError: the index cannot be written.
        """
        with self._writing() as db:
            _put(db, entry)

    def drop(self, kind: str, name: str) -> None:
        """Forget a file.

        Raises:
            StorageError: the index cannot be written.
        """
        with self._writing() as db:
            db.execute("DELETE FROM entry WHERE kind = ? AND name = ?", (kind, name))

    def ready(self) -> None:
        """Make sure that the index can be written to, before anything else is written.

        Raises:
            StorageError: it cannot, or was made by a newer zoo.
        """
        with self._lock:
            self._made()

    def rebuild(self) -> int:
        """Make it again from the files; gives the number of entries.

        Raises:
            StorageError: the index cannot be written, or was made by a newer zoo.
        """
        with self._writing() as db:
            return self._fill(db)

    def fault(self) -> str | None:
        """What is wrong with the file of the index, if it is there and anything is."""
        if not self.path.exists():
            return None
        if not self.path.stat().st_size:
            return "it is empty"
        with self._lock:
            try:
                db = self._connected("rw")
                try:
                    _check_origin(db)
                    found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(1)")]
                finally:
                    db.close()
            except sqlite3.Error as error:
                return brief(error)
        return None if found == ["ok"] else brief(" ".join(found[0].split()))

    # Connections

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            db = self._made()
            try:
                with _transaction(db):
                    yield db
            except sqlite3.Error as error:
                raise self._error(error) from error

    def _usable(self) -> sqlite3.Connection | None:
        """The index as it lies there, if it is one of this format; it is not touched."""
        if not self.path.exists():
            return None
        db = self._connected("rw")
        try:
            if _state(db) == FORMAT:
                self._db = db
        finally:
            if self._db is not db:
                db.close()
        return self._db

    def _made(self) -> sqlite3.Connection:
        """The index, which is made from the files where it is missing, older or damaged."""
        if self._db is None:
            with files.disk(self.path.parent):
                files.make_folders(self.path.parent)
            try:
                self._db = self._current()
            except sqlite3.OperationalError as error:
                raise self._error(error) from error
            except sqlite3.DatabaseError:
                with claims.held(self.path.with_name(f".{self.path.name}.lock"), self._note):
                    self._db = self._mended()
        return self._db

    def _mended(self) -> sqlite3.Connection:
        """The index, set aside and made again unless somebody else has done so meanwhile."""
        try:
            return self._current()
        except sqlite3.OperationalError as error:
            raise self._error(error) from error
        except sqlite3.DatabaseError:
            self._set_aside()
            return self._current()

    def _current(self) -> sqlite3.Connection:
        db = self._connected("rwc")
        try:
            if _state(db) != FORMAT:
                with _transaction(db):
                    # Another process may have been faster between the look and the lock.
                    if _state(db) != FORMAT:
                        self._begin_anew(db)
        except BaseException:
            db.close()
            raise
        return db

    def _begin_anew(self, db: sqlite3.Connection) -> None:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        older = db.execute(tables).fetchall()
        for (name,) in older:
            db.execute(f'DROP TABLE "{name}"')
        db.execute(_TABLE)
        if self._fill(db) and (older or self._lost()):
            self._note("the index was made again from the files")
        db.execute(f"PRAGMA application_id = {_OURS}")
        db.execute(f"PRAGMA user_version = {FORMAT}")

    def _fill(self, db: sqlite3.Connection) -> int:
        db.execute("DELETE FROM entry")
        return sum(_put(db, entry) for entry in self._entries())

    def _set_aside(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        with files.disk(self.path.parent), suppress(FileNotFoundError):  # somebody else was faster
            os.utime(self.path)  # it is a leftover from now on, and no older
            self.path.rename(aside)
        self._note(f"the index was damaged; it was set aside as {aside}")

    def _connected(self, mode: str) -> sqlite3.Connection:
        # A rollback journal, not a write-ahead log: it works on network and on read-only file systems.
        db = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=30,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("PRAGMA synchronous = FULL")
        except BaseException:
            db.close()
            raise
        return db

    def _error(self, error: sqlite3.Error) -> StorageError:
        text = str(error)
        fixes = {
            "readonly": files.FIXES["denied"],
            "unable to open": files.FIXES["denied"],
            "full": files.FIXES["full"],
            "disk I/O": files.FIXES["full"],
            "locked": "another zoo command is writing; run this one again when it is done",
        }
        fix = next((fix for part, fix in fixes.items() if part in text), "zoo db rebuild")
        return StorageError(f"cannot use the index {self.path}.", why=text, fix=fix)


def _put(db: sqlite3.Connection, entry: Entry) -> int:
    values = entry.kind, entry.name, entry.stamp, entry.record
    return db.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", values).rowcount


def _state(db: sqlite3.Connection) -> int:
    """Format of an index that is whole; 0 of an empty file.

    Raises:
        StorageError: a newer zoo made it.
        sqlite3.DatabaseError: it is damaged, or of another program.
    """
    version = _check_origin(db)
    (state,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(state)
    return version


def _check_origin(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (origin,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    # Those of before had no mark.
    if origin not in (0, _OURS) or (version == 0 and tables):
        raise sqlite3.DatabaseError("it is the database of another program")
    if version > FORMAT:
        raise StorageError(
            f"this zoo's index was made by a newer zoo (format {version}, this one reads {FORMAT}).",
            fix="pip install --upgrade hf-zoo",
        )
    return int(version)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has ended it already
            db.execute("ROLLBACK")
        raise
