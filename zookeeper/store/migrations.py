"""The index's tables, as numbered steps. The index is a cache of the manifests on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from zookeeper.errors import StorageError


def _tables(db: sqlite3.Connection) -> None:
    """Checkpoints, feature sets and runs, each with its record as JSON."""
    db.execute(
        "CREATE TABLE checkpoint (repo_id TEXT NOT NULL, sha TEXT NOT NULL, record TEXT NOT NULL,"
        " PRIMARY KEY (repo_id, sha)) STRICT"
    )
    db.execute(
        "CREATE TABLE feature (key TEXT PRIMARY KEY, repo_id TEXT NOT NULL, sha TEXT NOT NULL,"
        " corpus TEXT NOT NULL, record TEXT NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX feature_of ON feature (repo_id, sha)")
    db.execute(
        "CREATE TABLE run (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, record TEXT NOT NULL) STRICT"
    )


def _evidence(db: sqlite3.Connection) -> None:
    """Evidence of checkpoints on targets."""
    db.execute(
        "CREATE TABLE evidence (key TEXT PRIMARY KEY, repo_id TEXT NOT NULL, sha TEXT NOT NULL,"
        " record TEXT NOT NULL) STRICT"
    )


def _measured(db: sqlite3.Connection) -> None:
    """One table for all that was measured, whatever its kind."""
    db.execute(
        "CREATE TABLE measured (kind TEXT NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL,"
        " PRIMARY KEY (kind, key)) STRICT"
    )
    for kind, table in (("features", "feature"), ("evidence", "evidence")):
        db.execute(f"INSERT INTO measured SELECT '{kind}', key, record FROM {table}")  # noqa: S608 ours
        db.execute(f"DROP TABLE {table}")


def _trials(db: sqlite3.Connection) -> None:
    """Runs are made of trials; those of before are not listed any more."""
    db.execute("DELETE FROM run")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_tables, _evidence, _measured, _trials)


def migrate(db: sqlite3.Connection) -> bool:
    """Bring an index to the newest form; each step and the note of it share one transaction.

    Returns:
        Whether the index was empty before.

    Raises:
        StorageError: the index was made by a newer zoo.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StorageError(
            f"this zoo's index was made by a newer zoo (format {version}, this one reads {len(MIGRATIONS)}).",
            fix="pip install --upgrade hf-zoo",
        )
    for number in range(version, len(MIGRATIONS)):
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster between the look and the lock.
            if db.execute("PRAGMA user_version").fetchone()[0] == number:
                MIGRATIONS[number](db)
                db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk has ended it already
                db.execute("ROLLBACK")
            raise
    return bool(version == 0)
