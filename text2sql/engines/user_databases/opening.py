"""Opens a user's database for reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from text2sql.engines.url import Location
from text2sql.engines.user_databases.connection import Database


@contextmanager
def open_database(
    location: Location, *, allow_writable_role: bool = False, what: str = "--database"
) -> Iterator[Database]:
    """Open a database for reading, until the end of the block.

    A file is opened read-only. On a server every query runs in a read-only transaction, under a role that has no right
    to write unless that is allowed.

    Args:
        location: The database's location.
        allow_writable_role: Whether to accept a role with rights to write.
        what: The option or key that named the database, for messages.

    Raises:
        UserError: It cannot be reached or read, its engine is too old, or its role may write.
    """
    database = _open(location, allow_writable_role, what)
    try:
        yield database
    finally:
        database.close()


def _open(location: Location, allow_writable_role: bool, what: str) -> Database:
    if location.dialect == "sqlite":
        from text2sql.engines.user_databases.sqlite_file import SqliteFile

        return SqliteFile.open(location, what)
    if location.dialect == "duckdb":
        from text2sql.engines.user_databases.duckdb_file import DuckdbFile

        return DuckdbFile.open(location, what)
    from text2sql.engines.user_databases.server import Server

    return Server.open(location, what, allow_writable_role=allow_writable_role)
