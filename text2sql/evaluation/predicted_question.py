"""A question with a prediction that has been read from a file, and the sources of its schema and databases."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import JsonValue

from text2sql.engines.dialect import Dialect, dialect_named, stated_dialect
from text2sql.errors import UserError
from text2sql.evaluation.benchmarks import database_files
from text2sql.rows import SourceRow
from text2sql.rows.encodings import read_text
from text2sql.rows.values import read_value, replace_lone_surrogates
from text2sql.sql.files import databases_directory, file_schema, read_tables_json

# The accepted names of each required column, our own name first.
COLUMNS = {
    "schema": ("context", "schema", "schema_sql"),
    "gold": ("gold", "gold_sql", "answer", "query", "SQL"),
    "predicted": ("sql", "predicted", "predicted_sql", "pred_sql", "prediction", "raw"),
}
# Columns whose values may be numbers.
_NUMERIC = ("id", "db_id", "cluster")


@dataclass(frozen=True)
class Schemas:
    """Source of the schema and the databases of each db_id.

    Attributes:
        databases: Directory with ``DB_ID/DB_ID.sqlite`` for each db_id, as Spider and BIRD ship it.
        tables: Schemas by db_id, from a ``tables.json``.
        tables_file: That file.
    """

    databases: Path | None = None
    tables: Mapping[str, str] = field(default_factory=dict)
    tables_file: Path | None = None

    @classmethod
    def open(cls, databases: Path | None, tables: Path | None) -> Schemas:
        """Check the directory and read the ``tables.json``.

        Raises:
            UserError: The directory does not exist, or the file cannot be read.
        """
        if databases is not None and not databases.is_dir():
            raise UserError(f"--databases: there is no directory {databases}.")
        databases = databases and databases_directory(databases)
        return cls(databases, read_tables_json(tables, "--tables") if tables else {}, tables)

    def files(self, db_id: str | None) -> tuple[str, ...]:
        """The database files of a db_id, that of the same name first; none where it is missing or empty."""
        return database_files(self.databases, db_id) if self.databases and db_id else ()

    def schema(self, db_id: str | None) -> str | None:
        """The CREATE TABLE statements of a db_id, from its database, its ``schema.sql`` or the ``tables.json``."""
        if not db_id:
            return None
        files = self.files(db_id)
        if files:
            try:
                return file_schema(files[0])
            except sqlite3.Error as error:
                raise UserError(f"{files[0]} is not a SQLite database that can be read ({error}).") from error
        script = self.databases / db_id / "schema.sql" if self.databases else None
        if script and script.is_file():
            try:
                return read_text(script)
            except (OSError, ValueError) as error:
                raise UserError(f"--databases: {script} cannot be read: {error}.") from error
        return self.tables.get(db_id)


@dataclass(frozen=True)
class PredictedQuestion:
    """A question with a prediction, ready to be scored.

    Attributes:
        id: The id in the file, else the index of the row.
        gold: The gold query.
        predicted: The prediction as it is in the file.
        context: The schema; empty where none is known, and the evaluator takes the database's or guesses it.
        databases: The real database files.
        db_id: Name of the schema.
        question: The question in natural language.
        evidence: External knowledge given with it.
        stop_reason: Why sampling of the prediction ended.
        cluster: The cluster of dependent questions; `db_id` unless the file says otherwise.
        dialect: The dialect that the row names itself (`text2sql.engines.dialect.stated_dialect`); after `in_dialects`
            that of its engine.
    """

    id: str
    gold: str
    predicted: str = ""
    context: str = ""
    databases: tuple[str, ...] = ()
    db_id: str | None = None
    question: str | None = None
    evidence: str | None = None
    stop_reason: str | None = None
    cluster: str | None = None
    dialect: str | None = None

    @property
    def engine(self) -> Dialect:
        """The dialect to judge in, SQLite where none is known."""
        return (self.dialect and dialect_named(self.dialect)) or "sqlite"

    def to_json(self) -> dict[str, JsonValue]:
        """The fields that the output of `text2sql evaluate` repeats."""
        fields = ("id", "question", "evidence", "db_id", "stop_reason", "cluster", "context", "gold", "dialect")
        values = {name: getattr(self, name) for name in fields}
        return {name: value for name, value in values.items() if value is not None or name == "cluster"}


def in_dialects(path: Path, questions: Sequence[PredictedQuestion], default: Dialect) -> list[PredictedQuestion]:
    """The questions, each with the dialect to judge it in: its row's own, or the default where the row names none.

    Raises:
        UserError: A row names a system that has no engine here.
    """
    unknown = [(row, q.dialect) for row, q in enumerate(questions, 1) if q.dialect and not dialect_named(q.dialect)]
    if unknown:
        named = ", ".join(f"{count} {name}" for name, count in Counter(name for _, name in unknown).most_common())
        raise UserError(
            f"{path}: {len(unknown):,} of {len(questions):,} rows are for a system that has no engine here, by their "
            f"own column dialect ({named}; the first is row {unknown[0][0]}). Take these rows out, or the column if it "
            "is wrong."
        )
    return [replace(question, dialect=question.dialect or default) for question in questions]


def first_text(row: SourceRow, names: Sequence[str], where: str) -> str:
    """The text of the first of these columns that has a value; empty if none has."""
    return next((text for name in names if (text := column_text(row, name, where))), "")


def column_text(row: SourceRow, name: str, where: str) -> str:
    """A column's value as text; empty where there is none. Lone surrogates are replaced in predictions."""
    value = row.get(name)
    if name in COLUMNS["predicted"] and isinstance(value, str):
        return replace_lone_surrogates(value)
    try:
        return read_value(name, value, number=name in _NUMERIC, listed=name in COLUMNS["schema"])
    except ValueError as error:
        raise UserError(f"{where}: {error}.") from error


def row_dialect(row: SourceRow) -> str | None:
    """The dialect that a row names itself."""
    value = row.get("dialect")
    return stated_dialect(value) if isinstance(value, str) else None
