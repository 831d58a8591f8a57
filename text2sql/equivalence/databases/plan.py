"""Compiles query trees into what a generator of rows needs: which rows must exist together for a query to see them.

A `Plan` lists *instances* (one per table reference in a query), *slots* (one column of an instance), and for every
SELECT a condition tree over slots. `scenarios` then draws rows that satisfy a condition, or that fail one part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from text2sql.equivalence.databases.type_hints import column_hints, constant, dates_apart
from text2sql.equivalence.databases.values import FLIPPED, derived, like_expansions, neighbours
from text2sql.sql.ddl import Schema, TableSchema
from text2sql.sql.trees import literal_value, outermost_queries, sums, within
from text2sql.sql.values import Value

_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}


@dataclass
class Condition:
    """A condition: and, or, not over parts; cmp, eq, rel, null, func over slots; query for a subquery with rows."""

    kind: str
    parts: list[Condition] = field(default_factory=list)
    slots: tuple[int, ...] = ()
    op: str = ""
    literal: Any = None
    candidates: tuple[Value, ...] = ()
    query: Query | None = None
    expression: exp.Expr | None = None


@dataclass
class Query:
    """A SELECT with its instances and condition, or a set operation over two queries."""

    kind: str
    instances: list[int] = field(default_factory=list)
    condition: Condition = field(default_factory=lambda: Condition("and"))
    projections: list[int | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    left: Query | None = None
    right: Query | None = None


@dataclass
class Plan:
    """What a pair of queries says about the rows worth having.

    Attributes:
        tables: Of each instance, the lower-case name of its table.
        slots: Each a pair of instance and lower-case column.
        queries: One per tree that could be compiled.
        literals: Every literal of the trees.
        counts: Numbers that rows or groups are counted against, as in HAVING COUNT(*) > 3.
        limits: Numbers of LIMIT.
        hints: By name of a column, values on which the functions around it differ.
        grouped: Whether groups compete: a query groups rows, and sorts or selects by aggregates.
    """

    schema: Schema
    tables: list[str] = field(default_factory=list)
    slots: list[tuple[int, str]] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    literals: list[Value] = field(default_factory=list)
    counts: set[int] = field(default_factory=set)
    limits: set[int] = field(default_factory=set)
    hints: dict[str, list[Value]] = field(default_factory=dict)
    grouped: bool = False
    _index: dict[tuple[int, str], int] = field(default_factory=dict)

    def slot(self, instance: int, column: str) -> int:
        """The number of a slot, made on first use."""
        key = (instance, column)
        if key not in self._index:
            self._index[key] = len(self.slots)
            self.slots.append(key)
        return self._index[key]

    def columns_by_instance(self) -> dict[int, list[tuple[str, int]]]:
        """Of every instance, the columns that are slots, with their numbers."""
        found: dict[int, list[tuple[str, int]]] = {}
        for slot, (instance, column) in enumerate(self.slots):
            found.setdefault(instance, []).append((column, slot))
        return found

    def table(self, slot: int) -> TableSchema:
        """The table of a slot."""
        return self.schema.tables[self.tables[self.slots[slot][0]]]

    def column_of(self, slot: int) -> tuple[str, str]:
        """Table and column of a slot, in lower case."""
        instance, column = self.slots[slot]
        return self.tables[instance], column


# A name in FROM stands for a table instance or for the columns of a subquery.
_Scope = dict[str, "int | Query"]


def compile_plan(schema: Schema, trees: Iterable[exp.Expr]) -> Plan:
    """Builds the plan of all trees; what it does not understand puts no condition on rows."""
    plan = Plan(schema)
    for tree in trees:
        plan.queries.append(_Compiler(plan).query(tree, [], {}))
        for literal in tree.find_all(exp.Literal):
            value = literal_value(literal)
            if value is not None and value not in plan.literals:
                plan.literals.append(value)
        for name, values in column_hints(tree).items():
            plan.hints.setdefault(name, []).extend(values)
        for comparison in tree.find_all(*_COMPARISONS):
            _note_counts(plan, comparison)
        groups = any(select.args.get("group") for select in tree.find_all(exp.Select))
        plan.grouped |= groups and tree.find(exp.Order, exp.Having) is not None
        for limit in tree.find_all(exp.Limit):
            number = literal_value(limit.expression)
            if isinstance(number, int) and 0 <= number <= 1000:
                plan.limits.add(number)
    return plan


def _note_counts(plan: Plan, comparison: exp.Expr) -> None:
    """``COUNT(…) op n`` decides how many rows a group needs."""
    for side, other in ((comparison.this, comparison.expression), (comparison.expression, comparison.this)):
        number = literal_value(other)
        if side.find(exp.Count) and isinstance(number, (int, float)) and 0 <= number <= 10_000:
            plan.counts.add(int(number))


class _Compiler:
    """Compiles one tree into a plan shared with others."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def query(self, tree: exp.Expr, outer: list[_Scope], ctes: dict[str, Query]) -> Query:
        """Compiles a SELECT or set operation in the scopes around it."""
        ctes = dict(ctes)
        with_ = tree.args.get("with_") or tree.args.get("with")
        for cte in with_.expressions if with_ else ():
            if cte.this is not None:
                found = self.query(cte.this, outer, ctes)
                names = [column.name.lower() for column in (cte.args["alias"].columns if cte.args.get("alias") else ())]
                ctes[cte.alias.lower()] = _renamed(found, names)
        if isinstance(tree, (exp.Subquery, exp.Paren)):
            return self.query(tree.this, outer, ctes)
        if isinstance(tree, exp.SetOperation):
            left, right = self.query(tree.left, outer, ctes), self.query(tree.right, outer, ctes)
            kind = (
                "intersect"
                if isinstance(tree, exp.Intersect)
                else "except"
                if isinstance(tree, exp.Except)
                else "union"
            )
            return Query(kind, left=left, right=right, projections=left.projections, names=left.names)
        if isinstance(tree, exp.Select):
            return self._select(tree, outer, ctes)
        return Query("select")

    def _select(self, tree: exp.Select, outer: list[_Scope], ctes: dict[str, Query]) -> Query:
        query, scope = Query("select"), _Scope()
        scopes = [*outer, scope]
        from_ = tree.args.get("from_") or tree.args.get("from")
        joins = tree.args.get("joins") or []
        if from_ is not None:
            self._source(from_.this, scope, query, outer, ctes)
        for join in joins:
            self._source(join.this, scope, query, outer, ctes)
        conditions = [join.args["on"] for join in joins if join.args.get("on")]
        for join in joins:
            query.condition.parts += self._using(join, scope)
        where, having = tree.args.get("where"), tree.args.get("having")
        conditions += [where.this] if where else []
        conditions += [having.this] if having else []
        query.condition.parts += [self._condition(condition, scopes, ctes) for condition in conditions]
        self._projections(tree, query, scopes, ctes)
        group = tree.args.get("group")
        for term in group.expressions if group else ():
            slot = self._column(term, scopes)
            if slot is not None:
                query.group.append(slot)
        order = tree.args.get("order")
        if order:
            query.condition.parts += self._subqueries(order, scopes, ctes)
        return query

    def _source(self, node: exp.Expr, scope: _Scope, query: Query, outer: list[_Scope], ctes: dict[str, Query]) -> None:
        """One item of FROM or JOIN."""
        if isinstance(node, exp.Table):
            name, alias = node.name.lower(), (node.alias or node.name).lower()
            if name in ctes:
                scope[alias] = ctes[name]
                query.condition.parts.append(Condition("query", query=ctes[name]))
            elif name in self.plan.schema.tables:
                self.plan.tables.append(name)
                query.instances.append(len(self.plan.tables) - 1)
                scope[alias] = query.instances[-1]
        elif isinstance(node, exp.Subquery):
            if isinstance(node.this, exp.Table):
                self._source(node.this, scope, query, outer, ctes)
            else:
                inner = self.query(node.this, outer, ctes)
                scope[(node.alias or f"#{len(scope)}").lower()] = inner
                query.condition.parts.append(Condition("query", query=inner))
        for join in node.args.get("joins") or ():
            self._source(join.this, scope, query, outer, ctes)
            if join.args.get("on"):
                query.condition.parts.append(self._condition(join.args["on"], [*outer, scope], ctes))

    def _using(self, join: exp.Join, scope: _Scope) -> list[Condition]:
        """USING and NATURAL as equalities between the new source and an earlier one."""
        aliases = list(scope)
        this = (join.this.alias or join.this.name).lower()
        names = [column.name.lower() for column in join.args.get("using") or ()]
        if join.args.get("method") == "NATURAL" and isinstance(scope.get(this), int):
            names = list(self.plan.schema.tables[self.plan.tables[scope[this]]].columns)  # type: ignore[index]
        parts = []
        for name in names:
            right = self._in_source(scope.get(this), name)
            for alias in aliases[: aliases.index(this)] if this in aliases else ():
                left = self._in_source(scope[alias], name)
                if left is not None and right is not None:
                    parts.append(Condition("eq", slots=(left, right)))
                    break
        return parts

    def _projections(self, tree: exp.Select, query: Query, scopes: list[_Scope], ctes: dict[str, Query]) -> None:
        for item in tree.expressions:
            inner = item.unalias() if isinstance(item, exp.Alias) else item
            if isinstance(inner, exp.Star) or (isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)):
                alias = inner.table.lower() if isinstance(inner, exp.Column) else None
                for name, source in scopes[-1].items():
                    if alias in (None, name):
                        self._expand(source, query)
                continue
            query.names.append(item.alias_or_name.lower())
            query.projections.append(self._column(inner, scopes, through=True))
            query.condition.parts += self._subqueries(inner, scopes, ctes)
            query.condition.parts += [
                Condition("or", [self._condition(case.this, scopes, ctes), Condition("and")])
                for case in inner.find_all(exp.If)
            ]

    def _expand(self, source: int | Query, query: Query) -> None:
        if isinstance(source, Query):
            query.names += source.names
            query.projections += source.projections
            return
        for column in self.plan.schema.tables[self.plan.tables[source]].columns:
            query.names.append(column)
            query.projections.append(self.plan.slot(source, column))

    def _in_source(self, source: int | Query | None, name: str) -> int | None:
        if isinstance(source, Query):
            return source.projections[source.names.index(name)] if name in source.names else None
        if source is not None and name in self.plan.schema.tables[self.plan.tables[source]].columns:
            return self.plan.slot(source, name)
        return None

    def _column(self, node: exp.Expr, scopes: Sequence[_Scope], *, through: bool = False) -> int | None:
        """The slot that an expression names; with ``through``, also inside MAX, MIN, DISTINCT and the like."""
        while isinstance(node, (exp.Paren, exp.Cast, exp.Collate, exp.Distinct)) or (
            through and isinstance(node, (exp.Max, exp.Min, exp.Avg, exp.Sum))
        ):
            node = node.expressions[0] if isinstance(node, exp.Distinct) and node.expressions else node.this
            if node is None:
                return None
        if not isinstance(node, exp.Column):
            return None
        name, table = node.name.lower(), node.table.lower()
        for scope in reversed(scopes):
            sources = [scope[table]] if table in scope else [] if table else list(scope.values())
            for source in sources:
                slot = self._in_source(source, name)
                if slot is not None:
                    return slot
        return None

    def _subqueries(self, node: exp.Expr, scopes: list[_Scope], ctes: dict[str, Query]) -> list[Condition]:
        """Conditions that give the subqueries inside an expression rows to see."""
        return [Condition("query", query=self.query(found, scopes, ctes)) for found in outermost_queries(node)]

    def _condition(self, node: exp.Expr, scopes: list[_Scope], ctes: dict[str, Query]) -> Condition:
        if isinstance(node, exp.Paren):
            return self._condition(node.this, scopes, ctes)
        if isinstance(node, (exp.And, exp.Or)):
            kind = "and" if isinstance(node, exp.And) else "or"
            return Condition(kind, [self._condition(part, scopes, ctes) for part in node.flatten()])
        if isinstance(node, exp.Not):
            return Condition("not", [self._condition(node.this, scopes, ctes)])
        if type(node) in _COMPARISONS:
            return self._comparison(node, scopes, ctes)
        if isinstance(node, exp.In):
            return self._in(node, scopes, ctes)
        if isinstance(node, exp.Exists):
            return Condition("query", query=self.query(node.this, scopes, ctes))
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            slot = self._column(node.this, scopes)
            if slot is not None:
                return Condition("null", slots=(slot,))
        return self._opaque(node, scopes, ctes)

    def _comparison(self, node: exp.Expr, scopes: list[_Scope], ctes: dict[str, Query]) -> Condition:
        op, left, right = _COMPARISONS[type(node)], node.this, node.expression
        a, b = self._column(left, scopes), self._column(right, scopes)
        if a is not None and b is not None:
            return Condition("eq" if op == "=" else "rel", slots=(a, b), op=op)
        if a is None and b is not None:
            a, left, right, op = b, right, left, FLIPPED[op]
        if a is not None:
            literal = constant(right)
            if literal is not None and not isinstance(left.unnest(), exp.Cast):
                return self._compared(a, op, literal)
            queries = list(outermost_queries(right))
            if len(queries) == 1 and isinstance(right.unnest(), (exp.Subquery, exp.Select)):
                inner = self.query(queries[0], scopes, ctes)
                return Condition("in" if op == "=" else "query", slots=(a,), query=inner)
        return self._opaque(node, scopes, ctes)

    def _compared(self, slot: int, op: str, literal: Value) -> Condition:
        table, column = self.plan.table(slot), self.plan.slots[slot][1]
        candidates = neighbours(literal, table.columns[column].kind)
        return Condition("cmp", slots=(slot,), op=op, literal=literal, candidates=candidates)

    def _in(self, node: exp.In, scopes: list[_Scope], ctes: dict[str, Query]) -> Condition:
        slot = self._column(node.this, scopes)
        query = node.args.get("query")
        if query is not None:
            inner = self.query(query.this if isinstance(query, exp.Subquery) else query, scopes, ctes)
            return Condition("in", slots=() if slot is None else (slot,), query=inner)
        values = [literal_value(item) for item in node.expressions]
        if slot is not None and values and None not in values:
            return Condition("or", [self._compared(slot, "=", value) for value in values])
        return self._opaque(node, scopes, ctes)

    def _opaque(self, node: exp.Expr, scopes: list[_Scope], ctes: dict[str, Query]) -> Condition:
        """A condition left to SQLite: the values near its literals are tried on the columns in it."""
        own = [column for column in node.find_all(exp.Column) if within(column, node)]
        slots = tuple(dict.fromkeys(s for s in (self._column(column, scopes) for column in own) if s is not None))
        candidates: list[Value] = []
        literals = [literal_value(item) for item in node.find_all(exp.Literal)]
        domain = "text"
        if slots:
            domain = self.plan.table(slots[0]).columns[self.plan.slots[slots[0]][1]].kind
        candidates += dates_apart(node)
        for value in [*literals, *sums(literals)]:
            candidates += derived(value, domain)
        for like in node.find_all(exp.Like):
            pattern = literal_value(like.expression)
            candidates += like_expansions(pattern) if isinstance(pattern, str) else ()
        queries = self._subqueries(node, scopes, ctes)
        aggregate = node.find(exp.AggFunc) is not None
        atom = Condition(
            "func",
            slots=slots,
            candidates=tuple(dict.fromkeys(candidates)),
            expression=node if len(slots) == 1 and not queries else None,
            op="aggregate" if aggregate else "",
        )
        return Condition("and", [atom, *queries]) if queries else atom


def _renamed(query: Query, names: list[str]) -> Query:
    """The query under the column names of ``WITH name(a, b)``."""
    if not names:
        return query
    return Query(
        query.kind,
        query.instances,
        query.condition,
        query.projections,
        names,
        query.group,
        query.left,
        query.right,
    )
