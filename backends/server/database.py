"""What must outlive the process, in SQLite: the rows of `backends.server.tables`, and the secret that signs links."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from backends.interface import BackendError
from backends.server.tables import Record

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

T = TypeVar("T", bound=Record)


def make_private_directory(directory: Path) -> None:
    """Make a directory that only this user may enter, or make one that is there so (0700)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A mounted volume may belong to somebody else; who may enter it is then theirs to say.
    with suppress(PermissionError):
        directory.chmod(0o700)


class DiskFull(BackendError):
    """There is no space on the disk for what was asked for; nothing of it has been kept."""

    def __init__(self, directory: Path, needed: int | None = None) -> None:
        self.directory = directory
        free = shutil.disk_usage(directory).free
        more = f"limits.free_disk_bytes asks for {needed >> 20:,} MiB" if needed else "the database needs a little more"
        super().__init__(
            f"The disk of {directory} on the server is full: {free >> 20:,} MiB are free, and {more}. Delete "
            "checkpoints or make space, and try again."
        )


class Database:
    """The database. Every change is on the disk when the method returns."""

    def __init__(self, file: Path) -> None:
        try:
            # SQLite gives the files that it adds (0600) the mode of this one.
            file.touch(mode=0o600)
            file.chmod(0o600)
            self._connection = sqlite3.connect(file, timeout=2, check_same_thread=False, isolation_level=None)
            # One server for one directory.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        except (sqlite3.Error, OSError) as error:
            hint = " Another server is using this directory." if "locked" in str(error) else ""
            raise BackendError(f"The server's database {file} cannot be opened: {error}.{hint}") from error
        if version not in (0, VERSION):
            raise BackendError(f"{file} is of version {version}; this version of the server reads {VERSION}.")
        self._lock = threading.Lock()
        self._directory = file.parent

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock; a full disk is `DiskFull`."""
        try:
            with self._lock:
                yield
        except sqlite3.OperationalError as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise DiskFull(self._directory) from error
            raise

    def execute(self, statement: str, *values: Any) -> int:
        """Run one statement; returns how many rows it changed (DiskFull if there is no space)."""
        with self._writing():
            return self._connection.execute(statement, values).rowcount

    def select(self, kind: type[T], condition: str, *values: Any) -> list[T]:
        """The records of a table that fulfil a condition.

        Args:
            kind: Which table.
            condition: What follows WHERE, with ``?`` for each value; an ORDER BY may end it.
            values: What stands for the question marks.
        """
        with self._lock:
            cursor = self._connection.execute(f"SELECT * FROM {kind.table} WHERE {condition}", values)
            rows = cursor.fetchall()
        columns = [column[0] for column in cursor.description]
        return [kind.model_validate(dict(zip(columns, row, strict=True))) for row in rows]

    def find(self, kind: type[T], condition: str, *values: Any) -> T | None:
        """The first record of a table that fulfils a condition, or None."""
        return next(iter(self.select(kind, condition, *values)), None)

    def insert(self, record: Record) -> bool:
        """Add a record; False if there is one of its key already."""
        return self._write("INSERT OR IGNORE", record)

    def replace(self, record: Record) -> None:
        """Add a record, in place of the one of its key."""
        self._write("INSERT OR REPLACE", record)

    def _write(self, verb: str, record: Record) -> bool:
        values = record.model_dump()
        marks = ", ".join("?" * len(values))
        statement = f"{verb} INTO {record.table} ({', '.join(values)}) VALUES ({marks})"
        return self.execute(statement, *values.values()) == 1

    def touch(self, kind: type[Record], column: str, ids: Iterable[str]) -> None:
        """Write the present time into a column of the records that have these ids."""
        now = time.time()
        statement = f"UPDATE {kind.table} SET {column} = ? WHERE id = ?"
        with self._writing():
            self._connection.execute("BEGIN")
            self._connection.executemany(statement, [(now, one) for one in ids])
            self._connection.execute("COMMIT")

    def secret(self) -> bytes:
        """The key with which links are signed; made at the first start."""
        with self._lock:
            statement = "INSERT OR IGNORE INTO about VALUES ('secret', ?)"
            self._connection.execute(statement, (secrets.token_bytes(32),))
            (value,) = self._connection.execute("SELECT value FROM about WHERE name = 'secret'").fetchone()
        return value

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()
