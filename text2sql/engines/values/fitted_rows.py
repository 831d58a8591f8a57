"""Fits made rows to the tables of an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from text2sql.engines.declared.created_collations import collation_key
from text2sql.engines.declared.types import EngineType
from text2sql.engines.values.fitting import default_value, fit_value
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Row


def fit_rows(table: TableSchema, rows: Sequence[Row], types: Mapping[str, EngineType]) -> list[Row]:
    """Fits rows to the engine's columns, and drops those that then repeat a key.

    Args:
        table: The table.
        rows: Rows made for it.
        types: The engine's types of its columns.
    """
    stored_columns = {*table.stored_columns}
    columns = [
        (kind, (table.columns[key].not_null or key in table.primary_key) and key in stored_columns)
        for key, kind in types.items()
    ]
    fitted = []
    for row in rows:
        values = [fit_value(value, kind) for value, (kind, _) in zip(row, columns, strict=True)]
        fitted.append(
            tuple(
                default_value(kind) if value is None and needed else value
                for value, (kind, needed) in zip(values, columns, strict=True)
            )
        )
    order = list(table.columns)
    for key in table.keys:
        # The row generator marks nondeterministic columns by a collation.
        key_columns = [(order.index(column), bool(table.columns[column].collation)) for column in key]
        fitted = _distinct(fitted, key_columns, key == table.primary_key)
    return fitted


def _distinct(rows: list[Row], key_columns: list[tuple[int, bool]], is_primary: bool) -> list[Row]:
    seen, distinct = set(), []
    for row in rows:
        key = tuple(_key_value(row[index], nondeterministic) for index, nondeterministic in key_columns)
        if (None in key and not is_primary) or key not in seen:
            seen.add(key)
            distinct.append(row)
    return distinct


def _key_value(value: object, nondeterministic: bool) -> object:
    return collation_key(value) if nondeterministic and isinstance(value, str) else value
