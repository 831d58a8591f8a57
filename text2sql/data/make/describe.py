"""Describes a user's database as a domain for the shapes: each column's role by its type, its name and its values."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from text2sql.data.make.domain import PEOPLE, Bridge, Column, Domain, Table, plural
from text2sql.data.make.query import Row, View
from text2sql.data.make.spoken_names import (
    MAX_QUOTED_CHARACTERS,
    column_phrases,
    is_quotable,
    is_sayable,
    singular,
    snake_case,
    spoken_name,
    with_article,
)
from text2sql.data.schema_text import DeclaredTable, read_tables
from text2sql.engines.dialect import Dialect
from text2sql.engines.user_databases.connection import Database, Limits
from text2sql.engines.user_databases.inspect import DatabaseSchema
from text2sql.sql import schema as declared
from text2sql.sql.ddl import parse_schema
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.tokens import Token, fold, quote_identifier
from text2sql.sql.values import Value

# Limits of the sample of a table's rows.
SAMPLE = Limits(seconds=60.0, rows=2000, size=32 * 2**20)
# Values that a category may have.
_MAX_CATEGORY_VALUES = 30
_LABEL_NAME = re.compile(r"(?:^|_)(?:name|title|label|subject|headline)$")
_IDENTIFIER_NAME = re.compile(
    r"(?:^|_)(?:id|ids|code|no|nr|number|zip|postcode|phone|fax|uuid|guid|key|latitude|longitude)$"
)
_SUMMABLE_NAME = re.compile(
    r"(?:amount|total|sales|revenue|quantity|qty|cost|budget|profit|points|votes|goals|population|count)"
)
# The greatest number that is asked about; up to it a float has every whole number.
_MAX_NUMBER = 10**15
_YEARS = range(1500, 2101)
# Texts that stand for true and false.
_TRUE_FALSE_TEXTS = (
    ("T", "F"),
    ("Y", "N"),
    ("true", "false"),
    ("True", "False"),
    ("yes", "no"),
    ("Yes", "No"),
    ("1", "0"),
)
_DAY = re.compile(r"(\d{4})-\d{2}-\d{2}")


@dataclass(frozen=True)
class Description:
    """What the shapes may ask about in a database, and what they may not.

    Attributes:
        view: The tables with rows, and a sample of the rows of each.
        left_out: The tables and columns that are not asked about, each with the reason.
    """

    view: View
    left_out: tuple[str, ...]


def describe_database(database: Database, schema: DatabaseSchema) -> Description:
    """Describes what the shapes may ask about in a database.

    Args:
        database: An open connection.
        schema: The database's schema.
    """
    declared_tables = read_tables(schema.text)
    declared_schema = parse_schema(schema.text)
    tables, rows = [], {}
    left_out: list[str] = []
    for name, table in declared_schema.tables.items():
        sql_name = schema.sql_names.get(name) or _quote_if_needed(table.name)
        try:
            if name not in declared_tables:
                raise _NotAskedAbout("its declaration cannot be read")
            size, sample = _sample_rows(database, sql_name, declared_tables[name])
            description = _describe_table(
                sql_name, table, declared_tables[name], size, sample, database.location.dialect
            )
        except _NotAskedAbout as reason:
            left_out.append(f"{_one_line(sql_name)} ({reason})")
            continue
        tables.append((name, description))
        rows[sql_name] = sample
        described = {column.name for column in description.columns}
        columns = [_sql_name(token, database.location.dialect) for token in declared_tables[name].columns]
        left_out += [f"{_one_line(f'{sql_name}.{column}')}" for column in columns if column not in described]
    linked_tables = _link_foreign_keys(dict(tables), declared_schema)
    domain = Domain(database.location.display_name, "train", linked_tables, _bridges(linked_tables))
    return Description(View(domain, rows), tuple(left_out))


class _NotAskedAbout(Exception):
    """Nothing can be asked about a table; the message says why."""


def _one_line(name: str) -> str:
    text = " ".join(name.split())
    return text if len(text) <= MAX_QUOTED_CHARACTERS else text[: MAX_QUOTED_CHARACTERS - 1] + "…"


def _sample_rows(database: Database, sql_name: str, declared_table: DeclaredTable) -> tuple[int, list[Row]]:
    """The number of a table's rows, and its first rows by the SQL names of columns.

    Raises:
        _NotAskedAbout: It cannot be read, or has no rows.
    """
    dialect = database.location.dialect
    names = [_sql_name(token, dialect) for token in declared_table.columns]
    if not names:
        raise _NotAskedAbout("no columns are known of it")
    try:
        ((size,),) = database.run(f"SELECT COUNT(*) FROM {sql_name}", SAMPLE).rows
        result = database.run(f"SELECT {', '.join(names)} FROM {sql_name}", SAMPLE)
    except QueryFailed as error:
        raise _NotAskedAbout(f"it cannot be read: {error}") from error
    rows = [dict(zip(names, (_text_or_number(value) for value in row), strict=True)) for row in result.rows]
    if not rows or not isinstance(size, (int, float)):
        raise _NotAskedAbout("it has no rows")
    return int(size), rows


def _text_or_number(value: Value) -> str | int | float | None:
    return None if isinstance(value, bytes) else value


def _describe_table(
    sql_name: str,
    table: declared.TableSchema,
    declared_table: DeclaredTable,
    size: int,
    rows: list[Row],
    dialect: Dialect,
) -> Table:
    noun = spoken_name(table.name)
    if not is_sayable(noun):
        raise _NotAskedAbout("a question cannot say its name")
    singular_noun = singular(noun)
    primary_key = table.primary_key[0] if len(table.primary_key) == 1 else None
    unique_columns = {key[0] for key in table.uniques if len(key) == 1}
    columns: list[Column] = []
    for token in declared_table.columns:
        name, sql_text = fold(token.name), _sql_name(token, dialect)
        column = table.columns[name]
        values = [row[sql_text] for row in rows]
        unique = name in (primary_key, *unique_columns) or (
            size == len(rows) and len({*values}) == size and None not in values
        )
        described = _describe_column(sql_text, token.name, column, values, unique, dialect)
        # A key that is also a label is described twice, as a key and as a label; likewise references to such keys.
        if name == primary_key:
            columns.append(Column(sql_text, "key", ("id",)))
            described = described if described is not None and described.kind == "label" else None
        elif any(name in key.columns for key in table.foreign_keys):
            # `_link_foreign_keys` sets the target.
            columns += [Column(sql_text, "ref")] if is_sayable(spoken_name(token.name)) else []
            described = described if described is not None and described.kind == "category" else None
        if described is None:
            continue
        described = replace(described, phrases=column_phrases(token.name, singular_noun))
        has_all_values = described.kind in ("label", "code") or None not in values
        phrase = described.phrases[0]
        columns.append(
            described
            if has_all_values
            else replace(
                described, missing=(f"without {with_article(phrase)}",), present=(f"with {with_article(phrase)}",)
            )
        )
    labels = [column for column in columns if column.kind == "label"]
    # One column is the row's label, preferably one with such a name; other unique columns are codes.
    chosen = next(
        (column for column in labels if _LABEL_NAME.search(snake_case(_unquoted(column.name)))),
        next(iter(labels), None),
    )
    columns = [replace(c, kind="code") if c.kind == "label" and c is not chosen else c for c in columns]
    needs_full_group_by = dialect == "duckdb"
    if not columns:
        raise _NotAskedAbout("none of its columns can be asked about")
    return Table(sql_name, ((singular_noun, plural(singular_noun)),), size, tuple(columns), needs_full_group_by)


def _describe_column(
    text: str, name: str, column: declared.Column, values: Sequence[object], unique: bool, dialect: Dialect
) -> Column | None:
    """Describes a column; None if no shape can use it."""
    kind, spoken = column.type.upper(), snake_case(name)
    present = [value for value in values if value is not None]
    if (
        not is_sayable(spoken_name(name))
        or not present
        or not all(isinstance(value, type(present[0])) or _is_number(value) for value in present)
    ):
        return None
    if "BOOL" in kind and dialect != "sqlite":
        return _flag_column(text, name, stored="boolean")
    if _is_time(kind) and dialect != "sqlite":
        return _date_column(text, present, "date" if kind == "DATE" else "time")
    if all(_is_number(value) for value in present):
        return _number_column(text, name, spoken, kind, present)
    if not all(isinstance(value, str) for value in present):
        return None
    texts = [str(value) for value in present]
    if all(_DAY.fullmatch(value) for value in texts):
        return _date_column(text, texts, "text") if dialect == "sqlite" else None
    return _text_column(text, spoken, texts, len(values), unique)


def _is_time(kind: str) -> bool:
    return kind == "DATE" or kind.startswith(("TIMESTAMP", "DATETIME"))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number_column(text: str, name: str, spoken: str, kind: str, values: Sequence[object]) -> Column | None:
    # Nobody asks about a value that is not finite, but about the others.
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and abs(value) <= _MAX_NUMBER]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    whole = all(number.is_integer() for number in numbers)
    if {*numbers} <= {0.0, 1.0} and ("BOOL" in kind or re.match(r"(?:is|has|was|can)_", spoken)):
        return _flag_column(text, name)
    if _IDENTIFIER_NAME.search(spoken) or low == high:
        return None
    if whole and low in _YEARS and high in _YEARS and ("year" in spoken or low > 1900):
        return Column(text, "year", low=low, high=high) if high - low > 1 else None
    step = 1 if whole else 0.01
    if high - low < step:
        return None
    return Column(text, "number", low=low, high=high, step=step, total=bool(_SUMMABLE_NAME.search(spoken)))


def _text_column(text: str, spoken: str, values: Sequence[str], count: int, unique: bool) -> Column | None:
    quotable = [value for value in values if value.strip() and is_quotable(value)]
    if len(quotable) < 0.9 * len(values):
        return None
    different = dict.fromkeys(quotable)
    pair = next((pair for pair in _TRUE_FALSE_TEXTS if {*different} == {*pair}), None)
    if pair and re.match(r"(?:is|has|was|can)_", spoken):
        return _flag_column(text, spoken, pair)
    if (
        len(quotable) == len(values) == count
        and unique
        and (_LABEL_NAME.search(spoken) or not _IDENTIFIER_NAME.search(spoken))
    ):
        return Column(text, "label", values=tuple(different))
    if 2 <= len(different) <= _MAX_CATEGORY_VALUES and len(different) * 2 <= len(values):
        return Column(text, "category", values=tuple(value for value in different if value == value.strip()))
    # A text that neither names a row nor groups rows is only shown.
    return Column(text, "code", values=PEOPLE)


def _flag_column(
    text: str, name: str, values: tuple[str, ...] = (), *, stored: Literal["text", "boolean"] = "text"
) -> Column:
    words = re.sub(r"^(?:is|has|was|can) ", "", spoken_name(name))
    if snake_case(name).startswith("has_"):
        where, unless = f"that have {words}", f"that have no {words}"
    else:
        where, unless = f"that are {words}", f"that are not {words}"
    return Column(text, "flag", values=values, where=(where,), unless=(unless,), stored=stored)


def _date_column(text: str, values: Sequence[object], stored: str) -> Column | None:
    years = [int(match[1]) for value in values if (match := _DAY.match(str(value)))]
    if len(years) < len(values) or min(years) < 1000:
        return None
    low, high = min(years), max(years)
    if stored == "date":
        return Column(text, "date", low=low, high=high, stored="date")
    return Column(text, "date", low=low, high=high, stored="time" if stored == "time" else "text")


def _link_foreign_keys(tables: dict[str, Table], schema: declared.Schema) -> tuple[Table, ...]:
    """Sets the targets of foreign keys; keys that no shape can follow are left out."""
    linked = []
    for name, table in tables.items():
        keys = {key.columns[0]: key for key in schema.tables[name].foreign_keys if len(key.columns) == 1}
        referring = {column.name for column in table.of_kind("ref")}
        columns = []
        for column in table.columns:
            if column.name not in referring:
                columns.append(column)
                continue
            key = keys.get(fold(_unquoted(column.name)))
            parent = tables.get(key.parent) if key else None
            if key is None or parent is None or parent is table or fold(_unquoted(parent.key)) != key.parent_columns[0]:
                continue
            if column.kind == "ref":
                columns.append(_reference_column(column, parent))
            elif parent.label is not None and parent.label.name == parent.key:
                columns.append(replace(column, phrases=(parent.nouns[0][0],)))
        linked.append(replace(table, columns=tuple(columns)))
    return tuple(linked)


def _reference_column(column: Column, parent: Table) -> Column:
    one = parent.nouns[0][0]
    spoken = re.sub(r" (?:id|key|code|name|no)$", "", spoken_name(_unquoted(column.name)))
    role = spoken if spoken not in ("id", "") else one
    return replace(column, target=parent.name, by=("of", "that belong to"), did=("had",), role=role)


def _bridges(tables: Sequence[Table]) -> tuple[Bridge, ...]:
    """Many-to-many relations through tables with two foreign keys."""
    table_by_name = {table.name: table for table in tables}
    bridges = []
    for via in tables:
        targets = list(dict.fromkeys(column.target for column in via.of_kind("ref")))
        for left in targets:
            for right in targets:
                if left != right and table_by_name[left].handle and len(table_by_name[right].columns) > 1:
                    words = f"that have at least one {via.nouns[0][0]} with {{}}"
                    bridges.append(Bridge(left, via.name, right, (words,)))
    return tuple(bridges)


def _sql_name(token: Token, dialect: Dialect) -> str:
    """The SQL name of a column; schemas of SQLite quote names that need no quotes."""
    return _quote_if_needed(token.name) if dialect == "sqlite" else token.text


@lru_cache(maxsize=4096)
def _quote_if_needed(name: str) -> str:
    """A name quoted for SQLite only if it is a keyword or has other characters than letters, digits and underscores."""
    if re.fullmatch(r"[A-Za-z_]\w*", name):
        with closing(sqlite3.connect(":memory:")) as database, suppress(sqlite3.Error):
            database.execute(f"CREATE TABLE {name} ({name})")
            return name
    return quote_identifier(name, '"')


def _unquoted(text: str) -> str:
    """An SQL name without its quotes."""
    return text[1:-1] if text[:1] in ('"', "`", "[") else text
