"""Makes small databases on which two queries are likely to differ if they can.

Each database is built from *scenarios*: one row per table reference of a query, drawn so that the query's condition
holds on them together, or so that exactly one part of it fails. Random rows, copies that share a group, NULLs, orphans
and empty tables are added by a recipe that varies from database to database. Some databases are made for one purpose
each: the samples of `differences`, chains of rows for recursive queries, relational divisions.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cached_property

from text2sql.equivalence.databases.differences.aggregate_comparison_samples import gold_comparison_samples
from text2sql.equivalence.databases.differences.all_samples import difference_samples
from text2sql.equivalence.databases.differences.collisions import apply_collision, find_collisions
from text2sql.equivalence.databases.differences.sweeps import holds_dates
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.drawing.check_repair import CheckRepair
from text2sql.equivalence.databases.drawing.integrity import Integrity, column_indices, movable_columns
from text2sql.equivalence.databases.drawing.layout import Layout
from text2sql.equivalence.databases.drawing.recipes import (
    CHAINED,
    DIVIDED,
    FIRST_TARGETED,
    Recipe,
    choose_recipe,
    sample_recipe,
)
from text2sql.equivalence.databases.drawing.recursive_chains import Chain, ChainMaker, read_chains, remove_cycles
from text2sql.equivalence.databases.drawing.relational_division import Division, DivisionMaker, find_divisions
from text2sql.equivalence.databases.drawing.row_drawer import Database, RowDrawer
from text2sql.equivalence.databases.plan import Plan, Query
from text2sql.equivalence.databases.samples import SampleDatabase
from text2sql.sql.schema import TableSchema

# What a database is made for.
_Target = SampleDatabase | Chain | Division


class Generator:
    """Makes databases for one pair.

    Args:
        plan: The compiled pair.
        tables: The tables to fill, by lower-case name.
        domains: The values of their columns.
        seed: Equal seeds give equal databases.

    Attributes:
        groups_compete: Whether groups compete in the queries.
        target_count: How many of the databases are made for one purpose each.
        may_refuse_rows: Whether SQLite may refuse rows that were made: CHECKs, unique indexes, collated keys, generated
            columns.
        is_timed: Whether the queries say something about time, and columns hold it.
        is_recursive: Whether a query follows rows of tables from one to the next.
        allow_cycles: Whether rows that a recursion follows may lead back to themselves.
        cached_databases: How many of the first databases are kept, so that a second search costs nothing.
    """

    def __init__(self, plan: Plan, tables: Mapping[str, TableSchema], domains: Domains, seed: int) -> None:
        self._plan, self._tables, self._domains, self._seed = plan, tables, domains, seed
        self._integrity = Integrity(tables)
        collisions = find_collisions(plan, domains)
        self._collisions = collisions.collisions
        databases = [*collisions.databases, *difference_samples(plan, domains)]
        # Where CHECKs leave nothing of what was tried, there is nothing to show.
        self._samples = [samples for samples in databases if all(sample.rows for sample in samples)]
        self._chains, self._divisions = read_chains(plan), find_divisions(plan, tables, domains)
        self._targets: list[_Target] = [*self._samples, *self._chains, *self._divisions]
        self._layout = Layout(plan, tables, domains, self._collisions)
        self._check_repair = CheckRepair(plan, tables, domains)
        self._movable = {name: movable_columns(table) for name, table in tables.items()}
        self._cache = dict[tuple[int, int, bool, bool], Database]()
        self.groups_compete, self.target_count = plan.groups.compete, len(self._targets)
        self.is_timed = plan.time_mentions is not None and any(map(holds_dates, domains.constraints.kinds.values()))
        self.is_recursive, self.allow_cycles = bool(plan.recursion.recursions), True
        self.cached_databases = 0
        columns = [column for table in tables.values() for column in table.columns.values()]
        self.may_refuse_rows = any(table.checks or table.indexes for table in tables.values()) or any(
            column.collation or column.generated for column in columns
        )

    def database(self, index: int, shrink_factor: int = 1, *, informative: bool = False) -> Database:
        """The ``index``-th database. It may be handed out again: copy what you change.

        Args:
            index: Which one.
            shrink_factor: Above 1 for fewer rows, where the queries proved too slow.
            informative: Whether too few databases have been informative: every other one is then made so that the gold
                query finds something, where it is known how.
        """
        key = index, shrink_factor, informative, self.allow_cycles
        if key in self._cache:
            return self._cache[key]
        rows = self._database(index, shrink_factor, informative)
        if index < self.cached_databases:
            self._cache[key] = rows
        return rows

    def _database(self, index: int, shrink_factor: int, informative: bool) -> Database:
        rng = random.Random(f"{self._seed}/{index}")
        target = self._target(index, informative)
        recipe = _target_recipe(target) if target else self._untargeted_recipe(index, rng)
        rows: Database = {name: [] for name in self._tables}
        if recipe is None:
            return rows
        drawer = RowDrawer(self._layout, recipe, rng)
        self._draw(drawer, recipe, target, rows, rng)
        if self._untargeted_index(index) % 3 == 0 and target is None:
            self._link_rows(rows)
        if not self.allow_cycles:
            remove_cycles(self._plan, self._tables, rows)
        if recipe.empty_table:
            rows[recipe.empty_table] = []
        if shrink_factor > 1:
            rows = {name: data[:: shrink_factor * 2] for name, data in rows.items()}
        for data in rows.values():
            rng.shuffle(data)
        rows = {name: self._check_repair.repair(name, data) for name, data in rows.items()}
        return self._integrity.enforce(rows, drawer, recipe.empty_table)

    def _target(self, index: int, informative: bool) -> _Target | None:
        """What the ``index``-th database is made for; None where recipes and chance decide."""
        if informative and index % 2 == 1 and self._informative_targets:
            return self._informative_targets[index // 2 % len(self._informative_targets)]
        number = index - FIRST_TARGETED
        return self._targets[number] if 0 <= number < self.target_count else None

    def _untargeted_index(self, index: int) -> int:
        """The index of a database among those that are made for no purpose of their own."""
        return index - self.target_count if index >= FIRST_TARGETED + self.target_count else index

    def _untargeted_recipe(self, index: int, rng: random.Random) -> Recipe | None:
        return choose_recipe(self._untargeted_index(index), self._plan, self._tables, rng)

    @cached_property
    def _informative_targets(self) -> list[_Target]:
        """The databases on which the gold query is the likeliest to find something."""
        gold = gold_comparison_samples(self._plan, self._domains)
        long = [samples for samples in self._samples if any(sample.separate_groups for sample in samples)]
        divisions = [division for division in self._divisions if division.size and division.shown]
        return [*gold, *long, *self._chains, *divisions]

    def _draw(
        self, drawer: RowDrawer, recipe: Recipe, target: _Target | None, rows: Database, rng: random.Random
    ) -> None:
        """Adds the rows that a recipe asks for, and those that a database is made for."""
        for query in self._queries_with_scenarios(recipe):
            drawer.add_scenarios(query, rows)
        if isinstance(target, Chain):
            ChainMaker(self._plan, self._tables, self._domains, drawer).make(target, rows)
        elif isinstance(target, Division):
            DivisionMaker(self._plan, self._tables, self._domains, drawer).make(target, rows)
        elif target is not None:
            drawer.add_samples(target, rows)
        if recipe.extreme_turn:
            drawer.add_extremes(rows)
        drawer.add_random_rows(rows)
        for collision in self._collisions:
            if rng.random() < recipe.collision_share:
                apply_collision(collision, rows, self._movable, rng)

    def _link_rows(self, rows: Database) -> None:
        """Makes the rows of a table follow each other, so that a recursive query goes deep."""
        for name, links in self._plan.recursion.row_links.items():
            table = self._tables.get(name)
            if table is None or not table.columns.keys() >= set(links[0]):
                continue
            child, parent = column_indices(table, links[0])
            data = rows[name]
            for number, row in enumerate(data[1:], 1):
                data[number] = (*row[:child], data[number - 1][parent], *row[child + 1 :])
            if data and not table.columns[links[0][0]].not_null:
                data[0] = (*data[0][:child], None, *data[0][child + 1 :])

    def _queries_with_scenarios(self, recipe: Recipe) -> list[Query]:
        """The queries whose scenarios a database holds: one alone where the number of its rows is what matters."""
        alone = recipe.exact_copies or recipe.single_query
        return self._plan.queries[recipe.query :][:1] if alone else self._plan.queries

    def drop_orphans(self, rows: Database) -> bool:
        """Drops the rows whose declared parents are missing, in place; whether there were any."""
        return self._integrity.drop_orphans(rows)

    def foreign_keys_hold(self, rows: Database) -> bool:
        """Whether every declared foreign key holds."""
        return self._integrity.foreign_keys_hold(rows)


def _target_recipe(target: _Target) -> Recipe:
    if isinstance(target, Division):
        return DIVIDED
    return CHAINED if isinstance(target, Chain) else sample_recipe(target)
