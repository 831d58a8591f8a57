"""Draws small databases on which two queries are likely to part ways if they can.

Each database is built from *scenarios*: one row per table reference of a query, drawn so that the query's condition
holds on them together, or so that exactly one part of it fails. Random rows, copies that share a group, NULLs,
orphans and empty tables are added by a recipe that varies from database to database.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from text2sql.equivalence.databases.differences.collisions import collide
from text2sql.equivalence.databases.differences.sweeps import holds_moments
from text2sql.equivalence.databases.drawing.chains import Chain, Chains, planned, without_circles
from text2sql.equivalence.databases.drawing.check_repair import CheckRepair
from text2sql.equivalence.databases.drawing.divisions import Division, Divisions, divisions
from text2sql.equivalence.databases.drawing.domains import Domains
from text2sql.equivalence.databases.drawing.layout import Layout
from text2sql.equivalence.databases.drawing.recipes import CHAINED, DIVIDED, FIRST_AIMED, Recipe, aimed, recipe
from text2sql.equivalence.databases.drawing.scenarios import Database, Draw
from text2sql.equivalence.databases.plan import Plan, Query
from text2sql.equivalence.databases.samples import Sample
from text2sql.equivalence.databases.values.column_values import stored_as
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.tokens import fold
from text2sql.sql.values import Row, Value


class Generator:
    """Makes databases for one pair.

    Args:
        plan: The compiled pair.
        tables: The tables to fill, by lower-case name.
        domains: What their columns hold.
        seed: Equal seeds give equal databases.

    Attributes:
        grouped: Whether groups compete in the queries.
        aimed: How many of the databases are made for one purpose each, see `samples` and `chains`.
        refusing: Whether SQLite may refuse rows that were made: CHECKs, unique indexes, collated keys, generated
            columns.
        timed: Whether the queries say something about time, and columns hold it.
        recursive: Whether a query follows rows of tables from one to the next.
        circles: Whether rows that a recursion follows may lead back to themselves.
        kept: How many of the first databases are kept for a second search, which then costs nothing.
    """

    def __init__(self, plan: Plan, tables: dict[str, TableSchema], domains: Domains, seed: int) -> None:
        self._plan, self._tables, self._domains, self._seed = plan, tables, domains, seed
        self._references = _references(tables)
        self._keys = {
            name: [_key(_places(table, key), [table.columns[c] for c in key]) for key in table.keys]
            for name, table in tables.items()
        }
        self._layout = Layout(plan, tables, domains)
        self._check_repair = CheckRepair(plan, tables, domains)
        self._chains, self._divisions = planned(plan), divisions(plan, tables, domains)
        self._purposes: list[_Purpose] = [*domains.samples, *self._chains, *self._divisions]
        self.grouped, self.aimed = plan.grouped, len(self._purposes)
        self.timed = plan.time_mentions is not None and any(map(holds_moments, domains.declared.kinds.values()))
        self.recursive, self.circles = bool(plan.recursions), True
        self.kept, self._made = 0, dict[tuple[int, int, bool, bool], Database]()
        # A foreign key, or an alias of the rowid, keeps its value whatever meets; under a collation it still points at
        # its parent.
        self._movable = {name: _movable(table) for name, table in tables.items()}
        columns = [column for table in tables.values() for column in table.columns.values()]
        self.refusing = any(table.checks or table.indexes for table in tables.values()) or any(
            column.collation or column.generated for column in columns
        )

    def database(self, index: int, scale: int = 1, *, telling: bool = False) -> Database:
        """The ``index``-th database. It may be handed out again: copy what you change.

        Args:
            index: Which one.
            scale: Above 1 for fewer rows, where the queries proved too slow.
            telling: Whether too few databases have shown anything: every other one is then made for that alone, where
                it is known how.
        """
        which = index, scale, telling, self.circles
        if which in self._made:
            return self._made[which]
        rows = self._database(index, scale, telling)
        if index < self.kept:
            self._made[which] = rows
        return rows

    def _database(self, index: int, scale: int, telling: bool) -> Database:
        rng = random.Random(f"{self._seed}/{index}")
        number = index - FIRST_AIMED
        telling = telling and index % 2 == 1 and bool(self._telling)
        purpose: _Purpose | None = None
        if telling:
            purpose = self._telling[index // 2 % len(self._telling)]
        elif 0 <= number < self.aimed:
            purpose = self._purposes[number]
        else:
            index -= self.aimed if number > 0 else 0
        plan = _recipe_for(purpose) if purpose else recipe(index, self._plan, self._tables, rng)
        rows: Database = {name: [] for name in self._tables}
        if plan is None:
            return rows
        draw = Draw(self._layout, plan, rng)
        self._draw(draw, plan, purpose, rows, rng)
        if index % 3 == 0 and purpose is None:
            self._chain(rows)
        if not self.circles:
            without_circles(self._plan, self._tables, rows)
        if plan.empty:
            rows[plan.empty] = []
        if scale > 1:
            rows = {name: data[:: scale * 2] for name, data in rows.items()}
        for data in rows.values():
            rng.shuffle(data)
        rows = {name: self._check_repair.repair(name, data) for name, data in rows.items()}
        return self._keep_keys(rows, draw, plan.empty)

    @cached_property
    def _telling(self) -> list[_Purpose]:
        """The databases on which the gold query is the likeliest to find something."""
        long = [samples for samples in self._domains.samples if any(sample.apart for sample in samples)]
        some = [division for division in self._divisions if division.number and division.shown]
        return [*self._domains.telling, *long, *self._chains, *some]

    def _draw(self, draw: Draw, plan: Recipe, purpose: _Purpose | None, rows: Database, rng: random.Random) -> None:
        """Adds the rows that a recipe asks for, and those that a database is made for."""
        for query in self._counted(plan):
            draw.scenarios(query, rows)
        if isinstance(purpose, Chain):
            Chains(self._plan, self._tables, self._domains, draw).grow(purpose, rows)
        elif isinstance(purpose, Division):
            Divisions(self._plan, self._tables, self._domains, draw).grow(purpose, rows)
        elif purpose is not None:
            draw.aimed(purpose, rows)
        if plan.deciding:
            draw.deciding(rows)
        draw.noise(rows)
        for collision in self._domains.collisions:
            if rng.random() < plan.meet:
                collide(collision, rows, self._movable, rng)

    def _chain(self, rows: Database) -> None:
        """Makes the rows of a table follow each other, so that a recursive query goes deep."""
        for name, pairs in self._plan.chains.items():
            table = self._tables.get(name)
            if table is None or pairs[0][0] not in table.columns or pairs[0][1] not in table.columns:
                continue
            (child,), (parent,) = (_places(table, (column,)) for column in pairs[0])
            data = rows[name]
            for number, row in enumerate(data[1:], 1):
                data[number] = (*row[:child], data[number - 1][parent], *row[child + 1 :])
            if data and not table.columns[pairs[0][0]].not_null:
                data[0] = (*data[0][:child], None, *data[0][child + 1 :])

    def _counted(self, plan: Recipe) -> list[Query]:
        """The queries whose scenarios a database holds: one alone where the number of its rows is what matters."""
        return self._plan.queries[plan.whose :][:1] if plan.counted or plan.only else self._plan.queries

    def _keep_keys(self, rows: Database, draw: Draw, empty: str | None) -> Database:
        """Drops rows that repeat a key; adds the parents that foreign keys ask for, drops what stays an orphan."""
        for _ in range(3 if self._references else 0):
            if not self._add_parents(rows, draw, empty):
                break
        rows = {name: self._unique(self._tables[name], self._keys[name], data) for name, data in rows.items()}
        while self.drop_orphans(rows):
            pass
        return rows

    def _add_parents(self, rows: Database, draw: Draw, empty: str | None) -> bool:
        added = False
        for reference in self._references:
            # A table that is to be empty takes its children with it.
            if reference.parent == empty:
                continue
            parent = reference.parent
            known = {reference.target(row) for row in rows[parent]}
            for row in list(rows[reference.child]):
                key = reference.source(row)
                if key not in known and None not in key:
                    known.add(key)
                    given = [row[place] for place in reference.places]
                    named = dict(zip(reference.targets, given, strict=True))
                    made = draw.row(parent, {**self._rootless(parent), **named})
                    # In front, so that it wins over a random row with the same other key.
                    rows[parent].insert(0, made)
                    added = True
        return added

    def _rootless(self, parent: str) -> dict[str, Value]:
        """NULL for the foreign keys by which a new parent would need a parent in its own table."""
        table = self._tables[parent]
        own = {column for key in table.foreign_keys if key.parent == parent for column in key.columns}
        return {column: None for column in own if not table.columns[column].not_null}

    def _unique(self, table: TableSchema, keys: list[_Key], data: list[Row]) -> list[Row]:
        for columns, key in zip(table.keys, keys, strict=True):
            seen: set[tuple[Value, ...]] = set()
            kept = []
            for row in data:
                value = key(row)
                if None in value and columns != table.primary_key:
                    kept.append(row)
                elif value not in seen:
                    seen.add(value)
                    kept.append(row)
            data = kept
        return data

    def drop_orphans(self, rows: Database) -> bool:
        """Drops the rows whose declared parents are missing; whether there were any."""
        dropped = False
        for reference in self._references:
            known = {reference.target(row) for row in rows[reference.parent]}
            data = rows[reference.child]
            kept = [row for row in data if (key := reference.source(row)) in known or None in key]
            dropped |= len(kept) < len(data)
            rows[reference.child] = kept
        return dropped

    def sound(self, rows: Database) -> bool:
        """Whether every declared foreign key holds."""
        return not self._references or not self.drop_orphans({name: list(data) for name, data in rows.items()})


# What a database is made for alone: some samples, a chain of rows, or those who have all of something.
_Purpose = tuple[Sample, ...] | Chain | Division


def _recipe_for(purpose: _Purpose) -> Recipe:
    if isinstance(purpose, Division):
        return DIVIDED
    return CHAINED if isinstance(purpose, Chain) else aimed(purpose)


# Takes the values of a key out of a row, as SQLite stores them.
_Key = Callable[[Row], tuple[Value, ...]]


@dataclass(frozen=True)
class _Reference:
    """A foreign key between two of the tables: ``places`` of the child point at ``targets`` of the parent."""

    child: str
    places: tuple[int, ...]
    parent: str
    targets: tuple[str, ...]
    source: _Key
    target: _Key


def _movable(table: TableSchema) -> list[str]:
    """The columns of a table in order; empty names stand for those that must keep their values."""
    children = {column for key in table.foreign_keys for column in key.columns}
    fixed = {column for column in children if not table.columns[column].collation} | {table.rowid}
    return ["" if key in fixed else key for key in table.columns]


def _references(tables: dict[str, TableSchema]) -> list[_Reference]:
    found = []
    for name, table in tables.items():
        for key in table.foreign_keys:
            parent = tables.get(key.parent)
            if parent is not None:
                places = _places(table, key.columns)
                like = [parent.columns[column] for column in key.parent_columns]
                target = _key(_places(parent, key.parent_columns), like)
                found.append(_Reference(name, places, key.parent, key.parent_columns, _key(places, like), target))
    return found


def _places(table: TableSchema, columns: tuple[str, ...]) -> tuple[int, ...]:
    order = list(table.columns)
    return tuple(order.index(column) for column in columns)


def _key(places: tuple[int, ...], columns: Sequence[Column]) -> _Key:
    """Takes values out of a row, as they compare in columns like these."""
    if any(column.collation for column in columns):
        pairs = list(zip(places, columns, strict=True))
        return lambda row: tuple([_compared(row[place], column) for place, column in pairs])
    if len(places) == 1:
        place, affinity = places[0], columns[0].affinity
        return lambda row: (stored_as(row[place], affinity),)
    stored = [(place, column.affinity) for place, column in zip(places, columns, strict=True)]
    return lambda row: tuple([stored_as(row[place], affinity) for place, affinity in stored])


def _compared(value: Value, column: Column) -> Value:
    """What a value stands for under the collation of a column (https://sqlite.org/datatype3.html, section 7)."""
    kept = stored_as(value, column.affinity)
    if isinstance(kept, str) and column.collation == "NOCASE":
        return fold(kept)
    return kept.rstrip(" ") if isinstance(kept, str) and column.collation == "RTRIM" else kept
