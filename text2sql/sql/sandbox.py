"""Runs untrusted SQL on SQLite within limits of time, memory and what it may touch.

Layers, each enough on its own for most attacks: an authorizer that allows reading and nothing else
(https://sqlite.org/c3ref/set_authorizer.html), ``PRAGMA query_only``, SQLite's own limits on lengths and depths
(https://sqlite.org/limits.html), a progress handler that counts instructions, looks at the clock and at the memory of
the process, and a cap on the rows fetched. `text2sql.equivalence.processes.process_pool` adds a process that the
system limits, and that can be killed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from text2sql.sql.budget import TIMEOUT, Clock
from text2sql.sql.complexity import may_explode
from text2sql.sql.files import open_read_only
from text2sql.sql.loading import create_table, insert_statement
from text2sql.sql.printf import limited_printf
from text2sql.sql.schema import TableSchema, View
from text2sql.sql.tokens import fold, quote_identifier
from text2sql.sql.values import Row, Value

# Instructions between two calls of the progress handler: few enough for the clock, many enough to cost nothing.
_HANDLER_STEPS = 500
# Bytes that the process's memory may grow by during one query.
_MAX_MEMORY_GROWTH = 256 * 2**20
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
# Limits of SQLite; below its defaults for what no honest query needs, or what takes long without an interruption.
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
    """The state of this process.

    Attributes:
        limited: Whether the operating system limits its memory and time, so that it may compile any query.
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
    """Column names and rows; ``overflow`` if there were more rows than the limit."""

    columns: tuple[str, ...]
    rows: list[Row]
    overflow: bool = False


class _Stop(NamedTuple):
    """Why the progress handler ended a query."""

    reason: str
    out_of_memory: bool = False


_TOO_MUCH_MEMORY = _Stop("it takes too much memory", out_of_memory=True)


def _resident_memory() -> int:
    """The process's resident memory in bytes; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class SqliteSandbox:
    """A connection on which untrusted queries may run.

    Args:
        connection: A connection in autocommit mode that nothing else uses; in memory, or to a file opened read-only.
        max_length: The longest string or blob, in bytes.

    Attributes:
        refusing: Whether stored rows may differ from loaded ones: never in SQLite, except for rows that are left out.
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
        # If it were off, SQLite would refuse JSON functions and our printf in the schema's CHECKs, generated columns
        # and views. The authorizer refuses what is dangerous there.
        self._db.execute("PRAGMA trusted_schema = ON")
        self._db.execute("PRAGMA query_only = ON")
        names = self._db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'pragma%' OR name LIKE 'dbstat%'")
        self._lookalike_tables = {fold(row[0]) for row in names}
        for limit, value in {**_LIMITS, sqlite3.SQLITE_LIMIT_LENGTH: max_length}.items():
            self._db.setlimit(limit, value)
        self._has_json_tables = False
        for name in ("printf", "format"):
            self._db.create_function(name, -1, limited_printf)
        self._db.set_authorizer(self._authorize)
        self._db.set_progress_handler(self._progress, _HANDLER_STEPS)

    @classmethod
    def in_memory(
        cls,
        tables: Iterable[TableSchema],
        views: Iterable[View] = (),
        functions: Mapping[str, tuple[Callable[..., Value], int]] = MappingProxyType({}),
    ) -> SqliteSandbox:
        """An empty database with the tables, and with those of the views that SQLite accepts.

        Args:
            tables: The tables.
            views: The views.
            functions: Functions for CHECKs besides SQLite's own: by name, the function and its number of arguments.
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
        """A database file, read-only: takes no lock and writes no journal.

        Raises:
            sqlite3.Error: The file is no database or is missing.
        """
        db = open_read_only(path, isolation_level=None, check_same_thread=False)
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        virtual = db.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'").fetchall()
        _declare_virtual_tables(db, [quote_identifier(name) for (name,) in virtual])
        return cls(db, max_length=10_000_000)

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    @property
    def steps(self) -> int:
        """The number of instructions of the last query, to the nearest few hundred."""
        return self._steps

    def create_function(self, name: str, function: Callable[..., Value], arguments: int = 0) -> None:
        """Registers a nondeterministic function, which is called for every row."""
        self._db.create_function(name, arguments, function, deterministic=False)

    def allow_json_tables(self) -> None:
        """Uses json_each and json_tree once, because their first use looks like a CREATE TABLE to the authorizer."""
        self._writing = True
        try:
            with suppress(sqlite3.Error):
                self._db.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").fetchall()
        finally:
            self._writing = False

    def create_aggregate(self, name: str, arguments: int, aggregate: type) -> None:
        """Registers an aggregate that is also a window function, with step, inverse, value and finalize."""
        self._db.create_window_function(name, arguments, aggregate)

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
        # Full-text search reads whether its tables have changed, and the page size.
        if action == sqlite3.SQLITE_PRAGMA and arg1 in ("data_version", "page_size") and arg2 is None:
            return sqlite3.SQLITE_OK
        self._denied = "it is not a read-only query"
        return sqlite3.SQLITE_DENY

    def _is_system(self, table: str) -> bool:
        """Whether a table, in lower case, is a system table and not a table of the schema with a similar name."""
        if table in self._lookalike_tables:
            return False
        return table in _SYSTEM_TABLES or table.startswith("pragma_")

    def _progress(self) -> int:
        self._steps += _HANDLER_STEPS
        if self._steps > self._max_steps:
            self._stop = _Stop("it takes too many steps")
        elif self._clock is not None and self._clock.expired:
            self._stop = _Stop("it takes too long")
        elif self._steps % (8 * _HANDLER_STEPS) == 0 and self._exceeds_memory():
            self._stop = _TOO_MUCH_MEMORY
        return self._stop is not None

    def _exceeds_memory(self) -> bool:
        """Whether the process's memory has grown too much since the first call for this query.

        Memory is not measured before the query, because that takes as long as a small query, and most end before.
        """
        if self._memory is None:
            self._memory = _resident_memory()
            return False
        return _resident_memory() > self._memory + _MAX_MEMORY_GROWTH

    def load(self, rows: dict[str, tuple[TableSchema, list[Row]]]) -> dict[str, list[Row]]:
        """Replaces the contents of the tables; rows that violate a key or a CHECK are left out.

        Returns:
            The given rows by table; `stored` returns those that are really stored.
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
                    db.executemany(*insert_statement(table, name, data))
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.execute("PRAGMA query_only = ON")
            self._writing = False
        return {name: data for name, (_, data) in rows.items()}

    def stored(self, table: TableSchema) -> list[Row]:
        """The rows of a table as SQLite stores them."""
        return self.run(f"SELECT * FROM {quote_identifier(table.name)}", 10**8, 10.0).rows

    def perturb(self, *, reverse: bool = False, indexes: bool = True) -> None:
        """Changes the row order where SQL leaves it undefined: the direction of scans, and automatic indexes of joins.

        An automatic index returns rows in the order of their values, so that shuffling the rows alone changes nothing
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
            QueryFailed: SQLite does not accept it, or it is not allowed.
        """
        self._guarded("EXPLAIN " + sql, 10**7, TIMEOUT, keep=False)

    def run(
        self, sql: str, max_steps: int, seconds: float, max_rows: int = MAX_ROWS, max_bytes: int = _MAX_BYTES
    ) -> Result:
        """Runs one query.

        Args:
            sql: A single statement.
            max_steps: The limit on SQLite virtual machine instructions, which is deterministic.
            seconds: The limit on CPU time, for instructions that are slow.
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
        if not self._has_json_tables and "json_" in sql.lower():
            self._has_json_tables = self._writing = True
            _declare_virtual_tables(self._db, ("json_each('[]')", "json_tree('[]')"))
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
        # Python ends some of its messages with a full stop, SQLite none.
        message = str(error).removesuffix(".")
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


def _declare_virtual_tables(db: sqlite3.Connection, tables: Iterable[str]) -> None:
    """Reads virtual tables once, because their first use looks like a change of the schema to the authorizer."""
    for table in tables:
        # A SQLite without the module cannot read the table; a query on it then fails with a message.
        with suppress(sqlite3.Error):
            db.execute(f"SELECT 1 FROM {table} LIMIT 0")


def _fetch(cursor: sqlite3.Cursor, max_rows: int, max_bytes: int) -> tuple[list[Row], bool]:
    """Fetches rows up to the limits on their number and on their bytes."""
    rows: list[Row] = []
    size = 0
    for row in cursor:
        rows.append(row)
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if len(rows) > max_rows or size > max_bytes:
            return rows[:max_rows], True
    return rows, False
