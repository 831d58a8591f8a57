"""Which columns share values, and which of those values make a condition true."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.equivalence.databases.declared import Declared, fits, suits
from text2sql.equivalence.databases.documents import documents
from text2sql.equivalence.databases.meetings import Meeting, meetings
from text2sql.equivalence.databases.plan import ColumnKey, Condition, Plan, Query, atoms, subqueries
from text2sql.equivalence.databases.probe import ConditionProbe
from text2sql.equivalence.databases.type_hints import shifted
from text2sql.equivalence.databases.values import holds, moments, ordinary, stored_as
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.trees import COMPARISONS, to_sqlite
from text2sql.sql.values import Row, Value

# Rows tried on a condition over several columns, and how many that satisfy it (or do not) are kept.
_MOST_TRIED, _MOST_JOINT = 700, 24
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
        self._joint: dict[tuple[int, bool], list[Row]] = {}
        self._pools: dict[tuple[ColumnKey, int, int], list[Value]] = {}
        self._literals: dict[ColumnKey, list[Value]] = {}
        self.of: dict[ColumnKey, Domain] = {}
        self._columns = {(name, key): column for name, table in tables.items() for key, column in table.columns.items()}
        conditions = [node for query in plan.queries for node in atoms(query)]
        gold = [
            (plan.column_of(node.slots[0]), node)
            for query in plan.queries[:1]
            for node in atoms(query)
            if len(node.slots) == 1
        ]
        documented = [key for key in self._columns if key[1] in plan.documents]
        self.declared = Declared(tables, gold, documented, probe.truth)
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
        self.meetings = self._meetings()

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

    def _meetings(self) -> list[Meeting]:
        if not self._plan.functions and not any(column.collation for column in self._columns.values()):
            return []
        pools = {key: [*self.pool(key, 0, 4), *self.literals(key)[:8]] for key in self._columns}
        return meetings(self._plan, self.declared, self._columns, pools, self._ask)

    def _ask(self, expressions: Sequence[str], column: Column, values: Sequence[Value]) -> list[Row] | None:
        return self._probe.evaluate(expressions, [column], [(value,) for value in values])

    # -- values that suit a column

    def literals(self, key: ColumnKey) -> list[Value]:
        """Values near the literals of the queries that a column may hold."""
        if key not in self._literals:
            self._literals[key] = self.declared.fitting(key, self.of[key].literals)
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
        if kind == "json":
            found: list[Value] = documents(self._plan.documents.get(key[1], ()), self._plan.literals)
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
        candidates = tuple(dict.fromkeys([*own, *self.literals(key)[:40], *self.pool(key, 0, 6)]))
        truth: Sequence[bool | None] | None = None
        if node.kind == "cmp":
            truth = [holds(value, node.op, node.literal, column.affinity) for value in candidates]
        elif node.expression is not None and node.op != "aggregate":
            truth = self._probe.truth(node.expression, column, candidates)
        if truth is None:
            self._choices[id(node), True] = self._choices[id(node), False] = list(candidates)
            return
        pairs = list(zip(candidates, truth, strict=True))
        self._choices[id(node), True] = [value for value, true in pairs if true]
        self._choices[id(node), False] = [value for value, true in pairs if not true]

    def joint(self, node: Condition, want: bool) -> list[Row]:
        """Rows of values for the columns of a condition that make it true, or not true; its boundary first."""
        key = (id(node), want)
        if key not in self._joint:
            self._solve(node)
        return self._joint[key]

    def _solve(self, node: Condition) -> None:
        self._joint[id(node), True] = self._joint[id(node), False] = []
        keys = [self._plan.column_of(slot) for slot in node.slots]
        if node.expression is None or not 2 <= len(keys) <= 3 or any(key not in self._columns for key in keys):
            return
        each = int(_MOST_TRIED ** (1 / len(keys)))
        rows = list(itertools.product(*(self._tried(key, node)[:each] for key in keys)))
        expressions = [to_sqlite(node.expression)]
        if type(node.expression) in COMPARISONS:
            left, right = node.expression.this.copy(), node.expression.expression.copy()
            expressions.append(to_sqlite(exp.EQ(this=left, expression=right)))
        found = self._probe.evaluate(expressions, [self._columns[key] for key in keys], rows) if rows else None
        for want in (True, False):
            pairs = list(zip(rows, found or (), strict=False))
            good = [(row, result[-1]) for row, result in pairs if bool(result[0]) == want]
            edge = [row for row, equal in good if equal][: _MOST_JOINT // 2] if len(expressions) > 1 else []
            rest = [row for row, _ in good if row not in edge]
            self._joint[id(node), want] = [*edge, *rest[:: max(1, len(rest) // (_MOST_JOINT // 2))]]

    def _tried(self, key: ColumnKey, node: Condition) -> list[Value]:
        """Values of one column for conditions over several."""
        kind, numbers = self.declared.kinds[key], [v for v in self._plan.literals if isinstance(v, int)]
        found: Iterable[Value] = self.pool(key, 0, 12)
        if kind in ("date", "datetime"):
            base = ["2010-03-30", "2001-01-01"]
            found = [day for text in base for day in (text, *apart(text, numbers, kind))]
        elif kind in ("integer", "real"):
            near = self.declared.fitting(key, node.candidates)
            found = [*near[:6], *range(1, 14), 0, -1, -3, *(number for number in near[6:10])]
            found = [*found, *([0.5, 2.5, -1.5] if kind == "real" else ())]
        else:
            found = [*self.literals(key)[:8], *found]
        return self.declared.fitting(key, dict.fromkeys(found))

    def satisfies(self, node: Condition, want: bool, value: Value) -> bool:
        """Whether a value is known to make another condition on the same column (not) true."""
        if node.kind == "cmp":
            affinity = self._columns[self._plan.column_of(node.slots[0])].affinity
            return holds(value, node.op, node.literal, affinity) == want
        return stored_as(value, "BLOB") in self.choices(node, want)


def apart(text: str, numbers: Sequence[int], kind: str) -> list[str]:
    """Dates, or moments, as many days before and after one as the queries' numbers say."""
    days = [step for number in numbers[:2] if 0 < number < 50_000 for step in (number, number + 1, number - 1, -number)]
    found = [day for step in [1, *days] if (day := shifted(text, step))]
    return found if kind == "date" else [moment for day in [text, *found] for moment in moments(day, kind)[:2]]
