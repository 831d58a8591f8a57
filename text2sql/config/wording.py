"""What is wrong with a value, in words for people: pydantic's own are for programmers."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import ErrorDetails

SENTENCES = {
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite_number": "must be a number, not infinite",
    "string": "must be a text",
    "list": "must be a list",
    "dict": "must hold keys and values",
    "model": "must hold keys and values",
    "missing": "must be given",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "too_short": "must have at least {min_length}",
    "string_pattern_mismatch": "must be {pattern}",
}
# What the patterns of fields ask for; `tests/config/test_config.py` looks for one that is not here.
PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "letters, digits, dots, dashes and underscores, and begin with a letter or digit",
    r"^[\w.-]+/[\w.-]+$": "owner/name",
    r"^[\w.]+:\w+$": "module:function",
    r"^(ray|[\w.]+:\w+)$": "ray or module:function",
}
# How other languages write null.
NOTHING = ("none", "nil", "nan", "undefined")


def check_choice(value: str, choices: Iterable[str]) -> str:
    """A value that must be one of some names, for the validator of a field whose names are the keys of a table.

    Raises:
        ValueError: It is none of them; in the words of pydantic's own error for a `Literal`.
    """
    names = [*choices]
    if value in names:
        return value
    *others, last = (f"'{name}'" for name in names)
    raise ValueError(f"must be {', '.join(others)} or {last}")


def sentence(problem: ErrorDetails) -> str:
    """One problem of a `pydantic.ValidationError`, without its key and its value.

    Args:
        problem: An entry of its `errors()`.
    """
    kind = str(problem["type"])
    # The kinds of one type begin alike: int_parsing, int_type, int_from_float.
    own = SENTENCES.get(kind) or SENTENCES.get(kind.partition("_")[0])
    if own is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    values = dict(problem.get("ctx", {}))
    values["pattern"] = PATTERNS.get(values.get("pattern", ""), "another text")
    text = own.format(**values)
    given = problem.get("input")
    return f"{text}, or null for none" if isinstance(given, str) and given.casefold() in NOTHING else text
