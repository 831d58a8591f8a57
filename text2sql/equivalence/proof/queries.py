"""Evaluates queries symbolically: joins, groups, DISTINCT, set operations, subqueries, CTEs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import z3
from sqlglot import exp

from text2sql.equivalence.proof.database import SymbolicDatabase, SymbolicRow
from text2sql.equivalence.proof.expressions import Column, ExpressionEvaluator, Scope
from text2sql.equivalence.proof.relations import MAX_ROWS, Ordering, Relation, check_size, distinct, require_only
from text2sql.equivalence.proof.symbols import (
    FALSE,
    TRUE,
    Literals,
    NotModelled,
    SymbolicValue,
    Truth,
    all_equal,
    and_,
    not_,
    or_,
)
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value


@dataclass
class _Source:
    """The columns and rows of a FROM clause, or of its first joins."""

    columns: list[Column]
    rows: list[SymbolicRow]


class QueryEvaluator:
    """Evaluates queries on a symbolic database.

    Args:
        database: The database.
        literals: The texts of both queries.

    Attributes:
        expressions: Evaluates the expressions in them.
    """

    def __init__(self, database: SymbolicDatabase, literals: Literals) -> None:
        self._database = database
        self.expressions = ExpressionEvaluator(literals, self._subquery_rows)
        self._ctes: dict[str, Relation] = {}

    def result(self, tree: exp.Expr, outer: Scope | None = None) -> Relation:
        """The result of a query.

        Raises:
            NotModelled: It has something that proofs know nothing of.
        """
        outer_ctes = self._ctes
        clause = tree.args.get("with_") or tree.args.get("with")
        if clause is not None:
            if clause.args.get("recursive"):
                raise NotModelled("a recursive query")
            self._ctes = dict(outer_ctes)
            for cte in clause.expressions:
                relation = self._require_uncut(self.result(cte.this, outer))
                columns = [fold(column.name) for column in cte.args["alias"].columns]
                self._ctes[fold(cte.alias)] = Relation(columns or relation.names, relation.rows)
        try:
            if isinstance(tree, exp.SetOperation):
                return self._set_operation(tree, outer)
            if isinstance(tree, exp.Subquery):
                if any(value for key, value in tree.args.items() if key not in ("this", "alias")):
                    raise NotModelled("a query around a query")
                return self.result(tree.this, outer)
            if not isinstance(tree, exp.Select):
                raise NotModelled(type(tree).__name__)
            return self._select(tree, outer)
        finally:
            self._ctes = outer_ctes

    def _subquery_rows(self, tree: exp.Expr, scope: Scope) -> list[SymbolicRow]:
        if isinstance(tree, exp.Subquery):
            return self._subquery_rows(tree.this, scope)
        return self._require_uncut(self.result(tree, scope)).rows

    def _require_uncut(self, relation: Relation) -> Relation:
        if relation.ordering.limit is not None or relation.ordering.offset:
            raise NotModelled("LIMIT inside")
        return relation

    # FROM

    def _read_from(self, tree: exp.Select, outer: Scope | None) -> _Source:
        clause = tree.args.get("from_") or tree.args.get("from")
        source = _Source([], [SymbolicRow(TRUE, ())])
        if clause is None:
            return source
        source = self._read_source(clause.this, outer)
        for join in tree.args.get("joins") or ():
            source = self._join(source, join, outer)
        return source

    def _read_source(self, node: exp.Expr, outer: Scope | None) -> _Source:
        if isinstance(node, exp.Table):
            require_only(node, "this", "alias")
            if isinstance(node.this, exp.Func) or (node.args.get("alias") and node.alias_column_names):
                raise NotModelled("a source of another kind")
            name, alias = fold(node.name), fold(node.alias or node.name)
            if name in self._ctes:
                relation = self._ctes[name]
                return _Source([Column(alias, column) for column in relation.names], relation.rows)
            columns = [Column(alias, column) for column in self._database.columns(name)]
            return _Source(columns, self._database.rows(name))
        if isinstance(node, exp.Subquery) and not node.alias_column_names:
            require_only(node, "this", "alias")
            relation = self._require_uncut(self.result(node.this, outer))
            return _Source([Column(fold(node.alias), column) for column in relation.names], relation.rows)
        raise NotModelled("a source of another kind")

    def _join(self, left: _Source, join: exp.Join, outer: Scope | None) -> _Source:
        require_only(join, "this", "side", "on", "using")
        right = self._read_source(join.this, outer)
        side, using = join.side.upper(), [fold(name.name) for name in join.args.get("using") or ()]
        if using and side in ("RIGHT", "FULL"):
            raise NotModelled("USING in such a join")
        columns = [*left.columns, *(replace(c, hidden=c.hidden or c.name in using) for c in right.columns)]
        if len(left.rows) * len(right.rows) > MAX_ROWS:
            raise NotModelled("so many tables")
        # joined[i][j] joins the i-th row on the left with the j-th on the right.
        joined: list[list[SymbolicRow]] = [
            [self._join_rows(columns, one, other, join, using, len(left.columns), outer) for other in right.rows]
            for one in left.rows
        ]
        rows = [row for line in joined for row in line]
        if side and not (left.rows and right.rows):
            raise NotModelled("an outer join with nothing")
        if side in ("LEFT", "FULL"):
            nulls = _nulls_like(right.rows[0])
            for one, line in zip(left.rows, joined, strict=True):
                alone = and_(one.present, not_(or_(*(row.present for row in line))))
                rows.append(SymbolicRow(alone, (*one.cells, *nulls), one.origin))
        if side in ("RIGHT", "FULL"):
            nulls = _nulls_like(left.rows[0])
            for index, other in enumerate(right.rows):
                alone = and_(other.present, not_(or_(*(line[index].present for line in joined))))
                rows.append(SymbolicRow(alone, (*nulls, *other.cells), other.origin))
        return _Source(columns, rows)

    def _join_rows(
        self,
        columns: list[Column],
        one: SymbolicRow,
        other: SymbolicRow,
        join: exp.Join,
        using: list[str],
        width: int,
        outer: Scope | None,
    ) -> SymbolicRow:
        row = SymbolicRow(and_(one.present, other.present), (*one.cells, *other.cells), one.origin | other.origin)
        condition = Truth(TRUE, FALSE)
        for name in using:
            left = [i for i, c in enumerate(columns[:width]) if c.name == name and not c.hidden]
            right = [i for i, c in enumerate(columns) if i >= width and c.name == name]
            if len(left) != 1 or len(right) != 1:
                raise NotModelled("USING of such a column")
            condition = condition & self.expressions.compare("=", row.cells[left[0]], row.cells[right[0]])
        if join.args.get("on") is not None:
            condition = condition & self.expressions.truth(join.args["on"], Scope(columns, row, outer))
        return replace(row, present=and_(row.present, condition.true))

    # SELECT

    def _select(self, tree: exp.Select, outer: Scope | None) -> Relation:
        unknown = {key for key, value in tree.args.items() if value} - _CLAUSES
        if unknown:
            raise NotModelled(", ".join(sorted(unknown)))
        source = self._read_from(tree, outer)
        names, outputs = self._expand_outputs(tree, source)
        aliases = {fold(item.alias): item.this for item in tree.expressions if isinstance(item, exp.Alias)}
        _refuse_ambiguous_aliases(tree, source, aliases)
        scopes = [Scope(source.columns, row, outer, aliases=aliases) for row in source.rows]
        scopes = self._filter(scopes, tree.args.get("where"))
        having = tree.args.get("having")
        grouped = bool(tree.args.get("group"))
        if grouped or any(map(_has_aggregate, filter(None, [*outputs, having, tree.args.get("order")]))):
            scopes = self._group(tree, scopes, outputs, source, outer, aliases)
        elif having is not None:
            raise NotModelled("HAVING without groups")
        scopes = self._filter(scopes, having)
        rows = [
            replace(scope.row, cells=tuple(self.expressions.value(node, scope) for node in outputs)) for scope in scopes
        ]
        keys, ordering = self._order(tree, scopes, outputs, rows)
        if tree.args.get("distinct"):
            if tree.args["distinct"].args.get("on"):
                raise NotModelled("DISTINCT ON")
            rows, keys = _distinct_with_keys(rows, keys, len(outputs))
        return Relation(names, rows, keys, ordering)

    def _filter(self, scopes: list[Scope], clause: exp.Expr | None) -> list[Scope]:
        """The scopes with what WHERE or HAVING asks of them, without those where that never holds."""
        if clause is None:
            return scopes
        remaining = []
        for scope in scopes:
            present = and_(scope.row.present, self.expressions.truth(clause.this, scope).true)
            if not z3.is_false(present):
                remaining.append(replace(scope, row=replace(scope.row, present=present)))
        return remaining

    def _expand_outputs(self, tree: exp.Select, source: _Source) -> tuple[list[str], list[exp.Expr]]:
        names, outputs = [], []
        for item in tree.expressions:
            inner = item.this if isinstance(item, exp.Alias) else item
            star = isinstance(inner, exp.Star) or (isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star))
            if not star:
                names.append(fold(item.alias_or_name))
                outputs.append(inner)
                continue
            if any(inner.args.get(key) for key in ("except", "replace", "except_", "rename")):
                raise NotModelled("a star with exceptions")
            table = fold(inner.table) if isinstance(inner, exp.Column) else ""
            for column in source.columns:
                if (column.table == table) if table else not column.hidden:
                    names.append(column.name)
                    outputs.append(exp.column(column.name, table=column.table or None, quoted=True))
        return names, outputs

    def _group(
        self,
        tree: exp.Select,
        scopes: list[Scope],
        outputs: list[exp.Expr],
        source: _Source,
        outer: Scope | None,
        aliases: dict[str, exp.Expr],
    ) -> list[Scope]:
        clause = tree.args.get("group")
        if clause is None:
            members = [(scope.row.present, scope.row) for scope in scopes]
            cells = scopes[0].row.cells if scopes else source.rows[0].cells if source.rows else ()
            row = SymbolicRow(TRUE, cells)
            return [Scope(source.columns, row, outer, members, aliases)]
        if any(value for key, value in clause.args.items() if key != "expressions"):
            raise NotModelled("GROUP BY of another kind")
        nodes = [_resolve_position(node, outputs) for node in clause.expressions]
        scopes = sorted(scopes, key=lambda scope: sorted(scope.row.origin))
        check_size(len(scopes))
        keys = [tuple(self.expressions.value(node, scope) for node in nodes) for scope in scopes]
        columns = [node for node in nodes if isinstance(node, exp.Column)]
        indices = [scope.column_index(fold(node.table), fold(node.name)) for scope in scopes[:1] for node in columns]
        grouped_columns = frozenset(index for index in indices if index is not None)
        # A row stands for its group where no row before it has the same key.
        groups = []
        for index, (scope, key) in enumerate(zip(scopes, keys, strict=True)):
            same_key = [all_equal(key, other) for other in keys]
            first = not_(or_(*(and_(scopes[i].row.present, same_key[i]) for i in range(index))))
            row = replace(scope.row, present=and_(scope.row.present, first))
            members = [(and_(other.row.present, same), other.row) for other, same in zip(scopes, same_key, strict=True)]
            groups.append(replace(scope, row=row, group=members, grouped_columns=grouped_columns))
        return groups

    def _order(
        self, tree: exp.Expr, scopes: Sequence[Scope], outputs: list[exp.Expr], rows: list[SymbolicRow]
    ) -> tuple[list[tuple[SymbolicValue, ...]], Ordering]:
        ordering = Ordering((), _constant(tree, "limit"), _constant(tree, "offset") or 0)
        order = tree.args.get("order")
        if order is None:
            return [() for _ in rows], ordering
        directions, nodes = [], []
        for item in order.expressions:
            require_only(item, "this", "desc", "nulls_first")
            directions.append((bool(item.args.get("desc")), bool(item.args.get("nulls_first"))))
            nodes.append(_resolve_position(item.this, outputs))
        keys = [tuple(self.expressions.value(node, scope) for node in nodes) for scope in scopes]
        return keys, replace(ordering, directions=tuple(directions))

    # Set operations

    def _set_operation(self, tree: exp.SetOperation, outer: Scope | None) -> Relation:
        require_only(tree, "this", "expression", "distinct", "with", "with_")
        left = self._require_uncut(self.result(tree.this, outer))
        right = self._require_uncut(self.result(tree.expression, outer))
        if len(left.names) != len(right.names):
            raise NotModelled("a set operation of different widths")
        one, other = ([replace(r, cells=tuple(c.plain for c in r.cells)) for r in x.rows] for x in (left, right))
        if isinstance(tree, exp.Union):
            rows = [*one, *other]
            rows = distinct(rows) if tree.args.get("distinct") else rows
        else:
            rows = []
            for row in distinct(one):
                in_other = or_(*(and_(b.present, all_equal(row.cells, b.cells)) for b in other))
                condition = in_other if isinstance(tree, exp.Intersect) else not_(in_other)
                rows.append(replace(row, present=and_(row.present, condition)))
        return Relation(left.names, rows, [() for _ in rows])


# What a SELECT may have, as sqlglot calls it.
_CLAUSES = frozenset(
    ("expressions", "kind", "from", "from_", "joins", "where", "group", "having", "order", "limit", "offset")
) | {"distinct", "with", "with_", "operation_modifiers"}


def _nulls_like(row: SymbolicRow) -> tuple[SymbolicValue, ...]:
    """NULLs of the same kinds as the cells of a row, for an outer join."""
    return tuple(replace(cell, null=TRUE, literal=None) for cell in row.cells)


def _distinct_with_keys(
    rows: list[SymbolicRow], keys: list[tuple[SymbolicValue, ...]], width: int
) -> tuple[list[SymbolicRow], list[tuple[SymbolicValue, ...]]]:
    """Distinct rows of so many cells, with the keys that they are sorted by."""
    shown = [{(cell.term.get_id(), cell.null.get_id()) for cell in row.cells} for row in rows]
    for key, cells in zip(keys, shown, strict=True):
        if any((value.term.get_id(), value.null.get_id()) not in cells for value in key):
            raise NotModelled("an order by what DISTINCT drops")
    # Rows that are the same have the same keys.
    with_keys = [replace(row, cells=(*row.cells, *key)) for row, key in zip(rows, keys, strict=True)]
    unique = distinct(with_keys)
    return [replace(row, cells=row.cells[:width]) for row in unique], [row.cells[width:] for row in unique]


def _refuse_ambiguous_aliases(tree: exp.Select, source: _Source, aliases: dict[str, exp.Expr]) -> None:
    """Raises NotModelled for a name that is a column and, differently, a result: the clause says which is meant."""
    ambiguous = {
        name
        for name, node in aliases.items()
        if any(column.name == name for column in source.columns)
        and not (isinstance(node, exp.Column) and fold(node.name) == name)
    }
    clauses = filter(None, map(tree.args.get, ("where", "group", "having", "order")))
    for column in (column for clause in clauses for column in clause.find_all(exp.Column)):
        if not column.table and fold(column.name) in ambiguous:
            raise NotModelled("a name with two meanings")


def _has_aggregate(node: exp.Expr) -> bool:
    """Whether an expression has an aggregate that is not a subquery's."""
    if isinstance(node, exp.AggFunc):
        return True
    if isinstance(node, (exp.Subquery, exp.Exists, exp.Select)):
        return False
    return any(_has_aggregate(part) for part in node.iter_expressions())


def _resolve_position(node: exp.Expr, outputs: list[exp.Expr]) -> exp.Expr:
    number = literal_value(node) if isinstance(node, exp.Literal) else None
    if number is None:
        return node
    if not isinstance(number, int) or not 1 <= number <= len(outputs):
        raise NotModelled("a constant order")
    return outputs[number - 1]


def _constant(tree: exp.Expr, key: str) -> int | None:
    node = tree.args.get(key)
    if node is None:
        return None
    number = literal_value(node.expression)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0 or node.args.get("expressions"):
        raise NotModelled(f"{key.upper()} of another kind")
    return number
