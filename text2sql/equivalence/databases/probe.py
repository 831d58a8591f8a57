"""Asks SQLite: on which values a condition holds, and what expressions make of values."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from text2sql.engines.values.sqlite_functions import SQLITE_FUNCTIONS
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.trees import replace_columns, to_sqlite
from text2sql.sql.values import Row, Value

# SQLite's instructions for one evaluation, and seconds.
_MAX_STEPS = 500_000
_MAX_SECONDS = 0.5
# Instructions for one evaluation of groups, and for all of them of a pair.
_MAX_GROUP_STEPS = 2_000_000
_MAX_ALL_GROUP_STEPS = 6_000_000

# The types of a probe's columns: affinity and collation of each.
_ColumnTypes = tuple[tuple[str, str], ...]


class ConditionProbe:
    """Evaluates conditions in SQLite, on one small table for each combination of column types.

    The tables are in sandboxes, because the conditions come from a query that may be hostile.
    """

    def __init__(self) -> None:
        self._sandboxes: dict[_ColumnTypes, tuple[SqliteSandbox, TableSchema]] = {}
        self._group_steps_left = _MAX_ALL_GROUP_STEPS

    def close(self) -> None:
        """Closes the connections."""
        for sandbox, _ in self._sandboxes.values():
            sandbox.close()

    def evaluate(self, expressions: Sequence[str], columns: Sequence[Column], rows: Sequence[Row]) -> list[Row] | None:
        """What expressions over v0, v1, ... come to on each of some rows; None if SQLite does not say.

        Args:
            expressions: SQL texts.
            columns: Columns with the affinities and collations of v0, v1, ...
            rows: Values, one for each column.
        """
        numbered = [(*row, number) for number, row in enumerate(rows)]
        sandbox = self._loaded(columns, numbered)
        return _run(sandbox, f"SELECT {_listed(expressions)} FROM probe ORDER BY n", len(rows), _MAX_STEPS)

    def grouped(
        self,
        expressions: Sequence[str],
        columns: Sequence[Column],
        groups: Sequence[Sequence[Row]],
        *,
        per_row: bool = False,
    ) -> list[Row] | None:
        """What expressions over v0, v1, ... with aggregates come to on each of some groups of rows.

        Args:
            expressions: SQL texts.
            columns: Columns with the affinities and collations of v0, v1, ...
            groups: Rows of values, one for each column.
            per_row: Whether the aggregates are windows over the group, called n: then the largest result of a group's
                rows counts.
        """
        numbered = [(*row, number) for number, group in enumerate(groups) for row in group]
        sandbox = self._loaded(columns, numbered)
        source = "probe"
        if per_row:
            named = ", ".join(f"({expression}) AS e{index}" for index, expression in enumerate(expressions))
            source = f"(SELECT n, {named} FROM probe)"
            expressions = [f"MAX(e{index})" for index in range(len(expressions))]
        sql = f"SELECT {_listed(expressions)} FROM {source} GROUP BY n ORDER BY n"
        results = _run(sandbox, sql, len(groups), min(self._group_steps_left, _MAX_GROUP_STEPS))
        self._group_steps_left -= sandbox.steps
        return results

    def _loaded(self, columns: Sequence[Column], rows: Sequence[Row]) -> SqliteSandbox:
        """A sandbox whose table, called probe, has some rows: values of the columns, and a number called n."""
        types = tuple((column.affinity, column.collation) for column in columns)
        if types not in self._sandboxes:
            table = TableSchema("probe")
            for index, (affinity, collation) in enumerate(types):
                table.add(Column(f"v{index}", "" if affinity == "BLOB" else affinity, collation=collation))
            table.add(Column("n", "INTEGER"))
            self._sandboxes[types] = SqliteSandbox.in_memory([table], functions=SQLITE_FUNCTIONS), table
        sandbox, table = self._sandboxes[types]
        sandbox.load({"probe": (table, list(rows))})
        return sandbox

    def truth(self, condition: exp.Expr, column: Column, values: Sequence[Value]) -> list[bool | None] | None:
        """Whether a condition over one column holds on each of some values.

        Returns:
            For each value, None where the condition is NULL; None for all where SQLite does not say.
        """
        over_v0 = replace_columns(condition, lambda _: exp.column("v0"))
        results = self.evaluate([to_sqlite(over_v0)], [column], [(value,) for value in values])
        return None if results is None else [None if row[0] is None else bool(row[0]) for row in results]


def _listed(expressions: Sequence[str]) -> str:
    return ", ".join(f"({expression})" for expression in expressions)


def _run(sandbox: SqliteSandbox, sql: str, expected: int, max_steps: int) -> list[Row] | None:
    """The rows of a query; None where it fails or returns another number of rows than expected."""
    try:
        rows = sandbox.run(sql, max(1, max_steps), _MAX_SECONDS).rows
    except QueryFailed:
        return None
    return rows if len(rows) == expected else None
