"""Made values as values of a column in an engine.

Databases are made of SQLite's values: numbers, texts, dates as text. A column of PostgreSQL, DuckDB or MySQL takes less
than that, so each value is fitted to its column: cut to a length, rounded to a scale, kept within a range, read as a
date. What cannot be read so becomes NULL, or an ordinary value where the column takes none.
"""

from __future__ import annotations

import datetime
import json
import re
import uuid
from typing import Any

from text2sql.engines.declared.types import NESTED, EngineType, Kind
from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import quote_string
from text2sql.sql.values import Value, as_number

_TEXT = EngineType("text", "TEXT")
_DAY = re.compile(r"\A(\d{4})-(\d{1,2})-(\d{1,2})")
_TIME_OF_DAY = re.compile(r"\d\d:\d\d:\d\d(?:\.\d{1,6})?\Z")
_ORDINARY: dict[Kind, Value] = {
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


def fit(value: Value, to: EngineType) -> Value:
    """The value as the column keeps it; None for what it cannot be."""
    if value is None:
        return None
    return _FITTING[to.kind](to, value.decode("utf-8", "replace") if isinstance(value, bytes) else value)


def ordinary(to: EngineType) -> Value:
    """A value for a column that takes no NULL."""
    return to.labels[0] if to.labels else _ORDINARY.get(to.kind, 1)


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
    most = 10 ** (to.size - to.scale) - 1
    kept = min(max(round(number, to.scale), -most), most)
    return int(kept) if float(kept).is_integer() and abs(kept) < 2**53 else kept


def _fit_text(to: EngineType, value: Value) -> Value:
    text = str(value).replace("\x00", "")
    if to.labels and to.several:
        return _members(to.labels, text)
    if to.labels:
        if text in to.labels:
            return text
        return to.labels[sum(map(ord, text)) % len(to.labels)]
    if to.size:
        text = text[: to.size]
    # A text of fixed length is filled up with spaces, which do not count.
    return text.rstrip(" ") if to.sql.startswith("CHAR") else text


def _members(labels: tuple[str, ...], text: str) -> str:
    """Some of the labels of a SET, in their order: those that a text lists, or such as it chooses."""
    listed = [label for label in labels if label in text.split(",")]
    if not listed:
        chosen = sum(map(ord, text)) % 2 ** min(len(labels), 10)
        listed = [label for place, label in enumerate(labels[:10]) if chosen >> place & 1]
    return ",".join(listed)


def _fit_boolean(_to: EngineType, value: Value) -> Value:
    number = as_number(value)
    return None if number is None else int(number != 0)


def _day(text: str) -> str | None:
    found = _DAY.match(text)
    if found is None:
        return None
    year, month, day = map(int, found.groups())
    try:
        return datetime.date(year, month, day).isoformat() if year >= 1000 else None
    except ValueError:
        return None


def _fit_date(_to: EngineType, value: Value) -> Value:
    return _day(str(value))


def _fit_datetime(to: EngineType, value: Value) -> Value:
    text = str(value)
    day = _day(text)
    if day is None:
        return None
    try:
        clock = _clock(datetime.datetime.fromisoformat(text).time(), to)
    except ValueError:
        clock = "00:00:00"
    return f"{day} {clock}"


def _clock(time: datetime.time, to: EngineType) -> str:
    """A time of the day with as many digits of its second as a type keeps."""
    kept = time.replace(microsecond=time.microsecond // 10 ** (6 - to.scale) * 10 ** (6 - to.scale), tzinfo=None)
    return kept.isoformat()


def _fit_time(to: EngineType, value: Value) -> Value:
    text = str(value)
    found = _TIME_OF_DAY.search(text)
    try:
        return _clock(datetime.time.fromisoformat(found[0] if found else text), to)
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
        # Equal texts stay equal.
        return str(uuid.uuid5(uuid.NAMESPACE_OID, value if isinstance(value, str) else repr(value)))


def _fit_array(to: EngineType, value: Value) -> Value:
    """A list as it stands; of another value one that it is in, alone, twice, beside others or beside NULL, or none."""
    parts = _parts(value)
    if not isinstance(parts, list):
        other = value + 1 if isinstance(value, (int, float)) else str(value) + "x"
        forms: tuple[list[Value], ...] = ([value], [value, other], [other, value], [], [value, None], [value, value])
        parts = forms[sum(map(ord, str(value))) % len(forms)]
    element = to.element or _TEXT
    fitted = [_inside(fit(_plain(part), element), element) for part in parts]
    return json.dumps(fitted, ensure_ascii=False, separators=(",", ":"))


def _fit_struct(to: EngineType, value: Value) -> Value:
    """A struct with the fields that a document has of it; of another value one that has it in its first field."""
    parts = _parts(value)
    given = parts if isinstance(parts, dict) else {to.fields[0][0]: value} if to.fields else {}
    found = {name: fit(_plain(given.get(name)), kind) for name, kind in to.fields}
    return json.dumps({name: _inside(part, dict(to.fields)[name]) for name, part in found.items()}, ensure_ascii=False)


def _fit_map(to: EngineType, value: Value) -> Value:
    """A map of the members of a document; of another value one that has it under one key."""
    parts = _parts(value)
    given = parts if isinstance(parts, dict) else {"a": value}
    key, element = to.key or _TEXT, to.element or _TEXT
    fitted = {fit(name, key): fit(_plain(part), element) for name, part in given.items()}
    kept = {str(name): _inside(part, element) for name, part in fitted.items() if name is not None}
    return json.dumps(kept, ensure_ascii=False)


def _parts(value: Value) -> Any:
    try:
        return json.loads(str(value))
    except (ValueError, RecursionError):
        return value


def _plain(part: Any) -> Value:
    return part if part is None or isinstance(part, (int, float, str)) else json.dumps(part, ensure_ascii=False)


def _inside(part: Value, to: EngineType) -> Any:
    """A fitted part as it stands in a document."""
    return json.loads(str(part)) if to.kind in NESTED and part is not None else part


def _fit_year(_to: EngineType, value: Value) -> Value:
    number = as_number(value)
    return None if number is None else min(max(round(number), 1901), 2155)


_FITTING = {
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


def literal(value: Value, to: EngineType, dialect: Dialect) -> str:
    """A fitted value as the engine's INSERT takes it."""
    if value is None:
        return "NULL"
    if to.kind == "boolean":
        return "TRUE" if value else "FALSE"
    if to.kind == "interval":
        return repr(value) if dialect == "mysql" else f"'{value!r} days'"
    if to.kind in ("array", "struct", "map"):
        return f"{_literal_of_parts(json.loads(str(value)), to, dialect)}::{to.sql}"
    if isinstance(value, (int, float)):
        return value if isinstance(value, str) else repr(value)
    text = str(value).replace("'", "''")
    return "'" + (text.replace("\\", "\\\\") if dialect == "mysql" else text) + "'"


def _literal_of_parts(parts: Any, to: EngineType, dialect: Dialect) -> str:
    def one(part: Any, kind: EngineType) -> str:
        return literal(_plain(part), kind, dialect)

    element = to.element or _TEXT
    if to.kind == "array":
        listed = ", ".join(one(part, element) for part in parts)
        return f"ARRAY[{listed}]" if dialect == "postgres" else f"[{listed}]"
    if to.kind == "map":
        key = to.key or _TEXT
        return f"MAP {{{', '.join(f'{one(name, key)}: {one(part, element)}' for name, part in parts.items())}}}"
    if dialect == "postgres":
        return f"ROW({', '.join(one(parts.get(name), kind) for name, kind in to.fields)})"
    return f"{{{', '.join(f'{quote_string(name)}: {one(parts.get(name), kind)}' for name, kind in to.fields)}}}"
