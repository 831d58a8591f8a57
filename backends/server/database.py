"""What must outlive the process, in SQLite: sessions, training runs, samplers, and whose checkpoint is which."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from backends.interface import BackendError

VERSION = 1
SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, seen REAL NOT NULL,
    finished TEXT, display_name TEXT, metadata TEXT
);
CREATE TABLE runs (
    id TEXT PRIMARY KEY, session TEXT NOT NULL, owner TEXT NOT NULL, base_model TEXT, rank INTEGER,
    train_attn INTEGER, train_mlp INTEGER, train_unembed INTEGER, metadata TEXT, created REAL NOT NULL,
    used REAL NOT NULL
);
CREATE TABLE samplers (
    id TEXT PRIMARY KEY, session TEXT NOT NULL, owner TEXT NOT NULL, base_model TEXT NOT NULL, path TEXT,
    snapshot INTEGER NOT NULL DEFAULT 0, inflight_of TEXT, clones INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE checkpoints (
    path TEXT PRIMARY KEY, run TEXT NOT NULL, owner TEXT NOT NULL, kind TEXT NOT NULL, created REAL NOT NULL,
    size INTEGER NOT NULL, public INTEGER NOT NULL DEFAULT 0, metadata TEXT, expires REAL,
    snapshot INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_session ON runs (session);
CREATE INDEX samplers_by_session ON samplers (session);
CREATE INDEX checkpoints_by_run ON checkpoints (run);
"""

Row = dict[str, Any]


class Records:
    """The database. Every change is on the disk when the method returns."""

    def __init__(self, file: Path) -> None:
        try:
            self._database = sqlite3.connect(file, timeout=2, check_same_thread=False, isolation_level=None)
            self._database.row_factory = _row
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")  # one server for one directory
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone().values()
            if version == 0:
                self._database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.Error as error:
            hint = " Another server is using this directory." if "locked" in str(error) else ""
            raise BackendError(f"The server's database {file} cannot be opened: {error}.{hint}") from error
        if version not in (0, VERSION):
            raise BackendError(f"{file} is of version {version}; this version of the server reads {VERSION}.")
        self._lock = threading.Lock()

    def execute(self, statement: str, *values: Any) -> int:
        """Run one statement; returns how many rows it changed."""
        with self._lock:
            return self._database.execute(statement, values).rowcount

    def rows(self, statement: str, *values: Any) -> list[Row]:
        """The rows of a query; `metadata` is decoded."""
        with self._lock:
            return self._database.execute(statement, values).fetchall()

    def row(self, statement: str, *values: Any) -> Row | None:
        """The first row of a query."""
        return next(iter(self.rows(statement, *values)), None)

    def insert(self, table: str, **values: Any) -> bool:
        """Add a row; False if there is one of its key already. Keys of `values` are column names of this module."""
        return self._write("INSERT OR IGNORE", table, values)

    def replace(self, table: str, **values: Any) -> None:
        """Add a row, in place of the one of its key."""
        self._write("INSERT OR REPLACE", table, values)

    def _write(self, verb: str, table: str, values: Row) -> bool:
        if "metadata" in values:
            values["metadata"] = json.dumps(values["metadata"]) if values["metadata"] else None
        marks = ", ".join("?" * len(values))
        return self.execute(f"{verb} INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values()) == 1

    def touch(self, table: str, column: str, ids: Iterable[str]) -> None:
        """Write that these were seen just now."""
        now = time.time()
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany(f"UPDATE {table} SET {column} = ? WHERE id = ?", [(now, i) for i in ids])
            self._database.execute("COMMIT")

    def secret(self) -> bytes:
        """The key that download links are signed with; made once."""
        self.execute("INSERT OR IGNORE INTO about VALUES ('secret', ?)", secrets.token_bytes(32))
        row = self.row("SELECT value FROM about WHERE name = 'secret'")
        assert row is not None
        return row["value"]

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    row = {column[0]: value for column, value in zip(cursor.description, values, strict=True)}
    if row.get("metadata"):
        row["metadata"] = json.loads(row["metadata"], parse_constant=lambda _: None)  # NaN is no JSON
    return row
