"""Draws the rows of one database from scenarios.

A scenario is one row per table reference of a query, drawn so that the query's condition holds on them together, or so
that exactly one part of it fails.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import ColumnKey, Plan, Query
from text2sql.equivalence.databases.recipes import Recipe
from text2sql.equivalence.databases.rows import RowMaker
from text2sql.equivalence.databases.scenes import Scene, SceneMaker
from text2sql.equivalence.databases.values import beyond, holds
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Row, Value

Database = dict[str, list[Row]]
# Copies of a scenario that are drawn; further ones repeat their rows.
_DRAWN = 40


class Draw:
    """The random choices of one database.

    Args:
        plan: The compiled pair.
        columns: Of each instance the columns that are slots, with their numbers.
        tables: The tables that rows are made for.
        domains: What their columns hold.
        recipe: How this database is made.
        rng: Makes the choices.
    """

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
        self._recipe, self._rng = recipe, rng
        self._rows = RowMaker(tables, domains, recipe, rng)
        self.row = self._rows.row
        # Of each instance the slots that are keys, with these.
        single_keys = self._rows.single_keys
        self._key_slots = {
            instance: [(slot, key) for column, slot in found if (key := (plan.tables[instance], column)) in single_keys]
            for instance, found in columns.items()
        }
        self._maker = SceneMaker(plan, self._rows.not_null, rng)
        # Of the scenario at hand: its key columns, and whether their values must be new.
        self._linked: dict[int, ColumnKey] = {}
        self._fresh = False

    def noise(self, rows: Database) -> None:
        """Adds random rows."""
        for name in rows:
            for _ in range(self._recipe.noise):
                rows[name].append(self.row(name, {}))

    # -- scenarios

    def scenarios(self, query: Query, rows: Database) -> None:
        """Adds the rows of all scenarios of one query."""
        recipe = self._recipe
        if recipe.duel:
            self._duel(query, rows)
            return
        for number in range(recipe.satisfied + recipe.broken):
            copies = recipe.counted[number] if number < len(recipe.counted) else self._rng.choice(recipe.copies)
            self._scenario(query, number < recipe.satisfied, rows, copies)

    def deciding(self, rows: Database) -> None:
        """Adds two rows on the boundary of a condition: with the smallest values of all, and with the largest.

        Whose condition it is, and whether it holds, takes turns: what decides must not hang on luck.
        """
        turn, place = divmod(self._recipe.deciding - 1, len(self._plan.queries))
        query = self._plan.queries[place]
        for low in (True, False):
            given = {key: self._domains.extreme(key, low=low) for key in self._plan.extremes if key in self._domains.of}
            given = {key: value for key, value in given.items() if value is not None}
            self._scenario(query, turn % 2 == 0, rows, 1, given, low=low)

    def _duel(self, query: Query, rows: Database) -> None:
        """Groups of different sizes, of which the first two share the values of all grouping columns but one."""
        generated = {(name, key) for name, table in self._tables.items() for key in table.columns.keys() - table.given}
        grouping = [key for key in dict.fromkeys(self._grouping()) if key in self._domains.of and key not in generated]
        apart = self._rng.choice(grouping) if grouping else None
        pools = {key: self._rivals(key, meeting=key == apart) for key in grouping}
        for number, copies in enumerate(self._recipe.counted):
            given = {}
            for key, pool in pools.items():
                if pool:
                    place = number if key == apart else max(0, number - 1)
                    given[key] = pool[place % len(pool)]
            self._scenario(query, True, rows, copies, given)

    def _rivals(self, key: ColumnKey, *, meeting: bool) -> list[Value]:
        """Different values for groups; the first two may come out the same by what a query groups by."""
        pool = list(self._domains.pool(key, self._rows.style(key), 12))
        self._rng.shuffle(pool)
        found = [met for met in self._domains.meetings if key in met.columns] if meeting else []
        if not found:
            return pool
        buckets = self._rng.choice(found).buckets
        bucket = self._domains.declared.fitting(key, self._rng.choice(buckets))
        pair = self._rng.sample(bucket, 2) if len(bucket) > 1 else bucket
        others = [value for value in pool if value not in bucket]
        return [*pair, *others]

    def _grouping(self) -> list[ColumnKey]:
        """The columns that either query groups by, or shows next to a group."""
        found: list[ColumnKey] = []
        for query in self._plan.queries:
            scene = self._maker.scene(query, True)
            found += [self._plan.column_of(slot) for slot in scene.group]
        return found

    def _scenario(
        self,
        query: Query,
        satisfied: bool,
        rows: Database,
        copies: int,
        fixed: Mapping[ColumnKey, Value] | None = None,
        *,
        low: bool | None = None,
    ) -> None:
        """Adds the rows of one scenario and its copies.

        Args:
            query: Whose scenario it is.
            satisfied: Whether the query finds the rows; else one part of its condition fails.
            rows: Of the database; added to.
            copies: How often one of the tables of each block has its row.
            fixed: Values of columns on which there is no condition.
            low: Whether columns on which there is one are as small, or as large, as it allows.
        """
        scene = self._maker.scene(query, satisfied)
        if self._recipe.counted:
            # How many rows there are decides, not what is in them.
            scene.wanted = {
                root: [(node, want) for node, want in wanted if node.op != "aggregate"]
                for root, wanted in scene.wanted.items()
            }
        columns = self._merged(scene) if len(scene.blocks) > 1 else self._columns
        group = {scene.root(slot) for slot in scene.group}
        spread = self._recipe.spread and scene.spread
        times = dict.fromkeys(scene.instances, copies) if spread else self._times(scene, columns, copies)
        values = self._fixed(scene, columns, fixed, low) if fixed else {}
        kept = set() if spread else group | values.keys()
        if self._recipe.counted and not spread:
            kept |= self._shared(scene, columns, times)
        self._linked = {scene.root(slot): key for i in scene.instances for slot, key in self._key_slots.get(i, ())}
        self._fresh = low is not None
        made: dict[int, list[Row]] = {}
        most = max(times.values(), default=1)
        single = self._alone(scene, columns) if most > 1 else set()
        for number in range(most if spread else min(_DRAWN, most)):
            if number:
                stay = kept | {r for r in values if r not in single and self._rng.random() < self._recipe.keep}
                values = {r: v for r, v in values.items() if r in stay}
            if spread:
                # Each copy in its own group: what it groups by is new.
                values = {r: self._rows.serial(self._plan.column_of(r)) for r in group if not scene.wanted.get(r)}
            if scene.joint:
                self._join(scene, values)
            for a, op, b in scene.related:
                self._relate(scene, values, a, op, b)
            for instance in scene.instances:
                if number >= max(1, times.get(instance, 1)):
                    continue
                name = self._plan.tables[instance]
                given = {column: self._value(scene, values, slot) for column, slot in columns.get(instance, ())}
                if fixed:
                    given = {**{column: value for (table, column), value in fixed.items() if table == name}, **given}
                if number and self._rng.random() < self._recipe.keep:
                    given = {**self._kept(name, made[instance][-1]), **given}
                made.setdefault(instance, []).append(self.row(name, given))
        for instance, data in made.items():
            name = self._plan.tables[instance]
            rows[name] += data
            further = times.get(instance, 1) - len(data)
            if further > 0:
                slots = columns.get(instance, ())
                held = {column for column, slot in slots if self._held(scene, kept, scene.root(slot))}
                rows[name] += self._repeated(name, data, further, held)

    def _alone(self, scene: Scene, columns: Mapping[int, list[tuple[str, int]]]) -> set[int]:
        """Keys that link a row to no other one: each copy has its own."""
        seen: dict[int, list[bool]] = {}
        for instance in scene.instances:
            name = self._plan.tables[instance]
            for column, slot in columns.get(instance, ()):
                seen.setdefault(scene.root(slot), []).append((name, column) in self._rows.single_keys)
        return {root for root, keys in seen.items() if keys == [True]}

    @staticmethod
    def _held(scene: Scene, kept: set[int], root: int) -> bool:
        """Whether further copies of a row keep a value: it is what they are grouped by, or it meets a condition."""
        return root in kept or root in scene.nulls or bool(scene.wanted.get(root))

    def _shared(self, scene: Scene, columns: Mapping[int, list[tuple[str, int]]], times: Mapping[int, int]) -> set[int]:
        """What links a row that is counted to one that is there once: it must stay."""
        once = [instance for instance in scene.instances if times.get(instance, 1) <= 1]
        return {scene.root(slot) for i in once for _, slot in columns.get(i, ())}

    def _times(self, scene: Scene, columns: Mapping[int, list[tuple[str, int]]], copies: int) -> dict[int, int]:
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

    def _keyed(self, scene: Scene, columns: Mapping[int, list[tuple[str, int]]], instance: int) -> bool:
        """Whether a key of an instance links it to another one, so that it cannot repeat."""
        name = self._plan.tables[instance]
        keys = {
            scene.root(slot) for column, slot in columns.get(instance, ()) if (name, column) in self._rows.single_keys
        }
        others = (slot for other in scene.instances if other != instance for _, slot in columns.get(other, ()))
        return any(scene.root(slot) in keys for slot in others)

    def _fixed(
        self,
        scene: Scene,
        columns: Mapping[int, list[tuple[str, int]]],
        fixed: Mapping[ColumnKey, Value],
        low: bool | None,
    ) -> dict[int, Value]:
        """The values of the columns that are given, by the slot that stands for them."""
        values: dict[int, Value] = {}
        for instance in scene.instances:
            name = self._plan.tables[instance]
            for column, slot in columns.get(instance, ()):
                root = scene.root(slot)
                if (name, column) not in fixed or root in values or root in scene.nulls:
                    continue
                if not scene.wanted.get(root):
                    values[root] = fixed[name, column]
                elif low is not None:
                    good = [value for value in self._good(scene, root) if isinstance(value, (int, float))]
                    if good:
                        values[root] = min(good) if low else max(good)
        return values

    def _kept(self, name: str, row: Row) -> dict[str, Value]:
        """Some of the values of a row, for its next copy; not its key."""
        return {
            column: value
            for column, value in zip(self._tables[name].columns, row, strict=True)
            if (name, column) not in self._rows.keys and self._rng.random() < self._recipe.keep
        }

    def _repeated(self, name: str, data: list[Row], times: int, fixed: set[str]) -> list[Row]:
        """More rows like those of a group, each with its own key: hundreds of them must cost little."""
        fresh = set(self._tables[name].given) if self._recipe.distinct else {c for n, c in self._rows.keys if n == name}
        places = [at for at, c in enumerate(self._tables[name].columns) if c in fresh and c not in fixed]
        columns = list(self._tables[name].columns)
        found = []
        for _ in range(times):
            row = list(data[int(self._rng.random() * len(data))])
            for at in places:
                row[at] = self._rows.free((name, columns[at]))
            found.append(tuple(row))
        return found

    def _merged(self, scene: Scene) -> Mapping[int, list[tuple[str, int]]]:
        """The columns of each instance, after now and then letting two blocks of a query see one row.

        They may be both sides of an INTERSECT, or a query and its subquery.
        """
        columns = dict(self._columns)
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
        return columns

    def _value(self, scene: Scene, values: dict[int, Value], slot: int) -> Value:
        root = scene.root(slot)
        if root not in values:
            values[root] = self._choose(scene, root)
        return values[root]

    def _good(self, scene: Scene, root: int) -> Sequence[Value]:
        """Values that meet the conditions on a set of equal slots: one of them for certain, all if there are any."""
        wanted = scene.wanted[root]
        differing = [pair for pair in wanted if pair[0].differs]
        chosen = differing if differing and self._rng.random() < self._recipe.boundary else wanted
        node, want = chosen[int(self._rng.random() * len(chosen))]
        choices = self._domains.choices(node, want)
        if len(wanted) == 1:
            return choices
        good = [v for v in choices if all(self._domains.satisfies(n, w, v) for n, w in wanted if n is not node)]
        return good or choices

    def _choose(self, scene: Scene, root: int) -> Value:
        """A value that meets the conditions on a set of equal slots."""
        if root in scene.nulls:
            return None
        key, recipe = self._plan.column_of(root), self._recipe
        wanted = scene.wanted.get(root)
        if not wanted:
            if root in self._linked and self._fresh:
                # A row that decides must not be taken for another one.
                return self._rows.serial(self._linked[root])
            return self._rows.free(self._linked[root] if root in self._linked and self._rng.random() < 0.5 else key)
        failing = not all(want for _, want in wanted)
        if failing and recipe.nulls and self._rng.random() < recipe.nulls and key not in self._rows.not_null:
            return None
        good = self._good(scene, root)
        if not good:
            return self._rows.free(key)
        # The first candidates are the literal itself and its nearest neighbours.
        differs = any(node.differs for node, _ in wanted)
        if differs and self._rng.random() < recipe.boundary:
            # In its first turns, a deciding row is the nearest there is.
            return good[0 if 0 < recipe.deciding <= 4 else int(self._rng.random() * min(2, len(good)))]
        return good[int(self._rng.random() ** 1.5 * len(good))]

    def _join(self, scene: Scene, values: dict[int, Value]) -> None:
        """Chooses the values of conditions over several columns together."""
        for node, want in scene.joint:
            roots = [scene.root(slot) for slot in node.slots]
            if len(set(roots)) < len(roots) or any(root in values or root in scene.nulls for root in roots):
                continue
            found = self._domains.joint(node, want)
            if found:
                values.update(zip(roots, found[int(self._rng.random() ** 2 * len(found))], strict=True))

    def _relate(self, scene: Scene, values: dict[int, Value], a: int, op: str, b: int) -> None:
        """Tries a few times to make ``a op b`` hold."""
        table, column = self._plan.column_of(a)
        affinity = self._tables[table].columns[column].affinity
        for _ in range(4):
            left, right = self._value(scene, values, a), self._value(scene, values, b)
            if holds(left, op, right, affinity):
                return
            values.pop(scene.root(a), None)
            values.pop(scene.root(b), None)
        right = self._value(scene, values, b)
        left = beyond(right, op)
        if left is not None and self._domains.declared.suits((table, column), left):
            values[scene.root(a)] = left
