"""Converts rows into examples by the names of their columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from text2sql.data.example import Example
from text2sql.data.sources.layout import database_file
from text2sql.engines.dialect import stated_dialect
from text2sql.errors import UserError
from text2sql.rows import SourceRow
from text2sql.rows.values import read_value
from text2sql.sql.files import file_schema

FIELDS = ("question", "context", "answer")
OPTIONAL_FIELDS = ("id", "db", "db_id", "evidence", "reasoning", "dialect")
Aliases = Mapping[str, Sequence[str]]
NO_DATABASE = "database file not found"


def to_examples(
    rows: Iterable[SourceRow],
    name: str,
    location: str,
    columns: Mapping[str, str],
    aliases: Aliases,
    databases: Path | None,
) -> list[Example]:
    """Converts rows into examples.

    Args:
        rows: Mappings from column to value.
        name: The prefix of ids for rows without one.
        location: The origin of the rows, for messages.
        columns: The configured column of each field.
        aliases: The column names of a known data set by field, tried in order.
        databases: The directory of the databases that ``db_id`` names; they provide missing schemas.

    Raises:
        UserError: A row lacks a column.
    """
    check_columns(columns)
    # The column of each field, by the names in a row, which are the same for most rows.
    layouts: dict[tuple[str, ...], dict[str, str]] = {}
    examples = []
    for index, row in enumerate(rows):
        names = tuple(row)
        if names not in layouts:
            layouts[names] = _layout(names, columns, aliases)
            _check_layout(layouts[names], row, index, location, columns, has_schemas=databases is not None)
        example = make_example(f"{name}/{index}", {field: row[column] for field, column in layouts[names].items()})
        if databases and example.db_id and not example.problem:
            example = with_database(example, database_file(databases, example.db_id))
        examples.append(example)
    for field, column in columns.items():
        if layouts and not any(field in layout for layout in layouts.values()):
            raise UserError(
                f'data.columns: no row of {location} has the column "{column}" for {field}; they have '
                f"{', '.join(map(str, next(iter(layouts))))}. Correct it or leave it out."
            )
    return name_first_rows(examples)


def check_columns(columns: Mapping[str, str]) -> None:
    """Raises UserError for a field that examples do not have, and for a column that two fields are read from."""
    for field, column in columns.items():
        if twice := [other for other in columns if other != field and columns[other] == column]:
            raise UserError(
                f'data.columns: {field} and {twice[0]} are both read from the column "{column}"; give each its own.'
            )
        if field not in (*FIELDS, *OPTIONAL_FIELDS):
            raise UserError(
                f'data.columns: there is no field "{field}"; fields are {", ".join((*FIELDS, *OPTIONAL_FIELDS))}.'
            )


def _layout(names: Sequence[str], columns: Mapping[str, str], aliases: Aliases) -> dict[str, str]:
    """The column of each field in a row with these names."""
    layout = {}
    for field in (*FIELDS, *OPTIONAL_FIELDS):
        candidates = [columns[field]] if field in columns else [field, *aliases.get(field, ())]
        column = next((name for name in candidates if name in names), None)
        if column is None and field in FIELDS:
            column = _find_ignoring_case(names, candidates)
        if column is not None:
            layout[field] = column
    return layout


def _check_layout(
    layout: Mapping[str, str],
    row: SourceRow,
    index: int,
    location: str,
    columns: Mapping[str, str],
    *,
    has_schemas: bool,
) -> None:
    """Raises UserError if a row lacks a column; with `has_schemas`, databases may provide the schema."""
    for field in FIELDS:
        if field not in layout and not (field == "context" and has_schemas):
            raise UserError(_no_column(row, index, field, columns.get(field, field), location))
        twice = [other for other in layout if other != field and layout[other] == layout.get(field)]
        if twice and field not in columns:
            raise UserError(
                f'data.columns: {field} and {twice[0]} are both read from the column "{layout[field]}" of {location}; '
                f"give the column of the other with data.columns.{field}=NAME."
            )


def _find_ignoring_case(names: Sequence[str], candidates: Sequence[str]) -> str | None:
    """The only column that has one of the names, ignoring case and surrounding spaces."""
    folded = {name.casefold() for name in candidates}
    matches = [name for name in names if str(name).strip().casefold() in folded]
    return matches[0] if len(matches) == 1 else None


def _no_column(row: SourceRow, index: int, field: str, column: str, location: str) -> str:
    message = (
        f'data.columns: {location} has no column "{column}" for {field} in row {index + 1}; it has '
        f"{', '.join(map(str, row))}. Map it with data.columns.{field}=NAME."
    )
    if field == "context" and "db_id" in row:
        return message + " Or give the databases that db_id names with data.databases=DIRECTORY."
    return message


def make_example(
    identity: str, values: Mapping[str, Any], *, stripped: Collection[str] = FIELDS, problem: str | None = None
) -> Example:
    """Converts a row's values into an example; a value that is not text becomes the example's problem.

    Args:
        identity: The id, if the values have none.
        values: The values by field of `FIELDS` and `OPTIONAL_FIELDS`; None and missing values are empty.
        stripped: The fields whose surrounding spaces are removed.
        problem: The reason why the row cannot be used, if it is known already.
    """
    read: dict[str, str] = dict.fromkeys(FIELDS, "")
    stated = values.get("dialect")
    for field, value in values.items():
        # What is no name of a dialect says nothing about the row.
        if field == "dialect":
            continue
        try:
            read[field] = read_value(field, value, number=field in ("id", "db_id"), listed=field == "context")
        except ValueError as error:
            problem = problem or str(error)
            continue
        if field in stripped:
            read[field] = read[field].strip()
    optional: dict[str, Any] = {
        field: read.get(field) or None for field in OPTIONAL_FIELDS if field not in ("id", "dialect")
    }
    return Example(
        read.get("id") or identity,
        read["question"],
        read["context"],
        read["answer"],
        **optional,
        problem=problem,
        stated_dialect=stated_dialect(stated) if isinstance(stated, str) else None,
    )


def with_database(example: Example, file: Path) -> Example:
    """Adds a database to an example, and its schema if the example has none; a missing file becomes its problem.

    Raises:
        UserError: The file is no database.
    """
    if example.db:
        file = Path(example.db)
    if not file.is_file():
        return replace(example, db=str(file), problem=NO_DATABASE)
    return replace(example, db=str(file), context=example.context or schema_of(str(file)))


def name_first_rows(examples: Sequence[Example]) -> list[Example]:
    """Adds to each problem the first row that has it and, if a database is missing, its file."""
    first: dict[str, str] = {}
    for number, example in enumerate(examples, start=1):
        if example.problem:
            missing_file = f", {example.db}" if example.problem == NO_DATABASE else ""
            first.setdefault(example.problem, f"{example.problem} (first: row {number}{missing_file})")
    return [replace(e, problem=first[e.problem]) if e.problem else e for e in examples]


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
