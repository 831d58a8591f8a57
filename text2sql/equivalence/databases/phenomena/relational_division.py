"""Queries that ask for all of something, such as who has borrowed every book of 500 pages."""

from __future__ import annotations

from sqlglot import exp

from text2sql.sql.trees import COMPARISONS


def asks_of_all_rows(tree: exp.Expr) -> bool:
    """Whether a query compares with the number of a table's rows, or denies rows for which there are none."""
    if tree.find(exp.LogicalAnd, exp.All) is not None:
        return True
    for node in tree.find_all(*COMPARISONS):
        sides = node.this.unnest(), node.expression.unnest()
        if any(map(_is_count_query, sides)) and not any(isinstance(side, exp.Literal) for side in sides):
            return True
    denied = [node for node in tree.find_all(exp.Exists, exp.In) if _is_denied(node)]
    return any(_is_within_denied(node) or node.find(exp.Except) is not None for node in denied)


def _is_count_query(side: exp.Expr) -> bool:
    """Whether one side of a comparison is a query for the number of rows."""
    query = side.this if isinstance(side, exp.Subquery) else side
    items = query.expressions if isinstance(query, exp.Select) else ()
    return len(items) == 1 and items[0].find(exp.Count) is not None


def _is_denied(node: exp.Expr) -> bool:
    """Whether a query asks that a subquery has no rows, or not this one."""
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    return isinstance(parent, exp.Not) and node.find(exp.Select) is not None


def _is_within_denied(node: exp.Expr) -> bool:
    ancestor = node.find_ancestor(exp.Exists, exp.In)
    while ancestor is not None and not _is_denied(ancestor):
        ancestor = ancestor.find_ancestor(exp.Exists, exp.In)
    return ancestor is not None
