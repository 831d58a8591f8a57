"""What an engine's values are as values of a result: to compare the results of two queries, or to show one.

Two values that are compared are equal here where the engine's own ``=`` says so: TRUE is 1, a moment at midnight is its
date, a decimal is its number, an interval is its length. What is shown is as the engine shows it.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from typing import Any

from text2sql.sql.values import Value

# Digits that a float keeps of a decimal number.
_DIGITS = 15


def shown(value: Any) -> Value:
    """A Python value of a database driver for people: TRUE is true, and no digit of a decimal is lost."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, decimal.Decimal):
        return _every_digit(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, datetime.timedelta):
        return str(value)
    if isinstance(value, float):
        return value
    if isinstance(value, (list, tuple, dict, set)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return compared(value)


def _every_digit(value: decimal.Decimal) -> Value:
    if not value.is_finite():
        return str(value)
    _, digits, exponent = value.as_tuple()
    if isinstance(exponent, int) and exponent >= 0:
        return int(value)
    return float(value) if len(digits) <= _DIGITS else str(value)


def compared(value: Any) -> Value:
    """A Python value of a database driver as results are compared by."""
    if value is None or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, decimal.Decimal):
        return exact(value)
    if isinstance(value, datetime.datetime):
        return moment(value.replace(tzinfo=None).isoformat(" "))
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return seconds(value.total_seconds())
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (list, tuple, dict, set)):
        return json.dumps(_listed(value), sort_keys=True, default=str)
    return str(value)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _listed(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_listed(part) for part in value]
    found = compared(value)
    return found.hex() if isinstance(found, bytes) else found


def number(value: int | float) -> Value:
    """A number; what is none, under its name, since it is not equal to itself."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def exact(value: decimal.Decimal) -> Value:
    """A decimal as the number that it is: whole ones as int."""
    if not value.is_finite():
        return number(float(value))
    return int(value) if value == value.to_integral_value() else float(value)


def moment(text: str) -> str:
    """A date and time; at midnight the date alone."""
    return text[:10] if text.endswith(" 00:00:00") else text


def seconds(length: float) -> str:
    """An interval by its length."""
    shown = int(length) if float(length).is_integer() else round(length, 6)
    return f"{shown} seconds"
