"""Reads cells as text: values of other types are rejected or converted by type, never by `str`."""

from __future__ import annotations

import math
import re

# Lone surrogates: JSON can represent them, encodings cannot.
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def json_kind(value: object) -> str:
    """JSON's name for the type of a value, with its article, for example ``"a list"``."""
    kind = "a number" if isinstance(value, int | float) else f"a value of the type {type(value).__name__}"
    return _KINDS.get(type(value), kind)


def read_value(name: str, value: object, *, number: bool = False, listed: bool = False) -> str:
    """A value as text. None, and NaN, which pandas uses for missing values, are the empty text.

    Args:
        name: The name of the column, for the message.
        value: The value of the cell.
        number: Whether it may be a number, for names such as an id.
        listed: Whether it may be a list of SQL statements, which are joined.

    Raises:
        ValueError: The value is of another type, or contains a lone surrogate.
    """
    # Nearly all values are such.
    if type(value) is str and value.isascii():
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if number and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if listed and isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = ";\n".join(filter(None, (part.strip().rstrip("; \n") for part in value)))
    if not isinstance(value, str):
        raise ValueError(f"{name} is {json_kind(value)}, not a text")
    if has_lone_surrogates(value):
        raise ValueError(f"{name} holds half of a character (a lone surrogate)")
    return value


def has_lone_surrogates(text: str) -> bool:
    """Whether a text contains a lone surrogate, which no tokenizer, database or file accepts."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def replace_lone_surrogates(text: str) -> str:
    """The text with U+FFFD for each lone surrogate."""
    return _SURROGATE.sub("\ufffd", text) if has_lone_surrogates(text) else text
