"""Texts for conditions over parts of a text: patterns that are columns, classes of GLOB, SUBSTR and INSTR."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import like_expansions, neighbours
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

# Characters in front of a part of a text, and texts near a literal.
_LONGEST, _MOST = 24, 8
# Texts of a GLOB that are made, and of those such as become candidates of a condition.
_MOST_OF_CLASSES, _MOST_TEXTS = 240, 24


def pattern_texts(node: exp.Expr) -> Iterator[Value]:
    """Texts for a column next to a LIKE or GLOB.

    Where the column is the pattern, as in ``'Lima' LIKE city``, patterns that match the literal, and such as nearly
    do; where a GLOB has classes, what it matches.
    """
    pattern = literal_value(node.expression)
    if isinstance(node, exp.Glob) and isinstance(pattern, str):
        yield from class_texts(pattern)[:_MOST_TEXTS]
        yield from _beside_classes(pattern)
    text = literal_value(node.this)
    if not isinstance(text, str) or not text or pattern is not None:
        return
    many, one = ("*", "?") if isinstance(node, exp.Glob) else ("%", "_")
    yield from (text, text[:1] + many, one + text[1:], many, text + one, text.swapcase(), many + text[1:], text + "x")


def class_texts(pattern: str) -> list[Value]:
    """Texts that a GLOB with classes such as ``[0-9]`` matches; none of one without."""
    if "[" not in pattern or len(pattern) > _LONGEST * 4:
        return []
    choices = [_members(piece) for piece in _pieces(pattern)]
    found: list[Value] = []
    total = math.prod(map(len, choices))
    for number in range(min(total, _MOST_OF_CLASSES)):
        # From first to last: where there are too many, some of each beginning.
        letters, rest = [], number * total // min(total, _MOST_OF_CLASSES)
        for members in reversed(choices):
            rest, place = divmod(rest, len(members))
            letters.append(members[place])
        found.append("".join(reversed(letters)))
    return list(dict.fromkeys(found))


def _pieces(pattern: str) -> list[str]:
    return re.findall(r"\[\^?\]?[^\]]*\]|.", pattern, re.DOTALL)


def _beside_classes(pattern: str) -> Iterator[str]:
    """Texts in which one class of a GLOB has the character before or behind those that it names."""
    pieces = _pieces(pattern) if "[" in pattern and len(pattern) <= _LONGEST * 4 else []
    letters = [_members(piece)[0] for piece in pieces]
    for place, piece in enumerate(pieces):
        ends = _ranges(piece) if len(piece) > 2 else []
        for code in dict.fromkeys(code for first, last in ends for code in (ord(first) - 1, ord(last) + 1)):
            if 32 <= code < 0xD800:
                yield "".join([*letters[:place], chr(code), *letters[place + 1 :]])


def _ranges(piece: str) -> list[tuple[str, str]]:
    """The first and the last character of each part of a class."""
    inner = piece[1:-1].removeprefix("^")
    return [(found[0], found[-1]) for found in re.findall(r".-.|.", inner, re.DOTALL)]


def _members(piece: str) -> list[str]:
    """What a piece of a GLOB matches: some of it, the ends of a class first."""
    if piece in ("*", "?"):
        return ["", "x", "1"] if piece == "*" else ["x", "1"]
    if len(piece) < 3:
        return [piece]
    ranges = _ranges(piece)
    members = [chr(code) for first, last in ranges for code in range(ord(first), min(ord(last), ord(first) + 30) + 1)]
    members = list(dict.fromkeys([*(letter for ends in ranges for letter in ends), *members]))
    if piece[1] == "^":
        return [letter for letter in "aA1 -~" if letter not in members] or ["\u00e9"]
    return members or [piece]


def behind_prefix(node: exp.Expr) -> Iterator[Value]:
    """Texts that have those near a literal where a condition's SUBSTR begins to read."""
    starts = [literal_value(part.args.get("start")) for part in node.find_all(exp.Substring) if part.args.get("start")]
    prefixes = ["x" * (start - 1) for start in starts if isinstance(start, int) and 1 < start <= _LONGEST]
    for literal in map(literal_value, node.find_all(exp.Literal)) if prefixes else ():
        if isinstance(literal, str):
            texts = (*neighbours(literal, "text")[:_MOST], *like_expansions(literal)[:_MOST])
            yield from (prefix + str(text) for prefix in prefixes for text in texts)


def at_positions(node: exp.Expr) -> Iterator[Value]:
    """Texts that have what a condition's INSTR looks for at the place that it compares with, before it, and behind."""
    places = [literal_value(literal) for literal in node.find_all(exp.Literal)]
    for part in node.find_all(exp.StrPosition):
        text = literal_value(part.args.get("substr") or exp.Null())
        if not isinstance(text, str) or not text:
            continue
        yield from (text, "x" + text, text + "x", text + "x" + text)
        for place in places:
            if isinstance(place, int) and 1 < place <= _LONGEST:
                before = "x" * (place - 1)
                yield from (before + text, before + "x" + text, before[1:] + text, text + before[len(text) :] + text)


def beside_marks(node: exp.Expr) -> Iterator[Value]:
    """Texts that have those near a literal on either side of a mark to which a condition's SUBSTR reads."""
    found = [part for cut in node.find_all(exp.Substring) for part in cut.find_all(exp.StrPosition)]
    marks = {literal_value(part.args.get("substr") or exp.Null()) for part in found}
    inside = {id(literal) for part in found for literal in part.find_all(exp.Literal)}
    for mark in sorted(mark for mark in marks if isinstance(mark, str) and mark):
        for literal in (item for item in node.find_all(exp.Literal) if item.is_string and id(item) not in inside):
            written = str(literal.this)
            for text in (*map(str, like_expansions(written)[:2]), written.swapcase()):
                yield from (f"x{mark}{text}", f"{text}{mark}x", f"x{mark}x{mark}{text}", f"x{mark}{text}{mark}x")
                yield from (f"{mark}{text}", f"{text}{mark}", f"x{mark}{text}x")


def beside_fixed(node: exp.Expr) -> list[Value]:
    """What a column holds so that, put together with fixed texts, it is a text of the condition."""
    joined = [part for part in node.find_all(exp.DPipe, exp.Concat) if not isinstance(part.parent, exp.DPipe)]
    inside = {id(literal): literal for part in joined for literal in part.find_all(exp.Literal)}
    fixed = ["", *dict.fromkeys(str(literal.this) for literal in inside.values())]
    wholes = [str(item.this) for item in node.find_all(exp.Literal) if item.is_string and id(item) not in inside]
    return [
        whole[len(before) : len(whole) - len(after)]
        for whole in wholes
        for before in fixed
        for after in fixed
        if (before or after) and len(before) + len(after) <= len(whole)
        if whole.startswith(before) and whole.endswith(after)
    ]
