"""What the demo does, without its widgets: a source to ask about, the check of a query, its rows."""

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
from text2sql.engines.dialect import SHOWN, Dialect
from text2sql.engines.guard import the_query
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

# Characters of a schema that somebody types.
MAX_SCHEMA = 200_000


@dataclass(frozen=True)
class Source:
    """What questions are about.

    Attributes:
        name: What to call it: a file's name, the place of a server's database, or "your schema".
        schema: Its CREATE TABLE statements.
        database: The data, which are only read; of an uploaded file a copy. None where only the schema is known.
        note: What to know of how the file was read, for example signs that its encoding does not have.
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
class Shown:
    """One query as it is shown: what is wrong with it, or its rows.

    Attributes:
        sql: The query.
        problems: What does not fit the schema, or why it did not run; empty if all is well.
        columns: Names of the columns of the result; None if it was not run.
        rows: The rows.
        overflow: There were more than `MAX_ROWS`.
        seconds: Time that the query took.
        note: What else to know about the answer, for example that it was cut off.
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
    """One visitor: the copies of their files, and what they asked, newest first.

    Attributes:
        root: Where the directory of the copies is made.
        directory: That directory; None before the first file.
        history: What was asked.
    """

    root: Path
    directory: Path | None = None
    history: list[Asked] = field(default_factory=list)

    def open_file(self, upload: Path) -> Source:
        """A source from an uploaded file, of which a copy is kept until the session ends.

        Raises:
            UserError: It is not a database or CSV file that can be used.
        """
        if self.directory is None:
            self.directory = Path(tempfile.mkdtemp(dir=self.root))
        place = Path(tempfile.mkdtemp(dir=self.directory))
        try:
            copy, note = copy_database(upload, place)
            schema = DatabaseSchema(database_schema(copy, upload.name), {})
            location = Location("sqlite", upload.name, copy)
            database = UserDatabase(location, schema, f"SQLite {sqlite3.sqlite_version}")
            return Source(upload.name, schema.text, database, note)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def close(self) -> None:
        """Delete the copies."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class Asked:
    """A question with what came of it, by model."""

    question: str
    source: Source
    shown: dict[str, Shown]


def database_source(database: UserDatabase) -> Source:
    """A source from a database that the demo was started with."""
    return Source(database.location.shown, database.schema.text, database)


def text_source(text: str) -> Source:
    """A source from CREATE TABLE statements that somebody typed.

    Raises:
        UserError: There is no table in them, or they are too long.
    """
    text = text.strip()
    if not text:
        raise UserError("Write the CREATE TABLE statements of the tables you ask about, or choose a file.")
    if len(text) > MAX_SCHEMA:
        raise UserError(f"The schema has {len(text):,} characters; at most {MAX_SCHEMA:,} are taken.")
    if not any(table.columns for table in parse_schema(text).tables.values()):
        raise UserError("There is no table in this schema. Write it as CREATE TABLE name (column TYPE, ...).")
    return Source("your schema", text)


def show(sql: str, source: Source, answer: Answer | None = None) -> Shown:
    """Check a query against the schema and, where there is data, run it: nothing but reading is possible.

    Args:
        sql: The query, of a model or of a person.
        source: What it is about.
        answer: The model's answer that it comes from, if it does.
    """
    notes = ["The answer was cut off before it ended."] if answer and answer.truncated else []
    note = " ".join([*notes, *([answer.note] if answer and answer.note else [])])
    if not sql.strip():
        return Shown("", (answer.without_query if answer else "There is no query to run.",), note=note)
    # An engine in another dialect is the only one that can say what fits.
    problems = check_query(sql, source) if source.dialect == "sqlite" else []
    if problems or source.database is None:
        return Shown(sql, tuple(problems), note=note)
    started = time.monotonic()
    try:
        result = run_query(source.database, sql)
    except QueryFailed as error:
        other = error.kind == "error" and source.dialect != "sqlite"
        unknown = unknown_names(sql, parse_schema(source.schema), source.dialect) if other else []
        return Shown(sql, tuple(unknown) or (_explained(error, source.dialect),), note=note)
    except UserError as error:
        return Shown(sql, (str(error),), note=note)
    seconds = time.monotonic() - started
    return Shown(sql, (), result.columns, tuple(result.rows[:MAX_ROWS]), result.overflow, seconds, note)


def check_query(sql: str, source: Source) -> list[str]:
    """What in a query does not fit the schema; every unknown name, then what SQLite says if that is something else.

    SQLite's word is what counts: a query that it compiles fits, whatever it looks like.
    """
    schema = parse_schema(source.schema)
    sandbox = SqliteSandbox.in_memory(schema.tables.values())
    try:
        sandbox.check(sql)
    except QueryFailed as error:
        unknown = unknown_names(sql, schema) if error.kind == "error" else []
        return unknown or [_explained(error, "sqlite")]
    finally:
        sandbox.close()
    return []


def unknown_names(sql: str, schema: Schema, dialect: Dialect = "sqlite") -> list[str]:
    """Tables and columns of a query that the schema does not have, with the nearest that it does have.

    What stands in quotes is left to SQLite, which takes "Lisbon" for a text where no column has that name.
    """
    tree = parse(sql) if dialect == "sqlite" else _read(sql, dialect)
    if tree is None:
        return []
    views = {view.name.lower() for view in schema.views.values()}
    tables = {table.name.lower() for table in schema.tables.values()} | (views if dialect != "sqlite" else set())
    made = {cte.alias_or_name.lower() for cte in tree.find_all(exp.CTE)}
    used = [table.name for table in tree.find_all(exp.Table) if table.name.lower() not in tables | made]
    columns = {name for table in schema.tables.values() for name in table.columns}
    columns |= {name.lower() for view in schema.views.values() for name in view.columns}
    aliases = {alias.alias.lower() for alias in tree.find_all(exp.Alias) if alias.alias}
    declared = {name.name.lower() for alias in tree.find_all(exp.TableAlias) for name in alias.columns}
    known = columns | aliases | declared | {"rowid", "oid", "_rowid_"}
    plain = [column for column in tree.find_all(exp.Column) if not column.this.args.get("quoted")]
    missing = [column.name for column in plain if column.name.lower() not in known]
    return [*_said("table", used, tables), *_said("column", missing, columns)]


def _read(sql: str, dialect: Dialect) -> exp.Expr | None:
    """A query as a tree in a dialect; None if it does not parse, so that nothing is known of its names."""
    try:
        return the_query(sql, dialect)
    except QueryFailed:
        return None


def _said(kind: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    lines = []
    for name in dict.fromkeys(name for name in names if name and name != "*"):
        near = difflib.get_close_matches(name.lower(), list(known), n=1)
        lines.append(f"There is no {kind} {name} in the schema." + (f" Did you mean {near[0]}?" if near else ""))
    return lines


def _explained(error: QueryFailed, dialect: Dialect) -> str:
    if error.kind == "refused":
        return f"Refused: {error}. Only queries that read are run here."
    if error.kind == "timeout":
        return f"Stopped: {error}. A query has {MAX_SECONDS:.0f} seconds here."
    return f"{SHOWN[dialect]} says: {error}."
