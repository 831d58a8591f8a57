"""Parses and prints queries in an engine's dialect, and makes small rewrites that the comparison needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import SqlglotError
from sqlglot.generators.mysql import MySQLGenerator

from text2sql.engines.dialect import Dialect
from text2sql.engines.guard import parse_single_query
from text2sql.sql.canonical import canonical
from text2sql.sql.hardness import Hardness, hardness_of
from text2sql.sql.prepare import parse as parse_sqlite_query
from text2sql.sql.prepare import parse_statement
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.trees import parse_in, to_sqlite, wrap_negations

SQLGLOT_ERRORS = (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError)


def parse_statement_in(sql: str, dialect: Dialect) -> exp.Expr | None:
    """Parses one statement of any kind; None where sqlglot fails."""
    if dialect == "sqlite":
        return parse_statement(sql)
    if len(sql) > 100_000:
        return None
    try:
        return parse_in(sql, dialect)
    except SQLGLOT_ERRORS:
        return None


# The two queries of a pair are parsed for several purposes.
@lru_cache(maxsize=64)
def parse_query(sql: str, dialect: Dialect) -> exp.Expr | None:
    """Parses one query; None where sqlglot fails. The tree is shared: copy what you change."""
    if dialect == "sqlite":
        return parse_sqlite_query(sql)
    try:
        # The guard parses the same text, so that this is cached.
        tree: exp.Expr | None = wrap_negations(parse_single_query(sql, dialect), sql)
    except QueryFailed:
        tree = parse_statement_in(sql, dialect)
    if isinstance(tree, exp.Pivot):
        # DuckDB's short form, which may stand alone.
        tree = exp.select("*").from_(exp.Subquery(this=tree))
    return tree if isinstance(tree, (exp.Select, exp.SetOperation, exp.Subquery)) else None


def hardness_in(sql: str, dialect: Dialect) -> Hardness:
    """Spider's level of a query: easy, medium, hard or extra."""
    return hardness_of(parse_query(sql, dialect))


def canonical_in(tree: exp.Expr, dialect: Dialect) -> str:
    """A query in normal form; unchanged text where quoted names have capitals, which the normal form would fold."""
    if dialect == "sqlite":
        return canonical(tree)
    quoted = [name for name in tree.find_all(exp.Identifier) if name.args.get("quoted")]
    if any(str(name.this) != str(name.this).lower() for name in quoted):
        return to_sql(tree, dialect)
    return canonical(tree, lambda node: to_sql(node, dialect))


def to_sql(tree: exp.Expr, dialect: Dialect) -> str:
    """Prints a tree in a dialect, without comments."""
    if dialect == "sqlite":
        return to_sqlite(tree)
    return tree.sql(_MySQL if dialect == "mysql" else dialect, comments=False)


class _MySQLWriter(MySQLGenerator):
    def regexplike_sql(self, expression: exp.RegexpLike) -> str:
        # MariaDB has no REGEXP_LIKE, and both have the operator.
        return self.binary(expression, "REGEXP")

    TRANSFORMS: ClassVar[dict[type[exp.Expr], Callable[..., str]]] = {
        kind: write for kind, write in MySQLGenerator.TRANSFORMS.items() if kind is not exp.RegexpLike
    }


class _MySQL(MySQL):
    Generator = _MySQLWriter


# Aggregates that collect their values into one string or list.
_COLLECTING_AGGREGATES = (exp.GroupConcat, exp.ArrayAgg, exp.JSONArrayAgg)


def order_collecting_aggregates(tree: exp.Expr, dialect: Dialect) -> exp.Expr | None:
    """Gives the string and list aggregates of a query an ORDER BY of their values where they have none.

    Returns:
        The changed tree; None where there is nothing to change.
    """
    changed = tree.copy()
    aggregates = [node for node in changed.find_all(*_COLLECTING_AGGREGATES) if _is_unordered(node)]
    for node in aggregates:
        inner = node.this
        values = inner.expressions if isinstance(inner, (exp.Distinct, exp.Concat)) else [inner]
        ordered = [exp.Ordered(this=value.copy(), nulls_first=dialect == "mysql") for value in values]
        node.set("this", exp.Order(this=inner.copy(), expressions=ordered))
    return changed if aggregates else None


def _is_unordered(node: exp.Expr) -> bool:
    windowed = isinstance(node.find_ancestor(exp.Window, exp.Select), exp.Window)
    return not (windowed or isinstance(node.parent, exp.WithinGroup) or node.find(exp.Order) is not None)
