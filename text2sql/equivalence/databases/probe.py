"""Asks SQLite itself: on which values a condition holds, and what expressions make of values."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from text2sql.sql.sandbox import QueryFailed, Sandbox
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Row, Value


class ConditionProbe:
    """One small table for each combination of columns; conditions are data of a hostile query, so it is a sandbox."""

    def __init__(self) -> None:
        self._boxes: dict[tuple[tuple[str, str], ...], tuple[Sandbox, TableSchema]] = {}

    def close(self) -> None:
        """Closes the connections."""
        for box, _ in self._boxes.values():
            box.close()

    def evaluate(self, expressions: Sequence[str], columns: Sequence[Column], rows: Sequence[Row]) -> list[Row] | None:
        """What expressions over v0, v1, ... come to on each of some rows; None if SQLite does not say.

        Args:
            expressions: Texts for SQLite.
            columns: What v0, v1, ... are like: their affinities and collations.
            rows: One value for each of them.
        """
        key = tuple((column.affinity, column.collation) for column in columns)
        if key not in self._boxes:
            table = TableSchema("probe")
            for place, (affinity, collation) in enumerate(key):
                table.add(Column(f"v{place}", "" if affinity == "BLOB" else affinity, collation=collation))
            table.add(Column("n", "INTEGER"))
            self._boxes[key] = Sandbox.in_memory([table]), table
        box, table = self._boxes[key]
        box.load({"probe": (table, [(*row, number) for number, row in enumerate(rows)])})
        listed = ", ".join(f"({expression})" for expression in expressions)
        try:
            found = box.run(f"SELECT {listed} FROM probe ORDER BY n", 500_000, 0.2).rows
        except QueryFailed:
            return None
        return found if len(found) == len(rows) else None

    def truth(self, condition: exp.Expr, column: Column, values: Sequence[Value]) -> list[bool | None] | None:
        """Whether a condition over one column holds, for each value; NULL is None, as is all where SQLite fails."""
        copied = condition.copy()
        for part in list(copied.find_all(exp.Column)):
            name = exp.column("v0", quoted=False)
            if part is copied:
                copied = name
            else:
                part.replace(name)
        found = self.evaluate([to_sqlite(copied)], [column], [(value,) for value in values])
        return None if found is None else [None if row[0] is None else bool(row[0]) for row in found]
