"""Two ways to compute something from one column, and values on which they do not come to the same.

``x / 2`` and ``x >> 1`` part on odd numbers below zero, ``SUM(x) / 2`` and ``FLOOR(SUM(x) / 2.0)`` on groups of such a
sum. What only one of two queries computes is put next to what only the other one does, and where the two agree on some
values and not on all, those on which they do not become rows of a database, whatever the seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from sqlglot import exp

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.declared import Declared
from text2sql.equivalence.databases.differences.collisions import Evaluate, variations
from text2sql.equivalence.databases.plan import Plan, subqueries
from text2sql.equivalence.databases.samples import Sample
from text2sql.equivalence.results import close
from text2sql.sql.schema import Column
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Value

# Pairs of expressions over a column, values that are tried, and those of them that become rows: of each sign, and all.
_MOST_PAIRS, _MOST_VALUES, _MOST_OF_SIGN, _MOST = 6, 120, 2, 5
# Numbers with all kinds of halves and signs, as far as they suit a column.
_NUMBERS = (1, -1, 2, -2, 3, -3, 0, 7, -7, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.25, -0.25, 0.125, 2.675, 99.995, 10, 100)
_OF_ONE_ROW = (exp.Sum, exp.Min, exp.Max)
# Names of names.
_DEEPEST = 3


def rivals(trees: Sequence[exp.Expr]) -> dict[str, list[tuple[exp.Expr, exp.Expr]]]:
    """By name of a column, expressions over it (called v0) that one query has, each with one of the other."""
    if len(trees) < 2:
        return {}
    first, second = (_by_column(tree) for tree in trees[:2])
    found: dict[str, list[tuple[exp.Expr, exp.Expr]]] = {}
    for name in first.keys() & second.keys():
        own = [expression for expression in first[name] if expression not in second[name]]
        others = [expression for expression in second[name] if expression not in first[name]]
        pairs = itertools.islice(itertools.product(own, others), _MOST_PAIRS)
        found.setdefault(name, []).extend(pairs)
    return {name: pairs for name, pairs in found.items() if pairs}


def _by_column(tree: exp.Expr) -> dict[str, list[exp.Expr]]:
    """What a query shows, groups and sorts by, of each column."""
    aliases = {
        fold(item.alias): item.this for item in tree.find_all(exp.Alias) if not item.find(exp.Select, exp.Window)
    }
    found: dict[str, list[exp.Expr]] = {}
    for select in tree.find_all(exp.Select):
        terms = [select.args.get("group"), select.args.get("order")]
        for item in (*select.expressions, *(part for term in terms if term is not None for part in term.expressions)):
            inner = item.this if isinstance(item, exp.Ordered) else item.unalias()
            written = _over_one_row(inner, aliases)
            if written is not None:
                known = found.setdefault(written[0], [])
                known += [] if written[1] in known else [written[1]]
    return found


def _over_one_row(item: exp.Expr, aliases: Mapping[str, exp.Expr]) -> tuple[str, exp.Expr] | None:
    """The only column of an expression, and what the expression makes of a group of one row; None for any other."""
    root: exp.Expr = exp.Paren(this=item.copy())
    for _ in range(_DEEPEST):
        for column in list(root.find_all(exp.Column)):
            inner = aliases.get(fold(column.name))
            if inner is not None and inner.find(exp.Column) is not None:
                column.replace(exp.Paren(this=inner.copy()))
    for call in list(root.find_all(*_OF_ONE_ROW, exp.Avg)):
        if isinstance(call.this, exp.Distinct) or call.this is None:
            return None
        # A mean is no whole number.
        mean = isinstance(call, exp.Avg)
        own = exp.Paren(this=call.this.copy())
        call.replace(exp.Mul(this=own, expression=exp.Literal.number("1.0")) if mean else own)
    columns = list(root.find_all(exp.Column))
    names = {fold(column.name) for column in columns}
    if len(names) != 1 or root.find(exp.AggFunc, exp.Select, exp.Window, exp.Star) is not None:
        return None
    for column in columns:
        column.replace(exp.column("v0"))
    return names.pop(), root.this


def rival_samples(
    plan: Plan,
    declared: Declared,
    columns: Mapping[ColumnKey, Column],
    pools: Mapping[ColumnKey, Sequence[Value]],
    ask: Evaluate,
) -> Iterator[tuple[Sample, ...]]:
    """Databases with values on which what the queries compute from a column parts.

    Args:
        plan: The compiled pair.
        declared: Which values suit the columns.
        columns: The columns of the tables that rows are made for.
        pools: Of each column some values that it may hold.
        ask: Puts values through expressions.
    """
    for key, column in columns.items():
        pairs = plan.rivals.get(key[1], ()) if not column.generated else ()
        chosen: dict[Value, None] = {}
        for pair in pairs:
            values = declared.fitting(key, _values(pair, pools[key], declared.kinds[key]))[:_MOST_VALUES]
            results = ask([to_sqlite(expression) for expression in pair], column, values) or []
            apart = [value for value, (one, other) in zip(values, results, strict=False) if not close(one, other)]
            if len(apart) < len(results):
                chosen.update(dict.fromkeys(_few(apart)))
        rows = tuple((value,) for value in list(chosen)[:_MOST])
        if rows:
            grouped = any(part.group or part.spread for query in plan.queries for part in subqueries(query))
            query = plan.reader(key[0])
            yield from ([(Sample(query, (key,), rows, apart=True),)] if len(rows) > 1 or grouped else [])
            # Where all rows are one group, they must not hide each other.
            yield from ((Sample(query, (key,), (row,)),) for row in rows[:_MOST_OF_SIGN])


def _values(pair: tuple[exp.Expr, exp.Expr], pool: Sequence[Value], kind: str) -> dict[Value, None]:
    """Values of a column to put through two expressions, near their literals and on both sides of zero."""
    literals = [literal_value(part) for expression in pair for part in expression.find_all(exp.Literal)]
    found: list[Value] = []
    if kind in ("integer", "real", "any"):
        numbers = [value for value in literals if isinstance(value, (int, float))]
        found += [sign * (value + step) for value in numbers for step in (0, 1, -1) for sign in (1, -1)]
        found += [value / 2 for value in numbers] + [value * 1.5 for value in numbers]
        found = [int(v) if isinstance(v, float) and kind == "integer" and v.is_integer() else v for v in found]
        found += _NUMBERS
    # A literal is no document.
    texts = [value for value in literals if isinstance(value, str) and kind != "json"]
    for value in (*texts, *pool[:6]):
        found += [value, *variations(value, kind, literals)]
    return dict.fromkeys(found)


def _few(apart: Sequence[Value]) -> list[Value]:
    """A few of the values, of both signs where they are numbers."""
    below, others = list[Value](), list[Value]()
    for value in apart:
        (below if isinstance(value, (int, float)) and value < 0 else others).append(value)
    return [*below[:_MOST_OF_SIGN], *others[:_MOST_OF_SIGN]]
