"""Many different values of a column in ascending order: the rows of a long partition need them."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Callable, Iterator, Sequence

from text2sql.sql.values import Value

# Values that are tried behind the first: CHECKs may allow few of them.
_MAX_TRIED = 2000
# Days from one date to the next where a part of it must differ, too: the year, the month, the day of the week.
_SPREAD_DAYS = 400
_LAST_DIGITS = re.compile(r"\A(.*?)(\d+)(\D*)\Z", re.DOTALL)

Allowed = Callable[[Sequence[Value]], list[Value]]


def progression(bases: Sequence[Value], length: int, allowed: Allowed, *, spread: bool) -> list[Value]:
    """The longest progression, up to a length, that begins with one of some values, or ends with it.

    Args:
        bases: Where progressions may begin or end.
        length: How many values are wanted.
        allowed: Returns those of some values that the column may hold.
        spread: Whether dates are more than a year apart.
    """
    best: list[Value] = []
    for base, sign in itertools.product(bases, (1, -1)):
        candidates = _following(base, sign, spread=spread)
        # Mostly the first ones fit.
        values = allowed(list(itertools.islice(candidates, 2 * length)))
        if len(values) < length:
            values += allowed(list(itertools.islice(candidates, _MAX_TRIED)))
        if len(values) > len(best):
            best = values[:length] if sign > 0 else values[:length][::-1]
        if len(best) == length:
            break
    return best


def _following(base: Value, sign: int, *, spread: bool) -> Iterator[Value]:
    """A value and those that follow it, or precede it where the sign is negative."""
    if isinstance(base, (int, float)):
        yield from (base + sign * step for step in range(10_000))
    elif isinstance(base, str):
        moment = _moment(base)
        if moment is not None:
            yield from _spaced_dates(base, moment, sign * (_SPREAD_DAYS if spread else 1))
        else:
            yield from _counted_texts(base, sign)


def _moment(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text) if len(text) >= 10 and text[4] == "-" else None
    except ValueError:
        return None


def _spaced_dates(text: str, moment: datetime.datetime, step: int) -> Iterator[Value]:
    for number in range(4000):
        try:
            yield (moment + datetime.timedelta(days=number * step)).strftime("%Y-%m-%d") + text[10:]
        except (OverflowError, ValueError):
            return


def _counted_texts(text: str, sign: int) -> Iterator[Value]:
    """Texts that count on: by their last digits where there are any, else by digits behind them."""
    match = _LAST_DIGITS.match(text)
    head, digits, suffix = match.groups() if match and len(match.group(2)) < 15 else (text, "000", "")
    first = int(digits)
    for number in itertools.count(first, sign):
        if number < 0 or number > first + 10_000:
            return
        yield f"{head}{number:0{len(digits)}d}{suffix}"
