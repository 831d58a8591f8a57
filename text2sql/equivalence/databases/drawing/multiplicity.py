"""How often each row of a scene is there: of a group as many as are counted, of what it is joined with one."""

from __future__ import annotations

import random
from collections.abc import Mapping, Set

from text2sql.equivalence.databases.drawing.layout import Columns
from text2sql.equivalence.databases.drawing.recipes import Recipe
from text2sql.equivalence.databases.drawing.scenes import Scene
from text2sql.equivalence.databases.plan import ColumnKey, Plan
from text2sql.equivalence.databases.samples import Sample
from text2sql.sql.values import Value


class Copies:
    """Decides how often the rows of a scene are repeated in one database.

    Args:
        plan: The compiled pair.
        single_keys: The columns that are a key of their table, each alone.
        recipe: How the database is made.
        rng: Makes the choices.
    """

    def __init__(self, plan: Plan, single_keys: Set[ColumnKey], recipe: Recipe, rng: random.Random) -> None:
        self._plan, self._single_keys, self._recipe, self._rng = plan, single_keys, recipe, rng

    def times(self, scene: Scene, columns: Columns, copies: int) -> dict[int, int]:
        """How many rows each instance gets.

        Repeating one table of a join multiplies its rows by the number of copies, all of them by its powers.
        """
        if self._recipe.counted:
            blocks = [block for block in scene.blocks if block]
            if not blocks:
                return {}
            block = blocks[self._recipe.block]
            free = [instance for instance in block if not self._keyed(scene, columns, instance)]
            return {self._rng.choice(free or block): copies}
        times = dict.fromkeys(scene.instances, copies)
        if copies > 1 and self._rng.random() < 0.6:
            # Each block by its own number: both sides of an INTERSECT may count.
            blocks = [block for block in scene.blocks if block and self._rng.random() < 0.75]
            times = {self._rng.choice(block): self._rng.choice(self._recipe.copies) for block in blocks}
        return times

    def aimed(self, scene: Scene, columns: Columns, sample: Sample) -> dict[int, int]:
        """How many rows each instance gets where the values of a group are given: as many as are given."""
        times = dict.fromkeys(scene.instances, 1)
        tables = [table for table, _ in sample.columns]
        for table in dict.fromkeys(tables):
            if any(key[0] == table and key not in sample.once for key in sample.columns):
                # The innermost block is the one whose rows are aggregated.
                found = [i for block in scene.blocks for i in block if i in times and self._plan.tables[i] == table]
                times.update({found[-1]: len(sample.rows)} if found else {})
        self._follow(scene, columns, times, len(sample.rows))
        blocks = [block for block in scene.blocks if block]
        if not tables and blocks:
            counted = [instance for instance in blocks[-1] if instance in times]
            free = [instance for instance in counted if not self._keyed(scene, columns, instance)]
            times.update({(free or counted)[0]: len(sample.rows)} if counted else {})
        return times

    def _follow(self, scene: Scene, columns: Columns, times: dict[int, int], copies: int) -> None:
        """Repeats what is linked to a repeated row by a key of that row: each copy has its own key."""
        group = {scene.root(slot) for slot in (*scene.group, *scene.together)}
        for instance in [instance for instance, number in times.items() if number > 1]:
            name = self._plan.tables[instance]
            keys = {scene.root(slot) for c, slot in columns.get(instance, ()) if (name, c) in self._single_keys} - group
            for other in scene.instances:
                if any(scene.root(slot) in keys for _, slot in columns.get(other, ())):
                    times[other] = copies

    def given(self, sample: Sample, instance: int, number: int, times: Mapping[int, int]) -> dict[str, Value]:
        """What the copy of a row holds of a sample, by column."""
        name = self._plan.tables[instance]
        if number and times[instance] == 1:
            return {}
        repeated = times[instance] == len(sample.rows)
        return {
            key[1]: value
            for key, value in zip(sample.columns, sample.rows[number], strict=True)
            if key[0] == name and (repeated or key in sample.once)
        }

    def _keyed(self, scene: Scene, columns: Columns, instance: int) -> bool:
        """Whether a key of an instance links it to another one, so that it cannot repeat."""
        name = self._plan.tables[instance]
        keys = {scene.root(slot) for column, slot in columns.get(instance, ()) if (name, column) in self._single_keys}
        others = (slot for other in scene.instances if other != instance for _, slot in columns.get(other, ()))
        return any(scene.root(slot) in keys for slot in others)

    def shared(self, scene: Scene, columns: Columns, times: Mapping[int, int]) -> set[int]:
        """What links a row that is counted to one that is there once: it must stay."""
        once = [instance for instance in scene.instances if times.get(instance, 1) <= 1]
        return {scene.root(slot) for i in once for _, slot in columns.get(i, ())}

    def alone(self, scene: Scene, columns: Columns) -> set[int]:
        """Keys that link a row to no other one: each copy has its own."""
        seen: dict[int, list[bool]] = {}
        for instance in scene.instances:
            name = self._plan.tables[instance]
            for column, slot in columns.get(instance, ()):
                seen.setdefault(scene.root(slot), []).append((name, column) in self._single_keys)
        return {root for root, keys in seen.items() if keys == [True]}

    @staticmethod
    def held(scene: Scene, kept: set[int], root: int) -> bool:
        """Whether further copies of a row keep a value: it is what they are grouped by, or it meets a condition."""
        return root in kept or root in scene.nulls or bool(scene.wanted.get(root))
