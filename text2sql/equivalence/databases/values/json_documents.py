"""JSON documents for the columns that queries read as JSON: made from the paths that the queries follow."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import neighbours
from text2sql.sql.column_paths import ELEMENTS, ColumnPaths, Path, parse_path
from text2sql.sql.tokens import fold
from text2sql.sql.values import Value

_MISSING = object()
# What engines demand of a value in a document: their functions and casts fail on others.
JsonDemand = Literal["array", "number", "whole", "boolean"]
_NO_DEMANDS: Mapping[Path, JsonDemand] = MappingProxyType({})
# Paths of one call, and documents of one column.
_MAX_PATHS = 8
_MAX_DOCUMENTS = 48
# Literals near which values are, and arrays with repeated elements.
_MAX_LITERALS = 6
_MAX_REPEATED = 6
# The largest index of an element of an array, from either end.
_MAX_INDEX = 20
# An array and objects where json_each may look, scalars of each type, and nothing at all.
_ORDINARY_VALUES: tuple[Any, ...] = (1, "a", 2.5, None, [1, "a"], {"k": 2}, "B", _MISSING, True, [], 3, ["b", "b", 4])


# Calls of other classes of sqlglot are no functions of documents.
JSON_FUNCTIONS: tuple[type[exp.Expr], ...] = tuple(
    kind for kind in vars(exp).values() if isinstance(kind, type) and kind.__name__.startswith("JSON")
)


def read_json_paths(tree: exp.Expr) -> dict[str, list[Path]]:
    """The paths that a query follows, by lower-case name of the column that holds the documents."""
    paths_by_column: dict[str, list[Path]] = {}
    column_paths = ColumnPaths.of(tree)
    for node in tree.find_all(exp.Func, exp.JSONExtract, exp.JSONExtractScalar):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        if not name.lower().startswith("json") or isinstance(node, exp.AggFunc) or name.lower() in _BUILDERS:
            continue
        first = node.expressions[0] if isinstance(node, exp.Anonymous) and node.expressions else node.this
        column_path = column_paths.read(first) if isinstance(first, exp.Expression) else None
        if column_path is None:
            continue
        paths = paths_by_column.setdefault(fold(column_path.column.name), [])
        followed = [(*column_path.steps, *path) for path in (*_paths_of_call(node, first), ())]
        paths += [path for path in followed if path not in paths][:_MAX_PATHS]
    return paths_by_column


_BUILDERS = frozenset(("json_array", "json_object", "json_quote", "json_group_array", "json_group_object"))


def _paths_of_call(node: exp.Expr, document: exp.Expr) -> Iterator[Path]:
    """The paths that a call follows in its document."""
    arguments = [part for part in node.iter_expressions() if part is not document]
    for path in (node_ for part in arguments for node_ in part.find_all(exp.JSONPath)):
        steps = [
            part.this if isinstance(part.this, (str, int)) else 0
            for part in path.expressions
            if isinstance(part, (exp.JSONPathKey, exp.JSONPathSubscript))
        ]
        yield tuple(steps)
    for literal in (node_ for part in arguments for node_ in part.find_all(exp.Literal)):
        text = str(literal.this)
        if literal.is_string and text.startswith("$"):
            yield parse_path(text)


_ARRAY_FUNCTIONS = ELEMENTS | {"jsonb_array_length"}


def read_json_demands(trees: Sequence[exp.Expr]) -> dict[str, dict[Path, JsonDemand]]:
    """By lower-case name of a column and by path, what engines demand of its documents."""
    demands: dict[str, dict[Path, JsonDemand]] = {}
    for tree in trees:
        column_paths = ColumnPaths.of(tree)
        for call in tree.find_all(exp.Anonymous):
            if (
                call.name.lower() in _ARRAY_FUNCTIONS
                and call.expressions
                and (column_path := column_paths.read(call.expressions[0]))
            ):
                demands.setdefault(fold(column_path.column.name), {})[column_path.steps] = "array"
        for cast in tree.find_all(exp.Cast):
            demand = _demand_of_cast(cast.to)
            if demand is not None and (column_path := column_paths.read(cast.this)) and column_path.steps:
                demands.setdefault(fold(column_path.column.name), {})[column_path.steps] = demand
    return demands


def _demand_of_cast(type_: exp.DataType) -> JsonDemand | None:
    if type_.is_type(exp.DType.BOOLEAN):
        return "boolean"
    if type_.is_type(*exp.DataType.INTEGER_TYPES):
        return "whole"
    return "number" if type_.is_type(*exp.DataType.NUMERIC_TYPES) else None


def _as_demanded(demand: JsonDemand | None, value: Any) -> Any:
    """A value as it is demanded, in place of another one."""
    if demand is None or value is _MISSING or (value is None and demand != "array"):
        return value
    if demand == "array":
        return value if isinstance(value, list) else [] if value is None else [value]
    if demand == "boolean":
        return bool(value)
    if isinstance(value, (str, list, dict)):
        return len(json.dumps(value))
    return int(value) if demand == "whole" or isinstance(value, bool) else value


def documents(
    paths: Sequence[Path], literals: Sequence[Value], demands: Mapping[Path, JsonDemand] = _NO_DEMANDS
) -> list[Value]:
    """Documents in which the paths lead to values near the literals, to values of other types, or nowhere.

    Args:
        paths: As in `json_paths`.
        literals: The literals of the queries.
        demands: What engines demand of the values, by path.
    """
    near: list[Any] = []
    # Arrays in which an element occurs twice: json_each returns it as often.
    repeated: list[Any] = []
    for literal in literals[:_MAX_LITERALS]:
        if isinstance(literal, bool):
            near += [literal, not literal]
        elif isinstance(literal, (int, float)):
            near += [literal, literal + 1, literal - 1]
        elif isinstance(literal, str) and not literal.startswith(("$", "%")):
            near += neighbours(literal, "text")[:4]
        else:
            continue
        repeated += [[literal, literal], [literal, "a", literal]]
    values = [*repeated[:_MAX_REPEATED], *near, *_ORDINARY_VALUES]
    inner = [path for path in paths if path]
    if demands:
        # An array comes before what lies in it: it would else replace that.
        inner = sorted((path for path in {*inner, *demands} if path), key=lambda path: (len(path), str(path)))
    texts: list[Value] = []
    # The same documents for every seed: which of them a database holds is chosen elsewhere.
    rng = random.Random(0)
    for number in range(_MAX_DOCUMENTS):
        document: Any = {}
        for position, path in enumerate(inner):
            # Each value has its turn: a type that one function overlooks has a single value here.
            turn = values[(number // 2 * (2 * position + 1) + position) % len(values)]
            value = _MISSING if rng.random() < 0.15 else rng.choice(near) if near and number % 2 else turn
            value = _as_demanded(demands.get(path), value)
            if value is not _MISSING:
                document = _with_value(document, path, value)
        if not inner:
            value = values[number % len(values)]
            document = {} if value is _MISSING else value if isinstance(value, (list, dict)) else [value]
        document = _lengthened(_as_demanded(demands.get(()), document), number % 3)
        texts.append(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
    return list(dict.fromkeys(texts))


def _with_value(document: Any, path: Path, value: Any) -> Any:
    """The document with a value at a path, in place of what stood there."""
    if not path:
        return value
    step, *rest = path
    if isinstance(step, int):
        items = list(document) if isinstance(document, list) else []
        index = max(-_MAX_INDEX, min(step, _MAX_INDEX))
        # Elements that are counted from the end are made in front.
        items = [0] * (-index - len(items)) + items + [0] * (index + 1 - len(items))
        items[index] = _with_value(items[index], tuple(rest), value)
        return items
    members = dict(document) if isinstance(document, dict) else {}
    members[step] = _with_value(members.get(step, {}), tuple(rest), value)
    return members


def _lengthened(document: Any, count: int) -> Any:
    """The document with `count` further elements in its array, or in the arrays that are its members."""
    if isinstance(document, list) and document:
        # Of objects the last is repeated, and then comes one with other values.
        last = document[-1]
        further = [last, dict.fromkeys(last, 5)] if isinstance(last, dict) else range(5, 5 + count)
        return [*document, *further[:count]]
    if isinstance(document, dict):
        return {key: _lengthened(value, count) for key, value in document.items()}
    return document
