"""How often each row of a scenario is there: of a group as many as are counted, of what it is joined with one."""

from __future__ import annotations

import random
from collections.abc import Mapping, Set

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.drawing.layout import InstanceColumns
from text2sql.equivalence.databases.drawing.recipes import Recipe
from text2sql.equivalence.databases.drawing.scenarios import Scenario
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Sample
from text2sql.sql.values import Value

# By instance, how many rows it gets.
RowCounts = dict[int, int]


class RowCounter:
    """Decides how often the rows of a scenario are repeated in one database.

    Args:
        plan: The compiled pair.
        single_keys: The columns that are a key of their table, each alone.
        recipe: How the database is made.
        rng: Makes the choices.
    """

    def __init__(self, plan: Plan, single_keys: Set[ColumnKey], recipe: Recipe, rng: random.Random) -> None:
        self._plan, self._single_keys, self._recipe, self._rng = plan, single_keys, recipe, rng

    def drawn(self, scenario: Scenario, columns: InstanceColumns, copies: int) -> RowCounts:
        """How many rows each instance gets where a scenario is repeated.

        Repeating one table of a join multiplies its rows by the number of copies, all of them by its powers.
        """
        selects = [select for select in scenario.selects if select]
        if self._recipe.exact_copies:
            if not selects:
                return {}
            select = selects[self._recipe.repeated_select]
            free = [instance for instance in select if not self._is_linked_by_key(scenario, columns, instance)]
            return {self._rng.choice(free or select): copies}
        if copies > 1 and self._rng.random() < 0.6:
            # Each SELECT by its own number: both sides of an INTERSECT may count.
            chosen = [select for select in selects if self._rng.random() < 0.75]
            return {self._rng.choice(select): self._rng.choice(self._recipe.copies) for select in chosen}
        return dict.fromkeys(scenario.instances, copies)

    def of_sample(self, scenario: Scenario, columns: InstanceColumns, sample: Sample) -> RowCounts:
        """How many rows each instance gets where the values of a group are given: as many as are given."""
        counts = dict.fromkeys(scenario.instances, 1)
        tables = [table for table, _ in sample.columns]
        for table in dict.fromkeys(tables):
            if any(key[0] == table and key not in sample.constant_columns for key in sample.columns):
                # The innermost SELECT is the one whose rows are aggregated.
                readers = [i for s in scenario.selects for i in s if i in counts and self._plan.tables[i] == table]
                counts.update({readers[-1]: len(sample.rows)} if readers else {})
        self._repeat_linked(scenario, columns, counts, len(sample.rows))
        selects = [select for select in scenario.selects if select]
        if not tables and selects:
            counted = [instance for instance in selects[-1] if instance in counts]
            free = [instance for instance in counted if not self._is_linked_by_key(scenario, columns, instance)]
            counts.update({(free or counted)[0]: len(sample.rows)} if counted else {})
        return counts

    def _repeat_linked(self, scenario: Scenario, columns: InstanceColumns, counts: RowCounts, copies: int) -> None:
        """Repeats what is linked to a repeated row by a key of that row: each copy has its own key."""
        group = {scenario.root(slot) for slot in (*scenario.group_by, *scenario.shared)}
        for instance in [instance for instance, count in counts.items() if count > 1]:
            keys = self._key_roots(scenario, columns, instance) - group
            for other in scenario.instances:
                if any(scenario.root(slot) in keys for _, slot in columns.get(other, ())):
                    counts[other] = copies

    def _key_roots(self, scenario: Scenario, columns: InstanceColumns, instance: int) -> set[int]:
        """The roots of the slots of an instance that are keys of its table."""
        name = self._plan.tables[instance]
        return {
            scenario.root(slot) for column, slot in columns.get(instance, ()) if (name, column) in self._single_keys
        }

    def sample_values(self, sample: Sample, instance: int, number: int, counts: Mapping[int, int]) -> dict[str, Value]:
        """What the copy of a row holds of a sample, by column.

        Args:
            sample: The sample.
            instance: The table reference that the row is of.
            number: Which copy it is.
            counts: How many rows each instance gets.
        """
        name = self._plan.tables[instance]
        if number and counts[instance] == 1:
            return {}
        repeated = counts[instance] == len(sample.rows)
        return {
            key[1]: value
            for key, value in zip(sample.columns, sample.rows[number], strict=True)
            if key[0] == name and (repeated or key in sample.constant_columns)
        }

    def _is_linked_by_key(self, scenario: Scenario, columns: InstanceColumns, instance: int) -> bool:
        """Whether a key of an instance links it to another one, so that it cannot repeat."""
        keys = self._key_roots(scenario, columns, instance)
        others = (slot for other in scenario.instances if other != instance for _, slot in columns.get(other, ()))
        return any(scenario.root(slot) in keys for slot in others)

    def links_to_single_rows(self, scenario: Scenario, columns: InstanceColumns, counts: Mapping[int, int]) -> set[int]:
        """The roots that link a row that is repeated to one that is there once: their values must stay."""
        once = [instance for instance in scenario.instances if counts.get(instance, 1) <= 1]
        return {scenario.root(slot) for i in once for _, slot in columns.get(i, ())}

    def unlinked_keys(self, scenario: Scenario, columns: InstanceColumns) -> set[int]:
        """The roots that are keys and link a row to no other one: each copy has its own."""
        are_keys: dict[int, list[bool]] = {}
        for instance in scenario.instances:
            name = self._plan.tables[instance]
            for column, slot in columns.get(instance, ()):
                are_keys.setdefault(scenario.root(slot), []).append((name, column) in self._single_keys)
        return {root for root, keys in are_keys.items() if keys == [True]}

    @staticmethod
    def is_fixed(scenario: Scenario, kept: Set[int], root: int) -> bool:
        """Whether further copies of a row keep a value: it is grouped by, is NULL, or satisfies a condition."""
        return root in kept or root in scenario.nulls or bool(scenario.wanted.get(root))
