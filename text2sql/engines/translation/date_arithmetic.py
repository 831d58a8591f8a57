"""Rewrites sums and differences of dates as date functions in days, in dialects with a date type.

``b - a`` of two dates is a whole number of days, and ``a + 7`` is the date a week later. SQLite stores dates as texts
and would subtract their years, and the analysis of time spans would see a number without a unit.
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

# MySQL is not one of them: it reads a date in a sum as the number with the date's digits.
_DIALECTS: tuple[Dialect, ...] = ("postgres", "duckdb")
_DAY = re.compile(r"\s*\d{4}-\d{1,2}-\d{1,2}\s*")
_DATES = (exp.CurrentDate, exp.Date, exp.TsOrDsToDate, exp.StrToDate, exp.DateFromParts, exp.LastDay)
_DATE_NAMES = ("today", "make_date", "current_date")
# Expressions with the type of their first argument.
_SAME_TYPE = (
    *(exp.Paren, exp.Alias, exp.Window, exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.Subquery, exp.Ordered),
    *(exp.Min, exp.Max, exp.AnyValue, exp.First, exp.Last, exp.FirstValue, exp.LastValue, exp.NthValue),
    *(exp.Lag, exp.Lead, exp.Neg, exp.Abs, exp.Nullif),
)
# Expressions that return one of their arguments.
_CHOICES = (exp.Coalesce, exp.Greatest, exp.Least)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.IntDiv, exp.Mod)
# Aliases may refer to aliases, up to this depth.
_ALIAS_DEPTH = 3


def rewrite_date_arithmetic(tree: exp.Expr, kinds: Kinds, dialect: Dialect) -> exp.Expr:
    """Replaces date differences by DATEDIFF, and sums of dates and integers by DATE_ADD and DATE_SUB.

    Args:
        tree: A query or condition in its own dialect.
        kinds: The kinds of columns' types, by lower-case table and column.
        dialect: The dialect of the query.
    """
    if dialect not in _DIALECTS or ("date" not in kinds.values() and tree.find(exp.Cast, *_DATES) is None):
        return tree
    if tree.find(exp.Add, exp.Sub) is None:
        return tree
    tree = tree.copy()
    inference = _KindInference(tree, kinds)
    operands = [
        (node, inference.kind(node.this), inference.kind(node.expression)) for node in tree.find_all(exp.Add, exp.Sub)
    ]
    # Innermost nodes first, because a replacement contains copies of its operands.
    for node, left, right in reversed(operands):
        changed = _as_date_function(node, left, right)
        if changed is not None and node is not tree:
            node.replace(changed)
        elif changed is not None:
            tree = changed
    return tree


def _as_date_function(node: exp.Binary, left: _Kind, right: _Kind) -> exp.Expr | None:
    """The date function for a sum or difference; None if its operands are not dates."""
    this, other, unit = node.this, node.expression, exp.var("DAY")
    if isinstance(node, exp.Sub) and _both_dates(node, left, right):
        return exp.DateDiff(this=this.copy(), expression=other.copy(), unit=unit)
    if isinstance(node, exp.Add) and (left, right) == ("integer", "date"):
        return exp.DateAdd(this=other.copy(), expression=this.copy(), unit=unit)
    if (left, right) == ("date", "integer"):
        function = exp.DateSub if isinstance(node, exp.Sub) else exp.DateAdd
        return function(this=this.copy(), expression=other.copy(), unit=unit)
    return None


def _both_dates(node: exp.Expr, left: _Kind, right: _Kind) -> bool:
    """Whether both operands are dates; a date literal in a text counts beside a date."""
    return "date" in (left, right) and all(
        kind == "date" or (isinstance(side, exp.Literal) and side.is_string and bool(_DAY.fullmatch(side.name)))
        for side, kind in ((node.this, left), (node.expression, right))
    )


class _KindInference:
    """Infers whether an expression is a date or an integer, from columns whose name has one kind in the query."""

    def __init__(self, tree: exp.Expr, kinds: Kinds) -> None:
        tables = {fold(table.name) for table in tree.find_all(exp.Table)}
        read: dict[str, set[str]] = {}
        others: dict[str, set[str]] = {}
        for (table, column), kind in kinds.items():
            (read if table in tables else others).setdefault(column, set()).add(kind)
        # The columns of a view are named like those of tables that the query does not read itself.
        self._names = {**others, **read}
        aliases = list(_named_expressions(tree))
        for _ in range(_ALIAS_DEPTH):
            for name, expression in aliases:
                kind = self.kind(expression)
                # An alias may equal the name of a column.
                if kind:
                    self._names.setdefault(name, set()).add(kind)
        for name, expression in aliases:
            if not self.kind(expression):
                self._names.setdefault(name, set()).add("")

    def kind(self, node: exp.Expr | None) -> _Kind:
        """The kind of an expression: date, integer, or empty for any other and for unknown ones."""
        if isinstance(node, exp.Column):
            kinds = self._names.get(fold(node.name), set())
            return "date" if kinds == {"date"} else "integer" if kinds == {"integer"} else ""
        if isinstance(node, exp.Literal):
            return "" if node.is_string or not node.name.isdigit() else "integer"
        if isinstance(node, exp.Cast):
            is_integer = node.to.this in exp.DataType.INTEGER_TYPES
            return "date" if node.to.this == exp.DType.DATE else "integer" if is_integer else ""
        if isinstance(node, _DATES) or (isinstance(node, exp.Anonymous) and fold(node.name) in _DATE_NAMES):
            return "date"
        if isinstance(node, exp.DateDiff):
            return "integer"
        if isinstance(node, exp.Select):
            return self.kind(node.expressions[0]) if len(node.expressions) == 1 else ""
        if isinstance(node, _SAME_TYPE):
            return self.kind(node.this)
        if isinstance(node, _ARITHMETIC):
            return self._computed(node)
        return next((kind for choice in _choices(node) if (kind := self.kind(choice))), "")

    def _computed(self, node: exp.Binary) -> _Kind:
        left, right = self.kind(node.this), self.kind(node.expression)
        if (left, right) == ("integer", "integer"):
            return "integer"
        if isinstance(node, exp.Sub) and _both_dates(node, left, right):
            return "integer"
        is_shifted_date = (left, right) == ("date", "integer") and isinstance(node, (exp.Add, exp.Sub))
        return "date" if is_shifted_date or (isinstance(node, exp.Add) and (left, right) == ("integer", "date")) else ""


def _choices(node: exp.Expr | None) -> list[exp.Expr]:
    """The expressions of which a node returns one."""
    if isinstance(node, _CHOICES):
        return [node.this, *node.expressions]
    if isinstance(node, exp.Case):
        return [*(branch.args["true"] for branch in node.args["ifs"]), *filter(None, [node.args.get("default")])]
    return [node.args["true"], *filter(None, [node.args.get("false")])] if isinstance(node, exp.If) else []


def _named_expressions(tree: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """The aliases of a query with the expressions that they name."""
    for alias in tree.find_all(exp.Alias):
        yield fold(alias.alias), alias.this
    for inner in tree.find_all(exp.CTE, exp.Subquery):
        query = inner.this
        while isinstance(query, (exp.SetOperation, exp.Subquery)):
            query = query.this
        if isinstance(query, exp.Select):
            pairs = zip(inner.alias_column_names, query.expressions, strict=False)
            yield from ((fold(name), expression) for name, expression in pairs)
