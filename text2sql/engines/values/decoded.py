"""The text that PostgreSQL sends for a value, as a value of a result.

By the object identifiers of its types (https://www.postgresql.org/docs/current/catalog-pg-type.html): the driver's own
readers know no date outside of Python's calendar.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable

from text2sql.engines.values.fetched import exact, moment, number, seconds
from text2sql.sql.values import Value

_INTERVAL = re.compile(r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?[\d.]+)S)?)?\Z")


def _truth(text: str) -> Value:
    return int(text == "t")


def _float(text: str) -> Value:
    return number(float(text))


def _numeric(text: str) -> Value:
    return exact(decimal.Decimal(text))


def _timestamp(text: str) -> Value:
    return moment(text.removesuffix("+00"))


def _interval(text: str) -> Value:
    """By its length, as PostgreSQL compares intervals: a month is 30 days."""
    found = _INTERVAL.match(text)
    if found is None:
        return text
    years, months, days, hours, minutes = (int(part or 0) for part in found.groups()[:5])
    whole = ((years * 12 + months) * 30 + days) * 86_400 + hours * 3600 + minutes * 60
    return seconds(whole + float(found.group(6) or 0))


def _bytes(text: str) -> Value:
    return bytes.fromhex(text[2:]) if text.startswith("\\x") else text


def _padded(text: str) -> Value:
    return text.rstrip(" ")


def _text(text: str) -> Value:
    return text


_DECODERS: dict[int, Callable[[str], Value]] = {
    16: _truth,
    17: _bytes,
    20: int,
    21: int,
    23: int,
    26: int,
    700: _float,
    701: _float,
    1042: _padded,
    1114: _timestamp,
    1184: _timestamp,
    1186: _interval,
    1700: _numeric,
}


def decoder(oid: int) -> Callable[[str], Value]:
    """What reads the text of a value, by the identifier of its type."""
    return _DECODERS.get(oid, _text)
