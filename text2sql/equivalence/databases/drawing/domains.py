"""Which columns share values, and which of those values make a condition true."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sqlglot import exp

from text2sql.equivalence.databases.boundaries import Boundary, parting
from text2sql.equivalence.databases.concatenations import concatenated_samples
from text2sql.equivalence.databases.declared import Declared, fits, suits
from text2sql.equivalence.databases.differences.collisions import Collision, collisions
from text2sql.equivalence.databases.differences.read_numbers import number_samples
from text2sql.equivalence.databases.differences.rival_expressions import rival_samples
from text2sql.equivalence.databases.differences.rival_groups import rival_group_samples
from text2sql.equivalence.databases.differences.row_conditions import row_samples
from text2sql.equivalence.databases.differences.running_sums import running_samples
from text2sql.equivalence.databases.differences.separate_rows import separate_row_samples
from text2sql.equivalence.databases.differences.sweeps import sweep_samples
from text2sql.equivalence.databases.drawing.joint import JointConditions
from text2sql.equivalence.databases.plan import ColumnKey, Condition, Plan, Query, atoms, subqueries
from text2sql.equivalence.databases.probe import ConditionProbe
from text2sql.equivalence.databases.reaches import reach_samples
from text2sql.equivalence.databases.samples import Group, Sample, boundary_samples, parting_samples
from text2sql.equivalence.databases.values.candidates import with_equality
from text2sql.equivalence.databases.values.column_values import holds, ordinary, stored_as
from text2sql.equivalence.databases.values.json_documents import documents
from text2sql.equivalence.databases.values.time_spans import apart
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.values import Row, Value

# Comparisons of one query with those of another.
_MOST_PAIRS = 4
_EXTREMES: dict[str, tuple[tuple[Value, ...], tuple[Value, ...]]] = {
    "integer": ((-1000, 0, 1), (100_000, 1000, 50)),
    "real": ((-1000.5, 0.0), (100_000.5, 1000.0)),
    "date": (("1900-01-01",), ("2999-12-31",)),
    "datetime": (("1900-01-01 00:00:00",), ("2999-12-31 00:00:00",)),
    "time": (("00:00:00",), ("23:59:59",)),
    "text": (("!", ""), ("~~", "zzz")),
    "any": (("!", -1000), ("~~", "zzz")),
}


@dataclass
class Domain:
    """Columns that are compared with each other draw from the same values."""

    kind: str
    literals: list[Value] = field(default_factory=list)


class Domains:
    """Groups the columns of the used tables into domains, and sorts candidates into those that satisfy a condition.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for.
        probe: Evaluates conditions that are more than a plain comparison.
    """

    def __init__(self, plan: Plan, tables: dict[str, TableSchema], probe: ConditionProbe) -> None:
        self._plan = plan
        self._probe = probe
        self._parent: dict[ColumnKey, ColumnKey] = {}
        self._choices: dict[tuple[int, bool], list[Value]] = {}
        self._pools: dict[tuple[ColumnKey, int, int], list[Value]] = {}
        self._literals: dict[ColumnKey, list[Value]] = {}
        self.of: dict[ColumnKey, Domain] = {}
        self._columns = {(name, key): column for name, table in tables.items() for key, column in table.columns.items()}
        self._nullable = {key for key, c in self._columns.items() if not c.not_null}
        self._nullable -= {(name, key) for name, table in tables.items() for key in table.primary_key}
        conditions = [node for query in plan.queries for node in atoms(query)]
        gold = [
            (plan.column_of(node.slots[0]), node)
            for query in plan.queries[:1]
            for node in atoms(query)
            if len(node.slots) == 1
        ]
        documented = [key for key in self._columns if key[1] in plan.documents or key[1] in plan.made]
        self.declared = Declared(tables, gold, documented, probe.truth, plan.fractional)
        self._joints = JointConditions(plan, probe, self._columns, self)
        for query in plan.queries:
            self._unite_query(query)
        for node in conditions:
            self._unite_atom(node)
        for name, table in tables.items():
            for reference in table.foreign_keys:
                if reference.parent in tables:
                    for child, parent in zip(reference.columns, reference.parent_columns, strict=True):
                        self._unite((name, child), (reference.parent, parent))
        self._name()
        self._collect(conditions, tables)
        self.collisions, self.samples = self._collisions()
        self.samples += self._boundary_samples() if any(plan.boundaries) else []
        if plan.rivals:
            pools = {key: self.pool(key, 0, 6) for key in self._columns}
            self.samples += rival_samples(plan, self.declared, self._columns, pools, self._ask)
        if plan.readings:
            self.samples += number_samples(plan, self.declared, self._columns, self.seen, self._ask)
        self.samples += running_samples(plan, self._columns, self.declared.fitting, self.bases) if plan.running else []
        self.samples += row_samples(plan, self.declared, self._columns, self.literals, self._ask)
        self.samples += separate_row_samples(plan, self, self._nullable)
        self.samples += rival_group_samples(plan, self._steps)
        counted = [threshold.number for threshold in plan.thresholds if threshold.grouped]
        self.samples += reach_samples(plan.reaches, counted, plan.literals, self) if plan.reaches else []
        self.samples += concatenated_samples(plan.concatenations, self._columns, self.declared.fitting, plan.reader)
        self.samples += sweep_samples(plan, self.declared, self._columns)
        # Where CHECKs leave nothing of what was tried, there is nothing to show.
        self.samples = [samples for samples in self.samples if all(sample.rows for sample in samples)]

    def _find(self, key: ColumnKey) -> ColumnKey:
        while self._parent.get(key, key) != key:
            key = self._parent[key]
        return key

    def _unite(self, a: ColumnKey, b: ColumnKey) -> None:
        a, b = self._find(a), self._find(b)
        if a != b:
            self._parent[b] = a

    def _unite_slots(self, a: int | None, b: int | None) -> None:
        if a is not None and b is not None:
            self._unite(self._plan.column_of(a), self._plan.column_of(b))

    def _unite_query(self, query: Query) -> None:
        """Set operations compare their columns by position."""
        for part in subqueries(query):
            if part.left and part.right:
                for a, b in zip(part.left.projections, part.right.projections, strict=False):
                    self._unite_slots(a, b)

    def _unite_atom(self, node: Condition) -> None:
        if node.kind in ("eq", "rel"):
            self._unite_slots(*node.slots)
        elif node.kind in ("in", "query") and node.slots and node.query and node.query.projections:
            self._unite_slots(node.slots[0], node.query.projections[0])

    def _name(self) -> None:
        """Makes one `Domain` per group; where a group mixes types, numbers win over text."""
        rank = {"any": 0, "json": 0, "text": 1, "boolean": 2, "time": 3, "moment": 3, "datetime": 4, "date": 5}
        rank |= {"real": 6, "integer": 7}
        groups: dict[ColumnKey, Domain] = {}
        for key in self._columns:
            kind = self.declared.kinds[key]
            domain = groups.setdefault(self._find(key), Domain(kind))
            domain.kind = max(domain.kind, kind, key=lambda kind: rank[kind])
            self.of[key] = domain

    def _collect(self, conditions: list[Condition], tables: dict[str, TableSchema]) -> None:
        """Gives every domain the candidates of the conditions on its columns, and those on which functions differ."""
        for key, domain in self.of.items():
            hints = self._plan.hints.get(key[1], ())
            domain.literals += [v for v in hints if v not in domain.literals and suits(v, domain.kind) and fits(v)]
            if tables[key[0]].full_text:
                domain.literals += self._plan.phrases
        for node in conditions:
            for slot in node.slots:
                found = self.of.get(self._plan.column_of(slot))
                if found is not None:
                    found.literals += [v for v in node.candidates if v not in found.literals and fits(v)]

    def _collisions(self) -> tuple[list[Collision], list[tuple[Sample, ...]]]:
        if not self._plan.functions and not any(column.collation for column in self._columns.values()):
            return [], []
        pools = {key: [*self.pool(key, 0, 4), *self.literals(key)[:8]] for key in self._columns}
        return collisions(self._plan, self.declared, self._columns, pools, self._ask)

    def _boundary_samples(self) -> list[tuple[Sample, ...]]:
        found: list[tuple[Sample, ...]] = []
        first, *others = self._plan.boundaries
        pairs = [(a, b) for other in others for a in first for b in other][:_MOST_PAIRS]
        # The comparisons of one condition are parts of the same whole.
        partings = {both[1]: both for both in filter(None, itertools.starmap(parting, pairs))}
        for boundary, unlike in partings.values():
            found += self._sampled(0, boundary, unlike)
        known: dict[tuple[object, ...], list[tuple[Sample, ...]]] = {}
        for number, own in enumerate(self._plan.boundaries):
            for boundary in own:
                if boundary.counting:
                    continue
                # Comparisons that differ in their operator alone have one boundary.
                sides = boundary.equal, boundary.columns, boundary.numbers
                if sides not in known:
                    known[sides] = self._sampled(number, boundary, "")
                found += [tuple(replace(sample, query=number) for sample in samples) for samples in known[sides]]
        return list(dict.fromkeys(found))

    @cached_property
    def telling(self) -> list[tuple[Sample, ...]]:
        """Databases on which the gold query's comparisons over groups hold: without them it may find nothing."""
        found = [samples for boundary in self._plan.asked for samples in self._sampled(0, boundary, "")]
        return [samples for samples in found if any(sample.holds for sample in samples)]

    def _sampled(self, number: int, boundary: Boundary, unlike: str) -> list[tuple[Sample, ...]]:
        if any(key not in self._columns for key in boundary.columns):
            return []
        pools = {key: [*self._near(key, boundary)[:9], *self.pool(key, 0, 6)] for key in boundary.columns}
        rows = [node for node in atoms(self._plan.queries[number]) if node.kind == "cmp"]

        def meets(key: ColumnKey, value: Value) -> bool:
            return all(self.satisfies(node, True, value) for node in rows if self._plan.column_of(node.slots[0]) == key)

        def fitting(key: ColumnKey, values: Iterable[Value]) -> list[Value]:
            return [value for value in self.declared.fitting(key, values) if value is not None or key in self._nullable]

        def ask(texts: Sequence[str], boundary: Boundary, groups: Sequence[Group]) -> list[Row] | None:
            columns = [self._columns[key] for key in boundary.columns]
            return self._probe.grouped(texts, columns, groups, ranked=boundary.ranked)

        if unlike:
            return parting_samples(number, boundary, unlike, pools, fitting, meets, ask)
        return boundary_samples(number, boundary, pools, fitting, meets, ask)

    def _steps(self, key: ColumnKey) -> list[Value]:
        """Values of a column that grow; two of one that is no number."""
        if key not in self._columns:
            return []
        numeric = self.declared.kinds[key] in ("integer", "real")
        return self.declared.fitting(key, range(1, 10)) if numeric else sorted(self.pool(key, 0, 2), key=str)

    # -- values for long partitions, see `reaches.Values`

    def bases(self, key: ColumnKey) -> list[Value]:
        """Where a run of values of a column may begin."""
        return [value for value in (*self.pool(key, 0, 2), *self.literals(key)[:6]) if value is not None]

    def seen(self, query: int, key: ColumnKey, values: Sequence[Value]) -> list[Value]:
        """Those of some values that a column may hold and that a query does not leave out."""
        good = self.declared.fitting(key, values)
        for node in atoms(self._plan.queries[query]):
            if len(node.slots) != 1 or self._plan.column_of(node.slots[0]) != key or not good:
                continue
            if node.kind == "cmp":
                good = [value for value in good if self.satisfies(node, True, value)]
            elif node.kind == "func" and node.expression is not None and node.op != "aggregate":
                truth = self._probe.truth(node.expression, self._columns[key], good)
                good = [value for value, true in zip(good, truth or [True] * len(good), strict=True) if true]
        return good

    def standing_out(self, key: ColumnKey) -> tuple[list[Value], Value, Value]:
        """Ordinary values of a column, one below all of them and one above."""
        pool = self.pool(key, 0, 12) or [None]
        low, high = self.extreme(key, low=True), self.extreme(key, low=False)
        return list(pool), pool[0] if low is None else low, pool[-1] if high is None else high

    def _near(self, key: ColumnKey, boundary: Boundary) -> list[Value]:
        """Values of a column near what a comparison asks; of dates such as are that far apart."""
        kind = self.declared.kinds[key]
        if kind in ("date", "datetime") and boundary.numbers:
            # Days and years take turns.
            days = apart("2010-03-30", list(boundary.numbers), "date")
            half = len(days) // 2
            mixed = itertools.chain.from_iterable(zip(days[1:half], days[half + 1 :], strict=False))
            found = ["2010-03-30", *itertools.islice(mixed, 8)]
            clock = " 00:00:00" if kind == "datetime" else ""
            return [*(day + clock for day in found), *self.literals(key)[:3]]
        return self.literals(key)

    def _ask(self, expressions: Sequence[str], column: Column, values: Sequence[Value]) -> list[Row] | None:
        return self._probe.evaluate(expressions, [column], [(value,) for value in values])

    def evaluate(self, expressions: Sequence[str], keys: Sequence[ColumnKey], rows: Sequence[Row]) -> list[Row] | None:
        """What expressions over v0, v1, ... come to on rows of values of some columns; None if SQLite does not say."""
        return self._probe.evaluate(expressions, [self._columns[key] for key in keys], rows)

    # -- values that suit a column

    def nullable(self, key: ColumnKey) -> bool:
        """Whether a column may be NULL."""
        return key in self._nullable

    def literals(self, key: ColumnKey) -> list[Value]:
        """Values near the literals of the queries that a column may hold."""
        if key not in self._literals:
            found = self.declared.fitting(key, self.of[key].literals)
            self._literals[key] = list(dict.fromkeys([*found, *self.declared.beginning(key, self.of[key].literals)]))
        return self._literals[key]

    def pool(self, key: ColumnKey, style: int, size: int) -> list[Value]:
        """Ordinary values for a column; fewer than asked for where its CHECKs allow no more.

        Args:
            key: The column.
            style: See `values.ordinary`.
            size: How many different values.
        """
        at = key, style, size
        if at not in self._pools:
            self._pools[at] = self._pool(key, style, size)
        return self._pools[at]

    def _pool(self, key: ColumnKey, style: int, size: int) -> list[Value]:
        kind = self.declared.kinds[key]
        if kind == "json" and key[1] in self._plan.made:
            found: list[Value] = self._some(self._plan.made[key[1]], style, size)
        elif kind == "json":
            found = documents(self._plan.documents.get(key[1], ()), self._plan.literals)
        elif kind in ("text", "any"):
            found = list(ordinary(self.of[key].kind, style, size))
        else:
            found = list(ordinary(kind, style, size))
        found = self.declared.fitting(key, found)
        checked = self.declared.checked(key)
        if checked:
            # What its CHECKs name is what the column holds.
            found = list(dict.fromkeys([*checked, *found]))
            step = max(1, len(found) // max(1, size))
            found = found[style % step :: step] if style % 2 else found[:size]
        if found:
            return found
        fallback = ordinary("text" if kind in ("json", "any", "moment") else kind, style, size)
        return self.literals(key)[:size] or self.declared.fitting(key, fallback)

    @staticmethod
    def _some(made: Sequence[Value], style: int, size: int) -> list[Value]:
        """Few of the values where few are asked for, so that they come up again; others in each style."""
        step = max(1, len(made) // max(2, size))
        return list(made[style % step :: step])

    def extreme(self, key: ColumnKey, *, low: bool) -> Value:
        """A value below (or above) all ordinary ones of a column; None if it may hold none."""
        lowest, highest = _EXTREMES.get(self.declared.kinds[key], ((), ()))
        found = self.declared.fitting(key, lowest if low else highest)
        return found[0] if found else None

    # -- values for conditions

    def choices(self, node: Condition, want: bool) -> list[Value]:
        """Values for the column of a condition that make it true, or not true."""
        key = (id(node), want)
        if key not in self._choices:
            self._sort(node)
        return self._choices[key]

    def _sort(self, node: Condition) -> None:
        key = self._plan.column_of(node.slots[0])
        column = self._columns[key]
        own = self.declared.fitting(key, filter(fits, node.candidates))
        near = [*own, *self.literals(key)[:40], *self.pool(key, 0, 6), *self.declared.checked(key)]
        candidates = tuple(dict.fromkeys(near))
        truth: Sequence[bool | None] | None = None
        if node.kind == "cmp":
            truth = [holds(value, node.op, node.literal, column.affinity) for value in candidates]
        elif node.expression is not None and node.op != "aggregate":
            candidates, truth = self._boundary_first(node.expression, column, candidates)
        if truth is None:
            self._choices[id(node), True] = self._choices[id(node), False] = list(candidates)
            return
        pairs = list(zip(candidates, truth, strict=True))
        self._choices[id(node), True] = [value for value, true in pairs if true]
        self._choices[id(node), False] = [value for value, true in pairs if not true]

    def _boundary_first(
        self, condition: exp.Expr, column: Column, candidates: tuple[Value, ...]
    ) -> tuple[tuple[Value, ...], list[bool | None] | None]:
        """Whether a condition holds on each of some values; those on which both sides are equal come first."""
        expressions = with_equality(condition)
        found = self._probe.evaluate(expressions, [column], [(value,) for value in candidates])
        if found is None:
            return candidates, None
        pairs = list(zip(candidates, found, strict=True))
        if len(expressions) > 1:
            pairs.sort(key=lambda pair: not pair[1][1])
        truth = [None if row[0] is None else bool(row[0]) for _, row in pairs]
        return tuple(value for value, _ in pairs), truth

    def joint(self, node: Condition, want: bool) -> list[Row]:
        """Rows of values for the columns of a condition that make it true, or not true; see `JointConditions`."""
        return self._joints.rows(node, want)

    def satisfies(self, node: Condition, want: bool, value: Value) -> bool:
        """Whether a value is known to make another condition on the same column (not) true."""
        if node.kind == "cmp":
            affinity = self._columns[self._plan.column_of(node.slots[0])].affinity
            return holds(value, node.op, node.literal, affinity) == want
        return stored_as(value, "BLOB") in self.choices(node, want)
