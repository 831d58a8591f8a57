"""Chains of rows for recursive queries, as long as they are followed, and data without circles.

A chain begins where the recursion does, and what points at its rows from other tables points at their ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.equivalence.databases.drawing.domains import Domains
from text2sql.equivalence.databases.drawing.scenarios import Database, Draw
from text2sql.equivalence.databases.plan import ColumnKey, Plan, Recursion, subqueries
from text2sql.equivalence.databases.reaches import MOST_STEPS
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Value

# Steps of every chain, and those beyond the number of a query.
_FEW, _BEYOND = 4, 3
# Rows behind the first that add up to a number with it.
_SUMMANDS = 3
# Recursions of one pair that have chains, and the number that these begin with.
_MOST, _START = 3, 1000


@dataclass(frozen=True)
class Chain:
    """One chain of rows.

    Attributes:
        recursion: What is followed.
        sign: Whether numbers grow from row to row, or shrink: CHECKs may ask for either.
    """

    recursion: Recursion
    sign: int


def planned(plan: Plan) -> list[Chain]:
    """The chains that a pair's queries ask for."""
    chosen: dict[tuple[object, ...], Recursion] = {}
    for recursion in plan.recursions:
        chosen.setdefault((recursion.source, recursion.target, recursion.head, recursion.start), recursion)
    return [Chain(recursion, sign) for recursion in list(chosen.values())[:_MOST] for sign in (1, -1)]


class Chains:
    """Makes the chains of one database.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for.
        domains: What their columns hold.
        draw: The random choices of the database.
    """

    def __init__(self, plan: Plan, tables: dict[str, TableSchema], domains: Domains, draw: Draw) -> None:
        self._plan, self._tables, self._domains, self._draw = plan, tables, domains, draw

    def grow(self, chain: Chain, rows: Database) -> None:
        """Replaces the rows of a recursion's tables by a chain; others point at it."""
        recursion = chain.recursion
        own = {
            self._plan.tables[instance]
            for query in (recursion.base, recursion.step)
            for part in subqueries(query)
            for instance in part.instances
        }
        for name in own:
            rows[name] = []
        values = self._chain(chain, rows)
        for key, domain in self._domains.of.items():
            followed = key[0] in (recursion.source[0], recursion.target[0])
            if domain is self._domains.of.get(recursion.source) and values and not followed:
                self._point(key, values, rows, linked=key[0] in own)

    def _chain(self, chain: Chain, rows: Database) -> list[Value]:
        recursion = chain.recursion
        numbers = [threshold.number for threshold in self._plan.thresholds if threshold.number <= MOST_STEPS]
        length = min(max(_FEW, self._plan.deepest, *numbers, 0), MOST_STEPS) + _BEYOND
        # Far from the other values of the tables.
        head = recursion.head
        first, each = self._summands(chain)
        given: dict[ColumnKey, Value] = {head: _START, **first} if head is not None and self._numeric(head) else first
        self._draw.found(recursion.base, rows, given)
        value = recursion.start if head is None else self._last(head, rows)
        values: list[Value] = []
        for _ in range(length):
            if value is None:
                break
            given = {**each, recursion.target: value}
            if isinstance(value, (int, float)):
                given[recursion.source] = value + chain.sign
            self._draw.found(recursion.step, rows, given)
            value = self._last(recursion.source, rows)
            values.append(value)
        return [value for value in values if value is not None]

    def _summands(self, chain: Chain) -> tuple[dict[ColumnKey, Value], dict[ColumnKey, Value]]:
        """What the first row has in the columns that are added up, and each other row: a few come to their number."""
        first: dict[ColumnKey, Value] = {}
        each: dict[ColumnKey, Value] = {}
        for name, numbers in self._plan.totals.items():
            # The queries may name two: each has its chain.
            number = numbers[0 if chain.sign > 0 else -1] if numbers else 0
            part = int(number) // (_SUMMANDS + 1)
            for table in sorted({chain.recursion.source[0], chain.recursion.target[0]}):
                if part > 0 and name in self._tables[table].columns:
                    each[table, name], first[table, name] = part, number - _SUMMANDS * part
        return first, each

    def _numeric(self, key: ColumnKey) -> bool:
        return self._domains.declared.kinds[key] in ("integer", "real")

    def _last(self, key: ColumnKey, rows: Database) -> Value:
        name, column = key
        place = list(self._tables[name].columns).index(column)
        return rows[name][-1][place] if rows[name] else None

    def _point(self, key: ColumnKey, values: Sequence[Value], rows: Database, *, linked: bool) -> None:
        """Has the rows of a column point at the end of a chain; adds those that it leads through."""
        name, column = key
        table = self._tables[name]
        if not linked:
            place = list(table.columns).index(column)
            for number, row in enumerate(rows[name]):
                value = values[-1 - number % len(values)]
                rows[name][number] = (*row[:place], value, *row[place + 1 :])
        elif (column,) in table.keys:
            known = {row[list(table.columns).index(column)] for row in rows[name]}
            rows[name] += [self._draw.row(name, {column: value}) for value in values if value not in known]


def without_circles(plan: Plan, tables: dict[str, TableSchema], rows: Database) -> None:
    """Takes out what leads back: a recursion that does not look for it would not end.

    Args:
        plan: The compiled pair.
        tables: The tables of the database.
        rows: Changed in place.
    """
    for recursion in plan.recursions:
        name = recursion.source[0]
        if name != recursion.target[0] or name not in tables:
            continue
        order = list(tables[name].columns)
        source, target = order.index(recursion.source[1]), order.index(recursion.target[1])
        # Where most rows lead down, CHECKs may ask for it.
        pairs = [(_rank(row[target]), _rank(row[source])) for row in rows[name]]
        down = sum(a > b for a, b in pairs) > sum(a < b for a, b in pairs)
        rows[name] = [
            row
            for row, (a, b) in zip(rows[name], pairs, strict=True)
            if row[target] is None or row[source] is None or (a > b if down else a < b)
        ]


def _rank(value: Value) -> tuple[bool, float, str]:
    if isinstance(value, (int, float)):
        return False, float(value), ""
    return True, 0.0, str(value)
