"""Moments on which functions of the time part ways, each of which is in a database of a pair whatever the seed.

Weeks part at New Year, months at their ends, hours and days at their last second; what measures from one moment to
another parts where they are as far apart as a query says, or nearly so, and where something begins between them.
"""

from __future__ import annotations

import calendar
import datetime
import itertools
import re
from collections.abc import Iterable, Iterator

from text2sql.equivalence.databases.values.time_mentions import Span, TimeMentions
from text2sql.sql.values import Value

Moment = datetime.datetime

# The first of January is a Friday, a Sunday, a Monday and a Wednesday: of an ISO year's last week, or of its first.
_YEARS = (2021, 2023, 2024, 2025)
_AROUND_NEW_YEAR = range(-4, 6)
# Ends of months, quarters and halves of a leap year, as month and day.
_TURNS = ((1, 31), (2, 28), (2, 29), (3, 1), (3, 31), (4, 1), (4, 30), (6, 30), (7, 1), (9, 30), (10, 1), (11, 30))
_LEAP_YEAR, _COMMON_YEAR = 2024, 2023
# All days of a week, from a Sunday on.
_WEEK = [datetime.date(2024, 5, 12) + datetime.timedelta(days=day) for day in range(7)]
_ORDINARY_TIMES = (0, 36_000, 86_399, 43_200, 27_015)
# Where a run of moments, and the first of two, begins: in the middle of a month, in the night to New Year (within an
# hour and a minute), at the ends of months.
_START, _NIGHT = Moment(2024, 3, 12, 9), Moment(2023, 12, 31, 23, 30, 30)
_STARTS = (_START, _NIGHT, Moment(2024, 1, 31, 12), Moment(2024, 2, 29), Moment(2023, 3, 31, 18))
_SECOND, _DAY = datetime.timedelta(seconds=1), datetime.timedelta(days=1)
# What lies between two moments whatever the queries say.
_USUAL: tuple[Span, ...] = ((0, 1), (0, 43_200), (0, 86_400), (1, 0), (12, 0))
_MOST_COUPLES, _MOST_DAYS, _MOST_NUMBERS = 72, 90, 3
# What is more than a span, and less than the unit that it is counted in.
_MORE = (10 * _SECOND, datetime.timedelta(minutes=10), datetime.timedelta(hours=5))
# Years at whose beginning couples stand, each two years behind the one before: what counts from 1970 holds them all.
_FIRST_YEAR, _LAST_YEAR = 1972, 2036
_A_WEEK: Span = (0, 604_800)
# Monday and Sunday.
_WEEKS_BEGIN = (0, 6)
# Units of a pair between whose beginnings couples are made.
_MOST_UNITS = 4
# Of a second at most five digits are named where one more is to tell something.
_TO_THE_SECOND = re.compile(r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(?:\.\d{1,5})?")
_DAY_NAMED = re.compile(r"\d{4}-\d\d-\d\d")


def written(moments: Iterable[Moment], kind: str) -> list[str]:
    """Moments as a column of a kind holds them."""
    form = {"date": "%Y-%m-%d", "time": "%H:%M:%S"}.get(kind, "%Y-%m-%d %H:%M:%S")
    return [moment.strftime(form) for moment in moments if moment.year >= 1000]


def days(mentions: TimeMentions, kind: str) -> list[Moment]:
    """Days and times at which something ends and something else begins, and those that the queries name."""
    around = _AROUND_NEW_YEAR if mentions.weeks else (-1, 0)
    dates = [datetime.date(year, 1, 1) + _DAY * step for year in _years(mentions) for step in around]
    year = next((year for year in mentions.years if calendar.isleap(year)), _LEAP_YEAR)
    turns = _TURNS if mentions.months or mentions.weeks else _TURNS[:3]
    dates = [
        *_named(mentions),
        *_numbered(mentions),
        *dates,
        *(datetime.date(year, *turn) for turn in turns),
        *_WEEK[: 7 if mentions.weeks else 2],
    ]
    if kind == "date":
        return [Moment.combine(day, datetime.time()) for day in dict.fromkeys(dates)][:_MOST_DAYS]
    times = list(dict.fromkeys([*_turning(mentions), *_ORDINARY_TIMES]))
    timed = [_at(day, _ORDINARY_TIMES[place % 3]) for place, day in enumerate(dates)]
    exact = [moment + step for moment in _far(mentions) for step in (-_SECOND, 0 * _SECOND, _SECOND)]
    return list(dict.fromkeys([*exact, *(_at(_WEEK[2], time) for time in times), *timed]))[:_MOST_DAYS]


def between_seconds(literals: Iterable[Value], mentions: TimeMentions | None, kind: str) -> list[str]:
    """Moments, or times of the day, a fraction of a second behind one that the queries name to the second."""
    texts = [text.strip().replace("T", " ") for text in literals if isinstance(text, str) and len(text) < 40]
    named = [text for text in texts if _TO_THE_SECOND.fullmatch(text)]
    days_named = list(dict.fromkeys(text[:10] for text in texts if _DAY_NAMED.match(text)))[:_MOST_NUMBERS]
    moments = [text for text in named if " " in text]
    clocks = [text for text in named if " " not in text]
    if kind == "time":
        found = [*clocks, *(text.split(" ")[1] for text in moments)]
    else:
        days_for_clocks = [*days_named, f"{_START:%Y-%m-%d}"]
        found = [*moments, *(f"{day} {clock}" for clock in clocks for day in days_for_clocks)]
        found += written(_computed_seconds(mentions), "datetime") if mentions is not None else []
    behind = [f"{text}5" if "." in text else f"{text}.5" for text in dict.fromkeys(found)][:_MOST_COUPLES]
    return [*behind, *_fractions(kind)] if mentions is not None else behind


def _fractions(kind: str) -> list[str]:
    """Moments with a fraction that is rounded up, or down, whatever the queries name: on a full minute, and not."""
    (full,), (other,) = written([_START], kind), written([_START + 47 * _SECOND], kind)
    return [f"{full}.6", f"{full}.000001", f"{other}.4", f"{other}.6"]


def _computed_seconds(mentions: TimeMentions) -> list[Moment]:
    """The moments that the queries compute from those that they name, where that leads to another second."""
    spans = [span for span in mentions.spans if span[1] % 60]
    found = [later(moment, span, sign) for moment in mentions.named for span in spans for sign in (-1, 1)]
    return [moment for moment in found if moment is not None]


def days_on(steps: Iterable[int], kind: str) -> list[str]:
    """The days that are so many days behind a first one."""
    return written((_START + _DAY * step for step in steps), kind)


def _numbered(mentions: TimeMentions) -> Iterator[datetime.date]:
    """Days whose number in their month, or in their year, is one of a query's or next to it."""
    short = [number for number in mentions.numbers if number <= 31][:_MOST_NUMBERS]
    months = [number for number in short if number <= 12] or [3]
    for number, step, month in itertools.product(short, (0, 1, -1), months):
        if 1 <= number + step <= calendar.monthrange(_COMMON_YEAR, month)[1]:
            yield datetime.date(_COMMON_YEAR, month, number + step)
    far = [number for number in mentions.numbers if number > 31][:_MOST_NUMBERS]
    for number, step, year in itertools.product(far, (0, 1, -1), (_COMMON_YEAR, _LEAP_YEAR)):
        yield datetime.date(year, 1, 1) + _DAY * (number + step - 1)


def _at(day: datetime.date, seconds: int) -> Moment:
    return Moment.combine(day, datetime.time()) + datetime.timedelta(seconds=seconds)


def _years(mentions: TimeMentions) -> list[int]:
    own = [year + step for year in mentions.years for step in (0, 1)]
    return list(dict.fromkeys([*own, *_YEARS]))[: len(_YEARS)]


def _named(mentions: TimeMentions) -> Iterator[datetime.date]:
    """The days that the queries name, those that are as far from them as they say, and their neighbours."""
    for moment in (*mentions.named, *_far(mentions)):
        yield from (moment.date() + _DAY * step for step in (0, -1, 1))


def _far(mentions: TimeMentions) -> list[Moment]:
    found = [later(moment, span, sign) for moment in mentions.named for span in mentions.spans for sign in (-1, 1)]
    return [moment for moment in found if moment is not None]


def _turning(mentions: TimeMentions) -> Iterator[int]:
    """Seconds of the day on either side of those that are named, and of the buckets of a day that spans make."""
    for time in mentions.times:
        yield from ((time + step) % 86_400 for step in (-1, 0, 1, 1800, 3599))
    for months, seconds in mentions.spans:
        if not months and 1 < seconds <= 43_200:
            yield from (36_000 + step for step in (seconds - 1, seconds, seconds // 2, seconds // 2 - 1, 2 * seconds))


def later(moment: Moment, span: Span, sign: int = 1) -> Moment | None:
    """A moment some months and seconds after another one, or before it; in shorter months on their last day."""
    years, month = divmod(moment.month - 1 + sign * span[0], 12)
    try:
        last = calendar.monthrange(moment.year + years, month + 1)[1]
        moved = moment.replace(year=moment.year + years, month=month + 1, day=min(moment.day, last))
        return moved + datetime.timedelta(seconds=sign * span[1])
    except (ValueError, OverflowError):
        return None


def run(mentions: TimeMentions, kind: str) -> list[Moment]:
    """Moments of which each is as far behind the one before as the queries say, or somewhat more or less."""
    near = _DAY if kind == "date" else _SECOND
    exact = sorted({*mentions.spans, *_USUAL}, key=_length)
    gaps: list[tuple[Span, datetime.timedelta]] = []
    for place, span in enumerate(exact):
        gaps.append((span, 0 * near))
        if span in mentions.spans:
            between = int(_length(span) - _length(exact[place - 1])) // 2 if place else 0
            gaps += [(span, near), (span, -near), (span, datetime.timedelta(seconds=-between))]
    found = [_START]
    for span, step in gaps:
        behind = later(found[-1], span)
        if behind is not None and behind + step > found[-1]:
            found.append(behind + step)
    return found


def _length(span: Span) -> float:
    return span[0] * 30.44 * 86_400 + span[1]


def couples(mentions: TimeMentions) -> list[tuple[Moment, Moment]]:
    """Two moments each, as far apart as the queries say, or a second or a day more or less."""
    found: dict[tuple[Moment, Moment], None] = {}
    for span in (*mentions.spans, *_USUAL):
        months = bool(span[0]) and mentions.months
        # Where months end tells months apart; where a day does, seconds.
        for start in _STARTS if months else _STARTS[:2]:
            end, before = later(start, span), later(start, span, -1)
            steps = [0 * _DAY, -_SECOND, _DAY if span[0] else _SECOND] if start is _START else [0 * _DAY]
            if not span[0] and span in mentions.spans:
                # Of whole hours or days as many, of smaller units more; from a night, one midnight more as well.
                steps += [more for more in _MORE if more.total_seconds() < span[1]]
            # A second less than the span, but over as many beginnings of hours and minutes as it has.
            steps += [-_SECOND] if start is _NIGHT and not span[0] else []
            found.update({(start, end + step): None for step in steps} if end is not None else {})
            if before is not None and months:
                found[before, start] = None
    usual = [(start + _DAY * step, start) for start in _STARTS[:2] for step in (0, 1, 40)]
    return [*list(found)[: _MOST_COUPLES - len(usual)], *usual]


def crossings(mentions: TimeMentions, kind: str) -> list[tuple[Moment, Moment]]:
    """Two moments each, between which a unit begins more or less often than it passes.

    From the last second of an hour to the first of the next one an hour begins, and none has passed; in an hour less a
    second none need begin. Each couple lies behind the one before, so that its moments follow each other in a table.
    """
    step = _DAY if kind == "date" else _SECOND
    units = [unit for unit in mentions.units if unit[0] or unit[1] > step.total_seconds()]
    begun = [(unit, day) for unit in units[:_MOST_UNITS] for day in (_WEEKS_BEGIN if unit == _A_WEEK else (None,))]
    shapes = [(unit, day, number) for number in range(_WAYS) for unit, day in begun]
    found: list[tuple[Moment, Moment]] = []
    for (unit, day, number), year in zip(shapes, range(_FIRST_YEAR, _LAST_YEAR, 2), strict=False):
        couple = _crossing(_beginning(year, day), unit, number, step)
        found += [couple] if couple is not None and couple[0] < couple[1] else []
    return found


# How many shapes a couple has, see `_crossing`.
_WAYS = 9


def _crossing(start: Moment, unit: Span, number: int, step: datetime.timedelta) -> tuple[Moment, Moment] | None:
    """A couple at the beginning of a unit."""
    end = later(start, unit)
    second = later(end, unit) if end is not None else None
    middle = start + (_DAY * 14 if unit[0] else datetime.timedelta(seconds=unit[1] // 2))
    if end is None or second is None:
        return None
    # In the shortest month, and from the last day of a long one into it.
    short = later(start, (1, 0)), start + _DAY * 30
    ways: list[tuple[Moment | None, Moment | None]] = [
        (start - step, start),
        (start, end - step),
        (start - step, end - 2 * step),
        (start, second - step),
        (middle, later(middle, unit)),
        (start - step, end),
        (start, end),
        *((day, later(day, unit)) for day in short if day is not None and unit[0]),
    ]
    a, b = ways[number] if number < len(ways) else (None, None)
    return (a, b) if a is not None and b is not None else None


def _beginning(year: int, weekday: int | None) -> Moment:
    """New Year, with which all units begin but weeks, or the first such day of a week behind it."""
    first = Moment(year, 1, 1)
    return first if weekday is None else first + _DAY * ((weekday - first.weekday()) % 7)
