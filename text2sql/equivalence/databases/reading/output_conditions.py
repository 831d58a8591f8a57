"""Conditions that decide what is shown, and leave no row out: in CASE, FILTER, SELECT and ORDER BY."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

_CONDITION_NODES = (exp.Predicate, exp.Connector, exp.Not)


def output_conditions(node: exp.Expr) -> list[exp.Expr]:
    """The conditions in an expression of SELECT, GROUP BY, HAVING or ORDER BY, less those inside of subqueries."""
    conditions = [case.this for case in node.find_all(exp.If) if not _is_case_value(case)]
    for case in node.find_all(exp.Case):
        if case.this is not None:
            conditions += [exp.EQ(this=case.this.copy(), expression=part.this.copy()) for part in case.args["ifs"]]
    conditions += [part.expression.this for part in node.find_all(exp.Filter)]
    known = {id(condition.unnest()) for condition in conditions}
    return conditions + [condition for condition in _outermost_conditions(node) if id(condition) not in known]


def _is_case_value(part: exp.If) -> bool:
    """Whether this is ``WHEN value`` of ``CASE x WHEN value``, and so no condition."""
    return isinstance(part.parent, exp.Case) and part.parent.this is not None


def _outermost_conditions(node: exp.Expr) -> Iterator[exp.Expr]:
    """The conditions in an expression that are part of no other condition, and of no subquery."""
    boundaries = (*_CONDITION_NODES, exp.Select, exp.SetOperation)
    yield from (
        part for part in node.walk(prune=lambda n: isinstance(n, boundaries)) if isinstance(part, _CONDITION_NODES)
    )
