"""How SQLite stores and compares values: which values satisfy a comparison, and the nearest one that does."""

from __future__ import annotations

import re
from functools import lru_cache

from text2sql.equivalence.databases.values.dates import days_later, valid_date
from text2sql.sql.values import Value, as_number

_DATE = re.compile(r"\A(\d{4})-(\d{1,2})-(\d{1,2})(.*)\Z", re.DOTALL)
# Characters of a LIKE pattern that are compared.
_MAX_PATTERN = 200

# The comparison that holds where another one does not.
NEGATED = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
# The same comparison with its sides exchanged.
FLIPPED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def stored_as(value: Value, affinity: str) -> Value:
    """What a column of this affinity stores when given the value (https://sqlite.org/datatype3.html, section 3)."""
    if affinity == "TEXT":
        return as_text(value)
    if affinity in ("INTEGER", "REAL", "NUMERIC"):
        number = as_number(value)
        if number is None:
            return value
        return float(number) if affinity == "REAL" else number
    return value


def as_text(value: Value) -> Value:
    """What a column of text stores when given a number, and the value itself otherwise."""
    if isinstance(value, float):
        # As many digits as SQLite writes.
        text = f"{value:.15g}"
        return text + ".0" if text.lstrip("-").isdigit() else text
    return str(value) if isinstance(value, int) else value


def holds(value: Value, op: str, literal: Value | tuple[Value, ...], affinity: str) -> bool:
    """Whether ``column op literal`` holds for a column of this affinity: an estimate, used only to choose values."""
    if isinstance(literal, tuple):
        return any(holds(value, "=", item, affinity) for item in literal) == (op == "in")
    if op in ("like", "not like"):
        matched = _like(str(literal)).match(str(value)) is not None if value is not None else False
        return value is not None and matched == (op == "like")
    if value is None or literal is None:
        return False
    left, right = stored_as(value, affinity), stored_as(literal, affinity)
    left_key, right_key = _sort_key(left), _sort_key(right)
    return {
        "=": left_key == right_key,
        "<>": left_key != right_key,
        "<": left_key < right_key,
        "<=": left_key <= right_key,
        ">": left_key > right_key,
        ">=": left_key >= right_key,
    }[op]


def _sort_key(value: Value) -> tuple[int, float, str]:
    """SQLite's order between types: numbers before text."""
    if isinstance(value, (int, float)):
        return 0, float(value), ""
    return 1, 0.0, value if isinstance(value, str) else repr(value)


@lru_cache(maxsize=512)
def _like(pattern: str) -> re.Pattern[str]:
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern[:_MAX_PATTERN]]
    return re.compile(r"\A" + re.sub(r"(\.\*)+", ".*", "".join(parts)) + r"\Z", re.IGNORECASE | re.DOTALL)


def nearest_satisfying(value: Value, op: str) -> Value:
    """The nearest ``x`` for which ``x op value`` holds; None where that is not known."""
    if op in ("=", "<=", ">="):
        return value
    step = -1 if op == "<" else 1
    if isinstance(value, (int, float)):
        return value + step
    day = _DATE.match(value) if isinstance(value, str) else None
    if day is not None:
        nearest = valid_date(int(day.group(1)), int(day.group(2)), int(day.group(3)))
        nearest = days_later(nearest, step) if nearest is not None else None
        return nearest.isoformat() + day.group(4) if nearest is not None else None
    if isinstance(value, str):
        return value[:-1] if op == "<" else value + "z"
    return None
