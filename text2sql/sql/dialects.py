"""In which other dialects a query that SQLite does not run would read, for messages about such data."""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# By sqlglot's names.
DIALECTS = ("postgres", "duckdb", "mysql", "bigquery", "tsql")


def reading_dialects(sql: str) -> tuple[str, ...]:
    """The dialects that parse a query and know the most of its functions; none if no dialect parses it.

    A parser takes any name for a function, so that `DATE_TRUNC('month', d)` parses everywhere: the dialects that know
    it are those it was written for.
    """
    unknown = {dialect: count for dialect in DIALECTS if (count := _unknown_functions(sql, dialect)) is not None}
    least = min(unknown.values(), default=0)
    return tuple(dialect for dialect, count in unknown.items() if count == least)


def _unknown_functions(sql: str, dialect: str) -> int | None:
    """How many functions of a query a dialect does not know; None if it does not parse as a query there."""
    try:
        tree = sqlglot.parse_one(sql, read=dialect)
    except (SqlglotError, RecursionError, ValueError):
        return None
    return sum(1 for _ in tree.find_all(exp.Anonymous)) if isinstance(tree, exp.Query) else None
