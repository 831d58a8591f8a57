"""Adds missing tables and columns to a schema: data sets derive schemas from queries, and sometimes incompletely."""

from __future__ import annotations

import re

from sqlglot import exp

from text2sql.sql.prepare import parse
from text2sql.sql.schema import Column, Schema, TableSchema
from text2sql.sql.tokens import fold, tokenize
from text2sql.sql.trees import to_sqlite


def add_table(schema: Schema, name: str) -> None:
    """Adds a table that a query reads and the schema lacks; `add_column` adds its columns."""
    table = TableSchema(name.split(".")[-1])
    table.add(Column("_rowid", "INTEGER"))
    schema.tables[fold(table.name)] = table


def add_column(schema: Schema, name: str, gold: str, predicted: str) -> bool:
    """Adds a column that the gold query reads and the schema lacks.

    Args:
        schema: Changed in place.
        name: The name in SQLite's message: ``column`` or ``alias.column``.
        gold: The gold query, which defines aliases.
        predicted: The prediction, whose choice of a table is preferred if it is possible.

    Returns:
        Whether a table was found for it.
    """
    *prefix, column = name.split(".")
    tree = parse(gold)
    if tree is None:
        return False
    tables = _tables(tree, schema)
    chosen = None
    if prefix:
        chosen = next((table for alias, table in tables if alias == fold(prefix[-1])), None)
    else:
        preferred = _hint(predicted, column, schema)
        in_scope = _scope_tables(tree, column, schema)
        choices = in_scope or [table for _, table in tables]
        chosen = preferred if preferred in choices else (choices[0] if choices else None)
    if chosen is None:
        return False
    schema.tables[chosen].add(Column(column, "VARCHAR"))
    return True


def _tables(tree: exp.Expr, schema: Schema) -> list[tuple[str, str]]:
    """Alias and name of every table that a query reads, in lower case."""
    return [
        (fold(table.alias or table.name), fold(table.name))
        for table in tree.find_all(exp.Table)
        if fold(table.name) in schema.tables
    ]


def _scope_tables(tree: exp.Expr, column: str, schema: Schema) -> list[str]:
    """The tables of the SELECT that an unqualified column is in."""
    for node in tree.find_all(exp.Column):
        if fold(node.name) == fold(column) and not node.table:
            select = node.find_ancestor(exp.Select)
            if select is not None:
                tables = [table for table in select.find_all(exp.Table) if table.find_ancestor(exp.Select) is select]
                return [fold(table.name) for table in tables if fold(table.name) in schema.tables]
    return []


def _hint(predicted: str, column: str, schema: Schema) -> str | None:
    """The table that the prediction reads the column from."""
    tree = parse(predicted)
    if tree is None:
        return None
    aliases = dict(_tables(tree, schema))
    for node in tree.find_all(exp.Column):
        if fold(node.name) == fold(column):
            if node.table:
                return aliases.get(fold(node.table))
            if len(set(aliases.values())) == 1:
                return next(iter(aliases.values()))
    return None


def qualify_column(sql: str, name: str, schema: Schema) -> str | None:
    """Qualifies an ambiguous column by the first table in scope that has it; None if there is none."""
    tree = parse(sql)
    column = name.split(".")[-1]
    if tree is None:
        return None
    changed = False
    for node in list(tree.find_all(exp.Column)):
        select = node.find_ancestor(exp.Select)
        if fold(node.name) != fold(column) or node.table or select is None:
            continue
        for table in select.find_all(exp.Table):
            table_schema = schema.tables.get(fold(table.name))
            if table.find_ancestor(exp.Select) is select and table_schema and fold(column) in table_schema.columns:
                node.set("table", exp.to_identifier(table.alias or table.name, quoted=True))
                changed = True
                break
    return to_sqlite(tree) if changed else None


def possible_table_names(sql: str) -> set[str]:
    """The names in a query that may be tables, in lower case."""
    return {fold(t.name) for t in tokenize(sql) if t.kind in ("word", "dquoted", "quoted")} - {""}


def strip_semicolon(sql: str) -> str:
    """A query without surrounding white space and closing semicolons."""
    return re.sub(r"[\s;]+\Z", "", sql.strip())
