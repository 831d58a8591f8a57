"""The options for a schema: CREATE TABLE statements, a file of them, or a database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from text2sql.errors import UserError
from text2sql.rows.encodings import read_text

if TYPE_CHECKING:
    from text2sql.engines.user_databases.user_database import UserDatabase

# Matches CREATE statements, behind comments; anything else is the name of a file.
_STATEMENT = re.compile(r"\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*create\s", re.IGNORECASE | re.DOTALL)
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        help="Database with the schema, only ever read: a file of SQLite or DuckDB, postgresql://USER@HOST/NAME or "
        "mysql://USER@HOST/NAME; ${VARIABLE} stands for a password."
    ),
]
WritableRole = Annotated[
    bool, typer.Option("--allow-writable-role", help="Let the role of --database be one that may write.")
]
MaxTables = Annotated[
    int, typer.Option(min=0, help="Cut schemas of more tables to those that the question needs; 0 for never.")
]


def read_schema(
    schema: str | None, database: str | None, *, allow_writable_role: bool = False
) -> tuple[str, UserDatabase | None]:
    """Read the CREATE TABLE statements of --schema or --database, and open the database.

    Raises:
        UserError: Neither option is given, or a file or database cannot be read or has no statements.
    """
    from text2sql.engines.user_databases.user_database import UserDatabase

    opened = None if database is None else UserDatabase.read(database, allow_writable_role=allow_writable_role)
    if schema is None:
        if opened is None:
            raise UserError(
                "Give the schema with --schema, as CREATE TABLE statements or a file of them, or with --database."
            )
        return opened.schema.text, opened
    if not schema.strip():
        raise UserError("--schema is empty; give CREATE TABLE statements or a file of them.")
    if _STATEMENT.match(schema):
        return schema.strip(), opened
    try:
        text = read_text(Path(schema)).strip()
    except (OSError, ValueError) as error:
        raise UserError(f"--schema: {schema} is neither CREATE TABLE statements nor a file ({error}).") from error
    if not text:
        raise UserError(f"--schema: {schema} is empty; it must hold CREATE TABLE statements.")
    return text, opened
