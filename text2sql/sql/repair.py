"""Completes a schema by what its gold query reads: data sets derive schemas from queries, and sometimes forget."""

from __future__ import annotations

import re

from sqlglot import exp

from text2sql.sql.prepare import parse
from text2sql.sql.schema import Column, Schema, TableSchema
from text2sql.sql.tokens import fold, tokenize
from text2sql.sql.trees import to_sqlite


def add_table(schema: Schema, name: str) -> None:
    """Adds a table that a query reads and the schema lacks; its columns come one by one."""
    table = TableSchema(name.split(".")[-1])
    table.add(Column("_rowid", "INTEGER"))
    schema.tables[fold(table.name)] = table


def add_column(schema: Schema, name: str, gold: str, predicted: str) -> bool:
    """Adds a column that the gold query reads and the schema lacks.

    Args:
        schema: Changed in place.
        name: As SQLite names it: ``column`` or ``alias.column``.
        gold: The gold query, which says what an alias stands for.
        predicted: The prediction: if it says which table the column belongs to, it is believed.

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
        hinted = _hint(predicted, column, schema)
        near = _scope_tables(tree, column, schema)
        choices = near or [table for _, table in tables]
        chosen = hinted if hinted in choices else (choices[0] if choices else None)
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
    """The tables of the SELECT in which an unqualified column stands."""
    for node in tree.find_all(exp.Column):
        if fold(node.name) == fold(column) and not node.table:
            select = node.find_ancestor(exp.Select)
            if select is not None:
                own = [t for t in select.find_all(exp.Table) if t.find_ancestor(exp.Select) is select]
                return [fold(t.name) for t in own if fold(t.name) in schema.tables]
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


def qualify(sql: str, name: str, schema: Schema) -> str | None:
    """Gives an ambiguous column the first table in scope that has it; None if that cannot be done."""
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
            known = schema.tables.get(fold(table.name))
            if table.find_ancestor(exp.Select) is select and known and fold(column) in known.columns:
                node.set("table", exp.to_identifier(table.alias or table.name, quoted=True))
                changed = True
                break
    return to_sqlite(tree) if changed else None


def word_names(sql: str) -> set[str]:
    """Every name in a query that could be a table, in lower case."""
    return {fold(t.name) for t in tokenize(sql) if t.kind in ("word", "dquoted", "quoted")} - {""}


def clean(sql: str) -> str:
    """A gold query without the semicolon and space around it."""
    return re.sub(r"[\s;]+\Z", "", sql.strip())
