"""Functions of the engines that SQLite lacks and that made databases need: in CHECKs, and where SQLite is asked.

They are as the engines have them, as far as made values reach. A query never sees them.
"""

from __future__ import annotations

import re
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


def _translate(text: Value, characters: Value, others: Value) -> Value:
    if text is None or not isinstance(characters, str) or not isinstance(others, str):
        return None
    # A character without a counterpart is taken out; of equal ones the first counts.
    table = {ord(old): others[at : at + 1] for at, old in reversed(list(enumerate(characters)))}
    return str(text).translate(table)


def _lpad(text: Value, length: Value, fill: Value) -> Value:
    return _padded(text, length, fill, in_front=True)


def _rpad(text: Value, length: Value, fill: Value) -> Value:
    return _padded(text, length, fill, in_front=False)


def _padded(text: Value, length: Value, fill: Value, *, in_front: bool) -> Value:
    """A text of a length; a longer one is cut, and one that nothing fills stays as it is."""
    if text is None or not isinstance(length, int) or not isinstance(fill, str) or length > _MAX_LENGTH:
        return None
    own = str(text)[: max(0, length)]
    missing = max(0, length - len(own)) if fill else 0
    filling = (fill * missing)[:missing]
    return filling + own if in_front else own + filling


def _reverse(text: Value) -> Value:
    return None if text is None else str(text)[::-1]


def _initcap(text: Value) -> Value:
    return None if text is None else _WORD.sub(lambda word: word.group().capitalize(), str(text))


# Of a text that is padded: queries are a model's, and may ask for gigabytes.
_MAX_LENGTH = 2000
_WORD = re.compile(r"[^\W_]+")

# By name, with the number of arguments.
SQLITE_FUNCTIONS: Mapping[str, tuple[Callable[..., Value], int]] = {
    MATCHES: (matches, ARGUMENTS),
    "initcap": (_initcap, 1),
    "lpad": (_lpad, 3),
    "reverse": (_reverse, 1),
    "rpad": (_rpad, 3),
    "split_part": (_split_part, 3),
    "substring_index": (_substring_index, 3),
    "translate": (_translate, 3),
}
