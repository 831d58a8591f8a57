"""Finds the dialects in which a query parses that SQLite does not run, for messages about such data."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.sql.trees import parse_in

# By sqlglot's names.
_CANDIDATES = ("postgres", "duckdb", "mysql", "bigquery", "tsql")


def reading_dialects(sql: str) -> tuple[str, ...]:
    """The dialects that parse a query and know most of its functions; empty if no dialect parses it.

    Parsers accept unknown functions, so `DATE_TRUNC('month', d)` parses everywhere: the query was written for the
    dialects that know its functions.
    """
    unknown = {dialect: count for dialect in _CANDIDATES if (count := _unknown_functions(sql, dialect)) is not None}
    fewest = min(unknown.values(), default=0)
    return tuple(dialect for dialect, count in unknown.items() if count == fewest)


def _unknown_functions(sql: str, dialect: str) -> int | None:
    """The number of functions that a dialect does not know; None if the text does not parse as a query in it."""
    try:
        tree = parse_in(sql, dialect)
    except (SqlglotError, RecursionError, ValueError):
        return None
    return sum(1 for _ in tree.find_all(exp.Anonymous)) if isinstance(tree, exp.Query) else None
