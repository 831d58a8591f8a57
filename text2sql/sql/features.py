"""The features of a query: its clauses and kinds of expressions."""

from __future__ import annotations

from collections import Counter

from sqlglot import exp

FEATURES = (
    "aggregate",
    "WHERE",
    "JOIN",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "DISTINCT",
    "nested query",
    "set operation",
    "window",
)


_KINDS: dict[str, type[exp.Expr]] = {
    "aggregate": exp.AggFunc,
    "WHERE": exp.Where,
    "JOIN": exp.Join,
    "GROUP BY": exp.Group,
    "HAVING": exp.Having,
    "ORDER BY": exp.Order,
    "LIMIT": exp.Limit,
    "DISTINCT": exp.Distinct,
    "set operation": exp.SetOperation,
    "window": exp.Window,
}


def features_of(tree: exp.Expr) -> set[str]:
    """Those of `FEATURES` that a query has."""
    nodes = Counter(type(node) for node in tree.walk())
    features = {name for name, kind in _KINDS.items() if any(issubclass(node, kind) for node in nodes)}
    selects, operations = (
        sum(count for node, count in nodes.items() if issubclass(node, kind)) for kind in (exp.Select, exp.SetOperation)
    )
    return features | ({"nested query"} if selects > 1 + operations else set())
