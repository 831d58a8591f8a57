"""Texts on which functions part ways that SQLite does not have: regular expressions, lengths in bytes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from text2sql.engines.values.regular_expressions import texts
from text2sql.engines.values.split_texts import split_texts
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

# Of two and of three bytes in UTF-8.
_WIDE = ("é", "naïve", "日本")
_LENGTHS = (exp.Length, exp.ByteLength, exp.BitLength)
_LENGTH_NAMES = ("OCTET_LENGTH", "CHARACTER_LENGTH", "STRLEN")
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
# Characters of a text that is made to be as long as a query says.
_LONGEST = 80
_REGULAR = (
    *(exp.RegexpLike, exp.RegexpILike, exp.RegexpFullMatch, exp.SimilarTo, exp.RegexpExtract, exp.RegexpExtractAll),
    *(exp.RegexpReplace, exp.RegexpSubstr, exp.RegexpInstr, exp.RegexpCount, exp.RegexpSplit, exp.Substring),
)
_REGULAR_NAMES = ("REGEX", "RLIKE")
# Literals of a query that are tried.
_MOST = 6


def text_hints(trees: Sequence[exp.Expr]) -> dict[str, list[Value]]:
    """By lower-case names of columns, texts that regular expressions match and nearly match, and such as are wide."""
    found: dict[str, list[Value]] = {}
    for tree in trees:
        for node in tree.find_all(*_REGULAR, exp.Anonymous):
            for column in _searched(node):
                found.setdefault(fold(column.name), []).extend(_beside(node))
        for call in tree.find_all(*_LENGTHS, exp.Anonymous):
            if isinstance(call, exp.Anonymous) and call.name.upper() not in _LENGTH_NAMES:
                continue
            for column in call.find_all(exp.Column):
                found.setdefault(fold(column.name), []).extend([*_WIDE, *_as_long(call)])
        for name, values in split_texts(tree).items():
            found.setdefault(name, []).extend(values)
    return found


def _parts_of(node: exp.Expr) -> tuple[exp.Expr | None, exp.Expr | None]:
    """What a function searches, and the regular expression that it searches for; nothing of any other function."""
    if isinstance(node, exp.Anonymous):
        regular = any(name in node.name.upper() for name in _REGULAR_NAMES) and len(node.expressions) > 1
        return (node.expressions[0], node.expressions[1]) if regular else (None, None)
    # PostgreSQL's SUBSTRING takes a place, or an expression.
    return node.this, node.args.get("start") if isinstance(node, exp.Substring) else node.expression


def _searched(node: exp.Expr) -> list[exp.Column]:
    """The columns in which a function looks for a regular expression that is written out."""
    text, pattern = _parts_of(node)
    written = isinstance(pattern, exp.Literal) and pattern.is_string
    return list(text.find_all(exp.Column)) if text is not None and written else []


def _beside(node: exp.Expr) -> list[Value]:
    _, pattern = _parts_of(node)
    whole, similar = isinstance(node, exp.RegexpFullMatch), isinstance(node, exp.SimilarTo)
    return list(texts(pattern.name, whole=whole, similar=similar)) if pattern is not None else []


def blind_hints(trees: Sequence[exp.Expr]) -> dict[str, list[Value]]:
    """For columns compared with texts, by lower-case name, what MySQL's = takes for equal and its LIKE does not.

    Most of its collations overlook spaces at the end and accents.
    """
    found: dict[str, list[Value]] = {}
    for tree in trees:
        for node in tree.find_all(exp.Predicate):
            texts = [
                str(part.this).strip("%_^$") for part in node.find_all(exp.Literal) if part.is_string and part.this
            ]
            near = [near for text in texts[:_MOST] for near in (f"{text} ", text.translate(_ACCENTS))]
            for column in node.find_all(exp.Column) if near else ():
                found.setdefault(fold(column.name), []).extend(near)
    return found


def compared_hints(trees: Sequence[exp.Expr]) -> dict[str, list[Value]]:
    """For columns compared with literals, by lower-case name, these and what is next to them."""
    found: dict[str, list[Value]] = {}
    for tree in trees:
        for node in tree.find_all(exp.Predicate):
            values = [value for part in node.find_all(exp.Literal) if (value := literal_value(part)) is not None]
            near = [other for value in values[:_MOST] for other in _next_to(value)]
            for column in node.find_all(exp.Column) if near else ():
                found.setdefault(fold(column.name), []).extend(near)
    return found


def _next_to(value: Value) -> tuple[Value, ...]:
    return (value, value + 1, value - 1) if isinstance(value, (int, float)) else (value,)


def compared_otherwise(trees: Sequence[exp.Expr]) -> set[str]:
    """The lower-case names of columns that two queries compare in different ways: by = and by LIKE, say."""
    ways = [
        {
            (fold(column.name), type(node))
            for node in tree.find_all(exp.Predicate)
            for column in node.find_all(exp.Column)
        }
        for tree in trees
    ]
    return {name for name, _ in ways[0] ^ ways[-1]} if ways else set()


_ACCENTS = str.maketrans("aeioun", "áéíóúñ")


def _as_long(call: exp.Expr) -> list[Value]:
    """Texts of about as many characters as a length is compared with, and of more bytes, so that the counts part."""
    parent = call.parent
    if not isinstance(parent, _COMPARISONS):
        return []
    number = literal_value(parent.expression if parent.this is call else parent.this)
    if not isinstance(number, int) or not 1 < number <= _LONGEST:
        return []
    return ["a" * (number - 2) + "é", "a" * (number - 1) + "é", "é" * number]
