"""Labelled pairs whose schema is said in another way that changes no label: views, CTEs, generated columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from text2sql.sql.ddl import parse_schema
from text2sql.sql.schema import Schema, TableSchema
from text2sql.sql.tokens import quote_identifier

# Schema, gold query and prediction, or None where a pair cannot be said so.
Rewrite = Callable[[str, str, str], "tuple[str, str, str] | None"]


def over_views(schema: str, gold: str, predicted: str) -> tuple[str, str, str] | None:
    """Every table is a view of a table."""
    read = parse_schema(schema)
    if _has_more(read):
        return None
    views = [f"CREATE VIEW {_named(table)} AS SELECT * FROM {_named(table, 'base_')}" for table in read.tables.values()]
    views += [view.ddl() for view in read.views.values()]
    return "; ".join([*_tables(read, "base_"), *views]), gold, predicted


def over_ctes(schema: str, gold: str, predicted: str) -> tuple[str, str, str] | None:
    """Every table is a CTE over a table."""
    read = parse_schema(schema)
    plain = all(text.lstrip().upper().startswith("SELECT") for text in (gold, predicted))
    if _has_more(read) or read.views or not plain:
        return None
    ctes = [f"{_named(table)} AS (SELECT * FROM {_named(table, 'base_')})" for table in read.tables.values()]
    head = f"WITH {', '.join(ctes)} "
    return "; ".join(_tables(read, "base_")), head + gold, head + predicted


def generated(schema: str, gold: str, predicted: str) -> tuple[str, str, str] | None:
    """Every column that is part of no key is generated from another one."""
    read = parse_schema(schema).copy()
    if _has_more(read) or "*" in (gold + predicted).replace("(*)", ""):
        return None
    pointed = {(key.parent, column) for table in read.tables.values() for key in table.foreign_keys
               for column in key.parent_columns}  # fmt: skip
    for name, table in read.tables.items():
        fixed = {column for key in table.keys for column in key}
        fixed |= {column for key in table.foreign_keys for column in key.columns}
        for key, column in list(table.columns.items()):
            if key not in fixed and (name, key) not in pointed and not (column.generated or column.collation):
                source = f"source_{key}"
                table.columns[key] = replace(column, generated=quote_identifier(source), not_null=False)
                table.columns[source] = replace(column, name=source)
    return "; ".join([*_tables(read, ""), *(view.ddl() for view in read.views.values())]), gold, predicted


REWRITES: dict[str, Rewrite] = {"views": over_views, "ctes": over_ctes, "generated": generated}


def _has_more(schema: Schema) -> bool:
    """Whether a schema has what is not said again here: unique indexes of some rows, full-text tables, CHECKs."""
    return any(table.indexes or table.full_text or table.checks for table in schema.tables.values())


def _named(table: TableSchema, before: str = "") -> str:
    return quote_identifier(before + table.name)


def _tables(schema: Schema, before: str) -> list[str]:
    found = []
    for table in schema.tables.values():
        text = replace(table, name=before + table.name).ddl()
        end = text.rindex(")")
        keys = [
            f", FOREIGN KEY ({', '.join(map(quote_identifier, key.columns))}) REFERENCES "
            f"{quote_identifier(before + key.parent)} ({', '.join(map(quote_identifier, key.parent_columns))})"
            for key in table.foreign_keys
        ]
        found.append(text[:end] + "".join(keys) + text[end:])
    return found
