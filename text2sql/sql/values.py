"""The values that SQLite keeps in a row, and how its affinities read them."""

from __future__ import annotations

import math
import re

Value = None | int | float | str | bytes
Row = tuple[Value, ...]

_NUMBER = re.compile(r"\A\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*\Z")


def as_number(value: Value) -> int | float | None:
    """The number that a column of numeric affinity makes of a value, if it is one."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and len(value) < 300 and _NUMBER.match(value):
        number = float(value)
        if math.isinf(number):
            return None
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return None
