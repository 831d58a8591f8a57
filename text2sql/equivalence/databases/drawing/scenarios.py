"""A scenario: one row for each table reference of a query, and what the query's condition says of these rows together.

The builder decides what a query shall find: that its condition holds, or that exactly one part of it fails.
"""

from __future__ import annotations

import random
from collections.abc import Set
from dataclasses import dataclass, field

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.plan import Condition, Plan, Query
from text2sql.equivalence.databases.values.comparisons import NEGATED

# Queries within queries that are followed.
_MAX_DEPTH = 12


@dataclass
class Scenario:
    """Slots made equal, and the conditions on them.

    A set of equal slots is named by one of them, its *root*.

    Attributes:
        parent: Of each slot that another stands for, that slot (union-find).
        wanted: By root the conditions over a set of equal slots, and whether they shall hold.
        joint: Conditions over several columns, and whether they shall hold.
        checks: The joint conditions that are CHECKs of the tables.
        nulls: The roots of slots that are NULL.
        related: Comparisons between two slots, as first slot, operator and second slot.
        instances: The instances that get rows.
        group_by: The slots of GROUP BY.
        shown: The slots that are shown next to a group.
        shared: The slots of PARTITION BY, and those that link a row to others of its table.
        selects: The instances of each SELECT, the outermost first.
        one_row_per_group: Whether further results need further groups.
    """

    parent: dict[int, int] = field(default_factory=dict)
    wanted: dict[int, list[tuple[Condition, bool]]] = field(default_factory=dict)
    joint: list[tuple[Condition, bool]] = field(default_factory=list)
    checks: list[Condition] = field(default_factory=list)
    nulls: set[int] = field(default_factory=set)
    related: list[tuple[int, str, int]] = field(default_factory=list)
    instances: list[int] = field(default_factory=list)
    group_by: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    selects: list[list[int]] = field(default_factory=list)
    one_row_per_group: bool = False

    def root(self, slot: int) -> int:
        """The slot that stands for all that equal this one."""
        while slot in self.parent:
            slot = self.parent[slot]
        return slot

    def unite(self, a: int | None, b: int | None) -> None:
        """Makes two slots equal; does nothing where one of them is None."""
        if a is None or b is None:
            return
        a, b = self.root(a), self.root(b)
        if a != b:
            self.parent[b] = a
            self.wanted.setdefault(a, []).extend(self.wanted.pop(b, ()))

    def drop_group_conditions(self) -> None:
        """Drops the conditions over groups: how many rows there are decides them, not what is in one row."""
        self.wanted = {
            root: [(node, want) for node, want in wanted if not node.over_groups]
            for root, wanted in self.wanted.items()
        }


class ScenarioBuilder:
    """Builds scenarios in which a query finds something, or just fails to.

    Args:
        plan: The compiled pair.
        not_null: The columns that hold no NULL.
        rng: Chooses what fails.
        cases_hold: Whether the conditions of CASE and FILTER hold, because the rows on which they do are counted.
        from_samples: Whether the values that decide are given, so that every part of a query sees the same rows.
    """

    def __init__(
        self, plan: Plan, not_null: Set[ColumnKey], rng: random.Random, *, cases_hold: bool, from_samples: bool
    ) -> None:
        self._plan, self._not_null, self._rng = plan, not_null, rng
        self._cases_hold, self._from_samples = cases_hold, from_samples

    def build(self, query: Query, satisfied: bool) -> Scenario:
        """A scenario for a query, which finds its rows or just fails to."""
        scenario = Scenario()
        self._add_query(query, satisfied, scenario, 0)
        return scenario

    def _add_query(self, query: Query, want: bool, scenario: Scenario, depth: int) -> None:
        if depth > _MAX_DEPTH:
            return
        scenario.one_row_per_group |= query.one_row_per_group
        if query.kind == "select":
            self._add_select(query, want, scenario, depth)
        elif query.kind == "union":
            self._add_union(query, want, scenario, depth)
        else:
            self._add_intersection(query, want, scenario, depth)

    def _add_select(self, query: Query, want: bool, scenario: Scenario, depth: int) -> None:
        # A query that occurs twice, such as a CTE, keeps the rows that it has.
        scenario.instances += [instance for instance in query.instances if instance not in scenario.instances]
        # Of a DISTINCT, each row is its own group.
        distinct = [slot for slot in query.projections if query.one_row_per_group and slot is not None]
        scenario.group_by += query.group_by or distinct
        scenario.shown += [slot for slot in query.projections if query.group_by and slot is not None]
        scenario.shared += query.partition_by
        scenario.selects.append(query.instances)
        joint_before = len(scenario.joint)
        for check in query.checks:
            self._add_condition(check, True, scenario, depth)
        scenario.checks += [condition for condition, _ in scenario.joint[joint_before:]]
        self._add_condition(query.condition, want, scenario, depth)

    def _add_union(self, query: Query, want: bool, scenario: Scenario, depth: int) -> None:
        assert query.left and query.right
        both = 2
        side = both if self._from_samples else self._rng.randrange(3)
        if side != 1:
            self._add_query(query.left, want, scenario, depth + 1)
        if side != 0:
            self._add_query(query.right, want, scenario, depth + 1)
        if side == both and self._rng.random() < 0.5:
            self._unite_projections(query.left, query.right, scenario)

    def _add_intersection(self, query: Query, want: bool, scenario: Scenario, depth: int) -> None:
        """INTERSECT and EXCEPT."""
        assert query.left and query.right
        outcome = self._rng.random()
        failing = self._rng.randrange(2) if not want else -1
        self._add_query(query.left, failing != 0, scenario, depth + 1)
        if query.kind == "except" and outcome < 0.4 and not self._from_samples:
            return
        right = failing != 1 if query.kind == "intersect" else outcome < 0.7 or self._from_samples
        self._add_query(query.right, right, scenario, depth + 1)
        self._unite_projections(query.left, query.right, scenario)

    @staticmethod
    def _unite_projections(left: Query, right: Query, scenario: Scenario) -> None:
        for a, b in zip(left.projections, right.projections, strict=False):
            scenario.unite(a, b)

    def _add_condition(self, node: Condition, want: bool, scenario: Scenario, depth: int) -> None:
        """Adds a condition, or its opposite."""
        kind = node.kind
        if kind == "not":
            self._add_condition(node.parts[0], not want, scenario, depth)
        elif kind in ("and", "or"):
            self._add_parts(node, want, scenario, depth)
        elif kind == "equal":
            if want:
                scenario.unite(*node.slots)
            elif self._rng.random() < 0.3:
                # Only NULL leaves a row without its partner where a foreign key is declared.
                slot = self._rng.choice(node.slots)
                if self._plan.column_of(slot) not in self._not_null:
                    scenario.nulls.add(scenario.root(slot))
        elif kind == "relate":
            a, b = node.slots
            scenario.related.append((a, node.op if want else NEGATED[node.op], b))
        elif kind == "null":
            if want:
                scenario.nulls.add(scenario.root(node.slots[0]))
        elif kind in ("compare", "expression"):
            if len(node.slots) == 1 and (kind == "compare" or node.expression is not None or node.over_groups):
                scenario.wanted.setdefault(scenario.root(node.slots[0]), []).append((node, want))
            elif len(node.slots) > 1 and node.expression is not None:
                scenario.joint.append((node, want))
        elif node.subquery is not None:
            self._add_subquery(node, want, scenario, depth + 1)

    def _add_parts(self, node: Condition, want: bool, scenario: Scenario, depth: int) -> None:
        """Adds the parts of a conjunction or disjunction."""
        kind, parts = node.kind, node.parts
        if not parts or (self._from_samples and node.optional):
            return
        # Which of the parts decides; -1 where all are alike.
        chosen = -1
        if want and self._cases_hold and node.optional:
            chosen = 0
        elif want == (kind == "or") and not self._from_samples:
            # One part decides: the one that fails of a conjunction, the one that holds of a disjunction. Mostly it is
            # one that the other query lacks. Where values are given, that one might fail: all are to hold then.
            differing = [index for index, part in enumerate(parts) if part.differs]
            if differing and len(differing) < len(parts) and self._rng.random() < 0.6:
                chosen = self._rng.choice(differing)
            else:
                chosen = int(self._rng.random() * len(parts))
        for index, part in enumerate(parts):
            if chosen < 0 or index == chosen:
                self._add_condition(part, want, scenario, depth)
            elif kind == "and" or self._rng.random() < 0.2:
                self._add_condition(part, not want, scenario, depth)

    def _add_subquery(self, node: Condition, want: bool, scenario: Scenario, depth: int) -> None:
        """Adds a subquery that finds something; or one that does not, or does not find the value, or no rows at all."""
        assert node.subquery is not None
        outcome = self._rng.random()
        member = node.slots[0] if node.kind == "in" and node.slots else None
        target = node.subquery.projections[0] if node.subquery.projections else None
        if want or self._from_samples:
            self._add_query(node.subquery, True, scenario, depth)
            scenario.unite(member, target)
        elif outcome < 0.5:
            self._add_query(node.subquery, False, scenario, depth)
            scenario.unite(member, target)
        elif outcome < 0.75:
            self._add_query(node.subquery, True, scenario, depth)
