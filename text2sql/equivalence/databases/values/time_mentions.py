"""What the queries of a pair say about time: spans, times of the day, years, and the moments that they name."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value

# Months and seconds.
Span = tuple[int, int]

_UNITS: dict[str, Span] = {
    **{"second": (0, 1), "sec": (0, 1), "epoch": (0, 1), "minute": (0, 60), "min": (0, 60), "hour": (0, 3600)},
    **{"day": (0, 86_400), "doy": (0, 86_400), "dayofyear": (0, 86_400), "week": (0, 604_800), "month": (1, 0)},
    **{"mon": (1, 0), "quarter": (3, 0), "year": (12, 0), "%s": (0, 1)},
}
_BY_FUNCTION: dict[type[exp.Expr], Span] = {
    **{exp.Second: (0, 1), exp.Minute: (0, 60), exp.Hour: (0, 3600), exp.DateDiff: (0, 86_400), exp.Month: (1, 0)},
    **{exp.Year: (12, 0), exp.Quarter: (3, 0), exp.TimeToUnix: (0, 1)},
}
_BY_NAME: dict[str, Span] = {
    **{"julianday": (0, 86_400), "datediff": (0, 86_400), "unix_timestamp": (0, 1), "time_to_sec": (0, 1)},
    **{"unixepoch": (0, 1), "epoch": (0, 1), "age": (12, 0), "period_diff": (1, 0), "months_between": (1, 0)},
}
# Numbers that turn one unit into another.
_FACTORS: dict[float, tuple[Span, ...]] = {
    **{60: ((0, 60),), 1440: ((0, 60),), 24: ((0, 3600),), 3600: ((0, 3600),), 12: ((12, 0),)},
    **{86_400: ((0, 86_400), (0, 1)), 365: ((12, 0),), 365.25: ((12, 0),), 7: ((0, 604_800),)},
}
_WRITTEN = re.compile(r"(\d{1,7}(?:\.\d+)?)\s*(second|sec|minute|min|hour|day|week|month|mon|quarter|year)s?\b")
_TIME = re.compile(r"(?:\A|[ T])(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?\Z")
_DAY = re.compile(r"\A([12]\d{3})-(\d{1,2})-(\d{1,2})")
_YEAR = re.compile(r"\A[12]\d{3}\Z")
_NOW = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentDatetime, exp.Localtimestamp)
_NOW_NAMES = ("now", "today", "curdate", "sysdate", "getdate")
_FUNCTIONS = (
    *(exp.TimeToStr, exp.Week, exp.WeekOfYear, exp.DayOfWeek, exp.DayOfWeekIso, exp.DayOfMonth, exp.DayOfYear, exp.Day),
    *(
        exp.LastDay,
        exp.DateTrunc,
        exp.TimestampTrunc,
        exp.TsOrDsToDate,
        exp.Date,
        exp.DateBin,
        exp.AtTimeZone,
        exp.Extract,
    ),
)
_OF_WEEKS = (exp.Week, exp.WeekOfYear, exp.DayOfWeek, exp.DayOfWeekIso)
_WEEKLY = re.compile(r"week|dow|isoyear|dayname|%[VWUGguwaAvXx]|IYYY|IW|\bID\b|(?-i:Da?y\b)", re.IGNORECASE)
_NAMES = re.compile(r"week|month|day|year|date|time|quarter|dow|julian|epoch|age\Z", re.IGNORECASE)
# What a format or a function reads of a moment, so that something begins where that turns.
_BY_LETTER: dict[str, Span] = {
    **{"Y": (12, 0), "G": (12, 0), "m": (1, 0), "d": (0, 86_400), "j": (0, 86_400), "W": (0, 604_800)},
    **{"V": (0, 604_800), "U": (0, 604_800), "H": (0, 3600), "M": (0, 60), "S": (0, 1)},
}
_BEGUN: dict[type[exp.Expr], Span] = {
    **{exp.Date: (0, 86_400), exp.TsOrDsToDate: (0, 86_400), exp.Day: (0, 86_400), exp.DayOfMonth: (0, 86_400)},
    **{exp.LastDay: (1, 0), exp.Week: (0, 604_800), exp.WeekOfYear: (0, 604_800)},
}
_LETTERS = re.compile(r"%([A-Za-z])")
# What a date has a number of.
_DATED: set[Span] = {(0, 86_400), (1, 0), (3, 0)}
_A_DAY: Span = (0, 86_400)
# Shorter than a life, as seconds and as months.
_LONGEST, _MOST_MONTHS = 10**9, 1200
_MOST_SPANS, _MOST_TIMES, _MOST_YEARS, _MOST_NAMED = 6, 4, 2, 2


@dataclass(frozen=True)
class TimeMentions:
    """What the queries of a pair say about time.

    Attributes:
        spans: How far apart moments must be, in months and seconds, to decide something.
        times: Seconds of the day on which something turns.
        years: That are named.
        numbers: That may be those of a month, or of a day in its month or year.
        named: Moments that are named, that of the judging among them where the queries ask for it.
        weeks: Whether weeks, or days of the week, are asked for.
        months: Whether months, longer spans or parts of these are asked for.
        strides: Whether a query looks from one row of a table to another one.
        units: What begins between two moments, as the queries count or read it: the longest first.
    """

    spans: tuple[Span, ...]
    times: tuple[int, ...]
    years: tuple[int, ...]
    numbers: tuple[int, ...]
    named: tuple[datetime.datetime, ...]
    weeks: bool
    months: bool
    strides: bool
    units: tuple[Span, ...]


def read_time_mentions(trees: Sequence[exp.Expr]) -> TimeMentions | None:
    """What two queries say about time, in whatever dialect; None where they say nothing, or there are not two."""
    if len(trees) < 2:
        return None
    units: dict[Span, None] = {}
    written: dict[Span, None] = {}
    texts: dict[str, None] = {}
    numbers: dict[float, None] = {}
    begun: dict[Span, None] = {}
    now = about = weeks = False
    for node in (node for tree in trees for node in tree.walk()):
        units.update(dict.fromkeys(_units(node)))
        begun.update(dict.fromkeys(_begun(node)))
        now |= isinstance(node, _NOW) or (isinstance(node, exp.Anonymous) and fold(node.name) in _NOW_NAMES)
        value = literal_value(node) if isinstance(node, exp.Literal) else None
        if isinstance(node, exp.Interval):
            written.update(dict.fromkeys(_spelt(node)))
        elif isinstance(value, str):
            texts[value] = None
            written.update(dict.fromkeys(_spans_in(value)))
        elif value is not None and not isinstance(value, bytes) and 0 < value < _LONGEST:
            numbers[value] = None
        about |= _about_time(node)
        weeks |= _about_weeks(node)
    if not about and not units and not written:
        return None
    times = [*_clock_times(texts), *(int(number) * 3600 for number in numbers if (0, 3600) in units and number < 24)]
    named = [moment for text in texts if (moment := _moment(text)) is not None][:_MOST_NAMED]
    named += [datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)] if now else []
    begun.update(units)
    spans = _spans(units, written, numbers)
    years = [*(int(text) for text in texts if _YEAR.match(text)), *(moment.year for moment in named)]
    years += [int(number) for number in numbers if 1900 < number < 2200 and float(number).is_integer()]
    return TimeMentions(
        tuple(spans),
        tuple(dict.fromkeys(times))[:_MOST_TIMES],
        tuple(dict.fromkeys(years))[:_MOST_YEARS],
        tuple(int(number) for number in numbers if number in range(1, 367)) if _DATED & units.keys() else (),
        tuple(named),
        weeks,
        any(months for months, _ in (*units, *spans)) or not units,
        any(_strides(tree) for tree in trees),
        tuple(sorted(begun or [_A_DAY], key=_length, reverse=True)),
    )


def _units(node: exp.Expr) -> Iterator[Span]:
    """The units that a function, or an argument of one, is about."""
    if type(node) in _BY_FUNCTION:
        yield _BY_FUNCTION[type(node)]
    name = fold(node.name) if isinstance(node, (exp.Var, exp.Literal, exp.Anonymous)) else ""
    if isinstance(node, exp.Anonymous) and name in _BY_NAME:
        yield _BY_NAME[name]
    elif name in _UNITS or name.removesuffix("s") in _UNITS:
        yield _UNITS.get(name) or _UNITS[name.removesuffix("s")]


def _begun(node: exp.Expr) -> Iterator[Span]:
    """What begins where that turns which a format or a function reads of a moment."""
    if type(node) in _BEGUN:
        yield _BEGUN[type(node)]
    if isinstance(node, exp.Cast) and node.to.this == exp.DType.DATE:
        yield _A_DAY
    if isinstance(node, exp.Literal) and node.is_string:
        yield from (_BY_LETTER[letter] for letter in _LETTERS.findall(node.name[:80]) if letter in _BY_LETTER)


def _length(span: Span) -> int:
    return span[0] * 30 * 86_400 + span[1]


def _about_time(node: exp.Expr) -> bool:
    """Whether a function is about dates or times, whatever its unit; a difference of columns may be one of dates."""
    if isinstance(node, exp.Sub):
        return isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column)
    if isinstance(node, exp.Cast):
        return isinstance(node.this, exp.Column) and node.to.this in exp.DataType.TEMPORAL_TYPES
    return isinstance(node, _FUNCTIONS) or (isinstance(node, exp.Anonymous) and bool(_NAMES.search(node.name)))


def _about_weeks(node: exp.Expr) -> bool:
    name = node.name if isinstance(node, (exp.Var, exp.Literal, exp.Anonymous)) else ""
    return isinstance(node, _OF_WEEKS) or bool(_WEEKLY.search(name))


def _spelt(interval: exp.Interval) -> Iterator[Span]:
    """The lengths in an interval, one for each unit, and all together."""
    unit = interval.args.get("unit")
    yield from _spans_in(f"{interval.this.name} {unit.name}" if unit is not None else str(interval.this.name))


def _spans_in(text: str) -> list[Span]:
    found = [_times(float(count), _UNITS[unit]) for count, unit in _WRITTEN.findall(fold(text))]
    clock = _TIME.search(text) if not _DAY.match(text) else None
    if clock is not None:
        found.append((0, _of_day(clock)))
    whole = [(sum(months for months, _ in found), sum(seconds for _, seconds in found))] if len(found) > 1 else []
    return [*whole, *found]


def _spans(units: dict[Span, None], written: dict[Span, None], numbers: dict[float, None]) -> list[Span]:
    """What is written out first, then every number of every unit."""
    for number in numbers:
        units.update(dict.fromkeys(_FACTORS.get(number, ())))
    counted = [_times(number, unit) for number in numbers if number not in _FACTORS for unit in units]
    counted += [_times(number, unit) for number in numbers if number in _FACTORS for unit in units]
    good = [span for span in (*written, *counted) if any(span) and span[0] <= _MOST_MONTHS and span[1] < _LONGEST]
    return list(dict.fromkeys(good))[:_MOST_SPANS]


def _times(count: float, unit: Span) -> Span:
    return int(count * unit[0]), round(count * unit[1])


def _clock_times(texts: dict[str, None]) -> Iterator[int]:
    for text in texts:
        clock = _TIME.search(text)
        if clock is not None and (seconds := _of_day(clock)) < 86_400:
            yield seconds


def _of_day(clock: re.Match[str]) -> int:
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3] or 0)


def _moment(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=None) if _DAY.match(text) else None
    except ValueError:
        return None


def _strides(tree: exp.Expr) -> bool:
    tables = [fold(table.name) for table in tree.find_all(exp.Table)]
    # The first and the last of a group are two rows, too.
    ends = len(list(tree.find_all(exp.Min, exp.Max))) > 1
    return ends or tree.find(exp.Window) is not None or len(set(tables)) < len(tables)
