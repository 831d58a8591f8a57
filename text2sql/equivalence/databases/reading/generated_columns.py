"""Generated columns in a query as what they are computed from, so that conditions reach columns that can be given."""

from __future__ import annotations

from sqlglot import exp

from text2sql.sql.prepare import parse
from text2sql.sql.schema import Schema
from text2sql.sql.tokens import fold

# Generated columns of generated columns.
_DEEPEST = 4


def spelt_out(tree: exp.Expr, schema: Schema) -> exp.Expr:
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
    for _ in range(_DEEPEST):
        found = [
            (column, expression)
            for column in tree.find_all(exp.Column)
            if (expression := _expression(column, tables, generated)) is not None
        ]
        for column, expression in found:
            inner = expression.copy()
            for part in inner.find_all(exp.Column):
                part.set("table", column.args.get("table"))
            column.replace(inner if isinstance(inner, exp.Column) else exp.Paren(this=inner))
        if not found:
            break
    return tree.this


def _expression(
    column: exp.Column, tables: dict[str, str], generated: dict[tuple[str, str], exp.Expr]
) -> exp.Expr | None:
    """What a column is generated from; of one without a table, in any of the tables that are read."""
    name = fold(column.name)
    names = [tables.get(fold(column.table), "")] if column.table else [*tables.values()]
    return next((found for table in names if (found := generated.get((table, name))) is not None), None)
