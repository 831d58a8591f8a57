"""A witness as tables to show: the database on which two queries differ, and what each returns there.

The evaluator writes it; files of other versions may have another shape, so anything that looks like a table is
shown as one and the rest as text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from text2sql.report.wording import clip

_TABLES = ("tables", "database", "data")
_TITLES = {
    "gold": "Gold query returns",
    "predicted": "Model's query returns",
    "prediction": "Model's query returns",
}
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
    """Tables of the database, results of the queries, and whatever else the witness says."""

    tables: list[Grid] = field(default_factory=list)
    results: list[Grid] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)


def witness_view(witness: Any) -> WitnessView | None:
    """Turn the JSON of a witness into tables.

    Args:
        witness: The ``witness`` of a verdict, of any shape.

    Returns:
        What to show, or None when there is no witness.
    """
    if not witness:
        return None
    if not isinstance(witness, dict):
        return WitnessView(remarks=[("Witness", _text(witness))])
    view = WitnessView()
    for key, value in witness.items():
        title = str(key)
        if title in _TABLES and isinstance(value, dict | list):
            _add_tables(view, value)
        elif title == "results" and isinstance(value, dict):
            for name, result in value.items():
                _add_result(view, str(name), result)
        else:
            _add_result(view, title, value)
    return view


def _add_tables(view: WitnessView, value: dict[str, Any] | list[Any]) -> None:
    named = list(value.items()) if isinstance(value, dict) else [(_name(item), item) for item in value]
    for name, table in named[:_MAX_TABLES]:
        grid = _grid(str(name), table)
        if grid is not None:
            view.tables.append(grid)
        else:
            view.remarks.append((str(name), _text(table)))
    if len(named) > _MAX_TABLES:
        view.remarks.append(("Not shown", f"{len(named) - _MAX_TABLES} more tables"))


def _add_result(view: WitnessView, key: str, value: Any) -> None:
    if value is None or value == "" or value == {}:
        return
    stem = key.removesuffix("_result").removesuffix("_rows")
    title = _TITLES.get(stem, key.replace("_", " ").capitalize())
    grid = _grid(title, value)
    if grid is not None:
        view.results.append(grid)
    else:
        error = value.get("error") if isinstance(value, dict) else None
        view.remarks.append((title, _text(value if error is None else error)))


def _name(item: Any) -> str:
    return str(item.get("name") or item.get("table") or "table") if isinstance(item, dict) else "table"


def _grid(title: str, value: Any) -> Grid | None:
    """``value`` as a table when it is ``{columns, rows}``, a list of rows, or a list of records."""
    columns: list[str] = []
    rows = value
    if isinstance(value, dict):
        rows = value.get("rows")
        named = value.get("columns")
        columns = [clip(_column(name), _MAX_CELL) for name in named] if isinstance(named, list) else []
    if not isinstance(rows, list):
        return None
    if rows and all(isinstance(row, dict) for row in rows):
        columns = columns or [clip(name, _MAX_CELL) for name in rows[0]]
        rows = [list(row.values()) for row in rows]
    if not all(isinstance(row, list) for row in rows):
        return None
    width = max([len(columns), *(len(row) for row in rows[:_MAX_ROWS])])
    left_out = [
        f"{extra} more {what}"
        for extra, what in ((len(rows) - _MAX_ROWS, "rows"), (width - _MAX_COLUMNS, "columns"))
        if extra > 0
    ]
    return Grid(
        title=clip(title, _MAX_CELL),
        columns=columns[:_MAX_COLUMNS],
        rows=[[_cell(cell) for cell in row[:_MAX_COLUMNS]] for row in rows[:_MAX_ROWS]],
        left_out=" and ".join(left_out),
    )


def _column(value: Any) -> str:
    return str(value.get("name", value)) if isinstance(value, dict) else str(value)


def _cell(value: Any) -> str | None:
    """A value as SQL would show it: a string that could be taken for a number, or for nothing, in quotes."""
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(value.get("hex"), str):
        return clip(f"x'{value['hex']}'", _MAX_CELL)
    if isinstance(value, dict) and isinstance(value.get("float"), str):
        return clip(value["float"], _MAX_CELL)
    if not isinstance(value, str):
        return clip(_text(value), _MAX_CELL)
    return clip(f"'{value}'" if _AMBIGUOUS.fullmatch(value) else value, _MAX_CELL)


def _text(value: Any) -> str:
    return clip(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True), 600)
