"""The interface of a connection to a user's database, and the limits of its queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from text2sql.engines.dialect import Dialect
from text2sql.engines.url import Location
from text2sql.sql.sandbox import Result


@dataclass(frozen=True)
class Limits:
    """The limits of one query.

    Attributes:
        seconds: Time in the engine.
        rows: Rows that are fetched; `Result.overflow` says whether there are more.
        size: Bytes of text and blobs that are fetched.
        steps: Instructions of SQLite's virtual machine.
    """

    seconds: float = 30.0
    rows: int = 100
    size: int = 16 * 2**20
    steps: int = 10**9


DEFAULT_LIMITS = Limits()


class Database(Protocol):
    """A read-only connection to a user's database."""

    @property
    def location(self) -> Location:
        """The location of the database."""
        ...

    @property
    def engine(self) -> str:
        """The engine with its version, such as ``PostgreSQL 15.20``."""
        ...

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Result:
        """Run one query that reads.

        Raises:
            QueryFailed: It fails, does more than read, or exceeds a limit.
            UserError: The connection is gone.
        """
        ...

    def fetch(self, sql: str) -> Result:
        """Run a query of this program's own, such as one that reads a catalogue; limited by time alone.

        Raises:
            QueryFailed: It fails.
            UserError: The connection is gone.
        """
        ...

    def close(self) -> None:
        """Close the connection; a query that still runs is given up."""
        ...


def guard_user_query(sql: str, dialect: Dialect) -> str:
    """Checks a user's query and returns it without comments (QueryFailed if the guard refuses it)."""
    # The process of a DuckDB file is started for each query and needs the limits alone, without sqlglot.
    from text2sql.engines.guard import ReadScope, guard_query

    return guard_query(sql, dialect, ReadScope())
