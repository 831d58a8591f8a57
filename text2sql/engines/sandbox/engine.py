"""What all engines have in common: a connection on which made databases are filled and queried, again and again."""

from __future__ import annotations

import atexit
import importlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from text2sql.engines.dialect import SHOWN, Dialect
from text2sql.errors import UserError
from text2sql.sql.sandbox import Result

# Seconds on the wall for one query on a made database, which takes milliseconds unless the machine is busy.
QUERY_SECONDS = 4.0


class Engine(Protocol):
    """One connection to an engine, where nothing that is made outlives a pair.

    Attributes:
        dialect: Its dialect.
        version: What it is called with its version, for people: ``PostgreSQL 15.2``.
    """

    dialect: Dialect
    version: str

    def temporary(self, views: bool) -> str:
        """What stands before TABLE and VIEW for a pair: TEMPORARY or nothing."""

    def begin(self, creations: Sequence[str], removals: Sequence[str]) -> None:
        """Creates tables in a scratch place.

        Args:
            creations: The statements that do.
            removals: Those that undo them, in order.

        Raises:
            QueryFailed: It does not accept them.
        """

    def fill(self, insertions: Sequence[str]) -> None:
        """Replaces all rows."""

    def query(self, sql: str, seconds: float, max_rows: int) -> Result:
        """Runs a query that the guard has let pass.

        Args:
            sql: The query.
            seconds: That it may take; an engine that keeps its own limit may keep that.
            max_rows: Rows to fetch at most.

        Raises:
            QueryFailed: On errors of the query and exceeded limits.
        """

    def end(self) -> None:
        """Drops what `begin` has created."""

    def close(self) -> None:
        """Closes the connection."""


@dataclass(frozen=True)
class _Door:
    """Where an engine is opened."""

    module: str
    opener: str


_DOORS: dict[Dialect, _Door] = {
    "duckdb": _Door("text2sql.engines.sandbox.in_duckdb", "DuckDB"),
    "postgres": _Door("text2sql.engines.sandbox.in_postgres", "PostgreSQL"),
    "mysql": _Door("text2sql.engines.sandbox.in_mysql", "MySQL"),
}


class EngineMissing(UserError):
    """No engine of a dialect is to be had; the text says why, and what to do."""


class EngineLost(Exception):
    """The connection to an engine broke, or the engine itself; the text says which."""


# One connection for each dialect is enough for a process that judges one pair after the other.
_OPEN: dict[Dialect, Engine] = {}


def _close_all() -> None:
    for dialect in list(_OPEN):
        drop_engine(dialect)


atexit.register(_close_all)


def open_engine(dialect: Dialect) -> Engine:
    """The engine of a dialect, opened on the first call in a process and kept.

    Raises:
        EngineMissing: It cannot be had: no driver, no server.
    """
    if dialect not in _DOORS:
        raise EngineMissing(f"{SHOWN[dialect]} is not an engine that is opened.")
    if dialect not in _OPEN:
        door = _DOORS[dialect]
        _OPEN[dialect] = getattr(importlib.import_module(door.module), door.opener)()
    return _OPEN[dialect]


def versions_of(dialects: Collection[Dialect]) -> dict[Dialect, str]:
    """What the engines of some dialects are called, with their versions; each is opened.

    Raises:
        EngineMissing: One of them cannot be had.
    """
    return {dialect: open_engine(dialect).version for dialect in sorted(dialects)}


def drop_engine(dialect: Dialect) -> None:
    """Closes the connection to an engine: the next call opens another, as after one that died."""
    engine = _OPEN.pop(dialect, None)
    if engine is not None:
        engine.close()
