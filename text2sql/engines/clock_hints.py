"""Moments on which functions of the time part ways: at midnight, at New Year, and as far apart as intervals say."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterator, Sequence

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.values import Value

# On either side of midnight, of New Year, of a week, and of the hours, halves and minutes that people name.
_MOMENTS: tuple[Value, ...] = (
    "2023-12-31 23:30:00",
    "2024-01-01 00:15:00",
    "2021-01-03 12:00:00",
    "2024-03-04 06:30:00",
    "2024-03-04 09:05:00",
    "2024-03-04 09:16:00",
    "2024-03-04 17:00:00",
    "2024-03-04 21:45:00",
    "2024-03-05 00:00:00",
    "2024-03-10 23:45:00",
)
_FUNCTIONS = (
    *(exp.Interval, exp.TimestampTrunc, exp.DateTrunc, exp.DatetimeTrunc, exp.DateBin, exp.Extract, exp.DateDiff),
    *(exp.TimestampDiff, exp.DatetimeDiff, exp.AtTimeZone, exp.TimeToStr, exp.Hour, exp.Minute, exp.Week),
    *(exp.WeekOfYear, exp.DayOfWeek, exp.Cast, exp.Anonymous, exp.TsOrDsToDate, exp.Date, exp.Sub),
)
_BASE = datetime.datetime(2024, 2, 3, 9)
_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400, "WEEK": 604_800}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_SPELT = re.compile(r"\s*(\d{1,5})\s*([A-Za-z]+?)[sS]?\s*")
# Intervals of a query that are tried.
_MOST = 3


def clock_hints(trees: Sequence[exp.Expr], columns: Collection[str]) -> dict[str, list[Value]]:
    """By lower-case names of columns that hold moments, values for those that functions of the time are about.

    Args:
        trees: The queries, in their own dialect.
        columns: The columns that hold moments, in lower case.
    """
    taken = {
        fold(column.name)
        for tree in trees
        for node in tree.find_all(*_FUNCTIONS)
        for column in node.find_all(exp.Column)
    }
    lengths = list(dict.fromkeys(length for tree in trees for length in _intervals(tree)))[:_MOST]
    apart = [moment for length in lengths for moment in _apart(length)]
    # Few moments, so that two of them often meet.
    values = list(dict.fromkeys([*apart, *(_MOMENTS[:2] if apart else _MOMENTS)]))
    return {column: list(values) for column in columns if column in taken}


def _intervals(tree: exp.Expr) -> Iterator[tuple[int, str]]:
    """The intervals of a query, each as a number and a unit."""
    for node in tree.find_all(exp.Interval):
        unit = node.args.get("unit")
        text = str(node.this.this) if isinstance(node.this, exp.Literal) else ""
        found = _SPELT.fullmatch(f"{text} {unit.name}" if unit is not None and text.isdigit() else text)
        if found is not None:
            yield int(found[1]), found[2].upper()


def _apart(length: tuple[int, str]) -> Iterator[Value]:
    """A moment, that which is so far from it, and those a second before and after."""
    number, unit = length
    if unit in _SECONDS and number * _SECONDS[unit] < 10**9:
        later = _BASE + datetime.timedelta(seconds=number * _SECONDS[unit])
    elif unit in _MONTHS and number * _MONTHS[unit] < 1200:
        months = _BASE.month - 1 + number * _MONTHS[unit]
        later = _BASE.replace(year=_BASE.year + months // 12, month=months % 12 + 1)
    else:
        return
    second = datetime.timedelta(seconds=1)
    for moment in (_BASE, later, later - second, later + second):
        yield moment.isoformat(" ")
