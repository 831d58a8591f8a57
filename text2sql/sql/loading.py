"""Tables and rows written into a SQLite connection: what SQLite does not understand of a declaration is left out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from text2sql.sql.schema import TableSchema
from text2sql.sql.tokens import quote_identifier
from text2sql.sql.values import Row


def create_table(db: sqlite3.Connection, table: TableSchema) -> None:
    """Creates a table, without what SQLite does not understand: CHECKs, then its generated columns and modules.

    Its CHECKs are left out one by one, and so are its unique indexes of expressions or of some rows.
    """
    for form in _forms(db, table):
        try:
            db.execute(form.ddl())
            break
        except sqlite3.Error as error:
            failure = error
    else:
        raise failure
    for number, index in enumerate(table.indexes):
        name = quote_identifier(f"{table.name} unique {number}")
        with suppress(sqlite3.Error):
            db.execute(f"CREATE UNIQUE INDEX {name} ON {quote_identifier(table.name)} {index}")


def _forms(db: sqlite3.Connection, table: TableSchema) -> Iterator[TableSchema]:
    """A table with less and less of its declaration."""
    yield table
    if len(table.checks) > 1:
        yield replace(table, checks=[check for check in table.checks if _understands(db, table, check)])
    yield replace(table, checks=[])
    columns = {key: replace(column, generated="") for key, column in table.columns.items()}
    yield replace(table, checks=[], full_text="", columns=columns)


def _understands(db: sqlite3.Connection, table: TableSchema, check: str) -> bool:
    with suppress(sqlite3.Error):
        db.execute(replace(table, checks=[check]).ddl())
        db.execute(f"DROP TABLE {quote_identifier(table.name)}")
        return True
    return False


def insertion(table: TableSchema, name: str, data: list[Row]) -> tuple[str, list[Row]]:
    """The statement that stores rows, and what it is given: SQLite computes generated columns itself."""
    given = table.given
    places = ",".join("?" * len(given))
    if len(given) == len(table.columns):
        return f"INSERT OR IGNORE INTO {name} VALUES ({places})", data
    columns = ",".join(quote_identifier(table.columns[key].name) for key in given)
    kept = [at for at, key in enumerate(table.columns) if key in set(given)]
    stored = [tuple(row[at] for at in kept) for row in data]
    return f"INSERT OR IGNORE INTO {name} ({columns}) VALUES ({places})", stored
