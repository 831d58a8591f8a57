"""Asks SQLite on which values a condition over one column is true."""

from __future__ import annotations

from sqlglot import exp

from text2sql.equivalence.databases.plan import Condition
from text2sql.sql.ddl import TableSchema, parse_schema
from text2sql.sql.sandbox import QueryFailed, Sandbox
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Value


class Probe:
    """One small table per affinity; conditions are data of a hostile query, so they run in a sandbox too."""

    def __init__(self) -> None:
        self._boxes: dict[str, tuple[Sandbox, TableSchema]] = {}

    def close(self) -> None:
        """Closes the connections."""
        for box, _ in self._boxes.values():
            box.close()

    def __call__(self, node: Condition, affinity: str, candidates: tuple[Value, ...]) -> list[bool] | None:
        """Whether the condition of a node holds, per candidate; None if SQLite does not say."""
        assert node.expression is not None
        if affinity not in self._boxes:
            table = parse_schema(f"CREATE TABLE probe (v {'' if affinity == 'BLOB' else affinity}, n INTEGER)")
            probe_table = table.tables["probe"]
            self._boxes[affinity] = (Sandbox.in_memory([probe_table]), probe_table)
        box, probe_table = self._boxes[affinity]
        box.load({"probe": (probe_table, [(value, number) for number, value in enumerate(candidates)])})

        def rename(part: exp.Expr) -> exp.Expr:
            return exp.column("v", quoted=False) if isinstance(part, exp.Column) else part

        condition = to_sqlite(node.expression.copy().transform(rename))
        try:
            rows = box.run(f"SELECT ({condition}) FROM probe ORDER BY n", 500_000, 0.2).rows
        except QueryFailed:
            return None
        return [bool(row[0]) for row in rows] if len(rows) == len(candidates) else None
