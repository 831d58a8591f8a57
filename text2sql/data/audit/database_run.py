"""Smells of running a gold query on its real database: failures, empty results, arbitrary choices among ties."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell
from text2sql.sql.sandbox import QueryFailed, Result, SqliteSandbox

# Limits of a query: SQLite instructions, seconds of CPU time, rows.
_MAX_STEPS = 10**9
_MAX_SECONDS = 10.0
_MAX_ROWS = 200
# Rows of a witness.
WITNESS_ROWS = 3


def run_on_database(reading: Reading) -> tuple[list[Smell], list[str]]:
    """The smells of a query on its SQLite database, and rows that show them; both empty without a database."""
    example = reading.example
    if example.db is None or example.dialect != "sqlite":
        return [], []
    try:
        sandbox = SqliteSandbox.from_file(example.db)
    except (sqlite3.Error, OSError):
        return [], []
    try:
        smells_with_rows = [*_find_smells(reading, sandbox)]
    finally:
        sandbox.close()
    return [smell for smell, _ in smells_with_rows], [line for _, lines in smells_with_rows for line in lines]


def _find_smells(r: Reading, sandbox: SqliteSandbox) -> Iterator[tuple[Smell, list[str]]]:
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
    """Rows after a limit that tie with those before it."""
    tree = r.tree
    limit, order = tree.args.get("limit"), tree.args.get("order")
    if not isinstance(tree, exp.Select) or limit is None or order is None or tree.args.get("offset"):
        return
    if not isinstance(limit.expression, exp.Literal) or not str(limit.expression.this).isdigit():
        return
    count = int(str(limit.expression.this))
    wider = tree.copy()
    wider.set("limit", exp.Limit(expression=exp.Literal.number(count + WITNESS_ROWS)))
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
                [_row_text(row) for row in tied[: WITNESS_ROWS + 1]],
            )


def _repeated(r: Reading, result: Result) -> Iterator[tuple[Smell, list[str]]]:
    """Rows that a join repeats."""
    rows = result.rows
    if (
        len(rows) > 1
        and r.tree.find(exp.Join)
        and not r.tree.find(exp.Distinct, exp.AggFunc, exp.Group, exp.SetOperation)
    ) and len({*rows}) <= len(rows) // 2:
        yield (
            Smell("rows repeated by a join", f"{len(rows)} rows, {len({*rows})} different"),
            [_row_text(row) for row in rows[:WITNESS_ROWS]],
        )


def _run(sandbox: SqliteSandbox, sql: str) -> Result:
    return sandbox.run(sql, _MAX_STEPS, _MAX_SECONDS, max_rows=_MAX_ROWS)


def _row_text(row: tuple[object, ...]) -> str:
    return " | ".join("NULL" if value is None else str(value)[:60] for value in row)
