"""A query of another dialect as SQLite has it: to choose what made databases hold, and as a fallback that is asked for.

sqlglot does most of it. Added are the dates of the dialects, which SQLite keeps as text: parts of dates, their
beginnings, intervals. What cannot be said in SQLite stays as it is, and SQLite then says so.
"""

from __future__ import annotations

import re
import sqlite3

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import FAILURES
from text2sql.sql.prepare import Prepared, parse
from text2sql.sql.trees import COMPARISONS, keeps_ties, literal_value, parse_sqlite, to_sqlite

_PARTS = {
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
_BEGINNINGS = {
    "YEAR": "%Y-01-01",
    "MONTH": "%Y-%m-01",
    "DAY": "%Y-%m-%d",
    "HOUR": "%Y-%m-%d %H:00:00",
    "MINUTE": "%Y-%m-%d %H:%M:00",
}
# The moment, under the names that sqlglot knows in other dialects alone.
_NOW = ("NOW", "GETDATE", "SYSDATE", "LOCALTIME", "TRANSACTION_TIMESTAMP", "GET_CURRENT_TIMESTAMP")
_UNITS = {"DAY": 1, "WEEK": 7, "MONTH": 1, "YEAR": 1, "HOUR": 1, "MINUTE": 1, "SECOND": 1, "QUARTER": 3}
_UNIT_NAMES = {"WEEK": "day", "QUARTER": "month"}
# Functions of a part by the class that sqlglot gives them.
_PART_FUNCTIONS: dict[type[exp.Expr], str] = {
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


def as_sqlite(tree: exp.Expr, dialect: Dialect) -> Prepared | None:
    """A query for SQLite, with its tree; None where sqlglot cannot write it or read it back.

    Args:
        tree: The query in its own dialect.
        dialect: That dialect.
    """
    if tree.find(exp.Pivot) is not None or any(map(keeps_ties, tree.find_all(exp.Fetch))):
        # SQLite has neither, and sqlglot would leave the one out and take the other for a plain limit.
        return None
    try:
        changed = _translated(tree, dialect)
        _spell_out_all(changed)
        # sqlglot's own rewrites of QUALIFY, DISTINCT ON and the like belong to the writer of its dialect.
        text = changed.sql("sqlite", comments=False)
        read = parse(text)
    except FAILURES:
        return None
    if read is None:
        return None
    rewritten = to_sqlite(read)
    read = read if rewritten == text else parse(rewritten)
    return Prepared(rewritten, tree=read) if read is not None else None


def drops_order(tree: exp.Expr) -> bool:
    """Whether a query has an aggregate whose order SQLite cannot be told."""
    return not _ORDERS_AGGREGATES and any(isinstance(node.this, exp.Order) for node in tree.find_all(exp.GroupConcat))


def _translated(tree: exp.Expr, dialect: Dialect) -> exp.Expr:
    """The tree with what is simpler in SQLite; the innermost first, because what is replaced takes in what it holds."""
    tree = tree.copy()
    for node in reversed(list(tree.walk(bfs=True))):
        found = _simpler(node, dialect)
        if found is not node:
            node.replace(found)
    return tree


def _simpler(node: exp.Expr, dialect: Dialect) -> exp.Expr:
    if type(node) in _PART_FUNCTIONS:
        return _part(_PART_FUNCTIONS[type(node)], node.this) or node
    if type(node) in COMPARISONS:
        return _compared_with_interval(node) or node
    if isinstance(node, exp.Extract):
        return _part(node.name.upper(), node.expression) or node
    if isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)):
        return _beginning(_unit(node), node.this) or node
    if isinstance(node, (exp.Add, exp.Sub)) and isinstance(node.expression, exp.Interval):
        sign = "-" if isinstance(node, exp.Sub) else "+"
        return _moved(node.this, sign, node.expression.this, _unit(node.expression)) or node
    if isinstance(node, (exp.DateAdd, exp.TimestampAdd, exp.DatetimeAdd)):
        return _moved(node.this, "+", node.expression, _unit(node)) or node
    if isinstance(node, (exp.DateSub, exp.TimestampSub, exp.DatetimeSub)):
        return _moved(node.this, "-", node.expression, _unit(node)) or node
    if isinstance(node, exp.Cast) and node.to.this in _DATES:
        return exp.Anonymous(this=_DATES[node.to.this], expressions=[node.this])
    if isinstance(node, exp.Localtimestamp) or (isinstance(node, exp.Anonymous) and node.name.upper() in _NOW):
        return exp.CurrentTimestamp()
    if isinstance(node, (exp.TsOrDsToDate, exp.Date)) and node.this is not None:
        return exp.Anonymous(this="DATE", expressions=[node.this])
    if isinstance(node, exp.ILike):
        # SQLite's LIKE is blind for case.
        return exp.Like(this=node.this, expression=node.expression, negate=node.args.get("negate"))
    if isinstance(node, exp.Like) and dialect != "duckdb" and not isinstance(node.parent, exp.Escape):
        return _with_escape(node)
    if isinstance(node, exp.Concat):
        return _concatenated(node)
    if isinstance(node, exp.Left):
        return exp.Substring(this=node.this, start=exp.Literal.number(1), length=node.expression)
    if isinstance(node, exp.Right) and isinstance(count := literal_value(node.expression), int) and count > 0:
        return exp.Substring(this=node.this, start=exp.convert(-count))
    if isinstance(node, exp.Boolean):
        return exp.Literal.number(int(bool(node.this)))
    if isinstance(node, exp.IntDiv):
        ratio = exp.Div(this=_wrapped(node.this), expression=_wrapped(node.expression))
        return exp.Cast(this=ratio, to=_INTEGER.copy())
    if isinstance(node, exp.GroupConcat) and isinstance(node.this, exp.Order) and not _ORDERS_AGGREGATES:
        return exp.GroupConcat(this=node.this.this, separator=node.args.get("separator"))
    if isinstance(node, exp.DPipe) and dialect == "mysql":
        return exp.Or(this=node.this, expression=node.expression)
    return node


# Seconds of the units that are always as long.
SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400, "WEEK": 604_800}
_SPELT = re.compile(r"\s*(\d{1,5})\s*([A-Za-z]+?)[sS]?\s*")


def length_of(interval: exp.Interval) -> tuple[int, str] | None:
    """The number and the unit (``MINUTE``) of an interval that is written out; None for any other."""
    unit = interval.args.get("unit")
    text = str(interval.this.this) if isinstance(interval.this, exp.Literal) else ""
    found = _SPELT.fullmatch(f"{text} {unit.name}" if unit is not None and text.isdigit() else text)
    return (int(found[1]), found[2].upper()) if found is not None else None


def _compared_with_interval(node: exp.Expr) -> exp.Expr | None:
    """``a - b > INTERVAL '30 minutes'`` in seconds; SQLite keeps moments as texts and has no intervals."""
    for side, other in ((node.this, node.expression), (node.expression, node.this)):
        between, interval = side.unnest(), other.unnest()
        if not isinstance(interval, exp.Interval) or not isinstance(between, exp.Sub) or between.find(exp.Interval):
            continue
        length = length_of(interval)
        if length is None or length[1] not in SECONDS:
            return None
        a, b = (to_sqlite(_bare(part)) for part in (between.this, between.expression))
        elapsed = parse_sqlite(f"ROUND((JULIANDAY({a}) - JULIANDAY({b})) * 86400)")
        seconds = exp.Literal.number(length[0] * SECONDS[length[1]])
        changed = node.copy()
        changed.set("this", elapsed if side is node.this else seconds)
        changed.set("expression", seconds if side is node.this else elapsed)
        return changed
    return None


def _with_escape(node: exp.Like) -> exp.Expr:
    """A LIKE with the sign that PostgreSQL and MySQL escape by where none is named; SQLite has none."""
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or "\\" not in str(pattern.this):
        return node
    return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))


_DATES = {
    exp.DType.DATE: "DATE",
    exp.DType.TIMESTAMP: "DATETIME",
    exp.DType.TIMESTAMPTZ: "DATETIME",
    exp.DType.TIMESTAMPNTZ: "DATETIME",
    exp.DType.DATETIME: "DATETIME",
}
# Since 3.44 an aggregate may have its own ORDER BY.
_ORDERS_AGGREGATES = sqlite3.sqlite_version_info >= (3, 44)
_INTEGER = exp.DataType.build("INTEGER")


def _wrapped(node: exp.Expr) -> exp.Expr:
    return exp.Paren(this=node.copy()) if isinstance(node, exp.Binary) else node.copy()


def _unit(node: exp.Expr) -> str:
    unit = node.args.get("unit")
    return unit.name.upper().removesuffix("S") if unit is not None else "DAY"


def _bare(node: exp.Expr) -> exp.Expr:
    """What a conversion to a date holds: here, dates are texts."""
    while isinstance(node, (exp.TsOrDsToDate, exp.TsOrDsToTimestamp)):
        node = node.this
    return node.copy()


def _strftime(form: str, node: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="STRFTIME", expressions=[exp.Literal.string(form), _bare(node)])


def _part(name: str, node: exp.Expr | None) -> exp.Expr | None:
    form = _PARTS.get(name)
    if node is None:
        return None
    if form is not None:
        return exp.Cast(this=_strftime(form, node), to=_INTEGER.copy())
    if name == "QUARTER":
        month = to_sqlite(exp.Cast(this=_strftime("%m", node), to=_INTEGER.copy()))
        return parse_sqlite(f"(({month} + 2) / 3)")
    return None


def _beginning(unit: str, node: exp.Expr) -> exp.Expr | None:
    form = _BEGINNINGS.get(unit)
    return _strftime(form, node) if form is not None else None


def _moved(node: exp.Expr, sign: str, count: exp.Expr | None, unit: str) -> exp.Expr | None:
    """A date or moment some units later or earlier."""
    if count is None or unit not in _UNITS:
        return None
    text = str(count.name) if isinstance(count, exp.Literal) else ""
    name, timed = _UNIT_NAMES.get(unit, unit.lower()), isinstance(node, exp.CurrentTimestamp)
    if text.lstrip("+-").isdigit():
        number = int(text) * _UNITS[unit] * (-1 if sign == "-" else 1)
        if name == "hour" and number % 24 == 0:
            number, name, timed = number // 24, "day", True
        modifier: exp.Expr = exp.Literal.string(f"{number:+d} {name}")
    else:
        times = f" * {_UNITS[unit]}" if _UNITS[unit] > 1 else ""
        negated = "-" if sign == "-" else ""
        modifier = parse_sqlite(f"({negated}({to_sqlite(count)}){times}) || ' {name}'")
    called = "DATETIME" if timed or name in ("hour", "minute", "second") else "DATE"
    # What is so far from now is a constant to whoever chooses rows.
    base = exp.Literal.string("now") if isinstance(node, (exp.CurrentTimestamp, exp.CurrentDate)) else _bare(node)
    return exp.Anonymous(this=called, expressions=[base, modifier])


def _concatenated(node: exp.Concat) -> exp.Expr:
    """Texts one behind the other; NULL counts for nothing where the dialect has it so."""
    parts = [part.copy() for part in node.expressions]
    if node.args.get("coalesce"):
        parts = [
            part if isinstance(part, exp.Literal) else exp.Coalesce(this=part, expressions=[exp.Literal.string("")])
            for part in parts
        ]
    found = parts[0]
    for part in parts[1:]:
        found = exp.DPipe(this=found, expression=part)
    return exp.Paren(this=found) if len(parts) > 1 else found


def _spell_out_all(tree: exp.Expr) -> None:
    """GROUP BY ALL and ORDER BY ALL by what they stand for."""
    for select in tree.find_all(exp.Select):
        group, order = select.args.get("group"), select.args.get("order")
        if group is not None and group.args.get("all") and not group.expressions:
            plain = [item.unalias().copy() for item in select.expressions if item.find(exp.AggFunc) is None]
            select.set("group", exp.Group(expressions=plain) if plain else None)
        if order is not None and len(order.expressions) == 1 and _is_all(order.expressions[0]):
            listed = [exp.Ordered(this=exp.Literal.number(number + 1)) for number in range(len(select.expressions))]
            select.set("order", exp.Order(expressions=listed))


def _is_all(term: exp.Expr) -> bool:
    inner = term.this if isinstance(term, exp.Ordered) else term
    return isinstance(inner, (exp.Column, exp.Var)) and inner.name.upper() == "ALL"
