"""Runs untrusted SQL on SQLite within limits of time, memory and what it may touch.

Layers, each enough on its own for most attacks: an authorizer that allows reading and nothing else
(https://sqlite.org/c3ref/set_authorizer.html), ``PRAGMA query_only``, SQLite's own limits on lengths and depths
(https://sqlite.org/limits.html), a progress handler that counts instructions, looks at the clock and at the memory of
the process, and a cap on the rows fetched. `text2sql.equivalence.processes.process_pool` adds a process that the
system limits, and that can be killed.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from text2sql.sql.budget import TIMEOUT, Clock
from text2sql.sql.complexity import may_explode
from text2sql.sql.files import open_read_only
from text2sql.sql.loading import create_table, insertion
from text2sql.sql.printf import careful_printf
from text2sql.sql.schema import TableSchema, View
from text2sql.sql.tokens import fold, quote_identifier
from text2sql.sql.values import Row, Value

# Instructions between two calls of the progress handler: often enough for the clock, and no cost to a query.
_STEP = 500
# Bytes that the process may grow by during one query.
_MEMORY = 256 * 2**20
MAX_ROWS = 5_000
# Bytes of text and blobs in one result.
_MAX_BYTES = 16 * 2**20

_DENIED_FUNCTIONS = frozenset(("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "sqlite_log"))
_SYSTEM_TABLES = frozenset(
    (
        "sqlite_master",
        "sqlite_schema",
        "sqlite_temp_master",
        "sqlite_temp_schema",
        "sqlite_dbpage",
        "sqlite_stmt",
        "dbstat",
    )
)
# SQLite's own, but for what no honest query needs and what can take long in one step that nothing interrupts.
_LIMITS = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 2000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 1000,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 500,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 1_000_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}


class _Process:
    """What holds for this process.

    Attributes:
        limited: Whether the system limits its memory and time, so that it may compile what may explode.
    """

    limited = False


PROCESS = _Process()


class QueryFailed(Exception):
    """A query did not give a result.

    Attributes:
        kind: error, timeout (time or memory) or refused; the text says why.
        out_of_memory: Whether it took too much memory, which fewer rows would not mend.
        by_rows: Whether it is what the rows come to that has no result, as a division by their number where there are
            none: with others it may have one.
    """

    def __init__(self, kind: str, message: str, *, by_rows: bool = False, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.kind, self.by_rows, self.out_of_memory = kind, by_rows, out_of_memory


@dataclass
class Result:
    """Rows and column names; ``overflow`` when there were more rows than may be fetched."""

    columns: tuple[str, ...]
    rows: list[Row]
    overflow: bool = False


class _Stop(NamedTuple):
    """Why the progress handler ended a query."""

    reason: str
    out_of_memory: bool = False


_TOO_MUCH_MEMORY = _Stop("it takes too much memory", out_of_memory=True)


def _resident() -> int:
    """Bytes of memory that the process holds, 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class SqliteSandbox:
    """One connection on which hostile queries may run.

    Args:
        connection: A connection that nothing else uses, autocommit; in memory or a file opened read-only.
        max_length: The longest string or blob, in bytes.

    Attributes:
        refusing: False: rows are stored as they are given, but for what a schema itself refuses.
    """

    refusing = False

    def __init__(self, connection: sqlite3.Connection, max_length: int = 20_000) -> None:
        self._db = connection
        self._writing = False
        self._denied: str | None = None
        self._stop: _Stop | None = None
        self._steps = 0
        self._max_steps = 0
        self._clock: Clock | None = None
        self._memory: int | None = None
        # Off, SQLite would refuse JSON functions and this printf in the schema's own checks, generated columns and
        # views; what is dangerous there, the authorizer refuses.
        self._db.execute("PRAGMA trusted_schema = ON")
        self._db.execute("PRAGMA query_only = ON")
        alike = self._db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'pragma%' OR name LIKE 'dbstat%'")
        self._own = {fold(row[0]) for row in alike}
        for limit, value in {**_LIMITS, sqlite3.SQLITE_LIMIT_LENGTH: max_length}.items():
            self._db.setlimit(limit, value)
        self._knows_json = False
        for name in ("printf", "format"):
            self._db.create_function(name, -1, careful_printf)
        self._db.set_authorizer(self._authorize)
        self._db.set_progress_handler(self._progress, _STEP)

    @classmethod
    def in_memory(
        cls,
        tables: Iterable[TableSchema],
        views: Iterable[View] = (),
        functions: Mapping[str, tuple[Callable[..., Value], int]] = MappingProxyType({}),
    ) -> SqliteSandbox:
        """An empty database with these tables, and with those of the views that SQLite accepts.

        Args:
            tables: The tables.
            views: The views.
            functions: By name, what CHECKs may call beside SQLite's own functions, with the number of arguments.
        """
        db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=64, check_same_thread=False)
        db.execute("PRAGMA foreign_keys = OFF")
        for name, (function, arguments) in functions.items():
            db.create_function(name, arguments, function, deterministic=True)
        for table in tables:
            create_table(db, table)
        for view in views:
            with suppress(sqlite3.Error):
                db.execute(view.ddl())
        return cls(db)

    @classmethod
    def from_file(cls, path: str) -> SqliteSandbox:
        """A database file, read-only: no lock is taken, no journal written.

        Raises:
            sqlite3.Error: If the file is no database, or is not there.
        """
        db = open_read_only(path, isolation_level=None, check_same_thread=False)
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        virtual = db.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'").fetchall()
        _declare(db, [quote_identifier(name) for (name,) in virtual])
        return cls(db, max_length=10_000_000)

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    @property
    def steps(self) -> int:
        """Instructions that the last query took, to the nearest few hundred."""
        return self._steps

    def create_function(self, name: str, function: Callable[..., Value], arguments: int = 0) -> None:
        """Registers a function that is called anew for every row."""
        self._db.create_function(name, arguments, function, deterministic=False)

    def allow_json_tables(self) -> None:
        """Makes json_each and json_tree known: their first use declares columns, which looks like a CREATE TABLE."""
        self._writing = True
        try:
            with suppress(sqlite3.Error):
                self._db.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").fetchall()
        finally:
            self._writing = False

    def create_aggregate(self, name: str, arguments: int, collected: type) -> None:
        """Registers an aggregate that is also a window function: step, inverse, value and finalize."""
        self._db.create_window_function(name, arguments, collected)

    def _authorize(self, action: int, arg1: str | None, arg2: str | None, _db: str | None, _by: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION and (arg2 or "").lower() in _DENIED_FUNCTIONS:
            self._denied = f"it calls {arg2}()"
            return sqlite3.SQLITE_DENY
        if self._writing or action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_OK
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            if self._is_system(fold(arg1 or "")):
                self._denied = f"it reads the system table {arg1}"
                return sqlite3.SQLITE_DENY
            return sqlite3.SQLITE_OK
        # Full-text search asks whether its tables have changed, and how large a page is.
        if action == sqlite3.SQLITE_PRAGMA and arg1 in ("data_version", "page_size") and arg2 is None:
            return sqlite3.SQLITE_OK
        self._denied = "it is not a read-only query"
        return sqlite3.SQLITE_DENY

    def _is_system(self, table: str) -> bool:
        """Whether a table, in lower case, is one of SQLite's own; a table of the data may be named much like one."""
        if table in self._own:
            return False
        return table in _SYSTEM_TABLES or table.startswith("pragma_")

    def _progress(self) -> int:
        self._steps += _STEP
        if self._steps > self._max_steps:
            self._stop = _Stop("it takes too many steps")
        elif self._clock is not None and self._clock.over:
            self._stop = _Stop("it takes too long")
        elif self._steps % (8 * _STEP) == 0 and self._grown():
            self._stop = _TOO_MUCH_MEMORY
        return self._stop is not None

    def _grown(self) -> bool:
        """Whether the process has grown too much since it was first asked about this query.

        Most queries end before that, and asking costs as much as a small query.
        """
        if self._memory is None:
            self._memory = _resident()
            return False
        return _resident() > self._memory + _MEMORY

    def load(self, rows: dict[str, tuple[TableSchema, list[Row]]]) -> dict[str, list[Row]]:
        """Replaces the contents of the tables; rows that break a key or a CHECK are left out.

        Returns:
            The rows given, by table: what was really stored is told by `stored`.
        """
        db = self._db
        self._writing = True
        self._max_steps, self._clock, self._stop, self._steps = 10**9, None, None, 0
        try:
            db.execute("PRAGMA query_only = OFF")
            db.execute("BEGIN")
            for table, data in rows.values():
                name = quote_identifier(table.name)
                db.execute(f"DELETE FROM {name}")
                if data:
                    db.executemany(*insertion(table, name, data))
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.execute("PRAGMA query_only = ON")
            self._writing = False
        return {name: data for name, (_, data) in rows.items()}

    def stored(self, table: TableSchema) -> list[Row]:
        """All rows of a table as SQLite keeps them."""
        return self.run(f"SELECT * FROM {quote_identifier(table.name)}", 10**8, 10.0).rows

    def perturb(self, *, reverse: bool = False, indexes: bool = True) -> None:
        """Changes what SQL leaves open: the direction of scans, and whether joins may build their own index.

        Such an index meets rows in the order of their values, so that shuffling the rows alone changes nothing
        (https://sqlite.org/pragma.html#pragma_reverse_unordered_selects, #pragma_automatic_index).
        """
        self._writing = True
        try:
            self._db.execute(f"PRAGMA reverse_unordered_selects = {'ON' if reverse else 'OFF'}")
            self._db.execute(f"PRAGMA automatic_index = {'ON' if indexes else 'OFF'}")
        finally:
            self._writing = False

    def check(self, sql: str) -> None:
        """Compiles a query without running it.

        Raises:
            QueryFailed: If SQLite does not accept it, or it may not run.
        """
        self._guarded("EXPLAIN " + sql, 10**7, TIMEOUT, keep=False)

    def run(
        self, sql: str, max_steps: int, seconds: float, max_rows: int = MAX_ROWS, max_bytes: int = _MAX_BYTES
    ) -> Result:
        """Runs one query.

        Args:
            sql: A single statement.
            max_steps: Instructions of SQLite's virtual machine that it may take: a limit without chance in it.
            seconds: A limit on the processor's clock, for steps that are slow.
            max_rows: Rows to fetch at most.
            max_bytes: Bytes of text and blobs to fetch at most.

        Raises:
            QueryFailed: On errors of the query, exceeded limits, and everything that does more than read.
        """
        return self._guarded(sql, max_steps, seconds, max_rows, max_bytes)

    def _guarded(
        self,
        sql: str,
        max_steps: int,
        seconds: float,
        max_rows: int = MAX_ROWS,
        max_bytes: int = _MAX_BYTES,
        *,
        keep: bool = True,
    ) -> Result:
        self._denied = self._stop = None
        if not PROCESS.limited and may_explode(sql):
            raise QueryFailed("refused", "it is too long or nested to be compiled outside a worker process")
        if not self._knows_json and "json_" in sql.lower():
            self._knows_json = self._writing = True
            _declare(self._db, ("json_each('[]')", "json_tree('[]')"))
            self._writing = False
        self._steps, self._max_steps = 0, max_steps
        self._clock = Clock(seconds)
        self._memory = None
        try:
            cursor = self._db.execute(sql)
            if not keep:
                cursor.close()
                return Result((), [])
            columns = tuple(item[0] for item in cursor.description or ())
            rows, overflow = _fetch(cursor, max_rows, max_bytes)
            cursor.close()
            return Result(columns, rows, overflow)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> QueryFailed:
        message = str(error)
        if self._stop:
            return QueryFailed("timeout", self._stop.reason, out_of_memory=self._stop.out_of_memory)
        if self._denied or "not authorized" in message or "prohibited" in message:
            return QueryFailed("refused", self._denied or message)
        if isinstance(error, MemoryError):
            return QueryFailed("timeout", _TOO_MUCH_MEMORY.reason, out_of_memory=True)
        if "too big" in message:
            return QueryFailed("refused", "it builds a string or blob that is too long")
        if "user-defined function raised" in message:
            return QueryFailed("refused", "it asks printf for a text that is too long")
        if "readonly" in message or "read-only" in message:
            return QueryFailed("refused", "it writes")
        return QueryFailed("error", message or type(error).__name__)


def _declare(db: sqlite3.Connection, tables: Iterable[str]) -> None:
    """Has modules declare their tables, which they do when one is first read: it looks like a change of the schema."""
    for table in tables:
        # A library without the module cannot read the table, and a query says so.
        with suppress(sqlite3.Error):
            db.execute(f"SELECT 1 FROM {table} LIMIT 0")


def _fetch(cursor: sqlite3.Cursor, max_rows: int, max_bytes: int) -> tuple[list[Row], bool]:
    """Fetches rows up to the cap on their number and on their bytes."""
    rows: list[Row] = []
    weight = 0
    for row in cursor:
        rows.append(row)
        weight += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if len(rows) > max_rows or weight > max_bytes:
            return rows[:max_rows], True
    return rows, False


def is_write(sql: str) -> bool:
    """Whether a text starts with a statement that is not a query."""
    return re.match(r"\s*(?:\(\s*)*(?:SELECT|WITH|VALUES)\b", sql, re.IGNORECASE) is None
