"""Replaces generated columns by what they are computed from: values can be chosen for these alone."""

from __future__ import annotations

from sqlglot import exp

from text2sql.sql.prepare import parse
from text2sql.sql.schema import Schema
from text2sql.sql.tokens import fold

# Levels of generated columns over generated columns.
_MAX_DEPTH = 4


def inline_generated_columns(tree: exp.Expr, schema: Schema) -> exp.Expr:
    """A query with its generated columns replaced by their expressions; it serves to make rows, and is never run."""
    generated = {
        (name, key): parsed.expressions[0]
        for name, table in schema.tables.items()
        for key, column in table.columns.items()
        if column.generated and (parsed := parse(f"SELECT {column.generated}")) is not None
    }
    if not generated:
        return tree
    # With a root, so that the query itself may be a column.
    tree = exp.Paren(this=tree.copy())
    tables = {fold(table.alias_or_name): fold(table.name) for table in tree.find_all(exp.Table)}
    for _ in range(_MAX_DEPTH):
        replacements = [
            (column, expression)
            for column in tree.find_all(exp.Column)
            if (expression := _generating_expression(column, tables, generated)) is not None
        ]
        for column, expression in replacements:
            inner = expression.copy()
            for part in inner.find_all(exp.Column):
                part.set("table", column.args.get("table"))
            column.replace(inner if isinstance(inner, exp.Column) else exp.Paren(this=inner))
        if not replacements:
            break
    return tree.this


def _generating_expression(
    column: exp.Column, tables: dict[str, str], generated: dict[tuple[str, str], exp.Expr]
) -> exp.Expr | None:
    """What a column is generated from; None for any other.

    Args:
        column: The column; without a table, one of any table that is read.
        tables: The tables that are read, by lower-case alias.
        generated: The expressions of the generated columns, by table and column.
    """
    name = fold(column.name)
    names = [tables.get(fold(column.table), "")] if column.table else [*tables.values()]
    return next((expression for table in names if (expression := generated.get((table, name))) is not None), None)
