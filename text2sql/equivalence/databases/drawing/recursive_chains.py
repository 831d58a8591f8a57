"""Chains of rows that recursive queries follow, as long as they are followed, and data without cycles.

``depth < 9`` differs from ``depth <= 9`` where rows follow each other that often. A chain begins where the recursion
does, and what points at its rows from other tables points at the chain's end. Chains are made as long as the queries'
numbers ask, up to `MAX_RECURSION_STEPS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.drawing.row_drawer import Database, RowDrawer
from text2sql.equivalence.databases.phenomena.recursive_chains import MAX_RECURSION_STEPS
from text2sql.equivalence.databases.plan import Plan, Recursion, query_tree
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Value

# Recursions of one pair that have chains.
MAX_RECURSIONS = 3
# Steps of every chain, however few the queries name.
_MIN_STEPS = 4
# Steps beyond the number that a query names.
_STEPS_BEYOND = 3
# Rows behind the first that add up, with it, to a number that a sum is compared with.
_SUMMANDS = 3
# The number that chains begin with: far from the other values of the tables.
_START = 1000


@dataclass(frozen=True)
class Chain:
    """One chain of rows.

    Attributes:
        recursion: What is followed.
        sign: Whether numbers grow from row to row, or shrink: CHECKs may ask for either.
    """

    recursion: Recursion
    sign: int


def read_chains(plan: Plan) -> list[Chain]:
    """The chains that a pair's queries ask for, one of growing and one of shrinking numbers for each recursion."""
    chosen: dict[tuple[object, ...], Recursion] = {}
    for recursion in plan.recursion.recursions:
        link = recursion.source, recursion.target, recursion.start_column, recursion.start_value
        chosen.setdefault(link, recursion)
    return [Chain(recursion, sign) for recursion in list(chosen.values())[:MAX_RECURSIONS] for sign in (1, -1)]


class ChainMaker:
    """Makes the chains of one database.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for.
        domains: The values of their columns.
        drawer: Draws the rows.
    """

    def __init__(self, plan: Plan, tables: Mapping[str, TableSchema], domains: Domains, drawer: RowDrawer) -> None:
        self._plan, self._tables, self._domains, self._drawer = plan, tables, domains, drawer

    def make(self, chain: Chain, rows: Database) -> None:
        """Replaces the rows of a recursion's tables by a chain; has the rows of other tables point at it."""
        recursion = chain.recursion
        own_tables = {
            self._plan.tables[instance]
            for query in (recursion.base, recursion.step)
            for part in query_tree(query)
            for instance in part.instances
        }
        for name in own_tables:
            rows[name] = []
        values = self._link_rows(chain, rows)
        for key, domain in self._domains.of.items():
            followed = key[0] in (recursion.source[0], recursion.target[0])
            if domain is self._domains.of.get(recursion.source) and values and not followed:
                self._point_at(key, values, rows, add_missing=key[0] in own_tables)

    def _link_rows(self, chain: Chain, rows: Database) -> list[Value]:
        """Adds the rows of a chain; returns the values that they hand on."""
        recursion = chain.recursion
        thresholds = [threshold.number for threshold in self._plan.count_thresholds]
        numbers = [number for number in thresholds if number <= MAX_RECURSION_STEPS]
        steps = max(_MIN_STEPS, self._plan.recursion.max_depth, *numbers, 0)
        start = recursion.start_column
        first, each = self._summands(chain)
        fixed: dict[ColumnKey, Value] = {start: _START, **first} if start and self._is_numeric(start) else first
        self._drawer.satisfying_rows(recursion.base, rows, fixed)
        value = recursion.start_value if start is None else self._last_value(start, rows)
        values: list[Value] = []
        for _ in range(min(steps, MAX_RECURSION_STEPS) + _STEPS_BEYOND):
            if value is None:
                break
            fixed = {**each, recursion.target: value}
            if isinstance(value, (int, float)):
                fixed[recursion.source] = value + chain.sign
            self._drawer.satisfying_rows(recursion.step, rows, fixed)
            value = self._last_value(recursion.source, rows)
            values.append(value)
        return [value for value in values if value is not None]

    def _summands(self, chain: Chain) -> tuple[dict[ColumnKey, Value], dict[ColumnKey, Value]]:
        """Values of the columns that are added up, for the first row and for each other one.

        The first few rows add up to the number that the sum is compared with.
        """
        first: dict[ColumnKey, Value] = {}
        each: dict[ColumnKey, Value] = {}
        for name, numbers in self._plan.recursion.totals.items():
            # The queries may name two numbers: the two chains of a recursion have one each.
            number = numbers[0 if chain.sign > 0 else -1] if numbers else 0
            part = int(number) // (_SUMMANDS + 1)
            for table in sorted({chain.recursion.source[0], chain.recursion.target[0]}):
                if part > 0 and name in self._tables[table].columns:
                    each[table, name], first[table, name] = part, number - _SUMMANDS * part
        return first, each

    def _is_numeric(self, key: ColumnKey) -> bool:
        return self._domains.constraints.kinds[key] in ("integer", "real")

    def _last_value(self, key: ColumnKey, rows: Database) -> Value:
        """The value of a column in the last row of its table; None if there is no row."""
        data = rows[key[0]]
        return data[-1][self._index(key)] if data else None

    def _index(self, key: ColumnKey) -> int:
        """The index of a column in the rows of its table."""
        return list(self._tables[key[0]].columns).index(key[1])

    def _point_at(self, key: ColumnKey, values: Sequence[Value], rows: Database, *, add_missing: bool) -> None:
        """Has the rows of a column's table point at the last values of a chain.

        Args:
            key: The column.
            values: The values of the chain.
            rows: Changed in place.
            add_missing: Whether the chain leads through the column's table: rows with a key that lacks are added.
        """
        name, column = key
        index = self._index(key)
        if not add_missing:
            for number, row in enumerate(rows[name]):
                value = values[-1 - number % len(values)]
                rows[name][number] = (*row[:index], value, *row[index + 1 :])
        elif (column,) in self._tables[name].keys:
            present = {row[index] for row in rows[name]}
            rows[name] += [self._drawer.row(name, {column: value}) for value in values if value not in present]


def remove_cycles(plan: Plan, tables: Mapping[str, TableSchema], rows: Database) -> None:
    """Removes the rows that lead back to earlier ones: a recursion that does not look for cycles would not end.

    Args:
        plan: The compiled pair.
        tables: The tables of the database.
        rows: Changed in place.
    """
    for recursion in plan.recursion.recursions:
        name = recursion.source[0]
        if name != recursion.target[0] or name not in tables:
            continue
        order = list(tables[name].columns)
        source, target = order.index(recursion.source[1]), order.index(recursion.target[1])
        # Where most rows lead to smaller values, CHECKs may ask for it.
        pairs = [(_sort_key(row[target]), _sort_key(row[source])) for row in rows[name]]
        descending = sum(a > b for a, b in pairs) > sum(a < b for a, b in pairs)
        rows[name] = [
            row
            for row, (a, b) in zip(rows[name], pairs, strict=True)
            if row[target] is None or row[source] is None or (a > b if descending else a < b)
        ]


def _sort_key(value: Value) -> tuple[bool, float, str]:
    """Orders numbers before texts."""
    if isinstance(value, (int, float)):
        return False, float(value), ""
    return True, 0.0, str(value)
