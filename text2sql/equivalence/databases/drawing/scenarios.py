"""Draws the rows of one database from scenarios.

A scenario is one row per table reference of a query, drawn so that the query's condition holds on them together, or so
that exactly one part of it fails.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set

from text2sql.equivalence.databases.drawing.layout import Columns, Layout
from text2sql.equivalence.databases.drawing.multiplicity import Copies
from text2sql.equivalence.databases.drawing.recipes import Recipe
from text2sql.equivalence.databases.drawing.rows import RowMaker
from text2sql.equivalence.databases.drawing.scenes import Scene, SceneMaker
from text2sql.equivalence.databases.plan import ColumnKey, Query
from text2sql.equivalence.databases.samples import Sample
from text2sql.equivalence.databases.values.column_values import FLIPPED, beyond, holds
from text2sql.sql.values import Row, Value

Database = dict[str, list[Row]]
# Values of a condition over several columns among which one at its boundary is.
_FIRST = 8
# Copies of a scenario that are drawn; further ones repeat their rows.
_DRAWN = 40


class Draw:
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
        self._copies = Copies(layout.plan, layout.single_keys, recipe, rng)
        self._maker = SceneMaker(layout.plan, layout.not_null, rng, counting=bool(recipe.counted), aiming=recipe.aimed)
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
            given = None
            if recipe.against:
                copies, given = (max(recipe.copies) if number else min(recipe.copies)), self._weights(heavy=not number)
            self._scenario(query, number < recipe.satisfied, rows, copies, given)

    def aimed(self, samples: Sequence[Sample], rows: Database) -> None:
        """Adds the rows of samples: groups at a boundary, values that meet."""
        for sample in samples:
            self._scenario(self._plan.queries[sample.query], True, rows, len(sample.rows), sample=sample)

    def found(self, query: Query, rows: Database, given: Mapping[ColumnKey, Value]) -> None:
        """Adds one row for each table of a query that finds them, with some values given."""
        self._scenario(query, True, rows, 1, given)

    def _weights(self, *, heavy: bool) -> dict[ColumnKey, Value]:
        """What the columns that are summed hold in a group: the most there is, or little."""
        keys = [key for key in sorted(self._plan.summed) if key in self._domains.of]
        found = {key: self._domains.extreme(key, low=False) if heavy else self._summand(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

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
        # Of equal summands, the group with the most rows has the largest sum.
        summands: dict[ColumnKey, Value] = {
            key: value for key in sorted(self._plan.summed - set(grouping)) if (value := self._summand(key))
        }
        ways = [(key, equal) for key in grouping or (None,) for equal in ((True, False) if summands else (False,))]
        # What is apart takes turns with the sizes, in another rhythm.
        apart, equal = ways[(self._recipe.duel + self._recipe.duel // 4) % len(ways)]
        pools = {key: self._rivals(key, collision=key == apart) for key in grouping}
        for number, copies in enumerate(self._recipe.counted):
            given = dict(summands) if equal else {}
            for key, pool in pools.items():
                if pool:
                    place = number if key == apart else max(0, number - 1)
                    given[key] = pool[place % len(pool)]
            self._scenario(query, True, rows, copies, given)

    def _summand(self, key: ColumnKey) -> Value:
        """A positive number that a column may hold; None if there is none at hand."""
        pool = self._domains.pool(key, self._rows.style(key), 8) if key in self._domains.of else []
        return next((value for value in pool if isinstance(value, (int, float)) and value > 0), None)

    def _rivals(self, key: ColumnKey, *, collision: bool) -> list[Value]:
        """Different values for groups; the first two may come out the same by what a query groups by."""
        pool = list(self._domains.pool(key, self._rows.style(key), 12))
        self._rng.shuffle(pool)
        found = [met for met in self._domains.collisions if key in met.columns] if collision else []
        # What a collation takes for equal is one group whatever a query groups by, so that nothing would compete.
        if not found or (self._tables[key[0]].columns[key[1]].collation and self._rng.random() < 0.5):
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
            found += [self._plan.column_of(slot) for slot in (*scene.group, *scene.shown)]
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
        sample: Sample | None = None,
    ) -> None:
        """Adds the rows of one scenario and its copies.

        Args:
            query: Whose scenario it is.
            satisfied: Whether the query finds the rows; else one part of its condition fails.
            rows: Of the database; added to.
            copies: How often one of the tables of each block has its row.
            fixed: Values of columns on which there is no condition.
            low: Whether columns on which there is one are as small, or as large, as it allows.
            sample: What the copies hold, whatever the conditions say.
        """
        scene = self._maker.scene(query, satisfied)
        if self._recipe.counted or sample:
            # How many rows there are decides, not what is in them.
            scene.wanted = {
                root: [(node, want) for node, want in wanted if node.op != "aggregate"]
                for root, wanted in scene.wanted.items()
            }
        alone = {table for table, _ in sample.columns} if sample and sample.ranked else set()
        columns = self._merged(scene, alone) if len(scene.blocks) > 1 else self._layout.columns
        grouping = [] if sample and sample.apart else scene.group
        group = {scene.root(slot) for slot in (*grouping, *(scene.together if sample else ()))}
        spread = self._recipe.spread and scene.spread
        if sample:
            times = self._copies.aimed(scene, columns, sample)
        else:
            times = dict.fromkeys(scene.instances, copies) if spread else self._copies.times(scene, columns, copies)
        values = self._fixed(scene, columns, fixed, low) if fixed else {}
        kept = set() if spread else group | values.keys()
        if (self._recipe.counted and not spread) or sample:
            kept |= self._copies.shared(scene, columns, times)
        self._linked = {
            scene.root(slot): key for i in scene.instances for slot, key in self._layout.key_slots.get(i, ())
        }
        self._fresh = low is not None
        roots = {i: [(column, scene.root(slot)) for column, slot in columns.get(i, ())] for i in scene.instances}
        made: dict[int, list[Row]] = {}
        most = max(times.values(), default=1)
        single = self._copies.alone(scene, columns) if most > 1 else set()
        for number in range(most if spread or sample else min(_DRAWN, most)):
            if number:
                stay = kept | {r for r in values if r not in single and self._rng.random() < self._recipe.keep}
                values = {r: v for r, v in values.items() if r in stay}
            if spread:
                # Each copy in its own group: what it groups by is new.
                values = {r: self._rows.serial(self._plan.column_of(r)) for r in group if not scene.wanted.get(r)}
            aims: dict[int, dict[str, Value]] = {}
            given_roots: dict[int, Value] = {}
            for instance in scene.instances if sample else ():
                assert sample
                aim = aims[instance] = self._copies.given(sample, instance, number, times)
                given_roots.update({root: aim[c] for c, root in roots[instance] if c in aim})
            values.update(given_roots)
            if scene.joint:
                self._join(scene, values)
            for a, op, b in scene.related:
                self._relate(scene, values, (a, op, b), given_roots.keys())
            for instance in scene.instances:
                if number >= max(1, times.get(instance, 1)):
                    continue
                name = self._plan.tables[instance]
                given = {
                    column: values[root] if root in values else self._chosen(scene, values, root)
                    for column, root in roots[instance]
                }
                if fixed:
                    given = {**{column: value for (table, column), value in fixed.items() if table == name}, **given}
                if number and self._rng.random() < self._recipe.keep:
                    given = {**self._kept(name, made[instance][-1]), **given}
                if aims:
                    given |= aims[instance]
                made.setdefault(instance, []).append(self.row(name, given))
        for instance, data in made.items():
            name = self._plan.tables[instance]
            rows[name] += data
            further = times.get(instance, 1) - len(data)
            if further > 0:
                held = {column for column, root in roots[instance] if self._copies.held(scene, kept, root)}
                rows[name] += self._repeated(name, data, further, held)

    def _fixed(
        self,
        scene: Scene,
        columns: Columns,
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

    def _merged(self, scene: Scene, alone: Set[str]) -> Columns:
        """The columns of each instance, after now and then letting two blocks of a query see one row.

        They may be both sides of an INTERSECT, or a query and its subquery. Of the tables in ``alone`` there are no
        rows but those that all blocks see.
        """
        columns = dict(self._layout.columns)
        home = {instance: number for number, block in enumerate(scene.blocks) for instance in block}
        for second in list(scene.instances):
            for first in scene.instances:
                if first >= second or home[first] == home[second]:
                    continue
                if self._plan.tables[first] != self._plan.tables[second]:
                    continue
                shared = dict(columns.get(first, ()))
                linked = [s for c, s in columns.get(second, ()) if scene.root(shared.get(c, -1)) == scene.root(s)]
                only = self._plan.tables[first] in alone
                if only or (linked and self._rng.random() < self._recipe.merge):
                    scene.together += linked if only else []
                    for column, slot in columns.get(second, ()):
                        scene.unite(shared.get(column), slot)
                    columns[first] = list({**dict(columns.get(second, ())), **shared}.items())
                    scene.instances.remove(second)
                    break
        return columns

    def _chosen(self, scene: Scene, values: dict[int, Value], root: int) -> Value:
        """The value of a set of equal slots, now that there is none yet."""
        value = values[root] = self._choose(scene, root)
        return value

    def _value(self, scene: Scene, values: dict[int, Value], slot: int) -> Value:
        root = scene.root(slot)
        return values[root] if root in values else self._chosen(scene, values, root)

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
        if failing and recipe.nulls and self._rng.random() < recipe.nulls and key not in self._layout.not_null:
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
            if any(node is check for check in scene.checks) and any(scene.wanted.get(root) for root in roots):
                # What a query asks of a column counts; the others follow from it, see `check_repair`.
                continue
            found = self._domains.joint(node, want)
            if node.differs and self._rng.random() < self._recipe.boundary:
                # Those on which the queries part, and such as meet the condition or miss it by the least, come first.
                found = found[:_FIRST]
            if found:
                values.update(zip(roots, found[int(self._rng.random() ** 2 * len(found))], strict=True))

    def _relate(self, scene: Scene, values: dict[int, Value], related: tuple[int, str, int], given: Set[int]) -> None:
        """Tries a few times to make ``a op b`` hold; values that are given stay."""
        a, op, b = related
        key = self._plan.column_of(a)
        affinity = self._tables[key[0]].columns[key[1]].affinity
        for _ in range(4):
            left, right = self._value(scene, values, a), self._value(scene, values, b)
            if holds(left, op, right, affinity):
                return
            for root in {scene.root(a), scene.root(b)} - given:
                values.pop(root, None)
        # The nearest that holds, on the side that is free.
        other, to, op = (b, a, FLIPPED[op]) if scene.root(a) in given else (a, b, op)
        found = None if scene.root(other) in given else beyond(self._value(scene, values, to), op)
        if found is not None and self._domains.declared.suits(self._plan.column_of(other), found):
            values[scene.root(other)] = found
