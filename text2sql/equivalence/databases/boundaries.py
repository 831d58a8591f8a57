"""Comparisons over the rows of a group: HAVING, a compared subquery, the alias of an aggregate in a derived table.

Two queries that differ in such a comparison differ where the rows of some group come out exactly at its boundary, or
next to it. What a comparison says of a group is written here as text for SQLite, over the columns inside its
aggregates; `samples` looks for rows that meet it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from sqlglot import exp

from text2sql.sql.schema import Schema
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, literal_value, outermost_queries, to_sqlite
from text2sql.sql.values import Value

# Table and column, in lower case.
ColumnKey = tuple[str, str]

_COMPARED = (*COMPARISONS, exp.Between, exp.In)
# Columns of one comparison and of those that must hold as well, and names of names.
_MOST_COLUMNS, _DEEPEST = 3, 4
# Comparisons of one query, and members of a list.
_MOST, _MOST_MEMBERS = 4, 4


@dataclass(frozen=True)
class Boundary:
    """One comparison over a group.

    Attributes:
        columns: The columns inside its aggregates, called v0, v1, ... in the texts.
        once: Those of them that have one value for the whole group.
        ranked: Whether a row is compared with an aggregate over its own table, so that every row has its own answer.
        equal: That both sides are equal.
        holds: The comparison.
        distance: The difference of its sides.
        context: That it decides, whatever else is asked of the group; empty if nothing is.
        whole: All that is asked of the group.
        counting: Whether it is a plain count against a number, which has separate databases.
        signed: Whether it may turn on values below zero: it negates something, or compares with a column.
        numbers: The numbers in it and its context.
        literals: All of its literals.
    """

    columns: tuple[ColumnKey, ...]
    once: frozenset[ColumnKey]
    ranked: bool
    equal: str
    holds: str
    distance: str
    context: str
    whole: str
    counting: bool
    signed: bool
    numbers: tuple[int | float, ...]
    literals: tuple[Value, ...]


def boundaries(trees: Sequence[exp.Expr], schema: Schema) -> list[list[Boundary]]:
    """Of each query the comparisons over groups, each once.

    What only one of the queries asks of the rows in WHERE is asked of the rows that its aggregates see.
    """
    if not any(map(_may_compare, trees)):
        return [[] for _ in trees]
    finders = [_Finder(tree, schema) for tree in trees]
    known = [finder.asked() for finder in finders]
    shared = set(known[0]).intersection(*known[1:]) if known else set()
    return [finder.boundaries(shared) for finder in finders]


def _may_compare(tree: exp.Expr) -> bool:
    """Whether an aggregate of a query may be compared: there, or under its name further out or in HAVING."""
    return any(
        call.find_ancestor(*_COMPARED, exp.Subquery, exp.CTE) is not None or _select_of(call).args.get("having")
        for call in tree.find_all(exp.AggFunc)
    )


def _select_of(node: exp.Expr) -> exp.Expr:
    return node.find_ancestor(exp.Select) or node


def _plain(node: exp.Expr) -> Iterator[exp.Expr]:
    """BETWEEN and IN as the comparisons they stand for."""
    if isinstance(node, exp.Between):
        yield exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
        yield exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
    elif isinstance(node, exp.In):
        for member in node.expressions[:_MOST_MEMBERS]:
            yield exp.EQ(this=node.this.copy(), expression=member.copy())
    else:
        yield node


class _Finder:
    """Reads the comparisons of one query."""

    def __init__(self, tree: exp.Expr, schema: Schema) -> None:
        self._schema, self._tree = schema, tree
        self._tables = [fold(table.name) for table in tree.find_all(exp.Table)]
        self._aliases = {fold(table.alias or table.name): fold(table.name) for table in tree.find_all(exp.Table)}
        self._selects = list(tree.find_all(exp.Select))
        self._named: dict[str, exp.Expr] = {}

    def asked(self) -> list[str]:
        """What the query's WHEREs ask of plain rows, part by part, in a form that aliases do not change."""
        return [self._form(part) for select in self._selects for part in _row_parts(select)]

    def boundaries(self, shared: Set[str]) -> list[Boundary]:
        """The comparisons; what all queries ask of the rows is left aside."""
        if self._tree.find(exp.AggFunc) is None:
            return []
        if any(form not in shared for form in self.asked()):
            self._narrow(shared)
        self._named = {name: inner for name, inner in _named(self._tree) if inner.find(exp.AggFunc) is not None}
        found: dict[Boundary, None] = {}
        node: exp.Expr
        for node in self._tree.find_all(*_COMPARED):
            for comparison in _plain(node):
                boundary = self._boundary(comparison, node)
                if boundary is not None:
                    found[boundary] = None
        return list(found)[:_MOST]

    def _narrow(self, shared: Set[str]) -> None:
        """Has the aggregates see only the rows that meet their WHERE."""
        self._tree = self._tree.copy()
        self._selects = list(self._tree.find_all(exp.Select))
        for select in self._selects:
            own: list[exp.Expr] = []
            columns: set[ColumnKey | None] = set()
            for part in _row_parts(select):
                keys = {self._key(column) for column in part.find_all(exp.Column)}
                tables = {key[0] for key in keys if key is not None}
                # What links tables is met by how the rows are made.
                if self._form(part) not in shared and len(tables) == 1 and len(columns | keys) < _MOST_COLUMNS:
                    own.append(part)
                    columns |= keys
            calls = [call for call in select.find_all(exp.AggFunc) if call.find_ancestor(exp.Select) is select]
            for call in calls if own else ():
                if not isinstance(call.parent, (exp.Filter, exp.Window)):
                    seen = exp.Where(this=exp.and_(*(part.copy() for part in own), copy=False))
                    call.replace(exp.Filter(this=call.copy(), expression=seen))

    def _form(self, part: exp.Expr) -> str:
        copied = exp.Paren(this=part.copy())
        for column in list(copied.find_all(exp.Column)):
            column.replace(exp.column(".".join(self._key(column) or (column.table, column.name)), quoted=True))
        return to_sqlite(copied)

    def _boundary(self, comparison: exp.Expr, node: exp.Expr) -> Boundary | None:
        """What a comparison, which stands where ``node`` does, says of a group."""
        expanded = self._expanded(comparison)
        if expanded is None or expanded.find(exp.AggFunc) is None:
            return None
        top = _condition_around(node)
        decisive = [_settled(top, node, value) for value in (True, False)] if top is not node else []
        around = [self._about_groups(part) for part in decisive]
        whole = self._about_groups(top) if top is not node else expanded.copy()
        parts = [expanded, *(part for part in (*around, whole) if part is not None)]
        columns = [column for part in parts for column in part.find_all(exp.Column) if not _is_star(column)]
        keys = {id(column): self._key(column) for column in columns}
        listed = tuple(dict.fromkeys(key for key in keys.values() if key is not None))
        if None in keys.values() or len(listed) > _MOST_COLUMNS:
            return None
        once = {keys[id(column)] for column in columns if column.find_ancestor(exp.AggFunc, exp.Filter) is None}
        many = {keys[id(column)] for column in columns if column.find_ancestor(exp.AggFunc, exp.Filter) is not None}
        ranked = bool(once & many)
        literals = [literal for part in parts for literal in part.find_all(exp.Literal)]
        # What an aggregate is compared with, or multiplied by, comes before what is inside of it.
        literals.sort(key=lambda literal: literal.find_ancestor(exp.AggFunc, exp.Filter) is not None)
        values = [literal_value(literal) for literal in literals]
        for column in columns:
            column.replace(exp.column(f"v{listed.index(keys[id(column)])}"))
        for part in parts if ranked else ():
            for call in list(part.find_all(exp.AggFunc)):
                seen = call.parent if isinstance(call.parent, exp.Filter) else call
                seen.replace(exp.Window(this=seen.copy(), partition_by=[exp.column("n")]))
        left, right = expanded.this, expanded.expression
        return Boundary(
            listed,
            frozenset() if ranked else frozenset(key for key in once if key is not None),
            ranked,
            to_sqlite(exp.EQ(this=left.copy(), expression=right.copy())),
            to_sqlite(expanded),
            to_sqlite(exp.Sub(this=exp.Paren(this=left.copy()), expression=exp.Paren(this=right.copy()))),
            " IS NOT ".join(f"({to_sqlite(part)})" for part in around if part is not None),
            to_sqlite(whole) if whole is not None else to_sqlite(expanded),
            top is node and _counts_rows(expanded),
            bool(once - many) or expanded.find(exp.Neg, exp.Sub) is not None,
            tuple(dict.fromkeys(value for value in values if isinstance(value, (int, float)))),
            tuple(dict.fromkeys(value for value in values if value is not None)),
        )

    def _about_groups(self, node: exp.Expr) -> exp.Expr | None:
        """A condition without the parts that are not about groups; None if there is nothing else."""
        if isinstance(node, exp.Paren):
            return self._about_groups(node.this)
        if isinstance(node, exp.Not):
            inner = self._about_groups(node.this)
            return None if inner is None else exp.Not(this=exp.Paren(this=inner))
        if isinstance(node, (exp.And, exp.Or)):
            sides = [found for side in (node.left, node.right) if (found := self._about_groups(side)) is not None]
            if len(sides) < 2:
                return sides[0] if sides else None
            return type(node)(this=exp.Paren(this=sides[0]), expression=exp.Paren(this=sides[1]))
        if isinstance(node, exp.Boolean):
            return node.copy()
        found = self._expanded(node)
        return found if found is not None and found.find(exp.AggFunc) is not None else None

    def _expanded(self, node: exp.Expr) -> exp.Expr | None:
        """An expression with names and scalar subqueries replaced by the aggregates that they stand for."""
        root: exp.Expr = exp.Paren(this=node.copy())
        for _ in range(_DEEPEST):
            again = False
            for query in outermost_queries(root):
                inner = _only_item(query)
                if inner is None:
                    return None
                place = query.parent if isinstance(query.parent, (exp.Subquery, exp.Paren)) else query
                place.replace(exp.Paren(this=inner))
                again = True
            for column in list(root.find_all(exp.Column)):
                inner = self._named.get(fold(column.name))
                if inner is not None and (column.find_ancestor(exp.AggFunc) is None or inner.find(exp.AggFunc) is None):
                    column.replace(exp.Paren(this=inner.copy()))
                    again = True
            if not again:
                break
        for window in list(root.find_all(exp.Window)):
            if not isinstance(window.this, exp.AggFunc) or isinstance(window.this, _RANKS):
                return None
            window.replace(window.this.copy())
        nested = any(call.find_ancestor(exp.AggFunc) is not None for call in root.find_all(exp.AggFunc))
        found: exp.Expr = root.this
        return None if nested or root.find(exp.Select) is not None else found.pop()

    def _key(self, column: exp.Column) -> ColumnKey | None:
        name, tables = fold(column.name), self._schema.tables
        named = self._aliases.get(fold(column.table))
        for table in [named] if named in tables else self._tables:
            if table in tables and name in tables[table].columns:
                return table, name
        return None


def _row_parts(select: exp.Select) -> list[exp.Expr]:
    """The parts of a WHERE that are about columns alone."""
    where = select.args.get("where")
    parts = list(where.this.flatten()) if where and isinstance(where.this, exp.And) else [where.this] if where else []
    return [part for part in parts if part.find(exp.Column) is not None and part.find(exp.Select) is None]


_RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, exp.FirstValue, exp.LastValue, exp.NthValue)


def _named(tree: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """The names that a query gives to expressions, those of the columns of a CTE or derived table among them."""
    for item in tree.find_all(exp.Alias):
        yield fold(item.alias), item.this
    for source in tree.find_all(exp.CTE, exp.Subquery):
        inner, alias = source.this, source.args.get("alias")
        if isinstance(inner, exp.Select) and alias is not None:
            for name, item in zip(alias.columns, inner.expressions, strict=False):
                yield fold(name.name), item.unalias()


def _only_item(query: exp.Expr) -> exp.Expr | None:
    """What a scalar subquery over a group returns."""
    if not isinstance(query, exp.Select) or len(query.expressions) != 1:
        return None
    item: exp.Expr = query.expressions[0].unalias()
    return item.copy() if item.find(exp.AggFunc) is not None else None


def _counts_rows(comparison: exp.Expr) -> bool:
    """Whether a comparison is of a plain count with a number."""
    sides = comparison.this.unnest(), comparison.expression.unnest()
    counted = [side for side in sides if isinstance(side, exp.Count)]
    return bool(counted) and any(literal_value(side) is not None for side in sides)


def _is_star(column: exp.Expr) -> bool:
    return isinstance(column.this, exp.Star)


def _condition_around(node: exp.Expr) -> exp.Expr:
    """All of the condition that a comparison is a part of."""
    top, place = node, node.parent
    while isinstance(place, (exp.And, exp.Or, exp.Not, exp.Paren)):
        top, place = place, place.parent
    return top


def _settled(top: exp.Expr, node: exp.Expr, value: bool) -> exp.Expr:
    """A condition in which one comparison is known."""
    place = next(at for at, part in enumerate(top.walk()) if part is node)
    copied = exp.Paren(this=top.copy())
    next(part for at, part in enumerate(copied.this.walk()) if at == place).replace(exp.Boolean(this=value))
    return copied


def differing(found: Sequence[Sequence[Boundary]]) -> list[list[Boundary]]:
    """Of each query the boundaries that not every query has."""
    if len(found) < 2:
        return []
    shared = set(found[0]).intersection(*found[1:])
    return [[boundary for boundary in own if boundary not in shared] for own in found]


def parting(one: Boundary, other: Boundary) -> tuple[Boundary, str] | None:
    """Two comparisons over the columns of both: the first, and that they do not agree; None where that says nothing."""
    if one.ranked != other.ranked:
        return None
    columns = tuple(dict.fromkeys((*one.columns, *other.columns)))
    if len(columns) > _MOST_COLUMNS:
        return None
    places = {f"v{at}": f"v{columns.index(key)}" for at, key in enumerate(other.columns)}
    whole = _NAME.sub(lambda match: places.get(match.group(), match.group()), other.whole)
    numbers = tuple(dict.fromkeys((*one.numbers, *other.numbers)))
    literals = tuple(dict.fromkeys((*one.literals, *other.literals)))
    both = replace(one, columns=columns, once=one.once | other.once, numbers=numbers, literals=literals)
    return both, f"({one.whole}) IS NOT ({whole})"


_NAME = re.compile(r"\bv\d+\b")
