"""Tables that a query makes up: VALUES, SELECT without FROM, recursions that count through numbers or dates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import neighbours
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.tokens import fold
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Row, Value

# Rows of a made-up table, SQLite's instructions to make them, and how many values of either end are kept.
_MOST, _STEPS, _KEPT = 5000, 500_000, 100
# Values of its ends that columns compared with it are tried on.
_ENDS = 2


def constant_columns(
    tree: exp.Expr, known: dict[str, exp.CTE], own: exp.CTE | None = None, names: Sequence[str] = ()
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
    before = f"WITH RECURSIVE {', '.join(map(to_sqlite, ctes))} " if ctes else ""
    source = exp.to_identifier(own.alias, quoted=True) if own is not None else exp.Subquery(this=tree.copy())
    found = _evaluated(f"{before}SELECT * FROM {to_sqlite(source)}")
    if found is None:
        return {}
    columns, rows = found
    return {
        name: _ends_of([row[place] for row in rows if row[place] is not None])
        for place, name in enumerate(names or map(fold, columns))
        if place < len(columns)
    }


def _ends_of(values: Sequence[Value]) -> tuple[Value, ...]:
    different = list(dict.fromkeys(values))
    return tuple(different if len(different) <= 2 * _KEPT else [*different[:_KEPT], *different[-_KEPT:]])


@lru_cache(maxsize=64)
def _evaluated(sql: str) -> tuple[tuple[str, ...], tuple[Row, ...]] | None:
    box = SqliteSandbox.in_memory([])
    try:
        result = box.run(sql, _STEPS, 0.1, _MOST)
    except QueryFailed:
        return None
    finally:
        box.close()
    return None if result.overflow else (tuple(result.columns), tuple(result.rows))


def ends(values: Sequence[Value], kind: str) -> Iterator[Value]:
    """The first and the last of some values, and what lies next to them."""
    for value in dict.fromkeys((*values[-1:], *values[:1], *values[-_ENDS:], *values[:_ENDS])):
        yield from neighbours(value, kind)[:3]
