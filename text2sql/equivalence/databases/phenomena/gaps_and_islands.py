"""Queries that compute with row numbers, as ``day - ROW_NUMBER() OVER (ORDER BY day)`` finds days in a row."""

from __future__ import annotations

from sqlglot import exp

from text2sql.equivalence.databases.phenomena.count_thresholds import RANKS
from text2sql.sql.tokens import fold


def finds_islands(tree: exp.Expr) -> bool:
    """Whether a query computes with row numbers: rows at the same distance from their number are one run."""
    aliases = {
        fold(item.alias)
        for item in tree.find_all(exp.Alias)
        if isinstance(item.this, exp.Window) and isinstance(item.this.this, RANKS)
    }
    ranks: list[exp.Expr] = [node for node in tree.find_all(exp.Window) if isinstance(node.this, RANKS)]
    ranks += [column for column in tree.find_all(exp.Column) if fold(column.name) in aliases]
    return any(map(_is_computed_with, ranks))


def _is_computed_with(node: exp.Expr) -> bool:
    """Whether arithmetic or a function takes a value."""
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    return isinstance(parent, (exp.Binary, exp.Func, exp.Interval)) and not isinstance(
        parent, (exp.Predicate, exp.Connector, exp.AggFunc)
    )
