"""The hardness of a query, by the levels of the Spider benchmark.

Spider (T. Yu et al., EMNLP 2018) counts three things in a query's outermost SELECT: *components* (WHERE, GROUP BY,
ORDER BY, LIMIT, every JOIN, every OR and LIKE), *nested queries* (in conditions, and behind UNION, INTERSECT and
EXCEPT), and *others* (more than one aggregate, selected column, condition, grouping column). The levels are thresholds
on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from sqlglot import exp

from text2sql.sql.prepare import parse

Hardness = Literal["easy", "medium", "hard", "extra"]
# The easiest first.
LEVELS: tuple[Hardness, ...] = get_args(Hardness)


def hardness(sql: str) -> Hardness:
    """Returns Spider's level of a query: easy, medium, hard or extra.

    A query that cannot be parsed is ``extra``.
    """
    return hardness_of(parse(sql))


def hardness_of(tree: exp.Expr | None) -> Hardness:
    """Returns the level of a query by its syntax tree (None for a query that cannot be parsed)."""
    if tree is None:
        return "extra"
    while isinstance(tree, exp.Subquery):
        tree = tree.this
    nested_queries = 0
    select = tree
    while isinstance(select, exp.SetOperation):
        nested_queries += 1
        select = select.left.unnest()
    if not isinstance(select, exp.Select):
        return "extra"
    components = _count_components(select, tree)
    nested_queries += _count_nested(select)
    return _level(components, nested_queries, _count_others(select, tree))


def _level(components: int, nested: int, others: int) -> Hardness:
    if components <= 1 and others == 0 and nested == 0:
        return "easy"
    if nested == 0 and ((others <= 2 and components <= 1) or (components <= 2 and others < 2)):
        return "medium"
    if nested == 0 and ((others > 2 and components <= 2) or (2 < components <= 3 and others <= 2)):
        return "hard"
    if components <= 1 and others == 0 and nested <= 1:
        return "hard"
    return "extra"


def _nodes_of_query(node: exp.Expr | None, *kinds: type[exp.Expr]) -> Iterator[exp.Expr]:
    """The nodes of some kinds that belong to a query itself and not to its subqueries."""
    stack = [node] if node is not None else []
    while stack:
        current = stack.pop()
        if isinstance(current, kinds):
            yield current
        if not isinstance(current, (exp.Select, exp.SetOperation)):
            stack += list(current.iter_expressions())


def _conditions(select: exp.Select) -> list[exp.Expr]:
    """The conditions of a SELECT: those of its joins, WHERE and HAVING."""
    conditions = [join.args["on"] for join in select.args.get("joins") or () if join.args.get("on")]
    return conditions + [select.args[key].this for key in ("where", "having") if select.args.get(key)]


def _count_components(select: exp.Select, tree: exp.Expr) -> int:
    count = sum(select.args.get(key) is not None for key in ("where", "group"))
    # After a set operation, ORDER BY and LIMIT belong to the operation.
    count += sum(select.args.get(key) is not None or tree.args.get(key) is not None for key in ("order", "limit"))
    count += len(select.args.get("joins") or ())
    for clause in _conditions(select):
        count += sum(1 for _ in _nodes_of_query(clause, exp.Or)) + sum(1 for _ in _nodes_of_query(clause, exp.Like))
    return count


def _count_nested(select: exp.Select) -> int:
    return sum(1 for clause in _conditions(select) for _ in _nodes_of_query(clause, exp.Select, exp.SetOperation))


def _count_others(select: exp.Select, tree: exp.Expr) -> int:
    parts: list[exp.Expr] = [*select.expressions]
    parts += [select.args[key] for key in ("where", "group", "having") if select.args.get(key)]
    order = select.args.get("order") or tree.args.get("order")
    parts += [order] if order else []
    aggregates = sum(1 for part in parts for _ in _nodes_of_query(part, exp.AggFunc))
    where, group = select.args.get("where"), select.args.get("group")
    conditions = 1 + sum(1 for _ in _nodes_of_query(where.this, exp.And, exp.Or)) if where else 0
    return (
        int(aggregates > 1)
        + int(len(select.expressions) > 1)
        + int(conditions > 1)
        + int(group is not None and len(group.expressions) > 1)
    )
