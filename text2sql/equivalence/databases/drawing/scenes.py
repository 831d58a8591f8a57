"""From the condition of a query to a scene: which columns are equal in it, and what each of them must meet."""

from __future__ import annotations

import random
from collections.abc import Set
from dataclasses import dataclass, field

from text2sql.equivalence.databases.plan import ColumnKey, Condition, Plan, Query
from text2sql.equivalence.databases.values.column_values import NEGATED

_DEEPEST = 12


@dataclass
class Scene:
    """One row for each instance of a query: slots made equal, and the conditions on them.

    Attributes:
        parent: Of each slot that another stands for, that slot.
        wanted: Of each set of equal slots, the conditions over it, and whether they shall hold.
        joint: Conditions over several columns, and whether they shall hold.
        checks: Those of them that are CHECKs of the tables.
        nulls: Sets of equal slots that are NULL.
        related: Comparisons between two slots.
        instances: Those that get rows.
        group: The slots of GROUP BY.
        shown: The slots that are shown next to a group.
        together: The slots of PARTITION BY, and those that link a row to others of its table.
        blocks: The instances of each SELECT.
        spread: Whether further results need further groups.
    """

    parent: dict[int, int] = field(default_factory=dict)
    wanted: dict[int, list[tuple[Condition, bool]]] = field(default_factory=dict)
    joint: list[tuple[Condition, bool]] = field(default_factory=list)
    checks: list[Condition] = field(default_factory=list)
    nulls: set[int] = field(default_factory=set)
    related: list[tuple[int, str, int]] = field(default_factory=list)
    instances: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    together: list[int] = field(default_factory=list)
    blocks: list[list[int]] = field(default_factory=list)
    spread: bool = False

    def root(self, slot: int) -> int:
        """The slot that stands for all that equal this one."""
        while slot in self.parent:
            slot = self.parent[slot]
        return slot

    def unite(self, a: int | None, b: int | None) -> None:
        """Makes two slots equal."""
        if a is None or b is None:
            return
        a, b = self.root(a), self.root(b)
        if a != b:
            self.parent[b] = a
            self.wanted.setdefault(a, []).extend(self.wanted.pop(b, ()))


class SceneMaker:
    """Makes scenes in which a query finds something, or just fails to.

    Args:
        plan: The compiled pair.
        not_null: The columns that hold no NULL.
        rng: Chooses what fails.
        counting: Whether what CASE and FILTER ask for holds, because the rows on which it does are counted.
        aiming: Whether the values are given of what decides, so that every part of a query sees the same rows.
    """

    def __init__(
        self, plan: Plan, not_null: Set[ColumnKey], rng: random.Random, *, counting: bool, aiming: bool
    ) -> None:
        self._plan, self._not_null, self._rng = plan, not_null, rng
        self._counting, self._aiming = counting, aiming

    def scene(self, query: Query, satisfied: bool) -> Scene:
        """A scene for a query."""
        scene = Scene()
        self._visit(query, satisfied, scene, 0)
        return scene

    def _visit(self, query: Query, want: bool, scene: Scene, depth: int) -> None:
        rng = self._rng
        if depth > _DEEPEST:
            return
        scene.spread |= query.spread
        if query.kind == "select":
            # A query that occurs twice, such as a CTE, keeps the rows that it has.
            scene.instances += [instance for instance in query.instances if instance not in scene.instances]
            # Of a DISTINCT, each row is its own group.
            scene.group += query.group or [slot for slot in query.projections if query.spread and slot is not None]
            scene.shown += [slot for slot in query.projections if query.group and slot is not None]
            scene.together += query.partition
            scene.blocks.append(query.instances)
            before = len(scene.joint)
            for constraint in query.constraints:
                self._walk(constraint, True, scene, depth)
            scene.checks += [condition for condition, _ in scene.joint[before:]]
            self._walk(query.condition, want, scene, depth)
            return
        assert query.left and query.right
        if query.kind == "union":
            side = 2 if self._aiming else rng.randrange(3)
            if side != 1:
                self._visit(query.left, want, scene, depth + 1)
            if side != 0:
                self._visit(query.right, want, scene, depth + 1)
            if side == 2 and rng.random() < 0.5:
                self._unite_projections(query.left, query.right, scene)
            return
        outcome = rng.random()
        failing = rng.randrange(2) if not want else -1
        self._visit(query.left, failing != 0, scene, depth + 1)
        if query.kind == "except" and outcome < 0.4 and not self._aiming:
            return
        right = failing != 1 if query.kind == "intersect" else outcome < 0.7 or self._aiming
        self._visit(query.right, right, scene, depth + 1)
        self._unite_projections(query.left, query.right, scene)

    @staticmethod
    def _unite_projections(left: Query, right: Query, scene: Scene) -> None:
        for a, b in zip(left.projections, right.projections, strict=False):
            scene.unite(a, b)

    def _walk(self, node: Condition, want: bool, scene: Scene, depth: int) -> None:
        """Puts a condition, or its opposite, on a scene."""
        kind = node.kind
        if kind == "not":
            self._walk(node.parts[0], not want, scene, depth)
        elif kind in ("and", "or"):
            self._walk_parts(node, want, scene, depth)
        elif kind == "eq":
            if want:
                scene.unite(*node.slots)
            elif self._rng.random() < 0.3:
                # Only NULL leaves a row without its partner where a foreign key is declared.
                slot = self._rng.choice(node.slots)
                if self._plan.column_of(slot) not in self._not_null:
                    scene.nulls.add(scene.root(slot))
        elif kind == "rel":
            a, b = node.slots
            scene.related.append((a, node.op if want else NEGATED[node.op], b))
        elif kind == "null":
            if want:
                scene.nulls.add(scene.root(node.slots[0]))
        elif kind in ("cmp", "func"):
            if len(node.slots) == 1 and (kind == "cmp" or node.expression is not None or node.op == "aggregate"):
                scene.wanted.setdefault(scene.root(node.slots[0]), []).append((node, want))
            elif len(node.slots) > 1 and node.expression is not None:
                scene.joint.append((node, want))
        elif node.query is not None:
            self._walk_query(node, want, scene, depth + 1)

    def _walk_parts(self, node: Condition, want: bool, scene: Scene, depth: int) -> None:
        kind, parts = node.kind, node.parts
        if not parts or (self._aiming and node.optional):
            return
        chosen = -1
        if want and self._counting and node.optional:
            chosen = 0
        elif want == (kind == "or") and not self._aiming:
            # One part decides: the one that fails of a conjunction, the one that holds of a disjunction. Mostly it is
            # one that the other query lacks. Where values are given, that one might fail: all are to hold then.
            differing = [index for index, part in enumerate(parts) if part.differs]
            if differing and len(differing) < len(parts) and self._rng.random() < 0.6:
                chosen = self._rng.choice(differing)
            else:
                chosen = int(self._rng.random() * len(parts))
        for index, part in enumerate(parts):
            if chosen < 0 or index == chosen:
                self._walk(part, want, scene, depth)
            elif kind == "and" or self._rng.random() < 0.2:
                self._walk(part, not want, scene, depth)

    def _walk_query(self, node: Condition, want: bool, scene: Scene, depth: int) -> None:
        assert node.query is not None
        outcome = self._rng.random()
        member = node.slots[0] if node.kind == "in" and node.slots else None
        target = node.query.projections[0] if node.query.projections else None
        if want or self._aiming:
            self._visit(node.query, True, scene, depth)
            scene.unite(member, target)
        elif outcome < 0.5:
            self._visit(node.query, False, scene, depth)
            scene.unite(member, target)
        elif outcome < 0.75:
            self._visit(node.query, True, scene, depth)
