"""The types of SQLite's values and rows, and the conversion to numbers."""

from __future__ import annotations

import math
import re

Value = None | int | float | str | bytes
Row = tuple[Value, ...]

_NUMBER = re.compile(r"\A\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*\Z")


def as_number(value: Value) -> int | float | None:
    """The number that numeric affinity converts a value to; None if the value is not numeric."""
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) < 300 and _NUMBER.match(value):
        value = float(value)
        if math.isinf(value):
            return None
    if not isinstance(value, float):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
