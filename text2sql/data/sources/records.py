"""A row of a table as an `Example`, by the names of its columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from text2sql.data.example import Example
from text2sql.data.sources.layout import database
from text2sql.errors import UserError
from text2sql.rows import Row
from text2sql.sql.files import file_schema

FIELDS = ("question", "context", "answer")
OPTIONAL_FIELDS = ("id", "db", "db_id", "evidence", "reasoning")
Aliases = Mapping[str, Sequence[str]]


def to_examples(
    rows: Iterable[Row], name: str, location: str, columns: Mapping[str, str], aliases: Aliases, databases: Path | None
) -> list[Example]:
    """Rows as examples.

    Args:
        rows: Mappings from column to value.
        name: Prefix of the ids of rows that have none.
        location: Where the rows come from, for messages.
        columns: The column of a field, as configured.
        aliases: Columns that a known data set names otherwise, by field, tried in order.
        databases: Directory of the databases that ``db_id`` names; a row without a schema gets its database's.

    Raises:
        UserError: A row lacks a column.
    """
    check_columns(columns)
    return [_example(row, i, name, location, columns, aliases, databases) for i, row in enumerate(rows)]


def check_columns(columns: Mapping[str, str]) -> None:
    """Raise UserError for a field that no example has."""
    for field in columns:
        if field not in (*FIELDS, *OPTIONAL_FIELDS):
            raise UserError(
                f'data.columns: there is no field "{field}"; fields are {", ".join((*FIELDS, *OPTIONAL_FIELDS))}.'
            )


def _example(
    row: Row,
    index: int,
    name: str,
    location: str,
    columns: Mapping[str, str],
    aliases: Aliases,
    databases: Path | None,
) -> Example:
    values: dict[str, Any] = {}
    for field in (*FIELDS, *OPTIONAL_FIELDS):
        names = [columns[field]] if field in columns else [field, *aliases.get(field, ())]
        column = next((c for c in names if c in row), None)
        if column is None and field in FIELDS and not (field == "context" and databases):
            raise UserError(_no_column(row, index, field, names[0], location))
        value = None if column is None else row[column]
        values[field] = text(value) if field in FIELDS or value is None else str(value)
    values |= {field: values[field] or None for field in OPTIONAL_FIELDS}
    values["id"] = values["id"] or f"{name}/{index}"
    if databases and values["db_id"]:
        file = database(databases, values["db_id"])
        values["db"] = values["db"] or str(file)
        values["context"] = values["context"] or (schema_of(str(file)) if file.is_file() else "")
    return Example(**values)


def _no_column(row: Row, index: int, field: str, column: str, location: str) -> str:
    message = (
        f'data.columns: {location} has no column "{column}" for {field} in row {index + 1}; it has '
        f"{', '.join(map(str, row))}. Map it with data.columns.{field}=NAME."
    )
    if field == "context" and "db_id" in row:
        return message + " Or give the databases that db_id names with data.databases=DIRECTORY."
    return message


def text(value: Any) -> str:
    """A value as text without spaces around it; nothing is the empty text."""
    return "" if value is None else str(value).strip()


@lru_cache(maxsize=256)
def schema_of(file: str) -> str:
    """The CREATE TABLE statements of a SQLite file.

    Raises:
        UserError: It is no database.
    """
    try:
        return file_schema(file)
    except sqlite3.Error as error:
        raise UserError(f"data.databases: {file} is not a SQLite database that can be read ({error}).") from error
