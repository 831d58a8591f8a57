"""Whether a query asks something of all rows of a table; `divisions` makes rows that decide it."""

from __future__ import annotations

from sqlglot import exp

from text2sql.sql.trees import COMPARISONS


def asks_of_all(tree: exp.Expr) -> bool:
    """Whether a query compares with the number of a table's rows, or denies rows for which there are none."""
    if tree.find(exp.LogicalAnd, exp.All) is not None:
        return True
    for node in tree.find_all(*COMPARISONS):
        sides = node.this.unnest(), node.expression.unnest()
        if any(map(_counted, sides)) and not any(isinstance(side, exp.Literal) for side in sides):
            return True
    denied = [node for node in tree.find_all(exp.Exists, exp.In) if _denied(node)]
    return any(_within_denied(node) or node.find(exp.Except) is not None for node in denied)


def _counted(side: exp.Expr) -> bool:
    """Whether one side of a comparison is a query for the number of rows."""
    query = side.this if isinstance(side, exp.Subquery) else side
    items = query.expressions if isinstance(query, exp.Select) else ()
    return len(items) == 1 and items[0].find(exp.Count) is not None


def _denied(node: exp.Expr) -> bool:
    """Whether a query asks that there are no such rows."""
    outer = node.parent
    while isinstance(outer, exp.Paren):
        outer = outer.parent
    return isinstance(outer, exp.Not) and node.find(exp.Select) is not None


def _within_denied(node: exp.Expr) -> bool:
    place = node.find_ancestor(exp.Exists, exp.In)
    while place is not None and not _denied(place):
        place = place.find_ancestor(exp.Exists, exp.In)
    return place is not None
