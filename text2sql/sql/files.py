"""Reading SQLite files that belong to data: their schemas and some of their rows. Files are opened read-only."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from text2sql.errors import UserError


def open_read_only(path: str) -> sqlite3.Connection:
    """A connection that takes no lock and writes no journal."""
    return sqlite3.connect(f"file:{quote(str(Path(path).resolve()))}?mode=ro&immutable=1", uri=True)


def file_schema(path: str) -> str:
    """The CREATE TABLE statements of a database file."""
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
    name = '"' + table.replace('"', '""') + '"'
    try:
        with closing(open_read_only(path)) as db:
            db.text_factory = lambda raw: raw.decode("utf-8", "replace")
            if not db.execute("SELECT 1 FROM sqlite_master WHERE lower(name) = lower(?)", (table,)).fetchone():
                return [], []
            cursor = db.execute(f"SELECT * FROM {name} LIMIT ?", (count,))
            return [column[0] for column in cursor.description], cursor.fetchall()
    except sqlite3.Error as error:
        raise UserError(f"{path} is not a SQLite database that can be read ({error}).") from error
