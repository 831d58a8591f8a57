"""Databases as data sets ship them: SQLite files, opened read-only, and the schemas of a ``tables.json``."""

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
from text2sql.sql.tokens import quote_identifier
from text2sql.sql.values import Row

# A program may write while its database is copied: the copy is made again, so often at most.
_COPIES = 5
# What SQLite keeps next to a database that a program has open, or had open when it was killed: committed pages that are
# not in the file yet, and pages as they were before a transaction that did not end.
JOURNALS = ("-wal", "-journal")


LOG = logging.getLogger(__name__)


def open_read_only(path: str, **options: Any) -> sqlite3.Connection:
    """A connection that changes nothing: not the file, not its journals, and no lock is taken.

    A database without a journal is read in place. One with a journal is read from a private copy in which SQLite takes
    the journal in, because it cannot do that without writing next to the file.

    Args:
        path: A database file.
        **options: Further options of `sqlite3.connect`.

    Raises:
        sqlite3.Error: The file is not there. Whether it is a database shows with the first query.
        OSError: It cannot be copied.
    """
    file = Path(path).resolve()
    if _journals(file):
        return _open_copy(file, options)
    return sqlite3.connect(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True, **options)


def _journals(file: Path) -> list[str]:
    return [suffix for suffix in JOURNALS if (own := Path(f"{file}{suffix}")).is_file() and own.stat().st_size]


def _open_copy(file: Path, options: dict[str, Any]) -> sqlite3.Connection:
    """A connection to a copy of a database and its journals, which is gone as soon as the connection is closed."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = f"{folder}/copy"
        for _ in range(_COPIES):
            before = _state(file)
            for suffix in ("", *_journals(file)):
                shutil.copyfile(f"{file}{suffix}", f"{copy}{suffix}")
            if _state(file) == before:
                break
        db = sqlite3.connect(copy, **options)
        try:
            # One process alone reads the copy: the index of its journal needs no file.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            db.execute("PRAGMA query_only = ON")
        except sqlite3.Error:
            db.close()
            raise
        # The files are removed here, while they are open: a process that is killed leaves nothing behind.
        return db


def _state(file: Path) -> list[tuple[str, int, int]]:
    """What changes when a program writes to a database."""
    found = [Path(f"{file}{suffix}") for suffix in ("", *_journals(file))]
    return [(path.name, status.st_mtime_ns, status.st_size) for path in found for status in [path.stat()]]


def databases_directory(directory: Path) -> Path:
    """The directory with a folder for each database: an archive unpacked into a folder of its name holds it once more.

    ``dev_databases/dev_databases`` is gone into, and that is said, unless there are databases above it too.
    """
    nested = directory / directory.name
    if not nested.is_dir() or any(directory.glob("*/*.sqlite")) or any(directory.glob("*/*.db")):
        return directory
    LOG.warning("%s holds no databases, but %s of the same name; they are read from there.", directory, nested)
    return nested


def file_schema(path: str) -> str:
    """The CREATE statements of a database file's tables and views, without the tables that SQLite keeps for itself.

    Raises:
        sqlite3.Error: The file is not there, or is no database.
    """
    with closing(open_read_only(path)) as db:
        # A full-text table stores itself in tables of its module's.
        hidden = {row[0] for row in db.execute("SELECT name FROM pragma_table_list WHERE type = 'shadow'")}
        rows = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql IS NOT NULL"
            r" AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type, rowid"
        ).fetchall()
        return ";\n".join(sql for name, sql in rows if name not in hidden)


def first_rows(path: str, table: str, count: int) -> tuple[list[str], list[Row]]:
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
