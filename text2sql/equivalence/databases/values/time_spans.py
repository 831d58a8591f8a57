"""How far apart two dates or moments must be to decide a condition, and dates that are so far apart."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import dates_near
from text2sql.equivalence.databases.values.dates import days_later, months_later, parse_date, years_later
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

_MODIFIER = re.compile(r"\s*([+-]?\d{1,6}(?:\.\d+)?)\s+(second|minute|hour|day|month|year)s?\s*\Z", re.IGNORECASE)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
# By the factor that turns a difference of days into one in another unit, how many seconds the unit lasts.
_SECONDS_BY_FACTOR: dict[float, float] = {24: 3600.0, 1440: 60.0, 86_400: 1.0}
# In the middle of a month, so that a month later is the same day.
_START = datetime.datetime(2010, 3, 15)
# Spans of one condition.
_MAX_SPANS = 3
# Numbers of the queries that count days or years, and the largest of them.
_MAX_COUNTS = 2
_MAX_COUNT = 50_000


def moments_at_distance(node: exp.Expr | None, kind: str) -> list[str]:
    """Dates or moments, some of which are as far apart as a condition says, or nearly so.

    Args:
        node: The condition.
        kind: date or datetime.
    """
    spans = list(dict.fromkeys(_spans(node))) if node is not None else []
    near_moments: list[datetime.datetime] = []
    for months, seconds in spans[:_MAX_SPANS]:
        for sign in (1, -1):
            day = months_later(_START.date(), sign * months) or _START.date()
            moved = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(seconds=sign * seconds)
            near = datetime.timedelta(days=1) if kind == "date" else datetime.timedelta(seconds=1)
            near_moments += [moved, moved + near, moved - near]
    form = "%Y-%m-%d" if kind == "date" else "%Y-%m-%d %H:%M:%S"
    return list(dict.fromkeys(moment.strftime(form) for moment in ([_START, *near_moments] if near_moments else ())))


def _spans(node: exp.Expr) -> Iterator[tuple[int, float]]:
    """Spans in months and seconds: those of modifiers such as ``-1 month``, fractions of days, numbers of a unit."""
    values = [literal_value(literal) for literal in node.find_all(exp.Literal)]
    numbers = [value for value in values if isinstance(value, (int, float)) and 0 < value < 1e7]
    units = [_SECONDS_BY_FACTOR[value] for value in numbers if value in _SECONDS_BY_FACTOR]
    # Seconds since an epoch.
    units += [1.0] if "%s" in values else []
    modifiers = [match for value in values if (match := _MODIFIER.match(str(value)))]
    spans = [_span(float(match.group(1)), match.group(2).lower()) for match in modifiers]
    yield from spans
    if len(spans) > 1:
        yield sum(months for months, _ in spans), sum(seconds for _, seconds in spans)
    for number in numbers:
        if number not in _SECONDS_BY_FACTOR:
            yield from ((0, number * unit) for unit in units)
            if isinstance(number, float) and not number.is_integer():
                yield 0, round(number * 86_400)


def _span(count: float, unit: str) -> tuple[int, float]:
    if unit in _SECONDS:
        return 0, count * _SECONDS[unit]
    return int(count) * (12 if unit == "year" else 1), 0.0


def dates_at_distance(text: str, numbers: Sequence[Value], kind: str) -> list[str]:
    """Dates, or moments, as many days and years before and after a date as the queries' numbers say.

    Args:
        text: The date.
        numbers: The literals of the queries.
        kind: date or datetime.
    """
    counts = [number for number in numbers if isinstance(number, int) and 0 < number < _MAX_COUNT][:_MAX_COUNTS]
    steps = [step for number in counts for step in (number, number + 1, number - 1, -number)]
    start = parse_date(text)
    assert start is not None
    moved = [*(days_later(start, step) for step in (1, *steps)), *(years_later(start, step) for step in steps)]
    dates = [day.isoformat() for day in moved if day]
    return dates if kind == "date" else [moment for day in [text, *dates] for moment in dates_near(day, kind)[:2]]
