"""Moments on which functions of the time part ways: at midnight, at New Year, and as far apart as intervals say."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Sequence

from sqlglot import exp

from text2sql.engines.translate import SECONDS, length_of
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
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
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
    lengths = dict.fromkeys(length_of(interval) for tree in trees for interval in tree.find_all(exp.Interval))
    apart = [moment for length in [*filter(None, lengths)][:_MOST] for moment in _apart(length)]
    # Few moments, so that two of them often meet.
    values = list(dict.fromkeys([*apart, *(_MOMENTS[:2] if apart else _MOMENTS)]))
    return {column: list(values) for column in columns if column in taken}


def _apart(length: tuple[int, str]) -> Iterator[Value]:
    """A moment, that which is so far from it, and those a second before and after."""
    number, unit = length
    if unit in SECONDS and number * SECONDS[unit] < 10**9:
        later = _BASE + datetime.timedelta(seconds=number * SECONDS[unit])
    elif unit in _MONTHS and number * _MONTHS[unit] < 1200:
        months = _BASE.month - 1 + number * _MONTHS[unit]
        later = _BASE.replace(year=_BASE.year + months // 12, month=months % 12 + 1)
    else:
        return
    second = datetime.timedelta(seconds=1)
    for moment in (_BASE, later, later - second, later + second):
        yield moment.isoformat(" ")
