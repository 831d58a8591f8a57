"""Sums and differences of dates as the days that they are, in the dialects whose types say so.

``b - a`` of two dates is a whole number of days, and ``a + 7`` the date a week later. SQLite has dates as texts and
would subtract their years; the reader of spans would see a number of no unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import fold

Kinds = Mapping[tuple[str, str], str]
_Kind = Literal["date", "integer", ""]

# MySQL takes a date in a sum for the number that its digits are.
_TYPED: tuple[Dialect, ...] = ("postgres", "duckdb")
_DAY = re.compile(r"\s*\d{4}-\d{1,2}-\d{1,2}\s*")
_DATES = (exp.CurrentDate, exp.Date, exp.TsOrDsToDate, exp.StrToDate, exp.DateFromParts, exp.LastDay)
_DATE_NAMES = ("today", "make_date", "current_date")
# What has the type of its first argument, or of the first of its arguments whose type is known.
_SAME = (
    *(exp.Paren, exp.Alias, exp.Window, exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.Subquery, exp.Ordered),
    *(exp.Min, exp.Max, exp.AnyValue, exp.First, exp.Last, exp.FirstValue, exp.LastValue, exp.NthValue),
    *(exp.Lag, exp.Lead, exp.Neg, exp.Abs, exp.Nullif),
)
_CHOICES = (exp.Coalesce, exp.Greatest, exp.Least)
_WHOLE = (exp.Add, exp.Sub, exp.Mul, exp.IntDiv, exp.Mod)
# Names may stand for names that stand for others.
_ROUNDS = 3


def with_days(tree: exp.Expr, kinds: Kinds, dialect: Dialect) -> exp.Expr:
    """The query with its differences of dates, and its dates so many days later or earlier, by the functions for these.

    Args:
        tree: The query, or the condition, in its own dialect.
        kinds: What columns hold, by table and column in lower case.
        dialect: That dialect.
    """
    if dialect not in _TYPED or ("date" not in kinds.values() and tree.find(exp.Cast, *_DATES) is None):
        return tree
    if tree.find(exp.Add, exp.Sub) is None:
        return tree
    tree = tree.copy()
    names = _Names(tree, kinds)
    found = [(node, names.kind(node.this), names.kind(node.expression)) for node in tree.find_all(exp.Add, exp.Sub)]
    # The innermost first, because what is replaced takes in what it holds.
    for node, left, right in reversed(found):
        changed = _in_days(node, left, right)
        if changed is not None and node is not tree:
            node.replace(changed)
        elif changed is not None:
            tree = changed
    return tree


def _in_days(node: exp.Binary, left: _Kind, right: _Kind) -> exp.Expr | None:
    """A sum or difference by its function; None where it is none of dates."""
    this, other, unit = node.this, node.expression, exp.var("DAY")
    if isinstance(node, exp.Sub) and _both_dates(node, left, right):
        return exp.DateDiff(this=this.copy(), expression=other.copy(), unit=unit)
    if isinstance(node, exp.Add) and (left, right) == ("integer", "date"):
        return exp.DateAdd(this=other.copy(), expression=this.copy(), unit=unit)
    if (left, right) == ("date", "integer"):
        called = exp.DateSub if isinstance(node, exp.Sub) else exp.DateAdd
        return called(this=this.copy(), expression=other.copy(), unit=unit)
    return None


def _both_dates(node: exp.Expr, left: _Kind, right: _Kind) -> bool:
    """Whether both sides are dates; a text beside a date is read as one."""
    return "date" in (left, right) and all(
        kind == "date" or (isinstance(side, exp.Literal) and side.is_string and bool(_DAY.fullmatch(side.name)))
        for side, kind in ((node.this, left), (node.expression, right))
    )


class _Names:
    """What the names in a query stand for, as far as everything that has such a name holds the same."""

    def __init__(self, tree: exp.Expr, kinds: Kinds) -> None:
        read = {fold(table.name) for table in tree.find_all(exp.Table)}
        own: dict[str, set[str]] = {}
        others: dict[str, set[str]] = {}
        for (table, column), kind in kinds.items():
            (own if table in read else others).setdefault(column, set()).add(kind)
        # What a view shows has the names of columns of tables that the query does not read itself.
        self._names = {**others, **own}
        shown = list(_shown(tree))
        for _ in range(_ROUNDS):
            for name, expression in shown:
                kind = self.kind(expression)
                # The name of a column may be that of what is made of it, too.
                if kind:
                    self._names.setdefault(name, set()).add(kind)
        for name, expression in shown:
            if not self.kind(expression):
                self._names.setdefault(name, set()).add("")

    def kind(self, node: exp.Expr | None) -> _Kind:
        """What an expression gives: date, integer, or empty for anything else and for what is not known."""
        if isinstance(node, exp.Column):
            found = self._names.get(fold(node.name), set())
            return "date" if found == {"date"} else "integer" if found == {"integer"} else ""
        if isinstance(node, exp.Literal):
            return "" if node.is_string or not node.name.isdigit() else "integer"
        if isinstance(node, exp.Cast):
            whole = node.to.this in exp.DataType.INTEGER_TYPES
            return "date" if node.to.this == exp.DType.DATE else "integer" if whole else ""
        if isinstance(node, _DATES) or (isinstance(node, exp.Anonymous) and fold(node.name) in _DATE_NAMES):
            return "date"
        if isinstance(node, exp.DateDiff):
            return "integer"
        if isinstance(node, exp.Select):
            return self.kind(node.expressions[0]) if len(node.expressions) == 1 else ""
        if isinstance(node, _SAME):
            return self.kind(node.this)
        if isinstance(node, _WHOLE):
            return self._computed(node)
        return next((kind for choice in _choices(node) if (kind := self.kind(choice))), "")

    def _computed(self, node: exp.Binary) -> _Kind:
        left, right = self.kind(node.this), self.kind(node.expression)
        if (left, right) == ("integer", "integer"):
            return "integer"
        if isinstance(node, exp.Sub) and _both_dates(node, left, right):
            return "integer"
        moved = (left, right) == ("date", "integer") and isinstance(node, (exp.Add, exp.Sub))
        return "date" if moved or (isinstance(node, exp.Add) and (left, right) == ("integer", "date")) else ""


def _choices(node: exp.Expr | None) -> list[exp.Expr]:
    """The values of which an expression takes one."""
    if isinstance(node, _CHOICES):
        return [node.this, *node.expressions]
    if isinstance(node, exp.Case):
        return [*(branch.args["true"] for branch in node.args["ifs"]), *filter(None, [node.args.get("default")])]
    return [node.args["true"], *filter(None, [node.args.get("false")])] if isinstance(node, exp.If) else []


def _shown(tree: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """The names that a query gives, with what they stand for."""
    for alias in tree.find_all(exp.Alias):
        yield fold(alias.alias), alias.this
    for inner in tree.find_all(exp.CTE, exp.Subquery):
        query = inner.this
        while isinstance(query, (exp.SetOperation, exp.Subquery)):
            query = query.this
        if isinstance(query, exp.Select):
            pairs = zip(inner.alias_column_names, query.expressions, strict=False)
            yield from ((fold(name), expression) for name, expression in pairs)
