"""What must outlive the process, in SQLite: the rows of `backends.server.tables`, and the secret that signs links.

One connection writes and one reads, so that a read never waits for a disk that is slow to take a change. Other programs
may read the file too, which is how it is backed up.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from backends.interface import BackendError
from backends.server.tables import Record

# How the tables came to be: script N makes version N of version N - 1, and what has been released is not changed.
MIGRATIONS = (
    """
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
""",
    "ALTER TABLE checkpoints ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;",
)
VERSION = len(MIGRATIONS)
# How long to wait for a program that copies the file.
WAIT_SECONDS = 10
# What SQLite may also say when one of its files, not the database, cannot grow.
MAY_MEAN_FULL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
NO_SPACE_BYTES = 1 << 20

T = TypeVar("T", bound=Record)


def make_private_directory(directory: Path) -> None:
    """Make a directory that only this user may enter, or make one that is there so (0700)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A mounted volume may belong to somebody else; who may enter it is then theirs to say.
    with suppress(PermissionError):
        directory.chmod(0o700)


IN_USE = "Another server is using this directory."


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
        self._directory = file.parent
        self._writing_lock, self._reading_lock = threading.Lock(), threading.Lock()
        self._held = _hold(file.parent)
        try:
            # SQLite gives the files that it adds (0600) the mode of this one.
            file.touch(mode=0o600)
            file.chmod(0o600)
            self._writer = _connect(file)
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = FULL")
            _migrate(self._writer, file)
            self._reader = _connect(file)
            self._reader.execute("PRAGMA query_only = ON")
        except (sqlite3.Error, OSError) as error:
            os.close(self._held)
            if isinstance(error, sqlite3.OperationalError) and self._is_full(error):
                raise DiskFull(self._directory) from error
            hint = f" {IN_USE}" if "locked" in str(error) else ""
            raise BackendError(f"The server's database {file} cannot be opened: {error}.{hint}") from error
        except BackendError:
            os.close(self._held)
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the writing connection; a full disk is `DiskFull`."""
        with self._writing_lock:
            try:
                yield
            except sqlite3.OperationalError as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if self._is_full(error):
                    raise DiskFull(self._directory) from error
                raise

    def _is_full(self, error: sqlite3.OperationalError) -> bool:
        code = error.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return True
        return code in MAY_MEAN_FULL and shutil.disk_usage(self._directory).free < NO_SPACE_BYTES

    def execute(self, statement: str, *values: Any) -> int:
        """Run one statement; returns how many rows it changed (DiskFull if there is no space)."""
        with self._writing():
            return self._writer.execute(statement, values).rowcount

    def select(self, kind: type[T], condition: str, *values: Any) -> list[T]:
        """The records of a table that fulfil a condition.

        Args:
            kind: Which table.
            condition: What follows WHERE, with ``?`` for each value; an ORDER BY may end it.
            values: What stands for the question marks.
        """
        with self._reading_lock:
            cursor = self._reader.execute(f"SELECT * FROM {kind.table} WHERE {condition}", values)
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
            self._writer.execute("BEGIN")
            self._writer.executemany(statement, [(now, one) for one in ids])
            self._writer.execute("COMMIT")

    def secret(self) -> bytes:
        """The key with which links are signed; made at the first start."""
        with self._writing():
            statement = "INSERT OR IGNORE INTO about VALUES ('secret', ?)"
            self._writer.execute(statement, (secrets.token_bytes(32),))
            (value,) = self._writer.execute("SELECT value FROM about WHERE name = 'secret'").fetchone()
        return value

    def close(self) -> None:
        """Close the database."""
        with self._writing_lock, self._reading_lock:
            self._reader.close()
            self._writer.close()
            os.close(self._held)


def _hold(directory: Path) -> int:
    """Hold the directory until the process ends or the descriptor is closed: one server for one directory.

    Raises:
        BackendError: Another server holds it, or the file system has no locks.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        why = IN_USE if isinstance(error, BlockingIOError) else f"it cannot be locked ({error.strerror})."
        raise BackendError(f"{directory} cannot be used: {why}") from error
    return descriptor


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=WAIT_SECONDS, check_same_thread=False, isolation_level=None)


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    """Make the tables what this version of the server reads; the file as it was is kept next to it.

    Raises:
        BackendError: The file is of a newer version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        kept = _copy_of(file, VERSION)
        more = f" {kept} is a copy from before the newer one was started here." if kept.exists() else ""
        raise BackendError(
            f"{file} is of version {version}; this version of the server reads {VERSION}. Start the server that it "
            f"was last used with, or a newer one.{more}"
        )
    if 0 < version < VERSION:
        kept = _copy_of(file, version)
        kept.touch(mode=0o600)
        with closing(sqlite3.connect(kept)) as copy:
            connection.backup(copy)
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def _copy_of(file: Path, version: int) -> Path:
    return file.with_name(f"{file.stem}.version-{version}{file.suffix}")
