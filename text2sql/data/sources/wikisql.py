"""Reads WikiSQL (V. Zhong et al., 2017): converts its structured queries to SQL, and repairs the Hub's unquoted form.

The original has a table and a query as numbers for each question: the selected column, an aggregate, conditions. These
convert exactly to SQL. A copy on the Hub (columns instruction, input, output) has only a rendering such as
``SELECT SUM Week FROM table WHERE Date = september 28, 1986``, which no database can run. Its grammar is narrow enough
to parse; queries with several readings, or none, are refused with the reason and counted.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from backends.paths import written_aside
from text2sql.data.example import Example
from text2sql.data.sources.layout import archive_split, check_row, find_file
from text2sql.data.sources.records import make_example
from text2sql.errors import UserError
from text2sql.rows import SourceRow, read_rows
from text2sql.sql.tokens import quote_identifier, quote_string

AGGREGATES = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")
OPERATORS = ("=", ">", "<")
SPLITS = ("train", "dev", "test")
NO_FORM = "WikiSQL query of no form that can be read"
AMBIGUOUS = "WikiSQL query that reads in two ways"


class Unusable(ValueError):
    """A row cannot be converted to SQL; the message says why."""


class WikiTable(NamedTuple):
    """A table: its name, distinct column names, and their types (text or real)."""

    name: str
    columns: list[str]
    types: list[str]

    def ddl(self) -> str:
        """Its CREATE TABLE statement."""
        columns = (
            f"{_quoted(c)} {'REAL' if t == 'real' else 'TEXT'}" for c, t in zip(self.columns, self.types, strict=True)
        )
        return f"CREATE TABLE {_quoted(self.name)} ({', '.join(columns)})"


def read_directory(directory: Path, split: str) -> list[Example]:
    """Reads a split of the original: ``SPLIT.jsonl`` with ``SPLIT.tables.jsonl`` next to it.

    Raises:
        UserError: A file is missing or of another shape.
    """
    key = archive_split(split, SPLITS, "WikiSQL")
    file = find_file(directory, (f"{key}.jsonl",), f"WikiSQL's {key} questions")
    tables_file = find_file(file.parent, (f"{key}.tables.jsonl",), f"WikiSQL's {key} tables")
    try:
        tables = {row["id"]: _table(row["id"], row["header"], row["types"]) for row in read_rows(tables_file)}
    except (KeyError, TypeError) as error:
        raise UserError(
            f"data.path: {tables_file} is not WikiSQL's: a line should have id, header, types and rows ({error})."
        ) from error
    examples = []
    for index, row in enumerate(read_rows(file)):
        check_row(row, ("question", "table_id", "sql"), index, file)
        examples.append(
            _from_structure(f"wikisql/{key}/{index}", row["question"], row["sql"], tables.get(row["table_id"]))
        )
    return examples


def from_rows(rows: Iterable[SourceRow], name: str, location: str) -> list[Example]:
    """Converts rows of a Hub copy, with table and structured query, or in the instruction form.

    Raises:
        UserError: A row is of neither form.
    """
    examples = []
    for index, row in enumerate(rows):
        if isinstance(row.get("sql"), Mapping) and isinstance(row.get("table"), Mapping):
            table = _table(row["table"].get("id") or f"{index}", row["table"]["header"], row["table"]["types"])
            examples.append(_from_structure(f"{name}/{index}", row["question"], row["sql"], table))
        elif "input" in row and "output" in row:
            examples.append(_from_text(f"{name}/{index}", row, index))
        else:
            raise UserError(
                f"data.source: row {index + 1} of {location} is in no form of WikiSQL: expected question, table and "
                f"sql, or instruction, input and output; found {', '.join(map(str, row))}."
            )
    return examples


def _table(identity: str, header: Sequence[str], types: Sequence[str]) -> WikiTable:
    """A table with numbers appended to column names that repeat (ignoring case) or are empty."""
    columns: list[str] = []
    for index, title in enumerate(header):
        column = " ".join(str(title).split()) or f"column {index + 1}"
        taken, number = {c.lower() for c in columns}, 2
        while column.lower() in taken:
            column, number = f"{title} {number}", number + 1
        columns.append(column)
    return WikiTable("table_" + str(identity).replace("-", "_"), columns, list(types))


def _from_structure(identity: str, question: str, sql: Mapping[str, Any], table: WikiTable | None) -> Example:
    try:
        if table is None:
            raise Unusable("WikiSQL table not found")
        answer, problem = _render(sql, table), None
    except (Unusable, KeyError, TypeError, ValueError) as error:
        answer, problem = "", str(error) if isinstance(error, Unusable) else NO_FORM
    values = {"question": question, "answer": answer}
    values |= {"context": table.ddl(), "db_id": table.name} if table else {}
    return make_example(identity, values, problem=problem)


def _render(sql: Mapping[str, Any], table: WikiTable) -> str:
    conditions = sql["conds"]
    # The Hub stores a list of structures as a structure of lists.
    if isinstance(conditions, Mapping):
        keys = ("column_index", "operator_index", "condition")
        conditions = list(zip(*(conditions[key] for key in keys), strict=True))
    return render(
        AGGREGATES[_index(sql["agg"], AGGREGATES)],
        _index(sql["sel"], table.columns),
        [(_index(c, table.columns), OPERATORS[_index(o, OPERATORS)], value) for c, o, value in conditions],
        table,
    )


def _index(value: Any, of: Sequence[object]) -> int:
    if not 0 <= int(value) < len(of):
        raise Unusable("WikiSQL query that names a column or operator that is not there")
    return int(value)


def render(aggregate: str, selected: int, conditions: Sequence[tuple[int, str, object]], table: WikiTable) -> str:
    """A structured query as SQL; conditions are (column, operator, value)."""
    column = _quoted(table.columns[selected])
    query = f"SELECT {f'{aggregate}({column})' if aggregate else column} FROM {_quoted(table.name)}"
    parts = [f"{_quoted(table.columns[c])} {o} {_literal(v, table.types[c])}" for c, o, v in conditions]
    return query + (f" WHERE {' AND '.join(parts)}" if parts else "")


def _literal(value: object, kind: str) -> str:
    if kind == "real" and (number := _number(value)) is not None:
        return number
    return quote_string(str(value))


def _number(value: object) -> str | None:
    """A number in SQL's notation, without thousands separators; None if the value is no number."""
    match = re.fullmatch(r"\s*([-+]?)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?\s*", str(value))
    if not match or not (match[2] or match[3]):
        return None
    return f"{match[1].replace('+', '')}{(match[2] or '0').replace(',', '')}{match[3] or ''}"


def _quoted(name: str) -> str:
    return quote_identifier(name, '"')


# The instruction form

_QUERY = re.compile(
    r"SELECT\s+(?:(MAX|MIN|COUNT|SUM|AVG)\s+)?(\S.*?)\s+FROM\s+table\b(?:\s+WHERE\s+(\S.*))?\s*", re.DOTALL
)


class PseudoQuery(NamedTuple):
    """The structure of an unquoted query; names and values are texts."""

    aggregate: str
    selected: str
    conditions: list[tuple[str, str, str]]


def read_pseudo(query: str) -> PseudoQuery:
    """Parses an unquoted query.

    Raises:
        Unusable: It has another form, or more than one reading.
    """
    match = _QUERY.fullmatch(query.strip())
    if not match or " FROM table" in match[2]:
        raise Unusable(NO_FORM)
    return PseudoQuery(
        match[1] or "", " ".join(match[2].split()), [_condition(c) for c in re.split(r"\s+AND\s+", match[3] or "") if c]
    )


def _condition(condition: str) -> tuple[str, str, str]:
    parts = re.split(r"(?<=\s)(=|>|<)(?=\s)", f" {condition} ")
    # A name or a value contains an operator too.
    if len(parts) > 3:
        raise Unusable(AMBIGUOUS)
    # The AND before it was part of a value.
    if len(parts) < 3:
        raise Unusable(AMBIGUOUS if condition else NO_FORM)
    column, operator, value = (" ".join(part.split()) for part in parts)
    if not column or not value:
        raise Unusable(NO_FORM)
    return column, operator, value


def _from_text(identity: str, row: SourceRow, index: int) -> Example:
    """Converts a row of the instruction form: the question, a table of the named columns, and the repaired query."""
    unread = make_example(identity, {"question": row["input"], "answer": row["output"]})
    try:
        pseudo = read_pseudo(unread.answer)
    except Unusable as error:
        return replace(unread, answer="", problem=unread.problem or str(error))
    real = {c.lower() for c, o, _ in pseudo.conditions if o != "="}
    real |= {pseudo.selected.lower()} if pseudo.aggregate in ("SUM", "AVG") else set()
    values = {c.lower(): v for c, _, v in pseudo.conditions}
    real = {c for c in real if c not in values or _number(values[c]) is not None}
    columns = list({c.lower(): c for c in [pseudo.selected, *(c for c, _, _ in pseudo.conditions)]}.values())
    indexes = {c.lower(): i for i, c in enumerate(columns)}
    table = WikiTable(f"table_name_{index}", columns, ["real" if c.lower() in real else "text" for c in columns])
    conditions = [(indexes[c.lower()], o, v) for c, o, v in pseudo.conditions]
    answer = render(pseudo.aggregate, indexes[pseudo.selected.lower()], conditions, table)
    return replace(unread, context=table.ddl(), answer=answer)


# Databases


def make_databases(directory: Path, split: str, names: set[str], into: Path) -> dict[str, Path]:
    """Writes a SQLite file for each of the tables, with the column names that prompts and queries use.

    WikiSQL's own .db files call the columns col0, col1, ...

    Args:
        directory: The directory of the original.
        split: The split of the tables.
        names: The names of the tables.
        into: The directory of the files; existing ones are kept.

    Returns:
        The file of each table.
    """
    key = archive_split(split, SPLITS, "WikiSQL")
    files = {name: into / key / f"{name}.sqlite" for name in names}
    missing = {name for name, file in files.items() if not file.is_file()}
    if not missing:
        return files
    for row in read_rows(find_file(directory, (f"{key}.tables.jsonl",), f"WikiSQL's {key} tables")):
        table = _table(row["id"], row["header"], row["types"])
        if table.name not in missing:
            continue
        with written_aside(files[table.name]) as aside:
            _write_database(aside, table, [_cells(r, table) for r in row["rows"]])
    return files


def _write_database(path: Path, table: WikiTable, rows: Sequence[Sequence[JsonValue]]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        # WikiSQL compares texts ignoring case.
        db.execute(table.ddl().replace(" TEXT", " TEXT COLLATE NOCASE"))
        placeholders = ",".join("?" * len(table.columns))
        db.executemany(f"INSERT INTO {_quoted(table.name)} VALUES ({placeholders})", rows)
        db.execute("COMMIT")


def _cells(row: Sequence[JsonValue], table: WikiTable) -> list[JsonValue]:
    cells: list[JsonValue] = []
    for value, kind in zip(row, table.types, strict=True):
        number = _number(value) if kind == "real" and isinstance(value, str) else None
        cells.append(float(number) if number is not None else json.dumps(value) if isinstance(value, list) else value)
    return cells
