"""Queries as lists of rows that may be there: joins, groups, DISTINCT, set operations, subqueries, CTEs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import z3
from sqlglot import exp

from text2sql.equivalence.proof.database import Database, Row
from text2sql.equivalence.proof.expressions import Column, Expressions, Scope
from text2sql.equivalence.proof.relations import MOST_ROWS, Relation, Sorted, check_size, distinct, only
from text2sql.equivalence.proof.symbols import (
    FALSE,
    TRUE,
    Literals,
    NotModelled,
    Symbol,
    Truth,
    all_same,
    both,
    either,
    no,
)
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value


@dataclass
class _Source:
    """What a FROM gives so far."""

    columns: list[Column]
    rows: list[Row]


class Queries:
    """Evaluates queries on a database.

    Args:
        database: Where the rows of tables are.
        literals: The texts of both queries.
    """

    def __init__(self, database: Database, literals: Literals) -> None:
        self._database = database
        self.expressions = Expressions(literals, self._inside)
        self._ctes: dict[str, Relation] = {}

    def result(self, tree: exp.Expr, outer: Scope | None = None) -> Relation:
        """The result of a query.

        Raises:
            NotModelled: It has something that proofs know nothing of.
        """
        known = self._ctes
        given = tree.args.get("with_") or tree.args.get("with")
        if given is not None:
            if given.args.get("recursive"):
                raise NotModelled("a recursive query")
            self._ctes = dict(known)
            for cte in given.expressions:
                found = self._uncut(self.result(cte.this, outer))
                columns = [fold(column.name) for column in cte.args["alias"].columns]
                self._ctes[fold(cte.alias)] = Relation(columns or found.names, found.rows)
        try:
            if isinstance(tree, exp.SetOperation):
                return self._combined(tree, outer)
            if isinstance(tree, exp.Subquery):
                if any(value for key, value in tree.args.items() if key not in ("this", "alias")):
                    raise NotModelled("a query around a query")
                return self.result(tree.this, outer)
            if not isinstance(tree, exp.Select):
                raise NotModelled(type(tree).__name__)
            return self._selected(tree, outer)
        finally:
            self._ctes = known

    def _inside(self, tree: exp.Expr, scope: Scope) -> list[Row]:
        if isinstance(tree, exp.Subquery):
            return self._inside(tree.this, scope)
        return self._uncut(self.result(tree, scope)).rows

    def _uncut(self, found: Relation) -> Relation:
        if found.sorted.limit is not None or found.sorted.offset:
            raise NotModelled("LIMIT inside")
        return found

    # FROM

    def _from(self, tree: exp.Select, outer: Scope | None) -> _Source:
        clause = tree.args.get("from_") or tree.args.get("from")
        source = _Source([], [Row(TRUE, ())])
        if clause is None:
            return source
        source = self._table(clause.this, outer)
        for join in tree.args.get("joins") or ():
            source = self._joined(source, join, outer)
        return source

    def _table(self, node: exp.Expr, outer: Scope | None) -> _Source:
        if isinstance(node, exp.Table):
            only(node, "this", "alias")
            if isinstance(node.this, exp.Func) or (node.args.get("alias") and node.alias_column_names):
                raise NotModelled("a source of another kind")
            name, alias = fold(node.name), fold(node.alias or node.name)
            if name in self._ctes:
                found = self._ctes[name]
                return _Source([Column(alias, column) for column in found.names], found.rows)
            columns = [Column(alias, column) for column in self._database.columns(name)]
            return _Source(columns, self._database.rows(name))
        if isinstance(node, exp.Subquery) and not node.alias_column_names:
            only(node, "this", "alias")
            found = self._uncut(self.result(node.this, outer))
            return _Source([Column(fold(node.alias), column) for column in found.names], found.rows)
        raise NotModelled("a source of another kind")

    def _joined(self, left: _Source, join: exp.Join, outer: Scope | None) -> _Source:
        only(join, "this", "side", "on", "using")
        right = self._table(join.this, outer)
        side, using = join.side.upper(), [fold(name.name) for name in join.args.get("using") or ()]
        if using and side in ("RIGHT", "FULL"):
            raise NotModelled("USING in such a join")
        columns = [*left.columns, *(replace(c, hidden=c.hidden or c.name in using) for c in right.columns)]
        if len(left.rows) * len(right.rows) > MOST_ROWS:
            raise NotModelled("so many tables")
        met: list[list[Row]] = [
            [self._pair(columns, one, other, join, using, len(left.columns), outer) for other in right.rows]
            for one in left.rows
        ]
        rows = [row for line in met for row in line]
        if side and not (left.rows and right.rows):
            raise NotModelled("an outer join with nothing")
        if side in ("LEFT", "FULL"):
            nothing = tuple(replace(cell, null=TRUE, literal=None) for cell in right.rows[0].cells)
            for one, line in zip(left.rows, met, strict=True):
                alone = both(one.present, no(either(*(row.present for row in line))))
                rows.append(Row(alone, (*one.cells, *nothing), one.origin))
        if side in ("RIGHT", "FULL"):
            nothing = tuple(replace(cell, null=TRUE, literal=None) for cell in left.rows[0].cells)
            for place, other in enumerate(right.rows):
                alone = both(other.present, no(either(*(line[place].present for line in met))))
                rows.append(Row(alone, (*nothing, *other.cells), other.origin))
        return _Source(columns, rows)

    def _pair(
        self,
        columns: list[Column],
        one: Row,
        other: Row,
        join: exp.Join,
        using: list[str],
        width: int,
        outer: Scope | None,
    ) -> Row:
        row = Row(both(one.present, other.present), (*one.cells, *other.cells), one.origin | other.origin)
        condition = Truth(TRUE, FALSE)
        for name in using:
            here = [at for at, c in enumerate(columns[:width]) if c.name == name and not c.hidden]
            there = [at for at, c in enumerate(columns) if at >= width and c.name == name]
            if len(here) != 1 or len(there) != 1:
                raise NotModelled("USING of such a column")
            equal = self.expressions.compare("=", row.cells[here[0]], row.cells[there[0]])
            condition = condition & equal
        if join.args.get("on") is not None:
            condition = condition & self.expressions.truth(join.args["on"], Scope(columns, row, outer))
        return replace(row, present=both(row.present, condition.true))

    # SELECT

    def _selected(self, tree: exp.Select, outer: Scope | None) -> Relation:
        odd = {key for key, value in tree.args.items() if value} - _CLAUSES
        if odd:
            raise NotModelled(", ".join(sorted(odd)))
        source = self._from(tree, outer)
        names, outputs = self._outputs(tree, source)
        aliases = {fold(item.alias): item.this for item in tree.expressions if isinstance(item, exp.Alias)}
        _check_names(tree, source, aliases)
        scopes = [Scope(source.columns, row, outer, aliases=aliases) for row in source.rows]
        scopes = self._filtered(scopes, tree.args.get("where"))
        having = tree.args.get("having")
        grouped = bool(tree.args.get("group"))
        if grouped or any(map(_aggregates, filter(None, [*outputs, having, tree.args.get("order")]))):
            scopes = self._grouped(tree, scopes, outputs, source, outer, aliases)
        elif having is not None:
            raise NotModelled("HAVING without groups")
        scopes = self._filtered(scopes, having)
        rows = [
            replace(scope.row, cells=tuple(self.expressions.value(node, scope) for node in outputs)) for scope in scopes
        ]
        keys, cut = self._order(tree, scopes, outputs, rows)
        if tree.args.get("distinct"):
            if tree.args["distinct"].args.get("on"):
                raise NotModelled("DISTINCT ON")
            shown = [{(cell.term.get_id(), cell.null.get_id()) for cell in row.cells} for row in rows]
            for key, cells in zip(keys, shown, strict=True):
                if any((value.term.get_id(), value.null.get_id()) not in cells for value in key):
                    raise NotModelled("an order by what DISTINCT drops")
            # Rows that are the same have the same keys.
            pairs = zip(rows, keys, strict=True)
            together = distinct([replace(row, cells=(*row.cells, *key)) for row, key in pairs])
            rows = [replace(row, cells=row.cells[: len(outputs)]) for row in together]
            keys = [row.cells[len(outputs) :] for row in together]
        return Relation(names, rows, keys, cut)

    def _filtered(self, scopes: list[Scope], clause: exp.Expr | None) -> list[Scope]:
        """The scopes with what WHERE or HAVING asks of them, without those where that never holds."""
        if clause is None:
            return scopes
        found = []
        for scope in scopes:
            present = both(scope.row.present, self.expressions.truth(clause.this, scope).true)
            if not z3.is_false(present):
                found.append(replace(scope, row=replace(scope.row, present=present)))
        return found

    def _outputs(self, tree: exp.Select, source: _Source) -> tuple[list[str], list[exp.Expr]]:
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

    def _grouped(
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
            nothing = scopes[0].row.cells if scopes else source.rows[0].cells if source.rows else ()
            row = Row(TRUE, nothing)
            return [Scope(source.columns, row, outer, members, aliases)]
        if any(value for key, value in clause.args.items() if key != "expressions"):
            raise NotModelled("GROUP BY of another kind")
        nodes = [_positional(node, outputs) for node in clause.expressions]
        scopes = sorted(scopes, key=lambda scope: sorted(scope.row.origin))
        check_size(len(scopes))
        keys = [tuple(self.expressions.value(node, scope) for node in nodes) for scope in scopes]
        columns = [node for node in nodes if isinstance(node, exp.Column)]
        found_at = [scope.place(fold(node.table), fold(node.name)) for scope in scopes[:1] for node in columns]
        places = frozenset(at for at in found_at if at is not None)
        found = []
        for place, (scope, key) in enumerate(zip(scopes, keys, strict=True)):
            alike = [all_same(key, other) for other in keys]
            first = no(either(*(both(scopes[at].row.present, alike[at]) for at in range(place))))
            row = replace(scope.row, present=both(scope.row.present, first))
            members = [(both(other.row.present, equal), other.row) for other, equal in zip(scopes, alike, strict=True)]
            found.append(replace(scope, row=row, group=members, keys=places))
        return found

    def _order(
        self, tree: exp.Expr, scopes: Sequence[Scope], outputs: list[exp.Expr], rows: list[Row]
    ) -> tuple[list[tuple[Symbol, ...]], Sorted]:
        cut = Sorted((), _number(tree, "limit"), _number(tree, "offset") or 0)
        order = tree.args.get("order")
        if order is None:
            return [() for _ in rows], cut
        directions, nodes = [], []
        for item in order.expressions:
            only(item, "this", "desc", "nulls_first")
            directions.append((bool(item.args.get("desc")), bool(item.args.get("nulls_first"))))
            nodes.append(_positional(item.this, outputs))
        keys = [tuple(self.expressions.value(node, scope) for node in nodes) for scope in scopes]
        return keys, replace(cut, directions=tuple(directions))

    # Set operations

    def _combined(self, tree: exp.SetOperation, outer: Scope | None) -> Relation:
        only(tree, "this", "expression", "distinct", "with", "with_")
        left = self._uncut(self.result(tree.this, outer))
        right = self._uncut(self.result(tree.expression, outer))
        if len(left.names) != len(right.names):
            raise NotModelled("a set operation of different widths")
        one, other = ([replace(r, cells=tuple(c.plain for c in r.cells)) for r in x.rows] for x in (left, right))
        if isinstance(tree, exp.Union):
            rows = [*one, *other]
            rows = distinct(rows) if tree.args.get("distinct") else rows
        else:
            rows = []
            for row in distinct(one):
                met = either(*(both(b.present, all_same(row.cells, b.cells)) for b in other))
                met = met if isinstance(tree, exp.Intersect) else no(met)
                rows.append(replace(row, present=both(row.present, met)))
        return Relation(left.names, rows, [() for _ in rows])


# What a SELECT may have.
_CLAUSES = frozenset(
    ("expressions", "kind", "from", "from_", "joins", "where", "group", "having", "order", "limit", "offset")
) | {"distinct", "with", "with_", "operation_modifiers"}


def _check_names(tree: exp.Select, source: _Source, aliases: dict[str, exp.Expr]) -> None:
    """Raises NotModelled for a name that is a column and, differently, a result: the clause says which is meant."""
    doubtful = {
        name
        for name, node in aliases.items()
        if any(column.name == name for column in source.columns)
        and not (isinstance(node, exp.Column) and fold(node.name) == name)
    }
    clauses = filter(None, map(tree.args.get, ("where", "group", "having", "order")))
    for column in (column for clause in clauses for column in clause.find_all(exp.Column)):
        if not column.table and fold(column.name) in doubtful:
            raise NotModelled("a name with two meanings")


def _aggregates(node: exp.Expr) -> bool:
    """Whether an expression has an aggregate that is not a subquery's."""
    if isinstance(node, exp.AggFunc):
        return True
    if isinstance(node, (exp.Subquery, exp.Exists, exp.Select)):
        return False
    return any(_aggregates(part) for part in node.iter_expressions())


def _positional(node: exp.Expr, outputs: list[exp.Expr]) -> exp.Expr:
    number = literal_value(node) if isinstance(node, exp.Literal) else None
    if number is None:
        return node
    if not isinstance(number, int) or not 1 <= number <= len(outputs):
        raise NotModelled("a constant order")
    return outputs[number - 1]


def _number(tree: exp.Expr, key: str) -> int | None:
    node = tree.args.get(key)
    if node is None:
        return None
    number = literal_value(node.expression)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0 or node.args.get("expressions"):
        raise NotModelled(f"{key.upper()} of another kind")
    return number
