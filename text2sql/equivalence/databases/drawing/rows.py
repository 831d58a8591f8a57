"""Fills the rows of one database: a value for each column, given or free, that suits it."""

from __future__ import annotations

import random
from collections.abc import Mapping

from text2sql.equivalence.databases.drawing.layout import Layout, Place
from text2sql.equivalence.databases.drawing.recipes import Recipe
from text2sql.equivalence.databases.plan import ColumnKey
from text2sql.equivalence.databases.values.column_values import stored_as
from text2sql.sql.values import Row, Value

# More values than this need no other one: keys of that many rows rarely collide.
_MOST_DISTINCT = 20_000
# Values of a key that are listed; where more are needed, they are counted up.
_LISTED = 500
_MANY_LISTED = 6000


class RowMaker:
    """Makes the rows of one database.

    Args:
        layout: The pair and its tables.
        recipe: How this database is made.
        rng: Makes the choices.

    Attributes:
        keys: The columns that are a key of their table, each alone, and the parts of longer keys where rows are
            repeated often: they need distinct values.
    """

    def __init__(self, layout: Layout, recipe: Recipe, rng: random.Random) -> None:
        self._layout, self._domains, self._recipe, self._rng = layout, layout.domains, recipe, rng
        most = max(*recipe.copies, *recipe.counted, 1)
        self._many = most > 4
        self.keys = layout.key_parts if self._many else layout.single_keys
        # Values of a key: enough of them that the copies of a scenario rarely collide.
        self._distinct = max(12, recipe.size, 8 * most if most <= 8 else min(_MOST_DISTINCT, 2 * most * most))
        self._distinct = recipe.tight or self._distinct
        self._serials: dict[ColumnKey, int] = {}
        self._styles: dict[int, int] = {}
        self._sources: dict[ColumnKey, tuple[list[Value], list[Value]]] = {}

    def free(self, key: ColumnKey) -> Value:
        """A value for a column that no condition speaks of."""
        rng, recipe = self._rng, self._recipe
        if recipe.distinct or (self._many and key in self.keys):
            return self.serial(key)
        if recipe.nulls and key not in self._layout.not_null and rng.random() < recipe.nulls:
            return None
        if key in self._layout.rowids:
            return self._integer(key)
        literals, pool = self._sources.get(key) or self._source(key)
        if literals and rng.random() < recipe.literals:
            return literals[int(rng.random() * len(literals))]
        return pool[int(rng.random() * len(pool))] if pool else None

    def _source(self, key: ColumnKey) -> tuple[list[Value], list[Value]]:
        """Values near the literals, and ordinary ones."""
        size = min(_LISTED, self._distinct) if key in self.keys else self._recipe.size
        found = self._sources[key] = self._domains.literals(key), self._domains.pool(key, self.style(key), size)
        return found

    def style(self, key: ColumnKey) -> int:
        """The style of a column's values in this database, see `values.ordinary`."""
        domain = id(self._domains.of[key])
        if domain not in self._styles:
            self._styles[domain] = self._recipe.style + (self._rng.randrange(2) if self._recipe.style > 1 else 0)
        return self._styles[domain]

    def serial(self, key: ColumnKey) -> Value:
        """The next value of a column of which many are needed, each another."""
        number = self._serials[key] = self._serials.get(key, self._distinct + self._rng.randrange(50)) + 1
        kind = self._domains.declared.kinds[key]
        if key in self._layout.rowids or self._domains.of[key].kind in ("integer", "real"):
            value: Value = number
        elif kind in ("text", "any"):
            value = f"k{number}"
        else:
            pool = self._domains.pool(key, 0, 2 * self._distinct if self._distinct < _LISTED else _MANY_LISTED)
            value = pool[number % len(pool)] if pool else None
        return value if self._domains.declared.suits(key, value) else self._listed(key, number)

    def _integer(self, key: ColumnKey) -> Value:
        """A value for an alias of the rowid."""
        numbers = [value for value in self._domains.literals(key) if isinstance(value, int)]
        if numbers and self._rng.random() < self._recipe.literals:
            return numbers[int(self._rng.random() * len(numbers))]
        number = 1 + int(self._rng.random() * self._distinct)
        return number if self._domains.declared.suits(key, number) else self._listed(key, number)

    def _listed(self, key: ColumnKey, number: int) -> Value:
        """One of the values that a column's CHECKs allow."""
        pool = self._domains.pool(key, 0, _LISTED)
        return pool[number % len(pool)] if pool else None

    def row(self, name: str, given: Mapping[str, Value]) -> Row:
        """A row with some values given, where they suit its columns; generated columns are left to SQLite."""
        values: list[Value] = []
        for column in self._layout.places[name]:
            if column.generated:
                values.append(None)
            elif column.name in given:
                values.append(self._given(column, given[column.name]))
            else:
                values.append(self.free(column.key))
        return tuple(values)

    def _given(self, column: Place, value: Value) -> Value:
        suits, key = self._domains.declared.suits, column.key
        if value is None:
            return self.free(key) if column.not_null else None
        if suits(key, value):
            return value
        # A number typed as text means the number; whatever else does not suit is not there.
        stored = stored_as(value, column.affinity)
        return stored if suits(key, stored) else self.free(key)
