"""Translates a query into SQLite's dialect: to choose rows for made databases, and as a fallback on request.

sqlglot does most of the translation. This module adds the date functions of the dialects, because SQLite stores dates
as texts: parts of dates, truncation, intervals. What SQLite cannot express stays as it is and fails in SQLite.
"""

from __future__ import annotations

import re
import sqlite3

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import SQLGLOT_ERRORS
from text2sql.sql.prepare import Prepared, parse
from text2sql.sql.trees import COMPARISONS, keeps_ties, literal_value, parse_sqlite, to_sqlite

_DATE_PART_FORMATS = {
    "YEAR": "%Y",
    "MONTH": "%m",
    "DAY": "%d",
    "DAYOFMONTH": "%d",
    "HOUR": "%H",
    "MINUTE": "%M",
    "SECOND": "%S",
    "DOW": "%w",
    "DAYOFWEEK": "%w",
    "DOY": "%j",
    "DAYOFYEAR": "%j",
    "WEEK": "%W",
    "EPOCH": "%s",
}
_TRUNCATION_FORMATS = {
    "YEAR": "%Y-01-01",
    "MONTH": "%Y-%m-01",
    "DAY": "%Y-%m-%d",
    "HOUR": "%Y-%m-%d %H:00:00",
    "MINUTE": "%Y-%m-%d %H:%M:00",
}
# Names of the current time that sqlglot knows in some dialects only.
_NOW_FUNCTIONS = ("NOW", "GETDATE", "SYSDATE", "LOCALTIME", "TRANSACTION_TIMESTAMP", "GET_CURRENT_TIMESTAMP")
_UNIT_FACTORS = {"DAY": 1, "WEEK": 7, "MONTH": 1, "YEAR": 1, "HOUR": 1, "MINUTE": 1, "SECOND": 1, "QUARTER": 3}
_MODIFIER_UNITS = {"WEEK": "day", "QUARTER": "month"}
# The date part for sqlglot's node of a function.
_DATE_PART_NODES: dict[type[exp.Expr], str] = {
    exp.Year: "YEAR",
    exp.Month: "MONTH",
    exp.Day: "DAY",
    exp.DayOfMonth: "DAY",
    exp.DayOfWeek: "DOW",
    exp.DayOfYear: "DOY",
    exp.Week: "WEEK",
    exp.Hour: "HOUR",
    exp.Minute: "MINUTE",
    exp.Second: "SECOND",
}


def translate_to_sqlite(tree: exp.Expr, dialect: Dialect) -> Prepared | None:
    """Translates a query; None where sqlglot cannot print it or parse the result.

    Args:
        tree: The query in its own dialect.
        dialect: The dialect of the query.
    """
    if tree.find(exp.Pivot) is not None or any(map(keeps_ties, tree.find_all(exp.Fetch))):
        # SQLite has neither; sqlglot would drop PIVOT, and print FETCH ... WITH TIES as a plain LIMIT.
        return None
    try:
        rewritten_tree = _rewrite_tree(tree, dialect)
        _expand_all(rewritten_tree)
        # sqlglot's generator for SQLite rewrites QUALIFY, DISTINCT ON and the like.
        text = rewritten_tree.sql("sqlite", comments=False)
        parsed = parse(text)
    except SQLGLOT_ERRORS:
        return None
    if parsed is None:
        return None
    normalized = to_sqlite(parsed)
    parsed = parsed if normalized == text else parse(normalized)
    return Prepared(normalized, tree=parsed) if parsed is not None else None


def loses_aggregate_order(tree: exp.Expr) -> bool:
    """Whether a query has an aggregate with an ORDER BY that this SQLite version does not support."""
    return not _ORDERS_AGGREGATES and any(isinstance(node.this, exp.Order) for node in tree.find_all(exp.GroupConcat))


def _rewrite_tree(tree: exp.Expr, dialect: Dialect) -> exp.Expr:
    """Rewrites all nodes, the innermost first, because a replacement contains copies of its operands."""
    tree = tree.copy()
    for node in reversed(list(tree.walk(bfs=True))):
        rewritten = _rewrite_node(node, dialect)
        if rewritten is not node:
            node.replace(rewritten)
    return tree


def _rewrite_node(node: exp.Expr, dialect: Dialect) -> exp.Expr:
    if type(node) in _DATE_PART_NODES:
        return _date_part(_DATE_PART_NODES[type(node)], node.this) or node
    if type(node) in COMPARISONS:
        return _rewrite_interval_comparison(node) or node
    if isinstance(node, exp.Extract):
        return _date_part(node.name.upper(), node.expression) or node
    if isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)):
        return _truncated_date(_unit(node), node.this) or node
    if isinstance(node, (exp.Add, exp.Sub)) and isinstance(node.expression, exp.Interval):
        sign = "-" if isinstance(node, exp.Sub) else "+"
        return _shifted_date(node.this, sign, node.expression.this, _unit(node.expression)) or node
    if isinstance(node, (exp.DateAdd, exp.TimestampAdd, exp.DatetimeAdd)):
        return _shifted_date(node.this, "+", node.expression, _unit(node)) or node
    if isinstance(node, (exp.DateSub, exp.TimestampSub, exp.DatetimeSub)):
        return _shifted_date(node.this, "-", node.expression, _unit(node)) or node
    if isinstance(node, exp.Cast) and node.to.this in _DATE_FUNCTIONS:
        return exp.Anonymous(this=_DATE_FUNCTIONS[node.to.this], expressions=[node.this])
    if isinstance(node, exp.Localtimestamp) or (
        isinstance(node, exp.Anonymous) and node.name.upper() in _NOW_FUNCTIONS
    ):
        return exp.CurrentTimestamp()
    if isinstance(node, (exp.TsOrDsToDate, exp.Date)) and node.this is not None:
        return exp.Anonymous(this="DATE", expressions=[node.this])
    if isinstance(node, exp.ILike):
        # SQLite's LIKE ignores letter case.
        return exp.Like(this=node.this, expression=node.expression, negate=node.args.get("negate"))
    if isinstance(node, exp.Like) and dialect != "duckdb" and not isinstance(node.parent, exp.Escape):
        return _with_escape(node)
    if isinstance(node, exp.Concat):
        return _concatenation(node)
    if isinstance(node, exp.Left):
        return exp.Substring(this=node.this, start=exp.Literal.number(1), length=node.expression)
    if isinstance(node, exp.Right) and isinstance(count := literal_value(node.expression), int) and count > 0:
        return exp.Substring(this=node.this, start=exp.convert(-count))
    if isinstance(node, exp.Boolean):
        return exp.Literal.number(int(bool(node.this)))
    if isinstance(node, exp.IntDiv):
        ratio = exp.Div(this=_parenthesize(node.this), expression=_parenthesize(node.expression))
        return exp.Cast(this=ratio, to=_INTEGER.copy())
    if isinstance(node, exp.GroupConcat) and isinstance(node.this, exp.Order) and not _ORDERS_AGGREGATES:
        return exp.GroupConcat(this=node.this.this, separator=node.args.get("separator"))
    if isinstance(node, exp.DPipe) and dialect == "mysql":
        return exp.Or(this=node.this, expression=node.expression)
    return node


# Seconds of the units with a fixed length.
SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400, "WEEK": 604_800}
_INTERVAL_TEXT = re.compile(r"\s*(\d{1,5})\s*([A-Za-z]+?)[sS]?\s*")


def interval_length(interval: exp.Interval) -> tuple[int, str] | None:
    """The number and the unit (``MINUTE``) of a literal interval; None for any other."""
    unit = interval.args.get("unit")
    text = str(interval.this.this) if isinstance(interval.this, exp.Literal) else ""
    match = _INTERVAL_TEXT.fullmatch(f"{text} {unit.name}" if unit is not None and text.isdigit() else text)
    return (int(match[1]), match[2].upper()) if match is not None else None


def _rewrite_interval_comparison(node: exp.Expr) -> exp.Expr | None:
    """Rewrites ``a - b > INTERVAL '30 minutes'`` in seconds, because SQLite has no intervals."""
    for side, other in ((node.this, node.expression), (node.expression, node.this)):
        difference, interval = side.unnest(), other.unnest()
        if (
            not isinstance(interval, exp.Interval)
            or not isinstance(difference, exp.Sub)
            or difference.find(exp.Interval)
        ):
            continue
        length = interval_length(interval)
        if length is None or length[1] not in SECONDS:
            return None
        a, b = (to_sqlite(_strip_date_conversion(part)) for part in (difference.this, difference.expression))
        elapsed = parse_sqlite(f"ROUND((JULIANDAY({a}) - JULIANDAY({b})) * 86400)")
        seconds = exp.Literal.number(length[0] * SECONDS[length[1]])
        changed = node.copy()
        changed.set("this", elapsed if side is node.this else seconds)
        changed.set("expression", seconds if side is node.this else elapsed)
        return changed
    return None


def _with_escape(node: exp.Like) -> exp.Expr:
    """Adds the default escape character of PostgreSQL and MySQL, which SQLite lacks, to a LIKE."""
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or "\\" not in str(pattern.this):
        return node
    return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))


_DATE_FUNCTIONS = {
    exp.DType.DATE: "DATE",
    exp.DType.TIMESTAMP: "DATETIME",
    exp.DType.TIMESTAMPTZ: "DATETIME",
    exp.DType.TIMESTAMPNTZ: "DATETIME",
    exp.DType.DATETIME: "DATETIME",
}
# Since 3.44 an aggregate may have its own ORDER BY.
_ORDERS_AGGREGATES = sqlite3.sqlite_version_info >= (3, 44)
_INTEGER = exp.DataType.build("INTEGER")


def _parenthesize(node: exp.Expr) -> exp.Expr:
    return exp.Paren(this=node.copy()) if isinstance(node, exp.Binary) else node.copy()


def _unit(node: exp.Expr) -> str:
    unit = node.args.get("unit")
    return unit.name.upper().removesuffix("S") if unit is not None else "DAY"


def _strip_date_conversion(node: exp.Expr) -> exp.Expr:
    """The operand of a conversion to a date; in SQLite, dates are texts."""
    while isinstance(node, (exp.TsOrDsToDate, exp.TsOrDsToTimestamp)):
        node = node.this
    return node.copy()


def _strftime(form: str, node: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="STRFTIME", expressions=[exp.Literal.string(form), _strip_date_conversion(node)])


def _date_part(name: str, node: exp.Expr | None) -> exp.Expr | None:
    form = _DATE_PART_FORMATS.get(name)
    if node is None:
        return None
    if form is not None:
        return exp.Cast(this=_strftime(form, node), to=_INTEGER.copy())
    if name == "QUARTER":
        month = to_sqlite(exp.Cast(this=_strftime("%m", node), to=_INTEGER.copy()))
        return parse_sqlite(f"(({month} + 2) / 3)")
    return None


def _truncated_date(unit: str, node: exp.Expr) -> exp.Expr | None:
    form = _TRUNCATION_FORMATS.get(unit)
    return _strftime(form, node) if form is not None else None


def _shifted_date(node: exp.Expr, sign: str, count: exp.Expr | None, unit: str) -> exp.Expr | None:
    """A date or timestamp some units later or earlier."""
    if count is None or unit not in _UNIT_FACTORS:
        return None
    text = str(count.name) if isinstance(count, exp.Literal) else ""
    name, has_time = _MODIFIER_UNITS.get(unit, unit.lower()), isinstance(node, exp.CurrentTimestamp)
    if text.lstrip("+-").isdigit():
        number = int(text) * _UNIT_FACTORS[unit] * (-1 if sign == "-" else 1)
        if name == "hour" and number % 24 == 0:
            number, name, has_time = number // 24, "day", True
        modifier: exp.Expr = exp.Literal.string(f"{number:+d} {name}")
    else:
        factor = f" * {_UNIT_FACTORS[unit]}" if _UNIT_FACTORS[unit] > 1 else ""
        negated = "-" if sign == "-" else ""
        modifier = parse_sqlite(f"({negated}({to_sqlite(count)}){factor}) || ' {name}'")
    function = "DATETIME" if has_time or name in ("hour", "minute", "second") else "DATE"
    # The row generator reads a shift from 'now' as a constant.
    base = (
        exp.Literal.string("now")
        if isinstance(node, (exp.CurrentTimestamp, exp.CurrentDate))
        else _strip_date_conversion(node)
    )
    return exp.Anonymous(this=function, expressions=[base, modifier])


def _concatenation(node: exp.Concat) -> exp.Expr:
    """A concatenation; NULL counts as an empty text where the dialect says so."""
    parts = [part.copy() for part in node.expressions]
    if node.args.get("coalesce"):
        parts = [
            part if isinstance(part, exp.Literal) else exp.Coalesce(this=part, expressions=[exp.Literal.string("")])
            for part in parts
        ]
    result = parts[0]
    for part in parts[1:]:
        result = exp.DPipe(this=result, expression=part)
    return exp.Paren(this=result) if len(parts) > 1 else result


def _expand_all(tree: exp.Expr) -> None:
    """Replaces GROUP BY ALL and ORDER BY ALL by the expressions that they stand for."""
    for select in tree.find_all(exp.Select):
        group, order = select.args.get("group"), select.args.get("order")
        if group is not None and group.args.get("all") and not group.expressions:
            group_keys = [item.unalias().copy() for item in select.expressions if item.find(exp.AggFunc) is None]
            select.set("group", exp.Group(expressions=group_keys) if group_keys else None)
        if order is not None and len(order.expressions) == 1 and _is_all(order.expressions[0]):
            positions = [exp.Ordered(this=exp.Literal.number(number + 1)) for number in range(len(select.expressions))]
            select.set("order", exp.Order(expressions=positions))


def _is_all(term: exp.Expr) -> bool:
    inner = term.this if isinstance(term, exp.Ordered) else term
    return isinstance(inner, (exp.Column, exp.Var)) and inner.name.upper() == "ALL"
