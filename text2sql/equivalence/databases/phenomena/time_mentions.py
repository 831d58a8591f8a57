"""What the queries of a pair say about time: spans, times of the day, years, and the moments that they name."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value

# Months and seconds.
Span = tuple[int, int]

_SECOND: Span = (0, 1)
_MINUTE: Span = (0, 60)
_HOUR: Span = (0, 3600)
_DAY: Span = (0, 86_400)
_WEEK: Span = (0, 604_800)
_MONTH: Span = (1, 0)
_QUARTER: Span = (3, 0)
_YEAR: Span = (12, 0)

# The unit that a name stands for, as an argument of a function.
_UNITS: dict[str, Span] = {
    "second": _SECOND,
    "sec": _SECOND,
    "epoch": _SECOND,
    "%s": _SECOND,
    "minute": _MINUTE,
    "min": _MINUTE,
    "hour": _HOUR,
    "day": _DAY,
    "doy": _DAY,
    "dayofyear": _DAY,
    "week": _WEEK,
    "month": _MONTH,
    "mon": _MONTH,
    "quarter": _QUARTER,
    "year": _YEAR,
}
# The unit that a function returns a number of.
_UNITS_BY_FUNCTION: dict[type[exp.Expr], Span] = {
    exp.Second: _SECOND,
    exp.TimeToUnix: _SECOND,
    exp.Minute: _MINUTE,
    exp.Hour: _HOUR,
    exp.DateDiff: _DAY,
    exp.Month: _MONTH,
    exp.Quarter: _QUARTER,
    exp.Year: _YEAR,
}
_UNITS_BY_FUNCTION_NAME: dict[str, Span] = {
    "unix_timestamp": _SECOND,
    "time_to_sec": _SECOND,
    "unixepoch": _SECOND,
    "epoch": _SECOND,
    "julianday": _DAY,
    "datediff": _DAY,
    "period_diff": _MONTH,
    "months_between": _MONTH,
    "age": _YEAR,
}
# Numbers that turn one unit into another.
_UNITS_BY_FACTOR: dict[float, tuple[Span, ...]] = {
    60: (_MINUTE,),
    1440: (_MINUTE,),
    24: (_HOUR,),
    3600: (_HOUR,),
    86_400: (_DAY, _SECOND),
    7: (_WEEK,),
    12: (_YEAR,),
    365: (_YEAR,),
    365.25: (_YEAR,),
}
_SPAN_TEXT = re.compile(r"(\d{1,7}(?:\.\d+)?)\s*(second|sec|minute|min|hour|day|week|month|mon|quarter|year)s?\b")
_TIME_TEXT = re.compile(r"(?:\A|[ T])(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?\Z")
_DATE_TEXT = re.compile(r"\A([12]\d{3})-(\d{1,2})-(\d{1,2})")
_YEAR_TEXT = re.compile(r"\A[12]\d{3}\Z")
_NOW = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentDatetime, exp.Localtimestamp)
_NOW_NAMES = ("now", "today", "curdate", "sysdate", "getdate")
# Functions of dates and times, whatever their unit.
_TIME_FUNCTIONS = (
    exp.TimeToStr,
    exp.Week,
    exp.WeekOfYear,
    exp.DayOfWeek,
    exp.DayOfWeekIso,
    exp.DayOfMonth,
    exp.DayOfYear,
    exp.Day,
    exp.LastDay,
    exp.DateTrunc,
    exp.TimestampTrunc,
    exp.TsOrDsToDate,
    exp.Date,
    exp.DateBin,
    exp.AtTimeZone,
    exp.Extract,
)
_TIME_FUNCTION_NAMES = re.compile(r"week|month|day|year|date|time|quarter|dow|julian|epoch|age\Z", re.IGNORECASE)
_WEEK_FUNCTIONS = (exp.Week, exp.WeekOfYear, exp.DayOfWeek, exp.DayOfWeekIso)
# Names and formats of weeks, and of days of the week.
_WEEK_TEXT = re.compile(r"week|dow|isoyear|dayname|%[VWUGguwaAvXx]|IYYY|IW|\bID\b|(?-i:Da?y\b)", re.IGNORECASE)
# What a format shows of a moment, by its letter: where that changes, a unit begins.
_UNITS_BY_FORMAT_LETTER: dict[str, Span] = {
    "Y": _YEAR,
    "G": _YEAR,
    "m": _MONTH,
    "d": _DAY,
    "j": _DAY,
    "W": _WEEK,
    "V": _WEEK,
    "U": _WEEK,
    "H": _HOUR,
    "M": _MINUTE,
    "S": _SECOND,
}
_FORMAT_LETTERS = re.compile(r"%([A-Za-z])")
# Characters of a format that are read.
_MAX_FORMAT_LENGTH = 80
# What a function shows of a moment.
_SHOWN_UNITS: dict[type[exp.Expr], Span] = {
    exp.Date: _DAY,
    exp.TsOrDsToDate: _DAY,
    exp.Day: _DAY,
    exp.DayOfMonth: _DAY,
    exp.LastDay: _MONTH,
    exp.Week: _WEEK,
    exp.WeekOfYear: _WEEK,
}
# Units that a date numbers: its day, its month, its quarter.
_NUMBERED_UNITS: set[Span] = {_DAY, _MONTH, _QUARTER}
# The largest number, and the largest span in seconds and in months: shorter than a life.
_MAX_SECONDS = 10**9
_MAX_MONTHS = 1200
_MAX_SPANS = 6
_MAX_TIMES = 4
_MAX_YEARS = 2
_MAX_MOMENTS = 2


@dataclass(frozen=True)
class TimeMentions:
    """What the queries of a pair say about time.

    Attributes:
        spans: How far apart moments must be, in months and seconds, to decide something.
        times: Seconds of the day at which something changes.
        years: Years that are named.
        day_numbers: Numbers that may be those of a month, or of a day in its month or year.
        moments: Moments that are named; the present among them where the queries ask for it.
        about_weeks: Whether the queries ask for weeks, or for days of the week.
        about_months: Whether they ask for months, longer spans, or parts of these.
        compare_rows: Whether a query looks from one row of a table to another one.
        units: The units that the queries count or show, so that it matters where they begin: the longest first.
    """

    spans: tuple[Span, ...]
    times: tuple[int, ...]
    years: tuple[int, ...]
    day_numbers: tuple[int, ...]
    moments: tuple[datetime.datetime, ...]
    about_weeks: bool
    about_months: bool
    compare_rows: bool
    units: tuple[Span, ...]


@dataclass
class _Mentions:
    """What single nodes of the queries say, each once, in the order of the text.

    Attributes:
        units: The units of functions and of their arguments.
        shown_units: The units that formats and functions show.
        spans: The spans that are written out.
        texts: The texts.
        numbers: The numbers that may count a unit.
        now: Whether the present is asked for.
        about_time: Whether there is a function of dates or times, whatever its unit.
        about_weeks: Whether there is one of weeks, or of days of the week.
    """

    units: dict[Span, None] = field(default_factory=dict)
    shown_units: dict[Span, None] = field(default_factory=dict)
    spans: dict[Span, None] = field(default_factory=dict)
    texts: dict[str, None] = field(default_factory=dict)
    numbers: dict[float, None] = field(default_factory=dict)
    now: bool = False
    about_time: bool = False
    about_weeks: bool = False

    def add(self, node: exp.Expr) -> None:
        """Adds what a node says."""
        self.units.update(dict.fromkeys(_units(node)))
        self.shown_units.update(dict.fromkeys(_shown_units(node)))
        self.now |= isinstance(node, _NOW) or (isinstance(node, exp.Anonymous) and fold(node.name) in _NOW_NAMES)
        value = literal_value(node) if isinstance(node, exp.Literal) else None
        if isinstance(node, exp.Interval):
            self.spans.update(dict.fromkeys(_interval_spans(node)))
        elif isinstance(value, str):
            self.texts[value] = None
            self.spans.update(dict.fromkeys(_spans_in(value)))
        elif value is not None and not isinstance(value, bytes) and 0 < value < _MAX_SECONDS:
            self.numbers[value] = None
        self.about_time |= _is_about_time(node)
        self.about_weeks |= _is_about_weeks(node)


def read_time_mentions(trees: Sequence[exp.Expr]) -> TimeMentions | None:
    """What two queries say about time, in whatever dialect; None where they say nothing, or there are not two."""
    if len(trees) < 2:
        return None
    mentions = _Mentions()
    for node in (node for tree in trees for node in tree.walk()):
        mentions.add(node)
    units, numbers, texts = mentions.units, mentions.numbers, mentions.texts
    if not mentions.about_time and not units and not mentions.spans:
        return None
    hours = (int(number) for number in numbers if _HOUR in units and number < 24)
    times = [*_clock_times(texts), *(hour * 3600 for hour in hours)]
    moments = [moment for text in texts if (moment := _parse_moment(text)) is not None][:_MAX_MOMENTS]
    moments += [datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)] if mentions.now else []
    years = [*(int(text) for text in texts if _YEAR_TEXT.match(text)), *(moment.year for moment in moments)]
    years += [int(number) for number in numbers if 1900 < number < 2200 and float(number).is_integer()]
    starting_units = {**mentions.shown_units, **units}
    # A number that turns one unit into another names these units, too.
    for number in numbers:
        units.update(dict.fromkeys(_UNITS_BY_FACTOR.get(number, ())))
    spans = _spans(units, mentions.spans, numbers)
    day_numbers = (int(number) for number in numbers if number in range(1, 367))
    return TimeMentions(
        spans=tuple(spans),
        times=tuple(dict.fromkeys(times))[:_MAX_TIMES],
        years=tuple(dict.fromkeys(years))[:_MAX_YEARS],
        day_numbers=tuple(day_numbers) if _NUMBERED_UNITS & units.keys() else (),
        moments=tuple(moments),
        about_weeks=mentions.about_weeks,
        about_months=any(months for months, _ in (*units, *spans)) or not units,
        compare_rows=any(map(_compares_rows, trees)),
        units=tuple(sorted(starting_units or [_DAY], key=_seconds_in, reverse=True)),
    )


def _units(node: exp.Expr) -> Iterator[Span]:
    """The units that a function, or an argument of one, is about."""
    if type(node) in _UNITS_BY_FUNCTION:
        yield _UNITS_BY_FUNCTION[type(node)]
    name = fold(node.name) if isinstance(node, (exp.Var, exp.Literal, exp.Anonymous)) else ""
    if isinstance(node, exp.Anonymous) and name in _UNITS_BY_FUNCTION_NAME:
        yield _UNITS_BY_FUNCTION_NAME[name]
    elif name in _UNITS or name.removesuffix("s") in _UNITS:
        yield _UNITS.get(name) or _UNITS[name.removesuffix("s")]


def _shown_units(node: exp.Expr) -> Iterator[Span]:
    """The units that a format or a function shows of a moment."""
    if type(node) in _SHOWN_UNITS:
        yield _SHOWN_UNITS[type(node)]
    if isinstance(node, exp.Cast) and node.to.this == exp.DType.DATE:
        yield _DAY
    if isinstance(node, exp.Literal) and node.is_string:
        letters = _FORMAT_LETTERS.findall(node.name[:_MAX_FORMAT_LENGTH])
        yield from (_UNITS_BY_FORMAT_LETTER[letter] for letter in letters if letter in _UNITS_BY_FORMAT_LETTER)


def _seconds_in(span: Span) -> int:
    """About how many seconds a span lasts."""
    return span[0] * 30 * 86_400 + span[1]


def _is_about_time(node: exp.Expr) -> bool:
    """Whether a function is about dates or times, whatever its unit; a difference of columns may be one of dates."""
    if isinstance(node, exp.Sub):
        return isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column)
    if isinstance(node, exp.Cast):
        return isinstance(node.this, exp.Column) and node.to.this in exp.DataType.TEMPORAL_TYPES
    if isinstance(node, exp.Anonymous):
        return bool(_TIME_FUNCTION_NAMES.search(node.name))
    return isinstance(node, _TIME_FUNCTIONS)


def _is_about_weeks(node: exp.Expr) -> bool:
    """Whether a function or a format is about weeks, or days of the week."""
    name = node.name if isinstance(node, (exp.Var, exp.Literal, exp.Anonymous)) else ""
    return isinstance(node, _WEEK_FUNCTIONS) or bool(_WEEK_TEXT.search(name))


def _interval_spans(interval: exp.Interval) -> Iterator[Span]:
    """The spans in an interval, one for each unit, and their sum."""
    unit = interval.args.get("unit")
    yield from _spans_in(f"{interval.this.name} {unit.name}" if unit is not None else str(interval.this.name))


def _spans_in(text: str) -> list[Span]:
    """The spans in a text such as ``2 days 03:00:00``, and their sum."""
    spans = [_multiple(float(count), _UNITS[unit]) for count, unit in _SPAN_TEXT.findall(fold(text))]
    clock = _TIME_TEXT.search(text) if not _DATE_TEXT.match(text) else None
    if clock is not None:
        spans.append((0, _second_of_day(clock)))
    total = [(sum(months for months, _ in spans), sum(seconds for _, seconds in spans))] if len(spans) > 1 else []
    return [*total, *spans]


def _spans(units: Iterable[Span], written: Iterable[Span], numbers: Iterable[float]) -> list[Span]:
    """The spans that are written out first, then every number of every unit, factors between units last."""
    others = [number for number in numbers if number not in _UNITS_BY_FACTOR]
    factors = [number for number in numbers if number in _UNITS_BY_FACTOR]
    counted = [_multiple(number, unit) for number in (*others, *factors) for unit in units]
    spans = [span for span in (*written, *counted) if any(span) and span[0] <= _MAX_MONTHS and span[1] < _MAX_SECONDS]
    return list(dict.fromkeys(spans))[:_MAX_SPANS]


def _multiple(count: float, unit: Span) -> Span:
    return int(count * unit[0]), round(count * unit[1])


def _clock_times(texts: Iterable[str]) -> Iterator[int]:
    """The times of the day in some texts, in seconds."""
    for text in texts:
        clock = _TIME_TEXT.search(text)
        if clock is not None and (seconds := _second_of_day(clock)) < 86_400:
            yield seconds


def _second_of_day(clock: re.Match[str]) -> int:
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3] or 0)


def _parse_moment(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=None) if _DATE_TEXT.match(text) else None
    except ValueError:
        return None


def _compares_rows(tree: exp.Expr) -> bool:
    """Whether a query compares rows of a table: by a window, by reading the table twice, or by MIN and MAX."""
    tables = [fold(table.name) for table in tree.find_all(exp.Table)]
    ends = len(list(tree.find_all(exp.Min, exp.Max))) > 1
    return ends or tree.find(exp.Window) is not None or len(set(tables)) < len(tables)
