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

_LONGEST = 60


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
    known = {syntax.write(tree)}
    found = []
    for place, node in enumerate(tree.walk()):
        for changed in _changes(node):
            mutation = _put(tree, place, changed, syntax.write)
            if mutation.sql not in known:
                known.add(mutation.sql)
                found.append(mutation)
    return rng.sample(found, min(count, len(found)))


def _put(tree: exp.Expr, place: int, changed: exp.Expr, write: Callable[[exp.Expr], str]) -> Mutation:
    """The tree with another node in a place, counted in the order of `walk`."""
    copied = tree.copy()
    node = next(node for number, node in enumerate(copied.walk()) if number == place)
    words = _words(node, changed, write)
    if node is copied:
        return Mutation(write(changed), words)
    node.replace(changed)
    return Mutation(write(copied), words)


def _words(before: exp.Expr, after: exp.Expr, write: Callable[[exp.Expr], str]) -> str:
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
    """A node in all its other forms."""
    for kinds, operator in _OPERATORS:
        if isinstance(node, kinds):
            yield from operator(node)
            return


_NEAR: dict[type[exp.Expr], type[exp.Binary]] = {
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
    yield _NEAR[type(node)](this=node.this.copy(), expression=node.expression.copy())


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
        for column in _columns_around(node):
            yield exp.Count(this=column.copy())
    elif isinstance(inner, exp.Distinct):
        yield type(node)(this=inner.expressions[0].copy())
    else:
        yield type(node)(this=exp.Distinct(expressions=[inner.copy()]))
        for other in _AGGREGATES:
            if other is not type(node):
                yield other(this=inner.copy())


def _ordered(node: exp.Expr) -> Iterator[exp.Expr]:
    downwards = not node.args.get("desc")
    yield exp.Ordered(this=node.this.copy(), desc=downwards, nulls_first=not downwards)


def _column(node: exp.Expr) -> Iterator[exp.Expr]:
    for other in _columns_around(node):
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
    (tuple(_NEAR), _comparison),
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


def _columns_around(node: exp.Expr) -> list[exp.Column]:
    """One occurrence of each column that the whole query names."""
    named = {
        (column.table, column.name): column
        for column in node.root().find_all(exp.Column)
        if not isinstance(column.this, exp.Star)
    }
    return list(named.values())


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
