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
from text2sql.engines.values.fetched import compared
from text2sql.sql.budget import WALL
from text2sql.sql.sandbox import QueryFailed, Result

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": "160MB",
    "max_temp_directory_size": "0KB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
# They choose between plans by what data are worth, or save work that a few rows are not; each costs more than it saves
# here, and none changes a result. What folds constants, moves conditions and decorrelates stays as users have it.
_NEEDLESS = frozenset(
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


class DuckDB:
    """One database in memory."""

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
        self._db.execute(f"SET disabled_optimizers = '{','.join(sorted(_NEEDLESS & known))}'")
        for setting in ("TimeZone = 'UTC'", "enable_external_access = false", "lock_configuration = true"):
            self._db.execute(f"SET {setting}")
        self.version = f"DuckDB {duckdb.__version__}"
        self._removals: Sequence[str] = ()
        self._filled = False
        self._statements: dict[str, Any] = {}
        self._begin, self._rollback = self._db.extract_statements("BEGIN; ROLLBACK")
        self._watch = _Watch(self._db)

    def temporary(self, views: bool) -> str:
        """Nothing: the database is in memory."""
        return ""

    def begin(self, creations: Sequence[str], removals: Sequence[str]) -> None:
        """See `Engine`."""
        self.end()
        self._removals = removals
        try:
            self._db.execute(";".join(creations))
        except self._driver.Error as error:
            raise self._failure(error) from None

    def fill(self, insertions: Sequence[str]) -> None:
        """See `Engine`."""
        self._undo()
        self._filled = True
        try:
            self._db.execute(self._begin)
            # Taken apart first, a statement costs a fifth less.
            for statement in self._db.extract_statements(";".join(insertions)) if insertions else ():
                self._db.execute(statement)
        except self._driver.Error as error:
            raise self._failure(error) from None

    def query(self, sql: str, seconds: float, max_rows: int) -> Result:
        """See `Engine`."""
        self._watch.begin(seconds)
        try:
            self._db.execute(self._statement(sql))
            columns = tuple(str(item[0]) for item in self._db.description or ())
            fetched = self._db.fetchmany(max_rows + 1)
        except (self._driver.Error, RuntimeError, ValueError, OverflowError) as error:
            raise self._failure(error) from None
        finally:
            self._watch.end()
        rows = [tuple(map(compared, row)) for row in fetched[:max_rows]]
        return Result(columns, rows, len(fetched) > max_rows)

    def _statement(self, sql: str) -> Any:
        """A query taken apart once: it runs on many databases, and that is a third of what it costs."""
        if sql not in self._statements:
            found = self._db.extract_statements(sql)
            if len(found) != 1:
                return sql
            self._statements[sql] = found[0]
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

    def _undo(self) -> None:
        if self._filled:
            with suppress(self._driver.Error):
                self._db.execute(self._rollback)
            self._filled = False

    def end(self) -> None:
        """See `Engine`."""
        self._undo()
        self._statements.clear()
        for statement in self._removals:
            with suppress(self._driver.Error):
                self._db.execute(statement)
        self._removals = ()

    def close(self) -> None:
        """See `Engine`."""
        self._watch.stop()
        with suppress(self._driver.Error):
            self._db.close()


class _Watch:
    """Interrupts a query that takes too long: DuckDB itself has no limit of time.

    What counts is this process's processor time, which a busy machine does not run down; the clock on the wall has a
    wider limit.
    """

    _EVERY = 0.05

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._deadline: tuple[float, float] | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="duckdb-watch", daemon=True).start()

    def begin(self, seconds: float) -> None:
        """Says that a query begins, and what it may take."""
        self._deadline = time.process_time() + seconds, time.monotonic() + WALL * seconds

    def end(self) -> None:
        """Says that it has ended."""
        self._deadline = None

    def stop(self) -> None:
        """Ends the watch."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._EVERY):
            deadline = self._deadline
            if deadline is not None and (time.process_time() > deadline[0] or time.monotonic() > deadline[1]):
                self._connection.interrupt()
