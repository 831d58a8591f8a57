"""The tables of a user's database, and their CREATE TABLE statements as prompts show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import quote_string
from text2sql.sql.trees import parse_in

# Characters of a comment in a prompt.
_MAX_COMMENT_CHARACTERS = 160
# Defaults that a prompt shows: literals and the current time.
_DEFAULT = re.compile(r"(?:-?\d+(?:\.\d+)?|'(?:[^']|'')*'|true|false|null|current_\w+(?:\(\))?)", re.IGNORECASE)

Quote = Callable[[str], str]


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: Bare.
        type: As the engine spells it; empty where it has none that can be written.
        not_null: Whether it refuses NULL.
        default: As the engine spells it.
        comment: The database's own.
        choices: The labels of a named enumeration, which CREATE TABLE alone does not show.
        generated: The expression of a generated column as the engine spells it.
    """

    name: str
    type: str
    not_null: bool = False
    default: str | None = None
    comment: str | None = None
    choices: tuple[str, ...] = ()
    generated: str | None = None


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key; `parent` is the table's name as queries must write it."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table or view.

    Attributes:
        name: Bare.
        sql_name: The name as queries must write it: quoted where needed, qualified outside the default schema.
        columns: The columns in their order.
        primary_key: The names of its columns.
        uniques: The names of the columns of each UNIQUE key.
        foreign_keys: The declared foreign keys.
        checks: Conditions as the engine spells them.
        comment: The database's own.
        view: The query of a view, empty where the role may not see it; None for a table.
    """

    name: str
    sql_name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    uniques: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[str, ...] = ()
    comment: str | None = None
    view: str | None = None


def only_readable(table: Table, readable: Mapping[str, Mapping[str, str]], dialect: Dialect) -> Table:
    """A table without what names a column or a table that its role may not read.

    Args:
        table: The table with all of its columns.
        readable: The readable columns of each readable table with their types, by the name as queries must write it.
        dialect: The dialect of the table's engine.
    """
    names = readable[table.sql_name]
    # A type that the description lacks is one that is not known there.
    columns = [
        replace(column, type=column.type or names[column.name]) for column in table.columns if column.name in names
    ]
    is_whole = len(columns) == len(table.columns)

    def is_told(expression: str) -> bool:
        if is_whole:
            return True
        try:
            tree = sqlglot.parse_one(expression, read=dialect)
        except (SqlglotError, RecursionError, ValueError):
            return False
        return all(column.name in names for column in tree.find_all(exp.Column))

    return replace(
        table,
        columns=tuple(
            column if is_told(column.generated or "1") else replace(column, generated=None) for column in columns
        ),
        primary_key=table.primary_key if {*table.primary_key} <= names.keys() else (),
        uniques=tuple(unique for unique in table.uniques if {*unique} <= names.keys()),
        foreign_keys=tuple(
            key
            for key in table.foreign_keys
            if {*key.columns} <= names.keys() and {*key.parent_columns} <= readable.get(key.parent, {}).keys()
        ),
        checks=tuple(check for check in table.checks if is_told(check)),
        view=table.view and (table.view if is_whole and _reads_only(table.view, readable, dialect) else ""),
    )


def _reads_only(query: str, readable: Collection[str], dialect: Dialect) -> bool:
    """Whether a query reads no other tables than some, by their names without schemas; True if it does not parse."""
    try:
        tree = parse_in(query, dialect)
    except (SqlglotError, RecursionError, ValueError):
        return True
    known = {name.rpartition(".")[2].strip('"`').lower() for name in readable}
    known |= {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    return all(node.name.lower() in known for node in tree.find_all(exp.Table) if isinstance(node.this, exp.Identifier))


def statements(tables: Sequence[Table], dialect: Dialect, quote: Quote) -> str:
    """The text of a schema: a CREATE statement for each table and view, with comments at the end of lines.

    Args:
        tables: The tables in their order in the text.
        dialect: The dialect of their engine.
        quote: Quotes a name where queries must.
    """
    return "\n".join(_statement(table, dialect, quote) for table in tables)


def _statement(table: Table, dialect: Dialect, quote: Quote) -> str:
    if table.view:
        names = ", ".join(quote(column.name) for column in table.columns)
        comment_text = f" -- {_one_line(table.comment)}" if table.comment else ""
        return f"CREATE VIEW {table.sql_name} ({names}) AS {_one_line_query(table.view, dialect)};{comment_text}"
    comment_text = _one_line(table.comment or ("a view" if table.view is not None else ""))
    definitions = [*_lines(table, dialect, quote)]
    # The comma goes before the comment.
    parts = [
        f"  {text}{',' if index < len(definitions) - 1 else ''}{f' -- {comment}' if comment else ''}"
        for index, (text, comment) in enumerate(definitions)
    ]
    return "\n".join([f"CREATE TABLE {table.sql_name} ({f' -- {comment_text}' if comment_text else ''}", *parts, ");"])


def _lines(table: Table, dialect: Dialect, quote: Quote) -> Iterator[tuple[str, str]]:
    """Each column and each constraint, with its comment."""
    for column in table.columns:
        yield _column(column, table, dialect, quote), _one_line(column.comment or "")

    def listed(names: Sequence[str]) -> str:
        return f"({', '.join(map(quote, names))})"

    if len(table.primary_key) > 1:
        yield f"PRIMARY KEY {listed(table.primary_key)}", ""
    for key in table.uniques:
        yield f"UNIQUE {listed(key)}", ""
    for foreign in table.foreign_keys:
        yield f"FOREIGN KEY {listed(foreign.columns)} REFERENCES {foreign.parent} {listed(foreign.parent_columns)}", ""
    for check in table.checks:
        yield f"CHECK ({_condition(check, dialect)})", ""


def _column(column: Column, table: Table, dialect: Dialect, quote: Quote) -> str:
    name = quote(column.name)
    words = [name, column.type] if column.type else [name]
    if table.primary_key == (column.name,):
        words.append("PRIMARY KEY")
    elif column.not_null:
        words.append("NOT NULL")
    default = re.sub(r"::[\w\s\[\]().,]+\Z", "", column.default or "")
    if default and _DEFAULT.fullmatch(default) and default.lower() != "null":
        words.append(f"DEFAULT {default}")
    if column.generated:
        words.append(f"GENERATED ALWAYS AS ({_condition(column.generated, dialect)})")
        words += ["STORED"] if dialect == "postgres" else []
    if column.choices:
        words.append(f"CHECK ({name} IN ({', '.join(map(quote_string, column.choices))}))")
    return " ".join(words)


def _one_line(comment: str) -> str:
    text = " ".join(comment.split())
    return text if len(text) <= _MAX_COMMENT_CHARACTERS else text[: _MAX_COMMENT_CHARACTERS - 1] + "…"


def _one_line_query(query: str, dialect: Dialect) -> str:
    """The query of a view in one line, normalized where it parses."""
    try:
        return parse_in(query, dialect).sql(dialect=dialect)
    except (SqlglotError, RecursionError, ValueError):
        return " ".join(query.split()).rstrip(";")


def _condition(check: str, dialect: Dialect) -> str:
    """A condition without the casts and arrays that servers add to it; unchanged where it does not parse."""
    try:
        tree = sqlglot.parse_one(check, read=dialect)
    except (SqlglotError, RecursionError, ValueError):
        return " ".join(check.split())
    return tree.transform(_drop_cast).transform(_any_to_in).unnest().sql(dialect=dialect)


def _drop_cast(node: exp.Expr) -> exp.Expr:
    inner = node.this
    while isinstance(node, (exp.Cast, exp.Paren)) and isinstance(inner, (exp.Cast, exp.Paren)):
        inner = inner.this
    if isinstance(node, exp.Cast) and isinstance(inner, (exp.Literal, exp.Column, exp.Array)):
        return inner.transform(_drop_cast)
    if isinstance(node, exp.Paren) and isinstance(inner, (exp.Literal, exp.Column)):
        return inner
    return node


def _any_to_in(node: exp.Expr) -> exp.Expr:
    """``x = ANY (ARRAY[...])`` as ``x IN (...)``."""
    if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
        array = node.expression.this
        while isinstance(array, exp.Paren):
            array = array.this
        if isinstance(array, exp.Array):
            return exp.In(this=node.this, expressions=array.expressions)
    return node
