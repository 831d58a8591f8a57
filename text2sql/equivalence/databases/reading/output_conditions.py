"""Conditions that leave no row out and decide what is shown: in CASE, in aggregates, alone, in what is sorted by."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

_CONDITIONS = (exp.Predicate, exp.Connector, exp.Not)


def shown_conditions(node: exp.Expr) -> list[exp.Expr]:
    """The conditions in an expression of SELECT, GROUP BY, HAVING or ORDER BY; what a subquery has is its own."""
    found = [case.this for case in node.find_all(exp.If) if not _compared_by_case(case)]
    for case in node.find_all(exp.Case):
        if case.this is not None:
            found += [exp.EQ(this=case.this.copy(), expression=part.this.copy()) for part in case.args["ifs"]]
    found += [part.expression.this for part in node.find_all(exp.Filter)]
    known = {id(condition.unnest()) for condition in found}
    return found + [condition for condition in _outermost_conditions(node) if id(condition) not in known]


def _compared_by_case(part: exp.If) -> bool:
    """Whether it is ``WHEN value`` of a CASE that says what is compared with the value."""
    return isinstance(part.parent, exp.Case) and part.parent.this is not None


def _outermost_conditions(node: exp.Expr) -> Iterator[exp.Expr]:
    """The conditions in an expression that stand in no other one, and in no subquery."""
    ends = (*_CONDITIONS, exp.Select, exp.SetOperation)
    yield from (part for part in node.walk(prune=lambda n: isinstance(n, ends)) if isinstance(part, _CONDITIONS))
