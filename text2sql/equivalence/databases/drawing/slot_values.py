"""Chooses the values of the slots of a scenario: those that its conditions ask for, and free ones."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.drawing.layout import Layout
from text2sql.equivalence.databases.drawing.recipes import Recipe
from text2sql.equivalence.databases.drawing.row_counts import RowCounts
from text2sql.equivalence.databases.drawing.rows import RowMaker
from text2sql.equivalence.databases.drawing.scenarios import Scenario
from text2sql.equivalence.databases.values.comparisons import FLIPPED, holds, nearest_satisfying
from text2sql.sql.values import Row, Value

# Rows for a condition over several columns among which there is one at its boundary.
_BOUNDARY_ROWS = 8
# Times that the values of two columns are drawn before they are made to satisfy a comparison.
_MAX_DRAWS = 4
# Turns in which a row with an extreme value is at the boundary of its condition.
_BOUNDARY_TURNS = 4


@dataclass
class ScenarioDraft:
    """The rows of one scenario while they are drawn, copy by copy.

    Attributes:
        scenario: The scenario.
        roots: Of each instance the columns that are slots, with the roots of these.
        counts: How many rows each instance gets.
        kept: The roots whose values all copies share.
        key_roots: The roots that are keys, with one of the key columns.
        new_keys: Whether a key without a condition has a value that no other row has.
        own_keys: The roots of which each copy has a value of its own.
        values: By root the values of the copy that is being drawn.
        rows: By instance the rows that have been drawn.
    """

    scenario: Scenario
    roots: dict[int, list[tuple[str, int]]]
    counts: RowCounts
    kept: set[int]
    key_roots: dict[int, ColumnKey]
    new_keys: bool
    own_keys: set[int]
    values: dict[int, Value]
    rows: dict[int, list[Row]] = field(default_factory=dict)

    @property
    def copies(self) -> int:
        """How many copies the scenario has."""
        return max(self.counts.values(), default=1)

    def instances_of_copy(self, copy: int) -> Iterator[int]:
        """The instances of which a copy has a row of its own."""
        return (i for i in self.scenario.instances if copy < max(1, self.counts.get(i, 1)))


class SlotValues:
    """Chooses values in one database.

    Args:
        layout: The pair and its tables.
        recipe: How this database is made.
        rng: Makes the choices.
        rows: Makes the rows of the database.
    """

    def __init__(self, layout: Layout, recipe: Recipe, rng: random.Random, rows: RowMaker) -> None:
        self._layout, self._plan, self._tables, self._domains = layout, layout.plan, layout.tables, layout.domains
        self._recipe, self._rng, self._rows = recipe, rng, rows

    def value(self, draft: ScenarioDraft, slot: int) -> Value:
        """The value of a slot; chosen where there is none yet."""
        root = draft.scenario.root(slot)
        if root not in draft.values:
            draft.values[root] = self._choose(draft, root)
        return draft.values[root]

    def _choose(self, draft: ScenarioDraft, root: int) -> Value:
        """A value that satisfies the conditions on a set of equal slots."""
        if root in draft.scenario.nulls:
            return None
        key, recipe = self._plan.column_of(root), self._recipe
        wanted = draft.scenario.wanted.get(root)
        if not wanted:
            return self._free_value(draft, root)
        fails = not all(want for _, want in wanted)
        if fails and recipe.null_share and self._rng.random() < recipe.null_share and key not in self._layout.not_null:
            return None
        good = self.satisfying_values(draft.scenario, root)
        if not good:
            return self._rows.free(key)
        # The first candidates are the literal itself and its nearest neighbours.
        differs = any(node.differs for node, _ in wanted)
        if differs and self._rng.random() < recipe.boundary_share:
            if 0 < recipe.extreme_turn <= _BOUNDARY_TURNS:
                return good[0]
            return good[int(self._rng.random() * min(2, len(good)))]
        return good[int(self._rng.random() ** 1.5 * len(good))]

    def _free_value(self, draft: ScenarioDraft, root: int) -> Value:
        """A value for slots without a condition."""
        key = draft.key_roots.get(root)
        if key is not None and draft.new_keys:
            # A row that decides must not be taken for another one.
            return self._rows.serial(key)
        return self._rows.free(key if key is not None and self._rng.random() < 0.5 else self._plan.column_of(root))

    def satisfying_values(self, scenario: Scenario, root: int) -> Sequence[Value]:
        """Values that satisfy the conditions on a set of equal slots: all of them if possible, else one of them."""
        wanted = scenario.wanted[root]
        differing = [pair for pair in wanted if pair[0].differs]
        considered = differing if differing and self._rng.random() < self._recipe.boundary_share else wanted
        node, want = considered[int(self._rng.random() * len(considered))]
        choices = self._domains.choices(node, want)
        if len(wanted) == 1:
            return choices
        good = [v for v in choices if all(self._domains.satisfies(n, w, v) for n, w in wanted if n is not node)]
        return good or choices

    def choose_related(self, draft: ScenarioDraft, given: Set[int]) -> None:
        """Chooses the values of the slots that conditions relate to each other.

        Args:
            draft: Its values are added to.
            given: The roots whose values stay as they are.
        """
        self._choose_joint(draft)
        for a, op, b in draft.scenario.related:
            self._relate(draft, a, op, b, given)

    def _choose_joint(self, draft: ScenarioDraft) -> None:
        """Chooses the values of conditions over several columns together."""
        scenario, values = draft.scenario, draft.values
        for node, want in scenario.joint:
            roots = [scenario.root(slot) for slot in node.slots]
            if len(set(roots)) < len(roots) or any(root in values or root in scenario.nulls for root in roots):
                continue
            if any(node is check for check in scenario.checks) and any(scenario.wanted.get(root) for root in roots):
                # What a query asks of a column counts; `check_repair` adapts the others to it.
                continue
            candidates = self._domains.joint_rows(node, want)
            if node.differs and self._rng.random() < self._recipe.boundary_share:
                # Those on which the queries differ, and those at the boundary, come first.
                candidates = candidates[:_BOUNDARY_ROWS]
            if candidates:
                chosen = candidates[int(self._rng.random() ** 2 * len(candidates))]
                values.update(zip(roots, chosen, strict=True))

    def _relate(self, draft: ScenarioDraft, a: int, op: str, b: int, given: Set[int]) -> None:
        """Tries a few times to make ``a op b`` hold; then takes the nearest value that does, on the side that is free.

        Args:
            draft: Its values are changed.
            a: The slot on the left.
            op: The comparison.
            b: The slot on the right.
            given: The roots whose values stay as they are.
        """
        root_a, root_b = draft.scenario.root(a), draft.scenario.root(b)
        table, column = self._plan.column_of(a)
        affinity = self._tables[table].columns[column].affinity
        for _ in range(_MAX_DRAWS):
            left, right = self.value(draft, a), self.value(draft, b)
            if holds(left, op, right, affinity):
                return
            for root in {root_a, root_b} - given:
                draft.values.pop(root, None)
        changed, fixed, op = (b, a, FLIPPED[op]) if root_a in given else (a, b, op)
        root = draft.scenario.root(changed)
        nearest = None if root in given else nearest_satisfying(self.value(draft, fixed), op)
        if nearest is not None and self._domains.constraints.allows(self._plan.column_of(changed), nearest):
            draft.values[root] = nearest
