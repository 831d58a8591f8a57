"""Draws the rows of one database from scenarios.

A scenario is one row per table reference of a query, drawn so that the query's condition holds on them together, or so
that exactly one part of it fails.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from text2sql.equivalence.databases.domains import Domain, Domains
from text2sql.equivalence.databases.plan import Condition, Plan, Query
from text2sql.equivalence.databases.recipes import Recipe
from text2sql.equivalence.databases.values import NEGATED, holds, stored_as
from text2sql.sql.ddl import TableSchema
from text2sql.sql.values import Row, Value

Database = dict[str, list[Row]]
# Copies of a scenario that are drawn; further ones repeat their rows.
_DRAWN = 40


@dataclass
class _Scenario:
    """Slots made equal, and the conditions on them."""

    parent: dict[int, int] = field(default_factory=dict)
    wanted: dict[int, list[tuple[Condition, bool]]] = field(default_factory=dict)
    nulls: set[int] = field(default_factory=set)
    related: list[tuple[int, str, int]] = field(default_factory=list)
    instances: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    blocks: list[list[int]] = field(default_factory=list)

    def root(self, slot: int) -> int:
        while slot in self.parent:
            slot = self.parent[slot]
        return slot

    def unite(self, a: int | None, b: int | None) -> None:
        if a is None or b is None:
            return
        a, b = self.root(a), self.root(b)
        if a != b:
            self.parent[b] = a
            self.wanted.setdefault(a, []).extend(self.wanted.pop(b, ()))


class Draw:
    """The random choices of one database."""

    def __init__(
        self,
        plan: Plan,
        columns: Mapping[int, list[tuple[str, int]]],
        tables: Mapping[str, TableSchema],
        domains: Domains,
        recipe: Recipe,
        rng: random.Random,
    ) -> None:
        self._plan, self._columns, self._tables, self._domains = plan, columns, tables, domains
        # A column that is its table's whole key needs distinct values.
        self._single_keys = {(name, key[0]) for name, table in tables.items() for key in table.keys if len(key) == 1}
        # Where rows are repeated often, the parts of longer keys need it too.
        self._keys = set(self._single_keys)
        self._many = max(recipe.copies) > 4
        if self._many:
            self._keys |= {(name, part) for name, table in tables.items() for key in table.keys for part in key}
        self._not_null = {
            (name, column)
            for name, table in tables.items()
            for column in table.columns
            if table.columns[column].not_null or column in table.primary_key
        }
        self._recipe, self._rng = recipe, rng
        self._serials: dict[tuple[str, str], int] = {}
        self._ordinary: dict[tuple[str, str], list[Value]] = {}
        self._styles: dict[int, int] = {}
        # Values of a key: enough of them that the copies of a scenario rarely collide.
        most = max(recipe.copies)
        self._distinct = max(12, recipe.size, 8 * most if most <= 8 else min(20_000, 2 * most * most))
        self._rowids = {name: table.rowid for name, table in self._tables.items()}

    # -- values

    def _free(self, key: tuple[str, str]) -> Value:
        """A value for a column that no condition speaks of."""
        rng, recipe = self._rng, self._recipe
        if self._many and key in self._keys:
            return self._serial(key)
        if recipe.nulls and key not in self._not_null and rng.random() < recipe.nulls:
            return None
        domain = self._domains.of[key]
        if key[1] == self._rowids[key[0]]:
            return self._integer(domain)
        if domain.literals and rng.random() < recipe.literals:
            return domain.literals[int(rng.random() * len(domain.literals))]
        pool = self._ordinary.get(key)
        if pool is None:
            style = self._styles.setdefault(id(domain), recipe.style + (rng.randrange(2) if recipe.style > 1 else 0))
            size = self._distinct if key in self._keys else recipe.size
            pool = self._ordinary[key] = domain.values(style, size)
            if recipe.style == 3 and domain.kind == "text":
                pool += [value for value in self._plan.literals if isinstance(value, str)][:6]
        return pool[int(rng.random() * len(pool))]

    def _serial(self, key: tuple[str, str]) -> Value:
        """The next value of a key of which many are needed, each another."""
        number = self._serials[key] = self._serials.get(key, self._rng.randrange(50)) + 1
        kind = self._domains.of[key].kind
        return number if kind in ("integer", "real", "boolean") or key[1] == self._rowids[key[0]] else f"k{number}"

    def _integer(self, domain: Domain) -> Value:
        """A value for an alias of the rowid."""
        numbers = [value for value in domain.literals if isinstance(value, int)]
        if numbers and self._rng.random() < self._recipe.literals:
            return numbers[int(self._rng.random() * len(numbers))]
        return self._rng.randint(1, self._distinct)

    def row(self, name: str, given: dict[str, Value]) -> Row:
        """A row with some values given."""
        rowid = self._rowids[name]
        if rowid in given and not isinstance(stored_as(given[rowid], "INTEGER"), int):
            given = {**given, rowid: self._rng.randint(1, self._distinct)}
        values = [
            given[column] if column in given else self._free((name, column)) for column in self._tables[name].columns
        ]
        return tuple(values)

    def noise(self, rows: Database) -> None:
        """Adds random rows."""
        for name in rows:
            for _ in range(self._recipe.noise):
                rows[name].append(self.row(name, {}))

    # -- scenarios

    def scenario(self, query: Query, satisfied: bool, rows: Database) -> None:
        """Adds the rows of one scenario and its copies."""
        scene = _Scenario()
        self._visit(query, satisfied, scene, 0)
        copies = self._rng.choice(self._recipe.copies)
        columns = dict(self._columns)
        self._merge(scene, columns)
        group = {scene.root(slot) for slot in scene.group}
        # Repeating one table of a join multiplies its rows by the number of copies, all of them by its powers.
        times = dict.fromkeys(scene.instances, copies)
        if copies > 1 and self._rng.random() < 0.6:
            # Each block by its own number: both sides of an INTERSECT may count.
            blocks = [block for block in scene.blocks if block and self._rng.random() < 0.75]
            times = {self._rng.choice(block): self._rng.choice(self._recipe.copies) for block in blocks}
        values: dict[int, Value] = {}
        made: dict[int, list[Row]] = {}
        for number in range(min(_DRAWN, max(times.values(), default=1))):
            if number:
                values = {
                    root: value
                    for root, value in values.items()
                    if root in group or self._rng.random() < self._recipe.keep
                }
            for a, op, b in scene.related:
                self._relate(scene, values, a, op, b)
            for instance in scene.instances:
                if number >= max(1, times.get(instance, 1)):
                    continue
                given = {column: self._value(scene, values, slot) for column, slot in columns.get(instance, ())}
                if number and self._rng.random() < self._recipe.keep:
                    given = {**self._kept(self._plan.tables[instance], made[instance][-1]), **given}
                made.setdefault(instance, []).append(self.row(self._plan.tables[instance], given))
        for instance, data in made.items():
            name = self._plan.tables[instance]
            rows[name] += data
            grouped = {column for column, slot in columns.get(instance, ()) if scene.root(slot) in group}
            rows[name] += self._repeated(name, data, times.get(instance, 1) - len(data), grouped)

    def _kept(self, name: str, row: Row) -> dict[str, Value]:
        """Some of the values of a row, for its next copy; not its key, where there are to be many."""
        return {
            column: value
            for column, value in zip(self._tables[name].columns, row, strict=True)
            if self._rng.random() < self._recipe.keep and not (self._many and (name, column) in self._keys)
        }

    def _repeated(self, name: str, data: list[Row], times: int, fixed: set[str]) -> list[Row]:
        """More rows like those of a group, each with its own key: hundreds of them must cost little."""
        places = [at for at, c in enumerate(self._tables[name].columns) if (name, c) in self._keys and c not in fixed]
        columns = list(self._tables[name].columns)
        found = []
        for _ in range(times):
            row = list(data[int(self._rng.random() * len(data))])
            for at in places:
                row[at] = self._free((name, columns[at]))
            found.append(tuple(row))
        return found

    def _merge(self, scene: _Scenario, columns: dict[int, list[tuple[str, int]]]) -> None:
        """Now and then lets two blocks of a query see one row: both sides of an INTERSECT, a query and its subquery."""
        if len(scene.blocks) < 2:
            return
        home = {instance: number for number, block in enumerate(scene.blocks) for instance in block}
        for second in list(scene.instances):
            for first in scene.instances:
                if first >= second or home[first] == home[second]:
                    continue
                if self._plan.tables[first] != self._plan.tables[second]:
                    continue
                shared = dict(columns.get(first, ()))
                linked = any(scene.root(shared.get(c, -1)) == scene.root(s) for c, s in columns.get(second, ()))
                if linked and self._rng.random() < 0.4:
                    for column, slot in columns.get(second, ()):
                        scene.unite(shared.get(column), slot)
                    columns[first] = list({**dict(columns[second]), **shared}.items())
                    scene.instances.remove(second)
                    break

    def _value(self, scene: _Scenario, values: dict[int, Value], slot: int) -> Value:
        root = scene.root(slot)
        if root not in values:
            values[root] = self._choose(scene, root)
        return values[root]

    def _choose(self, scene: _Scenario, root: int) -> Value:
        """A value that meets the conditions on a set of equal slots."""
        if root in scene.nulls:
            return None
        key = self._plan.column_of(root)
        wanted = scene.wanted.get(root)
        if not wanted:
            return self._free(key)
        node, want = wanted[int(self._rng.random() * len(wanted))]
        choices = self._domains.choices(node, want)
        if not want and self._recipe.nulls and self._rng.random() < self._recipe.nulls and key not in self._not_null:
            return None
        good = choices
        if len(wanted) > 1:
            good = [v for v in choices if all(self._domains.satisfies(n, w, v) for n, w in wanted if n is not node)]
        good = good or choices
        if not good:
            return self._free(key)
        # The first candidates are the literal itself and its nearest neighbours.
        return good[int(self._rng.random() ** 1.5 * len(good))]

    def _relate(self, scene: _Scenario, values: dict[int, Value], a: int, op: str, b: int) -> None:
        """Tries a few times to make ``a op b`` hold."""
        table, column = self._plan.column_of(a)
        affinity = self._tables[table].columns[column].affinity
        for _ in range(4):
            left, right = self._value(scene, values, a), self._value(scene, values, b)
            if holds(left, op, right, affinity):
                return
            values.pop(scene.root(a), None)
            values.pop(scene.root(b), None)

    def _visit(self, query: Query, want: bool, scene: _Scenario, depth: int) -> None:
        rng = self._rng
        if depth > 12:
            return
        if query.kind == "select":
            # A query that occurs twice, such as a CTE, keeps the rows that it has.
            scene.instances += [instance for instance in query.instances if instance not in scene.instances]
            scene.group += query.group
            scene.blocks.append(query.instances)
            self._walk(query.condition, want, scene, depth)
            return
        assert query.left and query.right
        if query.kind == "union":
            side = rng.randrange(3)
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
        if query.kind == "except" and outcome < 0.4:
            return
        right = failing != 1 if query.kind == "intersect" else outcome < 0.7
        self._visit(query.right, right, scene, depth + 1)
        self._unite_projections(query.left, query.right, scene)

    @staticmethod
    def _unite_projections(left: Query, right: Query, scene: _Scenario) -> None:
        for a, b in zip(left.projections, right.projections, strict=False):
            scene.unite(a, b)

    def _walk(self, node: Condition, want: bool, scene: _Scenario, depth: int) -> None:
        """Puts a condition, or its opposite, on a scenario."""
        kind, parts = node.kind, node.parts
        if kind == "not":
            self._walk(parts[0], not want, scene, depth)
        elif kind in ("and", "or"):
            if not parts:
                return
            # One part decides: the one that fails of a conjunction, the one that holds of a disjunction.
            chosen = int(self._rng.random() * len(parts)) if want == (kind == "or") else -1
            for index, part in enumerate(parts):
                if chosen < 0 or index == chosen:
                    self._walk(part, want, scene, depth)
                elif kind == "and" or self._rng.random() < 0.2:
                    self._walk(part, not want, scene, depth)
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
        elif node.query is not None:
            self._walk_query(node, want, scene, depth + 1)

    def _walk_query(self, node: Condition, want: bool, scene: _Scenario, depth: int) -> None:
        assert node.query is not None
        outcome = self._rng.random()
        member = node.slots[0] if node.kind == "in" and node.slots else None
        target = node.query.projections[0] if node.query.projections else None
        if want:
            self._visit(node.query, True, scene, depth)
            scene.unite(member, target)
        elif outcome < 0.5:
            self._visit(node.query, False, scene, depth)
            scene.unite(member, target)
        elif outcome < 0.75:
            self._visit(node.query, True, scene, depth)
