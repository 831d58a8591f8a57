"""Compiles one query into the conditions that its rows must satisfy together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from text2sql.equivalence.databases.column_constraints import multi_column_checks
from text2sql.equivalence.databases.plan import Condition, Plan, Query
from text2sql.equivalence.databases.reading.constant_tables import constant_columns, values_at_ends
from text2sql.equivalence.databases.reading.output_conditions import output_conditions
from text2sql.equivalence.databases.reading.recursions import find_recursions
from text2sql.equivalence.databases.reading.scopes import Scope, constants_of, slot_in, slot_of
from text2sql.equivalence.databases.reading.windows import note_windows
from text2sql.equivalence.databases.values.candidates import near_literals
from text2sql.equivalence.databases.values.column_values import argument_values, neighbours
from text2sql.equivalence.databases.values.comparisons import FLIPPED
from text2sql.equivalence.databases.values.function_hints import constant_value
from text2sql.sql.prepare import parse
from text2sql.sql.tokens import fold
from text2sql.sql.trees import COMPARISONS, is_in_same_query, literal_value, outermost_queries, replace_columns
from text2sql.sql.values import Value


class QueryCompiler:
    """Compiles the syntax tree of one query into a plan that the pair's queries share.

    Args:
        plan: Added to.
        windows: Whether there are windows in the tree.
    """

    def __init__(self, plan: Plan, *, windows: bool) -> None:
        self.plan, self._windows = plan, windows
        # The queries of views, by lower-case name.
        self._views: dict[str, Query] = {}
        # The CTEs that read no table, by lower-case name.
        self._constant_ctes: dict[str, exp.CTE] = {}

    def _view(self, name: str) -> Query | None:
        """The query of a view; None where it is no view, or one that sqlglot does not parse."""
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
            return self._set_operation(tree, outer, ctes)
        if isinstance(tree, exp.Select):
            return self._select(tree, outer, ctes)
        return Query("select")

    def _set_operation(self, tree: exp.SetOperation, outer: list[Scope], ctes: dict[str, Query]) -> Query:
        left, right = self.query(tree.left, outer, ctes), self.query(tree.right, outer, ctes)
        query = Query("union", left=left, right=right, projections=left.projections, column_names=left.column_names)
        if isinstance(tree, exp.Intersect):
            return replace(query, kind="intersect")
        if isinstance(tree, exp.Except):
            return replace(query, kind="except")
        return replace(query, one_row_per_group=bool(tree.args.get("distinct")))

    def _cte(self, cte: exp.CTE, outer: list[Scope], ctes: dict[str, Query]) -> Query:
        names = [fold(column.name) for column in (cte.args["alias"].columns if cte.args.get("alias") else ())]
        alias, body = fold(cte.alias), cte.this
        constants = constant_columns(body, self._constant_ctes, cte)
        if constants:
            self._constant_ctes[alias] = cte
        if isinstance(body, exp.SetOperation) and any(fold(table.name) == alias for table in body.find_all(exp.Table)):
            base = _renamed(self.query(body.left, outer, ctes), names)
            base = replace(base, constants=constant_columns(body.left, self._constant_ctes, names=base.column_names))
            step = self.query(body.right, outer, {**ctes, alias: base})
            self.plan.recursion.recursions += find_recursions(self.plan, base, step)
            query = Query("union", left=base, right=step, projections=base.projections, column_names=base.column_names)
        else:
            query = _renamed(self.query(body, outer, ctes), names)
        return replace(query, constants=constants)

    def _select(self, tree: exp.Select, outer: list[Scope], ctes: dict[str, Query]) -> Query:
        query, scope = Query("select"), Scope()
        scopes = [*outer, scope]
        from_ = tree.args.get("from_") or tree.args.get("from")
        joins = tree.args.get("joins") or []
        if from_ is not None:
            self._add_source(from_.this, scope, query, outer, ctes)
        for join in joins:
            self._add_source(join.this, scope, query, outer, ctes)
        conditions = [join.args["on"] for join in joins if join.args.get("on")]
        for join in joins:
            query.condition.parts += self._using(join, scope)
        where, having = tree.args.get("where"), tree.args.get("having")
        conditions += [self._with_aliases_expanded(part.this, tree, scopes) for part in (where, having) if part]
        query.condition.parts += [self._condition(condition, scopes, ctes) for condition in conditions]
        self._projections(tree, query, scopes, ctes)
        group = tree.args.get("group")
        for term in group.expressions if group else ():
            query.group_by += self._grouping_slots(term, tree, scopes)
        if self._windows:
            sources = [source for source in scope.values() if isinstance(source, Query)]
            note_windows(self.plan, tree, query, lambda term: self._grouping_slots(term, tree, scopes), sources)
        query.one_row_per_group = bool(group or tree.args.get("distinct"))
        order = tree.args.get("order")
        if order:
            query.condition.parts += self._subqueries(order, scopes, ctes)
        for part in (group, having, order):
            query.condition.parts += self._output_conditions(part, scopes, ctes) if part is not None else []
        self._note_aggregates(tree, scopes)
        self._note_extremes(tree, scopes)
        self._add_checks(query)
        return query

    def _grouping_slots(self, term: exp.Expr, tree: exp.Select, scopes: list[Scope]) -> list[int]:
        """The slots of the columns in one term of GROUP BY, which may be a number or a name of a result column."""
        number = literal_value(term)
        if isinstance(number, int) and 0 < number <= len(tree.expressions):
            term = tree.expressions[number - 1].unalias()
        elif isinstance(term, exp.Column) and self._column(term, scopes) is None:
            items = [item for item in tree.expressions if fold(item.alias_or_name) == fold(term.name)]
            term = items[0].unalias() if items else term
        columns = (column for column in term.find_all(exp.Column) if column is term or is_in_same_query(column, term))
        slots = [self._column(column, scopes) for column in columns]
        return list(dict.fromkeys(slot for slot in slots if slot is not None))

    def _with_aliases_expanded(self, condition: exp.Expr, tree: exp.Select, scopes: list[Scope]) -> exp.Expr:
        """A condition with the aliases of result columns replaced by their expressions."""
        aliases = {fold(item.alias): item.this for item in tree.expressions if isinstance(item, exp.Alias)}
        if not any(fold(column.name) in aliases for column in condition.find_all(exp.Column)):
            return condition
        # With a root, so that the condition itself may be replaced.
        copied = exp.Paren(this=condition.copy())
        for column in list(copied.find_all(exp.Column)):
            expression = None if column.table else aliases.get(fold(column.name))
            if expression is not None and self._column(column, scopes) is None:
                column.replace(exp.Paren(this=expression.copy()))
        return copied

    def _note_aggregates(self, tree: exp.Select, scopes: list[Scope]) -> None:
        """Notes the aggregates of a SELECT with the columns that they are of, and the columns that are summed."""
        for call in tree.find_all(exp.AggFunc):
            if call.find_ancestor(exp.Select) is not tree or not isinstance(call.this, exp.Expr):
                continue
            slot = self._column(call.this, scopes)
            key = None if slot is None else self.plan.column_of(slot)
            name = f"{call.key} {isinstance(call.this, exp.Distinct)}"
            self.plan.groups.aggregates.setdefault(len(self.plan.queries), set()).add((name, key))
            if key is not None and isinstance(call, exp.Sum):
                self.plan.groups.summed_columns.add(key)

    def _note_extremes(self, tree: exp.Select, scopes: list[Scope]) -> None:
        """Notes the columns whose smallest or largest value decides the result."""
        terms = [node.this for node in tree.find_all(exp.Min, exp.Max) if node.find_ancestor(exp.Select) is tree]
        order = tree.args.get("order")
        terms += [term.this for term in order.expressions] if order and tree.args.get("limit") else []
        for term in terms:
            slot = self._column(term, scopes)
            if slot is not None:
                self.plan.groups.extreme_columns.add(self.plan.column_of(slot))

    def _add_checks(self, query: Query) -> None:
        """Adds what CHECKs over several columns say of each instance."""
        for instance in query.instances:
            table = self.plan.schema.tables[self.plan.tables[instance]]
            for check in multi_column_checks(table):
                query.checks.append(self._condition(check, [{fold(table.name): instance}], {}))

    def _add_source(
        self, node: exp.Expr, scope: Scope, query: Query, outer: list[Scope], ctes: dict[str, Query]
    ) -> None:
        """Adds one item of FROM or JOIN."""
        if isinstance(node, exp.Table):
            name, alias = fold(node.name), fold(node.alias or node.name)
            if name in ctes:
                scope[alias] = ctes[name]
                query.condition.parts.append(Condition("exists", subquery=ctes[name]))
            elif (view := self._view(name)) is not None:
                scope[alias] = view
                query.condition.parts.append(Condition("exists", subquery=view))
            elif name in self.plan.schema.tables:
                self.plan.tables.append(name)
                query.instances.append(len(self.plan.tables) - 1)
                scope[alias] = query.instances[-1]
        elif isinstance(node, exp.Subquery):
            if isinstance(node.this, exp.Table):
                self._add_source(node.this, scope, query, outer, ctes)
            else:
                inner = self.query(node.this, outer, ctes)
                inner = replace(inner, constants=constant_columns(node.this, self._constant_ctes))
                scope[fold(node.alias or f"#{len(scope)}")] = inner
                query.condition.parts.append(Condition("exists", subquery=inner))
        for join in node.args.get("joins") or ():
            self._add_source(join.this, scope, query, outer, ctes)
            if join.args.get("on"):
                query.condition.parts.append(self._condition(join.args["on"], [*outer, scope], ctes))

    def _using(self, join: exp.Join, scope: Scope) -> list[Condition]:
        """USING and NATURAL as equalities between the new source and an earlier one."""
        aliases = list(scope)
        this = fold(join.this.alias or join.this.name)
        names = [fold(column.name) for column in join.args.get("using") or ()]
        if join.args.get("method") == "NATURAL" and isinstance(scope.get(this), int):
            names = list(self.plan.schema.tables[self.plan.tables[scope[this]]].columns)  # type: ignore[index]
        conditions = []
        for name in names:
            right = slot_in(self.plan, scope.get(this), name)
            for alias in aliases[: aliases.index(this)] if this in aliases else ():
                left = slot_in(self.plan, scope[alias], name)
                if left is not None and right is not None:
                    conditions.append(Condition("equal", slots=(left, right)))
                    break
        return conditions

    def _projections(self, tree: exp.Select, query: Query, scopes: list[Scope], ctes: dict[str, Query]) -> None:
        """Adds the result columns of a SELECT, and the conditions in them."""
        for item in tree.expressions:
            inner = item.unalias() if isinstance(item, exp.Alias) else item
            if isinstance(inner, exp.Star) or (isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)):
                alias = fold(inner.table) if isinstance(inner, exp.Column) else None
                for name, source in scopes[-1].items():
                    if alias in (None, name):
                        self._expand_star(source, query)
                continue
            query.column_names.append(fold(item.alias_or_name))
            query.projections.append(self._column(inner, scopes, through=True))
            query.condition.parts += self._subqueries(inner, scopes, ctes)
            query.condition.parts += self._output_conditions(inner, scopes, ctes)

    def _output_conditions(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> list[Condition]:
        """The conditions that decide what is shown or counted, and in which order: on some rows they hold."""
        conditions = output_conditions(node)
        flags = [total.this for total in node.find_all(exp.Sum) if self._is_flag(self._column(total.this, scopes))]
        conditions += [exp.EQ(this=flag.copy(), expression=exp.Literal.number(1)) for flag in flags]
        return [Condition("or", [self._condition(own, scopes, ctes), Condition("and")]) for own in conditions]

    def _is_flag(self, slot: int | None) -> bool:
        """Whether a column holds truth values, so that its sum counts rows."""
        return slot is not None and self.plan.kind_of(slot) == "boolean"

    def _expand_star(self, source: int | Query, query: Query) -> None:
        """Adds all columns of a source to the result columns."""
        if isinstance(source, Query):
            query.column_names += source.column_names
            query.projections += source.projections
            return
        for column in self.plan.schema.tables[self.plan.tables[source]].columns:
            query.column_names.append(column)
            query.projections.append(self.plan.slot(source, column))

    def _column(self, node: exp.Expr, scopes: Sequence[Scope], *, through: bool = False) -> int | None:
        return slot_of(self.plan, node, scopes, through=through)

    def _subqueries(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> list[Condition]:
        """Conditions that give the subqueries inside an expression rows to see."""
        return [Condition("exists", subquery=self.query(query, scopes, ctes)) for query in outermost_queries(node)]

    def _condition(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> Condition:
        if isinstance(node, exp.Paren):
            return self._condition(node.this, scopes, ctes)
        if isinstance(node, (exp.And, exp.Or)):
            parts = [self._condition(part, scopes, ctes) for part in node.flatten()]
            return Condition("and" if isinstance(node, exp.And) else "or", parts)
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
            return Condition("exists", subquery=self.query(node.this, scopes, ctes))
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            slot = self._column(node.this, scopes)
            if slot is not None:
                return Condition("null", slots=(slot,))
        return self._expression(node, scopes, ctes)

    def _comparison(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> Condition:
        op, left, right = COMPARISONS[type(node)], node.this, node.expression
        a, b = self._column(left, scopes), self._column(right, scopes)
        if a is not None and b is not None:
            return Condition("equal" if op == "=" else "relate", slots=(a, b), op=op)
        if a is None and b is not None:
            a, left, right, op = b, right, left, FLIPPED[op]
        if a is not None:
            literal = constant_value(right)
            if literal is not None and not isinstance(left.unnest(), exp.Cast):
                return self._compare(a, op, literal)
            listed = constants_of(right, scopes) if op == "=" and isinstance(right, exp.Column) else ()
            if listed:
                return self._one_of(a, listed, fold(right.name))
            queries = list(outermost_queries(right))
            if len(queries) == 1 and isinstance(right.unnest(), (exp.Subquery, exp.Select)):
                inner = self.query(queries[0], scopes, ctes)
                return Condition("in" if op == "=" else "exists", slots=(a,), subquery=inner)
        return self._expression(node, scopes, ctes)

    def _compare(self, slot: int, op: str, literal: Value) -> Condition:
        """A comparison of a column with a literal."""
        candidates = neighbours(literal, self.plan.kind_of(slot))
        return Condition("compare", slots=(slot,), op=op, literal=literal, candidates=candidates)

    def _one_of(self, slot: int, values: tuple[Value, ...], name: str) -> Condition:
        """That a column has one of the values of a column that reads no table, which is called ``name``."""
        candidates = tuple(dict.fromkeys(values_at_ends(values, self.plan.kind_of(slot))))
        return Condition(
            "compare", slots=(slot,), op="in", literal=values, candidates=candidates, constants_column=name
        )

    def _in(self, node: exp.In, scopes: list[Scope], ctes: dict[str, Query]) -> Condition:
        slot = self._column(node.this, scopes)
        query, field = node.args.get("query"), node.args.get("field")
        # IN may name a CTE: its rows are meant.
        named = ctes.get(fold(field.name)) if field is not None else None
        if isinstance(query, exp.Expr) or named is not None:
            if named is not None:
                subquery, constants = named, named.constants
            else:
                assert query is not None
                tree: exp.Expr = query.this if isinstance(query, exp.Subquery) else query
                subquery, constants = self.query(tree, scopes, ctes), constant_columns(tree, self._constant_ctes)
            values = next(iter(constants.values()), ())
            if values and slot is not None:
                return self._one_of(slot, values, "")
            return Condition("in", slots=() if slot is None else (slot,), subquery=subquery)
        literals = [literal_value(item) for item in node.expressions]
        if slot is not None and literals and None not in literals:
            return Condition("or", [self._compare(slot, "=", literal) for literal in literals])
        return self._expression(node, scopes, ctes)

    def _expression(self, node: exp.Expr, scopes: list[Scope], ctes: dict[str, Query]) -> Condition:
        """A condition left to SQLite: the values near its literals are tried on the columns in it."""
        columns = [column for column in node.find_all(exp.Column) if is_in_same_query(column, node)]
        column_slots = [self._column(column, scopes) for column in columns]
        slots = tuple(dict.fromkeys(slot for slot in column_slots if slot is not None))
        subqueries = self._subqueries(node, scopes, ctes)
        over_groups = node.find(exp.AggFunc) is not None
        decidable = slots and None not in column_slots and not subqueries and not over_groups
        indices = [slots.index(slot) for slot in column_slots if slot is not None]
        atom = Condition(
            "expression",
            slots=slots,
            candidates=(*self._near_literals(node, slots), *self._near_constants(columns, slots, scopes)),
            expression=_over_slots(node, indices) if decidable else None,
            over_groups=over_groups,
            source_text="" if decidable or over_groups or subqueries else node.sql(),
        )
        return Condition("and", [atom, *subqueries]) if subqueries else atom

    def _near_constants(
        self, columns: Sequence[exp.Column], slots: tuple[int, ...], scopes: list[Scope]
    ) -> list[Value]:
        """Values near the constants that a condition compares with, those of columns that read no table."""
        kind = self.plan.kind_of(slots[0]) if slots else "text"
        near = [value for column in columns for value in values_at_ends(constants_of(column, scopes), kind)]
        return [value for constant in near for value in argument_values(constant, kind)]

    def _near_literals(self, node: exp.Expr, slots: tuple[int, ...]) -> tuple[Value, ...]:
        """Values near the literals of a condition, for the columns in it."""
        if not slots:
            return near_literals(node, "text", None)
        column, facts = self.plan.slots[slots[0]][1], self.plan.columns
        if column in facts.structured_values:
            return tuple(facts.structured_values[column])
        return near_literals(node, self.plan.kind_of(slots[0]), facts.json_paths.get(column))


def _over_slots(node: exp.Expr, indices: Sequence[int]) -> exp.Expr:
    """A copy of a condition with its columns called v0, v1, ... by the index of their slot."""
    remaining = iter(indices)
    return replace_columns(node, lambda _: exp.column(f"v{next(remaining)}"))


def _renamed(query: Query, names: list[str]) -> Query:
    """The query under the column names of ``WITH name(a, b)``."""
    if not names:
        return query
    return replace(query, column_names=names)
