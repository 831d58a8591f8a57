"""How far apart two dates or moments must be to decide a condition, and values that are so far apart."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import moments
from text2sql.equivalence.databases.values.type_hints import months_later, shifted, years_later
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

_MODIFIER = re.compile(r"\s*([+-]?\d{1,6}(?:\.\d+)?)\s+(second|minute|hour|day|month|year)s?\s*\Z", re.IGNORECASE)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
# Factors that make a difference of days one in another unit, by their number: what one of these lasts.
_UNITS: dict[float, float] = {24: 3600.0, 1440: 60.0, 86_400: 1.0}
# In the middle of a month, so that a month later is the same day.
_START = datetime.datetime(2010, 3, 15)
_MOST = 3


def moments_apart(node: exp.Expr | None, kind: str) -> list[str]:
    """Dates or moments, some of which are as far apart as a condition says, or nearly so.

    Args:
        node: The condition.
        kind: date or datetime.
    """
    steps = list(dict.fromkeys(_steps(node))) if node is not None else []
    found: list[datetime.datetime] = []
    for months, seconds in steps[:_MOST]:
        for sign in (1, -1):
            day = months_later(_START.date(), sign * months) or _START.date()
            moved = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(seconds=sign * seconds)
            near = datetime.timedelta(days=1) if kind == "date" else datetime.timedelta(seconds=1)
            found += [moved, moved + near, moved - near]
    form = "%Y-%m-%d" if kind == "date" else "%Y-%m-%d %H:%M:%S"
    return list(dict.fromkeys(moment.strftime(form) for moment in ([_START, *found] if found else ())))


def _steps(node: exp.Expr) -> Iterator[tuple[int, float]]:
    """Spans as months and seconds: those of modifiers such as ``-1 month``, fractions of days, numbers of a unit."""
    values = [literal_value(literal) for literal in node.find_all(exp.Literal)]
    numbers = [value for value in values if isinstance(value, (int, float)) and 0 < value < 1e7]
    units = [_UNITS[value] for value in numbers if value in _UNITS]
    # Seconds since an epoch.
    units += [1.0] if "%s" in values else []
    modifiers = [match for value in values if (match := _MODIFIER.match(str(value)))]
    spans = [_span(float(match.group(1)), match.group(2).lower()) for match in modifiers]
    yield from spans
    if len(spans) > 1:
        yield sum(months for months, _ in spans), sum(seconds for _, seconds in spans)
    for number in numbers:
        if number not in _UNITS:
            yield from ((0, number * unit) for unit in units)
            if isinstance(number, float) and not number.is_integer():
                yield 0, round(number * 86_400)


def _span(count: float, unit: str) -> tuple[int, float]:
    if unit in _SECONDS:
        return 0, count * _SECONDS[unit]
    return int(count) * (12 if unit == "year" else 1), 0.0


def apart(text: str, numbers: Sequence[Value], kind: str) -> list[str]:
    """Dates, or moments, as many days and years before and after one as the queries' numbers say."""
    counts = [number for number in numbers if isinstance(number, int) and 0 < number < 50_000][:2]
    steps = [step for number in counts for step in (number, number + 1, number - 1, -number)]
    days = [shifted(text, step) for step in (1, *steps)]
    found = [day for day in (*days, *(years_later(text, step) for step in steps)) if day]
    return found if kind == "date" else [moment for day in [text, *found] for moment in moments(day, kind)[:2]]
