"""The text of a schema in a prompt: its tables, sample rows, and descriptions of columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from text2sql.config import SchemaText
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.rows.csv_tables import read_csv_with_warning
from text2sql.sql.ddl import TableStatement, is_constraint, table_statements
from text2sql.sql.files import first_rows
from text2sql.sql.tokens import Token
from text2sql.sql.values import Row, Value

# (lower-case table name, number of rows) -> (column names, first rows)
FirstRows = Callable[[str, int], tuple[list[str], list[Row]]]
# Characters of a sample value in a prompt.
MAX_VALUE_CHARACTERS = 40


class Reference(NamedTuple):
    """A foreign key as tokens; `parent_columns` is empty if the key does not name them."""

    columns: list[Token]
    parent: Token
    parent_columns: list[Token]


@dataclass(frozen=True)
class DeclaredTable:
    """A table as its CREATE TABLE statements declare it; several statements of one name are joined.

    Attributes:
        text: The statements, each with the text after it up to the next one.
        statements: The statements as tokens.
    """

    text: str
    statements: tuple[TableStatement, ...]

    @property
    def name(self) -> Token:
        """The table's name."""
        return self.statements[0].name

    @property
    def columns(self) -> list[Token]:
        """The names of the columns, each once."""
        names: dict[str, Token] = {}
        for part in self._parts():
            if not is_constraint(part):
                names.setdefault(part[0].name.lower(), part[0])
        return [*names.values()]

    @property
    def primary_key(self) -> list[Token]:
        """The columns of the primary key."""
        for part in self._parts():
            words = [token.keyword for token in part]
            for index in range(len(part) - 1):
                if words[index : index + 2] == ["PRIMARY", "KEY"]:
                    return _names_in_parentheses(part[index + 2 :]) if is_constraint(part) else part[:1]
        return []

    @property
    def references(self) -> list[Reference]:
        """The foreign keys, of columns and of the table."""
        references = []
        for part in self._parts():
            index = next((i for i, token in enumerate(part[:-1]) if token.keyword == "REFERENCES"), None)
            if index is not None:
                columns = _names_in_parentheses(part[:index]) if is_constraint(part) else part[:1]
                references.append(Reference(columns, part[index + 1], _names_in_parentheses(part[index + 2 :])))
        return references

    def _parts(self) -> list[list[Token]]:
        return [part for statement in self.statements for part in statement.parts]


def _names_in_parentheses(tokens: Sequence[Token]) -> list[Token]:
    """The names in the first parentheses of the tokens."""
    texts = [token.text for token in tokens]
    if "(" not in texts:
        return []
    start = texts.index("(") + 1
    end = texts.index(")", start) if ")" in texts[start:] else len(texts)
    return [token for token in tokens[start:end] if token.text != ","]


def read_tables(context: str) -> dict[str, DeclaredTable]:
    """The tables of a schema by name, in lower case and in the order of their first statements."""
    statements = table_statements(context)
    ends = [*(statement.start for statement in statements), len(context)][1:]
    tables: dict[str, DeclaredTable] = {}
    for statement, end in zip(statements, ends, strict=True):
        name, text = statement.name.name.lower(), context[statement.start : end].strip()
        earlier = tables.get(name)
        tables[name] = (
            DeclaredTable(f"{earlier.text}\n{text}", (*earlier.statements, statement))
            if earlier
            else DeclaredTable(text, (statement,))
        )
    return tables


def show_schemas(
    examples: Sequence[Example], options: SchemaText, first_rows: FirstRows | None = None
) -> list[Example]:
    """Sets `shown` of the examples to the schema's text by the options.

    Args:
        examples: Questions on schemas.
        options: What the text contains.
        first_rows: Reads rows of the one database of all examples, if it is not a SQLite file.

    Raises:
        UserError: Rows or descriptions are asked for, but no example has a database.
    """
    if options == SchemaText():
        return list(examples)
    needs_database = options.sample_rows or options.descriptions
    if needs_database and examples and first_rows is None and not any(e.db for e in examples):
        raise UserError(
            "prompt.schema_text: sample_rows and descriptions come out of databases, and no example has one; give "
            "them with data.databases, or set sample_rows=0 and descriptions=false."
        )
    return [replace(e, shown=_schema_text(e, options, first_rows)) for e in examples]


def shown_tables(example: Example, options: SchemaText) -> dict[str, DeclaredTable]:
    """The tables that the options include, by name."""
    tables = read_tables(example.context)
    if options.tables == "linked":
        return {name: tables[name] for name in linked_tables(tables, f"{example.question} {example.evidence or ''}")}
    if options.tables == "gold":
        return {name: tables[name] for name in gold_tables(tables, example.answer)}
    return tables


def _schema_text(example: Example, options: SchemaText, rows_of: FirstRows | None) -> str:
    from_database = bool((example.db or rows_of) and (options.sample_rows or options.descriptions))
    if not from_database and (options.tables, options.style) == ("all", "ddl"):
        return example.context
    tables = shown_tables(example, options)
    parts = []
    for name, table in tables.items():
        parts.append(table.text.rstrip("; \n") + ";" if options.style == "ddl" else _compact_table(table))
        if options.descriptions and example.db:
            parts += _descriptions(example.db, name)
        if options.sample_rows and rows_of is not None:
            parts += _rows_comment(name, *rows_of(name, options.sample_rows))
        elif options.sample_rows and example.db:
            parts += _sample_rows(example.db, name, options.sample_rows)
    if options.style == "compact":
        parts += [line for table in tables.values() for line in _join_lines(table, tables)]
    return "\n".join(parts)


def _compact_table(table: DeclaredTable) -> str:
    """A table as ``name(column, column)``, with names unquoted where SQL allows it."""
    return f"{_unquoted(table.name)}({', '.join(map(_unquoted, table.columns))})"


def _join_lines(table: DeclaredTable, shown: Mapping[str, DeclaredTable]) -> list[str]:
    """A table's foreign keys to tables that are shown, as ``table.column = other.column``; a line for each column."""
    lines = []
    for reference in table.references:
        parent = shown.get(reference.parent.name.lower())
        if parent is None:
            continue
        # A key without parent columns refers to the parent's primary key.
        pairs = zip(reference.columns, reference.parent_columns or parent.primary_key, strict=False)
        lines += [
            f"{_unquoted(table.name)}.{_unquoted(a)} = {_unquoted(reference.parent)}.{_unquoted(b)}" for a, b in pairs
        ]
    return lines


def gold_tables(tables: Mapping[str, DeclaredTable], answer: str) -> list[str]:
    """The tables that a query names, in their order; all of them if it names none."""
    words = set(re.findall(r"\w+", answer.lower()))
    return [name for name in tables if name in words or (not name.isidentifier() and name in answer.lower())] or [
        *tables
    ]


def linked_tables(tables: Mapping[str, DeclaredTable], question: str) -> list[str]:
    """The tables whose name or columns the question mentions, and those that reference two of them.

    Words are compared by their stems. If the question mentions none, all tables are returned.
    """
    question_stems = stems(question)
    kept = {name for name in tables if stems(name) & question_stems}
    for name, table in tables.items():
        columns = [stems(column.text) for column in table.columns]
        kept |= {name} if any(len(stems) and stems <= question_stems for stems in columns) else set()
    for name, table in tables.items():
        if len({reference.parent.name.lower() for reference in table.references} & kept) >= 2:
            kept.add(name)
    return [name for name in tables if name in kept] or [*tables]


def _unquoted(name: Token) -> str:
    """A name without its quotes, unless it has other characters than letters, digits and underscores."""
    return name.name if re.fullmatch(r"[^\W\d]\w*", name.name) else name.text


def stems(text: str) -> set[str]:
    """The stems of the words in a text or a name, without stop words."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    words = re.findall(r"[a-z0-9]+", spaced.lower())
    return {
        re.sub(r"(?<=..)(ies|es|s|e|y)$", "", word) for word in words if word not in ("id", "the", "a", "of", "name")
    }


@lru_cache(maxsize=4096)
def _sample_rows(db: str, table: str, count: int) -> tuple[str, ...]:
    return _rows_comment(table, *first_rows(db, table, count))


def _rows_comment(table: str, columns: Sequence[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """The rows of a table as a comment; empty if there are none."""
    if not rows:
        return ()
    lines = [" | ".join(columns), *(" | ".join(_value_text(value) for value in row) for row in rows)]
    return (f"/* {len(rows)} rows of {table}:", *lines[:-1], f"{lines[-1]} */")


def _value_text(value: Value) -> str:
    text = "NULL" if value is None else " ".join(str(value).replace("*/", "").split())
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"


@lru_cache(maxsize=4096)
def _descriptions(db: str, table: str) -> tuple[str, ...]:
    """Comments on the columns that BIRD's ``database_description/TABLE.csv`` describes."""
    folder = Path(db).parent / "database_description"
    if not folder.is_dir():
        return ()
    file = next((f for f in sorted(folder.glob("*.csv")) if f.stem.lower() == table), None)
    if file is None:
        return ()
    try:
        described = read_csv_with_warning(file, loose=True)
    except (OSError, ValueError) as error:
        raise UserError(f"prompt.schema_text.descriptions: {file} cannot be read: {error}.") from error
    lines = []
    # BIRD's rows may be longer than the header, because of a trailing comma.
    for _, cells in described.rows():
        row = dict(zip(described.header, cells, strict=False))
        name = " ".join((row.get("original_column_name") or "").split())
        parts = [" ".join((row.get(key) or "").split()) for key in ("column_description", "value_description")]
        about = "; ".join(part for part in parts if part)
        if name and about and about.lower() != name.lower():
            lines.append(f"-- {table}.{name}: {about}")
    return tuple(lines)
