"""Texts for conditions over parts of a text: patterns that are columns, classes of GLOB, SUBSTR and INSTR."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import like_expansions, neighbours
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

# Characters in front of a part of a text.
_MAX_POSITION = 24
# Characters of a GLOB whose classes are followed.
_MAX_GLOB_LENGTH = 4 * _MAX_POSITION
# Texts near a literal, of either kind.
_MAX_NEAR_TEXTS = 8
# Texts that a GLOB with classes matches.
_MAX_CLASS_TEXTS = 240
# Of these, texts that become candidates of a condition.
_MAX_CANDIDATES = 24
# Characters of one class of a GLOB that are tried.
_MAX_CLASS_CHARACTERS = 30


def pattern_texts(node: exp.Expr) -> Iterator[Value]:
    """Texts for a column next to a LIKE or GLOB.

    Where the column is the pattern, as in ``'Lima' LIKE city``, patterns that match the literal, and patterns that
    nearly do; where a GLOB has classes, texts that it matches.
    """
    pattern = literal_value(node.expression)
    if isinstance(node, exp.Glob) and isinstance(pattern, str):
        yield from class_texts(pattern)[:_MAX_CANDIDATES]
        yield from _beside_classes(pattern)
    text = literal_value(node.this)
    if not isinstance(text, str) or not text or pattern is not None:
        return
    many, one = ("*", "?") if isinstance(node, exp.Glob) else ("%", "_")
    yield from (text, text[:1] + many, one + text[1:], many, text + one, text.swapcase(), many + text[1:], text + "x")


def class_texts(pattern: str) -> list[Value]:
    """Texts that a GLOB with classes such as ``[0-9]`` matches; none for a GLOB without classes."""
    if "[" not in pattern or len(pattern) > _MAX_GLOB_LENGTH:
        return []
    choices = [_matches(piece) for piece in _pieces(pattern)]
    texts: list[Value] = []
    total = math.prod(map(len, choices))
    for number in range(min(total, _MAX_CLASS_TEXTS)):
        # Spread over all combinations, where there are too many.
        letters, remainder = [], number * total // min(total, _MAX_CLASS_TEXTS)
        for matches in reversed(choices):
            remainder, index = divmod(remainder, len(matches))
            letters.append(matches[index])
        texts.append("".join(reversed(letters)))
    return list(dict.fromkeys(texts))


def _pieces(pattern: str) -> list[str]:
    """The classes of a GLOB, and its other characters one by one."""
    return re.findall(r"\[\^?\]?[^\]]*\]|.", pattern, re.DOTALL)


def _beside_classes(pattern: str) -> Iterator[str]:
    """Texts that a GLOB just fails to match: at one class stands the character before or behind those that it names."""
    pieces = _pieces(pattern) if "[" in pattern and len(pattern) <= _MAX_GLOB_LENGTH else []
    letters = [_matches(piece)[0] for piece in pieces]
    for index, piece in enumerate(pieces):
        ranges = _class_ranges(piece) if len(piece) > 2 else []
        for code in dict.fromkeys(code for first, last in ranges for code in (ord(first) - 1, ord(last) + 1)):
            if 32 <= code < 0xD800:
                yield "".join([*letters[:index], chr(code), *letters[index + 1 :]])


def _class_ranges(piece: str) -> list[tuple[str, str]]:
    """The first and the last character of each part of a class."""
    inner = piece[1:-1].removeprefix("^")
    return [(part[0], part[-1]) for part in re.findall(r".-.|.", inner, re.DOTALL)]


def _matches(piece: str) -> list[str]:
    """Some of the texts that a piece of a GLOB matches, the ends of a class first."""
    if piece in ("*", "?"):
        return ["", "x", "1"] if piece == "*" else ["x", "1"]
    if len(piece) < 3:
        return [piece]
    ranges = _class_ranges(piece)
    members = [
        chr(code)
        for first, last in ranges
        for code in range(ord(first), min(ord(last), ord(first) + _MAX_CLASS_CHARACTERS) + 1)
    ]
    members = list(dict.fromkeys([*(letter for ends in ranges for letter in ends), *members]))
    if piece[1] == "^":
        return [letter for letter in "aA1 -~" if letter not in members] or ["\u00e9"]
    return members or [piece]


def after_prefix(node: exp.Expr) -> Iterator[Value]:
    """Texts near a literal, put where a condition's SUBSTR begins to read."""
    starts = [literal_value(part.args.get("start")) for part in node.find_all(exp.Substring) if part.args.get("start")]
    prefixes = ["x" * (start - 1) for start in starts if isinstance(start, int) and 1 < start <= _MAX_POSITION]
    for literal in map(literal_value, node.find_all(exp.Literal)) if prefixes else ():
        if isinstance(literal, str):
            texts = (*neighbours(literal, "text")[:_MAX_NEAR_TEXTS], *like_expansions(literal)[:_MAX_NEAR_TEXTS])
            yield from (prefix + str(text) for prefix in prefixes for text in texts)


def around_positions(node: exp.Expr) -> Iterator[Value]:
    """Texts with what a condition's INSTR looks for at the position that it compares with, before it, and behind it."""
    positions = [literal_value(literal) for literal in node.find_all(exp.Literal)]
    for part in node.find_all(exp.StrPosition):
        text = literal_value(part.args.get("substr") or exp.Null())
        if not isinstance(text, str) or not text:
            continue
        yield from (text, "x" + text, text + "x", text + "x" + text)
        for position in positions:
            if isinstance(position, int) and 1 < position <= _MAX_POSITION:
                before = "x" * (position - 1)
                yield from (before + text, before + "x" + text, before[1:] + text, text + before[len(text) :] + text)


def around_separators(node: exp.Expr) -> Iterator[Value]:
    """Texts near a literal, on either side of a separator up to which a condition's SUBSTR reads."""
    searches = [part for substring in node.find_all(exp.Substring) for part in substring.find_all(exp.StrPosition)]
    separators = {literal_value(part.args.get("substr") or exp.Null()) for part in searches}
    inside = {id(literal) for part in searches for literal in part.find_all(exp.Literal)}
    for separator in sorted(separator for separator in separators if isinstance(separator, str) and separator):
        for literal in (item for item in node.find_all(exp.Literal) if item.is_string and id(item) not in inside):
            literal_text = str(literal.this)
            for text in (*map(str, like_expansions(literal_text)[:2]), literal_text.swapcase()):
                yield from (
                    f"x{separator}{text}",
                    f"{text}{separator}x",
                    f"x{separator}x{separator}{text}",
                    f"x{separator}{text}{separator}x",
                )
                yield from (f"{separator}{text}", f"{text}{separator}", f"x{separator}{text}x")


def without_fixed_texts(node: exp.Expr) -> list[Value]:
    """What a column holds so that its concatenation with fixed texts is a text of the condition."""
    concatenations = [part for part in node.find_all(exp.DPipe, exp.Concat) if not isinstance(part.parent, exp.DPipe)]
    inside = {id(literal): literal for part in concatenations for literal in part.find_all(exp.Literal)}
    fixed = ["", *dict.fromkeys(str(literal.this) for literal in inside.values())]
    texts = [str(item.this) for item in node.find_all(exp.Literal) if item.is_string and id(item) not in inside]
    return [
        text[len(before) : len(text) - len(after)]
        for text in texts
        for before in fixed
        for after in fixed
        if (before or after) and len(before) + len(after) <= len(text)
        if text.startswith(before) and text.endswith(after)
    ]
