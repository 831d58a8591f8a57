"""Reads which part of a column an expression accesses: a field of a struct, a key of a map or document, an element.

The dialects have different notations: ``addr.city``, ``attrs['colour']``, ``doc -> 'user' ->> 'name'``,
``doc #>> '{user,name}'``, ``JSON_EXTRACT(doc, '$.user.name')``, ``tags[1]``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value

# The keys and indexes that lead to a value; the empty path is the whole value.
Path = tuple[str | int, ...]

_EXTRACTS = (exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar)
_STEP_FUNCTIONS = ("map_extract", "map_extract_value", "element_at", "list_extract", "array_extract", "list_element")
_PATH_FUNCTIONS = ("json_extract_string", "json_extract_path_text", "json_value", "json_extract")
_TRANSPARENT_FUNCTIONS = ("json_unquote", "json_quote")
# Table functions that return the elements of an array as rows.
ELEMENTS = frozenset(
    ("jsonb_array_elements", "jsonb_array_elements_text", "json_array_elements", "json_array_elements_text")
)


@dataclass(frozen=True)
class ColumnPath:
    """A part of a column.

    Attributes:
        column: The column.
        steps: The path from the column's value to the part.
    """

    column: exp.Column
    steps: Path


@dataclass(frozen=True)
class ColumnPaths:
    """Reads the column paths of one query.

    Attributes:
        nested: The lower-case names of columns with fields.
        tables: The lower-case names and aliases of the query's tables, which are not columns with fields.
        elements: By lower-case name of a table function's result, the path to the array's element.
    """

    nested: Collection[str] = ()
    tables: Collection[str] = ()
    elements: Mapping[str, ColumnPath] = field(default_factory=dict)

    @staticmethod
    def of(tree: exp.Expr, nested: Collection[str] = ()) -> ColumnPaths:
        """The reader for a query."""
        tables = {fold(table.alias_or_name) for table in tree.find_all(exp.Table)}
        reader, elements = ColumnPaths(nested, tables), dict[str, ColumnPath]()
        for table in tree.find_all(exp.Table):
            call, alias = table.this, table.args.get("alias")
            if isinstance(call, exp.Anonymous) and call.name.lower() in ELEMENTS and alias and call.expressions:
                array = reader.read(call.expressions[0])
                if array is not None:
                    names = [alias.name, *(column.name for column in alias.columns)]
                    elements |= {fold(name): ColumnPath(array.column, (*array.steps, 0)) for name in names}
        return ColumnPaths(nested, tables, elements)

    def read(self, node: exp.Expr) -> ColumnPath | None:
        """The path that an expression accesses; None for any other expression."""
        node = node.unnest()
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Lambda):
            return self._arrow(node)
        inner, steps = _last_step(node)
        outer = self.read(inner) if inner is not None and steps is not None else None
        return ColumnPath(outer.column, (*outer.steps, *steps)) if outer is not None and steps is not None else None

    def _column(self, node: exp.Column) -> ColumnPath:
        names = [part.name for part in node.parts]
        element = self.elements.get(fold(names[0]))
        if element is not None:
            return element
        for index, name in enumerate(names[:-1]):
            # The name of a struct may follow the table's name.
            if fold(name) in self.nested and fold(name) not in self.tables:
                table = exp.to_identifier(names[index - 1]) if index else None
                return ColumnPath(exp.Column(this=exp.to_identifier(name), table=table), tuple(names[index + 1 :]))
        return ColumnPath(node, ())

    def _arrow(self, node: exp.Lambda) -> ColumnPath | None:
        """``doc -> 'a'`` as the only argument of a function, which sqlglot parses as a lambda."""
        steps: list[str | int] = []
        inner: exp.Expr = node.this
        while isinstance(inner, _EXTRACTS):
            path = path_of(inner.expression)
            if path is None:
                return None
            steps[:0] = path
            inner = inner.this
        first = literal_value(inner)
        if not isinstance(first, (str, int)) or len(node.expressions) != 1:
            return None
        return ColumnPath(exp.Column(this=exp.to_identifier(node.expressions[0].name)), (first, *steps))


def _last_step(node: exp.Expr) -> tuple[exp.Expr | None, Path | None]:
    """The inner expression of an access and the steps of its last access; (None, None) for any other expression."""
    if isinstance(node, _EXTRACTS):
        return node.this, path_of(node.expression)
    if isinstance(node, exp.StructExtract):
        return node.this, _step(node.expression)
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        return node.this, (node.expression.name,)
    if isinstance(node, exp.Bracket) and len(node.expressions) == 1:
        return node.this, _step(node.expressions[0])
    if isinstance(node, exp.JSONValue):
        return node.this, path_of(node.args.get("path"))
    if isinstance(node, exp.Anonymous) and node.expressions:
        name = node.name.lower()
        if name in _TRANSPARENT_FUNCTIONS:
            return node.expressions[0], ()
        if len(node.expressions) == 2 and name in _STEP_FUNCTIONS:
            return node.expressions[0], _step(node.expressions[1])
        if len(node.expressions) == 2 and name in _PATH_FUNCTIONS:
            return node.expressions[0], path_of(node.expressions[1])
    return None, None


def _step(node: exp.Expr) -> Path | None:
    value = literal_value(node)
    return (value,) if isinstance(value, (str, int)) and value != "" else None


def path_of(node: exp.Expr | None) -> Path | None:
    """The steps of a literal path; None for any other."""
    if isinstance(node, exp.JSONPath):
        parts = (part for part in node.expressions if isinstance(part, (exp.JSONPathKey, exp.JSONPathSubscript)))
        return tuple(part.this if isinstance(part.this, (str, int)) else 0 for part in parts)
    value = literal_value(node) if node is not None else None
    if isinstance(value, int):
        return (value,)
    if not isinstance(value, str):
        return None
    if value.startswith("{") and value.endswith("}"):
        steps = [part.strip().strip('"') for part in value[1:-1].split(",")]
        return tuple(int(step) if step.isdigit() else step for step in steps if step)
    return parse_path(value) if value.startswith("$") else (value,)


def parse_path(text: str) -> Path:
    """The steps of a path such as ``$.a.b[0]`` (https://sqlite.org/json1.html#path_arguments)."""
    steps: list[str | int] = []
    for part in text[1:].replace("[", ".[").split("."):
        if part.startswith("["):
            digits = part.strip("[]#-")
            steps.append(int(digits) if digits.isdigit() else 0)
        elif part:
            steps.append(part.strip('"'))
    return tuple(steps)


def path_text(steps: Path) -> str:
    """A path in SQLite's notation."""
    parts = [f"[{step}]" if isinstance(step, int) else f".{_key(step)}" for step in steps]
    return "$" + "".join(parts)


def _key(step: str) -> str:
    return step if step.isidentifier() and step.isascii() else f'"{step}"'
