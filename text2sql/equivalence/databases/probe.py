"""Asks SQLite itself: on which values a condition holds, and what expressions make of values."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from text2sql.engines.values.sqlite_functions import SQLITE_FUNCTIONS
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Row, Value

# Instructions of SQLite for one question, for one about groups, and for all about groups of a pair.
_STEPS, _MOST_STEPS, _GROUPED_STEPS = 500_000, 2_000_000, 6_000_000


class ConditionProbe:
    """One small table for each combination of columns; conditions are data of a hostile query, so it is a sandbox."""

    def __init__(self) -> None:
        self._boxes: dict[tuple[tuple[str, str], ...], tuple[SqliteSandbox, TableSchema]] = {}
        self._left, self._steps = _GROUPED_STEPS, 0

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
        loaded = [(*row, number) for number, row in enumerate(rows)]
        return self._run(expressions, columns, loaded, "FROM probe ORDER BY n", len(rows))

    def grouped(
        self,
        expressions: Sequence[str],
        columns: Sequence[Column],
        groups: Sequence[Sequence[Row]],
        *,
        ranked: bool = False,
    ) -> list[Row] | None:
        """What expressions over v0, v1, ... with aggregates come to on each of some groups of rows.

        Args:
            expressions: Texts for SQLite.
            columns: What v0, v1, ... are like.
            groups: Rows of values for them.
            ranked: Whether the aggregates are windows over the group, called n: then the largest of a group counts.
        """
        loaded = [(*row, number) for number, group in enumerate(groups) for row in group]
        source = "probe"
        if ranked:
            listed = ", ".join(f"({expression}) AS e{place}" for place, expression in enumerate(expressions))
            source = f"(SELECT n, {listed} FROM probe)"
            expressions = [f"MAX(e{place})" for place in range(len(expressions))]
        rest = f"FROM {source} GROUP BY n ORDER BY n"
        found = self._run(expressions, columns, loaded, rest, len(groups), min(self._left, _MOST_STEPS))
        self._left -= self._steps
        return found

    def _run(
        self,
        expressions: Sequence[str],
        columns: Sequence[Column],
        loaded: list[Row],
        rest: str,
        expected: int,
        steps: int = _STEPS,
    ) -> list[Row] | None:
        key = tuple((column.affinity, column.collation) for column in columns)
        if key not in self._boxes:
            table = TableSchema("probe")
            for place, (affinity, collation) in enumerate(key):
                table.add(Column(f"v{place}", "" if affinity == "BLOB" else affinity, collation=collation))
            table.add(Column("n", "INTEGER"))
            self._boxes[key] = SqliteSandbox.in_memory([table], functions=SQLITE_FUNCTIONS), table
        box, table = self._boxes[key]
        box.load({"probe": (table, loaded)})
        listed = ", ".join(f"({expression})" for expression in expressions)
        try:
            found = box.run(f"SELECT {listed} {rest}", max(1, steps), 0.5).rows
        except QueryFailed:
            return None
        finally:
            self._steps = box.steps
        return found if len(found) == expected else None

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
