"""The tables of a schema as an engine creates them, and the statements that create and fill them.

The row generator knows SQLite's schemas alone. A schema in another dialect is therefore kept twice: as a SQLite schema
whose types hold what the engine's columns hold, and as the names, types and collations that the engine's own statements
are written with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sqlglot import exp
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.generators.mysql import MySQLGenerator

from text2sql.engines.declared.created_collations import CreatedCollation, qualify_collations
from text2sql.engines.declared.created_types import CreatedTypes
from text2sql.engines.declared.inheritance import Inheritance
from text2sql.engines.declared.spelling import DEFAULT_SCHEMAS, strip_qualifiers
from text2sql.engines.declared.types import CITEXT, EngineType, engine_type, key_type, quote_type_name
from text2sql.engines.dialect import Dialect
from text2sql.engines.guard import ReadScope, guard_expression, guard_query, parse_single_query
from text2sql.engines.translation.date_arithmetic import rewrite_date_arithmetic
from text2sql.engines.translation.to_sqlite import translate_to_sqlite
from text2sql.engines.trees import parse_query, to_sql
from text2sql.engines.values.fitting import sql_literal
from text2sql.engines.values.pattern_checks import replace_regular_expressions
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import Schema, TableSchema, View
from text2sql.sql.tokens import fold, quote_identifier
from text2sql.sql.values import Row

logging.getLogger("sqlglot").setLevel(logging.ERROR)

# The storage of generated columns in each engine.
_GENERATED_STORAGE: dict[Dialect, str] = {
    "postgres": "STORED",
    "duckdb": "VIRTUAL",
    "mysql": "VIRTUAL",
    "sqlite": "VIRTUAL",
}
_IDENTIFIER_QUOTES: dict[Dialect, str] = {"postgres": '"', "duckdb": '"', "mysql": "`", "sqlite": "`"}
# Words that any of the engines reserves, in lower case.
_RESERVED_WORDS = frozenset(
    word.lower() for generator in (MySQLGenerator, DuckDBGenerator) for word in generator.RESERVED_KEYWORDS
) | {"analyse", "user", "session_user", "current_user", "freeze", "isnull", "notnull", "verbose", "similar", "ilike"}


def quote_name(name: str, dialect: Dialect, quoted: bool = False) -> str:
    """Writes a name for an engine: in quotes if the schema quotes it (`quoted`) or if the name needs them."""
    is_plain = name.isascii() and name.replace("_", "a").isalnum() and not name[0].isdigit()
    if is_plain and not quoted and name.lower() not in _RESERVED_WORDS:
        return name
    # PostgreSQL reads an unquoted name in lower case.
    spelling = name.lower() if is_plain and not quoted and dialect == "postgres" else name
    return quote_identifier(spelling, _IDENTIFIER_QUOTES[dialect])


@dataclass(frozen=True)
class EngineColumn:
    """A column as the engine creates it.

    Attributes:
        name: The name, quoted where needed.
        type: The type in the engine.
        collation: What follows COLLATE; empty for the default collation.
        generated: The expression of a generated column as the schema writes it; empty for all others.
    """

    name: str
    type: EngineType
    collation: str = ""
    generated: str = ""

    def definition(self, dialect: Dialect, kind: EngineType, not_null: bool) -> str:
        """The column definition within a CREATE TABLE.

        Args:
            dialect: The engine's dialect.
            kind: The column's type; in a key, the type that a key can hold.
            not_null: Whether the column refuses NULL.

        Raises:
            QueryFailed: The guard refuses the expression of a generated column.
        """
        charset = "CHARACTER SET utf8mb4 " if self.collation and dialect == "mysql" else ""
        words = [self.name, kind.sql, f"{charset}COLLATE {self.collation}" if self.collation else ""]
        if self.generated:
            expression = to_sql(guard_expression(self.generated, dialect), dialect)
            words.append(f"GENERATED ALWAYS AS ({expression}) {_GENERATED_STORAGE[dialect]}")
        elif not_null:
            words.append("NOT NULL")
        return " ".join(word for word in words if word)


@dataclass
class EngineSchema:
    """A schema for an engine.

    Attributes:
        dialect: The engine's dialect.
        schema: The same schema in SQLite's types, for the row generator.
        table_names: By lower-case name of a table, the name that the engine's statements have.
        columns: By lower-case names of table and column.
        types: The types that the schema creates.
        collations: The collations that the schema creates, by lower-case name.
        inheritance: The tables whose rows are read through others.
        composites: The composite types among the created ones by name, inner types first.
        enums: The labels of the created enumerations that some column uses, by name.
    """

    dialect: Dialect
    schema: Schema
    table_names: dict[str, str] = field(default_factory=dict)
    columns: dict[tuple[str, str], EngineColumn] = field(default_factory=dict)
    types: CreatedTypes = field(default_factory=CreatedTypes)
    collations: dict[str, CreatedCollation] = field(default_factory=dict)
    inheritance: Inheritance = field(default_factory=Inheritance)
    composites: dict[str, EngineType] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def has_quoted_case(self) -> bool:
        """Whether some quoted name has capital letters, so that names that differ in case alone are different."""
        names = [*self.table_names.values(), *(column.name for column in self.columns.values())]
        return self.dialect == "postgres" and any(name.startswith('"') and name != name.lower() for name in names)

    def column(self, table: str, column: str) -> EngineColumn:
        """A column by lower-case names; one that the schema does not declare is a text."""
        known = self.columns.get((table, column))
        return known or EngineColumn(quote_name(column, self.dialect), engine_type("", self.dialect, {}))

    def rewrite_date_arithmetic(self, tree: exp.Expr) -> exp.Expr:
        """A query over the tables with sums and differences of dates written as date functions, in days."""
        kinds = {key: column.type.kind for key, column in self.columns.items()}
        return rewrite_date_arithmetic(tree, kinds, self.dialect)

    def column_types(self, table: TableSchema) -> dict[str, EngineType]:
        """The types of a table's columns; of columns in keys, the types that keys can hold."""
        name, key_columns = fold(table.name), {column for key in table.keys for column in key}
        types = {column: self.column(name, column).type for column in table.columns}
        return {
            column: key_type(kind, self.dialect) if column in key_columns else kind for column, kind in types.items()
        }

    def create_statements(self, tables: Iterable[TableSchema], views: Iterable[View], modifier: str) -> list[str]:
        """The statements that create tables, the types and collations that they need, and views.

        Args:
            tables: The tables, with the columns that they are to have.
            views: The views that the queries read.
            modifier: What stands before TABLE and VIEW: TEMPORARY or nothing.

        Raises:
            QueryFailed: The guard refuses a view or a generated column.
        """
        needs_citext = any(column.type.sql == CITEXT for column in self.columns.values())
        # An extension cannot be created in a temporary schema.
        statements = [f"CREATE EXTENSION IF NOT EXISTS {CITEXT} SCHEMA public"] if needs_citext else []
        statements += [collation.create_statement for collation in self.collations.values()]
        statements += [self._create_enum(name, labels) for name, labels in self.enums.items()]
        for name, kind in self.composites.items():
            fields = ", ".join(f"{quote_type_name(key)} {part.sql}" for key, part in kind.fields)
            statements.append(f"CREATE TYPE pg_temp.{quote_type_name(name)} AS ({fields})")
        statements += [self._create_table(table, modifier, parents) for table, parents in self._parents_first(tables)]
        statements += [self._create_view(view, modifier) for view in views]
        return statements

    def drop_statements(self, tables: Iterable[TableSchema], views: Sequence[View], modifier: str) -> list[str]:
        """The statements that undo `create_statements`, for engines that do not roll the creation back."""
        statements = [f"DROP VIEW {quote_name(view.name, self.dialect)}" for view in reversed(views)]
        statements += [f"DROP {modifier} TABLE {self._table_name(table)}" for table in tables]
        return statements + [f"DROP TYPE {quote_type_name(name)}" for name in self.enums]

    def insert_statement(self, table: TableSchema, rows: Sequence[Row]) -> str:
        """The statement that inserts fitted rows; the engine computes generated columns itself."""
        columns = [self.column(fold(table.name), key) for key in table.columns]
        types = list(self.column_types(table).values())
        stored = [index for index, column in enumerate(columns) if not column.generated]
        values = ", ".join(
            "(" + ", ".join(sql_literal(row[index], types[index], self.dialect) for index in stored) + ")"
            for row in rows
        )
        names = f" ({', '.join(columns[index].name for index in stored)})" if len(stored) < len(columns) else ""
        return f"INSERT INTO {self._table_name(table)}{names} VALUES {values}"

    def with_partition_checks(self, tables: Mapping[str, TableSchema]) -> dict[str, TableSchema]:
        """The tables with the bounds of their partitions added to their CHECKs."""
        result = dict(tables)
        for name, condition in self.inheritance.row_conditions(tables):
            check = sqlite_expression(condition, self)
            result[name] = replace(result[name], checks=[*result[name].checks, *([check] if check else [])])
        return result

    def _create_enum(self, name: str, labels: Sequence[str]) -> str:
        schema = "pg_temp." if self.dialect == "postgres" else ""
        listed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
        return f"CREATE TYPE {schema}{quote_type_name(name)} AS ENUM ({listed})"

    def _create_table(self, table: TableSchema, modifier: str, parents: Sequence[str]) -> str:
        name, types, parts = fold(table.name), self.column_types(table), []
        for key, column in table.columns.items():
            not_null = column.not_null or key in table.primary_key
            with _name_refused_part(f"column {key}"):
                parts.append(self.column(name, key).definition(self.dialect, types[key], not_null))
        # DuckDB's indexes refuse a key that was deleted in the same transaction, and its queries do not ask for keys.
        if self.dialect != "duckdb":
            if table.primary_key:
                parts.append(f"PRIMARY KEY ({self._column_names(name, table.primary_key)})")
            parts += [f"UNIQUE ({self._column_names(name, key)})" for key in table.uniques]
        parent_names = ", ".join(self.table_names.get(parent) or quote_name(parent, self.dialect) for parent in parents)
        inherits = f" INHERITS ({parent_names})" if parents else ""
        return f"CREATE {modifier} TABLE {self._table_name(table)} ({', '.join(parts)}){inherits}"

    def _create_view(self, view: View, modifier: str) -> str:
        names = ", ".join(quote_name(column, self.dialect) for column in view.columns)
        columns = f" ({names})" if view.columns else ""
        with _name_refused_part(f"the view {view.name}"):
            query = self._view_query(view)
        return f"CREATE {modifier} VIEW {quote_name(view.name, self.dialect)}{columns} AS {query}"

    def _view_query(self, view: View) -> str:
        """The query of a view; since anyone may have written the schema, it passes the guard and is printed anew."""
        # The types that the schema creates are found through the search path, in whichever schema it has them.
        text = qualify_collations(strip_qualifiers(view.query, self.dialect, DEFAULT_SCHEMAS), self.collations)
        names = frozenset((*self.schema.tables, *self.schema.views))
        tree = parse_single_query(guard_query(text, self.dialect, ReadScope(names, DEFAULT_SCHEMAS)), self.dialect)
        return to_sql(tree, self.dialect)

    def _parents_first(self, tables: Iterable[TableSchema]) -> list[tuple[TableSchema, list[str]]]:
        """The tables in an order in which parents precede their children, each with the names of its parents."""
        waiting = {fold(table.name): table for table in tables}
        parents = {name: self.inheritance.nearest_ancestors(name, waiting) for name in waiting}
        ordered: list[tuple[TableSchema, list[str]]] = []
        while waiting:
            ready = [name for name in waiting if not any(parent in waiting for parent in parents[name])] or [*waiting]
            ordered += [(waiting.pop(name), parents[name]) for name in ready]
        return ordered

    def _column_names(self, table: str, columns: Iterable[str]) -> str:
        return ", ".join(self.column(table, column).name for column in columns)

    def _table_name(self, table: TableSchema) -> str:
        return self.table_names.get(fold(table.name)) or quote_name(table.name, self.dialect)


@contextmanager
def _name_refused_part(part: str) -> Iterator[None]:
    """Adds to the message of a QueryFailed which part of the schema the guard refuses."""
    try:
        yield
    except QueryFailed as failure:
        raise QueryFailed(failure.kind, f"{part}: {failure}") from None


def sqlite_expression(text: str, schema: EngineSchema) -> str:
    """A condition or an expression in SQLite's dialect; empty where it cannot be translated."""
    tree = parse_query(f"SELECT {text}", schema.dialect) if text else None
    if tree is None:
        return ""
    tree = replace_regular_expressions(schema.rewrite_date_arithmetic(tree), schema.dialect)
    translated = translate_to_sqlite(tree, schema.dialect)
    return translated.sql.removeprefix("SELECT ") if translated is not None else ""
