"""Queries that differ from a gold query in one place: another column, aggregate, comparison or direction."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import sqlglot
from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import DOWN, UP
from text2sql.data.audit.smells.joins import are_joined_by_key
from text2sql.engines.dialect import Dialect
from text2sql.sql.schema import TableSchema

AGGREGATES = (exp.Count, exp.Sum, exp.Avg, exp.Max, exp.Min)
REVERSED: dict[type[exp.Expr], type[exp.Expr]] = {exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE}
Place = Literal["shown column", "used column", "joined column", "aggregate", "comparison", "direction"]
_KEY = re.compile(r"(?i:(?:^|_)(?:id|code|key|no)$)|(?<=[a-z])(?:ID|Id|Code|Key)$")
# The place and a description of each change; the tree is changed while it is yielded, and restored afterwards.
Changes = Iterator[tuple[Place, str]]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A query that differs from the gold query in one place.

    Attributes:
        place: What differs; a column may be shown, in the condition of a join, or used anywhere else.
        detail: The replacement and what it replaces.
        sql: The query.
    """

    place: Place
    detail: str
    sql: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A gold query and its alternatives in one spelling, because a model would tell spellings apart as well.

    Attributes:
        gold: The gold query.
        alternatives: The alternatives, each once.
    """

    gold: str
    alternatives: tuple[Alternative, ...]


def choice_of(reading: Reading) -> Choice:
    """A gold query with its alternatives."""
    dialect = reading.example.dialect
    tree = reading.tree.copy()
    for column in tree.find_all(exp.Column):
        table = _table_of(reading, column)
        if table is not None and (declared := table.columns.get(column.name.lower())):
            column.set("this", exp.to_identifier(declared.name))
    for identifier in tree.find_all(exp.Identifier):
        identifier.set("quoted", not _needs_no_quotes(identifier.name))
    for ordered in tree.find_all(exp.Ordered):
        _set_order(ordered, dialect, descending=bool(ordered.args.get("desc")))
    gold = tree.sql(dialect=dialect)
    alternatives: dict[str, Alternative] = {}
    for changes in (
        _change_columns(reading, tree),
        _change_aggregates(reading, tree),
        _reverse_comparisons(tree),
        _reverse_orders(reading, tree, dialect),
    ):
        for place, detail in changes:
            sql = tree.sql(dialect=dialect)
            if sql != gold:
                alternatives.setdefault(sql, Alternative(place, detail, sql))
    return Choice(gold, tuple(alternatives.values()))


@lru_cache(maxsize=4096)
def _needs_no_quotes(name: str) -> bool:
    """Whether SQLite accepts a name without quotes."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return False
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(f"SELECT t.{name} FROM (SELECT 1 AS {name}) AS t")
        except sqlite3.Error:
            return False
    return True


def _change_columns(reading: Reading, tree: exp.Expr) -> Changes:
    """Replaces a column by another one of the same table."""
    for node in [*tree.find_all(exp.Column)]:
        table, place = _table_of(reading, node), _place_of(node)
        if table is None or _is_certain(reading, node, place, table):
            continue
        old = node.this
        for key, column in table.columns.items():
            if key != node.name.lower() and _is_informative(reading, column.name, node.name, place, table):
                node.set("this", exp.to_identifier(column.name, quoted=not _needs_no_quotes(column.name)))
                yield place, f"{column.name} for {old.name}"
        node.set("this", old)


def _is_informative(reading: Reading, other: str, current: str, place: Place, table: TableSchema) -> bool:
    """Whether it is informative that a model prefers another column to the query's own.

    Models prefer names without quotes, and keys when in doubt, although keys are mostly used in joins. Nor does a
    preference count against a column that the question names, for one that it does not.
    """
    if _needs_no_quotes(other) != _needs_no_quotes(current):
        return False
    if place == "joined column":
        return True
    is_named, current_is_named = (bool(reading.stems_of(name) & reading.stems) for name in (other, current))
    return not _is_key(other, table) and (is_named or not current_is_named)


def _is_certain(reading: Reading, column: exp.Column, place: Place, table: TableSchema) -> bool:
    """Whether it is clear without a model that no other column is meant.

    That holds for a join along a declared key or along equal names, for a column that the evidence names, and for a key
    that is counted, because any other column has as many rows.
    """
    if place != "joined column":
        in_evidence = re.search(
            rf"(?<!\w){re.escape(column.name)}(?!\w)", reading.example.evidence or "", re.IGNORECASE
        )
        return in_evidence is not None or (isinstance(column.parent, exp.Count) and _is_key(column.name, table))
    pair = column.parent
    if not isinstance(pair, exp.EQ) or not all(isinstance(side, exp.Column) for side in (pair.this, pair.expression)):
        return False
    (one, key), (other, parent) = (
        (reading.tables.get(side.table.lower(), ""), side.name.lower()) for side in (pair.this, pair.expression)
    )
    return key == parent or are_joined_by_key(reading, (one, key), (other, parent))


def _is_key(name: str, table: TableSchema) -> bool:
    """Whether a column is a primary or foreign key, by its declaration or its name."""
    key = name.lower()
    declared = table.primary_key == (key,) or any(key in foreign.columns for foreign in table.foreign_keys)
    return declared or bool(_KEY.search(name))


def _table_of(reading: Reading, column: exp.Column) -> TableSchema | None:
    """The table of a column; None if it is unknown."""
    known = [reading.tables.get(column.table.lower(), "")] if column.table else [*reading.tables.values()]
    tables = [table for name in dict.fromkeys(known) if (table := reading.schema.tables.get(name))]
    owners = [table for table in tables if column.name.lower() in table.columns]
    if not owners and len(known) == 1 and not _is_alias(reading, column.name):
        # An unknown name is wrong, and any column of the only table may be the right one.
        owners = tables
    return owners[0] if len(owners) == 1 else None


def _is_alias(reading: Reading, name: str) -> bool:
    return any(alias.alias.lower() == name.lower() for alias in reading.tree.find_all(exp.Alias))


def _place_of(column: exp.Column) -> Place:
    if isinstance(column.find_ancestor(exp.Join, exp.Select), exp.Join):
        return "joined column"
    node: exp.Expr = column
    while node.parent is not None and not isinstance(node.parent, exp.Select):
        if isinstance(node.parent, (exp.Predicate, exp.In, exp.Between)):
            return "used column"
        node = node.parent
    return "shown column" if node.arg_key == "expressions" else "used column"


def _change_aggregates(reading: Reading, tree: exp.Expr) -> Changes:
    """Replaces an aggregate by another; only by COUNT for a key, and not within a quotient."""
    for node in [*tree.find_all(*AGGREGATES)]:
        if not isinstance(node.this, (exp.Column, exp.Distinct)) or isinstance(
            node.find_ancestor(exp.Div, exp.Select), exp.Div
        ):
            continue
        column = node.find(exp.Column)
        table = _table_of(reading, column) if column is not None else None
        counted = column is not None and table is not None and _is_key(column.name, table)
        for kind in AGGREGATES:
            if not isinstance(node, kind) and (kind is exp.Count or not counted):
                other = kind(this=node.this.copy())
                node.replace(other)
                yield "aggregate", f"{_function_name(other)} for {_function_name(node)}"
                other.replace(node)


def _function_name(aggregate: exp.Expr) -> str:
    return type(aggregate).__name__.upper()


def _reverse_comparisons(tree: exp.Expr) -> Changes:
    """Reverses a comparison."""
    for node in [*tree.find_all(*REVERSED)]:
        other = REVERSED[type(node)](this=node.this.copy(), expression=node.expression.copy())
        node.replace(other)
        yield "comparison", f"{other.sql()} for {node.sql()}"
        other.replace(node)


def _reverse_orders(reading: Reading, tree: exp.Expr, dialect: Dialect) -> Changes:
    """Reverses an order, unless the question names this direction only."""
    ends = {True: UP.search(reading.text) is not None, False: DOWN.search(reading.text) is not None}
    for node in [*tree.find_all(exp.Ordered)]:
        descending = bool(node.args.get("desc"))
        if ends[descending] and not ends[not descending]:
            continue
        _set_order(node, dialect, descending=not descending)
        yield "direction", "ascending for descending" if descending else "descending for ascending"
        _set_order(node, dialect, descending=descending)


def _set_order(node: exp.Expr, dialect: Dialect, *, descending: bool) -> None:
    """Sets the direction of an order, with NULL at the dialect's default end."""
    node.set("desc", descending or None)
    node.set("nulls_first", _nulls_first(dialect, descending))


@lru_cache(maxsize=16)
def _nulls_first(dialect: Dialect, descending: bool) -> bool:
    ordered = sqlglot.parse_one(f"SELECT a FROM t ORDER BY a{' DESC' if descending else ''}", read=dialect)
    return bool(ordered.find(exp.Ordered).args.get("nulls_first"))  # type: ignore[union-attr]
