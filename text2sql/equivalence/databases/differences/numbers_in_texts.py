"""Numbers that a query reads out of a part of a text: ``CAST(SUBSTR(code, 3) AS INTEGER)`` of A-2 and A-10.

In ordinary texts no number stands there, so that such a query would see zeros or errors alone. As a number 10 is more
than 9, as a text it is less. Texts are composed of numbers of different lengths and the fixed texts that the queries
name; SQLite says in which of them the very expression reads one of the numbers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import ColumnKey, Plan
from text2sql.equivalence.databases.samples import Sample, SampleDatabase
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Value, as_number

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
# Of these, functions that SQLite does not have: `text2sql.engines.values.split_texts` makes texts for them.
_SPLITS = (exp.SplitPart, exp.SubstringIndex, exp.Split, exp.StringToArray)
# The first wildcard of a pattern: what stands in front of it is fixed.
_WILDCARD = re.compile(r"[%*\[]")
# Characters of a fixed text.
_MAX_FIXED_LENGTH = 24
# Numbers of one, two and three digits, and the same with zeros in front.
_NUMERALS = ("2", "10", "9", "100", "09", "010")
# Numbers that are not whole; an engine that takes none in its place refuses to read these.
_FRACTIONS = ("2.5", "02.75", "3")
# Fixed texts of a query.
_MAX_FIXED = 6
# Expressions over a column that are tried.
_MAX_READINGS = 3
# Texts of a column that are tried.
_MAX_TEXTS = 260
# Columns that have databases.
_MAX_COLUMNS = 2


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
            copied = exp.Paren(this=part.copy())
            for column in list(copied.find_all(exp.Column)):
                column.replace(exp.column("v0"))
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


def number_in_text_samples(plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """Texts that hold such numbers: all in one group, and each in a group of its own."""
    readings, kinds = plan.columns.number_readings, domains.constraints.kinds
    keys = [key for key in domains.columns if key[1] in readings and kinds[key] in ("text", "any")]
    for key in [key for key in keys if not domains.columns[key].generated][:_MAX_COLUMNS]:
        yield from _samples_of(key, readings[key[1]], plan.first_reader(key[0]), domains)


def _samples_of(key: ColumnKey, reading: NumberReading, query: int, domains: Domains) -> Iterator[SampleDatabase]:
    """The samples for the first expression over a column that reads different numbers."""
    texts = domains.visible_values(query, key, list(_texts_around(reading.fixed, _NUMERALS)))
    fractions = domains.visible_values(query, key, list(_texts_around(reading.fixed, _FRACTIONS)))
    for part in reading.parts[:_MAX_READINGS]:
        results = domains.evaluate([to_sqlite(part)], key, texts)
        if results is None and part.find(*_SPLITS) is not None:
            continue
        # Where SQLite does not have the function, the fixed texts in front of a number are taken to be skipped.
        chosen = texts if results is None else _read_texts(texts, [row[0] for row in results])
        rows = tuple((text,) for text in chosen[: 2 * len(_NUMERALS)])
        if len(rows) > 1:
            yield (Sample(query, (key,), rows),)
            yield (Sample(query, (key,), rows, separate_groups=True),)
            results = domains.evaluate([to_sqlite(part)], key, fractions) or []
            read = _read_texts(fractions, [row[0] for row in results])[: 2 * len(_FRACTIONS)] if results else []
            if read:
                yield (Sample(query, (key,), tuple((text,) for text in read), separate_groups=True),)
            break


def _read_texts(texts: Sequence[Value], results: Sequence[Value]) -> list[Value]:
    """The texts in which a number is read: one for each number, then a second for each, and so on."""
    by_number: dict[str, list[Value]] = {}
    for text, result in zip(texts, results, strict=True):
        if as_number(result) is not None:
            by_number.setdefault(str(result), []).append(text)
    return [text for own in itertools.zip_longest(*by_number.values()) for text in own if text is not None]


def _texts_around(fixed: Sequence[str], numerals: Sequence[str]) -> Iterator[str]:
    """Texts that are a number between two of the fixed texts, or nothing."""
    ends = ["", *fixed[:_MAX_FIXED]]
    pairs = sorted(itertools.product(ends, ends), key=lambda pair: bool(pair[0]) + bool(pair[1]) * 1.5)
    texts = (f"{before}{number}{behind}" for before, behind in pairs for number in numerals)
    yield from itertools.islice(dict.fromkeys(texts), _MAX_TEXTS)
