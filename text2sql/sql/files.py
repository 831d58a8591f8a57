"""Databases as data sets ship them: SQLite files, opened read-only, and the schemas of a ``tables.json``."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from text2sql.errors import UserError
from text2sql.rows import read_rows
from text2sql.sql.tokens import quote_identifier


def open_read_only(path: str, **options: Any) -> sqlite3.Connection:
    """A connection that takes no lock and writes no journal.

    Args:
        path: A database file.
        **options: Further options of `sqlite3.connect`.

    Raises:
        sqlite3.Error: The file is not there. Whether it is a database shows with the first query.
    """
    return sqlite3.connect(f"file:{quote(str(Path(path).resolve()))}?mode=ro&immutable=1", uri=True, **options)


def file_schema(path: str) -> str:
    """The CREATE TABLE statements of a database file.

    Raises:
        sqlite3.Error: The file is not there, or is no database.
    """
    with closing(open_read_only(path)) as db:
        rows: Sequence[tuple[str]] = db.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return ";\n".join(row[0] for row in rows)


def first_rows(path: str, table: str, count: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and the first rows of a table.

    Raises:
        UserError: The file is no database; a table that it does not have is an empty answer.
    """
    try:
        with closing(open_read_only(path)) as db:
            db.text_factory = lambda raw: raw.decode("utf-8", "replace")
            if not db.execute("SELECT 1 FROM sqlite_master WHERE lower(name) = lower(?)", (table,)).fetchone():
                return [], []
            cursor = db.execute(f"SELECT * FROM {quote_identifier(table)} LIMIT ?", (count,))
            return [column[0] for column in cursor.description], cursor.fetchall()
    except sqlite3.Error as error:
        raise UserError(f"{path} is not a SQLite database that can be read ({error}).") from error


# What the types of Spider's tables.json stand for. It has one word for DATE, DATETIME and TIMESTAMP; of the columns of
# Spider's databases to which it gives that word, four fifths are DATETIME. BIRD names SQLite's own types.
_TABLES_JSON_TYPES = {"text": "TEXT", "number": "NUMERIC", "time": "DATETIME", "boolean": "BOOLEAN", "others": "TEXT"}


def read_tables_json(path: Path, what: str) -> dict[str, str]:
    """The schemas of a ``tables.json`` of Spider or BIRD, as CREATE TABLE statements by db_id.

    Args:
        path: The file.
        what: What it is for, for messages: a key of the configuration or an option.

    Raises:
        UserError: The file is missing, or laid out otherwise.
    """
    rows = read_rows(path, what)
    try:
        return {row["db_id"]: tables_json_schema(row) for row in rows}
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise UserError(
            f"{what}: {path} is not laid out like the tables.json of Spider or BIRD ({type(error).__name__}: {error}); "
            "each entry needs db_id, table_names_original, column_names_original, column_types, primary_keys and "
            "foreign_keys."
        ) from error


def tables_json_schema(entry: Mapping[str, Any]) -> str:
    """The CREATE TABLE statements of one entry, as training shows them and as `text2sql evaluate --tables` reads them.

    A key of several columns keeps the order in which the entry lists them.
    """
    names, columns, types = entry["table_names_original"], entry["column_names_original"], entry["column_types"]
    # A key of several columns is a list, or its columns are listed one by one like keys of one column.
    primary = [place for key in entry["primary_keys"] for place in (key if isinstance(key, list) else [key])]
    statements = []
    for number, name in enumerate(names):
        own = [place for place, (table, _) in enumerate(columns) if table == number]
        lines = [f"{_quoted(columns[p][1])} {_TABLES_JSON_TYPES.get(types[p], types[p].upper())}" for p in own]
        key = [_quoted(columns[place][1]) for place in primary if place in own]
        if key:
            lines.append(f"PRIMARY KEY ({', '.join(key)})")
        for here, there in entry["foreign_keys"]:
            if here in own:
                target, column = columns[there]
                lines.append(
                    f"FOREIGN KEY ({_quoted(columns[here][1])}) REFERENCES {_quoted(names[target])} ({_quoted(column)})"
                )
        statements.append(f"CREATE TABLE {_quoted(name)} (\n  " + ",\n  ".join(lines) + "\n)")
    return ";\n".join(statements)


def _quoted(name: str) -> str:
    return quote_identifier(name, '"')
