"""Many different values of a column, each following the one before: the rows of a long partition need them."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Callable, Iterator, Sequence

from text2sql.sql.values import Value

# Values tried from one on: CHECKs may leave out most of what follows it.
_MOST_RUNGS = 2000
# Days from one date to the next where a part of it must differ, too: the year, the month, the day of the week.
_SPREAD = 400
_LAST_DIGITS = re.compile(r"\A(.*?)(\d+)(\D*)\Z", re.DOTALL)

Fitting = Callable[[Sequence[Value]], list[Value]]


def progression(bases: Sequence[Value], length: int, fitting: Fitting, *, spread: bool) -> list[Value]:
    """The longest run of values, up to a length, that follow one of some values, or lead to it.

    Args:
        bases: Where runs may begin.
        length: How many values are wanted.
        fitting: Which of some values the column may hold.
        spread: Whether dates are more than a year apart.
    """
    best: list[Value] = []
    for base, sign in itertools.product(bases, (1, -1)):
        rungs = _rungs(base, sign, spread=spread)
        # Mostly the first ones fit.
        found = fitting(list(itertools.islice(rungs, 2 * length)))
        if len(found) < length:
            found += fitting(list(itertools.islice(rungs, _MOST_RUNGS)))
        if len(found) > len(best):
            best = found[:length] if sign > 0 else found[:length][::-1]
        if len(best) == length:
            break
    return best


def _rungs(base: Value, sign: int, *, spread: bool) -> Iterator[Value]:
    """Values that follow one (precede it, where the sign is negative), itself first."""
    if isinstance(base, (int, float)):
        yield from (base + sign * step for step in range(10_000))
    elif isinstance(base, str):
        moment = _moment(base)
        if moment is not None:
            yield from _days(base, moment, sign * (_SPREAD if spread else 1))
        else:
            yield from _texts(base, sign)


def _moment(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text) if len(text) >= 10 and text[4] == "-" else None
    except ValueError:
        return None


def _days(text: str, moment: datetime.datetime, step: int) -> Iterator[Value]:
    for number in range(4000):
        try:
            yield (moment + datetime.timedelta(days=number * step)).strftime("%Y-%m-%d") + text[10:]
        except (OverflowError, ValueError):
            return


def _texts(text: str, sign: int) -> Iterator[Value]:
    """Texts that count: on by their last digits where there are any, else by digits behind them."""
    match = _LAST_DIGITS.match(text)
    head, digits, rest = match.groups() if match and len(match.group(2)) < 15 else (text, "000", "")
    first = int(digits)
    for number in itertools.count(first, sign):
        if number < 0 or number > first + 10_000:
            return
        yield f"{head}{number:0{len(digits)}d}{rest}"
