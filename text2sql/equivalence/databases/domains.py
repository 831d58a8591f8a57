"""Which columns share values, and which of those values make a condition true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from text2sql.equivalence.databases.plan import Condition, Plan, Query
from text2sql.equivalence.databases.values import holds, ordinary, stored_as
from text2sql.sql.ddl import TableSchema
from text2sql.sql.values import Value

ColumnKey = tuple[str, str]
# Characters of a value.
_LONGEST = 2000
# For a condition over one column and candidate values: on which of them it is true (None: cannot say).
Probe = Callable[[Condition, str, tuple[Value, ...]], "list[bool] | None"]


@dataclass
class Domain:
    """Columns that are compared with each other draw from the same values."""

    kind: str
    literals: list[Value] = field(default_factory=list)

    def values(self, style: int, size: int) -> list[Value]:
        """Ordinary values of the domain."""
        return list(ordinary(self.kind, style, size))


class Domains:
    """Groups the columns of the used tables into domains, and sorts candidates into those that satisfy a condition.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for.
        probe: Evaluates conditions that are more than a plain comparison.
    """

    def __init__(self, plan: Plan, tables: dict[str, TableSchema], probe: Probe) -> None:
        self._plan = plan
        self._probe = probe
        self._parent: dict[ColumnKey, ColumnKey] = {}
        self._choices: dict[tuple[int, bool], list[Value]] = {}
        self.of: dict[ColumnKey, Domain] = {}
        atoms = [node for query in plan.queries for node in _atoms(query)]
        for query in plan.queries:
            self._unite_query(query)
        for node in atoms:
            self._unite_atom(node)
        for name, table in tables.items():
            for key in table.foreign_keys:
                if key.parent in tables:
                    for child, parent in zip(key.columns, key.parent_columns, strict=True):
                        self._unite((name, child), (key.parent, parent))
        self._name(tables)
        self._collect(atoms)

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
        for part in _queries(query):
            if part.left and part.right:
                for a, b in zip(part.left.projections, part.right.projections, strict=False):
                    self._unite_slots(a, b)

    def _unite_atom(self, node: Condition) -> None:
        if node.kind in ("eq", "rel"):
            self._unite_slots(*node.slots)
        elif node.kind in ("in", "query") and node.slots and node.query and node.query.projections:
            self._unite_slots(node.slots[0], node.query.projections[0])

    def _name(self, tables: dict[str, TableSchema]) -> None:
        """Makes one `Domain` per group; where a group mixes types, numbers win over text."""
        rank = {"text": 0, "boolean": 1, "time": 2, "datetime": 3, "date": 4, "real": 5, "integer": 6}
        groups: dict[ColumnKey, Domain] = {}
        for name, table in tables.items():
            for key, column in table.columns.items():
                root = self._find((name, key))
                domain = groups.setdefault(root, Domain(column.kind))
                domain.kind = max(domain.kind, column.kind, key=lambda kind: rank[kind])
                self.of[name, key] = domain

    def _collect(self, atoms: list[Condition]) -> None:
        """Gives every domain the candidates of the conditions on its columns, and those on which functions differ."""
        for (_, column), group in self.of.items():
            hints = self._plan.hints.get(column, ())
            group.literals += [v for v in hints if v not in group.literals and _suits(v, group.kind) and _fits(v)]
        for node in atoms:
            for slot in node.slots:
                domain = self.of.get(self._plan.column_of(slot))
                if domain is not None:
                    domain.literals += [v for v in node.candidates if v not in domain.literals and _fits(v)]

    def choices(self, node: Condition, want: bool) -> list[Value]:
        """Values for the column of a condition that make it true, or not true."""
        key = (id(node), want)
        if key not in self._choices:
            self._sort(node)
        return self._choices[key]

    def _sort(self, node: Condition) -> None:
        table, column = self._plan.column_of(node.slots[0])
        affinity = self._plan.schema.tables[table].columns[column].affinity
        domain = self.of[table, column]
        own = filter(_fits, node.candidates)
        candidates = tuple(dict.fromkeys([*own, *domain.literals[:40], *domain.values(0, 6)]))
        truth = None
        if node.kind == "cmp":
            truth = [holds(value, node.op, node.literal, affinity) for value in candidates]
        elif node.expression is not None and node.op != "aggregate":
            truth = self._probe(node, affinity, candidates)
        if truth is None:
            self._choices[id(node), True] = self._choices[id(node), False] = list(candidates)
            return
        pairs = list(zip(candidates, truth, strict=True))
        self._choices[id(node), True] = [value for value, true in pairs if true]
        self._choices[id(node), False] = [value for value, true in pairs if not true]

    def satisfies(self, node: Condition, want: bool, value: Value) -> bool:
        """Whether a value is known to make another condition on the same column (not) true."""
        if node.kind == "cmp":
            table, column = self._plan.column_of(node.slots[0])
            affinity = self._plan.schema.tables[table].columns[column].affinity
            return holds(value, node.op, node.literal, affinity) == want
        return stored_as(value, "BLOB") in self.choices(node, want)


def _suits(value: Value, kind: str) -> bool:
    """Whether a column of this kind would hold such a value in practice."""
    if kind in ("integer", "boolean"):
        return isinstance(value, int)
    return isinstance(value, (int, float)) if kind == "real" else isinstance(value, str)


def _fits(value: Value) -> bool:
    """Whether a value can be stored, many times over; a hostile literal cannot."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return not isinstance(value, (str, bytes)) or len(value) <= _LONGEST


def _queries(query: Query) -> Iterator[Query]:
    """A query and the sides of its set operations, subqueries included."""
    yield query
    for side in (query.left, query.right):
        if side:
            yield from _queries(side)
    for node in _walk(query.condition):
        if node.query is not None:
            yield from _queries(node.query)


def _walk(node: Condition) -> Iterator[Condition]:
    yield node
    for part in node.parts:
        yield from _walk(part)


def _atoms(query: Query) -> Iterator[Condition]:
    seen: set[int] = set()
    for part in _queries(query):
        for node in _walk(part.condition):
            if node.slots and id(node) not in seen:
                seen.add(id(node))
                yield node
