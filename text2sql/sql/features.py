"""Which clauses a query has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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


def count_features(queries: Sequence[str]) -> dict[str, int]:
    """How many queries have each of `FEATURES`; a query that does not parse has none."""
    counts: Counter[str] = Counter()
    for query in queries:
        counts.update(features(query))
    return {name: counts[name] for name in FEATURES}


def features(query: str) -> set[str]:
    """Those of `FEATURES` that a query has."""
    import sqlglot
    from sqlglot import exp

    from text2sql.sql.trees import parse_sqlite

    try:
        tree = parse_sqlite(query)
    except (sqlglot.errors.SqlglotError, RecursionError):
        return set()
    kinds: dict[str, type[exp.Expr]] = {
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
    found = {name for name, kind in kinds.items() if tree.find(kind)}
    own = sum(1 for _ in tree.find_all(exp.Select))
    branches = 1 + sum(1 for _ in tree.find_all(exp.SetOperation))
    return found | ({"nested query"} if own > branches else set())
