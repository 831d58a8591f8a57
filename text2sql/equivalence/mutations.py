"""Small mutations of a query: the same text changed in one place, as a model's answer might be.

They are what mutation testing calls mutants: databases that tell a query from its mutants would tell it from an answer
with such a mistake, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.equivalence.syntax import SQLITE, Syntax

# Characters of an expression in the description of a change.
_MAX_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Mutation:
    """A query that differs from another in one place.

    Attributes:
        sql: The query.
        change: What was changed, in words.
    """

    sql: str
    change: str


def mutations(sql: str, rng: random.Random, count: int, syntax: Syntax = SQLITE) -> list[Mutation]:
    """Mutations of a query, drawn from all that the operators of this module make.

    Args:
        sql: A query.
        rng: Chooses among them.
        count: How many at most.
        syntax: The query's dialect.

    Raises:
        SqlglotError: The query does not parse.
    """
    tree = syntax.parse(sql)
    if tree is None:
        raise SqlglotError("the gold query does not parse")
    seen = {syntax.write(tree)}
    candidates = []
    for index, node in enumerate(tree.walk()):
        for changed in _changes(node):
            mutation = _replace_node(tree, index, changed, syntax.write)
            if mutation.sql not in seen:
                seen.add(mutation.sql)
                candidates.append(mutation)
    return rng.sample(candidates, min(count, len(candidates)))


def _replace_node(tree: exp.Expr, index: int, changed: exp.Expr, write: Callable[[exp.Expr], str]) -> Mutation:
    """The tree with another node at an index, counted in the order of `walk`."""
    copied = tree.copy()
    node = next(node for number, node in enumerate(copied.walk()) if number == index)
    description = _describe_change(node, changed, write)
    if node is copied:
        return Mutation(write(changed), description)
    node.replace(changed)
    return Mutation(write(copied), description)


def _describe_change(before: exp.Expr, after: exp.Expr, write: Callable[[exp.Expr], str]) -> str:
    """A change in words: of a query the clause, of anything else both forms."""
    if isinstance(before, exp.Select) and isinstance(after, exp.Select):
        for clause in ("distinct", *_CLAUSES):
            old, new = before.args.get(clause), after.args.get(clause)
            if isinstance(old, exp.Expr) and not new:
                return f"{_short(write(old).strip())} dropped"
            if isinstance(new, exp.Expr) and not old:
                return f"{_short(write(new).strip())} added"
    return f"{_short(write(before))} became {_short(write(after))}"


def _changes(node: exp.Expr) -> Iterator[exp.Expr]:
    """All that a node is changed to, by the operator for its kind."""
    for kinds, operator in _OPERATORS:
        if isinstance(node, kinds):
            yield from operator(node)
            return


_NEIGHBOUR: dict[type[exp.Expr], type[exp.Binary]] = {
    exp.GT: exp.GTE,
    exp.GTE: exp.GT,
    exp.LT: exp.LTE,
    exp.LTE: exp.LT,
    exp.EQ: exp.NEQ,
    exp.NEQ: exp.EQ,
}
_AGGREGATES: tuple[type[exp.AggFunc], ...] = (exp.Max, exp.Min, exp.Sum, exp.Avg, exp.Count)
_CLAUSES = ("where", "group", "having", "order", "limit", "offset")


def _comparison(node: exp.Expr) -> Iterator[exp.Expr]:
    yield _NEIGHBOUR[type(node)](this=node.this.copy(), expression=node.expression.copy())


def _and(node: exp.Expr) -> Iterator[exp.Expr]:
    left, right = node.this, node.expression
    yield exp.Paren(this=exp.Or(this=left.copy(), expression=right.copy()))
    yield left.copy()
    yield right.copy()


def _or(node: exp.Expr) -> Iterator[exp.Expr]:
    left, right = node.this, node.expression
    yield exp.And(this=exp.paren(left.copy()), expression=exp.paren(right.copy()))
    yield left.copy()
    yield right.copy()


def _not(node: exp.Expr) -> Iterator[exp.Expr]:
    yield node.this.copy()


def _literal(node: exp.Expr) -> Iterator[exp.Expr]:
    text = str(node.this)
    if node.is_string:
        for other in (text + "x", text[1:], text.swapcase()):
            yield exp.Literal.string(other)
    elif text.isdecimal():
        for step in (1, -1):
            yield exp.Literal.number(int(text) + step)
    else:
        yield exp.Literal.number(float(text) + 1)


def _aggregate(node: exp.Expr) -> Iterator[exp.Expr]:
    inner = node.this
    if inner is None or isinstance(inner, exp.Star):
        for column in _columns_of_query(node):
            yield exp.Count(this=column.copy())
    elif isinstance(inner, exp.Distinct):
        yield type(node)(this=inner.expressions[0].copy())
    else:
        yield type(node)(this=exp.Distinct(expressions=[inner.copy()]))
        for other in _AGGREGATES:
            if other is not type(node):
                yield other(this=inner.copy())


def _ordered(node: exp.Expr) -> Iterator[exp.Expr]:
    descending = not node.args.get("desc")
    yield exp.Ordered(this=node.this.copy(), desc=descending, nulls_first=not descending)


def _column(node: exp.Expr) -> Iterator[exp.Expr]:
    for other in _columns_of_query(node):
        if other.table == node.text("table") and other.name != node.name:
            yield other.copy()


def _join(node: exp.Expr) -> Iterator[exp.Expr]:
    copied = node.copy()
    copied.set("side", None if node.args.get("side") else "LEFT")
    yield copied


def _select(node: exp.Expr) -> Iterator[exp.Expr]:
    copied = node.copy()
    copied.set("distinct", None if node.args.get("distinct") else exp.Distinct())
    yield copied
    for clause in _CLAUSES:
        if node.args.get(clause):
            copied = node.copy()
            copied.set(clause, None)
            yield copied


def _like(node: exp.Expr) -> Iterator[exp.Expr]:
    yield exp.EQ(this=node.this.copy(), expression=node.expression.copy())


def _union(node: exp.Expr) -> Iterator[exp.Expr]:
    copied = node.copy()
    copied.set("distinct", not node.args.get("distinct"))
    yield copied


_OPERATORS: tuple[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], Callable[[exp.Expr], Iterator[exp.Expr]]], ...] = (
    (tuple(_NEIGHBOUR), _comparison),
    (exp.And, _and),
    (exp.Or, _or),
    (exp.Not, _not),
    (exp.Literal, _literal),
    (_AGGREGATES, _aggregate),
    (exp.Ordered, _ordered),
    (exp.Column, _column),
    (exp.Join, _join),
    (exp.Select, _select),
    (exp.Like, _like),
    (exp.Union, _union),
)


def _columns_of_query(node: exp.Expr) -> list[exp.Column]:
    """One occurrence of each column that the whole query names."""
    columns = {
        (column.table, column.name): column
        for column in node.root().find_all(exp.Column)
        if not isinstance(column.this, exp.Star)
    }
    return list(columns.values())


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[: _MAX_SHOWN_CHARACTERS - 3]}..."
