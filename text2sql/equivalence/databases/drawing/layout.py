"""What all databases of a pair have in common: computed once, since some twenty databases are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.differences.collisions import Collision
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Plan
from text2sql.sql.schema import TableSchema

# Of each instance the columns that are slots, with the numbers of the slots.
InstanceColumns = Mapping[int, list[tuple[str, int]]]


class RowColumn(NamedTuple):
    """One column of a row.

    Attributes:
        name: Its lower-case name.
        key: Its table and name.
        generated: Whether SQLite computes its values.
        not_null: Whether it holds no NULL.
        affinity: SQLite's type affinity.
    """

    name: str
    key: ColumnKey
    generated: bool
    not_null: bool
    affinity: str


class Layout:
    """A compiled pair with the tables to fill.

    Args:
        plan: The compiled pair.
        tables: The tables that rows are made for, by lower-case name.
        domains: The values of their columns.
        collisions: Values that an expression makes equal.

    Attributes:
        columns: Of each instance the columns that are slots, with the numbers of the slots.
    """

    def __init__(
        self, plan: Plan, tables: Mapping[str, TableSchema], domains: Domains, collisions: Sequence[Collision] = ()
    ) -> None:
        self.plan, self.tables, self.domains, self.collisions = plan, tables, domains, collisions
        self.columns: InstanceColumns = plan.columns_by_instance()

    @cached_property
    def single_keys(self) -> frozenset[ColumnKey]:
        """The columns that are a key of their table, each alone."""
        return frozenset((name, key[0]) for name, table in self.tables.items() for key in table.keys if len(key) == 1)

    @cached_property
    def key_parts(self) -> frozenset[ColumnKey]:
        """The columns that are part of a key of their table."""
        return frozenset((name, part) for name, table in self.tables.items() for key in table.keys for part in key)

    @cached_property
    def not_null(self) -> frozenset[ColumnKey]:
        """The columns that hold no NULL."""
        return frozenset(
            (name, key)
            for name, table in self.tables.items()
            for key, column in table.columns.items()
            if column.not_null or key in table.primary_key
        )

    @cached_property
    def rowids(self) -> frozenset[ColumnKey]:
        """The columns that are another name of the rowid."""
        return frozenset((name, table.rowid) for name, table in self.tables.items() if table.rowid)

    @cached_property
    def generated(self) -> frozenset[ColumnKey]:
        """The columns whose values SQLite computes."""
        return frozenset(
            (name, key) for name, table in self.tables.items() for key in table.columns.keys() - table.stored_columns
        )

    @cached_property
    def row_columns(self) -> dict[str, list[RowColumn]]:
        """The columns of each table in order."""
        return {
            name: [
                RowColumn(key, (name, key), bool(column.generated), (name, key) in self.not_null, column.affinity)
                for key, column in table.columns.items()
            ]
            for name, table in self.tables.items()
        }

    @cached_property
    def key_slots(self) -> dict[int, list[tuple[int, ColumnKey]]]:
        """Of each instance the slots that are keys of their table, with these keys."""
        return {
            instance: [
                (slot, key)
                for column, slot in columns
                if (key := (self.plan.tables[instance], column)) in self.single_keys
            ]
            for instance, columns in self.columns.items()
        }
