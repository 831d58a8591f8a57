"""What the columns of an engine hold for a pair, beyond what SQLite's types and the pair's translations say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlglot import exp

from text2sql.engines.declared.collations import is_unpadded
from text2sql.engines.declared.created_collations import collation_hints
from text2sql.engines.declared.types import NESTED
from text2sql.engines.sandbox.engine_schema import EngineColumn, EngineSchema
from text2sql.engines.values.nested_values import nested_values
from text2sql.engines.values.text_hints import (
    columns_compared_differently,
    literal_hints,
    spacing_and_accent_hints,
    text_hints,
)
from text2sql.equivalence.databases.reading.compiler import EngineColumnFacts
from text2sql.equivalence.databases.values.json_documents import documents, read_json_demands, read_json_paths
from text2sql.sql.column_paths import Path
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

Values = dict[str, list[Value]]


def engine_column_facts(
    schema: EngineSchema, trees: Sequence[exp.Expr], translated: Sequence[exp.Expr], inherits_rows: bool
) -> EngineColumnFacts:
    """What columns hold for a pair.

    Args:
        schema: The schema.
        trees: The queries in their own dialect.
        translated: The same as SQLite has them, where it does.
        inherits_rows: Whether rows of one table are seen through another.
    """
    columns = {column: place for (_, column), place in schema.columns.items()}
    has_nested = any(place.type.kind in NESTED for place in columns.values())
    nested = _nested_values(columns, trees, translated) if has_nested else {}
    spellings = spacing_and_accent_hints(trees) if schema.dialect == "mysql" else _collated_texts(columns, trees)
    # Conditions on a table are conditions on those whose rows are seen through it.
    compared = literal_hints(trees) if inherits_rows else {}
    texts = text_hints(trees)
    hints: Values = {}
    for values_by_column in (spellings, texts, nested, compared):
        for column, values in values_by_column.items():
            hints.setdefault(column, []).extend(values)
    swept = {column: hints[column] for column in (*texts, *(spellings.keys() & columns_compared_differently(trees)))}
    return EngineColumnFacts(nested, _padded_columns(schema), _fractional_columns(schema), hints, swept)


def _padded_columns(schema: EngineSchema) -> frozenset[str]:
    """The columns of a MySQL schema whose comparisons ignore spaces at the end; CHAR keeps none there."""
    if schema.dialect != "mysql":
        return frozenset()
    texts = [(column, place) for (_, column), place in schema.columns.items() if place.type.kind == "text"]
    variable = [(column, place) for column, place in texts if not place.type.sql.startswith("CHAR")]
    return frozenset(column for column, place in variable if not is_unpadded(place.collation))


def _fractional_columns(schema: EngineSchema) -> frozenset[str]:
    """The columns whose type holds fractions of a second."""
    timed = [(column, place.type) for (_, column), place in schema.columns.items()]
    return frozenset(column for column, kind in timed if kind.kind in ("datetime", "time") and kind.scale)


def _collated_texts(columns: Mapping[str, EngineColumn], trees: Sequence[exp.Expr]) -> Values:
    """Texts on which collations matter, where the schema or a query names one."""
    collated = {column for column, place in columns.items() if place.collation}
    named = collated or any(tree.find(exp.Collate) is not None for tree in trees)
    return collation_hints(trees, collated) if named else {}


def _nested_values(
    columns: Mapping[str, EngineColumn], trees: Sequence[exp.Expr], translated: Sequence[exp.Expr]
) -> Values:
    """Values for the columns whose values have parts, from the paths that the queries follow."""
    values = dict.fromkeys(literal_value(literal) for tree in trees for literal in tree.find_all(exp.Literal))
    literals = [part for value in values if value is not None for part in (value, *_scalars_in(value))]
    paths: dict[str, list[Path]] = {}
    for tree in translated:
        for column, column_paths in read_json_paths(tree).items():
            paths.setdefault(column, []).extend(column_paths)
    demands, nested = read_json_demands(trees), Values()
    for column, place in columns.items():
        followed = list(dict.fromkeys(paths.get(column, ())))
        if place.type.kind == "json" and followed:
            nested[column] = documents(followed, literals, demands.get(column, {}))
        elif place.type.kind in NESTED and place.type.kind != "json":
            nested[column] = nested_values(place.type, literals, {str(step) for path in followed for step in path})
    return nested


def _scalars_in(value: Any) -> Iterator[Value]:
    """The scalars of a text that is JSON with parts, as it stands behind ``@>``."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        if isinstance(part, (dict, list)):
            yield from _scalars_in(part)
        elif part is not None:
            yield part
