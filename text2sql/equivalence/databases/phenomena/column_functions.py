"""The expressions over one column that a query has: functions, collations and casts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import replace_columns

# Expressions over one column.
MAX_FUNCTIONS = 6
_LOWER = exp.Lower(this=exp.column("v0"))
RTRIM = exp.Anonymous(this="rtrim", expressions=[exp.column("v0")])
# What each collation does to a text before it compares it.
COLLATIONS: dict[str, exp.Expr] = {"NOCASE": _LOWER, "RTRIM": RTRIM}
# Without any of these, nothing but a declared collation makes two values equal. AND is a function in sqlglot's trees.
FUNCTIONS = (exp.Func, exp.Binary, exp.Collate, exp.Cast, exp.Neg)
# Of these, the kinds of which no column is put through as a whole.
OPAQUE = (exp.Connector, exp.Predicate, exp.Not, exp.AggFunc, exp.Case, exp.If, exp.Dot, exp.Window, exp.Select)
# What an expression goes on in: the outermost one is taken.
_OUTER_FUNCTIONS = (exp.Func, exp.Binary, exp.Cast, exp.Neg)


def read_column_functions(tree: exp.Expr) -> dict[str, list[exp.Expr]]:
    """Of a query, by lower-case name of a column, the expressions over it alone, in which it is called v0."""
    aliases = {
        fold(item.alias): item.this for item in tree.find_all(exp.Alias) if not isinstance(item.this, exp.Select)
    }
    functions: dict[str, list[exp.Expr]] = {}
    for node in tree.find_all(*FUNCTIONS):
        for name, expression in _functions_at(node, aliases):
            known = functions.setdefault(name, [])
            if expression not in known and len(known) < MAX_FUNCTIONS:
                known.append(expression)
    return functions


def _functions_at(node: exp.Expr, aliases: Mapping[str, exp.Expr]) -> Iterator[tuple[str, exp.Expr]]:
    """The expressions over one column that a node of a tree is, each with the name of its column."""
    if isinstance(node, exp.Like):
        # LIKE compares texts without case; with a literal pattern the condition itself is tried.
        sides = [side for side in (node.this, node.expression) if isinstance(side, exp.Column)]
        if len(sides) == 2:
            yield from ((fold(side.name), _LOWER) for side in sides)
        return
    is_inner = isinstance(node.parent, _OUTER_FUNCTIONS) and not isinstance(node.parent, OPAQUE)
    if isinstance(node, OPAQUE) or is_inner or node.find(exp.AggFunc, exp.Select):
        return
    names = _names_in(node)
    if len(names) != 1:
        return
    name = names.pop()
    if isinstance(node, exp.Collate):
        collation = node.expression.name.upper()
        if collation in COLLATIONS:
            yield name, COLLATIONS[collation]
        return
    yield name, _over(node, exp.column("v0"))
    named = aliases.get(name)
    if named is not None and not isinstance(named, exp.Column) and named.find(exp.AggFunc, exp.Select) is None:
        inner_names = _names_in(named)
        if len(inner_names) == 1:
            inner = exp.Paren(this=_over(named, exp.column("v0")))
            yield inner_names.pop(), _over(node, inner)
    elif isinstance(named, exp.Column) and fold(named.name) != name:
        yield fold(named.name), _over(node, exp.column("v0"))


def _names_in(node: exp.Expr) -> set[str]:
    return {fold(column.name) for column in node.find_all(exp.Column)}


def _over(expression: exp.Expr, argument: exp.Expr) -> exp.Expr:
    return replace_columns(expression, lambda _: argument.copy())
