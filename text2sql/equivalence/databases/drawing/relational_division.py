"""Relational division: queries that ask for all of something, such as who has borrowed every book of 500 pages.

Such a query is decided by who has borrowed all of these books, all but one, one of them twice, all and others besides,
and as many others; and by there being no such book. A table that links the dividend's rows (who) to the divisor's
(what) has a row for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.drawing.row_drawer import Database, RowDrawer
from text2sql.equivalence.databases.plan import Condition, Plan, atoms, query_tree
from text2sql.sql.schema import TableSchema
from text2sql.sql.tokens import fold
from text2sql.sql.values import Value

# How many there are that must be had; each number is a database.
_DIVISOR_SIZES = (2, 1, 3, 0)
# Rows besides these that need not be had.
_OTHER_ROWS = 2
# Ordinary values among which those for keys are.
_POOL = 40
# Pairs of linking columns of a pair of queries.
_MAX_DIVISIONS = 4


@dataclass(frozen=True)
class Division:
    """One table whose rows link those who are asked for to what they must have.

    Attributes:
        who: The column of those who are asked for.
        what: The column of what they must have.
        size: How many they must have.
        shown: Whether a query shows those who are asked for.
    """

    who: ColumnKey
    what: ColumnKey
    size: int
    shown: bool


def find_divisions(plan: Plan, tables: Mapping[str, TableSchema], domains: Domains) -> list[Division]:
    """What a pair's queries may ask for, the likelier divisions first."""
    if not plan.ask_of_all_rows:
        return []
    linking: dict[str, dict[str, None]] = {}
    for name, column in _linking_columns(plan):
        if name in tables and column in tables[name].columns and (column,) not in tables[name].keys:
            linking.setdefault(name, {})[column] = None
    slots = [slot for query in plan.queries for slot in (*query.projections, *query.group_by) if slot is not None]
    shown = {id(domains.of.get(plan.column_of(slot))) for slot in slots}
    pairs = [
        ((name, who), (name, what), id(domains.of[name, who]) in shown)
        for name, columns in linking.items()
        for who, what in itertools.permutations(columns, 2)
    ]
    pairs = sorted(pairs, key=lambda pair: not pair[2])[:_MAX_DIVISIONS]
    return [Division(who, what, size, is_shown) for size in _DIVISOR_SIZES for who, what, is_shown in pairs]


def _linking_columns(plan: Plan) -> Iterator[ColumnKey]:
    """The columns by which rows belong together: compared with those of other rows, or grouped by."""
    for query in plan.queries:
        for part in query_tree(query):
            yield from (plan.column_of(slot) for slot in (*part.group_by, *part.partition_by))
        for node in atoms(query):
            yield from (plan.column_of(slot) for slot in node.slots if node.kind in ("equal", "in"))
            if node.kind == "in" and node.subquery is not None:
                yield from (plan.column_of(slot) for slot in node.subquery.projections if slot is not None)


class DivisionMaker:
    """Makes the rows of one database.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for.
        domains: The values of their columns.
        drawer: Draws the rows.
    """

    def __init__(self, plan: Plan, tables: Mapping[str, TableSchema], domains: Domains, drawer: RowDrawer) -> None:
        self._plan, self._tables, self._domains, self._drawer = plan, tables, domains, drawer

    def make(self, division: Division, rows: Database) -> None:
        """Adds the rows of a division: those who are asked for, what they must have, and what links them."""
        # Where nothing is asked of what they must have, there is nothing that they need not have.
        has_others = any(map(self._first_conditions, self._keyed_tables(division.what)))
        has_others |= not self._keys(division.what)
        links = _links(division.size, has_others=has_others)
        what = self._key_values(division.what, division.size + (_OTHER_ROWS if has_others else 0), ())
        who = self._key_values(division.who, len(links), what)
        for index, value in enumerate(what):
            self._add_key(division.what, value, rows, satisfied=index < division.size)
        for value in who:
            self._add_key(division.who, value, rows, satisfied=True)
        table = division.who[0]
        for linked, value in zip(links, who, strict=False):
            for index in linked:
                if index < len(what):
                    given = {division.who[1]: value, division.what[1]: what[index]}
                    rows[table].append(self._drawer.row(table, {**self._values_for(table, satisfied=True), **given}))

    def _key_values(self, key: ColumnKey, count: int, taken: Sequence[Value]) -> list[Value]:
        """Different values for a column and for the keys that it refers to."""
        keys = [key, *self._keys(key)]
        allows = self._domains.constraints.allows
        pool = [value for value in self._domains.pool(key, 0, _POOL) if value not in (None, *taken)]
        return [value for value in pool if all(allows(other, value) for other in keys)][:count]

    def _keys(self, key: ColumnKey) -> list[ColumnKey]:
        """The keys of other tables with which a column shares its values."""
        keys = ((name, own[0]) for name, table in self._tables.items() for own in table.keys if len(own) == 1)
        domain = self._domains.of[key]
        return [other for other in keys if other[0] != key[0] and self._domains.of[other] is domain]

    def _keyed_tables(self, key: ColumnKey) -> list[str]:
        return [name for name, _ in self._keys(key)]

    def _add_key(self, key: ColumnKey, value: Value, rows: Database, *, satisfied: bool) -> None:
        """Adds a row with a key to each table that has it."""
        for name, column in self._keys(key):
            given = {**self._values_for(name, satisfied=satisfied), column: value}
            rows[name].append(self._drawer.row(name, given))

    def _values_for(self, name: str, *, satisfied: bool) -> dict[str, Value]:
        """Values with which a row satisfies what the first reference to its table asks of it, or does not."""
        values: dict[str, Value] = {}
        for column, (first, *others) in self._first_conditions(name).items():
            good = self._domains.choices(first, satisfied)
            if satisfied:
                good = [value for value in good if all(self._domains.satisfies(node, True, value) for node in others)]
            else:
                # Engines may take for equal what differs in letter case or spaces alone.
                equal = {_normalized(value) for value in self._domains.choices(first, True)}
                good = [value for value in good if _normalized(value) not in equal]
            if good:
                values[column] = good[0]
        return values

    def _first_conditions(self, name: str) -> dict[str, list[Condition]]:
        """By column the conditions of the first reference of a query that asks anything of a table."""
        by_instance: dict[int, dict[str, list[Condition]]] = {}
        for node in (node for query in self._plan.queries for node in atoms(query)):
            decidable = node.kind == "compare" or node.expression is not None
            if len(node.slots) == 1 and not node.over_groups and decidable:
                instance, column = self._plan.slots[node.slots[0]]
                if self._plan.tables[instance] == name:
                    by_instance.setdefault(instance, {}).setdefault(column, []).append(node)
        return next(iter(by_instance.values()), {})


def _links(size: int, *, has_others: bool) -> list[tuple[int, ...]]:
    """What each of those who are asked for has, by index: the first ``size`` are what they must have.

    Args:
        size: How many they must have.
        has_others: Whether there is anything besides.
    """
    every, other = tuple(range(size)), size
    fewer, once = every[:-1], every[:1]
    links = [every, (*fewer, *once), (*every, other), (*fewer, other), (*every, *once), fewer]
    links += [(other,), (other, other + 1), (other,) * max(size, 1)]
    return [link for link in dict.fromkeys(links) if link and (has_others or max(link) < size)]


def _normalized(value: Value) -> Value:
    return fold(value).strip() if isinstance(value, str) else value
