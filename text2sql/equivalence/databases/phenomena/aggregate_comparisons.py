"""Comparisons over the rows of a group: HAVING, a compared subquery, the alias of an aggregate in a derived table.

Two queries that differ in such a comparison differ where the rows of some group come out exactly at its boundary, or
next to it: ``HAVING SUM(x) > 10`` from ``HAVING SUM(x) >= 10`` where the sum is 10. What a comparison says of a group
is written here as text for SQLite, over the columns inside its aggregates; `aggregate_comparison_samples` searches for
groups on either side of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from sqlglot import exp

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.sql.schema import Schema
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, literal_value, outermost_queries, to_sqlite
from text2sql.sql.values import Value

_COMPARISONS = (*COMPARISONS, exp.Between, exp.In)
# Columns of one comparison and of the conditions that must hold as well.
MAX_COLUMNS = 3
# Comparisons of one query.
MAX_COMPARISONS = 4
# Members of the list of IN.
_MAX_LIST_MEMBERS = 4
# Times that names are replaced by what they stand for: an alias may be defined by another alias.
_MAX_ALIAS_DEPTH = 4
# The alias of each column, by its place in `AggregateComparison.columns`.
_COLUMN_NAME = re.compile(r"\bv\d+\b")
# Window functions that number rows: what they come to depends on the order of the rows.
_RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, exp.FirstValue, exp.LastValue, exp.NthValue)


@dataclass(frozen=True)
class AggregateComparison:
    """One comparison over a group.

    Attributes:
        columns: The columns inside its aggregates, called v0, v1, ... in the texts.
        constant_columns: Those of them that have one value for the whole group.
        per_row: Whether a row is compared with an aggregate over its own table, so that every row has its own answer.
        equality: SQL text: both sides are equal.
        condition: SQL text: the comparison itself.
        difference: SQL text: the difference of its sides.
        decides: SQL text: the comparison decides, whatever else is asked of the group; empty if nothing else is.
        whole: SQL text: all that is asked of the group.
        is_row_count: Whether it is a plain count against a number, for which `recipes` makes databases.
        signed: Whether it may turn on values below zero: it negates something, or compares with a column.
        numbers: The numbers in the comparison and in what is asked besides.
        literals: All literals in them.
    """

    columns: tuple[ColumnKey, ...]
    constant_columns: frozenset[ColumnKey]
    per_row: bool
    equality: str
    condition: str
    difference: str
    decides: str
    whole: str
    is_row_count: bool
    signed: bool
    numbers: tuple[int | float, ...]
    literals: tuple[Value, ...]


def read_aggregate_comparisons(trees: Sequence[exp.Expr], schema: Schema) -> list[list[AggregateComparison]]:
    """Of each query its comparisons over groups, each once.

    What only one of the queries asks of rows in WHERE becomes a FILTER of its aggregates.
    """
    if not any(map(_may_compare, trees)):
        return [[] for _ in trees]
    readers = [_Reader(tree, schema) for tree in trees]
    conditions = [reader.row_conditions() for reader in readers]
    shared = set(conditions[0]).intersection(*conditions[1:]) if conditions else set()
    return [reader.comparisons(shared) for reader in readers]


def _may_compare(tree: exp.Expr) -> bool:
    """Whether an aggregate of a query may be compared: there, or under its name further out or in HAVING."""
    return any(
        call.find_ancestor(*_COMPARISONS, exp.Subquery, exp.CTE) is not None or _select_of(call).args.get("having")
        for call in tree.find_all(exp.AggFunc)
    )


def _select_of(node: exp.Expr) -> exp.Expr:
    return node.find_ancestor(exp.Select) or node


def _plain_comparisons(node: exp.Expr) -> Iterator[exp.Expr]:
    """A comparison; of BETWEEN and IN, the comparisons that they stand for."""
    if isinstance(node, exp.Between):
        yield exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
        yield exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
    elif isinstance(node, exp.In):
        for member in node.expressions[:_MAX_LIST_MEMBERS]:
            yield exp.EQ(this=node.this.copy(), expression=member.copy())
    else:
        yield node


class _Reader:
    """Reads the comparisons of one query."""

    def __init__(self, tree: exp.Expr, schema: Schema) -> None:
        self._schema, self._tree = schema, tree
        self._tables = [fold(table.name) for table in tree.find_all(exp.Table)]
        self._aliases = {fold(table.alias or table.name): fold(table.name) for table in tree.find_all(exp.Table)}
        self._selects = list(tree.find_all(exp.Select))
        # By the name that the query gives it, each expression with an aggregate.
        self._aggregates: dict[str, exp.Expr] = {}

    def row_conditions(self) -> list[str]:
        """What the query's WHEREs ask of plain rows, part by part, in a form that does not depend on aliases."""
        return [self._normal_form(part) for select in self._selects for part in _row_parts(select)]

    def comparisons(self, shared: Set[str]) -> list[AggregateComparison]:
        """The comparisons; what all queries ask of the rows (``shared``) is left aside."""
        if self._tree.find(exp.AggFunc) is None:
            return []
        if any(form not in shared for form in self.row_conditions()):
            self._filter_aggregates(shared)
        named = _named_expressions(self._tree)
        self._aggregates = {name: inner for name, inner in named if inner.find(exp.AggFunc) is not None}
        comparisons: dict[AggregateComparison, None] = {}
        node: exp.Expr
        for node in self._tree.find_all(*_COMPARISONS):
            for part in _plain_comparisons(node):
                comparison = self._comparison(part, node)
                if comparison is not None:
                    comparisons[comparison] = None
        return list(comparisons)[:MAX_COMPARISONS]

    def _filter_aggregates(self, shared: Set[str]) -> None:
        """Makes what only this query's WHEREs ask of rows a FILTER of the aggregates over them."""
        self._tree = self._tree.copy()
        self._selects = list(self._tree.find_all(exp.Select))
        for select in self._selects:
            conditions = self._own_row_conditions(select, shared)
            calls = [call for call in select.find_all(exp.AggFunc) if call.find_ancestor(exp.Select) is select]
            for call in calls if conditions else ():
                if not isinstance(call.parent, (exp.Filter, exp.Window)):
                    where = exp.Where(this=exp.and_(*(part.copy() for part in conditions), copy=False))
                    call.replace(exp.Filter(this=call.copy(), expression=where))

    def _own_row_conditions(self, select: exp.Select, shared: Set[str]) -> list[exp.Expr]:
        """What a SELECT alone asks of the rows of one table, as far as its columns are few enough."""
        conditions: list[exp.Expr] = []
        columns: set[ColumnKey | None] = set()
        for part in _row_parts(select):
            keys = {self._key(column) for column in part.find_all(exp.Column)}
            tables = {key[0] for key in keys if key is not None}
            # Conditions that link tables are satisfied by how rows are drawn.
            if self._normal_form(part) not in shared and len(tables) == 1 and len(columns | keys) < MAX_COLUMNS:
                conditions.append(part)
                columns |= keys
        return conditions

    def _normal_form(self, part: exp.Expr) -> str:
        """A condition as SQL text in which columns have the names of their tables, not aliases."""
        copied = exp.Paren(this=part.copy())
        for column in list(copied.find_all(exp.Column)):
            column.replace(exp.column(".".join(self._key(column) or (column.table, column.name)), quoted=True))
        return to_sqlite(copied)

    def _comparison(self, comparison: exp.Expr, node: exp.Expr) -> AggregateComparison | None:
        """What a comparison, which stands in the query where ``node`` does, says of a group."""
        expanded = self._expanded(comparison)
        if expanded is None or expanded.find(exp.AggFunc) is None:
            return None
        top = _condition_around(node)
        if top is node:
            return self._described(expanded, [], expanded.copy(), is_alone=True)
        # Where the whole condition differs between the comparison being true and false, the comparison decides.
        assumed = (_with_truth(top, node, value) for value in (True, False))
        contexts = [context for part in assumed if (context := self._about_groups(part)) is not None]
        return self._described(expanded, contexts, self._about_groups(top), is_alone=False)

    def _described(
        self, comparison: exp.Expr, contexts: Sequence[exp.Expr], whole: exp.Expr | None, *, is_alone: bool
    ) -> AggregateComparison | None:
        """A comparison over the columns in it; None where these are not columns of tables, or too many.

        Args:
            comparison: The comparison of aggregates; its columns are renamed.
            contexts: The whole condition, once with the comparison being true and once with it being false.
            whole: The whole condition.
            is_alone: Whether the comparison is the whole condition.
        """
        parts = [comparison, *contexts, *([whole] if whole is not None else [])]
        columns = [column for part in parts for column in part.find_all(exp.Column) if not _is_star(column)]
        keys = {id(column): self._key(column) for column in columns}
        listed = tuple(dict.fromkeys(key for key in keys.values() if key is not None))
        if None in keys.values() or len(listed) > MAX_COLUMNS:
            return None
        outside = {keys[id(column)] for column in columns if column.find_ancestor(exp.AggFunc, exp.Filter) is None}
        inside = {keys[id(column)] for column in columns if column.find_ancestor(exp.AggFunc, exp.Filter) is not None}
        per_row = bool(outside & inside)
        values = _literals(parts)
        for column in columns:
            column.replace(exp.column(f"v{listed.index(keys[id(column)])}"))
        for part in parts if per_row else ():
            _aggregates_as_windows(part)
        left, right = comparison.this, comparison.expression
        return AggregateComparison(
            columns=listed,
            constant_columns=frozenset() if per_row else frozenset(key for key in outside if key is not None),
            per_row=per_row,
            equality=to_sqlite(exp.EQ(this=left.copy(), expression=right.copy())),
            condition=to_sqlite(comparison),
            difference=to_sqlite(exp.Sub(this=exp.Paren(this=left.copy()), expression=exp.Paren(this=right.copy()))),
            decides=" IS NOT ".join(f"({to_sqlite(context)})" for context in contexts),
            whole=to_sqlite(whole) if whole is not None else to_sqlite(comparison),
            is_row_count=is_alone and _counts_rows(comparison),
            signed=bool(outside - inside) or comparison.find(exp.Neg, exp.Sub) is not None,
            numbers=tuple(dict.fromkeys(value for value in values if isinstance(value, (int, float)))),
            literals=tuple(dict.fromkeys(value for value in values if value is not None)),
        )

    def _about_groups(self, node: exp.Expr) -> exp.Expr | None:
        """A condition without the parts that are not about groups; None if there is nothing else."""
        if isinstance(node, exp.Paren):
            return self._about_groups(node.this)
        if isinstance(node, exp.Not):
            inner = self._about_groups(node.this)
            return None if inner is None else exp.Not(this=exp.Paren(this=inner))
        if isinstance(node, (exp.And, exp.Or)):
            sides = [kept for side in (node.left, node.right) if (kept := self._about_groups(side)) is not None]
            if len(sides) < 2:
                return sides[0] if sides else None
            return type(node)(this=exp.Paren(this=sides[0]), expression=exp.Paren(this=sides[1]))
        if isinstance(node, exp.Boolean):
            return node.copy()
        expanded = self._expanded(node)
        return expanded if expanded is not None and expanded.find(exp.AggFunc) is not None else None

    def _expanded(self, node: exp.Expr) -> exp.Expr | None:
        """An expression with names and scalar subqueries replaced by the aggregates that they stand for."""
        root: exp.Expr = exp.Paren(this=node.copy())
        for _ in range(_MAX_ALIAS_DEPTH):
            changed = False
            for query in outermost_queries(root):
                inner = _only_item(query)
                if inner is None:
                    return None
                outer = query.parent if isinstance(query.parent, (exp.Subquery, exp.Paren)) else query
                outer.replace(exp.Paren(this=inner))
                changed = True
            for column in list(root.find_all(exp.Column)):
                inner = self._aggregates.get(fold(column.name))
                if inner is not None and (column.find_ancestor(exp.AggFunc) is None or inner.find(exp.AggFunc) is None):
                    column.replace(exp.Paren(this=inner.copy()))
                    changed = True
            if not changed:
                break
        for window in list(root.find_all(exp.Window)):
            if not isinstance(window.this, exp.AggFunc) or isinstance(window.this, _RANKS):
                return None
            window.replace(window.this.copy())
        nested = any(call.find_ancestor(exp.AggFunc) is not None for call in root.find_all(exp.AggFunc))
        expanded: exp.Expr = root.this
        return None if nested or root.find(exp.Select) is not None else expanded.pop()

    def _key(self, column: exp.Column) -> ColumnKey | None:
        """The table and the column that a name stands for; None where it is no column of a table."""
        name, tables = fold(column.name), self._schema.tables
        qualifier = self._aliases.get(fold(column.table))
        for table in [qualifier] if qualifier in tables else self._tables:
            if table in tables and name in tables[table].columns:
                return table, name
        return None


def _row_parts(select: exp.Select) -> list[exp.Expr]:
    """The parts of a WHERE that are about columns alone."""
    where = select.args.get("where")
    parts = list(where.this.flatten()) if where and isinstance(where.this, exp.And) else [where.this] if where else []
    return [part for part in parts if part.find(exp.Column) is not None and part.find(exp.Select) is None]


def _named_expressions(tree: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
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


def _literals(parts: Sequence[exp.Expr]) -> list[Value]:
    """The literals of some conditions: what an aggregate is compared with, or multiplied by, before those inside."""
    literals = [literal for part in parts for literal in part.find_all(exp.Literal)]
    literals.sort(key=lambda literal: literal.find_ancestor(exp.AggFunc, exp.Filter) is not None)
    return [literal_value(literal) for literal in literals]


def _aggregates_as_windows(condition: exp.Expr) -> None:
    """Makes the aggregates of a condition windows over a group, called n, so that each row has its own answer."""
    for call in list(condition.find_all(exp.AggFunc)):
        aggregate = call.parent if isinstance(call.parent, exp.Filter) else call
        aggregate.replace(exp.Window(this=aggregate.copy(), partition_by=[exp.column("n")]))


def _condition_around(node: exp.Expr) -> exp.Expr:
    """All of the condition that a comparison is a part of."""
    top, parent = node, node.parent
    while isinstance(parent, (exp.And, exp.Or, exp.Not, exp.Paren)):
        top, parent = parent, parent.parent
    return top


def _with_truth(top: exp.Expr, node: exp.Expr, value: bool) -> exp.Expr:
    """A condition in which one comparison is replaced by its truth value."""
    index = next(index for index, part in enumerate(top.walk()) if part is node)
    copied = exp.Paren(this=top.copy())
    next(part for i, part in enumerate(copied.this.walk()) if i == index).replace(exp.Boolean(this=value))
    return copied


def unshared(comparisons: Sequence[Sequence[AggregateComparison]]) -> list[list[AggregateComparison]]:
    """Of each query the comparisons that not every query has."""
    if len(comparisons) < 2:
        return []
    shared = set(comparisons[0]).intersection(*comparisons[1:])
    return [[comparison for comparison in own if comparison not in shared] for own in comparisons]


def disagreement(one: AggregateComparison, other: AggregateComparison) -> tuple[AggregateComparison, str] | None:
    """The first of two comparisons, over the columns of both, and the SQL text that the two do not agree.

    Returns:
        None where the two have no groups in common.
    """
    if one.per_row != other.per_row:
        return None
    columns = tuple(dict.fromkeys((*one.columns, *other.columns)))
    if len(columns) > MAX_COLUMNS:
        return None
    renamed = {f"v{index}": f"v{columns.index(key)}" for index, key in enumerate(other.columns)}
    whole = _COLUMN_NAME.sub(lambda match: renamed.get(match.group(), match.group()), other.whole)
    both = replace(
        one,
        columns=columns,
        constant_columns=one.constant_columns | other.constant_columns,
        numbers=tuple(dict.fromkeys((*one.numbers, *other.numbers))),
        literals=tuple(dict.fromkeys((*one.literals, *other.literals))),
    )
    return both, f"({one.whole}) IS NOT ({whole})"
