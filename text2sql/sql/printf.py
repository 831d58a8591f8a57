"""SQLite's printf with limits on widths and precisions.

SQLite's own printf fills a width of a billion in one step that cannot be interrupted, and ``%.1000000000c`` takes most
of a minute to find that the text would be too long.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

from text2sql.sql.values import Value

# The largest width or precision: as many characters as a text in a made database may have.
MAX_CHARACTERS = 20_000
# Bytes of the whole text: as many as a text in a user's file may have.
_MAX_BYTES = 10_000_000
# https://sqlite.org/printf.html: flags, width, precision, length and conversion.
_SPECIFIER = re.compile(r"%[-+ 0#,!]*(\*|\d*)(?:\.(\*|\d*))?l{0,2}(.)", re.DOTALL)
_INTEGER = re.compile(r"\s*[-+]?\d+")
# Conversions without an argument.
_WITHOUT_ARGUMENT = "%n"


class TooLong(ValueError):
    """The text of a printf would be too long."""


def limited_printf(*arguments: Value) -> Value:
    """The result of SQLite's printf.

    Raises:
        TooLong: A width or a precision, in the format or among the arguments, is beyond `MAX_CHARACTERS`, or the text
            is too long.
    """
    if (
        arguments
        and isinstance(arguments[0], (str, bytes))
        and any(length > MAX_CHARACTERS for length in _lengths(arguments))
    ):
        raise TooLong(f"a width or a precision is beyond {MAX_CHARACTERS}")
    with closing(sqlite3.connect(":memory:")) as helper:
        helper.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_BYTES)
        text: Value = helper.execute(f"SELECT printf({','.join('?' * len(arguments))})", arguments).fetchone()[0]
    # SQLite returns NULL for a text that is too long.
    if text is None and arguments and arguments[0] is not None:
        raise TooLong(f"the text is longer than {_MAX_BYTES} bytes")
    return text


def _lengths(arguments: Sequence[Value]) -> Iterator[int]:
    """The widths and precisions of a format, including those that a ``*`` takes from the other arguments."""
    form, remaining = arguments[0], iter(arguments[1:])
    text = form.decode("utf-8", "replace") if isinstance(form, bytes) else str(form)
    for width, precision, kind in _SPECIFIER.findall(text):
        for length in (width, precision):
            if length == "*":
                yield _magnitude(next(remaining, None))
            elif length:
                yield int(length) if len(length) < 10 else 10**9
        if kind not in _WITHOUT_ARGUMENT:
            next(remaining, None)


def _magnitude(value: Value) -> int:
    """The absolute value of the integer that SQLite reads from an argument."""
    if isinstance(value, (int, float)):
        return abs(int(max(-1e18, min(value, 1e18))))
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
    match = _INTEGER.match(text[:40])
    return abs(int(match[0])) if match else 0
