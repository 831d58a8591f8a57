"""A connection to a database of the user's: what may run there, how long, and how much of it comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from text2sql.engines.dialect import Dialect
from text2sql.engines.guard import Reach, guarded
from text2sql.engines.url import Location
from text2sql.sql.sandbox import Result


@dataclass(frozen=True)
class Limits:
    """What one query may take.

    Attributes:
        seconds: Time in the engine.
        rows: Rows that are fetched; there may be more, which `Result.overflow` says.
        size: Bytes of text and blobs that are fetched.
        steps: Instructions of SQLite's virtual machine.
    """

    seconds: float = 30.0
    rows: int = 100
    size: int = 16 * 2**20
    steps: int = 10**9


USUAL = Limits()


class Database(Protocol):
    """One connection to a database of the user's; nothing is changed through it."""

    @property
    def location(self) -> Location:
        """Where it is."""
        ...

    @property
    def engine(self) -> str:
        """The engine with its version, such as ``PostgreSQL 15.20``."""
        ...

    def run(self, sql: str, limits: Limits = USUAL) -> Result:
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


def admitted(sql: str, dialect: Dialect) -> str:
    """A query that the guard lets pass, as the engine is to be given it (QueryFailed for any other)."""
    return guarded(sql, dialect, Reach())
