"""Decodes PostgreSQL's text format into result values, because the driver's decoders fail on dates that Python lacks.

Decoders are chosen by type OID: https://www.postgresql.org/docs/current/catalog-pg-type.html.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable

from text2sql.engines.values.fetched import (
    comparable_decimal,
    comparable_number,
    comparable_timestamp,
    interval_text,
)
from text2sql.sql.values import Value

_INTERVAL = re.compile(r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?[\d.]+)S)?)?\Z")


def _boolean(text: str) -> Value:
    return int(text == "t")


def _float(text: str) -> Value:
    return comparable_number(float(text))


def _numeric(text: str) -> Value:
    return comparable_decimal(decimal.Decimal(text))


def _timestamp(text: str) -> Value:
    return comparable_timestamp(text.removesuffix("+00"))


def _interval(text: str) -> Value:
    """An interval by its length; as in PostgreSQL's comparisons, a month is 30 days."""
    match = _INTERVAL.match(text)
    if match is None:
        return text
    years, months, days, hours, minutes = (int(part or 0) for part in match.groups()[:5])
    whole_seconds = ((years * 12 + months) * 30 + days) * 86_400 + hours * 3600 + minutes * 60
    return interval_text(whole_seconds + float(match.group(6) or 0))


def _bytes(text: str) -> Value:
    return bytes.fromhex(text[2:]) if text.startswith("\\x") else text


def _char(text: str) -> Value:
    return text.rstrip(" ")


def _text(text: str) -> Value:
    return text


# By OID: bool, bytea, int8, int2, int4, oid, float4, float8, bpchar, timestamp, timestamptz, interval, numeric.
_DECODERS: dict[int, Callable[[str], Value]] = {
    16: _boolean,
    17: _bytes,
    20: int,
    21: int,
    23: int,
    26: int,
    700: _float,
    701: _float,
    1042: _char,
    1114: _timestamp,
    1184: _timestamp,
    1186: _interval,
    1700: _numeric,
}


def postgres_decoder(oid: int) -> Callable[[str], Value]:
    """The decoder for the values of a type, given the type's OID."""
    return _DECODERS.get(oid, _text)
