"""Compiles one query into the conditions that its rows must meet together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from text2sql.equivalence.databases.declared import check_conditions
from text2sql.equivalence.databases.plan import Condition, Plan, Query
from text2sql.equivalence.databases.reading.made_up_tables import constant_columns, ends
from text2sql.equivalence.databases.reading.output_conditions import shown_conditions
from text2sql.equivalence.databases.reading.recursions import recursions
from text2sql.equivalence.databases.reading.scopes import Scope, constants_of, slot_in, slot_of
from text2sql.equivalence.databases.reading.windows import note_windows
from text2sql.equivalence.databases.values.candidates import near_literals
from text2sql.equivalence.databases.values.column_values import FLIPPED, derived, neighbours
from text2sql.equivalence.databases.values.type_hints import constant
from text2sql.sql.prepare import parse
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, is_in_same_query, literal_value, outermost_queries
from text2sql.sql.values import Value


class QueryCompiler:
    """Compiles one tree into a plan shared with others.

    Args:
        plan: Added to.
        windows: Whether there are windows in the tree.
    """

    def __init__(self, plan: Plan, *, windows: bool) -> None:
        self.plan, self._windows = plan, windows
        self._views: dict[str, Query] = {}
        # The CTEs that read no table.
        self._made_up: dict[str, exp.CTE] = {}

    def _view(self, name: str) -> Query | None:
        """The query of a view; None where it is no view, or one that sqlglot does not follow."""
        if name not in self._views and name in self.plan.schema.views:
            view = self.plan.schema.views[name]
            # A view that reads itself reads nothing.
            self._views[name] = Query("select")
            tree = parse(view.query)
            if tree is not None:
                self._views[name] = _renamed(self.query(tree, [], {}), [fold(column) for column in view.columns])
        return self._views.get(name)

    def query(self, tree: exp.Expr, outer: list[Scope], ctes: dict[str, Query]) -> Query:
        """Compiles a SELECT or set operation in the scopes around it."""
        ctes = dict(ctes)
        with_ = tree.args.get("with_") or tree.args.get("with")
        for cte in with_.expressions if with_ else ():
            if cte.this is not None:
                ctes[fold(cte.alias)] = self._cte(cte, outer, ctes)
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
            spread = kind != "union" or not tree.args.get("distinct")
            return Query(
                kind, left=left, right=right, projections=left.projections, names=left.names, spread=not spread
            )
        if isinstance(tree, exp.Select):
            return self._select(tree, outer, ctes)
        return Query("select")

    def _cte(self, cte: exp.CTE, outer: list[Scope], ctes: dict[str, Query]) -> Query:
        names = [fold(column.name) for column in (cte.args["alias"].columns if cte.args.get("alias") else ())]
        own, body = fold(cte.alias), cte.this
        constants = constant_columns(body, self._made_up, cte)
        if constants:
            self._made_up[own] = cte
        if isinstance(body, exp.SetOperation) and any(fold(table.name) == own for table in body.find_all(exp.Table)):
            base = _renamed(self.query(body.left, outer, ctes), names)
            base = replace(base, constants=constant_columns(body.left, self._made_up, names=base.names))
            step = self.query(body.right, outer, {**ctes, own: base})
            self.plan.recursions += recursions(self.plan, base, step)
            found = Query("union", left=base, right=step, projections=base.projections, names=base.names)
        else:
            found = _renamed(self.query(body, outer, ctes), names)
        return replace(found, constants=constants)

    def _select(self, tree: exp.Select, outer: list[Scope], ctes: dict[str, Query]) -> Query:
        query, scope = Query("select"), Scope()
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
        conditions += [self._spelt_out(part.this, tree, scopes) for part in (where, having) if part]
        query.condition.parts += [self._condition(condition, scopes, ctes) for condition in conditions]
        self._projections(tree, query, scopes, ctes)
        group = tree.args.get("group")
        for term in group.expressions if group else ():
            query.group += self._grouping(term, tree, scopes)
        if self._windows:
            below = [source for source in scope.values() if isinstance(source, Query)]
            note_windows(self.plan, tree, query, lambda term: self._grouping(term, tree, scopes), below)
        query.spread = bool(group or tree.args.get("distinct"))
        order = tree.args.get("order")
        if order:
            query.condition.parts += self._subqueries(order, scopes, ctes)
        for part in (group, having, order):
            query.condition.parts += self._cases(part, scopes, ctes) if part is not None else []
        self._extremes(tree, scopes)
        self._constraints(query)
        return query

    def _grouping(self, term: exp.Expr, tree: exp.Select, scopes: list[Scope]) -> list[int]:
        """The slots of the columns in one term of GROUP BY, which may be a number or a name of a result column."""
        number = literal_value(term)
        if isinstance(number, int) and 0 < number <= len(tree.expressions):
            term = tree.expressions[number - 1].unalias()
        elif isinstance(term, exp.Column) and self._column(term, scopes) is None:
            named = [item for item in tree.expressions if fold(item.alias_or_name) == fold(term.name)]
            term = named[0].unalias() if named else term
        found = [
            self._column(column, scopes)
            for column in term.find_all(exp.Column)
            if column is term or is_in_same_query(column, term)
        ]
        return list(dict.fromkeys(slot for slot in found if slot is not None))

    def _spelt_out(self, condition: exp.Expr, tree: exp.Select, scopes: list[Scope]) -> exp.Expr:
        """A condition with the names of result columns replaced by what they name."""
        named = {fold(item.alias): item.this for item in tree.expressions if isinstance(item, exp.Alias)}
        if not any(fold(column.name) in named for column in condition.find_all(exp.Column)):
            return condition
        # With a root, so that the condition itself may be replaced.
        copied = exp.Paren(this=condition.copy())
        for column in list(copied.find_all(exp.Column)):
            found = None if column.table else named.get(fold(column.name))
            if found is not None and self._column(column, scopes) is None:
                column.replace(exp.Paren(this=found.copy()))
        return copied

    def _extremes(self, tree: exp.Select, scopes: list[Scope]) -> None:
        """Notes the columns whose smallest or largest value, or whose sum, decides the result."""
        for call in tree.find_all(exp.AggFunc):
            if call.find_ancestor(exp.Select) is not tree or not isinstance(call.this, exp.Expr):
                continue
            slot = self._column(call.this, scopes)
            key = None if slot is None else self.plan.column_of(slot)
            name = f"{call.key} {isinstance(call.this, exp.Distinct)}"
            self.plan.aggregated.setdefault(len(self.plan.queries), set()).add((name, key))
            if key is not None and isinstance(call, exp.Sum):
                self.plan.summed.add(key)
        terms = [node.this for node in tree.find_all(exp.Min, exp.Max) if node.find_ancestor(exp.Select) is tree]
        order = tree.args.get("order")
        terms += [term.this for term in order.expressions] if order and tree.args.get("limit") else []
        for term in terms:
            slot = self._column(term, scopes)
            if slot is not None:
                self.plan.extremes.add(self.plan.column_of(slot))

    def _constraints(self, query: Query) -> None:
        """What CHECKs over several columns say of each instance."""
        for instance in query.instances:
            table = self.plan.schema.tables[self.plan.tables[instance]]
            for check in check_conditions(table):
                query.constraints.append(self._condition(check, [{fold(table.name): instance}], {}))

    def _source(self, node: exp.Expr, scope: Scope, query: Query, outer: list[Scope], ctes: dict[str, Query]) -> None:
        """One item of FROM or JOIN."""
        if isinstance(node, exp.Table):
            name, alias = fold(node.name), fold(node.alias or node.name)
            if name in ctes:
                scope[alias] = ctes[name]
                query.condition.parts.append(Condition("query", query=ctes[name]))
            elif (view := self._view(name)) is not None:
                scope[alias] = view
                query.condition.parts.append(Condition("query", query=view))
            elif name in self.plan.schema.tables:
                self.plan.tables.append(name)
                query.instances.append(len(self.plan.tables) - 1)
                scope[alias] = query.instances[-1]
        elif isinstance(node, exp.Subquery):
            if isinstance(node.this, exp.Table):
                self._source(node.this, scope, query, outer, ctes)
            else:
                inner = self.query(node.this, outer, ctes)
                inner = replace(inner, constants=constant_columns(node.this, self._made_up))
                scope[fold(node.alias or f"#{len(scope)}")] = inner
                query.condition.parts.append(Condition("query", query=inner))
        for join in node.args.get("joins") or ():
            self._source(join.this, scope, query, outer, ctes)
            if join.args.get("on"):
                query.condition.parts.append(self._condition(join.args["on"], [*outer, scope], ctes))

    def _using(self, join: exp.Join, scope: Scope) -> list[Condition]:
        """USING and NATURAL as equalities between the new source and an earlier one."""
        aliases = list(scope)
        this = fold(join.this.alias or join.this.name)
        names = [fold(column.name) for column in join.args.get("using") or ()]
        if join.args.get("method") == "NATURAL" and isinstance(scope.get(this), int):
            names = list(self.plan.schema.tables[self.plan.tables[scope[this]]].columns)  # type: ignore[index]
        parts = []
        for name in names:
            right = slot_in(self.plan, scope.get(this), name)
            for alias in aliases[: aliases.index(this)] if this in aliases else ():
                left = slot_in(self.plan, scope[alias], name)
                if left is not None and right is not None:
                    parts.append(Condition("eq", slots=(left, right)))
                    break
        return parts

    def _projections(self, tree: exp.Select, query: Query, scopes: list[Scope], ctes: dict[str, Query]) -> None:
        for item in tree.expressions:
            inner = item.unalias() if isinstance(item, exp.Alias) else item
            if isinstance(inner, exp.Star) or (isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)):
                alias = fold(inner.table) if isinstance(inner, exp.Column) else None
                for name, source in scopes[-1].items():
                    if alias in (None, name):
                        self._expand(source, query)
                continue
            query.names.append(fold(item.alias_or_name))
            query.projections.append(self._column(inner, scopes, through=True))
            query.condition.parts += self._subqueries(inner, scopes, ctes)
            query.condition.parts += self._cases(inner, scopes, ctes)

    def _cases(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> list[Condition]:
        """The conditions that decide what is shown or counted, and in which order: on some rows they hold."""
        found = shown_conditions(node)
        flags = [total.this for total in node.find_all(exp.Sum) if self._is_flag(self._column(total.this, scopes))]
        found += [exp.EQ(this=flag.copy(), expression=exp.Literal.number(1)) for flag in flags]
        return [Condition("or", [self._condition(condition, scopes, ctes), Condition("and")]) for condition in found]

    def _is_flag(self, slot: int | None) -> bool:
        if slot is None:
            return False
        return self.plan.table(slot).columns[self.plan.slots[slot][1]].kind == "boolean"

    def _expand(self, source: int | Query, query: Query) -> None:
        if isinstance(source, Query):
            query.names += source.names
            query.projections += source.projections
            return
        for column in self.plan.schema.tables[self.plan.tables[source]].columns:
            query.names.append(column)
            query.projections.append(self.plan.slot(source, column))

    def _column(self, node: exp.Expr, scopes: Sequence[Scope], *, through: bool = False) -> int | None:
        return slot_of(self.plan, node, scopes, through=through)

    def _subqueries(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> list[Condition]:
        """Conditions that give the subqueries inside an expression rows to see."""
        return [Condition("query", query=self.query(found, scopes, ctes)) for found in outermost_queries(node)]

    def _condition(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> Condition:
        if isinstance(node, exp.Paren):
            return self._condition(node.this, scopes, ctes)
        if isinstance(node, (exp.And, exp.Or)):
            kind = "and" if isinstance(node, exp.And) else "or"
            return Condition(kind, [self._condition(part, scopes, ctes) for part in node.flatten()])
        if isinstance(node, exp.Not):
            return Condition("not", [self._condition(node.this, scopes, ctes)])
        if type(node) in COMPARISONS:
            return self._comparison(node, scopes, ctes)
        if isinstance(node, exp.Between) and not node.args.get("symmetric"):
            low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
            high = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
            return Condition("and", [self._condition(part, scopes, ctes) for part in (low, high)])
        if isinstance(node, exp.In):
            return self._in(node, scopes, ctes)
        if isinstance(node, exp.Exists):
            return Condition("query", query=self.query(node.this, scopes, ctes))
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            slot = self._column(node.this, scopes)
            if slot is not None:
                return Condition("null", slots=(slot,))
        return self._opaque(node, scopes, ctes)

    def _comparison(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> Condition:
        op, left, right = COMPARISONS[type(node)], node.this, node.expression
        a, b = self._column(left, scopes), self._column(right, scopes)
        if a is not None and b is not None:
            return Condition("eq" if op == "=" else "rel", slots=(a, b), op=op)
        if a is None and b is not None:
            a, left, right, op = b, right, left, FLIPPED[op]
        if a is not None:
            literal = constant(right)
            if literal is not None and not isinstance(left.unnest(), exp.Cast):
                return self._compared(a, op, literal)
            listed = constants_of(right, scopes) if op == "=" and isinstance(right, exp.Column) else ()
            if listed:
                return self._one_of(a, listed, fold(right.name))
            queries = list(outermost_queries(right))
            if len(queries) == 1 and isinstance(right.unnest(), (exp.Subquery, exp.Select)):
                inner = self.query(queries[0], scopes, ctes)
                return Condition("in" if op == "=" else "query", slots=(a,), query=inner)
        return self._opaque(node, scopes, ctes)

    def _compared(self, slot: int, op: str, literal: Value) -> Condition:
        table, column = self.plan.table(slot), self.plan.slots[slot][1]
        candidates = neighbours(literal, table.columns[column].kind)
        return Condition("cmp", slots=(slot,), op=op, literal=literal, candidates=candidates)

    def _one_of(self, slot: int, listed: tuple[Value, ...], name: str) -> Condition:
        """That a column has one of the values of a column that reads no table."""
        near = tuple(dict.fromkeys(ends(listed, self.plan.table(slot).columns[self.plan.slots[slot][1]].kind)))
        return Condition("cmp", slots=(slot,), op="in", literal=listed, candidates=near, of=name)

    def _in(self, node: exp.In, scopes: list[Scope], ctes: dict[str, Query]) -> Condition:
        slot = self._column(node.this, scopes)
        query, field = node.args.get("query"), node.args.get("field")
        # IN may name a table: what is in it.
        named = ctes.get(fold(field.name)) if field is not None else None
        if isinstance(query, exp.Expr) or named is not None:
            if named is not None:
                inner, made_up = named, named.constants
            else:
                assert query is not None
                tree: exp.Expr = query.this if isinstance(query, exp.Subquery) else query
                inner, made_up = self.query(tree, scopes, ctes), constant_columns(tree, self._made_up)
            listed = next(iter(made_up.values()), ())
            if listed and slot is not None:
                return self._one_of(slot, listed, "")
            return Condition("in", slots=() if slot is None else (slot,), query=inner)
        values = [literal_value(item) for item in node.expressions]
        if slot is not None and values and None not in values:
            return Condition("or", [self._compared(slot, "=", value) for value in values])
        return self._opaque(node, scopes, ctes)

    def _opaque(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> Condition:
        """A condition left to SQLite: the values near its literals are tried on the columns in it."""
        own = [column for column in node.find_all(exp.Column) if is_in_same_query(column, node)]
        found = [self._column(column, scopes) for column in own]
        slots = tuple(dict.fromkeys(slot for slot in found if slot is not None))
        queries = self._subqueries(node, scopes, ctes)
        aggregate = node.find(exp.AggFunc) is not None
        decidable = slots and None not in found and not queries and not aggregate
        atom = Condition(
            "func",
            slots=slots,
            candidates=(*self._near(node, slots), *self._listed(own, slots, scopes)),
            expression=_over_slots(node, [slots.index(slot) for slot in found if slot is not None])
            if decidable
            else None,
            op="aggregate" if aggregate else "",
            spelt="" if decidable or aggregate or queries else node.sql(),
        )
        return Condition("and", [atom, *queries]) if queries else atom

    def _listed(self, columns: list[exp.Column], slots: tuple[int, ...], scopes: list[Scope]) -> list[Value]:
        """Values near those of the constants that a condition compares with."""
        kind = self.plan.table(slots[0]).columns[self.plan.slots[slots[0]][1]].kind if slots else "text"
        near = [value for column in columns for value in ends(constants_of(column, scopes), kind)]
        return [value for literal in near for value in derived(literal, kind)]

    def _near(self, node: exp.Expr, slots: tuple[int, ...]) -> tuple[Value, ...]:
        """Values near the literals of a condition, for the columns in it."""
        if not slots:
            return near_literals(node, "text", None)
        column = self.plan.slots[slots[0]][1]
        if column in self.plan.made:
            return tuple(self.plan.made[column])
        return near_literals(node, self.plan.table(slots[0]).columns[column].kind, self.plan.documents.get(column))


def _over_slots(node: exp.Expr, places: list[int]) -> exp.Expr:
    """The condition with its columns called v0, v1, ... by the place of their slot."""
    copied = node.copy()
    for column, place in zip(list(copied.find_all(exp.Column)), places, strict=True):
        name = exp.column(f"v{place}", quoted=False)
        if column is copied:
            return name
        column.replace(name)
    return copied


def _renamed(query: Query, names: list[str]) -> Query:
    """The query under the column names of ``WITH name(a, b)``."""
    if not names:
        return query
    return replace(query, names=names)
