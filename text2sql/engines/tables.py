"""The tables of a schema as an engine creates them, and as the generator of rows sees them.

The generator knows SQLite's schemas. So a schema in another dialect becomes one of those, with types that hold what
the engine's columns hold, and next to it stands what the engine is told: names as they are quoted, types with lengths.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import sqlglot
from sqlglot.errors import SqlglotError
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.generators.mysql import MySQLGenerator

from text2sql.engines.dialect import Dialect
from text2sql.engines.fitting import fit, literal, ordinary
from text2sql.engines.types import EngineType, engine_type, keyed
from text2sql.sql.ddl import CONSTRAINT_WORDS, is_constraint, parse_schema, table_statements
from text2sql.sql.schema import Schema, TableSchema, View
from text2sql.sql.tokens import Token, fold, quote_identifier, tokenize
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Row

logging.getLogger("sqlglot").setLevel(logging.ERROR)

_MARKS: dict[Dialect, str] = {"postgres": '"', "duckdb": '"', "mysql": "`", "sqlite": "`"}


@dataclass(frozen=True)
class Place:
    """A name as the engine is told it, and the type of a column."""

    name: str
    type: EngineType


@dataclass
class EngineSchema:
    """A schema for an engine.

    Attributes:
        dialect: The engine's.
        schema: The same for the generator of rows.
        names: Of tables, by lower-case name, as the engine is told them.
        columns: By lower-case names of table and column.
        enums: The enumerations that are created first, by name.
    """

    dialect: Dialect
    schema: Schema
    names: dict[str, str] = field(default_factory=dict)
    columns: dict[tuple[str, str], Place] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def has_case(self) -> bool:
        """Whether a name is told from the same in other letter case."""
        names = [*self.names.values(), *(place.name for place in self.columns.values())]
        return self.dialect == "postgres" and any(name.startswith('"') and name != name.lower() for name in names)

    def place(self, table: str, column: str) -> Place:
        """The name and type of a column; of one that was made up for a query, text."""
        known = self.columns.get((table, column))
        return known or Place(named(column, self.dialect), engine_type("", self.dialect, {}))

    def with_keys(self, table: TableSchema) -> dict[str, EngineType]:
        """The types of a table's columns, those in keys as keys hold them."""
        name, keys = fold(table.name), {column for key in table.keys for column in key}
        found = {key: self.place(name, key).type for key in table.columns}
        return {key: keyed(kind, self.dialect) if key in keys else kind for key, kind in found.items()}

    def creations(self, tables: Iterable[TableSchema], views: Iterable[View], temporary: str) -> list[str]:
        """The statements that create tables, and the views on them.

        Args:
            tables: With the columns that they are to have.
            views: Those that are read.
            temporary: What stands before TABLE and VIEW: TEMPORARY or nothing.
        """
        found = [self._enumeration(name, labels) for name, labels in self.enums.items()]
        found += [self._creation(table, temporary) for table in tables]
        for view in views:
            columns = f" ({', '.join(named(column, self.dialect) for column in view.columns)})" if view.columns else ""
            found.append(f"CREATE {temporary} VIEW {named(view.name, self.dialect)}{columns} AS {view.query}")
        return found

    def removals(self, tables: Iterable[TableSchema], views: Sequence[View], temporary: str) -> list[str]:
        """The statements that undo `creations`; a transaction that is rolled back does without."""
        found = [f"DROP VIEW {named(view.name, self.dialect)}" for view in reversed(views)]
        found += [f"DROP {temporary} TABLE {self._table(table)}" for table in tables]
        return found + [f"DROP TYPE {name}" for name in self.enums]

    def _enumeration(self, name: str, labels: Sequence[str]) -> str:
        schema = "pg_temp." if self.dialect == "postgres" else ""
        listed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
        return f"CREATE TYPE {schema}{name} AS ENUM ({listed})"

    def _creation(self, table: TableSchema, temporary: str) -> str:
        name, types, parts = fold(table.name), self.with_keys(table), []
        for key, column in table.columns.items():
            needed = " NOT NULL" if column.not_null or key in table.primary_key else ""
            parts.append(f"{self.place(name, key).name} {types[key].sql}{needed}")
        # DuckDB's indexes refuse a key that was deleted in the same transaction, and its queries do not ask for keys.
        if self.dialect != "duckdb":
            if table.primary_key:
                parts.append(f"PRIMARY KEY ({self._listed(name, table.primary_key)})")
            parts += [f"UNIQUE ({self._listed(name, key)})" for key in table.uniques]
        return f"CREATE {temporary} TABLE {self._table(table)} ({', '.join(parts)})"

    def _listed(self, table: str, columns: Iterable[str]) -> str:
        return ", ".join(self.place(table, column).name for column in columns)

    def _table(self, table: TableSchema) -> str:
        return self.names.get(fold(table.name)) or named(table.name, self.dialect)

    def insertion(self, table: TableSchema, rows: Sequence[Row]) -> str:
        """The statement that stores fitted rows."""
        types = list(self.with_keys(table).values())
        listed = ", ".join(
            "(" + ", ".join(literal(value, kind, self.dialect) for value, kind in zip(row, types, strict=True)) + ")"
            for row in rows
        )
        return f"INSERT INTO {self._table(table)} VALUES {listed}"


def named(name: str, dialect: Dialect, quoted: bool = False) -> str:
    """A name as an engine is told it: in quotes where it was, or where it needs them."""
    plain = name.isascii() and name.replace("_", "a").isalnum() and not name[0].isdigit()
    if plain and not quoted and name.lower() not in _RESERVED:
        return name
    # Without quotes PostgreSQL would read it in lower case.
    shown = name if quoted or dialect != "postgres" else name.lower() if plain else name
    return quote_identifier(shown, _MARKS[dialect])


# What any of the engines reserves, in lower case.
_RESERVED = frozenset(
    word.lower() for writer in (MySQLGenerator, DuckDBGenerator) for word in writer.RESERVED_KEYWORDS
) | {"analyse", "user", "session_user", "current_user", "freeze", "isnull", "notnull", "verbose", "similar", "ilike"}


@lru_cache(maxsize=128)
def engine_schema(ddl: str, dialect: Dialect, *, folded: bool = False) -> EngineSchema:
    """Reads ``CREATE TABLE`` statements for an engine. The result is shared: copy what you change.

    Args:
        ddl: The statements.
        dialect: The engine's.
        folded: Whether names in quotes are taken for names without, which have no case.
    """
    found = EngineSchema(dialect, parse_schema(ddl).copy(), enums=_enumerations(ddl))
    for statement in table_statements(ddl):
        table = fold(statement.name.name)
        known = found.schema.tables.get(table)
        if known is None or table in found.names:
            continue
        found.names[table] = _spelt(statement.name, dialect, folded)
        for part in statement.parts:
            key = fold(part[0].name)
            if not is_constraint(part) and key in known.columns and (table, key) not in found.columns:
                kind = engine_type(_type_text(ddl, part), dialect, found.enums)
                found.columns[table, key] = Place(_spelt(part[0], dialect, folded), kind)
    for table, schema in found.schema.tables.items():
        _for_generator(table, schema, found)
    used = {place.type.sql.strip('"').lower().split(".")[-1] for place in found.columns.values()}
    found.enums = {name: labels for name, labels in found.enums.items() if name in used and dialect != "mysql"}
    return found


def _spelt(token: Token, dialect: Dialect, folded: bool) -> str:
    return named(token.name, dialect, quoted=token.kind in ("dquoted", "quoted") and not folded)


def _type_text(ddl: str, part: list[Token]) -> str:
    """What stands between a column's name and its constraints."""
    end = next((at for at, token in enumerate(part[1:], 1) if token.keyword in CONSTRAINT_WORDS), len(part))
    return ddl[part[1].start : part[end - 1].end] if end > 1 else ""


def _enumerations(ddl: str) -> dict[str, tuple[str, ...]]:
    """``CREATE TYPE name AS ENUM (...)`` by lower-case name."""
    tokens, found = tokenize(ddl), {}
    for at in range(len(tokens) - 1):
        if (tokens[at].keyword, tokens[at + 1].keyword) != ("CREATE", "TYPE"):
            continue
        words = [token.keyword for token in tokens[at : at + 12]]
        if "ENUM" not in words:
            continue
        opening = at + words.index("ENUM")
        labels = []
        for token in tokens[opening + 1 :]:
            if token.text == ")":
                break
            labels += [token.name] if token.kind == "string" else []
        name = [
            token for token in tokens[at + 2 : opening] if token.kind in ("word", "dquoted") and token.keyword != "AS"
        ]
        if name and labels:
            found[fold(name[-1].name)] = tuple(labels)
    return found


def _for_generator(name: str, table: TableSchema, found: EngineSchema) -> None:
    """Gives a table the types, collations and CHECKs that make SQLite's rows such as the engine's columns hold."""
    table.checks = [check for text in table.checks if (check := _check(text, found.dialect))]
    for key, column in table.columns.items():
        kind = found.place(name, key).type
        blind = found.dialect == "mysql" and kind.kind == "text"
        table.columns[key] = replace(column, type=kind.declared, collation="NOCASE" if blind else "", generated="")
        if kind.labels:
            listed = ", ".join("'" + label.replace("'", "''") + "'" for label in kind.labels)
            table.checks.append(f"{quote_identifier(column.name)} IN ({listed})")


def _check(text: str, dialect: Dialect) -> str:
    """A CHECK as SQLite reads it; empty where it cannot be had."""
    try:
        return to_sqlite(sqlglot.parse_one(text, read=dialect))
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError):
        return ""


def fitted(table: TableSchema, rows: Sequence[Row], types: Mapping[str, EngineType], *, blind: bool) -> list[Row]:
    """Rows as the engine's columns keep them, without those that then repeat a key.

    Args:
        table: The table.
        rows: Made for it.
        types: Of its columns.
        blind: Whether texts are equal whatever their case, as in MySQL.
    """
    columns = [(kind, table.columns[key].not_null or key in table.primary_key) for key, kind in types.items()]
    kept = []
    for row in rows:
        values = [fit(value, kind) for value, (kind, _) in zip(row, columns, strict=True)]
        kept.append(
            tuple(
                ordinary(kind) if value is None and needed else value
                for value, (kind, needed) in zip(values, columns, strict=True)
            )
        )
    order = list(table.columns)
    for key in table.keys:
        kept = _distinct(kept, [order.index(column) for column in key], key == table.primary_key, blind)
    return kept


def _distinct(rows: list[Row], places: list[int], primary: bool, blind: bool) -> list[Row]:
    seen, kept = set(), []
    for row in rows:
        key = tuple(_compared(row[place], blind) for place in places)
        if (None in key and not primary) or key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def _compared(value: object, blind: bool) -> object:
    return value.casefold().rstrip(" ") if blind and isinstance(value, str) else value
