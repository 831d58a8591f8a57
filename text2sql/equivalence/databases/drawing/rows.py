"""Fills the rows of one database: a value for each column, given or free, that suits it."""

from __future__ import annotations

import random
from collections.abc import Mapping

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.drawing.layout import Layout, RowColumn
from text2sql.equivalence.databases.drawing.recipes import Recipe
from text2sql.equivalence.databases.values.comparisons import stored_as
from text2sql.sql.values import Row, Value

# More different values than this are not needed: keys of that many rows rarely collide.
_MAX_DISTINCT = 20_000
# Where a scenario is repeated more often than this, the parts of longer keys need different values, too.
_FEW_COPIES = 4
# Up to this number of copies, keys have eight values for each; beyond it, twice the square.
_SOME_COPIES = 8
# Values of a key that are listed; where more are needed, they are counted up.
_MAX_LISTED = 500
# Values that are listed of a key which holds neither numbers nor texts, and of which many are needed.
_MANY_LISTED = 6000


class RowMaker:
    """Makes the rows of one database.

    Args:
        layout: The pair and its tables.
        recipe: How this database is made.
        rng: Makes the choices.

    Attributes:
        keys: The columns that are a key of their table, each alone, and the parts of longer keys where rows are
            repeated often: they need different values.
    """

    def __init__(self, layout: Layout, recipe: Recipe, rng: random.Random) -> None:
        self._layout, self._domains, self._recipe, self._rng = layout, layout.domains, recipe, rng
        max_copies = max(*recipe.copies, *recipe.exact_copies, 1)
        self._many = max_copies > _FEW_COPIES
        self.keys = layout.key_parts if self._many else layout.single_keys
        # Values of a key: enough of them that the copies of a scenario rarely collide.
        enough = 8 * max_copies if max_copies <= _SOME_COPIES else min(_MAX_DISTINCT, 2 * max_copies * max_copies)
        self._distinct = recipe.max_key_values or max(12, recipe.pool_size, enough)
        self._serials: dict[ColumnKey, int] = {}
        self._styles: dict[int, int] = {}
        self._sources: dict[ColumnKey, tuple[list[Value], list[Value]]] = {}

    def free(self, key: ColumnKey) -> Value:
        """A value for a column that no condition speaks of."""
        rng, recipe = self._rng, self._recipe
        if recipe.distinct_values or (self._many and key in self.keys):
            return self.serial(key)
        if recipe.null_share and key not in self._layout.not_null and rng.random() < recipe.null_share:
            return None
        if key in self._layout.rowids:
            return self._rowid(key)
        literals, pool = self._sources.get(key) or self._source(key)
        if literals and rng.random() < recipe.literal_share:
            return literals[int(rng.random() * len(literals))]
        return pool[int(rng.random() * len(pool))] if pool else None

    def _source(self, key: ColumnKey) -> tuple[list[Value], list[Value]]:
        """Values of a column near the literals, and ordinary ones."""
        size = min(_MAX_LISTED, self._distinct) if key in self.keys else self._recipe.pool_size
        source = self._sources[key] = self._domains.literals(key), self._domains.pool(key, self.style(key), size)
        return source

    def style(self, key: ColumnKey) -> int:
        """The style of a column's values in this database, see `column_values.ordinary_values`."""
        domain = id(self._domains.of[key])
        if domain not in self._styles:
            self._styles[domain] = self._recipe.style + (self._rng.randrange(2) if self._recipe.style > 1 else 0)
        return self._styles[domain]

    def serial(self, key: ColumnKey) -> Value:
        """The next value of a column of which many are needed, each different."""
        number = self._serials[key] = self._serials.get(key, self._distinct + self._rng.randrange(50)) + 1
        kind = self._domains.constraints.kinds[key]
        if key in self._layout.rowids or self._domains.of[key].kind in ("integer", "real"):
            value: Value = number
        elif kind in ("text", "any"):
            value = f"k{number}"
        else:
            pool = self._domains.pool(key, 0, 2 * self._distinct if self._distinct < _MAX_LISTED else _MANY_LISTED)
            value = pool[number % len(pool)] if pool else None
        return value if self._domains.constraints.allows(key, value) else self._listed(key, number)

    def _rowid(self, key: ColumnKey) -> Value:
        """A value for an alias of the rowid."""
        numbers = [value for value in self._domains.literals(key) if isinstance(value, int)]
        if numbers and self._rng.random() < self._recipe.literal_share:
            return numbers[int(self._rng.random() * len(numbers))]
        number = 1 + int(self._rng.random() * self._distinct)
        return number if self._domains.constraints.allows(key, number) else self._listed(key, number)

    def _listed(self, key: ColumnKey, number: int) -> Value:
        """One of the values that a column's CHECKs allow, by number."""
        pool = self._domains.pool(key, 0, _MAX_LISTED)
        return pool[number % len(pool)] if pool else None

    def row(self, table: str, given: Mapping[str, Value]) -> Row:
        """A row with some values given, where they suit its columns; generated columns are left to SQLite.

        Args:
            table: The lower-case name of the table.
            given: Values by lower-case name of the column.
        """
        values: list[Value] = []
        for column in self._layout.row_columns[table]:
            if column.generated:
                values.append(None)
            elif column.name in given:
                values.append(self._given(column, given[column.name]))
            else:
                values.append(self.free(column.key))
        return tuple(values)

    def _given(self, column: RowColumn, value: Value) -> Value:
        """A given value as the column holds it; a free one where the column cannot hold it."""
        allows, key = self._domains.constraints.allows, column.key
        if value is None:
            return self.free(key) if column.not_null else None
        if allows(key, value):
            return value
        # A number written as text means the number.
        stored = stored_as(value, column.affinity)
        return stored if allows(key, stored) else self.free(key)
