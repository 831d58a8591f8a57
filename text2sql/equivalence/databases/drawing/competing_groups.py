"""Groups that compete: of different sizes and sums, two of which another grouping makes one.

Queries that return the group with the most rows, or with the largest sum, differ where another group wins by another
grouping, or by another aggregate.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.drawing.layout import Layout
from text2sql.equivalence.databases.drawing.recipes import Recipe
from text2sql.equivalence.databases.drawing.rows import RowMaker
from text2sql.equivalence.databases.drawing.scenarios import ScenarioBuilder
from text2sql.sql.values import Value

# Ordinary values among which a summand is.
_SUMMANDS = 8
# Ordinary values that groups have in the columns that they are grouped by.
_GROUP_VALUES = 12
# Turns after which the choice of the columns that differ moves on by one, so that it meets every choice of sizes.
_SIZES_PER_TURN = 4


class CompetingGroups:
    """Chooses the values of groups in one database.

    Args:
        layout: The pair and its tables.
        recipe: How this database is made.
        rng: Makes the choices.
        rows: Makes the rows of the database.
        builder: Builds the scenarios of the database.
    """

    def __init__(
        self, layout: Layout, recipe: Recipe, rng: random.Random, rows: RowMaker, builder: ScenarioBuilder
    ) -> None:
        self._layout, self._plan, self._domains = layout, layout.plan, layout.domains
        self._recipe, self._rng, self._rows, self._builder = recipe, rng, rows, builder

    def summed_values(self, *, large: bool) -> dict[ColumnKey, Value]:
        """What the columns that are summed hold in a group: the largest value there is, or a small one."""
        keys = [key for key in sorted(self._plan.groups.summed_columns) if key in self._domains.of]
        values = {key: self._domains.extreme(key, low=False) if large else self._summand(key) for key in keys}
        return {key: value for key, value in values.items() if value is not None}

    def merging_groups(self) -> Iterator[tuple[int, dict[ColumnKey, Value]]]:
        """Groups of which the first two have the same values in all grouping columns but one.

        Yields:
            How many rows a group has, and the values of its columns.
        """
        generated = self._layout.generated
        grouping = [key for key in dict.fromkeys(self._grouping()) if key in self._domains.of and key not in generated]
        # Of equal summands, the group with the most rows has the largest sum.
        summands: dict[ColumnKey, Value] = {
            key: value
            for key in sorted(self._plan.groups.summed_columns - set(grouping))
            if (value := self._summand(key))
        }
        choices = [(key, equal) for key in grouping or (None,) for equal in ((True, False) if summands else (False,))]
        # Which column differs takes turns with the sizes, in another rhythm.
        turn = self._recipe.competition_turn
        differing, equal_summands = choices[(turn + turn // _SIZES_PER_TURN) % len(choices)]
        pools = {key: self._group_values(key, collision=key == differing) for key in grouping}
        for group, size in enumerate(self._recipe.exact_copies):
            values = dict(summands) if equal_summands else {}
            for key, pool in pools.items():
                if pool:
                    index = group if key == differing else max(0, group - 1)
                    values[key] = pool[index % len(pool)]
            yield size, values

    def _summand(self, key: ColumnKey) -> Value:
        """A positive number that a column may hold; None if there is none among its ordinary values."""
        pool = self._domains.pool(key, self._rows.style(key), _SUMMANDS) if key in self._domains.of else []
        return next((value for value in pool if isinstance(value, (int, float)) and value > 0), None)

    def _group_values(self, key: ColumnKey, *, collision: bool) -> list[Value]:
        """Different values for groups.

        Args:
            key: The column.
            collision: Whether an expression of the queries shall make the first two equal.
        """
        pool = list(self._domains.pool(key, self._rows.style(key), _GROUP_VALUES))
        self._rng.shuffle(pool)
        collisions = [own for own in self._layout.collisions if key in own.columns] if collision else []
        # What a collation takes for equal is one group whatever a query groups by, so that nothing would compete.
        collated = bool(self._layout.tables[key[0]].columns[key[1]].collation)
        if not collisions or (collated and self._rng.random() < 0.5):
            return pool
        buckets = self._rng.choice(collisions).buckets
        bucket = self._domains.constraints.allowed(key, self._rng.choice(buckets))
        pair = self._rng.sample(bucket, 2) if len(bucket) > 1 else bucket
        return [*pair, *(value for value in pool if value not in bucket)]

    def _grouping(self) -> list[ColumnKey]:
        """The columns that either query groups by, or shows next to a group."""
        keys: list[ColumnKey] = []
        for query in self._plan.queries:
            scenario = self._builder.build(query, True)
            keys += [self._plan.column_of(slot) for slot in (*scenario.group_by, *scenario.shown)]
        return keys
