"""A database that questions are asked about; every query opens its own connection.

Minutes may pass between two questions, in which a server may end an idle session, so no connection is kept open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from text2sql.engines.dialect import Dialect
from text2sql.engines.url import Location, locate
from text2sql.engines.user_databases.connection import DEFAULT_LIMITS, Database, Limits
from text2sql.engines.user_databases.inspect import DatabaseSchema, read_schema
from text2sql.engines.user_databases.opening import open_database
from text2sql.errors import UserError
from text2sql.sql.sandbox import Result
from text2sql.sql.values import Row


@dataclass(frozen=True)
class UserDatabase:
    """A user's database.

    Attributes:
        location: The database's location.
        schema: The schema at the time of reading.
        engine: The engine with its version.
        allow_writable_role: Whether its role may be one that could write.
    """

    location: Location
    schema: DatabaseSchema
    engine: str
    allow_writable_role: bool = False

    @classmethod
    def read(
        cls, source: str | Path | Location, *, allow_writable_role: bool = False, what: str = "--database"
    ) -> UserDatabase:
        """Read the schema of a database.

        Args:
            source: A path, a URL, or a location.
            allow_writable_role: Whether its role may be one that could write.
            what: What it is for, for messages: an option or a key.

        Raises:
            UserError: It cannot be reached or read, its role may write, or it has no tables.
        """
        location = source if isinstance(source, Location) else locate(str(source), what)
        with open_database(location, allow_writable_role=allow_writable_role, what=what) as database:
            return cls(location, read_schema(database, what), database.engine, allow_writable_role)

    @property
    def dialect(self) -> Dialect:
        """The dialect of its queries."""
        return self.location.dialect

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Result:
        """Run one query that reads.

        Raises:
            QueryFailed: It fails, does more than read, or exceeds a limit.
            UserError: The database cannot be reached any more.
        """
        with self._opened() as database:
            return database.run(sql, limits)

    @contextmanager
    def first_rows(self) -> Iterator[Callable[[str, int], tuple[list[str], list[Row]]]]:
        """A function that reads the first rows of tables, over one connection.

        Of a table's name in lower case and a number of rows it gives column names and rows; both are empty if there are
        none to be read.
        """
        with self._opened() as database:
            yield lambda table, count: self.schema.first_rows(database, table, count)

    def _opened(self) -> AbstractContextManager[Database]:
        if self.location.path is not None and not self.location.path.is_file():
            raise UserError(f"{self.location.display_name} cannot be read any more: the file is gone.")
        return open_database(self.location, allow_writable_role=self.allow_writable_role, what="The database")
