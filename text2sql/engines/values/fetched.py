"""Converts the Python values of database drivers: for comparing the results of two queries, or for display.

Comparable values are equal where the engine's own ``=`` says so: TRUE is 1, a timestamp at midnight is its date, a
decimal is its number, an interval is its length. Display values look as the engine displays them.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from typing import Any

from text2sql.sql.values import Value

# Decimal digits that a float represents exactly.
_FLOAT_DIGITS = 15
# Python writes no integer of more than 4,300 digits; https://docs.python.org/3/library/stdtypes.html#int-max-str-digits.
_MAX_INTEGER_DIGITS = 4000


def display_value(value: Any) -> Value:
    """A driver's value for display: TRUE is `true`, and no digit of a decimal is lost.

    Everything but numbers and bytes is a text already, which the engine wrote.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, decimal.Decimal):
        return _display_decimal(value)
    return value if isinstance(value, float) else comparable_value(value)


def _display_decimal(value: decimal.Decimal) -> Value:
    if not value.is_finite():
        return str(value)
    _, digits, exponent = value.as_tuple()
    if isinstance(exponent, int) and len(digits) + exponent > _MAX_INTEGER_DIGITS:
        return format(value, "f")
    if isinstance(exponent, int) and exponent >= 0:
        return int(value)
    return float(value) if len(digits) <= _FLOAT_DIGITS else str(value)


def comparable_value(value: Any) -> Value:
    """A driver's value for comparison."""
    if value is None or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return comparable_number(value)
    if isinstance(value, decimal.Decimal):
        return comparable_decimal(value)
    if isinstance(value, datetime.datetime):
        return comparable_timestamp(value.replace(tzinfo=None).isoformat(" "))
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return interval_text(value.total_seconds())
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (list, tuple, dict, set)):
        return json.dumps(_comparable_parts(value), sort_keys=True, default=str)
    return str(value)


def _comparable_parts(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _comparable_parts(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_comparable_parts(part) for part in value]
    comparable = comparable_value(value)
    return comparable.hex() if isinstance(comparable, bytes) else comparable


def comparable_number(value: int | float) -> Value:
    """A number; NaN becomes the text "NaN", because NaN is not equal to itself."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def comparable_decimal(value: decimal.Decimal) -> Value:
    """A decimal as an int if it is whole, else as a float."""
    if not value.is_finite():
        return comparable_number(float(value))
    return int(value) if value == value.to_integral_value() else float(value)


def comparable_timestamp(text: str) -> str:
    """A timestamp's text; at midnight only its date."""
    return text[:10] if text.endswith(" 00:00:00") else text


def interval_text(seconds: float) -> str:
    """An interval of a length as PostgreSQL and DuckDB write it: ``5 days 03:00:00``, ``-01:30:00``."""
    sign = "-" if seconds < 0 else ""
    days, rest = divmod(round(abs(seconds) * 1_000_000), 86_400_000_000)
    parts = [f"{sign}{days} day{'' if days == 1 else 's'}"] if days else []
    return " ".join([*parts, _clock_text(sign, rest)] if rest or not days else parts)


def _clock_text(sign: str, microseconds: int) -> str:
    whole, fraction = divmod(microseconds, 1_000_000)
    minutes, seconds = divmod(whole, 60)
    text = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text
