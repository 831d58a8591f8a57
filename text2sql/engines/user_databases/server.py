"""A database on a server, PostgreSQL or MySQL, through SQLAlchemy: each query in a read-only transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from text2sql.engines.dialect import Dialect
from text2sql.engines.failures import explain_connection_failure, first_line, is_connection_lost, to_query_failed
from text2sql.engines.url import Location
from text2sql.engines.user_databases.connection import DEFAULT_LIMITS, Limits, guard_user_query
from text2sql.engines.user_databases.roles import mysql_rights, postgres_rights
from text2sql.engines.values.fetched import display_value
from text2sql.errors import UserError
from text2sql.sql.sandbox import QueryFailed, Result
from text2sql.sql.values import Row

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

# Seconds until a server must have accepted a connection.
_CONNECT_SECONDS = 10
# Seconds that a query of this program's own, such as one that reads a catalogue, may take.
_CATALOGUE_SECONDS = 300
# Rows per fetch.
_FETCH_ROWS = 100
# The oldest versions that have everything used here.
_OLDEST: dict[str, tuple[int, int]] = {"PostgreSQL": (12, 0), "MySQL": (8, 0), "MariaDB": (10, 5)}
_SESSION: dict[Dialect, tuple[str, ...]] = {
    "postgres": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        f"SET statement_timeout = '{_CATALOGUE_SECONDS}s'",
        "SET lock_timeout = '5s'",
        "SET datestyle = 'ISO'",
        "SET idle_in_transaction_session_timeout = '600s'",
    ),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION lock_wait_timeout = 5"),
}


# PostgreSQL's types whose Python values say all that the server's do.
_POSTGRES_PYTHON_TYPES = frozenset(("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "bytea"))


class Server:
    """A connection to a server; after it is lost, the next query opens another."""

    def __init__(self, location: Location, engine: Engine, connection: Connection) -> None:
        self.location, self.connection = location, connection
        self._engine = engine
        name, version = _version(connection)
        self.engine = f"{name} {'.'.join(map(str, version))}"
        self._name = name

    @classmethod
    def open(cls, location: Location, what: str, *, allow_writable_role: bool) -> Server:
        """Open a connection.

        Raises:
            UserError: The server cannot be reached, is too old, or its role may write, which is not allowed.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            engine = _engine(location)
            server = cls(location, engine, engine.connect())
        except (SQLAlchemyError, OSError, UnicodeError, _driver_error(location.dialect)) as error:
            raise UserError(f"{what}: {explain_connection_failure(location, _cause(error))}") from None
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            # SQLAlchemy and PyMySQL take the options of a URL as they come.
            raise UserError(
                f"{what}: {location.display_name}: an option behind the ? of the URL cannot be used "
                f"({location.redact(first_line(error))}). Mend it, or leave it out."
            ) from None
        try:
            server._check_version(what)
            if not allow_writable_role:
                server._check_role(what)
        except QueryFailed as error:
            server.close()
            raise UserError(f"{what}: {location.display_name} does not tell what its role may do ({error}).") from error
        except BaseException:
            server.close()
            raise
        return server

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Result:
        """Run one query that reads.

        Raises:
            QueryFailed: It fails, does more than read, or exceeds a limit.
            UserError: The connection is lost; the next query opens another.
        """
        return self._run(guard_user_query(sql, self.location.dialect), limits)

    def fetch(self, sql: str) -> Result:
        """Run a query of this program's own.

        Raises:
            QueryFailed: It fails.
            UserError: The connection is lost; the next query opens another.
        """
        return self._run(sql, Limits(_CATALOGUE_SECONDS, 10**9, 2**31))

    def close(self) -> None:
        """Close the connection."""
        with suppress(Exception):
            self.connection.close()
        self._engine.dispose()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Translate the driver's errors inside the block.

        Raises:
            QueryFailed: The server refuses what it is asked.
            UserError: The connection is lost.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, OSError, _driver_error(self.location.dialect)) as error:
            cause = _cause(error)
            if is_connection_lost(cause) or isinstance(cause, OSError) or self.connection.invalidated:
                self.connection.invalidate()
                raise UserError(self._lost(cause)) from None
            raise to_query_failed(cause) from None
        except (ValueError, OverflowError) as error:
            raise QueryFailed("error", f"a value of its result cannot be read ({error})") from None

    def _run(self, sql: str, limits: Limits) -> Result:
        with self.failures():
            raw: Any = self.connection.connection.driver_connection
            if self.location.dialect == "postgres":
                return _run_postgres(raw, sql, limits)
            result, whole = _run_mysql(raw, sql, limits, mariadb=self._name == "MariaDB")
            if not whole:
                # The rest of the result would have to be read before the connection can be used again.
                self.connection.invalidate()
            return result

    def _lost(self, cause: BaseException) -> str:
        message = self.location.redact(first_line(cause))
        name = self.location.display_name
        return f"The connection to {name} is lost ({message}). Run the same command again when the server answers."

    def _check_version(self, what: str) -> None:
        name, version = _version(self.connection)
        oldest = _OLDEST[name]
        if version[:2] < oldest:
            raise UserError(
                f"{what}: {self.location.display_name} is {self.engine}; at least {name} "
                f"{'.'.join(map(str, oldest))} is needed. Load a dump of it into a newer server."
            )

    def _check_role(self, what: str) -> None:
        if self.location.dialect == "postgres":
            rights = postgres_rights(self._rows, int(self.connection.connection.driver_connection.info.server_version))  # type: ignore[union-attr]
            advice = "GRANT pg_read_all_data TO READER, or GRANT SELECT ON ALL TABLES IN SCHEMA public TO READER"
        else:
            rights = mysql_rights(self._rows)
            advice = "GRANT SELECT ON NAME.* TO READER"
        if rights:
            raise UserError(
                f"{what}: the role of {self.location.display_name} may write: {rights}. Make one that only reads "
                f"({advice}), or add --allow-writable-role; queries run in read-only transactions all the same."
            )

    def _rows(self, sql: str) -> Sequence[Row]:
        return self.fetch(sql).rows


def _engine(location: Location) -> Engine:
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    assert location.url is not None
    arguments: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS}
    if location.dialect == "postgres":
        arguments |= {"application_name": "text2sql"}
    elif location.url.password:
        # PyMySQL would encode a str as Latin-1; servers store passwords that clients have set in UTF-8.
        arguments |= {"password": str(location.url.password).encode()}
    engine = create_engine(location.url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _restrict(raw: Any, _record: Any) -> None:
        cursor = raw.cursor()
        for statement in _SESSION[location.dialect]:
            cursor.execute(statement)
        cursor.close()
        raw.commit()

    return engine


def _run_postgres(raw: Any, sql: str, limits: Limits) -> Result:
    """One query in a transaction that is rolled back; the protocol takes one statement alone."""
    raw.rollback()
    try:
        with raw.cursor() as cursor:
            _read_as_text(cursor)
            cursor.execute(f"SET LOCAL statement_timeout = {int(limits.seconds * 1000)}")
            stream = cursor.stream(sql, size=_FETCH_ROWS)
            rows, overflow = _fetch(stream, limits)
            # Ends the query on the server if rows are left.
            stream.close()
            columns = tuple(column.name for column in cursor.description or ()) or _describe_columns(raw, sql)
            return Result(columns, rows, overflow)
    finally:
        if not raw.closed:
            raw.rollback()


def _read_as_text(cursor: Any) -> None:
    """Has a cursor return what PostgreSQL writes for a value, unless it is one that Python has without loss.

    The driver fails on a date that Python lacks, such as an infinite one or one before Christ.
    """
    from psycopg.types.string import TextLoader

    for info in cursor.adapters.types:
        if info.name not in _POSTGRES_PYTHON_TYPES:
            cursor.adapters.register_loader(info.oid, TextLoader)
        if info.array_oid:
            cursor.adapters.register_loader(info.array_oid, TextLoader)


def _describe_columns(raw: Any, sql: str) -> tuple[str, ...]:
    """The column names of a query without rows, for which the driver reports none."""
    raw.pgconn.prepare(b"", sql.encode())
    described = raw.pgconn.describe_prepared(b"")
    return tuple((described.fname(index) or b"").decode() for index in range(described.nfields))


def _run_mysql(raw: Any, sql: str, limits: Limits, *, mariadb: bool) -> tuple[Result, bool]:
    """One query in a transaction that is rolled back, and whether its whole result has been read."""
    from pymysql.cursors import SSCursor

    timeout = (
        f"max_statement_time = {limits.seconds}" if mariadb else f"max_execution_time = {int(limits.seconds * 1000)}"
    )
    with raw.cursor() as cursor:
        cursor.execute(f"SET SESSION {timeout}")
        cursor.execute("START TRANSACTION READ ONLY")
    cursor = SSCursor(raw)
    decoders, raw.decoders = raw.decoders, _mysql_decoders()
    try:
        cursor.execute(sql)
    finally:
        raw.decoders = decoders
    columns = tuple(str(column[0]) for column in cursor.description or ())
    rows, overflow = _fetch(iter(cursor.fetchone, None), limits)
    if overflow:
        return Result(columns, rows, overflow), False
    cursor.close()
    raw.rollback()
    return Result(columns, rows, overflow), True


@cache
def _mysql_decoders() -> dict[int, Callable[[Any], Any]]:
    """The driver's decoders of numbers alone, and one of bits: every other value is what the server writes.

    Python has no date 0000-00-00, and none of its types is a TIME of more than a day.
    """
    from pymysql.constants import FIELD_TYPE
    from pymysql.converters import decoders

    numbers = ("TINY", "SHORT", "LONG", "LONGLONG", "INT24", "YEAR", "FLOAT", "DOUBLE", "DECIMAL", "NEWDECIMAL")
    kept = {code: decoders[code] for code in (getattr(FIELD_TYPE, name) for name in numbers) if code in decoders}
    return {**kept, FIELD_TYPE.BIT: lambda bits: int.from_bytes(bits, "big")}


def _fetch(stream: Iterator[Sequence[Any]], limits: Limits) -> tuple[list[Row], bool]:
    """Rows up to the limits, and whether there were more."""
    rows: list[Row] = []
    size = 0
    for row in islice(stream, limits.rows + 1):
        if len(rows) == limits.rows or size > limits.size:
            return rows, True
        rows.append(tuple(display_value(value) for value in row))
        size += sum(len(value) for value in rows[-1] if isinstance(value, (str, bytes)))
    return rows, False


def _version(connection: Connection) -> tuple[str, tuple[int, ...]]:
    """The server's product name and version."""
    dialect: Any = connection.dialect
    version = tuple(part for part in dialect.server_version_info or (0,) if isinstance(part, int))
    if dialect.name == "postgresql":
        return "PostgreSQL", version
    return ("MariaDB" if dialect.is_mariadb else "MySQL"), version


def _driver_error(dialect: Dialect) -> type[Exception]:
    if dialect == "postgres":
        import psycopg

        return psycopg.Error
    import pymysql

    error: type[Exception] = pymysql.Error
    return error


def _cause(error: BaseException) -> BaseException:
    """The driver's error within SQLAlchemy's wrapper."""
    return getattr(error, "orig", None) or error
