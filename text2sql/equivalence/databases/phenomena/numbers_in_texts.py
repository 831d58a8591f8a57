"""Numbers that a query reads out of a part of a text: ``CAST(SUBSTR(code, 3) AS INTEGER)`` of A-2 and A-10."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value, replace_columns

# Functions that take a part out of a text.
_TEXT_PARTS = (
    exp.Substring,
    exp.Left,
    exp.Right,
    exp.SplitPart,
    exp.SubstringIndex,
    exp.Replace,
    exp.Trim,
    exp.StrPosition,
    exp.RegexpExtract,
    exp.RegexpReplace,
    exp.RegexpSubstr,
    exp.Split,
    exp.StringToArray,
    exp.Translate,
)
_TEXT_PART_NAMES = ("REGEXP", "SUBSTR", "TRIM", "LEFT", "RIGHT", "SPLIT", "REPLACE", "MID")
# The first wildcard of a pattern: what stands in front of it is fixed.
_WILDCARD = re.compile(r"[%*\[]")
# Characters of a fixed text.
_MAX_FIXED_LENGTH = 24


@dataclass
class NumberReading:
    """What the queries read as numbers out of the texts of one column.

    Attributes:
        parts: The expressions (over v0) that are read as numbers.
        fixed: The texts that stand around the numbers, as the queries write them.
    """

    parts: list[exp.Expr]
    fixed: list[str]


def read_numbers_in_texts(trees: Sequence[exp.Expr]) -> dict[str, NumberReading]:
    """By lower-case name of a column, what is read as a number out of its texts."""
    readings: dict[str, NumberReading] = {}
    for tree in trees:
        for part in _parts_read_as_numbers(tree):
            names = {fold(column.name) for column in part.find_all(exp.Column)}
            if len(names) != 1 or part.find(exp.Select, exp.AggFunc) is not None:
                continue
            copied = exp.Paren(this=replace_columns(part, lambda _: exp.column("v0")))
            reading = readings.setdefault(names.pop(), NumberReading([], []))
            reading.parts += [] if copied in reading.parts else [copied]
            reading.fixed += _texts_in(part)
    for name, reading in readings.items():
        compared = (text for tree in trees for text in _compared_texts(tree, name))
        reading.fixed = list(dict.fromkeys([*compared, *reading.fixed]))
    return readings


def _parts_read_as_numbers(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Parts of texts that are cast to numbers or computed with."""
    for node in tree.find_all(exp.Cast, exp.TryCast, exp.Add, exp.Sub, exp.Mul, exp.Div):
        target = node.args.get("to")
        is_numeric = target is None or target.this in exp.DataType.NUMERIC_TYPES
        for side in (node.this, node.args.get("expression")):
            inner = side.unnest() if is_numeric and isinstance(side, exp.Expr) else None
            # The largest text may be what is read.
            inner = inner.this if isinstance(inner, (exp.Min, exp.Max)) else inner
            if isinstance(inner, exp.Expr) and _takes_part(inner):
                yield inner


def _takes_part(node: exp.Expr) -> bool:
    if isinstance(node, exp.Anonymous):
        return any(name in node.name.upper() for name in _TEXT_PART_NAMES)
    return isinstance(node, (*_TEXT_PARTS, exp.Bracket))


def _texts_in(node: exp.Expr) -> list[str]:
    """The texts of an expression, and as many other characters as SUBSTR skips."""
    literals = [value for part in node.find_all(exp.Literal) if isinstance(value := literal_value(part), str)]
    starts = [literal_value(part.args.get("start") or exp.Null()) for part in node.find_all(exp.Substring)]
    skipped = ["x" * (start - 1) for start in starts if isinstance(start, int) and 1 < start <= _MAX_FIXED_LENGTH]
    marks = [mark for mark in literals if 0 < len(mark) <= _MAX_FIXED_LENGTH]
    return [*skipped, *(text for mark in marks for text in (mark, f"x{mark}"))]


def _compared_texts(tree: exp.Expr, name: str) -> Iterator[str]:
    """What a column begins with, or is, as LIKE, GLOB or = ask for it."""
    for node in tree.find_all(exp.Like, exp.ILike, exp.Glob, exp.EQ, exp.StartsWith):
        column, value = node.this, literal_value(node.expression)
        if isinstance(value, str) and any(fold(part.name) == name for part in column.find_all(exp.Column)):
            is_pattern = not isinstance(node, (exp.EQ, exp.StartsWith))
            yield _WILDCARD.split(value)[0].replace("_", "x").replace("?", "x") if is_pattern else value
