"""Tables that a query computes from nothing: VALUES, SELECT without FROM, recursions over numbers or dates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import neighbours
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.tokens import fold
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Row, Value

# Rows of such a table; a larger one is given up.
MAX_ROWS = 5000
# SQLite's instructions to compute one, and seconds.
_MAX_STEPS = 500_000
_MAX_SECONDS = 0.1
# Values of a column that are kept at either end.
_MAX_KEPT = 100
# Values at either end that columns compared with it are tried on.
_END_VALUES = 2


def constant_columns(
    tree: exp.Expr, known: Mapping[str, exp.CTE], own: exp.CTE | None = None, names: Sequence[str] = ()
) -> dict[str, tuple[Value, ...]]:
    """By name the values of the columns of a query that reads no table; empty for any other.

    Args:
        tree: The query.
        known: By lower-case name the CTEs before it that read no table.
        own: The CTE that it is, if it is one.
        names: What its columns are called, where SQLite would call them otherwise.
    """
    tables = {*known, *([fold(own.alias)] if own is not None else ())}
    if any(fold(table.name) not in tables for table in tree.find_all(exp.Table)):
        return {}
    ctes = [*known.values(), *([own] if own is not None else ())]
    prefix = f"WITH RECURSIVE {', '.join(map(to_sqlite, ctes))} " if ctes else ""
    source = exp.to_identifier(own.alias, quoted=True) if own is not None else exp.Subquery(this=tree.copy())
    result = _evaluated(f"{prefix}SELECT * FROM {to_sqlite(source)}")
    if result is None:
        return {}
    columns, rows = result
    return {
        name: _first_and_last([row[index] for row in rows if row[index] is not None])
        for index, name in enumerate(names or map(fold, columns))
        if index < len(columns)
    }


def _first_and_last(values: Sequence[Value]) -> tuple[Value, ...]:
    different = list(dict.fromkeys(values))
    return tuple(different if len(different) <= 2 * _MAX_KEPT else [*different[:_MAX_KEPT], *different[-_MAX_KEPT:]])


@lru_cache(maxsize=64)
def _evaluated(sql: str) -> tuple[tuple[str, ...], tuple[Row, ...]] | None:
    """The columns and rows of a query that reads no table; None where it fails or has too many."""
    sandbox = SqliteSandbox.in_memory([])
    try:
        result = sandbox.run(sql, _MAX_STEPS, _MAX_SECONDS, MAX_ROWS)
    except QueryFailed:
        return None
    finally:
        sandbox.close()
    return None if result.overflow else (tuple(result.columns), tuple(result.rows))


def values_at_ends(values: Sequence[Value], kind: str) -> Iterator[Value]:
    """The first and the last of some values, and their neighbours."""
    for value in dict.fromkeys((*values[-1:], *values[:1], *values[-_END_VALUES:], *values[:_END_VALUES])):
        yield from neighbours(value, kind)[:3]
