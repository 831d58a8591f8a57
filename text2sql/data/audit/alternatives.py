"""Queries that differ from a gold query in one place: another column there, aggregate, comparison or direction."""

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

from text2sql.data.audit.join_smells import keyed_along
from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import DOWN, UP
from text2sql.engines.dialect import Dialect
from text2sql.sql.schema import TableSchema

AGGREGATES = (exp.Count, exp.Sum, exp.Avg, exp.Max, exp.Min)
TURNED: dict[type[exp.Expr], type[exp.Expr]] = {exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE}
Place = Literal["shown column", "used column", "joined column", "aggregate", "comparison", "direction"]
_KEY = re.compile(r"(?i:(?:^|_)(?:id|code|key|no)$)|(?<=[a-z])(?:ID|Id|Code|Key)$")
# What was changed, and how; the tree is changed while it is yielded, and back as before when the next is asked for.
Changes = Iterator[tuple[Place, str]]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A query beside the gold one.

    Attributes:
        place: What differs; a column is shown, stands in the condition of a join, or is used anywhere else.
        detail: What stands there in place of what.
        sql: The query.
    """

    place: Place
    detail: str
    sql: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A gold query and its alternatives, all written in one way: a model tells spellings apart as well.

    Attributes:
        gold: The gold query.
        alternatives: The others, each once.
    """

    gold: str
    alternatives: tuple[Alternative, ...]


def choice_of(reading: Reading) -> Choice:
    """A gold query with its alternatives."""
    dialect = reading.example.dialect
    tree = reading.tree.copy()
    for column in tree.find_all(exp.Column):
        table = _table_of(reading, column)
        if table is not None and (known := table.columns.get(column.name.lower())):
            column.set("this", exp.to_identifier(known.name))
    for name in tree.find_all(exp.Identifier):
        name.set("quoted", not _goes_bare(name.name))
    for ordered in tree.find_all(exp.Ordered):
        _order(ordered, dialect, descending=bool(ordered.args.get("desc")))
    gold = tree.sql(dialect=dialect)
    found: dict[str, Alternative] = {}
    for changes in (
        _columns(reading, tree),
        _aggregates(reading, tree),
        _comparisons(tree),
        _directions(reading, tree, dialect),
    ):
        for place, detail in changes:
            sql = tree.sql(dialect=dialect)
            if sql != gold:
                found.setdefault(sql, Alternative(place, detail, sql))
    return Choice(gold, tuple(found.values()))


@lru_cache(maxsize=4096)
def _goes_bare(name: str) -> bool:
    """Whether SQLite takes a name without quotes."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return False
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(f"SELECT t.{name} FROM (SELECT 1 AS {name}) AS t")
        except sqlite3.Error:
            return False
    return True


def _columns(reading: Reading, tree: exp.Expr) -> Changes:
    """Another column of the same table."""
    for node in [*tree.find_all(exp.Column)]:
        table, place = _table_of(reading, node), _place_of(node)
        if table is None or _is_certain(reading, node, place, table):
            continue
        old = node.this
        for key, column in table.columns.items():
            if key != node.name.lower() and _compares(reading, column.name, node.name, place, table):
                node.set("this", exp.to_identifier(column.name, quoted=not _goes_bare(column.name)))
                yield place, f"{column.name} for {old.name}"
        node.set("this", old)


def _compares(reading: Reading, other: str, own: str, place: Place, table: TableSchema) -> bool:
    """Whether it tells something that a model prefers another column to the query's own.

    It likes names without quotes, and those of keys where it knows no better, although only joins are along them. And
    no preference tells anything against a name that the question says and the other's not.
    """
    if _goes_bare(other) != _goes_bare(own):
        return False
    if place == "joined column":
        return True
    said, own_said = (bool(reading.stems_of(name) & reading.stems) for name in (other, own))
    return not _is_key(other, table) and (said or not own_said)


def _is_certain(reading: Reading, column: exp.Column, place: Place, table: TableSchema) -> bool:
    """Whether it is known without a model that no other column is meant.

    A join along a declared key or along one name, a column that the evidence spells, and a key that is counted for its
    rows, of which any other column has as many.
    """
    if place != "joined column":
        spelt = re.search(rf"(?<!\w){re.escape(column.name)}(?!\w)", reading.example.evidence or "", re.IGNORECASE)
        return spelt is not None or (isinstance(column.parent, exp.Count) and _is_key(column.name, table))
    pair = column.parent
    if not isinstance(pair, exp.EQ) or not all(isinstance(side, exp.Column) for side in (pair.this, pair.expression)):
        return False
    (one, key), (other, parent) = (
        (reading.tables.get(side.table.lower(), ""), side.name.lower()) for side in (pair.this, pair.expression)
    )
    return key == parent or keyed_along(reading, (one, key), (other, parent))


def _is_key(name: str, table: TableSchema) -> bool:
    """Whether a column tells rows apart, or refers to those of another table, by its declaration or its name."""
    key = name.lower()
    declared = table.primary_key == (key,) or any(key in foreign.columns for foreign in table.foreign_keys)
    return declared or bool(_KEY.search(name))


def _table_of(reading: Reading, column: exp.Column) -> TableSchema | None:
    """The table that a column is of; None where it cannot be told."""
    known = [reading.tables.get(column.table.lower(), "")] if column.table else [*reading.tables.values()]
    tables = [table for name in dict.fromkeys(known) if (table := reading.schema.tables.get(name))]
    owners = [table for table in tables if column.name.lower() in table.columns]
    if not owners and len(known) == 1 and not _is_alias(reading, column.name):
        # A name that no table has is wrong, and any column of the one table may be the right one.
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


def _aggregates(reading: Reading, tree: exp.Expr) -> Changes:
    """Another aggregate of a column; of a key none but their number, and none in a share, of which both are parts."""
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
                yield "aggregate", f"{_called(other)} for {_called(node)}"
                other.replace(node)


def _called(aggregate: exp.Expr) -> str:
    return type(aggregate).__name__.upper()


def _comparisons(tree: exp.Expr) -> Changes:
    """More for less."""
    for node in [*tree.find_all(*TURNED)]:
        other = TURNED[type(node)](this=node.this.copy(), expression=node.expression.copy())
        node.replace(other)
        yield "comparison", f"{other.sql()} for {node.sql()}"
        other.replace(node)


def _directions(reading: Reading, tree: exp.Expr, dialect: Dialect) -> Changes:
    """The other end of an order, unless the question says this one alone."""
    ends = {True: UP.search(reading.said) is not None, False: DOWN.search(reading.said) is not None}
    for node in [*tree.find_all(exp.Ordered)]:
        descending = bool(node.args.get("desc"))
        if ends[descending] and not ends[not descending]:
            continue
        _order(node, dialect, descending=not descending)
        yield "direction", "ascending for descending" if descending else "descending for ascending"
        _order(node, dialect, descending=descending)


def _order(node: exp.Expr, dialect: Dialect, *, descending: bool) -> None:
    """Turn an order, with NULL at the end at which it is unless a query says otherwise."""
    node.set("desc", descending or None)
    node.set("nulls_first", _nulls_first(dialect, descending))


@lru_cache(maxsize=16)
def _nulls_first(dialect: Dialect, descending: bool) -> bool:
    ordered = sqlglot.parse_one(f"SELECT a FROM t ORDER BY a{' DESC' if descending else ''}", read=dialect)
    return bool(ordered.find(exp.Ordered).args.get("nulls_first"))  # type: ignore[union-attr]
