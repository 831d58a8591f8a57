"""Functions of the engines that SQLite lacks, for CHECKs and for evaluating conditions on made values in SQLite.

They agree with the engines' functions on made values. The compared queries themselves never call them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from text2sql.engines.values.pattern_checks import ARGUMENT_COUNT, FUNCTION, matches
from text2sql.sql.values import Value


def _split_part(text: Value, delimiter: Value, position: Value) -> Value:
    if text is None or not isinstance(delimiter, str) or not isinstance(position, int):
        return None
    parts = str(text).split(delimiter) if delimiter else [str(text)]
    index = position - 1 if position > 0 else position + len(parts)
    return parts[index] if position and 0 <= index < len(parts) else ""


def _substring_index(text: Value, delimiter: Value, count: Value) -> Value:
    if text is None or not isinstance(delimiter, str) or not isinstance(count, int):
        return None
    parts = str(text).split(delimiter) if delimiter and count else []
    return delimiter.join(parts[:count] if count > 0 else parts[count:])


# The implementation and the number of arguments, by function name.
SQLITE_FUNCTIONS: Mapping[str, tuple[Callable[..., Value], int]] = {
    FUNCTION: (matches, ARGUMENT_COUNT),
    "split_part": (_split_part, 3),
    "substring_index": (_substring_index, 3),
}
