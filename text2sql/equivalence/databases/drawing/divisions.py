"""Rows for queries that ask for all of something: as many as there are, none that is not there.

"Who has borrowed every book of five hundred pages" is decided by who has borrowed all of them, one of them twice, all
and others besides, as many others, and by there being none. A table that links the one to the other has a row for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from text2sql.equivalence.databases.drawing.domains import Domains
from text2sql.equivalence.databases.drawing.scenarios import Database, Draw
from text2sql.equivalence.databases.plan import ColumnKey, Condition, Plan, atoms, subqueries
from text2sql.sql.schema import TableSchema
from text2sql.sql.tokens import fold
from text2sql.sql.values import Value

# How many there are that must be had, and others besides them.
_MEETING, _OTHERS = (2, 1, 3, 0), 2
# Values among which those that suit are.
_POOL = 40
# Tables and columns of one pair that have them.
_MOST = 4


@dataclass(frozen=True)
class Division:
    """One table whose rows link those who are asked for to what they must have.

    Attributes:
        who: The column of those who are asked for.
        what: The column of what they must have.
        number: How many they must have.
        shown: Whether a query shows those who are asked for.
    """

    who: ColumnKey
    what: ColumnKey
    number: int
    shown: bool


def divisions(plan: Plan, tables: dict[str, TableSchema], domains: Domains) -> list[Division]:
    """What a pair's queries ask for, the likelier ones first."""
    if not plan.universal:
        return []
    linking: dict[str, dict[str, None]] = {}
    for name, column in _linking(plan):
        if name in tables and column in tables[name].columns and (column,) not in tables[name].keys:
            linking.setdefault(name, {})[column] = None
    slots = [slot for query in plan.queries for slot in (*query.projections, *query.group) if slot is not None]
    shown = {id(domains.of.get(plan.column_of(slot))) for slot in slots}
    pairs = [
        ((name, who), (name, what), id(domains.of[name, who]) in shown)
        for name, columns in linking.items()
        for who, what in itertools.permutations(columns, 2)
    ]
    pairs = sorted(pairs, key=lambda pair: not pair[2])[:_MOST]
    return [Division(who, what, number, seen) for number in _MEETING for who, what, seen in pairs]


def _linking(plan: Plan) -> Iterator[ColumnKey]:
    """The columns by which rows belong together: compared with those of other rows, or grouped by."""
    for query in plan.queries:
        for part in subqueries(query):
            yield from (plan.column_of(slot) for slot in (*part.group, *part.partition))
        for node in atoms(query):
            yield from (plan.column_of(slot) for slot in node.slots if node.kind in ("eq", "in"))
            if node.kind == "in" and node.query is not None:
                yield from (plan.column_of(slot) for slot in node.query.projections if slot is not None)


class Divisions:
    """Makes the rows of one database.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for.
        domains: What their columns hold.
        draw: The random choices of the database.
    """

    def __init__(self, plan: Plan, tables: dict[str, TableSchema], domains: Domains, draw: Draw) -> None:
        self._plan, self._tables, self._domains, self._draw = plan, tables, domains, draw

    def grow(self, division: Division, rows: Database) -> None:
        """Adds the rows of a division: those who are asked for, what they must have, and what links them."""
        # Where nothing is asked of what they must have, there are no others.
        others = any(self._first(name) for name, _ in self._keys(division.what)) or not self._keys(division.what)
        links = _links(division.number, others=others)
        parts = self._values(division.what, division.number + (_OTHERS if others else 0), ())
        people = self._values(division.who, len(links), parts)
        for number, value in enumerate(parts):
            self._keyed(division.what, value, rows, met=number < division.number)
        for value in people:
            self._keyed(division.who, value, rows, met=True)
        table = division.who[0]
        for linked, value in zip(links, people, strict=False):
            for number in linked:
                if number < len(parts):
                    given = {division.who[1]: value, division.what[1]: parts[number]}
                    rows[table].append(self._draw.row(table, {**self._asked(table, met=True), **given}))

    def _values(self, key: ColumnKey, number: int, taken: Sequence[Value]) -> list[Value]:
        """Different values for a column and for the keys that it stands for."""
        keys = [key, *self._keys(key)]
        suits = self._domains.declared.suits
        pool = [value for value in self._domains.pool(key, 0, _POOL) if value not in (None, *taken)]
        return [value for value in pool if all(suits(other, value) for other in keys)][:number]

    def _keys(self, key: ColumnKey) -> list[ColumnKey]:
        """The keys of other tables with which a column shares its values."""
        keys = ((name, own[0]) for name, table in self._tables.items() for own in table.keys if len(own) == 1)
        domain = self._domains.of[key]
        return [other for other in keys if other[0] != key[0] and self._domains.of[other] is domain]

    def _keyed(self, key: ColumnKey, value: Value, rows: Database, *, met: bool) -> None:
        """Adds a row with a key to each table that has it."""
        for name, column in self._keys(key):
            rows[name].append(self._draw.row(name, {**self._asked(name, met=met), column: value}))

    def _asked(self, name: str, *, met: bool) -> dict[str, Value]:
        """Values with which a row meets what the first place that reads its table asks of it, or does not."""
        found: dict[str, Value] = {}
        for column, nodes in self._first(name).items():
            first, *others = nodes
            good = self._domains.choices(first, met)
            if met:
                good = [value for value in good if all(self._domains.satisfies(node, True, value) for node in others)]
            else:
                # Engines may take for equal what differs in letter case or spaces alone.
                like = {_folded(value) for value in self._domains.choices(first, True)}
                good = [value for value in good if _folded(value) not in like]
            if good:
                found[column] = good[0]
        return found

    def _first(self, name: str) -> dict[str, list[Condition]]:
        """By column the conditions of the first place of a query that asks anything of a table."""
        found: dict[int, dict[str, list[Condition]]] = {}
        for node in (node for query in self._plan.queries for node in atoms(query)):
            if len(node.slots) == 1 and node.op != "aggregate" and (node.kind == "cmp" or node.expression is not None):
                instance, column = self._plan.slots[node.slots[0]]
                if self._plan.tables[instance] == name:
                    found.setdefault(instance, {}).setdefault(column, []).append(node)
        return next(iter(found.values()), {})


def _links(number: int, *, others: bool) -> list[tuple[int, ...]]:
    """What each of those who are asked for has, by number: those beyond the first are none that they must have."""
    every, other = tuple(range(number)), number
    fewer, twice = every[:-1], every[:1]
    ways = [every, (*fewer, *twice), (*every, other), (*fewer, other), (*every, *twice), fewer]
    ways += [(other,), (other, other + 1), (other,) * max(number, 1)]
    return [way for way in dict.fromkeys(ways) if way and (others or max(way) < number)]


def _folded(value: Value) -> Value:
    return fold(value).strip() if isinstance(value, str) else value
