"""Which columns share their values, which values those are, and which of them make a condition true.

Columns that the queries compare with each other, and foreign keys with what they point at, draw from one *domain*: else
joins would find no rows. A domain's values lie near the literals that the queries compare its columns with; besides,
there are ordinary values for each type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.equivalence.databases.column_constraints import ColumnConstraints, is_storable, suits_kind
from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.joint_conditions import JointConditions
from text2sql.equivalence.databases.plan import Condition, Plan, atoms, query_tree
from text2sql.equivalence.databases.probe import ConditionProbe
from text2sql.equivalence.databases.samples import Group
from text2sql.equivalence.databases.values.candidates import with_equality
from text2sql.equivalence.databases.values.column_values import ordinary_values
from text2sql.equivalence.databases.values.comparisons import holds, stored_as
from text2sql.equivalence.databases.values.json_documents import documents
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Row, Value

# By kind of a column, values below and above all ordinary ones; the first that its CHECKs allow is taken.
_EXTREMES: dict[str, tuple[tuple[Value, ...], tuple[Value, ...]]] = {
    "integer": ((-1000, 0, 1), (100_000, 1000, 50)),
    "real": ((-1000.5, 0.0), (100_000.5, 1000.0)),
    "date": (("1900-01-01",), ("2999-12-31",)),
    "datetime": (("1900-01-01 00:00:00",), ("2999-12-31 00:00:00",)),
    "time": (("00:00:00",), ("23:59:59",)),
    "text": (("!", ""), ("~~", "zzz")),
    "any": (("!", -1000), ("~~", "zzz")),
}
# Which kind a domain has whose columns are of several: numbers win over dates, and these over text.
_KIND_RANK = {
    "any": 0,
    "json": 0,
    "text": 1,
    "boolean": 2,
    "time": 3,
    "moment": 3,
    "datetime": 4,
    "date": 5,
    "real": 6,
    "integer": 7,
}
# Values near the literals that are tried on a condition over one column, and ordinary ones.
_TRIED_LITERALS = 40
_TRIED_ORDINARY = 6


@dataclass
class Domain:
    """The values of columns that are compared with each other.

    Attributes:
        kind: The kind of the values, see `text2sql.sql.schema.Column.kind`.
        literals: Values near the literals of the queries.
    """

    kind: str
    literals: list[Value] = field(default_factory=list)


class Domains:
    """The values of the columns of a pair's tables.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for.
        probe: Asks SQLite about conditions and expressions.

    Attributes:
        columns: The columns of the tables.
        nullable: Those of them that may be NULL.
        constraints: Which values the columns may hold.
        of: The domain of each column.
    """

    def __init__(self, plan: Plan, tables: Mapping[str, TableSchema], probe: ConditionProbe) -> None:
        self._plan, self._probe = plan, probe
        self._choices: dict[tuple[int, bool], list[Value]] = {}
        self._pools: dict[tuple[ColumnKey, int, int], list[Value]] = {}
        self._literals: dict[ColumnKey, list[Value]] = {}
        self.columns = {(name, key): column for name, table in tables.items() for key, column in table.columns.items()}
        primary = {(name, key) for name, table in tables.items() for key in table.primary_key}
        self.nullable = {key for key, column in self.columns.items() if not column.not_null} - primary
        self.constraints = _constraints(plan, tables, self.columns, probe)
        self.of = _domains(plan, tables, self.constraints.kinds)
        _add_literals(plan, tables, self.of)
        self._joint = JointConditions(plan, probe, self)

    # -- what SQLite says

    def evaluate(self, expressions: Sequence[str], key: ColumnKey, values: Sequence[Value]) -> list[Row] | None:
        """What expressions over v0 make of values of a column; None where SQLite does not say."""
        return self._probe.evaluate(expressions, [self.columns[key]], [(value,) for value in values])

    def evaluate_rows(
        self, expressions: Sequence[str], keys: Sequence[ColumnKey], rows: Sequence[Row]
    ) -> list[Row] | None:
        """What expressions over v0, v1, ... make of rows of values of some columns; None where SQLite does not say."""
        return self._probe.evaluate(expressions, [self.columns[key] for key in keys], rows)

    def evaluate_groups(
        self, expressions: Sequence[str], keys: Sequence[ColumnKey], groups: Sequence[Group], *, per_row: bool
    ) -> list[Row] | None:
        """What expressions with aggregates over v0, v1, ... make of groups of rows, see `ConditionProbe.grouped`."""
        return self._probe.grouped(expressions, [self.columns[key] for key in keys], groups, per_row=per_row)

    # -- values of a column

    def literals(self, key: ColumnKey) -> list[Value]:
        """Values near the literals of the queries that a column may hold."""
        if key not in self._literals:
            literals = self.of[key].literals
            allowed = self.constraints.allowed(key, literals)
            self._literals[key] = list(dict.fromkeys([*allowed, *self.constraints.texts_around(key, literals)]))
        return self._literals[key]

    def pool(self, key: ColumnKey, style: int, size: int) -> list[Value]:
        """Ordinary values for a column; fewer than asked for where its CHECKs allow no more.

        Args:
            key: The column.
            style: See `column_values.ordinary_values`.
            size: How many different values.
        """
        arguments = key, style, size
        if arguments not in self._pools:
            self._pools[arguments] = self._pool(key, style, size)
        return self._pools[arguments]

    def _pool(self, key: ColumnKey, style: int, size: int) -> list[Value]:
        values = self.constraints.allowed(key, self._unconstrained_pool(key, style, size))
        from_checks = self.constraints.values_from_checks(key)
        if from_checks:
            # What its CHECKs name is what the column holds.
            values = list(dict.fromkeys([*from_checks, *values]))
            stride = max(1, len(values) // max(1, size))
            values = values[style % stride :: stride] if style % 2 else values[:size]
        if values:
            return values
        kind = self.constraints.kinds[key]
        fallback = ordinary_values("text" if kind in ("json", "any", "moment") else kind, style, size)
        return self.literals(key)[:size] or self.constraints.allowed(key, fallback)

    def _unconstrained_pool(self, key: ColumnKey, style: int, size: int) -> Sequence[Value]:
        kind, facts = self.constraints.kinds[key], self._plan.columns
        if kind == "json" and key[1] in facts.structured_values:
            # A few of the values where few are asked for, so that they repeat; others in each style.
            values = facts.structured_values[key[1]]
            stride = max(1, len(values) // max(2, size))
            return values[style % stride :: stride]
        if kind == "json":
            return documents(facts.json_paths.get(key[1], ()), self._plan.literals)
        return ordinary_values(self.of[key].kind if kind in ("text", "any") else kind, style, size)

    def extreme(self, key: ColumnKey, *, low: bool) -> Value:
        """A value below (or above) all ordinary ones of a column; None if it may hold none."""
        lowest, highest = _EXTREMES.get(self.constraints.kinds[key], ((), ()))
        allowed = self.constraints.allowed(key, lowest if low else highest)
        return allowed[0] if allowed else None

    def outliers(self, key: ColumnKey) -> tuple[list[Value], Value, Value]:
        """Ordinary values of a column, one below all of them and one above."""
        pool = self.pool(key, 0, 12) or [None]
        low, high = self.extreme(key, low=True), self.extreme(key, low=False)
        return list(pool), pool[0] if low is None else low, pool[-1] if high is None else high

    def start_values(self, key: ColumnKey) -> list[Value]:
        """Values with which a progression of values of a column may begin."""
        return [value for value in (*self.pool(key, 0, 2), *self.literals(key)[:6]) if value is not None]

    def growing_values(self, key: ColumnKey) -> list[Value]:
        """Values of a column in ascending order; two of a column that holds no numbers."""
        if key not in self.columns:
            return []
        numeric = self.constraints.kinds[key] in ("integer", "real")
        return self.constraints.allowed(key, range(1, 10)) if numeric else sorted(self.pool(key, 0, 2), key=str)

    def visible_values(self, query: int, key: ColumnKey, values: Sequence[Value]) -> list[Value]:
        """Those of some values that a column may hold and that no condition of a query leaves out."""
        visible = self.constraints.allowed(key, values)
        for node in atoms(self._plan.queries[query]):
            if len(node.slots) != 1 or self._plan.column_of(node.slots[0]) != key or not visible:
                continue
            if node.kind == "compare":
                visible = [value for value in visible if self.satisfies(node, True, value)]
            elif node.kind == "expression" and node.expression is not None and not node.over_groups:
                truth = self._probe.truth(node.expression, self.columns[key], visible) or [True] * len(visible)
                visible = [value for value, true in zip(visible, truth, strict=True) if true]
        return visible

    # -- values for conditions

    def choices(self, node: Condition, want: bool) -> list[Value]:
        """Values for the column of a condition that make it true, or not true."""
        key = (id(node), want)
        if key not in self._choices:
            self._sort_candidates(node)
        return self._choices[key]

    def _sort_candidates(self, node: Condition) -> None:
        """Sorts values for a condition over one column into those that satisfy it and those that do not."""
        key = self._plan.column_of(node.slots[0])
        own = self.constraints.allowed(key, filter(is_storable, node.candidates))
        near = [*own, *self.literals(key)[:_TRIED_LITERALS], *self.pool(key, 0, _TRIED_ORDINARY)]
        candidates = tuple(dict.fromkeys([*near, *self.constraints.values_from_checks(key)]))
        truth: Sequence[bool | None] | None = None
        if node.kind == "compare":
            affinity = self.columns[key].affinity
            truth = [holds(value, node.op, node.literal, affinity) for value in candidates]
        elif node.expression is not None and not node.over_groups:
            candidates, truth = self._boundary_first(node.expression, key, candidates)
        if truth is None:
            self._choices[id(node), True] = self._choices[id(node), False] = list(candidates)
            return
        pairs = list(zip(candidates, truth, strict=True))
        self._choices[id(node), True] = [value for value, true in pairs if true]
        self._choices[id(node), False] = [value for value, true in pairs if not true]

    def _boundary_first(
        self, condition: exp.Expr, key: ColumnKey, candidates: tuple[Value, ...]
    ) -> tuple[tuple[Value, ...], list[bool | None] | None]:
        """The candidates, those on which both sides are equal first, and whether the condition holds on each."""
        expressions = with_equality(condition)
        results = self.evaluate(expressions, key, candidates)
        if results is None:
            return candidates, None
        pairs = list(zip(candidates, results, strict=True))
        if len(expressions) > 1:
            pairs.sort(key=lambda pair: not pair[1][1])
        truth = [None if row[0] is None else bool(row[0]) for _, row in pairs]
        return tuple(value for value, _ in pairs), truth

    def joint_rows(self, node: Condition, want: bool) -> list[Row]:
        """Rows of values for the columns of a condition that make it true, or not true; see `JointConditions`."""
        return self._joint.rows(node, want)

    def satisfies(self, node: Condition, want: bool, value: Value) -> bool:
        """Whether a value is known to make another condition on the same column (not) true."""
        if node.kind == "compare":
            affinity = self.columns[self._plan.column_of(node.slots[0])].affinity
            return holds(value, node.op, node.literal, affinity) == want
        return stored_as(value, "BLOB") in self.choices(node, want)


def _constraints(
    plan: Plan, tables: Mapping[str, TableSchema], columns: Iterable[ColumnKey], probe: ConditionProbe
) -> ColumnConstraints:
    gold = [
        (plan.column_of(node.slots[0]), node)
        for query in plan.queries[:1]
        for node in atoms(query)
        if len(node.slots) == 1
    ]
    facts = plan.columns
    documented = [key for key in columns if key[1] in facts.json_paths or key[1] in facts.structured_values]
    return ColumnConstraints(tables, gold, documented, probe.truth, facts.fractional)


class _ColumnSets:
    """Sets of columns that are compared with each other (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[ColumnKey, ColumnKey] = {}

    def find(self, key: ColumnKey) -> ColumnKey:
        """The column that stands for the set of one."""
        while self._parent.get(key, key) != key:
            key = self._parent[key]
        return key

    def unite(self, a: ColumnKey, b: ColumnKey) -> None:
        """Makes one set of those of two columns."""
        a, b = self.find(a), self.find(b)
        if a != b:
            self._parent[b] = a


def _domains(plan: Plan, tables: Mapping[str, TableSchema], kinds: Mapping[ColumnKey, str]) -> dict[ColumnKey, Domain]:
    """The domain of each column: one for all columns that share their values."""
    sets = _ColumnSets()
    for a, b in _compared_slots(plan):
        if a is not None and b is not None:
            sets.unite(plan.column_of(a), plan.column_of(b))
    for name, table in tables.items():
        for reference in table.foreign_keys:
            if reference.parent in tables:
                for child, parent in zip(reference.columns, reference.parent_columns, strict=True):
                    sets.unite((name, child), (reference.parent, parent))
    by_set: dict[ColumnKey, Domain] = {}
    domains: dict[ColumnKey, Domain] = {}
    for key, kind in kinds.items():
        domain = by_set.setdefault(sets.find(key), Domain(kind))
        domain.kind = max(domain.kind, kind, key=lambda kind: _KIND_RANK[kind])
        domains[key] = domain
    return domains


def _compared_slots(plan: Plan) -> Iterable[tuple[int | None, int | None]]:
    """The pairs of slots that the queries compare with each other."""
    for query in plan.queries:
        for part in query_tree(query):
            if part.left and part.right:
                # Set operations compare their columns by position.
                yield from zip(part.left.projections, part.right.projections, strict=False)
    for query in plan.queries:
        for node in atoms(query):
            if node.kind in ("equal", "relate"):
                a, b = node.slots
                yield a, b
            elif node.kind in ("in", "exists") and node.slots and node.subquery and node.subquery.projections:
                yield node.slots[0], node.subquery.projections[0]


def _add_literals(plan: Plan, tables: Mapping[str, TableSchema], domains: Mapping[ColumnKey, Domain]) -> None:
    """Gives every domain the values on which functions of its columns differ, and the candidates of conditions."""
    for key, domain in domains.items():
        hints = plan.columns.hints.get(key[1], ())
        domain.literals += [v for v in hints if v not in domain.literals and _may_enter(v, domain.kind)]
        if tables[key[0]].full_text:
            domain.literals += plan.full_text_phrases
    for node in (node for query in plan.queries for node in atoms(query)):
        for domain in (domains[key] for key in map(plan.column_of, node.slots) if key in domains):
            domain.literals += [v for v in node.candidates if v not in domain.literals and is_storable(v)]


def _may_enter(value: Value, kind: str) -> bool:
    return suits_kind(value, kind) and is_storable(value)
