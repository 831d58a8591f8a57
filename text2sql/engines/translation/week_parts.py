"""Days of the week, weeks and quarters of the dialects, which number them in ways that SQLite does not.

https://dev.mysql.com/doc/refman/8.4/en/date-and-time-functions.html, https://www.postgresql.org/docs/current/functions-datetime.html,
https://duckdb.org/docs/stable/sql/functions/datepart
"""

from __future__ import annotations

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.sql.trees import literal_value, parse_sqlite, to_sqlite

# Sunday is 0 for SQLite, and the Thursday of a week lies in the year that an ISO week belongs to.
_SUNDAY_0 = "CAST(STRFTIME('%w', {d}) AS INTEGER)"
_SUNDAY_1 = "(CAST(STRFTIME('%w', {d}) AS INTEGER) + 1)"
_MONDAY_0 = "((CAST(STRFTIME('%w', {d}) AS INTEGER) + 6) % 7)"
_MONDAY_1 = "((CAST(STRFTIME('%w', {d}) AS INTEGER) + 6) % 7 + 1)"
_ISO_WEEK = "((CAST(STRFTIME('%j', DATE({d}, '-3 days', 'weekday 4')) AS INTEGER) - 1) / 7 + 1)"
# The first Sunday begins the first week.
_SUNDAY_WEEK = "((CAST(STRFTIME('%j', {d}) AS INTEGER) + 6 - CAST(STRFTIME('%w', {d}) AS INTEGER)) / 7)"
_QUARTER = "((CAST(STRFTIME('%m', {d}) AS INTEGER) + 2) / 3)"
_ISO_MODE = 3

_BY_NAME: dict[Dialect, dict[str, str]] = {
    "mysql": {"DAYOFWEEK": _SUNDAY_1, "WEEKDAY": _MONDAY_0, "WEEK": _SUNDAY_WEEK},
    "postgres": {"DOW": _SUNDAY_0, "ISODOW": _MONDAY_1, "WEEK": _ISO_WEEK},
    "duckdb": dict.fromkeys(("DOW", "DAYOFWEEK", "WEEKDAY"), _SUNDAY_0) | {"ISODOW": _MONDAY_1, "WEEK": _ISO_WEEK},
}
_KINDS: dict[type[exp.Expr], str] = {
    exp.DayOfWeek: "DAYOFWEEK",
    exp.DayOfWeekIso: "ISODOW",
    exp.Week: "WEEK",
    exp.WeekOfYear: "WEEKOFYEAR",
    exp.Quarter: "QUARTER",
}


def week_part(node: exp.Expr, dialect: Dialect) -> exp.Expr | None:
    """A part of a date that is counted in weeks or quarters as SQLite computes it; None for all others.

    Args:
        node: A call in its own dialect.
        dialect: That dialect.
    """
    name, of = _called(node)
    if isinstance(node, exp.Week) and node.args.get("mode") is not None:
        name = "WEEKOFYEAR" if literal_value(node.args["mode"]) == _ISO_MODE else ""
    common = {"QUARTER": _QUARTER, "WEEKOFYEAR": _ISO_WEEK}
    form = common.get(name) or _BY_NAME.get(dialect, {}).get(name)
    return (
        parse_sqlite(form.format(d=to_sqlite(_strip_date_conversion(of))))
        if form is not None and of is not None
        else None
    )


def _called(node: exp.Expr) -> tuple[str, exp.Expr | None]:
    """The part that a call is for, and of what it is."""
    if isinstance(node, exp.Extract):
        return node.name.upper(), node.expression
    if isinstance(node, exp.Anonymous):
        arguments = node.expressions
        if node.name.upper() in ("DATE_PART", "DATEPART") and len(arguments) == 2:
            return str(literal_value(arguments[0])).upper(), arguments[1]
        return node.name.upper(), arguments[0] if len(arguments) == 1 else None
    return (_KINDS[type(node)], node.this) if type(node) in _KINDS else ("", None)


def _strip_date_conversion(node: exp.Expr) -> exp.Expr:
    while isinstance(node, (exp.TsOrDsToDate, exp.TsOrDsToTimestamp)):
        node = node.this
    return node
