"""The tables of a schema as an engine creates them, and as the generator of rows sees them.

The generator knows SQLite's schemas. So a schema in another dialect becomes one of those, with types that hold what
the engine's columns hold, and next to it stands what the engine is told: names as they are quoted, types with lengths.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache

from sqlglot import exp
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.generators.mysql import MySQLGenerator

from text2sql.engines.declared.collations import collation_of, compares_blindly
from text2sql.engines.declared.created_collations import CreatedCollation, created_collations, with_collations_placed
from text2sql.engines.declared.created_types import CreatedTypes, created_types
from text2sql.engines.declared.inheritance import Inheritance, read_inheritance
from text2sql.engines.declared.spelling import OWN, without_qualifiers
from text2sql.engines.declared.types import CITEXT, EngineType, engine_type, is_serial, keyed, type_name
from text2sql.engines.dialect import Dialect
from text2sql.engines.guard import Reach, guarded, guarded_expression, the_query
from text2sql.engines.translation.date_arithmetic import with_days
from text2sql.engines.translation.to_sqlite import as_sqlite
from text2sql.engines.trees import parse_query, written
from text2sql.engines.values.fitting import literal
from text2sql.engines.values.pattern_checks import with_pattern_function
from text2sql.sql.ddl import added_columns, parse_schema, table_statements
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import Schema, TableSchema, View
from text2sql.sql.table_parts import end_of_type, is_constraint, matching
from text2sql.sql.tokens import Token, fold, quote_identifier, tokenize
from text2sql.sql.values import Row

logging.getLogger("sqlglot").setLevel(logging.ERROR)

# How each engine keeps what it computes.
_COMPUTED: dict[Dialect, str] = {"postgres": "STORED", "duckdb": "VIRTUAL", "mysql": "VIRTUAL", "sqlite": "VIRTUAL"}
_MARKS: dict[Dialect, str] = {"postgres": '"', "duckdb": '"', "mysql": "`", "sqlite": "`"}


@dataclass(frozen=True)
class Place:
    """A column as the engine is told it.

    Attributes:
        name: In quotes where it was or needs them.
        type: Its type.
        collation: What follows COLLATE; empty for the usual one.
        generated: The expression of a generated column, as it was written; empty for all others.
    """

    name: str
    type: EngineType
    collation: str = ""
    generated: str = ""

    def definition(self, dialect: Dialect, kind: EngineType, needed: bool) -> str:
        """The column between the parentheses of a CREATE TABLE.

        Args:
            dialect: The engine's.
            kind: Its type, as a key holds it if it is part of one.
            needed: Whether it takes no NULL.

        Raises:
            QueryFailed: The guard does not let its expression pass.
        """
        charset = "CHARACTER SET utf8mb4 " if self.collation and dialect == "mysql" else ""
        words = [self.name, kind.sql, f"{charset}COLLATE {self.collation}" if self.collation else ""]
        if self.generated:
            expression = written(guarded_expression(self.generated, dialect), dialect)
            words.append(f"GENERATED ALWAYS AS ({expression}) {_COMPUTED[dialect]}")
        elif needed:
            words.append("NOT NULL")
        return " ".join(word for word in words if word)


@dataclass
class EngineSchema:
    """A schema for an engine.

    Attributes:
        dialect: The engine's.
        schema: The same for the generator of rows.
        names: Of tables, by lower-case name, as the engine is told them.
        columns: By lower-case names of table and column.
        types: The types that the schema creates.
        collations: The collations that it creates, by lower-case name.
        inheritance: Which tables are seen through others.
        composites: The types with fields among those that it creates, by name, the innermost first.
        enums: The enumerations among them that are created first, by name.
    """

    dialect: Dialect
    schema: Schema
    names: dict[str, str] = field(default_factory=dict)
    columns: dict[tuple[str, str], Place] = field(default_factory=dict)
    types: CreatedTypes = field(default_factory=CreatedTypes)
    collations: dict[str, CreatedCollation] = field(default_factory=dict)
    inheritance: Inheritance = field(default_factory=Inheritance)
    composites: dict[str, EngineType] = field(default_factory=dict)
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

    def with_days(self, tree: exp.Expr) -> exp.Expr:
        """A query over the tables, with its sums and differences of dates as the days that they are."""
        return with_days(tree, {key: place.type.kind for key, place in self.columns.items()}, self.dialect)

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

        Raises:
            QueryFailed: The guard does not let a view or a generated column pass.
        """
        extended = any(place.type.sql == CITEXT for place in self.columns.values())
        # An extension does not lie in a schema that is temporary.
        found = [f"CREATE EXTENSION IF NOT EXISTS {CITEXT} SCHEMA public"] if extended else []
        found += [collation.creation for collation in self.collations.values()]
        found += [self._enumeration(name, labels) for name, labels in self.enums.items()]
        for name, kind in self.composites.items():
            fields = ", ".join(f"{type_name(key)} {part.sql}" for key, part in kind.fields)
            found.append(f"CREATE TYPE pg_temp.{type_name(name)} AS ({fields})")
        found += [self._creation(table, temporary, above) for table, above in self._parents_first(tables)]
        for view in views:
            columns = f" ({', '.join(named(column, self.dialect) for column in view.columns)})" if view.columns else ""
            with _saying(f"the view {view.name}"):
                query = self._view(view)
            found.append(f"CREATE {temporary} VIEW {named(view.name, self.dialect)}{columns} AS {query}")
        return found

    def _view(self, view: View) -> str:
        """The query of a view; a schema may be anyone's, so it passes the guard and is written anew."""
        # Types that the schema creates lie where they are looked for first, wherever it has them.
        text = with_collations_placed(without_qualifiers(view.query, self.dialect, OWN), self.collations)
        names = frozenset((*self.schema.tables, *self.schema.views))
        tree = the_query(guarded(text, self.dialect, Reach(names, OWN)), self.dialect)
        return written(tree, self.dialect)

    def removals(self, tables: Iterable[TableSchema], views: Sequence[View], temporary: str) -> list[str]:
        """The statements that undo `creations`; a transaction that is rolled back does without."""
        found = [f"DROP VIEW {named(view.name, self.dialect)}" for view in reversed(views)]
        found += [f"DROP {temporary} TABLE {self._table(table)}" for table in tables]
        return found + [f"DROP TYPE {type_name(name)}" for name in self.enums]

    def _enumeration(self, name: str, labels: Sequence[str]) -> str:
        schema = "pg_temp." if self.dialect == "postgres" else ""
        listed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
        return f"CREATE TYPE {schema}{type_name(name)} AS ENUM ({listed})"

    def _parents_first(self, tables: Iterable[TableSchema]) -> list[tuple[TableSchema, list[str]]]:
        """Tables with the parents that their rows are seen through, behind these."""
        waiting = {fold(table.name): table for table in tables}
        above = {name: self.inheritance.above(name, waiting) for name in waiting}
        found: list[tuple[TableSchema, list[str]]] = []
        while waiting:
            ready = [name for name in waiting if not any(parent in waiting for parent in above[name])] or [*waiting]
            found += [(waiting.pop(name), above[name]) for name in ready]
        return found

    def bounded(self, tables: Mapping[str, TableSchema]) -> dict[str, TableSchema]:
        """Tables with what partitions ask of their rows among their CHECKs."""
        found = dict(tables)
        for name, condition in self.inheritance.conditions(tables):
            text = _in_sqlite(condition, self)
            found[name] = replace(found[name], checks=[*found[name].checks, *([text] if text else [])])
        return found

    def _creation(self, table: TableSchema, temporary: str, parents: Sequence[str]) -> str:
        name, types, parts = fold(table.name), self.with_keys(table), []
        for key, column in table.columns.items():
            needed = column.not_null or key in table.primary_key
            with _saying(f"column {key}"):
                parts.append(self.place(name, key).definition(self.dialect, types[key], needed))
        # DuckDB's indexes refuse a key that was deleted in the same transaction, and its queries do not ask for keys.
        if self.dialect != "duckdb":
            if table.primary_key:
                parts.append(f"PRIMARY KEY ({self._listed(name, table.primary_key)})")
            parts += [f"UNIQUE ({self._listed(name, key)})" for key in table.uniques]
        listed = ", ".join(self.names.get(parent) or named(parent, self.dialect) for parent in parents)
        above = f" INHERITS ({listed})" if parents else ""
        return f"CREATE {temporary} TABLE {self._table(table)} ({', '.join(parts)}){above}"

    def _listed(self, table: str, columns: Iterable[str]) -> str:
        return ", ".join(self.place(table, column).name for column in columns)

    def _table(self, table: TableSchema) -> str:
        return self.names.get(fold(table.name)) or named(table.name, self.dialect)

    def insertion(self, table: TableSchema, rows: Sequence[Row]) -> str:
        """The statement that stores fitted rows; the engine computes generated columns itself."""
        places = [self.place(fold(table.name), key) for key in table.columns]
        types = list(self.with_keys(table).values())
        given = [at for at, place in enumerate(places) if not place.generated]
        listed = ", ".join(
            "(" + ", ".join(literal(row[at], types[at], self.dialect) for at in given) + ")" for row in rows
        )
        names = f" ({', '.join(places[at].name for at in given)})" if len(given) < len(places) else ""
        return f"INSERT INTO {self._table(table)}{names} VALUES {listed}"


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Says of what it is that the guard does not let something pass."""
    try:
        yield
    except QueryFailed as failure:
        raise QueryFailed(failure.kind, f"{what}: {failure}") from None


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
    found = EngineSchema(dialect, parse_schema(ddl).copy(), types=created_types(ddl))
    if dialect == "postgres":
        found.collations, found.inheritance = created_collations(ddl), read_inheritance(ddl)
    reader = _ColumnReader(ddl, found, folded)
    for statement in table_statements(ddl):
        table = fold(statement.name.name)
        if table in found.schema.tables and table not in found.names:
            found.names[table] = _spelt(statement.name, dialect, folded)
            for part in statement.parts:
                reader.read(table, part, statement.options)
    for table, part in added_columns(ddl):
        reader.read(table, part, [])
    for table, schema in found.schema.tables.items():
        for parent in schema.like:
            for (owner, key), place in list(found.columns.items()):
                if owner == parent:
                    found.columns.setdefault((table, key), place)
        _for_generator(table, schema, found)
    named_types = [place.type for place in found.columns.values()]
    named_types += [part for kind in found.composites.values() for _, part in kind.fields]
    used = {kind.sql.strip('"').lower().split(".")[-1] for kind in named_types}
    found.enums = {name: labels for name, labels in found.types.enums.items() if name in used and dialect != "mysql"}
    return found


class _ColumnReader:
    """Reads columns from their tokens.

    Args:
        ddl: The text that they are from.
        found: The schema that they go into.
        folded: See `engine_schema`.
    """

    def __init__(self, ddl: str, found: EngineSchema, folded: bool) -> None:
        self._ddl, self._found, self._folded = ddl, found, folded

    def read(self, table: str, part: list[Token], options: list[Token]) -> None:
        """Reads one part of a table's body, if it is a column that is not known yet.

        Args:
            table: The table, in lower case.
            part: The part.
            options: The tokens behind the table's body.
        """
        found, key = self._found, fold(part[0].name)
        known = found.schema.tables.get(table)
        if known is None or is_constraint(part) or key not in known.columns or (table, key) in found.columns:
            return
        end = end_of_type(part)
        text = self._ddl[part[1].start : part[end - 1].end] if end > 1 else ""
        domain, generated = found.types.domain(text), self._expression(part)
        if domain is not None:
            text = domain.type
            known.checks += [domain.condition(part[0].text)] if domain.check else []
        # DuckDB finds the type of a generated column itself, where none is given.
        untyped = bool(generated) and not text
        kind = EngineType("decimal", "") if untyped else self._type(text)
        collation = collation_of(part, options, found.dialect, found.collations) if kind.kind == "text" else ""
        found.columns[table, key] = Place(_spelt(part[0], found.dialect, self._folded), kind, collation, generated)
        column = known.columns[key]
        column.not_null |= is_serial(text) or (domain is not None and domain.not_null)

    def _type(self, text: str) -> EngineType:
        composite = self._found.types.composite(text) if self._found.dialect == "postgres" else None
        if composite is None:
            return engine_type(text, self._found.dialect, self._found.types.enums)
        name, fields = composite
        kinds = tuple((field, self._type(declared)) for field, declared in fields)
        found = self._found.composites[name] = EngineType("struct", type_name(name), fields=kinds)
        return found

    def _expression(self, part: list[Token]) -> str:
        """The expression of a generated column; empty for all others."""
        for at in range(1, len(part) - 1):
            if part[at].keyword == "AS" and part[at + 1].text == "(":
                closed = matching(part, at + 1)
                return self._ddl[part[at + 1].end : part[min(closed, len(part) - 1)].start]
        return ""


def _spelt(token: Token, dialect: Dialect, folded: bool) -> str:
    return named(token.name, dialect, quoted=token.kind in ("dquoted", "quoted") and not folded)


def _for_generator(name: str, table: TableSchema, found: EngineSchema) -> None:
    """Gives a table the types, collations and CHECKs that make SQLite's rows such as the engine's columns hold."""
    table.checks = [check for text in table.checks if (check := _in_sqlite(text, found))]
    for key, column in table.columns.items():
        place = found.place(name, key)
        kind = place.type
        blind = compares_blindly(kind, place.collation, found.dialect, found.collations)
        generated = _in_sqlite(place.generated, found) or _unknown(place.generated, table)
        table.columns[key] = replace(
            column,
            type=kind.declared,
            collation="NOCASE" if blind else "",
            generated=generated if place.generated else "",
        )
        if kind.labels and not kind.several:
            listed = ", ".join("'" + label.replace("'", "''") + "'" for label in kind.labels)
            table.checks.append(f"{quote_identifier(column.name)} IN ({listed})")


def _unknown(expression: str, table: TableSchema) -> str:
    """What stands for an expression that SQLite cannot compute: NULL, over the same columns."""
    names = [quote_identifier(t.name) for t in tokenize(expression) if fold(t.name) in table.columns]
    return f"CASE WHEN 0 THEN COALESCE(NULL, {', '.join(names or ['NULL'])}) END"


def _in_sqlite(text: str, schema: EngineSchema) -> str:
    """A condition or an expression as SQLite reads it; empty where it cannot be had."""
    tree = parse_query(f"SELECT {text}", schema.dialect) if text else None
    if tree is None:
        return ""
    found = as_sqlite(with_pattern_function(schema.with_days(tree), schema.dialect), schema.dialect)
    return found.sql.removeprefix("SELECT ") if found is not None else ""
