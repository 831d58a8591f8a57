"""MySQL or MariaDB behind a URL.

A pair's tables live in a database of the session's own, which a later session drops if this one is killed. Their rows
are those of a transaction that is rolled back. MariaDB's tables are temporary ones, which cost a twentieth; MySQL's
queries cannot name one of those twice.
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
from text2sql.engines.declared.collations import IN_MYSQL
from text2sql.engines.dialect import Dialect, dialect_named
from text2sql.engines.failures import first_line
from text2sql.engines.sandbox.engine import QUERY_SECONDS, EngineLost, EngineMissing
from text2sql.engines.values.fetched import compared, exact, moment
from text2sql.sql.sandbox import QueryFailed, Result

VARIABLE = "TEXT2SQL_MYSQL"
_PREFIX = "text2sql_made_"
# The oldest with common table expressions, windows and a limit of time that are as those of today.
_OLDEST = {"MySQL": (8, 0), "MariaDB": (10, 6)}
# Error numbers: https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
_TIME = (1317, 1969, 3024)
_MEMORY = (1037, 1038, 1041, 1114, 1206)
# Division by zero, numbers out of range, and logarithms of numbers that have none.
_BY_ROWS = (1365, 1690, 3020)
_DENIED = (1044, 1142, 1143, 1227, 1290, 1792)
_GONE = (2003, 2006, 2013, 2055)


class MySQL:
    """One session."""

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
        named = str(self._value("SELECT VERSION()"))
        self._maria = "mariadb" in named.lower()
        kind, number = "MariaDB" if self._maria else "MySQL", named.partition("-")[0]
        self.version = f"{kind} {number}"
        if tuple(int(part) for part in number.split(".")[:2]) < _OLDEST[kind]:
            oldest = ".".join(map(str, _OLDEST[kind]))
            self._db.close()
            raise EngineMissing(
                f"The server at ${VARIABLE} is {self.version}, and queries are judged from {kind} {oldest} on. Take a "
                "newer one, or the dialect sqlite."
            )
        self._settle()
        self._scratch = f"{_PREFIX}{uuid.uuid4().hex[:16]}"
        self._open_scratch()
        self._removals: Sequence[str] = ()

    def _connect(self, url: str) -> Any:
        parts = _parts(url)
        try:
            return self._driver.connect(
                host=parts.hostname or "127.0.0.1",
                port=parts.port or 3306,
                user=unquote(parts.username or "root"),
                password=unquote(parts.password or ""),
                unix_socket=parse_qs(parts.query).get("unix_socket", [None])[0],
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

    def _settle(self) -> None:
        limit = (
            f"max_statement_time = {QUERY_SECONDS}"
            if self._maria
            else f"max_execution_time = {round(1000 * QUERY_SECONDS)}"
        )
        for setting in (
            limit,
            "time_zone = '+00:00'",
            "innodb_lock_wait_timeout = 2",
            # Four digits behind the point, by default: two ways to a mean would differ in the fifth.
            "div_precision_increment = 12",
            "wait_timeout = 3600",
        ):
            with suppress(self._driver.Error):
                self._cursor.execute(f"SET SESSION {setting}")

    def _open_scratch(self) -> None:
        """Makes the database, under a lock that ends with the session, and drops those whose session has ended."""
        try:
            self._value(f"SELECT GET_LOCK('{self._scratch}', 0)")
            self._cursor.execute(f"CREATE DATABASE {self._scratch}")
            self._cursor.execute(f"USE {self._scratch}")
        except self._driver.Error as error:
            raise EngineMissing(
                f"The user of ${VARIABLE} may not create databases, and made rows need one ({_message(error)}). "
                f"GRANT ALL ON `{_PREFIX}%`.* to it, or take the dialect sqlite."
            ) from None
        with suppress(self._driver.Error):
            self._cursor.execute(f"SHOW DATABASES LIKE '{_PREFIX.replace('_', chr(92) + '_')}%'")
            for (name,) in self._cursor.fetchall():
                if name != self._scratch and self._value(f"SELECT IS_FREE_LOCK('{name}')"):
                    self._cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def _value(self, sql: str) -> Any:
        self._cursor.execute(sql)
        return self._cursor.fetchone()[0]

    def temporary(self, views: bool) -> str:
        """MariaDB's views read no temporary tables."""
        return "TEMPORARY" if self._maria and not views else ""

    def begin(self, creations: Sequence[str], removals: Sequence[str]) -> None:
        """See `Engine`."""
        self.end()
        self._removals = removals
        creations = creations if self._maria else [_in_its_words(statement) for statement in creations]
        try:
            for statement in creations:
                self._cursor.execute(statement)
        except self._driver.Error as error:
            raise self._failure(error) from None

    def fill(self, insertions: Sequence[str]) -> None:
        """See `Engine`; a transaction that only reads takes rows into temporary tables."""
        only = " READ ONLY" if self._maria and self._temporary() else ""
        try:
            self._cursor.execute(";".join(["ROLLBACK", f"START TRANSACTION{only}", *insertions]))
            while self._cursor.nextset():
                pass
        except self._driver.Error as error:
            raise self._failure(error) from None

    def _temporary(self) -> bool:
        return any("TEMPORARY" in statement for statement in self._removals)

    def query(self, sql: str, seconds: float, max_rows: int) -> Result:
        """See `Engine`; rows are fetched one by one, so that no more are kept than are wanted."""
        cursor = self._db.cursor(self._driver.cursors.SSCursor)
        try:
            cursor.execute(sql)
            columns = tuple(str(item[0]) for item in cursor.description or ())
            fetched = cursor.fetchmany(max_rows + 1)
            rows = [tuple(map(compared, row)) for row in fetched[:max_rows]]
            return Result(columns, rows, len(fetched) > max_rows)
        except (self._driver.Error, ValueError, OverflowError) as error:
            raise self._failure(error) from None
        finally:
            with suppress(self._driver.Error):
                cursor.close()

    def _failure(self, error: Exception) -> QueryFailed:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        # Where it lies is no part of what is wrong, and another name in each session.
        message = _message(error).replace(f"{self._scratch}.", "")
        if number in _GONE or not self._db.open:
            raise EngineLost(f"The connection to MySQL broke: {message}") from error
        if number in _TIME:
            return QueryFailed("timeout", "it takes too long")
        if number in _MEMORY:
            return QueryFailed("timeout", f"it takes too much memory ({message})", out_of_memory=True)
        return QueryFailed("refused" if number in _DENIED else "error", message, by_rows=number in _BY_ROWS)

    def end(self) -> None:
        """See `Engine`."""
        if self._removals:
            with suppress(self._driver.Error):
                self._cursor.execute("ROLLBACK")
            for statement in self._removals:
                with suppress(self._driver.Error):
                    self._cursor.execute(statement)
        self._removals = ()

    def close(self) -> None:
        """See `Engine`; drops the session's database."""
        with suppress(self._driver.Error):
            self._cursor.execute(f"DROP DATABASE IF EXISTS {self._scratch}")
        with suppress(self._driver.Error):
            self._db.close()


def _in_its_words(statement: str) -> str:
    """A statement with the collations of MariaDB as MySQL calls them."""
    for theirs, own in IN_MYSQL.items():
        statement = statement.replace(f"COLLATE {theirs}", f"COLLATE {own}")
    return statement


def _parts(url: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        EngineMissing: It is none of MySQL's; the message does not repeat it, because a password may be in it.
    """
    try:
        found = urlsplit(url)
        known = dialect_named(found.scheme) == "mysql" and found.port != 0
    except ValueError:
        known = False
    if not known:
        raise EngineMissing(
            f"${VARIABLE} is no URL of a MySQL, such as mysql://user@127.0.0.1:3306/ (signs in a password are written "
            "as %XX). Correct it, or take the dialect sqlite."
        )
    return found


def _message(error: Exception) -> str:
    """The text of an error of the driver, whose first argument is a number."""
    return str(error.args[1]) if len(error.args) > 1 else first_line(error)


def _conversions(driver: Any) -> dict[Any, Callable[..., Any]]:
    """The driver's readers of values, but those of moments: MySQL has days that Python's calendar does not."""
    kinds = driver.constants.FIELD_TYPE
    found = dict(driver.converters.conversions)
    for kind in (kinds.DATE, kinds.TIME, kinds.NEWDATE):
        found[kind] = str
    for kind in (kinds.DATETIME, kinds.TIMESTAMP):
        found[kind] = moment
    for kind in (kinds.DECIMAL, kinds.NEWDECIMAL):
        found[kind] = lambda text: exact(Decimal(text))
    return found
