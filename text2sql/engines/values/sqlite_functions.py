"""Functions of the engines that SQLite lacks, for CHECKs and for evaluating conditions on made values in SQLite.

They agree with the engines' functions on made values. The compared queries themselves never call them.
"""

from __future__ import annotations

import re
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

# The implementation and the number of arguments, by function name.
SQLITE_FUNCTIONS: Mapping[str, tuple[Callable[..., Value], int]] = {
    FUNCTION: (matches, ARGUMENT_COUNT),
    "initcap": (_initcap, 1),
    "lpad": (_lpad, 3),
    "reverse": (_reverse, 1),
    "rpad": (_rpad, 3),
    "split_part": (_split_part, 3),
    "substring_index": (_substring_index, 3),
    "translate": (_translate, 3),
}
