"""MySQL or MariaDB behind a URL.

A pair's tables are created in a scratch database of the session, which a later session drops if this one is killed.
Their rows are inserted in a transaction that is rolled back. In MariaDB the tables are temporary, which is twenty times
as fast; MySQL's queries cannot refer to a temporary table twice.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from backends.extras import missing_package
from text2sql.engines.declared.collations import MYSQL_NAMES
from text2sql.engines.dialect import Dialect, dialect_named
from text2sql.engines.failures import first_line
from text2sql.engines.sandbox.engine import QUERY_SECONDS, EngineLost, EngineMissing
from text2sql.engines.values.fetched import comparable_decimal, comparable_timestamp, comparable_value
from text2sql.sql.sandbox import QueryFailed, Result

VARIABLE = "TEXT2SQL_MYSQL"
_SCRATCH_PREFIX = "text2sql_made_"
# The oldest versions whose common table expressions, window functions and time limits work like today's.
_OLDEST_VERSION = {"MySQL": (8, 0), "MariaDB": (10, 6)}
# Error numbers: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
_TIMEOUT_ERRORS = (1317, 1969, 3024)
_MEMORY_ERRORS = (1037, 1038, 1041, 1114, 1206)
# Division by zero, numbers out of range, and logarithms of numbers that have none: errors that depend on the rows.
_DATA_ERRORS = (1365, 1690, 3020)
_DENIED_ERRORS = (1044, 1142, 1143, 1227, 1290, 1792)
_LOST_ERRORS = (2003, 2006, 2013, 2055)


class MySQLEngine:
    """A session on a MySQL or MariaDB server."""

    dialect: Dialect = "mysql"

    def __init__(self) -> None:
        try:
            import pymysql
        except ImportError as error:
            raise EngineMissing(
                missing_package("The dialect mysql", "pymysql", "mysql", "take the dialect sqlite")
            ) from error
        self._driver = pymysql
        url = os.environ.get(VARIABLE)
        if not url:
            raise EngineMissing(
                f"The dialect mysql is judged on a server: set {VARIABLE} to its URL, such as "
                "mysql://user@127.0.0.1:3306/, or take the dialect sqlite."
            )
        self._db: Any = self._connect(url)
        self._cursor: Any = self._db.cursor()
        server_version = str(self._value("SELECT VERSION()"))
        self._is_mariadb = "mariadb" in server_version.lower()
        kind, number = "MariaDB" if self._is_mariadb else "MySQL", server_version.partition("-")[0]
        self.version = f"{kind} {number}"
        if tuple(int(part) for part in number.split(".")[:2]) < _OLDEST_VERSION[kind]:
            oldest = ".".join(map(str, _OLDEST_VERSION[kind]))
            self._db.close()
            raise EngineMissing(
                f"The server at ${VARIABLE} is {self.version}, and queries are judged from {kind} {oldest} on. Take a "
                "newer one, or the dialect sqlite."
            )
        self._set_session_variables()
        self._scratch = f"{_SCRATCH_PREFIX}{uuid.uuid4().hex[:16]}"
        self._open_scratch()
        self._drop_statements: Sequence[str] = ()

    def _connect(self, url: str) -> Any:
        url_parts = _parse_url(url)
        try:
            return self._driver.connect(
                host=url_parts.hostname or "127.0.0.1",
                port=url_parts.port or 3306,
                user=unquote(url_parts.username or "root"),
                password=unquote(url_parts.password or ""),
                unix_socket=parse_qs(url_parts.query).get("unix_socket", [None])[0],
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=10,
                client_flag=self._driver.constants.CLIENT.MULTI_STATEMENTS,
                conv=_conversions(self._driver),
            )
        except (self._driver.Error, ValueError, OSError) as error:
            raise EngineMissing(
                f"No MySQL answers at ${VARIABLE} ({_message(error)}). Start it or correct the URL, or take "
                "the dialect sqlite."
            ) from None

    def _set_session_variables(self) -> None:
        limit = (
            f"max_statement_time = {QUERY_SECONDS}"
            if self._is_mariadb
            else f"max_execution_time = {round(1000 * QUERY_SECONDS)}"
        )
        for setting in (
            limit,
            "time_zone = '+00:00'",
            "innodb_lock_wait_timeout = 2",
            # By default quotients gain four fractional digits: two ways to compute a mean would differ in the fifth.
            "div_precision_increment = 12",
            "wait_timeout = 3600",
        ):
            with suppress(self._driver.Error):
                self._cursor.execute(f"SET SESSION {setting}")

    def _open_scratch(self) -> None:
        """Creates the scratch database, with a lock that ends with the session, and drops those of ended sessions."""
        try:
            self._value(f"SELECT GET_LOCK('{self._scratch}', 0)")
            self._cursor.execute(f"CREATE DATABASE {self._scratch}")
            self._cursor.execute(f"USE {self._scratch}")
        except self._driver.Error as error:
            raise EngineMissing(
                f"The user of ${VARIABLE} may not create databases, and made rows need one ({_message(error)}). "
                f"GRANT ALL ON `{_SCRATCH_PREFIX}%`.* to it, or take the dialect sqlite."
            ) from None
        with suppress(self._driver.Error):
            self._cursor.execute(f"SHOW DATABASES LIKE '{_SCRATCH_PREFIX.replace('_', chr(92) + '_')}%'")
            for (name,) in self._cursor.fetchall():
                if name != self._scratch and self._value(f"SELECT IS_FREE_LOCK('{name}')"):
                    self._cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def _value(self, sql: str) -> Any:
        self._cursor.execute(sql)
        return self._cursor.fetchone()[0]

    def table_modifier(self, has_views: bool) -> str:
        """See `Engine`; MariaDB's views cannot read temporary tables."""
        return "TEMPORARY" if self._is_mariadb and not has_views else ""

    def create_tables(self, create_statements: Sequence[str], drop_statements: Sequence[str]) -> None:
        """See `Engine`."""
        self.drop_tables()
        self._drop_statements = drop_statements
        create_statements = (
            create_statements
            if self._is_mariadb
            else [_with_mysql_collations(statement) for statement in create_statements]
        )
        try:
            for statement in create_statements:
                self._cursor.execute(statement)
        except self._driver.Error as error:
            raise self._failure(error) from None

    def replace_rows(self, insert_statements: Sequence[str]) -> None:
        """See `Engine`; even a read-only transaction can insert into temporary tables."""
        access_mode = " READ ONLY" if self._is_mariadb and self._has_temporary_tables() else ""
        try:
            self._cursor.execute(";".join(["ROLLBACK", f"START TRANSACTION{access_mode}", *insert_statements]))
            while self._cursor.nextset():
                pass
        except self._driver.Error as error:
            raise self._failure(error) from None

    def _has_temporary_tables(self) -> bool:
        return any("TEMPORARY" in statement for statement in self._drop_statements)

    def query(self, sql: str, seconds: float, max_rows: int) -> Result:
        """See `Engine`; an unbuffered cursor, so that no more rows than needed are fetched."""
        cursor = self._db.cursor(self._driver.cursors.SSCursor)
        try:
            cursor.execute(sql)
            columns = tuple(str(item[0]) for item in cursor.description or ())
            fetched = cursor.fetchmany(max_rows + 1)
            rows = [tuple(map(comparable_value, row)) for row in fetched[:max_rows]]
            return Result(columns, rows, len(fetched) > max_rows)
        except (self._driver.Error, ValueError, OverflowError) as error:
            raise self._failure(error) from None
        finally:
            with suppress(self._driver.Error):
                cursor.close()

    def _failure(self, error: Exception) -> QueryFailed:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        # The scratch database has another name in each session.
        message = _message(error).replace(f"{self._scratch}.", "")
        if number in _LOST_ERRORS or not self._db.open:
            raise EngineLost(f"The connection to MySQL broke: {message}") from error
        if number in _TIMEOUT_ERRORS:
            return QueryFailed("timeout", "it takes too long")
        if number in _MEMORY_ERRORS:
            return QueryFailed("timeout", f"it takes too much memory ({message})", out_of_memory=True)
        return QueryFailed("refused" if number in _DENIED_ERRORS else "error", message, by_rows=number in _DATA_ERRORS)

    def drop_tables(self) -> None:
        """See `Engine`."""
        if self._drop_statements:
            with suppress(self._driver.Error):
                self._cursor.execute("ROLLBACK")
            for statement in self._drop_statements:
                with suppress(self._driver.Error):
                    self._cursor.execute(statement)
        self._drop_statements = ()

    def close(self) -> None:
        """See `Engine`; drops the session's database."""
        with suppress(self._driver.Error):
            self._cursor.execute(f"DROP DATABASE IF EXISTS {self._scratch}")
        with suppress(self._driver.Error):
            self._db.close()


def _with_mysql_collations(statement: str) -> str:
    """A statement with MySQL's names of MariaDB's collations."""
    for mariadb_name, mysql_name in MYSQL_NAMES.items():
        statement = statement.replace(f"COLLATE {mariadb_name}", f"COLLATE {mysql_name}")
    return statement


def _parse_url(url: str) -> SplitResult:
    """Parses the server's URL.

    Raises:
        EngineMissing: It is no URL of a MySQL server; the message does not repeat it, as it may contain a password.
    """
    try:
        parts = urlsplit(url)
        is_mysql = dialect_named(parts.scheme) == "mysql" and parts.port != 0
    except ValueError:
        is_mysql = False
    if not is_mysql:
        raise EngineMissing(
            f"${VARIABLE} is no URL of a MySQL, such as mysql://user@127.0.0.1:3306/ (signs in a password are written "
            "as %XX). Correct it, or take the dialect sqlite."
        )
    return parts


def _message(error: Exception) -> str:
    """The message of a driver's error, which follows the error number."""
    return str(error.args[1]) if len(error.args) > 1 else first_line(error)


def _conversions(driver: Any) -> dict[Any, Callable[..., Any]]:
    """The driver's decoders, except for dates, because MySQL has dates that Python's calendar lacks."""
    field_types = driver.constants.FIELD_TYPE
    conversions = dict(driver.converters.conversions)
    for field_type in (field_types.DATE, field_types.TIME, field_types.NEWDATE):
        conversions[field_type] = str
    for field_type in (field_types.DATETIME, field_types.TIMESTAMP):
        conversions[field_type] = comparable_timestamp
    for field_type in (field_types.DECIMAL, field_types.NEWDECIMAL):
        conversions[field_type] = lambda text: comparable_decimal(Decimal(text))
    return conversions
