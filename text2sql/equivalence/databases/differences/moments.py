"""Moments on which functions of time differ, each of which is in a database of a pair whatever the seed.

Functions of weeks differ at New Year, those of months at their ends, those of hours and days at their last second. What
measures from one moment to another differs where they are as far apart as a query says, or nearly so, and where a unit
of time begins between them.
"""

from __future__ import annotations

import calendar
import datetime
import itertools
import re
from collections.abc import Iterable, Iterator

from text2sql.equivalence.databases.phenomena.time_mentions import Span, TimeMentions
from text2sql.sql.values import Value

Moment = datetime.datetime

# The first of January is a Friday, a Sunday, a Monday and a Wednesday: of an ISO year's last week, or of its first.
_YEARS = (2021, 2023, 2024, 2025)
_AROUND_NEW_YEAR = range(-4, 6)
# Ends of months, quarters and halves of a leap year, as month and day.
_MONTH_ENDS = ((1, 31), (2, 28), (2, 29), (3, 1), (3, 31), (4, 1), (4, 30), (6, 30), (7, 1), (9, 30), (10, 1), (11, 30))
_LEAP_YEAR = 2024
_COMMON_YEAR = 2023
# All days of a week, from a Sunday on.
_WEEK_DAYS = [datetime.date(2024, 5, 12) + datetime.timedelta(days=day) for day in range(7)]
# Seconds of the day, its first and last among them.
_ORDINARY_TIMES = (0, 36_000, 86_399, 43_200, 27_015)
# In the middle of a month.
_START = Moment(2024, 3, 12, 9)
# Within an hour and a minute of the last day of a year.
_NEW_YEARS_EVE = Moment(2023, 12, 31, 23, 30, 30)
# The first of two moments: these two, and the ends of months.
_STARTS = (_START, _NEW_YEARS_EVE, Moment(2024, 1, 31, 12), Moment(2024, 2, 29), Moment(2023, 3, 31, 18))
_SECOND = datetime.timedelta(seconds=1)
_DAY = datetime.timedelta(days=1)
# Spans between two moments whatever the queries say.
_USUAL_SPANS: tuple[Span, ...] = ((0, 1), (0, 43_200), (0, 86_400), (1, 0), (12, 0))
# More than a span of whole units, and less than the unit.
_EXCESSES = (10 * _SECOND, datetime.timedelta(minutes=10), datetime.timedelta(hours=5))
# Pairs of moments, and moments with fractions of a second.
_MAX_PAIRS = 72
# Moments of one column.
_MAX_MOMENTS = 90
# Numbers, and named days, of the queries.
_MAX_NUMBERS = 3
# Years at whose start pairs stand, each two years behind the one before: what counts seconds from 1970 holds them all.
_FIRST_YEAR = 1972
_LAST_YEAR = 2036
_WEEK_SPAN: Span = (0, 604_800)
# Monday and Sunday.
_WEEK_STARTS = (0, 6)
# Units of a pair of queries between whose starts pairs of moments lie.
_MAX_UNITS = 4
# How many shapes a pair may have, see `_crossing_pair`.
_SHAPES = 9
# A moment or time with at most five digits of a second's fraction: a sixth digit can be added.
_TO_THE_SECOND = re.compile(r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(?:\.\d{1,5})?")
_DAY_NAMED = re.compile(r"\d{4}-\d\d-\d\d")


def format_moments(moments: Iterable[Moment], kind: str) -> list[str]:
    """Moments as texts that a column of a kind holds."""
    form = {"date": "%Y-%m-%d", "time": "%H:%M:%S"}.get(kind, "%Y-%m-%d %H:%M:%S")
    return [moment.strftime(form) for moment in moments if moment.year >= 1000]


def turning_moments(mentions: TimeMentions, kind: str) -> list[Moment]:
    """Days and times at which a unit ends and the next begins, and those that the queries name."""
    around = _AROUND_NEW_YEAR if mentions.about_weeks else (-1, 0)
    dates = [datetime.date(year, 1, 1) + _DAY * step for year in _years_around(mentions) for step in around]
    year = next((year for year in mentions.years if calendar.isleap(year)), _LEAP_YEAR)
    turns = _MONTH_ENDS if mentions.about_months or mentions.about_weeks else _MONTH_ENDS[:3]
    dates = [
        *_named_days(mentions),
        *_numbered_days(mentions),
        *dates,
        *(datetime.date(year, *turn) for turn in turns),
        *_WEEK_DAYS[: 7 if mentions.about_weeks else 2],
    ]
    if kind == "date":
        return [Moment.combine(day, datetime.time()) for day in dict.fromkeys(dates)][:_MAX_MOMENTS]
    times = list(dict.fromkeys([*_turning_seconds(mentions), *_ORDINARY_TIMES]))
    timed = [_moment_at(day, _ORDINARY_TIMES[index % 3]) for index, day in enumerate(dates)]
    exact = [moment + step for moment in _distant_moments(mentions) for step in (-_SECOND, 0 * _SECOND, _SECOND)]
    return list(dict.fromkeys([*exact, *(_moment_at(_WEEK_DAYS[2], time) for time in times), *timed]))[:_MAX_MOMENTS]


def within_seconds(literals: Iterable[Value], mentions: TimeMentions | None, kind: str) -> list[str]:
    """Moments, or times of the day, a fraction of a second behind those that the queries name to the second."""
    texts = [text.strip().replace("T", " ") for text in literals if isinstance(text, str) and len(text) < 40]
    to_the_second = [text for text in texts if _TO_THE_SECOND.fullmatch(text)]
    days = list(dict.fromkeys(text[:10] for text in texts if _DAY_NAMED.match(text)))[:_MAX_NUMBERS]
    moments = [text for text in to_the_second if " " in text]
    clocks = [text for text in to_the_second if " " not in text]
    if kind == "time":
        bases = [*clocks, *(text.split(" ")[1] for text in moments)]
    else:
        days.append(f"{_START:%Y-%m-%d}")
        bases = [*moments, *(f"{day} {clock}" for clock in clocks for day in days)]
        bases += format_moments(_computed_seconds(mentions), "datetime") if mentions is not None else []
    behind = [f"{text}5" if "." in text else f"{text}.5" for text in dict.fromkeys(bases)][:_MAX_PAIRS]
    return [*behind, *_rounded_fractions(kind)] if mentions is not None else behind


def _rounded_fractions(kind: str) -> list[str]:
    """Moments whose fraction is rounded up, or down, whatever the queries name: on a full minute, and not."""
    (full,), (other,) = format_moments([_START], kind), format_moments([_START + 47 * _SECOND], kind)
    return [f"{full}.6", f"{full}.000001", f"{other}.4", f"{other}.6"]


def _computed_seconds(mentions: TimeMentions) -> list[Moment]:
    """The moments that the queries compute from those that they name, where that leads to another second."""
    spans = [span for span in mentions.spans if span[1] % 60]
    computed = [later(moment, span, sign) for moment in mentions.moments for span in spans for sign in (-1, 1)]
    return [moment for moment in computed if moment is not None]


def days_after_start(steps: Iterable[int], kind: str) -> list[str]:
    """The days that are some numbers of days behind a first day."""
    return format_moments((_START + _DAY * step for step in steps), kind)


def _numbered_days(mentions: TimeMentions) -> Iterator[datetime.date]:
    """Days whose number in their month, or in their year, is one of a query's or next to it."""
    short = [number for number in mentions.day_numbers if number <= 31][:_MAX_NUMBERS]
    months = [number for number in short if number <= 12] or [3]
    for number, step, month in itertools.product(short, (0, 1, -1), months):
        if 1 <= number + step <= calendar.monthrange(_COMMON_YEAR, month)[1]:
            yield datetime.date(_COMMON_YEAR, month, number + step)
    far = [number for number in mentions.day_numbers if number > 31][:_MAX_NUMBERS]
    for number, step, year in itertools.product(far, (0, 1, -1), (_COMMON_YEAR, _LEAP_YEAR)):
        yield datetime.date(year, 1, 1) + _DAY * (number + step - 1)


def _moment_at(day: datetime.date, seconds: int) -> Moment:
    return Moment.combine(day, datetime.time()) + datetime.timedelta(seconds=seconds)


def _years_around(mentions: TimeMentions) -> list[int]:
    """The years that the queries name with those behind them, and some others."""
    named = [year + step for year in mentions.years for step in (0, 1)]
    return list(dict.fromkeys([*named, *_YEARS]))[: len(_YEARS)]


def _named_days(mentions: TimeMentions) -> Iterator[datetime.date]:
    """The days that the queries name, those that are as far from them as they say, and their neighbours."""
    for moment in (*mentions.moments, *_distant_moments(mentions)):
        yield from (moment.date() + _DAY * step for step in (0, -1, 1))


def _distant_moments(mentions: TimeMentions) -> list[Moment]:
    """The moments that are as far from those that the queries name as the queries say."""
    computed = [later(moment, span, sign) for moment in mentions.moments for span in mentions.spans for sign in (-1, 1)]
    return [moment for moment in computed if moment is not None]


def _turning_seconds(mentions: TimeMentions) -> Iterator[int]:
    """Seconds of the day on either side of those that are named, and of the intervals into which spans divide a day."""
    for time in mentions.times:
        yield from ((time + step) % 86_400 for step in (-1, 0, 1, 1800, 3599))
    for months, seconds in mentions.spans:
        if not months and 1 < seconds <= 43_200:
            yield from (36_000 + step for step in (seconds - 1, seconds, seconds // 2, seconds // 2 - 1, 2 * seconds))


def later(moment: Moment, span: Span, sign: int = 1) -> Moment | None:
    """A moment a span after another one, or before it; in shorter months on their last day."""
    years, month = divmod(moment.month - 1 + sign * span[0], 12)
    try:
        last = calendar.monthrange(moment.year + years, month + 1)[1]
        moved = moment.replace(year=moment.year + years, month=month + 1, day=min(moment.day, last))
        return moved + datetime.timedelta(seconds=sign * span[1])
    except (ValueError, OverflowError):
        return None


def progression_of_moments(mentions: TimeMentions, kind: str) -> list[Moment]:
    """Moments each of which is as far behind the one before as the queries say, or somewhat more or less."""
    near = _DAY if kind == "date" else _SECOND
    exact = sorted({*mentions.spans, *_USUAL_SPANS}, key=_seconds_in)
    gaps: list[tuple[Span, datetime.timedelta]] = []
    for index, span in enumerate(exact):
        gaps.append((span, 0 * near))
        if span in mentions.spans:
            between = int(_seconds_in(span) - _seconds_in(exact[index - 1])) // 2 if index else 0
            gaps += [(span, near), (span, -near), (span, datetime.timedelta(seconds=-between))]
    progress = [_START]
    for span, step in gaps:
        following = later(progress[-1], span)
        if following is not None and following + step > progress[-1]:
            progress.append(following + step)
    return progress


def _seconds_in(span: Span) -> float:
    return span[0] * 30.44 * 86_400 + span[1]


def moment_pairs(mentions: TimeMentions) -> list[tuple[Moment, Moment]]:
    """Pairs of moments as far apart as the queries say, or a second or a day more or less."""
    pairs: dict[tuple[Moment, Moment], None] = {}
    for span in (*mentions.spans, *_USUAL_SPANS):
        months = bool(span[0]) and mentions.about_months
        # Spans of months differ at the ends of months; those of seconds at the ends of days.
        for start in _STARTS if months else _STARTS[:2]:
            end, earlier = later(start, span), later(start, span, -1)
            steps = [0 * _DAY, -_SECOND, _DAY if span[0] else _SECOND] if start is _START else [0 * _DAY]
            if not span[0] and span in mentions.spans:
                # As many whole hours or days, and more of smaller units; from a night, one midnight more as well.
                steps += [excess for excess in _EXCESSES if excess.total_seconds() < span[1]]
            # A second less than the span, but over as many starts of hours and minutes.
            steps += [-_SECOND] if start is _NEW_YEARS_EVE and not span[0] else []
            pairs.update({(start, end + step): None for step in steps} if end is not None else {})
            if earlier is not None and months:
                pairs[earlier, start] = None
    usual = [(start + _DAY * step, start) for start in _STARTS[:2] for step in (0, 1, 40)]
    return [*list(pairs)[: _MAX_PAIRS - len(usual)], *usual]


def unit_crossings(mentions: TimeMentions, kind: str) -> list[tuple[Moment, Moment]]:
    """Pairs of moments between which a unit begins more or less often than it passes.

    From the last second of an hour to the first of the next one an hour begins, and none has passed; in an hour less a
    second none need begin. Each pair lies behind the one before, so that its moments follow each other in a table.
    """
    step = _DAY if kind == "date" else _SECOND
    units = [unit for unit in mentions.units if unit[0] or unit[1] > step.total_seconds()]
    starts = [(unit, day) for unit in units[:_MAX_UNITS] for day in (_WEEK_STARTS if unit == _WEEK_SPAN else (None,))]
    shapes = [(unit, day, number) for number in range(_SHAPES) for unit, day in starts]
    pairs: list[tuple[Moment, Moment]] = []
    for (unit, day, number), year in zip(shapes, range(_FIRST_YEAR, _LAST_YEAR, 2), strict=False):
        pair = _crossing_pair(_unit_start(year, day), unit, number, step)
        pairs += [pair] if pair is not None and pair[0] < pair[1] else []
    return pairs


def _crossing_pair(start: Moment, unit: Span, number: int, step: datetime.timedelta) -> tuple[Moment, Moment] | None:
    """A pair of moments at the start of a unit; None where it would lie beyond the calendar.

    Args:
        start: The start of the unit.
        unit: The unit.
        number: Which shape the pair has.
        step: The smallest step between two moments: a second or a day.
    """
    end = later(start, unit)
    second = later(end, unit) if end is not None else None
    middle = start + (_DAY * 14 if unit[0] else datetime.timedelta(seconds=unit[1] // 2))
    if end is None or second is None:
        return None
    # In the shortest month, and from the last day of a long one into it.
    short_month = later(start, (1, 0)), start + _DAY * 30
    shapes: list[tuple[Moment | None, Moment | None]] = [
        (start - step, start),
        (start, end - step),
        (start - step, end - 2 * step),
        (start, second - step),
        (middle, later(middle, unit)),
        (start - step, end),
        (start, end),
        *((day, later(day, unit)) for day in short_month if day is not None and unit[0]),
    ]
    a, b = shapes[number] if number < len(shapes) else (None, None)
    return (a, b) if a is not None and b is not None else None


def _unit_start(year: int, weekday: int | None) -> Moment:
    """New Year, with which all units but weeks begin; with a weekday, the first such day of the year."""
    first = Moment(year, 1, 1)
    return first if weekday is None else first + _DAY * ((weekday - first.weekday()) % 7)
