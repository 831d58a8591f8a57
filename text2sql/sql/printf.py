"""SQLite's printf without widths and precisions that cost much for nothing.

SQLite's own fills a width of a thousand million in one step that nothing can interrupt, and ``%.1000000000c`` takes
most of a minute to find that the text would be too long.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

from text2sql.sql.values import Value

# Characters that are asked for in one place: as many as a text in a made database may have.
LONGEST = 20_000
# Bytes of the whole text: as many as one in a user's file may have.
_MOST_BYTES = 10_000_000
# https://sqlite.org/printf.html: flags, width, precision, length and what is written.
_SPECIFIED = re.compile(r"%[-+ 0#,!]*(\*|\d*)(?:\.(\*|\d*))?l{0,2}(.)", re.DOTALL)
_WHOLE = re.compile(r"\s*[-+]?\d+")
# What takes no argument.
_ALONE = "%n"


class TooLong(ValueError):
    """What is asked of printf is longer than any text may be."""


def careful_printf(*arguments: Value) -> Value:
    """What SQLite's printf gives.

    Raises:
        TooLong: A width or a precision, in the format or among the arguments, is beyond `LONGEST`, or the text is too
            long.
    """
    if arguments and isinstance(arguments[0], (str, bytes)) and any(n > LONGEST for n in _lengths(arguments)):
        raise TooLong(f"a width or a precision is beyond {LONGEST}")
    with closing(sqlite3.connect(":memory:")) as helper:
        helper.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
        found: Value = helper.execute(f"SELECT printf({','.join('?' * len(arguments))})", arguments).fetchone()[0]
    # SQLite has NULL for what has become too long.
    if found is None and arguments and arguments[0] is not None:
        raise TooLong(f"the text is longer than {_MOST_BYTES} bytes")
    return found


def _lengths(arguments: Sequence[Value]) -> Iterator[int]:
    """The widths and precisions of a format, those that a ``*`` takes from the other arguments among them."""
    form, given = arguments[0], iter(arguments[1:])
    text = form.decode("utf-8", "replace") if isinstance(form, bytes) else str(form)
    for width, precision, kind in _SPECIFIED.findall(text):
        for length in (width, precision):
            if length == "*":
                yield _whole(next(given, None))
            elif length:
                yield int(length) if len(length) < 10 else 10**9
        if kind not in _ALONE:
            next(given, None)


def _whole(value: Value) -> int:
    """The size of the whole number that SQLite reads in an argument."""
    if isinstance(value, (int, float)):
        return abs(int(max(-1e18, min(value, 1e18))))
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
    found = _WHOLE.match(text[:40])
    return abs(int(found[0])) if found else 0
