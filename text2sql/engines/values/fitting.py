"""Fits made values to the type of a column in an engine, and writes them as SQL literals.

Databases are made of SQLite's values: numbers, texts, dates as text. Columns of PostgreSQL, DuckDB and MySQL accept
fewer values, so each value is fitted to its column: cut to a length, rounded to a scale, clamped to a range, parsed as
a date. A value that cannot be fitted becomes NULL, or a default value in a column that refuses NULL.
"""

from __future__ import annotations

import datetime
import json
import re
import uuid
from typing import Any

from text2sql.engines.declared.types import NESTED, EngineType, TypeKind
from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import quote_string
from text2sql.sql.values import Value, as_number

_TEXT = EngineType("text", "TEXT")
_DAY = re.compile(r"\A(\d{4})-(\d{1,2})-(\d{1,2})")
_TIME_OF_DAY = re.compile(r"\d\d:\d\d:\d\d(?:\.\d{1,6})?\Z")
_DEFAULT_VALUES: dict[TypeKind, Value] = {
    "text": "alpha",
    "date": "2001-01-01",
    "datetime": "2001-01-01 10:00:00",
    "time": "10:00:00",
    "json": "{}",
    "uuid": str(uuid.UUID(int=1)),
    "array": "[]",
    "struct": "{}",
    "map": "{}",
    "bytes": "alpha",
    "year": 2001,
}


def fit_value(value: Value, to: EngineType) -> Value:
    """The value as the column stores it; None if it cannot."""
    if value is None:
        return None
    return _FIT_BY_KIND[to.kind](to, value.decode("utf-8", "replace") if isinstance(value, bytes) else value)


def default_value(to: EngineType) -> Value:
    """A value for a column that refuses NULL."""
    return to.labels[0] if to.labels else _DEFAULT_VALUES.get(to.kind, 1)


def _fit_integer(to: EngineType, value: Value) -> Value:
    number = as_number(value)
    if number is None:
        return None
    bits = to.size or 32
    low, high = (0, 2**bits - 1) if to.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return min(max(round(number), low), min(high, 2**63 - 1))


def _fit_real(_to: EngineType, value: Value) -> Value:
    number = as_number(value)
    return None if number is None else float(number)


def _fit_decimal(to: EngineType, value: Value) -> Value:
    number = as_number(value)
    if number is None or not to.size:
        return number
    largest = 10 ** (to.size - to.scale) - 1
    clamped = min(max(round(number, to.scale), -largest), largest)
    return int(clamped) if float(clamped).is_integer() and abs(clamped) < 2**53 else clamped


def _fit_text(to: EngineType, value: Value) -> Value:
    text = str(value).replace("\x00", "")
    if to.labels and to.is_set:
        return _set_members(to.labels, text)
    if to.labels:
        if text in to.labels:
            return text
        return to.labels[sum(map(ord, text)) % len(to.labels)]
    if to.size:
        text = text[: to.size]
    # The padding of a fixed-length text does not count.
    return text.rstrip(" ") if to.sql.startswith("CHAR") else text


def _set_members(labels: tuple[str, ...], text: str) -> str:
    """A subset of the labels of a SET in their order: those that the text lists, or else a subset by its checksum."""
    listed = [label for label in labels if label in text.split(",")]
    if not listed:
        bits = sum(map(ord, text)) % 2 ** min(len(labels), 10)
        listed = [label for index, label in enumerate(labels[:10]) if bits >> index & 1]
    return ",".join(listed)


def _fit_boolean(_to: EngineType, value: Value) -> Value:
    number = as_number(value)
    return None if number is None else int(number != 0)


def _iso_date(text: str) -> str | None:
    match = _DAY.match(text)
    if match is None:
        return None
    year, month, day = map(int, match.groups())
    try:
        return datetime.date(year, month, day).isoformat() if year >= 1000 else None
    except ValueError:
        return None


def _fit_date(_to: EngineType, value: Value) -> Value:
    return _iso_date(str(value))


def _fit_datetime(to: EngineType, value: Value) -> Value:
    text = str(value)
    day = _iso_date(text)
    if day is None:
        return None
    try:
        clock = _iso_time(datetime.datetime.fromisoformat(text).time(), to)
    except ValueError:
        clock = "00:00:00"
    return f"{day} {clock}"


def _iso_time(time: datetime.time, to: EngineType) -> str:
    """A time of day with as many fractional digits as the type stores."""
    truncated = time.replace(microsecond=time.microsecond // 10 ** (6 - to.scale) * 10 ** (6 - to.scale), tzinfo=None)
    return truncated.isoformat()


def _fit_time(to: EngineType, value: Value) -> Value:
    text = str(value)
    match = _TIME_OF_DAY.search(text)
    try:
        return _iso_time(datetime.time.fromisoformat(match[0] if match else text), to)
    except ValueError:
        return None


def _fit_json(_to: EngineType, value: Value) -> Value:
    text = str(value)
    try:
        json.loads(text)
        return text
    except (ValueError, RecursionError):
        return json.dumps(value)


def _fit_uuid(_to: EngineType, value: Value) -> Value:
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        # Equal texts get equal UUIDs.
        return str(uuid.uuid5(uuid.NAMESPACE_OID, value if isinstance(value, str) else repr(value)))


def _fit_array(to: EngineType, value: Value) -> Value:
    """A list itself; for another value, a list without it or with it alone, twice, beside others or beside NULL."""
    parts = _read_json(value)
    if not isinstance(parts, list):
        other = value + 1 if isinstance(value, (int, float)) else str(value) + "x"
        forms: tuple[list[Value], ...] = ([value], [value, other], [other, value], [], [value, None], [value, value])
        parts = forms[sum(map(ord, str(value))) % len(forms)]
    element = to.element or _TEXT
    fitted = [_as_json(fit_value(_as_scalar(part), element), element) for part in parts]
    return json.dumps(fitted, ensure_ascii=False, separators=(",", ":"))


def _fit_struct(to: EngineType, value: Value) -> Value:
    """The fields of a document as a struct; for another value, a struct with the value in its first field."""
    parts = _read_json(value)
    members = parts if isinstance(parts, dict) else {to.fields[0][0]: value} if to.fields else {}
    fitted = {name: fit_value(_as_scalar(members.get(name)), kind) for name, kind in to.fields}
    return json.dumps(
        {name: _as_json(part, dict(to.fields)[name]) for name, part in fitted.items()}, ensure_ascii=False
    )


def _fit_map(to: EngineType, value: Value) -> Value:
    """The members of a document as a map; for another value, a map with the value under one key."""
    parts = _read_json(value)
    members = parts if isinstance(parts, dict) else {"a": value}
    key, element = to.key or _TEXT, to.element or _TEXT
    fitted = {fit_value(name, key): fit_value(_as_scalar(part), element) for name, part in members.items()}
    non_null = {str(name): _as_json(part, element) for name, part in fitted.items() if name is not None}
    return json.dumps(non_null, ensure_ascii=False)


def _read_json(value: Value) -> Any:
    try:
        return json.loads(str(value))
    except (ValueError, RecursionError):
        return value


def _as_scalar(part: Any) -> Value:
    return part if part is None or isinstance(part, (int, float, str)) else json.dumps(part, ensure_ascii=False)


def _as_json(part: Value, to: EngineType) -> Any:
    """A fitted value as a part of a JSON document."""
    return json.loads(str(part)) if to.kind in NESTED and part is not None else part


def _fit_year(_to: EngineType, value: Value) -> Value:
    number = as_number(value)
    return None if number is None else min(max(round(number), 1901), 2155)


_FIT_BY_KIND = {
    "integer": _fit_integer,
    "real": _fit_real,
    "decimal": _fit_decimal,
    "text": _fit_text,
    "boolean": _fit_boolean,
    "date": _fit_date,
    "datetime": _fit_datetime,
    "time": _fit_time,
    "json": _fit_json,
    "uuid": _fit_uuid,
    "array": _fit_array,
    "interval": _fit_integer,
    "bytes": _fit_text,
    "year": _fit_year,
    "struct": _fit_struct,
    "map": _fit_map,
}


def sql_literal(value: Value, to: EngineType, dialect: Dialect) -> str:
    """A fitted value as a literal of the engine's INSERT."""
    if value is None:
        return "NULL"
    if to.kind == "boolean":
        return "TRUE" if value else "FALSE"
    if to.kind == "interval":
        return repr(value) if dialect == "mysql" else f"'{value!r} days'"
    if to.kind in ("array", "struct", "map"):
        return f"{_nested_literal(json.loads(str(value)), to, dialect)}::{to.sql}"
    if isinstance(value, (int, float)):
        return value if isinstance(value, str) else repr(value)
    text = str(value).replace("'", "''")
    return "'" + (text.replace("\\", "\\\\") if dialect == "mysql" else text) + "'"


def _nested_literal(parts: Any, to: EngineType, dialect: Dialect) -> str:
    def literal_of(part: Any, kind: EngineType) -> str:
        return sql_literal(_as_scalar(part), kind, dialect)

    element = to.element or _TEXT
    if to.kind == "array":
        listed = ", ".join(literal_of(part, element) for part in parts)
        return f"ARRAY[{listed}]" if dialect == "postgres" else f"[{listed}]"
    if to.kind == "map":
        key = to.key or _TEXT
        members = (f"{literal_of(name, key)}: {literal_of(part, element)}" for name, part in parts.items())
        return f"MAP {{{', '.join(members)}}}"
    if dialect == "postgres":
        return f"ROW({', '.join(literal_of(parts.get(name), kind) for name, kind in to.fields)})"
    return f"{{{', '.join(f'{quote_string(name)}: {literal_of(parts.get(name), kind)}' for name, kind in to.fields)}}}"
