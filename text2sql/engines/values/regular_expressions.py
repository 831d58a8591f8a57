"""Texts that a regular expression matches, and texts that it misses by one of its parts.

The expression is parsed into parts. A base text has each part once; every other text differs from it in a single part:
another end of a character class, the character next to it, one repetition more or fewer, another alternative, something
in front or behind. Two expressions that differ in a part therefore disagree on some of these texts. Syntax that the
engines do not share is parsed approximately, which is safe because all texts are tried in the engine.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

# Boundary texts of one expression.
_MAX_TEXTS = 56
# Characters of one text.
_MAX_CHARACTERS = 60
# Groups within groups.
_MAX_DEPTH = 6
# Repetitions that are written out.
_MAX_REPETITIONS = 30
# Texts that are drawn from those that an expression matches.
_DRAWN_TEXTS = 60
# Repetitions beyond the minimum of an unbounded quantifier.
_UNBOUNDED_EXTRA = 4
# Members of a character class that are tried.
_INSIDE_CHARACTERS = 4
# Characters outside of a character class that are tried.
_OUTSIDE_CHARACTERS = 4
_DIGITS = (("0", "9"),)
_LETTERS = (("a", "z"), ("A", "Z"), ("0", "9"), ("_", "_"))
_SPACES = ((" ", " "), ("\t", "\t"))
_CLASS_ESCAPES = {"d": _DIGITS, "w": _LETTERS, "s": _SPACES}
POSIX = {
    **{"alpha": (("a", "z"), ("A", "Z")), "digit": _DIGITS, "alnum": (("a", "z"), ("A", "Z"), ("0", "9"))},
    **{"upper": (("A", "Z"),), "lower": (("a", "z"),), "space": _SPACES, "blank": _SPACES},
    **{"punct": (("!", "/"), (":", "@")), "xdigit": (("0", "9"), ("a", "f"), ("A", "F")), "word": _LETTERS},
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r"}
_COUNT = re.compile(r"\{(\d{1,3})(,?)(\d{0,3})\}")
# Escapes that match no character: bounds of words and of the text.
_ANCHORS = "bBmMyYAzZ<>"
_ANY_CHARACTER = "yY1 -"
_OTHER_CHARACTERS = "aA1 -_~.éz"

# First and last characters of ranges.
_Ranges = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Part:
    """One character or group with its quantifier.

    Attributes:
        inside: Characters that match.
        outside: Characters that do not match.
        group: The alternatives of a group; empty for a character.
        min_count: The fewest repetitions.
        max_count: The most repetitions; None for no limit.
        ranges: The ranges of a character class, for drawing.
    """

    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    group: tuple[tuple[_Part, ...], ...] = ()
    min_count: int = 1
    max_count: int | None = 1
    ranges: _Ranges = ()


def boundary_texts(pattern: str, *, whole: bool = False, similar: bool = False) -> list[str]:
    """Texts that match or nearly match a regular expression, the plainest first.

    Args:
        pattern: The regular expression.
        whole: Whether it must match the whole text.
        similar: Whether it is a pattern of SIMILAR TO, with ``%`` and ``_``.
    """
    alternatives = _Parser(similar_to_regex(pattern) if similar else pattern).alternatives()
    anchored = whole or similar or (pattern.startswith("^") and pattern.endswith("$"))
    result: list[str] = []
    for parts in alternatives[:4]:
        base = "".join(map(_base_text, parts))
        result += [base, *_surroundings(base, anchored=anchored)]
    varied = [_variations(parts, 0) for parts in alternatives]
    result += [text for texts in itertools.zip_longest(*varied) for text in texts if text is not None]
    return list(dict.fromkeys(text for text in result if len(text) <= _MAX_CHARACTERS))[:_MAX_TEXTS]


def matching_texts(pattern: str) -> list[str]:
    """Texts that an expression matches, drawn at random from its characters and repetitions with a fixed seed."""
    alternatives, rng = _Parser(pattern).alternatives(), random.Random(pattern)
    drawn = ("".join(_draw(part, rng) for part in rng.choice(alternatives)) for _ in range(_DRAWN_TEXTS))
    return list(dict.fromkeys(text for text in drawn if len(text) <= _MAX_CHARACTERS))


def _draw(part: _Part, rng: random.Random) -> str:
    further = _UNBOUNDED_EXTRA if part.max_count is None else part.max_count - part.min_count
    return "".join(
        _draw_once(part, rng) for _ in range(min(part.min_count + rng.randint(0, further), _MAX_REPETITIONS))
    )


def _draw_once(part: _Part, rng: random.Random) -> str:
    if part.group:
        return "".join(_draw(inner, rng) for inner in rng.choice(part.group))
    if part.ranges:
        first, last = rng.choice(part.ranges)
        return chr(rng.randint(ord(first), max(ord(first), ord(last))))
    return rng.choice(part.inside or ("",))


@lru_cache(maxsize=256)
def has_ambiguous_repetition(pattern: str) -> bool:
    """Whether an expression repeats a group of varying length, so that backtracking may take exponential time."""
    alternatives = _Parser(pattern).alternatives()
    return any(_part_is_ambiguous(part) for parts in alternatives for part in parts)


def _part_is_ambiguous(part: _Part) -> bool:
    children = [child for option in part.group for child in option]
    has_many_lengths = len(part.group) > 1 or any(child.max_count != child.min_count for child in children)
    return (has_many_lengths and (part.max_count is None or part.max_count > 1)) or any(
        map(_part_is_ambiguous, children)
    )


def _surroundings(text: str, *, anchored: bool) -> list[str]:
    """A text with something in front or behind, in other letter case, or shortened."""
    other = [text.swapcase(), f"{text}x", f"x{text}", f"{text} ", f" {text}"]
    other += [] if anchored else [f"x {text} y", f"~{text}~", f"{text}{text}"]
    return [*other, text.upper(), text.lower(), text[:-1], text[1:], ""]


def _base_text(part: _Part) -> str:
    once = "".join(map(_base_text, part.group[0])) if part.group else (part.inside or ("",))[0]
    return once * min(max(part.min_count, 1) if part.max_count != 0 else 0, _MAX_REPETITIONS)


def _variations(parts: Sequence[_Part], depth: int) -> Iterator[str]:
    """Texts that differ from the base text in a single part, taking the parts in turn."""
    bases = list(map(_base_text, parts))
    surroundings = [("".join(bases[:index]), "".join(bases[index + 1 :])) for index in range(len(bases))]
    for others in itertools.zip_longest(*(_part_variations(part, depth) for part in parts)):
        pairs = zip(others, surroundings, strict=True)
        yield from (f"{before}{other}{behind}" for other, (before, behind) in pairs if other is not None)


def _part_variations(part: _Part, depth: int) -> Iterator[str]:
    """Texts in the place of one part: some match it, some nearly do."""
    base = _base_text(part)
    once = "".join(map(_base_text, part.group[0])) if part.group else (part.inside or ("",))[0]
    counts = [
        part.min_count - 1,
        *((part.max_count + 1,) if part.max_count is not None else (part.min_count + 1, part.min_count + 3)),
    ]
    counts += [part.min_count, *((part.max_count,) if part.max_count is not None else ()), 0, 2]
    yield from (once * count for count in dict.fromkeys(counts) if 0 <= count <= _MAX_REPETITIONS)
    for option in part.group[1:]:
        yield "".join(map(_base_text, option))
    if depth < _MAX_DEPTH:
        for option in part.group:
            yield from _variations(option, depth + 1)
    # The last repetition is replaced.
    for other in (*part.outside, *part.inside[1:]):
        yield base[:-1] + other


class _Parser:
    """Parses one expression from left to right."""

    def __init__(self, pattern: str) -> None:
        self._text, self._at, self._depth = pattern[:400], 0, 0

    def alternatives(self) -> tuple[tuple[_Part, ...], ...]:
        """Parses the alternatives up to the end of the group or of the expression."""
        alternatives: list[list[_Part]] = [[]]
        while self._at < len(self._text):
            character = self._next()
            if character == "|":
                alternatives.append([])
            elif character == ")":
                if self._depth:
                    break
            elif character not in "^$":
                part = self._part(character)
                alternatives[-1] += [self._counted(part)] if part is not None else []
        return tuple(map(tuple, alternatives))

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _part(self, character: str) -> _Part | None:
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == ".":
            return _Part(tuple(_ANY_CHARACTER), ("",))
        if character == "\\" and self._at < len(self._text):
            escaped = self._next()
            if escaped.lower() in _CLASS_ESCAPES:
                return _class_of(_CLASS_ESCAPES[escaped.lower()], negated=escaped.isupper())
            if escaped in _ANCHORS or escaped.isdigit():
                return None
            character = _CONTROLS.get(escaped, escaped)
        return _class_of(((character, character),), negated=False)

    def _group(self) -> _Part | None:
        if self._text.startswith("?", self._at):
            opening = re.compile(r"\?(?:P?<\w+>|[:>]|[=!]|<[=!]|[a-zA-Z-]+:?)").match(self._text, self._at)
            self._at = opening.end() if opening is not None else self._at
            if opening is not None and opening[0][1:].rstrip("-").isalpha() and self._text.startswith(")", self._at):
                # Flags alone.
                self._at += 1
                return None
        self._depth += 1
        alternatives = self.alternatives() if self._depth <= _MAX_DEPTH else ((),)
        self._depth -= 1
        return _Part(group=alternatives)

    def _class(self) -> _Part:
        start = self._at
        negated = self._text.startswith(("^", "!"), start)
        start += negated
        # A closing bracket in first position is a member of the class.
        closing = re.compile(r"\]?(?:\[:\w+:\]|\\.|[^\]\\])*\]", re.DOTALL).match(self._text, start)
        if closing is None:
            return _class_of((("[", "["),), negated=False)
        self._at = closing.end()
        return _class_of(tuple(_members(self._text[start : closing.end() - 1])), negated=negated)

    def _counted(self, part: _Part) -> _Part:
        rest = self._text[self._at : self._at + 1]
        counted = _COUNT.match(self._text, self._at)
        if counted is not None:
            min_count = int(counted[1])
            max_count = int(counted[3]) if counted[3] else None if counted[2] else min_count
            self._at = counted.end()
        elif rest and rest in "*+?":
            min_count, max_count = (1 if rest == "+" else 0), (1 if rest == "?" else None)
            self._at += 1
        else:
            return part
        if self._text[self._at : self._at + 1] in ("?", "+"):
            # Lazy, or possessive.
            self._at += 1
        return replace(part, min_count=min_count, max_count=max_count)


def _members(inner: str) -> Iterator[tuple[str, str]]:
    matches = re.findall(r"\[:(\w+):\]|\\([dwsDWS])|(\\.|.)-(\\.|[^\]])|(\\.|.)", inner, re.DOTALL)
    for posix, short, first, last, single in matches:
        if posix or short:
            yield from POSIX.get(posix, ()) if posix else _CLASS_ESCAPES[short.lower()]
        else:
            ends = (first, last) if first else (single, single)
            yield _unescape(ends[0]), _unescape(ends[1])


def _unescape(character: str) -> str:
    return _CONTROLS.get(character[1], character[1]) if len(character) == 2 else character


def _class_of(ranges: _Ranges, *, negated: bool) -> _Part:
    """A part that matches a character class; characters next to the ranges are outside."""
    ends = list(dict.fromkeys(character for pair in ranges for character in pair))
    adjacent = [chr(code) for first, last in ranges for code in (ord(last) + 1, ord(first) - 1) if 32 < code < 0xD800]
    swapped = [character.swapcase() for character in ends]
    outside = [
        character
        for character in (*adjacent, *swapped, *_OTHER_CHARACTERS)
        if not any(a <= character <= b for a, b in ranges)
    ]
    if negated:
        return _Part(tuple(_letters_first(outside))[:_INSIDE_CHARACTERS], tuple(ends[:_OUTSIDE_CHARACTERS]))
    return _Part(
        tuple(ends[: _INSIDE_CHARACTERS * 2]), tuple(dict.fromkeys(outside))[:_OUTSIDE_CHARACTERS], ranges=ranges
    )


def _letters_first(characters: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(sorted(characters, key=lambda character: not character.isalnum())))


def similar_to_regex(pattern: str) -> str:
    """An expression of SIMILAR TO as a plain one."""
    pieces = re.findall(r"\\.|\[[^\]]*\]|.", pattern, re.DOTALL)
    return "".join({"%": ".*", "_": ".", ".": r"\.", "^": r"\^", "$": r"\$"}.get(piece, piece) for piece in pieces)
