"""The demo without its widgets: sources to ask about, checks of queries, and their rows."""

from __future__ import annotations

import difflib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sqlglot import exp

from text2sql.demo.uploads import copy_database, database_schema
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.engines.guard import parse_single_query
from text2sql.engines.url import Location
from text2sql.engines.user_databases.inspect import DatabaseSchema
from text2sql.engines.user_databases.user_database import UserDatabase
from text2sql.errors import UserError
from text2sql.inference.ask import MAX_ROWS, MAX_SECONDS, Answer, run_query
from text2sql.sql.ddl import parse_schema
from text2sql.sql.prepare import parse
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.schema import Schema
from text2sql.sql.values import Row

# Characters of a typed schema.
MAX_SCHEMA_CHARACTERS = 200_000


@dataclass(frozen=True)
class Source:
    """A source: what questions are about.

    Attributes:
        name: Its name: a file's name, the location of a server's database, or "your schema".
        schema: Its CREATE TABLE statements.
        database: The database, which is only read; a copy of an uploaded file. None if only the schema is known.
        note: A note on how the file was read, for example on characters that its encoding does not have.
    """

    name: str
    schema: str
    database: UserDatabase | None = None
    note: str = ""

    @property
    def dialect(self) -> Dialect:
        """The dialect of queries on it."""
        return self.database.dialect if self.database else "sqlite"


@dataclass(frozen=True)
class CheckedQuery:
    """A query with its problems or its rows.

    Attributes:
        sql: The query.
        problems: What does not match the schema, or why it did not run; empty if there are none.
        columns: The names of the result's columns; None if it was not run.
        rows: The rows.
        overflow: Whether there were more rows than `MAX_ROWS`.
        seconds: The duration of the query.
        note: A note on the answer, for example that it was cut off.
    """

    sql: str
    problems: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    rows: tuple[Row, ...] = ()
    overflow: bool = False
    seconds: float = 0.0
    note: str = ""


@dataclass
class Session:
    """A visitor's session: the copies of their files, and their questions, newest first.

    Attributes:
        root: The parent of the directory of copies.
        directory: The directory of copies; None before the first file.
        history: The questions with their answers.
    """

    root: Path
    directory: Path | None = None
    history: list[HistoryEntry] = field(default_factory=list)

    def open_file(self, upload: Path) -> Source:
        """Creates a source from an uploaded file, of which a copy is kept until the session ends.

        Raises:
            UserError: The file is not a usable database or CSV file.
        """
        if self.directory is None:
            self.directory = Path(tempfile.mkdtemp(dir=self.root))
        copy_directory = Path(tempfile.mkdtemp(dir=self.directory))
        try:
            copy, note = copy_database(upload, copy_directory)
            schema = DatabaseSchema(database_schema(copy, upload.name), {})
            location = Location("sqlite", upload.name, copy)
            database = UserDatabase(location, schema, f"SQLite {sqlite3.sqlite_version}")
            return Source(upload.name, schema.text, database, note)
        except BaseException:
            shutil.rmtree(copy_directory, ignore_errors=True)
            raise

    def close(self) -> None:
        """Deletes the copies."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class HistoryEntry:
    """A question with its checked answers by model."""

    question: str
    source: Source
    checked: dict[str, CheckedQuery]


def database_source(database: UserDatabase) -> Source:
    """The source for the database that the demo was started with."""
    return Source(database.location.display_name, database.schema.text, database)


def text_source(text: str) -> Source:
    """The source for typed CREATE TABLE statements.

    Raises:
        UserError: They contain no table, or are too long.
    """
    text = text.strip()
    if not text:
        raise UserError("Write the CREATE TABLE statements of the tables you ask about, or choose a file.")
    if len(text) > MAX_SCHEMA_CHARACTERS:
        raise UserError(f"The schema has {len(text):,} characters; at most {MAX_SCHEMA_CHARACTERS:,} are taken.")
    if not any(table.columns for table in parse_schema(text).tables.values()):
        raise UserError("There is no table in this schema. Write it as CREATE TABLE name (column TYPE, ...).")
    return Source("your schema", text)


def check_and_run(sql: str, source: Source, answer: Answer | None = None) -> CheckedQuery:
    """Checks a query against the schema and, if there is a database, runs it read-only.

    Args:
        sql: The query, by a model or a person.
        source: The source of its tables.
        answer: The model's answer that contains it, if there is one.
    """
    notes = ["The answer was cut off before it ended."] if answer and answer.truncated else []
    note = " ".join([*notes, *([answer.note] if answer and answer.note else [])])
    if not sql.strip():
        return CheckedQuery("", (answer.without_query if answer else "There is no query to run.",), note=note)
    # For other dialects, only the engine itself can check the query.
    problems = check_query(sql, source) if source.dialect == "sqlite" else []
    if problems or source.database is None:
        return CheckedQuery(sql, tuple(problems), note=note)
    started = time.monotonic()
    try:
        result = run_query(source.database, sql)
    except QueryFailed as error:
        may_have_unknown_names = error.kind == "error" and source.dialect != "sqlite"
        unknown = unknown_names(sql, parse_schema(source.schema), source.dialect) if may_have_unknown_names else []
        return CheckedQuery(sql, tuple(unknown) or (_failure_message(error, source.dialect),), note=note)
    except UserError as error:
        return CheckedQuery(sql, (str(error),), note=note)
    seconds = time.monotonic() - started
    return CheckedQuery(sql, (), result.columns, tuple(result.rows[:MAX_ROWS]), result.overflow, seconds, note)


def check_query(sql: str, source: Source) -> list[str]:
    """The problems of a query with the schema: all unknown names, or else SQLite's message.

    A query that SQLite compiles has no problems.
    """
    schema = parse_schema(source.schema)
    sandbox = SqliteSandbox.in_memory(schema.tables.values())
    try:
        sandbox.check(sql)
    except QueryFailed as error:
        unknown = unknown_names(sql, schema) if error.kind == "error" else []
        return unknown or [_failure_message(error, "sqlite")]
    finally:
        sandbox.close()
    return []


def unknown_names(sql: str, schema: Schema, dialect: Dialect = "sqlite") -> list[str]:
    """Messages about the query's tables and columns that the schema lacks, with the most similar names that it has.

    Quoted names are left to SQLite, which reads "Lisbon" as a text if there is no such column.
    """
    tree = parse(sql) if dialect == "sqlite" else _parse_in_dialect(sql, dialect)
    if tree is None:
        return []
    views = {view.name.lower() for view in schema.views.values()}
    tables = {table.name.lower() for table in schema.tables.values()} | (views if dialect != "sqlite" else set())
    ctes = {cte.alias_or_name.lower() for cte in tree.find_all(exp.CTE)}
    missing_tables = [table.name for table in tree.find_all(exp.Table) if table.name.lower() not in tables | ctes]
    columns = {name for table in schema.tables.values() for name in table.columns}
    columns |= {name.lower() for view in schema.views.values() for name in view.columns}
    aliases = {alias.alias.lower() for alias in tree.find_all(exp.Alias) if alias.alias}
    alias_columns = {name.name.lower() for alias in tree.find_all(exp.TableAlias) for name in alias.columns}
    known = columns | aliases | alias_columns | {"rowid", "oid", "_rowid_"}
    unquoted = [column for column in tree.find_all(exp.Column) if not column.this.args.get("quoted")]
    missing_columns = [column.name for column in unquoted if column.name.lower() not in known]
    return [
        *_unknown_name_messages("table", missing_tables, tables),
        *_unknown_name_messages("column", missing_columns, columns),
    ]


def _parse_in_dialect(sql: str, dialect: Dialect) -> exp.Expr | None:
    """Parses a query in a dialect; None if it does not parse."""
    try:
        return parse_single_query(sql, dialect)
    except QueryFailed:
        return None


def _unknown_name_messages(kind: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    lines = []
    for name in dict.fromkeys(name for name in names if name and name != "*"):
        near = difflib.get_close_matches(name.lower(), list(known), n=1)
        lines.append(f"There is no {kind} {name} in the schema." + (f" Did you mean {near[0]}?" if near else ""))
    return lines


def _failure_message(error: QueryFailed, dialect: Dialect) -> str:
    if error.kind == "refused":
        return f"Refused: {error}. Only queries that read are run here."
    if error.kind == "timeout":
        return f"Stopped: {error}. A query has {MAX_SECONDS:.0f} seconds here."
    return f"{DISPLAY_NAMES[dialect]} says: {error}."
