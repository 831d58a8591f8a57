"""The interface of an engine: a connection on which made databases are filled and queried, again and again."""

from __future__ import annotations

import atexit
import importlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.errors import UserError
from text2sql.sql.sandbox import Result

# Wall-clock limit of one query on a made database, which takes milliseconds unless the machine is busy.
QUERY_SECONDS = 4.0


class Engine(Protocol):
    """A connection to an engine; nothing that is created on it outlives a pair.

    Attributes:
        dialect: The engine's dialect.
        version: The product and its version for people: ``PostgreSQL 15.2``.
    """

    dialect: Dialect
    version: str

    def table_modifier(self, has_views: bool) -> str:
        """The word before TABLE and VIEW in CREATE statements: TEMPORARY or nothing."""

    def create_tables(self, create_statements: Sequence[str], drop_statements: Sequence[str]) -> None:
        """Creates a pair's tables in scratch space.

        Args:
            create_statements: The statements that create them.
            drop_statements: The statements that drop them, in order.

        Raises:
            QueryFailed: The engine does not accept them.
        """

    def replace_rows(self, insert_statements: Sequence[str]) -> None:
        """Replaces all rows by those of the statements."""

    def query(self, sql: str, seconds: float, max_rows: int) -> Result:
        """Runs a query that the guard has let pass.

        Args:
            sql: The query.
            seconds: The time limit; an engine with a limit of its own may use that instead.
            max_rows: Rows to fetch at most.

        Raises:
            QueryFailed: On errors of the query and exceeded limits.
        """

    def drop_tables(self) -> None:
        """Drops what `create_tables` has created."""

    def close(self) -> None:
        """Closes the connection."""


@dataclass(frozen=True)
class _EngineClass:
    """The class of an engine, which is imported on first use."""

    module: str
    class_name: str


_ENGINE_CLASSES: dict[Dialect, _EngineClass] = {
    "duckdb": _EngineClass("text2sql.engines.sandbox.duckdb_engine", "DuckDBEngine"),
    "postgres": _EngineClass("text2sql.engines.sandbox.postgres_engine", "PostgreSQLEngine"),
    "mysql": _EngineClass("text2sql.engines.sandbox.mysql_engine", "MySQLEngine"),
}


class EngineMissing(UserError):
    """The engine of a dialect is not available; the message says why, and what to do."""


class EngineLost(Exception):
    """The connection to an engine broke, or the engine crashed; the message says which."""


# One connection for each dialect, because a process compares one pair after the other.
_OPEN_ENGINES: dict[Dialect, Engine] = {}


def _close_all() -> None:
    for dialect in list(_OPEN_ENGINES):
        close_engine(dialect)


atexit.register(_close_all)


def open_engine(dialect: Dialect) -> Engine:
    """The engine of a dialect; the process's first call opens it, later calls reuse it.

    Raises:
        EngineMissing: There is no driver or no server.
    """
    if dialect not in _ENGINE_CLASSES:
        raise EngineMissing(f"{DISPLAY_NAMES[dialect]} is not an engine that is opened.")
    if dialect not in _OPEN_ENGINES:
        engine_class = _ENGINE_CLASSES[dialect]
        _OPEN_ENGINES[dialect] = getattr(importlib.import_module(engine_class.module), engine_class.class_name)()
    return _OPEN_ENGINES[dialect]


def engine_versions(dialects: Collection[Dialect]) -> dict[Dialect, str]:
    """The products and versions of the engines of some dialects; each engine is opened.

    Raises:
        EngineMissing: One of them is not available.
    """
    return {dialect: open_engine(dialect).version for dialect in sorted(dialects)}


def close_engine(dialect: Dialect) -> None:
    """Closes the connection to an engine; the next `open_engine` opens a new one."""
    engine = _OPEN_ENGINES.pop(dialect, None)
    if engine is not None:
        engine.close()
