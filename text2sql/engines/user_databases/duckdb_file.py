"""A user's DuckDB file, opened in this process: read-only, without access to other files or the network.

https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from backends.extras import missing_package
from text2sql.engines.failures import first_line
from text2sql.engines.url import Location
from text2sql.engines.user_databases.connection import DEFAULT_LIMITS, Limits, guard_user_query
from text2sql.engines.values.fetched import display_value
from text2sql.errors import UserError
from text2sql.sql.sandbox import QueryFailed, Result
from text2sql.sql.values import Row

if TYPE_CHECKING:
    import duckdb

# Limits of the engine, which shares the machine with others.
_MEMORY_LIMIT = "1GB"
_THREADS = 2
# Rows per fetch.
_FETCH_ROWS = 100


class DuckdbFile:
    """A connection to a DuckDB file; the engine's settings are locked, and nothing outside the file can be reached."""

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
            "memory_limit": _MEMORY_LIMIT,
            "threads": _THREADS,
            "lock_configuration": "true",
        }
        try:
            connection = duckdb.connect(str(location.path), read_only=True, config=settings)
        except duckdb.Error as error:
            raise UserError(f"{what}: {_explain_open_failure(location, str(error), duckdb.__version__)}") from error
        return cls(location, connection, f"DuckDB {duckdb.__version__}")

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Result:
        """Run one query that reads.

        Raises:
            QueryFailed: It fails, does more than read, or exceeds a limit.
            UserError: The file cannot be read any more.
        """
        return self._run(guard_user_query(sql, "duckdb"), limits)

    def fetch(self, sql: str) -> Result:
        """Run a query of this program's own (QueryFailed if it fails)."""
        return self._run(sql, Limits(300.0, 10**9, 2**31))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _run(self, sql: str, limits: Limits) -> Result:
        import duckdb

        timed_out = threading.Event()

        def interrupt() -> None:
            timed_out.set()
            self._db.interrupt()

        timer = threading.Timer(limits.seconds, interrupt)
        timer.start()
        try:
            # DuckDB's own parser counts the statements too, because the guard uses another parser.
            if len(self._db.extract_statements(sql)) != 1:
                raise QueryFailed("refused", "it holds more than one statement")
            cursor = self._db.execute(sql)
            columns = tuple(str(item[0]) for item in cursor.description or ())
            rows, overflow = _fetch(cursor, limits)
            return Result(columns, rows, overflow)
        except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
            reason = "it takes too long" if timed_out.is_set() else "it takes too much memory"
            raise QueryFailed("timeout", reason) from error
        except (duckdb.FatalException, duckdb.ConnectionException) as error:
            raise UserError(f"{self.location.display_name} cannot be read any more: {first_line(error)}.") from error
        except (duckdb.Error, ValueError, OverflowError) as error:
            raise QueryFailed("error", first_line(error)) from error
        finally:
            timer.cancel()


def _fetch(cursor: duckdb.DuckDBPyConnection, limits: Limits) -> tuple[list[Row], bool]:
    """Rows up to the limits, and whether there were more."""
    rows: list[Row] = []
    size = 0
    while chunk := cursor.fetchmany(_FETCH_ROWS):
        for row in chunk:
            if len(rows) >= limits.rows or size > limits.size:
                return rows, True
            rows.append(tuple(display_value(value) for value in row))
            size += sum(len(value) for value in rows[-1] if isinstance(value, (str, bytes)))
    return rows, False


def _explain_open_failure(location: Location, message: str, version: str) -> str:
    name = location.display_name
    if "lock" in message.lower():
        return (
            f"{name} is held by a program that writes to it ({message.splitlines()[0]}). Close that program, or "
            "give a copy of the file."
        )
    if "version" in message.lower():
        return (
            f"{name} was written by another version of DuckDB than {version}, which is installed "
            f"({message.splitlines()[0]}). Install the version that wrote it, or export it with EXPORT DATABASE."
        )
    return f"{name} is not a DuckDB database that can be read ({message.splitlines()[0]})."
