"""What the engines' libraries give for a value, as one of the kinds that results hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from text2sql.sql.values import Value

# Digits that a float keeps of a decimal number.
_DIGITS = 15


def plain(value: Any) -> Value:
    """A value of an engine as it is shown and compared: a number, a text, bytes or None.

    A decimal becomes a number where that loses no digit; whatever else has no kind of its own becomes its text.
    """
    if value is None or type(value) in (int, float, str, bytes):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _number(value: Decimal) -> Value:
    if not value.is_finite():
        return str(value)
    _, digits, exponent = value.as_tuple()
    if isinstance(exponent, int) and exponent >= 0:
        return int(value)
    return float(value) if len(digits) <= _DIGITS else str(value)
