"""JSON documents for the columns that queries read as JSON: made from the paths that the queries follow."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from sqlglot import exp

from text2sql.equivalence.databases.values import neighbours
from text2sql.sql.tokens import fold
from text2sql.sql.values import Value

# A path as the keys and indexes that lead to a value; the empty path is the document itself.
Path = tuple[str | int, ...]
_MISSING = object()
_MOST_PATHS = 8
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
    for node in tree.find_all(exp.Func, exp.JSONExtract, exp.JSONExtractScalar):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        if not name.lower().startswith("json") or isinstance(node, exp.AggFunc):
            continue
        column = node.expressions[0] if isinstance(node, exp.Anonymous) and node.expressions else node.this
        if not isinstance(column, exp.Column) or name.lower() in _BUILDERS:
            continue
        paths = found.setdefault(fold(column.name), [])
        paths += [path for path in (*_paths(node), ()) if path not in paths][:_MOST_PATHS]
    return found


_BUILDERS = frozenset(("json_array", "json_object", "json_quote", "json_group_array", "json_group_object"))


def _paths(node: exp.Expr) -> Iterator[Path]:
    for path in node.find_all(exp.JSONPath):
        steps = [
            part.this if isinstance(part.this, (str, int)) else 0
            for part in path.expressions
            if isinstance(part, (exp.JSONPathKey, exp.JSONPathSubscript))
        ]
        yield tuple(steps)
    for literal in node.find_all(exp.Literal):
        text = str(literal.this)
        if literal.is_string and text.startswith("$"):
            yield _parsed(text)


def _parsed(text: str) -> Path:
    """The steps of a path such as ``$.a.b[0]`` (https://sqlite.org/json1.html#path_arguments)."""
    steps: list[str | int] = []
    for part in text[1:].replace("[", ".[").split("."):
        if part.startswith("["):
            digits = part.strip("[]#-")
            steps.append(int(digits) if digits.isdigit() else 0)
        elif part:
            steps.append(part.strip('"'))
    return tuple(steps)


def documents(paths: Sequence[Path], literals: Sequence[Value]) -> list[Value]:
    """Documents in which the paths lead to values near the literals, to values of other types, or nowhere.

    Args:
        paths: As in `json_paths`.
        literals: What the queries compare with.
    """
    near: list[Any] = []
    # Arrays in which an element comes up twice: json_each finds it as often.
    again: list[Any] = []
    for literal in literals[:6]:
        if isinstance(literal, (int, float)):
            near += [literal, literal + 1, literal - 1]
        elif isinstance(literal, str) and not literal.startswith(("$", "%")):
            near += neighbours(literal, "text")[:4]
        else:
            continue
        again += [[literal, literal], [literal, "a", literal]]
    values = [*again[:6], *near, *_PLAIN]
    inner = [path for path in paths if path]
    found: list[Value] = []
    # The same documents for every seed: which of them a database holds is chosen elsewhere.
    rng = random.Random(0)
    for number in range(_MOST):
        document: Any = {}
        for place, path in enumerate(inner):
            # Each kind of value has its turn: a type that one function overlooks is a single value here.
            turn = values[(number // 2 * (2 * place + 1) + place) % len(values)]
            value = _MISSING if rng.random() < 0.15 else rng.choice(near) if near and number % 2 else turn
            if value is not _MISSING:
                document = _with(document, path, value)
        if not inner:
            value = values[number % len(values)]
            document = {} if value is _MISSING else value if isinstance(value, (list, dict)) else [value]
        document = _longer(document, number % 3)
        found.append(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
    return list(dict.fromkeys(found))


def _with(document: Any, path: Path, value: Any) -> Any:
    """The document with a value at a path; what stands in the way gives way."""
    if not path:
        return value
    step, *rest = path
    if isinstance(step, int):
        items = list(document) if isinstance(document, list) else []
        items += [0] * (min(step, 20) + 1 - len(items))
        items[min(step, 20)] = _with(items[min(step, 20)], tuple(rest), value)
        return items
    members = dict(document) if isinstance(document, dict) else {}
    members[step] = _with(members.get(step, {}), tuple(rest), value)
    return members


def _longer(document: Any, more: int) -> Any:
    """The document with `more` further elements in its array, or in the arrays that are its members."""
    if isinstance(document, list) and document:
        return [*document, *range(5, 5 + more)]
    if isinstance(document, dict):
        return {key: _longer(value, more) for key, value in document.items()}
    return document
