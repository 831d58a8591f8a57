"""Draws small databases on which two queries are likely to part ways if they can.

Each database is built from *scenarios*: one row per table reference of a query, drawn so that the query's condition
holds on them together, or so that exactly one part of it fails. Random rows, copies that share a group, NULLs,
orphans and empty tables are added by a recipe that varies from database to database.
"""

from __future__ import annotations

import random

from text2sql.evaluation.conditions import Plan
from text2sql.evaluation.domains import Domains
from text2sql.evaluation.recipes import recipe
from text2sql.evaluation.scenarios import Draw, Rows
from text2sql.evaluation.schema import TableSchema
from text2sql.evaluation.values import stored_as
from text2sql.evaluation.verdict import Row, Value


class Generator:
    """Makes databases for one pair.

    Args:
        plan: The compiled pair.
        tables: The tables to fill, by lower-case name.
        domains: What their columns hold.
        seed: Equal seeds give equal databases.
    """

    def __init__(self, plan: Plan, tables: dict[str, TableSchema], domains: Domains, seed: int) -> None:
        self._plan, self._tables, self._domains, self._seed = plan, tables, domains, seed

    def database(self, index: int, scale: int = 1) -> Rows:
        """The ``index``-th database.

        Args:
            index: Which one.
            scale: Above 1 for fewer rows, where the queries proved too slow.
        """
        rng = random.Random(f"{self._seed}/{index}")
        plan = recipe(index, self._plan, self._tables, rng)
        rows: Rows = {name: [] for name in self._tables}
        if plan is None:
            return rows
        draw = Draw(self._plan, self._tables, self._domains, plan, rng)
        for query in self._plan.queries:
            for number in range(plan.satisfied + plan.broken):
                draw.scenario(query, number < plan.satisfied, rows)
        draw.noise(rows)
        if plan.empty:
            rows[plan.empty] = []
        if scale > 1:
            rows = {name: data[:: scale * 2] for name, data in rows.items()}
        for data in rows.values():
            rng.shuffle(data)
        return self._keep_keys(rows, draw)

    def _keep_keys(self, rows: Rows, draw: Draw) -> Rows:
        """Drops rows that repeat a key; adds the parents that foreign keys ask for, drops what stays an orphan."""
        for _ in range(3):
            if not self._add_parents(rows, draw):
                break
        rows = {name: self._unique(self._tables[name], data) for name, data in rows.items()}
        for _ in range(4):
            if not self.drop_orphans(rows):
                break
        return rows

    def _add_parents(self, rows: Rows, draw: Draw) -> bool:
        added = False
        for name, columns, parent, targets in self._references():
            table = self._tables[parent]
            known = {self._key(table, targets, row) for row in rows[parent]}
            for row in list(rows[name]):
                values = _pick(self._tables[name], columns, row)
                key = tuple(
                    stored_as(value, table.columns[t].affinity) for value, t in zip(values, targets, strict=True)
                )
                if None not in key and key not in known:
                    known.add(key)
                    made = draw.row(parent, dict(zip(targets, values, strict=True)))
                    # In front, so that it wins over a random row with the same other key.
                    rows[parent].insert(0, made)
                    added = True
        return added

    def _references(self) -> list[tuple[str, tuple[str, ...], str, tuple[str, ...]]]:
        return [
            (name, key.columns, key.parent, key.parent_columns)
            for name, table in self._tables.items()
            for key in table.foreign_keys
            if key.parent in self._tables
        ]

    def _key(self, table: TableSchema, columns: tuple[str, ...], row: Row) -> tuple[Value, ...]:
        return tuple(
            stored_as(value, table.columns[c].affinity)
            for value, c in zip(_pick(table, columns, row), columns, strict=True)
        )

    def _unique(self, table: TableSchema, data: list[Row]) -> list[Row]:
        for key in table.keys:
            seen: set[tuple[Value, ...]] = set()
            kept = []
            for row in data:
                value = self._key(table, key, row)
                if None in value and key != table.primary_key:
                    kept.append(row)
                elif value not in seen:
                    seen.add(value)
                    kept.append(row)
            data = kept
        return data

    def drop_orphans(self, rows: Rows) -> bool:
        """Drops the rows whose declared parents are missing; whether there were any."""
        dropped = False
        for name, columns, parent, targets in self._references():
            table = self._tables[parent]
            known = {self._key(table, targets, row) for row in rows[parent]}
            kept = []
            for row in rows[name]:
                values = _pick(self._tables[name], columns, row)
                key = tuple(
                    stored_as(value, table.columns[t].affinity) for value, t in zip(values, targets, strict=True)
                )
                if None in key or key in known:
                    kept.append(row)
            dropped |= len(kept) < len(rows[name])
            rows[name] = kept
        return dropped

    def sound(self, rows: Rows) -> bool:
        """Whether every declared foreign key holds."""
        copy = {name: list(data) for name, data in rows.items()}
        return not self.drop_orphans(copy)


def _pick(table: TableSchema, columns: tuple[str, ...], row: Row) -> tuple[Value, ...]:
    order = list(table.columns)
    return tuple(row[order.index(column)] for column in columns)
