"""Dates that may not exist: None stands for the 30th of February and for what lies beyond the calendar."""

from __future__ import annotations

import datetime


def valid_date(year: int, month: int, day: int) -> datetime.date | None:
    """The date; None if there is none."""
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def days_later(day: datetime.date, count: int) -> datetime.date | None:
    """The date some days after another, or before it; None beyond the calendar."""
    try:
        return day + datetime.timedelta(count)
    except OverflowError:
        return None


def months_later(day: datetime.date, count: int) -> datetime.date | None:
    """The date some months after another, on the 28th at most; None beyond the calendar."""
    years, month = divmod(day.month - 1 + count, 12)
    return valid_date(day.year + years, month + 1, min(day.day, 28))


def years_later(day: datetime.date, count: int) -> datetime.date | None:
    """The same day some years later; None where that year has no such day."""
    return valid_date(day.year + count, day.month, day.day)


def parse_date(text: str) -> datetime.date | None:
    """The date with which a text begins; None if it begins with none."""
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None
