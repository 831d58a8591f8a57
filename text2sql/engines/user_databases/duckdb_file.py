"""A DuckDB file of the user's, opened by the engine in this process: read-only, without files and network.

https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from backends.extras import missing_package
from text2sql.engines.failures import first_line
from text2sql.engines.url import Location
from text2sql.engines.user_databases.connection import USUAL, Limits, admitted
from text2sql.engines.values.fetched import shown
from text2sql.errors import UserError
from text2sql.sql.sandbox import QueryFailed, Result
from text2sql.sql.values import Row

if TYPE_CHECKING:
    import duckdb

# What the engine may hold in memory, and how many threads it may use next to what else the machine does.
_MEMORY, _THREADS = "1GB", 2
# Rows that are fetched at once.
_PART = 100


class DuckdbFile:
    """One connection to a file; the engine's settings are locked, and nothing outside the file can be reached."""

    def __init__(self, location: Location, connection: duckdb.DuckDBPyConnection, engine: str) -> None:
        self.location, self._db, self.engine = location, connection, engine

    @classmethod
    def open(cls, location: Location, what: str) -> DuckdbFile:
        """Open a file.

        Raises:
            UserError: DuckDB is not installed, the file is no database of it, too new for it, or held by a program.
        """
        try:
            import duckdb
        except ImportError as error:
            alternative = "take a SQLite file, or give `ask` the schema with --schema"
            raise UserError(missing_package(f"{what}: DuckDB", "duckdb", "duckdb", alternative)) from error
        settings: dict[str, Any] = {
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": _MEMORY,
            "threads": _THREADS,
            "lock_configuration": "true",
        }
        try:
            connection = duckdb.connect(str(location.path), read_only=True, config=settings)
        except duckdb.Error as error:
            raise UserError(f"{what}: {_why_closed(location, str(error), duckdb.__version__)}") from error
        return cls(location, connection, f"DuckDB {duckdb.__version__}")

    def run(self, sql: str, limits: Limits = USUAL) -> Result:
        """Run one query that reads.

        Raises:
            QueryFailed: It fails, does more than read, or exceeds a limit.
            UserError: The file cannot be read any more.
        """
        return self._run(admitted(sql, "duckdb"), limits)

    def fetch(self, sql: str) -> Result:
        """Run a query of this program's own (QueryFailed if it fails)."""
        return self._run(sql, Limits(300.0, 10**9, 2**31))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _run(self, sql: str, limits: Limits) -> Result:
        import duckdb

        late = threading.Event()

        def interrupt() -> None:
            late.set()
            self._db.interrupt()

        timer = threading.Timer(limits.seconds, interrupt)
        timer.start()
        try:
            # The engine's own parser counts too: the guard reads with another.
            if len(self._db.extract_statements(sql)) != 1:
                raise QueryFailed("refused", "it holds more than one statement")
            cursor = self._db.execute(sql)
            columns = tuple(str(item[0]) for item in cursor.description or ())
            rows, overflow = _fetch(cursor, limits)
            return Result(columns, rows, overflow)
        except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
            said = "it takes too long" if late.is_set() else "it takes too much memory"
            raise QueryFailed("timeout", said) from error
        except (duckdb.FatalException, duckdb.ConnectionException) as error:
            raise UserError(f"{self.location.shown} cannot be read any more: {first_line(error)}.") from error
        except (duckdb.Error, ValueError, OverflowError) as error:
            raise QueryFailed("error", first_line(error)) from error
        finally:
            timer.cancel()


def _fetch(cursor: duckdb.DuckDBPyConnection, limits: Limits) -> tuple[list[Row], bool]:
    """Rows up to the limits, and whether there were more."""
    rows: list[Row] = []
    size = 0
    while part := cursor.fetchmany(_PART):
        for row in part:
            if len(rows) >= limits.rows or size > limits.size:
                return rows, True
            rows.append(tuple(shown(value) for value in row))
            size += sum(len(value) for value in rows[-1] if isinstance(value, (str, bytes)))
    return rows, False


def _why_closed(location: Location, said: str, version: str) -> str:
    if "lock" in said.lower():
        return (
            f"{location.shown} is held by a program that writes to it ({said.splitlines()[0]}). Close that program, or "
            "give a copy of the file."
        )
    if "version" in said.lower():
        return (
            f"{location.shown} was written by another version of DuckDB than {version}, which is installed "
            f"({said.splitlines()[0]}). Install the version that wrote it, or export it with EXPORT DATABASE."
        )
    return f"{location.shown} is not a DuckDB database that can be read ({said.splitlines()[0]})."
