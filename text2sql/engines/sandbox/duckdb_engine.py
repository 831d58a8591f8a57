"""DuckDB in this process, in memory, without files, extensions or network.

https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from backends.extras import missing_package
from text2sql.engines.dialect import Dialect
from text2sql.engines.failures import first_line
from text2sql.engines.sandbox.engine import EngineLost, EngineMissing
from text2sql.engines.values.fetched import comparable_value
from text2sql.sql.budget import WALL_FACTOR
from text2sql.sql.sandbox import QueryFailed, Result

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": "160MB",
    "max_temp_directory_size": "0KB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
# These optimizers pay off on large data; on a few rows each costs more than it saves, and none changes a result.
# Constant folding, filter pushdown and decorrelation stay on, as users have them.
_DISABLED_OPTIMIZERS = frozenset(
    [
        "aggregate_reuse",
        "build_side_probe_side",
        "column_lifetime",
        "common_aggregate",
        "common_subplan",
        "compressed_materialization",
        "duplicate_groups",
        "join_elimination",
        "join_filter_pushdown",
        "join_order",
        "late_materialization",
        "partial_aggregate_pushdown",
        "partitioned_execution",
        "projection_placement",
        "projection_pullup",
        "redundant_order_keys",
        "remote_pushdown",
        "reorder_filter",
        "row_group_pruner",
        "sampling_pushdown",
        "scalar_fn_pushdown",
        "self_join_aggregate",
        "statistics_propagation",
        "top_n_window_elimination",
        "type_pushdown",
        "window_self_join",
    ]
)


class DuckDBEngine:
    """A DuckDB database in memory."""

    dialect: Dialect = "duckdb"

    def __init__(self) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise EngineMissing(
                missing_package("The dialect duckdb", "duckdb", "duckdb", "take the dialect sqlite")
            ) from error
        self._driver = duckdb
        self._db: Any = duckdb.connect(":memory:", config=_SETTINGS)
        known = {name for (name,) in self._db.execute("SELECT name FROM duckdb_optimizers()").fetchall()}
        self._db.execute(f"SET disabled_optimizers = '{','.join(sorted(_DISABLED_OPTIMIZERS & known))}'")
        for setting in ("TimeZone = 'UTC'", "enable_external_access = false", "lock_configuration = true"):
            self._db.execute(f"SET {setting}")
        self.version = f"DuckDB {duckdb.__version__}"
        self._drop_statements: Sequence[str] = ()
        self._in_transaction = False
        self._statements: dict[str, Any] = {}
        self._begin_statement, self._rollback_statement = self._db.extract_statements("BEGIN; ROLLBACK")
        self._timer = _QueryTimer(self._db)

    def table_modifier(self, has_views: bool) -> str:
        """See `Engine`; nothing, because the database is in memory."""
        return ""

    def create_tables(self, create_statements: Sequence[str], drop_statements: Sequence[str]) -> None:
        """See `Engine`."""
        self.drop_tables()
        self._drop_statements = drop_statements
        try:
            self._db.execute(";".join(create_statements))
        except self._driver.Error as error:
            raise self._failure(error) from None

    def replace_rows(self, insert_statements: Sequence[str]) -> None:
        """See `Engine`."""
        self._roll_back()
        self._in_transaction = True
        try:
            self._db.execute(self._begin_statement)
            # Parsing a statement before running it saves a fifth of its time.
            for statement in self._db.extract_statements(";".join(insert_statements)) if insert_statements else ():
                self._db.execute(statement)
        except self._driver.Error as error:
            raise self._failure(error) from None

    def query(self, sql: str, seconds: float, max_rows: int) -> Result:
        """See `Engine`."""
        self._timer.start(seconds)
        try:
            self._db.execute(self._statement(sql))
            columns = tuple(str(item[0]) for item in self._db.description or ())
            fetched = self._db.fetchmany(max_rows + 1)
        except (self._driver.Error, RuntimeError, ValueError, OverflowError) as error:
            raise self._failure(error) from None
        finally:
            self._timer.cancel()
        rows = [tuple(map(comparable_value, row)) for row in fetched[:max_rows]]
        return Result(columns, rows, len(fetched) > max_rows)

    def _statement(self, sql: str) -> Any:
        """A parsed query: it runs on many databases, and parsing is a third of its time."""
        if sql not in self._statements:
            statements = self._db.extract_statements(sql)
            if len(statements) != 1:
                return sql
            self._statements[sql] = statements[0]
        return self._statements[sql]

    def _failure(self, error: Exception) -> QueryFailed:
        driver = self._driver
        message = first_line(error)
        if isinstance(error, (driver.FatalException, driver.InternalException)):
            raise EngineLost(f"DuckDB broke off: {message}") from error
        if isinstance(error, driver.InterruptException) or "Interrupted" in message:
            return QueryFailed("timeout", "it takes too long")
        if isinstance(error, driver.OutOfMemoryException):
            return QueryFailed("timeout", "it takes too much memory", out_of_memory=True)
        if isinstance(error, driver.PermissionException):
            return QueryFailed("refused", message)
        return QueryFailed("error", message, by_rows=isinstance(error, driver.OutOfRangeException))

    def _roll_back(self) -> None:
        if self._in_transaction:
            with suppress(self._driver.Error):
                self._db.execute(self._rollback_statement)
            self._in_transaction = False

    def drop_tables(self) -> None:
        """See `Engine`."""
        self._roll_back()
        self._statements.clear()
        for statement in self._drop_statements:
            with suppress(self._driver.Error):
                self._db.execute(statement)
        self._drop_statements = ()

    def close(self) -> None:
        """See `Engine`."""
        self._timer.stop()
        with suppress(self._driver.Error):
            self._db.close()


class _QueryTimer:
    """Interrupts a query that takes too long, because DuckDB itself has no time limit.

    The limit is on this process's CPU time, which other processes do not use up; the wall-clock limit is wider.
    """

    # Seconds between two looks at the clocks.
    _INTERVAL = 0.05

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._limits: tuple[float, float] | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="duckdb-watch", daemon=True).start()

    def start(self, seconds: float) -> None:
        """Starts the time of a query."""
        self._limits = time.process_time() + seconds, time.monotonic() + WALL_FACTOR * seconds

    def cancel(self) -> None:
        """Stops the time: the query has ended."""
        self._limits = None

    def stop(self) -> None:
        """Ends the timer's thread."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._INTERVAL):
            deadline = self._limits
            if deadline is not None and (time.process_time() > deadline[0] or time.monotonic() > deadline[1]):
                self._connection.interrupt()
