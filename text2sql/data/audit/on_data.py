"""What a gold query does on its real database: nothing, a failure, or a choice among equals."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell
from text2sql.sql.sandbox import QueryFailed, Result, SqliteSandbox

_STEPS, _SECONDS, _ROWS = 10**9, 10.0, 200
# Rows of a witness.
SHOWN = 3


def on_data(reading: Reading) -> tuple[list[Smell], list[str]]:
    """Smells of a query on its SQLite database, and rows that show them; nothing without one."""
    example = reading.example
    if example.db is None or example.dialect != "sqlite":
        return [], []
    try:
        sandbox = SqliteSandbox.from_file(example.db)
    except (sqlite3.Error, OSError):
        return [], []
    try:
        found = [*_look(reading, sandbox)]
    finally:
        sandbox.close()
    return [smell for smell, _ in found], [line for _, lines in found for line in lines]


def _look(r: Reading, sandbox: SqliteSandbox) -> Iterator[tuple[Smell, list[str]]]:
    try:
        result = _run(sandbox, r.example.answer)
    except QueryFailed as error:
        yield Smell("fails on its database" if error.kind == "error" else "too slow on its database", str(error)), []
        return
    if not any(value is not None for row in result.rows for value in row):
        yield Smell("empty on its database", "it returns nothing, or only NULL"), []
    elif result.rows == [(0,)] and r.tree.find(exp.Count):
        yield Smell("zero on its database", "it counts nothing"), ["0"]
    yield from _ties(r, sandbox)
    yield from _repeated(r, result)


def _ties(r: Reading, sandbox: SqliteSandbox) -> Iterator[tuple[Smell, list[str]]]:
    """Rows behind a limit that are as good as those before it."""
    tree = r.tree
    limit, order = tree.args.get("limit"), tree.args.get("order")
    if not isinstance(tree, exp.Select) or limit is None or order is None or tree.args.get("offset"):
        return
    if not isinstance(limit.expression, exp.Literal) or not str(limit.expression.this).isdigit():
        return
    count = int(str(limit.expression.this))
    wider = tree.copy()
    wider.set("limit", exp.Limit(expression=exp.Literal.number(count + SHOWN)))
    keys = [ordered.this.copy() for ordered in order.expressions]
    for key in keys:
        wider.append("expressions", exp.alias_(key, f"_key_{len(wider.expressions)}"))
    try:
        rows = _run(sandbox, wider.sql(dialect="sqlite")).rows
    except QueryFailed:
        return
    width = len(keys)
    if len(rows) > count and rows[count - 1][-width:] == rows[count][-width:]:
        distinct = rows[count - 1][:-width] != rows[count][:-width]
        if distinct:
            tied = [row for row in rows if row[-width:] == rows[count][-width:]]
            kind = "tie under LIMIT 1" if count == 1 else "arbitrary cut"
            yield (
                Smell(kind, f"rows {count} and {count + 1} are equal by its order"),
                [_line(row) for row in tied[: SHOWN + 1]],
            )


def _repeated(r: Reading, result: Result) -> Iterator[tuple[Smell, list[str]]]:
    """The same row again and again, through a join."""
    rows = result.rows
    if (
        len(rows) > 1
        and r.tree.find(exp.Join)
        and not r.tree.find(exp.Distinct, exp.AggFunc, exp.Group, exp.SetOperation)
    ) and len({*rows}) <= len(rows) // 2:
        yield (
            Smell("rows repeated by a join", f"{len(rows)} rows, {len({*rows})} different"),
            [_line(row) for row in rows[:SHOWN]],
        )


def _run(sandbox: SqliteSandbox, sql: str) -> Result:
    return sandbox.run(sql, _STEPS, _SECONDS, max_rows=_ROWS)


def _line(row: tuple[object, ...]) -> str:
    return " | ".join("NULL" if value is None else str(value)[:60] for value in row)
