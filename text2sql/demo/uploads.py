"""Uploaded files: SQLite databases, and CSV files that become databases. Only copies are ever opened."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from text2sql.errors import UserError
from text2sql.rows.csv_tables import CsvTable, read_csv
from text2sql.sql.files import file_schema
from text2sql.sql.tokens import quote_identifier

# Limits in bytes of a SQLite file and of a CSV file.
MAX_DATABASE = 500 * 10**6
MAX_CSV = 50 * 10**6
MAX_COLUMNS = 200
CSV_SUFFIXES = (".csv", ".tsv", ".txt")
MAGIC = b"SQLite format 3\x00"


def copy_database(upload: Path, directory: Path) -> tuple[Path, str]:
    """Copies an uploaded database or CSV file as a read-only SQLite database into `directory`.

    Returns:
        The copy, and a note on how the file was read; empty if there is none.

    Raises:
        UserError: The file is neither, damaged, too large, or has no tables.
    """
    with upload.open("rb") as file:
        start = file.read(4096)
    target, note = directory / f"{upload.stem or 'data'}.sqlite", ""
    if start.startswith(MAGIC):
        check_size(upload.name, upload.stat().st_size, csv=False)
        shutil.copyfile(upload, target)
    elif upload.suffix.lower() in CSV_SUFFIXES:
        check_size(upload.name, upload.stat().st_size, csv=True)
        note = _load_csv(upload, target)
    else:
        raise UserError(
            f"{upload.name} is neither a SQLite database nor a CSV file ({', '.join(CSV_SUFFIXES)}). "
            "A SQL dump can be loaded into a database first: sqlite3 new.sqlite < dump.sql"
        )
    target.chmod(0o444)
    return target, note


def database_schema(database: Path, name: str) -> str:
    """The CREATE TABLE statements of a database (UserError if it cannot be read or has none)."""
    try:
        schema = file_schema(str(database))
    except sqlite3.Error as error:
        raise UserError(f"{name} is a damaged SQLite database: {error}.") from error
    if not schema:
        raise UserError(f"{name} is a SQLite database without tables.")
    return schema


def check_size(name: str, size: int, *, csv: bool) -> None:
    """Checks the size of a file against the limit for its kind.

    Raises:
        UserError: The file is too large; the message says what to do instead.
    """
    limit = MAX_CSV if csv else MAX_DATABASE
    if size <= limit:
        return
    kind, advice = (
        ("CSV file", "Take a sample of its lines, or make it a database: sqlite3 new.sqlite '.import --csv FILE data'")
        if csv
        else ("database", "Take a copy with fewer rows, or ask on the command line: text2sql ask --database")
    )
    raise UserError(f"{name} has {size / 10**6:,.0f} MB; a {kind} may have at most {limit // 10**6} MB. {advice}")


def _load_csv(upload: Path, target: Path) -> str:
    """Writes a CSV file's rows into a table of a new database; returns the note on how it was read."""
    try:
        table = read_csv(upload)
        return _create_database(table, upload, target)
    except ValueError as error:
        raise UserError(f"{upload.name} is not a CSV file that can be read: {error}.") from error


def _create_database(table: CsvTable, upload: Path, target: Path) -> str:
    header, types = _column_names(table.header, upload.name), None
    for row in _checked_rows(table, upload.name):
        types = [_wider_type(kind, value) for kind, value in zip(types or [""] * len(header), row, strict=True)]
    if types is None:
        raise UserError(f"{upload.name} has a header but no rows.")
    name = _quote_keyword(_identifier(upload.stem) or "data")
    columns = ", ".join(f"{column} {kind or 'TEXT'}" for column, kind in zip(header, types, strict=True))
    with closing(sqlite3.connect(target)) as database, database:
        database.execute(f"CREATE TABLE {name} ({columns})")
        values = ([value or None for value in row] for row in _checked_rows(table, upload.name))
        database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(header))})", values)
    return table.note


def _column_names(header: Sequence[str], file: str) -> list[str]:
    """Column names of letters, digits and underscores, each once."""
    names: list[str] = []
    if not any(header):
        raise UserError(f"{file} is empty; its first line must name the columns.")
    if len(header) > MAX_COLUMNS:
        raise UserError(f"{file} has {len(header)} columns; at most {MAX_COLUMNS} are taken.")
    for number, title in enumerate(header, start=1):
        name = _identifier(title) or f"column_{number}"
        while name.lower() in (other.lower() for other in names):
            name = f"{name}_{number}"
        names.append(name)
    return [_quote_keyword(name) for name in names]


def _checked_rows(table: CsvTable, file: str) -> Iterator[list[str]]:
    width = len(table.header)
    for line, row in table.rows():
        if len(row) != width:
            raise UserError(f"{file}: line {line} has {len(row)} fields, the header names {width} columns.")
        yield row


def _identifier(text: str) -> str:
    name = re.sub(r"\W+", "_", text.strip()).strip("_")
    return f"c_{name}" if name[:1].isdigit() else name


def _quote_keyword(name: str) -> str:
    """A name for SQL, quoted only if it is a keyword."""
    with closing(sqlite3.connect(":memory:")) as database:
        try:
            database.execute(f"CREATE TABLE {name} ({name})")
        except sqlite3.Error:
            return quote_identifier(name)
    return name


NUMBER_PATTERNS: Sequence[tuple[str, re.Pattern[str]]] = (
    ("INTEGER", re.compile(r"[+-]?\d{1,18}")),
    ("REAL", re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")),
)


def _wider_type(kind: str, value: str) -> str:
    """The type of a column of type `kind` ("" before any value) that has this value too; 007 is a text."""
    if not value or kind == "TEXT":
        return kind
    if len(value) > 1 and value[0] == "0" and value.isdigit():
        return "TEXT"
    value_kind = next((name for name, pattern in NUMBER_PATTERNS if pattern.fullmatch(value)), "TEXT")
    return "REAL" if {kind, value_kind} == {"INTEGER", "REAL"} else value_kind if kind in ("", value_kind) else "TEXT"
