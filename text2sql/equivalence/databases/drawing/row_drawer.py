"""Draws the rows of one database: of scenarios, of samples, and random ones."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.drawing.competing_groups import CompetingGroups
from text2sql.equivalence.databases.drawing.layout import InstanceColumns, Layout
from text2sql.equivalence.databases.drawing.recipes import Recipe
from text2sql.equivalence.databases.drawing.row_counts import RowCounter, RowCounts
from text2sql.equivalence.databases.drawing.rows import RowMaker
from text2sql.equivalence.databases.drawing.scenarios import Scenario, ScenarioBuilder
from text2sql.equivalence.databases.drawing.slot_values import ScenarioDraft, SlotValues
from text2sql.equivalence.databases.plan import Query
from text2sql.equivalence.databases.samples import Sample
from text2sql.sql.values import Row, Value

# By lower-case name of a table, its rows.
Database = dict[str, list[Row]]
# Copies of a scenario that are drawn; further ones repeat their rows.
_MAX_DRAWN_COPIES = 40


class RowDrawer:
    """The random choices of one database.

    Args:
        layout: The pair and its tables.
        recipe: How this database is made.
        rng: Makes the choices.
    """

    def __init__(self, layout: Layout, recipe: Recipe, rng: random.Random) -> None:
        self._layout, self._plan, self._tables, self._domains = layout, layout.plan, layout.tables, layout.domains
        self._recipe, self._rng = recipe, rng
        self._rows = RowMaker(layout, recipe, rng)
        self.row = self._rows.row
        self._counter = RowCounter(layout.plan, layout.single_keys, recipe, rng)
        self._builder = ScenarioBuilder(
            layout.plan,
            layout.not_null,
            rng,
            cases_hold=bool(recipe.exact_copies),
            from_samples=recipe.from_samples,
        )
        self._values = SlotValues(layout, recipe, rng, self._rows)
        self._groups = CompetingGroups(layout, recipe, rng, self._rows, self._builder)

    # -- what a database is made of

    def add_random_rows(self, rows: Database) -> None:
        """Adds random rows to every table."""
        for name in rows:
            for _ in range(self._recipe.random_rows):
                rows[name].append(self.row(name, {}))

    def add_scenarios(self, query: Query, rows: Database) -> None:
        """Adds the rows of all scenarios of one query."""
        recipe = self._recipe
        if recipe.competition_turn:
            for copies, fixed in self._groups.merging_groups():
                self._add_scenario(query, True, rows, copies, fixed)
            return
        for number in range(recipe.satisfied + recipe.failing):
            fixed = {}
            if number < len(recipe.exact_copies):
                copies = recipe.exact_copies[number]
            else:
                copies = self._rng.choice(recipe.copies)
            if recipe.small_groups_first:
                copies = max(recipe.copies) if number else min(recipe.copies)
                fixed = self._groups.summed_values(large=not number)
            self._add_scenario(query, number < recipe.satisfied, rows, copies, fixed)

    def add_extremes(self, rows: Database) -> None:
        """Adds two rows on the boundary of a condition: with the smallest values of all, and with the largest.

        Whose condition it is, and whether it holds, takes turns: what decides must not hang on luck.
        """
        turn, index = divmod(self._recipe.extreme_turn - 1, len(self._plan.queries))
        for low in (True, False):
            keys = [key for key in self._plan.groups.extreme_columns if key in self._domains.of]
            extremes = {key: self._domains.extreme(key, low=low) for key in keys}
            fixed = {key: value for key, value in extremes.items() if value is not None}
            self._add_scenario(self._plan.queries[index], turn % 2 == 0, rows, 1, fixed, low=low)

    def satisfying_rows(self, query: Query, rows: Database, fixed: Mapping[ColumnKey, Value]) -> None:
        """Adds one row for each table of a query that finds them, with the values of some columns fixed."""
        self._add_scenario(query, True, rows, 1, fixed)

    def add_samples(self, samples: Sequence[Sample], rows: Database) -> None:
        """Adds the rows of samples."""
        for sample in samples:
            self._add_sample(sample, rows)

    # -- one scenario

    def _add_scenario(
        self,
        query: Query,
        satisfied: bool,
        rows: Database,
        copies: int,
        fixed: Mapping[ColumnKey, Value],
        *,
        low: bool | None = None,
    ) -> None:
        """Adds the rows of one scenario and its copies.

        Args:
            query: Whose scenario it is.
            satisfied: Whether the query finds the rows; else one part of its condition fails.
            rows: The database; added to.
            copies: How often one of the tables of each SELECT has its row.
            fixed: Values of columns on which there is no condition.
            low: Whether such a column on which there is a condition is as small, or as large, as that allows; None for
                any value that satisfies it.
        """
        scenario = self._builder.build(query, satisfied)
        if self._recipe.exact_copies:
            scenario.drop_group_conditions()
        columns = self._merged_columns(scenario, set())
        group = {scenario.root(slot) for slot in scenario.group_by}
        # Whether each copy lies in its own group: what it groups by is new.
        separate = self._recipe.group_per_copy and scenario.one_row_per_group
        if separate:
            counts = dict.fromkeys(scenario.instances, copies)
        else:
            counts = self._counter.drawn(scenario, columns, copies)
        values = self._fixed_values(scenario, columns, fixed, low)
        kept = set() if separate else group | values.keys()
        if self._recipe.exact_copies and not separate:
            kept |= self._counter.links_to_single_rows(scenario, columns, counts)
        draft = self._draft(scenario, columns, counts, kept, values, new_keys=low is not None)
        for copy in range(draft.copies if separate else min(_MAX_DRAWN_COPIES, draft.copies)):
            if copy:
                self._forget_values(draft)
            if separate:
                free = (root for root in group if not scenario.wanted.get(root))
                draft.values = {root: self._rows.serial(self._plan.column_of(root)) for root in free}
            self._values.choose_related(draft, set())
            for instance in draft.instances_of_copy(copy):
                name = self._plan.tables[instance]
                given = {column: value for (table, column), value in fixed.items() if table == name}
                given |= self._chosen_values(draft, instance)
                self._add_row(draft, instance, self._with_kept_values(draft, instance, copy, given))
        self._store(draft, rows)

    def _add_sample(self, sample: Sample, rows: Database) -> None:
        """Adds the rows of one sample: a copy of its query's scenario for each, whatever the conditions say."""
        scenario = self._builder.build(self._plan.queries[sample.query], True)
        scenario.drop_group_conditions()
        exclusive = {table for table, _ in sample.columns} if sample.no_other_rows else set()
        columns = self._merged_columns(scenario, exclusive)
        group = {
            scenario.root(slot) for slot in (*(() if sample.separate_groups else scenario.group_by), *scenario.shared)
        }
        counts = self._counter.of_sample(scenario, columns, sample)
        kept = group | self._counter.links_to_single_rows(scenario, columns, counts)
        draft = self._draft(scenario, columns, counts, kept, {}, new_keys=False)
        for copy in range(draft.copies):
            if copy:
                self._forget_values(draft)
            by_instance = {i: self._counter.sample_values(sample, i, copy, counts) for i in scenario.instances}
            given_roots = {
                root: values[column]
                for instance, values in by_instance.items()
                for column, root in draft.roots[instance]
                if column in values
            }
            draft.values.update(given_roots)
            self._values.choose_related(draft, given_roots.keys())
            for instance in draft.instances_of_copy(copy):
                given = self._with_kept_values(draft, instance, copy, self._chosen_values(draft, instance))
                self._add_row(draft, instance, {**given, **by_instance[instance]})
        self._store(draft, rows)

    def _draft(
        self,
        scenario: Scenario,
        columns: InstanceColumns,
        counts: RowCounts,
        kept: set[int],
        values: dict[int, Value],
        *,
        new_keys: bool,
    ) -> ScenarioDraft:
        instances = scenario.instances
        key_slots = self._layout.key_slots
        several = max(counts.values(), default=1) > 1
        return ScenarioDraft(
            scenario=scenario,
            roots={i: [(column, scenario.root(slot)) for column, slot in columns.get(i, ())] for i in instances},
            counts=counts,
            kept=kept,
            key_roots={scenario.root(slot): key for i in instances for slot, key in key_slots.get(i, ())},
            new_keys=new_keys,
            own_keys=self._counter.unlinked_keys(scenario, columns) if several else set(),
            values=values,
        )

    def _merged_columns(self, scenario: Scenario, exclusive: Set[str]) -> InstanceColumns:
        """The columns of each instance, after now and then letting two SELECTs of a query see one row.

        The two may be both sides of an INTERSECT, or a query and its subquery.

        Args:
            scenario: Its slots are united, and its instances reduced, where a row is seen by both.
            exclusive: Tables of which there are no rows but those that all SELECTs see.
        """
        if len(scenario.selects) <= 1:
            return self._layout.columns
        columns = dict(self._layout.columns)
        select_of = {instance: number for number, select in enumerate(scenario.selects) for instance in select}
        for second in list(scenario.instances):
            for first in scenario.instances:
                if first >= second or select_of[first] == select_of[second]:
                    continue
                if self._plan.tables[first] != self._plan.tables[second]:
                    continue
                slots = dict(columns.get(first, ()))
                linked = [
                    slot
                    for column, slot in columns.get(second, ())
                    if scenario.root(slots.get(column, -1)) == scenario.root(slot)
                ]
                is_exclusive = self._plan.tables[first] in exclusive
                if is_exclusive or (linked and self._rng.random() < self._recipe.merge_share):
                    scenario.shared += linked if is_exclusive else []
                    for column, slot in columns.get(second, ()):
                        scenario.unite(slots.get(column), slot)
                    columns[first] = list({**dict(columns.get(second, ())), **slots}.items())
                    scenario.instances.remove(second)
                    break
        return columns

    def _fixed_values(
        self, scenario: Scenario, columns: InstanceColumns, fixed: Mapping[ColumnKey, Value], low: bool | None
    ) -> dict[int, Value]:
        """The values of fixed columns, by root; see `_add_scenario`."""
        values: dict[int, Value] = {}
        for instance in scenario.instances if fixed else ():
            name = self._plan.tables[instance]
            for column, slot in columns.get(instance, ()):
                root = scenario.root(slot)
                if (name, column) not in fixed or root in values or root in scenario.nulls:
                    continue
                if not scenario.wanted.get(root):
                    values[root] = fixed[name, column]
                elif low is not None:
                    good = [v for v in self._values.satisfying_values(scenario, root) if isinstance(v, (int, float))]
                    if good:
                        values[root] = min(good) if low else max(good)
        return values

    def _store(self, draft: ScenarioDraft, rows: Database) -> None:
        """Adds the rows of a scenario to the database; repeats them where there are to be more copies."""
        for instance, data in draft.rows.items():
            name = self._plan.tables[instance]
            rows[name] += data
            missing = draft.counts.get(instance, 1) - len(data)
            if missing > 0:
                is_fixed, scenario, kept = self._counter.is_fixed, draft.scenario, draft.kept
                fixed = {column for column, root in draft.roots[instance] if is_fixed(scenario, kept, root)}
                rows[name] += self._repeated(name, data, missing, fixed)

    def _repeated(self, name: str, data: list[Row], count: int, fixed: Set[str]) -> list[Row]:
        """More rows like those of a group, each with its own key: hundreds of them must cost little."""
        columns = list(self._tables[name].columns)
        if self._recipe.distinct_values:
            fresh = set(self._tables[name].stored_columns)
        else:
            fresh = {column for table, column in self._rows.keys if table == name}
        indices = [index for index, column in enumerate(columns) if column in fresh and column not in fixed]
        repeated = []
        for _ in range(count):
            row = list(data[int(self._rng.random() * len(data))])
            for index in indices:
                row[index] = self._rows.free((name, columns[index]))
            repeated.append(tuple(row))
        return repeated

    # -- one copy of a scenario

    def _forget_values(self, draft: ScenarioDraft) -> None:
        """Forgets the values of the copy before, but for those that all copies share and a part of the others."""
        may_stay = (root for root in draft.values if root not in draft.own_keys)
        stay = draft.kept | {root for root in may_stay if self._rng.random() < self._recipe.keep_share}
        draft.values = {root: value for root, value in draft.values.items() if root in stay}

    def _chosen_values(self, draft: ScenarioDraft, instance: int) -> dict[str, Value]:
        """By column the values of the slots of an instance; chosen where there is none yet."""
        return {column: self._values.value(draft, root) for column, root in draft.roots[instance]}

    def _with_kept_values(
        self, draft: ScenarioDraft, instance: int, copy: int, given: Mapping[str, Value]
    ) -> Mapping[str, Value]:
        """Given values and, now and then, some others of the row of the copy before, but not its key."""
        if not copy or self._rng.random() >= self._recipe.keep_share:
            return given
        name, row = self._plan.tables[instance], draft.rows[instance][-1]
        kept = {
            column: value
            for column, value in zip(self._tables[name].columns, row, strict=True)
            if (name, column) not in self._rows.keys and self._rng.random() < self._recipe.keep_share
        }
        return {**kept, **given}

    def _add_row(self, draft: ScenarioDraft, instance: int, given: Mapping[str, Value]) -> None:
        draft.rows.setdefault(instance, []).append(self.row(self._plan.tables[instance], given))
