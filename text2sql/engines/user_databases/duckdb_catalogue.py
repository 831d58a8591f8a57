"""The tables of a DuckDB file, from its own catalogue.

SQLAlchemy's inspector for DuckDB asks for PostgreSQL's catalogue, of which DuckDB has only a part:
https://duckdb.org/docs/stable/sql/meta/duckdb_table_functions
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from text2sql.engines.sandbox.engine_schema import EngineColumn
from text2sql.engines.sandbox.schema_reader import read_engine_schema
from text2sql.engines.user_databases.connection import Database
from text2sql.engines.user_databases.table_text import Column, ForeignKey, Quote, Table
from text2sql.sql.tokens import fold, quote_identifier
from text2sql.sql.values import Row

_TABLES = """
SELECT schema_name, table_name, comment, sql, false FROM duckdb_tables()
WHERE NOT internal AND database_name = current_database()
UNION ALL
SELECT schema_name, view_name, comment, sql, true FROM duckdb_views()
WHERE NOT internal AND database_name = current_database()
ORDER BY 1, 5, 2"""
_COLUMNS = """
SELECT schema_name, table_name, column_name, data_type, is_nullable, column_default, comment FROM duckdb_columns()
WHERE NOT internal AND database_name = current_database() ORDER BY column_index"""
_CONSTRAINTS = """
SELECT schema_name, table_name, constraint_type, to_json(constraint_column_names), referenced_table,
  to_json(referenced_column_names), expression FROM duckdb_constraints() WHERE database_name = current_database()"""
_RESERVED = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"


def duckdb_tables(database: Database) -> tuple[list[Table], Quote]:
    """The tables and views of a file, and the function that quotes its names (QueryFailed if it cannot be read)."""
    reserved = {str(name).lower() for (name,) in database.fetch(_RESERVED).rows}

    def quote(name: str) -> str:
        return (
            name
            if re.fullmatch(r"[A-Za-z_]\w*", name) and name.lower() not in reserved
            else quote_identifier(name, '"')
        )

    columns: dict[tuple[Any, Any], list[Column]] = defaultdict(list)
    for schema, table, name, data_type, nullable, default, comment in database.fetch(_COLUMNS).rows:
        columns[schema, table].append(
            Column(str(name), str(data_type), nullable == "false", _optional_text(default), _optional_text(comment))
        )
    constraints: dict[tuple[Any, Any], list[Row]] = defaultdict(list)
    for schema, table, *rest in database.fetch(_CONSTRAINTS).rows:
        constraints[schema, table].append(tuple(rest))
    tables = []
    for schema, name, comment, create_statement, is_view in database.fetch(_TABLES).rows:
        sql_name = quote(str(name)) if schema == "main" else f"{quote(str(schema))}.{quote(str(name))}"
        keys = _keys(constraints[schema, name], quote)
        table_columns, query = columns[schema, name], None
        if is_view == "true":
            query = re.sub(r"\A.*?\bAS\b", "", str(create_statement), count=1, flags=re.IGNORECASE | re.DOTALL)
        else:
            created = read_engine_schema(str(create_statement), "duckdb").columns
            table_columns = [
                _as_created(column, created.get((fold(str(name)), fold(column.name)))) for column in table_columns
            ]
        tables.append(
            Table(str(name), sql_name, tuple(table_columns), **keys, comment=_optional_text(comment), view=query)
        )
    return tables, quote


def _as_created(column: Column, created: EngineColumn | None) -> Column:
    """A column with the generated expression and the collation, which only the CREATE statement has."""
    if created is None:
        return column
    data_type = f"{column.type} COLLATE {created.collation}" if created.collation else column.type
    generated = created.generated or None
    return replace(column, type=data_type, generated=generated, default=None if generated else column.default)


def _keys(constraints: Sequence[Row], quote: Quote) -> dict[str, Any]:
    """The keys and CHECKs of a table, as keyword arguments of `Table`."""
    primary: tuple[str, ...] = ()
    uniques, foreign, checks = [], [], []
    for kind, columns, parent, parent_columns, expression in constraints:
        names = tuple(json.loads(str(columns or "[]")))
        if kind == "PRIMARY KEY":
            primary = names
        elif kind == "UNIQUE":
            uniques.append(names)
        elif kind == "FOREIGN KEY":
            foreign.append(ForeignKey(names, quote(str(parent)), tuple(json.loads(str(parent_columns or "[]")))))
        elif kind == "CHECK":
            checks.append(str(expression))
    return {"primary_key": primary, "uniques": tuple(uniques), "foreign_keys": tuple(foreign), "checks": tuple(checks)}


def _optional_text(value: Any) -> str | None:
    return None if value is None else str(value)
