"""A witness as tables to show: the database on which two queries differ, and what each returns there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from text2sql.equivalence.verdict import Table, Witness
from text2sql.formats import clip
from text2sql.sql.values import Value

# Strings that could be taken for a number, for nothing, or for less than they are.
_AMBIGUOUS = re.compile(r"\s*|\s.*|.*\s|[-+.\d].*|(?i:null|inf|nan)", re.DOTALL)
_MAX_ROWS, _MAX_COLUMNS, _MAX_TABLES, _MAX_CELL = 8, 12, 6, 60


@dataclass(frozen=True)
class Grid:
    """A small table: ``left_out`` counts the rows and columns that are not shown, in words."""

    title: str
    columns: list[str]
    rows: list[list[str | None]]
    left_out: str = ""


@dataclass(frozen=True)
class WitnessView:
    """Tables of the database, results of the queries, and what is not shown."""

    tables: list[Grid]
    results: list[Grid]
    remarks: list[tuple[str, str]]


def witness_view(witness: Witness, judged_on: str | None = None) -> WitnessView:
    """Turn a witness into tables; of another engine than SQLite, with its name."""
    named = list(witness.tables.items())
    more = len(named) - _MAX_TABLES
    return WitnessView(
        tables=[_grid(name, table) for name, table in named[:_MAX_TABLES]],
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
    """A value as SQL would show it: a string that could be taken for something else in quotes."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return clip(f"x'{value.hex()}'", _MAX_CELL)
    if not isinstance(value, str):
        return clip(str(value), _MAX_CELL)
    return clip(f"'{value}'" if _AMBIGUOUS.fullmatch(value) else value, _MAX_CELL)
