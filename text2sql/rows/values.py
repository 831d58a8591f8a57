"""A cell as text: what files give in place of one is told apart by type, never spelt out by `str`."""

from __future__ import annotations

import math
import re

# Half of a character: JSON can spell it, no encoding can.
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def json_kind(value: object) -> str:
    """What JSON calls a value, with its article, for example ``"a list"``."""
    kind = "a number" if isinstance(value, int | float) else f"a value of the type {type(value).__name__}"
    return _KINDS.get(type(value), kind)


def read_value(name: str, value: object, *, number: bool = False, listed: bool = False) -> str:
    """A value as the text that a column must hold. Nothing, and NaN, by which pandas marks nothing, are the empty text.

    Args:
        name: The column's, for the message.
        value: What stands there.
        number: Whether it may be a number: of names, such as an id.
        listed: Whether it may be a list of SQL statements, which are joined.

    Raises:
        ValueError: It is anything else, or holds half of a character.
    """
    # What nearly all values are.
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
    if has_half_characters(value):
        raise ValueError(f"{name} holds half of a character (a lone surrogate)")
    return value


def has_half_characters(text: str) -> bool:
    """Whether a text holds a lone surrogate, which no tokenizer, database or file takes."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each lone surrogate."""
    return _SURROGATE.sub("\ufffd", text) if has_half_characters(text) else text
