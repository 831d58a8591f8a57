"""What the names of a query stand for: a column of a table reference or of a subquery, or constants."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from text2sql.equivalence.databases.plan import Plan, Query
from text2sql.sql.tokens import fold
from text2sql.sql.values import Value

# A name in FROM stands for a table instance or for the columns of a subquery.
Scope = dict[str, "int | Query"]


def slot_in(plan: Plan, source: int | Query | None, name: str) -> int | None:
    """The slot of a column of one source; None where the source has no such column, or it shows no slot."""
    if isinstance(source, Query):
        # VALUES has names and shows no columns.
        return dict(zip(source.column_names, source.projections, strict=False)).get(name)
    if source is not None and name in plan.schema.tables[plan.tables[source]].columns:
        return plan.slot(source, name)
    return None


def slot_of(plan: Plan, node: exp.Expr, scopes: Sequence[Scope], *, through: bool = False) -> int | None:
    """The slot that an expression names; None for any other expression.

    Args:
        plan: The plan.
        node: The expression.
        scopes: The scopes around it, the innermost last.
        through: Whether it may stand inside MAX, MIN, AVG or SUM.
    """
    while isinstance(node, (exp.Paren, exp.Cast, exp.Collate, exp.Distinct)) or (
        through and isinstance(node, (exp.Max, exp.Min, exp.Avg, exp.Sum))
    ):
        node = node.expressions[0] if isinstance(node, exp.Distinct) and node.expressions else node.this
        if node is None:
            return None
    if not isinstance(node, exp.Column):
        return None
    for source in _sources(node, scopes):
        slot = slot_in(plan, source, fold(node.name))
        if slot is not None:
            return slot
    return None


def constants_of(node: exp.Column, scopes: Sequence[Scope]) -> tuple[Value, ...]:
    """The values of a column that reads no table; empty for any other."""
    name = fold(node.name)
    for source in _sources(node, scopes):
        if isinstance(source, Query) and name in source.constants:
            return source.constants[name]
    return ()


def _sources(node: exp.Column, scopes: Sequence[Scope]) -> list[int | Query]:
    """The sources that a column may come from, the innermost first."""
    table, sources = fold(node.table), list[int | Query]()
    for scope in reversed(scopes):
        sources += [scope[table]] if table in scope else [] if table else list(scope.values())
    return sources
