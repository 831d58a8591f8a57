"""JSON as a person means it: of a key that stands twice in one object, the second does not silently win."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_COLON = re.compile(r"\s*:")


class _RepeatedKey(ValueError):
    """An object has a key twice."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: The text is not JSON, or an object in it has a key twice; the message names the key and its place.
        RecursionError: It is nested too deeply.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except _RepeatedKey as error:
        before = text[: _start_of_repeated_key(text)]
        line = f"line {before.count(chr(10)) + 1}, " if "\n" in text.strip() else ""
        place = f"{line}character {len(before) - before.rfind(chr(10))}"
        raise ValueError(f"the key {error} is given twice in one object ({place}); keep one of the two") from None
    except ValueError as error:
        # Python's own message is about a setting of the interpreter.
        raise ValueError("it holds a whole number of thousands of digits, which cannot be read") from error


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKey(json.dumps(key, ensure_ascii=False))
            seen.add(key)
    return values


# Made once: files are read by the line, and to make one takes longer than to read a short line.
_DECODER = json.JSONDecoder(object_pairs_hook=_to_object)


def _start_of_repeated_key(text: str) -> int:
    """The offset of the first key that its object has already; the text is JSON up to there."""
    # The keys of each open object; of a list None.
    open_values: list[set[str] | None] = []
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "{[":
            open_values.append(set() if mark == "{" else None)
        elif mark in "}]":
            open_values.pop()
        elif _COLON.match(text, token.end()) and (keys := open_values[-1]) is not None:
            key = json.loads(mark)
            if key in keys:
                return token.start()
            keys.add(key)
    return 0
