"""What only one of two queries computes from a column, each with what only the other one does."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from sqlglot import exp

from text2sql.sql.tokens import fold

# Pairs of expressions over a column.
_MAX_PAIRS = 6
# Aggregates that return the value of a group's only row.
_IDENTITY_AGGREGATES = (exp.Sum, exp.Min, exp.Max)
# Times that names are replaced by what they stand for: an alias may be defined by another alias.
_MAX_ALIAS_DEPTH = 3


def read_expression_pairs(trees: Sequence[exp.Expr]) -> dict[str, list[tuple[exp.Expr, exp.Expr]]]:
    """By name of a column, expressions over it (called v0) that one query has, each with one of the other."""
    if len(trees) < 2:
        return {}
    first, second = (_expressions_by_column(tree) for tree in trees[:2])
    pairs: dict[str, list[tuple[exp.Expr, exp.Expr]]] = {}
    for name in first.keys() & second.keys():
        only_first = [expression for expression in first[name] if expression not in second[name]]
        only_second = [expression for expression in second[name] if expression not in first[name]]
        pairs[name] = list(itertools.islice(itertools.product(only_first, only_second), _MAX_PAIRS))
    return {name: own for name, own in pairs.items() if own}


def _expressions_by_column(tree: exp.Expr) -> dict[str, list[exp.Expr]]:
    """What a query shows, groups and sorts by, of each column."""
    aliases = {
        fold(item.alias): item.this for item in tree.find_all(exp.Alias) if not item.find(exp.Select, exp.Window)
    }
    expressions: dict[str, list[exp.Expr]] = {}
    for select in tree.find_all(exp.Select):
        clauses = [clause for clause in (select.args.get("group"), select.args.get("order")) if clause is not None]
        for item in (*select.expressions, *(term for clause in clauses for term in clause.expressions)):
            inner = item.this if isinstance(item, exp.Ordered) else item.unalias()
            of_row = _over_one_row(inner, aliases)
            if of_row is not None:
                name, expression = of_row
                known = expressions.setdefault(name, [])
                known += [] if expression in known else [expression]
    return expressions


def _over_one_row(item: exp.Expr, aliases: Mapping[str, exp.Expr]) -> tuple[str, exp.Expr] | None:
    """The only column of an expression, and what the expression makes of a group of one row; None for any other."""
    root: exp.Expr = exp.Paren(this=item.copy())
    for _ in range(_MAX_ALIAS_DEPTH):
        for column in list(root.find_all(exp.Column)):
            named = aliases.get(fold(column.name))
            if named is not None and named.find(exp.Column) is not None:
                column.replace(exp.Paren(this=named.copy()))
    for call in list(root.find_all(*_IDENTITY_AGGREGATES, exp.Avg)):
        if isinstance(call.this, exp.Distinct) or call.this is None:
            return None
        argument = exp.Paren(this=call.this.copy())
        # A mean is a fraction, even of whole numbers.
        is_mean = isinstance(call, exp.Avg)
        call.replace(exp.Mul(this=argument, expression=exp.Literal.number("1.0")) if is_mean else argument)
    columns = list(root.find_all(exp.Column))
    names = {fold(column.name) for column in columns}
    if len(names) != 1 or root.find(exp.AggFunc, exp.Select, exp.Window, exp.Star) is not None:
        return None
    for column in columns:
        column.replace(exp.column("v0"))
    return names.pop(), root.this
