"""Creates tables in SQLite and inserts rows; parts of a declaration that SQLite does not accept are left out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from text2sql.sql.schema import TableSchema
from text2sql.sql.tokens import quote_identifier
from text2sql.sql.values import Row


def create_table(db: sqlite3.Connection, table: TableSchema) -> None:
    """Creates a table, if necessary without its CHECKs, then without generated columns and full-text module.

    CHECKs, and unique indexes of expressions or of some rows, are left out one by one.
    """
    for variant in _simplified(db, table):
        try:
            db.execute(variant.ddl())
            break
        except sqlite3.Error as error:
            failure = error
    else:
        raise failure
    for number, index in enumerate(table.indexes):
        name = quote_identifier(f"{table.name} unique {number}")
        with suppress(sqlite3.Error):
            db.execute(f"CREATE UNIQUE INDEX {name} ON {quote_identifier(table.name)} {index}")


def _simplified(db: sqlite3.Connection, table: TableSchema) -> Iterator[TableSchema]:
    """A table with fewer and fewer parts of its declaration."""
    yield table
    if len(table.checks) > 1:
        yield replace(table, checks=[check for check in table.checks if _accepts_check(db, table, check)])
    yield replace(table, checks=[])
    columns = {key: replace(column, generated="") for key, column in table.columns.items()}
    yield replace(table, checks=[], full_text="", columns=columns)


def _accepts_check(db: sqlite3.Connection, table: TableSchema, check: str) -> bool:
    with suppress(sqlite3.Error):
        db.execute(replace(table, checks=[check]).ddl())
        db.execute(f"DROP TABLE {quote_identifier(table.name)}")
        return True
    return False


def insert_statement(table: TableSchema, name: str, data: list[Row]) -> tuple[str, list[Row]]:
    """The INSERT statement for rows, and its parameters; SQLite computes generated columns itself."""
    stored_columns = table.stored_columns
    placeholders = ",".join("?" * len(stored_columns))
    if len(stored_columns) == len(table.columns):
        return f"INSERT OR IGNORE INTO {name} VALUES ({placeholders})", data
    columns = ",".join(quote_identifier(table.columns[key].name) for key in stored_columns)
    indexes = [index for index, key in enumerate(table.columns) if key in set(stored_columns)]
    parameters = [tuple(row[index] for index in indexes) for row in data]
    return f"INSERT OR IGNORE INTO {name} ({columns}) VALUES ({placeholders})", parameters
