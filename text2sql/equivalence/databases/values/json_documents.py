"""JSON documents for the columns that queries read as JSON: made from the paths that the queries follow."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import neighbours
from text2sql.sql.column_paths import ELEMENTS, ColumnPaths, Path, parsed_path
from text2sql.sql.tokens import fold
from text2sql.sql.values import Value

_MISSING = object()
# What engines ask of a value in a document: their functions and casts fail on others.
Asked = Literal["array", "number", "whole", "boolean"]
_NOTHING: Mapping[Path, Asked] = MappingProxyType({})
_MOST_PATHS = 8
# Of an element in an array, from either end.
_MAX_INDEX = 20
_MOST = 48
# An array and objects where json_each may look, scalars of each type, and nothing at all.
_PLAIN: tuple[Any, ...] = (1, "a", 2.5, None, [1, "a"], {"k": 2}, "B", _MISSING, True, [], 3, ["b", "b", 4])


# Calls that sqlglot knows by other classes than this are no functions of documents.
JSON_FUNCTIONS: tuple[type[exp.Expr], ...] = tuple(
    kind for kind in vars(exp).values() if isinstance(kind, type) and kind.__name__.startswith("JSON")
)


def json_paths(tree: exp.Expr) -> dict[str, list[Path]]:
    """The paths that a query follows, by lower-case name of the column that holds the documents."""
    found: dict[str, list[Path]] = {}
    column_paths = ColumnPaths.of(tree)
    for node in tree.find_all(exp.Func, exp.JSONExtract, exp.JSONExtractScalar):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        if not name.lower().startswith("json") or isinstance(node, exp.AggFunc) or name.lower() in _BUILDERS:
            continue
        first = node.expressions[0] if isinstance(node, exp.Anonymous) and node.expressions else node.this
        column_path = column_paths.read(first) if isinstance(first, exp.Expression) else None
        if column_path is None:
            continue
        paths = found.setdefault(fold(column_path.column.name), [])
        own = [(*column_path.steps, *path) for path in (*_paths(node, first), ())]
        paths += [path for path in own if path not in paths][:_MOST_PATHS]
    return found


_BUILDERS = frozenset(("json_array", "json_object", "json_quote", "json_group_array", "json_group_object"))


def _paths(node: exp.Expr, holder: exp.Expr) -> Iterator[Path]:
    """The paths that a call follows in what it is given."""
    within = [part for part in node.iter_expressions() if part is not holder]
    for path in (found for part in within for found in part.find_all(exp.JSONPath)):
        steps = [
            part.this if isinstance(part.this, (str, int)) else 0
            for part in path.expressions
            if isinstance(part, (exp.JSONPathKey, exp.JSONPathSubscript))
        ]
        yield tuple(steps)
    for literal in (found for part in within for found in part.find_all(exp.Literal)):
        text = str(literal.this)
        if literal.is_string and text.startswith("$"):
            yield parsed_path(text)


_ARRAY_FUNCTIONS = ELEMENTS | {"jsonb_array_length"}


def demands_of(trees: Sequence[exp.Expr]) -> dict[str, dict[Path, Asked]]:
    """By lower-case name of a column and by path, what engines ask of its documents."""
    found: dict[str, dict[Path, Asked]] = {}
    for tree in trees:
        column_paths = ColumnPaths.of(tree)
        for call in tree.find_all(exp.Anonymous):
            if (
                call.name.lower() in _ARRAY_FUNCTIONS
                and call.expressions
                and (column_path := column_paths.read(call.expressions[0]))
            ):
                found.setdefault(fold(column_path.column.name), {})[column_path.steps] = "array"
        for cast in tree.find_all(exp.Cast):
            asked = _cast_to(cast.to)
            if asked is not None and (column_path := column_paths.read(cast.this)) and column_path.steps:
                found.setdefault(fold(column_path.column.name), {})[column_path.steps] = asked
    return found


def _cast_to(kind: exp.DataType) -> Asked | None:
    if kind.is_type(exp.DType.BOOLEAN):
        return "boolean"
    if kind.is_type(*exp.DataType.INTEGER_TYPES):
        return "whole"
    return "number" if kind.is_type(*exp.DataType.NUMERIC_TYPES) else None


def _met(asked: Asked | None, value: Any) -> Any:
    """A value that is as it is asked for, in place of another one."""
    if asked is None or value is _MISSING or (value is None and asked != "array"):
        return value
    if asked == "array":
        return value if isinstance(value, list) else [] if value is None else [value]
    if asked == "boolean":
        return bool(value)
    if isinstance(value, (str, list, dict)):
        return len(json.dumps(value))
    return int(value) if asked == "whole" or isinstance(value, bool) else value


def documents(
    paths: Sequence[Path], literals: Sequence[Value], demands: Mapping[Path, Asked] = _NOTHING
) -> list[Value]:
    """Documents in which the paths lead to values near the literals, to values of other types, or nowhere.

    Args:
        paths: As in `json_paths`.
        literals: What the queries compare with.
        demands: What engines ask of the values, by path.
    """
    near: list[Any] = []
    # Arrays in which an element comes up twice: json_each finds it as often.
    again: list[Any] = []
    for literal in literals[:6]:
        if isinstance(literal, bool):
            near += [literal, not literal]
        elif isinstance(literal, (int, float)):
            near += [literal, literal + 1, literal - 1]
        elif isinstance(literal, str) and not literal.startswith(("$", "%")):
            near += neighbours(literal, "text")[:4]
        else:
            continue
        again += [[literal, literal], [literal, "a", literal]]
    values = [*again[:6], *near, *_PLAIN]
    inner = [path for path in paths if path]
    if demands:
        # An array comes before what lies in it, which would else give way to it.
        inner = sorted((path for path in {*inner, *demands} if path), key=lambda path: (len(path), str(path)))
    found: list[Value] = []
    # The same documents for every seed: which of them a database holds is chosen elsewhere.
    rng = random.Random(0)
    for number in range(_MOST):
        document: Any = {}
        for place, path in enumerate(inner):
            # Each kind of value has its turn: a type that one function overlooks is a single value here.
            turn = values[(number // 2 * (2 * place + 1) + place) % len(values)]
            value = _MISSING if rng.random() < 0.15 else rng.choice(near) if near and number % 2 else turn
            value = _met(demands.get(path), value)
            if value is not _MISSING:
                document = _with(document, path, value)
        if not inner:
            value = values[number % len(values)]
            document = {} if value is _MISSING else value if isinstance(value, (list, dict)) else [value]
        document = _longer(_met(demands.get(()), document), number % 3)
        found.append(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
    return list(dict.fromkeys(found))


def _with(document: Any, path: Path, value: Any) -> Any:
    """The document with a value at a path; what stands in the way gives way."""
    if not path:
        return value
    step, *rest = path
    if isinstance(step, int):
        items = list(document) if isinstance(document, list) else []
        index = max(-_MAX_INDEX, min(step, _MAX_INDEX))
        # Elements that are counted from the end are made in front.
        items = [0] * (-index - len(items)) + items + [0] * (index + 1 - len(items))
        items[index] = _with(items[index], tuple(rest), value)
        return items
    members = dict(document) if isinstance(document, dict) else {}
    members[step] = _with(members.get(step, {}), tuple(rest), value)
    return members


def _longer(document: Any, more: int) -> Any:
    """The document with `more` further elements in its array, or in the arrays that are its members."""
    if isinstance(document, list) and document:
        # Of objects the first comes up again, and then one with other values.
        last = document[-1]
        further = [last, dict.fromkeys(last, 5)] if isinstance(last, dict) else range(5, 5 + more)
        return [*document, *further[:more]]
    if isinstance(document, dict):
        return {key: _longer(value, more) for key, value in document.items()}
    return document
