"""Keys and foreign keys of made databases: rows that repeat a key go, parents that lack are added, orphans go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from text2sql.equivalence.databases.drawing.row_drawer import Database, RowDrawer
from text2sql.equivalence.databases.values.comparisons import stored_as
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.tokens import fold
from text2sql.sql.values import Row, Value

# Takes the values of a key out of a row, as they compare in its columns.
_KeyGetter = Callable[[Row], tuple[Value, ...]]
# Parents may need parents of their own: how far up these are added.
_MAX_GENERATIONS = 3


@dataclass(frozen=True)
class _Reference:
    """A foreign key between two of the tables.

    Attributes:
        child: The name of the table that refers.
        indices: The referring columns, by index in a row.
        parent: The name of the table that is referred to.
        parent_columns: The names of the columns that are referred to.
        child_key: Takes the key out of a row of the child.
        parent_key: Takes the key out of a row of the parent.
    """

    child: str
    indices: tuple[int, ...]
    parent: str
    parent_columns: tuple[str, ...]
    child_key: _KeyGetter
    parent_key: _KeyGetter


class Integrity:
    """The keys and foreign keys of some tables.

    Args:
        tables: The tables, by lower-case name.
    """

    def __init__(self, tables: Mapping[str, TableSchema]) -> None:
        self._tables = tables
        self._references = _references(tables)
        self._keys = {
            name: [_key_getter(column_indices(table, key), [table.columns[c] for c in key]) for key in table.keys]
            for name, table in tables.items()
        }

    def enforce(self, rows: Database, drawer: RowDrawer, empty_table: str | None) -> Database:
        """A database in which all keys hold: missing parents are added, other rows dropped.

        Args:
            rows: The database; parents are added in place.
            drawer: Draws the parents.
            empty_table: A table that stays empty and takes its children with it.
        """
        for _ in range(_MAX_GENERATIONS if self._references else 0):
            if not self._add_parents(rows, drawer, empty_table):
                break
        rows = {name: self._without_repeats(name, data) for name, data in rows.items()}
        while self.drop_orphans(rows):
            pass
        return rows

    def _add_parents(self, rows: Database, drawer: RowDrawer, empty_table: str | None) -> bool:
        """Adds the parents that rows lack; whether there were any."""
        added = False
        for reference in self._references:
            if reference.parent == empty_table:
                continue
            parent = reference.parent
            present = {reference.parent_key(row) for row in rows[parent]}
            for row in list(rows[reference.child]):
                key = reference.child_key(row)
                if key not in present and None not in key:
                    present.add(key)
                    values = [row[index] for index in reference.indices]
                    given = dict(zip(reference.parent_columns, values, strict=True))
                    # In front, so that it wins over a random row with the same other key.
                    rows[parent].insert(0, drawer.row(parent, {**self._without_parent(parent), **given}))
                    added = True
        return added

    def _without_parent(self, name: str) -> dict[str, Value]:
        """NULL for the foreign keys by which a row would need a parent in its own table."""
        table = self._tables[name]
        columns = {column for key in table.foreign_keys if key.parent == name for column in key.columns}
        return {column: None for column in columns if not table.columns[column].not_null}

    def _without_repeats(self, name: str, data: list[Row]) -> list[Row]:
        """The rows of a table, the first of each value of its keys."""
        table = self._tables[name]
        for columns, key_getter in zip(table.keys, self._keys[name], strict=True):
            seen: set[tuple[Value, ...]] = set()
            distinct = []
            for row in data:
                key = key_getter(row)
                if None in key and columns != table.primary_key:
                    distinct.append(row)
                elif key not in seen:
                    seen.add(key)
                    distinct.append(row)
            data = distinct
        return data

    def drop_orphans(self, rows: Database) -> bool:
        """Drops the rows whose declared parents are missing, in place; whether there were any."""
        dropped = False
        for reference in self._references:
            present = {reference.parent_key(row) for row in rows[reference.parent]}
            data = rows[reference.child]
            remaining = [row for row in data if (key := reference.child_key(row)) in present or None in key]
            dropped |= len(remaining) < len(data)
            rows[reference.child] = remaining
        return dropped

    def foreign_keys_hold(self, rows: Database) -> bool:
        """Whether every declared foreign key holds."""
        return not self._references or not self.drop_orphans({name: list(data) for name, data in rows.items()})


def movable_columns(table: TableSchema) -> list[str]:
    """The columns of a table in order; empty names stand for those that must keep their values.

    A foreign key, or an alias of the rowid, must; under a collation a foreign key may change and still refer to its
    parent.
    """
    children = {column for key in table.foreign_keys for column in key.columns}
    fixed = {column for column in children if not table.columns[column].collation} | {table.rowid}
    return ["" if key in fixed else key for key in table.columns]


def column_indices(table: TableSchema, columns: Sequence[str]) -> tuple[int, ...]:
    """The indices of some columns in the rows of their table."""
    order = list(table.columns)
    return tuple(order.index(column) for column in columns)


def _references(tables: Mapping[str, TableSchema]) -> list[_Reference]:
    references = []
    for name, table in tables.items():
        for key in table.foreign_keys:
            parent = tables.get(key.parent)
            if parent is not None:
                indices = column_indices(table, key.columns)
                # The parent's columns say how the two are compared.
                columns = [parent.columns[column] for column in key.parent_columns]
                parent_key = _key_getter(column_indices(parent, key.parent_columns), columns)
                child_key = _key_getter(indices, columns)
                references.append(_Reference(name, indices, key.parent, key.parent_columns, child_key, parent_key))
    return references


def _key_getter(indices: Sequence[int], columns: Sequence[Column]) -> _KeyGetter:
    """Takes values out of a row, as they compare in columns like these."""
    if any(column.collation for column in columns):
        pairs = list(zip(indices, columns, strict=True))
        return lambda row: tuple([_collated(row[index], column) for index, column in pairs])
    if len(indices) == 1:
        index, affinity = indices[0], columns[0].affinity
        return lambda row: (stored_as(row[index], affinity),)
    affinities = [(index, column.affinity) for index, column in zip(indices, columns, strict=True)]
    return lambda row: tuple([stored_as(row[index], affinity) for index, affinity in affinities])


def _collated(value: Value, column: Column) -> Value:
    """What a value stands for under the collation of a column (https://sqlite.org/datatype3.html, section 7)."""
    stored = stored_as(value, column.affinity)
    if isinstance(stored, str) and column.collation == "NOCASE":
        return fold(stored)
    return stored.rstrip(" ") if isinstance(stored, str) and column.collation == "RTRIM" else stored
