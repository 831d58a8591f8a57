"""Functions of the engines that SQLite lacks and that made databases need: in CHECKs, and where SQLite is asked.

They are as the engines have them, as far as made values reach. A query never sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from text2sql.engines.values.pattern_checks import ARGUMENTS, MATCHES, matches
from text2sql.sql.values import Value


def _split_part(text: Value, mark: Value, place: Value) -> Value:
    if text is None or not isinstance(mark, str) or not isinstance(place, int):
        return None
    parts = str(text).split(mark) if mark else [str(text)]
    at = place - 1 if place > 0 else place + len(parts)
    return parts[at] if place and 0 <= at < len(parts) else ""


def _substring_index(text: Value, mark: Value, count: Value) -> Value:
    if text is None or not isinstance(mark, str) or not isinstance(count, int):
        return None
    parts = str(text).split(mark) if mark and count else []
    return mark.join(parts[:count] if count > 0 else parts[count:])


# By name, with the number of arguments.
SQLITE_FUNCTIONS: Mapping[str, tuple[Callable[..., Value], int]] = {
    MATCHES: (matches, ARGUMENTS),
    "split_part": (_split_part, 3),
    "substring_index": (_substring_index, 3),
}
