"""The databases of data sets: SQLite files, opened read-only, and the schemas of a ``tables.json``."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from text2sql.errors import UserError
from text2sql.rows import read_rows
from text2sql.rows.files import special_kind
from text2sql.sql.tokens import quote_identifier
from text2sql.sql.values import Row

# Attempts to copy a database that a program may write to at the same time.
_MAX_COPIES = 5
# The journals next to a database that a program has open, or had open when it was killed: committed pages that are not
# in the file yet (WAL), and pages as they were before an unfinished transaction (rollback journal).
JOURNALS = ("-wal", "-journal")


LOG = logging.getLogger(__name__)


def open_read_only(path: str, **options: Any) -> sqlite3.Connection:
    """Opens a database without changing it or its journals, and without taking a lock.

    A database without a journal is read in place. One with a journal is read from a private copy, into which SQLite
    merges the journal, because that writes to the database's directory.

    Args:
        path: The database file.
        **options: Further options of `sqlite3.connect`.

    Raises:
        sqlite3.Error: The file is missing, or no file. One that is no database fails with the first query.
        OSError: It cannot be copied.
    """
    file = Path(path).resolve()
    if (kind := special_kind(file)) is not None:
        raise sqlite3.OperationalError(f"it is {kind}, not a file")
    if _journals(file):
        return _open_copy(file, options)
    return sqlite3.connect(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True, **options)


def _journals(file: Path) -> list[str]:
    return [suffix for suffix in JOURNALS if (path := Path(f"{file}{suffix}")).is_file() and path.stat().st_size]


def _open_copy(file: Path, options: dict[str, Any]) -> sqlite3.Connection:
    """Opens a copy of a database and its journals, which disappears when the connection is closed."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = f"{folder}/copy"
        for _ in range(_MAX_COPIES):
            before = _file_states(file)
            for suffix in ("", *_journals(file)):
                shutil.copyfile(f"{file}{suffix}", f"{copy}{suffix}")
            if _file_states(file) == before:
                break
        db = sqlite3.connect(copy, **options)
        try:
            # Only this process reads the copy, so the WAL index needs no shared-memory file.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            db.execute("PRAGMA query_only = ON")
        except sqlite3.Error:
            db.close()
            raise
        # The files are deleted while they are open, so that even a killed process leaves nothing behind.
        return db


def _file_states(file: Path) -> list[tuple[str, int, int]]:
    """The names, modification times and sizes of a database's files, which change when a program writes."""
    paths = [Path(f"{file}{suffix}") for suffix in ("", *_journals(file))]
    return [(path.name, status.st_mtime_ns, status.st_size) for path in paths for status in [path.stat()]]


def databases_directory(directory: Path) -> Path:
    """The directory with a folder for each database, also if an archive was unpacked into a folder of its own name.

    ``dev_databases/dev_databases`` is used, with a warning, unless the outer directory has databases too.
    """
    nested = directory / directory.name
    if not nested.is_dir() or any(directory.glob("*/*.sqlite")) or any(directory.glob("*/*.db")):
        return directory
    LOG.warning("%s holds no databases, but %s of the same name; they are read from there.", directory, nested)
    return nested


def file_schema(path: str) -> str:
    """The CREATE statements of a file's tables and views, without SQLite's internal tables.

    Raises:
        sqlite3.Error: The file is missing or is no database.
    """
    with closing(open_read_only(path)) as db:
        # Full-text tables store their data in shadow tables.
        hidden = {row[0] for row in db.execute("SELECT name FROM pragma_table_list WHERE type = 'shadow'")}
        rows = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql IS NOT NULL"
            r" AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type, rowid"
        ).fetchall()
        return ";\n".join(sql for name, sql in rows if name not in hidden)


def first_rows(path: str, table: str, count: int) -> tuple[list[str], list[Row]]:
    """Column names and the first rows of a table; both empty if there is no such table.

    Raises:
        UserError: The file is no database.
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


# The SQL types for those of Spider's tables.json. Its `time` stands for DATE, DATETIME and TIMESTAMP; four fifths of
# such columns in Spider's databases are DATETIME. BIRD uses SQLite's own types.
_TABLES_JSON_TYPES = {"text": "TEXT", "number": "NUMERIC", "time": "DATETIME", "boolean": "BOOLEAN", "others": "TEXT"}


def read_tables_json(path: Path, what: str) -> dict[str, str]:
    """The schemas of a ``tables.json`` of Spider or BIRD, as CREATE TABLE statements by db_id.

    Args:
        path: The file.
        what: The configuration key or option that names the file, for messages.

    Raises:
        UserError: The file is missing or has another layout.
    """
    rows = read_rows(path, what)
    try:
        schemas = [(row["db_id"], tables_json_schema(row)) for row in rows]
        by_name = dict(reversed(schemas))
        for number, (name, schema) in enumerate(schemas, start=1):
            if by_name[name] != schema:
                raise UserError(
                    f'{what}: {path}: row {number} gives db_id "{name}" another schema than an earlier row.'
                )
        return by_name
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise UserError(
            f"{what}: {path} is not laid out like the tables.json of Spider or BIRD ({type(error).__name__}: {error}); "
            "each entry needs db_id, table_names_original, column_names_original, column_types, primary_keys and "
            "foreign_keys."
        ) from error


def tables_json_schema(entry: Mapping[str, Any]) -> str:
    """The CREATE TABLE statements of one entry, for training and for `text2sql evaluate --tables`.

    A key of several columns keeps the order in which the entry lists them.
    """
    names, columns, types = entry["table_names_original"], entry["column_names_original"], entry["column_types"]
    # A composite key is a list, or its columns are listed one by one.
    primary = [index for key in entry["primary_keys"] for index in (key if isinstance(key, list) else [key])]
    statements = []
    for table_index, name in enumerate(names):
        indexes = [index for index, (table, _) in enumerate(columns) if table == table_index]
        lines = [f"{_quoted(columns[i][1])} {_TABLES_JSON_TYPES.get(types[i], types[i].upper())}" for i in indexes]
        key = [_quoted(columns[index][1]) for index in primary if index in indexes]
        if key:
            lines.append(f"PRIMARY KEY ({', '.join(key)})")
        for child, parent in entry["foreign_keys"]:
            if child in indexes:
                parent_table, parent_column = columns[parent]
                lines.append(
                    f"FOREIGN KEY ({_quoted(columns[child][1])}) "
                    f"REFERENCES {_quoted(names[parent_table])} ({_quoted(parent_column)})"
                )
        statements.append(f"CREATE TABLE {_quoted(name)} (\n  " + ",\n  ".join(lines) + "\n)")
    return ";\n".join(statements)


def _quoted(name: str) -> str:
    return quote_identifier(name, '"')
