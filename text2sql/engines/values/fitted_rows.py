"""Rows as an engine's table keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from text2sql.engines.declared.created_collations import alike
from text2sql.engines.declared.types import EngineType
from text2sql.engines.values.fitting import fit, ordinary
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Row


def fitted(table: TableSchema, rows: Sequence[Row], types: Mapping[str, EngineType]) -> list[Row]:
    """Rows as the engine's columns keep them, without those that then repeat a key.

    Args:
        table: The table.
        rows: Made for it.
        types: Of its columns.
    """
    given = {*table.given}
    columns = [
        (kind, (table.columns[key].not_null or key in table.primary_key) and key in given)
        for key, kind in types.items()
    ]
    kept = []
    for row in rows:
        values = [fit(value, kind) for value, (kind, _) in zip(row, columns, strict=True)]
        kept.append(
            tuple(
                ordinary(kind) if value is None and needed else value
                for value, (kind, needed) in zip(values, columns, strict=True)
            )
        )
    order = list(table.columns)
    for key in table.keys:
        # A collation of the generator's stands for one that is blind for case.
        places = [(order.index(column), bool(table.columns[column].collation)) for column in key]
        kept = _distinct(kept, places, key == table.primary_key)
    return kept


def _distinct(rows: list[Row], places: list[tuple[int, bool]], primary: bool) -> list[Row]:
    seen, kept = set(), []
    for row in rows:
        key = tuple(_compared(row[place], blind) for place, blind in places)
        if (None in key and not primary) or key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def _compared(value: object, blind: bool) -> object:
    return alike(value) if blind and isinstance(value, str) else value
