"""Rewrites accesses to parts of structs, maps, lists and JSON documents as SQLite's JSON functions.

The row generator makes such values as JSON, so that SQLite can evaluate conditions on them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from sqlglot import exp

from text2sql.sql.column_paths import ColumnPath, ColumnPaths, Path, path_of, path_text
from text2sql.sql.tokens import fold, quote_string
from text2sql.sql.trees import literal_value, parse_sqlite, to_sqlite

_AS_JSON = (exp.JSONExtract, exp.JSONBExtract)
_LENGTHS = ("cardinality", "jsonb_array_length", "json_array_length", "json_length", "list_count", "len")
_HAS_PATH = ("json_exists", "json_contains_path")
_HAS_ALL = ("list_has_all", "array_has_all")


def rewrite_json_access(tree: exp.Expr, nested: Collection[str]) -> exp.Expr:
    """Rewrites a query's accesses for SQLite; one that SQLite cannot express stays as it is.

    Args:
        tree: The query in its own dialect.
        nested: The lower-case names of columns that hold structs, maps, lists or documents.
    """
    if not any(fold(name.name) in nested for name in tree.find_all(exp.Identifier)):
        return tree
    return _Rewriter(ColumnPaths.of(tree, nested), nested).rewrite(tree)


class _Rewriter:
    def __init__(self, paths: ColumnPaths, nested: Collection[str]) -> None:
        self._paths, self._nested = paths, nested

    def rewrite(self, node: exp.Expr) -> exp.Expr:
        return node.copy().transform(self._rewrite_node)

    def _column_path(self, node: exp.Expr | None) -> ColumnPath | None:
        column_path = self._paths.read(node) if node is not None else None
        return column_path if column_path is not None and fold(column_path.column.name) in self._nested else None

    def _rewrite_node(self, node: exp.Expr) -> exp.Expr:
        return (
            self._rewrite_length_or_key(node) or self._rewrite_containment(node) or self._rewrite_access(node) or node
        )

    def _rewrite_access(self, node: exp.Expr) -> exp.Expr | None:
        if not isinstance(node, (exp.Expression, exp.Column)) or isinstance(node, exp.Paren):
            return None
        column_path = self._column_path(node)
        if column_path is None or not column_path.steps or fold(node.name) in self._paths.elements:
            return None
        if isinstance(node, exp.Column) and fold(node.table) in self._paths.elements:
            return None
        if isinstance(node, _AS_JSON):
            return parse_sqlite(f"{to_sqlite(column_path.column)} -> {quote_string(path_text(column_path.steps))}")
        return _extract(column_path)

    def _rewrite_length_or_key(self, node: exp.Expr) -> exp.Expr | None:
        """The length of a list, or the presence of a key."""
        if isinstance(node, (exp.ArraySize, exp.Length)) and (column_path := self._column_path(node.this)) is not None:
            return _length(column_path)
        if isinstance(node, exp.JSONBContainsTopKey):
            return self._has_key(node.this, _key_of(node.expression))
        if not isinstance(node, exp.Anonymous) or not node.expressions:
            return None
        name, first = node.name.lower(), node.expressions[0]
        if name in _LENGTHS and (column_path := self._column_path(first)) is not None:
            steps = self._path_argument(node)
            return _length(ColumnPath(column_path.column, (*column_path.steps, *steps))) if steps is not None else None
        if name == "map_contains" and len(node.expressions) == 2:
            return self._has_key(first, _key_of(node.expressions[1]))
        return self._has_key(first, path_of(node.expressions[-1])) if name in _HAS_PATH else None

    def _path_argument(self, node: exp.Anonymous) -> Path | None:
        """The steps of the path in a function's second argument."""
        if len(node.expressions) < 2:
            return ()
        column_path = self._paths.read(exp.JSONExtract(this=exp.column("x"), expression=node.expressions[1].copy()))
        return column_path.steps if column_path is not None else None

    def _has_key(self, container: exp.Expr, steps: Path | None) -> exp.Expr | None:
        column_path = self._column_path(container)
        if column_path is None or not steps:
            return None
        path = quote_string(path_text((*column_path.steps, *steps)))
        return parse_sqlite(f"JSON_TYPE({to_sqlite(column_path.column)}, {path}) IS NOT NULL")

    def _rewrite_containment(self, node: exp.Expr) -> exp.Expr | None:
        """Whether a list contains elements, or a document contains another one."""
        if isinstance(node, exp.ArrayContains):
            return self._contains(node.this, [literal_value(node.expression)], "AND")
        if isinstance(node, exp.In) and node.args.get("field") is not None:
            return self._contains(node.args["field"], [literal_value(node.this)], "AND")
        if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
            return self._contains(node.expression.this, [literal_value(node.this)], "AND")
        if isinstance(node, exp.ArrayOverlaps):
            return self._contains(node.this, _list_elements(node.expression), "OR")
        if isinstance(node, exp.ArrayContainsAll):
            return self._contains_all(node.this, node.expression)
        if isinstance(node, exp.Anonymous) and node.name.lower() in _HAS_ALL and len(node.expressions) == 2:
            return self._contains_all(*node.expressions)
        if isinstance(node, exp.Anonymous) and node.name.lower() in ("json_contains", "map_contains_entry"):
            return self._contains_member(node)
        return None

    def _contains_all(self, container: exp.Expr, wanted: exp.Expr) -> exp.Expr | None:
        text, column_path = (
            literal_value(wanted.this if isinstance(wanted, exp.Cast) else wanted),
            self._column_path(container),
        )
        if isinstance(text, str) and not text.startswith("{}") and column_path is not None:
            try:
                return _containment(column_path, json.loads(text))
            except (ValueError, RecursionError):
                pass
        return self._contains(container, _list_elements(wanted), "AND")

    def _contains_member(self, node: exp.Anonymous) -> exp.Expr | None:
        """``JSON_CONTAINS(doc, '"a"', '$.tags')``, ``map_contains_entry(m, 'key', 'value')``."""
        first, second, *rest = [*node.expressions, *[exp.Null()] * 2][:3]
        column_path, wanted = self._column_path(first), literal_value(second)
        if column_path is None or wanted is None:
            return None
        if node.name.lower() == "map_contains_entry" and isinstance(wanted, (str, int)):
            return exp.EQ(
                this=_extract(ColumnPath(column_path.column, (*column_path.steps, wanted))), expression=rest[0].copy()
            )
        if not isinstance(wanted, str):
            return None
        path = (
            self._path_argument(exp.Anonymous(this="x", expressions=[first, rest[0]])) if literal_value(rest[0]) else ()
        )
        try:
            return _containment(ColumnPath(column_path.column, (*column_path.steps, *(path or ()))), json.loads(wanted))
        except (ValueError, RecursionError):
            return None

    def _contains(self, container: exp.Expr, values: list[Any], joined: str) -> exp.Expr | None:
        column_path = self._column_path(container)
        if column_path is None or not values or None in values:
            return None
        return parse_sqlite(f" {joined} ".join(_has_element(column_path, value) for value in values))


def _key_of(node: exp.Expr) -> Path | None:
    key = literal_value(node)
    return (str(key),) if isinstance(key, (str, int)) else None


def _extract(column_path: ColumnPath) -> exp.Expr:
    return parse_sqlite(f"JSON_EXTRACT({to_sqlite(column_path.column)}, {quote_string(path_text(column_path.steps))})")


def _length(column_path: ColumnPath) -> exp.Expr:
    path = f", {quote_string(path_text(column_path.steps))}" if column_path.steps else ""
    return parse_sqlite(f"JSON_ARRAY_LENGTH({to_sqlite(column_path.column)}{path})")


def _has_element(column_path: ColumnPath, value: Any) -> str:
    """A test for a scalar in a list, on the list's text, so that no subquery is needed."""
    inner = to_sqlite(_extract(column_path) if column_path.steps else column_path.column)
    wanted = quote_string(f",{json.dumps(value, ensure_ascii=False)},")
    return f"INSTR(',' || TRIM({inner}, '[]') || ',', {wanted}) > 0"


def _containment(column_path: ColumnPath, wanted: Any) -> exp.Expr | None:
    conditions = list(_conditions(column_path, wanted))
    return parse_sqlite(" AND ".join(conditions)) if conditions else None


def _conditions(column_path: ColumnPath, wanted: Any) -> list[str]:
    if isinstance(wanted, dict):
        members = [(ColumnPath(column_path.column, (*column_path.steps, key)), part) for key, part in wanted.items()]
        return [text for inner, part in members for text in _conditions(inner, part)]
    if isinstance(wanted, list):
        return [_has_element(column_path, part) for part in wanted if not isinstance(part, (dict, list))]
    value = to_sqlite(_extract(column_path) if column_path.steps else column_path.column)
    if wanted is None:
        return [f"JSON_TYPE({to_sqlite(column_path.column)}, {quote_string(path_text(column_path.steps))}) = 'null'"]
    if isinstance(wanted, (bool, int, float)):
        return [f"{value} = {int(wanted) if isinstance(wanted, bool) else wanted!r}"]
    return [f"{value} = {quote_string(wanted)}"]


def _list_elements(node: exp.Expr) -> list[Any]:
    """The elements of a literal list."""
    node = node.this if isinstance(node, exp.Cast) else node
    if isinstance(node, exp.Array):
        return [literal_value(part) for part in node.expressions]
    text = literal_value(node)
    if isinstance(text, str) and text.startswith("{") and text.endswith("}"):
        return [part.strip().strip('"') for part in text[1:-1].split(",") if part.strip()]
    return []
