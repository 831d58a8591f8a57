"""Where both queries of a pair run: the protocol of `SqliteSandbox` and of `EngineSandbox`."""

from __future__ import annotations

from typing import Protocol

from text2sql.sql.sandbox import Result
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Row


class Sandbox(Protocol):
    """A scratch database that is filled with generated rows, queried, and filled again.

    Every method that runs a query raises `QueryFailed`.
    """

    @property
    def refusing(self) -> bool:
        """Whether rows are changed as they are stored, so that keys must be looked at again."""

    @property
    def steps(self) -> int:
        """What the last query cost, in instructions of SQLite's virtual machine."""

    def load(self, rows: dict[str, tuple[TableSchema, list[Row]]]) -> object:
        """Replaces the contents of the tables."""

    def stored(self, table: TableSchema) -> list[Row]:
        """All rows of a table as it keeps them."""

    def perturb(self, *, reverse: bool = False, indexes: bool = True) -> None:
        """Changes what SQL leaves open, such as the order in which scans meet rows."""

    def check(self, sql: str) -> None:
        """Compiles a query."""

    def run(self, sql: str, max_steps: int, seconds: float) -> Result:
        """Runs a query within limits."""

    def close(self) -> None:
        """Drops the database."""
