"""Texts that a regular expression matches, and texts that it misses by one of its parts.

The expression is read into its parts. One text has each of them once; every other one differs from it in a single part:
another end of a class, the character next to it, one repetition more or fewer, the other alternative, something in
front or behind. So for two expressions that differ in a part, texts are among them on which they do not agree. What the
engines write differently and what none of them has is read as well as may be: all texts are tried in the engine.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

# Texts of an expression, characters of one, how deep groups are read, and repetitions that are written out.
_MOST, _LONGEST, _DEEPEST, _REPEATED = 56, 60, 6, 30
# Texts that are drawn of those that an expression matches, and repetitions of what has no bound.
_DRAWN, _FURTHER = 60, 4
# Members of a class that are tried, and characters outside of it.
_INSIDE, _OUTSIDE = 4, 4
_DIGITS, _LETTERS = (("0", "9"),), (("a", "z"), ("A", "Z"), ("0", "9"), ("_", "_"))
_SPACES = ((" ", " "), ("\t", "\t"))
_SHORT = {"d": _DIGITS, "w": _LETTERS, "s": _SPACES}
POSIX = {
    **{"alpha": (("a", "z"), ("A", "Z")), "digit": _DIGITS, "alnum": (("a", "z"), ("A", "Z"), ("0", "9"))},
    **{"upper": (("A", "Z"),), "lower": (("a", "z"),), "space": _SPACES, "blank": _SPACES},
    **{"punct": (("!", "/"), (":", "@")), "xdigit": (("0", "9"), ("a", "f"), ("A", "F")), "word": _LETTERS},
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r"}
_COUNT = re.compile(r"\{(\d{1,3})(,?)(\d{0,3})\}")
# What stands for no character: bounds of words and of the text.
_BOUNDS = "bBmMyYAzZ<>"
_ANY = "yY1 -"
_CANDIDATES = "aA1 -_~.éz"

# First and last characters.
_Ranges = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Part:
    """One character, or a group, and how often it stands there."""

    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    group: tuple[tuple[_Part, ...], ...] = ()
    least: int = 1
    most: int | None = 1
    ranges: _Ranges = ()


def texts(pattern: str, *, whole: bool = False, similar: bool = False) -> list[str]:
    """Texts on either side of a regular expression, the plainest first.

    Args:
        pattern: The expression.
        whole: Whether it is to match the whole text.
        similar: Whether it is one of SIMILAR TO, with ``%`` and ``_``.
    """
    alternatives = _Reader(from_similar(pattern) if similar else pattern).alternatives()
    anchored = whole or similar or (pattern.startswith("^") and pattern.endswith("$"))
    found: list[str] = []
    for own in alternatives[:4]:
        base = "".join(map(_base, own))
        found += [base, *_around(base, anchored=anchored)]
    varied = [_varied(own, 0) for own in alternatives]
    found += [text for one in itertools.zip_longest(*varied) for text in one if text is not None]
    return list(dict.fromkeys(text for text in found if len(text) <= _LONGEST))[:_MOST]


def matching(pattern: str) -> list[str]:
    """Texts that an expression matches, drawn from all of its characters and repetitions; the same ones each time."""
    alternatives, rng = _Reader(pattern).alternatives(), random.Random(pattern)
    drawn = ("".join(_drawn(part, rng) for part in rng.choice(alternatives)) for _ in range(_DRAWN))
    return list(dict.fromkeys(text for text in drawn if len(text) <= _LONGEST))


def _drawn(part: _Part, rng: random.Random) -> str:
    further = _FURTHER if part.most is None else part.most - part.least
    return "".join(_drawn_once(part, rng) for _ in range(min(part.least + rng.randint(0, further), _REPEATED)))


def _drawn_once(part: _Part, rng: random.Random) -> str:
    if part.group:
        return "".join(_drawn(inner, rng) for inner in rng.choice(part.group))
    if part.ranges:
        first, last = rng.choice(part.ranges)
        return chr(rng.randint(ord(first), max(ord(first), ord(last))))
    return rng.choice(part.inside or ("",))


@lru_cache(maxsize=256)
def divides(pattern: str) -> bool:
    """Whether an expression repeats a group of several lengths, so that a text can be divided in many ways."""
    alternatives = _Reader(pattern).alternatives()
    return any(_divides(part) for own in alternatives for part in own)


def _divides(part: _Part) -> bool:
    inner = [inside for option in part.group for inside in option]
    several = len(part.group) > 1 or any(inside.most != inside.least for inside in inner)
    return (several and (part.most is None or part.most > 1)) or any(map(_divides, inner))


def _around(text: str, *, anchored: bool) -> list[str]:
    """A text with something in front or behind, in other cases, with less of it."""
    other = [text.swapcase(), f"{text}x", f"x{text}", f"{text} ", f" {text}"]
    other += [] if anchored else [f"x {text} y", f"~{text}~", f"{text}{text}"]
    return [*other, text.upper(), text.lower(), text[:-1], text[1:], ""]


def _base(part: _Part) -> str:
    once = "".join(map(_base, part.group[0])) if part.group else (part.inside or ("",))[0]
    return once * min(max(part.least, 1) if part.most != 0 else 0, _REPEATED)


def _varied(parts: Sequence[_Part], depth: int) -> Iterator[str]:
    """Texts that differ from the plainest one in a single part, the parts in turn."""
    bases = list(map(_base, parts))
    ends = [("".join(bases[:place]), "".join(bases[place + 1 :])) for place in range(len(bases))]
    for others in itertools.zip_longest(*(_ways(part, depth) for part in parts)):
        pairs = zip(others, ends, strict=True)
        yield from (f"{before}{other}{behind}" for other, (before, behind) in pairs if other is not None)


def _ways(part: _Part, depth: int) -> Iterator[str]:
    """What may stand, or not quite, where a part does."""
    base = _base(part)
    once = "".join(map(_base, part.group[0])) if part.group else (part.inside or ("",))[0]
    counts = [part.least - 1, *((part.most + 1,) if part.most is not None else (part.least + 1, part.least + 3))]
    counts += [part.least, *((part.most,) if part.most is not None else ()), 0, 2]
    yield from (once * count for count in dict.fromkeys(counts) if 0 <= count <= _REPEATED)
    for option in part.group[1:]:
        yield "".join(map(_base, option))
    if depth < _DEEPEST:
        for option in part.group:
            yield from _varied(option, depth + 1)
    # Of what is repeated, the last one is another.
    for other in (*part.outside, *part.inside[1:]):
        yield base[:-1] + other


class _Reader:
    """Reads one expression from its beginning to its end."""

    def __init__(self, pattern: str) -> None:
        self._text, self._at, self._depth = pattern[:400], 0, 0

    def alternatives(self) -> tuple[tuple[_Part, ...], ...]:
        """The alternatives up to the end of the group, or of the expression."""
        found: list[list[_Part]] = [[]]
        while self._at < len(self._text):
            sign = self._next()
            if sign == "|":
                found.append([])
            elif sign == ")":
                if self._depth:
                    break
            elif sign not in "^$":
                part = self._part(sign)
                found[-1] += [self._counted(part)] if part is not None else []
        return tuple(map(tuple, found))

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _part(self, sign: str) -> _Part | None:
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._class()
        if sign == ".":
            return _Part(tuple(_ANY), ("",))
        if sign == "\\" and self._at < len(self._text):
            escaped = self._next()
            if escaped.lower() in _SHORT:
                return _class_of(_SHORT[escaped.lower()], negated=escaped.isupper())
            if escaped in _BOUNDS or escaped.isdigit():
                return None
            sign = _CONTROLS.get(escaped, escaped)
        return _class_of(((sign, sign),), negated=False)

    def _group(self) -> _Part | None:
        if self._text.startswith("?", self._at):
            opened = re.compile(r"\?(?:P?<\w+>|[:>]|[=!]|<[=!]|[a-zA-Z-]+:?)").match(self._text, self._at)
            self._at = opened.end() if opened is not None else self._at
            if opened is not None and opened[0][1:].rstrip("-").isalpha() and self._text.startswith(")", self._at):
                # Flags alone.
                self._at += 1
                return None
        self._depth += 1
        found = self.alternatives() if self._depth <= _DEEPEST else ((),)
        self._depth -= 1
        return _Part(group=found)

    def _class(self) -> _Part:
        start = self._at
        negated = self._text.startswith(("^", "!"), start)
        start += negated
        # A bracket that comes first is a member.
        closed = re.compile(r"\]?(?:\[:\w+:\]|\\.|[^\]\\])*\]", re.DOTALL).match(self._text, start)
        if closed is None:
            return _class_of((("[", "["),), negated=False)
        self._at = closed.end()
        return _class_of(tuple(_members(self._text[start : closed.end() - 1])), negated=negated)

    def _counted(self, part: _Part) -> _Part:
        rest = self._text[self._at : self._at + 1]
        counted = _COUNT.match(self._text, self._at)
        if counted is not None:
            least = int(counted[1])
            most = int(counted[3]) if counted[3] else None if counted[2] else least
            self._at = counted.end()
        elif rest and rest in "*+?":
            least, most = (1 if rest == "+" else 0), (1 if rest == "?" else None)
            self._at += 1
        else:
            return part
        if self._text[self._at : self._at + 1] in ("?", "+"):
            # Lazy, or possessive.
            self._at += 1
        return replace(part, least=least, most=most)


def _members(inner: str) -> Iterator[tuple[str, str]]:
    found = re.findall(r"\[:(\w+):\]|\\([dwsDWS])|(\\.|.)-(\\.|[^\]])|(\\.|.)", inner, re.DOTALL)
    for posix, short, first, last, single in found:
        if posix or short:
            yield from POSIX.get(posix, ()) if posix else _SHORT[short.lower()]
        else:
            ends = (first, last) if first else (single, single)
            yield _plain(ends[0]), _plain(ends[1])


def _plain(sign: str) -> str:
    return _CONTROLS.get(sign[1], sign[1]) if len(sign) == 2 else sign


def _class_of(ranges: _Ranges, *, negated: bool) -> _Part:
    """A part that is one of some characters, with those next to them outside."""
    ends = list(dict.fromkeys(sign for pair in ranges for sign in pair))
    near = [chr(code) for first, last in ranges for code in (ord(last) + 1, ord(first) - 1) if 32 < code < 0xD800]
    swapped = [sign.swapcase() for sign in ends]
    known = [sign for sign in (*near, *swapped, *_CANDIDATES) if not any(a <= sign <= b for a, b in ranges)]
    if negated:
        return _Part(tuple(_letters_first(known))[:_INSIDE], tuple(ends[:_OUTSIDE]))
    return _Part(tuple(ends[: _INSIDE * 2]), tuple(dict.fromkeys(known))[:_OUTSIDE], ranges=ranges)


def _letters_first(signs: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(sorted(signs, key=lambda sign: not sign.isalnum())))


def from_similar(pattern: str) -> str:
    """An expression of SIMILAR TO as a plain one."""
    found = re.findall(r"\\.|\[[^\]]*\]|.", pattern, re.DOTALL)
    return "".join({"%": ".*", "_": ".", ".": r"\.", "^": r"\^", "$": r"\$"}.get(piece, piece) for piece in found)
