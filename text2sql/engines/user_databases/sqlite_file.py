"""A user's SQLite file, read through the evaluator's sandbox."""

from __future__ import annotations

import sqlite3

from text2sql.engines.url import Location
from text2sql.engines.user_databases.connection import DEFAULT_LIMITS, Limits
from text2sql.errors import UserError
from text2sql.sql.sandbox import QueryFailed, Result, SqliteSandbox


class SqliteFile:
    """A read-only connection to a SQLite file; it takes no lock, and SQLite's authorizer decides what may run."""

    def __init__(self, location: Location, sandbox: SqliteSandbox) -> None:
        self.location, self._sandbox = location, sandbox

    @classmethod
    def open(cls, location: Location, what: str) -> SqliteFile:
        """Open a file (UserError if it is no SQLite database)."""
        try:
            return cls(location, SqliteSandbox.from_file(str(location.path)))
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"{what}: {location.display_name} is not a SQLite database that can be read ({error}). A CSV file "
                "becomes one with sqlite3 new.sqlite '.import --csv FILE data', and `text2sql demo` opens it as it is."
            ) from error

    @property
    def engine(self) -> str:
        """SQLite with its version."""
        return f"SQLite {sqlite3.sqlite_version}"

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Result:
        """Run one query that reads.

        Raises:
            QueryFailed: It fails, does more than read, or exceeds a limit.
            UserError: The file cannot be read any more.
        """
        try:
            return self._sandbox.run(sql, limits.steps, limits.seconds, limits.rows, limits.size)
        except QueryFailed as error:
            if "malformed" in str(error) or "not a database" in str(error):
                raise UserError(f"{self.location.display_name} is a damaged SQLite database: {error}.") from error
            raise

    def fetch(self, sql: str) -> Result:
        """Run a query of this program's own (QueryFailed if it fails)."""
        return self._sandbox.run(sql, 10**10, 300.0, 10**9, 2**31)

    def close(self) -> None:
        """Close the file."""
        self._sandbox.close()
