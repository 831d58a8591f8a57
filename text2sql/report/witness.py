"""A witness as tables: the database on which two queries differ, and the result of each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from text2sql.equivalence.verdict import Table, Witness
from text2sql.formats import clip
from text2sql.sql.values import Value

# Strings that without quotes look like numbers, NULL or other strings.
_AMBIGUOUS = re.compile(r"\s*|\s.*|.*\s|[-+.\d].*|(?i:null|inf|nan)", re.DOTALL)
_MAX_TABLES = 6
_MAX_ROWS = 8
_MAX_COLUMNS = 12
# Characters of a cell.
_MAX_CELL = 60


@dataclass(frozen=True)
class Grid:
    """A small table; ``left_out`` says in words how many rows and columns are not shown."""

    title: str
    columns: list[str]
    rows: list[list[str | None]]
    left_out: str = ""


@dataclass(frozen=True)
class WitnessView:
    """The tables of the database, the results of the queries, and remarks: what is not shown, and the engine."""

    tables: list[Grid]
    results: list[Grid]
    remarks: list[tuple[str, str]]


def witness_view(witness: Witness, judged_on: str | None = None) -> WitnessView:
    """Convert a witness to tables; `judged_on` is the name of an engine other than SQLite."""
    tables = list(witness.tables.items())
    more = len(tables) - _MAX_TABLES
    return WitnessView(
        tables=[_grid(name, table) for name, table in tables[:_MAX_TABLES]],
        results=[_grid("Gold query returns", witness.gold), _grid("Model's query returns", witness.predicted)],
        remarks=[
            *([("Not shown", f"{more} more tables")] if more > 0 else []),
            *([("Judged on", judged_on)] if judged_on else []),
        ],
    )


def _grid(title: str, table: Table) -> Grid:
    left_out = [
        f"{extra} more {what}"
        for extra, what in (
            (len(table.rows) - _MAX_ROWS, "rows"),
            (len(table.columns) - _MAX_COLUMNS, "columns"),
        )
        if extra > 0
    ]
    return Grid(
        title=clip(title, _MAX_CELL),
        columns=[clip(name, _MAX_CELL) for name in table.columns[:_MAX_COLUMNS]],
        rows=[[_cell(cell) for cell in row[:_MAX_COLUMNS]] for row in table.rows[:_MAX_ROWS]],
        left_out=" and ".join(left_out),
    )


def _cell(value: Value) -> str | None:
    """Format a value; an ambiguous string is put in quotes."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return clip(f"x'{value.hex()}'", _MAX_CELL)
    if not isinstance(value, str):
        return clip(str(value), _MAX_CELL)
    return clip(f"'{value}'" if _AMBIGUOUS.fullmatch(value) else value, _MAX_CELL)
