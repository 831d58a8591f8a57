"""Values to put into columns: those near a literal, and ordinary ones for each type."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from text2sql.equivalence.databases.values.comparisons import as_text
from text2sql.equivalence.databases.values.dates import days_later, valid_date
from text2sql.sql.values import Value, as_number

_DATE = re.compile(r"\A(\d{4})-(\d{1,2})-(\d{1,2})(.*)\Z", re.DOTALL)
_MOMENT = re.compile(r"\A(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2}(?:\.\d+)?)\Z")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_CLOCK_KINDS = ("date", "datetime", "time")
_WITH_THOUSANDS_SEPARATORS = re.compile(r"\A-?\d{1,3}(,\d{3})+(\.\d+)?\Z")

_ORDINARY_WORDS = ("alpha", "Beta", "gamma", "delta", "Omega", "kappa", "sigma", "theta", "zeta", "iota")
_ORDINARY_NUMERALS = ("1", "2", "3", "9", "10", "12", "20", "100", "4", "5")
_ORDINARY_DATES = ("2001-01-01", "2001-01-02", "2002-03-04", "2010-12-31", "2018-07-09", "2019-07-09", "1999-12-31")


@lru_cache(maxsize=4096, typed=True)
def neighbours(literal: Value, kind: str) -> tuple[Value, ...]:
    """A literal and its nearest neighbours: the values on which two slightly different conditions disagree.

    Args:
        literal: The literal of a query.
        kind: The kind of the column that it is compared with, see `text2sql.sql.schema.Column.kind`.
    """
    number = as_number(literal)
    if kind in _CLOCK_KINDS:
        return tuple(dict.fromkeys([literal, *dates_near(literal, kind)]))
    if number is not None and (isinstance(literal, (int, float)) or kind in ("integer", "real")):
        return _numeric_neighbours(number, kind, literal)
    if isinstance(literal, str):
        return tuple(dict.fromkeys(_text_neighbours(literal)))
    return (literal,)


def _numeric_neighbours(number: int | float, kind: str, literal: Value) -> tuple[Value, ...]:
    whole = int(number)
    values: list[Value] = [number, whole + 1, whole - 1, whole + 7, whole - 5, whole * 2 + 3, whole // 2]
    if kind == "real" or not float(number).is_integer():
        values += [number + 0.5, number - 0.25]
    if kind not in ("integer", "real", "boolean"):
        # A column of text is compared by characters: strings that sort on either side.
        digits = str(as_text(literal)).strip()
        values = [digits, str(whole + 1), str(whole - 1), digits + "0", digits[:-1] or "0", "9", "1", str(whole + 13)]
        values += [digits + " x", "alpha"]
    return tuple(dict.fromkeys(values))


def _text_neighbours(text: str) -> Iterable[Value]:
    yield text
    date = _DATE.match(text)
    if date:
        yield from _date_neighbours(date)
    if _WITH_THOUSANDS_SEPARATORS.match(text):
        number = as_number(text.replace(",", ""))
        assert number is not None
        for other in (number + 1, number - 1, number + 1000, number * 2):
            yield f"{other:,}"
        yield number
    elif as_number(text) is not None:
        number = as_number(text) or 0
        yield from (str(number + 1), str(number - 1), text + "0", text + ".0", number)
    yield text.lower()
    yield text.upper()
    yield text.swapcase()
    yield text.title()
    yield text + "x"
    yield "x" + text
    yield f"x{text}x"
    yield text[:-1]
    yield text + " x"
    yield "~" + text


def dates_near(literal: Value, kind: str) -> list[str]:
    """Dates, moments or times as a column of this kind holds them, on either side of what a literal may stand for.

    Args:
        literal: A date, a moment or a part of one: a year, a year and month, a month and day, a month, a day, an hour.
        kind: date, datetime or time.
    """
    text = str(literal).strip().strip("%").rstrip("-")
    if kind == "time":
        return _times_around(text)
    days = _dates_for(text)
    if kind == "date":
        return [day.isoformat() for day in days]
    clock = _MOMENT.match(text)
    times = [clock.group(2)] if clock else []
    times = list(dict.fromkeys([*times, "00:00:00", "10:00:00", "23:59:59", *_times_around(text if not days else "")]))
    return [f"{day.isoformat()} {time}" for day in days or [datetime.date(2001, 1, 2)] for time in times[:8]][:40]


def _dates_for(text: str) -> list[datetime.date]:
    """Dates near a date, or with a year, month or day that a text or number may stand for."""
    date, number = _DATE.match(text), as_number(text)
    parts: list[tuple[int, int, int]] = []
    if date:
        known = valid_date(int(date.group(1)), int(date.group(2)), int(date.group(3)))
        if known is None:
            return []
        shifts = (0, 1, -1, 40, -400, 500)
        return [other for shift in shifts if (other := days_later(known, shift)) is not None]
    if re.fullmatch(r"\d{4}-\d{1,2}", text):
        year, month = int(text[:4]), int(text[5:])
        after = (year + month // 12, month % 12 + 1)
        parts = [(year, month, 1), (year, month, 28), (*after, 1), (year - 1, month, 15), (year, month % 12 + 1, 15)]
    elif re.fullmatch(r"\d{2}-\d{2}", text):
        month, day = int(text[:2]), int(text[3:])
        parts = [(2001, month, day), (2010, month, day), (2010, month, day % 28 + 1), (2001, month % 12 + 1, day)]
    elif number is not None and float(number).is_integer():
        whole = int(number)
        if 1000 <= whole <= 2999:
            parts += [(whole, 1, 1), (whole, 12, 31), (whole + 1, 1, 1), (whole - 1, 6, 15), (whole, 6, 15)]
        if 1 <= whole <= 12:
            parts += [(2001, whole, 5), (2010, whole % 12 + 1, 17), (2010, whole, 17)]
        if 1 <= whole <= 31:
            parts += [(2001, 3, whole), (1999, 1, whole % 28 + 1), (2004, 1, whole)]
        if 0 <= whole <= 6:
            parts += [(2023, 1, 1 + whole), (2023, 1, 2 + whole)]
    return [known for part in parts if (known := valid_date(*part)) is not None]


def _times_around(text: str) -> list[str]:
    """Times around an hour, or around a time of the day."""
    clock, number = _CLOCK.search(text), as_number(text)
    if clock:
        seconds = int(clock.group(1)) * 3600 + int(clock.group(2)) * 60 + int(clock.group(3) or 0)
    elif number is not None and 0 <= number < 60:
        seconds = int(number) * 3600 if number < 24 else int(number) * 60
    else:
        return []
    moved = [(seconds + shift) % 86_400 for shift in (0, 1, -1, 3600, -3600, 1800)]
    return [f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}" for second in moved]


def _date_neighbours(match: re.Match[str]) -> Iterable[str]:
    """Dates near one that a text begins with, each with the rest of the text."""
    rest = match.group(4)
    try:
        day = datetime.date(int(match.group(1)), int(match.group(2)), int(match.group(3)))
        for other in (
            day + datetime.timedelta(1),
            day - datetime.timedelta(1),
            day + datetime.timedelta(40),
            day - datetime.timedelta(400),
            day + datetime.timedelta(500),
        ):
            yield other.isoformat() + rest
    except (ValueError, OverflowError):
        return


@lru_cache(maxsize=1024)
def like_expansions(pattern: str, escape: str = "") -> tuple[Value, ...]:
    """Strings that match a LIKE pattern in several ways, and strings that nearly do.

    Args:
        pattern: The pattern.
        escape: The character that makes the wildcard behind it an ordinary character; empty if there is none.
    """
    if escape and escape in pattern:
        # Characters that no pattern holds stand in for the escaped ones meanwhile.
        hidden = pattern.replace(escape + "%", "\x01").replace(escape + "_", "\x02").replace(escape, "")
        expanded = [str(value) for value in like_expansions(hidden)]
        plain = [value.replace("\x01", "%").replace("\x02", "_") for value in expanded]
        return tuple(dict.fromkeys([*plain, *(value.replace("\x01", "q").replace("\x02", "q") for value in expanded)]))
    core = pattern.replace("%", "").replace("_", "a")
    bare = pattern.replace("_", "q")
    texts = [
        bare.replace("%", ""),
        bare.replace("%", "x"),
        bare.replace("%", "ab c"),
        bare.replace("%", "x").swapcase(),
        core,
        core.lower(),
        core.upper(),
        core + "x",
        "x" + core,
        f"x{core}x",
        core[:-1] + "z",
        core[1:],
    ]
    parts = [part for part in bare.split("%") if part]
    if len(parts) > 1:
        texts += ["".join(reversed(parts)), " ".join(reversed(parts)), *parts]
    return tuple(dict.fromkeys(texts))


def argument_values(literal: Value, kind: str) -> tuple[Value, ...]:
    """Values for a column inside a function whose result is compared with the literal: dates of a year, lengths."""
    values: list[Value] = list(neighbours(literal, kind))
    if kind in _CLOCK_KINDS:
        return tuple(values)
    number = as_number(literal)
    text = str(literal)
    if number is not None and float(number).is_integer():
        whole = int(number)
        if 1000 <= whole <= 2999:
            values += [f"{whole}-01-01", f"{whole}-12-31", f"{whole + 1}-01-01", f"{whole - 1}-06-15"]
        if 1 <= whole <= 12:
            values += [f"2001-{whole:02d}-05", f"2010-{whole % 12 + 1:02d}-17"]
        if 1 <= whole <= 31:
            values += [f"2001-03-{whole:02d}", f"1999-01-{whole % 28 + 1:02d}"]
        if 0 <= whole <= 60:
            values += ["x" * whole, "y" * (whole + 1), "z" * max(0, whole - 1)]
        values += [-whole, whole * 100, whole * 10]
        if 1 <= whole <= 15:
            values += [10 ** (whole - 1), 10**whole]
    elif re.match(r"\A\d{4}-\d{2}\Z", text):
        values += [text + "-01", text + "-28", text + "-15 10:00:00"]
    elif _DATE.match(text):
        values += [text + " 10:00:00", text[:10]]
    return tuple(dict.fromkeys(values))


def ordinary_values(kind: str, style: int, size: int) -> Sequence[Value]:
    """Ordinary values for a column, near no literal.

    Args:
        kind: See `text2sql.sql.schema.Column.kind`.
        style: Text columns hold words (even) or numerals (odd): data sets declare numbers as text.
        size: How many different values: few make ties and duplicates, many make neither.
    """
    if kind == "integer":
        return range(1, size + 1)
    if kind == "real":
        return [1 + step * 0.75 for step in range(size)]
    if kind == "boolean":
        return (0, 1)
    if kind == "date":
        return _extended(_ORDINARY_DATES, size)
    if kind == "datetime":
        return [f"{date} 10:00:0{index % 10}" for index, date in enumerate(_extended(_ORDINARY_DATES, size))]
    if kind == "time":
        return [f"{8 + index % 12:02d}:{index * 7 % 60:02d}:00" for index in range(size)]
    return _extended(_ORDINARY_NUMERALS if style % 2 else _ORDINARY_WORDS, size)


@lru_cache(maxsize=256)
def _extended(items: tuple[str, ...], size: int) -> tuple[str, ...]:
    """``size`` different strings made from the items."""
    if items is _ORDINARY_DATES:
        start = datetime.date(2003, 1, 30)
        return (items + tuple((start + datetime.timedelta(33 * k)).isoformat() for k in range(size)))[:size]
    if items is _ORDINARY_NUMERALS:
        return (items + tuple(str(21 + 3 * k) for k in range(size)))[:size]
    return (items + tuple(f"{items[k % len(items)]}{k}" for k in range(size)))[:size]
