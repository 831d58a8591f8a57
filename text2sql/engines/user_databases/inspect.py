"""The schema of a user's database, from its catalogue: the tables that the connection's role may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from text2sql.engines.dialect import DISPLAY_NAMES
from text2sql.engines.user_databases.connection import Database
from text2sql.engines.user_databases.duckdb_catalogue import duckdb_tables
from text2sql.engines.user_databases.server_catalogue import server_tables
from text2sql.engines.user_databases.table_text import statements
from text2sql.errors import UserError
from text2sql.sql.files import file_schema, first_rows
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.values import Row

if TYPE_CHECKING:
    from text2sql.engines.user_databases.server import Server


@dataclass(frozen=True)
class DatabaseSchema:
    """The schema of a database, as far as its role may read it.

    Attributes:
        text: CREATE TABLE and CREATE VIEW statements.
        sql_names: By lower-case name of a table, the name as queries must write it; empty for a SQLite file.
        selections: By lower-case name of a table, its readable columns as queries must write them, behind SELECT.
    """

    text: str
    sql_names: Mapping[str, str]
    selections: Mapping[str, str] = field(default_factory=dict)

    def first_rows(self, database: Database, table: str, count: int) -> tuple[list[str], list[Row]]:
        """Column names and the first rows of a table; empty for one that is not there or cannot be read.

        Args:
            database: An open connection to the database of this schema.
            table: The table's name, in lower case.
            count: Rows at most.
        """
        location = database.location
        if location.dialect == "sqlite":
            return first_rows(str(location.path), table, count)
        if table not in self.sql_names:
            return [], []
        try:
            result = database.fetch(f"SELECT {self.selections[table]} FROM {self.sql_names[table]} LIMIT {count}")
        except QueryFailed:
            return [], []
        return [*result.columns], result.rows


def read_schema(database: Database, what: str = "--database") -> DatabaseSchema:
    """The schema of an open database.

    Raises:
        UserError: It has no table that its role may read, or the connection is lost.
    """
    location = database.location
    try:
        if location.dialect == "sqlite":
            text = file_schema(str(location.path))
            return _require_tables(DatabaseSchema(text, {}), database, what)
        tables, quote = (
            duckdb_tables(database) if location.dialect == "duckdb" else server_tables(cast("Server", database))
        )
    except QueryFailed as error:
        raise UserError(f"{what}: the schema of {location.display_name} cannot be read ({error}).") from error
    schema = DatabaseSchema(
        statements(tables, location.dialect, quote),
        {table.name.lower(): table.sql_name for table in tables},
        {table.name.lower(): ", ".join(quote(column.name) for column in table.columns) for table in tables},
    )
    return _require_tables(schema, database, what)


def _require_tables(schema: DatabaseSchema, database: Database, what: str) -> DatabaseSchema:
    if schema.text:
        return schema
    name = database.location.display_name
    if database.location.path is not None:
        raise UserError(f"{what}: {name} has no tables.")
    engine = DISPLAY_NAMES[database.location.dialect]
    raise UserError(
        f"{what}: {engine} at {name} has no tables that its role may read; give the role "
        "SELECT on some, or look at the name of the database."
    )
